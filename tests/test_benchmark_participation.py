"""The comparison of chapter 8: its grids, its intervals, and its comparisons."""

import importlib
import pathlib

import numpy as np
import pytest

BENCHMARKS = pathlib.Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def part(monkeypatch):
    """Returns a function that imports a module of benchmarks/participation."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"participation.{name}")


@pytest.mark.parametrize("peak", [(0.1, 0.5), (10.0, 0.5), (0.1, 1024.0), (0.0003, 0.3)])
def test_the_grid_is_widened_until_the_best_is_inside(part, peak):
    methods, tuning = part("methods"), part("tuning")
    knobs = methods.SERVER_RATE if peak[1] != 0.3 else methods.MOMENTUM

    def score(rate, knob):
        return -((np.log(rate / peak[0])) ** 2) - (knob - peak[1]) ** 2

    found = tuning.tune(score, methods.RATES, knobs)
    grid = found["grid"]
    assert (found["learning_rate"], found["knob"]) == peak and found["tuned_to"] == 0
    assert grid["learning_rates"][0] < peak[0] < grid["learning_rates"][-1]
    at = grid["knobs"].index(peak[1]), grid["learning_rates"].index(peak[0])
    assert grid["accuracy"][at[0]][at[1]] == 0
    assert np.shape(grid["accuracy"]) == (len(grid["knobs"]), len(grid["learning_rates"]))
    last = peak[1] == knobs.ladder[-1]
    assert found["at_an_end"] == (["server learning rate 1024 is the last of its ladder"] * last)


def test_an_end_that_cannot_be_widened_is_named(part):
    methods, tuning = part("methods"), part("tuning")
    found = tuning.tune(lambda rate, knob: -abs(rate - 0.1) - knob, methods.RATES, methods.MU)
    assert found["knob"] == 0 and found["at_an_end"] == ["mu 0 is FedAvg"]
    found = tuning.tune(lambda rate, knob: -abs(rate - 0.1), methods.RATES, methods.NO_KNOB)
    assert found["at_an_end"] == [] and len(found["grid"]["accuracy"]) == 1


def test_an_interval_covers_seeds_and_images(part):
    interval = part("intervals").interval
    rng = np.random.default_rng(0)
    seeds, images = rng.normal(0, 1, (50, 1)), rng.normal(0, 1, (1, 50))
    widths = {}
    for name, scores in {"seeds": seeds + 0 * images, "both": seeds + images}.items():
        result = interval(scores)
        assert result["interval"][0] < result["mean"] < result["interval"][1]
        assert result["mean"] == pytest.approx(scores.mean(), abs=1e-4)
        widths[name] = np.diff(result["interval"]).item()
    # 2 * 1.96 standard errors, of one mean of 50 and of the sum of two.
    assert widths["seeds"] == pytest.approx(3.92 * seeds.std() / 50**0.5, rel=0.1)
    assert widths["both"] == pytest.approx(
        3.92 * ((seeds.var() + images.var()) / 50) ** 0.5, rel=0.1
    )
    assert interval(np.float64([[1, 1], [-1, -1], [2, 2]]))["seeds_above_0"] == 2


def test_differences_are_in_pairs(part):
    results = part("results")
    labels = np.arange(10)

    def cell(partition, method, right):
        return ("m", partition, 5, method), {"correct": [right, right], "seconds": 1.0}

    found = dict(
        [
            cell("skew", "FedAvg", "5" * 5 + "0" * 5),
            cell("skew", "SCAFFOLD", "5" * 9 + "0"),
            cell("IID", "FedAvg", "5" * 9 + "0"),
            cell("IID", "SCAFFOLD", "5" * 10),
        ]
    )
    table = results.summarise(found, labels)["m"]
    scaffold = table["skew"]["5"]["SCAFFOLD"]
    assert scaffold["accuracy"] == [0.9, 0.9] and scaffold["worst_class"] == [0, 0]
    assert scaffold["minus"]["FedAvg"]["mean"] == pytest.approx(0.4)
    assert scaffold["gain_minus_gain_under_iid"]["mean"] == pytest.approx(0.3)
    assert table["skew"]["5"]["FedAvg"]["gain_minus_gain_under_iid"] is None
    assert table["IID"]["5"]["SCAFFOLD"]["gain_minus_gain_under_iid"] is None


def test_unequal_steps(part):
    methods = part("methods")
    labels = np.arange(20)[::-1].repeat(3).reshape(20, 3) // 2
    for steps in (methods.unequal(labels), methods.unequal_by_digit(labels)):
        assert sorted(steps) == [8] * 10 + [72] * 10
    np.testing.assert_array_equal(methods.unequal_by_digit(labels)[:10], 8)
    np.testing.assert_array_equal(methods.unequal_by_digit(labels)[10:], 72)
