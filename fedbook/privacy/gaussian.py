"""The sampled Gaussian mechanism over many rounds: epsilon for noise, noise for epsilon."""

import dataclasses
import functools
import math
from typing import TypedDict, Unpack

import dp_accounting
import scipy.optimize
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from fedbook.checks import check_int, check_number, check_one_of
from fedbook.privacy.base import RDP_ORDERS, UNITS, PrivacyGuarantee

ACCOUNTANTS = ("pld", "rdp")
SAMPLING = ("poisson", "fixed", "none")
# The grid of privacy losses. They are rounded upwards, so a coarse grid is safe. This one is
# ten times as fast as dp-accounting's own 1e-4, and epsilon rises by less than 0.001.
_GRID = 1e-3


class Options(TypedDict, total=False):
    """The keyword arguments of :func:`epsilon_for_noise`."""

    accountant: str
    sampling: str
    unit: str


def epsilon_for_noise(
    noise_multiplier: float,
    cohort: int,
    population: int,
    rounds: int,
    delta: float,
    *,
    accountant: str = "pld",
    sampling: str = "poisson",
    unit: str = "client",
) -> PrivacyGuarantee:
    """Returns the guarantee that a run with this noise gives to one unit.

    Args:
      noise_multiplier: z, at least 0. The noise on the *sum* of the clipped updates has
        standard deviation z times the clipping norm.
      cohort: the number of units in a round, on average if `sampling` is "poisson".
      population: the number of units from which each cohort is drawn, at least `cohort`.
      rounds: the number of noisy sums that are released, at least 1.
      delta: above 0 and below 1. Choose it well below 1 / population.
      accountant: "pld" or "rdp".
      sampling: "poisson": each unit takes part in a round independently, with probability
        cohort / population. Neighbouring data sets differ by one added or removed unit.
        "fixed": each cohort is drawn uniformly without replacement. Neighbours differ by one
        replaced unit, which changes a sum of clipped updates by up to twice the clipping norm. Only
        the accountant "rdp" supports it (Wang, Balle and Kasiviswanathan 2019, arXiv 1808.00087).
        "none": a unit may be in all rounds, so `cohort` and `population` have no effect.
      unit: "client" or "example", the unit whose update was clipped.

    Raises:
      ValueError: if an argument is out of range or unknown, or `accountant` does not support
        `sampling`.
    """
    check_number("noise_multiplier", noise_multiplier, low=0)
    setting = _Setting(cohort, population, rounds, delta, accountant, sampling, unit)
    return setting.guarantee(noise_multiplier, setting.epsilon(noise_multiplier))


def noise_for_epsilon(
    epsilon: float, cohort: int, population: int, rounds: int, delta: float, **more: Unpack[Options]
) -> PrivacyGuarantee:
    """Returns the guarantee with the least noise whose epsilon is at most `epsilon`.

    The noise multiplier is found by Brent's method, to one part in a thousand, from above:
    ``noise_for_epsilon(...).epsilon <= epsilon`` always holds. The target `epsilon` is a finite
    number above 0. The other arguments, among them the keywords `accountant`, `sampling` and
    `unit`, and the errors are those of :func:`epsilon_for_noise`.
    """
    check_number("epsilon", epsilon, above=0)
    setting = _Setting(cohort, population, rounds, delta, **more)
    quick = dataclasses.replace(setting, accountant="rdp")
    # PLD is slow if the noise is small. So begin with the noise that RDP needs, which is enough.
    enough = 1.0 if setting == quick else _least_noise(quick, epsilon, 1.0, 0.1)[0]
    return setting.guarantee(*_least_noise(setting, epsilon, enough, 1e-3))


def _least_noise(
    setting: "_Setting", epsilon: float, start: float, tolerance: float
) -> tuple[float, float]:
    """Returns the least noise multiplier and its epsilon, which is at most `epsilon`."""
    reached = {}

    @functools.cache  # Brent's method evaluates the two ends again
    def excess(noise):
        reached[noise] = setting.epsilon(noise)
        return math.log(min(max(reached[noise] / epsilon, 1e-9), 1e9))  # it may be 0, or infinite

    enough = start
    while excess(enough) > 0:
        enough *= 2
    while excess(enough / 2) <= 0:
        enough /= 2
    # At the end the root is between two of the points that it tried.
    scipy.optimize.brentq(excess, enough / 2, enough, xtol=1e-12, rtol=tolerance)
    least = min(noise for noise, value in reached.items() if value <= epsilon)
    return least, reached[least]


@dataclasses.dataclass(frozen=True)
class _Setting:
    """The arguments that describe a run, without its noise."""

    cohort: int
    population: int
    rounds: int
    delta: float
    accountant: str = "pld"
    sampling: str = "poisson"
    unit: str = "client"

    def __post_init__(self):
        for name in ("cohort", "population", "rounds"):
            check_int(name, getattr(self, name), 1)
        if self.cohort > self.population:
            raise ValueError(
                f"cohort is {self.cohort} and population {self.population}; "
                "a cohort cannot be larger."
            )
        check_number("delta", self.delta, above=0, below=1)
        check_one_of("accountant", self.accountant, ACCOUNTANTS)
        check_one_of("sampling", self.sampling, SAMPLING)
        check_one_of("unit", self.unit, UNITS)
        if self.sampling == "fixed" and self.accountant != "rdp":
            raise ValueError(
                f"accountant is {self.accountant!r}; with sampling 'fixed' it must be 'rdp', "
                "the only accountant that supports it."
            )

    def epsilon(self, noise_multiplier: float) -> float:
        if noise_multiplier == 0:
            return math.inf
        relation = NeighboringRelation.ADD_OR_REMOVE_ONE
        event = dp_accounting.GaussianDpEvent(float(noise_multiplier))
        if self.sampling == "poisson":
            event = dp_accounting.PoissonSampledDpEvent(self.cohort / self.population, event)
        elif self.sampling == "fixed":
            relation = NeighboringRelation.REPLACE_ONE
            # dp-accounting assumes a sensitivity of 1, but that of a sum of clipped updates is
            # 2 (github.com/google/differential-privacy, issue 378).
            event = dp_accounting.SampledWithoutReplacementDpEvent(
                self.population, self.cohort, dp_accounting.GaussianDpEvent(noise_multiplier / 2)
            )
        if self.accountant == "pld":
            accountant = PLDAccountant(relation, value_discretization_interval=_GRID)
        else:
            accountant = RdpAccountant(RDP_ORDERS, relation)
        return float(accountant.compose(event, self.rounds).get_epsilon(self.delta))

    def guarantee(self, noise_multiplier: float, epsilon: float) -> PrivacyGuarantee:
        noise = float(noise_multiplier)
        of = f"{self.cohort:,} of {self.population:,} a round"
        words = {
            "poisson": f"Poisson sampling, {of} on average",
            "fixed": f"fixed-size sampling without replacement, {of}",
            "none": "no sampling assumed",
        }
        sampling = f"{words[self.sampling]}, {self.rounds:,} round(s)"
        neighbours = "replace one" if self.sampling == "fixed" else "add or remove one"
        return PrivacyGuarantee(
            epsilon, self.delta, noise, self.unit, sampling, neighbours, self.accountant
        )
