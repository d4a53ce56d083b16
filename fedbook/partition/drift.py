"""Temporal drift: clients whose mix of classes changes over the rounds."""

import dataclasses

import numpy as np

from fedbook.partition.base import (
    Partition,
    check_covers,
    check_int,
    check_labels,
    check_number,
    together,
)


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

    The result is one partition for each period, a stretch of rounds; round r of
    R is in period ``r * num_periods // R``. Each holds what the clients see then
    and only then: an example is in one period and with the client that held it
    before, and all periods together are `partition`. A client's examples are
    divided over the periods equally up to one.

    An example arrives at time ``strength * c + (1 - strength) * u``; c, from 0 to
    1, belongs to its class and u, uniform on 0 to 1, to itself. Classes that come
    and go with the time of day or the season: Eichner et al. 2019 (arXiv
    1904.10120).

    Args:
      partition: of any scheme; each client holds at least `num_periods` examples.
      labels: [N] ints from 0, of all examples.
      num_periods: at least 1.
      strength: 0 (no drift: at random) to 1 (one class after the other).
      shared: whether classes come in the same order for all clients, as seasons
        do, or in an order of each client's own.
      seed: an int from 0.

    Returns:
      `num_periods` partitions with the same clients; feature and concept skew stay.

    Raises:
      ValueError: if an argument is out of its range, or a client holds fewer than
        `num_periods` examples.
    """
    labels = check_covers(partition, "labels", check_labels(labels))
    check_int("num_periods", num_periods, 1)
    check_number("strength", strength, 0, 1)
    check_int("seed", seed, 0)
    sizes = partition.sizes
    if sizes.min() < num_periods:
        raise ValueError(
            f"num_periods is {num_periods}; client {partition.client_ids[sizes.argmin()]!r} holds "
            f"{sizes.min()} examples, so it must be at most {sizes.min()}."
        )
    # Another stream than that of the scheme, which may have the same seed.
    rng = np.random.default_rng([seed, 3])
    examples = together(partition)
    client = np.repeat(np.arange(len(partition)), sizes)
    # What arrives together: a class, or a class of one client.
    _, kind = np.unique(labels[examples], return_inverse=True)
    if not shared:
        _, kind = np.unique(client * (kind.max() + 1) + kind, return_inverse=True)
    num_kinds = kind.max() + 1
    own = rng.random(len(examples))
    arrival = strength * rng.permutation(num_kinds)[kind] / num_kinds + (1 - strength) * own
    order = np.lexsort((own, arrival, client))  # `own` shuffles what arrives together
    rank = np.arange(len(examples)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    period = rank * num_periods // np.repeat(sizes, sizes)

    def during(number: int) -> Partition:
        now = period == number
        ends = np.cumsum(np.bincount(client[now], minlength=len(partition)))
        held = np.split(examples[order][now], ends[:-1])
        return dataclasses.replace(
            partition,
            indices=dict(zip(partition.client_ids, held)),
            scheme=f"{partition.scheme} + temporal_drift",
            parameters={
                **partition.parameters, "num_periods": num_periods, "strength": strength,
                "shared": shared, "drift_seed": int(seed), "period": number,
            },
        )

    return tuple(during(number) for number in range(num_periods))
