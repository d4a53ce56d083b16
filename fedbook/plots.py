"""Figures that more than one chapter draws.

Each function draws on axes of its own or on those it is given, and returns the
figure; nothing is shown or saved. Figures carry their own white background, so
that they read on light and dark pages, and tell series apart by marker and line
style as well as by colour, so that they read in grey.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler

# Jupyter's backend sets itself up when it is first used; inside a style's context
# that would be undone at the context's end, and later figures would not show.
plt.switch_backend(plt.get_backend())

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "font.size": 11,
    "legend.frameon": False,
    "lines.markersize": 5,
    "image.cmap": "gray_r",
    "axes.prop_cycle": cycler(color=COLOURS)
    + cycler(linestyle=["-", "--", "-.", ":", "-", "--", "-."])
    + cycler(marker=["o", "s", "^", "D", "v", "P", "x"]),
}


def curves(
    series: Mapping[str, pd.Series], *, x: str, y: str, title: str = "", ax: plt.Axes | None = None
) -> plt.Figure:
    """Draws lines against their index, one a series.

    Args:
      series: for each label of the legend, the values; NaNs are left out.
      x: label of the horizontal axis.
      y: label of the vertical axis.
      title: what the figure says.
      ax: where to draw; a new figure by default.
    """
    with plt.rc_context(STYLE):
        ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
        for label, values in series.items():
            values = values.dropna()
            ax.plot(values.index, values, label=label, markevery=max(1, len(values) // 12))
        ax.set(xlabel=x, ylabel=y, title=title)
        if len(series) > 1:
            ax.legend()
        return ax.figure


def image_rows(rows: Mapping[str, np.ndarray], *, title: str = "") -> plt.Figure:
    """Draws rows of images, each row with its label.

    Args:
      rows: for each label, images of [n, height, width] float32, 0 white and 1
        black; the rows may differ in length.
      title: what the figure says.
    """
    with plt.rc_context(STYLE):
        columns = max(len(images) for images in rows.values())
        figure, axes = plt.subplots(
            len(rows), columns, figsize=(0.62 * columns + 1.2, 0.68 * len(rows) + 0.4),
            squeeze=False, layout="constrained",
        )
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for (label, images), line in zip(rows.items(), axes):
            line[0].set_ylabel(label, rotation=0, ha="right", va="center")
            for image, ax in zip(images, line):
                ax.imshow(image, vmin=0, vmax=1)
        figure.suptitle(title)
        return figure


def label_counts(labels: Mapping[str, Sequence[int]], *, classes: int = 10, title: str = "") -> plt.Figure:
    """Draws clients against classes, each count as a circle whose area is the count.

    Args:
      labels: for each client, the label of each of its examples, ints from 0.
      classes: how many classes there are.
      title: what the figure says.
    """
    with plt.rc_context(STYLE):
        counts = np.stack([np.bincount(np.asarray(held), minlength=classes) for held in labels.values()])
        figure, ax = plt.subplots(figsize=(6, 0.32 * len(labels) + 1), layout="constrained")
        client, label = np.nonzero(counts)
        held = counts[client, label]
        ax.scatter(label, client, s=220 * held / counts.max(), marker="o")
        ax.set(xlabel="digit", title=title, xticks=range(classes), yticks=range(len(labels)))
        ax.set_yticklabels(list(labels))
        ax.set_ylim(len(labels) - 0.4, -0.6)
        return figure


def client_sizes(sizes: Sequence[int], *, title: str = "") -> plt.Figure:
    """Draws how many clients hold how many examples, as a histogram.

    Args:
      sizes: examples of each client.
      title: what the figure says.
    """
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
        ax.hist(sizes, bins="auto", edgecolor="white")
        ax.axvline(np.mean(sizes), color=COLOURS[1], linestyle="--", label=f"mean {np.mean(sizes):.0f}")
        ax.set(xlabel="examples held by a client", ylabel="clients", title=title)
        ax.legend()
        return figure


def latent_plane(
    points: np.ndarray, labels: np.ndarray, *, title: str = "", ax: plt.Axes | None = None
) -> plt.Figure:
    """Draws points of a two-dimensional latent space, each class in a colour and as a digit.

    Args:
      points: [n, 2] float.
      labels: [n] int in 0..9.
      title: what the figure says.
      ax: where to draw; a new figure by default.
    """
    with plt.rc_context(STYLE):
        ax = ax or plt.subplots(figsize=(5.4, 5), layout="constrained")[1]
        colours = plt.get_cmap("tab10")
        for digit in range(10):
            mine = points[labels == digit]
            # The digit itself is the marker: the classes can be told apart in grey too.
            ax.scatter(*mine.T, marker=f"${digit}$", s=28, linewidths=0.3, color=colours(digit))
        ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal")
        return ax.figure


def decoded_grid(images: np.ndarray, extent: float, *, title: str = "") -> plt.Figure:
    """Draws a square grid of images decoded across a latent plane.

    Args:
      images: [n, n, 28, 28] float32, row 0 at the top.
      extent: the grid covers -extent to extent in both latent coordinates.
      title: what the figure says.
    """
    with plt.rc_context(STYLE | {"axes.grid": False}):
        n, _, height, width = images.shape
        figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
        plane = images.transpose(0, 2, 1, 3).reshape(n * height, n * width)
        ax.imshow(plane, vmin=0, vmax=1, extent=(-extent, extent, -extent, extent))
        ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
        return figure
