"""The best client rate and knob of a method, from a grid that is widened until both are inside."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Axis:
    """The values of a hyperparameter that may be tried.

    Attributes:
      name: of the hyperparameter; "" if there is none.
      ladder: all values, in order.
      start: the first and the last of those that are tried at first.
      limits: the values beyond which there is nothing to try, and why.
    """

    name: str
    ladder: tuple[float, ...]
    start: tuple[float, float]
    limits: Mapping[float, str] = dataclasses.field(default_factory=dict)


def tune(score: Callable[[float, float], float], rates: Axis, knobs: Axis) -> dict[str, Any]:
    """Returns the grid of scores, the best values in it, and which of them are at an end.

    As long as the best value of an axis is the first or the last that was tried, the next one of
    its ladder is tried too.

    Args:
      score: from a client rate and a knob to what is to be large.
      rates: the client learning rates.
      knobs: the method's own hyperparameter.
    """
    axes = rates, knobs
    tried = [[axis.ladder.index(value) for value in axis.start] for axis in axes]
    scores: dict[tuple[int, int], float] = {}
    while True:
        (r0, r1), (k0, k1) = tried
        for cell in [(r, k) for k in range(k0, k1 + 1) for r in range(r0, r1 + 1)]:
            if cell not in scores:
                scores[cell] = score(rates.ladder[cell[0]], knobs.ladder[cell[1]])
        best = max(scores, key=lambda cell: scores[cell])
        widened = [_widen(*each) for each in zip(axes, tried, best)]
        if not any(widened):
            break
    return {
        "learning_rate": rates.ladder[best[0]],
        "knob": knobs.ladder[best[1]],
        "tuned_to": scores[best],
        "at_an_end": [end for each in zip(axes, tried, best) for end in _ends(*each)],
        "grid": {
            "learning_rates": list(rates.ladder[r0 : r1 + 1]),
            "knobs": list(knobs.ladder[k0 : k1 + 1]),
            "accuracy": [[scores[r, k] for r in range(r0, r1 + 1)] for k in range(k0, k1 + 1)],
        },
    }


def _widen(axis: Axis, tried: list[int], best: int) -> bool:
    """Adds a neighbour to `tried`, the first and the last index; returns whether there is one."""
    before = list(tried)
    if best == tried[0]:
        tried[0] = max(best - 1, 0)
    if best == tried[1]:
        tried[1] = min(best + 1, len(axis.ladder) - 1)
    return tried != before


def _ends(axis: Axis, tried: list[int], best: int) -> list[str]:
    """Returns why the best value is at an end of what was tried, if it is."""
    if not axis.name or best not in tried:
        return []
    value = axis.ladder[best]
    return [axis.limits.get(value, f"{axis.name} {value:g} is the last of its ladder")]
