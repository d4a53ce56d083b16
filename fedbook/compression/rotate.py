"""A random rotation before another codec makes all elements similar in size.

Suresh et al. 2017 (arXiv 1611.00429), section 3; Konečný et al. 2016 (arXiv 1610.05492), section 3.
The error of a quantiser grows with the range of the elements, and elements of similar size have a
small range for their norm. The rotation is H D. D flips signs at random, and H is the Hadamard
matrix divided by the square root of its size. Neither changes the norm.
"""

import dataclasses
import struct
from typing import ClassVar

import numpy as np
import tensorflow as tf

from fedbook.checks import check_int, check_type
from fedbook.compression.base import Codec
from fedbook.compression.sparse import draw_seed


@dataclasses.dataclass(frozen=True)
class Rotated(Codec):
    """Rotates the update, encodes it with another codec, and rotates back after decoding.

    All tensors are rotated together, as one vector. The size of a Hadamard matrix is a power of
    two, so zeros are appended, and they are sent too: the 199,210 elements of the 2NN become
    262,144. With `block` the vector is cut into blocks of that size, and zeros are appended to the
    last one only. Each block is rotated and coded separately, with its own norm, or its own minimum
    and maximum. The random signs follow from a seed of 4 bytes, which is part of the message.

    Attributes:
      codec: what encodes the rotated vector; its `per` has no effect.
      block: a power of two, at least 2; or None for the whole vector as one block.

    Raises:
      ValueError: if `block` is not a power of two.
      TypeError: if `codec` is not a :class:`Codec`.
    """

    tag: ClassVar[bytes] = b"H"
    per = "update"
    codec: Codec
    block: int | None = None

    def __post_init__(self):
        check_type("codec", self.codec, Codec, "QSGD(7)")
        if self.block is not None:
            check_int("block", self.block, 2, 2**30)
            if self.block & (self.block - 1):
                raise ValueError(f"block is {self.block}; it must be a power of two.")

    def vector_bytes(self, size):
        rows, side = self._rows(size)
        return 4 + rows * self.codec.vector_bytes(side)

    def encode_vector(self, vector, rng):
        seed, (rows, side) = draw_seed(rng), self._rows(len(vector))
        padded = np.pad(vector, (0, rows * side - len(vector)))
        rotated = hadamard((_signs(seed, len(padded)) * padded).reshape(rows, side))
        blocks = [self.codec.encode_vector(row, rng) for row in rotated]
        return struct.pack("<I", seed) + b"".join(blocks)

    def decode_vector(self, block, size):
        rows, side = self._rows(size)
        (seed,), each = struct.unpack_from("<I", block), self.codec.vector_bytes(side)
        starts = range(4, 4 + rows * each, each)
        rotated = [self.codec.decode_vector(block[s : s + each], side) for s in starts]
        padded = hadamard(np.array(rotated, np.float32)).ravel()
        return (_signs(seed, len(padded)) * padded)[:size]

    def reconstruct_vector(self, vector, seed):
        size, (rows, side) = vector.shape[0], self._rows(vector.shape[0])
        own, inner = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        padding = tf.zeros([rows * side - size])
        signs = 2 * tf.random.stateless_uniform([rows, side], own, 0, 2, tf.int32) - 1
        signs = tf.cast(signs, tf.float32)
        rotated = hadamard(signs * tf.reshape(tf.concat([vector, padding], 0), [rows, side]))
        decoded = tf.map_fn(
            lambda row: self.codec.reconstruct_vector(*row),
            (rotated, tf.random.experimental.stateless_split(inner, rows)),
            fn_output_signature=tf.TensorSpec([side], tf.float32),
        )
        return tf.reshape(signs * hadamard(decoded), [-1])[:size]

    def _rows(self, size: int) -> tuple[int, int]:
        """Returns the number of blocks, and their size."""
        side = self.block or 1 << (size - 1).bit_length()
        return -(-size // side), side


def hadamard(rows):
    """Multiplies each row by the Hadamard matrix divided by the square root of its size.

    The matrix is Sylvester's, as in ``scipy.linalg.hadamard``. Divided in this way it is its own
    inverse. The product takes n log n steps for a row of n. The rows are [m, n] float32, a NumPy
    array or a tensor, and n is a power of two. The products have the same type and shape.
    """
    library = tf if tf.is_tensor(rows) else np
    shape, side = rows.shape, rows.shape[-1]
    width = 1
    while width < side:
        pairs = library.reshape(rows, (-1, 2, width))
        first, second = pairs[:, 0], pairs[:, 1]
        rows = library.stack([first + second, first - second], axis=1)
        width *= 2
    return library.reshape(rows, shape) * np.float32(side**-0.5)


def _signs(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, size, np.int8).astype(np.float32) * 2 - 1
