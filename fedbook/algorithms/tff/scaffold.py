"""SCAFFOLD in TFF's core language.

The same as :mod:`fedbook.algorithms.methods.scaffold`, where the algorithm is explained.
A TFF computation keeps nothing at clients between rounds. So a client's control is an
argument and a result of the round, and the loop around the rounds keeps it: see
:func:`run_scaffold_round`. Chapter 8 writes it step by step.

A client sends its delta and the number of its steps. From these two and its own control the
server finds how the client's control has changed. The steps may differ from client to client,
so the server divides each delta before it adds them (``tff.federated_aggregate``).
"""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.algorithms.tff.fed_avg import move_weights
from fedbook.algorithms.tff.local_training import ModelFn, mean_metrics, model_types, train_model
from fedbook.checks import check_int, check_learning_rate, check_shapes, check_type


def train_corrected(
    model: tff.learning.models.VariableModel,
    dataset: tf.data.Dataset,
    weights: list[tf.Tensor],
    server_control: list[tf.Tensor],
    client_control: list[tf.Tensor],
    learning_rate: float,
) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
    """Trains on one client's batches as SCAFFOLD does.

    The controls are shaped like `weights`; the other arguments are those of
    :func:`~fedbook.algorithms.tff.local_training.train_model`.

    Returns:
      The client's new control; the model delta (both shaped like `weights`); the numbers of steps
      and of examples seen, and the sum of the examples' losses when they were seen (float32
      scalars). For an empty dataset the control is the old one, and all others are zero.
    """
    correction = [s - c for s, c in zip(server_control, client_control, strict=True)]
    delta, steps, examples, loss = train_model(model, dataset, weights, learning_rate, correction)
    has_trained = tf.cast(steps > 0.0, tf.float32)
    uphill = mean_directions(delta, steps, learning_rate)
    # The mean gradient of the steps: they went along it plus the correction.
    renewed = [c - has_trained * s + u for s, c, u in zip(server_control, client_control, uphill)]
    return renewed, delta, steps, examples, loss


def mean_directions(
    delta: list[tf.Tensor], steps: tf.Tensor, learning_rate: float
) -> list[tf.Tensor]:
    """Returns ``-delta / (steps * learning_rate)``, the mean vector of the steps; 0 without any."""
    return [-tf.math.divide_no_nan(d, steps * learning_rate) for d in delta]


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
      TypeError: if `model_fn` does not build a ``tff.learning.models.VariableModel``.
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
            renewed, delta, steps, examples, loss_sum = train_corrected(
                model, dataset, weights, control, client_control, client_learning_rate
            )
            return ((delta, steps), examples, loss_sum), renewed

        return train(list(state["weights"]), list(state["control"]), dataset, list(client_control))

    # What the server adds up: deltas, mean directions, and clients that have trained.
    sums_type = tff.to_type((arrays, arrays, np.float32))
    sent_type = tff.to_type((arrays, np.float32))

    @tff.tensorflow.computation
    def nothing():
        zeros = [tf.zeros(array.shape) for array in arrays]
        return zeros, zeros, 0.0

    def add(sums, others):
        lists = [[a + b for a, b in zip(*both, strict=True)] for both in zip(sums[:2], others[:2])]
        return *lists, sums[2] + others[2]

    @tff.tensorflow.computation(sums_type, sent_type)
    def add_client(sums, sent):
        delta, steps = list(sent[0]), sent[1]
        directions = mean_directions(delta, steps, client_learning_rate)
        return add(sums, (delta, directions, tf.cast(steps > 0.0, tf.float32)))

    @tff.tensorflow.computation(sums_type, sums_type)
    def add_sums(sums, others):
        return add(sums, others)

    @tff.tensorflow.computation(sums_type)
    def as_they_are(sums):
        return sums

    @tff.tensorflow.computation(state_type, sums_type)
    def move_server(state, sums):
        delta_sum, direction_sum, clients = sums
        weights = move_weights(state["weights"], delta_sum, clients, server_learning_rate)
        # The change of a client's control is its mean direction minus the server's control.
        control = [
            c + (d - clients * c) / num_clients
            for c, d in zip(state["control"], direction_sum, strict=True)
        ]
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
        # A delta and a number of steps: as many bytes up as in FedAvg.
        sums = tff.federated_aggregate(sent[0], nothing(), add_client, add_sums, as_they_are)
        new_state = tff.federated_map(move_server, (state, sums))
        examples, loss = tff.federated_sum(sent[1]), tff.federated_sum(sent[2])
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
      ValueError: if `cohort` is empty, or the shapes of a control are not those of the server's.
      TypeError: if `process`, `controls` or `cohort` is of another kind.
    """
    check_type("process", process, tff.templates.IterativeProcess)
    check_type("controls", controls, Mapping, "a dict by client id")
    check_type("cohort", cohort, Mapping, "a dict by client id")
    if not cohort:
        raise ValueError("cohort is empty; it must hold at least one client.")
    zeros = [np.zeros_like(w) for w in state["control"]]
    old = [
        check_shapes(f"controls[{client!r}]", controls.get(client, zeros), zeros, "the state")
        for client in cohort
    ]
    state, output = process.next(state, list(cohort.values()), old)
    renewed = [list(control) for control in output["controls"]]
    return state, {**controls, **dict(zip(cohort, renewed, strict=True))}, output["metrics"]
