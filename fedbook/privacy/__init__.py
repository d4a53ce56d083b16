"""Epsilon for a given amount of noise, and the noise for a given epsilon.

The mechanism is that of DP-FedAvg (McMahan et al. 2018, arXiv 1710.06963). In each round, the model
delta of every sampled client is clipped to norm S. The deltas are summed, and noise of standard
deviation z * S is added to each coordinate of the sum; z is the noise multiplier. The package
dp-accounting computes what a run of such rounds may reveal, with one of two accountants:

- "rdp": Renyi divergences at a grid of orders (Mironov et al. 2019, arXiv 1908.10530);
- "pld": privacy loss distributions, composed numerically (Koskela et al. 2020,
  arXiv 1906.03049; Doroshenko et al. 2022, arXiv 2207.04380).

Both give upper bounds; "pld" gives the tighter one and takes longer. Where nobody can be
sure how the clients were sampled, tree aggregation helps: :func:`epsilon_for_tree`. An
epsilon means nothing alone, so all functions return a :class:`PrivacyGuarantee`.
"""

from fedbook.privacy.base import PrivacyGuarantee
from fedbook.privacy.gaussian import epsilon_for_noise, noise_for_epsilon
from fedbook.privacy.tree import epsilon_for_tree

__all__ = ["PrivacyGuarantee", "epsilon_for_noise", "epsilon_for_tree", "noise_for_epsilon"]
