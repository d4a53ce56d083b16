"""SCAFFOLD in TFF's core language.

The same as :mod:`fedbook.algorithms.methods.scaffold`, where the algorithm is explained.
A TFF computation keeps nothing at clients between rounds. So a client's control is an
argument and a result of the round, and the loop around the rounds keeps it: see
:func:`run_scaffold_round`. Chapter 8 writes it step by step.
"""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.algorithms.tff.fed_avg import move_weights
from fedbook.algorithms.tff.local_training import ModelFn, mean_metrics, model_types, train_model
from fedbook.checks import check_int, check_learning_rate


def train_corrected(
    model: tff.learning.models.VariableModel,
    dataset: tf.data.Dataset,
    weights: list[tf.Tensor],
    server_control: list[tf.Tensor],
    client_control: list[tf.Tensor],
    learning_rate: float,
) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Trains on one client's batches as SCAFFOLD does.

    The controls are shaped like `weights`; the other arguments are those of
    :func:`~fedbook.algorithms.tff.local_training.train_model`.

    Returns:
      The model delta; the change of the client's control (both shaped like `weights`); the number
      of examples seen and the sum of their losses when they were seen (float32 scalars). All are
      zero for an empty dataset.
    """
    correction = [s - c for s, c in zip(server_control, client_control, strict=True)]
    delta, steps, examples, loss = train_model(model, dataset, weights, learning_rate, correction)
    # The new control is -correction - delta / (steps * learning_rate), the mean gradient of
    # the steps; its change is that minus the old one, which leaves the server's.
    has_trained = tf.cast(steps > 0.0, tf.float32)
    change = [
        -has_trained * s - tf.math.divide_no_nan(d, steps * learning_rate)
        for s, d in zip(server_control, delta)
    ]
    return delta, change, examples, loss


def build_scaffold(
    model_fn: ModelFn,
    num_clients: int,
    client_learning_rate: float,
    server_learning_rate: float = 1.0,
) -> tff.templates.IterativeProcess:
    """Builds SCAFFOLD for a model, in Federated Core.

    All clients that have examples count the same, as in the paper. Clients without examples do not
    count and keep their control. A cohort without any example leaves the state as it is; a cohort
    without any client is something that TFF cannot run. NaN is not caught.

    Args:
      model_fn: as for :func:`~fedbook.algorithms.tff.build_fed_avg`.
      num_clients: how many clients there are in all, at least 1: the server's control
        is the mean of theirs only if this is their number.
      client_learning_rate: of the clients' SGD, above 0.
      server_learning_rate: factor on the mean model delta, above 0.

    Returns:
      A process whose state is ``OrderedDict(weights, control)`` at the server, two lists of float32
      arrays, the controls zeros at first. Its ``next(state, client_datasets, client_controls)``
      returns the new state and ``OrderedDict(controls, metrics)``: the clients' new controls, in
      the order of the clients, and ``OrderedDict(loss, num_examples)``, float32 scalars over the
      cohort.

    Raises:
      ValueError: if `num_clients` is below 1, a learning rate is not above 0 or not finite, or the
        model has non-trainable variables or trainable ones that are not float32.
    """
    check_int("num_clients", num_clients, 1)
    check_learning_rate("client_learning_rate", client_learning_rate)
    check_learning_rate("server_learning_rate", server_learning_rate)
    arrays, batches = model_types(model_fn)
    state_type = tff.to_type(collections.OrderedDict(weights=arrays, control=arrays))

    @tff.tensorflow.computation
    def initial_state():
        weights = [v.read_value() for v in model_fn().trainable_variables]
        control = [tf.zeros_like(w) for w in weights]
        return collections.OrderedDict(weights=weights, control=control)

    @tff.tensorflow.computation(state_type, batches, arrays)
    def train_one_client(state, dataset, client_control):
        model = model_fn()

        @tf.function  # runs assignments in the order of the lines
        def train(weights, control, dataset, client_control):
            delta, change, examples, loss_sum = train_corrected(
                model, dataset, weights, control, client_control, client_learning_rate
            )
            renewed = [c + d for c, d in zip(client_control, change)]
            counts = tf.cast(examples > 0.0, tf.float32)
            return (delta, change, counts, examples, loss_sum), renewed

        return train(list(state["weights"]), list(state["control"]), dataset, list(client_control))

    @tff.tensorflow.computation(state_type, arrays, arrays, np.float32)
    def move_server(state, delta_sum, change_sum, clients):
        weights = move_weights(state["weights"], delta_sum, clients, server_learning_rate)
        control = [c + d / num_clients for c, d in zip(state["control"], change_sum, strict=True)]
        return collections.OrderedDict(weights=weights, control=control)

    @tff.federated_computation
    def initialize():
        return tff.federated_eval(initial_state, tff.SERVER)

    @tff.federated_computation(
        tff.FederatedType(state_type, tff.SERVER),
        tff.FederatedType(batches, tff.CLIENTS),
        tff.FederatedType(arrays, tff.CLIENTS),
    )
    def next_round(state, datasets, controls):
        at_clients = tff.federated_broadcast(state)  # twice what FedAvg sends
        sent, renewed = tff.federated_map(train_one_client, (at_clients, datasets, controls))
        delta, change, counts, examples, loss = (tff.federated_sum(part) for part in sent)
        new_state = tff.federated_map(move_server, (state, delta, change, counts))
        measured = tff.federated_map(mean_metrics, (loss, examples))
        return new_state, collections.OrderedDict(controls=renewed, metrics=measured)

    return tff.templates.IterativeProcess(initialize, next_round)


def run_scaffold_round(
    process: tff.templates.IterativeProcess,
    state: Any,
    controls: Mapping[str, list[np.ndarray]],
    cohort: Mapping[str, Any],
) -> tuple[Any, dict[str, list[np.ndarray]], Mapping[str, float]]:
    """Runs one round and keeps the clients' controls, which TFF does not do.

    In a deployment each client would keep its own control.

    Args:
      process: what :func:`build_scaffold` returned.
      state: of the server.
      controls: by client id. A client that is missing here has never taken part, and its
        control is zero. Not changed.
      cohort: the dataset of each client of the round, by client id.

    Returns:
      The new state, the controls of all clients so far, and the metrics.

    Raises:
      ValueError: if `cohort` is empty.
    """
    if not cohort:
        raise ValueError("cohort is empty; it must hold at least one client.")
    zeros = [np.zeros_like(w) for w in state["control"]]
    old = [list(controls.get(client, zeros)) for client in cohort]
    state, output = process.next(state, list(cohort.values()), old)
    renewed = [list(control) for control in output["controls"]]
    return state, {**controls, **dict(zip(cohort, renewed, strict=True))}, output["metrics"]
