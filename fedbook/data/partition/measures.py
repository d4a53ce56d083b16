"""Measures of how skewed a partition is.

The arguments p and q are distributions over the classes, or counts, which are scaled to sum
to 1. Each is [..., classes], and they are broadcast against each other.

A client with few examples differs from the whole by chance, so no distance is 0, even for an IID
partition. Compare it with the value for :func:`fedbook.data.partition.iid` with the same sizes.

Every measure raises a ValueError unless it gets numbers from 0 with sums above 0.
"""

import numpy as np
import scipy.special

from fedbook.checks import check_type
from fedbook.data.partition.base import Partition


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Returns the total variation distance, half the sum of ``|p - q|``, from 0 to 1.

    It is the share of one distribution that must move to make the other, so it is 1 if they
    have no class in common. It is also the earth mover's distance if the cost of moving
    between any two classes is 1.
    """
    p, q = _distributions(p, q)
    return np.minimum(np.abs(p - q).sum(-1) / 2, 1)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Returns the Jensen-Shannon distance to base 2, from 0 to 1 (no class in common).

    It is the square root of the Jensen-Shannon divergence (Lin 1991, DOI 10.1109/18.61115),
    which is the mean of the Kullback-Leibler divergences of p and of q from their mean. The
    root is a metric (Endres and Schindelin 2003, DOI 10.1109/TIT.2003.813506).
    """
    p, q = _distributions(p, q)
    mean = (p + q) / 2
    nats = (scipy.special.rel_entr(p, mean) + scipy.special.rel_entr(q, mean)).sum(-1) / 2
    # scipy.spatial.distance.jensenshannon does not clip. It takes the root of a rounding error
    # below 0, which is NaN, if p and q are nearly equal.
    return np.sqrt(np.clip(nats / np.log(2), 0, 1))


def earth_movers(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Returns what Zhao et al. 2018 call the earth mover's distance, from 0 to 2.

    It is the sum of ``|p - q|`` (arXiv 1806.00582, section 3), twice the total variation distance.
    A true earth mover's distance needs a cost of moving from one class to another. Digits are names
    and not places, so every move costs the same. ``scipy.stats.wasserstein_distance`` takes the
    class numbers as places: for it, a 1 is nearer to a 2 than to a 7.
    """
    return 2 * total_variation(p, q)


def effective_classes(p: np.ndarray) -> np.ndarray:
    """Returns the effective number of classes, from 1 to the number of classes.

    It is the number of classes that would have the same entropy if all were equally large:
    the exponential of the entropy in nats (Hill 1973, DOI 10.2307/1934352, order 1).
    """
    (p,) = _distributions(p)
    return np.clip(np.exp(scipy.special.entr(p).sum(-1)), 1, p.shape[-1])


def gini(sizes: np.ndarray) -> float:
    """Returns the Gini coefficient of the sizes [n], from 0 to 1 - 1/n.

    It is half the mean difference between two clients, over all pairs in both orders and of
    a client with itself, divided by the mean size. It is 0 if all clients hold the same
    number of examples, and 1 - 1/n if one client holds all of them.
    """
    sizes = _amounts("sizes", sizes)
    if sizes.ndim != 1:
        raise ValueError(f"sizes has shape {sizes.shape}; it must be [n], one for each client.")
    n = len(sizes)
    weights = 2 * np.arange(1, n + 1) - n - 1
    value = (weights * np.sort(sizes)).sum() / (n * sizes.sum())
    return float(np.clip(value, 0, 1 - 1 / n))


def skew(partition: Partition, labels: np.ndarray) -> dict[str, float]:
    """Returns the measures of a partition, one row of a table.

    These are `total_variation`, `jensen_shannon` and `earth_movers` between a client's mix of
    classes and the mix of all clients together, `effective_classes` of a client, and `gini` of the
    sizes. All but the last are means over the clients, weighted by their sizes as in FedAvg.

    Args:
      partition: at least one client holds an example.
      labels: [N] ints from 0, of all examples. To measure the labels that clients with concept skew
        use, pass ``partition.client_labels(labels)``.

    Raises:
      ValueError: as :meth:`Partition.label_counts` does, or if no client holds an example.
    """
    counts = check_type("partition", partition, Partition).label_counts(labels)
    whole, held = counts.sum(0), counts[counts.sum(1) > 0]
    if not len(held):
        raise ValueError(
            f"partition has {len(partition)} clients and no example; it must have at least one."
        )
    distances = (total_variation, jensen_shannon, earth_movers)
    values = {distance.__name__: distance(held, whole) for distance in distances}
    values["effective_classes"] = effective_classes(held)
    means = {name: float(np.average(v, weights=held.sum(1))) for name, v in values.items()}
    return {**means, "gini": gini(partition.sizes)}


def _distributions(*given: np.ndarray) -> list[np.ndarray]:
    amounts = [_amounts(name, array) for name, array in zip("pq", given)]
    if len({array.shape[-1] for array in amounts}) > 1:
        raise ValueError(
            f"p has {amounts[0].shape[-1]} classes and q {amounts[1].shape[-1]}; they must match."
        )
    try:
        np.broadcast_shapes(*(array.shape for array in amounts))
    except ValueError:
        p, q = (array.shape for array in amounts)
        raise ValueError(f"p has shape {p} and q {q}; they must match or broadcast.") from None
    return [array / array.sum(-1, keepdims=True) for array in amounts]


def _amounts(name: str, given: np.ndarray) -> np.ndarray:
    array = np.asarray(given)
    if array.ndim < 1 or not array.size or array.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; "
            "it must be an array of numbers, at least one."
        )
    array = array.astype(np.float64)
    totals = array.sum(-1)
    if not (np.isfinite(totals).all() and array.min() >= 0 and totals.min() > 0):
        raise ValueError(
            f"{name} has values from {array.min()} to {array.max()} and sums from {totals.min()}; "
            "values must be finite and from 0, and each sum above 0."
        )
    return array
