"""From arrays to clients: the datasets from which a simulated federation reads its examples."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.checks import check_type

MOST_CLASSES = 1_000_000  # more would be ids of something, and no class counts fit in memory


def client_data(
    images: np.ndarray, labels: np.ndarray, indices: Mapping[str, Sequence[int] | np.ndarray]
) -> tff.simulation.datasets.ClientData:
    """Returns a ClientData whose datasets yield ``OrderedDict(label=..., pixels=...)``.

    Args:
      images: [N, 28, 28] floats, which become float32.
      labels: [N] ints from 0, which become int32.
      indices: for each client id, the indices of the examples that the client holds: their
        positions in `images`, from 0. Several clients may hold the same example, and a client
        holds an example twice if its index occurs twice.

    Raises:
      ValueError: if `images` and `labels` differ in length or hold anything else, there is no
        client, a client holds no example, or an index is not an int in 0..N-1.
      TypeError: if `indices` is not a mapping from strings, or holds a pandas Series or Index,
        which names the rows of a table by their labels and not by their positions.
    """
    images, labels = check_examples(images, labels)
    labels = labels.astype(np.int32, copy=False)
    clients = {}
    for client, held in check_positions(indices).items():
        if held.size == 0 or held.min() < 0 or held.max() >= len(labels):
            extent = f", from {held.min()} to {held.max()}" if held.size else ""
            raise ValueError(
                f"indices[{client!r}] must hold at least one index from 0 to {len(labels) - 1}; "
                f"it has {held.size}{extent}."
            )
        clients[client] = collections.OrderedDict(label=labels[held], pixels=images[held])
    return tff.simulation.datasets.TestClientData(clients)


def check_examples(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both, checked; raises ValueError unless there are as many labels as images."""
    images, labels = check_images(images), check_labels(labels)
    if len(images) != len(labels):
        raise ValueError(
            f"images has {len(images)} examples and labels {len(labels)}; they must match."
        )
    return images, labels


def check_images(images: np.ndarray) -> np.ndarray:
    """Returns the images as float32; raises ValueError unless they are [N, ...] finite floats."""
    images = np.asarray(images)
    if images.ndim < 2 or not images.size or images.dtype.kind != "f":
        raise ValueError(
            f"images has shape {images.shape} and dtype {images.dtype}; it must be "
            "[N, 28, 28] floats. Pixels that are ints from 0 to 255 must be divided by 255."
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes inf
        images = images.astype(np.float32, copy=False)
    finite = np.isfinite(images)
    if not finite.all():
        bad = finite.size - np.count_nonzero(finite)
        raise ValueError(f"images holds {bad} values that are NaN or infinite; all must be finite.")
    return images


def check_labels(labels: np.ndarray) -> np.ndarray:
    """Returns the labels as an array; raises ValueError unless they are [N] ints from 0."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels has shape {labels.shape} and dtype {labels.dtype}; it must be [N] ints, "
            "one class number for each example and at least one."
        )
    if labels.min() < 0:
        raise ValueError(f"labels holds {labels.min()}; classes are numbered from 0.")
    if labels.max() >= MOST_CLASSES:
        raise ValueError(
            f"labels holds {labels.max()}; classes are numbered from 0, and there may be "
            f"{MOST_CLASSES:,} at most."
        )
    return labels


def check_positions(indices: Mapping[str, Sequence[int] | np.ndarray]) -> dict[str, np.ndarray]:
    """Returns each client's indices as an array [n] int64; it may be empty.

    Raises:
      TypeError: if `indices` is not a mapping from strings, or holds a pandas Series or Index.
      ValueError: if `indices` is empty, or holds anything but lists of ints from 0.
    """
    check_type("indices", indices, Mapping, "{'client_0': [0, 1]}")
    if not indices:
        raise ValueError("indices is empty; it needs at least one client.")
    positions = {}
    for client, held in indices.items():
        check_type("a client id in indices", client, str, "'client_0'")
        name = f"indices[{client!r}]"
        if isinstance(held, pd.Series | pd.Index):
            raise TypeError(
                f"{name} is a pandas {type(held).__name__}, which holds labels of rows; it must "
                "hold positions, which differ in a table that was shuffled or filtered. Use "
                "table.groupby(...).indices, or .to_numpy() if these are positions."
            )
        array = np.asarray(held)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            mask = " np.flatnonzero(mask) makes them from a mask." if array.dtype == bool else ""
            raise ValueError(
                f"{name} has shape {array.shape} and dtype {array.dtype}; "
                f"it must be a list of ints from 0.{mask}"
            )
        if array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**62:
            raise ValueError(
                f"{name} has {array.size} ints, from {array.min()} to {array.max()}; "
                "it must be a list of ints from 0."
            )
        positions[client] = array.astype(np.int64)
    return positions


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without tf.data's rewriting and autotuning.

    Both take about 10 ms each time a dataset is opened, which happens once a round. For most
    clients that is longer than reading the data. Keras's ``fit`` loses even more time: after the
    last batch it waits for the next step of the autotuning, and each pause is twice as long.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)
