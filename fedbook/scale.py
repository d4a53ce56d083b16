"""The one knob: FEDBOOK_SCALE is quick (the default) or full."""

import os
from typing import TypeVar

T = TypeVar("T")
SCALES = ("quick", "full")


def scale() -> str:
    """Returns "quick" or "full", from the environment variable FEDBOOK_SCALE.

    Raises:
      ValueError: if the variable holds anything else.
    """
    value = os.environ.get("FEDBOOK_SCALE", "quick")
    if value not in SCALES:
        raise ValueError(f"FEDBOOK_SCALE is {value!r}; it must be one of {', '.join(SCALES)}.")
    return value


def scaled(*, quick: T, full: T) -> T:
    """Returns `quick` or `full`, whichever :func:`scale` names.

    >>> scaled(quick=10, full=100)
    10
    """
    return {"quick": quick, "full": full}[scale()]
