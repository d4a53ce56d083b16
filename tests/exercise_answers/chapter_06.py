"""Chapter 6: for each exercise, right answers, and wrong ones with some words of what is said."""

import math

import numpy as np
from sklearn.metrics import confusion_matrix


def by_index(meant, read):
    table = np.zeros((10, 10), int)
    table[meant, read] += 1
    return table


RIGHT = {
    "06-1": ["b", "B"],
    "06-2": [0.0447, math.sqrt(0.002)],
    "06-3": [lambda hits, sizes: [sum(hits) / sum(sizes), np.mean(hits / sizes)]],
    "06-4": [lambda sizes, p: (p - p**2) * (1 / sizes).mean()],
    "06-5": [
        lambda first, second: (
            first.mean() - second.mean(),
            np.std(first - second) / math.sqrt(len(first) - 1),
        )
    ],
    "06-6": [lambda target, n, tau2, sigma2: np.ceil((n * tau2 + sigma2) / n / target**2)],
    "06-7": [lambda meant, read: confusion_matrix(meant, read, labels=range(10))],
}
WRONG = {
    "06-1": [("a", "How large"), ("c", "Which gap"), ("d", "choose one of")],
    "06-2": [
        (0.002, "the variance"),
        (0.04, "people differ"),
        (0.02, "single answer"),
        (math.sqrt(0.0017), "25 people"),
        (0.06, "Add the variances"),
    ],
    "06-3": [
        (lambda hits, sizes: ((hits / sizes).mean(), hits.sum() / sizes.sum()), "other way round"),
        (lambda hits, sizes: (hits.sum() / sizes.sum(),) * 2, "every client counts once"),
        (lambda hits, sizes: ((hits / sizes).mean(),) * 2, "every example counts once"),
        (lambda hits, sizes: hits.sum() / sizes.sum(), "should"),
    ],
    "06-4": [
        (lambda sizes, p: p * (1 - p), "varies less"),
        (lambda sizes, p: np.sqrt(np.mean(p * (1 - p) / sizes)), "standard deviation"),
        (lambda sizes, p: p * (1 - p) / sizes.mean(), "divide first"),
    ],
    "06-5": [
        (lambda a, b: ((a - b).mean(), (a - b).std(ddof=1)), "not of their mean"),
        (lambda a, b: ((b - a).mean(), (a - b).std(ddof=1) / math.sqrt(len(a))), "the sign"),
        (lambda a, b: ((a - b).mean(), (a - b).std() / math.sqrt(len(a))), "ddof=1"),
        (
            lambda a, b: ((a - b).mean(), math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))),
            "unpaired",
        ),
    ],
    "06-6": [
        (lambda target, n, tau2, sigma2: int((tau2 + sigma2 / n) / target**2), "rounded down"),
        (lambda target, n, tau2, sigma2: math.ceil((tau2 + sigma2 / n) / target), "power"),
        (lambda target, n, tau2, sigma2: math.ceil((tau2 + sigma2) / target**2), "one answer"),
        (lambda target, n, tau2, sigma2: math.ceil(sigma2 / n / target**2), "people differ"),
    ],
    "06-7": [
        (lambda meant, read: confusion_matrix(read, meant, labels=range(10)), "exchanged"),
        (by_index, "counted once"),
        (
            lambda meant, read: confusion_matrix(meant, read, labels=range(10), normalize="true"),
            "shares",
        ),
    ],
}
