"""Folding of segments messages, and the files written of the result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from whisper_live.client.captions import RENDERERS, Caption, Captions


def segment(start: str, end: str, text: str, completed: bool = True) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text, "completed": completed}


def partial_of(captions: Captions) -> Caption | None:
    return captions.partial


def test_repeated_segments_are_kept_once_and_partials_replaced() -> None:
    captions = Captions()
    one = segment("0.500", "1.250", " one")
    two = segment("1.250", "2.000", " two")
    assert captions.update({"segments": [segment("0.500", "0.9", " on", False)]}) == []
    assert partial_of(captions) == Caption(0.5, 0.9, "on")
    assert captions.update({"segments": [one]}) == [Caption(0.5, 1.25, "one")]
    assert partial_of(captions) is None
    fresh = captions.update({"segments": [one, two, segment("2.0", "2.5", "t", False)]})
    assert fresh == [Caption(1.25, 2.0, "two")]
    assert captions.update({"segments": [one, two]}) == []
    assert [caption.text for caption in captions.completed] == ["one", "two"]


def test_segment_without_length_is_not_taken_twice() -> None:
    captions = Captions()
    message = {"segments": [segment("1.000", "1.000", " yes")]}
    assert len(captions.update(message)) == 1
    assert captions.update(message) == []


def test_language_and_dropped_spans_are_kept() -> None:
    captions = Captions()
    captions.update({"language": "de", "language_prob": 0.9})
    lost = {"start": "1.000", "end": "2.000", "reason": "engine_timeout"}
    captions.update({"segments": [segment("3.0", "4.0", " x")], "dropped": [lost]})
    assert captions.language == "de"
    assert captions.dropped == [lost]


@pytest.fixture
def spoken() -> Captions:
    words = ({"word": " Tom", "start": "59.9", "end": "60.0", "probability": 0.9},)
    return Captions(
        completed=[
            Caption(0.0, 59.9996, "Tom & Jerry <3", words),
            Caption(3661.002, 3662.5, "Grüße"),
        ],
        language="en",
    )


def test_text(spoken: Captions) -> None:
    assert RENDERERS["text"](spoken) == "Tom & Jerry <3\nGrüße\n"


def test_srt(spoken: Captions) -> None:
    assert RENDERERS["srt"](spoken) == (
        "1\n00:00:00,000 --> 00:01:00,000\nTom & Jerry <3\n"
        "\n"
        "2\n01:01:01,002 --> 01:01:02,500\nGrüße\n"
    )


def test_vtt(spoken: Captions) -> None:
    assert RENDERERS["vtt"](spoken) == (
        "WEBVTT\n"
        "\n"
        "00:00:00.000 --> 00:01:00.000\nTom &amp; Jerry &lt;3\n"
        "\n"
        "01:01:01.002 --> 01:01:02.500\nGrüße\n"
    )


def test_json(spoken: Captions) -> None:
    content = json.loads(RENDERERS["json"](spoken))
    assert content["language"] == "en"
    assert content["text"] == "Tom & Jerry <3 Grüße"
    assert content["dropped"] == []
    assert content["segments"][0]["words"][0]["word"] == " Tom"
    assert content["segments"][1] == {
        "start": 3661.002,
        "end": 3662.5,
        "text": "Grüße",
    }


@pytest.mark.parametrize(
    ("name", "nothing"), [("text", ""), ("srt", ""), ("vtt", "WEBVTT\n")]
)
def test_no_speech_makes_a_valid_file(name: str, nothing: str) -> None:
    assert RENDERERS[name](Captions()) == nothing
