"""Home Assistant's wire under whatever comes: only documented errors, whole texts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_live.config.model import SpeechConfig
from whisper_live.errors import HandshakeError, ProtocolError
from whisper_live.protocols.base import Message
from whisper_live.session.updates import (
    Ending,
    Segment,
    SpeechEvent,
    SpeechMoment,
    Update,
)

pytest.importorskip("wyoming", reason="pip install '.[wyoming]'")

from whisper_live.protocols.wyoming.events import read_event, read_header  # noqa: E402
from whisper_live.protocols.wyoming.server import Wyoming  # noqa: E402

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WISHES = (
    *("name", "language", "context", "vad_sensitivity"),
    *("transcript_names", "transcript_terms"),
)
FORMAT = ("rate", "width", "channels", "timestamp")
LIKELY = st.sampled_from([16_000, 2, 1, 8_000, 0, -1, "en", "relaxed", ["a"], [""], []])


def fields(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), LIKELY | JSON, max_size=len(names))


def event(name: str, data: dict[str, Any], payload: bytes = b"") -> bytes:
    head = {"type": name, "data": data, "payload_length": len(payload)}
    return json.dumps(head).encode() + b"\n" + payload


def told(messages: list[Message]) -> list[tuple[str, dict[str, Any]]]:
    events = [read_event(message.text.encode()) for message in messages]
    return [(each.type, each.data) for each in events]


@given(st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_line_is_read_or_refused(line: bytes) -> None:
    try:
        header = read_header(line)
    except ProtocolError:
        return
    assert header.data_bytes >= 0 and header.payload_bytes >= 0


@given(
    fields("type", "data", "data_length", "payload_length", "version"),
    st.binary(max_size=32),
)
def test_a_header_of_anything_is_read_or_refused(
    values: dict[str, Any], rest: bytes
) -> None:
    try:
        read_event(json.dumps(values).encode() + b"\n" + rest)
    except ProtocolError:
        pass


@given(fields(*WISHES), fields(*FORMAT), fields(*FORMAT), st.binary(max_size=9))
def test_wishes_and_formats_are_fulfilled_or_refused(
    asked: dict[str, Any], start: dict[str, Any], chunk: dict[str, Any], audio: bytes
) -> None:
    protocol = Wyoming(SpeechConfig(), silence_s=0.7, asked=event("transcribe", asked))
    try:
        hello = protocol.read_hello(event("audio-start", start))
    except HandshakeError as error:
        assert error.detail and error.kind
        return
    assert len(hello.options.hotwords) <= 384
    assert hello.options.vad.hangover_s in (0.25, 0.7, 1.25)
    try:
        protocol.read(event("audio-chunk", chunk, audio))
    except ProtocolError as error:
        assert error.kind == "audio_format"


WORD = st.text(st.characters(codec="utf-8", exclude_characters=" "), min_size=1)
TEXTS = st.lists(WORD.map(lambda word: f" {word}"), max_size=3)


@given(st.lists(st.tuples(TEXTS, st.sampled_from([None, *SpeechMoment])), max_size=6))
def test_the_chunks_put_together_are_the_transcript(
    steps: list[tuple[list[str], SpeechMoment | None]],
) -> None:
    protocol = Wyoming(SpeechConfig(), silence_s=0.7)
    events = []
    for texts, moment in steps:
        update = Update(
            completed=tuple(Segment(0, 1, text, True) for text in texts),
            speech=None if moment is None else SpeechEvent(moment, 0),
        )
        events += told(protocol.render(update))
    events += told(protocol.end(Ending.FINISHED))
    names = [name for name, _ in events]
    assert names[0] == "transcript-start"
    assert names[-2:] == ["transcript", "transcript-stop"]
    assert set(names[1:-2]) <= {"transcript-chunk"}
    chunks = "".join(d["text"] for name, d in events if name == "transcript-chunk")
    assert chunks.strip() == events[-2][1]["text"]
    assert chunks.split() == "".join(t for texts, _ in steps for t in texts).split()
