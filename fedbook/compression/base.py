"""What every codec has in common: the message, its header and its checks.

A message is a header, followed by one block for each vector. The header names the kind of codec, a
checksum of its settings, and the tensors' shapes. It takes 7 bytes, and for each tensor 1 byte and
4 more for each of its axes. A vector is one flattened tensor, or all of them one after the other
(`per`).
"""

import abc
import dataclasses
import math
import numbers
import struct
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from fedbook.checks import check_floats, check_int, check_type

Shapes = Sequence[Sequence[int]]
Seed = int | Sequence[int]

PER = ("tensor", "update")  # the values of `per`


class MessageFormat(abc.ABC):
    """Turns a model update into bytes and back.

    A subclass is a frozen dataclass with a `tag`, a `per`, and the methods
    ``vector_bytes``, ``encode_vector`` and ``decode_vector``. The fields of the dataclass are
    the settings that a message must have been written with.

    Attributes:
      per: "tensor" if each tensor is coded separately, "update" if all of them are coded
        together, as one vector.
    """

    tag: ClassVar[bytes]  # one byte, different for every kind of codec
    per: str

    def encode(self, update: Sequence[np.ndarray], seed: Seed) -> bytes:
        """Returns the message that stands for the update.

        Args:
          update: arrays of floats, converted to float32; not changed.
          seed: an int of at least 0, or several, such as ``(seed, round, client)``. Give
            every message a different one. Codecs without randomness ignore it.

        Raises:
          ValueError: if `update` is empty, or one of its arrays is empty, does not hold floats, or
            holds NaN or infinity; if the codec's settings do not fit arrays of these sizes; or if
            `seed` is not an int of at least 0, or several.
        """
        update = check_update(update)
        seed = _check_seed(seed)
        shapes = [array.shape for array in update]
        self.message_bytes(shapes)  # raises whatever there is to raise before any work
        vectors = [array.ravel() for array in update]
        if self.per == "update":
            vectors = [np.concatenate(vectors)]
        rng = np.random.default_rng(seed)
        blocks = [self.encode_vector(vector, rng) for vector in vectors]
        return b"".join([_pack_header(self, shapes), *blocks])

    def decode(self, message: bytes) -> list[np.ndarray]:
        """Returns the update as the server sees it, float32 arrays with its shapes.

        Raises:
          ValueError: if a codec with other settings wrote `message`, or if it is cut off.
          TypeError: if `message` is not bytes.
        """
        shapes, start = _unpack_header(self, check_type("message", message, bytes))
        if len(message) != self.message_bytes(shapes):
            wanted = f"for arrays of shapes {shapes} {self} writes {self.message_bytes(shapes)}"
            raise ValueError(f"message has {len(message)} bytes; {wanted}.")
        vectors = []
        for size in self.vector_sizes(shapes):
            stop = start + self.vector_bytes(size)
            vectors.append(self.decode_vector(message[start:stop], size).astype(np.float32))
            start = stop
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        parts = np.split(np.concatenate(vectors), ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes)]

    def message_bytes(self, shapes: Shapes) -> int:
        """Returns the length of every message for arrays of these shapes, with its header.

        Raises:
          ValueError: if `shapes` is empty, one of them has no elements, or the codec's
            settings do not fit arrays of these sizes.
        """
        return header_bytes(shapes) + sum(map(self.vector_bytes, self.vector_sizes(shapes)))

    def vector_sizes(self, shapes: Shapes) -> list[int]:
        """Returns the number of elements of each vector: one for each tensor, or one in all."""
        _check_sizes(shapes)
        sizes = [math.prod(shape) for shape in shapes]
        return [sum(sizes)] if self.per == "update" else sizes

    @abc.abstractmethod
    def vector_bytes(self, size: int) -> int:
        """Returns the length of one vector's block."""

    @abc.abstractmethod
    def encode_vector(self, vector: np.ndarray, rng: np.random.Generator) -> bytes:
        """Returns the block of a finite float32 vector [n]."""

    @abc.abstractmethod
    def decode_vector(self, block: bytes, size: int) -> np.ndarray:
        """Returns the floats [n] that a block stands for."""


class Codec(MessageFormat):
    """A message format whose decoded messages stand for the update, so that a mean makes sense.

    A subclass has a fourth method, ``reconstruct_vector``.
    """

    def reconstruct(self, update: Sequence[tf.Tensor], seed: tf.Tensor) -> list[tf.Tensor]:
        """Does in TensorFlow what ``decode(encode(update, seed))`` does in NumPy.

        The result is the same for a codec without randomness, and has the same
        distribution for one with randomness. If `update` holds NaN or infinity, for which
        ``encode`` raises an error, the whole result is NaN.

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

    @abc.abstractmethod
    def reconstruct_vector(self, vector: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Encodes and decodes in TensorFlow, from float32 [n] to float32 [n]."""


def header_bytes(shapes: Shapes) -> int:
    """Returns the length of the header of every message, in bytes.

    Raises:
      ValueError: if `shapes` is empty, or one of them has no elements.
    """
    _check_sizes(shapes)
    return 7 + sum(1 + 4 * len(shape) for shape in shapes)


def check_update(update: Sequence[np.ndarray], called: str = "update") -> list[np.ndarray]:
    """Returns the arrays as float32; raises ValueError for what no codec can send."""
    with np.errstate(over="ignore"):  # what is too large for float32 is infinite, and found below
        arrays = check_floats(called, update)
    for number, array in enumerate(arrays):
        name, wrong = f"{called}[{number}]", array.size - np.isfinite(array).sum()
        if array.size == 0:
            raise ValueError(f"{name} has shape {array.shape}; it must hold at least one element.")
        if wrong:
            found = f"{name} has {wrong} elements that are NaN or infinite as float32"
            raise ValueError(f"{found}; all must be finite.")
    return arrays


def _check_sizes(shapes: Shapes) -> None:
    """Raises ValueError unless there is a shape, and all of them are of ints from 1."""
    axes: list[Any] = [axis for shape in shapes for axis in shape]
    whole = all(isinstance(a, numbers.Integral) and not isinstance(a, bool) for a in axes)
    if not len(shapes) or not whole or min(axes, default=1) < 1:
        raise ValueError(
            f"the update has shapes {list(shapes)}; it must hold at least one array, "
            "and each array at least one element."
        )


def _check_seed(seed: Seed) -> int | list[int]:
    """Returns the seed for NumPy; raises ValueError unless it is an int from 0, or several."""
    if isinstance(seed, Sequence) and not isinstance(seed, str | bytes) and len(seed):
        return [check_int(f"seed[{number}]", value, 0) for number, value in enumerate(seed)]
    return check_int("seed", seed, 0)


def _settings(codec: MessageFormat) -> list[Any]:
    """Returns the kind of codec and its fields, alike for codecs that are equal."""
    values: list[Any] = [codec.tag]
    for field in dataclasses.fields(codec):  # type: ignore[arg-type]  # subclasses are dataclasses
        value = getattr(codec, field.name)
        if isinstance(value, MessageFormat):
            value = _settings(value)
        elif isinstance(value, numbers.Real):  # 1 is 1.0, and a number of NumPy's one of Python's
            value = float(value)
        values.append(value)
    return values


def _checksum(codec: MessageFormat) -> int:
    return zlib.crc32(repr(_settings(codec)).encode())


def _pack_header(codec: MessageFormat, shapes: Shapes) -> bytes:
    header = struct.pack("<cIH", codec.tag, _checksum(codec), len(shapes))
    return header + b"".join(struct.pack(f"<B{len(s)}I", len(s), *s) for s in shapes)


def _unpack_header(codec: MessageFormat, message: bytes) -> tuple[list[tuple[int, ...]], int]:
    """Returns the shapes, and where the header ends."""
    if message and message[:1] != codec.tag:
        wanted = f"what this codec writes, with {codec.tag!r}"
        raise ValueError(f"message begins with {message[:1]!r}; {wanted}.")
    try:
        _, checksum, tensors = struct.unpack_from("<cIH", message)
        if checksum != _checksum(codec):
            raise ValueError(
                f"message was written by a codec with other settings than {codec}; "
                "decode it with the codec that encoded it."
            )
        start, shapes = 7, []
        for _ in range(tensors):
            rank = message[start]
            shapes.append(struct.unpack_from(f"<{rank}I", message, start + 1))
            start += 1 + 4 * rank
    except (struct.error, IndexError):
        raise ValueError(f"message has {len(message)} bytes; its header needs more.") from None
    return shapes, start
