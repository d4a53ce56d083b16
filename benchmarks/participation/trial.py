"""One run: the clients' examples, the model, the rounds, and which test images come out right."""

import dataclasses
import functools
from collections.abc import Mapping

from fedbook import algorithms, datasets, partition
from fedbook.algorithms import Federation

import numpy as np

from participation.methods import CLIENTS, Method

HARD, MILD, FEATURE, IID = "label skew, hard", "label skew, mild", "feature skew", "IID"
SOFTMAX, PERCEPTRON = "softmax regression", "perceptron"
HIDDEN = 32  # units of the perceptron
LAST = 5  # rounds whose models are tested
PARTITIONS = {
    HARD: lambda labels, seed: partition.shards(labels, CLIENTS, 2, seed=seed),
    MILD: lambda labels, seed: partition.dirichlet_per_client(labels, CLIENTS, 10.0, seed=seed),
    FEATURE: lambda labels, seed: partition.feature_skew(
        partition.iid(labels, CLIENTS, seed=seed),
        rotation=45,
        stroke=1,
        contrast=0.6,
        noise=0.4,
        seed=seed,
    ),
    IID: lambda labels, seed: partition.iid(labels, CLIENTS, seed=seed),
}

load_digits = functools.cache(datasets.load_digits)


@functools.lru_cache(maxsize=6)
def client_arrays(name: str, seed: int, public: float = 0.0):
    """Returns the clients' images [N, n, 784] and labels, and the test images and labels.

    The test images are given to the clients at random and seen as they see them. With
    `public`, the first examples are held by nobody and given to everybody.
    """
    digits = load_digits()
    given = round(public * len(digits.train_labels))
    images, labels = digits.train_images[given:], digits.train_labels[given:]
    split = PARTITIONS[name](labels, seed)
    held = np.stack(list(split.indices.values()))
    x, y = split.client_images(images)[held], split.client_labels(labels)[held]
    if given:
        x, y = (
            np.concatenate([own, np.broadcast_to(all_, (len(own), *all_.shape))], 1)
            for own, all_ in ((x, digits.train_images[:given]), (y, digits.train_labels[:given]))
        )
    tested = dataclasses.replace(
        partition.iid(digits.test_labels, CLIENTS), features=split.features
    )
    test = tested.client_images(digits.test_images)
    return x.reshape(*y.shape, -1), y, test.reshape(len(test), -1), digits.test_labels


def first_weights(model: str, pixels: int, seed: int) -> list[np.ndarray] | None:
    """Returns He's random weights for the perceptron, and None for softmax regression's zeros."""
    if model == SOFTMAX:
        return None
    rng = np.random.default_rng([seed, HIDDEN])
    sizes = (pixels, HIDDEN), (HIDDEN, 10)
    kernels = [rng.normal(0, np.sqrt(2 / a), (a, b)).astype(np.float32) for a, b in sizes]
    return [array for k in kernels for array in (k, np.zeros(k.shape[1], np.float32))]


def predict(weights: list[np.ndarray], images: np.ndarray) -> np.ndarray:
    hidden = images
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2]):
        hidden = np.maximum(hidden @ kernel + bias, 0)
    return (hidden @ weights[-2] + weights[-1]).argmax(1)


def correct(
    model: str,
    partition_name: str,
    method: Method,
    rate: float,
    knob: float,
    seed: int,
    part: slice,
    setting: Mapping[str, int],
) -> np.ndarray:
    """Returns how many of the models of the last rounds are right on each test image of `part`."""
    x, y, test_x, test_y = client_arrays(partition_name, seed, method.public)
    test_x, test_y = test_x[part], test_y[part]
    steps = {"steps": method.steps(y)} if method.steps else {}
    with np.errstate(all="ignore"):  # a rate that is too high
        _, right = algorithms.run(
            method.build(rate, knob),
            Federation(x, y),
            lambda weights: predict(weights, test_x) == test_y,
            seed=seed,
            weights=first_weights(model, x.shape[2], seed),
            **(dict(setting) | steps),
        )
    return np.sum(right[-LAST:], axis=0)
