"""Entropy coding: the same message in fewer bytes, where some bytes are more frequent."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from fedbook.checks import check_type
from fedbook.compression.base import MessageFormat, Seed


@dataclasses.dataclass(frozen=True)
class Deflated:
    """Compresses another codec's messages with DEFLATE (zlib, RFC 1950 and 1951).

    Nothing is lost. The length of a message depends on the update, so there is no
    ``message_bytes``. DEFLATE works on bytes, so levels of 1, 2, 4 or 8 bits, which fit
    into bytes exactly, gain most; float32 values and signs gain little.

    Attributes:
      codec: what writes the messages.

    Raises:
      TypeError: if `codec` is not a codec.
    """

    codec: MessageFormat

    def __post_init__(self):
        check_type("codec", self.codec, MessageFormat, "QSGD(7)")

    def encode(self, update: Sequence[np.ndarray], seed: Seed) -> bytes:
        """Returns the compressed message; raises what ``codec.encode`` does."""
        return zlib.compress(self.codec.encode(update, seed), 9)

    def decode(self, message: bytes) -> list[np.ndarray]:
        """Returns the update as the server sees it.

        Raises:
          ValueError: if another codec, or one with other settings, wrote `message`, or if it
            is cut off.
          TypeError: if `message` is not bytes.
        """
        try:
            inflated = zlib.decompress(check_type("message", message, bytes))
        except zlib.error as error:
            raise ValueError(f"message cannot be decompressed: {error}.") from None
        return self.codec.decode(inflated)
