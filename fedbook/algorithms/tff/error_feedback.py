"""FedAvg with error feedback, in Federated Core.

The idea is explained in :mod:`fedbook.algorithms.methods.error_feedback`. TFF keeps nothing
at the clients between rounds, so a client's memory is an argument and a result of the round.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.algorithms.tff import messages
from fedbook.algorithms.tff.fed_avg import build_fed_avg, move_weights
from fedbook.algorithms.tff.local_training import ModelFn, mean_metrics, train_model


def build_error_feedback(
    model_fn: ModelFn,
    codec: messages.TensorCoder,
    client_learning_rate: float,
    server_learning_rate: float = 1.0,
    seed: int = 0,
) -> tff.templates.IterativeProcess:
    """Builds federated averaging with error feedback, in Federated Core.

    This is :func:`~fedbook.algorithms.tff.build_fed_avg` with a codec and with the clients'
    memories. The loop around the rounds keeps the memories::

        state = process.initialize()
        memories = {client: zero_memory(shapes) for client in clients}
        for cohort in cohorts:
            state, kept, metrics = process.next(
                state, [data[c] for c in cohort], [memories[c] for c in cohort]
            )
            memories.update(zip(cohort, kept))

    The server weights what it decodes by the number of the client's examples. A client
    without examples has no weight and keeps its memory unchanged. If one client's update
    is NaN, the server's weights and this client's memory stay NaN from then on.

    Args:
      model_fn: as for :func:`~fedbook.algorithms.tff.build_fed_avg`.
      codec: encodes the clients' updates. The server takes a mean and TensorFlow does the
        work, so it can be neither a MajorityVote nor a Deflated.
      client_learning_rate: of the clients' SGD, above 0.
      server_learning_rate: factor on the mean of the decoded updates, above 0.
      seed: of the codec's randomness, from 0 to 2**31 - 1.

    Returns:
      A process. Its state is ``OrderedDict(weights, seed)``: the list of trainable weights, and
      int32 [2]. Its ``next(state, client_datasets, memories)`` returns the new state, the clients'
      new memories in their order, and ``OrderedDict(loss, num_examples, uplink_bytes_per_client,
      uplink_bytes)``.

    Raises:
      ValueError: if a number is out of range, the model's variables are not all trainable
        and float32, or the codec cannot encode tensors of their shapes.
      TypeError: if `codec` is not such a codec, or `model_fn` does not build a
        ``tff.learning.models.VariableModel``.
    """
    messages.check_coder(codec)
    initial_seed = messages.first_state(seed)
    # build_fed_avg checks the other arguments.
    plain = build_fed_avg(model_fn, client_learning_rate, server_learning_rate)
    weights_type = plain.initialize.type_signature.result.member
    data_type = plain.next.type_signature.parameter[1].member
    message_bytes = codec.message_bytes(messages.float_shapes(weights_type))

    @tff.tensorflow.computation(weights_type, messages.STATE, data_type, weights_type)
    def train_and_code(weights, round_seed, dataset, memory):
        model = model_fn()

        @tf.function
        def train(weights, dataset):
            return train_model(model, dataset, weights, client_learning_rate)

        delta, _, examples, loss_sum = train(weights, dataset)
        owed = [d + m for d, m in zip(delta, memory, strict=True)]
        sent = codec.reconstruct(owed, messages.client_seed(round_seed, owed))
        # A client without examples has no weight at the server, so it sends nothing.
        counts = examples > 0
        memory = [tf.where(counts, o - s, m) for o, s, m in zip(owed, sent, memory, strict=True)]
        return [examples * s for s in sent], memory, examples, loss_sum

    @tff.tensorflow.computation(weights_type, weights_type, np.float32)
    def move_server(weights, sent_sum, num_examples):
        return move_weights(weights, sent_sum, num_examples, server_learning_rate)

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
        sent_sum = tff.federated_sum(weighted)
        new_weights = tff.federated_map(move_server, (state.weights, sent_sum, num_examples))
        new_seed = tff.federated_map(messages.next_state, state.seed)
        trained = tff.federated_map(mean_metrics, (tff.federated_sum(loss), num_examples))
        metrics = collections.OrderedDict(loss=trained.loss, num_examples=trained.num_examples)
        metrics.update(messages.count_bytes(message_bytes))
        new_state = collections.OrderedDict(weights=new_weights, seed=new_seed)
        return tff.federated_zip(new_state), kept, tff.federated_zip(metrics)

    return tff.templates.IterativeProcess(initialize, next_round)
