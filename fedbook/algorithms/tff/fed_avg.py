"""Federated averaging in TFF's core language.

Algorithm 1 of McMahan et al. 2017 (arXiv 1602.05629), section 2, written with
``tff.federated_broadcast``, ``tff.federated_map`` and ``tff.federated_sum``
instead of ``tff.learning``. Chapter 05 writes it step by step.
"""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.algorithms.tff.local_training import ModelFn, mean_metrics, model_types, train_model
from fedbook.checks import check_learning_rate


def move_weights(
    weights: list[tf.Tensor], delta_sum: list[tf.Tensor], total: tf.Tensor, learning_rate: float
) -> list[tf.Tensor]:
    """Moves the server's weights by the weighted mean of the model deltas.

    Args:
      weights: the server's.
      delta_sum: the sum over clients of delta times client's weight, shaped like `weights`.
      total: float32 scalar, the sum of the clients' weights; if it is 0, nothing moves.
      learning_rate: of the server; 1 puts the server at the weighted mean of the clients' models.
    """
    mean_delta = [tf.math.divide_no_nan(s, total) for s in delta_sum]
    return [w + learning_rate * d for w, d in zip(weights, mean_delta, strict=True)]


def build_fed_avg(
    model_fn: ModelFn, client_learning_rate: float, server_learning_rate: float = 1.0
) -> tff.templates.IterativeProcess:
    """Builds federated averaging for a model, in Federated Core.

    Clients count by their number of examples. A cohort without any example, or without any client,
    leaves the weights as they are, and its `loss` is 0. No update is rejected: one client's NaN
    makes the server's weights NaN, where ``tff.learning`` would leave that client out.

    Args:
      model_fn: builds the model, a new one each time it is called; its trainable variables are
        float32 and it has no others but metrics.
      client_learning_rate: of the clients' SGD, above 0.
      server_learning_rate: factor on the mean model delta, above 0.

    Returns:
      A process whose state is the list of the trainable weights, float32 arrays at the server, and
      whose ``next(weights, client_datasets)`` returns the new weights and ``OrderedDict(loss,
      num_examples)``: float32 scalars, the mean over all examples of the cohort of their loss while
      the clients trained, and their number. Datasets yield batches of the model's `input_spec`.

    Raises:
      ValueError: if a learning rate is not above 0 or not finite, or the model has non-trainable
        variables or trainable ones that are not float32.
      TypeError: if `model_fn` does not build a ``tff.learning.models.VariableModel``.
    """
    check_learning_rate("client_learning_rate", client_learning_rate)
    check_learning_rate("server_learning_rate", server_learning_rate)
    weights_type, batches = model_types(model_fn)

    @tff.tensorflow.computation
    def initial_weights():
        return [v.read_value() for v in model_fn().trainable_variables]

    @tff.tensorflow.computation(weights_type, batches)
    def train_one_client(weights, dataset):
        model = model_fn()  # built in here: a computation can use no variables but its own

        @tf.function  # runs assignments in the order of the lines, which a graph alone does not
        def train(weights, dataset):
            trained = train_model(model, dataset, weights, client_learning_rate)
            delta, _, examples, loss_sum = trained
            return [examples * d for d in delta], examples, loss_sum

        return train(weights, dataset)

    @tff.tensorflow.computation(weights_type, weights_type, np.float32)
    def move_server(weights, delta_sum, num_examples):
        return move_weights(weights, delta_sum, num_examples, server_learning_rate)

    @tff.federated_computation
    def initialize():
        return tff.federated_eval(initial_weights, tff.SERVER)

    @tff.federated_computation(
        tff.FederatedType(weights_type, tff.SERVER), tff.FederatedType(batches, tff.CLIENTS)
    )
    def next_round(weights, datasets):
        at_clients = tff.federated_broadcast(weights)
        weighted_delta, examples, loss = tff.federated_map(train_one_client, (at_clients, datasets))
        num_examples = tff.federated_sum(examples)
        delta_sum = tff.federated_sum(weighted_delta)
        new_weights = tff.federated_map(move_server, (weights, delta_sum, num_examples))
        loss_sum = tff.federated_sum(loss)
        return new_weights, tff.federated_map(mean_metrics, (loss_sum, num_examples))

    return tff.templates.IterativeProcess(initialize, next_round)
