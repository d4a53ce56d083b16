"""Deals the digits to clients, once for all contenders: python make_work.py CONFIG.

Of the 60,000 digits of full scale every client gets its own; of the 4,000 of quick
scale (the default) each client's are drawn with replacement.
"""

import json
import pathlib
import sys

import fedbook  # noqa: F401  (before TensorFlow)
from fedbook import datasets, models

import numpy as np


def main(config: dict) -> None:
    digits = datasets.load_digits()
    rng = np.random.default_rng(config["seed"])
    shape = (config["clients"], config["examples"])
    if np.prod(shape) <= len(digits.train_labels):
        dealt = rng.permutation(len(digits.train_labels))[: np.prod(shape)].reshape(shape)
    else:
        dealt = rng.choice(len(digits.train_labels), shape)
    test = slice(config["test_examples"])
    arrays = {
        "images": in_bytes(digits.train_images[dealt]),
        "labels": digits.train_labels[dealt],
        "test_images": in_bytes(digits.test_images[test]),
        "test_labels": digits.test_labels[test],
    }
    for name in config["models"]:
        weights = getattr(models.keras, name)(config["seed"]).get_weights()
        arrays[f"{name}_arrays"] = len(weights)
        arrays |= {f"{name}_{i}": array for i, array in enumerate(weights)}
    np.savez(config["data"], **arrays)
    print(json.dumps({"source": digits.source}))


def in_bytes(images: np.ndarray) -> np.ndarray:
    return np.round(images * 255).astype(np.uint8)


if __name__ == "__main__":
    main(json.loads(pathlib.Path(sys.argv[1]).read_text()))
