"""Error feedback: what a message leaves out is remembered and sent later.

Seide et al. 2014 (1-bit SGD, Interspeech); Stich et al. 2018 (Mem-SGD, arXiv 1809.07599);
Karimireddy et al. 2019 (EF-signSGD, arXiv 1901.09847).

A client adds to its update what its earlier messages left out, encodes the sum, and
remembers what the new message leaves out. So everything that it has sent, plus its memory,
is the sum of all its updates, however coarse the codec is.

Each client needs its own memory, which lasts from round to round. So the clients must
return, as they do when they are a few institutions (cross-silo), and not when they are a
sample of millions of phones (cross-device).
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from fedbook.checks import check_floats, check_shapes, check_type

Memory = list[np.ndarray]


@runtime_checkable
class Coder(Protocol):
    """What error feedback needs of a codec, such as those of :mod:`fedbook.compression`."""

    def encode(self, update: Sequence[np.ndarray], seed: int | Sequence[int]) -> bytes:
        """Returns the message that stands for the update."""

    def decode(self, message: bytes) -> list[np.ndarray]:
        """Returns the update as the server sees it."""


def zero_memory(shapes: Sequence[Sequence[int]]) -> Memory:
    """Returns the memory of a client that has sent nothing yet: float32 zeros."""
    return [np.zeros(shape, np.float32) for shape in shapes]


def encode_with_memory(
    codec: Coder, update: Sequence[np.ndarray], memory: Memory, seed: int | Sequence[int]
) -> tuple[bytes, Memory]:
    """Encodes an update together with what earlier messages left out.

    Args:
      codec: one whose error is smaller than the update itself, such as TopK, Sign or
        RandomK(rescale=False). With a larger error, such as that of RandomK(rescale=True)
        or QSGD with few levels, the memory grows without limit.
      update: the client's model delta.
      memory: from :func:`zero_memory` or from the last call for the same client; not changed.
      seed: as for ``codec.encode``.

    Returns:
      The message, and the client's new memory: ``update + memory`` minus what the server decodes.

    Raises:
      ValueError: if the shapes differ, or as ``codec.encode`` does.
      TypeError: if `codec` lacks ``encode`` or ``decode``.
    """
    check_type("codec", codec, Coder, "TopK(0.01)")
    update = check_floats("update", update)
    remembered = check_shapes("memory", memory, update, "update")
    owed = [u + m for u, m in zip(update, remembered)]
    message = codec.encode(owed, seed)
    return message, [o - sent for o, sent in zip(owed, codec.decode(message))]
