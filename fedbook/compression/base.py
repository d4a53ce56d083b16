"""What every codec has in common: the message, its checks, the server's mean.

A message is a header and then one block for each vector. The header says which
kind of codec wrote the message and gives the tensors' shapes: 3 bytes, and for
each tensor 1 byte and 4 for each of its axes. A vector is one tensor, flattened,
or all of them end to end (`per`).
"""

import abc
import math
import struct
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.compression import aggregators

Shapes = Sequence[Sequence[int]]
Seed = int | Sequence[int]


class Codec(abc.ABC):
    """Turns a model update into bytes and back.

    A subclass is a frozen dataclass with a `tag`, a `per`, and the four methods
    ``vector_bytes``, ``encode_vector``, ``decode_vector`` and
    ``reconstruct_vector``; the rest follows from them.

    Attributes:
      per: "tensor" if each tensor is coded on its own, "update" if all of them
        end to end.
    """

    tag: ClassVar[bytes]  # one byte, different for every kind of codec
    per: str

    def encode(self, update: Sequence[np.ndarray], seed: Seed) -> bytes:
        """Returns the message that stands for the update.

        Args:
          update: arrays of floats, taken as float32; not changed.
          seed: an int from 0, or several, such as ``(seed, round, client)``; give
            every message another one. Codecs that draw nothing ignore it.

        Raises:
          ValueError: if `update` is empty, holds an empty array, one not of floats,
            or NaN or infinity, or the codec cannot do what it was asked for with
            arrays of these sizes.
        """
        update = check_update(update)
        shapes = [array.shape for array in update]
        self.message_bytes(shapes)  # raises what there is to raise before any work
        vectors = [array.ravel() for array in update]
        if self.per == "update":
            vectors = [np.concatenate(vectors)]
        rng = np.random.default_rng(seed)
        blocks = [self.encode_vector(vector, rng) for vector in vectors]
        return b"".join([_pack_header(self.tag, shapes), *blocks])

    def decode(self, message: bytes) -> list[np.ndarray]:
        """Returns the update as the server sees it, float32 arrays of its shapes.

        Raises:
          ValueError: if a codec with other settings wrote `message`, or it is cut.
        """
        shapes, start = _unpack_header(self.tag, message)
        if len(message) != self.message_bytes(shapes):
            raise ValueError(
                f"message has {len(message)} bytes; for arrays of shapes {shapes} "
                f"{self} writes {self.message_bytes(shapes)}."
            )
        vectors = []
        for size in self.vector_sizes(shapes):
            stop = start + self.vector_bytes(size)
            vectors.append(self.decode_vector(message[start:stop], size).astype(np.float32))
            start = stop
        return split(np.concatenate(vectors), shapes)

    def message_bytes(self, shapes: Shapes) -> int:
        """Returns the length of every message for arrays of these shapes, header included.

        Raises:
          ValueError: if `shapes` is empty, one of them holds no element, or the
            codec cannot do what it was asked for with arrays of these sizes.
        """
        return header_bytes(shapes) + sum(map(self.vector_bytes, self.vector_sizes(shapes)))

    def vector_sizes(self, shapes: Shapes) -> list[int]:
        """Returns how many floats are coded together: one number a tensor, or one in all."""
        sizes = [math.prod(shape) for shape in shapes]
        if not sizes or min(sizes) < 1:
            raise ValueError(
                f"the update has shapes {list(shapes)}; it must hold at least one array, "
                "and each array at least one element."
            )
        return [sum(sizes)] if self.per == "update" else sizes

    def aggregate(
        self, messages: Sequence[bytes], weights: Sequence[float] | None = None
    ) -> list[np.ndarray]:
        """Returns the server's weighted mean of the decoded messages, float32 arrays.

        Args:
          messages: one for each client, of the same shapes.
          weights: one for each message, from 0, not all 0; by default all count
            alike.

        Raises:
          ValueError: if there is no message, or `weights` does not fit.
        """
        shares = check_weights(messages, weights)
        total = None
        for message, share in zip(messages, shares / shares.sum()):
            decoded = [share * array.astype(np.float64) for array in self.decode(message)]
            total = decoded if total is None else [t + d for t, d in zip(total, decoded)]
        return [array.astype(np.float32) for array in total]

    def reconstruct(self, update: Sequence[tf.Tensor], seed: tf.Tensor) -> list[tf.Tensor]:
        """Does in TensorFlow what ``decode(encode(update, seed))`` does in NumPy.

        The result is the same for a codec that draws nothing, and has the same
        distribution for one that does. Where `update` holds NaN or infinity, for
        which `encode` raises, all of the result is NaN.

        Args:
          update: float32 tensors of known shapes.
          seed: int32 [2], as for ``tf.random.stateless_uniform``.
        """
        shapes = [tuple(tensor.shape) for tensor in update]
        self.vector_sizes(shapes)
        vectors = [tf.reshape(tensor, [-1]) for tensor in update]
        if self.per == "update":
            vectors = [tf.concat(vectors, 0)]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(vector)) for vector in vectors])
        decoded = [
            self.reconstruct_vector(vector, tf.random.experimental.stateless_fold_in(seed, number))
            for number, vector in enumerate(vectors)
        ]
        flat = tf.where(finite, tf.concat(decoded, 0), np.float32(np.nan))
        parts = tf.split(flat, [math.prod(shape) for shape in shapes])
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes)]

    def aggregator(self, seed: int = 0) -> tff.aggregators.WeightedAggregationFactory:
        """Returns the weighted mean of coded updates, for ``model_aggregator=``.

        A cohort whose weights are all 0 has the mean 0. The measurements hold
        under `mean_value` what :meth:`sum_factory` says; the client's weight,
        another 4 bytes, is not counted.

        Args:
          seed: from 0 to 2**31 - 1. The same seed gives the same rounds.
        """
        return tff.aggregators.MeanFactory(self.sum_factory(seed), no_nan_division=True)

    def sum_factory(self, seed: int = 0) -> tff.aggregators.UnweightedAggregationFactory:
        """Returns the sum of coded updates, a :class:`aggregators.CodecSumFactory`."""
        return aggregators.CodecSumFactory(self, seed)

    @abc.abstractmethod
    def vector_bytes(self, size: int) -> int:
        """Returns the length of one vector's block."""

    @abc.abstractmethod
    def encode_vector(self, vector: np.ndarray, rng: np.random.Generator) -> bytes:
        """Returns the block of a finite float32 vector [n]."""

    @abc.abstractmethod
    def decode_vector(self, block: bytes, size: int) -> np.ndarray:
        """Returns the floats [n] that a block stands for."""

    @abc.abstractmethod
    def reconstruct_vector(self, vector: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Does in TensorFlow what the two methods above do, float32 [n] to float32 [n]."""


def header_bytes(shapes: Shapes) -> int:
    """Returns the length of the header of every message, in bytes."""
    return 3 + sum(1 + 4 * len(shape) for shape in shapes)


def check_update(update: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the arrays as float32; raises ValueError for what no codec can send."""
    arrays = [np.asarray(array) for array in update]
    if not arrays:
        raise ValueError("update is empty; it must hold at least one array.")
    for number, array in enumerate(arrays):
        if array.dtype.kind != "f":
            raise ValueError(f"update[{number}] has dtype {array.dtype}; it must hold floats.")
        if array.size == 0:
            raise ValueError(
                f"update[{number}] has shape {array.shape}; it must hold at least one element."
            )
    with np.errstate(over="ignore"):  # what is too large for float32 is infinite, and found below
        arrays = [array.astype(np.float32, copy=False) for array in arrays]
    for number, array in enumerate(arrays):
        wrong = array.size - np.isfinite(array).sum()
        if wrong:
            raise ValueError(
                f"update[{number}] has {wrong} elements that are NaN or infinite as float32; "
                "all must be finite."
            )
    return arrays


def check_weights(messages: Sequence[bytes], weights: Sequence[float] | None) -> np.ndarray:
    """Returns the weights as float64 [n], ones by default; raises ValueError if they do not fit."""
    if not len(messages):
        raise ValueError("messages is empty; it must hold at least one.")
    weights = np.ones(len(messages)) if weights is None else np.asarray(weights, np.float64)
    good = weights.shape == (len(messages),) and np.isfinite(weights).all()
    if not (good and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(
            f"weights is {weights}; it must hold {len(messages)} finite numbers from 0, not all 0."
        )
    return weights


def check_per(per: str) -> None:
    """Raises ValueError unless `per` is one that a codec knows."""
    if per not in ("tensor", "update"):
        raise ValueError(f'per is {per!r}; it must be "tensor" or "update".')


def check_int(name: str, value: int, low: int, high: int) -> None:
    """Raises ValueError unless `value` is an int from `low` to `high`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not (whole and low <= value <= high):
        raise ValueError(f"{name} is {value!r}; it must be an int from {low} to {high}.")


def split(vector: np.ndarray, shapes: Shapes) -> list[np.ndarray]:
    """Cuts a vector into arrays of the shapes given."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(vector, ends[:-1]), shapes)]


def _pack_header(tag: bytes, shapes: Shapes) -> bytes:
    header = struct.pack("<cH", tag, len(shapes))
    return header + b"".join(struct.pack(f"<B{len(s)}I", len(s), *s) for s in shapes)


def _unpack_header(tag: bytes, message: bytes) -> tuple[list[tuple[int, ...]], int]:
    """Returns the shapes, and where the header ends."""
    try:
        found, tensors = struct.unpack_from("<cH", message)
        start, shapes = 3, []
        for _ in range(tensors):
            rank = message[start]
            shapes.append(struct.unpack_from(f"<{rank}I", message, start + 1))
            start += 1 + 4 * rank
    except (struct.error, IndexError):
        raise ValueError(f"message has {len(message)} bytes, too few for its header.") from None
    if found != tag:
        raise ValueError(f"message begins with {found!r}; what this codec writes, with {tag!r}.")
    return shapes, start
