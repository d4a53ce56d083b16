"""A codec inside TFF: the clients' updates go through it, and the bytes are counted."""

import collections
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff


class CodecSumFactory(tff.aggregators.UnweightedAggregationFactory):
    """Sums what is left of the clients' values after a codec.

    Every client does ``codec.reconstruct`` on its value, and the sum of these
    reaches the server: what a server would get by decoding the messages. The
    messages themselves are not made, their lengths are known without.

    The state is the seed and the number of the round, int32 [2]. A client's own
    randomness follows from these and from its value, so that the same rounds give
    the same numbers; only clients with equal values draw alike.

    The measurements are int64 scalars: `uplink_bytes_per_client`, the length of a
    message before entropy coding (``codec.message_bytes``), and `uplink_bytes`,
    that of all messages of the round.

    Args:
      codec: a :class:`fedbook.compression.Codec`.
      seed: from 0 to 2**31 - 1.

    Raises:
      ValueError: if `seed` is out of its range; in `create`, if the values do not
        hold float32 of known shapes, or the codec cannot code such shapes.
    """

    def __init__(self, codec: Any, seed: int = 0):
        self._codec, self._seed = codec, check_seed(seed)

    def create(self, value_type):
        shapes = float_shapes(value_type)
        initial_state = np.array([self._seed, 0], np.int32)

        @tff.tensorflow.computation
        def first_state():
            return tf.constant(initial_state)

        @tff.tensorflow.computation(first_state.type_signature.result, value_type)
        def reconstruct(state, value):
            flat = tf.nest.flatten(value)
            decoded = self._codec.reconstruct(flat, client_seed(state, flat))
            return tf.nest.pack_sequence_as(value, decoded)

        @tff.federated_computation
        def initialize():
            return tff.federated_eval(first_state, tff.SERVER)

        @tff.federated_computation(
            initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS)
        )
        def next_round(state, values):
            decoded = tff.federated_map(reconstruct, (tff.federated_broadcast(state), values))
            return tff.templates.MeasuredProcessOutput(
                tff.federated_map(next_state, state),
                tff.federated_sum(decoded),
                count_bytes(self._codec.message_bytes(shapes)),
            )

        return tff.templates.AggregationProcess(initialize, next_round)


class VoteFactory(tff.aggregators.WeightedAggregationFactory):
    """The majority vote of the clients' signs; clients of weight 0 have no vote.

    The measurements are those of :class:`CodecSumFactory`.

    Args:
      codec: a :class:`fedbook.compression.MajorityVote`.
    """

    def __init__(self, codec: Any):
        self._codec = codec

    def create(self, value_type, weight_type):
        shapes = float_shapes(value_type)

        @tff.tensorflow.computation(value_type, weight_type)
        def vote(value, weight):
            has_vote = tf.cast(weight > 0, tf.float32)
            decoded = self._codec.reconstruct(tf.nest.flatten(value), tf.zeros([2], tf.int32))
            return tf.nest.pack_sequence_as(value, [has_vote * tf.sign(d) for d in decoded])

        @tff.tensorflow.computation(value_type)
        def move(votes):
            return tf.nest.map_structure(lambda v: np.float32(self._codec.step) * tf.sign(v), votes)

        @tff.federated_computation
        def initialize():
            return tff.federated_value((), tff.SERVER)

        @tff.federated_computation(
            initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_round(state, values, weights):
            votes = tff.federated_sum(tff.federated_map(vote, (values, weights)))
            measurements = tff.federated_zip(
                collections.OrderedDict(mean_value=count_bytes(self._codec.message_bytes(shapes)))
            )
            return tff.templates.MeasuredProcessOutput(
                state, tff.federated_map(move, votes), measurements
            )

        return tff.templates.AggregationProcess(initialize, next_round)


def count_bytes(per_client: int) -> Any:
    """Returns the measurements of one round, at the server; call it in a federated computation."""
    messages = tff.federated_value(np.int64(per_client), tff.CLIENTS)
    return tff.federated_zip(
        collections.OrderedDict(
            uplink_bytes_per_client=tff.federated_value(np.int64(per_client), tff.SERVER),
            uplink_bytes=tff.federated_sum(messages),
        )
    )


def client_seed(state: tf.Tensor, value: list[tf.Tensor]) -> tf.Tensor:
    """Returns a seed, int32 [2], from the round's state and the bits of the client's tensors."""
    bits = [tf.reduce_sum(tf.bitcast(tensor, tf.int32)) for tensor in value]
    return tf.random.experimental.stateless_fold_in(state, tf.add_n(bits))


def float_shapes(value_type: Any) -> list[tuple[int, ...]]:
    """Returns the shapes of a type's tensors, in order.

    Raises:
      ValueError: if one of them is not float32, or its shape is not known.
    """
    flat = [value_type] if isinstance(value_type, tff.TensorType) else _flatten(value_type)
    for tensor in flat:
        known = isinstance(tensor, tff.TensorType) and None not in (tensor.shape or ())
        if not known or tensor.shape is None or tensor.dtype != np.float32:
            raise ValueError(f"the values hold {tensor}; a codec takes float32 of known shapes.")
    return [tuple(tensor.shape) for tensor in flat]


def check_seed(seed: int) -> int:
    """Returns `seed`; raises ValueError unless it is an int from 0 to 2**31 - 1."""
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**31:
        raise ValueError(f"seed is {seed!r}; it must be an int from 0 to {2**31 - 1}.")
    return int(seed)


@tff.tensorflow.computation(tff.TensorType(np.int32, [2]))
def next_state(state):
    """Counts the round."""
    return state + tf.constant([0, 1])


def _flatten(value_type: Any) -> list[Any]:
    return [
        leaf
        for member in value_type
        for leaf in (_flatten(member) if isinstance(member, tff.StructType) else [member])
    ]
