"""From the files of the cells to the record: accuracies, intervals and comparisons."""

import json
import pathlib
from typing import Any

import numpy as np

from participation.intervals import interval
from participation.methods import METHODS
from participation.trial import IID, LAST

#: A model, a partition, a number of clients a round and a method.
Cell = tuple[str, str, int, str]


def path_of(folder: pathlib.Path, cell: Cell) -> pathlib.Path:
    return folder / ("_".join(map(str, cell)).replace(" ", "-").replace("%", "") + ".json")


def load(folder: pathlib.Path, cell: Cell, spec: dict[str, Any]) -> dict[str, Any] | None:
    """Returns what is stored for the cell; None if nothing is, or of other settings."""
    path = path_of(folder, cell)
    stored = json.loads(path.read_text()) if path.exists() else {}
    return stored if stored.get("spec") == spec else None


def summarise(found: dict[Cell, dict[str, Any]], test_labels: np.ndarray) -> dict[str, Any]:
    """Returns the results as model -> partition -> clients a round -> method."""
    scores = {cell: _scores(result["correct"]) for cell, result in found.items()}
    table: dict[str, Any] = {}
    for cell, result in found.items():
        model, partition, cohort, method = cell
        by_class = [scores[cell][:, test_labels == c].mean(axis=1) for c in range(10)]
        table.setdefault(model, {}).setdefault(partition, {}).setdefault(str(cohort), {})[
            method
        ] = {
            **{key: value for key, value in result.items() if key in KEPT},
            "accuracy": scores[cell].mean(axis=1).round(4).tolist(),
            "worst_class": np.min(by_class, axis=0).round(4).tolist(),
            "mean": {k: v for k, v in interval(scores[cell]).items() if k != "seeds_above_0"},
            "minus": {
                name: interval(scores[cell] - scores[other])
                for name, other in _others(cell).items()
                if other in scores and other != cell
            },
            "gain_minus_gain_under_iid": _beyond_iid(cell, scores),
        }
    return table


KEPT = ("learning_rate", "knob", "tuned_to", "at_an_end", "grid", "runs", "seconds")


def _scores(correct: list[str]) -> np.ndarray:
    """Returns the shares of the last models that are right, [seeds, test images]."""
    return np.array([[int(count) for count in seed] for seed in correct]) / LAST


def _others(cell: Cell) -> dict[str, Cell]:
    """Returns the cells that a cell is compared with, by a name."""
    model, partition, cohort, method = cell
    return {
        METHODS[method].baseline: (model, partition, cohort, METHODS[method].baseline),
        "server rate": (model, partition, cohort, "server rate"),
        "FedVARP": (model, partition, cohort, "FedVARP"),
        "SCAFFOLD": (model, partition, cohort, "SCAFFOLD"),
        "FedAvg, all clients": (model, partition, 20, "FedAvg"),
        "SCAFFOLD, all clients": (model, partition, 20, "SCAFFOLD"),
    }


def _beyond_iid(cell: Cell, scores: dict[Cell, np.ndarray]) -> dict[str, Any] | None:
    """Returns how much more the method gains on its baseline than it does where clients are IID."""
    model, partition, cohort, method = cell
    baseline = METHODS[method].baseline
    pair = [(model, where, cohort, m) for where in (partition, IID) for m in (method, baseline)]
    if partition == IID or method == baseline or not all(each in scores for each in pair):
        return None
    own, base, own_iid, base_iid = (scores[each] for each in pair)
    return interval((own - base) - (own_iid - base_iid))
