"""The loop: rounds of any algorithm, with any backend."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from fedbook.algorithms.backends import ALL_AT_ONCE, Backend
from fedbook.algorithms.base import Algorithm, Arrays, Cohort, LocalTraining, Memory, check_examples
from fedbook.checks import check_callable, check_floats, check_int, check_ints, check_type

T = TypeVar("T")
CLASSES = 10
LONGEST = 2**24  # examples that a client reads in a round, each time counted


@dataclasses.dataclass(frozen=True, eq=False)
class Federation:
    """Clients that hold equally many examples each, and so count the same.

    Attributes:
      images: [N, n, pixels] float32, the n examples of each of N clients, all finite.
      labels: [N, n] ints from 0 to 9.

    Raises:
      TypeError: if one of them is not an array.
      ValueError: if the shapes do not fit together, a dtype is another one, an image holds NaN or
        infinity, or a label is out of its range.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        check_examples(self.images, self.labels)
        check_ints("labels", self.labels, 0, CLASSES - 1)
        wrong = self.images.size - np.isfinite(self.images).sum()
        if wrong:
            raise ValueError(
                f"images has {wrong} pixels that are NaN or infinite; all must be finite."
            )

    def __len__(self) -> int:
        """Returns the number of clients."""
        return len(self.labels)

    def draw_cohort(
        self, seed: int, round_number: int, *, cohort: int, steps: int | np.ndarray, batch_size: int
    ) -> Cohort:
        """Returns the clients of a round and their batches.

        Both depend on the seed and the numbers only, not on the algorithm: two algorithms
        with the same seed meet the same clients and can be compared in pairs. A client
        reads its examples in a new order again and again until it has done its steps. `steps` is
        one int, or [N] ints if the clients take unequally many.

        Raises:
          ValueError: if `seed` or `round_number` is below 0, `cohort` is not from 1 to N,
            `steps` or `batch_size` is below 1, or their product is above 2**24.
        """
        check_int("seed", seed, 0)
        check_int("round_number", round_number, 0)
        check_int("cohort", cohort, 1, len(self))
        most = self._check_steps(steps)
        check_int("batch_size", batch_size, 1)
        check_int("steps * batch_size", most * batch_size, 1, LONGEST)
        rng = np.random.default_rng([seed, round_number])
        chosen = np.sort(rng.choice(len(self), cohort, replace=False))
        order = _orders(rng, cohort, self.labels.shape[1], most, batch_size)
        unequal = steps[chosen] if isinstance(steps, np.ndarray) else None
        if unequal is not None:
            order = order[:, : unequal.max()]
        return Cohort(chosen, self.images[chosen], self.labels[chosen], order, unequal)

    def _check_steps(self, steps: int | np.ndarray) -> int:
        """Returns the largest number of steps; raises ValueError unless they are what they must."""
        if not isinstance(steps, np.ndarray):
            return check_int("steps", steps, 1)
        if steps.shape != self.labels.shape[:1]:
            raise ValueError(
                f"steps has shape {steps.shape}; it must be an int, or an array of "
                f"{len(self)} ints, one for each client."
            )
        return int(check_ints("steps", steps, 1).max())


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """All that lasts from one round to the next.

    Attributes:
      weights: of the model.
      optimizer: the state of the algorithm's :class:`~fedbook.algorithms.ServerOptimizer`.
      server: what the server remembers beside them, by name.
      clients: what the clients remember, by name, arrays [N, ...].
      round_number: how many rounds there have been.
      last_round: [N] ints, the last round in which each client took part; 0 for never.
    """

    weights: Arrays
    optimizer: tuple[Arrays, ...]
    server: Memory
    clients: Memory
    round_number: int
    last_round: np.ndarray


def initial_state(algorithm: Algorithm, weights: Arrays, num_clients: int) -> State:
    """Returns the state before round 1, from float `weights`, for `num_clients` clients.

    The state holds the weights as float32.

    Raises:
      TypeError: if `algorithm` is not an :class:`~fedbook.algorithms.Algorithm`.
      ValueError: if `weights` is empty or does not hold floats, or `num_clients` is below 1.
    """
    check_type("algorithm", algorithm, Algorithm, "fed_avg(0.1)")
    weights = check_floats("weights", weights)
    check_int("num_clients", num_clients, 1)
    clients = {
        name: [np.repeat(array[None], num_clients, axis=0) for array in arrays]
        for name, arrays in algorithm.client_memory(weights).items()
    }
    optimizer, server = algorithm.server.initialize(weights), algorithm.server_memory(weights)
    return State(list(weights), optimizer, server, clients, 0, np.zeros(num_clients, int))


def next_round(
    algorithm: Algorithm, state: State, cohort: Cohort, backend: Backend = ALL_AT_ONCE
) -> State:
    """Runs one round and returns the new state; `state` stays as it is.

    Args:
      algorithm: what to run.
      state: what :func:`initial_state` or the last round returned.
      cohort: who takes part, with which batches.
      backend: how the clients are trained.

    Raises:
      TypeError: if an argument is of another kind.
      ValueError: if the cohort has a client that the state does not have, or the weights or the
        classes of the model do not fit the cohort's examples.
    """
    check_type("algorithm", algorithm, Algorithm, "fed_avg(0.1)")
    check_type("state", state, State)
    check_type("cohort", cohort, Cohort)
    check_type("backend", backend, Backend)
    chosen, num_clients = cohort.clients, len(state.last_round)
    check_ints("cohort.clients", chosen, 0, num_clients - 1)
    mine = {name: [a[chosen] for a in arrays] for name, arrays in state.clients.items()}
    correction = algorithm.correction and algorithm.correction(state.server, mine)
    training = LocalTraining(
        backend.train(algorithm, state.weights, correction, cohort),
        cohort.steps,
        algorithm.client_lr,
        lambda: backend.gradients(state.weights, cohort),
    )
    combined = algorithm.combine(state.server, mine, training, num_clients)
    optimizer, weights = algorithm.server.apply(state.optimizer, state.weights, combined)
    server = algorithm.renew_server(state.server, mine, training, num_clients)
    mine = algorithm.renew_clients(state.server, mine, training)
    clients = {name: _replaced(state.clients[name], chosen, new) for name, new in mine.items()}
    number = state.round_number + 1
    last_round = state.last_round.copy()
    last_round[chosen] = number
    return State(weights, optimizer, server, clients, number, last_round)


def run(
    algorithm: Algorithm,
    federation: Federation,
    evaluate: Callable[[Arrays], T],
    *,
    rounds: int,
    cohort: int,
    steps: int | np.ndarray,
    batch_size: int,
    seed: int,
    backend: Backend = ALL_AT_ONCE,
    weights: Arrays | None = None,
) -> tuple[State, list[T]]:
    """Trains a model, by default softmax regression from zeros.

    Args:
      algorithm: what to run, such as ``fed_avg(0.1)``.
      federation: the clients' examples.
      evaluate: from the weights, by default ``[W [pixels, 10], b [10]]``, to what is wanted of
        them after each round.
      rounds: how many, at least 1.
      cohort: clients a round, from 1 to N.
      steps: local steps a round, at least 1; or [N] ints, one for each client.
      batch_size: examples a step, at least 1.
      seed: an int from 0. It fixes the cohorts and the batches.
      backend: how the clients are trained.
      weights: of the first model, ``[W1, b1, W2, b2, ...]`` as for
        :func:`fedbook.models.logits`; None for zeros.

    Returns:
      The state after the last round, and the evaluations, one a round.

    Raises:
      TypeError: if an argument is of another kind.
      ValueError: if a number is out of its range, or `steps` times `batch_size` is above 2**24.
    """
    check_type("federation", federation, Federation)
    check_type("backend", backend, Backend)
    check_callable("evaluate", evaluate, "of the weights")
    check_int("rounds", rounds, 1)
    if weights is None:
        pixels = federation.images.shape[2]
        weights = [np.zeros((pixels, CLASSES), np.float32), np.zeros(CLASSES, np.float32)]
    state, history = initial_state(algorithm, weights, len(federation)), []
    for number in range(1, rounds + 1):
        drawn = federation.draw_cohort(
            seed, number, cohort=cohort, steps=steps, batch_size=batch_size
        )
        state = next_round(algorithm, state, drawn, backend)
        history.append(evaluate(state.weights))
    return state, history


def _replaced(arrays: Arrays, rows: np.ndarray, new: Arrays) -> Arrays:
    copies = [array.copy() for array in arrays]
    for copy, values in zip(copies, new, strict=True):
        copy[rows] = values
    return copies


def _orders(rng, cohort: int, n: int, steps: int, batch_size: int) -> np.ndarray:
    epochs = -(-steps * batch_size // n)
    each = np.arange(n)[None].repeat(cohort, 0)
    order = np.concatenate([rng.permuted(each, axis=1) for _ in range(epochs)], axis=1)
    return order[:, : steps * batch_size].reshape(cohort, steps, batch_size)
