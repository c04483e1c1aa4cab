"""Where a long window may be cut."""

from __future__ import annotations

import pytest

from whisper_live.audio import FRAME_SAMPLES
from whisper_live.inference.types import HypothesisSegment, Word
from whisper_live.session.commit import Cut, Stitch, find_cut, joined, settled, spaced
from whisper_live.session.updates import Segment

S = 16_000


class Middle:
    """Cuts where it is asked to, and remembers between what."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def quietest(self, low: int, high: int, *, near: int | None = None) -> int:
        assert near is not None
        self.asked.append((low, high))
        return min(max(near, low), high)


def word(text: str, start: float, end: float) -> Word:
    return Word(text, round(start * S), round(end * S), 1.0)


def of(*words: Word) -> HypothesisSegment:
    text = "".join(w.text for w in words)
    return HypothesisSegment(words[0].start, words[-1].end, text, words=words)


def untimed(start: float, end: float, text: str) -> HypothesisSegment:
    return HypothesisSegment(round(start * S), round(end * S), text)


def cut(
    *segments: HypothesisSegment, agreed: int, end: float = 13, start: float = 0
) -> Cut | None:
    return find_cut(
        segments,
        agreed,
        start=round(start * S),
        end=round(end * S),
        shorten_after=6 * S,
        loudness=Middle(),
    )


def test_a_short_window_is_not_cut() -> None:
    parts = (untimed(0, 2, " a b."), untimed(3, 4, " c"))
    assert cut(*parts, agreed=3, end=5.9) is None
    assert cut(*parts, agreed=3, end=6) is not None


def test_between_the_latest_agreed_segments() -> None:
    parts = (untimed(0, 2, " a b"), untimed(2.2, 4, " c"), untimed(5, 6, " d"))
    assert cut(*parts, agreed=2) is None, "is the word behind it one?"
    found = cut(*parts, agreed=3)
    assert found is not None and (found.words, found.at) == (2, round(2.1 * S))
    found = cut(*parts, agreed=4)
    assert found == Cut(
        3,
        round(4.5 * S),
        (Segment(0, 4 * S, " a b c", True),),
        Stitch(round(4.5 * S), " c", ()),
    )


def test_behind_the_end_of_a_sentence_if_there_is_one() -> None:
    parts = (untimed(0, 2, " a b."), untimed(3, 4, " c"), untimed(5, 6, " d"))
    for end in (6, 13):
        found = cut(*parts, agreed=4, end=end)
        assert found is not None and found.words == 2, "not inside the next one"
    inside = (untimed(0, 2, " a b"), untimed(3, 4, " c"))
    assert cut(*inside, agreed=3, end=11.9) is None, "the sentence may end soon"
    assert cut(*inside, agreed=3, end=12) is not None


def test_no_cut_outside_the_window() -> None:
    at_end = (untimed(0, 8, " a."), untimed(8, 9, " b"))
    found = cut(*at_end, agreed=2, end=8)
    assert found is not None and found.at == 8 * S - FRAME_SAMPLES
    at_start = (untimed(0, 0, " a."), untimed(0, 9, " b"))
    found = cut(*at_start, agreed=2, end=8)
    assert found is not None and found.at == FRAME_SAMPLES
    beyond = (untimed(0, 12, " a."), untimed(12, 13, " b"))
    assert cut(*beyond, agreed=2, end=8) is None


def test_behind_a_word_only_in_a_window_twice_as_long() -> None:
    words = [word(f" w{n}", n, n + 0.8) for n in range(12)]
    words += [word(f" x{n}", 12, 12) for n in range(3)]
    one = of(*words)
    assert cut(one, agreed=12, end=11.9) is None
    found = cut(one, agreed=12, end=12)
    # The word that ends at 10.8 is the last that is a second away from the end.
    assert found is not None and found.words == 11
    assert found.at == round(10.9 * S)
    assert found.segments == (
        Segment(
            0,
            words[10].end,
            "".join(w.text for w in words[:11]),
            True,
            tuple(words[:11]),
        ),
    )
    assert found.stitch == Stitch(found.at, " w10", (" w11", " x0", " x1"))
    few = cut(one, agreed=4, end=12)
    assert few is not None and few.words == 3 and few.at == round(2.9 * S)
    assert cut(one, agreed=0, end=12) is None


def test_not_inside_a_written_word() -> None:
    more = [word(f" w{n}", 3, 4) for n in range(3)]
    one = of(word(" twenty", 0, 1), word("-five", 1, 2), word(" men", 2, 3), *more)
    found = cut(one, agreed=2)
    assert found is not None
    assert (found.words, found.segments[0].text) == (1, " twenty-five")
    assert cut(one, agreed=1) is None
    unspaced = of(word(" 你", 0, 1), word("好", 1, 2), word("吗", 2, 3), *more)
    found = cut(unspaced, agreed=2)
    assert found is not None and found.segments[0].text == " 你"


def test_words_timed_before_their_window_are_no_place_to_cut() -> None:
    one = of(*(word(f" w{n}", n / 2, n / 2 + 0.5) for n in range(6)))
    assert cut(one, agreed=6, start=5, end=18) is None
    assert cut(one, agreed=6, start=0, end=13) is not None


def test_enough_words_stay_behind_a_cut_to_know_the_next_reading_by() -> None:
    one = of(*(word(f" w{n}", n / 2, n / 2 + 0.5) for n in range(6)))
    found = cut(one, agreed=6)
    assert found is not None and found.words == 2
    assert found.stitch == Stitch(found.at, " w1", (" w2", " w3", " w4"))


@pytest.mark.parametrize("words", [(), (word(" a", 0, 1),)])
def test_words_that_are_not_the_text_are_not_used(words: tuple[Word, ...]) -> None:
    one = HypothesisSegment(0, 12 * S, " a b", words=words)
    assert cut(one, agreed=2) is None


def test_nothing_heard_nothing_cut() -> None:
    assert cut(agreed=0) is None


def test_a_search_stays_close_to_the_words() -> None:
    quiet = Middle()
    find_cut(
        (untimed(0, 2, " a"), untimed(3, 4, " b")),
        2,
        start=0,
        end=8 * S,
        shorten_after=6 * S,
        loudness=quiet,
    )
    assert quiet.asked == [(round(1.85 * S), round(3.15 * S))]


def test_texts_get_whispers_leading_space() -> None:
    assert [spaced(t) for t in ("a", " a", "")] == [" a", " a", ""]
    assert settled(untimed(1, 2, "a")) == Segment(S, 2 * S, " a", True)


# ---------------------------------------------------------------- whole sentences


def piece(start: int, end: int, text: str, *, timed: bool = False) -> HypothesisSegment:
    words = (Word(text, start, end, 0.5),) if timed else ()
    return HypothesisSegment(start, end, text, words=words)


def test_segments_are_joined_to_the_end_of_their_sentence() -> None:
    pieces = [
        piece(0, 10, " Ask not"),
        piece(20, 30, "what it can do."),
        piece(40, 50, " Ask"),
    ]
    assert [(s.start, s.end, s.text) for s in joined(pieces)] == [
        (0, 30, " Ask not what it can do."),
        (40, 50, " Ask"),
    ]
    assert joined([]) == []


def test_words_stay_with_their_text_or_go() -> None:
    both = joined([piece(0, 10, " a", timed=True), piece(10, 20, " b", timed=True)])
    assert [w.text for w in both[0].words] == [" a", " b"]
    one = joined([piece(0, 10, " a", timed=True), piece(10, 20, " b")])
    assert one[0].words == (), "half of the words would not be the segment's"


def test_a_sentence_without_an_end_does_not_grow_for_ever() -> None:
    second = 16_000
    pieces = [piece(n * second, (n + 1) * second, f" {n}") for n in range(40)]
    found = joined(pieces)
    assert "".join(s.text for s in found) == "".join(s.text for s in pieces)
    assert max(s.end - s.start for s in found) <= 15 * second
