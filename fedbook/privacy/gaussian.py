"""The sampled Gaussian mechanism over many rounds: epsilon for noise, noise for epsilon."""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterator

import dp_accounting
from dp_accounting import NeighboringRelation, PrivacyAccountant
from dp_accounting.mechanism_calibration import ExplicitBracketInterval
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from fedbook.checks import check_int, check_number, check_one_of
from fedbook.privacy.base import (
    LEAST_NOISE,
    MOST_NOISE,
    MOST_UNITS,
    UNITS,
    PrivacyGuarantee,
    check_noise,
    check_rounds,
)

ACCOUNTANTS = ("pld", "rdp")
SAMPLING = ("poisson", "fixed", "none")
# The grid of privacy losses. They are rounded upwards, so a coarse grid is safe. This one is
# ten times as fast as dp-accounting's own 1e-4. In the runs of the book, epsilon rises by less
# than 0.001.
_GRID = 1e-3
# The grid reaches as far as the losses, so little noise takes minutes and gigabytes of memory. An
# epsilon above 100 protects nobody, so there a looser bound is as good, and RDP's takes no time.
_LEAST_NOISE_OF_PLD, _MOST_EPSILON_OF_PLD = 0.1, 100
# PLD leaves outcomes of less probability than 1e-15 out of its grid, and counts them in delta.
_LEAST_DELTA_OF_PLD = 1e-12


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
      noise_multiplier: z, which is 0 or from 1e-6 to 1e6. The noise on the *sum* of the clipped
        updates has standard deviation z times the clipping norm.
      cohort: the number of units in a round, on average if `sampling` is "poisson".
      population: the number of units from which each cohort is drawn, from `cohort` to 10 billion.
      rounds: the number of noisy sums that are released, from 1 to a million.
      delta: above 0 and below 1; at least 1e-12 for "pld". Choose it well below 1 / population.
      accountant: "pld" or "rdp". With a noise multiplier below 0.1, or where RDP's epsilon is above
        100, PLD would take minutes and gigabytes of memory for a bound that protects nobody. Then
        "pld" returns the guarantee of RDP, whose `accountant` says so.
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
    noise = check_noise(noise_multiplier)
    setting = _Setting(cohort, population, rounds, delta, accountant, sampling, unit)
    return setting.guarantee(noise)


def noise_for_epsilon(
    epsilon: float, cohort: int, population: int, rounds: int, delta: float, **more: str
) -> PrivacyGuarantee:
    """Returns the guarantee with the least noise whose epsilon is at most `epsilon`.

    ``noise_for_epsilon(...).epsilon <= epsilon`` always holds. The noise multiplier is at most one
    part in a thousand above the least one, and at least 0.1 if PLD computes the epsilon. A run has
    an epsilon near 0 for any noise if a unit takes part with a probability below `delta`. Then the
    noise multiplier is the least one that is allowed, and the epsilon is below the target.

    The target `epsilon` is a finite number above 0. The other arguments, among them the keywords
    `accountant`, `sampling` and `unit`, and the errors are those of :func:`epsilon_for_noise`.

    Raises:
      ValueError: also if no noise multiplier up to 1e6 gives an epsilon this small.
    """
    epsilon = check_number("epsilon", epsilon, above=0)
    setting = _Setting(cohort, population, rounds, delta, **more)
    if setting.accountant == "rdp" or epsilon > _MOST_EPSILON_OF_PLD:
        return setting.guarantee(_least_noise(setting, "rdp", epsilon, LEAST_NOISE, MOST_NOISE))
    # PLD is slow, so search close to the noise that RDP asks for, which is enough.
    high = MOST_NOISE
    if setting.epsilon(high, "rdp") <= epsilon:
        enough = _least_noise(setting, "rdp", epsilon, _LEAST_NOISE_OF_PLD, high, tolerance=0.1)
        if setting.epsilon(enough, "pld") <= epsilon:  # not if RDP finds an epsilon of exactly 0
            high = enough
    low = high / 2
    if not setting.suits_pld(low) or setting.epsilon(low, "pld") <= epsilon:
        low = _least_noise(setting, "rdp", _MOST_EPSILON_OF_PLD, _LEAST_NOISE_OF_PLD, high)
    return setting.guarantee(_least_noise(setting, "pld", epsilon, low, high))


def _least_noise(
    setting: "_Setting",
    accountant: str,
    epsilon: float,
    low: float,
    high: float,
    tolerance: float = 1e-3,
) -> float:
    """Returns the least noise multiplier from `low` to `high` with at most this epsilon."""
    if setting.epsilon(low, accountant) <= epsilon:
        return low
    least_epsilon = setting.epsilon(high, accountant)
    if least_epsilon > epsilon:
        raise ValueError(
            f"epsilon is {epsilon!r}; it must be at least {least_epsilon:.3g}, the epsilon of the "
            f"largest noise multiplier, {high:g}. A larger delta or fewer rounds lower it."
        )
    with _quiet():
        # The search is for the logarithm, because its tolerance is absolute.
        found = dp_accounting.calibrate_dp_mechanism(
            lambda: setting.fresh(accountant),
            lambda logarithm: setting.event(math.exp(logarithm)),
            epsilon,
            setting.delta,
            ExplicitBracketInterval(math.log(low), math.log(high)),
            tol=tolerance,
        )
    return math.exp(found)


def _is_news(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    return not said.startswith(("_compute_log_a_frac failed to conv", "Negative Renyi divergence"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back dp-accounting's warnings about single orders, of which it has 156.

    It leaves out an order whose series does not converge, so the bound stays valid. It takes 0 for
    a divergence that rounding made negative, in runs with so much noise that epsilon is near 0.
    """
    logger = logging.getLogger("absl")
    logger.addFilter(_is_news)
    try:
        yield
    finally:
        logger.removeFilter(_is_news)


@dataclasses.dataclass
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
        self.cohort = check_int("cohort", self.cohort, 1)
        self.population = check_int("population", self.population, 1, MOST_UNITS)
        self.rounds = check_rounds(self.rounds)
        if self.cohort > self.population:
            raise ValueError(
                f"cohort is {self.cohort} and population {self.population}; "
                "a cohort cannot be larger."
            )
        self.delta = check_number("delta", self.delta, above=0, below=1)
        check_one_of("accountant", self.accountant, ACCOUNTANTS)
        check_one_of("sampling", self.sampling, SAMPLING)
        check_one_of("unit", self.unit, UNITS)
        if self.sampling == "fixed" and self.accountant != "rdp":
            raise ValueError(
                f"accountant is {self.accountant!r}; with sampling 'fixed' it must be 'rdp', "
                "the only accountant that supports it."
            )
        if self.accountant == "pld" and self.delta < _LEAST_DELTA_OF_PLD:
            raise ValueError(
                f"delta is {self.delta!r}; with accountant 'pld' it must be at least "
                f"{_LEAST_DELTA_OF_PLD:g}. The accountant 'rdp' takes any delta."
            )

    def event(self, noise: float) -> dp_accounting.DpEvent:
        """Returns the whole run, with this noise multiplier, as dp-accounting describes it."""
        round_: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(noise)
        if self.sampling == "poisson" and self.cohort < self.population:
            round_ = dp_accounting.PoissonSampledDpEvent(self.cohort / self.population, round_)
        elif self.sampling == "fixed":
            # dp-accounting assumes a sensitivity of 1, but that of a sum of clipped updates is
            # 2 (github.com/google/differential-privacy, issue 378).
            round_ = dp_accounting.SampledWithoutReplacementDpEvent(
                self.population, self.cohort, dp_accounting.GaussianDpEvent(noise / 2)
            )
        return dp_accounting.SelfComposedDpEvent(round_, self.rounds)

    def fresh(self, accountant: str) -> PrivacyAccountant:
        """Returns a new accountant, with dp-accounting's own orders if it is "rdp"."""
        if accountant == "pld":
            return PLDAccountant(value_discretization_interval=_GRID)
        relation = NeighboringRelation.ADD_OR_REMOVE_ONE
        if self.sampling == "fixed":
            relation = NeighboringRelation.REPLACE_ONE
        return RdpAccountant(neighboring_relation=relation)

    def epsilon(self, noise: float, accountant: str) -> float:
        if noise == 0:
            return math.inf
        with _quiet():
            run = self.fresh(accountant).compose(self.event(noise))
            return float(run.get_epsilon(self.delta))

    def suits_pld(self, noise: float) -> bool:
        """Whether PLD is quick with this noise, or has nothing to do because there is none."""
        enough = noise >= _LEAST_NOISE_OF_PLD
        return noise == 0 or (enough and self.epsilon(noise, "rdp") <= _MOST_EPSILON_OF_PLD)

    def guarantee(self, noise: float) -> PrivacyGuarantee:
        accountant = "pld" if self.accountant == "pld" and self.suits_pld(noise) else "rdp"
        epsilon = self.epsilon(noise, accountant)
        of = f"{self.cohort:,} of {self.population:,} a round"
        words = {
            "poisson": f"Poisson sampling, {of} on average",
            "fixed": f"fixed-size sampling without replacement, {of}",
            "none": "no sampling assumed",
        }
        sampling = f"{words[self.sampling]}, {self.rounds:,} round(s)"
        neighbours = "replace one" if self.sampling == "fixed" else "add or remove one"
        return PrivacyGuarantee(
            epsilon, self.delta, noise, self.unit, sampling, neighbours, accountant
        )
