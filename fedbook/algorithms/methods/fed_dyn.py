"""FedDyn: each client's loss is changed until all clients agree on where its minimum is.

Acar et al. 2021 (arXiv 2111.04263), Algorithm 1. Each client remembers a guess g of its gradient.
It descends its loss minus ``<g, w>``, plus ``alpha / 2 * |w - start|^2``: the spring of FedProx,
and a linear term that takes the client's own pull away. Then it moves the guess by
``-alpha * delta``.
The server goes to the mean of the clients' models minus the mean of all guesses over alpha.

The paper has the clients minimise exactly. Here, as in the authors' program, they take the given
steps of SGD.
"""

import numpy as np

from fedbook.algorithms.base import Algorithm, Arrays, LocalTraining, Memory, zeros_like
from fedbook.algorithms.methods.fed_prox import Proximal
from fedbook.algorithms.methods.server_optimizers import sgd
from fedbook.checks import check_number


def fed_dyn(client_lr: float, alpha: float) -> Algorithm:
    """Returns FedDyn. The clients remember their "gradient", the server the mean of all, "h".

    Args:
      client_lr: learning rate of the clients' SGD, above 0.
      alpha: strength of the spring, above 0.

    Raises:
      ValueError: if a number is out of its range.
    """
    alpha = np.float32(check_number("alpha", alpha, above=0))

    def renew_gradients(server: Memory, clients: Memory, training: LocalTraining) -> Memory:
        arrays = zip(clients["gradient"], training.delta)
        return {"gradient": [own - alpha * d for own, d in arrays]}

    def renew_mean(
        server: Memory, clients: Memory, training: LocalTraining, num_clients: int
    ) -> Memory:
        share = alpha / np.float32(num_clients)
        return {"h": [h - share * d.sum(0) for h, d in zip(server["h"], training.delta)]}

    def combine(
        server: Memory, clients: Memory, training: LocalTraining, num_clients: int
    ) -> Arrays:
        renewed = renew_mean(server, clients, training, num_clients)["h"]
        return [d.mean(0) - h / alpha for d, h in zip(training.delta, renewed)]

    return Algorithm(
        client_lr,
        sgd(),
        local_term=Proximal(float(alpha)),
        server_memory=lambda weights: {"h": zeros_like(weights)},
        client_memory=lambda weights: {"gradient": zeros_like(weights)},
        correction=lambda server, clients: [-own for own in clients["gradient"]],
        renew_clients=renew_gradients,
        renew_server=renew_mean,
        combine=combine,
    )
