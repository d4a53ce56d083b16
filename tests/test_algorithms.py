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


def training(deltas, steps=2, gradients=()):
    """The clients of a cohort whose learning rate is 0.5."""
    steps = np.broadcast_to(steps, len(deltas))
    return LocalTraining([np.float32(deltas)], steps, 0.5, lambda: [np.float32(gradients)])


def test_scaffold_by_hand():
    method = algorithms.scaffold(0.5)
    assert method.server_memory(ZERO) == method.client_memory(ZERO) == {"control": [0]}
    server, clients = {"control": [np.float32(1)]}, {"control": [np.float32([3, 0])]}
    (correction,) = method.correction(server, clients)
    np.testing.assert_array_equal(correction, [-2, 1])
    # Two steps with rate 0.5: the mean directions are -4.5 and 1.
    trained = training([4.5, -1])
    renewed = method.renew_clients(server, clients, trained)
    np.testing.assert_array_equal(renewed["control"], [[-2.5, 0]])
    # The sum of the changes, -5.5 and 0, over all clients, of whom there are four.
    assert method.renew_server(server, clients, trained, 4) == {"control": [1 - 5.5 / 4]}
    # With one step and four, the mean directions are -9 and 0.5.
    unequal = training([4.5, -1], [1, 4])
    np.testing.assert_array_equal(unequal.mean_direction(), [[-9, 0.5]])
    assert method.renew_server(server, clients, unequal, 4) == {"control": [1 + (-10 - 0.5) / 4]}


def test_mime_lite_by_hand():
    method = algorithms.mime_lite(0.5, momentum=0.5)
    server = {"velocity": [np.float32(2)]}
    assert method.server_memory(ZERO) == {"velocity": [0]} and method.client_memory(ZERO) == {}
    assert method.correction(server, {}) == [1]
    trained = training([1, 1], gradients=[-4, 2])
    assert method.renew_clients(server, {}, trained) == {}
    assert method.renew_server(server, {}, trained, 9) == {"velocity": [0.5 * 2 + (-4 + 2) / 2]}


def test_fed_varp_and_mifa_by_hand():
    # Four clients, the last deltas of two of them were 1 and 2, of the others 3 and 6.
    server, clients = {"mean_sent": [np.float32(3)]}, {"sent": [np.float32([1, 2])]}
    trained = training([5, 0])
    # The cohort's mean is 2.5, before it was 1.5, and over all clients 3.
    assert algorithms.fed_varp(0.5).combine(server, clients, trained, 4) == [2.5 - 1.5 + 3]
    # Now all clients' last deltas are 5, 0, 3 and 6.
    assert algorithms.mifa(0.5).combine(server, clients, trained, 4) == [14 / 4]
    for method in (algorithms.fed_varp(0.5), algorithms.mifa(0.5)):
        assert method.renew_server(server, clients, trained, 4) == {"mean_sent": [14 / 4]}
        equal(method.renew_clients(server, clients, trained)["sent"], [[5, 0]])


def test_fed_nova_by_hand():
    # One step of 4 and three of 1 are, at two steps each, 8 and 2.
    method = algorithms.fed_nova(0.5)
    assert method.combine({}, {}, training([4, 3], [1, 3]), 9) == [(8 + 2) / 2]
    assert method.combine({}, {}, training([4, 3]), 9) == [3.5]


def test_fed_dyn_by_hand():
    method = algorithms.fed_dyn(0.5, alpha=2.0)
    server, clients = {"h": [np.float32(1)]}, {"gradient": [np.float32([3, 0])]}
    assert method.local_term == Proximal(2.0)
    equal(method.correction(server, clients), [[-3, 0]])
    trained = training([4, -1])
    equal(method.renew_clients(server, clients, trained)["gradient"], [[3 - 8, 2]])
    # The mean delta is 1.5; h moves by 2 * 3 over all clients, of whom there are four.
    assert method.renew_server(server, clients, trained, 4) == {"h": [1 - 6 / 4]}
    assert method.combine(server, clients, trained, 4) == [1.5 - (1 - 6 / 4) / 2]


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
    "fed_varp": algorithms.fed_varp(0.3, 0.5),
    "mifa": algorithms.mifa(0.3),
    "fed_dyn": algorithms.fed_dyn(0.3, 0.5),
    "fed_nova": algorithms.fed_nova(0.3),
}
UNEQUAL = np.array([5, 1, 3])  # steps of the three clients


def bias_sum(weights):
    return weights[1].sum()


def two_layers():
    rng = np.random.default_rng(2)
    shapes = (6, 5), (5,), (5, 10), (10,)
    return [rng.normal(0, 0.3, shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "change",
    [{}, {"steps": UNEQUAL}, {"weights": two_layers()}],
    ids=["softmax regression", "unequal steps", "two layers"],
)
def test_all_at_once_is_one_at_a_time(name, change):
    clients, settings = federation(), RUN | change
    fast, history = algorithms.run(METHODS[name], clients, bias_sum, **settings)
    plain, same = algorithms.run(
        METHODS[name], clients, bias_sum, **settings, backend=ONE_AT_A_TIME
    )
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
    # FedNova is FedAvg where all clients take equally many steps, to rounding.
    assert (apart < 1e-6) == (name in ("fed_avg", "fed_nova"))


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


def flat(weights):
    return np.concatenate([np.ravel(w) for w in weights]).astype(np.float64)


def gradient(w, x, y):
    """Of softmax regression, for a flat vector of weights, written as in a textbook."""
    scores = x.astype(np.float64) @ w[:-10].reshape(-1, 10) + w[-10:]
    error = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True) - np.eye(10)[y]
    return np.concatenate([(x.T @ error).ravel(), error.sum(axis=0)]) / len(y)


def train(w, cohort, k, lr, term=lambda y: 0.0):
    """Returns the delta of the cohort's client k; `term` is added to the gradient."""
    y = w
    for rows in cohort.order[k][: cohort.steps[k]]:
        y = y - lr * (gradient(y, cohort.images[k, rows], cohort.labels[k, rows]) + term(y))
    return y - w


# The papers' rounds as plain loops over flat vectors: from the weights, the memory of all clients
# [N, d] and the cohort to the new weights; the memory is changed.


def fed_varp_round(w, sent, cohort, lr=0.3, server_lr=0.5):
    # Jhunjhunwala et al. 2022, Algorithm 1: y_i is what client i sent last.
    chosen, mean = cohort.clients, sent.mean(axis=0)
    deltas = np.array([train(w, cohort, k, lr) for k in range(len(chosen))])
    v = (deltas - sent[chosen]).mean(axis=0) + mean
    sent[chosen] = deltas
    return w + server_lr * v


def mifa_round(w, sent, cohort, lr=0.3):
    # Gu et al. 2021, Algorithm 1: G^i is renewed for active clients, then comes the mean of all.
    for k, client in enumerate(cohort.clients):
        sent[client] = train(w, cohort, k, lr)
    return w + sent.mean(axis=0)


def fed_dyn_round(w, gradients, cohort, lr=0.3, alpha=0.5):
    # Acar et al. 2021, Algorithm 1. h moves by -alpha/m times the sum of the deltas, as the mean of
    # all clients' gradients does, and both start at 0.
    models = []
    for k, client in enumerate(cohort.clients):
        own = gradients[client].copy()
        delta = train(w, cohort, k, lr, lambda y, own=own: -own + alpha * (y - w))
        gradients[client] = own - alpha * delta
        models.append(w + delta)
    return np.mean(models, axis=0) - gradients.mean(axis=0) / alpha


def fed_nova_round(w, nothing, cohort, lr=0.3):
    # Wang et al. 2020, section 4: p_i is 1/k, d_i the mean gradient of tau_i plain steps.
    directions = [-train(w, cohort, k, lr) / (lr * tau) for k, tau in enumerate(cohort.steps)]
    return w - cohort.steps.mean() * lr * np.mean(directions, axis=0)


@pytest.mark.parametrize("steps", [5, UNEQUAL], ids=["equal steps", "unequal steps"])
@pytest.mark.parametrize("name", ["fed_varp", "mifa", "fed_dyn", "fed_nova"])
def test_the_papers_loops(name, steps):
    clients, settings = federation(), RUN | {"steps": steps, "rounds": 6}
    state, history = algorithms.run(METHODS[name], clients, flat, **settings)
    w, memory = np.zeros(6 * 10 + 10), np.zeros((3, 6 * 10 + 10))
    for number, weights in enumerate(history, 1):
        drawn = {key: settings[key] for key in ("seed", "cohort", "steps", "batch_size")}
        cohort = clients.draw_cohort(round_number=number, **drawn)
        w = globals()[f"{name}_round"](w, memory, cohort)
        np.testing.assert_allclose(weights, w, atol=1e-6)
    for arrays in state.clients.values():
        kept = np.array([flat([a[k] for a in arrays]) for k in range(3)])
        np.testing.assert_allclose(kept, memory, atol=1e-6)
    for arrays in state.server.values():
        np.testing.assert_allclose(flat(arrays), memory.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("name", ["fed_varp", "mifa"])
def test_with_all_clients_the_servers_memory_changes_nothing(name):
    everyone = RUN | {"cohort": 3}
    plain, _ = algorithms.run(METHODS["fed_avg"], federation(), bias_sum, **everyone)
    method = getattr(algorithms, name)(0.3)
    close(plain.weights, algorithms.run(method, federation(), bias_sum, **everyone)[0].weights)


def test_fed_nova_does_not_count_fast_clients_for_more():
    # Two clients at the same point with the same data, so along the same direction.
    one = federation(clients=1, n=3)
    clients = Federation(one.images.repeat(3, 0), one.labels.repeat(3, 0))
    settings = RUN | {"cohort": 3, "rounds": 1, "batch_size": 3, "steps": np.array([1, 1, 4])}
    state, _ = algorithms.run(algorithms.fed_nova(1e-3), clients, bias_sum, **settings)
    two, _ = algorithms.run(algorithms.fed_avg(1e-3), clients, bias_sum, **settings | {"steps": 2})
    close(state.weights, two.weights)


def test_unequal_steps_are_prefixes_of_the_same_batches():
    drawn = {"seed": 3, "round_number": 1, "cohort": 2, "batch_size": 3}
    clients = federation()
    equal_steps = clients.draw_cohort(steps=5, **drawn)
    unequal = clients.draw_cohort(steps=UNEQUAL, **drawn)
    np.testing.assert_array_equal(equal_steps.clients, unequal.clients)
    np.testing.assert_array_equal(unequal.steps, UNEQUAL[unequal.clients])
    most = unequal.steps.max()
    assert unequal.order.shape[1] == most and equal_steps.steps.tolist() == [5, 5]
    np.testing.assert_array_equal(unequal.order, equal_steps.order[:, :most])


def test_a_perceptron_learns_from_its_first_weights():
    first = two_layers()
    state, _ = algorithms.run(METHODS["fed_avg"], federation(), len, **RUN, weights=first)
    assert [w.shape for w in state.weights] == [w.shape for w in first]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(state.weights, first))


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


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("backend", [ONE_AT_A_TIME, ALL_AT_ONCE])
def test_the_full_gradient(backend, layers):
    weights = [np.full((6, 10), 0.1, np.float32), np.zeros(10, np.float32)]
    clients, weights = federation(), two_layers() if layers == 2 else weights
    order = np.zeros((3, 1, 1), int)
    cohort = Cohort(np.arange(3), clients.images, clients.labels, order)
    for k, (images, labels) in enumerate(zip(clients.images, clients.labels)):
        step = algorithms.client_update(weights, [(images, labels)], 1.0).delta
        close([g[k] for g in backend.gradients(weights, cohort)], [-s for s in step])


@pytest.mark.parametrize(
    "name",
    ["fed_avg", "fed_adam", "fed_yogi", "scaffold", "fed_prox", "fed_varp", "mifa", "fed_dyn"],
)
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
        (lambda: algorithms.fed_dyn(0.1, 0.0), "alpha is 0.0; it must be a finite number above 0"),
        (lambda: algorithms.fed_varp(0.1, 0.0), "server_lr is 0.0"),
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
        ({"steps": np.array([1, 2])}, "steps has shape .2,.; it must be an int, or an array of 3"),
        ({"weights": [np.zeros((6, 10), "f4")]}, "weights has shapes .*ALL_AT_ONCE wants"),
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
