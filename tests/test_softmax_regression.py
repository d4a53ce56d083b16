"""Exact numbers by hand, TFF's metrics over unequal clients, and Keras as the judge."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import models
from fedbook.models import softmax_regression

# Images by their first two pixels, all others 0; labels 0 and 1.
WEIGHTS = [np.zeros((784, 10), np.float32), np.zeros(10, np.float32)]
WEIGHTS[0][0, 0] = WEIGHTS[0][1, 1] = np.log(9.0)  # one pixel of ink: 9 to 1 to ... to 1


def example(pixel: int, label: int):
    image = np.zeros((28, 28), np.float32)
    image[0, pixel] = 1.0
    return image, np.int32(label)


def batch(*examples):
    images, labels = zip(*examples)
    return np.stack(images), np.array(labels, np.int32)


def client(*examples, size: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(batch(*examples)).batch(size)


def random_client(n: int, size: int) -> tf.data.Dataset:
    rng = np.random.default_rng(n)
    examples = rng.uniform(0, 1, (n, 28, 28)).astype(np.float32), rng.integers(0, 10, n, np.int32)
    return tf.data.Dataset.from_tensor_slices(examples).batch(size)


def model_with_weights() -> softmax_regression.SoftmaxRegression:
    model = softmax_regression.SoftmaxRegression()
    for variable, value in zip(model.trainable_variables, WEIGHTS, strict=True):
        variable.assign(value)
    return model


RIGHT, WRONG = example(0, 0), example(0, 1)  # probability 9/18 = 1/2 and 1/18


def test_losses_and_hits_by_hand():
    images, labels = batch(RIGHT, WRONG)
    outputs = softmax_regression.logits(WEIGHTS, images)
    assert outputs.shape == (2, 10)
    np.testing.assert_allclose(
        softmax_regression.losses(outputs, labels), [np.log(2), np.log(18)], rtol=1e-6
    )
    assert softmax_regression.num_correct(outputs, labels).numpy() == 1.0


def test_the_loss_is_the_batchs_mean_and_the_metrics_are_sums():
    model = model_with_weights()
    output = model.forward_pass(batch(RIGHT, RIGHT, WRONG))
    assert output.loss.numpy() == pytest.approx((2 * np.log(2) + np.log(18)) / 3, rel=1e-6)
    assert output.num_examples.numpy() == 3
    assert output.predictions.shape == (3, 10)
    model.forward_pass(batch(WRONG))  # a partial batch
    sums = model.report_local_unfinalized_metrics()
    np.testing.assert_allclose(sums["loss"], [2 * np.log(2) + 2 * np.log(18), 4], rtol=1e-6)
    np.testing.assert_allclose(sums["accuracy"], [2, 4])
    finalizers = model.metric_finalizers()
    assert list(finalizers) == list(sums)
    assert finalizers["accuracy"](sums["accuracy"]).numpy() == 0.5


def test_reset_and_predict_leave_what_they_should():
    model = model_with_weights()
    model.forward_pass(batch(RIGHT))
    model.reset_metrics()
    assert [v.numpy() for v in model.local_variables] == [0.0, 0.0, 0.0]
    np.testing.assert_array_equal(model.trainable_variables[0], WEIGHTS[0])
    model.predict_on_batch(batch(RIGHT)[0])
    assert [v.numpy() for v in model.local_variables] == [0.0, 0.0, 0.0]


def test_each_model_has_variables_of_its_own_and_starts_at_zero():
    one, other = softmax_regression.SoftmaxRegression(), softmax_regression.SoftmaxRegression()
    one.trainable_variables[1].assign(np.ones(10))
    assert not other.trainable_variables[1].numpy().any()
    assert sum(int(tf.size(v)) for v in other.trainable_variables) == 7_850
    assert not any(v.trainable for v in other.local_variables)


def test_functional_functions_by_hand():
    model = softmax_regression.functional_softmax_regression()
    images, labels = batch(RIGHT, RIGHT, WRONG)
    outputs = model.predict_on_batch((tuple(WEIGHTS), ()), images, training=False)
    expected = (2 * np.log(2) + np.log(18)) / 3
    assert model.loss(outputs, labels).numpy() == pytest.approx(expected, rel=1e-6)
    state = model.initialize_metrics_state()
    for _ in range(2):
        output = tff.learning.models.BatchOutput(predictions=outputs)
        state = model.update_metrics_state(state, labels, output)
    np.testing.assert_allclose(state["loss"], [6 * expected, 6], rtol=1e-6)
    assert model.finalize_metrics(state)["accuracy"].numpy() == pytest.approx(4 / 6)
    assert not any(w.any() for w in model.initial_weights[0])


def test_functional_loss_refuses_sample_weights():
    model = softmax_regression.functional_softmax_regression()
    with pytest.raises(ValueError, match="sample_weight is given"):
        model.loss(np.zeros((1, 10), np.float32), np.int32([0]), np.float32([2]))


MODELS = {
    "variables": softmax_regression.SoftmaxRegression,
    "functional": softmax_regression.functional_softmax_regression(),
    "keras": models.keras.tff_classifier(models.keras.softmax_regression),
}


def train(model, clients, rounds: int):
    process = tff.learning.algorithms.build_weighted_fed_avg(
        model, tff.learning.optimizers.build_sgdm(0.1)
    )
    state = process.initialize()
    for _ in range(rounds):
        state, metrics = process.next(state, clients)
    return process.get_model_weights(state).trainable, metrics["client_work"]["train"]


@pytest.mark.parametrize("which", ["variables", "functional"])
def test_tff_trains_it_as_it_trains_kerass(which):
    clients = [random_client(3, size=2), random_client(7, size=4)]  # unequal, partial batches
    weights, metrics = train(MODELS[which], clients, rounds=3)
    expected_weights, expected = train(MODELS["keras"], clients, rounds=3)
    for ours, kerass in zip(weights, expected_weights, strict=True):
        assert np.abs(kerass).max() > 1e-3  # it did move
        np.testing.assert_allclose(ours, kerass, rtol=1e-4, atol=1e-6)
    assert metrics["accuracy"] == pytest.approx(expected["accuracy"])
    assert metrics["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("which", ["variables", "functional"])
def test_metrics_are_means_over_all_examples_of_unequal_clients(which):
    # Without training (rate 0) at zero weights: argmax 0, so label 0 is right.
    process = tff.learning.algorithms.build_weighted_fed_avg(
        MODELS[which], tff.learning.optimizers.build_sgdm(0.0)
    )
    clients = [client(RIGHT, size=2), client(WRONG, WRONG, RIGHT, WRONG, WRONG, size=2)]
    metrics = process.next(process.initialize(), clients).metrics["client_work"]["train"]
    assert metrics["accuracy"] == pytest.approx(2 / 6)
    assert metrics["loss"] == pytest.approx(np.log(10), rel=1e-6)


def test_an_empty_client_changes_nothing_and_an_empty_cohort_has_no_mean():
    process = tff.learning.algorithms.build_weighted_fed_avg(
        MODELS["variables"], tff.learning.optimizers.build_sgdm(0.1)
    )
    state, full = process.initialize(), random_client(5, size=2)
    empty = full.take(0)
    alone, together = (process.next(state, cohort).state for cohort in ([full], [full, empty]))
    for one, other in zip(
        process.get_model_weights(alone).trainable, process.get_model_weights(together).trainable
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    nobody = process.next(state, [empty])
    assert np.isnan(nobody.metrics["client_work"]["train"]["accuracy"])
    kernel, bias = process.get_model_weights(nobody.state).trainable
    assert not kernel.any() and not bias.any()
