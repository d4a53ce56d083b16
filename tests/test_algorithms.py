"""Two tiny clients and exact numbers; that each method is FedAvg where it should be; what they refuse."""

import importlib.util
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from fedbook import algorithms, fedavg
from fedbook.algorithms import Algorithm
from fedbook.fedavg import ClientUpdate

ZERO = [np.float32(0)]
BENCHMARKS = pathlib.Path(__file__).parent.parent / "benchmarks"


def halves(weights, images, labels):
    """A loss whose gradient is w minus the batch's mean label: easy to follow in the head."""
    return 0.5 * tf.square(weights[0] - tf.reduce_mean(tf.cast(labels, tf.float32)))


def batch(*labels):
    return np.zeros((len(labels), 4), np.float32), np.array(labels, np.int32)


def digits(clients=3, n=8, pixels=6, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 1, (clients, n, pixels)).astype(np.float32)
    return images, rng.integers(0, 10, (clients, n)).astype(np.int32)


def equal(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def close(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


def two_updates():
    rng = np.random.default_rng(1)
    shapes = ((6, 10), (10,))
    weights = [rng.normal(0, 1, s).astype(np.float32) for s in shapes]
    deltas = [[rng.normal(0, 1, s).astype(np.float32) for s in shapes] for _ in range(2)]
    return weights, [ClientUpdate(deltas[0], 3), ClientUpdate(deltas[1], 1)]


# The server.


def apply(optimizer, *deltas):
    """The weights after each of some rounds, from 0."""
    weights, state, path = ZERO, optimizer.initialize(ZERO), []
    for delta in deltas:
        state, weights = optimizer.apply(state, weights, [np.float32(delta)])
        path.append(float(weights[0]))
    return path


def test_momentum_by_hand():
    assert apply(algorithms.sgd(0.5, 0.5), 4, 4, 0) == [2, 5, 6.5]  # velocities 4, 6, 3


def test_adam_by_hand():
    # m: 4, 6; v from tau squared, 4: 2 + 32 = 34, then 17 + 32 = 49.
    path = apply(algorithms.adam(1.0, 0.5, 0.5, 2.0), 8, 8)
    first = 4 / (np.sqrt(34) + 2)
    np.testing.assert_allclose(path, [first, first + 6 / (7 + 2)], rtol=1e-6)


def test_yogi_by_hand_moves_v_by_the_square():
    # m: 4, 2; v: 4 + 32 = 36; then a delta of 0 changes nothing, where Adam's v would halve.
    path = apply(algorithms.yogi(1.0, 0.5, 0.5, 2.0), 8, 0)
    np.testing.assert_allclose(path, [4 / 8, 4 / 8 + 2 / 8], rtol=1e-6)
    # And where the square is smaller than v, v sinks by it: 36 - 8 = 28; m: 2 + 2 = 4.
    path = apply(algorithms.yogi(1.0, 0.5, 0.5, 2.0), 8, 4)
    np.testing.assert_allclose(path[1] - path[0], 4 / (np.sqrt(28) + 2), rtol=1e-6)


def test_server_sgd_of_1_is_fedavg():
    weights, updates = two_updates()
    optimizer = algorithms.sgd(1.0)
    state = optimizer.initialize(weights)
    _, new = algorithms.server_update(optimizer, state, weights, updates)
    mean = fedavg.server_aggregate([np.zeros_like(w) for w in weights], updates)
    equal(new, [w + m for w, m in zip(weights, mean)])
    close(new, fedavg.server_aggregate(weights, updates))
    # In numbers that float32 holds exactly, the order of additions does not matter.
    exact = [ClientUpdate([np.float32(1)], 3), ClientUpdate([np.float32(5)], 1)]
    one = [np.float32(1)]
    _, (new,) = algorithms.server_update(optimizer, optimizer.initialize(one), one, exact)
    assert new == fedavg.server_aggregate(one, exact)[0] == 3.0


def test_server_update_weighs_by_examples_or_not():
    updates = [ClientUpdate([np.float32(1)], 3), ClientUpdate([np.float32(5)], 1)]
    optimizer = algorithms.sgd(0.5)
    state = optimizer.initialize(ZERO)
    assert algorithms.server_update(optimizer, state, ZERO, updates)[1] == [1.0]
    assert algorithms.server_update(optimizer, state, ZERO, updates, uniform=True)[1] == [1.5]
    momentum = algorithms.sgd(1.0, 0.5)
    assert algorithms.server_update(momentum, ([np.float32(4)],), ZERO, [])[1] == [2.0]


@pytest.mark.parametrize("optimizer", [algorithms.sgd(0.5, 0.9), algorithms.adam(0.1), algorithms.yogi(0.1)])
def test_server_optimizers_change_no_argument_and_stay_float32(optimizer):
    weights, updates = two_updates()
    state = optimizer.initialize(weights)
    before = [w.copy() for w in weights], [[s.copy() for s in part] for part in state]
    new_state, new = algorithms.server_update(optimizer, state, weights, updates)
    equal(weights, before[0])
    for part, old in zip(state, before[1], strict=True):
        equal(part, old)
    assert {a.dtype for a in new} | {a.dtype for part in new_state for a in part} == {np.dtype("f4")}


# The client.


def test_proximal_term_and_correction_by_hand():
    # From 2 to label 6 with rate 0.5: a step of 2, to 4. Then the gradient is -2 and the pull
    # 0.5 * (4 - 2): a step of 0.5.
    start, batches = [np.float32(2)], [batch(6), batch(6)]
    update = algorithms.client_update(start, batches, 0.5, proximal=0.5, loss=halves)
    assert update.delta == [2.5] and update.num_examples == 2
    # With a correction of 1 the first step is 1.5, the second 0.5 * (2.5 - 1).
    update = algorithms.client_update(start, batches, 0.5, correction=[np.float32(1)], loss=halves)
    assert update.delta == [2.25]


def test_without_either_it_is_fedavg_bit_for_bit():
    images, labels = digits(1, 12, 784)
    images = images.reshape(1, 12, 28, 28)
    batches = [(images[0, i : i + 5], labels[0, i : i + 5]) for i in (0, 5, 10)]
    weights = [np.full((784, 10), 0.01, np.float32), np.zeros(10, np.float32)]
    ours, theirs = algorithms.client_update(weights, batches, 0.3), fedavg.client_update(weights, batches, 0.3)
    equal(ours.delta, theirs.delta)
    assert ours.num_examples == theirs.num_examples == 12


def test_scaffold_client_by_hand():
    # g = w - 4, corrected by 1 - 3: from 0 with rate 0.5 to 3, then to 4.5.
    update, control = algorithms.scaffold_client_update(
        ZERO, [np.float32(1)], [np.float32(3)], [batch(4), batch(3, 5), batch()], 0.5, halves
    )
    assert update.delta == [4.5] and update.num_examples == 3
    assert control == [(-4 + -1) / 2]  # the mean of the two gradients
    update, control = algorithms.scaffold_client_update(ZERO, [np.float32(1)], [np.float32(3)], [], 0.5)
    assert update.delta == [0] and control == [3]


def test_scaffold_server_by_hand():
    updates = [ClientUpdate([np.float32(1)], 9), ClientUpdate([np.float32(3)], 1)]
    (weight,), (control,) = algorithms.scaffold_server_update(
        [np.float32(1)], [np.float32(1)], updates, [[np.float32(2)], [np.float32(6)]], 4, 0.5
    )
    assert weight == 2.0  # 1 + 0.5 * (1 + 3) / 2: sizes do not count
    assert control == 3.0  # 1 + (2 + 6) / 4


def test_mime_lite_by_hand():
    # The velocity of 2, halved, is a correction of 1: from 0 to 1.5, then to 2.25.
    update, gradient = algorithms.mime_lite_client_update(
        ZERO, [np.float32(2)], [batch(4), batch(3, 3, 5, 5)], 0.5, 0.5, halves
    )
    assert update.delta == [2.25] and gradient == [-4]
    other = ClientUpdate([np.float32(-1)], 5)
    (weight,), (velocity,) = algorithms.mime_lite_server_update(
        ZERO, [np.float32(2)], [update, other], [gradient, [np.float32(2)]], 0.5
    )
    assert weight == 0.625 and velocity == 0.0  # 0.5 * 2 + (-4 + 2) / 2


# All clients of a cohort at once.

RUN = {"rounds": 3, "cohort": 2, "steps": 5, "batch_size": 3, "seed": 7}
WAYS = {
    "fedavg": Algorithm(0.3),
    "momentum": Algorithm(0.3, algorithms.sgd(0.5, 0.5)),
    "adam": Algorithm(0.3, algorithms.adam(0.1)),
    "prox": Algorithm(0.3, proximal=0.5),
    "scaffold": Algorithm(0.3, algorithms.sgd(0.5), scaffold=True),
    "mime": Algorithm(0.3, mime_lite=0.5),
}


def by_hand(way, images, labels):
    """What :func:`algorithms.federate` does, from the functions for one client at a time."""
    n = images.shape[1]
    weights = [np.zeros((images.shape[2], 10), np.float32), np.zeros(10, np.float32)]
    zeros = [np.zeros_like(w) for w in weights]
    control = velocity = zeros
    controls, state = {}, way.server.initialize(weights)
    for number in range(1, RUN["rounds"] + 1):
        rng = np.random.default_rng([RUN["seed"], number])
        chosen = np.sort(rng.choice(len(images), RUN["cohort"], replace=False))
        order = algorithms._orders(rng, RUN["cohort"], n, RUN["steps"], RUN["batch_size"])
        updates, extra = [], []
        for client, mine in zip(chosen, order):
            batches = [(images[client, o], labels[client, o]) for o in mine]
            if way.scaffold:
                old = controls.get(client, zeros)
                update, new = algorithms.scaffold_client_update(
                    weights, control, old, batches, way.learning_rate)
                controls[client] = new
                extra.append([a - b for a, b in zip(new, old)])
            elif way.mime_lite:
                everything = [(images[client], labels[client])]
                update, _ = algorithms.mime_lite_client_update(
                    weights, velocity, batches, way.learning_rate, way.mime_lite)
                extra.append(algorithms.mime_lite_client_update(weights, zeros, everything, 1.0, 0.0)[1])
            else:
                update = algorithms.client_update(
                    weights, batches, way.learning_rate, proximal=way.proximal)
            updates.append(update)
        before = weights
        state, weights = algorithms.server_update(way.server, state, weights, updates)
        if way.scaffold:
            same, control = algorithms.scaffold_server_update(
                before, control, updates, extra, len(images), 0.5)
            close(same, weights)
        if way.mime_lite:
            same, velocity = algorithms.mime_lite_server_update(
                before, velocity, updates, extra, way.mime_lite)
            close(same, weights)
    return weights, {"control": control, "velocity": velocity, "controls": controls}


@pytest.mark.parametrize("name", WAYS)
def test_a_cohort_at_once_is_one_client_after_the_other(name):
    images, labels = digits()
    weights, values, kept = algorithms.federate(WAYS[name], images, labels, lambda w: w[1].sum(), **RUN)
    expected, own = by_hand(WAYS[name], images, labels)
    close(weights, expected)
    assert len(values) == RUN["rounds"] and max(np.abs(w).max() for w in weights) > 0.05
    if name == "scaffold":
        close(kept["control"], own["control"])
        for client, control in own["controls"].items():
            close([c[client] for c in kept["controls"]], control)
        close(kept["control"], [c.mean(0) for c in kept["controls"]])  # what SCAFFOLD promises
    if name == "mime":
        close(kept["velocity"], own["velocity"])


def test_the_same_seed_the_same_cohorts_whatever_the_algorithm():
    images, labels = digits(clients=9)
    runs = [algorithms.federate(way, images, labels, lambda w: 0, **RUN) for way in WAYS.values()]
    for _, _, kept in runs:
        np.testing.assert_array_equal(kept["seen"], runs[0][2]["seen"])
    assert np.count_nonzero(runs[0][2]["seen"] == 3) == 2
    again = algorithms.federate(WAYS["scaffold"], images, labels, lambda w: 0, **RUN)[0]
    equal(again, algorithms.federate(WAYS["scaffold"], images, labels, lambda w: 0, **RUN)[0])


def test_epochs_read_everything_once():
    order = algorithms._orders(np.random.default_rng(0), 2, 6, 4, 3)
    assert order.shape == (2, 4, 3)
    for client in order:
        assert sorted(client[:2].ravel()) == sorted(client[2:].ravel()) == list(range(6))


def test_a_method_that_is_fedavg_is_it_bit_for_bit():
    images, labels = digits()
    plain = algorithms.federate(Algorithm(0.3), images, labels, lambda w: 0, **RUN)[0]
    for same in (Algorithm(0.3, algorithms.sgd(1.0)), Algorithm(0.3, proximal=0.0)):
        equal(plain, algorithms.federate(same, images, labels, lambda w: 0, **RUN)[0])


# What they refuse.


@pytest.mark.parametrize("build, message", [
    (lambda: algorithms.sgd(0.0), "learning_rate is 0.0; it must be a finite number above 0"),
    (lambda: algorithms.sgd(1.0, 1.0), "momentum is 1.0; it must be from 0 to below 1"),
    (lambda: algorithms.adam(np.nan), "learning_rate is nan"),
    (lambda: algorithms.adam(0.1, beta_1=-0.1), "beta_1 is -0.1"),
    (lambda: algorithms.yogi(0.1, beta_2=1.0), "beta_2 is 1.0"),
    (lambda: algorithms.yogi(0.1, tau=0.0), "tau is 0.0; it must be a finite number above 0"),
    (lambda: Algorithm(-1.0), "learning_rate is -1.0"),
    (lambda: Algorithm(0.1, proximal=-1.0), "proximal is -1.0; it must be a finite number from 0"),
    (lambda: Algorithm(0.1, scaffold=True, mime_lite=0.5), "scaffold is True and mime_lite 0.5"),
    (lambda: algorithms.client_update(ZERO, [], np.inf), "learning_rate is inf"),
    (lambda: algorithms.client_update(ZERO, [], 1.0, proximal=np.nan), "proximal is nan"),
    (lambda: algorithms.client_update(ZERO, [], 1.0, correction=[np.zeros(2)]),
     r"correction has shapes \[\(2,\)\]; those of weights are \[\(\)\]"),
    (lambda: algorithms.scaffold_client_update(ZERO, [np.zeros(2)], ZERO, [], 1.0), "server_control has"),
    (lambda: algorithms.scaffold_client_update(ZERO, ZERO, [], [], 1.0), "client_control has"),
    (lambda: algorithms.scaffold_server_update(ZERO, ZERO, [], [ZERO], 3), "updates has 0 clients, control_deltas 1"),
    (lambda: algorithms.scaffold_server_update(
        ZERO, ZERO, [ClientUpdate(ZERO, 1)] * 2, [ZERO] * 2, 1), "num_clients is 1"),
    (lambda: algorithms.mime_lite_client_update(ZERO, ZERO, [], 1.0, 1.5), "momentum is 1.5"),
    (lambda: algorithms.mime_lite_client_update(ZERO, [np.zeros(2)], [], 1.0, 0.5), "velocity has"),
    (lambda: algorithms.mime_lite_server_update(ZERO, ZERO, [], [ZERO], 0.5), "gradients has 1 clients"),
])
def test_bad_numbers(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("change, message", [
    ({"cohort": 4}, "cohort is 4; it must be from 1 to 3"),
    ({"cohort": 0}, "cohort is 0"),
    ({"rounds": 0}, "rounds is 0; it must be from 1 to inf"),
    ({"steps": 0}, "steps is 0"),
    ({"batch_size": 0}, "batch_size is 0"),
])
def test_federate_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        algorithms.federate(Algorithm(0.1), *digits(), lambda w: 0, **RUN | change)


def test_federate_wants_as_many_labels_as_images():
    images, labels = digits()
    with pytest.raises(ValueError, match=r"images has shape \(3, 8, 6\) and labels \(3, 7\)"):
        algorithms.federate(Algorithm(0.1), images, labels[:, :7], lambda w: 0, **RUN)


# The benchmark that makes the grids of chapter 08.


def test_every_method_of_the_benchmark_can_be_built(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("benchmarks_algorithms", BENCHMARKS / "algorithms.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where dataclasses look
    spec.loader.exec_module(module)
    for method in module.METHODS.values():
        assert len(method.values) <= 3 and (method.knob != "") == (method.values != (0.0,))
        for rate in module.RATES:
            for knob in method.values:
                assert method.build(rate, knob).learning_rate == rate
