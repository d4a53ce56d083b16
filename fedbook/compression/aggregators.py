"""What the server makes of the clients' coded updates, in NumPy and in TFF.

In TFF the messages themselves are not made. Each client replaces its value by what the
server would decode, and the lengths of the messages are known in advance. The measurements
of a round are int64 scalars: `uplink_bytes_per_client`, the length of one message before
entropy coding (``codec.message_bytes``), and `uplink_bytes`, that of all messages together.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.algorithms.tff import messages as tff_messages
from fedbook.checks import check_shapes, check_type
from fedbook.compression.base import Codec, MessageFormat
from fedbook.compression.entropy import Deflated
from fedbook.compression.sign import MajorityVote


def aggregate(
    codec: MessageFormat | Deflated,
    messages: Sequence[bytes],
    weights: Sequence[float] | None = None,
) -> list[np.ndarray]:
    """Returns the weighted mean of the decoded messages, or the majority vote.

    With a :class:`MajorityVote`, every client has one vote, whatever its weight. A client
    of weight 0 has none. Each element of the result is `step` times the sign of the sum of
    the votes, and 0 for a tie.

    Args:
      codec: what the clients encoded their updates with.
      messages: one for each client, of updates with the same shapes.
      weights: one for each message, at least 0 and not all 0. By default all are equal.

    Returns:
      float32 arrays with the shapes of the updates.

    Raises:
      ValueError: if there is no message, `weights` does not fit, a message cannot be decoded, or
        the messages are of updates with different shapes.
      TypeError: if `codec` is not a codec, or a message not bytes.
    """
    inner = codec.codec if isinstance(codec, Deflated) else codec
    check_type("codec", inner, MessageFormat, "TopK(0.01)")
    weights = _check_weights(messages, weights)
    decoded = _decode_alike(codec, messages)
    if isinstance(inner, MajorityVote):
        votes = _weighted_sum(([np.sign(d) for d in update] for update in decoded), weights > 0)
        return [np.float32(inner.step) * np.sign(v).astype(np.float32) for v in votes]
    return [m.astype(np.float32) for m in _weighted_sum(decoded, weights / weights.sum())]


def mean_aggregator(codec: Codec, seed: int = 0) -> tff.aggregators.WeightedAggregationFactory:
    """Returns the weighted mean of coded updates, for ``model_aggregator=``.

    If all weights of a cohort are 0, the mean is 0. The measurements of
    :func:`sum_aggregator` are under `mean_value`. They do not count the clients' weights.

    Args:
      codec: any codec except a :class:`MajorityVote`, whose messages have no mean. In place
        of a :class:`Deflated` give its `codec`, which decodes to the same updates:
        TensorFlow has no operation that compresses.
      seed: from 0 to 2**31 - 1. The same seed gives the same rounds.

    Raises:
      TypeError: if `codec` is not such a codec.
      ValueError: if `seed` is out of range.
    """
    return tff.aggregators.MeanFactory(sum_aggregator(codec, seed), no_nan_division=True)


def sum_aggregator(codec: Codec, seed: int = 0) -> tff.aggregators.UnweightedAggregationFactory:
    """Returns the sum of coded updates, for use inside other aggregation factories.

    The arguments and the errors are those of :func:`mean_aggregator`. The state is the seed and the
    number of the round, int32 [2]. A client's randomness follows from the state and from the
    client's own value. So two clients make the same random choices only if their values are equal.

    Its ``create`` raises ValueError unless the values are float32 with known shapes that the codec
    can encode.
    """
    return _CodedSum(tff_messages.check_coder(codec), tff_messages.first_state(seed))


class _CodedSum(tff.aggregators.UnweightedAggregationFactory):
    def __init__(self, codec: tff_messages.TensorCoder, first_state: tff.Computation):
        self._codec, self._first_state = codec, first_state

    def create(self, value_type):
        message_bytes = self._codec.message_bytes(tff_messages.float_shapes(value_type))

        @tff.tensorflow.computation(tff_messages.STATE, value_type)
        def reconstruct(state, value):
            flat = tf.nest.flatten(value)
            decoded = self._codec.reconstruct(flat, tff_messages.client_seed(state, flat))
            return tf.nest.pack_sequence_as(value, decoded)

        @tff.federated_computation
        def initialize():
            return tff.federated_eval(self._first_state, tff.SERVER)

        @tff.federated_computation(
            initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS)
        )
        def next_round(state, values):
            decoded = tff.federated_map(reconstruct, (tff.federated_broadcast(state), values))
            return tff.templates.MeasuredProcessOutput(
                tff.federated_map(tff_messages.next_state, state),
                tff.federated_sum(decoded),
                tff.federated_zip(tff_messages.count_bytes(message_bytes)),
            )

        return tff.templates.AggregationProcess(initialize, next_round)


def _check_weights(messages: Sequence[bytes], weights: Sequence[float] | None) -> np.ndarray:
    """Returns the weights as float64 [n], ones by default; raises ValueError if they do not fit."""
    if not len(messages):
        raise ValueError("messages is empty; it must hold at least one.")
    checked = np.ones(len(messages)) if weights is None else np.asarray(weights, np.float64)
    good = checked.shape == (len(messages),) and np.isfinite(checked).all()
    if not (good and (checked >= 0).all() and checked.sum() > 0):
        raise ValueError(
            f"weights is {checked}; it must hold {len(messages)} finite numbers from 0, not all 0."
        )
    return checked


def _decode_alike(codec: MessageFormat | Deflated, messages: Sequence[bytes]):
    """Yields the decoded updates; raises ValueError if one is shaped unlike the first."""
    first = None
    for number, message in enumerate(messages):
        update = codec.decode(message)
        first = first or update
        yield check_shapes(f"messages[{number}]", update, first, "messages[0]")


def _weighted_sum(updates: Iterable[list[np.ndarray]], weights: np.ndarray) -> list[np.ndarray]:
    """Returns the sum of weight times update, in float64; holds one update at a time."""
    total: list = []
    for update, weight in zip(updates, weights):
        part = [weight * array.astype(np.float64) for array in update]
        total = [t + p for t, p in zip(total, part)] if total else part
    return total
