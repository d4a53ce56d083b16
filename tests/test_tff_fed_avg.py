"""Two tiny clients with exact numbers; nobody there; NaN; what it refuses."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import algorithms, models, simulation
from fedbook.algorithms.tff.fed_avg import move_weights
from fedbook.algorithms.tff.local_training import train_model

# Client 1 holds 1 and 3 in one batch; from w = 0 a step of 0.5 leads to 1, its loss is 5 in sum.
# Client 2 holds 4, 2 and 2, a batch each; it goes to 2 at once and stays; its loss is 8 in sum.
ONE, TWO = [[1.0, 3.0]], [[4.0], [2.0], [2.0]]


class Mean(tff.learning.models.VariableModel):
    """One weight w and the loss (w - x)^2 / 2, whose gradient is w - x."""

    def __init__(self, dtype=tf.float32, frozen=()):
        self._weight = tf.Variable(tf.zeros([], dtype), name="w")
        self._frozen = [tf.Variable(0.0, trainable=False, name=name) for name in frozen]

    trainable_variables = property(lambda self: [self._weight])
    non_trainable_variables = property(lambda self: self._frozen)
    local_variables = property(lambda self: [])
    input_spec = property(lambda self: tf.TensorSpec([None], tf.float32))

    def predict_on_batch(self, x, training=True):
        return self._weight - x

    def forward_pass(self, batch_input, training=True):
        errors = self.predict_on_batch(batch_input)
        loss = tf.reduce_mean(tf.square(errors)) / 2
        return tff.learning.models.BatchOutput(
            loss=loss, predictions=errors, num_examples=tf.size(errors)
        )

    def report_local_unfinalized_metrics(self):
        return collections.OrderedDict()

    def metric_finalizers(self):
        return collections.OrderedDict()

    def reset_metrics(self):
        pass


def client(batches):
    """A dataset of batches of unequal size; none at all for an empty list."""
    spec = tf.TensorSpec([None], tf.float32)
    return tf.data.Dataset.from_generator(lambda: map(np.float32, batches), output_signature=spec)


def clients(*held):
    return [[np.float32(batch) for batch in batches] for batches in held]


@pytest.fixture(scope="module")
def process():
    return algorithms.tff.build_fed_avg(Mean, 0.5)


def test_client_update_by_hand():
    for batches, expected in ((ONE, [1, 1, 2, 5]), (TWO, [2, 3, 3, 8]), ([], [0, 0, 0, 0])):
        (delta,), steps, examples, loss = train_model(
            Mean(), client(batches), [tf.constant(0.0)], 0.5
        )
        np.testing.assert_array_equal([delta, steps, examples, loss], expected)


def test_client_update_starts_where_the_server_is_and_not_where_the_model_was():
    model = Mean()
    for _ in range(2):
        (delta,), _, _, _ = train_model(model, client(ONE), [tf.constant(4.0)], 0.5)
        assert delta == -1.0  # from 4 half the way to 2


def test_server_update_by_hand():
    weights, delta_sum = [tf.constant([1.0, 2.0])], [tf.constant([8.0, -4.0])]
    (new,) = move_weights(weights, delta_sum, tf.constant(4.0), 0.5)
    np.testing.assert_array_equal(new, [2.0, 1.5])
    (same,) = move_weights(weights, [tf.zeros(2)], tf.constant(0.0), 0.5)
    np.testing.assert_array_equal(same, weights[0])


def test_a_round_weighs_clients_by_their_examples(process):
    weights = process.initialize()
    assert weights == [0.0]
    (new,), metrics = process.next(weights, clients(ONE, TWO))
    np.testing.assert_allclose(new, (2 * 1.0 + 3 * 2.0) / 5, rtol=1e-6)
    assert list(metrics) == ["loss", "num_examples"]
    np.testing.assert_allclose([metrics["loss"], metrics["num_examples"]], [13 / 5, 5], rtol=1e-6)


def test_a_round_goes_on_from_the_state_it_is_given(process):
    (new,), _ = process.next([np.float32(4.0)], clients(ONE))
    np.testing.assert_allclose(new, 3.0, rtol=1e-6)


def test_the_server_learning_rate_scales_the_mean_delta():
    half = algorithms.tff.build_fed_avg(Mean, 0.5, server_learning_rate=0.5)
    np.testing.assert_allclose(half.next(half.initialize(), clients(ONE, TWO))[0], [0.8], rtol=1e-6)


def test_a_client_without_examples_weighs_nothing(process):
    (new,), metrics = process.next([np.float32(0.0)], clients(ONE, [], []))
    assert new == 1.0 and metrics["num_examples"] == 2.0


@pytest.mark.parametrize(
    "held", [(), ([],), ([], [])], ids=["no client", "an empty one", "two empty ones"]
)
def test_no_example_at_all_leaves_the_weights(process, held):
    (new,), metrics = process.next([np.float32(7.0)], clients(*held))
    assert new == 7.0 and metrics["loss"] == 0.0 and metrics["num_examples"] == 0.0


def test_nan_is_not_caught(process):
    (new,), metrics = process.next([np.float32(0.0)], clients(ONE, [[np.nan]]))
    assert np.isnan(new) and np.isnan(metrics["loss"])


def test_types(process):
    assert str(process.initialize.type_signature) == "( -> <float32>@SERVER)"
    assert str(process.next.type_signature) == (
        "(<weights=<float32>@SERVER,datasets={float32[?]*}@CLIENTS> -> "
        "<<float32>@SERVER,<loss=float32,num_examples=float32>@SERVER>)"
    )


def test_it_runs_with_a_keras_model_and_simulation():
    rng = np.random.default_rng(0)
    data = tff.simulation.datasets.TestClientData(
        {
            name: collections.OrderedDict(
                label=rng.integers(0, 10, n).astype(np.int32),
                pixels=rng.uniform(0, 1, (n, 28, 28)).astype(np.float32),
            )
            for name, n in {"a": 7, "b": 3}.items()
        }
    )
    keras = algorithms.tff.build_fed_avg(
        models.keras.tff_classifier(models.keras.softmax_regression), 0.01
    )
    prepare = simulation.prepare_batches(4)
    settings = {"rounds": 3, "cohort": 2, "prepare": prepare}
    runs = [simulation.run_training(keras, data, **settings) for _ in range(2)]
    assert [w.shape for w in runs[0].state] == [(784, 10), (10,)]
    assert runs[0].history["loss"].iloc[-1] < runs[0].history["loss"].iloc[0]
    assert (runs[0].history["num_examples"] == 10).all()
    for one, again in zip(runs[0].state, runs[1].state):
        np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize("rate", [0.0, -1.0, np.inf, np.nan])
@pytest.mark.parametrize("name", ["client_learning_rate", "server_learning_rate"])
def test_learning_rates_are_checked(name, rate):
    rates = {"client_learning_rate": 1.0, "server_learning_rate": 1.0} | {name: rate}
    with pytest.raises(ValueError, match=f"{name} is {rate}; it must be a finite number above 0"):
        algorithms.tff.build_fed_avg(Mean, **rates)


def test_models_that_would_lose_something_are_refused():
    with pytest.raises(ValueError, match=r"non-trainable variables \(average:0\)"):
        algorithms.tff.build_fed_avg(lambda: Mean(frozen=("average",)), 1.0)
    with pytest.raises(ValueError, match="variable w:0 is float64; it must be float32"):
        algorithms.tff.build_fed_avg(lambda: Mean(tf.float64), 1.0)
