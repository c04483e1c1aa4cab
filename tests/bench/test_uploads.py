"""What the bench of uploads sends, and what of it counts."""

from __future__ import annotations

import io
import wave

import pytest

from bench.uploads import Posted, clip, live_table, wav
from whisper_live.audio import SAMPLE_RATE
from whisper_live.testing.load.measure import Span


def test_clips_have_their_length_and_speech_from_the_start() -> None:
    for length_s in (2.0, 10.0):
        samples = clip(length_s, 0)
        assert len(samples) == length_s * SAMPLE_RATE
        assert abs(samples[: SAMPLE_RATE // 2]).max() > 0.05
    assert (clip(2.0, 0) != clip(2.0, 1)).any()


def test_a_clip_is_sent_as_a_wav_file() -> None:
    with wave.open(io.BytesIO(wav(clip(2.0, 0)))) as reader:
        assert (reader.getframerate(), reader.getnframes()) == (16_000, 32_000)
        assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)


def test_of_an_upload_counts_what_was_read_while_the_streams_spoke() -> None:
    span = Span(100.0, 110.0)
    posted = Posted(begun_at=95.0, answered_at=105.0, audio_s=60.0)
    assert posted.took_s == 10.0
    assert posted.audio_within(span) == pytest.approx(30.0)
    assert Posted(100.0, 104.0, 60.0).audio_within(span) == pytest.approx(60.0)
    assert Posted(110.0, 120.0, 60.0).audio_within(span) == 0.0


def test_both_runs_stand_beside_each_other_with_their_ratio() -> None:
    apart = {"final_p50_s": 1.0, "final_p95_s": None, "never": 0}
    beside = {"final_p50_s": 1.1, "final_p95_s": 2.0, "never": 1}
    lines = live_table(apart, beside).splitlines()
    assert lines[2:] == [
        "| final_p50_s | 1.00 | 1.10 | 1.10 |",
        "| final_p95_s | None | 2.00 | - |",
        "| never | 0 | 1 |  |",
    ]
