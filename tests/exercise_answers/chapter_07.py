"""Chapter 7: for each exercise, right answers, and wrong ones with some words of what is said."""

import numpy as np


def _ifca(models, losses, deltas):
    chosen = np.argmin(losses, axis=1)
    return [
        model + deltas[chosen == m].mean(axis=0) if (chosen == m).any() else model
        for m, model in enumerate(models)
    ]


RIGHT = {
    "07-1": ["d", "D"],
    "07-2": [3, 3.0],
    "07-3": [lambda n, shares: sum(np.sqrt(p * (1 - p) / (2 * np.pi * n)) for p in shares)],
    "07-4": [lambda w, a, c, eta, tau: w if not tau else w + (1 - (1 - eta * a) ** tau) * (c - w)],
    "07-5": [lambda *arguments: np.array(_ifca(*arguments))],
    "07-6": [
        lambda answers, labels: [
            np.sum((answers == d) & (labels == d)) / np.sum(labels == d) for d in range(10)
        ]
    ],
}
WRONG = {
    "07-1": [("a", "how many"), ("b", "not rarer"), ("c", "look the same"), ("e", "choose one of")],
    "07-2": [(0.03, "other direction"), (0.3, "the same number"), (30, "10 times too large")],
    "07-3": [
        (lambda n, shares: np.sqrt(2 / np.pi * shares * (1 - shares) / n).sum(), "half of"),
        (lambda n, shares: np.sqrt(shares * (1 - shares) / n).sum() / 2, "standard deviation"),
        (lambda n, shares: np.sqrt(2 / np.pi * shares * (1 - shares) * n).sum() / 2, "counts"),
        (
            lambda n, shares: np.sqrt(2 / np.pi) * np.sum(shares * (1 - shares) / n) / 2,
            "Take the root",
        ),
    ],
    "07-4": [
        (lambda w, a, c, eta, tau: (w - c) * (1 - eta * a) ** tau, "distance to c"),
        (lambda w, a, c, eta, tau: w - eta * a * (w - c), "one step"),
        (lambda w, a, c, eta, tau: w - eta * tau * a * (w - c), "multiplies"),
        (lambda w, a, c, eta, tau: (1 - (1 - eta * a) ** tau) * (c - w), "its delta"),
    ],
    "07-5": [
        (
            lambda models, losses, deltas: (
                models + np.outer(np.arange(3) == losses.mean(axis=0).argmin(), deltas.mean(axis=0))
            ),
            "chooses for itself",
        ),
        (
            lambda models, losses, deltas: (
                models + np.eye(3)[losses.argmin(axis=1)].T @ deltas / len(deltas)
            ),
            "of all clients",
        ),
        (
            lambda models, losses, deltas: models + np.eye(3)[losses.argmin(axis=1)].T @ deltas,
            "Take their mean",
        ),
        (
            lambda models, losses, deltas: [
                deltas[chose].mean(axis=0) if chose.any() else model
                for model, chose in zip(models, losses.argmin(axis=1) == np.arange(3)[:, None])
            ],
            "Add the mean to the model",
        ),
        (lambda models, losses, deltas: _ifca(models, -losses, deltas), "largest loss"),
        (lambda models, losses, deltas: models.mean(axis=0), "has shape"),
    ],
    "07-6": [
        (
            lambda answers, labels: [np.sum((answers == d) & (labels == d)) for d in range(10)],
            "the number of correct",
        ),
        (
            lambda answers, labels: [np.mean((answers == d) & (labels == d)) for d in range(10)],
            "all images",
        ),
        (
            lambda answers, labels: [
                np.sum((answers == d) & (labels == d)) / max(np.sum(answers == d), 1)
                for d in range(10)
            ],
            "answered the digit",
        ),
        (lambda answers, labels: np.mean(answers == labels), "should have shape"),
    ],
}
