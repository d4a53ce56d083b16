"""Temporal drift: clients whose mix of classes changes over the rounds."""

import numpy as np

from fedbook.checks import check_int, check_number, check_type
from fedbook.data.clients import check_labels
from fedbook.data.partition.base import Partition, add_skew, all_indices, check_covers


def temporal_drift(
    partition: Partition,
    labels: np.ndarray,
    num_periods: int,
    *,
    strength: float = 1.0,
    shared: bool = True,
    seed: int = 0,
) -> tuple[Partition, ...]:
    """Spreads each client's examples over time, so that its mix of classes changes.

    The result is one partition for each period of time, with the same clients, features and
    concepts. Round r of R is in period ``r * num_periods // R``. Every example is in one period,
    with the client that holds it in `partition`, and each client's examples are divided equally
    among the periods, up to one.

    An example arrives at the time ``strength * c + (1 - strength) * u``, where c belongs to its
    class and u to the example; both are between 0 and 1, and u is uniform. Eichner et al. 2019
    (arXiv 1904.10120) study such data, with classes that come and go with the time of day.

    Args:
      partition: of any scheme; each client holds at least `num_periods` examples.
      num_periods: at least 1.
      strength: from 0 (a random order, so no drift) to 1 (one class after the other).
      shared: whether the classes come in the same order for all clients, like seasons, or in a
        different order for each client.
    """
    check_type("partition", partition, Partition)
    labels = check_covers(partition, "labels", check_labels(labels))
    check_int("num_periods", num_periods, 1)
    check_number("strength", strength, low=0, high=1)
    check_type("shared", shared, bool)
    check_int("seed", seed, 0)
    sizes = partition.sizes
    if sizes.min() < num_periods:
        raise ValueError(
            f"num_periods is {num_periods}; client {partition.client_ids[sizes.argmin()]!r} holds "
            f"{sizes.min()} examples, so it must be at most {sizes.min()}."
        )
    # The 3 makes this stream independent of the scheme, which may have the same seed.
    rng = np.random.default_rng([seed, 3])
    examples = all_indices(partition)
    client = np.repeat(np.arange(len(partition)), sizes)
    # The examples of a group arrive at the same time: those of a class, or of a class of a client.
    _, group = np.unique(labels[examples], return_inverse=True)
    if not shared:
        _, group = np.unique(client * (group.max() + 1) + group, return_inverse=True)
    num_groups = group.max() + 1
    own = rng.random(len(examples))
    arrival = strength * rng.permutation(num_groups)[group] / num_groups + (1 - strength) * own
    order = np.lexsort((own, arrival, client))  # `own` shuffles examples that arrive together
    rank = np.arange(len(examples)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    period = rank * num_periods // np.repeat(sizes, sizes)

    settings = {"num_periods": num_periods, "strength": strength, "shared": shared}

    def during(number: int) -> Partition:
        now = period == number
        ends = np.cumsum(np.bincount(client[now], minlength=len(partition)))
        held = dict(zip(partition.client_ids, np.split(examples[order][now], ends[:-1])))
        parameters = {**settings, "drift_seed": int(seed), "period": number}
        return add_skew(partition, "temporal_drift", parameters, indices=held)

    return tuple(during(number) for number in range(num_periods))
