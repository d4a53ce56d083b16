"""Two tiny clients with exact numbers; the loop; that it is the package's SCAFFOLD; bad input."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import algorithms, models
from fedbook.algorithms.tff.scaffold import train_corrected

ONE, TWO = [[1.0, 3.0]], [[4.0], [2.0]]  # client 1: one batch; client 2: two


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


def batches(held):
    return [np.float32(batch) for batch in held]


def dataset(held):
    spec = tf.TensorSpec([None], tf.float32)
    return tf.data.Dataset.from_generator(lambda: iter(batches(held)), output_signature=spec)


def state(weight, control):
    return collections.OrderedDict(weights=[np.float32(weight)], control=[np.float32(control)])


@pytest.fixture(scope="module")
def process():
    return algorithms.tff.build_scaffold(Mean, 4, 0.5)


def test_client_update_by_hand():
    # The correction is 1 - 3. Client 1: the gradient is -2, so to 0.5 * (2 + 2). Client 2:
    # the gradient is -4, to 3; there it is 1, to 3.5. The new controls are the mean
    # gradients, -2 and -1.5; the old one was 3.
    for held, expected in (
        (ONE, [-2, 2, 1, 2, 5]),
        (TWO, [-1.5, 3.5, 2, 2, 8.5]),
        ([], [3, 0, 0, 0, 0]),
    ):
        (renewed,), (delta,), *counted = train_corrected(
            Mean(), dataset(held), [tf.constant(0.0)], [tf.constant(1.0)], [tf.constant(3.0)], 0.5
        )
        np.testing.assert_allclose([renewed, delta, *counted], expected)


def test_a_round_by_hand(process):
    new, output = process.next(state(0, 1), [batches(ONE), batches(TWO)], [[np.float32(3)]] * 2)
    np.testing.assert_allclose(new["weights"], [(2 + 3.5) / 2])  # all count the same
    np.testing.assert_allclose(output["controls"], [[-2], [-1.5]])  # in the clients' order
    np.testing.assert_allclose(new["control"], [1 + (-5 - 4.5) / 4])  # of four clients
    assert output["metrics"] == {"loss": 13.5 / 4, "num_examples": 4}


def test_the_server_learning_rate_scales_the_mean_delta():
    half = algorithms.tff.build_scaffold(Mean, 1, 0.5, server_learning_rate=0.5)
    new, _ = half.next(half.initialize(), [batches(ONE)], [[np.float32(0)]])
    assert new["weights"] == [0.5] and new["control"] == [-2]


def test_clients_without_examples_count_nothing_and_keep_their_control(process):
    new, output = process.next(state(0, 1), [batches(ONE), []], [[np.float32(3)], [np.float32(7)]])
    assert new["weights"] == [2] and output["controls"][1] == [7]
    np.testing.assert_allclose(new["control"], [1 - 5 / 4])
    new, output = process.next(state(5, 1), [[]], [[np.float32(7)]])
    assert new["weights"] == [5] and new["control"] == [1] and output["controls"] == [[7]]
    assert output["metrics"] == {"loss": 0, "num_examples": 0}


def test_nobody_is_refused(process):
    with pytest.raises(ValueError, match="cohort is empty; it must hold at least one client"):
        algorithms.tff.run_scaffold_round(process, process.initialize(), {}, {})


def test_the_loop_keeps_the_controls(process):
    now, controls = process.initialize(), {}
    assert now["weights"] == now["control"] == [0]
    first = {"a": batches(ONE), "b": batches(TWO)}
    now, after_one, _ = algorithms.tff.run_scaffold_round(process, now, controls, first)
    assert controls == {} and set(after_one) == {"a", "b"}
    now, after_two, _ = algorithms.tff.run_scaffold_round(
        process, now, after_one, {"b": batches(TWO), "c": batches(ONE)}
    )
    assert set(after_two) == {"a", "b", "c"} and after_two["a"] == after_one["a"]
    assert after_two["b"] != after_one["b"]
    # The server's control is the mean of all four, of whom one has not been seen.
    mean = sum(control[0] for control in after_two.values()) / 4
    np.testing.assert_allclose(now["control"], [mean], rtol=1e-6)


def test_types(process):
    assert str(process.next.type_signature) == (
        "(<state=<weights=<float32>,control=<float32>>@SERVER,datasets={float32[?]*}@CLIENTS,"
        "controls={<float32>}@CLIENTS> -> <<weights=<float32>,control=<float32>>@SERVER,"
        "<controls={<float32>}@CLIENTS,metrics=<loss=float32,num_examples=float32>@SERVER>>)"
    )


def test_a_client_sends_its_delta_and_little_else(process):
    sent = []  # the types of all that goes from the clients to the server in a round
    for _, call in process.next.to_building_block().result.locals:
        kind = getattr(call.function, "uri", "")
        if kind in ("federated_sum", "federated_aggregate"):
            of_clients = call.argument.type_signature
            sent.append(str((of_clients if kind == "federated_sum" else of_clients[0]).member))
    # The delta with the number of steps, and two numbers for the metrics.
    assert sorted(sent) == ["<<float32>,float32>", "float32", "float32"]


def test_it_is_the_packages_scaffold():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (3, 6, 28, 28)).astype(np.float32)
    labels = rng.integers(0, 10, (3, 6)).astype(np.int32)
    order = np.arange(6).reshape(1, 2, 3).repeat(3, axis=0)  # two batches of three
    model_fn = models.keras.tff_classifier(models.keras.softmax_regression)
    process = algorithms.tff.build_scaffold(model_fn, 3, 0.1, 0.7)
    now, controls = process.initialize(), {}
    method = algorithms.scaffold(0.1, 0.7)
    state = algorithms.initial_state(method, [np.asarray(w) for w in now["weights"]], 3)
    for chosen in ([0, 1], [2, 0], [1, 2]):
        held = {c: [(images[c, b], labels[c, b]) for b in order[c]] for c in chosen}
        now, controls, _ = algorithms.tff.run_scaffold_round(process, now, controls, held)
        cohort = algorithms.Cohort(
            np.array(chosen), images[chosen].reshape(2, 6, 784), labels[chosen], order[:2]
        )
        state = algorithms.next_round(method, state, cohort)
        for a, b in zip(now["weights"], state.weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        for a, b in zip(now["control"], state.server["control"], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    for client in range(3):
        for a, b in zip(controls[client], state.clients["control"], strict=True):
            np.testing.assert_allclose(a, b[client], atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_clients": 0}, "num_clients is 0; it must be an int, at least 1"),
        (
            {"client_learning_rate": 0.0},
            "client_learning_rate is 0.0; it must be a finite number above 0",
        ),
        ({"server_learning_rate": np.inf}, "server_learning_rate is inf"),
        ({"model_fn": lambda: Mean(frozen=("average",))}, r"non-trainable variables \(average:0\)"),
        ({"model_fn": lambda: Mean(tf.float64)}, "variable w:0 is float64; it must be float32"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        algorithms.tff.build_scaffold(
            **{"model_fn": Mean, "num_clients": 2, "client_learning_rate": 0.5} | change
        )
