"""The kinds of answers: numbers, functions and choices.

Each kind has a method `verdict` that judges an answer. `mistakes` holds for each hint the wrong
answer that it belongs to. A hint is a full sentence that starts in lower case, because it
follows "Not yet:", and it does not give the solution away.
"""

import copy
import dataclasses
import inspect
import numbers
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fedbook.checks import check_one_of

TABLES = (Mapping, pd.Series, pd.DataFrame)
UNITS = (2, 4, 8, 10, 100, 1000, 1024, 10**6)  # a number is often wrong by one of these factors


@dataclasses.dataclass(frozen=True, repr=False)
class Verdict:
    """What :func:`fedbook.exercises.check` says about an answer; it shows as its message.

    Attributes:
      is_right: whether the answer is right.
      message: a sentence or two for the reader.
    """

    is_right: bool
    message: str

    def __repr__(self) -> str:
        return self.message


@dataclasses.dataclass(frozen=True)
class Number:
    """An answer of one or more numbers.

    Attributes:
      expected: a number, an array, or a list, dict, Series or DataFrame of them; or a function
        without arguments that computes it.
      rtol: the relative error that is still right.
      mistakes: for each hint the wrong answer, given like `expected`.
    """

    expected: Any
    rtol: float = 1e-3
    mistakes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def verdict(self, answer: Any) -> Verdict:
        """Compares the answer with what is expected, then with the known mistakes."""
        if _is_stub(answer):
            return _not_answered("put your answer in the place of ... and run the cell again.")
        difference = _difference(answer, _value(self.expected), self.rtol)
        if not difference:
            return Verdict(True, "Right.")
        for hint, mistake in self.mistakes.items():
            if not _difference(answer, _value(mistake), self.rtol):
                return _wrong(hint)
        return _wrong(difference)


@dataclasses.dataclass(frozen=True)
class Function:
    """An answer that is a function; it is tried on new random inputs.

    Attributes:
      reference: the solution. Its parameters' names describe the inputs to the reader.
      draw_inputs: a function of a NumPy generator that returns a tuple of positional arguments.
      mistakes: for each hint a wrong solution.
      rtol: the relative error that is still right.
      tries: how many inputs to draw.
    """

    reference: Callable[..., Any]
    draw_inputs: Callable[[np.random.Generator], tuple[Any, ...]]
    mistakes: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    rtol: float = 1e-4
    tries: int = 10

    def verdict(self, answer: Any) -> Verdict:
        """Compares the results of the answer with those of the reference, then of the mistakes."""
        if _is_stub(answer):
            return _not_answered("write the function and run the cell again.")
        if not callable(answer):
            return _wrong(
                f"the answer is a {type(answer).__name__}; give the function itself, without "
                "parentheses after its name."
            )
        rng = np.random.default_rng()
        inputs = [self.draw_inputs(rng) for _ in range(self.tries)]
        results = []
        for arguments in inputs:
            try:
                result = answer(*copy.deepcopy(arguments))
            except Exception as error:  # whatever the reader's function raises is the result
                raised = f"{type(error).__name__}: {error}".rstrip(": .")
                return _wrong(f"your function raises {raised}. {self._describe(arguments)}")
            if _is_stub(result):
                return _not_answered(
                    f"your function still returns {'...' if result is ... else None}; write its "
                    "body and return the result."
                )
            results.append(result)
        differences = self._differences(results, inputs, self.reference)
        if not any(differences):
            return Verdict(True, "Right.")
        for hint, mistake in self.mistakes.items():
            if not any(self._differences(results, inputs, mistake)):
                return _wrong(hint)
        # Of one input alone a wrong result can be "4 times too large" by chance.
        usual = max(filter(None, differences), key=differences.count)
        return _wrong(f"{usual} {self._describe(inputs[differences.index(usual)])}")

    def _differences(
        self, results: list[Any], inputs: list[tuple[Any, ...]], function: Callable[..., Any]
    ) -> list[str]:
        wanted = [function(*copy.deepcopy(arguments)) for arguments in inputs]
        return [
            _difference(result, expected, self.rtol, "the result")
            for result, expected in zip(results, wanted)
        ]

    def _describe(self, arguments: tuple[Any, ...]) -> str:
        names = inspect.signature(self.reference).parameters
        shown = [f"{name} = {_short(value)}" for name, value in zip(names, arguments)]
        return f"The input was {', '.join(shown)}."


@dataclasses.dataclass(frozen=True)
class Choice:
    """An answer that is the letter of an option, such as a prediction.

    Attributes:
      expected: the right letter.
      options: for each letter what to say to a reader who chose it: why it is right, or what
        speaks against it.

    Raises:
      ValueError: if `expected` is not one of the options.
    """

    expected: str
    options: Mapping[str, str]

    def __post_init__(self):
        check_one_of("expected", self.expected, list(self.options))

    def verdict(self, answer: Any) -> Verdict:
        """Compares the letter, whatever its case, with the right one."""
        if _is_stub(answer):
            return _not_answered("put the letter of your choice in the place of ... .")
        letter = answer.strip().lower() if isinstance(answer, str) else ""
        if letter not in self.options:
            letters = ", ".join(f'"{letter}"' for letter in self.options)
            return _wrong(f"choose one of {letters}; the answer is {reprlib.repr(answer)}.")
        if letter == self.expected:
            return Verdict(True, f"Right: {self.options[letter]}")
        return _wrong(self.options[letter])


def _is_stub(answer: Any) -> bool:
    return answer is None or answer is ...


def _not_answered(what_to_do: str) -> Verdict:
    return Verdict(False, f"Not answered yet: {what_to_do}")


def _wrong(why: str) -> Verdict:
    return Verdict(False, f"Not yet: {why}")


def _value(expected: Any) -> Any:
    return expected() if callable(expected) else expected


def _difference(answer: Any, expected: Any, rtol: float, what: str = "the answer") -> str:
    """Returns in words how the answer differs first from what is expected; "" if it does not."""
    kind = type(answer).__name__
    if isinstance(expected, TABLES):
        if not isinstance(answer, TABLES):
            return f"{what} is a {kind}; it should be a dict or a table."
        answer, expected = dict(answer.items()), dict(expected.items())
        if answer.keys() != expected.keys():
            return f"{what} has the labels {list(answer)}; it should have {list(expected)}."
        pairs = [(f"{what} for {key!r}", answer[key], expected[key]) for key in expected]
    elif isinstance(expected, (list, tuple)) and not all(map(_is_number, expected)):
        if not isinstance(answer, (list, tuple)) and not (
            isinstance(answer, np.ndarray) and answer.ndim
        ):
            return f"{what} is a {kind}; it should be a list."
        if len(answer) != len(expected):
            return f"{what} has {len(answer)} entries; it should have {len(expected)}."
        pairs = [(f"entry {i} of {what}", answer[i], expected[i]) for i in range(len(expected))]
    else:
        return _number_difference(answer, np.asarray(expected), rtol, what)
    return next(filter(None, (_difference(a, e, rtol, name) for name, a, e in pairs)), "")


def _number_difference(answer: Any, expected: np.ndarray, rtol: float, what: str) -> str:
    """As `_difference`, for an array or a number."""
    try:
        is_int = isinstance(answer, int) and not isinstance(answer, bool)
        got = np.asarray(float(answer) if is_int else answer)  # float: an int of any size
    except Exception:  # lists of different lengths, for example, or a symbolic tensor
        got = np.asarray(None)
    if got.dtype.kind not in ("biuf" if expected.dtype.kind == "b" else "iuf"):
        wanted = "numbers" if expected.ndim else "a number"
        return f"{what} is a {type(answer).__name__} that cannot be read as {wanted}."
    if got.shape != expected.shape:
        wanted = f"have shape {expected.shape}" if expected.ndim else "be a single number"
        return f"{what} has shape {got.shape}; it should {wanted}."
    got, expected = got.astype(np.float64), expected.astype(np.float64)

    def same(wanted: np.ndarray) -> bool:
        rounding = 1e-6 * np.abs(wanted).max(initial=0)  # of float32 sums that nearly cancel
        return np.allclose(got, wanted, rtol=rtol, atol=rounding)

    if same(expected):
        return ""
    if not np.isfinite(got).all():
        return f"{what} is not finite: it is, or contains, NaN or infinity."
    if same(-expected):
        return f"{what} has the wrong sign."
    for factor in UNITS:
        if same(expected * factor):
            return f"{what} is {factor:,} times too large."
        if same(expected / factor):
            return f"{what} is {factor:,} times too small."
    if (
        expected.size > 1
        and got.any()
        and expected.sum()
        and same(expected * (got.sum() / expected.sum()))
    ):
        return f"every value of {what} is wrong by the same factor."
    return f"{what} has the right form, but not the right value."


def _is_number(value: Any) -> bool:
    return isinstance(value, (numbers.Number, np.bool_))


def _short(value: Any) -> str:
    """Describes an input: numbers by their value, arrays by their shape."""
    if isinstance(value, (list, tuple)) and not all(map(_is_number, value)):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return reprlib.repr(value)
