"""Small whole numbers as bytes: fixed-width packing, and sets of indices.

Every length here depends on how many numbers there are and not on their values. So the
length of a message is known before the message is made.
"""

import numpy as np


def packed_bytes(count: int, width: int) -> int:
    """Returns the length of `count` numbers of `width` bits each, in bytes."""
    return (count * width + 7) // 8


def pack(numbers: np.ndarray, width: int) -> bytes:
    """Writes each number with `width` bits, lowest bit first, without gaps between them.

    Args:
      numbers: [n] ints, each at least 0 and below ``2**width``.
      width: 0 to 32; with 0 nothing is written.
    """
    bits = (numbers[:, None].astype(np.uint32) >> np.arange(width, dtype=np.uint32)) & 1
    return np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()


def unpack(data: bytes, width: int, count: int) -> np.ndarray:
    """Returns the numbers that :func:`pack` wrote, [count] int64."""
    octets = np.frombuffer(data, np.uint8)
    bits = np.unpackbits(octets, count=count * width, bitorder="little").reshape(count, width)
    return bits.astype(np.int64) @ (np.int64(1) << np.arange(width))


def indices_bytes(count: int, size: int) -> int:
    """Returns the length of :func:`pack_indices`, in bytes."""
    if count == size:
        return 0
    return min(packed_bytes(size, 1), _elias_fano_bytes(count, size, _low_bits(count, size)))


def pack_indices(indices: np.ndarray, size: int) -> bytes:
    """Writes a set of indices in the shorter of two ways, or nothing if all are in the set.

    A bitmap takes one bit for each of the `size` possible indices. The code of Elias (1974)
    and Fano takes about ``2 + log2(size / k)`` bits for each of k indices. It writes the low
    bits of each index as they are, and for the high bits the gap to the previous index, in
    unary. The least that any code can need on average is the log2 of the number of such
    sets, which has about 1.44 in place of the 2.

    Args:
      indices: [k] ints from 0 to ``size - 1``, increasing; k is from 1 to `size`.
      size: the number of possible indices.
    """
    count = len(indices)
    if count == size:
        return b""
    low_bits = _low_bits(count, size)
    if packed_bytes(size, 1) <= _elias_fano_bytes(count, size, low_bits):
        return _pack_bitmap(indices, size)
    gaps = (indices >> low_bits) + np.arange(count)  # each index adds a 1, each step up a 0
    low = pack(indices & ((1 << low_bits) - 1), low_bits)
    return low + _pack_bitmap(gaps, _gap_bits(count, size, low_bits))


def unpack_indices(data: bytes, count: int, size: int) -> np.ndarray:
    """Returns the indices that :func:`pack_indices` wrote, [count] int64."""
    if count == size:
        return np.arange(size)
    low_bits = _low_bits(count, size)
    if packed_bytes(size, 1) <= _elias_fano_bytes(count, size, low_bits):
        return _unpack_bitmap(data, size)
    split = packed_bytes(count, low_bits)
    low = unpack(data[:split], low_bits, count)
    high = _unpack_bitmap(data[split:], _gap_bits(count, size, low_bits)) - np.arange(count)
    return (high << low_bits) + low


def _pack_bitmap(indices: np.ndarray, size: int) -> bytes:
    bitmap = np.zeros(size, np.uint8)
    bitmap[indices] = 1
    return np.packbits(bitmap, bitorder="little").tobytes()


def _unpack_bitmap(data: bytes, size: int) -> np.ndarray:
    octets = np.frombuffer(data, np.uint8)
    return np.flatnonzero(np.unpackbits(octets, count=size, bitorder="little"))


def _gap_bits(count: int, size: int, low_bits: int) -> int:
    return count + ((size - 1) >> low_bits)


def _elias_fano_bytes(count: int, size: int, low_bits: int) -> int:
    return packed_bytes(count, low_bits) + packed_bytes(_gap_bits(count, size, low_bits), 1)


def _low_bits(count: int, size: int) -> int:
    return min(range(size.bit_length() + 1), key=lambda bits: _elias_fano_bytes(count, size, bits))
