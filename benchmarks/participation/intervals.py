"""Means with intervals over seeds and test images both."""

import numpy as np

REPLICATES = 5000


def interval(scores: np.ndarray) -> dict[str, float | list[float] | int]:
    """Returns the mean of `scores` [seeds, test images], and its 95% bootstrap interval.

    Seeds and test images are drawn anew, each with replacement and independently of each other, so
    the interval covers both. (Owen 2007, "The pigeonhole bootstrap": it is rather too wide than
    too narrow.)
    """
    seeds, images = scores.shape
    rng = np.random.default_rng(0)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), REPLICATES) / seeds
    chosen = rng.multinomial(images, np.full(images, 1 / images), REPLICATES) / images
    means = np.sum((weights @ scores) * chosen, axis=1)
    return {
        "mean": round(float(scores.mean()), 4),
        "interval": [round(float(end), 4) for end in np.quantile(means, [0.025, 0.975])],
        "seeds_above_0": int((scores.mean(axis=1) > 0).sum()),
    }
