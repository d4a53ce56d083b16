"""One bit an element: its sign.

Bernstein et al. 2018 (signSGD, arXiv 1802.04434) send signs and let the server
count votes; Karimireddy et al. 2019 (EF-signSGD, arXiv 1901.09847) send a scale
beside the signs. A bit cannot say 0: an element that is 0 is sent as +.
"""

import dataclasses
import math
import struct
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf

from fedbook.compression import aggregators, packing
from fedbook.compression.base import Codec, check_per, check_weights


@dataclasses.dataclass(frozen=True)
class Sign(Codec):
    """Sends the signs and the mean absolute value: the compressor of EF-signSGD.

    Biased, yet what it loses is less than what there is: of the squared norm of n
    elements just ``|x|_1^2 / n`` is kept, all of it if they are alike in size. A vector
    takes 1 bit an element and 4 bytes.

    Attributes:
      per: "tensor" gives each tensor a scale of its own, "update" one to all.

    Raises:
      ValueError: if `per` is not one of them.
    """

    tag: ClassVar[bytes] = b"S"
    per: str = "tensor"

    def __post_init__(self):
        check_per(self.per)

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
class MajorityVote(Codec):
    """Sends the signs alone; the server moves every element by `step` where most point.

    The distributed signSGD of Bernstein et al. 2018. Every client has one vote, whatever its
    weight, except that one of weight 0 has none; a tie moves nothing. `decode`
    gives one client's vote, + or - `step`.

    Attributes:
      step: how far an element moves in a round, above 0; the learning rate of the
        paper, since the size of the updates is lost.

    Raises:
      ValueError: if `step` is not a finite number above 0.
    """

    tag: ClassVar[bytes] = b"V"
    per: ClassVar[str] = "update"
    step: float

    def __post_init__(self):
        if not (math.isfinite(self.step) and self.step > 0):
            raise ValueError(f"step is {self.step}; it must be a finite number above 0.")

    def vector_bytes(self, size):
        return packing.packed_bytes(size, 1)

    def encode_vector(self, vector, rng):
        return packing.pack(vector >= 0, 1)

    def decode_vector(self, block, size):
        return np.where(packing.unpack(block, 1, size), self.step, -self.step)

    def reconstruct_vector(self, vector, seed):
        return tf.where(vector >= 0, np.float32(self.step), np.float32(-self.step))

    def aggregate(
        self, messages: Sequence[bytes], weights: Sequence[float] | None = None
    ) -> list[np.ndarray]:
        """Returns `step` times the sign of the sum of the votes, 0 for a tie."""
        voters = check_weights(messages, weights) > 0
        votes = [self.decode(message) for message, voter in zip(messages, voters) if voter]
        return [
            np.float32(self.step) * np.sign(np.sign(tensors).sum(0, dtype=np.float32))
            for tensors in zip(*votes)
        ]

    def aggregator(self, seed: int = 0):
        """Returns the vote, for ``model_aggregator=``; draws nothing."""
        return aggregators.VoteFactory(self)

    def sum_factory(self, seed: int = 0):
        """Raises: a vote is no sum; see `aggregator`."""
        raise TypeError(
            "MajorityVote has no sum_factory, since a vote is no sum; use aggregator()."
        )
