"""Live streams from bytes to samples: recognition, positions, restarts, bounds."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.decode_media import (
    FRAGMENTED,
    OPUS_HEAD,
    block,
    cluster,
    decode,
    drain,
    element,
    muxed,
    ogg,
    opus_packets,
    reference,
    sound,
    track_entry,
    webm,
    webm_header,
)
from whisper_live.audio import Samples
from whisper_live.errors import DecodeError
from whisper_live.media.formats import open_stream

LIVE = (("live", "1"), ("cluster_time_limit", "250"))


def correlation(one: Samples, other: Samples) -> float:
    assert abs(len(one) - len(other)) <= 480, (len(one), len(other))
    count = min(len(one), len(other))
    return float(np.corrcoef(one[:count], other[:count])[0, 1])


@pytest.mark.parametrize(
    ("container", "codec", "rate", "channels", "options", "name"),
    [
        ("webm", "libopus", 48_000, 1, LIVE, "webm_opus"),
        ("webm", "libopus", 48_000, 2, LIVE, "webm_opus"),
        ("webm", "libopus", 48_000, 2, (), "webm_opus"),
        ("matroska", "pcm_f32le", 48_000, 2, (), "webm_pcm"),
        ("matroska", "pcm_s16le", 16_000, 1, (), "webm_pcm"),
        ("ogg", "libopus", 48_000, 1, (), "ogg_opus"),
        ("ogg", "libopus", 48_000, 2, (), "ogg_opus"),
        ("mp4", "libopus", 48_000, 2, FRAGMENTED, "mp4_opus"),
        ("mp4", "aac", 48_000, 1, FRAGMENTED, "mp4_aac"),
        ("mp4", "aac", 44_100, 2, FRAGMENTED, "mp4_aac"),
        ("mp4", "aac", 96_000, 1, FRAGMENTED, "mp4_aac"),
        ("mov", "aac", 48_000, 2, FRAGMENTED, "mp4_aac"),
    ],
)
@pytest.mark.parametrize("audio_format", [None, "auto", "webm"])
def test_what_ffmpeg_muxes_decodes_as_pyav_decodes_it(
    container: str,
    codec: str,
    rate: int,
    channels: int,
    options: tuple[tuple[str, str], ...],
    name: str,
    audio_format: str | None,
) -> None:
    data = muxed(container, codec, rate=rate, channels=channels, options=options)
    samples, decoder = decode(data, audio_format, [4000] * (len(data) // 4000))
    assert decoder.codec == name
    assert not decoder.notes
    assert correlation(samples, reference(data)) >= 0.9999


@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_mp4_fragments_that_give_no_time_follow_one_another(codec: str) -> None:
    data = muxed("mp4", codec, rate=48_000, options=FRAGMENTED)
    assert data.count(b"tfdt") > 5
    samples, decoder = decode(data.replace(b"tfdt", b"free"), "mp4")
    np.testing.assert_array_equal(samples, decode(data, "mp4")[0])
    assert not decoder.notes


def test_positions_are_those_of_the_source() -> None:
    """Pre-skip is dropped: the recording starts where the sound started."""
    samples, _ = decode(webm(opus_packets(2.0)))
    source = sound(2.0, 16_000)[0]
    lags = [
        np.corrcoef(samples[8000 + lag : 24_000 + lag], source[8000:24_000])[0, 1]
        for lag in range(-40, 41)
    ]
    assert abs(int(np.argmax(lags)) - 40) <= 1
    assert max(lags) > 0.98
    assert len(samples) == 32_000 - 312 // 3


def test_a_hole_becomes_silence() -> None:
    packets = opus_packets(1.0)
    times = [20 * n + (2000 if n >= 25 else 0) for n in range(len(packets))]
    samples, decoder = decode(webm(packets, times))
    whole, _ = decode(webm(packets))
    assert len(samples) == len(whole) + 32_000
    start = 8000 - 104
    np.testing.assert_array_equal(samples[: start - 100], whole[: start - 100])
    np.testing.assert_array_equal(samples[start + 100 : start + 31_900], 0.0)
    assert decoder.notes == {"gap_filled": 1}


def test_a_silence_of_30_s_comes_in_pieces() -> None:
    packets = opus_packets(1.0)
    times = [20 * n + (29_000 if n >= 25 else 0) for n in range(len(packets))]
    samples, _ = decode(webm(packets, times))  # which checks every piece
    assert len(samples) == 30 * 16_000 - 104


@pytest.mark.parametrize("jump_ms", [36_000_000, -3000])
def test_a_jump_inserts_nothing(jump_ms: int) -> None:
    packets = opus_packets(1.0)
    times = [5000 + 20 * n + (jump_ms if n >= 25 else 0) for n in range(len(packets))]
    samples, decoder = decode(webm(packets, times))
    np.testing.assert_array_equal(samples, decode(webm(packets))[0])
    assert decoder.notes == {"rebase": 1}


def test_a_blob_sent_twice_is_dropped() -> None:
    packets = opus_packets(1.0)
    head, *clusters = [
        webm_header(),
        *(
            webm(packets[n : n + 10], range(20 * n, 20 * n + 200, 20), header=b"")
            for n in range(0, 50, 10)
        ),
    ]
    once = head + b"".join(clusters)
    twice = head + b"".join(clusters[:3]) + clusters[2] + b"".join(clusters[3:])
    samples, decoder = decode(twice)
    np.testing.assert_array_equal(samples, decode(once)[0])
    assert decoder.notes == {"duplicate": 10}


def test_lost_empty_and_damaged_packets_are_filled() -> None:
    packets = list(opus_packets(1.0))
    whole, _ = decode(webm(packets))
    packets[10] = packets[11] = b""
    packets[20] = packets[21] = b"\xff"  # code 3 without its frame count
    samples, decoder = decode(webm(packets))
    assert len(samples) == len(whole)
    assert decoder.notes == {"bad_packet": 4, "gap_filled": 2}


@pytest.mark.parametrize("container", ["webm", "ogg", "mp4"])
def test_a_new_recorder_on_the_same_socket_goes_on(container: str) -> None:
    options = FRAGMENTED if container == "mp4" else ()
    once = muxed(container, "libopus", options=options)
    one, _ = decode(once)
    two, decoder = decode(once + once)
    assert len(two) == 2 * len(one)
    assert correlation(two[len(one) + 100 :], one[100:]) > 0.9999
    assert decoder.notes == {"restart": 1}


def test_a_new_recorder_may_have_another_rate() -> None:
    first = muxed("matroska", "pcm_s16le", rate=16_000)
    second = muxed("matroska", "pcm_f32le", rate=44_100, channels=2)
    samples, decoder = decode(first + second)
    assert len(samples) == pytest.approx(64_000, abs=1)
    np.testing.assert_array_equal(samples[:32_000], reference(first))
    assert decoder.notes == {"restart": 1}


@pytest.mark.parametrize("container", ["webm", "ogg"])
def test_a_reconnected_client_is_heard_though_its_header_is_gone(
    container: str,
) -> None:
    packets = opus_packets(2.0)
    if container == "webm":
        whole = webm(packets)
        tail = whole[whole.index(cluster(1000)) - 7 :]
    else:
        pages = ogg(packets)
        tail = b"".join(pages[12:])
    samples, decoder = decode(tail, container)
    assert decoder.notes["joined"] == 1
    assert decoder.codec == f"{container}_opus"
    expected, _ = decode(webm(packets))
    # Opus starts cold, so the first 80 ms differ.
    assert correlation(samples[1280:], expected[16_000 - 104 + 1280 :]) > 0.999


@pytest.mark.parametrize(
    ("data", "audio_format", "kind"),
    [
        (b"<!doctype html><p>hello</p>", "auto", "unknown_format"),
        (b"<!doctype html><p>hello</p>", "webm", "unknown_format"),
        (b"<!doctype html><p>hello</p>", "ogg", "unknown_format"),
        (b"<!doctype html><p>hello</p>", "mp4", "unknown_format"),
        (b"ab", "auto", "unknown_format"),
        (webm_header(track_entry(b"V_VP8", kind=1)), None, "no_audio_track"),
        (
            webm_header(track_entry(b"A_AAC", private=b"\x12\x08")),
            None,
            "unsupported_codec",
        ),
    ],
)
def test_what_is_not_audio_is_refused(
    data: bytes, audio_format: str | None, kind: str
) -> None:
    with pytest.raises(DecodeError) as refused:
        decode(data, audio_format)
    assert refused.value.kind == kind


def test_surround_is_refused() -> None:
    data = muxed("mp4", "aac", channels=6, options=FRAGMENTED)
    with pytest.raises(DecodeError) as refused:
        decode(data)
    assert refused.value.kind == "channels"
    # also where the box says stereo and the codec does not
    with pytest.raises(DecodeError) as refused:
        decode(data.replace(b"\0\x06\0\x10", b"\0\x02\0\x10"))
    assert refused.value.kind == "channels"


def test_a_description_that_no_decoder_takes_is_refused() -> None:
    data = muxed("mp4", "aac", options=FRAGMENTED)
    config = b"\x05\x80\x80\x80\x05\x11\x88"  # descriptor, AAC LC, 48 kHz, mono
    assert data.count(config) == 1
    with pytest.raises(DecodeError) as refused:
        decode(data.replace(config, config[:5] + b"\xff\xff"))
    assert refused.value.kind == "damaged"


@pytest.mark.parametrize("audio_format", [None, "auto", "webm", "ogg", "mp4"])
def test_nothing_at_all_is_no_error(audio_format: str | None) -> None:
    samples, decoder = decode(b"", audio_format)
    assert len(samples) == 0 and decoder.codec == "unknown"


def test_audio_before_an_error_is_handed_out_and_the_error_stays() -> None:
    good = webm(opus_packets(1.0))
    decoder = open_stream("webm")
    decoder.push(good + bytes(400_000))
    pieces = []
    with pytest.raises(DecodeError, match="damaged"):
        while (piece := decoder.pull()) is not None:
            pieces.append(piece)
    expected, _ = decode(good)
    # The resampler's last 2 ms went down with the stream.
    got = np.concatenate(pieces)
    np.testing.assert_array_equal(got, expected[: len(got)])
    assert len(expected) - len(got) <= 64
    with pytest.raises(DecodeError, match="damaged"):
        decoder.pull()


# ------------------------------------------------------------------------------ bounds


def test_200_unusable_packets_in_a_row_end_the_stream() -> None:
    packets = opus_packets(1.0)
    with pytest.raises(DecodeError) as refused:
        decode(webm(packets[:5] + (b"\xff",) * 300))
    assert refused.value.kind == "bad_packets"
    with pytest.raises(DecodeError):
        decode(webm(packets * 6, [0] * 300))
    samples, _ = decode(webm(packets[:5] + (b"\xff",) * 150 + packets[:5]))
    assert len(samples) == 160 * 320 - 104


def test_endless_restarts_end_the_stream() -> None:
    with pytest.raises(DecodeError) as refused:
        decode(webm(opus_packets(1.0)[:1]) * 80)
    assert refused.value.kind == "restarts"


@pytest.mark.parametrize(
    "message",
    [
        webm([b"\x0b\x06"] * 40_000, range(0, 120 * 40_000, 120)),  # 120 ms in 2 bytes
        webm_header() + (cluster(0) + b"\xec\x80" * 240 + block(b"\x08")) * 1000,
        webm_header() + cluster(0) + block(b"", 0) * 50_000,
        webm([b"\xe0"] * 30_000, [n * 5 // 2 for n in range(30_000)]),  # 2.5 ms each
        webm_header(
            track_entry(b"A_PCM/INT/LIT", rate=8000.0, depth=8, private=OPUS_HEAD)
        )
        + cluster(0)
        + block(bytes(250_000)) * 4,
        b"OggS" * 260_000,
        element(0x1A45DFA3, b"") * 80_000,
        b"\x00\x00\x00\x18ftyp" + bytes(16) + b"\x00\x00\x00\x08free" * 120_000,
        b"\x00\x00\x00\x18ftyp" + bytes(16) + b"moof" * 200_000,
    ],
    ids="dtx void empty 2.5ms pcm OggS EBML free moof".split(),
)
def test_no_call_takes_long(message: bytes) -> None:
    """A hostile MiB is chewed in calls of under half a second of CPU (0.05 here)."""
    decoder = open_stream(None)
    decoder.push(message[: 1 << 20])
    decoder.finish()
    longest_s = 0.0
    more = True
    for _ in range(40):
        if not more:
            break
        started = time.thread_time()
        try:
            piece = decoder.pull()
            more = piece is not None
            assert piece is None or len(piece) <= 80_000
        except DecodeError:
            more = False
        longest_s = max(longest_s, time.thread_time() - started)
    assert longest_s < 0.5


def test_an_idle_stream_costs_next_to_nothing() -> None:
    decoder = open_stream("webm")
    for _ in range(1000):
        decoder.push(b"")
        assert drain(decoder) == []


@pytest.mark.parametrize("times", ["go on", "stand still"])
def test_packets_that_were_left_out_leave_no_gap_of_their_own(times: str) -> None:
    packets = opus_packets(2.0)
    decoder = open_stream("webm")
    decoder.push(webm_header(track_entry()))
    pieces = []
    for start, clock_ms in ((0, 0), (60, 1200 if times == "go on" else 400)):
        for index, packet in enumerate(packets[start : start + 20]):
            decoder.push(cluster(clock_ms + 20 * index, block(packet)))
        pieces += drain(decoder)
        decoder.skip()
    decoder.finish()
    pieces += drain(decoder)
    heard = sum(map(len, pieces))
    assert heard == pytest.approx(40 * 320, abs=160)
    assert not decoder.notes
