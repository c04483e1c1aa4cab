"""What a client is shown, message by message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from whisper_live.audio import s_to_samples
from whisper_live.config.model import SpeechConfig
from whisper_live.errors import HandshakeError, Overloaded, ProtocolError
from whisper_live.inference.types import Word
from whisper_live.protocols.base import Audio, Close, Message, Position, Silence
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.protocols.whisperlive.server import WhisperLive
from whisper_live.session.events import Configure, EndOfAudio, Flush
from whisper_live.session.transcript import Transcript
from whisper_live.session.updates import (
    Dropped,
    Ending,
    Language,
    Segment,
    SpeechEvent,
    SpeechMoment,
    Timings,
    Update,
)

S = 16_000
TEN_MS = 160


def done(start: float, end: float, text: str, *words: Word) -> Segment:
    return Segment(round(start * S), round(end * S), text, True, words)


Snapshot = tuple[Segment, ...]


def texts(snapshot: Snapshot | None) -> list[str]:
    """Completed texts, the partial's in brackets."""
    assert snapshot is not None
    return [s.text if s.completed else f"[{s.text}]" for s in snapshot]


def wire(**options: Any) -> WhisperLive:
    return WhisperLive(SpeechConfig(), options=ClientOptions("u", **options))


class Told:
    """A transcript and the client that is told of it, as a session does."""

    def __init__(self, *, send_last: int = 10) -> None:
        self._transcript = Transcript()
        self._wire = wire(send_last_n_segments=send_last)

    @property
    def end(self) -> int:
        return self._transcript.end

    @property
    def context(self) -> str:
        return self._transcript.context

    def show(self, start: int, end: int, text: str) -> Snapshot | None:
        if not self._transcript.show(start, end, text):
            return None
        (shown,) = self._render(())
        return shown

    def commit(
        self,
        segments: Sequence[Segment],
        *,
        until: int,
        partial: str = "",
        heard_to: int = 0,
    ) -> list[Snapshot]:
        completed = self._transcript.commit(
            segments, until=until, interim=partial, heard_to=heard_to
        )
        return self._render(completed)

    def fail(self) -> None:
        self._transcript.forget_interim()
        assert self._render((), dropped=(Dropped(0, 1, "engine_timeout"),)) == []

    def check(self, *, received: int) -> None:
        self._transcript.check(received=received)

    def _render(
        self, completed: tuple[Segment, ...], dropped: tuple[Dropped, ...] = ()
    ) -> list[Snapshot]:
        interim = self._transcript.interim
        return [
            tuple(map(read, json.loads(message.text)["segments"]))
            for message in self._wire.render(
                Update(completed=completed, interim=interim, dropped=dropped)
            )
        ]


def read(segment: dict[str, Any]) -> Segment:
    words = tuple(
        Word(w["word"], at(w["start"]), at(w["end"]), w["probability"])
        for w in segment.get("words", ())
    )
    start, end = at(segment["start"]), at(segment["end"])
    return Segment(start, end, segment["text"], segment["completed"], words)


def at(seconds: str) -> int:
    return s_to_samples(float(seconds))


def transcript(*completed: Segment, send_last: int = 10) -> Told:
    one = Told(send_last=send_last)
    for segment in completed:
        one.commit([segment], until=segment.end)
    return one


def test_a_partial_is_shown_once_and_keeps_its_start() -> None:
    one = Told(send_last=10)
    first = one.show(S, 2 * S, " a")
    assert first == (Segment(S, 2 * S, " a", False),)
    assert one.show(S, 3 * S, " a") is None
    later = one.show(2 * S, 4 * S, " a b")
    assert later == (Segment(S, 4 * S, " a b", False),)
    assert one.show(S, 5 * S, "  ") is None


def test_the_completed_segment_takes_its_partials_start() -> None:
    one = Told(send_last=10)
    one.show(S, 2 * S, " a")
    (shown,) = one.commit([done(0.5, 1.8, " a")], until=2 * S)
    assert shown == (done(1.0, 1.8, " a"),)
    assert one.end == round(1.8 * S) and one.context == " a"


def test_the_last_text_is_shown_as_a_partial_before_it_is_completed() -> None:
    one = Told(send_last=10)
    one.show(0, S, " a")
    snapshots = one.commit([done(0, 1, " a b"), done(1, 2, " c")], until=2 * S)
    assert [texts(s) for s in snapshots] == [[" a b", "[ c]"], [" a b", " c"]]
    assert snapshots[0][1].start == snapshots[1][1].start
    again = one.commit([done(3, 4, " d")], until=4 * S)
    assert [texts(s)[-1] for s in again] == ["[ d]", " d"]


def test_a_partial_of_the_same_text_needs_no_preview() -> None:
    one = Told(send_last=10)
    one.show(0, S, " a")
    assert len(one.commit([done(0, 1, " a")], until=S)) == 1


def test_the_same_text_of_an_earlier_window_is_no_preview() -> None:
    one = transcript(done(0, 1, " a"))
    one.show(2 * S, 3 * S, " b")
    one.fail()
    assert len(one.commit([done(4, 5, " b")], until=5 * S)) == 2


def test_a_rest_stays_open_behind_a_cut() -> None:
    one = Told(send_last=10)
    one.show(0, 8 * S, " a b")
    (shown,) = one.commit([done(0, 5, " a")], until=6 * S, partial=" b", heard_to=8 * S)
    assert shown == (done(0, 5, " a"), Segment(6 * S, 8 * S, " b", False))
    assert texts(one.show(7 * S, 9 * S, " b c")) == [" a", "[ b c]"]


def test_a_partial_that_came_to_nothing_is_taken_back() -> None:
    one = transcript(done(0, 1, " a"))
    one.show(2 * S, 3 * S, " hm")
    assert [texts(s) for s in one.commit([], until=3 * S)] == [[" a"]]
    assert one.commit([], until=4 * S) == []


def test_with_nothing_completed_there_is_nothing_to_take_it_back_with() -> None:
    one = Told(send_last=10)
    one.show(0, S, " hm")
    assert one.commit([done(0, 1, " ")], until=S) == []
    assert texts(one.show(2 * S, 3 * S, " a")) == ["[ a]"]


def test_segments_are_brought_into_order_and_inside_the_window() -> None:
    one = transcript(done(0, 2, " a"))
    _, shown = one.commit(
        [done(1, 3, " b"), done(2.5, 2.6, " c"), done(9, 12, " d")], until=5 * S
    )
    spans = [(s.start, s.end) for s in shown]
    assert spans == [
        (0, 2 * S),
        (2 * S, 3 * S),
        (3 * S, 3 * S + TEN_MS),
        (5 * S - TEN_MS, 5 * S),
    ]


def test_what_finds_no_room_joins_the_segment_before() -> None:
    one = Told(send_last=10)
    word = Word(" c", 9 * S, 10 * S, 0.5)
    snapshots = one.commit(
        [done(0, 5, " a"), done(5, 5, " b"), done(9, 10, " c", word)], until=5 * S
    )
    assert snapshots[-1] == (
        done(0, 5, " a b c", Word(" c", 5 * S, 5 * S, 0.5)),
    ), "words stay inside their segment, too"


def test_words_are_clipped_to_their_segment() -> None:
    words = (Word(" a", 0, S, 1.0), Word(" b", S, 3 * S, 1.0))
    _, shown = Told(send_last=10).commit([done(0.5, 2, " a b", *words)], until=2 * S)
    assert [(w.start, w.end) for w in shown[0].words] == [(S // 2, S), (S, 2 * S)]


def test_only_the_newest_are_repeated_but_each_is_seen_once() -> None:
    one = transcript(done(0, 1, " a"), done(1, 2, " b"), send_last=1)
    assert texts(one.show(2 * S, 3 * S, " c")) == [" b", "[ c]"]
    snapshots = one.commit(
        [done(2, 3, " c"), done(3, 4, " d"), done(4, 5, " e")],
        until=6 * S,
        partial=" f",
        heard_to=6 * S,
    )
    assert [texts(s) for s in snapshots] == [[" c", " d", " e", "[ f]"]]
    assert texts(one.commit([done(6, 7, " f")], until=7 * S)[-1]) == [" f"]


def test_all_means_a_bounded_many() -> None:
    one = Told(send_last=0)
    for n in range(600):
        shown = one.commit([done(n, n + 1, f" {n}")], until=(n + 1) * S)
    assert len(shown[-1]) == 500
    assert one.context.endswith(" 598 599") and len(one.context) == 1000


def test_a_message_does_not_grow_with_hours_of_words() -> None:
    one = wire(send_last_n_segments=0, word_timestamps=True)
    longest, seen = 0, 0
    for n in range(3 * 1200):  # a segment every three seconds
        words = [Word(f" w{n}.{k}", 0, 1, 0.5) for k in range(10)]
        text = "".join(word.text for word in words)
        told = one.render(Update(completed=(done(3 * n, 3 * n + 3, text, *words),)))
        longest = max([longest, *(len(message.text) for message in told)])
        last = json.loads(told[-1].text)["segments"][-1]
        seen += last["text"] == text and last["completed"] and len(last["words"]) == 10
    assert seen == 3600
    assert 120_000 < longest < 135_000  # the newest, and as many as fit


def test_new_segments_are_seen_once_however_long_they_are() -> None:
    one = wire(send_last_n_segments=1)
    long = [done(n, n + 1, f" {n}" + "x" * 50_000) for n in range(5)]
    *_, last = one.render(Update(completed=tuple(long)))
    assert [s["text"][:2] for s in json.loads(last.text)["segments"]][-1] == " 4"
    *_, last = one.render(Update(completed=(done(5, 6, " 5"),)))
    assert [s["text"] for s in json.loads(last.text)["segments"]] == [" 5"]


def test_a_partial_at_the_very_end_of_the_audio() -> None:
    one = transcript(done(0, 1, " a"))
    shown = one.show(4 * S, 3 * S, " b")
    assert shown is not None and shown[-1] == Segment(
        3 * S - TEN_MS, 3 * S, " b", False
    )
    one.check(received=3 * S)


# --------------------------------------------------------------- what else is told


def said(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.text) for message in messages]


def interim(start: int, end: int, text: str) -> Segment:
    return Segment(start * S, end * S, text, False)


def test_ready_and_the_language_come_before_segments() -> None:
    one = wire()
    assert said(one.ready())[0]["message"] == "SERVER_READY"
    (told,) = said(one.render(Update(language=Language("de", 0.5))))
    assert told == {"uid": "u", "language": "de", "language_prob": 0.5}


def test_moments_of_speech_are_told_to_clients_that_asked_for_them() -> None:
    started = Update(speech=SpeechEvent(SpeechMoment.STARTED, S // 4))
    over = Update(
        interim=interim(0, 1, " hm"),
        speech=SpeechEvent(SpeechMoment.TURN_PROBABLY_OVER, S),
    )
    assert wire().render(started) == []
    assert len(wire().render(over)) == 1
    one = wire(turn_events=True)
    (told,) = one.render(started)
    assert not told.replaceable
    assert said([told]) == [{"uid": "u", "turn_event": "started", "at": 0.25}]
    text, event = said(one.render(over))
    assert text["segments"][0]["text"] == " hm"
    assert event == {"uid": "u", "turn_event": "turn_probably_over", "at": 1.0}


def test_partials_may_be_replaced_and_completed_ones_not() -> None:
    one = wire()
    (shown,) = one.render(Update(interim=interim(0, 1, " hm")))
    assert shown.replaceable and said([shown])[0]["segments"][0]["text"] == " hm"
    assert one.render(Update(interim=interim(0, 2, " hm"))) == []
    told = one.render(Update(completed=(done(0, 2, " a"),)))
    assert [message.replaceable for message in told] == [False, False]


def test_dropped_spans_are_told_once_with_the_next_segments() -> None:
    one = wire()
    for start, end, reason in (
        (0, 1, "engine_timeout"),
        (1, 2, "engine_timeout"),
        (3, 4, "engine_timeout"),
        (4, 5, "closing"),
    ):
        assert one.render(Update(dropped=(Dropped(start * S, end * S, reason),))) == []
    (shown,) = one.render(Update(interim=interim(5, 6, " a")))
    spans = [(d["start"], d["end"], d["reason"]) for d in said([shown])[0]["dropped"]]
    assert spans == [
        ("0.000", "2.000", "engine_timeout"),
        ("3.000", "4.000", "engine_timeout"),
        ("4.000", "5.000", "closing"),
    ]
    assert not shown.replaceable, "what was dropped must get through"
    assert "dropped" not in said(one.render(Update(interim=interim(5, 6, " b"))))[0]


def test_a_failed_window_leaves_its_partial_on_the_screen() -> None:
    one = wire()
    one.render(Update(interim=interim(0, 1, " a")))
    assert one.render(Update(dropped=(Dropped(0, S, "window_rejected"),))) == []
    (shown,) = said(one.render(Update(interim=interim(3, 4, " b"))))
    assert shown["segments"][0]["start"] == "3.000"
    assert shown["dropped"][0]["reason"] == "window_rejected"


def test_the_end_without_losses_says_nothing() -> None:
    assert wire().end(Ending.FINISHED) == []
    assert wire().close(Ending.FINISHED) == Close(1000)
    assert wire().close(Ending.RESTARTING) == Close(1012, "service restart")


def test_losses_at_the_end_come_with_the_completed_segments() -> None:
    one = wire()
    one.render(Update(completed=(done(0, 1, " a"),)))
    one.render(Update(interim=interim(2, 3, " hm")))
    one.render(Update(dropped=(Dropped(2 * S, 3 * S, "engine_timeout"),)))
    (last,) = said(one.end(Ending.FINISHED))
    assert [s["text"] for s in last["segments"]] == [" a"]
    assert last["dropped"][0]["start"] == "2.000"


def test_losses_without_any_text_are_a_warning() -> None:
    one = wire()
    one.render(Update(interim=interim(0, 1, " hm")))
    one.render(Update(dropped=(Dropped(0, 2 * S, "engine_timeout"),)))
    one.render(Update(dropped=(Dropped(3 * S, 4 * S, "closing"),)))
    (last,) = said(one.end(Ending.FINISHED))
    assert last["status"] == "WARNING"
    assert last["message"].startswith("3.0 s of speech")


def test_over_time_ends_with_disconnect_and_holds_the_socket() -> None:
    assert [m["message"] for m in said(wire().end(Ending.OVER_TIME))] == ["DISCONNECT"]
    assert wire().close(Ending.OVER_TIME) == Close(1000, hold_s=20.0)


def test_timings_only_for_those_who_asked() -> None:
    timings = Timings(0.002, 0.001, 0.05, 0.25, 3, emit_s=0.004)
    update = Update(completed=(done(0, 1, " a"),), timings=timings)
    assert "timings" not in said(wire().render(update))[-1]
    assert said(wire(timings=True).render(update))[-1]["timings"] == {
        "decode_ms": 2.0,
        "vad_ms": 1.0,
        "queue_ms": 50.0,
        "infer_ms": 250.0,
        "emit_ms": 4.0,
        "batch_size": 3,
    }


def test_a_refusal_echoes_the_uid_that_was_understood() -> None:
    one = WhisperLive(SpeechConfig())
    with pytest.raises(HandshakeError) as caught:
        one.read_hello('{"uid": "me"}')
    assert said(one.complain(caught.value)) == [
        {"uid": "me", "status": "ERROR", "message": str(caught.value)}
    ]
    full = Overloaded("full", wait_minutes=1.5)
    assert said(one.complain(full)) == [{"uid": "me", "status": "WAIT", "message": 1.5}]


@pytest.mark.parametrize("change", [{}, {"task": "dance"}, {"language": ["en"]}])
def test_a_first_message_is_parsed_once_whatever_comes_of_it(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    parse = json.loads

    def loads(text: str) -> Any:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(json, "loads", loads)
    one, message = WhisperLive(SpeechConfig()), json.dumps({**HELLO, **change})
    try:
        one.read_hello(message)
    except HandshakeError as error:
        one.complain(error)
    assert parsed == [message]


def test_later_messages_are_audio_the_end_or_a_flush() -> None:
    one = wire()
    assert one.read(b"\0\0") == Audio(b"\0\0")
    assert one.read("END_OF_AUDIO") == one.read(b"END_OF_AUDIO") == EndOfAudio()
    assert one.read('{"type": "flush"}') == Flush()
    assert one.read('{"type": "silence", "seconds": 1.5}') == Silence(24_000)
    for nonsense in ("{}", "hello", '{"type": "dance"}', "[1]"):
        with pytest.raises(ProtocolError, match="binary"):
            one.read(nonsense)
    with pytest.raises(ProtocolError, match="not be longer than 65536"):
        one.read('{"type": "flush"}' + " " * 65_536)


@pytest.mark.parametrize(
    "seconds", ["0", "-1", "30.1", "1e400", "NaN", '"a while"', "[1]", "true", "null"]
)
def test_silence_of_no_use_is_refused(seconds: str) -> None:
    with pytest.raises(ProtocolError, match="seconds") as caught:
        wire().read(f'{{"type": "silence", "seconds": {seconds}}}')
    assert caught.value.kind == "silence"


HELLO = {"uid": "u", "language": "en", "task": "transcribe", "hotwords": "Ada"}


def test_options_can_be_changed_in_mid_stream() -> None:
    one = WhisperLive(SpeechConfig())
    hello = one.read_hello(json.dumps(HELLO))
    change = {"type": "configure", "language": "de", "uid": "other", "colour": 1}
    said = one.read(json.dumps(change))
    assert said == Configure(replace(hello.options, language="de"))
    vad = {"min_silence_duration_ms": 900}
    later = one.read(json.dumps({"type": "configure", "vad_parameters": vad}))
    assert isinstance(later, Configure), "earlier changes stay"
    assert (later.options.language, later.options.hotwords) == ("de", "Ada")
    assert later.options.vad.hangover_s == 0.9


def test_a_client_is_told_what_does_not_fit() -> None:
    one = WhisperLive(SpeechConfig())
    one.read_hello(json.dumps(HELLO | {"hotwords": "Ada, " * 1000}))
    warned = "hotwords: only the first 4096 of 5000 characters are used"
    assert [json.loads(message.text) for message in one.ready()] == [
        {"uid": "u", "message": "SERVER_READY", "backend": "faster_whisper"},
        {"uid": "u", "status": "WARNING", "message": warned},
    ]
    one.read(json.dumps({"type": "configure", "language": "de"}))
    assert one.render(Update()) == []  # it has been told
    one.read(json.dumps({"type": "configure", "initial_prompt": "x" * 4097}))
    assert [
        json.loads(message.text)["message"] for message in one.render(Update())
    ] == ["initial_prompt: only the last 4096 of 4097 characters are used"]


@pytest.mark.parametrize("change", [{"language": "xx"}, {"vad_parameters": 3}])
def test_nonsense_changes_nothing_and_is_named(change: dict[str, Any]) -> None:
    one = WhisperLive(SpeechConfig())
    hello = one.read_hello(json.dumps(HELLO))
    with pytest.raises(ProtocolError) as caught:
        one.read(json.dumps({"type": "configure", **change}))
    assert caught.value.kind == "configure" and next(iter(change)) in str(caught.value)
    assert one.read(json.dumps({"type": "configure"})) == Configure(hello.options)


# ------------------------------------------------------------------------- resuming


def resumable(**options: Any) -> WhisperLive:
    one = wire(**options)
    one.offer("secret", 60.0)
    return one


def test_a_session_that_can_be_resumed_is_offered_it() -> None:
    (ready,) = resumable().ready()
    assert json.loads(ready.text) == {
        "uid": "u",
        "message": "SERVER_READY",
        "backend": "faster_whisper",
        "resume_token": "secret",
        "resume_s": 60.0,
    }


def test_a_number_and_positions_go_into_any_message() -> None:
    one = resumable()
    text = one.numbered(one.acknowledgement().text, 7, 1024, 512)
    assert text == '{"uid":"u","seq":7,"received":1024,"decided":512}'


def test_a_snapshot_has_what_messages_repeat_no_more() -> None:
    one = resumable(send_last_n_segments=1)
    assert one.snapshot() is None
    for at in range(3):
        one.render(Update(completed=(done(at, at + 1, f" w{at}"),)))
    one.render(Update(interim=replace(done(3, 4, " w3"), completed=False)))
    shown = one.snapshot()
    assert shown is not None
    segments = json.loads(shown.text)["segments"]
    assert [s["text"] for s in segments] == [" w0", " w1", " w2", " w3"]
    assert [s["completed"] for s in segments] == [True, True, True, False]


def test_a_snapshot_has_the_newest_500_segments() -> None:
    one = resumable()
    for at in range(510):
        one.render(Update(completed=(done(at, at + 1, f" w{at}"),)))
    shown = one.snapshot()
    assert shown is not None
    segments = json.loads(shown.text)["segments"]
    assert [s["text"] for s in segments] == [f" w{at}" for at in range(10, 510)]


@pytest.mark.parametrize("at", ["-1", '"1"', "null", "true", "1e30", "[]"])
def test_a_position_that_makes_no_sense(at: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        resumable().read(f'{{"type": "position", "at": {at}}}')
    assert caught.value.kind == "position"


def test_a_position_is_nothing_to_who_cannot_resume() -> None:
    message = '{"type": "position", "at": 512}'
    assert resumable().read(message) == Position(512)
    with pytest.raises(ProtocolError) as caught:
        wire().read(message)
    assert caught.value.kind == "text_message"
