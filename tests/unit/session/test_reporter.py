"""What one client is told."""

from __future__ import annotations

from typing import Any

import numpy as np

from whisper_live.inference.types import Timing, Word
from whisper_live.session.events import ClientOptions, Frames, Segment, Send
from whisper_live.session.reporter import Reporter
from whisper_live.session.stats import SessionStats

S = 16_000


def reporter(**options: Any) -> Reporter:
    return Reporter(ClientOptions(uid="u", **options), SessionStats())


def commit(one: Reporter, *done: Segment, partial: str = "") -> list[Send]:
    end = done[-1].end
    return one.commit(done, until=end, heard_to=end, received=end + S, partial=partial)


def done(start: int, end: int, text: str, *words: Word) -> Segment:
    return Segment(start * S, end * S, text, True, words)


def test_status_messages() -> None:
    one = reporter()
    assert one.ready().message["message"] == "SERVER_READY"
    assert one.language("de", 0.5).message["language"] == "de"


def test_partials_may_be_replaced_and_completed_ones_not() -> None:
    stats = SessionStats()
    one = Reporter(ClientOptions(uid="u"), stats)
    (shown,) = one.show(0, S, "hm", received=3 * S)
    assert shown.replaceable
    assert shown.message["segments"][0]["text"] == " hm"
    assert one.show(0, S, "hm", received=3 * S) == []
    assert [send.replaceable for send in commit(one, done(0, 2, " a"))] == [False] * 2
    assert list(stats.lags) == [2 * S, S, S]


def test_a_dropped_span_is_told_once_with_the_next_segments() -> None:
    stats = SessionStats()
    one = Reporter(ClientOptions(uid="u"), stats)
    one.drop(0, S, "engine_timeout")
    one.drop(S, 2 * S, "engine_timeout")
    one.drop(3 * S, 4 * S, "engine_timeout")
    one.drop(4 * S, 5 * S, "closing")
    (shown,) = one.show(5 * S, 6 * S, "a", received=6 * S)
    spans = [(d["start"], d["end"], d["reason"]) for d in shown.message["dropped"]]
    assert spans == [
        ("0.000", "2.000", "engine_timeout"),
        ("3.000", "4.000", "engine_timeout"),
        ("4.000", "5.000", "closing"),
    ]
    assert not shown.replaceable, "what was dropped must get through"
    assert "dropped" not in one.show(5 * S, 6 * S, "b", received=6 * S)[0].message
    assert stats.dropped == {"engine_timeout": 3 * S, "closing": S}


def test_a_failed_window_gives_up_its_partial() -> None:
    one = reporter()
    one.show(0, S, "a", received=S)
    one.fail(0, 2 * S, "window_rejected")
    (shown,) = one.show(3 * S, 4 * S, "b", received=4 * S)
    assert shown.message["segments"][0]["start"] == "3.000"
    assert shown.message["dropped"][0]["reason"] == "window_rejected"


def test_the_end_without_losses_says_nothing() -> None:
    assert reporter().finish(over_time=False) == []


def test_losses_at_the_end_come_with_the_completed_segments() -> None:
    one = reporter()
    commit(one, done(0, 1, " a"))
    one.show(2 * S, 3 * S, " hm", received=3 * S)
    one.fail(2 * S, 3 * S, "engine_timeout")
    (last,) = one.finish(over_time=False)
    assert [s["text"] for s in last.message["segments"]] == [" a"]
    assert last.message["dropped"][0]["start"] == "2.000"


def test_losses_without_any_text_are_a_warning() -> None:
    one = reporter()
    one.show(0, S, " hm", received=S)
    one.fail(0, 2 * S, "engine_timeout")
    one.drop(3 * S, 4 * S, "closing")
    (last,) = one.finish(over_time=False)
    assert last.message["status"] == "WARNING"
    assert last.message["message"].startswith("3.0 s of speech")


def test_over_time_ends_with_disconnect() -> None:
    assert [send.message["message"] for send in reporter().finish(over_time=True)] == [
        "DISCONNECT"
    ]


def test_words_and_timings_only_for_those_who_asked() -> None:
    word = Word(" a", 0, S, 0.5)
    plain, curious = reporter(), reporter(word_timestamps=True, timings=True)
    frames = Frames(np.zeros(1, np.float32), np.zeros(1, np.float32), 0.002, 0.001)
    for one in (plain, curious):
        one.note_ingest(frames)
        one.note_request(Timing(queue_s=0.05, engine_s=0.25, batch_size=3))
    message = commit(plain, done(0, 1, " a", word))[-1].message
    assert "timings" not in message and "words" not in message["segments"][0]
    message = commit(curious, done(0, 1, " a", word))[-1].message
    assert message["segments"][0]["words"][0]["word"] == " a"
    assert message["timings"] == {
        "decode_ms": 2.0,
        "vad_ms": 1.0,
        "queue_ms": 50.0,
        "infer_ms": 250.0,
        "batch_size": 3,
    }
