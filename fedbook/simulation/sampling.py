"""Which clients take part in a round, and the batches that they train on."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.checks import check_int, check_type
from fedbook.data.clients import without_autotuning

Prepare = Callable[[tf.data.Dataset, int], Any]
LAST_SEED = 2**32 - 1  # of NumPy's RandomState, with which TFF samples


@dataclasses.dataclass(frozen=True)
class Batches:
    """The result of :func:`prepare_batches`; its repr is what a checkpoint writes down."""

    batch_size: int
    epochs: int
    shuffle: bool

    def __call__(self, dataset: tf.data.Dataset, seed: int) -> tf.data.Dataset:
        if self.shuffle:
            dataset = dataset.shuffle(10_000, seed=seed)
        if self.epochs > 1:
            dataset = dataset.repeat(self.epochs)
        batches = dataset.batch(self.batch_size)
        return without_autotuning(batches.map(lambda batch: (batch["pixels"], batch["label"])))


def prepare_batches(batch_size: int, epochs: int = 1, *, shuffle: bool = True) -> Prepare:
    """Returns the `prepare` of :func:`run_training` for the classifiers of the chapters.

    It is a function of a dataset of ``OrderedDict(label, pixels)`` and a seed, and returns the
    dataset of (images [b, 28, 28] float32, labels [b] int32).

    Args:
      batch_size: B of McMahan et al. 2017; the last batch may be smaller.
      epochs: E, the number of local epochs.
      shuffle: whether to shuffle each epoch differently, from the seed.

    Raises:
      ValueError: if `batch_size` or `epochs` is not an int from 1.
      TypeError: if `shuffle` is not a bool.
    """
    batch_size = check_int("batch_size", batch_size, 1)
    epochs = check_int("epochs", epochs, 1)
    return Batches(batch_size, epochs, check_type("shuffle", shuffle, bool))


def sample_clients(client_ids: Sequence[str], cohort: int, seed: int) -> Callable[[int], list[str]]:
    """Returns a function from a round's number to the clients of the round.

    They are sampled uniformly, without replacement within a round, and depend only on the
    seed and the round's number (``tff.simulation.build_uniform_sampling_fn``).

    Args:
      client_ids: the population.
      cohort: the number of clients in a round, from 1 to the size of the population.
      seed: an int from 0 to 2**32 - 1.

    Raises:
      ValueError: if `client_ids` is empty or holds duplicates, or `cohort` or `seed` is out of
        range.
      TypeError: if `client_ids` holds anything but strings, or is one string.
    """
    client_ids = check_ids(client_ids)
    if len(set(client_ids)) != len(client_ids):
        raise ValueError("client_ids holds duplicates; each id must occur only once.")
    if not client_ids:
        raise ValueError("client_ids is empty; it must hold at least one id.")
    cohort = check_int("cohort", cohort, 1, len(client_ids))
    seed = check_int("seed", seed, 0, LAST_SEED)
    sample = tff.simulation.build_uniform_sampling_fn(client_ids, random_seed=seed)
    return lambda round_number: sample(round_number, cohort)


def check_ids(client_ids: Sequence[str], known: Iterable[str] | None = None) -> list[str]:
    """Returns the ids as a list.

    Raises:
      TypeError: if they are not strings, or are one string.
      ValueError: if one of them is not `known`.
    """
    # A string is a sequence of strings too: its characters.
    if isinstance(client_ids, str) or not np.iterable(client_ids):
        kind = type(client_ids).__name__
        raise TypeError(f"client_ids is a {kind}; it must be a list of strings.")
    client_ids = [check_type("an entry of client_ids", client, str) for client in client_ids]
    unknown = sorted(set(client_ids) - set(client_ids if known is None else known))
    if unknown:
        first = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else ".")
        raise ValueError(f"client_ids holds {len(unknown)} ids that are not in data: {first}")
    return client_ids
