from __future__ import annotations

import json
from typing import Any

import pytest

from whisper_live.audio import SAMPLE_RATE, s_to_samples
from whisper_live.inference.types import Word
from whisper_live.protocols.room_events import State
from whisper_live.server import room
from whisper_live.server.room import Mark, NotKept, RoomText
from whisper_live.session.updates import Dropped, Language, Segment, Update

EPOCH = "e1f2a3b4"


def said(number: int, *, completed: bool = True) -> Segment:
    """The line of one second that begins after so many seconds."""
    start = number * SAMPLE_RATE
    return Segment(start, start + SAMPLE_RATE, f" line {number}", completed)


def lines(count: int, first: int = 0) -> Update:
    return Update(completed=tuple(map(said, range(first, first + count))))


def events(told: bytes) -> list[tuple[str, str, Any]]:
    """Name, id and data of each event, in order."""
    found = []
    for block in told.decode().split("\n\n")[:-1]:
        said_of = [line for line in block.split("\n") if not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in said_of)
        if "data" in fields:
            data = json.loads(fields["data"])
            found.append((fields["event"], fields.get("id", ""), data))
    return found


def texts(told: bytes) -> list[str]:
    return [data["text"] for name, _, data in events(told) if name == "line"]


def everything(text: RoomText, mark: Mark) -> bytes:
    told = b""
    while mark != text.newest:
        piece, mark = text.events_since(mark)
        told += piece
    return told


def test_lines_have_ids_and_the_partial_stands_behind_them() -> None:
    text = RoomText(EPOCH)
    text.set_state(State.LIVE, "en")
    _, mark = text.greet("")
    text.take(Update(completed=(said(1),), interim=said(3, completed=False)))
    told, mark = text.events_since(mark)
    assert events(told) == [
        ("line", f"{EPOCH}-1", {"start": 1.0, "end": 2.0, "text": "line 1"}),
        ("partial", "", {"start": 3.0, "end": 4.0, "text": "line 3"}),
    ]
    assert mark == text.newest
    assert text.events_since(mark) == (b"", mark)


def test_a_partial_is_told_when_it_changes_and_when_it_is_taken_back() -> None:
    text = RoomText(EPOCH)
    text.take(Update(interim=said(1, completed=False)))
    mark = text.newest
    text.take(Update(interim=said(1, completed=False)))
    assert text.newest == mark
    text.take(Update())
    told, _ = text.events_since(mark)
    assert events(told) == [("partial", "", None)]


def test_who_comes_late_is_told_the_last_lines_the_partial_and_the_state() -> None:
    text = RoomText(EPOCH)
    text.set_state(State.LIVE, "de")
    text.take(lines(room.LATE_LINES + 5))
    text.take(Update(interim=said(900, completed=False)))
    told, mark = text.greet("")
    assert told.startswith(b"retry: 2000\n\n")
    assert events(told) == [("state", "", {"state": "live", "language": "de"})]
    rest = everything(text, mark)
    assert texts(rest) == [f"line {n}" for n in range(5, room.LATE_LINES + 5)]
    assert [name for name, _, _ in events(rest)].count("partial") == 1


def test_who_comes_back_is_told_what_it_missed_and_nothing_twice() -> None:
    text = RoomText(EPOCH)
    text.take(lines(room.LATE_LINES + 50))
    told, mark = text.greet(f"{EPOCH}-3")
    assert [name for name, _, _ in events(told)] == ["state"]
    found = texts(everything(text, mark))
    assert found == [f"line {n}" for n in range(3, room.LATE_LINES + 50)]
    _, mark = text.greet(f"{EPOCH}-{room.LATE_LINES + 50}")
    assert texts(everything(text, mark)) == []


def test_who_missed_what_is_not_kept_is_told_how_much() -> None:
    text = RoomText(EPOCH, most_bytes=600)
    text.take(lines(50))
    _, mark = text.greet("")
    kept = texts(everything(text, mark))
    assert 0 < len(kept) < 50
    told, mark = text.greet(f"{EPOCH}-10")
    assert events(told)[-1] == ("missed", "", {"lines": 50 - len(kept) - 10})
    assert texts(everything(text, mark)) == kept


@pytest.mark.parametrize(
    "shown",
    ["nonsense", "ffffffff-3", f"{EPOCH}-", f"{EPOCH}--3", f"{EPOCH}-{'9' * 99}", "-"],
)
def test_an_id_that_is_not_of_this_room_is_none(shown: str) -> None:
    text = RoomText(EPOCH)
    text.take(lines(3))
    told, mark = text.greet(shown)
    assert [name for name, _, _ in events(told)] == ["state"]
    assert texts(everything(text, mark)) == ["line 0", "line 1", "line 2"]


def test_an_id_from_the_future_has_missed_nothing() -> None:
    text = RoomText(EPOCH)
    text.take(lines(3))
    told, mark = text.greet(f"{EPOCH}-77")
    assert [name for name, _, _ in events(told)] == ["state"]
    assert texts(everything(text, mark)) == []
    text.take(lines(1, first=3))
    assert texts(everything(text, mark)) == ["line 3"]


def test_what_is_kept_has_a_bound_in_bytes_and_in_lines() -> None:
    text = RoomText(EPOCH, most_bytes=2000)
    text.take(Update(completed=(Segment(0, 10, "x" * 5000, True),)))
    _, mark = text.greet("")
    assert len(texts(everything(text, mark))) == 1  # the newest is always kept
    text.take(lines(100))
    _, mark = text.greet_subtitles()
    subtitles, _ = text.subtitles_since(mark)
    assert len(everything(text, mark)) + len(subtitles) <= 2000
    many = RoomText(EPOCH, most_bytes=1 << 30)
    many.take(lines(room.MOST_KEPT_LINES + 1))
    with pytest.raises(NotKept):
        many.events_since(Mark())


def test_a_reader_whose_next_line_is_gone_is_found_out() -> None:
    text = RoomText(EPOCH, most_bytes=600)
    mark = text.newest
    text.take(lines(1))
    text.events_since(mark)
    text.take(lines(50, first=1))
    with pytest.raises(NotKept):
        text.events_since(mark)
    with pytest.raises(NotKept):
        text.subtitles_since(mark)


def test_what_is_told_at_a_time_has_a_bound() -> None:
    text = RoomText(EPOCH)
    text.take(lines(1500))
    piece, mark = text.events_since(Mark())
    assert 30_000 < len(piece) < 40_000 and mark.lines < 1500
    assert len(texts(everything(text, Mark()))) == 1500


def test_a_span_without_text_is_told_in_its_place() -> None:
    text = RoomText(EPOCH)
    mark = text.newest
    text.take(lines(1))
    span = Dropped(SAMPLE_RATE, 2 * SAMPLE_RATE, "engine_timeout")
    text.take(Update(dropped=(span,)))
    told, _ = text.events_since(mark)
    assert events(told)[-1] == (
        "dropped",
        f"{EPOCH}-2",
        {"start": 1.0, "end": 2.0, "reason": "engine_timeout"},
    )
    subtitles, _ = text.subtitles_since(mark)
    assert subtitles.endswith(
        b"\n\nNOTE no text for 1.000 to 2.000 s: engine_timeout\n\n"
    )


def test_a_later_session_goes_on_in_the_rooms_time() -> None:
    text = RoomText(EPOCH)
    text.take(lines(2))
    assert text.end == 2 * SAMPLE_RATE
    mark = text.newest
    text.take(lines(1), offset=s_to_samples(60.0))
    told, _ = text.events_since(mark)
    assert events(told)[0][2] == {"start": 60.0, "end": 61.0, "text": "line 0"}


def test_a_language_that_is_detected_becomes_the_states() -> None:
    text = RoomText(EPOCH)
    text.set_state(State.LIVE)
    mark = text.newest
    text.take(Update(language=Language("fr", 0.9)))
    told, mark = text.events_since(mark)
    assert events(told) == [("state", "", {"state": "live", "language": "fr"})]
    text.take(Update(language=Language("fr", 0.95)))
    assert text.newest == mark


def test_without_speaker_there_is_no_partial() -> None:
    text = RoomText(EPOCH)
    text.set_state(State.LIVE)
    text.take(Update(interim=said(1, completed=False)))
    mark = text.newest
    text.set_state(State.LEFT)
    told, _ = text.events_since(mark)
    assert events(told) == [("partial", "", None), ("state", "", {"state": "left"})]


def test_subtitles_are_webvtt_without_markup_of_the_speakers() -> None:
    text = RoomText(EPOCH)
    head, mark = text.greet_subtitles()
    assert head == b"WEBVTT\n\n"
    words = (Word(" a", 0, 8000, 1.0), Word(" <b>&", 8000, 32000, 1.0))
    text.take(Update(completed=(Segment(0, 32000, " a <b>&", True, words),)))
    told, mark = text.subtitles_since(mark)
    assert told == b"00:00:00.000 --> 00:00:02.000\na &lt;b&gt;&amp;\n\n"
    text.take(Update(interim=said(3, completed=False)))
    assert text.subtitles_since(mark) == (b"", text.newest)


def test_a_cue_ends_where_the_next_text_begins() -> None:
    text = RoomText(EPOCH)
    short, following = Segment(0, 4800, " no", True), Segment(8000, 16000, " x", False)
    text.take(Update(completed=(short,), interim=following))
    told, _ = text.subtitles_since(Mark())
    assert told == b"00:00:00.000 --> 00:00:00.500\nno\n\n"


def test_text_that_cannot_be_encoded_harms_nobody() -> None:
    text = RoomText(EPOCH)
    text.take(Update(completed=(Segment(0, 16000, " \ud800\n\nevent: x", True),)))
    told, _ = text.events_since(Mark())
    assert [data["text"] for _, _, data in events(told) if data] == ["?\n\nevent: x"]
