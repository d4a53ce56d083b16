"""Codecs: what is kept comes back, every byte is counted, random codecs are unbiased.

The statistical tests draw from fixed seeds, so they pass always or never. FALSE_ALARM
bounds the probability that a correct codec would fail one of them for another seed.
"""

import dataclasses
import math

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
import tensorflow_federated as tff
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fedbook import algorithms, compression
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
    packing,
)
from fedbook.compression.rotate import hadamard

FALSE_ALARM = 1e-7

DETERMINISTIC = [
    Dense(),
    TopK(0.3),
    TopK(0.3, per="tensor"),
    TopK(count=1),
    TopK(1.0),
    Sign(),
    Sign(per="update"),
    MajorityVote(0.5),
]
UNBIASED = [
    RandomK(0.25, per="tensor"),
    UniformQuantizer(1),
    UniformQuantizer(3),
    QSGD(1),
    QSGD(5),
    Rotated(QSGD(3)),
    Rotated(UniformQuantizer(2), block=4),
]
OTHERS = [
    RandomK(0.3),
    RandomK(count=1, per="tensor", rescale=False),
    UniformQuantizer(16, per="update"),
    QSGD(127, per="update"),
    Rotated(Sign()),
    Rotated(TopK(0.1), block=64),
    Rotated(Rotated(Dense())),
]
CODECS = DETERMINISTIC + UNBIASED + OTHERS


# What the mean of n draws from a range of 1 is off by at most, but for FALSE_ALARM in all
# `tests` (Hoeffding 1963, Theorem 2): 2 exp(-2 n t^2) = FALSE_ALARM / tests.
def hoeffding(draws: int, tests: int) -> float:
    return math.sqrt(math.log(2 * tests / FALSE_ALARM) / (2 * draws))


def some_update(seed=0, shapes=((7, 5), (5,), (), (3, 1, 2))):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.1, shape).astype(np.float32) for shape in shapes]


def flat(arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


def ids(codec):
    return repr(codec)


floats = st.floats(-(2.0**40), 2.0**40, width=32)
small_updates = st.lists(
    npst.arrays(np.float32, npst.array_shapes(min_dims=0, max_dims=3, max_side=9), elements=floats),
    min_size=1,
    max_size=4,
)


@st.composite
def large_updates(draw):
    sizes = draw(st.lists(st.integers(1, 4000), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return [(rng.normal(size=n) ** 3).astype(np.float32) for n in sizes]


@st.composite
def subsets(draw):
    size = draw(st.integers(1, 5000))
    count = draw(st.one_of(st.just(1), st.just(size), st.integers(1, size)))
    chosen = np.random.default_rng(draw(st.integers(0, 99))).choice(size, count, replace=False)
    return np.sort(chosen), size


class TestPacking:
    @settings(max_examples=50, deadline=None)
    @given(width=st.integers(1, 32), numbers=st.lists(st.integers(0, 2**32 - 1), min_size=1))
    def test_numbers(self, width, numbers):
        numbers = np.array(numbers) % 2**width
        data = packing.pack(numbers, width)
        assert len(data) == packing.packed_bytes(len(numbers), width)
        np.testing.assert_array_equal(packing.unpack(data, width, len(numbers)), numbers)

    def test_lowest_bit_first(self):
        assert packing.pack(np.array([1, 0, 3]), 2) == bytes([0b110001])

    @settings(max_examples=100, deadline=None)
    @given(subset=subsets())
    def test_indices(self, subset):
        indices, size = subset
        data = packing.pack_indices(indices, size)
        assert len(data) == packing.indices_bytes(len(indices), size)
        np.testing.assert_array_equal(packing.unpack_indices(data, len(indices), size), indices)

    def test_indices_by_hand(self):
        assert packing.pack_indices(np.arange(9), 9) == b""
        assert packing.pack_indices(np.array([0, 2, 9]), 10) == bytes([0b101, 0b10])  # a bitmap
        # 200 = 6 * 32 + 8: the five low bits say 8, then six gaps and a 1.
        assert packing.pack_indices(np.array([200]), 256) == bytes([8, 0b1000000])

    @pytest.mark.parametrize("size, count", [(10**6, 1000), (10**6, 10), (199_210, 1992)])
    def test_indices_come_near_the_least(self, size, count):
        least = (
            math.lgamma(size + 1) - math.lgamma(count + 1) - math.lgamma(size - count + 1)
        ) / math.log(2)
        assert least / 8 <= packing.indices_bytes(count, size) <= 1.1 * least / 8 + 2


class TestEveryCodec:
    @pytest.mark.parametrize("codec", CODECS, ids=ids)
    @settings(max_examples=12, deadline=None)
    @given(update=st.one_of(small_updates, large_updates()), seed=st.integers(0, 2**32))
    def test_length_and_shapes(self, codec, update, seed):
        shapes = [array.shape for array in update]
        message = codec.encode(update, seed)
        decoded = codec.decode(message)
        assert len(message) == codec.message_bytes(shapes)
        assert [array.shape for array in decoded] == shapes
        assert all(a.dtype == np.float32 and np.isfinite(a).all() for a in decoded)
        assert codec.encode(update, seed) == message
        deflated = Deflated(codec)
        for one, other in zip(deflated.decode(deflated.encode(update, seed)), decoded):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("codec", CODECS, ids=ids)
    def test_zeros_stay_finite(self, codec):
        update = [np.zeros((4, 3), np.float32), np.zeros(2, np.float32)]
        assert np.abs(flat(codec.decode(codec.encode(update, 1)))).max() <= 0.5  # a vote is 0.5
        if not isinstance(codec, MajorityVote):
            assert np.abs(flat(codec.reconstruct(update, [1, 2]))).max() <= 0.5

    @pytest.mark.parametrize("codec", CODECS, ids=ids)
    def test_float64_and_strides_are_taken_and_nothing_is_changed(self, codec):
        update = [np.arange(12.0).reshape(3, 4).T, np.array(2.0)]
        before = [array.copy() for array in update]
        as_float32 = [np.array(array, np.float32, order="C") for array in update]
        assert codec.encode(update, (1, 2, 3)) == codec.encode(as_float32, (1, 2, 3))
        for one, other in zip(update, before):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("codec", [*CODECS, Deflated(Dense())], ids=ids)
    @pytest.mark.parametrize(
        "update, message",
        [
            ([], "update is empty"),
            ([np.ones(2), np.ones((2, 0))], r"update\[1\] has shape \(2, 0\); .* one element"),
            ([np.ones(2, int)], r"update\[0\] has dtype int64; it must hold floats"),
            ([np.array([1.0, np.nan, np.inf])], r"update\[0\] has 2 elements that are NaN or inf"),
            (
                [np.array([1e300])],
                r"update\[0\] has 1 elements that are NaN or infinite as float32",
            ),
        ],
    )
    def test_impossible_update(self, codec, update, message):
        with pytest.raises(ValueError, match=message):
            codec.encode(update, 0)

    @pytest.mark.parametrize("codec", CODECS, ids=ids)
    def test_damaged_message(self, codec):
        message = codec.encode(some_update(), 0)
        for cut in (0, 2, 5, len(message) - 1):
            with pytest.raises(ValueError, match=f"message has {cut} bytes"):
                codec.decode(message[:cut])
        with pytest.raises(ValueError, match=r"message begins with b'x'; what this codec writes"):
            codec.decode(b"x" + message[1:])
        with pytest.raises(ValueError, match="message cannot be decompressed"):
            Deflated(codec).decode(message)

    def test_settings_travel_in_the_header(self):
        """Of codecs whose messages are equally long, and may even look alike."""
        update = [np.arange(1, 17, dtype=np.float32)]
        for one, other in (
            (QSGD(5), QSGD(7)),
            (TopK(count=4), TopK(0.5)),
            (TopK(0.25), TopK(count=4)),
            (RandomK(0.25), RandomK(0.25, rescale=False)),
            (Sign(), Sign(per="update")),
            (MajorityVote(0.1), MajorityVote(0.2)),
            (Rotated(UniformQuantizer(8)), Rotated(UniformQuantizer(8), block=16)),
            (Rotated(Sign()), Rotated(Sign("update"))),
            (Deflated(QSGD(5)), Deflated(QSGD(7))),
        ):
            with pytest.raises(ValueError, match="written by a codec with other settings than"):
                other.decode(one.encode(update, 1))

    def test_equal_codecs_read_each_other(self):
        update = [np.ones(8, np.float32)]
        for one, other in (
            (TopK(1), TopK(np.float64(1.0))),
            (QSGD(np.int64(3)), QSGD(3)),
            (Rotated(Sign(), np.int32(4)), Rotated(Sign(), 4)),
        ):
            assert one == other and other.encode(update, 1) == one.encode(update, 1)
            other.decode(one.encode(update, 1))

    def test_header_is_counted(self):
        assert compression.header_bytes([(784, 10), (10,), ()]) == 7 + 9 + 5 + 1
        assert len(Dense().encode([np.zeros((2, 3)), np.zeros(3)], 0)) == 7 + 9 + 5 + 4 * 9

    def test_tags_differ(self):
        kinds = {type(codec) for codec in CODECS}
        assert len({kind.tag for kind in kinds}) == len(kinds)
        assert all(dataclasses.is_dataclass(kind) and len(kind.tag) == 1 for kind in kinds)

    def test_message_bytes_wants_elements(self):
        for shapes in ([], [(3, 0)]):
            with pytest.raises(ValueError, match="it must hold at least one array"):
                Dense().message_bytes(shapes)


SPIKY = [np.float32([[1, -9], [3, -3]]), np.float32([3, -2])]


class TestSparse:
    @pytest.mark.parametrize(
        "codec, expected",
        [
            (TopK(count=1), [0, -9, 0, 0, 0, 0]),
            (TopK(count=2), [0, -9, 3, 0, 0, 0]),  # of three 3s the first
            (TopK(0.5, per="tensor"), [0, -9, 3, 0, 3, 0]),
            (TopK(0.01, per="tensor"), [0, -9, 0, 0, 3, 0]),  # at least one of each tensor
            (TopK(1.0), [1, -9, 3, -3, 3, -2]),
        ],
    )
    def test_top_k_by_hand(self, codec, expected):
        np.testing.assert_array_equal(flat(codec.decode(codec.encode(SPIKY, 0))), expected)

    @settings(max_examples=40, deadline=None)
    @given(update=large_updates(), fraction=st.floats(0.001, 1))
    def test_top_k_keeps_the_largest_exactly(self, update, fraction):
        codec = TopK(fraction)
        vector, sent = flat(update), flat(codec.decode(codec.encode(update, 0)))
        kept = sent != 0
        np.testing.assert_array_equal(sent[kept], vector[kept])
        assert kept.sum() == codec.kept([a.shape for a in update])[0]
        assert np.abs(vector[~kept]).max(initial=0) <= np.abs(vector[kept]).min()

    def test_kept_is_visible(self):
        shapes = [(784, 10), (10,)]
        assert TopK(0.001).kept(shapes) == [8]
        assert TopK(0.001, per="tensor").kept(shapes) == [8, 1]
        assert TopK(1e-9).kept(shapes) == [1]
        assert RandomK(count=10, per="tensor").kept(shapes) == [10, 10]

    def test_random_k(self):
        update = [np.arange(1, 101, dtype=np.float32)]
        sent = RandomK(0.1).decode(RandomK(0.1).encode(update, 3))[0]
        np.testing.assert_array_equal(sent[sent != 0], 10 * update[0][sent != 0])
        assert (sent != 0).sum() == 10
        plain = RandomK(0.1, rescale=False)
        np.testing.assert_array_equal(10 * plain.decode(plain.encode(update, 3))[0], sent)
        assert len(plain.encode(update, 3)) == 12 + 4 + 40
        assert not np.array_equal(RandomK(0.1).decode(RandomK(0.1).encode(update, 4))[0], sent)

    @pytest.mark.parametrize("kind", [TopK, RandomK])
    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({}, "fraction is None and count is None; give one"),
            ({"fraction": 0.1, "count": 3}, "fraction is 0.1 and count is 3; give one"),
            ({"fraction": 0}, "fraction is 0; it must be a finite number above 0 and at most 1"),
            ({"fraction": 1.1}, "fraction is 1.1; it must be .* above 0 and at most 1"),
            ({"fraction": math.nan}, "fraction is nan"),
            ({"count": 0}, "count is 0; it must be an int, from 1"),
            ({"count": 2.0}, "count is 2.0; it must be an int"),
            ({"fraction": 0.1, "per": "layer"}, "per is 'layer'; it must be"),
        ],
    )
    def test_impossible_settings(self, kind, arguments, message):
        with pytest.raises(ValueError, match=message):
            kind(**arguments)

    @pytest.mark.parametrize("kind", [TopK, RandomK])
    def test_count_that_is_too_large(self, kind):
        for codec, message in (
            (kind(count=7), "count is 7, and the update has only 6 elements"),
            (kind(count=3, per="tensor"), "count is 3, and a tensor has only 2 elements"),
        ):
            with pytest.raises(ValueError, match=message):
                codec.encode(SPIKY, 0)
            with pytest.raises(ValueError, match=message):
                compression.sum_aggregator(codec).create(update_type([(2, 2), (2,)]))


class TestChance:
    # Fractional parts well away from a half and from whole numbers: rounding to the nearest
    # level would be off by far more than the tests allow.
    X = np.float32([0.9, -0.33, 0.0, 0.17, -0.6, 0.05, 0.41, -0.22, 0.74, -0.08, 0.28, 0.5])
    DRAWS = 1500

    @staticmethod
    def spread(codec, x):
        """The range of each element of a decoded vector, at most."""
        if isinstance(codec, RandomK):
            return np.abs(x) * len(x) / codec.kept([x.shape])[0] + 1e-12
        if isinstance(codec, UniformQuantizer):
            return np.full(len(x), (x.max() - x.min()) / (2**codec.bits - 1))
        if isinstance(codec, QSGD):
            return np.full(len(x), np.linalg.norm(x) / codec.levels)
        # Rotated back, an element is a sum over the m of its block, of rounded elements over
        # sqrt(m). Given the signs these are independent; Hoeffding's inequality for a sum wants
        # the root of the sum of their squared ranges: one range, whatever m is.
        norm = float(np.linalg.norm(x))  # which the rotation keeps
        if isinstance(codec.codec, QSGD):
            return np.full(len(x), norm / codec.codec.levels)
        return np.full(len(x), math.sqrt(2) * norm / (2**codec.codec.bits - 1))

    @pytest.mark.parametrize("codec", UNBIASED, ids=ids)
    def test_numpy_is_unbiased(self, codec):
        """Hoeffding for each of the elements, and the union bound over elements."""
        if codec.per == "tensor":  # every tensor is drawn on its own
            drawn = codec.decode(codec.encode([self.X] * self.DRAWS, 1))
        else:
            drawn = [codec.decode(codec.encode([self.X], (1, s)))[0] for s in range(self.DRAWS)]
        self.check_mean(codec, np.array(drawn))

    @pytest.mark.parametrize("codec", UNBIASED, ids=ids)
    def test_tensorflow_is_unbiased(self, codec):
        seeds = tf.stack([tf.fill([self.DRAWS], 5), tf.range(self.DRAWS)], axis=1)

        @tf.function
        def draw():
            return tf.map_fn(
                lambda seed: codec.reconstruct([tf.constant(self.X)], seed)[0],
                seeds,
                fn_output_signature=tf.float32,
            )

        drawn = draw().numpy()
        self.check_mean(codec, drawn)
        if not isinstance(codec, Rotated):  # the same values are possible in TensorFlow and NumPy
            update = [self.X] * 500 if codec.per == "tensor" else [self.X]
            possible = np.unique(np.round(flat(codec.decode(codec.encode(update, 0))), 5))
            assert np.isin(np.unique(np.round(drawn, 5)), possible).all()

    def check_mean(self, codec, drawn):
        assert len(drawn) == self.DRAWS
        off = np.abs(drawn.mean(0, dtype=np.float64) - self.X)
        allowed = hoeffding(self.DRAWS, len(self.X)) * self.spread(codec, self.X)
        assert (off <= allowed + 1e-6).all()  # 1e-6: of float32
        assert len(np.unique(drawn, axis=0)) > 1

    @pytest.mark.parametrize("levels", [1, 3, 20, 50])
    @pytest.mark.parametrize("shape", ["even", "normal", "one large"])
    def test_variance_of_qsgd(self, levels, shape):
        """Alistarh et al. 2017, Lemma 3.1, by Bernstein's inequality.

        Of n elements and N draws the squared errors are N n independent numbers from 0
        to u^2, where u = norm / s. Their variance is at most u^2 times their mean, so for
        their sum S, of mean at most m = N times the bound,
        P(S >= m + t) <= exp(-t^2 / (2 u^2 (m + t / 3))), which for
        t = u^2 L / 3 + sqrt((u^2 L / 3)^2 + 2 u^2 m L) is exp(-L) = FALSE_ALARM.
        """
        n, draws = 400, 300
        rng = np.random.default_rng(3)
        x = {
            "even": np.ones(n),
            "normal": rng.normal(size=n),
            "one large": 1e-3 + 9 * np.eye(n)[7],
        }[shape].astype(np.float32)
        codec = QSGD(levels)
        errors = np.array(codec.decode(codec.encode([x] * draws, 4)), np.float64) - x
        squared_norm = float(np.square(x.astype(np.float64)).sum())
        bound = min(n / levels**2, math.sqrt(n) / levels) * squared_norm
        u2, mean, log = squared_norm / levels**2, draws * bound, -math.log(FALSE_ALARM)
        slack = u2 * log / 3 + math.sqrt((u2 * log / 3) ** 2 + 2 * u2 * mean * log)
        assert np.square(errors).sum() <= mean + slack
        if shape == "even" and levels <= 3:  # here the bound is nearly reached
            assert np.square(errors).sum() >= 0.8 * mean

    def test_variance_of_random_k(self):
        """(n / k - 1) times the squared norm; for equal elements every draw is off by just that."""
        x = np.full(40, 0.5, np.float32)
        error = RandomK(count=10).decode(RandomK(count=10).encode([x], 1))[0] - x
        assert np.square(error).sum() == pytest.approx((40 / 10 - 1) * np.square(x).sum())


class TestQuantisers:
    def test_ends_are_exact_and_levels_even(self):
        x = np.float32([-3.7, 1.3, 0.2, -0.9, 0.0])
        (y,) = UniformQuantizer(2).decode(UniformQuantizer(2).encode([x], 9))
        assert (y[0], y[1]) == (x[0], x[1])
        steps = (y - x[0]) / (x[1] - x[0]) * 3
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
        assert np.abs(y - x).max() <= 5 / 3 + 1e-6

    @pytest.mark.parametrize("codec", [UniformQuantizer(1), QSGD(1), QSGD(3), UniformQuantizer(16)])
    def test_one_element_is_exact(self, codec):
        x = [np.float32(-2.5), np.float32([0.125])]
        np.testing.assert_array_equal(flat(codec.decode(codec.encode(x, 1))), [-2.5, 0.125])

    def test_qsgd_on_its_levels_is_exact(self):
        x = np.float32([3, 0, -4, 0, 0])  # norm 5
        np.testing.assert_array_equal(QSGD(5).decode(QSGD(5).encode([x], 1))[0], x)

    @pytest.mark.parametrize("levels, bits", [(1, 2), (2, 3), (3, 3), (4, 4), (7, 4), (127, 8)])
    def test_bits_of_qsgd(self, levels, bits):
        assert QSGD(levels).bits == bits == math.ceil(math.log2(2 * levels + 1))
        assert QSGD(levels).message_bytes([(80,)]) == 12 + 4 + 10 * bits

    def test_largest_floats(self):
        huge = np.finfo(np.float32).max
        x = [np.float32([huge, -huge, 0])]
        assert np.isfinite(UniformQuantizer(3).decode(UniformQuantizer(3).encode(x, 1))[0]).all()
        with pytest.raises(ValueError, match="norm of 4.8.*it must fit into a float32"):
            QSGD(1).encode(x, 1)

    @pytest.mark.parametrize(
        "make, message",
        [
            (lambda: QSGD(0), "levels is 0; it must be an int, from 1 to 32767"),
            (lambda: QSGD(1.5), "levels is 1.5"),
            (lambda: QSGD(True), "levels is True"),
            (lambda: QSGD(2**15), "levels is 32768"),
            (lambda: QSGD(3, per="row"), "per is 'row'"),
            (lambda: UniformQuantizer(0), "bits is 0; it must be an int, from 1 to 16"),
            (lambda: UniformQuantizer(17), "bits is 17"),
            (lambda: UniformQuantizer(8, per=""), "per is ''"),
            (lambda: Sign(per=None), "per is None"),
            (lambda: MajorityVote(0), "step is 0; it must be a finite number above 0"),
            (lambda: MajorityVote(math.inf), "step is inf"),
            (lambda: Rotated(QSGD(1), block=24), "block is 24; it must be a power of two"),
            (lambda: Rotated(QSGD(1), block=1), "block is 1; it must be an int, from 2"),
        ],
    )
    def test_impossible_settings(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    def test_rotated_wants_a_codec(self):
        for other in (8, Deflated(QSGD(1)), MajorityVote(1.0)):
            kind = type(other).__name__
            with pytest.raises(TypeError, match=f"codec is a {kind}; it must be a Codec, such as"):
                Rotated(other)

    def test_deflated_wants_a_codec(self):
        for other in (None, Deflated(QSGD(1))):
            with pytest.raises(TypeError, match="codec is a .*; it must be a MessageFormat"):
                Deflated(other)


class TestSign:
    def test_by_hand(self):
        update = [np.float32([[1, -2], [0, -5]]), np.float32([-4])]
        tensors = Sign().decode(Sign().encode(update, 0))
        np.testing.assert_array_equal(flat(tensors), [2, -2, 2, -2, -4])
        whole = Sign(per="update")
        np.testing.assert_allclose(
            flat(whole.decode(whole.encode(update, 0))),
            2.4 * np.array([1, -1, 1, -1, -1]),
            rtol=1e-6,
        )
        assert len(Sign().encode(update, 0)) == (7 + 9 + 5) + (4 + 1) + (4 + 1)

    @settings(max_examples=30, deadline=None)
    @given(update=large_updates())
    def test_what_is_lost(self, update):
        """All of the squared norm but |x|_1^2 / n: multiply (s sign(x) - x)^2 out."""
        vector = flat(update).astype(np.float64)
        whole = Sign(per="update")
        lost = np.square(flat(whole.decode(whole.encode(update, 0))) - vector).sum()
        norms = np.square(vector).sum(), np.abs(vector).sum() ** 2 / len(vector)
        assert lost == pytest.approx(norms[0] - norms[1], rel=1e-4, abs=1e-4 * norms[0])

    def test_vote_by_hand(self):
        codec = MajorityVote(0.25)
        clients = [[np.float32([1, -1, 1, -1])], [np.float32([9, -9, -9, 0])]]
        messages = [codec.encode(client, 0) for client in clients]
        assert len(messages[0]) == 12 + 1
        np.testing.assert_array_equal(codec.decode(messages[1])[0], [0.25, -0.25, -0.25, 0.25])
        zipped = [Deflated(codec).encode(client, 0) for client in clients]
        for weights, expected in (
            (None, [0.25, -0.25, 0, 0]),
            ([7, 0.1], [0.25, -0.25, 0, 0]),
            ([0, 3], [0.25, -0.25, -0.25, 0.25]),
        ):
            (moved,) = compression.aggregate(codec, messages, weights)
            np.testing.assert_array_equal(moved, expected)
            assert moved.dtype == np.float32
            (moved,) = compression.aggregate(Deflated(codec), zipped, weights)
            np.testing.assert_array_equal(moved, expected)


class TestRotation:
    @pytest.mark.parametrize("size", [1, 2, 4, 8, 64, 512])
    def test_hadamard_is_that_of_scipy(self, size):
        unit = np.eye(size, dtype=np.float32)
        expected = scipy.linalg.hadamard(size) / math.sqrt(size)
        for product in (hadamard(unit), hadamard(tf.constant(unit))):
            np.testing.assert_allclose(product, expected, atol=1e-6)
            np.testing.assert_allclose(hadamard(product), unit, atol=1e-6)

    @pytest.mark.parametrize("codec", [Rotated(Dense()), Rotated(Dense(), 128)])
    @settings(max_examples=20, deadline=None)
    @given(update=large_updates())
    def test_rotates_back(self, codec, update):
        vector = flat(update)
        atol = 1e-5 * np.linalg.norm(vector)
        np.testing.assert_allclose(flat(codec.decode(codec.encode(update, 2))), vector, atol=atol)
        np.testing.assert_allclose(flat(codec.reconstruct(update, [1, 2])), vector, atol=atol)

    def test_padding_is_paid_for(self):
        for size, padded in ((1, 1), (2, 2), (3, 4), (1024, 1024), (199_210, 262_144)):
            assert Rotated(Dense()).vector_bytes(size) == 4 + 4 * padded
        assert Rotated(Dense(), block=1024).vector_bytes(199_210) == 4 + 4 * 195 * 1024
        assert Rotated(UniformQuantizer(1)).message_bytes([(5,)]) == 12 + 4 + 8 + 1
        assert Rotated(QSGD(7), block=512).message_bytes([(513,)]) == 12 + 4 + 2 * (4 + 256)

    def test_one_large_element_is_spread(self):
        x = [np.random.default_rng(1).normal(0, 0.01, 1000).astype(np.float32)]
        x[0][3] = 1
        plain, rotated = UniformQuantizer(2), Rotated(UniformQuantizer(2))
        lost = [np.square(c.decode(c.encode(x, 1))[0] - x[0]).sum() for c in (plain, rotated)]
        assert lost[1] < 0.5 * lost[0]

    def test_a_block_has_a_norm_of_its_own(self):
        x = [np.float32([3, 4] + [0] * 6 + [300, 400])]
        for codec in (Rotated(QSGD(10_000), 2), Rotated(UniformQuantizer(16), 2)):
            np.testing.assert_allclose(codec.decode(codec.encode(x, 1))[0][:2], [3, 4], atol=0.01)
            decoded = codec.reconstruct([tf.constant(x[0])], [1, 2])[0]
            np.testing.assert_allclose(decoded[:2], [3, 4], atol=0.01)


class TestAggregate:
    def test_weighted_mean(self):
        messages = [Dense().encode([np.float32([v, 0])], 0) for v in (1, 4)]
        np.testing.assert_array_equal(compression.aggregate(Dense(), messages)[0], [2.5, 0])
        (mean,) = compression.aggregate(Dense(), messages, [2, 1])
        np.testing.assert_array_equal(mean, [2, 0])
        assert mean.dtype == np.float32
        codec = Deflated(Dense())
        deflated = [codec.encode([np.float32([v, 0])], 0) for v in (1, 4)]
        np.testing.assert_array_equal(compression.aggregate(codec, deflated, [2, 1])[0], [2, 0])

    @pytest.mark.parametrize("codec", [Dense(), MajorityVote(1.0)])
    @pytest.mark.parametrize("weights", [[1], [0, 0], [1, -1], [1, math.nan], [[1, 1]]])
    def test_weights_that_do_not_fit(self, codec, weights):
        messages = [codec.encode([np.ones(2)], 0)] * 2
        with pytest.raises(ValueError, match="it must hold 2 finite numbers from 0, not all 0"):
            compression.aggregate(codec, messages, weights)
        with pytest.raises(ValueError, match="messages is empty"):
            compression.aggregate(codec, [])

    @pytest.mark.parametrize("codec", [Dense(), MajorityVote(1.0), Deflated(Dense())], ids=ids)
    @pytest.mark.parametrize("shapes", [[(1,)], [(2,), (2,)], [(2, 1)], [()]], ids=str)
    def test_messages_of_other_shapes(self, codec, shapes):
        other = codec.encode([np.ones(shape) for shape in shapes], 0)
        messages = [codec.encode([np.ones(2)], 0), other]
        with pytest.raises(
            ValueError, match=r"messages\[1\] has shapes .*; those of messages\[0\]"
        ):
            compression.aggregate(codec, messages)


def update_type(shapes):
    return tff.to_type([(np.float32, shape) for shape in shapes])


def tuple_of_two(pair):
    return pair[0], pair[1]


def linear_regression():
    """A functional model of two tensors, without Keras."""
    pairs = tf.TensorSpec([None, 3], tf.float32)

    @tf.function
    def predict(weights, x, training):
        return x @ weights[0][0] + weights[0][1]

    @tf.function
    def loss(output, label, sample_weight=None):
        return tf.reduce_mean(tf.square(output - label))

    return tff.learning.models.FunctionalModel(
        initial_weights=((np.ones((3, 3), np.float32), np.zeros(3, np.float32)), ()),
        predict_on_batch_fn=predict,
        loss_fn=loss,
        input_spec=(pairs, pairs),
    )


CLIENTS = [some_update(seed) for seed in (1, 2, 3)]
WEIGHTS = [1.0, 0.0, 3.0]
SHAPES = [array.shape for array in CLIENTS[0]]


class TestTff:
    def process(self, codec, seed=0):
        factory = compression.mean_aggregator(codec, seed)
        return factory.create(update_type(SHAPES), tff.TensorType(np.float32))

    @pytest.mark.parametrize("codec", DETERMINISTIC[:-1], ids=ids)  # TFF has no vote
    def test_equals_numpy(self, codec):
        process = self.process(codec)
        output = process.next(process.initialize(), CLIENTS, WEIGHTS)
        messages = [codec.encode(client, 0) for client in CLIENTS]
        expected = compression.aggregate(codec, messages, WEIGHTS)
        np.testing.assert_allclose(flat(output.result), flat(expected), rtol=1e-5, atol=1e-7)
        counted = output.measurements["mean_value"]
        assert counted["uplink_bytes_per_client"] == len(messages[0])
        assert counted["uplink_bytes"] == sum(map(len, messages))

    @pytest.mark.parametrize("codec", [UniformQuantizer(4), Rotated(RandomK(0.5))], ids=ids)
    def test_chance_follows_from_the_seed_the_round_and_the_client(self, codec):
        process = self.process(codec, seed=7)
        first = process.initialize()
        output = process.next(first, CLIENTS, WEIGHTS)
        other_seed = self.process(codec, seed=8).initialize()
        results = [
            output.result,
            process.next(first, CLIENTS, WEIGHTS).result,
            process.next(output.state, CLIENTS, WEIGHTS).result,
            process.next(other_seed, CLIENTS, WEIGHTS).result,
        ]
        np.testing.assert_array_equal(flat(results[0]), flat(results[1]))
        for other in results[2:]:
            assert not np.array_equal(flat(results[0]), flat(other))
        np.testing.assert_array_equal(output.state["value_sum_process"], [7, 1])
        message = codec.encode(CLIENTS[0], 0)
        assert output.measurements["mean_value"]["uplink_bytes"] == 3 * len(message)

    def test_clients_draw_apart(self):
        """Ones and twos keep different elements, or the chance of a bug is 1 in C(40, 20)."""
        factory = compression.sum_aggregator(RandomK(0.5), seed=1)
        process = factory.create(tff.TensorType(np.float32, [40]))
        clients = [np.full(40, v, np.float32) for v in (1, 2)]
        total = process.next(process.initialize(), clients).result
        assert set(np.unique(total)) == {0, 2, 4, 6}  # alike they would be 0 and 6

    def test_nobody_with_a_weight(self):
        process = self.process(TopK(0.5))
        output = process.next(process.initialize(), CLIENTS[:1], [0.0])
        assert not flat(output.result).any()

    def test_nan_is_not_hidden(self):
        bad = [array.copy() for array in CLIENTS[0]]
        bad[0][0, 0] = np.nan
        process = self.process(UniformQuantizer(4))
        output = process.next(process.initialize(), [bad, CLIENTS[1]], [1.0, 1.0])
        assert np.isnan(flat(output.result)).all()

    @pytest.mark.parametrize(
        "codec", [MajorityVote(1.0), Deflated(Sign()), None], ids=["vote", "deflated", "none"]
    )
    @pytest.mark.parametrize("make", [compression.mean_aggregator, compression.sum_aggregator])
    def test_codecs_without_a_mean_in_tff(self, make, codec):
        with pytest.raises(TypeError, match="codec is .*; it must be a codec whose updates TFF"):
            make(codec)

    @pytest.mark.parametrize(
        "make, message",
        [
            (
                lambda: compression.sum_aggregator(TopK(0.5), -1),
                "seed is -1; it must be an int, from 0",
            ),
            (lambda: compression.mean_aggregator(TopK(0.5), 2**31), "seed is 2147483648"),
            (
                lambda: compression.sum_aggregator(TopK(0.5)).create(tff.TensorType(np.int32, [3])),
                "the values hold .*int32.*; a codec needs float32 tensors with known shapes",
            ),
            (
                lambda: compression.sum_aggregator(TopK(0.5)).create(
                    tff.TensorType(np.float32, [None])
                ),
                "a codec needs float32 tensors with known shapes",
            ),
        ],
    )
    def test_impossible_request(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    def test_in_federated_averaging(self):
        """Both ways to build it take the aggregator, and one that keeps all changes nothing."""
        rng = np.random.default_rng(0)
        held = [
            tf.data.Dataset.from_tensors(rng.random((2, n, 3), np.float32)).map(tuple_of_two)
            for n in (20, 30)
        ]
        model, shapes = linear_regression(), [(3, 3), (3,)]
        optimizer = tff.learning.optimizers.build_sgdm(0.1)
        ours, tffs = TopK(1.0), Dense()
        processes = {
            ours: algorithms.tff.build_fast_fed_avg(
                model, optimizer, batch_size=50, model_aggregator=compression.mean_aggregator(ours)
            ),
            tffs: tff.learning.algorithms.build_weighted_fed_avg(
                model, optimizer, model_aggregator=compression.mean_aggregator(tffs)
            ),
        }
        finals = []
        for codec, process in processes.items():
            output = process.next(process.initialize(), held)
            counted = output.metrics["aggregator"]["mean_value"]
            assert counted["uplink_bytes"] == 2 * codec.message_bytes(shapes)
            finals.append(flat(process.get_model_weights(output.state).trainable))
        np.testing.assert_allclose(*finals, atol=1e-6)


class TestDownlink:
    @pytest.mark.parametrize("codec", [TopK(0.4), Sign(), Deflated(TopK(0.4))], ids=ids)
    def test_change_by_hand(self, codec):
        known = some_update(100)
        for number in range(1, 4):
            weights = some_update(100 + number)
            before = [array.copy() for array in known]
            message, after = compression.encode_change(codec, weights, known, number)
            change = [w - k for w, k in zip(weights, before)]
            assert message == codec.encode(change, number)
            np.testing.assert_array_equal(flat(after), flat(before) + flat(codec.decode(message)))
            np.testing.assert_array_equal(flat(known), flat(before))  # no argument is changed
            known = after

    def test_what_is_left_out_comes_later(self):
        """Top-1 of four elements and weights that stand still: after four rounds all are there."""
        weights, known = [np.float32([1, -4, 2, 3])], [np.zeros(4, np.float32)]
        for expected in ([0, -4, 0, 0], [0, -4, 0, 3], [0, -4, 2, 3], [1, -4, 2, 3]):
            _, known = compression.encode_change(TopK(count=1), weights, known, 0)
            np.testing.assert_array_equal(known[0], expected)

    def test_impossible_requests(self):
        with pytest.raises(ValueError, match=r"known has shapes \[\(3,\)\]; .* \[\(2,\)\]"):
            compression.encode_change(Sign(), [np.ones(2)], [np.ones(3)], 0)


def test_public_names():
    assert all(hasattr(compression, name) for name in compression.__all__)
    assert all(getattr(compression, name).__doc__ for name in compression.__all__)
