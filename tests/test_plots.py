"""Figures: what is drawn, on what ground, and nothing left open or changed."""

import json

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt

from fedbook import plots

IMAGES = np.random.default_rng(0).uniform(0, 1, (5, 28, 28)).astype(np.float32)


@pytest.fixture(autouse=True)
def close():
    before = dict(matplotlib.rcParams)
    yield
    assert (
        dict(matplotlib.rcParams) == before
    )  # a style for one figure, not for the reader's session
    plt.close("all")


def test_curves_leave_out_what_is_missing_and_differ_in_grey():
    history = pd.DataFrame({"train": [np.nan, 1.0, 2.0], "test": [3.0, np.nan, 4.0]})
    figure = plots.curves(
        {"on clients": history["train"], "held out": history["test"]}, x="round", y="loss"
    )
    lines = figure.axes[0].get_lines()
    np.testing.assert_array_equal(lines[0].get_xdata(), [1, 2])
    np.testing.assert_array_equal(lines[1].get_ydata(), [3, 4])
    assert lines[0].get_marker() != lines[1].get_marker()
    assert lines[0].get_linestyle() != lines[1].get_linestyle()
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "on clients",
        "held out",
    ]


def test_image_rows_may_differ_in_length():
    figure = plots.image_rows({"originals": IMAGES, "one": IMAGES[:1]}, title="t")
    assert [len(ax.images) for ax in figure.axes] == [1] * 5 + [1] + [0] * 4
    assert figure.axes[0].get_ylabel() == "originals"


def test_label_counts_areas_are_the_counts():
    figure = plots.label_counts({"a": [0, 0, 0, 9], "b": [5]})
    circles = figure.axes[0].collections[0]
    np.testing.assert_array_equal(circles.get_offsets(), [[0, 0], [9, 0], [5, 1]])
    np.testing.assert_allclose(circles.get_sizes() / circles.get_sizes()[1], [3, 1, 1])


def test_the_slider_holds_every_frame_and_escapes_what_it_says():
    frames = np.zeros((3, 2, 10), int)
    frames[:, 0, 0], frames[0, 1, 9], frames[1:, 0, 1] = 4, 4, 4
    html = plots.label_counts_slider(frames, ["a", "1 < 2", "</script>"], label="more").data
    assert html.count("<circle") == 20 and html.count("</script>") == 1 and "@" not in html
    assert 'max="2" value="1"' in html and "<output>1 &lt; 2</output>" in html
    radii = json.loads(html.partition("radii=")[2].partition(",notes")[0])
    assert [np.count_nonzero(frame) for frame in radii] == [2, 2, 2]


def test_client_sizes_counts_every_client():
    figure = plots.client_sizes([10, 20, 20, 30])
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 4
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "mean 20"


def test_latent_plane_draws_each_digit_once_in_the_axes_given():
    figure, ax = plt.subplots()
    returned = plots.latent_plane(np.zeros((20, 2)), np.repeat(np.arange(10), 2), ax=ax)
    assert returned is figure and len(ax.collections) == 10
    assert all(len(c.get_offsets()) == 2 for c in ax.collections)


def test_latent_plane_takes_lists():
    figure = plots.latent_plane([[0.0, 1.0], [2.0, 3.0]], [4, 7])
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == 2


def test_decoded_grid_keeps_rows_and_columns():
    grid = np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1) * np.ones((2, 2, 3, 3), np.float32)
    figure = plots.decoded_grid(grid, 2.0)
    drawn = figure.axes[0].images[0].get_array()
    assert drawn.shape == (6, 6)
    assert drawn[0, 0] == 0 and drawn[0, 5] == 1 and drawn[5, 0] == 2


def test_every_figure_has_its_own_ground():
    for figure in (plots.curves({"a": pd.Series([1.0])}, x="", y=""), plots.client_sizes([1, 2])):
        assert matplotlib.colors.to_hex(figure.get_facecolor()) == "#ffffff"


def test_rounds_are_marked_by_whole_numbers():
    for start in (1, 1.5):
        values = pd.Series(range(7), index=np.arange(start, start + 7))
        ax = plots.curves({"a": values}, x="round", y="accuracy").axes[0]
        ax.set(xlim=(1, 3))
        assert (ax.get_xticks() == np.round(ax.get_xticks())).all() == (start == 1)
    ax = plt.subplots()[1]
    ax.set_xscale("log")
    plots.curves({"a": pd.Series([1, 2], index=[1, 10])}, x="", y="", ax=ax)


def test_curves_takes_a_table():
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, np.nan]})
    figure = plots.curves(table, x="round", y="accuracy")
    assert [line.get_label() for line in figure.axes[0].lines] == ["a", "b"]
