"""Diagrams: what is drawn, that nothing stays changed, and what is refused."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt

from fedbook.diagrams import COLOURS, Diagram

IMAGES = np.random.default_rng(0).uniform(0, 1, (3, 28, 28)).astype(np.float32)


@pytest.fixture(autouse=True)
def close():
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    plt.close("all")


@pytest.fixture
def diagram():
    diagram = Diagram("One client", width=5, height=2)
    diagram.box("client", 0.9, 1, "client", height=0.9)
    diagram.box("server", 4.1, 1, "server", colour="green", rounded=False)
    diagram.point("start", 2.5, 1.8)
    return diagram


def arrows(figure):
    """From (x, y) to (x, y) of each arrow, in inches."""
    figure.canvas.draw()
    heads = [text for text in figure.axes[0].texts if getattr(text, "arrow_patch", None)]
    lines = [line for line in figure.axes[0].lines if line.get_marker() == ""]
    return [(*line.get_xydata()[0], *head.xy) for line, head in zip(lines, heads)]


def test_a_diagram_is_drawn(diagram):
    diagram.images("client", IMAGES)
    diagram.arrow("server", "client", "model", colour="green")
    diagram.arrow("client", "server", "delta", dashed=True)
    diagram.arrow("start", "server")
    diagram.text(2.5, 0.2, "round 1", colour="orange")
    figure = diagram.draw()
    diagram.curve(np.linspace(0, 5, 9), np.ones(9), colour="sky", dashed=True)
    assert len(diagram.draw().axes[0].lines) == len(figure.axes[0].lines) + 1
    ax = figure.axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert {"One client", "client", "server", "model", "delta", "round 1"} <= set(texts)
    assert min(text.get_fontsize() for text in ax.texts) >= 11
    assert len(ax.images) == 3
    assert figure.get_facecolor() == (1, 1, 1, 1)
    # One inch is one unit in both directions, whatever was drawn last.
    assert ax.get_xlim() == (0, figure.get_figwidth()) == (0, 5)
    assert ax.get_ylim() == (0, figure.get_figheight())


def test_arrows_end_at_the_borders_and_opposite_ones_stand_side_by_side(diagram):
    diagram.arrow("client", "server")
    (x0, y0, x1, y1) = arrows(diagram.draw())[0]
    assert 1.65 < x0 < 1.8 and 3.2 < x1 < 3.35 and y0 == y1 == 1
    diagram.arrow("server", "client")
    up, down = arrows(diagram.draw())
    assert up[1] == up[3] > 1 > down[1] == down[3]


def test_arrows_between_boxes_that_face_each_other_are_upright():
    diagram = Diagram()
    diagram.box("server", 2.75, 2.5, width=5)
    diagram.box("client", 1, 0.5)
    diagram.arrow("server", "client")
    x0, y0, x1, y1 = arrows(diagram.draw())[0]
    assert x0 == pytest.approx(1) and x1 == pytest.approx(1)
    assert 2.05 < y0 < 2.15 and 0.85 < y1 < 0.95


def test_images_lie_inside_their_box_below_its_text(diagram):
    diagram.images("client", IMAGES)
    for image in diagram.draw().axes[0].images:
        left, right, low, high = image.get_extent()
        assert 0.15 < left < right < 1.65 and 0.55 < low < high < 1.45 - 0.2
        assert right - left == pytest.approx(high - low)


@pytest.mark.parametrize(
    "call,error,words",
    [
        (lambda d: Diagram(1), TypeError, "title is a int"),
        (lambda d: Diagram(width=7.1), ValueError, "width is 7.1"),
        (lambda d: Diagram(height=0), ValueError, "height is 0"),
        (lambda d: d.box("client", 2, 1), ValueError, "name is 'client'; there is a box or"),
        (lambda d: d.point("client", 2, 1), ValueError, "name is 'client'; there is a box or"),
        (lambda d: d.box(1, 2, 1), TypeError, "name is a int"),
        (lambda d: d.box("a", 2, 1, 3), TypeError, "text is a int"),
        (lambda d: d.box("a", 0.5, 1), ValueError, "x is 0.5"),
        (lambda d: d.box("a", 2, 1.9), ValueError, "y is 1.9"),
        (lambda d: d.box("a", "2", 1), ValueError, "x is '2'"),
        (lambda d: d.box("a", 2, 1, width=9), ValueError, "width is 9"),
        (lambda d: d.box("a", 2, 1, height=-1), ValueError, "height is -1"),
        (lambda d: d.box("a", 2, 1, colour="red"), ValueError, "colour is 'red'; it must be one"),
        (lambda d: d.point("a", 6, 1), ValueError, "x is 6"),
        (lambda d: d.point("a", 2, 1, marker="q"), ValueError, "marker is 'q'"),
        (lambda d: d.point("a", 2, 1, None), TypeError, "text is a NoneType"),
        (lambda d: d.arrow("nobody", "server"), ValueError, "start is 'nobody'; it must be one of"),
        (lambda d: d.arrow("client", "nobody"), ValueError, "end is 'nobody'; it must be one of"),
        (lambda d: d.arrow("client", "client"), ValueError, "from 'client' to 'client'"),
        (lambda d: d.arrow("client", "server", 1), TypeError, "text is a int"),
        (lambda d: d.arrow("client", "server", colour=1), ValueError, "colour is 1"),
        (
            lambda d: [d.arrow("client", "server"), d.arrow("client", "server")],
            ValueError,
            "the only one in its direction",
        ),
        (
            lambda d: [d.box("over", 1, 1), d.arrow("client", "over")],
            ValueError,
            "no room for an arrow from 'client' to 'over'",
        ),
        (lambda d: d.images("nobody", IMAGES), ValueError, "name is 'nobody'"),
        (lambda d: d.images("start", IMAGES), ValueError, "name is 'start'"),
        (lambda d: d.images("client", IMAGES[0]), ValueError, "images has shape (28, 28)"),
        (lambda d: d.images("client", []), ValueError, "images has shape (0,)"),
        (lambda d: d.images("client", [IMAGES[0], IMAGES[0][:5]]), ValueError, "all of one size"),
        (lambda d: d.images("client", IMAGES.astype(str)), ValueError, "images has shape"),
        (lambda d: d.images("client", np.tile(IMAGES, (9, 1, 1))), ValueError, "too small"),
        (lambda d: d.text(1, 3, "a"), ValueError, "y is 3"),
        (lambda d: d.text(1, 1, 1), TypeError, "text is a int"),
        (lambda d: d.text(1, 1, "a", colour="C0"), ValueError, "colour is 'C0'"),
        (lambda d: d.curve([1, 2], [1]), ValueError, "y has shape (1,)"),
        (lambda d: d.curve([1], [1]), ValueError, "x has shape (1,)"),
        (lambda d: d.curve([1, 2], [1, np.nan]), ValueError, "finite numbers"),
        (lambda d: d.curve([1, 2], ["a", "b"]), ValueError, "y has shape (2,) and dtype <U1"),
        (lambda d: d.curve([1, 2], [1, 2], colour="C0"), ValueError, "colour is 'C0'"),
    ],
)
def test_bad_input_is_refused_by_name(diagram, call, error, words):
    with pytest.raises(error) as raised:
        call(diagram)
    assert words in str(raised.value)


@pytest.mark.parametrize("colour", COLOURS)
def test_text_has_contrast(colour):
    diagram = Diagram()
    diagram.text(1, 1, "a", colour=colour)
    rgb = np.array(matplotlib.colors.to_rgb(diagram.draw().axes[0].texts[-1].get_color()))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5  # as WCAG 2 asks
