"""FedAvgM, FedAdam and FedYogi: the server uses the mean delta as a gradient.

FedAvgM: Hsu et al. 2019 (arXiv 1909.06335). FedAdam and FedYogi: Reddi et al. 2021
(arXiv 2003.00295), Algorithm 2. The clients do what they do in FedAvg.
"""

from collections.abc import Iterable

import numpy as np

from fedbook.algorithms.base import Algorithm, Arrays, ServerOptimizer, zeros_like
from fedbook.algorithms.plain import ClientUpdate, server_aggregate
from fedbook.checks import check_learning_rate, check_number, check_type


def fed_avg_m(client_lr: float, momentum: float, server_lr: float = 1.0) -> Algorithm:
    """Returns FedAvg with momentum at the server; see :func:`sgd` for the server's numbers."""
    return Algorithm(client_lr, sgd(check_learning_rate("server_lr", server_lr), momentum))


def fed_adam(client_lr: float, server_lr: float) -> Algorithm:
    """Returns FedAdam; see :func:`adam` for the server's learning rate."""
    return Algorithm(client_lr, adam(check_learning_rate("server_lr", server_lr)))


def fed_yogi(client_lr: float, server_lr: float) -> Algorithm:
    """Returns FedYogi; see :func:`yogi` for the server's learning rate."""
    return Algorithm(client_lr, yogi(check_learning_rate("server_lr", server_lr)))


def sgd(learning_rate: float = 1.0, momentum: float = 0.0) -> ServerOptimizer:
    """Returns the server step of FedAvg, and with momentum that of FedAvgM.

    ``velocity = momentum * velocity + delta`` and
    ``weights = weights + learning_rate * velocity``. If the delta is the same in every
    round, the velocity approaches ``delta / (1 - momentum)``. The defaults give FedAvg.

    Raises:
      ValueError: if `learning_rate` is not a finite number above 0, or `momentum` not from 0 to
        below 1.
    """
    learning_rate = check_learning_rate("learning_rate", learning_rate)
    momentum = check_number("momentum", momentum, low=0, below=1)

    def apply(state, weights, delta):
        velocity = [momentum * v + d for v, d in zip(state[0], delta, strict=True)]
        return (velocity,), _step_along(velocity, weights, learning_rate)

    return ServerOptimizer(lambda weights: (zeros_like(weights),), apply)


def adam(
    learning_rate: float, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3
) -> ServerOptimizer:
    """Returns FedAdam's server step.

    The weights move by ``learning_rate * m / (sqrt(v) + tau)``, where m and v are
    moving averages of the delta and of its square, element by element. As in Reddi et al.
    m starts at 0 and v at tau squared, and nothing corrects the bias of the first rounds.
    (TFF's Adam corrects it, starts v at 0, and calls tau epsilon.)

    Args:
      learning_rate: about how far a weight moves in a round if its deltas agree.
      beta_1: decay of m, 0 to below 1.
      beta_2: decay of v, 0 to below 1.
      tau: adaptivity, above 0; the larger it is, the less the step adapts to v.

    Raises:
      ValueError: if a number is out of its range or not finite.
    """

    def second_moment(v, square, decay):
        return decay * v + (1 - decay) * square

    return _adaptive(learning_rate, beta_1, beta_2, tau, second_moment)


def yogi(
    learning_rate: float, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3
) -> ServerOptimizer:
    """Returns FedYogi's server step: :func:`adam` with another rule for v.

    ``v = v - (1 - beta_2) * square * sign(v - square)``, so v changes by at most a fixed
    share of the square. When deltas become small after they were large, Adam forgets
    the large v quickly, while Yogi lets it sink slowly.

    Raises:
      ValueError: if a number is out of its range or not finite.
    """

    def second_moment(v, square, decay):
        return v - (1 - decay) * square * np.sign(v - square)

    return _adaptive(learning_rate, beta_1, beta_2, tau, second_moment)


def server_update(
    optimizer: ServerOptimizer,
    state: tuple[Arrays, ...],
    weights: Arrays,
    updates: Iterable[ClientUpdate],
    uniform: bool = False,
) -> tuple[tuple[Arrays, ...], Arrays]:
    """Moves the server by the mean of the clients' deltas, as the optimiser says.

    Args:
      optimizer: of the server.
      state: what ``optimizer.initialize(weights)`` or the last round returned.
      weights: what the clients received; not changed.
      updates: one for each client of the cohort. If there is none, or none has an example,
        the mean delta is 0; a server with momentum goes on moving all the same.
      uniform: whether each client counts once instead of by its `num_examples`.

    Returns:
      The new state and the new weights.

    Raises:
      ValueError: as :func:`fedbook.algorithms.server_aggregate` does.
      TypeError: if `optimizer` is not a :class:`ServerOptimizer`, or as ``server_aggregate`` does.
    """
    check_type("optimizer", optimizer, ServerOptimizer, "sgd()")
    mean_delta = server_aggregate(zeros_like(weights), updates, uniform=uniform)
    return optimizer.apply(state, weights, mean_delta)


def _adaptive(learning_rate, beta_1, beta_2, tau, second_moment) -> ServerOptimizer:
    learning_rate = check_learning_rate("learning_rate", learning_rate)
    tau = check_number("tau", tau, above=0)
    beta_1 = check_number("beta_1", beta_1, low=0, below=1)
    beta_2 = check_number("beta_2", beta_2, low=0, below=1)

    def initialize(weights):
        return zeros_like(weights), [np.full(np.shape(w), tau**2, np.float32) for w in weights]

    def apply(state, weights, delta):
        m = [beta_1 * a + (1 - beta_1) * d for a, d in zip(state[0], delta, strict=True)]
        v = [second_moment(b, d * d, beta_2) for b, d in zip(state[1], delta, strict=True)]
        steps = [a / (np.sqrt(b) + tau) for a, b in zip(m, v)]
        return (m, v), _step_along(steps, weights, learning_rate)

    return ServerOptimizer(initialize, apply)


def _step_along(directions: Arrays, weights: Arrays, learning_rate: float) -> Arrays:
    pairs = zip(weights, directions, strict=True)
    return [np.asarray(w + learning_rate * direction) for w, direction in pairs]
