"""Chapter 8: for each exercise, right answers, and wrong ones with some words of what is said."""

import numpy as np

RIGHT = {
    "08-1": ["a", "A"],
    "08-2": [12.56, np.float32(12.56)],
    "08-3": [
        lambda last, chosen, new: (
            sum(last) / len(last) + sum(n - last[k] for k, n in zip(chosen, new)) / len(new)
        )
    ],
    "08-4": [
        lambda deltas, steps: (
            sum(d / s for d, s in zip(deltas, steps)) * sum(steps) / len(steps) ** 2
        )
    ],
    "08-5": [lambda a, c, rate, num_steps: np.average(c, weights=1 - (1 - rate * a) ** num_steps)],
    "08-6": ["c"],
}
WRONG = {
    "08-1": [("b", "changes the clients' steps"), ("c", "which terms cancel")],
    "08-2": [
        (6.28, "weights only"),
        (1.256, "one client"),
        (0.628, "one round"),
        (18.84, "both directions"),
    ],
    "08-3": [
        (lambda last, chosen, new: new.mean(0), "that is FedAvg"),
        (lambda last, chosen, new: (new - last[chosen]).mean(0), "everything remembered"),
        (lambda last, chosen, new: last.mean(0) + new.mean(0), "count twice"),
        (
            lambda last, chosen, new: np.delete(last, chosen, 0).sum(0) / 7 + new.sum(0) / 7,
            "that is MIFA",
        ),
    ],
    "08-4": [
        (lambda deltas, steps: deltas.mean(0), "that is FedAvg"),
        (lambda deltas, steps: (deltas / steps[:, None]).mean(0), "mean delta of one step"),
        (lambda deltas, steps: steps @ deltas / steps.sum(), "favours fast clients"),
        (lambda deltas, steps: steps.sum() * (deltas / steps[:, None]).mean(0), "not by their sum"),
    ],
    "08-5": [
        (lambda a, c, rate, num_steps: (a * c).sum() / a.sum(), "rests elsewhere"),
        (lambda a, c, rate, num_steps: c.mean(), "infinitely many"),
        (
            lambda a, c, rate, num_steps: (
                ((1 - rate * a) ** num_steps * c).sum() / ((1 - rate * a) ** num_steps).sum()
            ),
            "is what is left",
        ),
    ],
    "08-6": [("a", "the absent ones"), ("b", "both numbers")],
}
