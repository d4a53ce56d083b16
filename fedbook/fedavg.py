"""Federated averaging by hand: TensorFlow only, no Keras, no TFF.

The algorithm is FederatedAveraging of McMahan et al. 2017 (arXiv 1602.05629),
section 2, Algorithm 1, written with model deltas: each client returns how far it
moved, and the server moves by the weighted mean. With a server learning rate of
1 that is the paper's weighted mean of the clients' models.

A model is a list of float32 arrays ``[W1, b1, W2, b2, ...]``, W [inputs, outputs]
and b [outputs]: a multilayer perceptron on pixels with a ReLU between its layers.
One layer, ``[W, b]``, is softmax regression.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

Weights = Sequence[np.ndarray | tf.Tensor]
Loss = Callable[[Weights, tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class ClientUpdate:
    """What a client sends to the server.

    Attributes:
      delta: the client's weights after training minus those it received; float32
        arrays of the weights' shapes.
      num_examples: how many examples the client trained on, each counted once in
        every local epoch; the weight of `delta` in the mean.
    """

    delta: list[np.ndarray]
    num_examples: int


def logits(weights: Weights, images: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Returns the model's logits, [b, classes] float32.

    Args:
      weights: ``[W1, b1, W2, b2, ...]``.
      images: [b, 28, 28] or [b, 784] floats; W1 has as many rows as an image has
        pixels.

    Raises:
      ValueError: if the shapes in `weights` do not fit together, or `images` does
        not hold floats or does not fit W1.
    """
    weights, images = list(weights), tf.convert_to_tensor(images)
    _check_layers(weights)
    if not images.dtype.is_floating:
        raise ValueError(f"images has dtype {images.dtype.name}; it must hold floats from 0 to 1.")
    pixels, wanted = math.prod(d or 0 for d in images.shape[1:]), weights[0].shape[0]
    if images.shape.rank < 2 or (pixels and pixels != wanted):
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
    """Returns the cross-entropy averaged over the examples given, a float32 scalar in nats.

    Args:
      weights: ``[W1, b1, W2, b2, ...]``.
      images: [b, 28, 28] or [b, 784] floats.
      labels: [b] ints from 0.

    Raises:
      ValueError: as :func:`logits` does.
      tf.errors.InvalidArgumentError: if a label is not one of the classes.
    """
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits(weights, images))
    return tf.reduce_mean(each)


def client_update(
    weights: Weights,
    batches: Iterable[tuple[np.ndarray | tf.Tensor, np.ndarray | tf.Tensor]],
    learning_rate: float,
    loss: Loss = loss,
) -> ClientUpdate:
    """Trains on one client by SGD: ClientUpdate of McMahan et al. 2017, Algorithm 1.

    One step a batch, on the mean loss of that batch. So the examples of a small
    last batch weigh more in their step than those of a full one; the size of the
    client enters only at the server, through `num_examples`.

    Args:
      weights: what the server sent; not changed.
      batches: (images [b, 28, 28] or [b, 784], labels [b]) in the order of
        training. For E local epochs it yields each example E times. A batch
        without examples is passed over.
      learning_rate: of SGD, above 0.
      loss: from weights, images and labels to the scalar to descend;
        :func:`loss` by default. TensorFlow traces it.

    Returns:
      The model delta and the number of examples; zeros and 0 if there were none.
      NaN in the data is not caught: the delta is then NaN.

    Raises:
      ValueError: if `weights` is empty or does not hold floats, `learning_rate`
        is not a finite number above 0, or a batch has not as many images as labels.
    """
    received = _floats("weights", weights)
    _check_rate("learning_rate", learning_rate)
    shapes = tuple(w.shape for w in received)
    trained, num_examples = [tf.constant(w) for w in received], 0
    rate = tf.constant(learning_rate, tf.float32)  # a Python number would be traced anew each time
    for number, (images, labels) in enumerate(batches):
        if len(images) != len(labels):
            raise ValueError(
                f"batches: number {number} has {len(images)} images and {len(labels)} labels; "
                "they must match."
            )
        if len(labels):  # the mean over no example is NaN
            images, labels = tf.convert_to_tensor(images), tf.convert_to_tensor(labels)
            step = _sgd_step(loss, shapes, tuple(images.shape[1:]))
            trained = step(trained, images, labels, rate)
            num_examples += len(labels)
    delta = [after.numpy() - before for after, before in zip(trained, received)]
    return ClientUpdate(delta, num_examples)


def server_aggregate(
    weights: Weights,
    updates: Iterable[ClientUpdate],
    server_learning_rate: float = 1.0,
    uniform: bool = False,
) -> list[np.ndarray]:
    """Returns the weights moved by the mean of the clients' deltas.

    Args:
      weights: what the clients received; not changed.
      updates: one for each client of the cohort.
      server_learning_rate: how far to go along the mean delta; 1, as in McMahan
        et al. 2017, lands on the mean of the clients' models.
      uniform: whether each client counts once, an empty one too, instead of by
        its `num_examples`.

    Returns:
      New float32 arrays; equal to `weights` if there is no update, or no update
      has an example. NaN in a delta is not caught: the result is then NaN.

    Raises:
      ValueError: if `weights` is empty or does not hold floats, the deltas'
        shapes are not those of `weights`, a `num_examples` is below 0, or
        `server_learning_rate` is not a finite number above 0.
    """
    received, updates = _floats("weights", weights), list(updates)
    _check_rate("server_learning_rate", server_learning_rate)
    shapes = [w.shape for w in received]
    for number, update in enumerate(updates):
        got = [np.shape(d) for d in update.delta]
        if got != shapes:
            raise ValueError(
                f"updates: number {number} has deltas of shapes {got}; "
                f"those of weights are {shapes}."
            )
        if not update.num_examples >= 0:
            raise ValueError(
                f"updates: number {number} has num_examples {update.num_examples}; "
                "it must be 0 or more."
            )
    shares = [1 if uniform else update.num_examples for update in updates]
    total = sum(shares)
    new = [w.copy() for w in received]
    if total == 0:
        return new
    for share, update in zip(shares, updates):
        for w, d in zip(new, update.delta):
            w += np.float32(server_learning_rate * share / total) * d
    return new


@functools.lru_cache(maxsize=64)
def _sgd_step(loss: Loss, shapes: tuple, image_shape: tuple):
    """Returns one step of SGD as a graph, its own for each shape of model and image.

    reduce_retracing, which is for batches of other sizes, would else give up the shapes.
    """

    @tf.function(reduce_retracing=True)
    def step(weights, images, labels, learning_rate):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = loss(weights, images, labels)
        gradients = tape.gradient(value, weights, unconnected_gradients="zero")
        return [w - learning_rate * g for w, g in zip(weights, gradients)]

    return step


def _floats(name: str, arrays: Weights) -> list[np.ndarray]:
    arrays = [np.asarray(a) for a in arrays]
    if not arrays:
        raise ValueError(f"{name} is empty; it must hold at least one array.")
    for number, array in enumerate(arrays):
        if array.dtype.kind != "f":
            raise ValueError(f"{name}[{number}] has dtype {array.dtype}; it must hold floats.")
    return [a.astype(np.float32, copy=False) for a in arrays]


def _check_rate(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a finite number above 0.")


def _check_layers(weights: Weights) -> None:
    shapes = [tuple(w.shape) for w in weights]
    kernels, biases = shapes[::2], shapes[1::2]
    fits = (
        len(shapes) > 0
        and len(kernels) == len(biases)
        and all(len(k) == 2 and b == k[1:] for k, b in zip(kernels, biases))
        and all(before[1] == after[0] for before, after in zip(kernels, kernels[1:]))
    )
    if not fits:
        raise ValueError(
            f"weights has shapes {shapes}; it must be [W1, b1, W2, b2, ...] with "
            "W [inputs, outputs], b [outputs], and each layer's outputs the next one's inputs."
        )
