"""Tree aggregation: guarantees that do not depend on how clients are sampled."""

import math

import dp_accounting
from dp_accounting import NeighboringRelation
from dp_accounting.rdp import RdpAccountant

from fedbook.checks import check_int, check_number, check_one_of
from fedbook.privacy.base import MOST_ROUNDS, UNITS, PrivacyGuarantee, check_noise, check_rounds


def epsilon_for_tree(
    noise_multiplier: float, rounds: int, delta: float, *, trees: int = 1, unit: str = "client"
) -> PrivacyGuarantee:
    """Returns the guarantee of tree aggregation, for any way of sampling the clients.

    In DP-FTRL (Kairouz et al. 2021, arXiv 2103.00039, appendix D) the server releases sums over
    runs of rounds, the nodes of a binary tree. Each round is in at most log2(rounds) + 1 nodes, and
    every node has the same noise. A client may take part in one round of each tree. Neighbouring
    data sets differ by one unit whose updates are replaced by zeros. The accountant is "rdp", the
    only one that supports trees.

    Args:
      noise_multiplier: the noise of a node divided by the clipping norm: 0, or from 1e-6 to 1e6.
      rounds: the rounds of one tree, from 1 to a million, after which a new tree begins.
      delta: above 0 and below 1.
      trees: the number of trees, from 1 to a million.
      unit: "client" or "example".

    Raises:
      ValueError: if an argument is out of range.
    """
    noise = check_noise(noise_multiplier)
    rounds = check_rounds(rounds)
    trees = check_int("trees", trees, 1, MOST_ROUNDS)
    delta = check_number("delta", delta, above=0, below=1)
    check_one_of("unit", unit, UNITS)
    epsilon = math.inf
    if noise > 0:
        tree = dp_accounting.dp_event.SingleEpochTreeAggregationDpEvent(noise, rounds)
        accountant = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_SPECIAL)
        epsilon = float(accountant.compose(tree, trees).get_epsilon(delta))
    part = f"in at most one round of each of {trees:,} tree(s) of {rounds:,} rounds"
    sampling = f"no sampling assumed, {part}"
    return PrivacyGuarantee(epsilon, delta, noise, unit, sampling, "zero out one", "rdp")
