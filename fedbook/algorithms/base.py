"""What an algorithm is: the few places where it differs from federated averaging.

In a round of federated averaging the clients of the cohort take steps along their
gradients, and the server adds the mean of their deltas to the weights. An algorithm may
change that in a few places, and :class:`Algorithm` has a field for each: what the server
does with the mean delta, what a client adds to its gradient, and what server and clients
remember from round to round. The methods are in :mod:`fedbook.algorithms.methods`, one
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

    Raises:
      TypeError: if one of them is not an array.
      ValueError: if the shapes do not fit together, a dtype is another one, or an int is out of its
        range.
    """

    clients: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    order: np.ndarray

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

    @property
    def steps(self) -> int:
        """How many local steps each client takes."""
        return self.order.shape[1]


@dataclasses.dataclass(frozen=True, eq=False)
class LocalTraining:
    """What the clients of a cohort did in a round; all arrays are [k, ...].

    Every client sends its `delta`. So what can be computed from the deltas need not be sent.

    Attributes:
      delta: the weights after the local steps minus those before.
      total_rate: the learning rate times the number of steps. So ``-delta / total_rate``
        is the mean of the vectors along which the client went.
      full_gradient: a function that computes the gradient of each client's mean loss
        over all its examples, at the weights that the server sent. Where the server
        calls it, the clients send this gradient beside their deltas.
    """

    delta: Arrays
    total_rate: np.float32
    full_gradient: Callable[[], Arrays]


def remember_nothing(weights: Arrays) -> Memory:
    """Returns the memory of a server or a client that keeps nothing."""
    return {}


def keep_clients(server: Memory, clients: Memory, training: LocalTraining) -> Memory:
    """Returns what the clients remember as it was."""
    return clients


def keep_server(server: Memory, training: LocalTraining, num_clients: int) -> Memory:
    """Returns what the server remembers as it was."""
    return server


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A method of federated learning, made by one function of its hyperparameters.

    A local step is ``w - client_lr * (gradient + local_term(w, start) + correction)``.

    Attributes:
      client_lr: the learning rate of the clients' SGD, above 0.
      server: what the server does with the mean delta.
      local_term: from a weight and its value at the start of the round to what is added
        to its gradient; None for nothing.
      server_memory: from the initial weights to what the server remembers at first,
        beside the weights and the state of `server`.
      client_memory: the same for one client.
      correction: from what server and cohort remember to what is added to the gradients
        all round long, arrays [k, ...] or of the weights' shapes; None for nothing.
      renew_clients: from what server and cohort remember and the local training to what
        the cohort remembers from now on, arrays [k, ...].
      renew_server: from what the server remembers, the cohort's local training and the number
        of clients in the federation to what the server remembers from now on.

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
    renew_server: Callable[[Memory, LocalTraining, int], Memory] = keep_server

    def __post_init__(self):
        check_learning_rate("client_lr", self.client_lr)
        check_type("server", self.server, ServerOptimizer, "sgd()")
        for name in ("server_memory", "client_memory", "renew_clients", "renew_server"):
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
