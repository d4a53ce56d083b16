"""One bit per element: its sign.

Bernstein et al. 2018 (signSGD, arXiv 1802.04434) send signs and let the server count votes.
Karimireddy et al. 2019 (EF-signSGD, arXiv 1901.09847) send a scale with the signs. One bit
cannot express 0, so an element that is 0 is sent as positive.
"""

import dataclasses
import struct
from typing import ClassVar

import numpy as np
import tensorflow as tf

from fedbook.checks import check_number, check_one_of
from fedbook.compression import packing
from fedbook.compression.base import PER, Codec, MessageFormat


@dataclasses.dataclass(frozen=True)
class Sign(Codec):
    """Sends the signs and the mean absolute value, as EF-signSGD does.

    Sign is biased, but its error is smaller than the update itself: it keeps
    ``|x|_1^2 / n`` of the squared norm of n elements, which is all of it if they have the
    same absolute value. A vector takes 1 bit per element and 4 bytes.

    Attributes:
      per: "tensor" gives each tensor its own scale; with "update" all tensors share one.

    Raises:
      ValueError: if `per` is neither of these.
    """

    tag: ClassVar[bytes] = b"S"
    per: str = "tensor"

    def __post_init__(self):
        check_one_of("per", self.per, PER)

    def vector_bytes(self, size):
        return 4 + packing.packed_bytes(size, 1)

    def encode_vector(self, vector, rng):
        scale = np.abs(vector).mean(dtype=np.float64)
        return struct.pack("<f", scale) + packing.pack(vector >= 0, 1)

    def decode_vector(self, block, size):
        (scale,) = struct.unpack_from("<f", block)
        return np.where(packing.unpack(block[4:], 1, size), scale, -scale)

    def reconstruct_vector(self, vector, seed):
        scale = tf.cast(tf.reduce_mean(tf.cast(tf.abs(vector), tf.float64)), tf.float32)
        return tf.where(vector >= 0, scale, -scale)


@dataclasses.dataclass(frozen=True)
class MajorityVote(MessageFormat):
    """Sends the signs only; the server moves every element by `step` to where most clients point.

    This is distributed signSGD with majority vote (Bernstein et al. 2018). ``decode`` gives
    one client's vote, plus or minus `step`. The votes are counted by
    :func:`~fedbook.compression.aggregate`.

    Attributes:
      step: how far an element moves in a round, above 0. It is the paper's learning rate,
        because the size of the updates is lost.

    Raises:
      ValueError: if `step` is not a number above 0 that is finite as float32.
    """

    tag: ClassVar[bytes] = b"V"
    per = "update"
    step: float

    def __post_init__(self):
        check_number("step", self.step, above=0, high=float(np.finfo(np.float32).max))

    def vector_bytes(self, size):
        return packing.packed_bytes(size, 1)

    def encode_vector(self, vector, rng):
        return packing.pack(vector >= 0, 1)

    def decode_vector(self, block, size):
        return np.where(packing.unpack(block, 1, size), self.step, -self.step)
