"""Chapter 08's comparison: who takes part, and what corrects for it.

python benchmarks/algorithms.py             writes results/algorithms.json
python benchmarks/algorithms.py --merge     writes it from what is finished
python benchmarks/algorithms.py --smoke     four tiny cells, writes nothing

A cell is a model, a partition, a number of clients a round and a method. The clients' learning
rate and one hyperparameter of the method are tuned on one half of the test images, with seeds of
their own; the grid is widened until the best values are inside it. The best setting is then run
with other seeds and tested on the other half. The score is the mean accuracy of the models of the
last five rounds, and all differences are in pairs: the same seed means the same clients, cohorts
and batches. Over the seeds, the partition, the cohorts and the batches change, not the images.

Each finished cell is a file in partial/, which git ignores. So a run that was ended goes on where
it was, and any number of processes side by side share the work. The last one writes the record.

The digits are those of FEDBOOK_SCALE, the setting is that of quick scale.
"""

import argparse
import contextlib
import datetime
import fcntl
import functools
import json
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the products are small

import fedbook

import numpy as np
from tqdm import tqdm

import record
from participation import trial
from participation.methods import (
    CLIENTS,
    EQUAL_STEPS,
    FEW,
    FEW_STEPS,
    MANY_STEPS,
    METHODS,
    PUBLIC,
    RATES,
    UNEQUAL_STEPS,
)
from participation.results import Cell, load, path_of, summarise
from participation.trial import FEATURE, HARD, IID, MILD, PERCEPTRON, SOFTMAX
from participation.tuning import tune

SETTING = {"rounds": 20, "steps": 40, "batch_size": 10}
TUNING_SEEDS, SEEDS = range(100, 103), range(20)
#: From the most important to the least.
CELLS: list[Cell] = [
    *[(SOFTMAX, HARD, cohort, method) for cohort in (5, 10, 20) for method in EQUAL_STEPS],
    *[(SOFTMAX, where, 5, method) for where in (IID, MILD, FEATURE) for method in EQUAL_STEPS],
    *[(PERCEPTRON, where, 5, method) for where in (HARD, IID) for method in FEW],
    *[(PERCEPTRON, HARD, 20, method) for method in FEW],
    *[(SOFTMAX, where, 20, method) for where in (MILD, FEATURE) for method in FEW[:4]],
    *[(SOFTMAX, HARD, cohort, method) for cohort in (5, 10) for method in UNEQUAL_STEPS],
    *[(SOFTMAX, IID, 5, method) for method in UNEQUAL_STEPS[:2]],
    *[(SOFTMAX, IID, 20, method) for method in EQUAL_STEPS],
]
SMOKE: list[Cell] = [(SOFTMAX, HARD, 5, method) for method in ("FedAvg", "FedVARP", "FedDyn")]
SMOKE += [(PERCEPTRON, FEATURE, 5, "SCAFFOLD")]
PARTIAL = pathlib.Path(__file__).parent / "partial" / f"algorithms-{fedbook.current_scale()}"


def spec_of(cell: Cell, setting=SETTING, tuning_seeds=TUNING_SEEDS, seeds=SEEDS) -> dict[str, Any]:
    """Returns all that a cell's result depends on, but for the program and the data."""
    method = METHODS[cell[3]]
    return {
        "setting": dict(setting, cohort=cell[2], last=trial.LAST),
        "steps": method.steps.__name__ if method.steps else "",
        "learning_rates": [*RATES.start],
        "knobs": [method.knob.name, *method.knob.start],
        "tuning_seeds": [*tuning_seeds],
        "seeds": [*seeds],
    }


def compute(cell: Cell, setting=SETTING, tuning_seeds=TUNING_SEEDS, seeds=SEEDS) -> dict[str, Any]:
    """Tunes the method, runs its best setting, and returns both."""
    start = time.perf_counter()
    model, partition, cohort, name = cell
    half = len(trial.load_digits().test_labels) // 2
    run = functools.partial(
        trial.correct, model, partition, METHODS[name], setting=dict(setting, cohort=cohort)
    )

    def score(rate: float, knob: float) -> float:
        right = [run(rate, knob, seed=seed, part=slice(half)) for seed in tuning_seeds]
        return round(float(np.mean(right)) / trial.LAST, 4)

    result = tune(score, RATES, METHODS[name].knob)
    best = result["learning_rate"], result["knob"]
    right = [run(*best, seed=seed, part=slice(half, None)) for seed in seeds]
    return result | {
        "correct": ["".join(map(str, counts)) for counts in right],
        "seconds": round(time.perf_counter() - start, 1),
    }


@contextlib.contextmanager
def claimed(path: pathlib.Path) -> Iterator[bool]:
    """Yields whether no other process works on the file; the claim ends with the process."""
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def compute_what_is_missing() -> None:
    """Computes the cells that have no file and that no other process is computing."""
    PARTIAL.mkdir(parents=True, exist_ok=True)
    process = datetime.datetime.now().isoformat(timespec="seconds")
    for cell in tqdm(CELLS):
        path, spec = path_of(PARTIAL, cell), spec_of(cell)
        with claimed(path) as mine:
            if not mine or load(PARTIAL, cell, spec):
                continue
            result = compute(cell)
            ended = datetime.datetime.now().isoformat(timespec="seconds")
            result |= {"spec": spec, "process": process, "ended": ended}
            path.with_suffix(".new").write_text(json.dumps(result))
            path.with_suffix(".new").rename(path)
            print(ended, *cell, best(result), flush=True)


def best(result: dict[str, Any]) -> str:
    accuracy = np.mean([[int(count) for count in seed] for seed in result["correct"]]) / trial.LAST
    ends = "; ".join(result["at_an_end"])
    chosen = f"rate {result['learning_rate']:g} knob {result['knob']:g} {ends}"
    return f"{accuracy:.3f} {chosen} {result['seconds']} s"


def merge(found: dict[Cell, dict[str, Any]], missing: list[Cell]) -> dict[str, Any]:
    """Returns the record of the cells that are finished."""
    processes: dict[str, dict[str, Any]] = {}
    for result in found.values():
        of = processes.setdefault(result["process"], {"cells": 0, "seconds": 0.0, "ended": ""})
        of["cells"] += 1
        of["seconds"] = round(of["seconds"] + result["seconds"], 1)
        of["ended"] = max(of["ended"], result["ended"])
    labels = trial.load_digits().test_labels
    return {
        "scale": fedbook.current_scale(),
        "setting": SETTING | {"clients": CLIENTS, "last": trial.LAST},
        "public": PUBLIC,
        "unequal_steps": [FEW_STEPS, MANY_STEPS],
        "hidden_units": trial.HIDDEN,
        "tuning_seeds": [*TUNING_SEEDS],
        "seeds": [*SEEDS],
        "test_images": {"tuning": len(labels) // 2, "final": len(labels) - len(labels) // 2},
        "processes": processes,
        "missing": [list(cell) for cell in missing],
        "knobs": {name: method.knob.name for name, method in METHODS.items()},
        "cells": summarise(found, labels[len(labels) // 2 :]),
    }


def main(smoke: bool, merge_now: bool) -> None:
    if smoke:
        small = {"setting": SETTING | {"rounds": 2, "steps": 4}, "tuning_seeds": (100,)}
        for cell in SMOKE:
            print(*cell, best(compute(cell, seeds=(0,), **small)))
        return
    if not merge_now:
        compute_what_is_missing()
    stored = {cell: load(PARTIAL, cell, spec_of(cell)) for cell in CELLS}
    found = {cell: result for cell, result in stored.items() if result}
    missing = [cell for cell in CELLS if cell not in found]
    if missing and not merge_now:
        print(f"{len(missing)} cells are missing, or another process is at work on them.")
    else:
        record.write("algorithms", merge(found, missing))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny cells; writes nothing")
    parser.add_argument("--merge", action="store_true", help="write the record of what is finished")
    arguments = parser.parse_args()
    main(arguments.smoke, arguments.merge)
