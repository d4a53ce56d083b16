"""By hand, tff.learning around Keras and around a model of our own, Federated Core: one result.

FedSGD and federated averaging of McMahan et al. 2017 (arXiv 1602.05629) on
clients of different sizes, from weights that are not zero; then what each way
does with clients that have nothing, that answer NaN, or that are not there.
"""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import algorithms, models

RATE = 0.1
SIZES = (12, 5, 3, 0)  # in batches of 4: full ones; a last one of 1; a partial one only; none
WAYS = ("by hand", "learning, Keras model", "learning, own model", "Federated Core")
GUARDED = ("learning, Keras model", "learning, own model")  # TFF leaves a client's NaN out
MODELS = {
    "learning, Keras model": models.keras.tff_classifier(models.keras.softmax_regression),
    "learning, own model": models.softmax_regression.SoftmaxRegression,
}


def examples(size, seed):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 1, (size, 28, 28)).astype(np.float32)
    return images, rng.integers(0, 10, size).astype(np.int32)


def client(size, seed, *, batch=4, epochs=1):
    return tf.data.Dataset.from_tensor_slices(examples(size, seed)).repeat(epochs).batch(batch)


def start():
    rng = np.random.default_rng(9)
    return [rng.normal(0, 0.05, shape).astype(np.float32) for shape in ((784, 10), (10,))]


def by_hand(weights, cohort):
    updates = [algorithms.client_update(weights, held, RATE) for held in cohort]
    return algorithms.server_aggregate(weights, updates)


def learning(process):
    def one_round(weights, cohort):
        given = tff.learning.models.ModelWeights(trainable=list(weights), non_trainable=[])
        state = process.set_model_weights(process.initialize(), given)
        return list(process.get_model_weights(process.next(state, cohort).state).trainable)

    return one_round


@pytest.fixture(scope="module")
def federated_averaging():
    """For each way, a function from weights and client datasets to new weights."""
    sgd = tff.learning.optimizers.build_sgdm(RATE)
    core = algorithms.tff.build_fed_avg(models.softmax_regression.SoftmaxRegression, RATE)
    build = tff.learning.algorithms.build_weighted_fed_avg
    ways = {
        name: learning(build(model_fn, client_optimizer_fn=sgd))
        for name, model_fn in MODELS.items()
    }
    return ways | {"by hand": by_hand, "Federated Core": lambda w, cohort: core.next(w, cohort)[0]}


@pytest.fixture(scope="module")
def federated_sgd():
    """TFF's own FedSGD, for both models: the server steps along the clients' mean gradient."""
    sgd = tff.learning.optimizers.build_sgdm(RATE)
    return {
        name: learning(tff.learning.algorithms.build_fed_sgd(model_fn, server_optimizer_fn=sgd))
        for name, model_fn in MODELS.items()
    }


def difference(a, b):
    return max(np.abs(x - y).max() / np.abs(y).max() for x, y in zip(a, b, strict=True))


def agree_for(rounds, ways, cohorts):
    """Asserts it after each round, each way going on from its own weights."""
    weights = dict.fromkeys(ways, start())
    for number in range(rounds):
        before = weights["by hand"]
        weights = {name: way(weights[name], cohorts[name]) for name, way in ways.items()}
        assert difference(weights["by hand"], before) > 0.01, "a round must move the weights"
        for name in ways:
            assert difference(weights[name], weights["by hand"]) < 1e-5, (name, number)


@pytest.mark.parametrize("epochs", [1, 3])
def test_federated_averaging(federated_averaging, epochs):
    cohort = [client(size, seed, epochs=epochs) for seed, size in enumerate(SIZES)]
    agree_for(5, federated_averaging, dict.fromkeys(WAYS, cohort))


def test_federated_sgd(federated_averaging, federated_sgd):
    """It is federated averaging with one batch of everything; TFF's own sums over any batches."""
    whole = [client(size, seed, batch=100) for seed, size in enumerate(SIZES)]
    parts = [client(size, seed) for seed, size in enumerate(SIZES)]
    ways = federated_averaging | {f"FedSGD, {name}": way for name, way in federated_sgd.items()}
    agree_for(5, ways, {name: parts if name.startswith("FedSGD") else whole for name in ways})


def test_federated_sgd_is_a_step_on_the_pooled_examples(federated_averaging):
    held = [examples(size, seed) for seed, size in enumerate(SIZES)]
    pooled = [np.concatenate(part) for part in zip(*held)]
    weights = [tf.Variable(w) for w in start()]
    with tf.GradientTape() as tape:
        loss = models.loss(weights, *pooled)
    central = [w.numpy() - RATE * g.numpy() for w, g in zip(weights, tape.gradient(loss, weights))]
    cohort = [client(size, seed, batch=100) for seed, size in enumerate(SIZES)]
    for name, way in federated_averaging.items():
        assert difference(way(start(), cohort), central) < 1e-5, name


@pytest.mark.parametrize("name", WAYS)
def test_a_client_without_examples_weighs_nothing(federated_averaging, name):
    way, others = federated_averaging[name], [client(12, 0), client(5, 1)]
    assert difference(way(start(), [*others, client(0, 2)]), way(start(), others)) < 1e-6


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("name", WAYS)
def test_without_any_example_the_weights_stay(federated_averaging, name, number):
    new = federated_averaging[name](start(), [client(0, 2)] * number)
    for a, b in zip(new, start(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", WAYS)
def test_nan_of_one_client(federated_averaging, name):
    way, others = federated_averaging[name], [client(12, 0), client(5, 1)]
    spoilt = client(3, 2).map(lambda images, labels: (images * np.nan, labels))
    new = way(start(), [*others, spoilt])
    if name in GUARDED:
        assert difference(new, way(start(), others)) < 1e-6
    else:
        assert all(np.isnan(w).all() for w in new)


@pytest.mark.parametrize("name", GUARDED)
def test_tffs_federated_sgd_has_the_same_guards(federated_sgd, name):
    way, others = federated_sgd[name], [client(12, 0), client(5, 1)]
    spoilt = client(3, 2).map(lambda images, labels: (images * np.nan, labels))
    for odd in (spoilt, client(0, 2)):
        assert difference(way(start(), [*others, odd]), way(start(), others)) < 1e-6
    np.testing.assert_array_equal(way(start(), [])[0], start()[0])
