"""The models of the chapters in TFF's functional interface, for :mod:`fedbook.client_work`.

A Keras model becomes a function of its weights by being built again, at each
tracing, with tensors in place of its variables. That is the idea of
``tff.learning.models.functional_model_from_keras``, which also works with
:mod:`fedbook.client_work` but logs a line to stderr that no setting silences.
"""

import collections
from collections.abc import Callable, Sequence

import tensorflow as tf
import tensorflow_federated as tff

from fedbook import models

keras = tf.keras


def classifier(build: Callable[[], keras.Model]) -> tff.learning.models.FunctionalModel:
    """Returns one of the classifiers as a functional model.

    Its loss is cross-entropy, its metrics `loss` and `accuracy` are means over all
    examples, its weights stand in the order of ``build().trainable_variables``.

    Args:
      build: builds the Keras model, the same each time: ``lambda: two_nn(seed=1)``;
        from images [b, 28, 28] float32 to logits [b, classes] float32.

    Returns:
      A model for datasets of ``fedbook.models.BATCH_SPEC``.

    Raises:
      ValueError: if the model has non-trainable weights (batch normalisation).
    """
    model = build()
    if model.non_trainable_variables:
        names = ", ".join(v.name for v in model.non_trainable_variables)
        raise ValueError(f"build returns a model with non-trainable weights ({names}); it must have none.")

    @tf.function
    def predict_on_batch(model_weights, x, training):
        given = iter(model_weights[0])
        with tf.variable_creator_scope(lambda _, **kwargs: next(given)):
            rebuilt = build()
        return rebuilt(x, training=training)

    def mean_loss(output, label, sample_weight=None):
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(label, output)
        return tf.reduce_mean(each if sample_weight is None else sample_weight * each)

    def sums(batch_output, label):
        right = tf.equal(tf.argmax(batch_output.predictions, 1, label.dtype), label)
        return collections.OrderedDict(
            loss=batch_output.loss * tf.cast(batch_output.num_examples, tf.float32),
            accuracy=tf.reduce_sum(tf.cast(right, tf.float32)),
        )

    return tff.learning.models.FunctionalModel(
        initial_weights=(tuple(v.numpy() for v in model.trainable_variables), ()),
        predict_on_batch_fn=predict_on_batch,
        loss_fn=mean_loss,
        metrics_fns=_means(("loss", "accuracy"), sums),
        input_spec=models.BATCH_SPEC,
    )


def vae(latent_dim: int = 2, seed: int = 0) -> tff.learning.models.FunctionalModel:
    """Returns the VAE as a functional model.

    Its noise follows from the seed and the batch, not from a generator: the same
    training gives the same model. Its metrics are `loss`, `reconstruction`
    and `kl`, means over all examples; its weights stand in the order of
    ``fedbook.models.VAE(latent_dim, seed).trainable_variables``.

    Args:
      latent_dim: size of the latent space, at least 1.
      seed: fixes the initial weights and the noise.

    Returns:
      A model for datasets of (images, images), [b, 28, 28] float32 both.

    Raises:
      ValueError: if `latent_dim` is below 1.
    """
    built = models.VAE(latent_dim, seed)

    @tf.function
    def predict_on_batch(model_weights, x, training):
        w1, b1, w2, b2, w_mean, b_mean, w_var, b_var, w3, b3, w4, b4, w5, b5 = model_weights[0]
        hidden = tf.nn.relu(tf.reshape(x, (-1, models.PIXELS)) @ w1 + b1)
        hidden = tf.nn.relu(hidden @ w2 + b2)
        mean, log_var = hidden @ w_mean + b_mean, hidden @ w_var + b_var
        ink = tf.reduce_sum(tf.cast(255 * x, tf.int32))  # of integers, so that no rounding enters
        noise = tf.random.stateless_normal(tf.shape(mean), [seed, ink])
        hidden = tf.nn.relu((mean + tf.exp(0.5 * log_var) * noise) @ w3 + b3)
        hidden = tf.nn.relu(hidden @ w4 + b4)
        pixels = tf.sigmoid(hidden @ w5 + b5)
        return tf.reshape(pixels, (-1, *models.IMAGE)), mean, log_var

    def losses(output, label):
        error, kl = models.vae_losses(label, *output)
        return collections.OrderedDict(loss=error + kl, reconstruction=error, kl=kl)

    def mean_loss(output, label, sample_weight=None):
        if sample_weight is not None:
            raise ValueError("sample_weight is given; the VAE weights all examples alike.")
        return tf.reduce_mean(losses(output, label)["loss"])

    def sums(batch_output, label):
        each = losses(batch_output.predictions, label)
        return collections.OrderedDict((name, tf.reduce_sum(values)) for name, values in each.items())

    return tff.learning.models.FunctionalModel(
        initial_weights=(tuple(v.numpy() for v in built.trainable_variables), ()),
        predict_on_batch_fn=predict_on_batch,
        loss_fn=mean_loss,
        metrics_fns=_means(("loss", "reconstruction", "kl"), sums),
        input_spec=(models.IMAGES_SPEC, models.IMAGES_SPEC),
    )


def _means(names: Sequence[str], sums: Callable):
    """Returns TFF's three metric functions: for each name the sum over examples and their number, and the mean.

    Args:
      names: of the metrics.
      sums: from a BatchOutput and its labels to each metric's sum over the batch.
    """

    @tf.function
    def initialize():
        return collections.OrderedDict((name, (0.0, 0.0)) for name in names)

    @tf.function
    def update(state, labels, batch_output, sample_weight=None):
        examples = tf.cast(batch_output.num_examples, tf.float32)
        values = sums(batch_output, labels)
        return collections.OrderedDict(
            (name, (total + values[name], count + examples)) for name, (total, count) in state.items()
        )

    @tf.function
    def finalize(state):
        return collections.OrderedDict((name, total / count) for name, (total, count) in state.items())

    return initialize, update, finalize
