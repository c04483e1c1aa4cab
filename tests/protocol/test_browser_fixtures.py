"""Recorded browser streams, and hostile ones, decoded as they would arrive.

Reads every ``<name>/media.bin`` with its ``meta.json`` (cuts, mime) from
``tests/data/browser`` and, where it is mounted beside the repository, from
``../shared/fixtures/browser_audio``.  A recording is compared with PyAV's decode of
the whole file: sample count within 30 ms, correlation at least 0.999.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.decode_media import drain, reference
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.errors import DecodeError
from whisper_live.media.files import read_file
from whisper_live.media.formats import StreamDecoder, open_stream

REPOSITORY = Path(__file__).parents[2]
OWN = REPOSITORY / "tests" / "data" / "browser"
SHARED = REPOSITORY.parent / "shared" / "fixtures" / "browser_audio"
RECORDINGS = [
    meta.parent
    for place in (OWN, SHARED)
    for meta in sorted(place.glob("*/meta.json"))
    if place == OWN or meta.parent.name.startswith(("chrome_", "firefox_", "ff_"))
]

# Recordings that are not to be decoded live, and why.
REFUSED = {
    "chrome_webm_videoonly_250": "no_audio_track",
    "ff_ogg_vorbis": "unsupported_codec",  # no browser records Vorbis any more
    "ff_webm_vorbis": "unsupported_codec",
}
# Chrome's MP4 declares a pre-skip of 80 ms; we skip no more than 20, because priming
# takes less and the rest is sound.  The comparison starts where PyAV's decode starts.
CHROME_MP4_PRESKIP = 960  # at 16 kHz

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")


@dataclass(frozen=True)
class Result:
    samples: Samples
    decoder: StreamDecoder
    error: str | None

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def notes(self) -> dict[str, int]:
        return dict(self.decoder.notes)


def meta(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return content


def media(folder: Path) -> bytes:
    return (folder / "media.bin").read_bytes()


def audio_format(folder: Path) -> str:
    mime: str = meta(folder)["mime"]
    if "f32le" in mime:
        return "float32"
    if "s16le" in mime:
        return "int16"
    return next(form for form in ("webm", "ogg", "mp4", "wav") if form in mime)


@cache
def stream(folder: Path, sizes: tuple[int, ...] | None = None) -> Result:
    """The recording in its own cuts, or in others."""
    data = media(folder)
    if sizes is None:
        sizes = tuple(chunk["size"] for chunk in meta(folder)["chunks"])
    form = audio_format(folder)
    decoder = open_stream("auto" if form == "wav" else form)
    pieces: list[Samples] = [np.empty(0, np.float32)]
    error = None
    try:
        at = 0
        for size in sizes:
            decoder.push(data[at : at + size])
            pieces += drain(decoder)
            at += size
        assert at == len(data), "the cuts cover the file"
        decoder.finish()
        pieces += drain(decoder)
    except DecodeError as raised:
        error = raised.kind
    return Result(np.concatenate(pieces), decoder, error)


def correlation(one: Samples, other: Samples) -> float:
    count = min(len(one), len(other))
    if np.array_equal(one[:count], other[:count]):
        return 1.0  # digital silence has no correlation
    return float(np.corrcoef(one[:count], other[:count])[0, 1])


# -------------------------------------------------------------------------- recordings


def recordings(*, refused: bool) -> pytest.MarkDecorator:
    folders = [folder for folder in RECORDINGS if (folder.name in REFUSED) == refused]
    ids = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    return pytest.mark.parametrize("folder", folders, ids=ids)


@recordings(refused=False)
def test_a_recording_decodes_as_pyav_decodes_its_file(folder: Path) -> None:
    result = stream(folder)
    assert result.error is None
    assert result.decoder.codec.startswith(audio_format(folder))
    ours, theirs = result.samples, reference(media(folder))
    if folder.name.startswith("chrome_mp4"):
        ours = ours[CHROME_MP4_PRESKIP:]
    assert abs(len(ours) - len(theirs)) <= 0.030 * SAMPLE_RATE
    assert correlation(ours, theirs) >= 0.999
    # A new recorder is noticed, and nothing else is.
    assert result.notes.pop("restart", 0) == ("restart" in folder.name)
    assert set(result.notes) <= {"restart", "truncated"}


@recordings(refused=True)
def test_a_recording_that_cannot_be_used_is_refused(folder: Path) -> None:
    assert stream(folder).error == REFUSED[folder.name]


@recordings(refused=False)
def test_a_recording_in_other_cuts_is_the_same(folder: Path) -> None:
    size = 997  # across every boundary that a browser has
    sizes = [size] * (len(media(folder)) // size) + [len(media(folder)) % size]
    expected, result = stream(folder), stream(folder, tuple(sizes))
    np.testing.assert_array_equal(result.samples, expected.samples)
    assert (result.error, result.notes) == (expected.error, expected.notes)


@needs_shared
def test_raw_pcm_is_passed_on() -> None:
    folder = SHARED / "raw_f32_16k_oddsplit"
    expected = np.frombuffer(media(folder), "<f4")
    np.testing.assert_array_equal(stream(folder).samples, expected)
    folder = SHARED / "raw_s16_16k_250"
    expected = np.frombuffer(media(folder), "<i2") / np.float32(32768)
    np.testing.assert_array_equal(stream(folder).samples, expected)


# ----------------------------------------------------------- damaged and hostile ones

# name -> seconds of audio (low, high), error kind, notes that must be there
HOSTILE: dict[str, tuple[float, float, str | None, set[str]]] = {
    # no crash; most audio at the low rate
    "bad_bitflips_0.0001": (4.5, 5.1, None, set()),
    "bad_bitflips_0.01": (2.0, 5.1, None, {"resync"}),
    # resync at the next cluster
    "bad_block_100MiB_live": (3.0, 4.1, None, {"resync"}),
    "bad_void_500MB_live": (3.0, 4.1, None, {"resync"}),
    # refused or resync, no allocation
    "bad_huge_block_size": (3.0, 4.1, None, {"resync"}),
    # ok-ish, no growth of timeline
    "bad_dup_chunk": (4.7, 4.8, None, {"duplicate"}),
    # error or resync
    "bad_header_cut_out": (3.0, 4.1, None, {"resync"}),
    "bad_huge_tracks": (0, 0, "header_too_big", set()),
    # resync, about one cluster lost (and its time kept)
    "bad_lost_chunk": (4.7, 4.8, None, {"gap_filled"}),
    # recovered, Opus assumed
    "bad_missing_header": (2.9, 3.0, None, {"joined"}),
    "bad_missing_header_ogg": (2.1, 2.2, None, {"joined"}),
    # refused when live
    "bad_mp4_moov_at_end": (0, 0, "not_fragmented", set()),
    "bad_not_opus_codec": (0, 0, "no_audio_track", set()),
    # clamped: of 4 s no more than 20 ms are skipped
    "bad_preskip_65535": (3.97, 4.0, None, set()),
    "bad_random_50k": (0, 0, "unknown_format", set()),
    # no audio, no hang, no exception before end
    "bad_truncated_header": (0, 0, None, {"truncated"}),
    "bad_unknown_codec": (0, 0, "unsupported_codec", set()),
    # no crash, bounded
    "bad_zero_after_header": (0, 0.1, None, {"resync"}),
    # ok, holes filled
    "bad_zero_length_frames": (3.98, 4.0, None, {"bad_packet", "gap_filled"}),
    # 10 min of PCM from 40 kB: every pull is bounded (drain checks it), and the server
    # pulls no faster than twice real time; the decoder adds nothing to it
    "bomb_opus_dtx_120ms": (599, 601, None, set()),
    # sent 5000 times at one moment
    "bomb_opus_same_ts": (0, 0.2, "bad_packets", {"duplicate"}),
    # 3.2 h asked for with 8 s of audio: 60 s and 20 times the audio at most
    "bomb_ts_ramp29s": (8, 8 + 60 + 160, None, {"silence_refused", "rebase"}),
    "empty": (0, 0, None, set()),
    "html_not_audio": (0, 0, "unknown_format", set()),
    # holes of 400 ms filled
    "tl_dtx_dropped": (11.95, 12.0, None, {"gap_filled"}),
    "tl_dtx_tiny": (11.95, 12.0, None, set()),
    # ok + 5 s of silence
    "tl_gap5s": (18.0, 18.03, None, {"gap_filled"}),
    # silence capped; rebase
    "tl_jump10h": (13.0, 13.03, None, {"rebase"}),
    # short holes filled
    "tl_lost_packets": (13.0, 13.03, None, {"gap_filled"}),
    "upload_ffconcat_relative": (0, 0, "unknown_format", set()),
    "upload_wav_1Hz": (0, 0, "unknown_format", set()),
}


@needs_shared
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_stream_does_what_its_meta_expects(name: str) -> None:
    low_s, high_s, error, notes = HOSTILE[name]
    result = stream(SHARED / name)
    assert result.error == error
    assert low_s <= result.seconds <= high_s
    assert notes <= set(result.notes)
    if not notes:
        assert not set(result.notes) - {"truncated", "joined"}


@needs_shared
def test_every_fixture_is_looked_at() -> None:
    seen = {"raw_f32_16k_oddsplit", "raw_s16_16k_250", *HOSTILE}
    seen |= {folder.name for folder in RECORDINGS}
    assert {folder.parent.name for folder in SHARED.glob("*/meta.json")} <= seen


@needs_shared
@pytest.mark.parametrize(
    ("name", "kind", "seconds"),
    [
        ("upload_ffconcat_relative", "unknown_format", 0.0),
        ("upload_wav_1Hz", "sample_rate", 0.0),
        ("bad_mp4_moov_at_end", None, 13.0),
        ("ff_ogg_vorbis", None, 13.0),
        ("ff_webm_vorbis", None, 4.0),
    ],
)
def test_whole_files(name: str, kind: str | None, seconds: float) -> None:
    samples = 0
    caught = None
    try:
        for piece in read_file(SHARED / name / "media.bin"):
            samples += len(piece)
    except DecodeError as error:
        caught = error.kind
    assert caught == kind
    assert samples / SAMPLE_RATE == pytest.approx(seconds, abs=0.03)
