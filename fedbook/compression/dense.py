"""No compression: every float is sent as it is, for comparison with the other codecs."""

import dataclasses
from typing import ClassVar

import numpy as np

from fedbook.compression.base import Codec


@dataclasses.dataclass(frozen=True)
class Dense(Codec):
    """Sends every element as a float32, 4 bytes."""

    tag: ClassVar[bytes] = b"D"
    per = "tensor"

    def vector_bytes(self, size):
        return 4 * size

    def encode_vector(self, vector, rng):
        return vector.astype("<f4").tobytes()

    def decode_vector(self, block, size):
        return np.frombuffer(block, "<f4")

    def reconstruct_vector(self, vector, seed):
        return vector
