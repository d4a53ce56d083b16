"""How skewed a partition is, in numbers.

p and q are distributions over classes, or counts, which are scaled to sum to 1:
[..., classes] each, broadcast against each other. All sums are over classes.

A client that holds few examples differs from the whole by chance alone, so none
of the distances is 0 for an IID partition; compare with the value that
:func:`fedbook.partition.iid` gives for the same sizes.
"""

import numpy as np
import scipy.special

from fedbook.partition.base import Partition


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Returns the total variation distance, half the sum of ``|p - q|``, 0 to 1.

    It is the share of one distribution that must move to make the other; 1 if they
    have no class in common. It is also the earth mover's distance when moving
    between any two classes costs 1.

    Raises:
      ValueError: if p or q is not [..., classes] numbers from 0 with a sum above 0.
    """
    p, q = _distributions(p, q)
    return np.minimum(np.abs(p - q).sum(-1) / 2, 1)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Returns the Jensen-Shannon distance to base 2, 0 to 1.

    The square root of the Jensen-Shannon divergence (Lin 1991, DOI
    10.1109/18.61115), which is the mean of the Kullback-Leibler divergences of p
    and of q from their mean. The root is a metric (Endres and Schindelin 2003, DOI
    10.1109/TIT.2003.813506); 1 if p and q have no class in common.

    Raises:
      ValueError: if p or q is not [..., classes] numbers from 0 with a sum above 0.
    """
    p, q = _distributions(p, q)
    mean = (p + q) / 2
    nats = (scipy.special.rel_entr(p, mean) + scipy.special.rel_entr(q, mean)).sum(-1) / 2
    # scipy.spatial.distance.jensenshannon is this without the clip, and so the root of a
    # rounding error below 0, NaN, where p and q are all but equal.
    return np.sqrt(np.clip(nats / np.log(2), 0, 1))


def earth_movers(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Returns what Zhao et al. 2018 call the earth mover's distance, 0 to 2.

    The sum of ``|p - q|`` (arXiv 1806.00582, section 3), twice the total variation
    distance. An earth mover's distance proper needs a cost of moving from class to
    class; digits have names, not places, and if every move costs the same it is
    the total variation distance. ``scipy.stats.wasserstein_distance`` takes the
    class numbers for places: it finds a 1 nearer to a 2 than to a 7.

    Raises:
      ValueError: if p or q is not [..., classes] numbers from 0 with a sum above 0.
    """
    return 2 * total_variation(p, q)


def effective_classes(p: np.ndarray) -> np.ndarray:
    """Returns the effective number of classes, 1 to the number of classes.

    The exponential of the entropy in nats: how many classes in equal parts have
    the same entropy (Hill 1973, DOI 10.2307/1934352, his number of order 1).

    Raises:
      ValueError: if p is not [..., classes] numbers from 0 with a sum above 0.
    """
    (p,) = _distributions(p)
    return np.clip(np.exp(scipy.special.entr(p).sum(-1)), 1, p.shape[-1])


def gini(sizes: np.ndarray) -> float:
    """Returns the Gini coefficient of the clients' sizes, 0 to 1 - 1/n for n clients.

    Half the mean difference between two clients (each pair in both orders, each
    client with itself too) over the mean size: 0 if all hold the same, 1 - 1/n if
    one holds all.

    Args:
      sizes: [n] numbers from 0.

    Raises:
      ValueError: if `sizes` is not [n] numbers from 0 with a sum above 0.
    """
    sizes = _amounts("sizes", sizes)
    if sizes.ndim != 1:
        raise ValueError(f"sizes has shape {sizes.shape}; it must be [n], one size a client.")
    n = len(sizes)
    weights = 2 * np.arange(1, n + 1) - n - 1
    value = (weights * np.sort(sizes)).sum() / (n * sizes.sum())
    return float(np.clip(value, 0, 1 - 1 / n))


def skew(
    partition: Partition, labels: np.ndarray, num_classes: int | None = None
) -> dict[str, float]:
    """Returns the measures of a partition, a row of a table.

    Args:
      partition: at least one client holds something.
      labels: [N] ints from 0, of all examples. With concept skew, give
        ``partition.client_labels(labels)`` to measure what clients call them.
      num_classes: by default the largest label plus 1; no measure depends on it.

    Returns:
      `total_variation`, `jensen_shannon` and `earth_movers`, from a client's mix of
      classes to that of all clients together, and `effective_classes` of a client,
      each as the mean over clients weighted by their sizes (as FedAvg weights
      them; those that hold nothing do not count); and `gini` of the sizes.

    Raises:
      ValueError: as :meth:`Partition.label_counts` does, or if nobody holds anything.
    """
    counts = partition.label_counts(labels, num_classes)
    whole, held = counts.sum(0), counts[counts.sum(1) > 0]
    if not len(held):
        raise ValueError(
            f"partition has {len(partition)} clients and no example; it must have at least one."
        )
    values = {
        "total_variation": total_variation(held, whole),
        "jensen_shannon": jensen_shannon(held, whole),
        "earth_movers": earth_movers(held, whole),
        "effective_classes": effective_classes(held),
    }
    means = {name: float(np.average(v, weights=held.sum(1))) for name, v in values.items()}
    return {**means, "gini": gini(partition.sizes)}


def _distributions(*given: np.ndarray) -> list[np.ndarray]:
    amounts = [_amounts(name, array) for name, array in zip("pq", given)]
    if len({array.shape[-1] for array in amounts}) > 1:
        raise ValueError(
            f"p has {amounts[0].shape[-1]} classes and q {amounts[1].shape[-1]}; they must match."
        )
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
