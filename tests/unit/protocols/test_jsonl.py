"""Updates as JSON lines: a second protocol over the same updates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.helpers import SessionHarness
from whisper_live.inference.types import Word
from whisper_live.protocols.base import Message
from whisper_live.protocols.jsonl import JsonLines
from whisper_live.session.updates import (
    Dropped,
    Ending,
    FinalTranscript,
    Language,
    Segment,
    Update,
)
from whisper_live.testing.marks import write_speech

S = 16_000


def lines(messages: Sequence[Message]) -> list[dict[str, Any]]:
    assert all("\n" not in message.text for message in messages)
    return [json.loads(message.text) for message in messages]


def test_each_news_has_its_key_and_nothing_else_is_there() -> None:
    one = JsonLines()
    word = Word(" Grüße", 0, S, 0.91239)
    done = Segment(0, S, " Grüße", True, (word,))
    interim = Segment(S, 2 * S, " a", False)
    assert one.ready() == [] and one.render(Update()) == []
    assert lines(one.render(Update(language=Language("de", 0.98765)))) == [
        {"language": "de", "probability": 0.9877}
    ]
    assert lines(one.render(Update(completed=(done,), interim=interim))) == [
        {
            "completed": [
                {
                    "start": 0.0,
                    "end": 1.0,
                    "text": "Grüße",
                    "words": [
                        {"word": "Grüße", "start": 0, "end": 1, "probability": 0.9124}
                    ],
                }
            ],
            "interim": {"start": 1.0, "end": 2.0, "text": "a"},
        }
    ]
    assert one.render(Update(interim=interim)) == [], "it stands open as before"
    lost = Update(dropped=(Dropped(S, 3 * S, "engine_timeout"),))
    assert lines(one.render(lost)) == [
        {
            "dropped": [{"start": 1.0, "end": 3.0, "reason": "engine_timeout"}],
            "interim": None,
        }
    ]
    assert lines(one.end(Ending.FINISHED)) == [{"end": "finished"}]


def test_a_second_reading_is_one_line() -> None:
    segments = (Segment(0, S, " a", True), Segment(S, 2 * S, " b", True))
    (line,) = lines(JsonLines().final_transcript(FinalTranscript(segments, 3 * S, 0.5)))
    told = line["final_transcript"]
    assert (told["text"], told["duration"], told["live_wer"]) == ("a b", 3.0, 0.5)


def test_a_session_speaks_it_without_knowing() -> None:
    """The same updates that WhisperLive's wire renders, word for word."""
    harness = SessionHarness()
    samples, spoken = write_speech([[1, 2, 3], [4, 5]])
    harness.play(samples)
    harness.end()
    one = JsonLines()
    told = [line for update in harness.updates for line in lines(one.render(update))]
    completed = [s["text"] for line in told for s in line.get("completed", ())]
    assert completed == [text.strip() for text in harness.completed()]
    moments = [line["speech"] for line in told if "speech" in line]
    assert [moment for moment in moments if moment != "turn_probably_over"] == [
        "started",
        "stopped",
        "turn_ended",
    ] * 2
