"""SCAFFOLD in TFF's core language.

Karimireddy et al. 2020 (arXiv 1910.06378), Algorithm 1, option II. Every client has a
control, a guess of its own gradient, and the server one of the mean gradient; local
steps are corrected by their difference. A TFF computation keeps nothing at clients
between rounds, so a client's control is an argument and a result of the round, and the
loop around it keeps them: see :func:`next_round`. Chapter 08 writes it step by step.
"""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import federated_core

Controls = Mapping[str, list[np.ndarray]]


def client_update(
    model: tff.learning.models.VariableModel,
    dataset: tf.data.Dataset,
    weights: list[tf.Tensor],
    server_control: list[tf.Tensor],
    client_control: list[tf.Tensor],
    learning_rate: float,
) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Trains on one client's batches with corrected SGD, one step a batch.

    Args:
      model: its trainable variables are overwritten with `weights`, then trained.
      dataset: batches of the model's `input_spec`, each of at least one example;
        may hold no batch.
      weights: where to start, in the order of ``model.trainable_variables``.
      server_control: shaped like `weights`.
      client_control: shaped like `weights`.
      learning_rate: of the client's SGD.

    Returns:
      The model delta; the change of the client's control (both shaped like
      `weights`); the number of examples seen and the sum of their losses when they
      were seen (float32 scalars). All are zero for an empty dataset.
    """
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
    correction = [s - c for s, c in zip(server_control, client_control, strict=True)]

    def step(sums, batch):
        with tf.GradientTape() as tape:
            output = model.forward_pass(batch, training=True)
        gradients = tape.gradient(output.loss, model.trainable_variables)
        for variable, gradient, added in zip(model.trainable_variables, gradients, correction):
            variable.assign_sub(learning_rate * (gradient + added))
        batch_examples = tf.cast(output.num_examples, tf.float32)
        return sums[0] + 1.0, sums[1] + batch_examples, sums[2] + batch_examples * output.loss

    steps, num_examples, loss_sum = dataset.reduce((0.0, 0.0, 0.0), step)
    delta = [v - w for v, w in zip(model.trainable_variables, weights, strict=True)]
    # The new control is -correction - delta / (steps * learning_rate), the mean gradient of
    # the steps; its change is that minus the old one, which leaves the server's.
    trained = tf.cast(steps > 0.0, tf.float32)
    change = [
        -trained * s - tf.math.divide_no_nan(d, steps * learning_rate)
        for s, d in zip(server_control, delta)
    ]
    return delta, change, num_examples, loss_sum


def build_scaffold(
    model_fn: Callable[[], tff.learning.models.VariableModel],
    num_clients: int,
    client_learning_rate: float,
    server_learning_rate: float = 1.0,
) -> tff.templates.IterativeProcess:
    """Builds SCAFFOLD for a model, in Federated Core.

    All clients with examples count the same, as in the paper; those without count
    nothing and keep their control. A cohort in which nobody has any leaves the state as
    it is; one of no client TFF cannot run. NaN is not caught.

    Args:
      model_fn: builds the model, a new one each time it is called; its trainable
        variables are float32 and it has no others but metrics.
      num_clients: how many clients there are in all, at least 1: the server's control
        is the mean of theirs only if this is their number.
      client_learning_rate: of the clients' SGD, above 0.
      server_learning_rate: factor on the mean model delta, above 0.

    Returns:
      A process whose state is ``OrderedDict(weights, control)`` at the server, two
      lists of float32 arrays, the controls zeros at first. Its ``next(state,
      client_datasets, client_controls)`` returns the new state and ``OrderedDict(
      controls, metrics)``: the clients' new controls, in the order of the clients, and
      ``OrderedDict(loss, num_examples)``, float32 scalars over the cohort.

    Raises:
      ValueError: if `num_clients` is below 1, a learning rate is not above 0 or not
        finite, or the model has non-trainable variables or trainable ones that are not
        float32.
    """
    if num_clients < 1:
        raise ValueError(f"num_clients is {num_clients}; it must be at least 1.")
    federated_core.check_rates(
        client_learning_rate=client_learning_rate, server_learning_rate=server_learning_rate
    )
    shapes, batches = federated_core.look_at(model_fn)
    arrays = tff.to_type([(np.float32, shape) for shape in shapes])
    state_type = tff.to_type(collections.OrderedDict(weights=arrays, control=arrays))

    @tff.tensorflow.computation
    def initial_state():
        weights = [v.read_value() for v in model_fn().trainable_variables]
        control = [tf.zeros(shape) for shape in shapes]
        return collections.OrderedDict(weights=weights, control=control)

    @tff.tensorflow.computation(state_type, batches, arrays)
    def train_one_client(state, dataset, client_control):
        model = model_fn()

        @tf.function  # runs assignments in the order of the lines
        def train(weights, control, dataset, client_control):
            delta, change, examples, loss_sum = client_update(
                model, dataset, weights, control, client_control, client_learning_rate
            )
            renewed = [c + d for c, d in zip(client_control, change)]
            counts = tf.cast(examples > 0.0, tf.float32)
            return (delta, change, counts, examples, loss_sum), renewed

        return train(list(state["weights"]), list(state["control"]), dataset, list(client_control))

    @tff.tensorflow.computation(state_type, arrays, arrays, np.float32)
    def move_server(state, delta_sum, change_sum, clients):
        weights = [
            w + server_learning_rate * tf.math.divide_no_nan(d, clients)
            for w, d in zip(state["weights"], delta_sum, strict=True)
        ]
        control = [c + d / num_clients for c, d in zip(state["control"], change_sum, strict=True)]
        return collections.OrderedDict(weights=weights, control=control)

    @tff.tensorflow.computation(np.float32, np.float32)
    def metrics(loss_sum, num_examples):
        return collections.OrderedDict(
            loss=tf.math.divide_no_nan(loss_sum, num_examples), num_examples=num_examples
        )

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
        measured = tff.federated_map(metrics, (loss, examples))
        return new_state, collections.OrderedDict(controls=renewed, metrics=measured)

    return tff.templates.IterativeProcess(initialize, next_round)


def next_round(
    process: tff.templates.IterativeProcess,
    state: Any,
    controls: Controls,
    cohort: Mapping[str, Any],
) -> tuple[Any, dict[str, list[np.ndarray]], Mapping[str, float]]:
    """Runs one round and keeps the clients' controls, which TFF does not.

    In a deployment each client would keep its own, for as long as it lives.

    Args:
      process: what :func:`build_scaffold` returned.
      state: of the server.
      controls: by client id; who is missing has never taken part and has zeros. Not
        changed.
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
