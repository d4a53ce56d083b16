"""Quantisation: every element is sent with few bits, and without bias."""

import dataclasses
import struct
from typing import ClassVar

import numpy as np
import tensorflow as tf

from fedbook.checks import check_int, check_one_of
from fedbook.compression import packing
from fedbook.compression.base import PER, Codec


@dataclasses.dataclass(frozen=True)
class UniformQuantizer(Codec):
    """Rounds to one of 2**bits values, evenly spaced from the smallest element to the largest.

    Whether an element is rounded up or down is random, with probabilities that make the
    expected value equal to the element. This is the stochastic k-level quantisation of
    Suresh et al. 2017 (arXiv 1611.00429), section 2, and for one bit the probabilistic
    quantisation of Konečný et al. 2016 (arXiv 1610.05492), section 3. An element takes
    `bits` bits, and a vector 8 bytes more for its minimum and maximum.

    Attributes:
      bits: 1 to 16.
      per: "tensor" gives each tensor its own minimum and maximum; with "update" all
        tensors share one pair.

    Raises:
      ValueError: if an attribute is out of range.
    """

    tag: ClassVar[bytes] = b"U"
    bits: int = 8
    per: str = "tensor"

    def __post_init__(self):
        check_int("bits", self.bits, 1, 16)
        check_one_of("per", self.per, PER)

    def vector_bytes(self, size):
        return 8 + packing.packed_bytes(size, self.bits)

    def encode_vector(self, vector, rng):
        low, high = vector.min(), vector.max()
        # In float64: the difference of two float32 may be too large for a third.
        span = np.float64(high) - low
        position = (vector - np.float64(low)) / (span or 1.0) * self._last
        levels = round_at_random(position, self._last, rng)
        return struct.pack("<2f", low, high) + packing.pack(levels, self.bits)

    def decode_vector(self, block, size):
        low, high = struct.unpack_from("<2f", block)
        levels = packing.unpack(block[8:], self.bits, size)
        return low + levels / self._last * (high - low)

    def reconstruct_vector(self, vector, seed):
        wide = tf.cast(vector, tf.float64)
        low, high = tf.reduce_min(wide), tf.reduce_max(wide)
        position = tf.math.divide_no_nan(wide - low, high - low) * self._last
        levels = _round_at_random(position, self._last, seed)
        return tf.cast(low + levels / self._last * (high - low), tf.float32)

    @property
    def _last(self) -> int:
        return 2**self.bits - 1


@dataclasses.dataclass(frozen=True)
class QSGD(Codec):
    """Divides each element by the norm and rounds it to a multiple of 1 / levels, at random.

    QSGD of Alistarh et al. 2017 (arXiv 1610.02132), section 3.1, sends the l2 norm, and for
    each element its sign and a level from 0 to s. Whether a level is rounded up or down is
    random, with probabilities that make the expected value right. The variance is at most
    ``min(n / s**2, sqrt(n) / s)`` times the squared norm (Lemma 3.1).

    The paper writes the levels with Elias's code of variable length. Here each level takes the same
    ``ceil(log2(2 s + 1))`` bits, and :class:`~fedbook.compression.Deflated` makes the message
    shorter: with few levels, nearly all of them are 0. A vector takes 4 bytes more for its norm.
    Because sqrt(n) is large for a large tensor, the paper codes a tensor in buckets of some hundred
    elements; ``Rotated(QSGD(7), block=512)`` does the same after a rotation.

    Attributes:
      levels: s, 1 to 32,767; 1, 7 and 127 make full use of 2, 4 and 8 bits.
      per: "tensor" gives each tensor its own norm; with "update" all tensors share one.

    Raises:
      ValueError: if an attribute is out of range, or in ``encode`` if a norm is too large
        for a float32.
    """

    tag: ClassVar[bytes] = b"Q"
    levels: int = 127
    per: str = "tensor"

    def __post_init__(self):
        check_int("levels", self.levels, 1, 2**15 - 1)
        check_one_of("per", self.per, PER)

    @property
    def bits(self) -> int:
        """The number of bits of one element."""
        return int(2 * self.levels).bit_length()  # NumPy's ints have no such method

    def vector_bytes(self, size):
        return 4 + packing.packed_bytes(size, self.bits)

    def encode_vector(self, vector, rng):
        exact = np.linalg.norm(vector.astype(np.float64))
        if exact > np.finfo(np.float32).max:
            raise ValueError(f"the update has a norm of {exact}; it must fit into a float32.")
        norm = np.float32(exact)
        position = np.abs(vector / (np.float64(norm) or 1.0)) * self.levels
        levels = round_at_random(position, self.levels, rng) * np.where(vector < 0, -1, 1)
        return struct.pack("<f", norm) + packing.pack(levels + self.levels, self.bits)

    def decode_vector(self, block, size):
        (norm,) = struct.unpack_from("<f", block)
        return norm * (packing.unpack(block[4:], self.bits, size) - self.levels) / self.levels

    def reconstruct_vector(self, vector, seed):
        wide = tf.cast(vector, tf.float64)
        norm = tf.cast(tf.cast(tf.norm(wide), tf.float32), tf.float64)
        position = tf.math.divide_no_nan(tf.abs(wide), norm) * self.levels
        levels = tf.sign(wide) * _round_at_random(position, self.levels, seed)
        return tf.cast(norm * levels / self.levels, tf.float32)


def round_at_random(position: np.ndarray, last: int, rng: np.random.Generator) -> np.ndarray:
    """Rounds up with the probability of the fractional part, which makes it unbiased.

    From [n] float64 to [n] int64, both from 0 to `last`, the highest level. Only floating-point
    error can exceed it, and is cut off.
    """
    levels = np.floor(position + rng.random(len(position))).astype(np.int64)
    return np.minimum(levels, last)


def _round_at_random(position: tf.Tensor, last: int, seed: tf.Tensor) -> tf.Tensor:
    chance = tf.random.stateless_uniform(tf.shape(position), seed, dtype=tf.float64)
    return tf.minimum(tf.floor(position + chance), tf.cast(last, tf.float64))
