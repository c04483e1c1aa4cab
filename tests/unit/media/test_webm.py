"""The WebM splitter: which packets come out of which bytes."""

from __future__ import annotations

import pytest

from tests.decode_media import (
    OPUS_HEAD,
    block,
    cluster,
    element,
    track_entry,
    webm,
    webm_header,
)
from whisper_live.errors import DecodeError
from whisper_live.media.packets import MAX_HUNT_BYTES, Packet, Track
from whisper_live.media.webm import WebmSplitter

A, B, C = b"\x08packet a", b"\x08packet b", b"\x08packet c"


def split(*pieces: bytes) -> tuple[list[Track | Packet], WebmSplitter]:
    splitter = WebmSplitter()
    items: list[Track | Packet] = []
    for piece in pieces:
        splitter.push(piece)
        while (item := splitter.next()) is not None:
            items.append(item)
    return items, splitter


def packets(*pieces: bytes) -> list[tuple[bytes, float | None]]:
    return [
        (item.data, item.time_s)
        for item in split(*pieces)[0]
        if isinstance(item, Packet)
    ]


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def test_header_clusters_and_blocks_give_a_track_and_timed_packets() -> None:
    items, splitter = split(webm([A, B, C], per_cluster=2))
    assert items == [
        Track("opus", 48_000, 1, preskip=312),
        Packet(A, 0.0),
        Packet(B, 0.02),
        Packet(C, 0.04),
    ]
    splitter.finish()
    assert not splitter.notes


def test_one_byte_at_a_time_gives_the_same() -> None:
    data = webm([A, B, C])
    assert split(*bytewise(data))[0] == split(data)[0]


def test_a_blob_that_ends_inside_an_element_is_continued() -> None:
    """Chrome's blobs end with the ID byte of the next block."""
    data = webm_header() + cluster(0) + block(A) + block(B, 20)
    cut = data.rindex(block(B, 20)) + 1
    assert packets(data[:cut], data[cut:]) == [(A, 0.0), (B, 0.02)]


def test_timestamp_scale_is_applied() -> None:
    header = webm_header().replace(
        element(0x2AD7B1, (1_000_000).to_bytes(3, "big")),
        element(0x2AD7B1, (2_000_000).to_bytes(3, "big")),
    )
    assert packets(header + cluster(100) + block(A, 10)) == [(A, 0.22)]


def test_block_groups_carry_padding_to_be_trimmed() -> None:
    padding = element(0x75A2, (13_500_000).to_bytes(4, "big"))
    inner = element(0xA1, b"\x81\x00\x00\x00" + A)
    data = webm_header() + cluster(40) + element(0xA0, inner + padding)
    assert split(data)[0][1] == Packet(A, 0.04, 0.0135)


def test_a_video_track_is_passed_over_without_waiting_for_it() -> None:
    video = track_entry(b"V_VP8", number=1, kind=1, private=b"")
    header = webm_header(video, track_entry(number=2))
    big = block(bytes(200_000), number=1)
    data = header + cluster(0) + big + block(A, number=2)
    assert packets(data) == [(A, 0.0)]
    # and its bytes are not kept while they arrive
    _, splitter = split(header + cluster(0) + big[:150_000])
    splitter.push(b"")
    assert len(splitter._data) == 0


def test_the_first_usable_audio_track_is_taken() -> None:
    header = webm_header(
        track_entry(b"A_MYSTERY", number=1), track_entry(b"A_OPUS", number=2)
    )
    data = header + cluster(0) + block(A, number=1) + block(B, number=2)
    assert packets(data) == [(B, 0.0)]


@pytest.mark.parametrize(
    ("header", "kind", "sentence"),
    [
        (webm_header(track_entry(b"V_VP8", kind=1)), "no_audio_track", "no audio"),
        (webm_header(track_entry(b"A_VORBIS")), "unsupported_codec", "A_VORBIS"),
        (
            webm_header(track_entry(extra=element(0x6D80, b"\x00"))),
            "unsupported_codec",
            "compressed or encrypted A_OPUS",
        ),
        (
            webm_header(
                track_entry(
                    private=b"OpusHead\x01\x06" + bytes(8) + b"\x01" + bytes(20)
                )
            ),
            "channels",
            "surround",
        ),
        (
            webm_header(track_entry(b"A_PCM/INT/LIT", depth=24)),
            "unsupported_codec",
            "not of 24 bits",
        ),
        (
            webm_header(track_entry(b"A_PCM/FLOAT/IEEE", rate=1.0)),
            "sample_rate",
            "1 Hz",
        ),
        (
            webm_header(track_entry(b"A_PCM/INT/LIT", depth=16, channels=8)),
            "channels",
            "8 channels",
        ),
        (element(0x1A45DFA3, b"", 1 << 20), "header_too_big", "64 KiB"),
        (
            element(0x1A45DFA3, b"") + element(0x1654AE6B, b"", 2 << 30),
            "header_too_big",
            "64 KiB",
        ),
    ],
)
def test_headers_that_cannot_be_used_are_refused(
    header: bytes, kind: str, sentence: str
) -> None:
    with pytest.raises(DecodeError, match=sentence) as refused:
        split(header)
    assert refused.value.kind == kind


def test_preskip_is_clamped() -> None:
    private = b"OpusHead\x01\x01\xff\xff" + bytes(7)
    (track,) = split(webm_header(track_entry(private=private)))[0]
    assert isinstance(track, Track) and track.preskip == 960


def test_a_second_header_is_a_restart() -> None:
    items, splitter = split(webm([A]), webm([B], [40]))
    assert [type(item) for item in items] == [Track, Packet, Track, Packet]
    assert items[3] == Packet(B, 0.04)
    assert splitter.notes == {"restart": 1}


def test_a_stream_joined_in_the_middle_is_taken_up_at_its_next_cluster() -> None:
    tail = b"half a block" + cluster(5000) + block(A) + block(B, 20, number=1)
    items, splitter = split(*bytewise(tail))
    assert items == [Track("opus", 48_000, 2), Packet(A, 5.0), Packet(B, 5.02)]
    assert splitter.notes == {"joined": 1}


@pytest.mark.parametrize(
    "damage",
    [
        block(A)[:1] + b"\x01" + b"\x00\x00\x00\x06\x40\x00\x00" + b"payload",
        element(0xEC, b"", 500 << 20),
        bytes(300),
        b"\xf3\x81\x00",
        element(0xE7, b"", 9),
        element(0xA3, b"", 300_000) + bytes(100),
        element(0xA0, b"", None),
    ],
    ids=["block_100MiB", "void_500MiB", "zeros", "unknown", "time", "block", "group"],
)
def test_damage_costs_no_more_than_its_cluster(damage: bytes) -> None:
    data = (
        webm_header()
        + (cluster(0) + block(A) + damage + block(B, 20))
        + (cluster(40) + block(C))
    )
    for pieces in ([data], bytewise(data)):
        items, splitter = split(*pieces)
        found = [item for item in items if isinstance(item, Packet)]
        assert found == [Packet(A, 0.0), Packet(C, 0.04)]
        assert splitter.notes == {"resync": 1}


def test_a_block_that_swallowed_a_cluster_gives_it_back() -> None:
    cut = block(A + bytes(40))[:-30]  # 30 bytes were lost on the way
    data = webm_header() + cluster(0) + cut + cluster(20) + block(B) + block(C, 20)
    items, splitter = split(data)
    assert items[1:] == [Packet(B, 0.02), Packet(C, 0.04)]
    assert splitter.notes == {"resync": 1}


@pytest.mark.parametrize("private", [OPUS_HEAD, b""], ids=["track", "no_head"])
def test_a_torn_block_does_not_hide_the_recording_behind_it(private: bytes) -> None:
    """Wherever the next recording begins in the torn block, or ends it."""
    torn = block(A + bytes(80))
    again = webm_header(track_entry(number=2, private=private))
    for time_ms, packet in ((0, A), (20, B), (40, C)):
        again += cluster(time_ms) + block(packet, number=2)
    for lost in range(1, 81):
        data = webm([A]) + cluster(20) + torn[:-lost] + again
        for pieces in ([data], bytewise(data)):
            items, splitter = split(*pieces)
            given = [item for item in items if isinstance(item, Packet)]
            tracks = [item for item in items if isinstance(item, Track)]
            assert given[0] == Packet(A, 0.0)
            assert given[-3:] == [Packet(A, 0.0), Packet(B, 0.02), Packet(C, 0.04)]
            assert [track.codec for track in tracks] == ["opus", "opus"]
            assert splitter.notes["restart"] == 1 and splitter.notes["resync"] >= 1


def test_a_header_lost_with_other_bytes_is_done_without() -> None:
    """Video is passed over unread, whatever its torn block has swallowed."""
    header = webm_header(track_entry(), track_entry(b"V_VP8", number=2, kind=1))
    torn = block(bytes(3000), number=2)[:-2000]
    again = webm_header(track_entry(number=3))
    for time_ms in range(0, 2000, 20):
        again += cluster(time_ms) + block(A, number=3)
    items, splitter = split(header + cluster(0) + block(B) + torn + again)
    given = [item for item in items[1:] if isinstance(item, Packet)]
    assert given[0] == Packet(B, 0.0)
    assert len(given) > 50 and {packet.data for packet in given[1:]} == {A}
    assert splitter.notes == {"resync": 2, "restart": 1}


def test_one_block_of_an_unknown_track_is_damage() -> None:
    wrong = cluster(20) + block(B, number=5)
    data = webm_header() + cluster(0) + block(A)
    data += 3 * (wrong + cluster(40) + block(C))
    items, splitter = split(data)
    assert items[1:] == [Packet(A, 0.0), *[Packet(C, 0.04)] * 3]
    assert splitter.notes == {"resync": 3}


def test_unknown_elements_are_passed_over_in_a_header_only() -> None:
    unknown = element(0x4DBB, b"from the future")
    header = webm_header() + unknown
    data = header + cluster(0) + block(A)
    assert packets(data) == [(A, 0.0)]
    data = header + cluster(0) + unknown + block(A) + cluster(20) + block(B)
    assert packets(data) == [(B, 0.02)]


def test_laced_blocks_give_each_packet_with_its_time() -> None:
    """TOC 0x08 is 20 ms.  The three ways of writing sizes, in blocks and groups."""
    assert len(A) == 9
    long = b"\x08" + bytes(299)
    laces = [
        (0x82, b"\x02" + b"\xff\x2d" + b"\x09" + long + A + B),  # Xiph
        (0x84, b"\x02" + A + B + C),  # all of one size
        (0x86, b"\x02" + b"\x41\x2c" + b"\x5e\xdc" + long + A + B),  # EBML: 300, -291
    ]
    data = webm_header() + cluster(0)
    for index, (flags, body) in enumerate(laces):
        data += block(body, 60 * index, flags=flags)
    last = element(0xA1, b"\x81\x00\xb4\x02" + b"\x01\x09" + A + B)
    data += element(0xA0, last + element(0x75A2, (6_500_000).to_bytes(4, "big")))
    expected = [long, A, B, A, B, C, long, A, B, A, B]
    for pieces in ([data], bytewise(data)):
        items, splitter = split(*pieces)
        given = [item for item in items if isinstance(item, Packet)]
        assert [packet.data for packet in given] == expected
        assert [packet.time_s for packet in given] == pytest.approx(
            [0.02 * index for index in range(11)]
        )
        assert [packet.trim_s for packet in given] == [0.0] * 10 + [0.0065]
        assert not splitter.notes


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        (0x82, b""),
        (0x82, b"\x01\xff"),  # ends in a size
        (0x82, b"\x01\x64packet"),  # longer than the block
        (0x84, b"\x01odd"),
        (0x86, b"\x01"),
        (0x86, b"\x01\x40"),
        (0x86, b"\x02\x81\x80packets"),  # 1 - 63
        (0x86, b"\x01\x00packets"),  # no EBML number
    ],
)
def test_impossible_laces_and_short_blocks_are_counted(flags: int, body: bytes) -> None:
    data = (
        webm_header()
        + cluster(0)
        + block(body, flags=flags)
        + element(0xA3, b"\x81\x00")
        + block(B, 20)
    )
    items, splitter = split(data)
    assert items[1:] == [Packet(B, 0.02)]
    assert splitter.notes == {"bad_packet": 2}


def test_hunting_ends_in_an_error() -> None:
    with pytest.raises(DecodeError, match="damaged") as lost:
        split(webm([A]), bytes(MAX_HUNT_BYTES + 10))
    assert lost.value.kind == "lost_sync"


def test_a_short_opus_head_and_odd_floats_do_no_harm() -> None:
    private = b"OpusHead\x01\x02"
    assert split(webm_header(track_entry(private=private)))[0] == [
        Track("opus", 48_000, 2)
    ]
    entry = track_entry(b"A_PCM/INT/LIT", depth=16, rate=float("nan"))
    with pytest.raises(DecodeError, match="0 Hz"):
        split(webm_header(entry))


@pytest.mark.parametrize("junk", [b"\xec\x80", cluster(0), block(b"", number=2)])
def test_elements_without_a_packet_end_in_an_error(junk: bytes) -> None:
    header = webm_header(track_entry(), track_entry(b"V_VP8", number=2, kind=1))
    with pytest.raises(DecodeError) as lost:
        split(header + cluster(0) + junk * 2000)
    assert lost.value.kind == "lost_sync"


def test_an_end_says_whether_this_was_webm() -> None:
    _, splitter = split(b"<html>no audio here</html>")
    with pytest.raises(DecodeError, match="not a WebM stream"):
        splitter.finish()
    _, splitter = split(webm_header()[:60])
    splitter.finish()
    assert splitter.notes == {"truncated": 1}
    _, splitter = split(b"")
    splitter.finish()
    assert not splitter.notes
