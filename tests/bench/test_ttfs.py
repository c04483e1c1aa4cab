"""What the bench of time to final segment counts from and to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bench import ttfs
from bench.wyoming.commands import Command
from whisper_live.audio import SAMPLE_RATE


def said(end_s: float, text: str = "good morning") -> Command:
    samples = np.zeros(round((end_s + 6) * SAMPLE_RATE), np.float32)
    return Command("a/b.flac", samples, round(end_s * SAMPLE_RATE), text)


def completed(item: str, text: str) -> dict[str, Any]:
    kind = "conversation.item.input_audio_transcription.completed"
    return {"type": kind, "item_id": item, "transcript": text}


def committed(item: str) -> dict[str, Any]:
    return {"type": "input_audio_buffer.committed", "item_id": item}


def test_a_commit_comes_as_soon_as_pipecats_detector_would_say_it() -> None:
    talk = ttfs.Talk([said(1.0), said(2.0)], commits=True)
    plan = ttfs.schedule(talk)
    commits = [due_s for due_s, piece in plan if piece is None]
    assert commits == pytest.approx([1.2, 3.0 + 2.0 + 0.2])
    audio = b"".join(piece for _, piece in plan if piece is not None)
    assert len(audio) / 2 / 24_000 == pytest.approx(3.0 + 4.0)
    assert [due_s for due_s, _ in plan] == sorted(due_s for due_s, _ in plan)


def test_the_last_text_of_an_utterance_counts_from_the_end_of_its_speech() -> None:
    talk = ttfs.Talk([said(1.0), said(2.0)], commits=True)
    for item, text, at_s in (("a", "good morning", 1.5), ("b", "good", 5.75)):
        talk.take(committed(item), at_s)
        talk.take(completed(item, text), at_s)
    assert talk.is_told
    assert talk.ttfs_s == pytest.approx([0.5, 0.75])
    found = ttfs.figures([talk])
    assert (found["no_text"], found["p50_s"], found["worst_s"]) == (0, 0.5, 0.75)
    assert found["wer"] == 0.25


def test_turns_belong_to_the_utterance_in_which_they_began() -> None:
    talk = ttfs.Talk([said(1.0), said(2.0)], commits=False)
    for item, start_ms, at_s in (("a", 100, 1.5), ("b", 2900, 4.5), ("c", 4500, 6.0)):
        kind = "input_audio_buffer.speech_started"
        talk.take({"type": kind, "item_id": item, "audio_start_ms": start_ms}, at_s)
        talk.take(committed(item), at_s)
        talk.take(completed(item, item), at_s)
    assert talk.texts == [["a"], ["b", "c"]]
    assert talk.ttfs_s == pytest.approx([0.5, 1.0])


def test_what_never_came_is_counted_and_not_averaged() -> None:
    talk = ttfs.Talk([said(1.0), said(2.0)], commits=True)
    talk.take(committed("a"), 1.3)
    talk.take(completed("a", "good morning"), 1.4)
    talk.take({"type": "error", "error": {"code": "rate"}}, 2.0)
    found = ttfs.figures([talk])
    assert talk.ttfs_s[1] == math.inf and not talk.is_told
    assert (found["no_text"], found["worst_s"]) == (1, 0.4)
    assert (found["wer"], found["failures"]) == (0.5, "rate")


def test_samples_are_as_loud_at_24_khz() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE) / 2
    raised = np.frombuffer(ttfs.pcm_24_khz(tone.astype(np.float32)), "<i2")
    expected = np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000) / 2 * 32767
    assert len(raised) == 24_000
    assert np.abs(raised - expected)[100:-100].max() < 40
