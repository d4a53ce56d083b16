"""The functional models against the Keras models that they stand for."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import models

keras = tf.keras
IMAGES = np.random.default_rng(0).uniform(0, 1, (5, 28, 28)).astype(np.float32)
LABELS = np.int32([3, 1, 4, 1, 5])


def call(model, x, weights=None):
    """Runs the model as TFF does, inside a computation."""
    weights_type = tff.to_type([(w.dtype, w.shape) for w in model.initial_weights[0]])

    @tff.tensorflow.computation(weights_type, tff.types.tensorflow_to_type(model.input_spec[0]))
    def predict(weights, x):
        return model.predict_on_batch((tuple(weights), ()), x, training=True)

    return predict(list(weights or model.initial_weights[0]), x)


@pytest.mark.parametrize(
    "build", [models.keras.softmax_regression, models.keras.two_nn, models.keras.cnn]
)
def test_a_classifier_predicts_as_its_keras_model(build):
    model, expected = models.functional.classifier(build), build()(IMAGES).numpy()
    assert [w.shape for w in model.initial_weights[0]] == [w.shape for w in build().get_weights()]
    np.testing.assert_allclose(call(model, IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_metrics_are_means_over_examples():
    model = models.functional.classifier(models.keras.softmax_regression)
    state, outputs = model.initialize_metrics_state(), tf.one_hot([3, 1, 4, 1, 9], 10)
    for part in (slice(0, 4), slice(4, 5)):
        batch = tff.learning.models.BatchOutput(
            loss=model.loss(output=outputs[part], label=LABELS[part]),
            predictions=outputs[part],
            num_examples=part.stop - part.start,
        )
        state = model.update_metrics_state(state, labels=LABELS[part], batch_output=batch)
    metrics = model.finalize_metrics(state)
    expected = keras.losses.sparse_categorical_crossentropy(LABELS, outputs, from_logits=True)
    np.testing.assert_allclose(metrics["loss"], np.mean(expected), rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], 0.8)


def test_batch_normalisation_is_refused():
    def build():
        return keras.Sequential(
            [keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.BatchNormalization()]
        )

    with pytest.raises(ValueError, match="non-trainable weights .*moving_mean"):
        models.functional.classifier(build)
