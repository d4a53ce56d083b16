"""Tree aggregation: noise for runs of rounds, so that sampling need not be assumed."""

import math

import dp_accounting
from dp_accounting import NeighboringRelation
from dp_accounting.rdp import RdpAccountant

from fedbook.privacy.base import (
    RDP_ORDERS,
    UNITS,
    PrivacyGuarantee,
    check_int,
    check_number,
    check_one_of,
)


def epsilon_for_tree(
    noise_multiplier: float, rounds: int, delta: float, *, trees: int = 1, unit: str = "client"
) -> PrivacyGuarantee:
    """Returns epsilon of tree aggregation, which assumes nothing of how clients are sampled.

    DP-FTRL (Kairouz et al. 2021, arXiv 2103.00039, appendix D): the server releases sums
    over runs of rounds, the nodes of a binary tree, and each round is in no more than
    log2(rounds) + 1 of them. Every node carries the same noise. A client may be in one
    round of each tree, whichever it likes.

    Args:
      noise_multiplier: noise of a node over the clipping norm, 0 or more.
      rounds: rounds of one tree, at least 1; the tree is restarted after them.
      delta: above 0 and below 1.
      trees: how many trees, one after the other, at least 1.
      unit: "client" or "example".

    Returns:
      The guarantee by the "rdp" accountant, the only one of dp-accounting that has trees;
      neighbours differ by one unit whose updates are replaced by zeros.

    Raises:
      ValueError: if an argument is out of range.
    """
    check_number("noise_multiplier", noise_multiplier, least=0)
    check_int("rounds", rounds)
    check_int("trees", trees)
    check_number("delta", delta, above=0, below=1)
    check_one_of("unit", unit, UNITS)
    epsilon = math.inf
    if noise_multiplier > 0:
        tree = dp_accounting.dp_event.SingleEpochTreeAggregationDpEvent(noise_multiplier, rounds)
        accountant = RdpAccountant(RDP_ORDERS, NeighboringRelation.REPLACE_SPECIAL)
        epsilon = float(accountant.compose(tree, trees).get_epsilon(delta))
    return PrivacyGuarantee(
        epsilon, delta, noise_multiplier, unit,
        f"no sampling assumed, in at most one round of each of {trees:,} tree(s) of {rounds:,} rounds",
        "zero out one", "rdp",
    )
