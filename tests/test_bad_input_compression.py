"""What the codecs and functions of fedbook.compression refuse, as a table.

Each case must raise an error that names the argument and says what it got. Those of RAW raise
too, but an error of Python's or NumPy's; they may be one in ten. No case may pass.
"""

import math

import numpy as np
import pandas as pd
import pytest
import tensorflow_federated as tff

from fedbook import compression
from fedbook.compression import (
    QSGD,
    Deflated,
    Dense,
    MajorityVote,
    RandomK,
    Rotated,
    Sign,
    TopK,
    UniformQuantizer,
)

UPDATE = [np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)]
SHAPES = [(2, 3), (2,)]
MESSAGE = Sign().encode(UPDATE, 1)
ZIPPED = Deflated(Sign()).encode(UPDATE, 1)


def with_first(value, dtype=np.float32):
    copy = UPDATE[0].astype(dtype)
    copy.flat[0] = value
    return [copy, UPDATE[1]]


COUNTS = [0, -1, 1.5, math.nan, math.inf, "2", None, True, 10**12, np.array([1, 2]), pd.Series([1])]
PER = ["row", "", None, 1, True, ["update"]]
SEEDS = [-1, 1.5, math.nan, "1", b"1", None, True, [], [1, -1], (1, "a"), (1, None)]
NO_UPDATES = [
    [],
    with_first(math.nan),
    with_first(math.inf),
    with_first(1e300, np.float64),
    [UPDATE[0].astype(int), UPDATE[1]],
    [UPDATE[0] > 0, UPDATE[1]],
    [UPDATE[0].astype(str), UPDATE[1]],
    [UPDATE[0].astype(complex), UPDATE[1]],
    [UPDATE[0][:0], UPDATE[1]],
    [UPDATE[0], None],
    ["a", "b"],
    None,
    3.0,
]
NO_SHAPES = [[], [(0,)], [(2, 0)], [(-2, -3)], [(2.5,)], [("2",)], [(True,)], [(math.nan,)], None]
NO_MESSAGES = [
    b"",
    MESSAGE[:5],
    MESSAGE[:-1],
    MESSAGE + b"0",
    b"Q" + MESSAGE[1:],
    MESSAGE[:1] + b"0000" + MESSAGE[5:],
    Sign("update").encode(UPDATE, 1),
    TopK(0.5).encode(UPDATE, 1),
    ZIPPED,
    "message",
    None,
    7,
    np.frombuffer(MESSAGE, np.uint8),
]
NO_CODECS = [None, "sign", Sign, 8]
OTHER_SHAPES = [
    [np.ones((1, 3)), np.ones(2)],
    [np.ones((2, 3))],
    [np.ones(8)],
    [*UPDATE, np.ones(1)],
]

# A function, what it is well called with, and for an argument its bad values.
TABLE = [
    (TopK, {}, {"fraction": [0, -1, 1.1, math.nan, math.inf, "0.1", None, True, 1j]}),
    (TopK, {}, {"count": [*COUNTS, 2.0]}),
    (TopK, {"fraction": 0.1}, {"per": PER, "count": [1]}),
    (RandomK, {}, {"fraction": [0, 1.1, math.nan, "0.1"], "count": [0, 1.5, None]}),
    (RandomK, {"fraction": 0.1}, {"rescale": [None, "no", 2, math.nan]}),
    (UniformQuantizer, {}, {"bits": COUNTS, "per": PER}),
    (QSGD, {}, {"levels": COUNTS, "per": PER}),
    (Sign, {}, {"per": PER}),
    (MajorityVote, {}, {"step": [0, -1, math.nan, math.inf, 1e300, "1", None, True]}),
    (Rotated, {"codec": Sign()}, {"block": [0, 1, 3, -2, 2.0, "4", True, 2**40]}),
    (Rotated, {}, {"codec": [*NO_CODECS, MajorityVote(1.0), Deflated(Sign())]}),
    (Deflated, {}, {"codec": [*NO_CODECS, Deflated(Sign())]}),
    (Sign().encode, {"seed": 1}, {"update": NO_UPDATES}),
    (Deflated(QSGD(7)).encode, {"seed": 1}, {"update": NO_UPDATES[:4]}),
    (Dense().encode, {"update": UPDATE}, {"seed": SEEDS}),
    (TopK(count=9).encode, {"seed": 1}, {"update": [UPDATE]}),
    (QSGD(1).encode, {"seed": 1}, {"update": [[np.full(9, 3e38, np.float32)]]}),
    (Sign().decode, {}, {"message": NO_MESSAGES}),
    (Deflated(Sign()).decode, {}, {"message": [b"", MESSAGE, ZIPPED[:-3], "message", None]}),
    (Sign().message_bytes, {}, {"shapes": NO_SHAPES}),
    (compression.header_bytes, {}, {"shapes": NO_SHAPES}),
    (
        compression.aggregate,
        {"codec": Sign(), "messages": [MESSAGE, MESSAGE]},
        {
            "codec": [*NO_CODECS, Sign("update"), TopK(0.5), Deflated(Sign())],
            "messages": [
                *([MESSAGE, bad] for bad in NO_MESSAGES[:8]),
                *([MESSAGE, Sign().encode(other, 1)] for other in OTHER_SHAPES),
                [],
                MESSAGE,
                [None, None],
                None,
            ],
            "weights": [
                [1],
                [0, 0],
                [1, -1],
                [1, math.nan],
                [1, math.inf],
                [[1, 1]],
                1.0,
                "ab",
                [None, 1],
                pd.DataFrame({"w": [1, 2]}),
            ],
        },
    ),
    (
        compression.encode_change,
        {"codec": Sign(), "weights": UPDATE, "known": UPDATE, "seed": 1},
        {
            "codec": NO_CODECS,
            "weights": NO_UPDATES[:7],
            "known": [*OTHER_SHAPES, *NO_UPDATES[:7]],
            "seed": SEEDS[:6],
        },
    ),
    (
        compression.mean_aggregator,
        {"codec": Sign()},
        {"codec": [*NO_CODECS[:2], MajorityVote(1.0)], "seed": [-1, 2**31, 1.5, "1", None, True]},
    ),
    (compression.sum_aggregator, {"codec": Sign()}, {"codec": NO_CODECS[:2], "seed": [-1, None]}),
    (
        compression.sum_aggregator(Sign()).create,
        {},
        {
            "value_type": [
                tff.TensorType(np.int32, [3]),
                tff.TensorType(np.float64, [3]),
                tff.TensorType(np.float32, [None]),
                tff.TensorType(np.str_, [3]),
            ]
        },
    ),
]
# Errors of Python's or NumPy's, by the test's name.
RAW = {
    "Sign.encode-update-11",  # None, or one number, where something to go through is wanted
    "Sign.encode-update-12",
    "Sign.message_bytes-shapes-8",
    "header_bytes-shapes-8",
    "aggregate-messages-15",
    "aggregate-weights-7",  # "ab", which NumPy cannot read as numbers
}


def name_of(function):
    codec = type(getattr(function, "__self__", None)).__name__.replace("NoneType", "")
    return f"{codec}.{function.__name__}".lstrip(".")


CASES = [
    pytest.param(function, good, argument, bad, id=f"{name_of(function)}-{argument}-{number}")
    for function, good, arguments in TABLE
    for argument, values in arguments.items()
    for number, bad in enumerate(values)
]


@pytest.mark.parametrize("function, good, argument, bad", CASES)
def test_it_is_refused(request, function, good, argument, bad):
    with pytest.raises((ValueError, TypeError)) as caught:
        function(**good | {argument: bad})
    said = str(caught.value)
    # What is wrong with an update, a message or settings may be said of the thing itself.
    others = {"codec": "message", "messages": "message", "shapes": "update", "value_type": "values"}
    named = argument in said or others.get(argument, argument) in said
    assert (named and ("; " in said or ": " in said)) != (request.node.callspec.id in RAW), said


def test_the_table():
    assert len(CASES) >= 120 and len(RAW) <= len(CASES) / 10


def test_strides_pandas_and_numpys_numbers_are_taken_as_they_are():
    frame = [pd.DataFrame(UPDATE[0]), pd.Series(UPDATE[1])]
    strided = [np.asfortranarray(UPDATE[0]), np.repeat(UPDATE[1], 2)[::2]]
    for codec in (Sign(), TopK(count=np.int64(3)), QSGD(np.int32(7)), RandomK(np.float32(0.5))):
        message = codec.encode(UPDATE, (1, 2))
        for update in (frame, strided, [a.astype(np.float64) for a in UPDATE]):
            assert codec.encode(update, (np.int64(1), np.uint8(2))) == message
        weights = pd.Series([1, 3], index=[5, 6])
        mean = compression.aggregate(codec, (message, message), weights)
        np.testing.assert_allclose(mean[0], codec.decode(message)[0], rtol=1e-6)
