"""FedNova: a client that takes more steps does not count for more.

Wang, Liu, Liang, Joshi and Poor 2020 (arXiv 2007.07481), section 4, for clients with plain SGD.

A delta grows with the number of local steps. So the mean of the deltas favours fast clients, and
FedAvg descends another objective than the intended one. FedNova divides each delta by its number of
steps, takes the mean, and multiplies by the mean number of steps. With equally many steps it is
FedAvg.
"""

import numpy as np

from fedbook.algorithms.base import Algorithm, Arrays, LocalTraining, Memory
from fedbook.algorithms.methods.server_optimizers import sgd
from fedbook.checks import check_learning_rate


def fed_nova(client_lr: float, server_lr: float = 1.0) -> Algorithm:
    """Returns FedNova for clients that count the same and take plain steps of SGD.

    Args:
      client_lr: learning rate of the clients' SGD, above 0.
      server_lr: factor on the normalised mean, above 0; 1 in the paper.

    Raises:
      ValueError: if a learning rate is not a finite number above 0.
    """
    server = sgd(check_learning_rate("server_lr", server_lr))
    return Algorithm(client_lr, server, combine=_normalised_mean)


def _normalised_mean(
    server: Memory, clients: Memory, training: LocalTraining, num_clients: int
) -> Arrays:
    distance = np.float32(training.steps.mean() * training.client_lr)
    return [-distance * along.mean(0) for along in training.mean_direction()]
