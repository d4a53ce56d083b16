"""Two ways to train the clients of a cohort: one at a time, and all at once.

Both do the same for the models of :func:`fedbook.models.logits`, to rounding: softmax regression,
and multilayer perceptrons. :data:`ONE_AT_A_TIME` calls :func:`fedbook.algorithms.client_update` for
each client: plain. :data:`ALL_AT_ONCE` does the local steps of all clients together in NumPy, with
the gradients written out; for small models it is fast enough for grids of learning rates.
"""

import dataclasses
import itertools
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
    for k, steps in enumerate(cohort.steps):
        order = cohort.order[k, :steps]
        batches = [(cohort.images[k, rows], cohort.labels[k, rows]) for rows in order]
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
    _check_layers(weights, cohort)
    correction = _for_each_client(correction, weights, len(cohort.clients))
    rate = np.float32(algorithm.client_lr)
    is_training = np.arange(cohort.order.shape[1])[:, None] < cohort.steps  # [steps, k]
    start = [np.asarray(w)[None] for w in weights]
    trained = [s.repeat(len(cohort.clients), 0) for s in start]
    for step, active in enumerate(is_training):
        gradients = _batch_gradients(trained, cohort.images, cohort.labels, cohort.order[:, step])
        for i, gradient in enumerate(gradients):
            if algorithm.local_term is not None:
                gradient += algorithm.local_term(trained[i], start[i])
            if correction is not None:
                gradient += correction[i]
            gradient *= rate
            if not active.all():
                gradient[~active] = 0  # these clients have done all their steps
            trained[i] -= gradient
    return [t - s for t, s in zip(trained, start)]


def _gradients_all_at_once(weights, cohort) -> Arrays:
    _check_layers(weights, cohort)
    k, n = cohort.labels.shape
    everything = np.arange(n)[None].repeat(k, 0)
    return _batch_gradients([w[None] for w in weights], cohort.images, cohort.labels, everything)


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


def _check_layers(weights, cohort) -> None:
    """Raises ValueError unless the weights are [W1, b1, ...] for the cohort's images and labels."""
    shapes, pixels = [np.shape(w) for w in weights], cohort.images.shape[2]
    sizes = [pixels, *(shape[0] for shape in shapes[1::2] if len(shape) == 1)]
    wanted = [shape for a, b in itertools.pairwise(sizes) for shape in ((a, b), (b,))]
    if not shapes or shapes != wanted:
        raise ValueError(
            f"weights has shapes {shapes}; ALL_AT_ONCE wants [({pixels}, ...), ...], the layers "
            f"[W1, b1, W2, b2, ...] of a multilayer perceptron on images of {pixels} pixels."
        )
    check_ints("cohort.labels", cohort.labels, 0, sizes[-1] - 1)


def _batch_gradients(weights, images, labels, chosen) -> Arrays:
    """Returns the gradients [k, ...] of each client's mean loss over its `chosen`, [k, b]."""
    client = np.arange(len(chosen))[:, None]
    x, y = images[client, chosen], labels[client, chosen]
    inputs = [x]  # of each layer
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2]):
        inputs.append(np.maximum(inputs[-1] @ kernel + bias[:, None], 0))
    error = inputs[-1] @ weights[-2] + weights[-1][:, None]
    # Not below exp(-50): numbers near float32's smallest make every product slow.
    error = np.exp(np.maximum(error - error.max(-1, keepdims=True), np.float32(-50)))
    error /= error.sum(-1, keepdims=True)  # the predicted probabilities
    error[client, np.arange(y.shape[1]), y] -= 1  # minus the labels
    error /= np.float32(y.shape[1])
    gradients: Arrays = []
    for layer in reversed(range(len(inputs))):
        gradients = [inputs[layer].transpose(0, 2, 1) @ error, error.sum(1), *gradients]
        if layer:  # back through the ReLU before it
            error = (error @ weights[2 * layer].transpose(0, 2, 1)) * (inputs[layer] > 0)
    return gradients


#: Plain: each client by :func:`fedbook.algorithms.client_update`, one after the other.
ONE_AT_A_TIME = Backend(_train_one_at_a_time, _gradients_one_at_a_time)
#: Fast: all clients of the cohort in the same NumPy operations.
ALL_AT_ONCE = Backend(_train_all_at_once, _gradients_all_at_once)
