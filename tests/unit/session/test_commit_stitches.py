"""The first word behind a cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_live.inference.types import HypothesisSegment, Word
from whisper_live.session.commit import _ANCHORS, Stitch, stitched

AT = 16_000


def heard(text: str, *, timed: bool = True) -> HypothesisSegment:
    """Text in one segment, each word a tenth of a second long from ``AT`` on."""
    words = tuple(
        Word(f" {word}", AT + 1600 * n, AT + 1600 * (n + 1), 0.5)
        for n, word in enumerate(text.split())
    )
    end = words[-1].end if words else AT
    return HypothesisSegment(AT, end, f" {text}", words=words if timed else ())


def stitch(said: str, follows: str) -> Stitch:
    return Stitch(AT, f" {said}", tuple(f" {word}" for word in follows.split()))


@pytest.mark.parametrize(
    ("said", "follows", "text", "mended"),
    [
        # the rest of the last word is heard again
        ("eighty", "one men are", "Eighty one men are here", "one men are here"),
        ("eighty", "one", "eighty, one", "one"),
        ("eighty", "one", "eighty won men", "won men"),
        ("eighty", "one men are", "tea one men are here", "one men are here"),
        ("eighty", "one", "Eighty-one men", "one men"),
        # the first word was cut into
        ("eighty", "one men are", "un men are", "one men are"),
        ("eighty", "one men are", "men are here", "one men are here"),
        ("eighty", "one men are", "eighty men are", "one men are"),
        # said twice by the speaker
        ("two", "two three", "two three four", None),
        ("two", "two three four", "two two three four", "two three four"),
        ("two", "two two", "two two two", None),
        ("two", "three two", "two four", None),
        # nothing to go by
        ("eighty", "", "eighty one", None),
        ("eighty", "one men are", "", None),
        ("eighty", "one men are", "one old men are", None),
        ("eighty", "one men are", "quite another thing", None),
        ("eighty", "one men", "men and women", None),
    ],
)
def test_the_reading_before_the_cut_decides(
    said: str, follows: str, text: str, mended: str | None
) -> None:
    given = [heard(text)] if text else []
    result = stitched(given, stitch(said, follows))
    if mended is None:
        assert result is given
        return
    (segment,) = result
    assert segment.text == f" {mended}"
    assert "".join(word.text for word in segment.words) == segment.text
    times = [t for word in segment.words for t in (word.start, word.end)]
    assert times == sorted(times) and times[0] >= AT == min(AT, segment.start)


def test_a_segment_that_is_only_a_repeat_is_gone() -> None:
    given = [heard("eighty"), heard("one men are")]
    assert [s.text for s in stitched(given, stitch("eighty", "one men"))] == [
        " one men are"
    ]
    given = [heard("a"), heard("tea"), heard("men are here")]
    (left,) = stitched(given, stitch("eighty", "one men are"))
    assert left.text == " one men are here"


def test_words_without_times_and_pieces_of_words() -> None:
    (left,) = stitched(
        [heard("eighty one men", timed=False)], stitch("eighty", "one men")
    )
    assert (left.text, left.words, left.start) == (" one men", (), AT)
    (left,) = stitched([heard("men are", timed=False)], stitch("eighty", "one men are"))
    assert (left.text, left.words, left.start) == (" one men are", (), AT)
    pieces = tuple(Word(t, AT, AT + 9, 1.0) for t in (" eigh", "ty", " one", " men"))
    whole = HypothesisSegment(AT, AT + 9, " eighty one men", words=pieces)
    (left,) = stitched([whole], stitch("eighty", "one men"))
    assert left.words == pieces[2:]
    repaired = HypothesisSegment(AT, AT + 9, " eighty one men", words=pieces[:1])
    (left,) = stitched([repaired], stitch("eighty", "one men"))
    assert (left.text, left.words) == (" one men", ())


TRUTH = st.lists(st.sampled_from("abc"), min_size=6, max_size=12)


@given(spoken=TRUTH, known=st.integers(0, _ANCHORS), late=st.integers(1, 9))
def test_what_was_heard_right_is_never_touched(
    spoken: list[str], known: int, late: int
) -> None:
    """However often the same word was said before and behind the cut."""
    around = stitch(spoken[0], " ".join(spoken[1 : 1 + known]))
    given = [heard(" ".join(spoken[1 : 1 + late]))]
    assert stitched(given, around) is given


@given(spoken=TRUTH)
def test_a_repeated_word_is_taken_away_or_it_could_be_meant(spoken: list[str]) -> None:
    said, *behind = spoken
    around = stitch(said, " ".join(behind[:_ANCHORS]))
    (left,) = stitched([heard(" ".join(spoken))], around)
    if left.text != " " + " ".join(behind):
        assert left.text == " " + " ".join(spoken)
        assert said in behind[:_ANCHORS]
