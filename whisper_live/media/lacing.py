"""Lacing: several packets in one Matroska block (RFC 9559, 10.3).

No browser laces, but muxers of other recorders do.  Owns the three ways in which the
sizes of the packets are written; knows bytes only.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["unlace"]

_XIPH, _FIXED, _EBML = 1, 2, 3


def unlace(lacing: int, body: bytes) -> list[bytes]:
    """The packets of a block's body; ``lacing`` is the two bits of its flags.

    Raises ``ValueError`` where the sizes do not fit the body.
    """
    if not lacing:
        return [body]
    if not body:
        raise ValueError("a lace without a count")
    count, at = body[0] + 1, 1
    if lacing == _FIXED:
        size, rest = divmod(len(body) - 1, count)
        if rest:
            raise ValueError("a lace of uneven packets")
        sizes = [size] * count
    else:
        read = _xiph_sizes if lacing == _XIPH else _ebml_sizes
        sizes, at = read(body, count - 1)
        sizes.append(len(body) - at - sum(sizes))  # the last one's is not written
    if min(sizes) < 0:
        raise ValueError("a lace longer than its block")
    return _cut(body, at, sizes)


def _cut(body: bytes, at: int, sizes: Sequence[int]) -> list[bytes]:
    packets: list[bytes] = []
    for size in sizes:
        packets.append(body[at : at + size])
        at += size
    return packets


def _xiph_sizes(body: bytes, count: int) -> tuple[list[int], int]:
    """Sizes as runs of 255 and a smaller byte, and where they end."""
    sizes: list[int] = []
    at = 1
    for _ in range(count):
        size = 0
        while True:
            if at >= len(body):
                raise ValueError("a lace that ends in its sizes")
            byte = body[at]
            at += 1
            size += byte
            if byte < 255:
                break
        sizes.append(size)
    return sizes, at


def _ebml_sizes(body: bytes, count: int) -> tuple[list[int], int]:
    """The first size, then differences, all as EBML numbers, and where they end."""
    sizes: list[int] = []
    at = 1
    for _ in range(count):
        length = 9 - body[at].bit_length() if at < len(body) else 9
        if length > 8 or at + length > len(body):
            raise ValueError("a lace that ends in its sizes")
        bits = 7 * length
        number = int.from_bytes(body[at : at + length], "big") & (1 << bits) - 1
        at += length
        # A difference counts from the middle of what its length can hold.
        sizes.append(sizes[-1] + number - (1 << bits - 1) + 1 if sizes else number)
        if sizes[-1] < 0:
            raise ValueError("a packet of less than nothing")
    return sizes, at
