"""Stages follow one another without a gap."""

from __future__ import annotations

import pytest

from whisper_live.voice.stages import LABELS, Moments, Stage


def test_stages_are_the_whole() -> None:
    moments = Moments(10.0)
    for name, now in (
        ("asked", 10.5),
        ("first_token", 10.75),
        ("first_token", 11.0),  # only the first counts
        ("first_sentence", 11.0),
        ("first_sound", 11.25),
        ("heard", 12.0),
    ):
        moments.mark(name, now)
    assert moments.stages() == [
        Stage("stt", 0, 0.5),
        Stage("llm_first_token", 0.5, 0.75),
        Stage("llm_sentence", 0.75, 1.0),
        Stage("tts", 1.0, 1.25),
        Stage("turn_end", 1.25, 2.0),
    ]
    assert sum(stage.duration_s for stage in moments.stages()) == 2.0
    assert {stage.name for stage in moments.stages()} == set(LABELS)


def test_what_did_not_happen_is_no_stage() -> None:
    moments = Moments(10.0)
    moments.mark("asked", 10.5)
    moments.mark("heard", 11.0)
    assert moments.stages() == [Stage("stt", 0, 0.5), Stage("turn_end", 0.5, 1.0)]


def test_no_stage_is_negative() -> None:
    """Samples that a clock too fast has counted end after they were understood."""
    moments = Moments(10.0)
    moments.mark("asked", 9.9)
    moments.mark("first_token", 10.2)
    assert [s.duration_s for s in moments.stages()] == [0.0, pytest.approx(0.2)]
