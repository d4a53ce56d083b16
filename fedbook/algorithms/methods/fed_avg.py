"""FedAvg: the mean of the clients' deltas is added to the weights.

McMahan et al. 2017 (arXiv 1602.05629), section 2, Algorithm 1.
"""

from fedbook.algorithms.base import Algorithm
from fedbook.algorithms.methods.server_optimizers import sgd
from fedbook.checks import check_learning_rate


def fed_avg(client_lr: float, server_lr: float = 1.0) -> Algorithm:
    """Returns federated averaging.

    Args:
      client_lr: learning rate of the clients' SGD, above 0.
      server_lr: factor on the mean delta, above 0; 1 in the paper.

    Raises:
      ValueError: if a learning rate is not a finite number above 0.
    """
    return Algorithm(client_lr, sgd(check_learning_rate("server_lr", server_lr)))
