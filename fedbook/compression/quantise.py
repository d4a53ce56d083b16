"""Quantisation: every element travels, with few bits and the right mean."""

import dataclasses
import struct
from typing import ClassVar

import numpy as np
import tensorflow as tf

from fedbook.compression import packing
from fedbook.compression.base import Codec, check_int, check_per


@dataclasses.dataclass(frozen=True)
class UniformQuantizer(Codec):
    """Rounds to one of 2**bits values, evenly spaced from the smallest element to the largest.

    Up or down by chance, such that the mean is right: stochastic k-level
    quantisation of Suresh et al. 2017 (arXiv 1611.00429), section 2, and for one
    bit the probabilistic quantisation of Konečný et al. 2016 (arXiv 1610.05492),
    section 3. An element takes `bits` bits, a vector 8 bytes more for its ends.

    Attributes:
      bits: 1 to 16.
      per: "tensor" gives each tensor ends of its own; "update" has one pair.

    Raises:
      ValueError: if an attribute is out of its range.
    """

    tag: ClassVar[bytes] = b"U"
    bits: int = 8
    per: str = "tensor"

    def __post_init__(self):
        check_int("bits", self.bits, 1, 16)
        check_per(self.per)

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
    """Rounds each element's share of the norm to a multiple of 1 / levels, at random.

    Alistarh et al. 2017 (arXiv 1610.02132), section 3.1: the l2 norm, and for each
    element its sign and a level from 0 to s, up or down by chance such that the
    mean is right. The variance is at most ``min(n / s**2, sqrt(n) / s)`` times the
    squared norm (Lemma 3.1). The paper then codes the levels with Elias's code of
    variable length. Here each takes the same ``ceil(log2(2 s + 1))`` bits, and
    :class:`~fedbook.compression.Deflated` shortens those; with few levels nearly
    all are 0. A vector takes 4 bytes more, its norm. The paper codes a tensor in
    buckets of some hundred elements, for sqrt(n) is large for a large tensor;
    ``Rotated(QSGD(7), block=512)`` does that after a rotation.

    Attributes:
      levels: s, 1 to 32,767; 1, 7 and 127 make full use of 2, 4 and 8 bits.
      per: "tensor" gives each tensor a norm of its own, "update" one to all.

    Raises:
      ValueError: if an attribute is out of its range; in `encode`, if a norm is too
        large for a float32.
    """

    tag: ClassVar[bytes] = b"Q"
    levels: int = 127
    per: str = "tensor"

    def __post_init__(self):
        check_int("levels", self.levels, 1, 2**15 - 1)
        check_per(self.per)

    @property
    def bits(self) -> int:
        """The bits of one element."""
        return (2 * self.levels).bit_length()

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
    """Rounds up with the probability of the fractional part: right in the mean.

    Args:
      position: [n] float64 from 0 to `last`.
      last: the highest level; above it comes only what an error of rounding put there.

    Returns:
      [n] int64 from 0 to `last`.
    """
    levels = np.floor(position + rng.random(len(position))).astype(np.int64)
    return np.minimum(levels, last)


def _round_at_random(position: tf.Tensor, last: int, seed: tf.Tensor) -> tf.Tensor:
    chance = tf.random.stateless_uniform(tf.shape(position), seed, dtype=tf.float64)
    return tf.minimum(tf.floor(position + chance), tf.cast(last, tf.float64))
