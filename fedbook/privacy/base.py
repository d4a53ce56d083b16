"""The guarantee that the functions of this package return."""

import dataclasses

UNITS = ("client", "example")
# Fractional orders need a series that does not always converge. For useful values of epsilon
# they would change its second decimal at most.
RDP_ORDERS = (*range(2, 64), 96, 128, 512)


@dataclasses.dataclass(frozen=True)
class PrivacyGuarantee:
    """An epsilon with its conditions, which its text always shows together.

    Attributes:
      epsilon: in nats; infinite if there is no noise.
      delta: the probability that the bound of epsilon may fail.
      noise_multiplier: z, the noise's standard deviation divided by the clipping norm.
      unit: whose presence is hidden, "client" (all that one client holds) or "example".
      sampling: how the units of a round were chosen, in words, with the number of rounds.
      neighbours: the difference between the two data sets compared, in words.
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
