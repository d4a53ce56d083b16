"""What is compared: the methods, each with the knob that is tuned beside the clients' rate."""

import dataclasses
from collections.abc import Callable

from fedbook import algorithms
from fedbook.algorithms import Algorithm

import numpy as np

from participation.tuning import Axis

CLIENTS = 20
PUBLIC = 0.05  # of the training images, for "5% public data"
FEW_STEPS, MANY_STEPS = 8, 72  # of the two halves of the clients; 40 on average

HALF_DECADES = tuple(float(f"{digit}e{power}") for power in range(-7, 4) for digit in (1, 3))
RATES = Axis("client learning rate", HALF_DECADES, (0.01, 1.0))
NO_KNOB = Axis("", (0.0,), (0.0, 0.0), {0.0: ""})
SERVER_RATE = Axis("server learning rate", tuple(2.0**k for k in range(-9, 11)), (0.25, 2.0))
ADAPTIVE_RATE = Axis("server learning rate", HALF_DECADES, (0.01, 0.3))
MOMENTUM = Axis(
    "momentum",
    (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
    (0.3, 0.9),
    {0.0: "momentum 0 is FedAvg"},
)
MU = Axis("mu", (0.0, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0), (0.01, 1.0), {0.0: "mu 0 is FedAvg"})
ALPHA = Axis("alpha", HALF_DECADES, (0.01, 0.3))


@dataclasses.dataclass(frozen=True)
class Method:
    """A method: its algorithm as a function of the rate and the knob, and its budget.

    Attributes:
      build: from the clients' learning rate and the knob to the algorithm.
      knob: what is tuned beside the rate.
      steps: from the clients' labels [N, n] to the local steps, if not those of the setting.
      public: the share of the examples that all clients get.
      baseline: the method that it is compared with.
    """

    build: Callable[[float, float], Algorithm]
    knob: Axis = NO_KNOB
    steps: Callable[[np.ndarray], int | np.ndarray] | None = None
    public: float = 0.0
    baseline: str = "FedAvg"


def fed_avg(rate: float, _: float) -> Algorithm:
    return algorithms.fed_avg(rate)


def a_tenth(labels: np.ndarray) -> int:
    return 4


def unequal(labels: np.ndarray) -> np.ndarray:
    """Returns few steps for the first half of the clients, whatever they hold."""
    return np.where(np.arange(len(labels)) < len(labels) // 2, FEW_STEPS, MANY_STEPS)


def unequal_by_digit(labels: np.ndarray) -> np.ndarray:
    """Returns few steps for the half of the clients with the larger digits on average."""
    rank = labels.mean(axis=1).argsort().argsort()
    return np.where(rank >= len(labels) // 2, FEW_STEPS, MANY_STEPS)


METHODS = {
    "FedAvg": Method(fed_avg),
    "FedVARP": Method(algorithms.fed_varp, SERVER_RATE),
    "MIFA": Method(algorithms.mifa, SERVER_RATE),
    "SCAFFOLD": Method(algorithms.scaffold, SERVER_RATE),
    "FedDyn": Method(algorithms.fed_dyn, ALPHA),
    "a tenth of the steps": Method(fed_avg, steps=a_tenth),
    "5% public data": Method(fed_avg, public=PUBLIC),
    "server rate": Method(algorithms.fed_avg, SERVER_RATE),
    "FedAvgM": Method(algorithms.fed_avg_m, MOMENTUM),
    "FedAdam": Method(algorithms.fed_adam, ADAPTIVE_RATE),
    "FedYogi": Method(algorithms.fed_yogi, ADAPTIVE_RATE),
    "FedProx": Method(algorithms.fed_prox, MU),
    "Mime Lite": Method(algorithms.mime_lite, MOMENTUM),
    "server rate, unequal steps": Method(algorithms.fed_avg, SERVER_RATE, unequal),
    "FedNova, unequal steps": Method(
        algorithms.fed_nova, SERVER_RATE, unequal, baseline="server rate, unequal steps"
    ),
    "server rate, steps by digit": Method(algorithms.fed_avg, SERVER_RATE, unequal_by_digit),
    "FedNova, steps by digit": Method(
        algorithms.fed_nova, SERVER_RATE, unequal_by_digit, baseline="server rate, steps by digit"
    ),
}
EQUAL_STEPS = tuple(name for name in METHODS if METHODS[name].steps in (None, a_tenth))
UNEQUAL_STEPS = tuple(name for name in METHODS if name not in EQUAL_STEPS)
FEW = ("FedAvg", "FedVARP", "MIFA", "SCAFFOLD", "FedDyn", "FedAvgM", "Mime Lite")
