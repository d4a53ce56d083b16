"""The scale of all experiments, from the environment variable FEDBOOK_SCALE: quick or full."""

import os
from typing import TypeVar

from fedbook.checks import check_one_of

T = TypeVar("T")
SCALES = ("quick", "full")


def current_scale() -> str:
    """Returns "quick" (the default) or "full", the value of FEDBOOK_SCALE.

    Raises:
      ValueError: if the variable has any other value.
    """
    return check_one_of("FEDBOOK_SCALE", os.environ.get("FEDBOOK_SCALE", "quick"), SCALES)


def scaled(*, quick: T, full: T) -> T:
    """Returns the argument that :func:`current_scale` names.

    >>> scaled(quick=10, full=100)
    10
    """
    return {"quick": quick, "full": full}[current_scale()]
