"""Concept skew: groups of clients that use different labels for the same image."""

import numpy as np

from fedbook.checks import check_int, check_type
from fedbook.data.clients import MOST_CLASSES
from fedbook.data.partition.base import Partition, add_skew


def concept_skew(
    partition: Partition,
    num_groups: int = 2,
    *,
    num_classes: int = 10,
    num_disputed: int | None = None,
    seed: int = 0,
) -> Partition:
    """Returns the partition with `concepts`: groups of clients that use different labels.

    Group 0 uses the right labels. The other groups disagree about `num_disputed` classes,
    which are chosen at random and arranged in a circle. Group g labels an image of such a
    class with the class g places further on. So any two groups disagree about every disputed
    class and agree about the others, and no model can be right for both. Kairouz et al. 2019
    (arXiv 1912.04977), section 3.1, call this "same features, different label".

    Args:
      partition: of any scheme, without concept skew.
      num_groups: from 1 to `num_disputed`, and at most the number of clients. The groups
        have the same number of clients, up to one.
      num_classes: the classes are numbered from 0 to ``num_classes - 1``.
      num_disputed: from 1 to `num_classes`, which is the default.
    """
    check_type("partition", partition, Partition)
    if partition.concepts:
        raise ValueError(f"partition has concepts already ({partition.scheme}); it must have none.")
    check_int("num_classes", num_classes, 1, MOST_CLASSES)
    num_disputed = num_classes if num_disputed is None else num_disputed
    check_int("num_disputed", num_disputed, 1, num_classes)
    check_int("num_groups", num_groups, 1, min(num_disputed, len(partition)))
    check_int("seed", seed, 0)
    # The 2 makes this stream independent of the scheme, which may have the same seed.
    rng = np.random.default_rng([seed, 2])
    circle = rng.choice(num_classes, num_disputed, replace=False)
    concepts = []
    for group in range(num_groups):
        given = np.arange(num_classes)
        given[circle] = np.roll(circle, -group)
        concepts.append(tuple(given.tolist()))
    groups = rng.permutation(np.arange(len(partition)) % num_groups)
    used = {client: concepts[g] for client, g in zip(partition.client_ids, groups)}
    parameters = {"num_groups": num_groups, "num_classes": num_classes}
    parameters |= {"num_disputed": num_disputed, "concept_seed": int(seed)}
    return add_skew(partition, "concept_skew", parameters, concepts=used)
