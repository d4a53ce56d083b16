"""Sparsification: a few elements are sent as they are, and the others not at all.

Top-k is due to Aji and Heafield 2017 (arXiv 1704.05021), random-k (subsampling) to Konečný
et al. 2016 (arXiv 1610.05492), section 3. Stich et al. 2018 (arXiv 1809.07599) analyse both
together, with error feedback.
"""

import dataclasses
import struct
from typing import ClassVar

import numpy as np
import tensorflow as tf

from fedbook.checks import check_int, check_number, check_one_of
from fedbook.compression import packing
from fedbook.compression.base import PER, Codec, Shapes


@dataclasses.dataclass(frozen=True)
class _Sparse(Codec):
    """What top-k and random-k have in common: the number of elements that they keep."""

    fraction: float | None = None
    count: int | None = None
    per: str = "update"

    def __post_init__(self):
        check_one_of("per", self.per, PER)
        if (self.fraction is None) == (self.count is None):
            given = f"fraction is {self.fraction} and count is {self.count}"
            raise ValueError(f"{given}; give one of them.")
        if self.fraction is not None:
            check_number("fraction", self.fraction, above=0, high=1)
        if self.count is not None:
            check_int("count", self.count, 1, 2**31 - 1)

    def kept(self, shapes: Shapes) -> list[int]:
        """Returns the number of elements that are sent, for each tensor or in all (`per`).

        Raises ValueError if `count` is greater than the number of elements.
        """
        return [self._kept(size) for size in self.vector_sizes(shapes)]

    def _kept(self, size: int) -> int:
        if self.fraction is not None:
            return max(1, round(self.fraction * size))
        assert self.count is not None  # one of the two is given
        if self.count > size:
            what = "the update has" if self.per == "update" else "a tensor has"
            found = f"count is {self.count}, and {what} only {size} elements"
            raise ValueError(f"{found}; it must be at most as many.")
        return self.count


@dataclasses.dataclass(frozen=True)
class TopK(_Sparse):
    """Keeps the elements with the largest absolute values, exactly; the others become 0.

    Top-k is biased: without error feedback the small elements are never sent. Of elements
    with equal absolute values, the first are kept. A value takes 4 bytes, and its index
    about ``2 + log2(n / k)`` bits (:func:`fedbook.compression.packing.pack_indices`).

    Attributes:
      fraction: the fraction of elements to keep, above 0 and at most 1. The number of
        elements is rounded and at least 1. With ``per="tensor"`` a bias of 10 elements
        therefore sends at least one of them, however small the fraction is; see ``kept``.
      count: the number of elements to keep, in place of `fraction`. With ``per="tensor"``
        it counts for each tensor, so it is at most the size of the smallest one.
      per: "update" ranks all elements together, so that a tensor with a small update may
        send nothing; "tensor" ranks the elements of each tensor separately.

    Raises:
      ValueError: if both or neither of `fraction` and `count` are given, or an attribute is
        out of range.
    """

    tag: ClassVar[bytes] = b"T"

    def vector_bytes(self, size):
        kept = self._kept(size)
        return 4 * kept + packing.indices_bytes(kept, size)

    def encode_vector(self, vector, rng):
        indices = largest(vector, self._kept(len(vector)))
        return vector[indices].astype("<f4").tobytes() + packing.pack_indices(indices, len(vector))

    def decode_vector(self, block, size):
        kept = self._kept(size)
        indices = packing.unpack_indices(block[4 * kept :], kept, size)
        vector = np.zeros(size, np.float32)
        vector[indices] = np.frombuffer(block, "<f4", kept)
        return vector

    def reconstruct_vector(self, vector, seed):
        kept = self._kept(vector.shape[0])
        return _keep(vector, tf.math.top_k(tf.abs(vector), kept).indices)


@dataclasses.dataclass(frozen=True)
class RandomK(_Sparse):
    """Keeps k of n elements, drawn at random, and multiplies them by n / k; the others become 0.

    The factor makes it unbiased. The variance is (n / k - 1) times the squared norm. Which
    elements are kept follows from a seed, so their indices are not sent. A vector takes 4
    bytes for the seed and 4 bytes for each element that is kept.

    Attributes:
      fraction: as for :class:`TopK`, and so are `count` and `per`.
      rescale: whether to multiply by n / k. Set it to False with error feedback, whose
        memory would grow without limit otherwise.

    Raises:
      ValueError: as :class:`TopK` does.
    """

    tag: ClassVar[bytes] = b"R"
    rescale: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_one_of("rescale", self.rescale, (False, True))

    def vector_bytes(self, size):
        return 4 + 4 * self._kept(size)

    def encode_vector(self, vector, rng):
        seed = draw_seed(rng)
        indices = self._indices(seed, len(vector))
        return struct.pack("<I", seed) + vector[indices].astype("<f4").tobytes()

    def decode_vector(self, block, size):
        (seed,) = struct.unpack_from("<I", block)
        vector = np.zeros(size, np.float32)
        vector[self._indices(seed, size)] = self._factor(size) * np.frombuffer(block[4:], "<f4")
        return vector

    def reconstruct_vector(self, vector, seed):
        size = vector.shape[0]
        order = tf.random.experimental.stateless_shuffle(tf.range(size), seed)
        return self._factor(size) * _keep(vector, order[: self._kept(size)])

    def _indices(self, seed: int, size: int) -> np.ndarray:
        return np.sort(np.random.default_rng(seed).choice(size, self._kept(size), replace=False))

    def _factor(self, size: int) -> np.float32:
        return np.float32(size / self._kept(size) if self.rescale else 1.0)


def largest(vector: np.ndarray, count: int) -> np.ndarray:
    """Returns the sorted indices of the `count` largest absolute values; of equals the first."""
    absolute = np.abs(vector)
    threshold = np.partition(absolute, -count)[-count]
    chosen = absolute > threshold
    equals = np.flatnonzero(absolute == threshold)
    chosen[equals[: count - chosen.sum()]] = True
    return np.flatnonzero(chosen)


def draw_seed(rng: np.random.Generator) -> int:
    """Returns 32 random bits, the seed that a block contains."""
    return int(rng.integers(2**32))


def _keep(vector: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    return tf.scatter_nd(indices[:, None], tf.gather(vector, indices), tf.shape(vector))
