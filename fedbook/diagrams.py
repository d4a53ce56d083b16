"""Drawings of an idea: boxes, and arrows for what travels between them.

A :class:`Diagram` collects parts and draws them at the end. Positions and sizes are in inches:
x to the right and y up from the lower left corner. An arrow finds the borders of its two ends
by itself, and two arrows in opposite directions stand side by side::

    diagram = Diagram("One client", width=5, height=2)
    diagram.box("client", 0.9, 1, "client")
    diagram.box("server", 4.1, 1, "server", colour="orange")
    diagram.arrow("server", "client", "model", colour="orange")
    diagram.arrow("client", "server", "delta", colour="blue")
    diagram.draw();

The colours are blue, orange, green, pink, yellow, sky and black, which colour-blind readers can
tell apart. On a phone, a figure is as wide as the
page, so a narrow diagram has larger letters than a wide one.
"""

import dataclasses
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch

from fedbook import plots
from fedbook.checks import check_number, check_one_of, check_type

COLOURS = dict(zip(("blue", "orange", "green", "pink", "yellow", "sky", "black"), plots.COLOURS))
TEXT_SIZE, TITLE_SIZE = 12, 13
LINE = 0.21  # the height of a line of text
GAP = 0.07  # between a box and its arrows, its text and its images
SIDE = 0.09  # how far two opposite arrows stand from the line between their boxes


@dataclasses.dataclass
class _Box:
    """A box, or a point if it has no size."""

    x: float
    y: float
    text: str
    width: float
    height: float
    colour: str
    marker: str = ""
    rounded: bool = True
    images: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Arrow:
    start: str
    end: str
    text: str
    colour: str
    dashed: bool


class Diagram:
    """A drawing on a white background.

    Args:
      title: stands above the drawing.
      width: in inches, at most 7.
      height: in inches without the title, at most 7.

    Raises:
      TypeError: if `title` is not a string.
      ValueError: if `width` or `height` is not a number above 0 and at most 7.
    """

    def __init__(self, title: str = "", *, width: float = 5.5, height: float = 3):
        self.title = check_type("title", title, str)
        self.width = check_number("width", width, above=0, high=7)
        self.height = check_number("height", height, above=0, high=7)
        self._boxes: dict[str, _Box] = {}
        self._arrows: dict[tuple[str, str], _Arrow] = {}
        self._texts: list[tuple[float, float, str, str]] = []
        self._curves: list[tuple[np.ndarray, np.ndarray, str, bool]] = []

    def box(
        self,
        name: str,
        x: float,
        y: float,
        text: str = "",
        *,
        width: float = 1.5,
        height: float = 0.7,
        colour: str = "blue",
        rounded: bool = True,
    ) -> None:
        """Adds a box whose centre is at x and y.

        Args:
          name: what arrows and images call it.
          x: the centre, from the left, in inches.
          y: the centre, from below, in inches.
          text: in the middle of the box, or above its images; it may have several lines.
          width: in inches.
          height: in inches.
          colour: of the border and the faint filling.
          rounded: whether the corners are round, so that kinds of boxes differ in shape too.

        Raises:
          TypeError: if `name` or `text` is not a string.
          ValueError: if there is such a name, the box is not inside the diagram, or there is no
            such colour.
        """
        width = check_number("width", width, above=0, high=self.width)
        height = check_number("height", height, above=0, high=self.height)
        x = check_number("x", x, low=width / 2, high=self.width - width / 2)
        y = check_number("y", y, low=height / 2, high=self.height - height / 2)
        check_type("text", text, str)
        self._add(name, _Box(x, y, text, width, height, colour, rounded=bool(rounded)))

    def point(
        self,
        name: str,
        x: float,
        y: float,
        text: str = "",
        *,
        colour: str = "black",
        marker: str = "o",
    ) -> None:
        """Adds a point with its text above it; arrows can start and end there.

        Args:
          name: what arrows call it.
          x: from the left, in inches.
          y: from below, in inches.
          text: a word or two.
          colour: of the marker and the text.
          marker: one of ``o``, ``s``, ``^``, ``D``, ``*`` and ``X``.

        Raises:
          TypeError: if `name` or `text` is not a string.
          ValueError: if there is such a name, the point is not inside the diagram, or there is
            no such colour or marker.
        """
        x, y = self._place(x, y)
        check_one_of("marker", marker, ["o", "s", "^", "D", "*", "X"])
        self._add(name, _Box(x, y, check_type("text", text, str), 0.16, 0.16, colour, marker))

    def images(self, name: str, images: Sequence[np.ndarray] | np.ndarray) -> None:
        """Puts images side by side into the lower part of a box.

        Args:
          name: of the box.
          images: [n, height, width] numbers, from 0 (white) to 1 (black).

        Raises:
          ValueError: if there is no such box, the images have another shape or are not numbers,
            or the box is too low for them and its text.
        """
        boxes = [name for name, box in self._boxes.items() if not box.marker]
        box = self._boxes[check_one_of("name", name, boxes)]
        try:
            checked = np.asarray(images)
        except ValueError:  # images of different sizes
            checked = np.asarray(None)
        if checked.ndim != 3 or not checked.size or checked.dtype.kind not in "iuf":
            raise ValueError(
                f"images has shape {checked.shape} and dtype {checked.dtype}; it must be "
                "[n, height, width] numbers, at least one image, all of one size."
            )
        if _side(box, len(checked)) < 0.1:
            raise ValueError(
                f"box {name!r} is {box.width:g} by {box.height:g} inches; that is too small for "
                f"its text and {len(checked)} images."
            )
        box.images = checked

    def arrow(
        self, start: str, end: str, text: str = "", *, colour: str = "black", dashed: bool = False
    ) -> None:
        """Adds an arrow from one box or point to another, with its text beside it.

        Args:
          start: the name of the box or point where it begins.
          end: the name of the one that it points to.
          text: what travels; it may have several lines.
          colour: of the arrow and its text.
          dashed: whether the line is broken.

        Raises:
          TypeError: if `text` is not a string.
          ValueError: if there is no such box, point or colour, there is such an arrow already,
            or the two are the same or have no room for an arrow between them.
        """
        for name, value in {"start": start, "end": end}.items():
            check_one_of(name, value, list(self._boxes))
        if start == end or (start, end) in self._arrows:
            raise ValueError(
                f"the arrow from {start!r} to {end!r} must lead to another box, and be the only "
                "one in its direction."
            )
        if _ends(self._boxes[start], self._boxes[end]) is None:
            raise ValueError(f"there is no room for an arrow from {start!r} to {end!r}.")
        check_one_of("colour", colour, list(COLOURS))
        check_type("text", text, str)
        self._arrows[start, end] = _Arrow(start, end, text, colour, bool(dashed))

    def text(self, x: float, y: float, text: str, *, colour: str = "black") -> None:
        """Adds text whose middle is at x and y.

        Raises:
          TypeError: if `text` is not a string.
          ValueError: if the place is not inside the diagram or there is no such colour.
        """
        x, y = self._place(x, y)
        check_one_of("colour", colour, list(COLOURS))
        self._texts.append((x, y, check_type("text", text, str), colour))

    def curve(
        self,
        x: Sequence[float] | np.ndarray,
        y: Sequence[float] | np.ndarray,
        *,
        colour: str = "black",
        dashed: bool = False,
    ) -> None:
        """Adds a line through points, such as the outline of a landscape.

        Args:
          x: [n] numbers, in inches from the left; n is at least 2.
          y: [n] numbers, in inches from below.
          colour: of the line.
          dashed: whether the line is broken.

        Raises:
          ValueError: if the arrays have other shapes, are not finite numbers, or there is no such
            colour.
        """
        xs, ys = np.asarray(x), np.asarray(y)
        for name, values in {"x": xs, "y": ys}.items():
            fits = values.shape == xs.shape and values.ndim == 1 and len(values) > 1
            if not fits or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
                raise ValueError(
                    f"{name} has shape {values.shape} and dtype {values.dtype}; x and y must be "
                    "lists of equally many finite numbers, at least two."
                )
        check_one_of("colour", colour, list(COLOURS))
        self._curves.append((xs, ys, colour, bool(dashed)))

    def draw(self) -> plt.Figure:
        """Returns the figure."""
        with plt.rc_context(
            plots.STYLE | {"font.size": TEXT_SIZE, "axes.grid": False, "lines.linewidth": 2}
        ):
            title = LINE * (self.title.count("\n") + 1) + 2 * GAP if self.title else 0
            height = self.height + title
            figure = plt.figure(figsize=(self.width, height))
            ax = figure.add_axes((0, 0, 1, 1))
            ax.text(
                self.width / 2, height - GAP, self.title, size=TITLE_SIZE, ha="center", va="top"
            )
            for xs, ys, colour, dashed in self._curves:
                line = "--" if dashed else "-"
                ax.plot(xs, ys, line, color=COLOURS[colour], marker="")
            for box in self._boxes.values():
                _draw_box(ax, box)
            for arrow in self._arrows.values():
                self._draw_arrow(ax, arrow)
            for x, y, text, colour in self._texts:
                ax.text(x, y, text, color=_ink(colour), ha="center", va="center")
            ax.set(xlim=(0, self.width), ylim=(0, height), aspect="auto")
            ax.axis("off")
            return figure

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return check_number("x", x, low=0, high=self.width), check_number(
            "y", y, low=0, high=self.height
        )

    def _add(self, name: str, box: _Box) -> None:
        check_type("name", name, str, '"server"')
        if name in self._boxes:
            raise ValueError(f"name is {name!r}; there is a box or point of this name already.")
        check_one_of("colour", box.colour, list(COLOURS))
        self._boxes[name] = box

    def _draw_arrow(self, ax: plt.Axes, arrow: _Arrow) -> None:
        ends = _ends(self._boxes[arrow.start], self._boxes[arrow.end])
        assert ends is not None, "arrow() has refused it"
        start, end = ends
        along = (end - start) / np.linalg.norm(end - start)
        side = np.array([-along[1], along[0]])  # the left of somebody who walks along the arrow
        if (arrow.end, arrow.start) in self._arrows:
            start, end = start + SIDE * side, end + SIDE * side
        elif side[0] < -0.5 or side[1] < -0.5:  # the text of a single one is above or to the right
            side = -side
        colour, neck = COLOURS[arrow.colour], end - 0.15 * along
        ax.plot(*zip(start, neck), "--" if arrow.dashed else "-", color=colour, marker="")
        style = {"arrowstyle": "-|>", "color": colour, "mutation_scale": 16, "linewidth": 2}
        ax.annotate("", end, neck, arrowprops=style | {"shrinkA": 0, "shrinkB": 0})
        x, y = (start + end) / 2 + 1.3 * GAP * side
        across = "left" if side[0] > 0.25 else "right" if side[0] < -0.25 else "center"
        up = "bottom" if side[1] > 0.25 else "top" if side[1] < -0.25 else "center"
        ax.text(x, y, arrow.text, color=_ink(arrow.colour), ha=across, va=up)


def _ink(colour: str) -> tuple[float, ...]:
    """A darker shade for text, which needs more contrast than lines."""
    return tuple(0.65 * part for part in to_rgb(COLOURS[colour]))


def _side(box: _Box, images: int) -> float:
    """The side of a square image in the box."""
    lines = box.text.count("\n") + 1 if box.text else 0
    return min(box.height - LINE * lines - 2.5 * GAP, (box.width - GAP) / images - GAP)


def _draw_box(ax: plt.Axes, box: _Box) -> None:
    colour = COLOURS[box.colour]
    if box.marker:
        ax.plot(box.x, box.y, box.marker, color=colour, markersize=10)
        ax.text(box.x, box.y + 0.15, box.text, color=_ink(box.colour), ha="center", va="bottom")
        return
    corner = (box.x - box.width / 2, box.y - box.height / 2)
    for alpha, filled in ((0.1, True), (1, False)):
        ax.add_patch(
            FancyBboxPatch(
                corner,
                box.width,
                box.height,
                boxstyle="round,pad=0,rounding_size=0.12" if box.rounded else "square,pad=0",
                facecolor=colour if filled else "none",
                edgecolor="none" if filled else colour,
                alpha=alpha,
                linewidth=1.5,
            )
        )
    if box.images is None:
        ax.text(box.x, box.y, box.text, ha="center", va="center")
        return
    ax.text(box.x, box.y + box.height / 2 - GAP, box.text, ha="center", va="top")
    side, count = _side(box, len(box.images)), len(box.images)
    left = box.x - (count * side + (count - 1) * GAP) / 2
    for number, image in enumerate(box.images):
        x, y = left + number * (side + GAP), corner[1] + GAP
        tile = (x, x + side, y, y + side)
        ax.imshow(image, vmin=0, vmax=1, extent=tile, zorder=2)


def _ends(one: _Box, other: _Box) -> tuple[np.ndarray, np.ndarray] | None:
    """The ends of an arrow, upright or level if the boxes face each other; None without room."""
    centres = np.array([[one.x, one.y], [other.x, other.y]])
    halves = np.array([[one.width, one.height], [other.width, other.height]]) / 2
    low, high = (centres - halves).max(axis=0), (centres + halves).min(axis=0)
    for axis in (0, 1):
        if low[axis] < high[axis]:  # they face each other along the other axis
            centres[:, axis] = (low[axis] + high[axis]) / 2
            break
    step = centres[1] - centres[0]
    with np.errstate(divide="ignore"):
        shares = ((halves + GAP) / np.abs(step)).min(axis=1)  # of the way, to leave each box
    if shares.sum() > 0.99:
        return None
    return centres[0] + shares[0] * step, centres[1] - shares[1] * step
