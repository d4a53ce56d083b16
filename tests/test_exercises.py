"""Exercises: right and wrong answers, and what is said about them."""

import dataclasses
import importlib
import math
import pkgutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

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


def weighted_mean(deltas, num_examples):
    shares = np.array(num_examples) / sum(num_examples)
    return [sum(s * d for s, d in zip(shares, arrays)) for arrays in zip(*deltas)]


def in_place(deltas, num_examples):
    for delta, n in zip(deltas, num_examples):
        for array in delta:
            array *= n / sum(num_examples)
    return [sum(arrays) for arrays in zip(*deltas)]


RIGHT = {
    "01-1": [7968.4, 7968, np.float32(7968.4), tf.constant(7968.4), np.array(7968.4)],
    "01-2": [
        weighted_mean,
        in_place,
        lambda deltas, n: tuple(map(tf.constant, weighted_mean(deltas, n))),
    ],
    "01-3": [lambda n, epochs, size: epochs * -(-n // size)],
}
# For each exercise, wrong answers with some words of what is said about them.
WRONG = {
    "01-1": [
        (3984.2, "one direction"),
        (159.368, "one round"),
        (79.684, "one client"),
        (1992.1, "How many bytes"),
        (15936.8, "float64"),
        (63747.2, "bits"),
        (7599.3, "1024"),
        (-7968.4, "wrong sign"),
        (7968.4e6, "1,000,000 times too large"),
        (7.9684, "1,000 times too small"),
        (1, "not the right value"),
        (10**400, "cannot be read as a number"),
        (math.nan, "not finite"),
        ("7968", "is a str"),
        (True, "is a bool"),
        ([7968.4], "shape (1,); it should be a single number"),
        ([[1], [2, 3]], "cannot be read"),
        ({"MB": 7968.4}, "is a dict"),
        (weighted_mean, "is a function"),
    ],
    "01-2": [
        (lambda deltas, n: [np.mean(a, axis=0) for a in zip(*deltas)], "each client counts once"),
        (lambda deltas, n: [np.tensordot(n, np.stack(a), 1) for a in zip(*deltas)], "weighted sum"),
        (lambda deltas, n: [-array for array in weighted_mean(deltas, n)], "wrong sign"),
        (lambda deltas, n: [3 * array for array in weighted_mean(deltas, n)], "same factor"),
        (lambda deltas, n: weighted_mean(deltas, n)[:1], "has 1 entries; it should have 2"),
        (lambda deltas, n: [a[None] for a in weighted_mean(deltas, n)], "it should have shape"),
        (lambda deltas, n: 0.0, "is a float; it should be a list"),
        (lambda deltas, n: np.array(0.0), "is a ndarray; it should be a list"),
        (lambda deltas, n: [None, None], "NoneType that cannot be read"),
        (lambda deltas: deltas, "TypeError"),
        (lambda deltas, n: deltas[99], "raises IndexError: list index out of range. The input was"),
        ([np.zeros(2)], "give the function itself"),
    ],
    "01-3": [
        (lambda n, epochs, size: epochs * (n // size), "smaller last batch"),
        (lambda n, epochs, size: -(-n // size), "one epoch"),
        (lambda n, epochs, size: -(-epochs * n // size), "across the end"),
        (lambda n, epochs, size: epochs * n / size, "whole number"),
        (lambda n, epochs, size: epochs * (n // size + 1), "not the right value"),
        (lambda n, epochs, size: 1 / 0, "ZeroDivisionError: division by zero. The input was num_"),
        (lambda n, epochs, size: -7 * n * epochs, "not the right value. The input was num_examp"),
        (lambda n, epochs, size: str(n), "is a str that cannot be read as a number"),
    ],
}
WRONG_CASES = [(id_, answer, words) for id_, cases in WRONG.items() for answer, words in cases]


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
        assert str(int(exercise.expected)) not in message


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
        (0.0, 0, 1, "not the right value"),
        ([np.ones(2), np.ones(3)], (np.ones(2), np.ones(3)), np.ones((2, 2)), "entry 1"),
    ],
)
def test_numbers_of_every_form(expected, right, wrong, words):
    kind = Number(expected)
    assert kind.verdict(right).is_right
    verdict = kind.verdict(wrong)
    assert not verdict.is_right and words in verdict.message


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
