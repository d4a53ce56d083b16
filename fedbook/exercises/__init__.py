"""Says whether an answer to an exercise is right, and gives a hint if it is not.

The exercises have ids such as ``"01-2"``, which is exercise 2 of chapter 1::

    exercises.check("01-1", megabytes)  # Not yet: that counts one direction only. ...

The message never shows the solution. To add an exercise, add an entry to ``EXERCISES`` in the
chapter's module, as a :class:`~fedbook.exercises.answers.Number`, a
:class:`~fedbook.exercises.answers.Function` or a :class:`~fedbook.exercises.answers.Choice`.
"""

import importlib
import pkgutil

from fedbook import checks
from fedbook.exercises.answers import Verdict

__all__ = ["Verdict", "check"]


def check(exercise: str, answer: object) -> Verdict:
    """Returns whether the answer is right, and what to think about if it is not.

    Args:
      exercise: the chapter in two digits, a hyphen and the number of the exercise: ``"01-2"``.
      answer: what the exercise asks for: a number, an array, a list, a dict or a table of
        numbers, a function, or the letter of a choice. None and ``...`` are not answered yet.

    Raises:
      TypeError: if `exercise` is not a string.
      ValueError: if there is no such exercise; a wrong answer raises nothing.
    """
    checks.check_type("exercise", exercise, str, '"01-2"')
    modules = [module.name for module in pkgutil.iter_modules(__path__)]
    chapters = [name.removeprefix("chapter_") for name in modules if name.startswith("chapter_")]
    chapter = exercise.partition("-")[0]
    checks.check_one_of(f"the chapter of exercise {exercise!r}", chapter, chapters)
    known = importlib.import_module(f"fedbook.exercises.chapter_{chapter}").EXERCISES
    return known[checks.check_one_of("exercise", exercise, list(known))].verdict(answer)
