"""Bad input, refused by name: what an argument is, what it got and what it wants.

Every public function calls these before it starts to work. Each check returns the value
that it was given, as a plain Python number where it is one.
"""

import contextlib
import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def check_int(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Returns `value` as an int; raises ValueError unless it is a whole number in the range.

    The range is from `low` to `high`, both included; without `high` it has no upper end.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} is {value!r}; it must be an int, {wanted}.")
    return int(value)


def check_number(
    name: str,
    value: Any,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> float:
    """Returns `value` as a float; raises ValueError unless it is finite and within the bounds.

    `low` and `high` themselves are allowed, `above` and `below` are not.
    """
    number = math.nan
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if real:
        with contextlib.suppress(OverflowError):  # an int that no float can hold stays NaN
            number = float(value)
    if math.isfinite(number):
        fits = (low is None or number >= low) and (above is None or number > above)
        if fits and (high is None or number <= high) and (below is None or number < below):
            return number
    at_most = "and at most" if low is None else "to"
    bounds = {"from": low, "above": above, at_most: high, "and below": below}
    wanted = " ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    raise ValueError(f"{name} is {value!r}; it must be a finite number {wanted}".rstrip() + ".")


def check_learning_rate(name: str, value: Any) -> float:
    """Returns `value` as a float; raises ValueError unless it is above 0 and finite as float32."""
    return check_number(name, value, above=0, high=float(np.finfo(np.float32).max))


def check_one_of(name: str, value: Any, wanted: Sequence[Any]) -> Any:
    """Returns `value`; raises ValueError unless it is one of `wanted`."""
    # An array equals a string element by element, so compare nothing of another type.
    if not any(isinstance(value, type(one)) and value == one for one in wanted):
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(str, wanted))}.")
    return value


def check_type(name: str, value: Any, wanted: type, example: str = "") -> Any:
    """Returns `value`; raises TypeError unless it is a `wanted`, such as `example`."""
    if not isinstance(value, wanted):
        such_as = f", such as {example}" if example else ""
        kind = type(value).__name__
        raise TypeError(f"{name} is a {kind}; it must be a {wanted.__name__}{such_as}.")
    return value


def check_callable(name: str, value: Any, wanted: str) -> Any:
    """Returns `value`; raises TypeError unless it can be called; `wanted` says what it is for."""
    if not callable(value):
        raise TypeError(f"{name} is {value!r}; it must be a function {wanted}.")
    return value


def check_ints(name: str, array: Any, low: int, high: int | None = None) -> np.ndarray:
    """Returns the array; raises ValueError unless it holds ints from `low` to `high` only.

    Both ends are included; without `high` the range has no upper end. An empty array passes.
    """
    checked = np.asarray(array)
    if checked.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {checked.dtype}; it must hold ints.")
    if checked.size:
        least, most = checked.min(), checked.max()
        if least < low or (high is not None and most > high):
            wanted = f"at least {low}" if high is None else f"from {low} to {high}"
            raise ValueError(f"{name} holds {least} to {most}; it must hold ints, {wanted}.")
    return checked


def check_floats(name: str, arrays: Sequence[Any]) -> list[np.ndarray]:
    """Returns the arrays as float32; raises ValueError if there is none, or one without floats."""
    checked = [np.asarray(array) for array in arrays]
    if not checked:
        raise ValueError(f"{name} is empty; it must hold at least one array.")
    for number, array in enumerate(checked):
        if array.dtype.kind != "f":
            raise ValueError(f"{name}[{number}] has dtype {array.dtype}; it must hold floats.")
    return [array.astype(np.float32, copy=False) for array in checked]


def check_shapes(
    name: str, arrays: Sequence[Any], like: Sequence[Any], like_name: str = "weights"
) -> list[np.ndarray]:
    """Returns the arrays as float32; raises ValueError unless they are shaped like `like`."""
    got, wanted = [np.shape(a) for a in arrays], [np.shape(a) for a in like]
    if got != wanted:
        raise ValueError(f"{name} has shapes {got}; those of {like_name} are {wanted}.")
    return [np.asarray(a, np.float32) for a in arrays]
