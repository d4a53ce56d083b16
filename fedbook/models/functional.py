"""The models of the chapters as functions of their weights.

The functions :func:`logits` and :func:`loss` take a model as a list of arrays
``[W1, b1, W2, b2, ...]``, W [inputs, outputs] and b [outputs]. It is a multilayer perceptron
on pixels with a ReLU between its layers; with one layer, it is softmax regression.

The function :func:`classifier` returns a model of TFF's functional interface, for
:func:`fedbook.algorithms.tff.build_fast_fed_avg`. TensorFlow builds the Keras model again
for every trace, with tensors in place of the variables. The function
``tff.learning.models.functional_model_from_keras`` does the same, but it logs a line to
stderr that no setting silences.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.models.arguments import as_tensor, check_builder
from fedbook.models.softmax_regression import loss_and_accuracy, losses
from fedbook.models.specs import BATCH_SPEC

Weights = Sequence[np.ndarray | tf.Tensor]


def logits(weights: Weights, images: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Returns the model's logits, [b, classes] float32.

    Args:
      weights: ``[W1, b1, W2, b2, ...]``.
      images: [b, 28, 28] or [b, 784] floats. W1 has one row for each pixel.

    Raises:
      ValueError: if `weights` holds anything but float32 arrays whose shapes fit together, or
        `images` does not hold floats or does not fit W1.
    """
    weights, images = _check_arrays(weights), as_tensor("images", images)
    _check_layers(weights)
    if not images.dtype.is_floating:
        raise ValueError(f"images has dtype {images.dtype.name}; it must hold floats from 0 to 1.")
    wanted = weights[0].shape[0]
    if images.shape.rank is None or images.shape.rank < 2:
        raise ValueError(f"images has shape {images.shape}; it must be [b, 28, 28] or [b, 784].")
    pixels = math.prod(d or 0 for d in images.shape[1:])
    if pixels and pixels != wanted:
        raise ValueError(
            f"images has shape {tuple(images.shape)}; it must be [b, ...] with {wanted} pixels "
            "each, as many as W1 has rows."
        )
    hidden = tf.reshape(tf.cast(images, tf.float32), [tf.shape(images)[0], wanted])
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2]):
        hidden = tf.nn.relu(hidden @ kernel + bias)
    return hidden @ weights[-2] + weights[-1]


def loss(
    weights: Weights, images: np.ndarray | tf.Tensor, labels: np.ndarray | tf.Tensor
) -> tf.Tensor:
    """Returns the mean cross-entropy of the examples, a float32 scalar in nats.

    Args:
      weights: ``[W1, b1, W2, b2, ...]``, as for :func:`logits`.
      images: [b, 28, 28] or [b, 784] floats.
      labels: [b] ints from 0.

    Raises:
      ValueError: as :func:`logits` does, or if `labels` is not [b] ints.
      tf.errors.InvalidArgumentError: if a label is not one of the classes.
    """
    return tf.reduce_mean(losses(logits(weights, images), labels))


def classifier(build: Callable[[], tf.keras.Model]) -> tff.learning.models.FunctionalModel:
    """Returns a classifier as a functional model for datasets of `fedbook.models.BATCH_SPEC`.

    Its loss is the cross-entropy, and its metrics `loss` and `accuracy` are means over all
    examples. Its weights have the order of ``build().trainable_variables``.

    Args:
      build: returns the Keras model, from images [b, 28, 28] float32 to logits [b, classes]
        float32. It must return the same model each time, as
        ``lambda: models.keras.two_nn(seed=1)`` does.

    Raises:
      ValueError: if the model has non-trainable weights, like those of batch normalisation.
      TypeError: if `build` is not a function.
    """
    check_builder(build)
    model = build()
    if model.non_trainable_variables:
        names = ", ".join(v.name for v in model.non_trainable_variables)
        raise ValueError(
            f"build returns a model with non-trainable weights ({names}); it must have none."
        )

    @tf.function
    def predict_on_batch(model_weights, x, training):
        given = iter(model_weights[0])
        with tf.variable_creator_scope(lambda _, **kwargs: next(given)):
            rebuilt = build()
        return rebuilt(x, training=training)

    def mean_loss(output, label, sample_weight=None):
        each = losses(output, label)
        return tf.reduce_mean(each if sample_weight is None else sample_weight * each)

    def sum_losses(labels, batch_output):
        return batch_output.loss * tf.cast(batch_output.num_examples, tf.float32)

    return tff.learning.models.FunctionalModel(
        initial_weights=(tuple(v.numpy() for v in model.trainable_variables), ()),
        predict_on_batch_fn=predict_on_batch,
        loss_fn=mean_loss,
        metrics_fns=loss_and_accuracy(sum_losses),
        input_spec=BATCH_SPEC,
    )


def _check_arrays(weights: Weights) -> list[np.ndarray | tf.Tensor]:
    """Returns the weights as a list; raises ValueError unless they are arrays of floats."""
    arrays = list(weights) if np.iterable(weights) else []
    dtypes = [getattr(getattr(array, "dtype", None), "name", "none") for array in arrays]
    if not arrays or set(dtypes) != {"float32"}:
        raise ValueError(
            f"weights is a {type(weights).__name__} whose entries have the dtypes {dtypes}; it "
            "must be a list of float32 arrays, [W1, b1, W2, b2, ...]."
        )
    return arrays


def _check_layers(weights: Weights) -> None:
    shapes = [tuple(w.shape) for w in weights]
    kernels, biases = shapes[::2], shapes[1::2]
    fits = (
        len(kernels) == len(biases)
        and all(len(k) == 2 and b == k[1:] for k, b in zip(kernels, biases))
        and all(before[1] == after[0] for before, after in itertools.pairwise(kernels))
    )
    if not fits:
        raise ValueError(
            f"weights has shapes {shapes}; it must be [W1, b1, W2, b2, ...] with "
            "W [inputs, outputs], b [outputs], and each layer's outputs the next one's inputs."
        )
