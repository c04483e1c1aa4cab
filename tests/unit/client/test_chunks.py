"""Recordings cut as a live sender would: every byte once, each at its time."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client.chunks import (
    CHUNK_S,
    pcm_chunks,
    webm_chunks,
    webm_file_chunks,
)
from whisper_live.errors import DecodeError

RECORDING = Path(__file__).parents[2] / "data/browser/chrome_webm_250/media.bin"


def tone(seconds: float) -> Samples:
    at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.5 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)


def decoded_s(webm: bytes) -> float:
    """Seconds of audio that FFmpeg finds in a whole WebM file."""
    with av.open(io.BytesIO(webm), "r", format="webm") as container:
        return sum(frame.samples for frame in container.decode(audio=0)) / 48000


def test_pcm_is_every_sample_once() -> None:
    samples = tone(1.1)
    chunks = list(pcm_chunks([samples[:1000], samples[1000:1200], samples[1200:]]))
    assert [chunk.due_s for chunk in chunks] == [0.25, 0.5, 0.75, 1.0, 1.1]
    joined = b"".join(chunk.data for chunk in chunks)
    assert np.array_equal(np.frombuffer(joined, "<f4"), samples)


def test_int16_clips_what_is_too_loud() -> None:
    samples = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.5], dtype=np.float32)
    (chunk,) = pcm_chunks([samples], "int16")
    values = np.frombuffer(chunk.data, "<i2").tolist()
    assert values == [0, 32767, -32767, 32767, -32767, 16384]


def test_webm_holds_the_whole_recording_and_flows_evenly() -> None:
    chunks = list(webm_chunks([tone(3.1)]))
    assert decoded_s(b"".join(chunk.data for chunk in chunks)) == pytest.approx(
        3.1, abs=0.02
    )
    assert chunks[0].data.startswith(b"\x1a\x45\xdf\xa3")
    # What has been sent when a second has passed holds almost a second: the encoder
    # and the open cluster keep less than two chunks back.
    sent = b"".join(chunk.data for chunk in chunks if chunk.due_s <= 1.0)
    assert decoded_s(sent) > 1.0 - 2 * CHUNK_S
    assert [chunk.due_s for chunk in chunks] == sorted(chunk.due_s for chunk in chunks)


def test_webm_file_is_sent_byte_for_byte_in_step_with_its_sound() -> None:
    chunks = list(webm_file_chunks(RECORDING))
    assert b"".join(chunk.data for chunk in chunks) == RECORDING.read_bytes()
    assert chunks[-1].due_s == pytest.approx(decoded_s(RECORDING.read_bytes()), 0.02)
    assert all(chunk.data for chunk in chunks)
    # Chromium's blocks are 60 ms long, so a cut is that far from its time at most.
    seen = b""
    for chunk in chunks[:12]:
        seen += chunk.data
        assert decoded_s(seen) == pytest.approx(chunk.due_s, abs=0.07)


def test_what_is_not_webm_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.webm"
    other.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(DecodeError, match="not WebM"):
        list(webm_file_chunks(other))
