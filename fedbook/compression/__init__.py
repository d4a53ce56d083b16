"""Codecs make an update small, and count the bytes of its message.

A codec writes an update, a list of float arrays, as a message and reads it back. The
message is real: it contains the shapes, the packed indices and levels, and everything else
that the server needs. So its length is what would travel::

    codec = compression.TopK(0.01)
    message = codec.encode(delta, seed=(1, round_number, client))
    len(message), codec.message_bytes([d.shape for d in delta])  # the same number
    seen_by_server = codec.decode(message)
    mean = compression.aggregate(codec, messages, num_examples)  # the server's weighted mean

- :class:`Dense` sends float32, for comparison.
- :class:`TopK` and :class:`RandomK` send a few elements.
- :class:`UniformQuantizer` and :class:`QSGD` send all elements with a few bits each. Both
  are unbiased: the expected value of what the server decodes is the update.
- :class:`Sign` and :class:`MajorityVote` send one bit per element.
- :class:`Rotated` applies a random rotation before one of these.
- :class:`Deflated` applies entropy coding after one of these.

In TFF, :func:`mean_aggregator` goes into the argument ``model_aggregator`` of
``tff.learning.algorithms.build_weighted_fed_avg`` and of
:func:`fedbook.algorithms.tff.build_fast_fed_avg`; :func:`sum_aggregator` goes into other
aggregation factories. For messages from the server to the clients there is :func:`encode_change`,
and for error feedback :func:`fedbook.algorithms.encode_with_memory`.

For a codec of your own, write a frozen dataclass that derives from :class:`Codec`.
"""

from fedbook.compression.aggregators import aggregate, mean_aggregator, sum_aggregator
from fedbook.compression.base import Codec, MessageFormat, header_bytes
from fedbook.compression.dense import Dense
from fedbook.compression.downlink import encode_change
from fedbook.compression.entropy import Deflated
from fedbook.compression.quantise import QSGD, UniformQuantizer
from fedbook.compression.rotate import Rotated
from fedbook.compression.sign import MajorityVote, Sign
from fedbook.compression.sparse import RandomK, TopK

__all__ = [
    "QSGD",
    "Codec",
    "Deflated",
    "Dense",
    "MajorityVote",
    "MessageFormat",
    "RandomK",
    "Rotated",
    "Sign",
    "TopK",
    "UniformQuantizer",
    "aggregate",
    "encode_change",
    "header_bytes",
    "mean_aggregator",
    "sum_aggregator",
]
