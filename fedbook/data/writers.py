"""Digits by writer: every client holds the digits that one person wrote."""

import collections
import contextlib
import dataclasses
import lzma
import pathlib
import shutil
import sqlite3

import numpy as np
import scipy.ndimage
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.checks import check_int
from fedbook.data import clients, digits, files
from fedbook.scale import current_scale

DatabaseFormatError = tff.simulation.datasets.sql_client_data.DatabaseFormatError
EMNIST_FILE = "emnist_all.sqlite"
# TFF itself downloads the file from this address, and publishes no hash for it.
EMNIST_URL = "https://storage.googleapis.com/tff-datasets-public/emnist_all.sqlite.lzma"


@dataclasses.dataclass(frozen=True)
class DigitsByWriter:
    """Digits by writer, each client's split into a training and a test set.

    Each client's dataset yields ``OrderedDict(label=int32 [], pixels=float32 [28, 28])``,
    with pixels from 0 (paper) to 1 (ink).

    Attributes:
      train: the training examples.
      test: other examples of the same clients.
      source: a sentence that says where the images come from.
    """

    train: tff.simulation.datasets.ClientData
    test: tff.simulation.datasets.ClientData
    source: str


def load_digits_by_writer(num_writers: int = 100) -> DigitsByWriter:
    """Returns digits divided by writer.

    At full scale these are the 3,383 writers of Federated EMNIST (Caldas et al. 2018, arXiv
    1812.01097), with 341,873 + 40,832 examples, downloaded once like MNIST. The pixels are inverted
    here, because the original has 1 for paper and 0 for ink. At quick scale each of the 5,000 quick
    digits belongs to one simulated writer, who has a slant, a stroke width and a size of their own.

    Args:
      num_writers: of the simulation, from 1 to 1,000. It has no effect at full scale.

    Raises:
      ValueError: if `num_writers` is out of range.
      DatasetError: at full scale, if the file is missing, damaged or cannot be downloaded.
    """
    check_int("num_writers", num_writers, 1, 1000)
    return _emnist() if current_scale() == "full" else _simulated_writers(num_writers)


def _simulated_writers(num_writers: int) -> DigitsByWriter:
    data = digits.quick_digits()
    rng = np.random.default_rng(digits.SHUFFLE_SEED + 1)
    slants = rng.normal(0, 0.25, num_writers)  # horizontal shift per row, pixels
    sizes = rng.uniform(0.75, 1.1, num_writers)  # 1 is MNIST's size
    strokes = rng.uniform(-0.6, 1.0, num_writers)  # below 0 thinner, above 0 thicker

    def divide(images, labels):
        # Like real people, the writers wrote different numbers of digits: log-normal shares.
        shares = rng.lognormal(0, 0.4, num_writers)
        owner = rng.choice(num_writers, len(labels), p=shares / shares.sum())
        owner[rng.permutation(len(labels))[:num_writers]] = np.arange(num_writers)  # one each
        styles = zip(images, slants[owner], sizes[owner], strokes[owner])
        drawn = np.stack([_draw(*image_and_style) for image_and_style in styles])
        indices = {f"writer_{w:03d}": np.flatnonzero(owner == w) for w in range(num_writers)}
        return clients.client_data(drawn, labels, indices)

    train = divide(data.train_images, data.train_labels)
    test = divide(data.test_images, data.test_labels)
    source = (
        f"5,000 real MNIST digits divided among {num_writers} simulated writers, each with a "
        "slant, a stroke width and a size of their own."
    )
    return DigitsByWriter(train, test, source)


def _draw(image: np.ndarray, slant: float, size: float, stroke: float) -> np.ndarray:
    """Returns one [28, 28] digit redrawn in a writer's style."""
    centre = np.array([13.5, 13.5])
    to_source = np.array([[1.0, 0.0], [slant, 1.0]]) / size
    image = scipy.ndimage.affine_transform(image, to_source, centre - to_source @ centre, order=1)
    change = scipy.ndimage.grey_dilation if stroke > 0 else scipy.ndimage.grey_erosion
    image = image + abs(stroke) * (change(image, size=(2, 2)) - image)
    return image.astype(np.float32)


def _emnist() -> DigitsByWriter:
    path = files.find(EMNIST_FILE, _download_emnist)
    folder = str(path.parent)  # TFF finds the file there and downloads nothing
    try:
        train, test = tff.simulation.datasets.emnist.load_data(only_digits=True, cache_dir=folder)
        if not train.client_ids or not test.client_ids:
            raise files.damaged(path, "it holds no client with digits")
        next(iter(train.create_tf_dataset_for_client(train.client_ids[-1])))
    except (sqlite3.DatabaseError, StopIteration, tf.errors.OpError, DatabaseFormatError) as error:
        raise files.damaged(path, f"{type(error).__name__}: {error}") from error
    source = f"Federated EMNIST digits (Caldas et al. 2018) by {len(train.client_ids):,} writers."
    return DigitsByWriter(train.preprocess(_ink_is_one), test.preprocess(_ink_is_one), source)


def _download_emnist(folder: pathlib.Path) -> None:
    # TFF's own download does not notice when the connection breaks. This one does: lzma
    # requires its end mark, and SQLite checks every page.
    packed = folder / f"{EMNIST_FILE}.lzma"
    files.fetch(EMNIST_URL, packed)
    with lzma.open(packed) as source, (folder / EMNIST_FILE).open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    with contextlib.closing(sqlite3.connect(folder / EMNIST_FILE)) as database:
        (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise ValueError(f"{EMNIST_URL} holds a damaged database: {state}")


def _ink_is_one(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return dataset.map(lambda e: collections.OrderedDict(label=e["label"], pixels=1 - e["pixels"]))
