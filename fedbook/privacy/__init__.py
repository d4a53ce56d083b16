"""Epsilon for a given noise, and the noise for a given epsilon.

The mechanism is that of DP-FedAvg (McMahan et al. 2018, arXiv 1710.06963): in each
round every sampled client's model delta is clipped to norm S, the deltas are summed,
and noise of standard deviation z * S is added to each coordinate of the sum; z is the
noise multiplier. What a run of such rounds gives away is counted by dp-accounting, in
one of two ways:

- "rdp": Renyi divergences at a grid of orders (Mironov et al. 2019, arXiv 1908.10530);
- "pld": privacy loss distributions, composed numerically (Koskela et al. 2020,
  arXiv 1906.03049; Doroshenko et al. 2022, arXiv 2207.04380).

Both give upper bounds; that of "pld" is the tighter and takes longer to compute. Where
the sampling of clients cannot be trusted, tree aggregation does without:
:func:`epsilon_for_tree`. An epsilon never stands alone: the functions return a
:class:`PrivacyGuarantee`.
"""

from fedbook.privacy.base import PrivacyGuarantee
from fedbook.privacy.gaussian import epsilon_for_noise, noise_for_epsilon
from fedbook.privacy.tree import epsilon_for_tree

__all__ = ["PrivacyGuarantee", "epsilon_for_noise", "epsilon_for_tree", "noise_for_epsilon"]
