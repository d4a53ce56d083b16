"""A random rotation before another codec: it makes all elements alike in size.

Suresh et al. 2017 (arXiv 1611.00429), section 3; Konečný et al. 2016 (arXiv
1610.05492), section 3. Elements alike in size have a small range for their norm,
which is what a quantiser loses by. The rotation is H D: D flips signs at random,
H is the Hadamard matrix divided by the root of its size, so that both keep norms.
"""

import dataclasses
import struct
from typing import ClassVar

import numpy as np
import tensorflow as tf

from fedbook.compression.base import Codec, check_int
from fedbook.compression.sparse import draw_seed


@dataclasses.dataclass(frozen=True)
class Rotated(Codec):
    """Rotates the update, lets another codec code it, and rotates back.

    All tensors are rotated together, end to end. The Hadamard matrix wants a size
    that is a power of two, so zeros are added, and they are sent too: the 199,210
    elements of the 2NN become 262,144. With `block` the vector is cut into pieces of
    that size, each rotated and coded on its own, with a norm or ends of its own, and
    only the last one is filled up. The signs follow from a seed of 4 bytes that
    travels with the message.

    Attributes:
      codec: what codes the rotated vector; its `per` does not matter.
      block: a power of two from 2, or None for the whole vector in one.

    Raises:
      ValueError: if `block` is not a power of two.
      TypeError: if `codec` is not a codec that takes vectors.
    """

    tag: ClassVar[bytes] = b"H"
    per: ClassVar[str] = "update"
    codec: Codec
    block: int | None = None

    def __post_init__(self):
        if not isinstance(self.codec, Codec):
            raise TypeError(f"codec is {self.codec!r}; it must be a Codec, such as QSGD(7).")
        if self.block is not None:
            check_int("block", self.block, 2, 2**30)
            if self.block & (self.block - 1):
                raise ValueError(f"block is {self.block}; it must be a power of two.")

    def padded(self, size: int) -> int:
        """Returns how many elements are coded, of `size` in the update."""
        rows, side = self._rows(size)
        return rows * side

    def vector_bytes(self, size):
        rows, side = self._rows(size)
        return 4 + rows * self.codec.vector_bytes(side)

    def encode_vector(self, vector, rng):
        seed = draw_seed(rng)
        padded = np.pad(vector, (0, self.padded(len(vector)) - len(vector)))
        rotated = hadamard((_signs(seed, len(padded)) * padded).reshape(self._rows(len(vector))))
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
        """Returns how many blocks there are, and their size."""
        side = self.block or 1 << (size - 1).bit_length()
        return -(-size // side), side


def hadamard(rows):
    """Multiplies each row by the Hadamard matrix over the root of its size.

    The matrix is Sylvester's, as in ``scipy.linalg.hadamard``; this product of it
    is its own inverse. Takes n log n steps for a row of n.

    Args:
      rows: [m, n] float32, n a power of two; a NumPy array or a tensor.

    Returns:
      The like of `rows`.
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
