"""The digest of a process: the same for the same process, another for each other setting."""

import json
import os
import subprocess
import sys

import fedbook  # isort: skip  (before TensorFlow, when this file runs as a program)
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import algorithms, compression, models
from fedbook.models.softmax_regression import SoftmaxRegression, functional_softmax_regression
from fedbook.simulation.identity import digest_of_process

assert fedbook.__version__
sgd = tff.learning.optimizers.build_sgdm
noise = tff.aggregators.DifferentiallyPrivateFactory


def fed_avg(aggregator):
    build = tff.learning.algorithms.build_unweighted_fed_avg
    if isinstance(aggregator, tff.aggregators.WeightedAggregationFactory):
        build = tff.learning.algorithms.build_weighted_fed_avg
    return build(functional_softmax_regression(), sgd(0.1), sgd(1.0), model_aggregator=aggregator)


def keras(seed=0):
    build = models.keras.tff_classifier(lambda: models.keras.two_nn(seed))
    return tff.learning.algorithms.build_weighted_fed_avg(build, sgd(0.1))


def fast(batch_size=10, epochs=1, rate=0.1, **settings):
    return algorithms.tff.build_fast_fed_avg(
        functional_softmax_regression(), sgd(rate), batch_size=batch_size, epochs=epochs, **settings
    )


def scaffold(num_clients=10, client_rate=0.1, server_rate=1.0):
    return algorithms.tff.build_scaffold(SoftmaxRegression, num_clients, client_rate, server_rate)


def error_feedback(fraction=0.1, client_rate=0.1, server_rate=1.0, seed=0):
    rates = client_rate, server_rate
    return algorithms.tff.build_error_feedback(SoftmaxRegression, TopK(fraction), *rates, seed)


def core_fed_avg(client_rate=0.1, server_rate=1.0):
    return algorithms.tff.build_fed_avg(SoftmaxRegression, client_rate, server_rate)


def coded(codec, seed=0):
    return fed_avg(compression.mean_aggregator(codec, seed))


@tf.function
def scale(x, factor):
    return x * factor + 1.0


def subtract_products(x, first, second):
    products = [x * 5.0, x * 6.0, x * 7.0]
    return products[first] - products[second]


def of_one_number(change):
    initialize = tff.tensorflow.computation(lambda: 1.0)
    return tff.templates.IterativeProcess(
        initialize, tff.tensorflow.computation(change, np.float32)
    )


TopK, QSGD, Rotated = compression.TopK, compression.QSGD, compression.Rotated
# A kind of process -> its variants, of which each differs from the first in one setting.
KINDS = {
    "dp": [
        lambda: fed_avg(noise.gaussian_fixed(0.5, 10.0, 0.1)),
        lambda: fed_avg(noise.gaussian_fixed(0.6, 10.0, 0.1)),
        lambda: fed_avg(noise.gaussian_fixed(0.5, 11.0, 0.1)),
        lambda: fed_avg(noise.gaussian_fixed(0.5, 10.0, 0.2)),
    ],
    "adaptive dp": [
        lambda: fed_avg(tff.learning.dp_aggregator(0.5, 10.0)),
        lambda: fed_avg(tff.learning.dp_aggregator(0.6, 10.0)),
        lambda: fed_avg(tff.learning.dp_aggregator(0.5, 11.0)),
        lambda: fed_avg(tff.learning.dp_aggregator(0.5, 10.0, zeroing=False)),
    ],
    "scaffold": [
        scaffold,
        lambda: scaffold(num_clients=11),
        lambda: scaffold(client_rate=0.2),
        lambda: scaffold(server_rate=0.5),
    ],
    "error feedback": [
        error_feedback,
        lambda: error_feedback(fraction=0.2),
        lambda: error_feedback(client_rate=0.2),
        lambda: error_feedback(server_rate=0.5),
        lambda: error_feedback(seed=1),
    ],
    "core fed avg": [
        core_fed_avg,
        lambda: core_fed_avg(client_rate=0.2),
        lambda: core_fed_avg(server_rate=0.5),
    ],
    "fast fed avg": [
        fast,
        lambda: fast(batch_size=20),
        lambda: fast(epochs=2),
        lambda: fast(rate=0.2),
        lambda: fast(shuffle_seed=0),
        lambda: fast(shuffle_seed=1),
        lambda: fast(client_weighting=tff.learning.ClientWeighting.UNIFORM),
    ],
    "compression": [
        lambda: coded(QSGD(10)),
        lambda: coded(QSGD(11)),
        lambda: coded(QSGD(10, per="update")),
        lambda: coded(QSGD(10), seed=1),
        lambda: coded(TopK(0.1)),
        lambda: coded(TopK(0.2)),
        lambda: coded(compression.RandomK(0.1)),
        lambda: coded(compression.RandomK(0.1, rescale=False)),
        lambda: coded(compression.UniformQuantizer(4)),
        lambda: coded(compression.UniformQuantizer(5)),
        lambda: coded(Rotated(QSGD(10))),
        lambda: coded(Rotated(QSGD(11))),
        lambda: coded(Rotated(QSGD(10), block=64)),
        lambda: coded(compression.Dense()),
    ],
    "gradient": [  # TensorFlow numbers these through, too
        lambda: of_one_number(lambda x: tf.nn.silu(x)),
        lambda: of_one_number(lambda x: tf.nn.silu(x, 2.0)),
    ],
    "wiring": [  # only the numbers in names tell these apart
        lambda: of_one_number(lambda x: scale(scale(x, 2.0), 3.0)),
        lambda: of_one_number(lambda x: scale(scale(x, 3.0), 2.0)),
        lambda: of_one_number(lambda x: subtract_products(x, 1, 2)),
        lambda: of_one_number(lambda x: subtract_products(x, 2, 1)),
    ],
    "keras": [keras, lambda: keras(seed=1)],
}


def digests(kind):
    """The digest of each variant, built from the last to the first, so that all numbers differ."""
    found = [digest_of_process(build()) for build in reversed(KINDS[kind])]
    return found[::-1]


@pytest.fixture(scope="module")
def elsewhere():
    """The digests that another Python process finds, of the first variant of each kind."""
    path = [fedbook.__path__[0] + "/.."]
    found = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_has_one_digest_and_another_setting_another(kind, elsewhere):
    found = digests(kind)
    assert len(set(found)) == len(found)
    models.keras.cnn()  # TensorFlow numbers layers and functions through
    tf.function(lambda x: x + 1)(1)
    assert digest_of_process(KINDS[kind][0]()) == found[0] == elsewhere[kind]


if __name__ == "__main__":
    tf.function(lambda x: x * 2)(1)
    print(json.dumps({kind: digest_of_process(KINDS[kind][0]()) for kind in reversed(KINDS)}))
