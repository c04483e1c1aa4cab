"""The Ogg splitter: which packets come out of which pages."""

from __future__ import annotations

import struct

import pytest

from tests.decode_media import muxed, ogg, ogg_page
from whisper_live.errors import DecodeError
from whisper_live.media.ogg import OggSplitter, page_checksum
from whisper_live.media.packets import MAX_HUNT_BYTES, Packet, Track

# 20 ms packets (CELT, code 0), one of them long enough to be laced
PACKETS = [b"\xf8" + bytes([n]) * (700 if n == 3 else 30) for n in range(12)]


def split(*pieces: bytes) -> tuple[list[Track | Packet], OggSplitter]:
    splitter = OggSplitter()
    items: list[Track | Packet] = []
    for piece in pieces:
        splitter.push(piece)
        while (item := splitter.next()) is not None:
            items.append(item)
    return items, splitter


def packets(*pieces: bytes) -> list[Packet]:
    return [item for item in split(*pieces)[0] if isinstance(item, Packet)]


def test_the_checksum_is_that_of_ffmpeg() -> None:
    data = muxed("ogg", "libopus")
    (checksum,) = struct.unpack_from("<I", data, 22)
    size = 27 + data[26] + sum(data[27 : 27 + data[26]])
    assert page_checksum(data[:22] + bytes(4) + data[26:size]) == checksum


def test_pages_give_a_track_and_timed_packets() -> None:
    items, splitter = split(b"".join(ogg(PACKETS)))
    assert items[0] == Track("opus", 48_000, 1, preskip=312)
    expected = [Packet(data, 0.02 * n) for n, data in enumerate(PACKETS)]
    assert [item.data for item in items[1:] if isinstance(item, Packet)] == PACKETS
    times = [item.time_s for item in items[1:] if isinstance(item, Packet)]
    assert times == pytest.approx([packet.time_s for packet in expected])
    splitter.finish()
    assert not splitter.notes


def test_one_byte_at_a_time_gives_the_same() -> None:
    data = b"".join(ogg(PACKETS))
    pieces = [data[index : index + 1] for index in range(len(data))]
    assert split(*pieces)[0] == split(data)[0]


def test_a_packet_that_spans_pages_is_put_together() -> None:
    """Firefox fills pages to 4 KiB and cuts packets to do so."""
    first, second = b"\xf8" + b"1" * 299, b"\xf8" + b"2" * 99
    pages = [
        *ogg([])[:2],
        ogg_page(first[:255], [255], granule=-1, sequence=2),
        ogg_page(first[255:] + second, [45, 100], granule=1920, sequence=3, flags=0x01),
    ]
    assert packets(*pages) == [Packet(first, 0.0), Packet(second, 0.02)]


def test_the_last_page_trims_the_end() -> None:
    pages = ogg(PACKETS[:5])
    body = PACKETS[5] + PACKETS[6]
    pages.append(
        ogg_page(body, [31, 31], granule=5 * 960 + 480, sequence=len(pages), flags=0x04)
    )
    tail = packets(*pages)[-2:]
    assert tail == [Packet(PACKETS[5], 0.1, 0.01), Packet(PACKETS[6], 0.12, 0.02)]


def test_a_new_first_page_is_a_restart() -> None:
    items, splitter = split(*ogg(PACKETS[:2]), *ogg(PACKETS[2:4], serial=5))
    assert [type(item) for item in items] == [Track, Packet, Packet] * 2
    assert items[4] == Packet(PACKETS[2], 0.0)
    assert splitter.notes == {"restart": 1}


def test_other_streams_are_passed_over() -> None:
    skeleton = ogg_page(b"fishead", [7], granule=0, sequence=0, flags=2, serial=9)
    noise = ogg_page(b"theora", [6], granule=5, sequence=1, serial=9)
    pages = ogg(PACKETS[:10])
    assert [
        packet.data for packet in packets(skeleton, *pages[:3], noise, *pages[3:])
    ] == PACKETS[:10]


def test_a_stream_without_opus_is_refused() -> None:
    vorbis = ogg_page(b"\x01vorbis", [7], granule=0, sequence=0, flags=2)
    more = ogg_page(b"\x03vorbis", [7], granule=0, sequence=1)
    with pytest.raises(DecodeError, match="no Opus") as refused:
        split(vorbis, more)
    assert refused.value.kind == "unsupported_codec"


def test_a_chain_that_goes_on_with_another_codec_is_refused_there() -> None:
    vorbis = ogg_page(b"\x01vorbis", [7], granule=0, sequence=0, flags=2, serial=5)
    more = ogg_page(b"\x03vorbis", [7], granule=0, sequence=1, serial=5)
    items, splitter = split(*ogg(PACKETS[:2]), vorbis)
    assert len(items) == 3
    splitter.push(more)
    with pytest.raises(DecodeError, match="no Opus") as refused:
        splitter.next()
    assert refused.value.kind == "unsupported_codec"
    # but its next stream may have both
    items, splitter = split(*ogg(PACKETS[:2]), vorbis, *ogg(PACKETS[2:4], serial=6))
    assert [type(item) for item in items] == [Track, Packet, Packet] * 2
    assert splitter.notes == {"restart": 1}


@pytest.mark.parametrize("lost", [0, 11])
def test_a_stream_joined_in_the_middle_is_taken_up_at_its_next_page(lost: int) -> None:
    pages = ogg(PACKETS, per_page=4)
    items, splitter = split(pages[2][-lost:] if lost else b"", *pages[3:])
    assert items[0] == Track("opus", 48_000, 2)
    assert [item.data for item in items[1:] if isinstance(item, Packet)] == PACKETS[4:]
    first = items[1]
    assert isinstance(first, Packet) and first.time_s == pytest.approx(0.08)
    assert splitter.notes == ({"joined": 1, "resync": 1} if lost else {"joined": 1})


@pytest.mark.parametrize("at", [5, 20, 27, 60])
def test_a_damaged_page_costs_that_page(at: int) -> None:
    pages = ogg(PACKETS, per_page=4)
    damaged = bytearray(pages[3])
    damaged[at] ^= 0x10
    items, splitter = split(*pages[:3], bytes(damaged), *pages[4:])
    found = [item.data for item in items if isinstance(item, Packet)]
    assert found == PACKETS[:4] + PACKETS[8:]
    assert splitter.notes["resync"] >= 1


def test_a_lost_page_drops_the_packet_that_began_in_it() -> None:
    long = b"\xf8" + b"1" * 599
    pages = [
        *ogg([])[:2],
        ogg_page(long[:255], [255], granule=-1, sequence=2),
        ogg_page(long[255:510], [255], granule=-1, sequence=3, flags=1),
        ogg_page(long[510:] + PACKETS[0], [90, 31], granule=4800, sequence=4, flags=1),
    ]
    assert packets(*pages)[0].data == long
    items, splitter = split(*pages[:3], pages[4])
    assert items[1:] == [Packet(PACKETS[0], 0.08)]
    assert splitter.notes == {"resync": 1}


def test_pages_inside_pages_do_not_cost_the_square_of_their_number() -> None:
    bomb = (b"OggS" + bytes(22) + b"\xff" + b"\xff" * 5) * 30_000
    with pytest.raises(DecodeError) as lost:
        split(*ogg(PACKETS), bomb)
    assert lost.value.kind == "lost_sync"


def test_endless_nothing_ends_in_an_error() -> None:
    with pytest.raises(DecodeError, match="damaged"):
        split(bytes(MAX_HUNT_BYTES + 10))
    empty = ogg_page(b"", [], granule=-1, sequence=2)
    with pytest.raises(DecodeError, match="damaged"):
        split(*ogg([]), empty * 2000)


def test_a_packet_without_end_is_given_up() -> None:
    pages = ogg([])
    for _ in range(4):
        page = ogg_page(
            bytes(255 * 255), [255] * 255, granule=-1, sequence=len(pages), flags=1
        )
        pages.append(page)
    pages[2] = ogg_page(bytes(255 * 255), [255] * 255, granule=-1, sequence=2)
    _, splitter = split(*pages)
    assert splitter._partial is None
    assert splitter.notes["bad_packet"] == 1


def test_an_end_says_whether_this_was_ogg() -> None:
    _, splitter = split(b"nothing of the kind")
    with pytest.raises(DecodeError, match="not an Ogg stream"):
        splitter.finish()
    _, splitter = split(ogg(PACKETS)[0][:20])
    splitter.finish()
    assert splitter.notes == {"truncated": 1}
