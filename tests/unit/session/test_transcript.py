"""What a client is shown, message by message."""

from __future__ import annotations

from whisper_live.inference.types import Word
from whisper_live.session.events import Segment
from whisper_live.session.transcript import Snapshot, Transcript

S = 16_000
TEN_MS = 160


def done(start: float, end: float, text: str, *words: Word) -> Segment:
    return Segment(round(start * S), round(end * S), text, True, words)


def texts(snapshot: Snapshot | None) -> list[str]:
    """Completed texts, the partial's in brackets."""
    assert snapshot is not None
    return [s.text if s.completed else f"[{s.text}]" for s in snapshot]


def transcript(*completed: Segment, send_last: int = 10) -> Transcript:
    one = Transcript(send_last=send_last)
    for segment in completed:
        one.commit([segment], until=segment.end)
    return one


def test_a_partial_is_shown_once_and_keeps_its_start() -> None:
    one = Transcript(send_last=10)
    first = one.show(S, 2 * S, " a")
    assert first == (Segment(S, 2 * S, " a", False),)
    assert one.show(S, 3 * S, " a") is None
    later = one.show(2 * S, 4 * S, " a b")
    assert later == (Segment(S, 4 * S, " a b", False),)
    assert one.show(S, 5 * S, "  ") is None


def test_the_completed_segment_takes_its_partials_start() -> None:
    one = Transcript(send_last=10)
    one.show(S, 2 * S, " a")
    (shown,) = one.commit([done(0.5, 1.8, " a")], until=2 * S)
    assert shown == (done(1.0, 1.8, " a"),)
    assert one.end == round(1.8 * S) and one.context == " a"


def test_the_last_text_is_shown_as_a_partial_before_it_is_completed() -> None:
    one = Transcript(send_last=10)
    one.show(0, S, " a")
    snapshots = one.commit([done(0, 1, " a b"), done(1, 2, " c")], until=2 * S)
    assert [texts(s) for s in snapshots] == [[" a b", "[ c]"], [" a b", " c"]]
    assert snapshots[0][1].start == snapshots[1][1].start
    again = one.commit([done(3, 4, " d")], until=4 * S)
    assert [texts(s)[-1] for s in again] == ["[ d]", " d"]


def test_a_partial_of_the_same_text_needs_no_preview() -> None:
    one = Transcript(send_last=10)
    one.show(0, S, " a")
    assert len(one.commit([done(0, 1, " a")], until=S)) == 1


def test_the_same_text_of_an_earlier_window_is_no_preview() -> None:
    one = transcript(done(0, 1, " a"))
    one.show(2 * S, 3 * S, " b")
    one.forget_partial()
    assert len(one.commit([done(4, 5, " b")], until=5 * S)) == 2


def test_a_rest_stays_open_behind_a_cut() -> None:
    one = Transcript(send_last=10)
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
    one = Transcript(send_last=10)
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
    one = Transcript(send_last=10)
    word = Word(" c", 9 * S, 10 * S, 0.5)
    snapshots = one.commit(
        [done(0, 5, " a"), done(5, 5, " b"), done(9, 10, " c", word)], until=5 * S
    )
    assert snapshots[-1] == (
        done(0, 5, " a b c", Word(" c", 5 * S, 5 * S, 0.5)),
    ), "words stay inside their segment, too"


def test_words_are_clipped_to_their_segment() -> None:
    words = (Word(" a", 0, S, 1.0), Word(" b", S, 3 * S, 1.0))
    _, shown = Transcript(send_last=10).commit(
        [done(0.5, 2, " a b", *words)], until=2 * S
    )
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
    assert one.completed == (done(6, 7, " f"),)


def test_all_means_a_bounded_many() -> None:
    one = Transcript(send_last=0)
    for n in range(600):
        one.commit([done(n, n + 1, f" {n}")], until=(n + 1) * S)
    assert len(one.completed) == 500
    assert one.context.endswith(" 598 599") and len(one.context) == 1000


def test_a_partial_at_the_very_end_of_the_audio() -> None:
    one = transcript(done(0, 1, " a"))
    shown = one.show(4 * S, 3 * S, " b")
    assert shown is not None and shown[-1] == Segment(
        3 * S - TEN_MS, 3 * S, " b", False
    )
    one.check(received=3 * S)
