"""``tff.learning``'s federated averaging with a faster part for the clients.

``tff.learning`` trains a client by reducing a ``tf.data.Dataset``: every batch goes through the
dataset's iterator, and every round carries the client's pipeline. Here the examples are gathered
into tensors once, and all local epochs run in one ``tf.while_loop`` over slices of them.

The algorithm is ClientUpdate of McMahan et al. 2017 (arXiv 1602.05629), Algorithm 1,
with any optimiser in place of SGD (Reddi et al. 2021, arXiv 2003.00295).
"""

import collections
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.checks import check_callable, check_int, check_type
from fedbook.data.clients import without_autotuning

AggregationFactory: TypeAlias = (
    tff.aggregators.WeightedAggregationFactory | tff.aggregators.UnweightedAggregationFactory
)
# More examples than a client can hold in memory: one batch of a dataset is all of it.
_ALL = 1 << 30
_LARGEST = 2**31 - 1  # of an int32, which counts examples and epochs


def build_fast_fed_avg(
    model: tff.learning.models.FunctionalModel,
    client_optimizer: tff.learning.optimizers.Optimizer,
    server_optimizer: tff.learning.optimizers.Optimizer | None = None,
    *,
    batch_size: int,
    epochs: int = 1,
    shuffle_seed: int | None = None,
    client_weighting: tff.learning.ClientWeighting = tff.learning.ClientWeighting.NUM_EXAMPLES,
    model_distributor: tff.learning.templates.DistributionProcess | None = None,
    model_aggregator: AggregationFactory | None = None,
    metrics_aggregator: Callable[..., Any] | None = None,
) -> tff.learning.templates.LearningProcess:
    """Builds federated averaging with :func:`build_client_work`.

    It has the same state and metrics as the process of
    ``tff.learning.algorithms.build_weighted_fed_avg`` and, on the same batches, arrives at the same
    weights. Arguments that are not named below are those of :func:`build_client_work`.

    Args:
      model: the functional model, such as :func:`fedbook.models.functional.classifier`
        makes from a Keras model.
      client_optimizer: of the local steps.
      server_optimizer: takes the mean model delta for its gradient; by default SGD
        with learning rate 1, as in McMahan et al. 2017.
      model_distributor: how the model gets to the clients; by default it is sent as it is.
      model_aggregator: how the deltas are averaged, by default as a weighted mean. Any
        aggregation factory will do; an unweighted one counts every client once.

    Returns:
      A process whose ``next`` takes the state and a list of client datasets.

    Raises:
      ValueError: if a number is out of range.
      TypeError: if `model` is not a functional model, an optimiser not TFF's, or another argument
        of another kind.
    """
    check_type("client_optimizer", client_optimizer, tff.learning.optimizers.Optimizer)
    client_work = build_client_work(
        model,
        client_optimizer,
        batch_size=batch_size,
        epochs=epochs,
        shuffle_seed=shuffle_seed,
        client_weighting=client_weighting,
        metrics_aggregator=metrics_aggregator,
    )
    if server_optimizer is None:
        server_optimizer = tff.learning.optimizers.build_sgdm(1.0)
    check_type("server_optimizer", server_optimizer, tff.learning.optimizers.Optimizer)
    aggregator = model_aggregator or tff.aggregators.MeanFactory()
    if isinstance(aggregator, tff.aggregators.UnweightedAggregationFactory):
        aggregator = tff.aggregators.as_weighted_aggregator(aggregator)
    check_type("model_aggregator", aggregator, tff.aggregators.WeightedAggregationFactory)
    if model_distributor is not None:
        wanted = tff.learning.templates.DistributionProcess
        check_type("model_distributor", model_distributor, wanted)

    @tff.tensorflow.computation
    def initial_weights():
        parts = [tuple(map(tf.convert_to_tensor, part)) for part in model.initial_weights]
        return tff.learning.models.ModelWeights(*parts)

    weights_type = initial_weights.type_signature.result
    return tff.learning.templates.compose_learning_process(
        initial_weights,
        model_distributor or tff.learning.templates.build_broadcast_process(weights_type),
        client_work,
        aggregator.create(weights_type.trainable, tff.TensorType(np.float32)),
        tff.learning.templates.build_apply_optimizer_finalizer(server_optimizer, weights_type),
    )


def build_client_work(
    model: tff.learning.models.FunctionalModel,
    optimizer: tff.learning.optimizers.Optimizer,
    *,
    batch_size: int,
    epochs: int = 1,
    shuffle_seed: int | None = None,
    client_weighting: tff.learning.ClientWeighting = tff.learning.ClientWeighting.NUM_EXAMPLES,
    metrics_aggregator: Callable[..., Any] | None = None,
) -> tff.learning.templates.ClientWorkProcess:
    """Builds the clients' part of a round, for ``tff.learning.templates.compose_learning_process``.

    Clients may hold different numbers of examples, and nothing is compiled again for
    another number. The last batch of an epoch holds the examples that are left. A client
    without examples returns a zero update of weight 0. So does a client whose update is
    not finite; its metrics are left out, as in ``tff.learning``.

    Args:
      model: its `input_spec` is a pair or ``OrderedDict(x, y)`` of batches.
      optimizer: of the local steps; its state starts anew in every round.
      batch_size: B, at least 1; the batches of the client's dataset are cut anew.
      epochs: E, local epochs, at least 1.
      shuffle_seed: an int, from which the examples are shuffled anew in every epoch. The
        order also depends on the numbers of the round and of the epoch; clients of the
        same size get the same one. With None every epoch keeps the dataset's order.
      client_weighting: by examples (each counted once an epoch) or uniform.
      metrics_aggregator: from the model's ``finalize_metrics`` to a computation that aggregates the
        clients' metrics; ``tff.learning.metrics.sum_then_finalize`` by default.

    Returns:
      A process with the round's number for its state. A client's dataset yields
      batches of the model's `input_spec`, of any size; one large batch is fastest.

    Raises:
      ValueError: if `batch_size` or `epochs` is not from 1 to 2**31 - 1, or `shuffle_seed` is
        neither an int nor None.
      TypeError: if `model` is not a functional model, `optimizer` not TFF's, `client_weighting`
        not a ``tff.learning.ClientWeighting``, or `metrics_aggregator` not a function.
    """
    check_int("batch_size", batch_size, 1, _LARGEST)
    check_int("epochs", epochs, 1, _LARGEST)
    if shuffle_seed is not None:
        check_int("shuffle_seed", shuffle_seed, -(2**63), 2**63 - 1)
    weightings = tff.learning.ClientWeighting
    check_type("client_weighting", client_weighting, weightings, "ClientWeighting.UNIFORM")
    if metrics_aggregator is not None:
        check_callable("metrics_aggregator", metrics_aggregator, "of the model's finalisers")
    check_type("model", model, tff.learning.models.FunctionalModel)
    check_type("optimizer", optimizer, tff.learning.optimizers.Optimizer)
    build_aggregation = metrics_aggregator or tff.learning.metrics.sum_then_finalize
    aggregate_metrics = build_aggregation(model.finalize_metrics)
    specs = [tuple(tf.TensorSpec(w.shape, w.dtype) for w in part) for part in model.initial_weights]
    weights_type = tff.types.tensorflow_to_type(tff.learning.models.ModelWeights(*specs))
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(model.input_spec))
    settings = model, optimizer, batch_size, epochs, shuffle_seed, client_weighting

    @tff.tensorflow.computation(np.int64, weights_type, data_type)
    def train_client(round_number, weights, dataset):
        examples = _gather(dataset, model.input_spec)
        variables = weights.trainable, weights.non_trainable
        return _train(*settings, variables, examples, round_number)

    @tff.tensorflow.computation(np.int64)
    def add_one(round_number):
        return round_number + 1

    @tff.federated_computation
    def initialize():
        return tff.federated_value(np.int64(0), tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(weights_type, tff.CLIENTS),
        tff.FederatedType(data_type, tff.CLIENTS),
    )
    def next_round(round_number, weights, data):
        result, metrics = tff.federated_map(
            train_client, (tff.federated_broadcast(round_number), weights, data)
        )
        return tff.templates.MeasuredProcessOutput(
            tff.federated_map(add_one, round_number),
            result,
            tff.federated_zip(collections.OrderedDict(train=aggregate_metrics(metrics))),
        )

    return tff.learning.templates.ClientWorkProcess(initialize, next_round)


def _gather(dataset: tf.data.Dataset, spec: Any) -> tuple[Any, Any]:
    """Returns all examples of a dataset of batches as one batch (x, y), [0, ...] if it is empty."""
    nothing = tf.nest.map_structure(
        lambda s: tf.zeros([0, *(size or 0 for size in s.shape[1:])], s.dtype), spec
    )
    # Not get_single_element, a little faster: each call of it on a dataset with a map leaves
    # some 100 kB in the worker for ever.
    batch = without_autotuning(dataset.rebatch(_ALL)).reduce(nothing, lambda _, whole: whole)
    return tuple(batch.values()) if isinstance(batch, collections.abc.Mapping) else tuple(batch)


@tf.function
def _train(
    model, optimizer, batch_size, epochs, shuffle_seed, weighting, weights, examples, round_number
):
    """Returns TFF's ClientResult and the unfinalised metrics."""
    size = tf.shape(tf.nest.flatten(examples[1])[0])[0]
    start, fixed = weights
    # The worker's session inlines no functions: each call of one in a step would cost as
    # much as several of its operations. TFF's model has only these to offer.
    predict, update_metrics = (
        getattr(function, "python_function", function)
        for function in (model._predict_on_batch_fn, model._update_metrics_state)
    )
    optimizer_state = optimizer.initialize(
        tf.nest.map_structure(lambda w: tf.TensorSpec(w.shape, w.dtype), start)
    )

    def batch(order, first):
        rows = slice(first, first + batch_size)
        if order is None:
            return tf.nest.map_structure(lambda tensor: tensor[rows], examples)
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, order[rows]), examples)

    def local_step(order, first, trained, optimizer_state, metrics):
        batch_x, batch_y = batch(order, first)
        with tf.GradientTape() as tape:
            tape.watch(trained)
            output = predict((trained, fixed), batch_x, training=True)
            loss = model.loss(output=output, label=batch_y)
        gradients = tape.gradient(loss, trained)
        optimizer_state, trained = optimizer.next(optimizer_state, trained, gradients)
        measured = tff.learning.models.BatchOutput(
            loss=loss, predictions=output, num_examples=tf.minimum(batch_size, size - first)
        )
        metrics = update_metrics(metrics, labels=batch_y, batch_output=measured)
        return first + batch_size, trained, optimizer_state, metrics

    def local_epoch(epoch, *training):
        order = None
        if shuffle_seed is not None:
            seed = tf.stack([shuffle_seed % 2**31, tf.cast(round_number, tf.int32)])
            seed = tf.random.experimental.stateless_fold_in(seed, epoch)
            order = tf.random.experimental.stateless_shuffle(tf.range(size), seed)
        _, *training = tf.while_loop(
            lambda first, *_: first < size,
            lambda first, *training: local_step(order, first, *training),
            (0, *training),
            parallel_iterations=1,
        )
        return epoch + 1, *training

    _, trained, _, metrics = tf.while_loop(
        lambda epoch, *_: epoch < epochs,
        local_epoch,
        (0, start, optimizer_state, model.initialize_metrics_state()),
        parallel_iterations=1,
    )
    # In the direction of a gradient, as TFF has it.
    delta = tf.nest.map_structure(tf.subtract, start, trained)
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(d)) for d in tf.nest.flatten(delta)])
    delta = tf.nest.map_structure(lambda d: tf.where(finite, d, tf.zeros_like(d)), delta)
    by_examples = weighting == tff.learning.ClientWeighting.NUM_EXAMPLES
    weight = tf.cast(epochs * size, tf.float32) if by_examples else 1.0
    weight = tf.where(finite, weight, 0.0)
    metrics = tf.cond(finite, lambda: metrics, model.initialize_metrics_state)
    return tff.learning.templates.ClientResult(update=delta, update_weight=weight), metrics
