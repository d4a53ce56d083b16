"""What an algorithm is: the few places where it differs from federated averaging.

In a round of federated averaging the clients of the cohort take steps along their
gradients, and the server adds the mean of their deltas to the weights. An algorithm may
change that in a few places, and :class:`Algorithm` has a field for each: how the server combines
the deltas and what it does with the result, what a client adds to its gradient, and what server
and clients remember from round to round. The methods are in :mod:`fedbook.algorithms.methods`, one
file each; :func:`fedbook.algorithms.run` runs any of them. The idea of an algorithm as a
frozen set of functions is fedjax's (Ro, Suresh and Wu 2021, arXiv 2108.02117).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from fedbook.algorithms.plain import LocalTerm
from fedbook.checks import check_callable, check_ints, check_learning_rate, check_type

Arrays = list[np.ndarray]
#: What server or clients remember: lists of arrays of the weights' shapes, by name. In
#: what clients remember each array has the clients as an axis in front.
Memory = dict[str, Arrays]


@dataclasses.dataclass(frozen=True)
class ServerOptimizer:
    """What the server does with the mean delta of a round.

    Attributes:
      initialize: from the weights to the state before round 1, a tuple of lists of
        arrays of the weights' shapes.
      apply: from (state, weights, mean delta) to the new state and the new weights,
        lists of float32 arrays; changes none of its arguments.
    """

    initialize: Callable[[Arrays], tuple[Arrays, ...]]
    apply: Callable[[tuple[Arrays, ...], Arrays, Arrays], tuple[tuple[Arrays, ...], Arrays]]


@dataclasses.dataclass(frozen=True, eq=False)
class Cohort:
    """The clients of one round, their examples, and the order in which they read them.

    Attributes:
      clients: [k] ints, their numbers in the federation, all different.
      images: [k, n, pixels] float32. NaN is not caught: the deltas are then NaN.
      labels: [k, n] ints from 0.
      order: [k, steps, batch size] ints from 0 to n - 1: the batches of the local steps.
      unequal_steps: [k] ints from 1: how many of these steps each client takes, from the first
        on; None if each takes all of them.

    Raises:
      TypeError: if one of them is not an array.
      ValueError: if the shapes do not fit together, a dtype is another one, or an int is out of its
        range.
    """

    clients: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    order: np.ndarray
    unequal_steps: np.ndarray | None = None

    def __post_init__(self):
        check_examples(self.images, self.labels)
        for name in ("clients", "order"):
            check_type(name, getattr(self, name), np.ndarray)
        k, n = self.labels.shape
        order = self.order.shape
        if self.clients.shape != (k,) or len(order) != 3 or order[0] != k or 0 in order:
            raise ValueError(
                f"clients has shape {self.clients.shape} and order {order}; for labels of shape "
                f"{self.labels.shape} they must be ({k},) and ({k}, steps, batch size)."
            )
        check_ints("clients", self.clients, 0)
        if len(np.unique(self.clients)) < k:
            raise ValueError(f"clients is {self.clients}; they must all be different.")
        check_ints("labels", self.labels, 0)
        check_ints("order", self.order, 0, n - 1)
        if self.unequal_steps is not None:
            check_type("unequal_steps", self.unequal_steps, np.ndarray)
            if self.unequal_steps.shape != (k,):
                found = f"unequal_steps has shape {self.unequal_steps.shape}"
                raise ValueError(f"{found}; it must be ({k},), a number for each client.")
            check_ints("unequal_steps", self.unequal_steps, 1, order[1])

    @property
    def steps(self) -> np.ndarray:
        """How many local steps each client takes, [k] ints."""
        if self.unequal_steps is not None:
            return self.unequal_steps
        k, steps, _ = self.order.shape
        return np.full(k, steps)


@dataclasses.dataclass(frozen=True, eq=False)
class LocalTraining:
    """What the clients of a cohort did in a round; all arrays are [k, ...].

    Every client sends its `delta`. So what can be computed from the deltas need not be sent.

    Attributes:
      delta: the weights after the local steps minus those before.
      steps: [k] ints, the numbers of the local steps.
      client_lr: the learning rate of the local steps.
      full_gradient: a function that computes the gradient of each client's mean loss
        over all its examples, at the weights that the server sent. Where the server
        calls it, the clients send this gradient beside their deltas.
    """

    delta: Arrays
    steps: np.ndarray
    client_lr: float
    full_gradient: Callable[[], Arrays]

    def mean_direction(self) -> Arrays:
        """Returns the means of the vectors along which the clients went, [k, ...].

        They follow from the deltas: ``-delta / (steps * client_lr)``.
        """
        total = self.steps.astype(np.float32) * np.float32(self.client_lr)
        return [-d / total.reshape(-1, *[1] * (d.ndim - 1)) for d in self.delta]


def remember_nothing(weights: Arrays) -> Memory:
    """Returns the memory of a server or a client that keeps nothing."""
    return {}


def keep_clients(server: Memory, clients: Memory, training: LocalTraining) -> Memory:
    """Returns what the clients remember as it was."""
    return clients


def keep_server(
    server: Memory, clients: Memory, training: LocalTraining, num_clients: int
) -> Memory:
    """Returns what the server remembers as it was."""
    return server


def mean_delta(
    server: Memory, clients: Memory, training: LocalTraining, num_clients: int
) -> Arrays:
    """Returns the mean of the deltas, as in federated averaging."""
    return [delta.mean(0) for delta in training.delta]


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A method of federated learning, made by one function of its hyperparameters.

    A local step is ``w - client_lr * (gradient + local_term(w, start) + correction)``.

    Attributes:
      client_lr: the learning rate of the clients' SGD, above 0.
      server: what the server does with the mean delta, or with what `combine` makes of the deltas.
      local_term: from a weight and its value at the start of the round to what is added
        to its gradient; None for nothing.
      server_memory: from the initial weights to what the server remembers at first,
        beside the weights and the state of `server`.
      client_memory: the same for one client. What the server remembers *about* each client stands
        here too: the simulation keeps all memories in one place.
      correction: from what server and cohort remember to what is added to the gradients
        all round long, arrays [k, ...] or of the weights' shapes; None for nothing.
      renew_clients: from what server and cohort remember and the local training to what
        the cohort remembers from now on, arrays [k, ...].
      renew_server: from what server and cohort remember, the local training and the number
        of clients in the federation to what the server remembers from now on.
      combine: from the same four to the one vector that `server` gets, arrays of the weights'
        shapes; by default the mean of the deltas.

    Raises:
      TypeError: if `server` is not a :class:`ServerOptimizer`, or a function cannot be called.
      ValueError: if `client_lr` is not a finite number above 0.
    """

    client_lr: float
    server: ServerOptimizer
    local_term: LocalTerm | None = None
    server_memory: Callable[[Arrays], Memory] = remember_nothing
    client_memory: Callable[[Arrays], Memory] = remember_nothing
    correction: Callable[[Memory, Memory], Arrays] | None = None
    renew_clients: Callable[[Memory, Memory, LocalTraining], Memory] = keep_clients
    renew_server: Callable[[Memory, Memory, LocalTraining, int], Memory] = keep_server
    combine: Callable[[Memory, Memory, LocalTraining, int], Arrays] = mean_delta

    def __post_init__(self):
        check_learning_rate("client_lr", self.client_lr)
        check_type("server", self.server, ServerOptimizer, "sgd()")
        for name in ("server_memory", "client_memory", "renew_clients", "renew_server", "combine"):
            check_callable(name, getattr(self, name), "of what is remembered")
        for name in ("local_term", "correction"):
            if getattr(self, name) is not None:
                check_callable(name, getattr(self, name), "that gives a term of the step")


def check_examples(images: np.ndarray, labels: np.ndarray) -> None:
    """Raises TypeError or ValueError unless they are [k, n, pixels] float32 and [k, n]."""
    check_type("images", images, np.ndarray)
    check_type("labels", labels, np.ndarray)
    if images.ndim != 3 or labels.shape != images.shape[:2] or 0 in images.shape:
        raise ValueError(
            f"images has shape {images.shape} and labels {labels.shape}; "
            "they must be [N, n, pixels] and [N, n], and none of these numbers 0."
        )
    if images.dtype != np.float32:
        raise ValueError(f"images has dtype {images.dtype}; it must be float32.")


def zeros_like(weights: Arrays) -> Arrays:
    """Returns float32 zeros of the weights' shapes."""
    return [np.zeros(np.shape(w), np.float32) for w in weights]
