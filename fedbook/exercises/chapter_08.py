"""The exercises of chapter 8, answers to clients that differ."""

import numpy as np

from fedbook.exercises.answers import Choice, Function, Number

MEGABYTES = 2 * 7850 * 4 * 10 * 20 / 1e6


def fed_varp_step(last: np.ndarray, chosen: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Returns FedVARP's step: the mean of all last deltas, corrected by what is new."""
    return last.mean(axis=0) + (new - last[chosen]).mean(axis=0)


def mifa_step(last: np.ndarray, chosen: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Returns MIFA's step: the mean of the last deltas of all clients, the new ones included."""
    return last.mean(axis=0) + (new - last[chosen]).sum(axis=0) / len(last)


def fed_nova_step(deltas: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Returns FedNova's step: the mean delta of a step, times the mean number of steps."""
    return steps.mean() * (deltas / steps[:, None]).mean(axis=0)


def rests_at(a: np.ndarray, c: np.ndarray, rate: float, num_steps: int) -> float:
    """Returns where FedAvg with all clients rests on the losses ``a / 2 * (w - c)**2``."""
    pull = 1 - (1 - rate * a) ** num_steps
    return float((pull * c).sum() / pull.sum())


def _draw_cohort(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seven clients with four weights, of which three take part."""
    return rng.normal(size=(7, 4)), rng.permutation(7)[:3], rng.normal(size=(3, 4))


def _draw_deltas(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(4, 3)), rng.permutation([2, 5, 9, 20])


def _draw_losses(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Three clients that curve differently, and a rate at which none of them diverges."""
    return rng.uniform([0.1, 0.5, 2], [0.3, 1, 4]), rng.normal(size=3), 0.1, int(rng.integers(3, 9))


EXERCISES = {
    "08-1": Choice(
        expected="a",
        options={
            "a": "what is remembered cancels, and the mean of the new deltas remains.",
            "b": "SCAFFOLD changes the clients' steps, and FedVARP does not.",
            "c": "momentum keeps old deltas in the sum. Write down what FedVARP adds to the "
            "weights: which terms cancel?",
        },
    ),
    "08-2": Number(
        MEGABYTES,
        mistakes={
            "that counts the weights only. What else does a client of SCAFFOLD need?": (
                MEGABYTES / 2
            ),
            "that is what one client gets. Ten take part in each round.": MEGABYTES / 10,
            "that is one round. There are twenty.": MEGABYTES / 20,
            "that counts both directions. The question is what goes down.": MEGABYTES * 1.5,
        },
    ),
    "08-3": Function(
        fed_varp_step,
        _draw_cohort,
        mistakes={
            "that is MIFA, the mean of the last deltas of all clients. FedVARP takes the mean of "
            "what is new over the cohort.": mifa_step,
            "that is FedAvg. Use what the server remembers.": lambda last, chosen, new: new.mean(0),
            "what is new is right. Add the mean of everything remembered.": (
                lambda last, chosen, new: (new - last[chosen]).mean(0)
            ),
            "the new deltas count twice: subtract what the same clients sent before.": (
                lambda last, chosen, new: last.mean(0) + new.mean(0)
            ),
        },
    ),
    "08-4": Function(
        fed_nova_step,
        _draw_deltas,
        mistakes={
            "that is FedAvg. Divide each delta by its number of steps first.": (
                lambda deltas, steps: deltas.mean(0)
            ),
            "that is the mean delta of one step. Multiply it by the mean number of steps.": (
                lambda deltas, steps: (deltas / steps[:, None]).mean(0)
            ),
            "that weighs by the number of steps, which favours fast clients.": (
                lambda deltas, steps: np.average(deltas, axis=0, weights=steps)
            ),
            "multiply by the mean number of steps, not by their sum.": (
                lambda deltas, steps: steps.sum() * (deltas / steps[:, None]).mean(0)
            ),
        },
    ),
    "08-5": Function(
        rests_at,
        _draw_losses,
        mistakes={
            "that is the minimum of the sum. With several steps FedAvg rests elsewhere.": (
                lambda a, c, rate, num_steps: (a * c).sum() / a.sum()
            ),
            "that is the plain mean of the minima, which is right for infinitely many steps "
            "only.": lambda a, c, rate, num_steps: c.mean(),
            "the factor (1 - rate a)^K is what is left of the distance. The delta is what is "
            "gone.": lambda a, c, rate, num_steps: np.average(
                c, weights=(1 - rate * a) ** num_steps
            ),
        },
    ),
    "08-6": Choice(
        expected="c",
        options={
            "a": "more local steps by the same five clients do not bring back the absent ones.",
            "b": "ten clients help, but look at both numbers in the tables.",
            "c": "neither catches up.",
        },
    ),
}
