"""Whole files, good ones and attacks."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.decode_media import (
    block,
    cluster,
    muxed,
    reference,
    sound,
    track_entry,
    webm,
    webm_header,
)
from whisper_live.errors import DecodeError
from whisper_live.media.files import FORMATS, probe_file, read_file


def wav(rate: int, channels: int = 1, count: int = 20_000) -> bytes:
    body = bytes(2 * channels * count)
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16, 1, channels, rate),
        *(2 * channels * rate, 2 * channels, 16, b"data", len(body)),
    )
    return head + body


def wav_24_in_32() -> bytes:
    """WAVE_FORMAT_EXTENSIBLE, as some recorders write 24 bits."""
    pcm_guid = bytes.fromhex("0100000000001000800000aa00389b71")
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 48_000, 192_000, 4, 32, 22, 24, 4)
    form += pcm_guid
    body = np.arange(20_000, dtype="<i4").tobytes()
    chunks = struct.pack("<4s4sI", b"WAVE", b"fmt ", len(form)) + form
    chunks += struct.pack("<4sI", b"data", len(body)) + body
    return struct.pack("<4sI", b"RIFF", len(chunks)) + chunks


@pytest.mark.parametrize(
    ("container", "codec", "rate", "channels"),
    [
        ("wav", "pcm_s16le", 16_000, 1),
        ("wav", "pcm_f32le", 44_100, 2),
        ("wav", "pcm_s32le", 8_000, 1),
        ("wav", "pcm_s24le", 48_000, 2),
        ("wav", "pcm_u8", 16_000, 2),
        ("wav", "pcm_s16le", 16_000, 6),
        ("flac", "flac", 48_000, 2),
        ("mp3", "libmp3lame", 44_100, 2),
        ("mp4", "aac", 44_100, 2),
        ("mp4", "alac", 44_100, 1),
        ("ogg", "libopus", 48_000, 2),
        ("ogg", "flac", 48_000, 1),
        ("webm", "libopus", 48_000, 1),
        ("adts", "aac", 44_100, 1),
        ("wav", "pcm_s64le", 48_000, 2),
        ("wav", "adpcm_ms", 44_100, 1),
        ("asf", "wmav2", 44_100, 2),
        ("mov", "aac", 48_000, 2),
        ("matroska", "ac3", 48_000, 2),
        ("avi", "libmp3lame", 44_100, 1),
        ("flv", "nellymoser", 44_100, 1),
        ("mpegts", "aac", 48_000, 2),
        ("mpeg", "mp2", 48_000, 2),
        ("3gp", "aac", 16_000, 1),
        ("amr", "libopencore_amrnb", 8_000, 1),
        ("aiff", "pcm_s16be", 44_100, 2),
        ("au", "pcm_mulaw", 16_000, 1),
        ("caf", "alac", 44_100, 1),
        ("w64", "pcm_f32le", 48_000, 1),
        ("voc", "pcm_u8", 8_000, 1),
        ("wv", "wavpack", 44_100, 1),
        ("tta", "tta", 16_000, 1),
        ("latm", "aac", 44_100, 1),
    ],
)
def test_files_decode_to_their_sound(
    container: str, codec: str, rate: int, channels: int
) -> None:
    data = muxed(container, codec, seconds=3.0, rate=rate, channels=channels)
    pieces = list(read_file(io.BytesIO(data)))
    assert all(0 < len(piece) <= 80_000 for piece in pieces)
    samples = np.concatenate(pieces)
    source = sound(3.0, 16_000, channels).mean(axis=0)
    assert len(samples) == pytest.approx(len(source), abs=1600)  # encoders' priming
    lags = range(-1600, 1601, 1)
    heart = source[16_000:28_000]
    best = max(
        float(np.dot(samples[16_000 + lag : 28_000 + lag], heart)) for lag in lags
    )
    lossy = 0.15 if container == "amr" else 0.08  # at 5 to 12 kbit/s
    assert best / float(np.dot(heart, heart)) == pytest.approx(1.0, abs=lossy)


def test_a_path_is_read_like_a_file(tmp_path: Path) -> None:
    data = muxed("flac", "flac", rate=16_000)
    path = tmp_path / "sound.flac"
    path.write_bytes(data)
    for source in (path, str(path)):
        samples = np.concatenate(list(read_file(source)))
        np.testing.assert_array_equal(samples, reference(data))
    assert probe_file(path) == pytest.approx(2.0)


def test_an_open_file_stays_open() -> None:
    file = io.BytesIO(wav(16_000))
    assert probe_file(file) == pytest.approx(1.25)
    assert sum(map(len, read_file(file))) == 20_000
    assert not file.closed


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_a_truncated_file_gives_what_it_has(cut: float) -> None:
    data = muxed("ogg", "libopus", seconds=7.0)
    samples = np.concatenate(list(read_file(io.BytesIO(data[: int(len(data) * cut)]))))
    assert len(samples) > 0.5 * cut * 7 * 16_000


def test_nothing_is_read_ahead() -> None:
    """Ten minutes of silence in a few kilobytes come as they are asked for."""
    file = io.BytesIO(wav(48_000, count=48_000 * 60))
    pieces = read_file(file)
    assert len(next(pieces)) <= 80_000
    assert file.tell() < 1 << 20
    pieces.close()  # type: ignore[attr-defined]


# What no file may do to who opens it, and why it is refused.
HOSTILE: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b"<html></html>", "unknown_format"),
    (b"ffconcat version 1.0\nfile secret.wav\n", "unknown_format"),
    (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
     b"m=audio 5004 RTP/AVP 0\n", "unknown_format"),
    (b"#EXTM3U\n#EXTINF:1,\nsecret.wav\n", "unknown_format"),
    (b"[playlist]\nFile1=secret.wav\nNumberOfEntries=1\n", "unknown_format"),
    (b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
     b"<AdaptationSet><Representation><BaseURL>secret.wav</BaseURL>"
     b"</Representation></AdaptationSet></Period></MPD>", "unknown_format"),
    (b"ASF secret.wav\n[Reference]\nRef1=secret.wav\n", "unknown_format"),
    (b"1\n00:00:00,000 --> 00:00:01,000\nsecret.wav\n", "unknown_format"),
    (np.random.default_rng(1).bytes(50_000), "unknown_format"),
    (wav(1), "sample_rate"),
    (wav(400_000), "sample_rate"),
    (wav(16_000, channels=32, count=100), "channels"),
    (wav_24_in_32(), "unsupported_codec"),
    (muxed("matroska", "pcm_s16le")[:200], "unknown_format"),
    (muxed("wav", "dfpwm"), "unsupported_codec"),
    (
        webm_header(track_entry(b"V_VP8", kind=1, private=b""))
        + cluster(0)
        + block(bytes(50)),
        "no_audio_track",
    ),
    (webm((b"\xff",) * 400), "damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "kind"), HOSTILE)
def test_attacks_and_nonsense_are_refused(
    data: bytes, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.wav").write_bytes(wav(16_000))
    monkeypatch.chdir(tmp_path)
    upload = tmp_path / "upload"
    upload.write_bytes(data)
    for source in (upload, io.BytesIO(data)):
        with pytest.raises(DecodeError) as refused:
            next(read_file(source))
        assert refused.value.kind == kind


def test_what_stops_libav_is_said_without_its_jargon() -> None:
    chained = muxed("ogg", "libopus") + muxed("ogg", "libopus", channels=2)
    pieces = read_file(io.BytesIO(chained))
    with pytest.raises(
        DecodeError, match=r"cannot be read to its end \([^'\[]*\)"
    ) as e:
        list(pieces)
    assert e.value.kind == "damaged"


def test_decoders_that_were_not_named_are_refused() -> None:
    data = muxed("nut", "comfortnoise")
    with pytest.raises(DecodeError, match="comfortnoise") as refused:
        next(read_file(io.BytesIO(data)))
    assert refused.value.kind == "unsupported_codec"


def test_a_probe_hears_what_cannot_be_decoded_and_moves_nothing() -> None:
    file = io.BytesIO(muxed("ogg", "libopus"))
    assert probe_file(file) == pytest.approx(2.0, abs=0.02)
    samples = np.concatenate(list(read_file(file)))
    assert len(samples) == pytest.approx(32_000, abs=1600)
    for data, kind in (
        (webm((b"\xff",) * 400), "damaged"),
        (b"", "empty"),
        (wav(1), "sample_rate"),
    ):
        with pytest.raises(DecodeError) as refused:
            probe_file(io.BytesIO(data))
        assert refused.value.kind == kind


def test_no_format_is_read_that_names_other_files() -> None:
    assert "wav" in FORMATS and "asf" in FORMATS
    assert not FORMATS.keys() & {
        *("concat", "hls", "dash", "sdp", "rtsp", "rtp", "sap", "imf", "image2"),
        *("lavfi", "alsa", "x11grab", "fbdev", "v4l2", "vobsub", "webm_dash_manifest"),
    }


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="No such file") as refused:
        next(read_file(tmp_path / "missing.wav"))
    assert refused.value.kind == "unreadable"
    with pytest.raises(DecodeError, match="directory"):
        probe_file(tmp_path)
