"""The MP4 splitter: which packets come out of which boxes."""

from __future__ import annotations

import struct

import pytest

from tests.decode_media import FRAGMENTED, muxed
from whisper_live.errors import DecodeError
from whisper_live.media.mp4 import Mp4Splitter
from whisper_live.media.packets import MAX_HUNT_BYTES, Packet, Track


def box(kind: bytes, *parts: bytes, size: int | None = None) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content) if size is None else size, kind) + (
        content
    )


def full(kind: bytes, flags: int, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


DOPS = struct.pack(">BBHIhB", 0, 1, 312, 48_000, 0, 0)


def entry(kind: bytes = b"Opus", boxes: bytes = box(b"dOps", DOPS)) -> bytes:
    head = bytes(16) + struct.pack(">HHHHI", 1, 16, 0, 0, 48_000 << 16)
    return box(kind, head, boxes)


def trak(sample_entry: bytes, handler: bytes = b"soun", track_id: int = 1) -> bytes:
    stsd = full(b"stsd", 0, struct.pack(">I", 1), sample_entry)
    return box(
        b"trak",
        full(b"tkhd", 0, bytes(8), struct.pack(">I", track_id)),
        box(
            b"mdia",
            full(b"mdhd", 0, bytes(8), struct.pack(">I", 48_000)),
            full(b"hdlr", 0, bytes(4), handler),
            box(b"minf", box(b"stbl", stsd)),
        ),
    )


def header(*traks: bytes, fragmented: bool = True, duration: int = 960) -> bytes:
    trex = full(b"trex", 0, struct.pack(">5I", 1, 1, duration, 0, 0))
    moov = box(b"moov", *(traks or [trak(entry())]), box(b"mvex", trex))
    if not fragmented:
        moov = box(b"moov", *traks)
    return box(b"ftyp", b"iso5") + moov


def fragment(
    packets: list[bytes],
    ticks: int | None = 0,
    *,
    track_id: int = 1,
    before: bytes = b"",
) -> bytes:
    """A moof and its mdat; ``before`` are other bytes in front of the samples.

    ``ticks`` is when it starts; None: it does not say.
    """
    tfdt = b""
    if ticks is not None:
        tfdt = full(b"tfdt", 0, struct.pack(">Q", ticks), version=1)

    def moof(offset: int) -> bytes:
        sizes = b"".join(struct.pack(">I", len(packet)) for packet in packets)
        return box(
            b"moof",
            box(
                b"traf",
                full(b"tfhd", 0x20000, struct.pack(">I", track_id)),
                tfdt,
                full(b"trun", 0x201, struct.pack(">Ii", len(packets), offset), sizes),
            ),
        )

    offset = len(moof(0)) + 8 + len(before)
    return moof(offset) + box(b"mdat", before, *packets)


def split(*pieces: bytes) -> tuple[list[Track | Packet], Mp4Splitter]:
    splitter = Mp4Splitter()
    items: list[Track | Packet] = []
    for piece in pieces:
        splitter.push(piece)
        while (item := splitter.next()) is not None:
            items.append(item)
    return items, splitter


def test_fragments_give_a_track_and_timed_packets() -> None:
    items, splitter = split(header() + fragment([b"a", b"bb"]) + fragment([b"c"], 1920))
    assert items == [
        Track("opus", 48_000, 1, preskip=312),
        Packet(b"a", 0.0),
        Packet(b"bb", 0.02),
        Packet(b"c", 0.04),
    ]
    splitter.finish()
    assert not splitter.notes


def test_one_byte_at_a_time_gives_the_same() -> None:
    data = header() + fragment([b"a", b"bb"]) + box(b"free") + fragment([b"c"], 1920)
    pieces = [data[index : index + 1] for index in range(len(data))]
    assert split(*pieces)[0] == split(data)[0]
    assert len(split(data)[0]) == 4


@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_what_ffmpeg_writes_is_read(codec: str) -> None:
    items, _ = split(muxed("mp4", codec, options=FRAGMENTED))
    track, packets = items[0], items[1:]
    assert isinstance(track, Track)
    assert (track.codec, track.rate, track.channels) == (
        "aac" if codec == "aac" else "opus",
        48_000,
        1,
    )
    times = [packet.time_s for packet in packets if isinstance(packet, Packet)]
    step = 1024 / 48_000 if codec == "aac" else 0.02
    assert times == pytest.approx([n * step for n in range(len(packets))], abs=1e-3)
    assert len(times) * step == pytest.approx(2.0, abs=0.05)


def test_another_track_is_passed_over() -> None:
    video = trak(entry(b"vp09", b""), b"vide", 2)
    data = header(video, trak(entry())) + fragment([b"a"], before=bytes(5000))
    data += fragment([b"video"], track_id=2) + fragment([b"b"], 960)
    assert split(data)[0][1:] == [Packet(b"a", 0.0), Packet(b"b", 0.02)]


def test_fragments_that_give_no_time_go_on_where_the_last_one_ended() -> None:
    data = fragment([b"a", b"b"], 4800) + fragment([b"c"], None)
    data += fragment([b"video"], 0, track_id=2) + fragment([b"d"], None)
    data += fragment([b"e"], 48_000) + fragment([b"f"], None)
    items = split(header() + data)[0][1:]
    times = [item.time_s for item in items if isinstance(item, Packet)]
    assert times == pytest.approx([0.1, 0.12, 0.14, 0.16, 1.0, 1.02])
    restarted = header() + data + header() + fragment([b"g"], None)
    assert split(restarted)[0][-1] == Packet(b"g", 0.0)


def test_behind_a_sample_without_a_duration_the_time_is_unknown() -> None:
    data = header(duration=0) + fragment([b"a", b"b"], None) + fragment([b"c"], None)
    data += fragment([b"d", b"e"], 4800)
    assert split(data)[0][1:] == [
        Packet(b"a", 0.0),
        Packet(b"b", None),
        Packet(b"c", None),
        Packet(b"d", 0.1),
        Packet(b"e", None),
    ]


def test_a_second_header_is_a_restart() -> None:
    once = header() + fragment([b"a"])
    items, splitter = split(once + once)
    assert [type(item) for item in items] == [Track, Packet] * 2
    assert splitter.notes == {"restart": 1}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"RIFF____WAVEfmt ", "unknown_format"),
        (box(b"ftyp", b"M4A ") + box(b"mdat", bytes(50)), "not_fragmented"),
        (header(trak(entry()), fragmented=False), "not_fragmented"),
        (fragment([b"a"]), "missing_header"),
        (header(trak(entry(), b"vide")), "no_audio_track"),
        (header(trak(entry(b"ac-3", b""))), "unsupported_codec"),
        (header(trak(entry(b"enca"))), "unsupported_codec"),
        (header(trak(entry(b"mp4a", full(b"esds", 0)))), "unsupported_codec"),
        (
            header(trak(entry(boxes=box(b"dOps", DOPS[:1] + b"\x06" + DOPS[2:])))),
            "channels",
        ),
        (box(b"ftyp") + box(b"moov", size=2 << 20), "header_too_big"),
    ],
)
def test_streams_that_cannot_be_used_are_refused(data: bytes, kind: str) -> None:
    with pytest.raises(DecodeError) as refused:
        split(data)
    assert refused.value.kind == kind


@pytest.mark.parametrize(
    "damage", [bytes(40), box(b"what", size=100), box(b"free", size=1 << 30)]
)
def test_damage_costs_no_more_than_its_fragment(damage: bytes) -> None:
    data = header() + fragment([b"a"]) + damage + fragment([b"b"], 960)
    items, splitter = split(data)
    assert items[1:] == [Packet(b"a", 0.0), Packet(b"b", 0.02)]
    assert splitter.notes == {"resync": 1}


def test_lost_bytes_cost_no_more_than_two_fragments() -> None:
    data = header() + fragment([b"a"])
    cut = fragment([b"b" * 100], 960)[:-60]
    more = fragment([b"c" * 80], 1920) + fragment([b"d"], 2880)
    items, _ = split(data + cut + more)
    assert items[1] == Packet(b"a", 0.0) and items[-1] == Packet(b"d", 0.06)


def test_sizes_and_counts_that_lie_are_bounded() -> None:
    huge = box(
        b"moof",
        box(
            b"traf",
            full(b"tfhd", 0x20000, struct.pack(">I", 1)),
            full(b"trun", 0, struct.pack(">I", 0xFFFFFFFF)),
        ),
    )
    items, splitter = split(header() + huge + fragment([b"a"]))
    assert items[1:] == [Packet(b"a", 0.0)]
    assert splitter.notes == {"bad_packet": 1}

    outside = fragment([b"a" * 50, b"b"])[:-51] + b"c"
    outside = outside.replace(
        struct.pack(">I4s", 59, b"mdat"), struct.pack(">I4s", 9, b"mdat")
    )
    items, splitter = split(header() + outside + fragment([b"d"], 1920))
    assert items[1:] == [Packet(b"d", 0.04)]


def test_hunting_and_junk_end_in_an_error() -> None:
    for data in (bytes(MAX_HUNT_BYTES + 100), box(b"free") * 2000):
        with pytest.raises(DecodeError, match="damaged") as lost:
            split(header() + fragment([b"a"]) + data)
        assert lost.value.kind == "lost_sync"


def test_an_end_says_whether_this_was_mp4() -> None:
    _, splitter = split(b"short")
    with pytest.raises(DecodeError, match="not an MP4"):
        splitter.finish()
    _, splitter = split(header()[:30])
    splitter.finish()
    assert splitter.notes == {"truncated": 1}
