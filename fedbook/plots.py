"""Figures that more than one chapter draws.

Each function returns the figure, and does not show or save it. With `ax` it draws there,
otherwise in a new figure; `title` says what the figure shows. Figures have a white background
of their own, so that they are readable on light and dark pages. Lines differ in marker and
style as well as in colour, so that they are readable in grey. One figure has a slider and is a
piece of HTML.
"""

import html
import itertools
import json
import re
from collections.abc import Mapping, Sequence

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler

from fedbook.checks import check_ints, check_number, check_type

# Jupyter's backend changes settings when it is first used. If that happens inside a style's
# context, the end of the context undoes it, and later figures are not shown.
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
# Without JavaScript the slider's figure stays as it is here, in the middle.
SLIDER = """<figure id="fedbook-slider" style="margin:0;max-width:38em;padding:.5em;
background:#fff;color:#111"><label style="display:block">@label@ &rarr;
<input type="range" min="0" max="@last@" value="@shown@" style="width:70%"
aria-controls="fedbook-slider-circles"></label><br><output>@note@</output>
<svg id="fedbook-slider-circles" viewBox="0 0 @width@ 222" width="100%" fill="#0072B2" role="img"
aria-label="Circles: clients across, digits down; area is the number of examples.">
@circles@<g fill="#111" font-size="10">@digits@</g></svg></figure><script>(()=>{
const box=document.getElementById("fedbook-slider"),radii=@radii@,notes=@notes@,
knob=box.querySelector("input"),line=box.querySelector("output"),
dots=box.querySelectorAll("circle"),draw=()=>{const k=+knob.value;line.textContent=notes[k];
knob.setAttribute("aria-valuetext",notes[k]);
dots.forEach((dot,i)=>dot.setAttribute("r",radii[k][i]))};
knob.addEventListener("input",draw);draw()})()</script>"""


def curves(
    series: Mapping[str, pd.Series] | pd.DataFrame,
    *,
    x: str,
    y: str,
    title: str = "",
    ax: plt.Axes | None = None,
) -> plt.Figure:
    """Draws each series as a line over its index.

    Args:
      series: the values for each label of the legend, or a table with a column for each; NaNs
        are left out.
      x: the label of the horizontal axis.
      y: the label of the vertical axis.

    Raises:
      TypeError: if `series` is not a mapping to Series of numbers.
      ValueError: if there is no series.
    """
    if isinstance(series, pd.DataFrame):
        series = dict(series.items())
    _check_rows("series", series)
    for label, values in series.items():
        check_type(f"series[{label!r}]", values, pd.Series, "a column of a history")
        if not pd.api.types.is_numeric_dtype(values):
            raise TypeError(f"series[{label!r}] has dtype {values.dtype}; it must hold numbers.")
    with plt.rc_context(STYLE):
        ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
        for label, values in series.items():
            values = values.dropna()
            ax.plot(values.index, values, label=label, markevery=max(1, len(values) // 12))
        ax.set(xlabel=x, ylabel=y, title=title)
        whole = all(pd.api.types.is_integer_dtype(values.index) for values in series.values())
        if whole and ax.get_xscale() == "linear":
            ax.xaxis.get_major_locator().set_params(integer=True)  # there is no round 2.5
        if len(series) > 1:
            ax.legend()
        return ax.figure


def image_rows(rows: Mapping[str, np.ndarray], *, title: str = "") -> plt.Figure:
    """Draws rows of images.

    Args:
      rows: for each row's label its images, [n, height, width] float32, from 0 (white) to 1
        (black), or NaN for a pixel that is left out. The rows may differ in length.

    Raises:
      TypeError: if `rows` is not a mapping.
      ValueError: if there is no image, or the images have another shape or are not numbers.
    """
    _check_rows("rows", rows)
    rows = {
        label: _numbers(f"rows[{label!r}]", images, 3, finite=False)
        for label, images in rows.items()
    }
    with plt.rc_context(STYLE):
        columns = max(len(images) for images in rows.values())
        size = (0.62 * columns + 1.2, 0.68 * len(rows) + 0.4)
        figure = plt.figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for (label, images), line in zip(rows.items(), axes):
            line[0].set_ylabel(label, rotation=0, ha="right", va="center")
            for image, ax in zip(images, line):
                ax.imshow(image, vmin=0, vmax=1)
        figure.suptitle(title)
        return figure


def label_counts(labels: Mapping[str, Sequence[int]], *, title: str = "") -> plt.Figure:
    """Draws a row of circles for each client; their areas are its numbers of each digit.

    Args:
      labels: for each client the labels of its examples, ints in 0..9.

    Raises:
      TypeError: if `labels` is not a mapping.
      ValueError: if there is no client or no example, or a label is not an int in 0..9.
    """
    _check_rows("labels", labels)
    labels = {client: _digits(f"labels[{client!r}]", held) for client, held in labels.items()}
    if not any(len(held) for held in labels.values()):
        raise ValueError("labels holds no example; at least one client must hold one.")
    with plt.rc_context(STYLE):
        counts = np.stack([np.bincount(held, minlength=10) for held in labels.values()])
        figure, ax = plt.subplots(figsize=(6, 0.32 * len(labels) + 1), layout="constrained")
        client, label = np.nonzero(counts)
        held = counts[client, label]
        ax.scatter(label, client, s=220 * held / counts.max(), marker="o")
        ax.set(xlabel="digit", title=title, xticks=range(10), yticks=range(len(labels)))
        ax.set_yticklabels(list(labels))
        ax.set_ylim(len(labels) - 0.4, -0.6)
        return figure


def label_counts_slider(
    frames: Sequence[np.ndarray], notes: Sequence[str], *, label: str
) -> IPython.display.HTML:
    """Returns a figure with a slider that shows one table of label counts at a time.

    A column is a client and a row a digit; the area of a circle is the number of examples. The
    figure needs JavaScript, but nothing that is not in it. A screen reader speaks the notes. A page
    may have one such figure.

    Args:
      frames: for each position of the slider the counts, [clients, 10] ints from 0.
      notes: for each position a line of text.
      label: what the slider does.

    Raises:
      ValueError: if there is no frame, the frames differ in shape or are no counts of digits, or
        there are not as many notes as frames.
    """
    counts = check_ints("frames", np.asarray(frames), 0)
    if counts.ndim != 3 or counts.shape[2] != 10 or not counts.any():
        raise ValueError(f"frames has shape {counts.shape}; it must be [frames, clients, 10].")
    if len(notes) != len(counts):
        raise ValueError(f"notes has {len(notes)} lines; it must have {len(counts)}, one a frame.")
    clients, shown = counts.shape[1], len(counts) // 2
    radii = np.sqrt(70 * counts * clients / counts[0].sum()).reshape(len(counts), -1).round(1)
    places = itertools.product(range(30, 30 + 20 * clients, 20), range(10, 210, 20))
    circles = [f'<circle cx="{x}" cy="{y}" r="{r}"/>' for (x, y), r in zip(places, radii[shown])]
    digits = [f'<text x="6" y="{14 + 20 * digit}">{digit}</text>' for digit in range(10)]
    parts = {
        "label": html.escape(label),
        "last": str(len(counts) - 1),
        "shown": str(shown),
        "width": str(30 + 20 * clients),
        "circles": "".join(circles),
        "digits": "".join(digits),
        "radii": json.dumps(radii.tolist()),
        "notes": json.dumps(list(notes)).replace("<", "\\u003c"),
        "note": html.escape(notes[shown]),
    }
    page = re.sub("@([a-z]+)@", lambda gap: parts[gap[1]], SLIDER)
    return IPython.display.HTML(page)


def client_sizes(sizes: Sequence[int], *, title: str = "") -> plt.Figure:
    """Draws a histogram of the clients' numbers of examples, which are ints from 0.

    Raises:
      ValueError: if there is no client, or a size is anything else.
    """
    sizes = check_ints("sizes", sizes, 0)
    if sizes.ndim != 1 or not sizes.size:
        raise ValueError(f"sizes has shape {sizes.shape}; it must be a list of ints.")
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
        ax.hist(sizes, bins="auto", edgecolor="white")
        mean = np.mean(sizes)
        ax.axvline(mean, color=COLOURS[1], linestyle="--", label=f"mean {mean:.0f}")
        ax.set(xlabel="examples held by a client", ylabel="clients", title=title)
        ax.legend()
        return figure


def latent_plane(
    points: np.ndarray, labels: np.ndarray, *, title: str = "", ax: plt.Axes | None = None
) -> plt.Figure:
    """Draws points of a two-dimensional latent space, each as its digit.

    Args:
      points: [n, 2] floats.
      labels: [n] ints in 0..9.

    Raises:
      ValueError: if the arguments have other shapes or hold anything else.
    """
    points, labels = _numbers("points", points, 2), _digits("labels", labels)
    if points.shape != (len(labels), 2):
        raise ValueError(
            f"points has shape {points.shape}; it must be [{len(labels)}, 2], a point for each "
            "of the labels."
        )
    with plt.rc_context(STYLE):
        ax = ax or plt.subplots(figsize=(5.4, 5), layout="constrained")[1]
        colours = plt.get_cmap("tab10")
        for digit in range(10):
            mine = points[labels == digit]
            # The digit is the marker, so that the classes differ in grey too.
            ax.scatter(*mine.T, marker=f"${digit}$", s=28, linewidths=0.3, color=colours(digit))
        ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal")
        return ax.figure


def decoded_grid(images: np.ndarray, extent: float, *, title: str = "") -> plt.Figure:
    """Draws images that were decoded on a square grid of the latent plane.

    Args:
      images: [n, n, 28, 28] float32, row 0 at the top.
      extent: the grid covers -extent to extent in both latent coordinates; above 0.

    Raises:
      ValueError: if the arguments have other shapes or hold anything else.
    """
    images = _numbers("images", images, 4)
    if images.shape[0] != images.shape[1]:
        raise ValueError(f"images has shape {images.shape}; it must be [n, n, 28, 28].")
    extent = check_number("extent", extent, above=0)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        n, _, height, width = images.shape
        figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
        plane = images.transpose(0, 2, 1, 3).reshape(n * height, n * width)
        ax.imshow(plane, vmin=0, vmax=1, extent=(-extent, extent, -extent, extent))
        ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
        return figure


def _check_rows(name: str, rows: Mapping) -> None:
    if not check_type(name, rows, Mapping):
        raise ValueError(f"{name} is empty; it must have at least one entry.")


def _numbers(name: str, array: np.ndarray, rank: int, *, finite: bool = True) -> np.ndarray:
    """Returns an array of numbers with so many dimensions, none of them empty."""
    array = np.asarray(array)
    if array.ndim != rank or not array.size or array.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; it must hold numbers in "
            f"{rank} dimensions, and at least one."
        )
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values; all must be finite.")
    return array


def _digits(name: str, labels: Sequence[int] | np.ndarray) -> np.ndarray:
    """Returns the labels as an array [n] of ints in 0..9; an empty list is one, too."""
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; it must be a list of ints.")
    return check_ints(name, array if array.size else array.astype(np.int64), 0, 9)
