"""What is done about clients that differ, each as its small change to federated averaging.

The change is in one of two places. The server may do something else with the mean
delta than add it: :func:`sgd` with momentum (FedAvgM), :func:`adam` and :func:`yogi`
are :class:`ServerOptimizer` for :func:`server_update`. Or the client adds a term to
the gradient g of every local step:

- FedProx a pull back to where it started, ``g + proximal * (w - start)``;
- SCAFFOLD and Mime Lite a vector that stays fixed over the round, ``g + correction``.

Both terms are arguments of :func:`client_update`. It and the functions around it are
plain and take one client at a time, as :mod:`fedbook.fedavg` does, on which they
build. :func:`federate` does the same for softmax regression with all clients of a
cohort at once, fast enough for grids of learning rates.

FedAvgM: Hsu et al. 2019 (arXiv 1909.06335). FedAdam, FedYogi: Reddi et al. 2021
(arXiv 2003.00295), Algorithm 2. FedProx: Li et al. 2020 (arXiv 1812.06127). SCAFFOLD:
Karimireddy et al. 2020 (arXiv 1910.06378), Algorithm 1, option II. Mime Lite:
Karimireddy et al. 2021 (arXiv 2008.03606).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from fedbook import fedavg
from fedbook.fedavg import ClientUpdate, Loss, Weights

Arrays = list[np.ndarray]
Batches = Iterable[tuple[np.ndarray, np.ndarray]]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class ServerOptimizer:
    """What the server does with the mean delta.

    Attributes:
      initialize: from the weights to the state before round 1, a tuple of lists of
        arrays of the weights' shapes.
      apply: from (state, weights, mean delta) to the new state and the new weights,
        lists of float32 arrays; changes none of its arguments.
    """

    initialize: Callable[[Weights], tuple[Arrays, ...]]
    apply: Callable[[tuple[Arrays, ...], Weights, Weights], tuple[tuple[Arrays, ...], Arrays]]


def sgd(learning_rate: float = 1.0, momentum: float = 0.0) -> ServerOptimizer:
    """Returns FedAvg's server step, with momentum FedAvgM's.

    ``velocity = momentum * velocity + delta`` and
    ``weights = weights + learning_rate * velocity``: a steady delta ends up
    multiplied by ``1 / (1 - momentum)``. With the defaults, FedAvg.

    Raises:
      ValueError: if `learning_rate` is not a finite number above 0, or `momentum`
        not from 0 to below 1.
    """
    _check("learning_rate", learning_rate)
    _check_decay("momentum", momentum)

    def apply(state, weights, delta):
        velocity = [momentum * v + d for v, d in zip(state[0], delta, strict=True)]
        return (velocity,), _moved(weights, velocity, learning_rate)

    return ServerOptimizer(lambda weights: (_filled(weights, 0),), apply)


def adam(
    learning_rate: float, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3
) -> ServerOptimizer:
    """Returns FedAdam's server step.

    The weights move by ``learning_rate * m / (sqrt(v) + tau)``, where m and v are
    moving averages of the delta and of its square, by element. As in Reddi et al.
    m starts at 0, v at tau squared, and nothing corrects the bias of the first rounds
    (TFF's Adam does, starts v at 0, and calls tau epsilon).

    Args:
      learning_rate: about how far a weight moves in a round if its deltas agree.
      beta_1: decay of m, 0 to below 1.
      beta_2: decay of v, 0 to below 1.
      tau: adaptivity, above 0; the larger, the less the step adapts to v.

    Raises:
      ValueError: if a number is out of its range or not finite.
    """
    return _adaptive(
        learning_rate, beta_1, beta_2, tau, lambda v, square: beta_2 * v + (1 - beta_2) * square
    )


def yogi(
    learning_rate: float, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3
) -> ServerOptimizer:
    """Returns FedYogi's server step: :func:`adam`, but v moves by no more than the square.

    ``v = v - (1 - beta_2) * square * sign(v - square)``: where Adam forgets a large v
    at once when deltas become small, Yogi lets it sink slowly.

    Raises:
      ValueError: if a number is out of its range or not finite.
    """
    return _adaptive(
        learning_rate, beta_1, beta_2, tau,
        lambda v, square: v - (1 - beta_2) * square * np.sign(v - square),
    )


def server_update(
    optimizer: ServerOptimizer,
    state: tuple[Arrays, ...],
    weights: Weights,
    updates: Iterable[ClientUpdate],
    uniform: bool = False,
) -> tuple[tuple[Arrays, ...], Arrays]:
    """Moves the server by the mean of the clients' deltas, as the optimiser says.

    Args:
      optimizer: of the server.
      state: what ``optimizer.initialize(weights)`` or the last round returned.
      weights: what the clients received; not changed.
      updates: one for each client of the cohort. Without any, or without an example
        the mean is 0; momentum goes on all the same.
      uniform: whether each client counts once instead of by its `num_examples`.

    Returns:
      The new state and the new weights.

    Raises:
      ValueError: as :func:`fedbook.fedavg.server_aggregate` does.
    """
    zeros = _filled(weights, 0)
    mean = fedavg.server_aggregate(zeros, updates, uniform=uniform)
    return optimizer.apply(state, weights, mean)


def client_update(
    weights: Weights,
    batches: Batches,
    learning_rate: float,
    *,
    proximal: float = 0.0,
    correction: Weights | None = None,
    loss: Loss = fedavg.loss,
) -> ClientUpdate:
    """Trains on one client by SGD, on gradients with a proximal term and a correction.

    A step is ``w = w - learning_rate * (g + proximal * (w - weights) + correction)``.
    With neither term it is FedAvg's :func:`fedbook.fedavg.client_update`, bit for bit;
    with `proximal` it is FedProx's.

    Args:
      weights: what the server sent; not changed.
      batches: (images, labels) in the order of training. Batches without examples
        are passed over.
      learning_rate: of SGD, above 0.
      proximal: FedProx's mu, from 0.
      correction: arrays of the weights' shapes; 0 by default.
      loss: from weights, images and labels to the scalar to descend.

    Raises:
      ValueError: if `learning_rate` is not a finite number above 0, `proximal` not
        one from 0, or the shapes in `correction` are not those of `weights`.
    """
    _check("learning_rate", learning_rate)
    if not (math.isfinite(proximal) and proximal >= 0):
        raise ValueError(f"proximal is {proximal}; it must be a finite number from 0.")
    start = [tf.constant(w, tf.float32) for w in weights]
    fixed = _same_shapes("correction", correction, weights)
    shapes = tuple(tuple(w.shape) for w in start)
    trained, num_examples = start, 0
    numbers = tf.constant(learning_rate, tf.float32), tf.constant(proximal, tf.float32)
    for images, labels in _with_examples(batches):
        step = _step(loss, shapes, tuple(images.shape[1:]))
        trained = step(trained, start, fixed, images, labels, *numbers)
        num_examples += len(labels)
    return ClientUpdate([(t - s).numpy() for t, s in zip(trained, start)], num_examples)


def scaffold_client_update(
    weights: Weights,
    server_control: Weights,
    client_control: Weights,
    batches: Batches,
    learning_rate: float,
    loss: Loss = fedavg.loss,
) -> tuple[ClientUpdate, Arrays]:
    """Trains on one client as SCAFFOLD does, and renews its control.

    The controls are guesses of gradients, the client's of its own and the server's of
    the mean over all clients. Steps go along ``g - client_control + server_control``.
    The new control is the mean of the gradients of the steps (option II):
    ``client_control - server_control - delta / (steps * learning_rate)``.

    Args:
      weights: what the server sent.
      server_control: arrays of the weights' shapes; zeros before round 1.
      client_control: the same, what this function returned when the client was last
        in a cohort; zeros the first time.
      batches: (images, labels) in the order of training.
      learning_rate: of SGD, above 0.
      loss: from weights, images and labels to the scalar to descend.

    Returns:
      The update, and the client's new control; the old one if there was no example.

    Raises:
      ValueError: as :func:`client_update` does.
    """
    server_control = _same_shapes("server_control", server_control, weights)
    client_control = _same_shapes("client_control", client_control, weights)
    batches = list(_with_examples(batches))
    correction = [s - c for s, c in zip(server_control, client_control)]
    update = client_update(weights, batches, learning_rate, correction=correction, loss=loss)
    if not batches:
        return update, client_control
    path = np.float32(len(batches) * learning_rate)
    return update, [-b - d / path for b, d in zip(correction, update.delta)]


def scaffold_server_update(
    weights: Weights,
    server_control: Weights,
    updates: Sequence[ClientUpdate],
    control_deltas: Sequence[Weights],
    num_clients: int,
    learning_rate: float = 1.0,
) -> tuple[Arrays, Arrays]:
    """Moves the server's weights and its control; all clients count the same.

    Args:
      weights: what the clients received.
      server_control: the same.
      updates: one for each client of the cohort.
      control_deltas: for each of them, its new control minus its old one.
      num_clients: how many clients there are in all, N. The control moves by the
        *sum* of the cohort's changes over N, and so stays the mean of all controls.
      learning_rate: of the server.

    Returns:
      The new weights and the new control.

    Raises:
      ValueError: if there are not as many `control_deltas` as `updates`, or
        `num_clients` is less.
    """
    if not len(updates) == len(control_deltas) <= num_clients:
        raise ValueError(
            f"updates has {len(updates)} clients, control_deltas {len(control_deltas)} and "
            f"num_clients is {num_clients}; the first two must match and not exceed the last."
        )
    weights = fedavg.server_aggregate(weights, updates, learning_rate, uniform=True)
    control = [np.array(c, np.float32) for c in server_control]
    for change in control_deltas:
        control = [c + d / np.float32(num_clients) for c, d in zip(control, change, strict=True)]
    return weights, control


def mime_lite_client_update(
    weights: Weights,
    velocity: Weights,
    batches: Batches,
    learning_rate: float,
    momentum: float,
    loss: Loss = fedavg.loss,
) -> tuple[ClientUpdate, Arrays]:
    """Trains on one client with the server's momentum, held still.

    Every step goes along ``g + momentum * velocity``, the step of SGD with momentum
    whose velocity does not change. (Karimireddy et al. write ``(1 - momentum) * g``;
    this is TFF's convention, the same with another learning rate.)

    Args:
      weights: what the server sent.
      velocity: the server's, arrays of the weights' shapes; zeros before round 1.
      batches: (images, labels) in the order of training.
      learning_rate: of the local steps, above 0.
      momentum: from 0 to below 1.
      loss: from weights, images and labels to the scalar to descend.

    Returns:
      The update, and the mean gradient over all of the client's examples at `weights`
      (zeros if it has none), from which the server makes its velocity.

    Raises:
      ValueError: as :func:`client_update` does, or if `momentum` is out of its range.
    """
    _check_decay("momentum", momentum)
    velocity, batches = _same_shapes("velocity", velocity, weights), list(_with_examples(batches))
    correction = [np.float32(momentum) * v for v in velocity]
    update = client_update(weights, batches, learning_rate, correction=correction, loss=loss)
    gradient = _filled(weights, 0)
    for images, labels in batches:
        share = np.float32(len(labels) / update.num_examples)
        # A step of length 1 and back is the gradient.
        step = client_update(weights, [(images, labels)], 1.0, loss=loss).delta
        gradient = [total - share * s for total, s in zip(gradient, step)]
    return update, gradient


def mime_lite_server_update(
    weights: Weights,
    velocity: Weights,
    updates: Sequence[ClientUpdate],
    gradients: Sequence[Weights],
    momentum: float,
) -> tuple[Arrays, Arrays]:
    """Moves the server's weights as FedAvg does, and its velocity by the clients' gradients.

    Args:
      weights: what the clients received.
      velocity: the same.
      updates: one for each client of the cohort.
      gradients: for each of them, the mean gradient at `weights`; weighted by
        `num_examples`, as the deltas are.
      momentum: from 0 to below 1; ``velocity = momentum * velocity + gradient``.

    Returns:
      The new weights and the new velocity.

    Raises:
      ValueError: if there are not as many `gradients` as `updates`, or `momentum` is
        out of its range.
    """
    _check_decay("momentum", momentum)
    if len(updates) != len(gradients):
        raise ValueError(
            f"gradients has {len(gradients)} clients and updates {len(updates)}; they must match."
        )
    counted = [ClientUpdate(list(g), u.num_examples) for g, u in zip(gradients, updates)]
    mean = fedavg.server_aggregate(_filled(weights, 0), counted)
    velocity = [np.float32(momentum) * v + g for v, g in zip(velocity, mean, strict=True)]
    return fedavg.server_aggregate(weights, updates), velocity


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """What :func:`federate` is to do; by default FedAvg.

    Attributes:
      learning_rate: of the clients' SGD.
      server: what the server does with the mean delta.
      proximal: FedProx's mu.
      scaffold: whether clients and server keep SCAFFOLD's controls.
      mime_lite: Mime Lite's momentum; 0 is without.

    Raises:
      ValueError: if a number is out of its range, or both `scaffold` and `mime_lite`
        are asked for.
    """

    learning_rate: float
    server: ServerOptimizer = dataclasses.field(default_factory=sgd)
    proximal: float = 0.0
    scaffold: bool = False
    mime_lite: float = 0.0

    def __post_init__(self):
        _check("learning_rate", self.learning_rate)
        _check_decay("mime_lite", self.mime_lite)
        if not (math.isfinite(self.proximal) and self.proximal >= 0):
            raise ValueError(f"proximal is {self.proximal}; it must be a finite number from 0.")
        if self.scaffold and self.mime_lite:
            raise ValueError(f"scaffold is True and mime_lite {self.mime_lite}; take one of them.")


def federate(
    algorithm: Algorithm,
    images: np.ndarray,
    labels: np.ndarray,
    evaluate: Callable[[Arrays], T],
    *,
    rounds: int,
    cohort: int,
    steps: int,
    batch_size: int,
    seed: int,
) -> tuple[Arrays, list[T], dict[str, Any]]:
    """Trains softmax regression from zeros, all clients of a cohort at once, in NumPy.

    All clients hold equally much and count the same. The cohorts and the batches
    depend on the seed and the numbers, not on the algorithm: two algorithms with the
    same seed can be compared in pairs.

    Args:
      algorithm: what to do.
      images: [N, n, pixels] float32, the n examples of each of N clients.
      labels: [N, n] ints from 0 to 9.
      evaluate: from the weights to what is wanted of them after each round.
      rounds: how many.
      cohort: clients a round, from 1 to N.
      steps: local steps a round; a client reads its shuffled examples again and again
        until it has done them.
      batch_size: examples a step.
      seed: an int from 0.

    Returns:
      The weights ``[W [pixels, 10], b [10]]``; the evaluations, `rounds` of them; and
      what is kept between rounds beside the weights: ``controls`` (of each client, a
      list of [N, ...]) and ``control``, or ``velocity``; ``seen``, for each client the
      last round in which it took part, from 1, or 0.

    Raises:
      ValueError: if the shapes do not match or a number is out of range.
    """
    clients = len(images)
    if images.ndim != 3 or labels.shape != images.shape[:2]:
        raise ValueError(
            f"images has shape {images.shape} and labels {labels.shape}; "
            "they must be [N, n, pixels] and [N, n]."
        )
    for name, value, high in (
        ("rounds", rounds, math.inf), ("cohort", cohort, clients), ("steps", steps, math.inf),
        ("batch_size", batch_size, math.inf),
    ):
        if not 1 <= value <= high:
            raise ValueError(f"{name} is {value}; it must be from 1 to {high}.")
    weights = [np.zeros((images.shape[2], 10), np.float32), np.zeros(10, np.float32)]
    state, rate = algorithm.server.initialize(weights), np.float32(algorithm.learning_rate)
    controls = [np.zeros((clients, *w.shape), np.float32) for w in weights]
    control, velocity, seen = _filled(weights, 0), _filled(weights, 0), np.zeros(clients, int)
    values = []
    for number in range(1, rounds + 1):
        rng = np.random.default_rng([seed, number])
        chosen = np.sort(rng.choice(clients, cohort, replace=False))
        order = _orders(rng, cohort, images.shape[1], steps, batch_size)
        x, y, corrections = images[chosen], labels[chosen], None
        if algorithm.scaffold:
            corrections = [s - c[chosen] for s, c in zip(control, controls)]
        if algorithm.mime_lite:
            corrections = [np.float32(algorithm.mime_lite) * v[None] for v in velocity]
            everything = np.arange(x.shape[1])[None].repeat(cohort, 0)
            gradients = _gradients([w[None] for w in weights], x, y, everything)
            velocity = [c[0] + g.mean(0) for c, g in zip(corrections, gradients)]
        deltas = cohort_deltas(
            weights, x, y, order, rate, proximal=algorithm.proximal, corrections=corrections
        )
        if algorithm.scaffold:
            renewed = [-b - d / (steps * rate) for b, d in zip(corrections, deltas)]
            control = [s + (new - c[chosen]).sum(0) / np.float32(clients)
                       for s, c, new in zip(control, controls, renewed)]
            for c, new in zip(controls, renewed):
                c[chosen] = new
        seen[chosen] = number
        state, weights = algorithm.server.apply(state, weights, [d.mean(0) for d in deltas])
        values.append(evaluate(weights))
    kept = {"seen": seen}
    if algorithm.scaffold:
        kept |= {"controls": controls, "control": control}
    if algorithm.mime_lite:
        kept["velocity"] = velocity
    return weights, values, kept


def cohort_deltas(
    weights: Weights,
    images: np.ndarray,
    labels: np.ndarray,
    order: np.ndarray,
    learning_rate: float,
    *,
    proximal: float = 0.0,
    corrections: Sequence[np.ndarray] | None = None,
) -> Arrays:
    """Trains softmax regression on several clients at once: :func:`client_update` for each.

    Args:
      weights: ``[W [pixels, 10], b [10]]``, where all start.
      images: [k, n, pixels] float32.
      labels: [k, n] ints from 0 to 9.
      order: [k, steps, batch size] ints from 0 to n - 1: what each client reads.
      learning_rate: of SGD.
      proximal: FedProx's mu.
      corrections: arrays [k, ...] or [1, ...], one for each weight; 0 by default.

    Returns:
      The deltas, [k, pixels, 10] and [k, 10] float32.
    """
    rate, proximal = np.float32(learning_rate), np.float32(proximal)
    start = [np.asarray(w)[None] for w in weights]
    trained = [s.repeat(len(images), 0) for s in start]
    for step in range(order.shape[1]):
        gradients = _gradients(trained, images, labels, order[:, step])
        for i, gradient in enumerate(gradients):
            if proximal:
                gradient += proximal * (trained[i] - start[i])
            if corrections is not None:
                gradient += corrections[i]
            gradient *= rate
            trained[i] -= gradient
    return [t - s for t, s in zip(trained, start)]


def _gradients(weights, images, labels, chosen) -> Arrays:
    """Returns the gradients [k, ...] of each client's mean loss over its `chosen`, [k, b]."""
    client = np.arange(len(chosen))[:, None]
    x, y = images[client, chosen], labels[client, chosen]
    error = x @ weights[0] + weights[1][:, None]
    # Not below exp(-50): numbers near float32's smallest make every product slow.
    error = np.exp(np.maximum(error - error.max(-1, keepdims=True), np.float32(-50)))
    error /= error.sum(-1, keepdims=True)  # the predicted probabilities
    error[client, np.arange(y.shape[1]), y] -= 1  # minus the labels
    error /= np.float32(y.shape[1])
    return [x.transpose(0, 2, 1) @ error, error.sum(1)]


def _orders(rng, cohort: int, n: int, steps: int, batch_size: int) -> np.ndarray:
    epochs = -(-steps * batch_size // n)
    each = np.arange(n)[None].repeat(cohort, 0)
    order = np.concatenate([rng.permuted(each, axis=1) for _ in range(epochs)], axis=1)
    return order[:, : steps * batch_size].reshape(cohort, steps, batch_size)


@functools.lru_cache(maxsize=16)
def _step(loss: Loss, shapes: tuple, image_shape: tuple):
    """Returns one step as a graph, its own for each shape of model and image.

    reduce_retracing, which is for batches of other sizes, would else give up the shapes.
    """

    @tf.function(reduce_retracing=True)
    def step(weights, start, correction, images, labels, learning_rate, proximal):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = loss(weights, images, labels)
        gradients = tape.gradient(value, weights, unconnected_gradients="zero")
        return [
            w - learning_rate * (g + proximal * (w - s) + c)
            for w, s, g, c in zip(weights, start, gradients, correction)
        ]

    return step


def _adaptive(learning_rate, beta_1, beta_2, tau, second_moment) -> ServerOptimizer:
    _check("learning_rate", learning_rate)
    _check("tau", tau)
    _check_decay("beta_1", beta_1)
    _check_decay("beta_2", beta_2)

    def apply(state, weights, delta):
        m = [beta_1 * a + (1 - beta_1) * d for a, d in zip(state[0], delta, strict=True)]
        v = [second_moment(b, d * d) for b, d in zip(state[1], delta, strict=True)]
        steps = [a / (np.sqrt(b) + tau) for a, b in zip(m, v)]
        return (m, v), _moved(weights, steps, learning_rate)

    return ServerOptimizer(lambda weights: (_filled(weights, 0), _filled(weights, tau**2)), apply)


def _moved(weights: Weights, steps: Arrays, learning_rate: float) -> Arrays:
    return [np.asarray(w + learning_rate * s) for w, s in zip(weights, steps, strict=True)]


def _filled(weights: Weights, value: float) -> Arrays:
    return [np.full(np.shape(w), value, np.float32) for w in weights]


def _with_examples(batches: Batches):
    for images, labels in batches:
        if len(labels):
            yield tf.convert_to_tensor(images), tf.convert_to_tensor(labels)


def _same_shapes(name: str, arrays: Weights | None, weights: Weights) -> Arrays:
    if arrays is None:
        return _filled(weights, 0)
    got, wanted = [np.shape(a) for a in arrays], [np.shape(w) for w in weights]
    if got != wanted:
        raise ValueError(f"{name} has shapes {got}; those of weights are {wanted}.")
    return [np.asarray(a, np.float32) for a in arrays]


def _check(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a finite number above 0.")


def _check_decay(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value}; it must be from 0 to below 1.")
