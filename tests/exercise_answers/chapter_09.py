"""Chapter 9: for each exercise, right answers, and wrong ones with some words of what is said."""

import numpy as np

from fedbook import compression


def _seen(x, k):
    return np.where(np.abs(x) >= np.sort(np.abs(x))[-k], x, 0)


def _half(vector):
    header = compression.header_bytes([vector.shape])
    return (header + 2 * len(vector), np.float32(np.float16(vector)))


RIGHT = {
    "09-1": [1.9608, 100 / 51],
    "09-2": ["b", "B"],
    "09-3": [lambda numbers: sum(2 * int(np.log2(n)) + 1 for n in numbers)],
    "09-4": [
        lambda x, s: (
            np.mean(
                [
                    np.sum(
                        (
                            np.floor(np.abs(x) / np.linalg.norm(x) * s + u) / s * np.linalg.norm(x)
                            - np.abs(x)
                        )
                        ** 2
                    )
                    for u in (np.arange(20_000) + 0.5)[:, None] / 20_000
                ]
            )
            / np.sum(x**2)
        )
    ],
    "09-5": [lambda x, memory, k: [_seen(x + memory, k), x + memory - _seen(x + memory, k)]],
    "09-6": [_half],
    "09-7": ["c", "C"],
}
WRONG = {
    "09-1": [(50, "the uplink alone"), (100, "cost nothing"), (0.51, "other way"), (2, "limit")],
    "09-2": [("a", "from the end"), ("c", "int(0.1)"), ("d", "choose one of")],
    "09-3": [
        (lambda numbers: sum(n.bit_length() for n in numbers), "where a number ends"),
        (lambda numbers: sum(2 * n.bit_length() for n in numbers), "after the first"),
        (lambda numbers: [2 * n.bit_length() - 1 for n in numbers], "whole message"),
        (lambda numbers: 32 * len(numbers), "not the right value"),
    ],
    "09-4": [
        (lambda x, s: np.sum(_p(x, s) * (1 - _p(x, s))), "in levels"),
        (lambda x, s: np.sum(_p(x, s) * (1 - _p(x, s))) / s, "s once"),
        (lambda x, s: np.sum(_p(x, s) * (1 - _p(x, s))) / s**2 * np.sum(x**2), "squared norm"),
        (lambda x, s: min(len(x) / s**2, len(x) ** 0.5 / s), "bound"),
    ],
    "09-5": [
        (lambda x, m, k: (_seen(x, k), x + m - _seen(x, k)), "before the largest"),
        (lambda x, m, k: (_seen(x + m, k), x - _seen(x, k)), "forgets"),
        (lambda x, m, k: (x + m - _seen(x + m, k), _seen(x + m, k)), "other way round"),
        (lambda x, m, k: (_seen(x + m, k), _seen(x + m, k) - x - m), "wrong sign"),
        (lambda x, m, k: _seen(x + m, k), "has 9 entries; it should have 2"),
    ],
    "09-6": [
        (lambda v: (2 * len(v), _half(v)[1]), "header"),
        (lambda v: (_half(v)[0] + 2 * len(v), _half(v)[1]), "four bytes"),
        (lambda v: (_half(v)[0], v), "without any rounding"),
    ],
    "09-7": [("a", "a hundred times"), ("b", "as short with more"), ("x", "choose one of")],
}


def _p(x, s):
    position = np.abs(x) / np.linalg.norm(x) * s
    return position % 1
