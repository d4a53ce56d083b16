"""Concept skew: groups of clients that label the same image differently."""

import dataclasses

import numpy as np

from fedbook.partition.base import Partition, check_int


def concept_skew(
    partition: Partition,
    num_groups: int = 2,
    *,
    num_classes: int = 10,
    num_disputed: int | None = None,
    seed: int = 0,
) -> Partition:
    """Divides the clients into groups of equal size that disagree on what classes are called.

    `num_disputed` classes, chosen at random, stand in a circle. Group 0 labels
    rightly; group g gives an image of one of these classes the label of the class
    g places further on. So any two groups disagree on every disputed class and
    agree on the others, and no model can please both. "Same features, different
    label" of Kairouz et al. 2019 (arXiv 1912.04977), section 3.1.

    Args:
      partition: of any scheme, without concept skew.
      num_groups: from 1 to `num_disputed`, and at most as many as clients; with 1
        all label rightly.
      num_classes: classes are numbered from 0 to ``num_classes - 1``.
      num_disputed: from 1 to `num_classes`; all of them by default.
      seed: an int from 0.

    Returns:
      The partition with `concepts`. Those of clients of the same group are equal;
      that of group 0 is ``tuple(range(num_classes))``.

    Raises:
      ValueError: if an argument is out of its range, or `partition` has concepts.
    """
    if partition.concepts:
        raise ValueError(f"partition has concepts already ({partition.scheme}); it must have none.")
    check_int("num_classes", num_classes, 1)
    num_disputed = num_classes if num_disputed is None else num_disputed
    check_int("num_disputed", num_disputed, 1, num_classes)
    check_int("num_groups", num_groups, 1, min(num_disputed, len(partition)))
    check_int("seed", seed, 0)
    # Another stream than that of the scheme, which may have the same seed.
    rng = np.random.default_rng([seed, 2])
    circle = rng.choice(num_classes, num_disputed, replace=False)
    concepts = []
    for group in range(num_groups):
        called = np.arange(num_classes)
        called[circle] = np.roll(circle, -group)
        concepts.append(tuple(called.tolist()))
    groups = rng.permutation(np.arange(len(partition)) % num_groups)
    return dataclasses.replace(
        partition,
        concepts={client: concepts[g] for client, g in zip(partition.client_ids, groups)},
        scheme=f"{partition.scheme} + concept_skew",
        parameters={
            **partition.parameters, "num_groups": num_groups, "num_classes": num_classes,
            "num_disputed": num_disputed, "concept_seed": int(seed),
        },
    )
