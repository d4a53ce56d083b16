"""The exercises of chapter 6, evaluation."""

import math

import numpy as np

from fedbook.exercises.answers import Choice, Function, Number


def both_means(hits: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Returns the accuracy by example and by client, from the hits and sizes [clients]."""
    return float(hits.sum() / sizes.sum()), float((hits / sizes).mean())


def chance_variance(sizes: np.ndarray, p: float) -> float:
    """Returns the mean variance of a client's accuracy if all are read equally well."""
    return float(np.mean(p * (1 - p) / sizes))


def paired(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Returns the mean of the paired differences and its standard error."""
    difference = first - second
    return float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)


def people_needed(target: float, n: int, tau2: float, sigma2: float) -> int:
    """Returns how many people bring the standard error down to the target."""
    return math.ceil((tau2 + sigma2 / n) / target**2)


def confusion(meant: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Returns the counts [10, 10], with a row for each meant digit."""
    table = np.zeros((10, 10), int)
    np.add.at(table, (meant, read), 1)
    return table


def _draw_counts(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    sizes = rng.permutation([4, 7, 10, 25, 80])
    return rng.binomial(sizes, rng.uniform(0.5, 0.9, size=5)), sizes


def _draw_sizes(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    return rng.integers(2, 40, size=6), float(rng.uniform(0.6, 0.9))


def _draw_runs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    both = rng.normal(0.8, 0.03, size=6)
    return both + rng.normal(0.01, 0.01, size=6), both


def _draw_plan(rng: np.random.Generator) -> tuple[float, int, float, float]:
    target, tau, sigma = rng.uniform([0.005, 0.05, 0.2], [0.01, 0.15, 0.4])
    return float(target), int(rng.integers(3, 30)), float(tau**2), float(sigma**2)


def _draw_digits(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Some digits, a third of them misread, with pairs that occur more than once."""
    meant = rng.integers(10, size=60)
    return meant, np.where(rng.random(60) < 0.3, rng.integers(10, size=60), meant)


EXERCISES = {
    "06-1": Choice(
        expected="b",
        options={
            "a": "more people close the participation gap. How large is that gap here?",
            "b": "the out-of-sample gap is by far the larger one, and more examples close it.",
            "c": "a longer training fits the training examples even better. Which gap does this "
            "open?",
        },
    ),
    "06-2": Number(
        math.sqrt(0.1**2 / 25 + 0.4**2 / 100),
        mistakes={
            "that is the variance. The standard error is its square root.": 0.002,
            "that leaves out how people differ.": 0.04,
            "that leaves out how a single answer varies.": 0.02,
            "that counts 100 independent answers. There are only 25 people.": (
                math.sqrt((0.1**2 + 0.4**2) / 100)
            ),
            "that adds the two standard errors. Add the variances.": 0.06,
        },
    ),
    "06-3": Function(
        both_means,
        _draw_counts,
        mistakes={
            "the order is the other way round: first by example, then by client.": (
                lambda hits, sizes: both_means(hits, sizes)[::-1]
            ),
            "both are the mean by example. By client, every client counts once.": (
                lambda hits, sizes: (both_means(hits, sizes)[0],) * 2
            ),
            "both are the mean by client. By example, every example counts once.": (
                lambda hits, sizes: (both_means(hits, sizes)[1],) * 2
            ),
        },
    ),
    "06-4": Function(
        chance_variance,
        _draw_sizes,
        mistakes={
            "that is the variance of a single answer. The mean of n answers varies less.": (
                lambda sizes, p: p * (1 - p)
            ),
            "that is the standard deviation. The exercise asks for the variance.": (
                lambda sizes, p: chance_variance(sizes, p) ** 0.5
            ),
            "that divides by the mean size. Small clients vary most, so divide first and then "
            "average.": lambda sizes, p: p * (1 - p) / np.mean(sizes),
        },
    ),
    "06-5": Function(
        paired,
        _draw_runs,
        mistakes={
            "the second number is the standard deviation of the differences, not of their mean.": (
                lambda first, second: ((first - second).mean(), (first - second).std(ddof=1))
            ),
            "the sign is wrong: take the first minus the second.": lambda first, second: paired(
                second, first
            ),
            "that divides by n in the standard deviation. Use ddof=1.": lambda first, second: (
                (first - second).mean(),
                (first - second).std() / len(first) ** 0.5,
            ),
            "the error is that of two unpaired samples. The runs share their seeds, so subtract "
            "first.": lambda first, second: (
                (first - second).mean(),
                ((first.var(ddof=1) + second.var(ddof=1)) / len(first)) ** 0.5,
            ),
        },
    ),
    "06-6": Function(
        people_needed,
        _draw_plan,
        mistakes={
            "that is rounded down, so the standard error is above the target.": (
                lambda target, n, tau2, sigma2: math.floor((tau2 + sigma2 / n) / target**2)
            ),
            "the target is a standard error. Which power of it is a variance?": (
                lambda target, n, tau2, sigma2: math.ceil((tau2 + sigma2 / n) / target)
            ),
            "that counts one answer of each person.": (
                lambda target, n, tau2, sigma2: math.ceil((tau2 + sigma2) / target**2)
            ),
            "that leaves out how people differ.": (
                lambda target, n, tau2, sigma2: math.ceil(sigma2 / n / target**2)
            ),
        },
        rtol=1e-9,
    ),
    "06-7": Function(
        confusion,
        _draw_digits,
        mistakes={
            "rows and columns are exchanged: a row is for the digit that was meant.": (
                lambda meant, read: confusion(meant, read).T
            ),
            "pairs that occur several times are counted once.": (
                lambda meant, read: np.minimum(confusion(meant, read), 1)
            ),
            "these are shares. Clients need to send counts, which can be added up.": (
                lambda meant, read: (
                    confusion(meant, read)
                    / np.maximum(confusion(meant, read).sum(axis=1, keepdims=True), 1)
                )
            ),
        },
    ),
}
