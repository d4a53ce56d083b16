"""The models of the chapters, in Keras, and what TFF needs to train them.

Images are [batch, 28, 28] float32 and labels [batch] int32 throughout; the
classifiers return logits, [batch, 10] float32. The seed fixes the initial
weights.
"""

import collections
from collections.abc import Callable

import tensorflow as tf
import tensorflow_federated as tff

keras = tf.keras

IMAGE = (28, 28)
PIXELS = IMAGE[0] * IMAGE[1]
CLASSES = 10

#: What a client's dataset of (images, labels) batches yields; give it to
#: ``tff.learning.models.from_keras_model`` as `input_spec`.
BATCH_SPEC = (
    tf.TensorSpec((None, *IMAGE), tf.float32),
    tf.TensorSpec((None,), tf.int32),
)
#: The same for datasets that yield images only, as the VAE's do.
IMAGES_SPEC = tf.TensorSpec((None, *IMAGE), tf.float32)


def softmax_regression(seed: int = 0) -> keras.Model:
    """Softmax regression, 7,850 parameters; it starts at zero, so `seed` changes nothing."""
    del seed
    return keras.Sequential([
        keras.layers.InputLayer(IMAGE),
        keras.layers.Flatten(),
        keras.layers.Dense(CLASSES, kernel_initializer="zeros"),
    ], name="softmax_regression")


def two_nn(seed: int = 0) -> keras.Model:
    """The 2NN of McMahan et al. 2017 (arXiv 1602.05629), section 3: 199,210 parameters."""
    dense = _seeded(keras.layers.Dense, seed)
    return keras.Sequential([
        keras.layers.InputLayer(IMAGE),
        keras.layers.Flatten(),
        dense(200, activation="relu"),
        dense(200, activation="relu"),
        dense(CLASSES),
    ], name="two_nn")


def cnn(seed: int = 0) -> keras.Model:
    """The CNN of McMahan et al. 2017 (arXiv 1602.05629), section 3: 1,663,370 parameters.

    Two 5x5 convolutions of 32 and 64 channels, each with 2x2 max pooling, then
    512 units.
    """
    convolution = _seeded(keras.layers.Conv2D, seed)
    dense = _seeded(keras.layers.Dense, seed + 1000)
    return keras.Sequential([
        keras.layers.InputLayer(IMAGE),
        keras.layers.Reshape((*IMAGE, 1)),
        convolution(32, 5, padding="same", activation="relu"),
        keras.layers.MaxPool2D(),
        convolution(64, 5, padding="same", activation="relu"),
        keras.layers.MaxPool2D(),
        keras.layers.Flatten(),
        dense(512, activation="relu"),
        dense(CLASSES),
    ], name="cnn")


class Sampling(keras.layers.Layer):
    """Draws z = mean + exp(log_var / 2) * noise, the reparameterisation of Kingma and Welling 2013.

    Called on ``(mean, log_var)``, each [batch, latent_dim] float32; returns the
    same shape. (arXiv 1312.6114, section 2.4.)
    """

    def call(self, inputs):
        """Draws one z for each row of (mean, log_var)."""
        mean, log_var = inputs
        return mean + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mean))


def encoder(latent_dim: int = 2, seed: int = 0) -> keras.Model:
    """The VAE's encoder: [batch, 28, 28] -> (mean, log_var, z), each [batch, latent_dim]."""
    dense = _seeded(keras.layers.Dense, seed)
    images = keras.Input(IMAGE)
    hidden = dense(256, activation="relu")(keras.layers.Flatten()(images))
    hidden = dense(128, activation="relu")(hidden)
    mean, log_var = dense(latent_dim, name="mean")(hidden), dense(latent_dim, name="log_var")(hidden)
    return keras.Model(images, (mean, log_var, Sampling()((mean, log_var))), name="encoder")


def decoder(latent_dim: int = 2, seed: int = 0) -> keras.Model:
    """The VAE's decoder: [batch, latent_dim] -> [batch, 28, 28] in (0, 1)."""
    dense = _seeded(keras.layers.Dense, seed + 1000)
    latent = keras.Input((latent_dim,))
    hidden = dense(128, activation="relu")(latent)
    hidden = dense(256, activation="relu")(hidden)
    pixels = dense(PIXELS, activation="sigmoid")(hidden)
    return keras.Model(latent, keras.layers.Reshape(IMAGE)(pixels), name="decoder")


def vae_losses(images, reconstruction, mean, log_var):
    """Returns the two terms of the VAE's loss for each example.

    Args:
      images: [batch, 28, 28] float32.
      reconstruction: [batch, 28, 28] float32.
      mean: [batch, latent_dim] float32.
      log_var: [batch, latent_dim] float32.

    Returns:
      The squared error summed over pixels, [batch] float32, and the KL
      divergence of N(mean, exp(log_var)) from N(0, 1) in nats, [batch] float32
      (Kingma and Welling 2013, appendix B).
    """
    error = tf.reduce_sum(tf.square(images - reconstruction), axis=(1, 2))
    kl = -0.5 * tf.reduce_sum(1 + log_var - tf.square(mean) - tf.exp(log_var), axis=1)
    return error, kl


class VAE(keras.Model):
    """A variational autoencoder whose loss is squared error plus KL, mean over examples.

    Called on [batch, 28, 28] images it returns the reconstruction, mean and
    log_var. ``fit`` and ``evaluate`` take datasets of images and report `loss`,
    `reconstruction` and `kl`.
    """

    def __init__(self, latent_dim: int = 2, seed: int = 0):
        """Builds encoder and decoder.

        Args:
          latent_dim: size of the latent space, at least 1.
          seed: fixes the initial weights.

        Raises:
          ValueError: if `latent_dim` is below 1.
        """
        if latent_dim < 1:
            raise ValueError(f"latent_dim is {latent_dim}; it must be at least 1.")
        encode, decode = encoder(latent_dim, seed), decoder(latent_dim, seed)
        images = keras.Input(IMAGE)
        mean, log_var, z = encode(images)
        super().__init__(images, (decode(z), mean, log_var), name="vae")
        self.encoder, self.decoder = encode, decode
        self._trackers = [keras.metrics.Mean(name) for name in ("loss", "reconstruction", "kl")]

    @property
    def metrics(self):
        """The trackers of loss, reconstruction and KL; Keras resets them at each epoch."""
        return self._trackers

    def train_step(self, images):
        """One step of the optimiser on [batch, 28, 28] images; returns the metrics so far."""
        with tf.GradientTape() as tape:
            error, kl = vae_losses(images, *self(images))
            loss = tf.reduce_mean(error + kl)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return self._update(error, kl)

    def test_step(self, images):
        """Updates the metrics with [batch, 28, 28] images and returns them."""
        return self._update(*vae_losses(images, *self(images)))

    def _update(self, error, kl):
        for tracker, values in zip(self._trackers, (error + kl, error, kl)):
            tracker.update_state(values)
        return {tracker.name: tracker.result() for tracker in self._trackers}


def tff_classifier(
    build: Callable[[], keras.Model],
) -> Callable[[], tff.learning.models.VariableModel]:
    """Returns the `model_fn` that TFF's algorithms take, for one of the classifiers.

    Args:
      build: builds the Keras model, the same each time: ``lambda: two_nn(seed=1)``.

    Returns:
      A function without arguments that wraps a new Keras model, with cross
      entropy as its loss and accuracy as its metric, for datasets of
      :data:`BATCH_SPEC`.
    """

    def model_fn():
        return tff.learning.models.from_keras_model(
            build(),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            input_spec=BATCH_SPEC,
            metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        )

    return model_fn


class _TFFVAE(tff.learning.models.VariableModel):
    """The VAE in TFF's model interface (chapter 04 writes one step by step)."""

    def __init__(self, latent_dim: int, seed: int):
        self._vae = VAE(latent_dim, seed)
        # Sums over this client's examples; the server divides.
        self._sums = [
            tf.Variable(0.0, trainable=False, name=name) for name in ("reconstruction", "kl", "examples")
        ]

    @property
    def trainable_variables(self):
        return self._vae.trainable_variables

    @property
    def non_trainable_variables(self):
        return []

    @property
    def local_variables(self):
        return self._sums

    @property
    def input_spec(self):
        return collections.OrderedDict(x=IMAGES_SPEC)

    def predict_on_batch(self, x, training=True):
        return self._vae(x)[0]

    def forward_pass(self, batch_input, training=True):
        images = batch_input["x"]
        reconstruction, mean, log_var = self._vae(images)
        error, kl = vae_losses(images, reconstruction, mean, log_var)
        examples = tf.shape(images)[0]
        for variable, value in zip(self._sums, (error, kl, tf.ones_like(kl))):
            variable.assign_add(tf.reduce_sum(value))
        return tff.learning.models.BatchOutput(
            loss=tf.reduce_mean(error + kl), predictions=reconstruction, num_examples=examples
        )

    def report_local_unfinalized_metrics(self):
        reconstruction, kl, examples = self._sums
        return collections.OrderedDict(
            loss=[reconstruction + kl, examples], reconstruction=[reconstruction, examples], kl=[kl, examples]
        )

    def metric_finalizers(self):
        def mean(total_and_count):
            return total_and_count[0] / total_and_count[1]

        return collections.OrderedDict(loss=mean, reconstruction=mean, kl=mean)

    def reset_metrics(self):
        for variable in self._sums:
            variable.assign(0.0)


def tff_vae(latent_dim: int = 2, seed: int = 0) -> Callable[[], tff.learning.models.VariableModel]:
    """Returns the `model_fn` that TFF's algorithms take, for the VAE.

    Clients' datasets yield ``OrderedDict(x=[batch, 28, 28] float32)``; the
    metrics are `loss`, `reconstruction` and `kl`, means over all examples. The
    weights are in the order of ``VAE(latent_dim, seed).trainable_variables``.
    """
    return lambda: _TFFVAE(latent_dim, seed)


def _seeded(layer: type[keras.layers.Layer], seed: int) -> Callable[..., keras.layers.Layer]:
    """Returns `layer` with Glorot-uniform kernels, each call with a seed of its own."""
    seeds = iter(range(seed * 10_000, (seed + 1) * 10_000))

    def build(*args, **kwargs):
        initializer = keras.initializers.GlorotUniform(next(seeds))
        return layer(*args, kernel_initializer=initializer, **kwargs)

    return build
