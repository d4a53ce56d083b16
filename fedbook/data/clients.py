"""From arrays to clients: the datasets from which a simulated federation reads its examples."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff


def client_data(
    images: np.ndarray, labels: np.ndarray, indices: Mapping[str, Sequence[int] | np.ndarray]
) -> tff.simulation.datasets.ClientData:
    """Returns a ClientData whose datasets yield ``OrderedDict(label=..., pixels=...)``.

    Args:
      images: [N, 28, 28] float32.
      labels: [N] int32.
      indices: for each client id, the indices of the examples that the client holds.

    Raises:
      ValueError: if `images` and `labels` differ in length, there is no client, a client holds no
        example, or an index is not in 0..N-1.
    """
    if len(images) != len(labels):
        raise ValueError(
            f"images has {len(images)} examples and labels {len(labels)}; they must match."
        )
    if not indices:
        raise ValueError("indices is empty; it needs at least one client.")
    clients = {}
    for client, held in indices.items():
        held = np.asarray(held)
        if held.size == 0 or held.min() < 0 or held.max() >= len(labels):
            extent = f", from {held.min()} to {held.max()}" if held.size else ""
            raise ValueError(
                f"indices[{client!r}] must hold at least one index from 0 to {len(labels) - 1}; "
                f"it has {held.size}{extent}."
            )
        clients[client] = collections.OrderedDict(label=labels[held], pixels=images[held])
    return tff.simulation.datasets.TestClientData(clients)


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
