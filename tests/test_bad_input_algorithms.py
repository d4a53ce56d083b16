"""What the functions of fedbook.algorithms refuse, as a table: the argument, and bad values.

Each case must raise an error that names the argument and says what it got. Those of RAW raise
too, but an error of Python's, NumPy's or TFF's; they may be one in ten. No case may pass.
"""

import collections
import math

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import algorithms, compression, models
from fedbook.algorithms import ALL_AT_ONCE, ONE_AT_A_TIME, ClientUpdate, Cohort, Federation

IMAGES = np.random.default_rng(0).uniform(0, 1, (3, 4, 6)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 10, (3, 4)).astype(np.int32)
ORDER = np.arange(4).reshape(1, 2, 2).repeat(3, axis=0)
WEIGHTS = [np.zeros((6, 10), np.float32), np.zeros(10, np.float32)]
CLIENTS = Federation(IMAGES, LABELS)
COHORT = Cohort(np.arange(3), IMAGES, LABELS, ORDER)
METHOD = algorithms.fed_avg(0.1)
STATE = algorithms.initial_state(METHOD, WEIGHTS, 3)
SGD = tff.learning.optimizers.build_sgdm(0.1)
MODEL_FN = models.softmax_regression.SoftmaxRegression


def changed(array, value, dtype=None):
    """A copy whose first element is `value`."""
    copy = np.array(array, dtype)
    copy.flat[0] = value
    return copy


def with_batch(images, labels):
    return [(IMAGES[0], LABELS[0]), (images, labels)]


NOT_NUMBERS = ["0.1", None, True, np.array([0.1, 0.2]), pd.Series([0.1]), 1j]
RATES = [math.nan, math.inf, 0, -1, 1e300, *NOT_NUMBERS]
COUNTS = [0, -1, 2.0, math.nan, "2", None, True, np.array([1, 2])]
SEEDS = [-1, 1.5, math.nan, "1", None, True]
FUNCTIONS = ["f", 3]  # where one is wanted
FED_AVG = {"client_lr": 0.1}
RUN = {
    "algorithm": METHOD,
    "federation": CLIENTS,
    "evaluate": len,
    "rounds": 1,
    "cohort": 2,
    "steps": 2,
    "batch_size": 2,
    "seed": 1,
    "backend": ALL_AT_ONCE,
}
DRAW = {"seed": 1, "round_number": 1, "cohort": 2, "steps": 2, "batch_size": 2}
UPDATE = ClientUpdate(WEIGHTS, 4)
AGGREGATE = {"weights": WEIGHTS, "updates": [UPDATE]}
CLIENT = {"weights": WEIGHTS, "batches": with_batch(IMAGES[1], LABELS[1]), "learning_rate": 0.1}
MEMORY = {"codec": compression.Sign(), "update": WEIGHTS, "memory": WEIGHTS, "seed": 1}
TRAIN = {"algorithm": METHOD, "weights": WEIGHTS, "correction": None, "cohort": COHORT}
CORE = {"model_fn": MODEL_FN, "client_learning_rate": 0.1, "server_learning_rate": 1.0}
STATE_CHANGE = {"algorithm": METHOD, "state": STATE, "cohort": COHORT, "backend": ALL_AT_ONCE}
OTHER_CLIENTS = Cohort(np.array([0, 1, 9]), IMAGES, LABELS, ORDER)
OTHER_PIXELS = Cohort(np.arange(3), IMAGES[..., :5], LABELS, ORDER)
LABEL_12 = Cohort(np.arange(3), IMAGES, changed(LABELS, 12), ORDER)
TWO_LAYERS = [
    np.zeros((6, 4), "f4"),
    np.zeros(4, "f4"),
    np.zeros((4, 10), "f4"),
    np.zeros(10, "f4"),
]


@pytest.fixture(scope="module")
def fast():
    return {
        "model": models.functional.classifier(models.keras.softmax_regression),
        "client_optimizer": SGD,
        "batch_size": 2,
    }


def run_scaffold_round(**changes):
    """One round of a process that would fail if it were called."""

    @tff.tensorflow.computation
    def nothing():
        return collections.OrderedDict(control=[tf.zeros(2)])

    @tff.tensorflow.computation(nothing.type_signature.result)
    def same(state):
        return state

    process = tff.templates.IterativeProcess(nothing, same)
    state = {"control": [np.zeros(2, np.float32)]}
    given = {"process": process, "state": state, "controls": {}, "cohort": {"a": []}}
    return algorithms.tff.run_scaffold_round(**given | changes)


# A function, what it is well called with, and for an argument its bad values.
TABLE = [
    (algorithms.fed_avg, FED_AVG, {"client_lr": RATES}),
    (algorithms.fed_avg, FED_AVG, {"server_lr": [math.nan, -1, "1", None]}),
    (algorithms.fed_avg_m, FED_AVG, {"momentum": [1.0, -0.1, math.nan, "0", None]}),
    (algorithms.fed_adam, FED_AVG, {"server_lr": [0, math.inf, "1", None]}),
    (algorithms.fed_yogi, FED_AVG, {"server_lr": [0, math.inf, "1", None]}),
    (algorithms.fed_prox, FED_AVG, {"strength": [-1, math.nan, math.inf, "1", None]}),
    (algorithms.mime_lite, FED_AVG, {"momentum": [1.0, -0.1, math.nan, "0", None]}),
    (algorithms.scaffold, FED_AVG, {"client_lr": [math.nan, 0, "1", None]}),
    (algorithms.fed_varp, FED_AVG, {"client_lr": [math.nan, 0], "server_lr": [0, "1", None]}),
    (algorithms.mifa, FED_AVG, {"client_lr": [math.nan, 0], "server_lr": [0, "1", None]}),
    (algorithms.fed_nova, FED_AVG, {"client_lr": [math.nan, 0], "server_lr": [0, "1", None]}),
    (algorithms.fed_dyn, FED_AVG, {"alpha": [0, -1, math.nan, math.inf, "1", None]}),
    (algorithms.Proximal, {}, {"strength": [-1, math.nan, "1", None, np.ones(2)]}),
    (algorithms.sgd, {}, {"learning_rate": RATES, "momentum": [1.0, -1, math.nan]}),
    (algorithms.adam, {"learning_rate": 0.1}, {"beta_1": [1, -1], "beta_2": [1, "0"]}),
    (algorithms.yogi, {"learning_rate": 0.1}, {"tau": [0, math.nan, None]}),
    (
        algorithms.Algorithm,
        {"client_lr": 0.1, "server": algorithms.sgd()},
        {
            "server": [None, 1.0],
            "local_term": FUNCTIONS,
            "renew_server": FUNCTIONS,
            "combine": [None, *FUNCTIONS],
        },
    ),
    (
        Federation,
        {"images": IMAGES, "labels": LABELS},
        {
            "images": [
                changed(IMAGES, math.nan),
                changed(IMAGES, -math.inf),
                IMAGES.astype(np.float64),
                (255 * IMAGES).astype(np.uint8),
                IMAGES.reshape(3, 4, 2, 3),
                IMAGES[:2],
                IMAGES[:0],
                IMAGES.astype(str),
                IMAGES.tolist(),
                pd.DataFrame(IMAGES[0]),
                None,
            ],
            "labels": [
                changed(LABELS, -1),
                changed(LABELS, 10),
                changed(LABELS, 255, np.uint8),
                LABELS.astype(np.float32),
                LABELS.astype(bool),
                LABELS.astype(str),
                LABELS.T,
                LABELS.ravel(),
                pd.Series(LABELS[0]),
                LABELS.tolist(),
                None,
            ],
        },
    ),
    (
        Cohort,
        {"clients": np.arange(3), "images": IMAGES, "labels": LABELS, "order": ORDER},
        {
            "clients": [
                np.arange(2),
                np.array([0, 1, 1]),
                np.array([-1, 0, 1]),
                np.ones(3),
                [0],
                None,
            ],
            "images": [IMAGES[:2], IMAGES.astype(np.float64), IMAGES[0], None],
            "labels": [changed(LABELS, -1), LABELS.astype(np.float32), LABELS[:2], None],
            "order": [
                changed(ORDER, -1),
                changed(ORDER, 4),
                ORDER.astype(np.float64),
                ORDER.astype(bool),
                ORDER[:2],
                ORDER[0],
                ORDER[:, :0],
                None,
            ],
            "unequal_steps": [
                np.array([1, 2]),
                np.array([0, 1, 2]),
                np.array([1, 2, 3]),
                np.ones(3),
                [1, 2, 1],
            ],
        },
    ),
    (CLIENTS.draw_cohort, DRAW, {"cohort": [*COUNTS, 4], "steps": [*COUNTS, 10**12]}),
    (CLIENTS.draw_cohort, DRAW, {"steps": [np.array([0, 1, 1]), np.ones(3), np.ones((3, 1), int)]}),
    (CLIENTS.draw_cohort, DRAW, {"batch_size": [*COUNTS, 10**12], "seed": SEEDS}),
    (algorithms.run, RUN, {"rounds": COUNTS, "seed": SEEDS, "steps": [0, 10**12]}),
    (
        algorithms.run,
        RUN,
        {"weights": [[], [np.zeros((5, 10), "f4"), np.zeros(10, "f4")], WEIGHTS[:1]]},
    ),
    (algorithms.run, RUN, {"algorithm": [None, 0.1], "federation": [None, (IMAGES, LABELS)]}),
    (algorithms.run, RUN, {"evaluate": [None, *FUNCTIONS], "backend": [None, "all at once"]}),
    (
        algorithms.initial_state,
        {"algorithm": METHOD, "weights": WEIGHTS, "num_clients": 3},
        {
            "algorithm": [None],
            "num_clients": COUNTS,
            "weights": [[], [np.arange(3)], [np.array(["a"])], None],
        },
    ),
    (
        algorithms.next_round,
        STATE_CHANGE,
        {
            "algorithm": [None],
            "state": [None, WEIGHTS],
            "cohort": [None, CLIENTS, OTHER_CLIENTS],
            "backend": [None, "fast"],
        },
    ),
    (
        ALL_AT_ONCE.train,
        TRAIN,
        {"correction": [[np.zeros(())] * 2, WEIGHTS[:1], [np.ones(10)] * 2]},
    ),
    (ONE_AT_A_TIME.train, TRAIN, {"correction": [[np.zeros(())] * 2, WEIGHTS[:1]]}),
    (algorithms.client_update, CLIENT, {"learning_rate": RATES}),
    (
        algorithms.client_update,
        CLIENT,
        {
            "weights": [[], [np.zeros((6, 10), int), np.zeros(10)], TWO_LAYERS[:3], [None], None],
            "batches": [
                with_batch(IMAGES[1], changed(LABELS[1], -1)),
                with_batch(IMAGES[1], changed(LABELS[1], 10)),
                with_batch(IMAGES[1], changed(LABELS[1], 255, np.uint8)),
                with_batch(IMAGES[1], LABELS[1].astype(np.float32)),
                with_batch(IMAGES[1], LABELS[1].astype(str)),
                with_batch(IMAGES[1], LABELS[1, :2]),
                None,
            ],
            "correction": [[], [np.zeros(())] * 2, WEIGHTS[::-1]],
            "loss": [None, "cross-entropy"],
            "local_term": FUNCTIONS,
        },
    ),
    (
        algorithms.server_aggregate,
        AGGREGATE,
        {
            "weights": [[], [np.arange(3)], TWO_LAYERS],
            "updates": [
                [ClientUpdate(WEIGHTS, math.inf)],
                [ClientUpdate(WEIGHTS, math.nan)],
                [ClientUpdate(WEIGHTS, -1)],
                [ClientUpdate(WEIGHTS, "4")],
                [ClientUpdate(WEIGHTS, None)],
                [UPDATE, ClientUpdate(WEIGHTS[:1], 4)],
                [UPDATE, ClientUpdate([w[:1] for w in WEIGHTS], 4)],
                [(WEIGHTS, 4)],
                [None],
                None,
            ],
            "server_learning_rate": RATES,
            "uniform": [None, "no", 2],
        },
    ),
    (
        algorithms.server_update,
        {"optimizer": algorithms.sgd(), "state": (WEIGHTS,), **AGGREGATE},
        {"optimizer": [None, 1.0], "updates": [[ClientUpdate(WEIGHTS, math.inf)], [None]]},
    ),
    (
        algorithms.encode_with_memory,
        MEMORY,
        {
            "codec": [None, "sign", 8],
            "update": [[], [changed(WEIGHTS[1], math.nan)] * 2, [np.arange(3)], None],
            "memory": [[], WEIGHTS[:1], [w[:1] for w in WEIGHTS]],
            "seed": SEEDS,
        },
    ),
    (algorithms.zero_memory, {}, {"shapes": [[(-1,)], [("a",)], None]}),
    (algorithms.tff.build_fed_avg, CORE, {"model_fn": [None, "2NN", dict, len]}),
    (algorithms.tff.build_fed_avg, CORE, {"client_learning_rate": [math.nan, 0, "1", None]}),
    (algorithms.tff.build_scaffold, {"num_clients": 2, **CORE}, {"num_clients": COUNTS}),
    (algorithms.tff.build_scaffold, {"num_clients": 2, **CORE}, {"model_fn": [None, dict]}),
    (
        algorithms.tff.build_error_feedback,
        {"codec": compression.Sign(), **CORE},
        {"codec": [None, compression.MajorityVote(1.0)], "seed": [*SEEDS, 2**31]},
    ),
    (
        run_scaffold_round,
        {},
        {
            "process": [None, len],
            "controls": [None, [], {"a": [np.zeros(1)]}, {"a": []}],
            "cohort": [None, {}, [[]]],
        },
    ),
]
FAST = {
    "model": [None, MODEL_FN],
    "client_optimizer": [None, 0.1, tf.keras.optimizers.SGD(0.1)],
    "server_optimizer": [0.1, "sgd"],
    "batch_size": COUNTS,
    "epochs": [0, -1, 1.5, None],
    "shuffle_seed": [1.5, "1", math.nan],
    "client_weighting": ["num_examples", None, len, 1],
    "model_distributor": ["broadcast", len],
    "model_aggregator": ["mean", len],
    "metrics_aggregator": ["sum", 3],
}


def name_of(function):
    return getattr(function, "__qualname__", str(function))


CASES = [
    pytest.param(function, good, argument, bad, id=f"{name_of(function)}-{argument}-{number}")
    for function, good, arguments in TABLE
    for argument, values in arguments.items()
    for number, bad in enumerate(values)
]


FAST_CASES = [
    pytest.param(argument, bad, id=f"{argument}-{number}")
    for argument, values in FAST.items()
    for number, bad in enumerate(values)
]
# Errors of Python's, NumPy's or TFF's, by the test's name.
RAW = {
    "initial_state-weights-3",  # None, where something to go through is wanted
    "client_update-weights-4",
    "client_update-batches-6",
    "server_aggregate-updates-9",
    "encode_with_memory-update-3",
    "zero_memory-shapes-0",
    "zero_memory-shapes-1",
    "zero_memory-shapes-2",
    "build_fed_avg-model_fn-3",  # a function that wants an argument
}


def check_refusal(request, call, argument):
    """Fails unless `call` raises an error that names the argument and says what it must be."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    clear = argument.split(".")[0] in str(caught.value) and "; " in str(caught.value)
    assert clear != (request.node.callspec.id in RAW), str(caught.value)


@pytest.mark.parametrize("function, good, argument, bad", CASES)
def test_it_is_refused(request, function, good, argument, bad):
    check_refusal(request, lambda: function(**good | {argument: bad}), argument)


@pytest.mark.parametrize("argument, bad", FAST_CASES)
def test_fast_federated_averaging_refuses(request, fast, argument, bad):
    build = algorithms.tff.build_fast_fed_avg
    check_refusal(request, lambda: build(**fast | {argument: bad}), argument)


def test_the_table():
    assert len(CASES) + len(FAST_CASES) >= 120
    assert len(RAW) <= (len(CASES) + len(FAST_CASES)) / 10


def test_strides_pandas_and_numpys_numbers_are_taken_as_they_are():
    images, labels = np.asfortranarray(IMAGES), np.asfortranarray(LABELS.astype(np.uint8))
    numbers = {name: np.int64(value) for name, value in DRAW.items() if name != "round_number"}
    state, _ = algorithms.run(
        algorithms.fed_avg(np.float64(0.1)), Federation(images, labels), len, rounds=1, **numbers
    )
    same, _ = algorithms.run(
        METHOD, CLIENTS, len, rounds=1, **{k: v for k, v in DRAW.items() if k != "round_number"}
    )
    rows = with_batch(pd.DataFrame(IMAGES[1]), pd.Series(LABELS[1]))
    one = algorithms.client_update(WEIGHTS, rows, 0.1)
    other = algorithms.client_update(**CLIENT)
    for a, b in zip([*state.weights, *one.delta], [*same.weights, *other.delta], strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32
