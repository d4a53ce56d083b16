"""What travels: codecs that make an update small, and count its bytes.

A codec writes an update, a list of float arrays, as a message, and reads it back.
The message is real: it has a header with the shapes, packed indices and levels,
and everything else that the server needs, so its length is what would travel::

    codec = compression.TopK(0.01)
    message = codec.encode(delta, seed=(1, round_number, client))
    len(message), codec.message_bytes([d.shape for d in delta])  # the same number
    seen_by_server = codec.decode(message)
    mean = codec.aggregate(messages, num_examples)  # the server's weighted mean

- :class:`Dense`: float32, the yardstick.
- :class:`TopK`, :class:`RandomK`: a few elements. By `fraction` or `count`; `per`
  says whether of the whole "update" or of each "tensor"; ``kept(shapes)`` tells how
  many.
- :class:`UniformQuantizer`, :class:`QSGD`: all elements with a few bits, right in the
  mean.
- :class:`Sign`, :class:`MajorityVote`: one bit an element.
- :class:`Rotated`: a random rotation before one of these.
- :class:`Deflated`: entropy coding after one of these.

In TFF, ``codec.aggregator(seed)`` goes into ``model_aggregator=`` of
``tff.learning.algorithms.build_weighted_fed_avg`` and of
:func:`fedbook.client_work.build_fed_avg`; ``codec.sum_factory(seed)`` goes into other
factories. The metrics ``["aggregator"]["mean_value"]`` hold `uplink_bytes_per_client`
and `uplink_bytes`. For the way down, :func:`build_distributor` goes into
``model_distributor=``, and :func:`encode_change` does the same by hand.

Error feedback, for clients that return: :func:`zero_memory` and
:func:`encode_with_memory` by hand, :func:`build_error_feedback` in Federated Core.

A codec of your own: a frozen dataclass that derives from :class:`Codec`.
"""

from fedbook.compression.aggregators import CodecSumFactory, VoteFactory
from fedbook.compression.base import Codec, header_bytes
from fedbook.compression.dense import Dense
from fedbook.compression.downlink import build_distributor, encode_change
from fedbook.compression.entropy import Deflated
from fedbook.compression.error_feedback import (
    build_error_feedback,
    encode_with_memory,
    zero_memory,
)
from fedbook.compression.quantise import QSGD, UniformQuantizer
from fedbook.compression.rotate import Rotated, hadamard
from fedbook.compression.sign import MajorityVote, Sign
from fedbook.compression.sparse import RandomK, TopK

__all__ = [
    "QSGD",
    "Codec",
    "CodecSumFactory",
    "Deflated",
    "Dense",
    "MajorityVote",
    "RandomK",
    "Rotated",
    "Sign",
    "TopK",
    "UniformQuantizer",
    "VoteFactory",
    "build_distributor",
    "build_error_feedback",
    "encode_change",
    "encode_with_memory",
    "hadamard",
    "header_bytes",
    "zero_memory",
]
