"""Folding of updates, and the files written of the result."""

from __future__ import annotations

import json
import re

import pytest

from whisper_live.client.captions import RENDERERS, Caption, Captions, CueWriter
from whisper_live.client.subtitles import Layout
from whisper_live.inference.types import Word
from whisper_live.protocols.jsonl import JsonLines
from whisper_live.session.updates import (
    Dropped,
    Language,
    Segment,
    SpeechEvent,
    SpeechMoment,
    Update,
)

S = 16_000


def segment(start_s: float, end_s: float, text: str, completed: bool = True) -> Segment:
    return Segment(round(start_s * S), round(end_s * S), text, completed)


def partial_of(captions: Captions) -> Caption | None:
    return captions.partial


def test_completed_segments_are_added_and_partials_replaced() -> None:
    captions = Captions()
    on = segment(0.5, 0.9, " on", False)
    assert captions.take(Update(interim=on)) == []
    assert partial_of(captions) == Caption(0.5, 0.9, "on")
    one = Update(completed=(segment(0.5, 1.25, " one"),))
    assert captions.take(one) == [Caption(0.5, 1.25, "one")]
    assert partial_of(captions) is None
    two = Update(
        completed=(segment(1.25, 2.0, " two"),), interim=segment(2.0, 2.5, "t", False)
    )
    assert captions.take(two) == [Caption(1.25, 2.0, "two")]
    assert [caption.text for caption in captions.completed] == ["one", "two"]


def test_language_and_dropped_spans_are_kept() -> None:
    captions = Captions()
    captions.take(Update(language=Language("de", 0.9)))
    lost = Dropped(S, 2 * S, "engine_timeout")
    captions.take(Update(completed=(segment(3.0, 4.0, " x"),), dropped=(lost,)))
    assert captions.language == "de"
    assert captions.dropped == [lost]
    assert captions.losses() == ["no text for 1.000 to 2.000 s: engine_timeout"]


@pytest.fixture
def spoken() -> Captions:
    words = (Word(" Tom", round(59.9 * S), 60 * S, 0.9),)
    return Captions(
        completed=[
            Caption(58.0, 59.9996, "Tom & Jerry <3", words),
            Caption(3661.002, 3662.5, "Grüße"),
        ],
        language="en",
    )


def test_text(spoken: Captions) -> None:
    assert RENDERERS["text"](spoken, Layout()) == "Tom & Jerry <3\nGrüße\n"


def test_srt(spoken: Captions) -> None:
    assert RENDERERS["srt"](spoken, Layout()) == (
        "1\n00:00:58,000 --> 00:01:00,000\nTom & Jerry <3\n"
        "\n"
        "2\n01:01:01,002 --> 01:01:02,500\nGrüße\n"
    )


def test_vtt(spoken: Captions) -> None:
    assert RENDERERS["vtt"](spoken, Layout()) == (
        "WEBVTT\n"
        "\n"
        "00:00:58.000 --> 00:01:00.000\nTom &amp; Jerry &lt;3\n"
        "\n"
        "01:01:01.002 --> 01:01:02.500\nGrüße\n"
    )


def test_json(spoken: Captions) -> None:
    content = json.loads(RENDERERS["json"](spoken, Layout()))
    assert content["language"] == "en"
    assert content["text"] == "Tom & Jerry <3 Grüße"
    assert content["dropped"] == []
    assert content["segments"][0]["words"][0]["word"] == "Tom"
    assert content["segments"][1] == {
        "start": 3661.002,
        "end": 3662.5,
        "text": "Grüße",
    }


def times(content: object) -> list[object]:
    """Every time anywhere in a JSON value."""
    if isinstance(content, list):
        return [time for item in content for time in times(item)]
    if not isinstance(content, dict):
        return []
    own = [content[key] for key in ("start", "end", "at", "duration") if key in content]
    return own + [time for item in content.values() for time in times(item)]


def test_json_and_json_lines_give_words_and_times_in_one_form() -> None:
    word = Word(" Tom", 0, S, 0.91239)
    done = Segment(0, 2 * S, " Tom", True, (word,))
    update = Update(
        completed=(done,),
        dropped=(Dropped(2 * S, 3 * S, "unread"),),
        speech=SpeechEvent(SpeechMoment.STARTED, 0),
    )
    captions = Captions()
    captions.take(update)
    content = json.loads(RENDERERS["json"](captions, Layout()))
    [line] = [json.loads(message.text) for message in JsonLines().render(update)]
    assert content["segments"] == line["completed"]
    assert content["dropped"] == line["dropped"]
    assert content["segments"][0]["words"] == [
        {"word": "Tom", "start": 0.0, "end": 1.0, "probability": 0.9124}
    ]
    assert {type(time) for time in times([content, line])} == {float}
    assert len(times([content, line])) == 13


@pytest.mark.parametrize(
    ("name", "nothing"), [("text", ""), ("srt", ""), ("vtt", "WEBVTT\n")]
)
def test_no_speech_makes_a_valid_file(name: str, nothing: str) -> None:
    assert RENDERERS[name](Captions(), Layout()) == nothing


def written(style: str, *batches: list[Caption]) -> str:
    writer = CueWriter(style, Layout())
    return "".join(map(writer.take, batches)) + writer.end()


def test_subtitles_that_grow_are_those_that_are_written_at_once() -> None:
    first = [Caption(0.5, 4.0, "One sentence that takes its time.")]
    second = [Caption(10.0, 12.0, "And one & another."), Caption(20.0, 22.0, "End.")]
    whole = Captions(completed=first + second)
    for style in ("srt", "vtt"):
        assert written(style, first, [], second) == RENDERERS[style](whole, Layout())


def test_a_cue_ends_before_the_next_one_also_where_that_came_later() -> None:
    text = written("srt", [Caption(1.0, 1.2, "Yes.")], [Caption(1.5, 2.5, "No.")])
    assert re.findall(r"\S+ --> \S+", text) == [
        "00:00:01,000 --> 00:00:01,500",
        "00:00:01,500 --> 00:00:02,500",
    ]


def test_a_cue_is_written_as_soon_as_the_next_one_is_known() -> None:
    writer = CueWriter("vtt", Layout())
    assert writer.take([Caption(1.0, 3.0, "Yes.")]) == ""
    assert writer.take([Caption(10.0, 12.0, "No.")]) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:03.000\nYes.\n"
    )
    assert writer.end() == "\n00:00:10.000 --> 00:00:12.000\nNo.\n"


def test_subtitles_without_text_are_an_empty_file() -> None:
    assert written("srt") == "" and written("vtt") == "WEBVTT\n"
