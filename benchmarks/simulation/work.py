"""What all contenders share: the work, how a round is timed, and what is reported.

NumPy and the standard library only: it runs in every contender's environment.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Work:
    """FedAvg with E=1 and SGD, in the order in which the examples stand.

    Attributes:
      model: "two_nn" or "cnn".
      batch_size: B.
      learning_rate: of SGD on the clients; the server's is 1.
      images: [clients, examples, 28, 28] float32 in [0, 1].
      labels: [clients, examples] int32.
      test_images: [M, 28, 28] float32.
      test_labels: [M] int32.
      weights: the initial ones, as Keras orders and shapes them.
      cohorts: [rounds, cohort] int, the clients of each round.
    """

    model: str
    batch_size: int
    learning_rate: float
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    weights: list[np.ndarray]
    cohorts: np.ndarray


def load(config: str) -> Work:
    """Reads the work that the JSON in file `config` names; see ``benchmarks/simulation.py``."""
    config = json.loads(pathlib.Path(config).read_text())
    with np.load(config["data"]) as data:
        weights = [
            data[f"{config['model']}_{i}"] for i in range(int(data[f"{config['model']}_arrays"]))
        ]
        clients = len(data["labels"])
        cohorts = np.stack(
            [
                np.random.default_rng([config["seed"], number]).permutation(clients)[
                    : config["cohort"]
                ]
                for number in range(config["rounds"])
            ]
        )
        return Work(
            config["model"],
            config["batch_size"],
            config["learning_rate"],
            data["images"].astype(np.float32) / 255,
            data["labels"],
            data["test_images"].astype(np.float32) / 255,
            data["test_labels"],
            weights,
            cohorts,
        )


def measure(
    work: Work,
    one_round: Callable[[np.ndarray], None],
    after_round: Callable[[], None] = lambda: None,
) -> list[float]:
    """Calls `one_round` with each cohort; returns the seconds that each call took.

    `one_round` returns when the new weights are there; `after_round` is not timed.
    """
    seconds = []
    for cohort in work.cohorts:
        start = time.perf_counter()
        one_round(cohort)
        seconds.append(time.perf_counter() - start)
        after_round()
    return seconds


def report(work: Work, seconds: list[float], logits: Any, packages: list[str], **more: Any) -> None:
    """Prints the result as one line of JSON, the last on stdout.

    Args:
      work: what was done.
      seconds: of each round, the first ones included.
      logits: [M, 10] of the test images, with the last round's weights.
      packages: whose versions to name.
      **more: what else to report.
    """
    logits = np.asarray(logits)
    if logits.shape != (len(work.test_labels), 10) or not np.isfinite(logits).all():
        raise ValueError(
            f"logits must be finite and [{len(work.test_labels)}, 10]; they are {logits.shape}."
        )
    print(
        json.dumps(
            {
                "seconds": seconds,
                "accuracy": float(np.mean(logits.argmax(1) == work.test_labels)),
                "python": platform.python_version(),
                "versions": {package: importlib.metadata.version(package) for package in packages},
                **more,
            }
        ),
        flush=True,
    )
