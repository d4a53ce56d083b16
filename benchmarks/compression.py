"""Accuracy against bytes over 20 seeds, and the bytes of both directions, for chapter 09.

python benchmarks/compression.py             writes results/compression.json
python benchmarks/compression.py --smoke     a corner of it, writes nothing

Two questions. *frontier*: which accuracy does each codec reach, and how many bytes do the clients
send for it? *bill*: how many bytes does a target accuracy take in both directions, for each way of
sending the model down and each size of the cohort?

Every setting is tuned over the same client learning rates (the majority vote over steps), with
seeds of its own, on the first half of the test images. The best value is then run with the other
seeds and tested on the second half. Each run is appended to results/compression.unfinished as soon
as it ends, so a killed benchmark goes on where it was. The data are those of quick scale.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import math
import os
import pathlib
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the products are small
os.environ["FEDBOOK_SCALE"] = "quick"

from fedbook import algorithms, compression, datasets, models, partition

import numpy as np
from tqdm import tqdm

import record

LAYERS, CLIENTS, COHORT, BATCH_SIZE = (784, 32, 10), 20, 5, 20
ROUNDS, LAST = 40, 5  # the accuracy is the mean after the last five rounds
SHOWN = (1, 2, 4, 7, 10, 15, 20, 30, 40)  # the rounds whose accuracy is recorded
RATES = (0.05, 0.1, 0.2, 0.4, 0.8)
STEPS = (0.0003, 0.001, 0.003, 0.01, 0.03)  # of the majority vote
VOTE_RATE = 0.2  # of the clients who vote
TUNING_SEEDS, SEEDS = range(101, 104), range(1, 21)
COHORTS, TARGET, MOST_ROUNDS = (1, 2, 5, 10, 20), 0.87, 100
UPLINK = compression.Deflated(compression.QSGD(levels=7))  # of the bill
UNFINISHED = pathlib.Path(__file__).parent / "results" / "compression.unfinished"

CODECS = {
    "float32": compression.Dense(),
    "8 bits": compression.UniformQuantizer(bits=8),
    "1 bit": compression.UniformQuantizer(bits=1),
    "rotated, 1 bit": compression.Rotated(compression.UniformQuantizer(bits=1)),
    "QSGD s=7": UPLINK,
    "QSGD s=1": compression.Deflated(compression.QSGD(levels=1)),
    "sign": compression.Sign(),
    "vote": None,  # compression.MajorityVote(step), for each of the steps
    "random 10%": compression.RandomK(fraction=0.1),
    "top 1%": compression.TopK(fraction=0.01),
    "top 0.1%": compression.TopK(fraction=0.001),
}
WITH_MEMORY = ("sign", "top 1%", "top 0.1%")
METHODS = [(name, False) for name in CODECS] + [(name, True) for name in WITH_MEMORY]


@dataclasses.dataclass(frozen=True)
class Down:
    """How the model gets to the clients: the weights to the cohort, or each change to everybody."""

    codec: compression.Codec
    is_change: bool = False


DOWNS = {
    "weights, float32": Down(compression.Dense()),
    "weights, 8 bits": Down(compression.UniformQuantizer(bits=8)),
    "changes, top 1%": Down(compression.TopK(fraction=0.01), is_change=True),
}


@functools.cache
def digits():
    return datasets.load_digits()


@functools.cache
def held(seed: int) -> list[np.ndarray]:
    """Returns the rows of each client's images."""
    return list(partition.iid(digits().train_labels, CLIENTS, seed=seed).indices.values())


def initial_weights(seed: int) -> list[np.ndarray]:
    """Returns the weights of Glorot and Bengio 2010."""
    rng, weights = np.random.default_rng(seed), []
    for inputs, outputs in itertools.pairwise(LAYERS):
        limit = math.sqrt(6 / (inputs + outputs))
        kernel = rng.uniform(-limit, limit, (inputs, outputs))
        weights += [kernel.astype(np.float32), np.zeros(outputs, np.float32)]
    return weights


def local_delta(weights, client: int, rate: float, rng, seed: int) -> list[np.ndarray]:
    """Returns a client's delta after one epoch."""
    images, labels = digits().train_images.reshape(-1, 784), digits().train_labels
    order = rng.permutation(held(seed)[client]).reshape(-1, BATCH_SIZE)
    batches = [(images[rows], labels[rows]) for rows in order]
    return algorithms.client_update(weights, batches, rate).delta


def accuracy(weights, tunes: bool) -> float:
    """Returns the accuracy on the first half of the test images if it tunes, else the second."""
    half = len(digits().test_labels) // 2
    part = slice(half) if tunes else slice(half, None)
    answers = np.argmax(models.logits(weights, digits().test_images[part]), axis=1)
    return float((answers == digits().test_labels[part]).mean())


def frontier_run(name: str, memory: bool, value: float, seed: int, rounds: int = ROUNDS) -> dict:
    """Returns the accuracies after the rounds that are shown, the last mean, and kB a round."""
    codec = CODECS[name] or compression.MajorityVote(step=value)
    rate = value if CODECS[name] else VOTE_RATE
    weights, accuracies, sent = initial_weights(seed), [], 0
    memories = [algorithms.zero_memory([w.shape for w in weights])] * CLIENTS
    for number in range(1, rounds + 1):
        rng, messages = np.random.default_rng([seed, number]), []
        for client in rng.choice(CLIENTS, COHORT, replace=False):
            delta, own = local_delta(weights, client, rate, rng, seed), (seed, number, int(client))
            if memory:
                message, memories[client] = algorithms.encode_with_memory(
                    codec, delta, memories[client], own
                )
            else:
                message = codec.encode(delta, own)
            messages.append(message)
        mean_delta = compression.aggregate(codec, messages)
        weights = [w + d for w, d in zip(weights, mean_delta)]
        accuracies.append(accuracy(weights, seed in TUNING_SEEDS))
        sent += sum(map(len, messages))
    return {
        "curve": [round(accuracies[number - 1], 4) for number in SHOWN if number <= rounds],
        "last": round(float(np.mean(accuracies[-LAST:])), 4),
        "kB_a_round": round(sent / 1e3 / rounds, 3),
    }


def bill_run(down: str, cohort: int, rate: float, seed: int, rounds: int = MOST_ROUNDS) -> dict:
    """Returns the rounds to the target, and the kB of both directions; None if not reached."""
    way, weights = DOWNS[down], initial_weights(seed)
    known, sent = weights, {"kB_down": 0.0, "kB_up": 0.0}
    for number in range(1, rounds + 1):
        if way.is_change:
            message, known = compression.encode_change(way.codec, weights, known, (seed, number))
            sent["kB_down"] += CLIENTS * len(message) / 1e3
        else:
            message = way.codec.encode(weights, (seed, number))
            known = way.codec.decode(message)
            sent["kB_down"] += cohort * len(message) / 1e3
        rng, messages = np.random.default_rng([seed, number]), []
        for client in rng.choice(CLIENTS, cohort, replace=False):
            delta = local_delta(known, client, rate, rng, seed)
            messages.append(UPLINK.encode(delta, (seed, number, int(client))))
        mean_delta = compression.aggregate(UPLINK, messages)
        weights = [w + d for w, d in zip(weights, mean_delta)]
        sent["kB_up"] += sum(map(len, messages)) / 1e3
        if accuracy(weights, seed in TUNING_SEEDS) >= TARGET:
            return {"rounds": number} | {key: round(kb, 2) for key, kb in sent.items()}
    return {"rounds": None, "kB_down": None, "kB_up": None}


def total(run: dict) -> float:
    """Returns the bytes of both directions, infinite if the target was not reached."""
    return run["kB_down"] + run["kB_up"] if run["rounds"] else math.inf


class Runs:
    """The runs that are done, kept in a file to which each new one is appended."""

    def __init__(self, path: pathlib.Path | None, setting: dict):
        """Reads the file; without a path nothing is kept. Other settings begin a new file."""
        self.path, self.done = path, {}
        first = json.dumps(setting)
        if path is None:
            return
        lines = path.read_text().split("\n") if path.exists() else []
        if not lines or lines[0] != first:
            path.write_text(first + "\n")
            lines = [first, ""]
        for line in lines[1:-1]:  # what follows the last line break was cut off
            key, run = json.loads(line)
            self.done[key] = run
        path.write_text("\n".join([*lines[:-1], ""]))

    def get(self, run: Callable[..., dict], *arguments, **options) -> dict:
        """Returns what the run gives, from the file if it is there."""
        key = json.dumps([run.__name__, *arguments, options])
        if key not in self.done:
            start = time.perf_counter()
            self.done[key] = run(*arguments, **options)
            self.done[key]["seconds"] = round(time.perf_counter() - start, 2)
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps([key, self.done[key]]) + "\n")
        return self.done[key]

    @property
    def seconds(self) -> float:
        return sum(run["seconds"] for run in self.done.values())


def frontier_of(runs: Runs, name: str, memory: bool, values, tuning_seeds, seeds, **options):
    """Returns a method's tuning and its runs with the best value."""

    def last(value: float) -> float:
        tried = [
            runs.get(frontier_run, name, memory, value, seed, **options) for seed in tuning_seeds
        ]
        return round(float(np.mean([run["last"] for run in tried])), 4)

    tuned = {value: last(value) for value in values}
    best = max(tuned, key=tuned.__getitem__)
    final = [runs.get(frontier_run, name, memory, best, seed, **options) for seed in seeds]
    return {
        "tuned": {f"{value:g}": score for value, score in tuned.items()},
        "best": best,
        "kB_a_round": [run["kB_a_round"] for run in final],
        "last": [run["last"] for run in final],
        "curves": " ".join(",".join(f"{a:g}" for a in run["curve"]) for run in final),
    }


def bill_of(runs: Runs, down: str, cohort: int, rates, tuning_seeds, seeds, **options):
    """Returns the tuning of a way down and a cohort, and its runs with the best rate."""

    def bill(rate: float) -> float:
        tried = [runs.get(bill_run, down, cohort, rate, seed, **options) for seed in tuning_seeds]
        return float(np.mean([total(run) for run in tried]))

    tuned = {rate: bill(rate) for rate in rates}
    best = min(tuned, key=tuned.__getitem__)
    final = [runs.get(bill_run, down, cohort, best, seed, **options) for seed in seeds]
    return {
        "tuned": {
            f"{rate:g}": None if math.isinf(kb) else round(kb, 1) for rate, kb in tuned.items()
        },
        "best": best,
        **{key: [run[key] for run in final] for key in ("rounds", "kB_down", "kB_up")},
    }


def main(smoke: bool) -> None:
    setting = {
        "scale": "quick",
        "layers": LAYERS,
        "clients": CLIENTS,
        "cohort": COHORT,
        "batch_size": BATCH_SIZE,
        "rounds": ROUNDS,
        "shown_rounds": SHOWN,
        "last": LAST,
        "rates": RATES,
        "steps_of_the_vote": STEPS,
        "rate_of_the_vote": VOTE_RATE,
        "tuning_seeds": list(TUNING_SEEDS),
        "seeds": list(SEEDS),
        "cohorts": COHORTS,
        "target": TARGET,
        "most_rounds": MOST_ROUNDS,
    }
    methods, downs, cohorts = METHODS, list(DOWNS), COHORTS
    rates, steps, tuning_seeds, seeds, options = RATES, STEPS, TUNING_SEEDS, SEEDS, {}
    if smoke:
        methods = [("float32", False), ("vote", False), ("top 1%", True)]
        downs, cohorts = ["weights, 8 bits", "changes, top 1%"], (2,)
        rates, steps, tuning_seeds, seeds = (0.2, 0.4), (0.003,), (101,), (1,)
        options = {"rounds": 2}
    runs = Runs(None if smoke else UNFINISHED, setting)
    frontier = {}
    for name, memory in tqdm(methods, desc="frontier"):
        values = rates if CODECS[name] else steps
        label = f"{name}, memory" if memory else name
        frontier[label] = frontier_of(runs, name, memory, values, tuning_seeds, seeds, **options)
    bill: dict[str, dict] = {}
    for down, cohort in tqdm(list(itertools.product(downs, cohorts)), desc="bill"):
        one = bill_of(runs, down, cohort, rates, tuning_seeds, seeds, **options)
        bill.setdefault(down, {})[str(cohort)] = one
    if smoke:
        for label, method in frontier.items():
            print(f"frontier {label:16} {method['last'][0]:.3f} {method['kB_a_round'][0]:8.3f}")
        for down in bill:
            print(f"bill {down}")
        return
    record.write(
        "compression",
        {"setting": setting, "seconds": round(runs.seconds), "frontier": frontier, "bill": bill},
    )
    UNFINISHED.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a corner of it; writes nothing")
    main(parser.parse_args().smoke)
