"""Mime Lite: the clients use the server's momentum in every local step.

Karimireddy et al. 2021 (arXiv 2008.03606). The clients remember nothing. Each sends, beside
its delta, the gradient over all of its examples at the weights that it received, and the
server renews its velocity from the mean of these gradients.
"""

import numpy as np

from fedbook.algorithms.base import Algorithm, LocalTraining, Memory, zeros_like
from fedbook.algorithms.methods.server_optimizers import sgd
from fedbook.checks import check_number


def mime_lite(client_lr: float, momentum: float) -> Algorithm:
    """Returns Mime Lite. The server remembers its "velocity".

    A local step goes along ``gradient + momentum * velocity``, and the server's new velocity is
    ``momentum * velocity + mean gradient``. Karimireddy et al. write ``(1 - momentum) * gradient``;
    this is TFF's convention, which is the same with another learning rate.

    Args:
      client_lr: learning rate of the clients' SGD, above 0.
      momentum: from 0 to below 1.

    Raises:
      ValueError: if a number is out of its range.
    """
    decay = np.float32(check_number("momentum", momentum, low=0, below=1))

    def correction(server: Memory, clients: Memory):
        return [decay * v for v in server["velocity"]]

    def renew_velocity(
        server: Memory, clients: Memory, training: LocalTraining, num_clients: int
    ) -> Memory:
        gradients = zip(server["velocity"], training.full_gradient())
        return {"velocity": [decay * v + gradient.mean(0) for v, gradient in gradients]}

    return Algorithm(
        client_lr,
        sgd(),
        server_memory=lambda weights: {"velocity": zeros_like(weights)},
        correction=correction,
        renew_server=renew_velocity,
    )
