"""OpenAI's Realtime events: what an update asks for, and what becomes of items."""

from __future__ import annotations

import json
from typing import Any

import pytest

from whisper_live.audio import s_to_samples
from whisper_live.config.model import SpeechConfig
from whisper_live.errors import HandshakeError, ProtocolError
from whisper_live.protocols.base import Audio, Hello
from whisper_live.protocols.openai_realtime import OpenAIRealtime
from whisper_live.session.events import Configure, Flush
from whisper_live.session.updates import (
    Dropped,
    Ending,
    Segment,
    SpeechEvent,
    SpeechMoment,
    Update,
)

ITEM = "conversation.item.input_audio_transcription"


def update(**audio_input: Any) -> str:
    session = {"type": "transcription", "audio": {"input": audio_input}}
    return json.dumps({"type": "session.update", "session": session})


def begun(first: str = update()) -> tuple[OpenAIRealtime, Hello]:
    peer = OpenAIRealtime(SpeechConfig(), name="r1", model="by-url")
    hello = peer.read_hello(first)
    peer.ready()
    return peer, hello


def told(messages: list[Any]) -> list[tuple[str, str | None]]:
    events = [json.loads(message.text) for message in messages]
    return [
        (event["type"].rpartition(".")[2], event.get("transcript", event.get("delta")))
        for event in events
    ]


def turn(peer: OpenAIRealtime, start_s: float, end_s: float) -> None:
    for moment, at_s in (
        (SpeechMoment.STARTED, start_s),
        (SpeechMoment.STOPPED, end_s),
        (SpeechMoment.STARTED, end_s),
        (SpeechMoment.TURN_ENDED, end_s),
    ):
        peer.render(Update(speech=SpeechEvent(moment, s_to_samples(at_s))))


def completed(start_s: float, end_s: float, text: str) -> Update:
    at = Segment(s_to_samples(start_s), s_to_samples(end_s), text, True)
    return Update(completed=(at,))


def test_what_an_update_asks_for() -> None:
    _, hello = begun(
        update(
            format={"type": "audio/pcmu"},
            transcription={
                "model": "m",
                "languages": ["de"],
                "prompt": "about",
                "keywords": ["Ada", "Babbage"],
            },
            turn_detection={
                "type": "server_vad",
                "threshold": 0.7,
                "silence_duration_ms": 350,
                "prefix_padding_ms": 600,
            },
        )
    )
    assert (hello.model, hello.audio_format) == ("m", "pcmu")
    assert not hello.is_first_message
    options = hello.options
    assert (options.language, options.initial_prompt) == ("de", "about")
    assert options.hotwords == "Ada, Babbage"
    vad = options.vad
    assert (vad.threshold, vad.hangover_s, vad.preroll_s) == (0.7, 0.35, 0.6)
    assert vad.early_s <= vad.hangover_s and vad.release <= vad.threshold


def test_nothing_asked_is_the_servers_own() -> None:
    _, hello = begun('{"type": "input_audio_buffer.append", "audio": ""}')
    assert (hello.model, hello.audio_format) == ("by-url", "pcm16_24k")
    assert hello.is_first_message and hello.options.language is None


def test_a_later_update_changes_what_it_names_alone() -> None:
    peer, _ = begun(update(transcription={"language": "de", "prompt": "about"}))
    change = peer.read(update(transcription={"language": "fr"}))
    assert isinstance(change, Configure)
    assert change.options.language == "fr"
    assert change.options.initial_prompt == "about"
    [reply] = peer.reached(0)
    shown = json.loads(reply.text)["session"]["audio"]["input"]
    assert shown["transcription"] == {"language": "fr", "prompt": "about"}
    assert shown["turn_detection"] == {"type": "server_vad"}


def test_an_update_that_makes_no_sense_changes_nothing() -> None:
    peer, _ = begun(update(transcription={"language": "de"}))
    with pytest.raises(ProtocolError) as caught:
        peer.read(update(transcription={"language": "klingon"}))
    [complaint] = peer.complain(caught.value)
    error = json.loads(complaint.text)["error"]
    assert (error["param"], error["code"]) == ("language", "unsupported_language")
    change = peer.read(update())
    assert isinstance(change, Configure) and change.options.language == "de"


@pytest.mark.parametrize(("eagerness", "more"), [("low", True), ("high", False)])
def test_an_eager_turn_ends_sooner(eagerness: str, more: bool) -> None:
    _, plain = begun()
    _, hello = begun(
        update(turn_detection={"type": "semantic_vad", "eagerness": eagerness})
    )
    assert (hello.options.vad.hangover_s > plain.options.vad.hangover_s) is more


def test_events_become_messages_of_a_session() -> None:
    peer, _ = begun()
    audio = peer.read('{"type": "input_audio_buffer.append", "audio": "AAEC"}')
    assert audio == Audio(b"\0\1\2")
    assert peer.read('{"type": "input_audio_buffer.commit"}') == Flush()
    assert peer.read('{"type": "response.create"}') is None
    with pytest.raises(HandshakeError):
        OpenAIRealtime(SpeechConfig(), name="r2").read_hello("7")


def test_an_item_is_completed_once_all_before_its_end_is_told() -> None:
    peer, _ = begun()
    turn(peer, 1.0, 2.0)
    turn(peer, 3.0, 4.0)
    assert told(peer.render(completed(1.0, 1.5, " One"))) == [("delta", "One")]
    assert told(peer.reached(s_to_samples(1.5))) == []
    assert told(peer.render(completed(1.5, 2.0, " two."))) == [("delta", " two.")]
    assert told(peer.reached(s_to_samples(2.0))) == [("completed", "One two.")]
    assert told(peer.render(completed(3.0, 4.0, " Three."))) == [("delta", "Three.")]
    assert told(peer.reached(s_to_samples(9.0))) == [("completed", "Three.")]


def test_a_turn_in_which_nothing_was_said_is_completed_empty() -> None:
    peer, _ = begun()
    turn(peer, 1.0, 2.0)
    assert told(peer.reached(s_to_samples(2.0))) == [("completed", "")]


def test_a_span_without_text_fails_its_item_alone() -> None:
    peer, _ = begun()
    turn(peer, 1.0, 2.0)
    turn(peer, 3.0, 4.0)
    lost = Dropped(s_to_samples(1.0), s_to_samples(2.0), "engine_timeout")
    peer.render(Update(dropped=(lost,)))
    peer.render(completed(3.0, 4.0, " Three."))
    messages = peer.reached(s_to_samples(9.0))
    assert [kind for kind, _ in told(messages)] == ["failed", "completed"]


def test_at_the_end_open_speech_is_an_item_too() -> None:
    peer, _ = begun()
    peer.render(Update(speech=SpeechEvent(SpeechMoment.STARTED, 0)))
    peer.render(completed(0.0, 1.0, " One."))
    assert told(peer.end(Ending.RESTARTING)) == [
        ("committed", None),
        ("completed", "One."),
    ]
    assert peer.reached(s_to_samples(9.0)) == []
