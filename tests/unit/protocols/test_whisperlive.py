"""The wire format: what each known client sends, what none may send, what we answer."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whisper_live.config.model import SpeechConfig
from whisper_live.errors import HandshakeError
from whisper_live.inference.types import Task, Word
from whisper_live.protocols.languages import LANGUAGES
from whisper_live.protocols.whisperlive import handshake, messages
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.session.options import VadOptions
from whisper_live.session.updates import Dropped, Segment

SPEECH = SpeechConfig(latency="fast")
UID = "4b1c7a30-7a55-4a39-8a35-6f5a3b6f9d10"

# The first five keys are common to every client since 0.4 and both extensions.
FIVE: dict[str, Any] = {
    "uid": UID,
    "language": None,
    "task": "transcribe",
    "model": "small",
    "use_vad": True,
}
TUNING = {
    "send_last_n_segments": 10,
    "no_speech_thresh": 0.45,
    "clip_audio": False,
    "same_output_threshold": 10,
}
OLD_LIMITS = {"max_clients": 4, "max_connection_time": 600}
V0_8 = FIVE | TUNING | {"enable_translation": False, "target_language": "fr"}
V0_9 = V0_8 | {
    "hotwords": None,
    "enable_diarization": False,
    "max_speakers": 10,
    "word_timestamps": False,
}
V0_10 = V0_9 | {"known_speakers": [], "initial_prompt": None, "vad_parameters": None}
CLIENTS = {
    "0.5.1, Chrome, Firefox": FIVE,
    "0.6.3": FIVE | OLD_LIMITS,
    "iOS": FIVE | {"language": "en"} | OLD_LIMITS,
    "0.7.1": FIVE | OLD_LIMITS | TUNING,
    "0.8.0": V0_8,
    "0.9.0": V0_9,
    "0.10.0": V0_10,
    "third party": V0_8 | {"target_language": None, "same_output_threshold": 0.8},
    "0.0.11": {
        "uid": UID,
        "language": "en",
        "task": "transcribe",
        "multilingual": False,
        "model_size": "small",
    },
}


def parse(message: str | bytes, **kwargs: Any) -> ClientOptions:
    return handshake.parse_handshake(message, defaults=SPEECH, **kwargs)


def options(**changes: Any) -> ClientOptions:
    return parse(json.dumps(FIVE | changes))


def refusal(**changes: Any) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        options(**changes)
    return caught.value


# ------------------------------------------------------------------ known clients


@pytest.mark.parametrize("given", CLIENTS.values(), ids=CLIENTS.keys())
def test_every_known_client_gets_the_defaults(given: dict[str, Any]) -> None:
    read = parse(json.dumps(given))
    expected = ClientOptions(
        uid=UID,
        language=given["language"],
        model=given.get("model"),
        same_output_threshold=round(given.get("same_output_threshold", 10)),
    )
    # Computed in floating point; the defaults are written down.
    release = dataclasses.replace(read.vad, release=round(read.vad.release, 9))
    assert dataclasses.replace(read, vad=release) == expected


def test_a_binary_handshake_is_as_good_and_may_begin_with_a_mark() -> None:
    text = json.dumps(FIVE)
    assert parse(text.encode()) == parse(text)
    assert parse(b"\xef\xbb\xbf" + text.encode()) == parse(text)


def test_all_options_together() -> None:
    read = options(
        language="de",
        task="translate",
        use_vad=False,
        audio_format="webm",
        send_last_n_segments=3,
        no_speech_thresh=0.1,
        clip_audio=True,
        same_output_threshold=4,
        initial_prompt="Names: Ada, Grace.",
        hotwords="Whisper",
        word_timestamps=True,
        multilingual=True,
        final_pass=True,
        timings=True,
        turn_events=True,
        room="Hall_2-b",
        vad_parameters={
            "threshold": 0.5,
            "neg_threshold": 0.3,
            "min_speech_duration_ms": 250,
            "min_silence_duration_ms": 800,
            "speech_pad_ms": 400,
            "max_speech_duration_s": 12,
        },
    )
    assert read == ClientOptions(
        uid=UID,
        language="de",
        task=Task.TRANSLATE,
        model="small",
        audio_format="webm",
        use_vad=False,
        vad=VadOptions(
            threshold=0.5,
            release=0.3,
            min_speech_s=0.25,
            hangover_s=0.8,
            preroll_s=0.4,
            max_speech_s=12.0,
        ),
        send_last_n_segments=3,
        no_speech_threshold=0.1,
        same_output_threshold=4,
        clip_audio=True,
        initial_prompt="Names: Ada, Grace.",
        hotwords="Whisper",
        word_timestamps=True,
        multilingual=True,
        final_pass=True,
        timings=True,
        turn_events=True,
        room="Hall_2-b",
    )
    assert read.hello.room == "Hall_2-b"


def test_null_and_the_empty_string_mean_the_default() -> None:
    names = {field.name for field in dataclasses.fields(ClientOptions)}
    wire = names - {"uid", "vad", "no_speech_threshold", "ignored", "task"}
    wire |= {"task", "no_speech_thresh"}
    assert options(**dict.fromkeys(wire)) == options(model=None)
    assert options(**dict.fromkeys(wire, "")) == options(model=None)
    assert options(vad_parameters=None) == options(vad_parameters={}) == options()


def test_unknown_keys_are_passed_over() -> None:
    assert options(colour="blue", nested={"a": [1]}) == options()


# ----------------------------------------------------------------------- leniency


@pytest.mark.parametrize(
    "given, read",
    [("7", 7), (7.0, 7), (" 7.4 ", 7), (0, 500), (-3, 500), (10**400, 500), (1e9, 500)],
)
def test_counts_may_be_any_number_and_are_bounded(given: object, read: int) -> None:
    assert options(send_last_n_segments=given).send_last_n_segments == read


@pytest.mark.parametrize(
    "given, read",
    [("0.1", 0.1), (1, 1.0), (7, 1.0), (-1, 0.0), ("1e400", 1.0), (-(10**400), 0.0)],
)
def test_the_no_speech_threshold_is_a_probability(given: object, read: float) -> None:
    assert options(no_speech_thresh=given).no_speech_threshold == read


@pytest.mark.parametrize("given", [False, 0, 0.0, "false", "False", "0", "off", "no"])
def test_ways_to_say_no(given: object) -> None:
    read = options(use_vad=given)
    assert read.use_vad is False
    assert read.session.vad == dataclasses.replace(read.vad, threshold=0.0, release=0.0)


def test_speech_detection_is_on_unless_it_is_switched_off() -> None:
    read = options()
    assert read.use_vad and read.session.vad == read.vad


@pytest.mark.parametrize("given", [True, 1, 1.0, "true", "TRUE", "1", "on", "yes"])
def test_ways_to_say_yes(given: object) -> None:
    assert options(word_timestamps=given).word_timestamps is True


@pytest.mark.parametrize(
    "given, read",
    [
        ("EN", "en"),
        ("en-US", "en"),
        ("pt_BR", "pt"),
        ("zh-Hant-TW", "zh"),
        (" de ", "de"),
        ("German", "de"),
        ("nb-NO", "no"),
        ("yue", "yue"),
        ("auto", None),
        ("", None),
    ],
)
def test_languages_by_code_tag_or_name(given: str, read: str | None) -> None:
    assert options(language=given).language == read


def test_the_languages_are_those_of_whisper() -> None:
    tokenizer = pytest.importorskip("faster_whisper.tokenizer")
    assert sorted(LANGUAGES) == sorted(tokenizer._LANGUAGE_CODES)


def test_a_model_of_one_language_takes_every_choice_but_leaves_null() -> None:
    def read(language: str | None) -> str | None:
        message = json.dumps(FIVE | {"language": language})
        return parse(message, languages=["en"]).language

    assert read("de") == read("en") == "en"
    assert read(None) is None


def test_a_language_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(HandshakeError, match="does not know the language"):
        parse(json.dumps(FIVE | {"language": "yue"}), languages=["en", "de"])


def test_a_long_prompt_keeps_its_end_and_long_hotwords_their_beginning() -> None:
    read = options(initial_prompt="a" * 9000 + "the end", hotwords="first" + "b" * 9000)
    assert len(read.initial_prompt) == len(read.hotwords) == 4096
    assert read.initial_prompt.endswith("the end")
    assert read.hotwords.startswith("first")
    assert read.shortened == {
        "initial_prompt": (
            "initial_prompt: only the last 4096 of 9007 characters are used"
        ),
        "hotwords": "hotwords: only the first 4096 of 9005 characters are used",
    }
    assert read.ignored == ("initial_prompt", "hotwords")  # which are counted


def test_what_fits_is_not_shortened() -> None:
    read = options(initial_prompt="a" * 4096, hotwords="b" * 4096)
    assert (read.shortened, read.ignored) == ({}, ())


def test_half_of_a_surrogate_pair_becomes_a_question_mark() -> None:
    """JavaScript's slice cuts an emoji so; no tokenizer takes what is left."""
    read = options(initial_prompt="light \ud83d", hotwords="\ude00 door")
    assert (read.initial_prompt, read.hotwords) == ("light ?", "? door")


@pytest.mark.parametrize("name", ["float32", "int16", "uint8", "WEBM", "ogg", "mp4"])
def test_audio_formats(name: str) -> None:
    assert options(audio_format=name).audio_format == name.lower()


# ------------------------------------------------------------------ vad parameters


def test_a_lone_threshold_takes_the_release_with_it() -> None:
    vad = options(vad_parameters={"threshold": 0.7}).vad
    assert (vad.threshold, round(vad.release, 6)) == (0.7, 0.55)
    low = options(vad_parameters={"threshold": 0.1}).vad
    assert (low.threshold, low.release) == (0.1, 0.01)


def test_vad_parameters_are_brought_inside_the_limits() -> None:
    low = options(
        vad_parameters={
            "threshold": 0,
            "neg_threshold": 0.9,
            "min_speech_duration_ms": -1,
            "min_silence_duration_ms": 0,
            "speech_pad_ms": -50,
            "max_speech_duration_s": 0,
        }
    ).vad
    assert low == VadOptions(
        threshold=0.05,
        release=0.05,
        min_speech_s=0,
        hangover_s=0.1,
        preroll_s=0,
        max_speech_s=5.0,
    )
    # JSON has no Infinity, but Python clients send it: it is upstream's default.
    text = json.dumps(
        FIVE | {"vad_parameters": {"max_speech_duration_s": float("inf")}}
    )
    assert "Infinity" in text
    assert parse(text).vad.max_speech_s == 30.0


def test_the_servers_own_settings_are_the_defaults() -> None:
    speech = SpeechConfig(vad_threshold=0.6, vad_release=0.5, hangover_ms=900)
    read = handshake.parse_handshake(json.dumps(FIVE), defaults=speech).vad
    assert (read.threshold, round(read.release, 6), read.hangover_s) == (0.6, 0.5, 0.9)


@pytest.mark.parametrize(
    ("latency", "hangover_s", "early_s", "beams"),
    [("fast", 0.5, 0.3, 1), ("balanced", 1.0, 1.0, 5), ("Accurate", 2.0, 2.0, 5)],
)
def test_a_client_says_how_patient_it_is(
    latency: str, hangover_s: float, early_s: float, beams: int
) -> None:
    read = options(latency=latency)
    assert (read.vad.hangover_s, read.vad.early_s) == (hangover_s, early_s)
    assert read.beam_size == beams
    both = options(latency=latency, vad_parameters={"min_silence_duration_ms": 700})
    assert both.vad.hangover_s == 0.7


def test_the_servers_patience_is_what_its_settings_say() -> None:
    def read(**settings: Any) -> VadOptions:
        message = json.dumps(FIVE)
        return handshake.parse_handshake(message, defaults=SpeechConfig(**settings)).vad

    assert read().hangover_s == 1.0
    assert read(latency="accurate").hangover_s == 2.0
    assert read(latency="fast", hangover_ms=800).hangover_s == 0.8
    assert read(latency="fast", early_endpoint_ms=400).early_s == 0.4


def test_an_unknown_patience_is_refused() -> None:
    assert refusal(latency="eager").kind == "handshake_latency"


def test_unknown_vad_parameters_are_named_not_refused() -> None:
    read = options(vad_parameters={"bogus": 1, "threshold": 0.5, "window": 512})
    assert read.ignored == ("vad_parameters.bogus", "vad_parameters.window")
    many = options(vad_parameters={"x" * 500 + str(i): i for i in range(100)})
    assert len(many.ignored) == 8
    assert max(map(len, many.ignored)) <= 64


def test_what_is_not_built_is_accepted_and_named_only_when_wanted() -> None:
    wanted = options(
        enable_translation=True,
        target_language="fr",
        enable_diarization=1,
        known_speakers=[{"name": "Ada", "audio_base64": ""}],
        hf_token="x",
    )
    assert wanted.ignored == (
        "enable_translation",
        "enable_diarization",
        "known_speakers",
    )


# ----------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "message",
    ["", "hello", "{", b"\x00\x01\x02\x03", b"\xff\xfe", "END_OF_AUDIO", "[" * 60_000]
    + ['{"uid": ' + "9" * 5000 + "}"],
)
def test_not_json(message: str | bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        parse(message)
    assert caught.value.kind == "handshake_json"
    assert caught.value.close_code == 1008
    assert handshake.uid_of(message) == ""


@pytest.mark.parametrize("as_bytes", [False, True])
def test_options_longer_than_any_that_make_sense_are_refused_unread(
    as_bytes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def long(length: int) -> str | bytes:
        text = json.dumps({**FIVE, "initial_prompt": ""})
        text = text.replace('""', '"' + "x" * (length - len(text)) + '"')
        assert len(text) == length
        return text.encode() if as_bytes else text

    assert parse(long(65_536)).initial_prompt == "x" * 4096
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(HandshakeError, match="not be longer than 65536") as caught:
        parse(long(65_537))
    assert caught.value.kind == "handshake_too_long"
    assert handshake.uid_of(long(65_537)) == ""


@pytest.mark.parametrize("message", ["[]", "null", '"x"', "12", "true", "NaN"])
def test_not_an_object(message: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        parse(message)
    assert caught.value.kind == "handshake_object"
    assert handshake.uid_of(message) == ""


def test_missing_keys_are_named_together() -> None:
    with pytest.raises(HandshakeError, match="lack language and task") as caught:
        parse(json.dumps({"uid": UID}))
    assert caught.value.kind == "handshake_missing"
    assert handshake.uid_of(json.dumps({"uid": UID})) == UID


@pytest.mark.parametrize("key", ["uid", "language", "task"])
def test_each_required_key(key: str) -> None:
    message = json.dumps({k: v for k, v in FIVE.items() if k != key})
    with pytest.raises(HandshakeError, match=key):
        parse(message)


DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "key, value, kind, sentence",
    [
        ("task", "sing", "handshake_task", 'task "sing"'),
        ("language", "xx", "handshake_language", 'language "xx"'),
        ("language", "klingon", "handshake_language", "klingon"),
        ("audio_format", "mp3", "handshake_audio_format", "float32, int16"),
        ("uid", 5, "handshake_type", "uid must be a string, not 5"),
        ("uid", None, "handshake_type", "uid must be a string, not null"),
        ("uid", "u" * 257, "handshake_value", "256"),
        ("language", 5, "handshake_type", "language"),
        ("task", ["transcribe"], "handshake_type", "task must be a string, not a list"),
        ("model", {}, "handshake_type", "model must be a string, not an object"),
        ("use_vad", "maybe", "handshake_type", "use_vad must be true or false"),
        ("use_vad", DEEP, "handshake_type", "use_vad"),
        ("use_vad", 2, "handshake_type", "use_vad"),
        ("send_last_n_segments", "ten", "handshake_type", "a number"),
        ("send_last_n_segments", True, "handshake_type", "a number, not true"),
        ("no_speech_thresh", [0.5], "handshake_type", "no_speech_thresh"),
        ("no_speech_thresh", float("nan"), "handshake_type", "NaN"),
        ("no_speech_thresh", "nan", "handshake_type", "a number"),
        ("initial_prompt", 3, "handshake_type", "initial_prompt"),
        ("room", 3, "handshake_type", "room must be a string, not 3"),
        ("room", "two words", "handshake_room", "room must be 1 to 64 letters"),
        ("room", "_", "handshake_room", "the first a letter or a digit"),
        ("hotwords", ["a"], "handshake_type", "hotwords"),
        ("vad_parameters", "on", "handshake_type", "vad_parameters must be an object"),
        (
            "vad_parameters",
            {"threshold": "high"},
            "handshake_type",
            "vad_parameters.thr",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    key: str, value: object, kind: str, sentence: str
) -> None:
    error = refusal(**{key: value})
    assert error.kind == kind
    assert sentence in error.detail
    assert error.detail.endswith(".")
    assert "\n" not in error.detail


def test_a_refusal_quotes_little_of_what_was_sent() -> None:
    assert len(refusal(language="\n" * 100_000 + "x" * 100_000).detail) < 200
    assert len(refusal(use_vad="y" * 100_000).detail) < 200


# Keys that matter, with values of every kind: far more of these reach the inner
# checks than would by chance.
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["en", "transcribe", "webm", "0.5", "true", "Infinity"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5) | st.sampled_from(["threshold"]), inner),
    max_leaves=8,
)
handshakes = st.dictionaries(
    st.sampled_from([*V0_10, "audio_format", "multilingual", "final_pass", "timings"]),
    json_values,
).map(lambda keys: FIVE | keys)


@given(handshakes | json_values)
@example({"uid": "\ud800", "language": "en", "task": "transcribe"})
def test_any_json_is_read_or_refused(content: Any) -> None:
    message = json.dumps(content)
    uid = handshake.uid_of(message)
    try:
        read = parse(message)
    except HandshakeError as error:
        answer = messages.error(uid, error.detail)
    else:
        assert read.uid == uid == content["uid"]
        assert 1 <= read.send_last_n_segments <= handshake.MAX_REPEATED_SEGMENTS
        assert 0 <= read.no_speech_threshold <= 1
        assert 0 < read.vad.release <= read.vad.threshold < 1
        assert read.language is None or read.language in LANGUAGES
        answer = messages.server_ready(read.uid)
    assert json.loads(messages.encode(answer).encode("ascii")) == answer


@given(st.binary() | st.text())
def test_any_bytes_are_read_or_refused(message: str | bytes) -> None:
    with pytest.raises(HandshakeError):
        parse(message)
    assert isinstance(handshake.uid_of(message), str)


# -------------------------------------------------------------------- end of audio


@pytest.mark.parametrize("message", [b"END_OF_AUDIO", "END_OF_AUDIO", "END_OF_AUDIO\n"])
def test_the_end_mark(message: str | bytes) -> None:
    assert messages.is_end_of_audio(message)


@pytest.mark.parametrize(
    "message", [b"", "", b"END_OF_AUDIO\n", b"END_OF_AUDI", b"\0" * 12, "END", "{}"]
)
def test_not_the_end_mark(message: str | bytes) -> None:
    assert not messages.is_end_of_audio(message)


# ------------------------------------------------------------------ messages out


def test_status_messages_are_byte_for_byte_what_clients_look_for() -> None:
    assert [
        messages.encode(message)
        for message in (
            messages.server_ready("U"),
            messages.wait("U", 1.4753809094429016),
            messages.error("U", "No."),
            messages.warning("U", "Hm."),
            messages.language("U", "en", 0.912345),
            messages.disconnect("U"),
        )
    ] == [
        '{"uid":"U","message":"SERVER_READY","backend":"faster_whisper"}',
        '{"uid":"U","status":"WAIT","message":1.4754}',
        '{"uid":"U","status":"ERROR","message":"No."}',
        '{"uid":"U","status":"WARNING","message":"Hm."}',
        '{"uid":"U","language":"en","language_prob":0.9123}',
        '{"uid":"U","message":"DISCONNECT"}',
    ]


def test_segments_with_words_dropped_spans_and_timings() -> None:
    words = (Word(" Hello", 0, 12_800, 0.949999),)
    assert messages.segments(
        'U"',
        [messages.segment(Segment(0, 16_000, " Hello", True, words=words))],
        messages.segment(Segment(16_008, 197_440, " né", False)),
        dropped=[Dropped(160_000, 176_000, "engine_timeout")],
        timings={"queue_s": 0.01},
    ) == (
        '{"uid":"U\\"","segments":['
        '{"start":"0.000","end":"1.000","text":" Hello","completed":true,'
        '"words":[{"word":" Hello","start":"0.000","end":"0.800","probability":0.95}]},'
        '{"start":"1.000","end":"12.340","text":" n\\u00e9","completed":false}],'
        '"dropped":[{"start":"10.000","end":"11.000","reason":"engine_timeout"}],'
        '"timings":{"queue_s":0.01}}'
    )


def test_nothing_to_say_leaves_no_key() -> None:
    shown = messages.segment(Segment(0, 1, " a", True))
    message = json.loads(messages.segments("U", [shown], timings=None))
    assert list(message) == ["uid", "segments"]
    assert list(message["segments"][0]) == ["start", "end", "text", "completed"]


def test_an_empty_list_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        messages.segments("U", [])


@given(st.integers(0, 16_000 * 3600 * 24), st.integers(0, 64))
def test_times_stay_in_order_after_rounding(position: int, step: int) -> None:
    wire = json.loads(messages.segment(Segment(position, position + step, " a", True)))
    assert float(wire["start"]) <= float(wire["end"])
    assert (
        wire["start"].split(".")[1].isdigit() and len(wire["start"].split(".")[1]) == 3
    )
    if step == 0:
        assert wire["start"] == wire["end"]
