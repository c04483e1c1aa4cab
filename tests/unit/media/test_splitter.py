"""What all splitters do alike, on a container of our own: ``mark``, a size, a body."""

from __future__ import annotations

import re

import pytest

from whisper_live.errors import DecodeError
from whisper_live.media.packets import MAX_HUNT_BYTES, MAX_JUNK, Packet
from whisper_live.media.splitter import Splitter

_MARK = re.compile(b"mark")


class ToySplitter(Splitter):
    """Packets of one-byte sizes; an odd size is junk to be passed over."""

    _container = "Toy"

    def finish(self) -> None:
        pass

    def _take_next(self) -> bool:
        data, at = self._data, self._at
        if len(data) - at < 5:
            return False
        if data[at : at + 4] != b"mark":
            self._hunting = True
            return True
        size = data[at + 4]
        if size % 2:
            self._count_junk()
            self._at, self._skip = at + 5, size
            return True
        if len(data) - at < 5 + size:
            return False
        self._ready.append(Packet(bytes(data[at + 5 : at + 5 + size]), None))
        self._at = at + 5 + size
        self._junk = self._hunted = 0
        return True

    def _hunt(self) -> bool:
        self._hunting = not self._seek(_MARK)
        return not self._hunting


def unit(body: bytes) -> bytes:
    return b"mark" + bytes([len(body)]) + body


def bodies(splitter: Splitter, *pieces: bytes) -> list[bytes]:
    found = []
    for piece in pieces:
        splitter.push(piece)
        while (item := splitter.next()) is not None:
            assert isinstance(item, Packet)
            found.append(item.data)
    return found


def test_any_cut_gives_the_same_and_nothing_is_kept() -> None:
    data = unit(b"ab") + unit(b"junk!") + b"mamarnoise" + unit(b"") + unit(b"cdef")
    expected = [b"ab", b"", b"cdef"]
    for size in range(1, len(data) + 1):
        splitter = ToySplitter()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert bodies(splitter, *pieces) == expected
        assert (splitter._position, len(splitter._data)) == (len(data), 0)


def test_what_is_passed_over_or_hunted_through_is_not_kept() -> None:
    splitter = ToySplitter()
    assert bodies(splitter, b"mark\xff" + bytes(200)) == []
    assert (len(splitter._data), splitter._skip) == (0, 55)
    assert bodies(splitter, bytes(55) + b"noise" * 1000 + b"mar") == []
    assert splitter._data == b"mar", "it may be the beginning of a mark"
    assert bodies(splitter, b"k\x02ab") == [b"ab"]


@pytest.mark.parametrize(
    ("harmless", "too_much"),
    [
        (unit(b"x") * MAX_JUNK, unit(b"x")),
        (b"noise" + bytes(MAX_HUNT_BYTES - 5), b"more"),
    ],
    ids=["junk", "hunt"],
)
def test_a_stream_without_packets_ends_in_an_error(
    harmless: bytes, too_much: bytes
) -> None:
    splitter = ToySplitter()
    assert bodies(splitter, harmless, unit(b"ab"), harmless) == [b"ab"]
    with pytest.raises(DecodeError, match="^The Toy stream is damaged") as lost:
        bodies(splitter, too_much)
    assert lost.value.kind == "lost_sync"
