"""A client's local steps on a TFF model, and what is asked of such a model."""

import collections
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.checks import check_callable, check_type

ModelFn = Callable[[], tff.learning.models.VariableModel]


def train_model(
    model: tff.learning.models.VariableModel,
    dataset: tf.data.Dataset,
    weights: list[tf.Tensor],
    learning_rate: float,
    correction: list[tf.Tensor] | None = None,
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
    """Trains on one client's batches with SGD, one step a batch.

    Args:
      model: its trainable variables are overwritten with `weights`, then trained.
      dataset: batches of the model's `input_spec`, each of at least one example; may hold no batch.
      weights: where to start, in the order of ``model.trainable_variables``.
      learning_rate: of the client's SGD.
      correction: shaped like `weights`, added to the gradient in every step; by default nothing is.

    Returns:
      The model delta (weights after minus before, shaped like `weights`); and as float32 scalars
      the number of steps, the number of examples seen (an example counts once a local epoch), and
      the sum over them of their loss when they were seen. All are zero for an empty dataset.
    """
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)

    def step(sums, batch):
        with tf.GradientTape() as tape:
            output = model.forward_pass(batch, training=True)
        along = tape.gradient(output.loss, model.trainable_variables)
        if correction is not None:
            along = [g + c for g, c in zip(along, correction, strict=True)]
        for variable, direction in zip(model.trainable_variables, along, strict=True):
            variable.assign_sub(learning_rate * direction)
        batch_examples = tf.cast(output.num_examples, tf.float32)
        return sums[0] + 1.0, sums[1] + batch_examples, sums[2] + batch_examples * output.loss

    # reduce, not a `for` over the dataset: the worker runs it in less than half the time.
    steps, num_examples, loss_sum = dataset.reduce((0.0, 0.0, 0.0), step)
    delta = [v - w for v, w in zip(model.trainable_variables, weights, strict=True)]
    return delta, steps, num_examples, loss_sum


def model_types(model_fn: ModelFn) -> tuple[tff.Type, tff.SequenceType]:
    """Returns the types of the list of a model's trainable variables and of its datasets.

    Raises:
      ValueError: if the model has non-trainable variables or trainable ones that are not float32.
      TypeError: if `model_fn` does not build a ``tff.learning.models.VariableModel``.
    """
    check_callable("model_fn", model_fn, "that builds a model")
    with tf.Graph().as_default():  # a model to look at; its variables end with the graph
        kind = tff.learning.models.VariableModel
        model = check_type("what model_fn builds", model_fn(), kind)
        _check_variables(model)
        weights = [(np.float32, tuple(v.shape)) for v in model.trainable_variables]
        batches = tff.SequenceType(tff.types.tensorflow_to_type(model.input_spec))
        return tff.to_type(weights), batches


@tff.tensorflow.computation(np.float32, np.float32)
def mean_metrics(loss_sum, num_examples):
    """Returns ``OrderedDict(loss, num_examples)`` of a cohort; without examples the loss is 0."""
    loss = tf.math.divide_no_nan(loss_sum, num_examples)
    return collections.OrderedDict(loss=loss, num_examples=num_examples)


def _check_variables(model: tff.learning.models.VariableModel) -> None:
    if model.non_trainable_variables:
        names = ", ".join(v.name for v in model.non_trainable_variables)
        raise ValueError(
            f"model_fn builds a model with non-trainable variables ({names}); it must have none."
        )
    for variable in model.trainable_variables:
        if variable.dtype != tf.float32:
            found = f"variable {variable.name} is {variable.dtype.name}"
            raise ValueError(f"model_fn builds a model whose {found}; it must be float32.")
