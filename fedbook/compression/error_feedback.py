"""Error feedback: what a message leaves out is remembered and sent later.

Seide et al. 2014 (1-bit SGD, Interspeech); Stich et al. 2018 (Mem-SGD, arXiv
1809.07599); Karimireddy et al. 2019 (EF-signSGD, arXiv 1901.09847).
A client adds to its update what its earlier messages lacked, codes the sum, and
remembers what this message lacks. So the sum of all that it has sent is the sum
of all its updates but for the memory, however coarse the codec.

Each client needs a memory of its own that lasts from round to round: clients must
return, as they do where the clients are a few institutions (cross-silo), and not
where they are a sample from millions of phones.
"""

import collections
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import federated_core
from fedbook.compression import aggregators
from fedbook.compression.base import Codec, Seed, Shapes, check_update
from fedbook.compression.entropy import Deflated
from fedbook.compression.sign import MajorityVote

Memory = list[np.ndarray]


def zero_memory(shapes: Shapes) -> Memory:
    """Returns the memory of a client that has sent nothing yet, float32 zeros."""
    return [np.zeros(shape, np.float32) for shape in shapes]


def encode_with_memory(
    codec: Codec | Deflated, update: Sequence[np.ndarray], memory: Memory, seed: Seed
) -> tuple[bytes, Memory]:
    """Codes an update together with what earlier messages left out.

    Args:
      codec: one whose message is closer to the truth than silence, such as TopK, Sign
        or RandomK(rescale=False). With an error longer than the update itself, as
        that of RandomK(rescale=True) or QSGD with few levels, the memory grows
        without end.
      update: the client's model delta.
      memory: of the same shapes, from :func:`zero_memory` or the last call for the
        same client; not changed.
      seed: as for ``codec.encode``.

    Returns:
      The message and the client's new memory, ``update + memory`` minus what the
      server decodes.

    Raises:
      ValueError: if the shapes differ, or as ``codec.encode`` does.
    """
    update = check_update(update)
    shapes, remembered = [u.shape for u in update], [np.shape(m) for m in memory]
    if shapes != remembered:
        raise ValueError(f"memory has shapes {remembered}; it must have those of update, {shapes}.")
    owed = [u + m for u, m in zip(update, memory)]
    message = codec.encode(owed, seed)
    return message, [o - sent for o, sent in zip(owed, codec.decode(message))]


def build_error_feedback(
    model_fn: Callable[[], tff.learning.models.VariableModel],
    codec: Codec,
    client_learning_rate: float,
    server_learning_rate: float = 1.0,
    seed: int = 0,
) -> tff.templates.IterativeProcess:
    """Builds federated averaging with error feedback, in Federated Core.

    :func:`fedbook.federated_core.build_fed_avg` with a codec, and with a memory that
    each client brings into the round and takes out of it. TFF keeps nothing at the
    clients between rounds, so the loop around the rounds does::

        state = process.initialize()
        memories = {client: zero_memory(shapes) for client in clients}
        for cohort in cohorts:
            state, kept, metrics = process.next(
                state, [data[c] for c in cohort], [memories[c] for c in cohort]
            )
            memories.update(zip(cohort, kept))

    The server weighs what it decodes by the client's examples, as ever. A client
    without examples counts for nothing and keeps its memory as it was. One
    client's NaN makes the server's weights NaN, and its memory too, for good.

    Args:
      model_fn: as for :func:`fedbook.federated_core.build_fed_avg`.
      codec: what the clients send their updates with; the server takes the mean, so
        not a MajorityVote.
      client_learning_rate: of the clients' SGD, above 0.
      server_learning_rate: factor on the mean of the decoded updates, above 0.
      seed: as for ``codec.aggregator``.

    Returns:
      A process whose state is ``OrderedDict(weights, seed)``, the list of trainable
      weights and int32 [2], and whose ``next(state, client_datasets, memories)``
      returns the new state, the list of the clients' new memories in the same
      order, and ``OrderedDict(loss, num_examples, uplink_bytes_per_client,
      uplink_bytes)``.

    Raises:
      ValueError: if a number is out of its range, the model's variables are not all
        trainable and float32, or the codec cannot code their shapes.
      TypeError: if `codec` is not a codec that TensorFlow has, or a MajorityVote.
    """
    if not isinstance(codec, Codec) or isinstance(codec, MajorityVote):
        raise TypeError(f"codec is {codec!r}; it must be a Codec whose messages have a mean.")
    first_seed = np.array([aggregators.check_seed(seed), 0], np.int32)
    # Its checks are ours, and so is the type of its state.
    plain = federated_core.build_fed_avg(model_fn, client_learning_rate, server_learning_rate)
    weights_type = plain.initialize.type_signature.result.member
    data_type = plain.next.type_signature.parameter[1].member
    message_bytes = codec.message_bytes(aggregators.float_shapes(weights_type))

    @tff.tensorflow.computation
    def initial_seed():
        return tf.constant(first_seed)

    seed_type = initial_seed.type_signature.result

    @tff.tensorflow.computation(weights_type, seed_type, data_type, weights_type)
    def train_and_code(weights, round_seed, dataset, memory):
        model = model_fn()

        @tf.function
        def train(weights, dataset):
            return federated_core.client_update(model, dataset, weights, client_learning_rate)

        delta, examples, loss_sum = train(weights, dataset)
        owed = [d + m for d, m in zip(delta, memory, strict=True)]
        sent = codec.reconstruct(owed, aggregators.client_seed(round_seed, owed))
        # What counts for nothing at the server is not sent: it stays in the memory.
        counts = examples > 0
        memory = [tf.where(counts, o - s, m) for o, s, m in zip(owed, sent, memory, strict=True)]
        return [examples * s for s in sent], memory, examples, loss_sum

    @tff.tensorflow.computation(weights_type, weights_type, np.float32)
    def move_server(weights, sent_sum, num_examples):
        return federated_core.server_update(weights, sent_sum, num_examples, server_learning_rate)

    @tff.tensorflow.computation(np.float32, np.float32)
    def mean_loss(loss_sum, num_examples):
        return tf.math.divide_no_nan(loss_sum, num_examples)

    @tff.federated_computation
    def initialize():
        seed = tff.federated_eval(initial_seed, tff.SERVER)
        return tff.federated_zip(collections.OrderedDict(weights=plain.initialize(), seed=seed))

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(data_type, tff.CLIENTS),
        tff.FederatedType(weights_type, tff.CLIENTS),
    )
    def next_round(state, datasets, memories):
        at_clients = tff.federated_broadcast(state)
        weighted, kept, examples, loss = tff.federated_map(
            train_and_code, (at_clients.weights, at_clients.seed, datasets, memories)
        )
        num_examples = tff.federated_sum(examples)
        new_weights = tff.federated_map(
            move_server, (state.weights, tff.federated_sum(weighted), num_examples)
        )
        new_seed = tff.federated_map(aggregators.next_state, state.seed)
        sent = aggregators.count_bytes(message_bytes)
        metrics = collections.OrderedDict(
            loss=tff.federated_map(mean_loss, (tff.federated_sum(loss), num_examples)),
            num_examples=num_examples,
            uplink_bytes_per_client=sent.uplink_bytes_per_client,
            uplink_bytes=sent.uplink_bytes,
        )
        new_state = collections.OrderedDict(weights=new_weights, seed=new_seed)
        return tff.federated_zip(new_state), kept, tff.federated_zip(metrics)

    return tff.templates.IterativeProcess(initialize, next_round)
