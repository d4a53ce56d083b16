"""Entropy coding: the same message in fewer bytes, where some bytes are more frequent."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from fedbook.compression.base import Codec, Seed


@dataclasses.dataclass(frozen=True)
class Deflated:
    """Compresses another codec's messages with DEFLATE (zlib, RFC 1950 and 1951).

    Nothing is lost, and the length depends on the update: there is no
    ``message_bytes``. DEFLATE counts bytes, so levels of 1, 2, 4 or 8 bits, which
    line up with bytes, gain most; float32 values and signs gain little. Nor is there
    an aggregator, since TensorFlow has no operation that compresses: in TFF use that
    of `codec`, which gives the same updates.

    Attributes:
      codec: what writes the messages.
    """

    codec: Codec

    def encode(self, update: Sequence[np.ndarray], seed: Seed) -> bytes:
        """Returns the compressed message; raises what ``codec.encode`` does."""
        return zlib.compress(self.codec.encode(update, seed), 9)

    def decode(self, message: bytes) -> list[np.ndarray]:
        """Returns the update as the server sees it.

        Raises:
          ValueError: if `message` is not one of these.
        """
        return self.codec.decode(self._inflate(message))

    def aggregate(
        self, messages: Sequence[bytes], weights: Sequence[float] | None = None
    ) -> list[np.ndarray]:
        """Returns what the server makes of the messages, as ``codec.aggregate`` does."""
        return self.codec.aggregate([self._inflate(message) for message in messages], weights)

    def _inflate(self, message: bytes) -> bytes:
        try:
            return zlib.decompress(message)
        except zlib.error as error:
            raise ValueError(f"message cannot be decompressed: {error}.") from None
