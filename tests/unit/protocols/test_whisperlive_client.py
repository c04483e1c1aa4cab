"""The client's half of the wire: messages of any server become updates again."""

from __future__ import annotations

from typing import Any

import pytest

from whisper_live.errors import Overloaded
from whisper_live.inference.load_steps import LoadStep
from whisper_live.protocols.whisperlive import client as wire
from whisper_live.session.updates import (
    Dropped,
    FinalTranscript,
    Language,
    Segment,
    SpeechEvent,
    SpeechMoment,
    Timings,
    Update,
)

S = 16_000


def segment(start: str, end: str, text: str, completed: bool = True) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text, "completed": completed}


def texts(update: Update | None) -> list[str]:
    assert update is not None
    return [segment.text for segment in update.completed]


def test_repeated_segments_are_told_once_and_partials_replaced() -> None:
    one = wire.Follower()
    first = segment("0.500", "1.250", " one")
    second = segment("1.250", "2.000", " two")
    shown = one.take({"segments": [segment("0.500", "0.9", " on", False)]})
    assert shown == Update(interim=Segment(S // 2, round(0.9 * S), " on", False))
    assert texts(one.take({"segments": [first]})) == [" one"]
    later = {"segments": [first, second, segment("2.0", "2.5", "t", False)]}
    assert texts(one.take(later)) == [" two"]
    again = one.take({"segments": [first, second]})
    assert again == Update(), "nothing is new and no partial stands open"


def test_a_segment_without_length_is_not_taken_twice() -> None:
    one = wire.Follower()
    message = {"segments": [segment("1.000", "1.000", " yes")]}
    assert texts(one.take(message)) == [" yes"]
    assert texts(one.take(message)) == []


def test_language_words_and_dropped_spans_are_read() -> None:
    one = wire.Follower()
    told = one.take({"language": "de", "language_prob": 0.9})
    assert told == Update(language=Language("de", 0.9))
    spoken = segment("3.0", "4.0", " x")
    spoken["words"] = [{"word": " x", "start": "3.1", "end": "3.9", "probability": 0.5}]
    lost = {"start": "1.000", "end": "2.000", "reason": "engine_timeout"}
    update = one.take({"segments": [spoken], "dropped": [lost]})
    assert update is not None
    assert update.dropped == (Dropped(S, 2 * S, "engine_timeout"),)
    assert [w.text for w in update.completed[0].words] == [" x"]
    assert wire.dropped_s({"dropped": [lost]}) == 1.0


def test_what_is_no_news_is_no_update() -> None:
    assert wire.Follower().take({"message": "DISCONNECT"}) is None


def test_ready_refusals_and_complaints() -> None:
    assert wire.is_ready({"message": "SERVER_READY"})
    assert wire.refusal({"message": "SERVER_READY"}) is None
    full = wire.refusal({"status": "WAIT", "message": 1.5})
    assert isinstance(full, Overloaded) and full.wait_minutes == 1.5
    assert "no" in str(wire.refusal({"status": "ERROR", "message": "no"}))
    assert wire.complaint({"status": "WARNING", "message": "hm"}) == "hm"
    assert wire.complaint({"segments": []}) is None


@pytest.mark.parametrize("audio_format", [None, "webm"])
def test_a_handshake_names_a_format_only_where_one_is_chosen(
    audio_format: str | None,
) -> None:
    said = wire.handshake(language="en", audio_format=audio_format, timings=True)
    assert said.get("audio_format") == audio_format
    assert ("audio_format" in said) == (audio_format is not None)
    assert said["timings"] is True and said["uid"]


def test_moments_of_speech_and_timings_are_read() -> None:
    one = wire.Follower()
    update = one.take({"turn_event": "turn_ended", "at": 1.5})
    assert update == Update(speech=SpeechEvent(SpeechMoment.TURN_ENDED, S * 3 // 2))
    assert one.take({"turn_event": "of a newer server", "at": 1.5}) is None
    told = {"queue_ms": 12.5, "infer_ms": 100, "batch_size": 3, "context_s": 5.0}
    told |= {"context_fallback": True, "load_step": 1}
    update = one.take({"segments": [], "timings": told})
    assert update is not None and update.timings == Timings(
        queue_s=0.0125,
        engine_s=0.1,
        batch_size=3,
        context_s=5.0,
        is_fallback=True,
        load=LoadStep.SLOWER_INTERIMS,
    )


def test_a_final_transcript_is_read() -> None:
    assert wire.read_final_transcript({"segments": []}) is None
    content = {"text": "x", "duration": "2.000", "live_wer": 0.5}
    content |= {"segments": [segment("0.5", "1.0", " x")]}
    assert wire.read_final_transcript({"final_transcript": content}) == FinalTranscript(
        (Segment(S // 2, S, " x", True),), 2 * S, 0.5
    )
