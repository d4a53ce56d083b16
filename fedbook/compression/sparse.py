"""Sparsification: a few elements travel as they are, the others not at all.

Top-k: Aji and Heafield 2017 (arXiv 1704.05021); random-k: Konečný et al. 2016
(arXiv 1610.05492), section 3, subsampling. Both under one analysis, with memory:
Stich et al. 2018 (arXiv 1809.07599).
"""

import dataclasses
import struct
from typing import ClassVar

import numpy as np
import tensorflow as tf

from fedbook.compression import packing
from fedbook.compression.base import Codec, Shapes, check_int, check_per


@dataclasses.dataclass(frozen=True)
class _Sparse(Codec):
    """What top-k and random-k have in common: how many elements they keep."""

    fraction: float | None = None
    count: int | None = None
    per: str = "update"

    def __post_init__(self):
        check_per(self.per)
        if (self.fraction is None) == (self.count is None):
            raise ValueError(
                f"fraction is {self.fraction} and count is {self.count}; give one of them."
            )
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; it must be above 0 and at most 1.")
        if self.count is not None:
            check_int("count", self.count, 1, 2**31 - 1)

    def kept(self, shapes: Shapes) -> list[int]:
        """Returns how many elements travel: one number a tensor, or one in all (`per`).

        Raises:
          ValueError: if `count` is more than there are.
        """
        return [self._kept(size) for size in self.vector_sizes(shapes)]

    def _kept(self, size: int) -> int:
        if self.count is None:
            return max(1, round(self.fraction * size))
        if self.count > size:
            what = "the update has" if self.per == "update" else "a tensor has"
            raise ValueError(
                f"count is {self.count}, and {what} only {size} elements; "
                "it must be at most as many."
            )
        return self.count


@dataclasses.dataclass(frozen=True)
class TopK(_Sparse):
    """Keeps the elements that are largest in absolute value, exactly; the rest become 0.

    Biased: the small elements are never sent, unless error feedback saves them up.
    Among equals the first are kept. An element takes 4 bytes and its place about
    ``2 + log2(n / k)`` bits (:func:`fedbook.compression.packing.pack_indices`).

    Attributes:
      fraction: of the elements that are kept, above 0 to 1; the number is rounded,
        and at least 1: with ``per="tensor"`` a bias of 10 elements sends one, a
        tenth of it, at any smaller fraction too. ``kept(shapes)`` tells.
      count: how many are kept, in place of `fraction`; from each tensor with
        ``per="tensor"``, so at most as many as the smallest one has.
      per: "update" ranks all elements together, so that a tensor with a small
        update may send nothing; "tensor" ranks each tensor's.

    Raises:
      ValueError: if both or neither of `fraction` and `count` are given, or one is
        out of its range.
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
        vector = np.zeros(size, np.float32)
        vector[packing.unpack_indices(block[4 * kept :], kept, size)] = np.frombuffer(
            block, "<f4", kept
        )
        return vector

    def reconstruct_vector(self, vector, seed):
        size = vector.shape[0]
        indices = tf.math.top_k(tf.abs(vector), self._kept(size)).indices
        return _keep(vector, indices)


@dataclasses.dataclass(frozen=True)
class RandomK(_Sparse):
    """Keeps elements drawn at random without replacement, times n / k; the rest become 0.

    Unbiased thanks to the factor; the variance is (n / k - 1) times the squared
    norm. Which elements they are follows from a seed, the only thing sent beside
    them: 4 bytes a vector.

    Attributes:
      fraction: as for :class:`TopK`.
      count: as for :class:`TopK`.
      per: as for :class:`TopK`.
      rescale: whether to multiply by n / k. With error feedback set it to False:
        the factor makes what the memory has to hold grow without end.

    Raises:
      ValueError: as :class:`TopK` does.
    """

    tag: ClassVar[bytes] = b"R"
    rescale: bool = True

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
    """Returns the places of the `count` largest absolute values, increasing; of equals the first."""
    absolute = np.abs(vector)
    threshold = np.partition(absolute, -count)[-count]
    chosen = absolute > threshold
    equals = np.flatnonzero(absolute == threshold)
    chosen[equals[: count - chosen.sum()]] = True
    return np.flatnonzero(chosen)


def draw_seed(rng: np.random.Generator) -> int:
    """Returns 32 random bits, for a block that carries its own seed."""
    return int(rng.integers(2**32))


def _keep(vector: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    return tf.scatter_nd(indices[:, None], tf.gather(vector, indices), tf.shape(vector))
