"""IID, and quantity skew: clients that differ in how much they hold, not in what.

Examples are dealt at random; the schemes differ in the sizes. Where sizes follow
from random shares, every client first gets `min_size` examples and the rest is
shared out, whole examples by largest remainder, so that none is lost.
"""

from collections.abc import Sequence

import numpy as np

from fedbook.partition.base import (
    Partition,
    check_alpha,
    check_clients,
    check_number,
    check_sizes,
    deal,
)


def iid(
    labels: np.ndarray, num_clients: int, *, sizes: Sequence[int] | None = None, seed: int = 0
) -> Partition:
    """Deals the shuffled examples out evenly: the IID case of McMahan et al. 2017, section 3.

    Clients then differ by chance only, which for few examples a client is not
    little.

    Args:
      labels: [N] ints from 0.
      num_clients: from 1 to N.
      sizes: [num_clients] ints that sum to N; by default equal up to one.
      seed: an int from 0.

    Raises:
      ValueError: if an argument is out of its range.
    """
    labels = check_clients(labels, num_clients, seed)
    given = check_sizes(sizes, len(labels), num_clients)
    parameters = {"sizes": "even" if sizes is None else "given"}
    return _deal_sizes(given, "iid", parameters, seed, np.random.default_rng(seed))


def quantity_log_normal(
    labels: np.ndarray, num_clients: int, sigma: float, *, min_size: int = 1, seed: int = 0
) -> Partition:
    """Draws the clients' shares from a log-normal distribution.

    Args:
      labels: [N] ints from 0.
      num_clients: from 1 to N.
      sigma: the standard deviation of the logarithm of a share, 0 (equal sizes) to
        100; with 1, two thirds of the clients are within a factor e of the median.
      min_size: what every client gets at least.
      seed: an int from 0.

    Raises:
      ValueError: if an argument is out of its range, or N is less than
        ``num_clients * min_size``.
    """
    labels = check_clients(labels, num_clients, seed, min_size)
    check_number("sigma", sigma, 0, 100)
    rng = np.random.default_rng(seed)
    logarithms = sigma * rng.standard_normal(num_clients)
    sizes = _share_out(len(labels), np.exp(logarithms - logarithms.max()), min_size)
    parameters = {"sigma": sigma, "min_size": min_size}
    return _deal_sizes(sizes, "quantity_log_normal", parameters, seed, rng)


def quantity_power_law(
    labels: np.ndarray, num_clients: int, exponent: float, *, min_size: int = 1, seed: int = 0
) -> Partition:
    """Gives the client of rank r a share proportional to r to the power of -exponent.

    Sizes that follow a power law: Li et al. 2018 (FedProx, arXiv 1812.06127),
    section 5.1. Ranks are dealt to clients at random.

    Args:
      labels: [N] ints from 0.
      num_clients: from 1 to N.
      exponent: 0 (equal sizes) to 100; 1 is Zipf's law.
      min_size: what every client gets at least.
      seed: an int from 0.

    Raises:
      ValueError: if an argument is out of its range, or N is less than
        ``num_clients * min_size``.
    """
    labels = check_clients(labels, num_clients, seed, min_size)
    check_number("exponent", exponent, 0, 100)
    rng = np.random.default_rng(seed)
    ranks = 1.0 + rng.permutation(num_clients)
    sizes = _share_out(len(labels), ranks**-exponent, min_size)
    parameters = {"exponent": exponent, "min_size": min_size}
    return _deal_sizes(sizes, "quantity_power_law", parameters, seed, rng)


def quantity_dirichlet(
    labels: np.ndarray, num_clients: int, alpha: float, *, min_size: int = 1, seed: int = 0
) -> Partition:
    """Draws the clients' shares from a symmetric Dirichlet distribution.

    The quantity skew of Li et al. 2021 (NIID-Bench, arXiv 2102.02079).

    Args:
      labels: [N] ints from 0.
      num_clients: from 1 to N.
      alpha: the concentration, the same for each client, 1e-6 (one client holds
        nearly all) to 1e6 (equal sizes).
      min_size: what every client gets at least.
      seed: an int from 0.

    Raises:
      ValueError: if an argument is out of its range, or N is less than
        ``num_clients * min_size``.
    """
    labels = check_clients(labels, num_clients, seed, min_size)
    check_alpha(alpha)
    rng = np.random.default_rng(seed)
    sizes = _share_out(len(labels), rng.dirichlet(np.full(num_clients, alpha)), min_size)
    parameters = {"alpha": alpha, "min_size": min_size}
    return _deal_sizes(sizes, "quantity_dirichlet", parameters, seed, rng)


def _share_out(total: int, weights: np.ndarray, min_size: int) -> np.ndarray:
    rest = total - min_size * len(weights)
    exact = rest * (weights / weights.sum())
    sizes = np.floor(exact).astype(np.int64)
    largest = np.argsort(sizes - exact, kind="stable")
    sizes[largest[: rest - sizes.sum()]] += 1
    return sizes + min_size


def _deal_sizes(sizes, scheme, parameters, seed, rng) -> Partition:
    owner = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return deal(owner, len(sizes), scheme, parameters, seed)
