"""Cues: no word lost, and the limits that viewers need, whatever was said how fast."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_live.client.subtitles import (
    Cue,
    Layout,
    TimedWord,
    split_into_cues,
    timed_words,
)
from whisper_live.inference.types import Word

S = 16_000


def said(text: str, *, start_s: float = 0.0, per_s: float = 15.0) -> list[TimedWord]:
    """Words of a text spoken without a pause, so many characters a second."""
    return timed_words(text, start_s, start_s + len(text) / per_s, ())


def shown(cues: list[Cue]) -> list[str]:
    return ["/".join(cue.lines) for cue in cues]


def test_a_sentence_that_fits_is_one_cue_of_two_equal_lines() -> None:
    words = said("I told you that the meeting has been moved to Thursday afternoon.")
    assert shown(split_into_cues(words, Layout())) == [
        "I told you that the meeting has/been moved to Thursday afternoon."
    ]


def test_sentences_are_split_at_their_ends_and_long_ones_at_clauses() -> None:
    words = said(
        "We looked at what the survey says. If the committee agrees with its findings, "
        "and I have no reason to doubt that it will, we shall begin in the autumn of "
        "this year already."
    )
    assert shown(split_into_cues(words, Layout())) == [
        "We looked at what the survey says.",
        "If the committee agrees with its findings,",
        "and I have no reason/to doubt that it will,",
        "we shall begin in the/autumn of this year already.",
    ]


def test_answers_too_short_to_be_read_share_a_cue() -> None:
    words = said("Yes. No. Well, I think so. Are you sure?", per_s=18)
    [*_, last] = cues = split_into_cues(words, Layout())
    assert shown(cues) == ["Yes. No. Well, I think so.", "Are you sure?"]
    assert last.end_s - last.start_s == pytest.approx(1.0)


def test_one_short_word_stands_for_a_second() -> None:
    words = [*said("Yes.", per_s=20), *said("Good morning.", start_s=9.0)]
    first, second = split_into_cues(words, Layout())
    assert (first.start_s, first.end_s, first.lines) == (0.0, 1.0, ("Yes.",))
    assert second.start_s == 9.0


def test_a_word_without_marks_that_took_the_pause_before_it_begins_a_cue() -> None:
    """As tiny.en wrote it: ``today`` is said in the last third of its time."""
    starts = [0.3, 0.8, 1.1, 1.6, 2.4, 2.7, 2.9, 3.1, 3.3, 4.0, 5.2, 5.5, 5.7]
    starts += [6.0, 6.5, 7.3, 7.6, 7.8, 8.0, 8.5]
    text = "good morning everyone and welcome to the weekly meeting "
    text += "today we have three topics so please keep it short"
    words = [
        TimedWord(f" {word}", start_s, end_s)
        for word, start_s, end_s in zip(text.split(), starts, starts[1:])
    ]
    assert shown(split_into_cues(words, Layout())) == [
        "good morning everyone and/welcome to the weekly meeting",
        "today we have three topics/so please keep it short",
    ]


def test_fast_speech_stands_on_in_the_pause_behind_it() -> None:
    words = [*said("x" * 19 + " " + "y" * 20, per_s=40), *said("Next.", start_s=5.0)]
    first, _ = split_into_cues(words, Layout())
    assert first.end_s == pytest.approx(2.0)


def test_a_word_held_for_long_does_not_stand_for_longer_than_seven_seconds() -> None:
    [cue] = split_into_cues([TimedWord(" Ooh.", 1.0, 20.0)], Layout())
    assert (cue.start_s, cue.end_s) == (1.0, 8.0)


def test_a_wide_character_takes_two_columns_and_a_mark_none() -> None:
    words = said(
        "我们今天在这里讨论的是下一个季度的工作计划和所有人的分工安排", per_s=5
    )
    for cue in split_into_cues(words, Layout(max_line_width=20)):
        assert all(len(line) <= 10 for line in cue.lines)
    words = said("नमस्ते " * 8, per_s=15)
    [cue] = split_into_cues(words, Layout(max_line_width=39))
    assert len(cue.lines) == 1, "four columns each, though of six code points"


def test_lines_are_broken_behind_a_clause_where_that_leaves_both_of_some_length() -> (
    None
):
    words = said("Before the meeting, I shall read all of the papers again.")
    [cue] = split_into_cues(words, Layout())
    assert cue.lines == ("Before the meeting,", "I shall read all of the papers again.")


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("เมื่อวานเราไปโรงเรียนและทำการบ้าน", ("เมื่", "เร", "ไป", "โร", "และ", "ทำ")),
        ("カタカナのコンピューターがきょう", ("カタカナ", "コンピューター", "きょ")),
        ("ຂ້ອຍໄປໂຮງຮຽນ", ("ໄປ", "ໂຮ")),
    ],
)
def test_no_line_is_broken_inside_a_syllable_or_a_foreign_word(
    text: str, whole: tuple[str, ...]
) -> None:
    """Each word in turn is where the line must end."""
    words = said(text, per_s=6)
    assert "".join(word.text for word in words) == f" {text}"
    for width in range(2, 20):
        lines = [
            line
            for cue in split_into_cues(words, Layout(max_line_width=width))
            for line in cue.lines
        ]
        assert "".join(lines) == text
        for part in whole:
            assert any(part in line for line in lines), (width, part, lines)


def test_layout_follows_the_flags() -> None:
    words = said("one two three four five six seven eight nine ten", per_s=12)
    cues = split_into_cues(words, Layout(max_line_width=14, max_line_count=1))
    assert all(len(cue.lines) == 1 and len(cue.lines[0]) <= 14 for cue in cues)
    words = said("Donaudampfschifffahrtsgesellschaft ist lang.")
    cues = split_into_cues(words, Layout(max_line_width=10, max_line_count=3))
    assert shown(cues) == ["Donaudampfschifffahrtsgesellschaft/ist lang."]


def test_words_have_the_times_of_the_model_where_it_spelled_the_text() -> None:
    spelled = (Word(" I", S, 2 * S, 1.0), Word("'m", 2 * S, 3 * S, 1.0),
               Word(" here.", 5 * S, 6 * S, 1.0))  # fmt: skip
    assert timed_words("I'm here.", 0.0, 9.0, spelled) == [
        TimedWord(" I'm", 1.0, 3.0),
        TimedWord(" here.", 5.0, 6.0),
    ]
    assert timed_words("I'm here!", 0.0, 8.0, spelled) == [
        TimedWord(" I'm", 0.0, 3.0),
        TimedWord(" here!", 3.0, 8.0),
    ]
    assert timed_words("你好", 0.0, 2.0, (Word("你好", S, 3 * S, 1.0),)) == [
        TimedWord(" 你", 1.0, 2.0),
        TimedWord("好", 2.0, 3.0),
    ]


@given(
    st.lists(
        st.tuples(
            st.text("abcdefgh", min_size=1, max_size=14),
            st.sampled_from(["", "", "", ",", "."]),
            st.floats(0.05, 0.6),  # seconds that it lasts
            st.sampled_from([0.0, 0.0, 0.0, 0.5, 3.0]),  # and of silence behind it
        ),
        max_size=80,
    ),
    st.integers(20, 50),
    st.integers(1, 3),
)
def test_any_speech_keeps_its_words_and_the_limits(
    spoken: list[tuple[str, str, float, float]], width: int, count: int
) -> None:
    words, at = [], 0.0
    for word, mark, length, silence in spoken:
        words.append(TimedWord(f" {word}{mark}", at, at + length))
        at += length + silence
    cues = split_into_cues(words, Layout(width, count))
    lines = [line for cue in cues for line in cue.lines]
    assert " ".join(lines).split() == [word.text.strip() for word in words]
    assert all(len(line) <= width for line in lines)
    starts = {word.start_s for word in words}
    for cue in cues:
        assert cue.start_s in starts
        assert 1 <= len(cue.lines) <= count
        assert 0 < cue.end_s - cue.start_s <= 7.0 + 1e-9
    for cue, following in itertools.pairwise(cues):
        assert cue.end_s <= following.start_s
        text = " ".join(cue.lines)
        wanted_s = min(max(len(text) / 20, 1.0), 7.0)
        room_s = following.start_s - cue.start_s
        assert cue.end_s - cue.start_s >= min(wanted_s, room_s) - 1e-9
