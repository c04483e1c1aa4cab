"""Segments that nobody said."""

from __future__ import annotations

from collections import Counter

import pytest

from whisper_live.inference.types import Hypothesis, HypothesisSegment, Word
from whisper_live.session.hallucination import (
    HallucinationFilter,
    Reason,
    remove_loop,
    suppress,
)


def segment(
    text: str = " yes",
    *,
    no_speech: float = 0.0,
    logprob: float = -0.2,
    ratio: float = 1.0,
) -> HypothesisSegment:
    return HypothesisSegment(0, 20_000, text, no_speech, logprob, ratio)


@pytest.mark.parametrize(
    ("heard", "speech", "reason"),
    [
        (segment(), 0.9, None),
        (segment(), 0.1, None),  # one bad score alone
        (segment(no_speech=0.9), 0.9, None),
        (segment(logprob=-1.5), 0.9, None),
        (segment(no_speech=0.9, logprob=-1.5), 0.9, Reason.NO_SPEECH),
        (segment(no_speech=0.9), 0.1, Reason.WEAK_SPEECH),
        (segment(logprob=-0.9), 0.1, Reason.WEAK_SPEECH),
        (segment(logprob=-0.9), 0.3, None),
        (segment(logprob=-0.7), 0.1, None),
        (segment(no_speech=0.74, logprob=-0.9), 0.36, Reason.WEAK_SPEECH),
        (segment(no_speech=0.74, logprob=-0.9), 0.6, None),
        (segment(no_speech=0.58, logprob=-0.87), 0.28, Reason.WEAK_SPEECH),
        (segment(no_speech=0.53, logprob=-0.9), 0.33, None),
        (segment(no_speech=0.74, logprob=-0.78), 0.33, None),
        (segment(" ..."), 0.9, Reason.NO_WORDS),
        (segment(" ♪ ♪"), 0.9, Reason.NO_WORDS),
        (segment(""), 0.9, Reason.NO_WORDS),
        (segment(" 好。"), 0.9, None),
    ],
)
def test_scores_decide_together(
    heard: HypothesisSegment, speech: float, reason: Reason | None
) -> None:
    found = suppress(heard, [speech] * 40, no_speech_threshold=0.45, is_final=True)
    assert found is reason


@pytest.mark.parametrize(
    ("voiced", "frames", "is_final", "reason"),
    [
        (9, 17, True, None),  # a digit said alone, as people say it
        (5, 23, True, None),
        (5, 23, False, Reason.NO_SPEECH),  # its interim text waits for that
        (3, 23, True, Reason.NO_SPEECH),  # what music is like
        (2, 23, True, Reason.NO_SPEECH),  # a click
        (19, 63, True, Reason.NO_SPEECH),  # what noise is like
    ],
)
def test_a_short_word_is_judged_by_its_voice_and_not_by_the_silence_around_it(
    voiced: int, frames: int, is_final: bool, reason: Reason | None
) -> None:
    speech = [0.02] * (frames - voiced) + [0.6] * voiced
    heard = HypothesisSegment(0, frames * 512, " six.", 0.86, -1.2)
    found = suppress(heard, speech, no_speech_threshold=0.45, is_final=is_final)
    assert found is reason


@pytest.mark.parametrize(
    ("voiced", "no_speech", "reason"),
    [(40, 0.03, None), (20, 0.03, Reason.WEAK_SPEECH), (40, 0.5, Reason.WEAK_SPEECH)],
)
def test_words_with_long_pauses_between_them_are_kept(
    voiced: int, no_speech: float, reason: Reason | None
) -> None:
    heard = HypothesisSegment(0, 174 * 512, " Today. Goodbye.", no_speech, -0.91)
    speech = [0.9] * voiced + [0.01] * (174 - voiced)
    found = suppress(heard, speech, no_speech_threshold=0.45, is_final=True)
    assert found is reason


@pytest.mark.parametrize("text", [" नमस्ते", " நன்றி", " ที่นี่", " شُكْرًا"])
def test_certain_answers_in_scripts_with_marks_are_kept(text: str) -> None:
    heard = segment(text, no_speech=0.01, logprob=-0.1)
    found = suppress(heard, [0.99] * 40, no_speech_threshold=0.45, is_final=True)
    assert found is None


def test_a_partial_waits_until_it_is_sure() -> None:
    for logprob, reason in ((-1.5, Reason.UNSURE), (-0.9, None)):
        heard = segment(logprob=logprob)
        found = suppress(heard, [0.9] * 40, no_speech_threshold=0.45, is_final=False)
        assert found is reason


@pytest.mark.parametrize(
    ("text", "ratio", "kept"),
    [
        (" seven seven seven seven seven seven", 2.0, None),
        (" no" * 20, 3.0, " no"),
        (" no no no no yes", 3.0, None),
        (" so" + " thank you" * 8 + " bye", 3.0, " so thank you bye"),
        (" a b c d", 3.0, None),
        (" 谢谢你" + "谢谢你" * 6, 3.0, " 谢谢你"),
    ],
)
def test_endless_phrases_are_said_once(
    text: str, ratio: float, kept: str | None
) -> None:
    assert remove_loop(segment(text, ratio=ratio), [0.9] * 100) == (kept or text)


def test_a_word_is_repeated_as_often_as_voice_sets_in() -> None:
    sixes = segment(" 6," * 10, ratio=3.0)
    apart = [0.9, 0.9, 0.9, 0.1, 0.1]
    for spoken, text in ((10, sixes.text), (8, sixes.text), (3, " 6,")):
        assert remove_loop(sixes, apart * spoken) == text


def test_what_nobody_said_is_left_out_and_counted_for_finals() -> None:
    counts: Counter[str] = Counter()
    one = HallucinationFilter(no_speech_threshold=0.45, suppressed=counts)
    words = (Word(" a", 0, 100, 1.0),)
    segments = (
        HypothesisSegment(0, 100, " a", words=words),
        HypothesisSegment(100, 200, " ..."),
        HypothesisSegment(200, 300, " x" * 9, compression_ratio=3.0, words=words),
        HypothesisSegment(300, 20_000, " b", 0.9, -0.1),
    )
    heard = Hypothesis(1, segments, "en", 1.0)
    asked = []

    def speech(start: int, end: int) -> list[float]:
        asked.append((start, end))
        return [0.1 if start == 300 else 0.9]

    for is_final in (False, True):
        believed = one.keep(heard, speech, is_final=is_final)
        assert [(s.text, s.words) for s in believed] == [(" a", words), (" x", ())]
        expected = {"no_words": 1, "loop": 1, "weak_speech": 1} if is_final else {}
        assert +counts == expected
    assert asked[:4] == [(0, 100), (100, 200), (200, 300), (300, 20_000)]
