"""Two tiny clients and exact numbers; two backends that agree; what the methods refuse."""

import dataclasses

import numpy as np
import pytest

from fedbook import algorithms
from fedbook.algorithms import (
    ALL_AT_ONCE,
    ONE_AT_A_TIME,
    ClientUpdate,
    Cohort,
    Federation,
    Proximal,
)
from fedbook.algorithms.base import LocalTraining
from fedbook.algorithms.rounds import _orders

ZERO = [np.float32(0)]


def federation(clients=3, n=8, pixels=6, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 1, (clients, n, pixels)).astype(np.float32)
    return Federation(images, rng.integers(0, 10, (clients, n)).astype(np.int32))


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
    mean = algorithms.server_aggregate([np.zeros_like(w) for w in weights], updates)
    equal(new, [w + m for w, m in zip(weights, mean)])
    close(new, algorithms.server_aggregate(weights, updates))
    # In numbers that float32 holds exactly, the order of additions does not matter.
    exact = [ClientUpdate([np.float32(1)], 3), ClientUpdate([np.float32(5)], 1)]
    one = [np.float32(1)]
    _, (new,) = algorithms.server_update(optimizer, optimizer.initialize(one), one, exact)
    assert new == algorithms.server_aggregate(one, exact)[0] == 3.0


def test_server_update_weighs_by_examples_or_not():
    updates = [ClientUpdate([np.float32(1)], 3), ClientUpdate([np.float32(5)], 1)]
    optimizer = algorithms.sgd(0.5)
    state = optimizer.initialize(ZERO)
    assert algorithms.server_update(optimizer, state, ZERO, updates)[1] == [1.0]
    assert algorithms.server_update(optimizer, state, ZERO, updates, uniform=True)[1] == [1.5]
    momentum = algorithms.sgd(1.0, 0.5)
    assert algorithms.server_update(momentum, ([np.float32(4)],), ZERO, [])[1] == [2.0]


@pytest.mark.parametrize(
    "optimizer", [algorithms.sgd(0.5, 0.9), algorithms.adam(0.1), algorithms.yogi(0.1)]
)
def test_server_optimizers_change_no_argument_and_stay_float32(optimizer):
    weights, updates = two_updates()
    state = optimizer.initialize(weights)
    before = [w.copy() for w in weights], [[s.copy() for s in part] for part in state]
    new_state, new = algorithms.server_update(optimizer, state, weights, updates)
    equal(weights, before[0])
    for part, old in zip(state, before[1], strict=True):
        equal(part, old)
    assert {a.dtype for a in new} | {a.dtype for part in new_state for a in part} == {
        np.dtype("f4")
    }


# What SCAFFOLD and Mime Lite remember, for two clients with a single weight.


def training(deltas, total_rate, gradients=()):
    return LocalTraining(
        [np.float32(deltas)], np.float32(total_rate), lambda: [np.float32(gradients)]
    )


def test_scaffold_by_hand():
    method = algorithms.scaffold(0.5)
    assert method.server_memory(ZERO) == method.client_memory(ZERO) == {"control": [0]}
    server, clients = {"control": [np.float32(1)]}, {"control": [np.float32([3, 0])]}
    (correction,) = method.correction(server, clients)
    np.testing.assert_array_equal(correction, [-2, 1])
    # Two steps with rate 0.5: the mean directions are -4.5 and 1.
    trained = training([4.5, -1], 1.0)
    renewed = method.renew_clients(server, clients, trained)
    np.testing.assert_array_equal(renewed["control"], [[-2.5, 0]])
    # The sum of the changes, -5.5 and 0, over all clients, of whom there are four.
    assert method.renew_server(server, trained, 4) == {"control": [1 - 5.5 / 4]}


def test_mime_lite_by_hand():
    method = algorithms.mime_lite(0.5, momentum=0.5)
    server = {"velocity": [np.float32(2)]}
    assert method.server_memory(ZERO) == {"velocity": [0]} and method.client_memory(ZERO) == {}
    assert method.correction(server, {}) == [1]
    trained = training([1, 1], 1.0, gradients=[-4, 2])
    assert method.renew_clients(server, {}, trained) == {}
    assert method.renew_server(server, trained, 9) == {"velocity": [0.5 * 2 + (-4 + 2) / 2]}


# The two backends, and the loop.

RUN = {"rounds": 3, "cohort": 2, "steps": 5, "batch_size": 3, "seed": 7}
METHODS = {
    "fed_avg": algorithms.fed_avg(0.3),
    "fed_avg, server rate": algorithms.fed_avg(0.3, 0.5),
    "fed_avg_m": algorithms.fed_avg_m(0.3, 0.5, 0.5),
    "fed_adam": algorithms.fed_adam(0.3, 0.1),
    "fed_yogi": algorithms.fed_yogi(0.3, 0.1),
    "fed_prox": algorithms.fed_prox(0.3, 0.5),
    "scaffold": algorithms.scaffold(0.3, 0.5),
    "mime_lite": algorithms.mime_lite(0.3, 0.5),
}


def bias_sum(weights):
    return weights[1].sum()


@pytest.mark.parametrize("name", METHODS)
def test_all_at_once_is_one_at_a_time(name):
    clients = federation()
    fast, history = algorithms.run(METHODS[name], clients, bias_sum, **RUN)
    plain, same = algorithms.run(METHODS[name], clients, bias_sum, **RUN, backend=ONE_AT_A_TIME)
    close(fast.weights, plain.weights)
    np.testing.assert_allclose(history, same, atol=1e-6)
    assert len(history) == RUN["rounds"] and max(np.abs(w).max() for w in fast.weights) > 0.05
    for of in ("server", "clients"):
        a, b = getattr(fast, of), getattr(plain, of)
        assert a.keys() == b.keys()
        for memory in a:
            close(a[memory], b[memory])


@pytest.mark.parametrize("name", METHODS)
def test_no_method_is_fedavg_by_accident(name):
    fed_avg, _ = algorithms.run(METHODS["fed_avg"], federation(), bias_sum, **RUN)
    other, _ = algorithms.run(METHODS[name], federation(), bias_sum, **RUN)
    apart = max(np.abs(a - b).max() for a, b in zip(fed_avg.weights, other.weights))
    assert (apart == 0) == (name == "fed_avg")


def test_scaffolds_server_keeps_the_mean_of_all_controls():
    state, _ = algorithms.run(METHODS["scaffold"], federation(clients=5), bias_sum, **RUN)
    close(state.server["control"], [c.mean(0) for c in state.clients["control"]])
    never = state.last_round == 0
    assert never.any() and not state.clients["control"][0][never].any()


def test_a_round_of_fedavg_is_the_plain_functions():
    clients = federation()
    cohort = clients.draw_cohort(3, 1, cohort=2, steps=4, batch_size=3)
    state = algorithms.initial_state(
        METHODS["fed_avg"], [np.zeros((6, 10), np.float32), np.zeros(10, np.float32)], 3
    )
    new = algorithms.next_round(METHODS["fed_avg"], state, cohort)
    updates = [
        algorithms.client_update(state.weights, [(x[o], y[o]) for o in order], 0.3)
        for x, y, order in zip(cohort.images, cohort.labels, cohort.order)
    ]
    close(new.weights, algorithms.server_aggregate(state.weights, updates))
    assert (state.round_number, new.round_number) == (0, 1) and not state.last_round.any()
    assert sorted(np.flatnonzero(new.last_round)) == sorted(cohort.clients)


def test_the_same_seed_the_same_cohorts_whatever_the_algorithm():
    clients = federation(clients=9)
    states = [algorithms.run(method, clients, bias_sum, **RUN)[0] for method in METHODS.values()]
    for state in states:
        np.testing.assert_array_equal(state.last_round, states[0].last_round)
    assert np.count_nonzero(states[0].last_round == 3) == 2
    again = algorithms.run(METHODS["scaffold"], clients, bias_sum, **RUN)[0]
    equal(again.weights, algorithms.run(METHODS["scaffold"], clients, bias_sum, **RUN)[0].weights)


def test_epochs_read_everything_once():
    order = _orders(np.random.default_rng(0), 2, 6, 4, 3)
    assert order.shape == (2, 4, 3)
    for client in order:
        assert sorted(client[:2].ravel()) == sorted(client[2:].ravel()) == list(range(6))


def test_a_method_that_is_fedavg_is_it_bit_for_bit():
    plain, _ = algorithms.run(METHODS["fed_avg"], federation(), bias_sum, **RUN)
    for same in (algorithms.fed_avg_m(0.3, 0.0), algorithms.fed_prox(0.3, 0.0)):
        equal(plain.weights, algorithms.run(same, federation(), bias_sum, **RUN)[0].weights)


def test_a_method_of_ones_own_is_a_change_to_another():
    # The server's half step, written as a new algorithm instead of with server_lr.
    half = algorithms.ServerOptimizer(
        lambda weights: (),
        lambda state, w, delta: ((), [a + np.float32(0.5) * d for a, d in zip(w, delta)]),
    )
    own = dataclasses.replace(METHODS["fed_avg"], server=half)
    close(
        algorithms.run(own, federation(), bias_sum, **RUN)[0].weights,
        algorithms.run(METHODS["fed_avg, server rate"], federation(), bias_sum, **RUN)[0].weights,
    )


@pytest.mark.parametrize("backend", [ONE_AT_A_TIME, ALL_AT_ONCE])
def test_the_full_gradient(backend):
    clients, weights = federation(), [np.full((6, 10), 0.1, np.float32), np.zeros(10, np.float32)]
    order = np.zeros((3, 1, 1), int)
    cohort = Cohort(np.arange(3), clients.images, clients.labels, order)
    for k, (images, labels) in enumerate(zip(clients.images, clients.labels)):
        step = algorithms.client_update(weights, [(images, labels)], 1.0).delta
        close([g[k] for g in backend.gradients(weights, cohort)], [-s for s in step])


@pytest.mark.parametrize("name", ["fed_avg", "fed_adam", "fed_yogi", "scaffold", "fed_prox"])
def test_rates_of_numpy_are_numbers_like_others(name):
    for rate in np.logspace(-2, -1, 2):  # float64
        method = getattr(algorithms, name)(rate, rate)
        state, _ = algorithms.run(method, federation(), bias_sum, **RUN)
        for array in (*state.weights, *(a for part in state.optimizer for a in part)):
            assert array.dtype == np.float32


# What they refuse.


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: algorithms.sgd(0.0), "learning_rate is 0.0; it must be a finite number above 0"),
        (
            lambda: algorithms.sgd(1.0, 1.0),
            "momentum is 1.0; it must be a finite number from 0 and below 1",
        ),
        (lambda: algorithms.adam(np.nan), "learning_rate is nan"),
        (lambda: algorithms.adam(0.1, beta_1=-0.1), "beta_1 is -0.1"),
        (lambda: algorithms.yogi(0.1, beta_2=1.0), "beta_2 is 1.0"),
        (lambda: algorithms.yogi(0.1, tau=0.0), "tau is 0.0; it must be a finite number above 0"),
        (lambda: algorithms.fed_avg(-1.0), "client_lr is -1.0"),
        (lambda: algorithms.fed_avg("0.1"), "client_lr is '0.1'"),
        (
            lambda: algorithms.fed_prox(0.1, -1.0),
            "strength is -1.0; it must be a finite number from 0",
        ),
        (lambda: algorithms.mime_lite(0.1, 1.5), "momentum is 1.5"),
        (lambda: Proximal(np.nan), "strength is nan"),
        (lambda: algorithms.initial_state(METHODS["fed_avg"], ZERO, 0), "num_clients is 0"),
    ],
)
def test_bad_numbers(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cohort": 4}, "cohort is 4; it must be an int, from 1 to 3"),
        ({"cohort": 0}, "cohort is 0"),
        ({"rounds": 0}, "rounds is 0; it must be an int, at least 1"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_run_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        algorithms.run(METHODS["fed_avg"], federation(), bias_sum, **RUN | change)


def test_a_federation_wants_as_many_labels_as_images():
    clients = federation()
    with pytest.raises(ValueError, match=r"images has shape \(3, 8, 6\) and labels \(3, 7\)"):
        Federation(clients.images, clients.labels[:, :7])
