"""The functional models against the Keras models that they stand for."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import functional_models, models

keras = tf.keras
IMAGES = np.random.default_rng(0).uniform(0, 1, (5, 28, 28)).astype(np.float32)
LABELS = np.int32([3, 1, 4, 1, 5])


def call(model, x, weights=None):
    """Runs the model as TFF does, inside a computation."""
    weights_type = tff.to_type(([(w.dtype, w.shape) for w in model.initial_weights[0]]))

    @tff.tensorflow.computation(weights_type, tff.types.tensorflow_to_type(model.input_spec[0]))
    def predict(weights, x):
        return model.predict_on_batch((tuple(weights), ()), x, training=True)

    return predict(list(weights or model.initial_weights[0]), x)


@pytest.mark.parametrize("build", [models.softmax_regression, models.two_nn, models.cnn])
def test_a_classifier_predicts_as_its_keras_model(build):
    model, expected = functional_models.classifier(build), build()(IMAGES).numpy()
    assert [w.shape for w in model.initial_weights[0]] == [w.shape for w in build().get_weights()]
    np.testing.assert_allclose(call(model, IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_the_vae_encodes_and_decodes_as_its_keras_model():
    model = functional_models.vae(seed=3)
    reconstruction, mean, log_var = call(model, IMAGES)
    vae = models.VAE(seed=3)
    _, expected_mean, expected_log_var = vae(IMAGES)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_var, expected_log_var, rtol=1e-4, atol=1e-5)
    assert reconstruction.shape == (5, 28, 28) and 0 < reconstruction.min() < reconstruction.max() < 1


def test_the_vaes_noise_follows_from_seed_and_batch():
    model = functional_models.vae()
    np.testing.assert_array_equal(call(model, IMAGES)[0], call(model, IMAGES)[0])
    assert not np.allclose(call(model, IMAGES)[0][:4], call(model, IMAGES[:4])[0], atol=1e-7)


def test_metrics_are_means_over_examples():
    model = functional_models.classifier(models.softmax_regression)
    state, outputs = model.initialize_metrics_state(), tf.one_hot([3, 1, 4, 1, 9], 10)
    for part in (slice(0, 4), slice(4, 5)):
        batch = tff.learning.models.BatchOutput(
            loss=model.loss(output=outputs[part], label=LABELS[part]), predictions=outputs[part], num_examples=part.stop - part.start
        )
        state = model.update_metrics_state(state, labels=LABELS[part], batch_output=batch)
    metrics = model.finalize_metrics(state)
    expected = keras.losses.sparse_categorical_crossentropy(LABELS, outputs, from_logits=True)
    np.testing.assert_allclose(metrics["loss"], np.mean(expected), rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], 0.8)


def test_batch_normalisation_is_refused():
    def build():
        return keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.BatchNormalization()])

    with pytest.raises(ValueError, match="non-trainable weights .*moving_mean"):
        functional_models.classifier(build)


def test_latent_dim_is_checked():
    with pytest.raises(ValueError, match="latent_dim is 0"):
        functional_models.vae(0)


def test_sample_weights_are_refused_by_the_vae():
    model = functional_models.vae()
    with pytest.raises(ValueError, match="sample_weight"):
        model.loss(output=None, label=None, sample_weight=tf.ones(2))
