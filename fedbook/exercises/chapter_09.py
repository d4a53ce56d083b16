"""The exercises of chapter 9, compression."""

from collections.abc import Sequence

import numpy as np

from fedbook import compression
from fedbook.exercises.answers import Choice, Function, Number

SMALLER = 50  # how many times the uplink of exercise 1 shrinks


def gamma_bits(numbers: Sequence[int]) -> int:
    """Returns the number of bits of the integers in Elias's gamma code."""
    return sum(2 * int(number).bit_length() - 1 for number in numbers)


def qsgd_error(x: np.ndarray, s: int) -> float:
    """Returns the expected squared error of QSGD over the squared norm of x."""
    position = np.abs(x) / np.linalg.norm(x) * s
    p = position - np.floor(position)
    return float(np.sum(p * (1 - p)) / s**2)


def feedback_step(x: np.ndarray, memory: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the server sees of x and the memory with top-k, and the new memory."""
    seen = _top_k(x + memory, k)
    return seen, x + memory - seen


def half(vector: np.ndarray) -> list:
    """Returns the length of a message in half precision, and the decoded array."""
    header = compression.header_bytes([vector.shape])
    return [header + 2 * vector.size, vector.astype("<f2").astype(np.float32)]


def _top_k(x: np.ndarray, k: int) -> np.ndarray:
    seen = np.zeros_like(x)
    places = np.argsort(-np.abs(x))[:k]
    seen[places] = x[places]
    return seen


def _draw_numbers(rng: np.random.Generator) -> tuple[list[int]]:
    return (rng.integers(1, 40, size=rng.integers(3, 9)).tolist(),)


def _draw_levels(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    return rng.normal(size=rng.integers(5, 30)), int(rng.integers(2, 9))


def _draw_step(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    x, memory = rng.normal(size=(2, 9))
    return x, memory, int(rng.integers(2, 5))


def _draw_vector(rng: np.random.Generator) -> tuple[np.ndarray]:
    return (rng.normal(size=rng.integers(5, 30)).astype(np.float32),)


EXERCISES = {
    "09-1": Number(
        expected=2 / (1 + 1 / SMALLER),
        mistakes={
            "that is the uplink alone. The model travels down as well, and it is not smaller.": (
                SMALLER
            ),
            "that would be right if the downlink cost nothing after the change. It costs what it "
            "cost before.": 2 * SMALLER,
            "that is how large the new bill is as a share of the old one. Ask it the other way "
            "round.": (1 + 1 / SMALLER) / 2,
            "that is the limit for a message of no bytes at all. What is left of the uplink?": 2,
        },
    ),
    "09-2": Choice(
        expected="b",
        options={
            "a": "that is what `order[10 - k:]` selects. Is `-k` a position from the end?",
            "b": "`-0` is 0, so the slice begins at the first element, and the whole bias travels.",
            "c": "for that, `k` would have to be 1. What does `int(0.1)` return?",
        },
    ),
    "09-3": Function(
        gamma_bits,
        _draw_numbers,
        mistakes={
            "that counts the binary digits only. How does a decoder know where a number ends?": (
                lambda numbers: sum(int(n).bit_length() for n in numbers)
            ),
            "that has a zero too many for each number: there are as many as there are binary "
            "digits *after the first*.": lambda numbers: sum(
                2 * int(n).bit_length() for n in numbers
            ),
            "that gives a list. The whole message is asked for.": lambda numbers: [
                2 * int(n).bit_length() - 1 for n in numbers
            ],
        },
    ),
    "09-4": Function(
        qsgd_error,
        _draw_levels,
        mistakes={
            "that measures the error in levels. One level is the norm divided by s.": (
                lambda x, s: qsgd_error(x, s) * s**2
            ),
            "that divides by s once. A squared distance needs the square of the level.": (
                lambda x, s: qsgd_error(x, s) * s
            ),
            "that is not divided by the squared norm of x.": lambda x, s: (
                qsgd_error(x, s) * np.sum(x**2)
            ),
            "that is the bound of the paper. The error itself depends on x.": lambda x, s: min(
                x.size / s**2, np.sqrt(x.size) / s
            ),
        },
    ),
    "09-5": Function(
        feedback_step,
        _draw_step,
        mistakes={
            "the memory has to be added before the largest elements are chosen.": (
                lambda x, memory, k: (_top_k(x, k), x + memory - _top_k(x, k))
            ),
            "the new memory forgets what was owed before.": lambda x, memory, k: (
                _top_k(x + memory, k),
                x - _top_k(x, k),
            ),
            "the two results are the other way round.": lambda x, memory, k: feedback_step(
                x, memory, k
            )[::-1],
            "the new memory has the wrong sign. What does the client still owe?": (
                lambda x, memory, k: (
                    feedback_step(x, memory, k)[0],
                    -feedback_step(x, memory, k)[1],
                )
            ),
        },
    ),
    "09-6": Function(
        half,
        _draw_vector,
        mistakes={
            "the length leaves out the header, which `encode` writes by itself. Take the length "
            "of the message.": lambda vector: [2 * vector.size, half(vector)[1]],
            "the message has four bytes for each element. Where is the type converted?": (
                lambda vector: [half(vector)[0] + 2 * vector.size, half(vector)[1]]
            ),
            "the server sees the array without any rounding. Decode the message.": (
                lambda vector: [half(vector)[0], vector]
            ),
        },
        rtol=1e-6,
    ),
    "09-7": Choice(
        expected="c",
        options={
            "a": "float32 messages are a hundred times as long. Do five epochs save as many "
            "rounds?",
            "b": "the messages are as short with more epochs. How many rounds does it take?",
            "c": "local epochs save rounds, and the codec saves bytes in each round.",
        },
    ),
}
