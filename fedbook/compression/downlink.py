"""From the server to the clients: the change of the model through a codec.

The change of the weights since the last round is smaller than the weights, and easier to
code. Server and clients must agree on what the clients have, so the server keeps a copy of
it and sends the difference between its weights and this copy. What one message leaves out
is then part of the next difference. In other words, the copy is the server's error feedback.
"""

from collections.abc import Sequence

import numpy as np

from fedbook.checks import check_shapes, check_type
from fedbook.compression.base import Codec, MessageFormat, Seed, check_update
from fedbook.compression.entropy import Deflated


def encode_change(
    codec: Codec | Deflated, weights: Sequence[np.ndarray], known: Sequence[np.ndarray], seed: Seed
) -> tuple[bytes, list[np.ndarray]]:
    """Encodes the difference between the server's weights and what the clients have.

    Args:
      codec: one whose error is smaller than the update itself, such as TopK, Sign or
        UniformQuantizer(8). A larger error, such as that of QSGD with few levels, comes back
        in the next change and grows without limit.
      weights: the server's weights.
      known: what every client has, with the same shapes: at first the initial weights, and
        then what the last call returned.
      seed: as for ``codec.encode``.

    Returns:
      The message, and what every client has after adding the decoded message.

    Raises:
      ValueError: if the shapes differ, or as ``codec.encode`` does.
      TypeError: if `codec` is not a codec.
    """
    inner = codec.codec if isinstance(codec, Deflated) else codec
    check_type("codec", inner, MessageFormat, "TopK(0.01)")
    weights, known = check_update(weights, "weights"), check_update(known, "known")
    check_shapes("known", known, weights)
    message = codec.encode([w - k for w, k in zip(weights, known)], seed)
    return message, [k + change for k, change in zip(known, codec.decode(message))]
