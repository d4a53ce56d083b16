"""The guarantee that the functions of this package return, and the checks that they share."""

import dataclasses

from fedbook.checks import check_int, check_number

UNITS = ("client", "example")
# Beyond these, rounding errors are larger than what the accountants add up.
LEAST_NOISE, MOST_NOISE = 1e-6, 1e6
MOST_ROUNDS, MOST_UNITS = 10**6, 10**10


def check_noise(noise_multiplier: float) -> float:
    """Returns the noise multiplier; raises ValueError unless it is 0 or can be accounted for."""
    noise = check_number("noise_multiplier", noise_multiplier, low=0, high=MOST_NOISE)
    if 0 < noise < LEAST_NOISE:
        raise ValueError(
            f"noise_multiplier is {noise_multiplier!r}; it must be 0 or at least {LEAST_NOISE:g}, "
            "because epsilon cannot be computed for less."
        )
    return noise


def check_rounds(rounds: int) -> int:
    """Returns the number of rounds; raises ValueError unless it can be accounted for."""
    return check_int("rounds", rounds, 1, MOST_ROUNDS)


@dataclasses.dataclass(frozen=True)
class PrivacyGuarantee:
    """An epsilon with its conditions, which its text always shows together.

    The guarantee compares two runs, one with a unit's data and one without it. For every set
    of outcomes, the probability in the one run is at most ``exp(epsilon)`` times the probability
    in the other, plus `delta`.

    Attributes:
      epsilon: in nats; infinite if there is no noise.
      delta: the probability that is added to the bound for every set of outcomes. It leaves room
        for rare outcomes that are more than ``exp(epsilon)`` times as probable in one of the runs.
      noise_multiplier: z, the noise's standard deviation divided by the clipping norm.
      unit: whose presence is hidden, "client" (all that one client holds) or "example".
      sampling: how the units of a round were chosen, in words, with the number of rounds.
      neighbours: the difference between the two data sets compared, in words.
      accountant: "pld" or "rdp", the one that computed epsilon.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    unit: str
    sampling: str
    neighbours: str
    accountant: str

    def __str__(self) -> str:
        return (
            f"epsilon {self.epsilon:.3g} at delta {self.delta:.3g} (unit: {self.unit}, "
            f"{self.neighbours}; {self.sampling}; {self.accountant.upper()} accountant)"
        )
