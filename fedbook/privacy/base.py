"""The guarantee, and the checks that the functions of this package share."""

import dataclasses
import math
import numbers

UNITS = ("client", "example")
# Fractional orders need a series that does not always converge, and change no more than the
# second decimal where epsilon is of any use.
RDP_ORDERS = (*range(2, 64), 96, 128, 512)


@dataclasses.dataclass(frozen=True)
class PrivacyGuarantee:
    """An epsilon and what it rests on; its text never shows the one without the other.

    Attributes:
      epsilon: in nats; infinite if there is no noise.
      delta: the probability that the bound of epsilon may fail.
      noise_multiplier: z, the noise's standard deviation over the clipping norm.
      unit: whose presence is hidden, "client" (all that one client holds) or "example".
      sampling: how those of a round were chosen, in words, with the rounds.
      neighbours: what the two data sets compared differ by, in words.
      accountant: "pld" or "rdp".
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


def check_int(name: str, value: int) -> None:
    if not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be an int, at least 1.")


def check_number(
    name: str, value: float, *,
    least: float | None = None, above: float | None = None, below: float = math.inf,
) -> None:
    fits = isinstance(value, numbers.Real) and value < below  # NaN is not, nor infinity
    if not fits or (least is not None and value < least) or (above is not None and value <= above):
        low = f"at least {least:g}" if least is not None else f"above {above:g}"
        high = "finite" if below == math.inf else f"below {below:g}"
        raise ValueError(f"{name} is {value!r}; it must be a number, {low} and {high}.")


def check_one_of(name: str, value: str, wanted: tuple[str, ...]) -> None:
    if value not in wanted:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(wanted)}.")
