"""Two ways to train the clients of a cohort: one at a time, and all at once.

Both do the same for softmax regression, to rounding. :data:`ONE_AT_A_TIME` calls
:func:`fedbook.algorithms.client_update` for each client: plain, and right for any model of
:func:`fedbook.models.logits`. :data:`ALL_AT_ONCE` does the local steps of all clients together in
NumPy, for softmax regression only; it is fast enough for grids of learning rates.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from fedbook.algorithms.base import Algorithm, Arrays, Cohort
from fedbook.algorithms.plain import client_update
from fedbook.checks import check_ints


@dataclasses.dataclass(frozen=True)
class Backend:
    """How the clients of a cohort are trained.

    Attributes:
      train: from the algorithm, the weights, the corrections (or None) and the cohort to
        the clients' deltas, arrays [k, ...].
      gradients: from the weights and the cohort to the gradient of each client's mean
        loss over all its examples, arrays [k, ...].
    """

    train: Callable[[Algorithm, Arrays, Arrays | None, Cohort], Arrays]
    gradients: Callable[[Arrays, Cohort], Arrays]


def _train_one_at_a_time(algorithm, weights, correction, cohort) -> Arrays:
    correction = _for_each_client(correction, weights, len(cohort.clients))
    deltas = []
    for k in range(len(cohort.clients)):
        batches = [(cohort.images[k, rows], cohort.labels[k, rows]) for rows in cohort.order[k]]
        own = None if correction is None else [c[k] for c in correction]
        update = client_update(
            weights, batches, algorithm.client_lr, local_term=algorithm.local_term, correction=own
        )
        deltas.append(update.delta)
    return [np.stack(delta) for delta in zip(*deltas)]


def _gradients_one_at_a_time(weights, cohort) -> Arrays:
    clients = zip(cohort.images, cohort.labels)
    # A step of length 1, turned round, is the gradient.
    steps = [client_update(weights, [client], 1.0).delta for client in clients]
    return [-np.stack(step) for step in zip(*steps)]


def _train_all_at_once(algorithm, weights, correction, cohort) -> Arrays:
    _check_softmax_regression(weights, cohort)
    correction = _for_each_client(correction, weights, len(cohort.clients))
    rate = np.float32(algorithm.client_lr)
    start = [np.asarray(w)[None] for w in weights]
    trained = [s.repeat(len(cohort.clients), 0) for s in start]
    for step in range(cohort.steps):
        gradients = _softmax_gradients(trained, cohort.images, cohort.labels, cohort.order[:, step])
        for i, gradient in enumerate(gradients):
            if algorithm.local_term is not None:
                gradient += algorithm.local_term(trained[i], start[i])
            if correction is not None:
                gradient += correction[i]
            gradient *= rate
            trained[i] -= gradient
    return [t - s for t, s in zip(trained, start)]


def _gradients_all_at_once(weights, cohort) -> Arrays:
    _check_softmax_regression(weights, cohort)
    k, n = cohort.labels.shape
    everything = np.arange(n)[None].repeat(k, 0)
    return _softmax_gradients([w[None] for w in weights], cohort.images, cohort.labels, everything)


def _for_each_client(correction, weights, clients: int) -> Arrays | None:
    """Returns the corrections as arrays [clients, ...], or None; raises ValueError for others."""
    if correction is None:
        return None
    if len(correction) != len(weights):
        raise ValueError(f"correction has {len(correction)} arrays; weights has {len(weights)}.")
    for number, (c, w) in enumerate(zip(correction, weights)):
        wanted = np.shape(w), (clients, *np.shape(w))
        if np.shape(c) not in wanted:  # others NumPy may broadcast all the same
            found = f"correction[{number}] has shape {np.shape(c)}"
            raise ValueError(f"{found}; it must be {wanted[0]} or {wanted[1]}.")
    return [np.broadcast_to(c, (clients, *np.shape(w))) for c, w in zip(correction, weights)]


def _check_softmax_regression(weights, cohort) -> None:
    """Raises ValueError unless the weights are [W, b] for the cohort's images and labels."""
    shapes, pixels = [np.shape(w) for w in weights], cohort.images.shape[2]
    bias: tuple[int, ...] = shapes[-1] if shapes else ()
    if len(bias) != 1 or shapes != [(pixels, *bias), bias]:
        wanted = f"[({pixels}, classes), (classes,)] for images of {pixels} pixels"
        raise ValueError(f"weights has shapes {shapes}; ALL_AT_ONCE wants {wanted}.")
    check_ints("cohort.labels", cohort.labels, 0, bias[0] - 1)


def _softmax_gradients(weights, images, labels, chosen) -> Arrays:
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


#: Plain: each client by :func:`fedbook.algorithms.client_update`, one after the other.
ONE_AT_A_TIME = Backend(_train_one_at_a_time, _gradients_one_at_a_time)
#: Fast: softmax regression, all clients of the cohort in the same NumPy operations.
ALL_AT_ONCE = Backend(_train_all_at_once, _gradients_all_at_once)
