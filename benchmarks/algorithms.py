"""The learning-rate grids of chapter 08, and its final comparison over seeds.

python benchmarks/algorithms.py             writes results/algorithms.json
python benchmarks/algorithms.py --smoke     a corner of the grid, two rounds, writes nothing

Every method gets the same learning rates for its clients and at most three values of
one hyperparameter of its own. They are tuned on one half of the test images, with seeds of
their own; the best setting of each is then run with other seeds and tested on the other
half. The score is the mean accuracy after the last five rounds. The record says how long
it took.

The digits are those of FEDBOOK_SCALE, the setting is that of quick scale.
"""

import argparse
import dataclasses
import os
import time
from collections.abc import Callable, Mapping

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the products are small

import fedbook
from fedbook import algorithms, datasets, partition
from fedbook.algorithms import Algorithm, Federation

import numpy as np
from tqdm import tqdm

import record

SETTING = {"clients": 20, "cohort": 5, "rounds": 20, "steps": 40, "batch_size": 10, "last": 5}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
TUNING_SEEDS, SEEDS = range(100, 103), range(10)
PUBLIC = 0.05  # of the training images, for "5% public data"


@dataclasses.dataclass(frozen=True)
class Method:
    """A method: its algorithm as a function of the rate and the knob, and its budget.

    Attributes:
      build: from the clients' learning rate and the knob to the algorithm.
      knob: what the knob is; "" if there is none.
      values: of the knob.
      change: of the setting.
      public: the share of the examples that all clients get.
    """

    build: Callable[[float, float], Algorithm]
    knob: str = ""
    values: tuple[float, ...] = (0.0,)
    change: Mapping[str, int] = dataclasses.field(default_factory=dict)
    public: float = 0.0


def plain(rate, _):
    return algorithms.fed_avg(rate)


METHODS = {
    "FedAvg": Method(plain),
    "10 clients a round": Method(plain, change={"cohort": 10}),
    "all 20 clients": Method(plain, change={"cohort": 20}),
    "4 local steps": Method(plain, change={"steps": 4}),
    "5% public data": Method(plain, public=PUBLIC),
    "server rate": Method(algorithms.fed_avg, "server learning rate", (0.25, 0.5, 2.0)),
    "FedAvgM": Method(algorithms.fed_avg_m, "momentum", (0.5, 0.7, 0.9)),
    "FedAdam": Method(algorithms.fed_adam, "server learning rate", (0.01, 0.03, 0.1)),
    "FedYogi": Method(algorithms.fed_yogi, "server learning rate", (0.01, 0.03, 0.1)),
    "FedProx": Method(algorithms.fed_prox, "mu", (0.01, 0.1, 1.0)),
    "SCAFFOLD": Method(algorithms.scaffold, "server learning rate", (0.5, 1.0, 1.5)),
    "Mime Lite": Method(algorithms.mime_lite, "momentum", (0.3, 0.6, 0.9)),
}
SKEWS = {
    "label skew, hard": lambda labels, n, seed: partition.shards(labels, n, 2, seed=seed),
    "label skew, mild": lambda labels, n, seed: partition.dirichlet_per_client(
        labels, n, 10.0, seed=seed
    ),
    "feature skew": lambda labels, n, seed: partition.feature_skew(
        partition.iid(labels, n, seed=seed),
        rotation=45,
        stroke=1,
        contrast=0.6,
        noise=0.4,
        seed=seed,
    ),
}


def client_arrays(digits, skew: str, seed: int, public: float = 0.0):
    """Returns the clients' images [N, n, 784] and labels, and the test images and labels.

    The test images are given to the clients at random and seen as they see them. With
    `public`, the first examples are held by nobody and given to everybody.
    """
    given = round(public * len(digits.train_labels))
    images, labels = digits.train_images[given:], digits.train_labels[given:]
    split = SKEWS[skew](labels, SETTING["clients"], seed)
    held = np.stack(list(split.indices.values()))
    x, y = split.client_images(images)[held], split.client_labels(labels)[held]
    if given:
        x, y = (
            np.concatenate([own, np.broadcast_to(all_, (len(own), *all_.shape))], 1)
            for own, all_ in ((x, digits.train_images[:given]), (y, digits.train_labels[:given]))
        )
    tested = dataclasses.replace(
        partition.iid(digits.test_labels, SETTING["clients"]), features=split.features
    )
    test = tested.client_images(digits.test_images)
    return x.reshape(*y.shape, -1), y, test.reshape(len(test), -1), digits.test_labels


def score(arrays, method, rate: float, knob: float, seed: int, part: slice, setting) -> float:
    """Returns the mean test accuracy after the last rounds of a run."""
    x, y, test_x, test_y = arrays
    test_x, test_y = test_x[part], test_y[part]
    setting = dict(setting) | method.change
    last = setting.pop("last")
    setting.pop("clients")
    _, accuracies = algorithms.run(
        method.build(rate, knob),
        Federation(x, y),
        lambda weights: np.mean((test_x @ weights[0] + weights[1]).argmax(1) == test_y),
        seed=seed,
        **setting,
    )
    return float(np.mean(accuracies[-last:]))


def main(smoke: bool) -> None:
    start, digits = time.perf_counter(), datasets.load_digits()
    setting, rates, tuning_seeds, seeds, methods = SETTING, RATES, TUNING_SEEDS, SEEDS, METHODS
    if smoke:
        setting = setting | {"rounds": 2, "steps": 4}
        rates, tuning_seeds, seeds = RATES[2:4], (100,), (0,)
        methods = {name: METHODS[name] for name in ("FedAvg", "FedAdam", "SCAFFOLD", "Mime Lite")}
    half = len(digits.test_labels) // 2
    tune, test = slice(half), slice(half, None)
    grid, final = {}, {}
    for skew in SKEWS:
        grid[skew], final[skew] = {}, {}
        for name, method in tqdm(methods.items(), desc=skew):
            data = {
                seed: client_arrays(digits, skew, seed, method.public)
                for seed in (*tuning_seeds, *seeds)
            }
            grid[skew][name] = {
                f"{knob:g}": [
                    round(
                        np.mean(
                            [
                                score(data[seed], method, rate, knob, seed, tune, setting)
                                for seed in tuning_seeds
                            ]
                        ).item(),
                        4,
                    )
                    for rate in rates
                ]
                for knob in method.values
            }
            value, knob, rate = max(
                (value, float(knob), rate)
                for knob, row in grid[skew][name].items()
                for value, rate in zip(row, rates)
            )
            final[skew][name] = {
                "learning_rate": rate,
                "knob": knob,
                "tuned_to": value,
                "accuracy": [
                    round(score(data[seed], method, rate, knob, seed, test, setting), 4)
                    for seed in seeds
                ],
            }
    result = {
        "scale": fedbook.current_scale(),
        "setting": setting,
        "learning_rates": rates,
        "tuning_seeds": list(tuning_seeds),
        "seeds": list(seeds),
        "methods": {name: {"knob": m.knob, "values": m.values} for name, m in methods.items()},
        "grid": grid,
        "final": final,
    }
    if smoke:
        for skew, of_skew in final.items():
            for name, best in of_skew.items():
                print(f"{skew:18} {name:10} {best['accuracy'][0]:.3f}")
        return
    record.write("algorithms", result | {"wall_seconds": round(time.perf_counter() - start)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a corner of the grid; writes nothing")
    main(parser.parse_args().smoke)
