"""Wyoming's events both ways, without any socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from whisper_live.audio import PcmFormat
from whisper_live.config.model import Config, EngineConfig, SpeechConfig, WyomingConfig
from whisper_live.errors import HandshakeError, Overloaded, ProtocolError
from whisper_live.protocols.base import Audio, Message
from whisper_live.session.events import EndOfAudio
from whisper_live.session.updates import (
    Dropped,
    Ending,
    Language,
    Segment,
    SpeechEvent,
    SpeechMoment,
    Update,
)

pytest.importorskip("wyoming", reason="pip install '.[wyoming]'")

from wyoming.asr import Transcribe, VadSensitivity  # noqa: E402
from wyoming.event import Event  # noqa: E402
from wyoming.info import Info  # noqa: E402

from whisper_live.protocols.wyoming.events import (  # noqa: E402
    read_event,
    read_header,
    write_event,
)
from whisper_live.protocols.wyoming.info import describe  # noqa: E402
from whisper_live.protocols.wyoming.server import AUDIO_STOP, Wyoming  # noqa: E402

START = b'{"type":"audio-start","data":{"rate":16000,"width":2,"channels":1}}\n'
FORMAT = {"rate": 16000, "width": 2, "channels": 1}


def wire(event: Event) -> bytes:
    return write_event(event).encode()


def chunk(audio: bytes, **data: Any) -> bytes:
    inline = {"type": "audio-chunk", "data": data, "payload_length": len(audio)}
    return json.dumps(inline).encode() + b"\n" + audio


def wyoming(silence_s: float = 0.7, **asked: Any) -> Wyoming:
    """A protocol whose client has sent ``transcribe`` with these fields."""
    message = wire(Event("transcribe", asked)) if asked else None
    return Wyoming(SpeechConfig(), silence_s=silence_s, asked=message)


def told(messages: list[Message]) -> list[tuple[str, dict[str, Any]]]:
    events = [read_event(message.text.encode()) for message in messages]
    return [(event.type, event.data) for event in events]


def segment(text: str, *, completed: bool = True) -> Segment:
    return Segment(0, 16_000, text, completed)


def moment(which: SpeechMoment, **update: Any) -> Update:
    return Update(speech=SpeechEvent(which, 0), **update)


# ----------------------------------------------------------------------------- events


def test_data_comes_in_the_line_or_behind_it_or_both() -> None:
    line = b'{"type":"x","data":{"a":1,"b":1},"data_length":7,"payload_length":2}\n'
    event = read_event(line + b'{"b":2}' + b"\x00\n")
    assert event.data == {"a": 1, "b": 2}
    assert event.payload == b"\x00\n"


def test_an_event_is_written_as_the_package_reads_it() -> None:
    event = Event("transcript", {"text": "Grüße"})
    text = write_event(event)
    line, _, data = text.partition("\n")
    assert json.loads(line) == {"type": "transcript", "data_length": len(data)}
    assert read_event(text.encode()) == event
    assert write_event(Event("transcript-stop")) == '{"type":"transcript-stop"}\n'


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"", "event_json"),
        (b"GET / HTTP/1.1\r", "event_json"),
        (b"\xff\xfe", "event_json"),
        (b"[" * 60_000, "event_json"),
        (b"[]", "event_json"),
        (b"{}", "event_type"),
        (b'{"type":7}', "event_type"),
        (b'{"type":"%s"}' % (b"x" * 65), "event_type"),
        (b'{"type":"x","data":[]}', "event_data"),
        (b'{"type":"x","data_length":-1}', "event_length"),
        (b'{"type":"x","data_length":"1"}', "event_length"),
        (b'{"type":"x","data_length":true}', "event_length"),
        (b'{"type":"x","data_length":65537}', "event_too_long"),
        (b'{"type":"x","payload_length":-5}', "event_length"),
        (b'{"type":"x","payload_length":1.5}', "event_length"),
        (b'{"type":"x","payload_length":[]}', "event_length"),
    ],
)
def test_a_line_that_is_none_is_refused(line: bytes, kind: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_header(line)
    assert caught.value.kind == kind


def test_data_that_is_no_object_is_refused() -> None:
    for data in (b"[]", b"{,}", b"\xff\xff"):
        with pytest.raises(ProtocolError):
            read_event(b'{"type":"x","data_length":%d}\n' % len(data) + data)


# ------------------------------------------------------------------------------ hello


def test_an_utterance_without_wishes() -> None:
    hello = wyoming().read_hello(START)
    assert hello.audio_format == PcmFormat(16_000, 2, 1)
    assert hello.model is None
    assert hello.options.language is None
    assert hello.options.hotwords == ""
    assert hello.options.vad.hangover_s == hello.options.vad.early_s == 0.7
    assert hello.ignored == ()


def test_the_wishes_of_transcribe() -> None:
    asked = Transcribe(
        name="medium",
        language="de-DE",
        vad_sensitivity=VadSensitivity.RELAXED,
        transcript_names=["Wohnzimmer", "Küche"],
        transcript_terms=["dimmen", "Küche"],
    )
    protocol = Wyoming(SpeechConfig(), silence_s=0.7, asked=wire(asked.event()))
    hello = protocol.read_hello(START)
    assert hello.model == "medium"
    assert hello.options.language == "de"
    assert hello.options.hotwords == "Wohnzimmer, Küche, dimmen"
    assert hello.options.vad.hangover_s == 1.25


@pytest.mark.parametrize(
    ("sensitivity", "silence_s"),
    [("aggressive", 0.25), ("default", 0.7), ("", 0.7), (None, 0.7), ("new", 0.7)],
)
def test_how_long_a_silence_ends_it(sensitivity: str | None, silence_s: float) -> None:
    hello = wyoming(language="en", vad_sensitivity=sensitivity).read_hello(START)
    assert hello.options.vad.hangover_s == silence_s


def test_a_client_that_ends_the_audio_itself_chooses_no_silence() -> None:
    hello = wyoming(0.0, vad_sensitivity="aggressive").read_hello(START)
    assert hello.options.vad.hangover_s == 1.0


def test_names_go_before_terms_and_only_whole_ones() -> None:
    names = [f"lamp {number:03}" for number in range(100)]
    hello = wyoming(transcript_terms=["a term"], transcript_names=names).read_hello(
        START
    )
    kept = hello.options.hotwords.split(", ")
    assert kept == names[: len(kept)]
    assert 300 < len(hello.options.hotwords) <= 384
    assert hello.ignored == ("transcript_terms",)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"language": "klingon"}, "handshake_language"),
        ({"language": ["en"]}, "handshake_type"),
        ({"name": {}}, "handshake_type"),
        ({"vad_sensitivity": 3}, "handshake_type"),
        ({"transcript_names": "Anna"}, "handshake_type"),
        ({"transcript_terms": [["x"]]}, "handshake_type"),
    ],
)
def test_wishes_of_a_wrong_type_are_refused(asked: dict[str, Any], kind: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        wyoming(**asked).read_hello(START)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"rate": 16000},
        {**FORMAT, "rate": "16000"},
        {**FORMAT, "rate": 7999},
        {**FORMAT, "rate": 10**400},
        {**FORMAT, "width": 0},
        {**FORMAT, "width": 5},
        {**FORMAT, "width": True},
        {**FORMAT, "channels": -1},
        {**FORMAT, "channels": 33},
        {**FORMAT, "channels": None},
    ],
)
def test_audio_that_cannot_be_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(HandshakeError) as caught:
        wyoming().read_hello(wire(Event("audio-start", data)))
    assert caught.value.kind == "audio_format"


def test_what_is_read_of_a_hello_raises_nothing_else() -> None:
    for message in (AUDIO_STOP, b'{"type":"audio-start","data_length":2}\n[]'):
        with pytest.raises(HandshakeError):
            wyoming().read_hello(message)


# ------------------------------------------------------------------------------ audio


def test_audio_and_its_end() -> None:
    protocol = wyoming()
    protocol.read_hello(START)
    assert protocol.read(chunk(bytes(3200), **FORMAT)) == Audio(bytes(3200))
    assert protocol.read(chunk(bytes(3200))) == Audio(bytes(3200))
    assert protocol.read(chunk(b"", **FORMAT)) == Audio(b"")
    assert protocol.audio_s == pytest.approx(0.2)
    assert protocol.read(AUDIO_STOP) == EndOfAudio()


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (START, "event_order"),
        (chunk(b"ab", **{**FORMAT, "rate": 44100}), "audio_format"),
        (chunk(b"ab", rate=16000), "audio_format"),
        (chunk(b"ab", rate="x", width=2, channels=1), "audio_format"),
    ],
)
def test_what_has_no_place_in_audio(message: bytes, kind: str) -> None:
    protocol = wyoming()
    protocol.read_hello(START)
    with pytest.raises(ProtocolError) as caught:
        protocol.read(message)
    assert caught.value.kind == kind


# ------------------------------------------------------------------- what it is told


def test_chunks_put_together_are_the_transcript() -> None:
    protocol = wyoming(language="en")
    protocol.read_hello(START)
    assert protocol.ready() == []
    assert told(protocol.render(Update(completed=(segment(" Turn on"),)))) == [
        ("transcript-start", {"language": "en"}),
        ("transcript-chunk", {"text": "Turn on"}),
    ]
    rest = Update(completed=(segment(" the"), segment(" light.")))
    assert told(protocol.render(rest)) == [
        ("transcript-chunk", {"text": " the light."})
    ]
    assert told(protocol.end(Ending.FINISHED)) == [
        ("transcript", {"text": "Turn on the light.", "language": "en"}),
        ("transcript-stop", {}),
    ]
    assert protocol.close(Ending.FINISHED).code == 1000


def test_what_may_still_change_is_not_told() -> None:
    protocol = wyoming()
    interim = segment(" Turn off", completed=False)
    assert protocol.render(Update(interim=interim)) == []


def test_silence_has_an_empty_transcript() -> None:
    assert told(wyoming().end(Ending.FINISHED)) == [
        ("transcript-start", {}),
        ("transcript", {"text": ""}),
        ("transcript-stop", {}),
    ]


def test_a_detected_language_is_told() -> None:
    protocol = wyoming()
    protocol.render(Update(language=Language("fr", 0.9)))
    assert told(protocol.end(Ending.FINISHED))[1] == (
        "transcript",
        {"text": "", "language": "fr"},
    )


def test_speech_that_was_lost_is_an_error_and_no_silence() -> None:
    protocol = wyoming()
    protocol.render(Update(dropped=(Dropped(0, 9, "engine_timeout"),)))
    [(name, data)] = told(protocol.end(Ending.FINISHED))
    assert (name, data["code"]) == ("error", "engine_timeout")
    assert protocol.close(Ending.FINISHED).code == 1011


def test_what_was_heard_before_a_loss_is_told() -> None:
    protocol = wyoming()
    protocol.render(Update(completed=(segment(" Yes."),)))
    protocol.render(Update(dropped=(Dropped(0, 9, "unread"),)))
    assert told(protocol.end(Ending.FINISHED))[0] == ("transcript", {"text": "Yes."})


def test_a_refusal_says_when_to_come_back() -> None:
    full = Overloaded("all sessions are taken", wait_minutes=2.0, kind="capacity")
    [(name, data)] = told(wyoming().complain(full))
    assert name == "error"
    assert data == {
        "text": "all sessions are taken; come back in 2.0 minutes",
        "code": "capacity",
    }


# ---------------------------------------------------------------- where it is over

HEARD = segment(" Stop.", completed=False)


def test_a_silence_after_words_ends_it() -> None:
    calls: list[bool] = []
    protocol = Wyoming(
        SpeechConfig(), silence_s=0.7, over=lambda: calls.append(protocol.is_over)
    )
    protocol.render(moment(SpeechMoment.STARTED))
    protocol.render(moment(SpeechMoment.STOPPED, interim=HEARD))
    assert calls == []
    protocol.render(moment(SpeechMoment.TURN_ENDED, interim=HEARD))
    assert calls == [True]


def test_a_noise_without_words_does_not() -> None:
    protocol = wyoming()
    protocol.render(moment(SpeechMoment.STARTED))
    protocol.render(moment(SpeechMoment.TURN_ENDED))
    assert not protocol.is_over


def test_words_that_come_late_end_it_when_they_come() -> None:
    protocol = wyoming()
    protocol.render(moment(SpeechMoment.TURN_ENDED))
    protocol.render(Update(completed=(segment(" Stop."),)))
    assert protocol.is_over


def test_whoever_goes_on_speaking_is_heard() -> None:
    protocol = wyoming()
    protocol.render(moment(SpeechMoment.TURN_ENDED))
    protocol.render(moment(SpeechMoment.STARTED))
    protocol.render(Update(completed=(segment(" Stop."),)))
    assert not protocol.is_over


def test_without_a_silence_only_the_client_ends_it() -> None:
    protocol = wyoming(0.0)
    protocol.render(moment(SpeechMoment.TURN_ENDED, interim=HEARD))
    assert not protocol.is_over


# --------------------------------------------------------------------- what it is


def info(config: Config, languages: tuple[str, ...] | None) -> Info:
    return Info.from_event(read_event(describe(config, "1.0", languages).encode()))


def test_the_models_and_their_languages() -> None:
    config = Config(engine=EngineConfig(model="small", models="tiny.en"))
    [program] = info(config, ("de", "en")).asr
    assert program.installed
    assert program.supports_transcript_streaming
    assert not program.requires_external_vad
    assert [(m.name, m.languages, m.installed) for m in program.models[:1]] == [
        ("small", ["de", "en"], True)
    ]
    assert program.models[1].languages == ["en"]


def test_a_language_that_has_a_model_of_its_own_is_offered() -> None:
    engine = EngineConfig(model="tiny.en", model_for_language="de=base,fr=base,en=x")
    [program] = info(Config(engine=engine), ("en",)).asr
    assert [(model.name, model.languages) for model in program.models] == [
        *(("tiny.en", ["en"]), ("base", ["de", "fr"]), ("x", ["en"]))
    ]


def test_before_a_model_is_loaded_its_name_tells_its_languages() -> None:
    [program] = info(Config(engine=EngineConfig(model="tiny.en")), None).asr
    assert program.models[0].languages == ["en"]
    [program] = info(Config(engine=EngineConfig(model="small")), None).asr
    assert len(program.models[0].languages) == 100


def test_a_path_is_not_told() -> None:
    config = Config(engine=EngineConfig(model="/srv/models/mine"))
    assert info(config, ("en",)).asr[0].models[0].name == "mine"


def test_a_client_that_is_to_end_the_audio_is_told_so() -> None:
    config = Config(wyoming=WyomingConfig(wyoming_silence_ms=0.0))
    assert info(config, None).asr[0].requires_external_vad
