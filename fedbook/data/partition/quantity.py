"""IID partitions, and quantity skew: clients with different numbers of examples."""

from collections.abc import Sequence

import numpy as np

from fedbook.checks import check_number
from fedbook.data.partition.base import Partition, check_request, check_sizes, from_owners


def iid(
    labels: np.ndarray, num_clients: int, *, sizes: Sequence[int] | None = None, seed: int = 0
) -> Partition:
    """Divides the shuffled examples: the IID case of McMahan et al. 2017, section 3.

    The clients then differ by chance only. With few examples a client, that is a lot.
    """
    labels = check_request(labels, num_clients, seed)
    wanted = check_sizes(sizes, len(labels), num_clients)
    owner = np.random.default_rng(seed).permutation(np.repeat(np.arange(num_clients), wanted))
    parameters = {"sizes": "even" if sizes is None else "given"}
    return from_owners(owner, num_clients, "iid", parameters, seed)


def quantity_log_normal(
    labels: np.ndarray, num_clients: int, sigma: float, *, min_size: int = 1, seed: int = 0
) -> Partition:
    """Divides the examples at random, with sizes from a log-normal distribution.

    Every client gets `min_size` examples. The rest is divided in proportion to the shares that were
    drawn, rounded to whole examples by the largest remainder.

    Args:
      sigma: the standard deviation of the logarithm of a share, from 0 (equal sizes) to
        100. With 1, two thirds of the shares are within a factor e of the median.
    """
    labels = check_request(labels, num_clients, seed, min_size)
    check_number("sigma", sigma, low=0, high=100)
    rng = np.random.default_rng(seed)
    logarithms = sigma * rng.standard_normal(num_clients)
    shares = np.exp(logarithms - logarithms.max())
    rest = len(labels) - min_size * num_clients
    exact = rest * (shares / shares.sum())
    sizes = np.floor(exact).astype(np.int64)
    largest_remainders = np.argsort(sizes - exact, kind="stable")
    sizes[largest_remainders[: rest - sizes.sum()]] += 1
    owner = rng.permutation(np.repeat(np.arange(num_clients), sizes + min_size))
    parameters = {"sigma": sigma, "min_size": min_size}
    return from_owners(owner, num_clients, "quantity_log_normal", parameters, seed)
