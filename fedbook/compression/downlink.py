"""The way down: the server's model through a codec.

Either the weights go through the codec in every round, or the change of the
weights since the last round, which is smaller and easier to code. For the change,
server and clients must agree on what the clients have: the server keeps a copy of
it, and sends its difference to the weights. So what one message leaves out is in
the next difference: the copy is an error feedback, of the server's.
"""

import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.compression import aggregators
from fedbook.compression.base import Codec, Seed, check_update
from fedbook.compression.dense import Dense
from fedbook.compression.entropy import Deflated


def encode_change(
    codec: Codec | Deflated, weights: Sequence[np.ndarray], known: Sequence[np.ndarray], seed: Seed
) -> tuple[bytes, list[np.ndarray]]:
    """Codes how far the server's weights are from what the clients have.

    Args:
      codec: one whose message is closer to the truth than silence, such as TopK, Sign
        or UniformQuantizer(8): an error longer than the change itself, as that of
        QSGD with few levels, comes back in the next change and grows without end.
      weights: the server's.
      known: what every client has, of the same shapes: the weights it got at first,
        and from then on what the last call returned.
      seed: as for ``codec.encode``.

    Returns:
      The message, and what every client has once it has added the decoded message.

    Raises:
      ValueError: if the shapes differ, or as ``codec.encode`` does.
    """
    weights, known = check_update(weights), check_update(known)
    shapes, held = [w.shape for w in weights], [k.shape for k in known]
    if shapes != held:
        raise ValueError(f"known has shapes {held}; it must have those of weights, {shapes}.")
    message = codec.encode([w - k for w, k in zip(weights, known)], seed)
    return message, [k + change for k, change in zip(known, codec.decode(message))]


def build_distributor(
    codec: Codec,
    model: tff.learning.models.FunctionalModel
    | Callable[[], tff.learning.models.VariableModel]
    | tff.Type,
    send: str = "change",
    seed: int = 0,
) -> tff.learning.templates.DistributionProcess:
    """Builds a broadcast through a codec, for ``model_distributor=``.

    Args:
      codec: what the server codes with, once a round for all clients; with "change"
        see :func:`encode_change` for which.
      model: what the learning process is built from: the functional model, or the
        function that builds a model; or the type of the weights, all float32.
      send: "weights" or "change"; with "change" the first round sends the weights
        as they are, and every client must hear every broadcast, in or out of the
        cohort, which the bytes do not count.
      seed: from 0 to 2**31 - 1.

    Returns:
      A process whose measurements are `downlink_bytes_per_client` and
      `downlink_bytes`, that times the cohort, before entropy coding; int64 scalars.

    Raises:
      ValueError: if `send` is neither, `seed` is out of its range, or the weights
        are not float32.
    """
    if send not in ("weights", "change"):
        raise ValueError(f'send is {send!r}; it must be "weights" or "change".')
    first_seed = np.array([aggregators.check_seed(seed), 0], np.int32)
    weights_type = _weights_type(model)
    shapes = aggregators.float_shapes(weights_type)
    first_bytes = (Dense() if send == "change" else codec).message_bytes(shapes)
    later_bytes = codec.message_bytes(shapes)

    @tff.tensorflow.computation
    def initial_state():
        known = [tf.zeros(shape) for shape in shapes] if send == "change" else []
        return collections.OrderedDict(seed=tf.constant(first_seed), known=known)

    state_type = initial_state.type_signature.result

    @tff.tensorflow.computation(state_type, weights_type)
    def code(state, weights):
        """Returns the new state, what the clients have, and the bytes of the message."""
        flat, seed = tf.nest.flatten(weights), state["seed"]
        first = tf.equal(seed[1], 0)  # in TFF's graphs == would compare identities
        if send == "weights":
            got = codec.reconstruct(flat, seed)
        else:
            known = state["known"]
            change = codec.reconstruct([w - k for w, k in zip(flat, known)], seed)
            got = [tf.where(first, w, k + c) for w, k, c in zip(flat, known, change)]
        state = collections.OrderedDict(
            seed=seed + tf.constant([0, 1]), known=got if send == "change" else []
        )
        sent = tf.where(first, np.int64(first_bytes), np.int64(later_bytes))
        return state, tf.nest.pack_sequence_as(weights, got), sent

    @tff.federated_computation
    def initialize():
        return tff.federated_eval(initial_state, tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result, tff.FederatedType(weights_type, tff.SERVER)
    )
    def next_round(state, weights):
        state, got, sent = tff.federated_map(code, (state, weights))
        messages = tff.federated_sum(tff.federated_broadcast(sent))
        measurements = collections.OrderedDict(
            downlink_bytes_per_client=sent, downlink_bytes=messages
        )
        return tff.templates.MeasuredProcessOutput(
            state, tff.federated_broadcast(got), tff.federated_zip(measurements)
        )

    return tff.learning.templates.DistributionProcess(initialize, next_round)


def _weights_type(model: Any) -> tff.Type:
    if isinstance(model, tff.Type):
        return model
    if isinstance(model, tff.learning.models.FunctionalModel):
        types = [
            tuple(tff.TensorType(np.asarray(w).dtype.type, np.shape(w)) for w in weights)
            for weights in model.initial_weights
        ]
        return tff.to_type(tff.learning.models.ModelWeights(*types))
    return tff.learning.models.weights_type_from_model(model)
