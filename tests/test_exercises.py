"""Exercises: right and wrong answers, and what is said about them.

The answers are in the folder exercise_answers, a file for each chapter.
"""

import dataclasses
import importlib
import pathlib
import pkgutil
import re
import runpy

import numpy as np
import pandas as pd
import pytest

from fedbook import exercises
from fedbook.exercises.answers import Choice, Function, Number

EXERCISES = {
    id_: exercise
    for module in pkgutil.iter_modules(exercises.__path__)
    if module.name.startswith("chapter_")
    for id_, exercise in importlib.import_module(
        f"fedbook.exercises.{module.name}"
    ).EXERCISES.items()
}
RIGHT, WRONG = {}, {}
for file in sorted(pathlib.Path(__file__).parent.glob("exercise_answers/chapter_*.py")):
    answers = runpy.run_path(str(file))
    RIGHT |= answers["RIGHT"]
    WRONG |= answers["WRONG"]
WRONG_CASES = [(id_, answer, words) for id_, cases in WRONG.items() for answer, words in cases]


@pytest.fixture(autouse=True)
def same_inputs(monkeypatch):
    """A reader's function is tried on new random inputs; a test must not depend on them."""
    seeded = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed=0: seeded(seed))


def test_every_exercise_is_in_the_tables():
    assert sorted(RIGHT) == sorted(WRONG) == sorted(EXERCISES)
    assert all(RIGHT.values()) and all(WRONG.values())
    for id_, exercise in EXERCISES.items():
        hints = exercise.options if isinstance(exercise, Choice) else exercise.mistakes
        said = [exercises.check(id_, answer).message for answer, _ in WRONG[id_]]
        said += [exercises.check(id_, answer).message for answer in RIGHT[id_]]
        words = hints.values() if isinstance(exercise, Choice) else hints
        assert [hint for hint in words if not any(hint in message for message in said)] == []


@pytest.mark.parametrize("id_,answer", [(i, a) for i, answers in RIGHT.items() for a in answers])
def test_right_answers(id_, answer):
    verdict = exercises.check(id_, answer)
    assert verdict.is_right, verdict
    assert repr(verdict).startswith("Right")


@pytest.mark.parametrize("id_,answer,words", WRONG_CASES)
def test_wrong_answers(id_, answer, words):
    verdict = exercises.check(id_, answer)
    assert not verdict.is_right
    assert verdict.message.startswith("Not yet: ") and words in verdict.message
    assert repr(verdict) == verdict.message


@pytest.mark.parametrize("id_", EXERCISES)
def test_a_stub_is_not_answered(id_):
    stubs = [None, ...]
    if isinstance(EXERCISES[id_], Function):
        stubs += [lambda *inputs: None, lambda *inputs: ...]
    for stub in stubs:
        verdict = exercises.check(id_, stub)
        assert not verdict.is_right and verdict.message.startswith("Not answered yet: ")


@pytest.mark.parametrize("id_,answer,words", WRONG_CASES)
def test_no_message_shows_the_expected_number(id_, answer, words):
    exercise = EXERCISES[id_]
    if isinstance(exercise, Number) and np.ndim(exercise.expected) == 0:
        message = exercises.check(id_, answer).message.replace(",", "")
        numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", message)]
        assert not np.isclose(numbers, exercise.expected, rtol=0.01).any()


@pytest.mark.parametrize(
    "id_,error,words",
    [
        ("01-99", ValueError, "must be one of 01-1, 01-2, 01-3"),
        ("99-1", ValueError, "the chapter of exercise '99-1' is '99'; it must be one of 01"),
        ("1-1", ValueError, "it must be one of 01"),
        ("../x", ValueError, "it must be one of 01"),
        ("", ValueError, "it must be one of 01"),
        (1, TypeError, "exercise is a int; it must be a str"),
    ],
)
def test_unknown_exercises(id_, error, words):
    with pytest.raises(error, match=words):
        exercises.check(id_, 1)


def test_a_verdict_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        exercises.check("01-1", 1).is_right = True


TABLE = pd.DataFrame({"up": [1.0, 2.0], "down": [3.0, 5.0]}, index=["a", "b"])


@pytest.mark.parametrize(
    "expected,right,wrong,words",
    [
        ([1.0, 2.0], np.array([1, 2]), [2, 4], "2 times too large"),
        ([1.0, 2.0], pd.Series([1, 2]), [1, 2, 3], "shape (3,); it should have shape (2,)"),
        (lambda: np.eye(2), [[1, 0], [0, 1]], [[0, 0], [0, 0]], "not the right value"),
        ({"a": 1.0}, pd.Series({"a": 1.0}), {"b": 1.0}, "labels ['b']; it should have ['a']"),
        ({"a": 1.0, "b": 2.0}, {"b": 2, "a": 1}, {"a": 1, "b": 9}, "the answer for 'b' has"),
        (TABLE, TABLE[["down", "up"]], TABLE.T, "labels ['a', 'b']"),
        (TABLE, TABLE.to_dict(), 1 - TABLE, "the answer for 'up' for 'a' has"),
        (TABLE, TABLE, [1.0], "is a list; it should be a dict or a table"),
        (True, True, "yes", "cannot be read"),
        ([True, False], np.array([True, False]), [True, True], "not the right value"),
        ([1.0, -1.0], [1, -1], [1, 1], "not the right value"),
        (0.0, 0, 1, "not the right value"),
        ([np.ones(2), np.ones(3)], (np.ones(2), np.ones(3)), np.ones((2, 2)), "entry 1"),
    ],
)
def test_numbers_of_every_form(expected, right, wrong, words):
    kind = Number(expected)
    assert kind.verdict(right).is_right
    verdict = kind.verdict(wrong)
    assert not verdict.is_right and words in verdict.message


def test_what_is_said_of_a_function_fits_most_inputs():
    draws = iter([3, 5, 7])
    kind = Function(lambda n: n, lambda rng: (next(draws),), tries=3)
    message = kind.verdict(lambda n: 12).message  # 4 times too large for 3
    assert "not the right value" in message and message.endswith("The input was n = 5.")


def test_choices():
    kind = Choice("b", {"a": "what would then differ?", "b": "the clients drift."})
    assert kind.verdict(" B ").is_right
    assert repr(kind.verdict("b")) == "Right: the clients drift."
    assert repr(kind.verdict("a")) == "Not yet: what would then differ?"
    for answer in ("c", 1, np.ones(3), ["b"]):
        verdict = kind.verdict(answer)
        assert not verdict.is_right and 'choose one of "a", "b"' in verdict.message
    assert kind.verdict(...).message.startswith("Not answered yet")
    with pytest.raises(ValueError, match="expected is 'c'; it must be one of a"):
        Choice("c", {"a": ""})
