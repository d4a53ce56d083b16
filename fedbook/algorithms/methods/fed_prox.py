"""FedProx: every local step is pulled back towards the weights that the server sent.

Li et al. 2020 (arXiv 1812.06127), Algorithm 2.
"""

import dataclasses

from fedbook.algorithms.base import Algorithm
from fedbook.algorithms.methods.server_optimizers import sgd
from fedbook.checks import check_number


@dataclasses.dataclass(frozen=True)
class Proximal:
    """The gradient of ``strength / 2 * |w - start|^2``, for a client's local steps.

    Attributes:
      strength: the paper's mu, from 0.

    Raises:
      ValueError: if `strength` is not a finite number from 0.
    """

    strength: float

    def __post_init__(self):
        check_number("strength", self.strength, low=0)

    def __call__(self, w, start):
        """Returns what is added to the gradient at `w`; arrays or tensors of one shape."""
        return float(self.strength) * (w - start)


def fed_prox(client_lr: float, strength: float) -> Algorithm:
    """Returns FedProx; with a strength of 0 it is FedAvg.

    Args:
      client_lr: learning rate of the clients' SGD, above 0.
      strength: the paper's mu, from 0.

    Raises:
      ValueError: if a number is out of its range.
    """
    return Algorithm(client_lr, sgd(), local_term=Proximal(strength))
