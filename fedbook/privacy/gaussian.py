"""The sampled Gaussian mechanism, round after round: epsilon for noise, and noise for epsilon."""

import dataclasses
import functools
import math

import dp_accounting
import scipy.optimize
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from fedbook.privacy.base import (
    RDP_ORDERS,
    UNITS,
    PrivacyGuarantee,
    check_int,
    check_number,
    check_one_of,
)

ACCOUNTANTS = ("pld", "rdp")
SAMPLING = ("poisson", "fixed", "none")
# The grid of privacy losses. Rounded upwards, so a coarse one is safe: ten times as fast as
# dp-accounting's own 1e-4, and epsilon rises by less than 0.001.
_GRID = 1e-3


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
    """Returns what the released models of a whole run may give away of one unit.

    Args:
      noise_multiplier: z, 0 or more. Noise added to the *sum* of clipped updates has
        standard deviation z times the clipping norm.
      cohort: units in a round (on average, if `sampling` is "poisson").
      population: units that could have been in it; at least `cohort`.
      rounds: noisy sums that are released, at least 1.
      delta: above 0 and below 1; choose it well below 1 / population.
      accountant: "pld" or "rdp".
      sampling: "poisson": each unit takes part in a round with probability cohort /
        population, independently; neighbours differ by one unit more or less.
        "fixed": exactly `cohort` of them, uniformly and without replacement;
        neighbours differ by one unit replaced, which moves a sum of clipped updates by
        up to twice the clipping norm. dp-accounting has this for "rdp" only (Wang,
        Balle and Kasiviswanathan 2019, arXiv 1808.00087).
        "none": nothing is assumed, a unit may be in all rounds; `cohort` and
        `population` then change nothing.
      unit: "client" or "example": what was clipped.

    Raises:
      ValueError: if an argument is out of range or unknown, or `sampling` is "fixed"
        and `accountant` not "rdp".
    """
    check_number("noise_multiplier", noise_multiplier, least=0)
    setting = _Setting(cohort, population, rounds, delta, accountant, sampling, unit)
    return setting.guarantee(noise_multiplier, setting.epsilon(noise_multiplier))


def noise_for_epsilon(
    epsilon: float,
    cohort: int,
    population: int,
    rounds: int,
    delta: float,
    *,
    accountant: str = "pld",
    sampling: str = "poisson",
    unit: str = "client",
) -> PrivacyGuarantee:
    """Returns the guarantee with the least noise whose epsilon is at most `epsilon`.

    The noise multiplier is found by Brent's method, to one part in a thousand, from above:
    ``noise_for_epsilon(...).epsilon <= epsilon`` always holds.

    Args:
      epsilon: the target, above 0.
      cohort: this and all that follow: see :func:`epsilon_for_noise`.
      population: see there.
      rounds: see there.
      delta: see there.
      accountant: see there.
      sampling: see there.
      unit: see there.

    Raises:
      ValueError: as :func:`epsilon_for_noise` does, or if `epsilon` is not a finite
        number above 0.
    """
    check_number("epsilon", epsilon, above=0)
    setting = _Setting(cohort, population, rounds, delta, accountant, sampling, unit)
    quick = dataclasses.replace(setting, accountant="rdp")
    # PLD is slow where the noise is small: begin with the noise that RDP asks for, which is enough.
    enough = 1.0 if setting == quick else _least_noise(quick, epsilon, 1.0, 0.1)[0]
    return setting.guarantee(*_least_noise(setting, epsilon, enough, 1e-3))


def _least_noise(
    setting: "_Setting", epsilon: float, start: float, tolerance: float
) -> tuple[float, float]:
    """Returns the noise multiplier and the epsilon that it gives, at most `epsilon`."""
    reached = {}

    @functools.cache  # Brent's method asks for the ends again
    def excess(noise):
        reached[noise] = setting.epsilon(noise)
        return math.log(min(max(reached[noise] / epsilon, 1e-9), 1e9))  # it may be 0, or infinite

    enough = start
    while excess(enough) > 0:
        enough *= 2
    while excess(enough / 2) <= 0:
        enough /= 2
    # It ends with the root between two of the points that it tried.
    scipy.optimize.brentq(excess, enough / 2, enough, xtol=1e-12, rtol=tolerance)
    least = min(noise for noise, value in reached.items() if value <= epsilon)
    return least, reached[least]


@dataclasses.dataclass(frozen=True)
class _Setting:
    """All of a run but its noise; checked when it is made."""

    cohort: int
    population: int
    rounds: int
    delta: float
    accountant: str
    sampling: str
    unit: str

    def __post_init__(self):
        for name in ("cohort", "population", "rounds"):
            check_int(name, getattr(self, name))
        if self.cohort > self.population:
            raise ValueError(
                f"cohort is {self.cohort} and population {self.population}; a cohort cannot be larger."
            )
        check_number("delta", self.delta, above=0, below=1)
        check_one_of("accountant", self.accountant, ACCOUNTANTS)
        check_one_of("sampling", self.sampling, SAMPLING)
        check_one_of("unit", self.unit, UNITS)
        if self.sampling == "fixed" and self.accountant != "rdp":
            raise ValueError(
                f"accountant is {self.accountant!r}; with sampling 'fixed' it must be 'rdp', "
                "the only one of dp-accounting that has it."
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
            # dp-accounting takes 1 for the sensitivity; of a sum of clipped updates it is 2
            # (github.com/google/differential-privacy, issue 378).
            event = dp_accounting.SampledWithoutReplacementDpEvent(
                self.population, self.cohort, dp_accounting.GaussianDpEvent(noise_multiplier / 2)
            )
        if self.accountant == "pld":
            accountant = PLDAccountant(relation, value_discretization_interval=_GRID)
        else:
            accountant = RdpAccountant(RDP_ORDERS, relation)
        return float(accountant.compose(event, self.rounds).get_epsilon(self.delta))

    def guarantee(self, noise_multiplier: float, epsilon: float) -> PrivacyGuarantee:
        of = f"{self.cohort:,} of {self.population:,} a round"
        words = {
            "poisson": f"Poisson sampling, {of} on average",
            "fixed": f"fixed-size sampling without replacement, {of}",
            "none": "no sampling assumed",
        }[self.sampling]
        neighbours = "replace one" if self.sampling == "fixed" else "add or remove one"
        return PrivacyGuarantee(
            epsilon, self.delta, float(noise_multiplier), self.unit,
            f"{words}, {self.rounds:,} round(s)", neighbours, self.accountant,
        )
