"""Coded messages in a TFF process: their bytes and their randomness.

The state of such a process is the seed and the number of the round, int32 [2]. A client's
own seed follows from this state and from the client's tensors, so that the same rounds give
the same numbers.
"""

import collections
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.checks import check_int

STATE = tff.TensorType(np.int32, [2])


@runtime_checkable
class TensorCoder(Protocol):
    """What a TFF process needs of a codec, such as those of :mod:`fedbook.compression`."""

    def message_bytes(self, shapes: Sequence[Sequence[int]]) -> int:
        """Returns the length of every message for tensors of these shapes."""

    def reconstruct(self, update: Sequence[tf.Tensor], seed: tf.Tensor) -> list[tf.Tensor]:
        """Returns the update as the server sees it, of which it may take a mean."""


def check_coder(codec: Any) -> TensorCoder:
    """Returns `codec`; raises TypeError if it lacks a method of :class:`TensorCoder`."""
    if not isinstance(codec, TensorCoder):
        raise TypeError(
            f"codec is {codec!r}; it must be a codec whose updates TFF can average, with the "
            "methods message_bytes and reconstruct, such as TopK(0.01)."
        )
    return codec


def first_state(seed: int) -> tff.Computation:
    """Returns a computation of the first state; raises ValueError unless 0 <= `seed` < 2**31."""
    seed = check_int("seed", seed, 0, 2**31 - 1)
    return tff.tensorflow.computation(lambda: tf.constant([seed, 0]))


def count_bytes(per_client: int) -> collections.OrderedDict[str, Any]:
    """Returns a round's measurements, at the server; to be called in a federated computation."""
    length = np.int64(per_client)
    return collections.OrderedDict(
        uplink_bytes_per_client=tff.federated_value(length, tff.SERVER),
        uplink_bytes=tff.federated_sum(tff.federated_value(length, tff.CLIENTS)),
    )


def client_seed(state: tf.Tensor, value: list[tf.Tensor]) -> tf.Tensor:
    """Returns a seed, int32 [2], from the round's state and the bits of the client's tensors."""
    bits = [tf.reduce_sum(tf.bitcast(tensor, tf.int32)) for tensor in value]
    return tf.random.experimental.stateless_fold_in(state, tf.add_n(bits))


def float_shapes(value_type: Any) -> list[tuple[int, ...]]:
    """Returns the shapes of a type's tensors, in order.

    Raises:
      ValueError: if one of them is not float32 or does not have a known shape.
    """
    flat = _flatten(value_type)
    for tensor in flat:
        known = isinstance(tensor, tff.TensorType) and tensor.shape is not None
        if not known or None in tensor.shape or tensor.dtype != np.float32:
            raise ValueError(
                f"the values hold {tensor}; a codec needs float32 tensors with known shapes."
            )
    return [tuple(tensor.shape) for tensor in flat]


@tff.tensorflow.computation(STATE)
def next_state(state):
    """Adds one to the number of the round."""
    return state + tf.constant([0, 1])


def _flatten(value_type: Any) -> list[Any]:
    if not isinstance(value_type, tff.StructType):
        return [value_type]
    return [leaf for member in value_type for leaf in _flatten(member)]
