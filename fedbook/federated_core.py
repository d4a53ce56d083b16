"""Federated averaging in TFF's core language.

Algorithm 1 of McMahan et al. 2017 (arXiv 1602.05629), section 2, written with
``tff.federated_broadcast``, ``tff.federated_map`` and ``tff.federated_sum``
instead of ``tff.learning``. Chapter 05 writes it step by step.
"""

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff


def client_update(
    model: tff.learning.models.VariableModel,
    dataset: tf.data.Dataset,
    weights: list[tf.Tensor],
    learning_rate: float,
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Trains on one client's batches with plain SGD, one step a batch.

    Args:
      model: its trainable variables are overwritten with `weights`, then trained.
      dataset: batches of the model's `input_spec`, each of at least one example;
        may hold no batch.
      weights: where to start, in the order of ``model.trainable_variables``.
      learning_rate: of the client's SGD.

    Returns:
      The model delta (weights after minus before, shaped like `weights`), the
      number of examples seen (float32 scalar; an example counts once a local
      epoch) and the sum over these examples of their loss when they were seen
      (float32 scalar). All are zero for an empty dataset.
    """
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)

    def step(sums, batch):
        with tf.GradientTape() as tape:
            output = model.forward_pass(batch, training=True)
        gradients = tape.gradient(output.loss, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign_sub(learning_rate * gradient)
        batch_examples = tf.cast(output.num_examples, tf.float32)
        return sums[0] + batch_examples, sums[1] + batch_examples * output.loss

    # reduce, not a `for` over the dataset: the worker runs it in less than half the time.
    num_examples, loss_sum = dataset.reduce((0.0, 0.0), step)
    delta = [v - w for v, w in zip(model.trainable_variables, weights, strict=True)]
    return delta, num_examples, loss_sum


def server_update(
    weights: list[tf.Tensor],
    delta_sum: list[tf.Tensor],
    num_examples: tf.Tensor,
    learning_rate: float,
) -> list[tf.Tensor]:
    """Moves the weights by the mean of the model deltas, weighted by examples.

    Args:
      weights: the server's.
      delta_sum: the sum over clients of their model delta times their number of
        examples, shaped like `weights`.
      num_examples: float32 scalar, the cohort's; if it is 0, `weights` are
        returned unchanged.
      learning_rate: of the server; 1 puts the server at the weighted mean of the
        clients' weights.
    """
    # divide_no_nan: 0 where nobody has examples, so that such a round changes nothing.
    mean_delta = [tf.math.divide_no_nan(s, num_examples) for s in delta_sum]
    return [w + learning_rate * d for w, d in zip(weights, mean_delta, strict=True)]


def build_fed_avg(
    model_fn: Callable[[], tff.learning.models.VariableModel],
    client_learning_rate: float,
    server_learning_rate: float = 1.0,
) -> tff.templates.IterativeProcess:
    """Builds federated averaging for a model, in Federated Core.

    Clients weigh as much as they have examples, one without examples nothing. A
    cohort with no examples at all, or no client at all, leaves the weights as
    they are; its `loss` is then 0. Nothing is rejected: one client's NaN makes
    the server's weights NaN, where ``tff.learning`` would leave that client out.

    Args:
      model_fn: builds the model, a new one each time it is called; its trainable
        variables are float32 and it has no others but metrics.
      client_learning_rate: of the clients' SGD, above 0.
      server_learning_rate: factor on the mean model delta, above 0.

    Returns:
      A process whose state is the list of the trainable weights, float32 arrays
      at the server, and whose ``next(weights, client_datasets)`` returns the new
      weights and ``OrderedDict(loss, num_examples)``: float32 scalars, the mean
      over all examples of the cohort of their loss while the clients trained,
      and their number. Datasets yield batches of the model's `input_spec`.

    Raises:
      ValueError: if a learning rate is not above 0 or not finite, or the model
        has non-trainable variables or trainable ones that are not float32.
    """
    check_rates(client_learning_rate=client_learning_rate, server_learning_rate=server_learning_rate)
    shapes, batches = look_at(model_fn)
    weights_type = tff.to_type([(np.float32, shape) for shape in shapes])

    @tff.tensorflow.computation
    def initial_weights():
        return [v.read_value() for v in model_fn().trainable_variables]

    @tff.tensorflow.computation(weights_type, batches)
    def train_one_client(weights, dataset):
        model = model_fn()  # built in here: a computation can use no variables but its own

        @tf.function  # runs assignments in the order of the lines, which a graph alone does not
        def train(weights, dataset):
            delta, examples, loss_sum = client_update(model, dataset, weights, client_learning_rate)
            return [examples * d for d in delta], examples, loss_sum

        return train(weights, dataset)

    @tff.tensorflow.computation(weights_type, weights_type, np.float32)
    def move_server(weights, delta_sum, num_examples):
        return server_update(weights, delta_sum, num_examples, server_learning_rate)

    @tff.tensorflow.computation(np.float32, np.float32)
    def metrics(loss_sum, num_examples):
        return collections.OrderedDict(
            loss=tf.math.divide_no_nan(loss_sum, num_examples), num_examples=num_examples
        )

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
        return new_weights, tff.federated_map(metrics, (tff.federated_sum(loss), num_examples))

    return tff.templates.IterativeProcess(initialize, next_round)


def check_rates(**rates: float) -> None:
    """Raises ValueError, by name, for a learning rate that is not above 0 and finite."""
    for name, rate in rates.items():
        if not 0 < rate < np.inf:
            raise ValueError(f"{name} is {rate}; it must be a finite number above 0.")


def look_at(
    model_fn: Callable[[], tff.learning.models.VariableModel],
) -> tuple[list[tuple[int, ...]], tff.SequenceType]:
    """Returns the shapes of a model's trainable variables, and the type of its batches.

    Raises:
      ValueError: if the model has non-trainable variables or trainable ones that
        are not float32.
    """
    with tf.Graph().as_default():  # a model to look at; its variables end with the graph
        model = model_fn()
        _check_variables(model)
        shapes = [tuple(v.shape) for v in model.trainable_variables]
        return shapes, tff.SequenceType(tff.types.tensorflow_to_type(model.input_spec))


def _check_variables(model: Any) -> None:
    if model.non_trainable_variables:
        names = ", ".join(v.name for v in model.non_trainable_variables)
        raise ValueError(
            f"model_fn builds a model with non-trainable variables ({names}); it must have none."
        )
    for variable in model.trainable_variables:
        if variable.dtype != tf.float32:
            raise ValueError(
                f"model_fn builds a model whose variable {variable.name} is {variable.dtype.name}; "
                "it must be float32."
            )
