"""What is believed of a hypothesis, and the client's language."""

from __future__ import annotations

from collections import Counter

import pytest

from whisper_live.inference.types import Hypothesis, HypothesisSegment, Word
from whisper_live.session.events import ClientOptions
from whisper_live.session.hearing import Hearing

SHORT, LONG = 16_000, 32_000


def hypothesis(
    language: str, probability: float, *segments: HypothesisSegment
) -> Hypothesis:
    return Hypothesis(1, segments, language, probability)


def hearing(language: str | None = None, *, multilingual: bool = False) -> Hearing:
    options = ClientOptions("u", language=language, multilingual=multilingual)
    return Hearing(options, Counter())


def test_what_nobody_said_is_left_out_and_counted_for_finals() -> None:
    counts: Counter[str] = Counter()
    one = Hearing(ClientOptions("u"), counts)
    words = (Word(" a", 0, 100, 1.0),)
    heard = hypothesis(
        "en",
        1.0,
        HypothesisSegment(0, 100, " a", words=words),
        HypothesisSegment(100, 200, " ..."),
        HypothesisSegment(200, 300, " x" * 9, compression_ratio=3.0, words=words),
        HypothesisSegment(300, 400, " b", 0.9, -0.1),
    )
    asked = []

    def speech(start: int, end: int) -> float:
        asked.append((start, end))
        return 0.1 if start == 300 else 0.9

    for is_final in (False, True):
        believed = one.believe(heard, speech, is_final=is_final)
        assert [(s.text, s.words) for s in believed] == [(" a", words), (" x", ())]
        expected = {"no_words": 1, "loop": 1, "weak_speech": 1} if is_final else {}
        assert +counts == expected
    assert asked[:4] == [(0, 100), (100, 200), (200, 300), (300, 400)]


def test_a_chosen_language_is_never_announced() -> None:
    one = hearing("de")
    assert one.settle_language(hypothesis("en", 1.0), SHORT, is_final=False)
    assert one.language == "de" and one.announcement(hypothesis("en", 1.0)) is None


@pytest.mark.parametrize(("heard", "probability"), [(LONG, 0.2), (SHORT, 0.8)])
def test_a_certain_language_is_kept_and_announced_once(
    heard: int, probability: float
) -> None:
    one, guess = hearing(), hypothesis("fr", probability)
    assert one.settle_language(guess, heard, is_final=False)
    assert one.language == "fr"
    assert one.announcement(guess) == ("fr", probability)
    assert one.announcement(guess) is None
    assert one.settle_language(hypothesis("en", 1.0), LONG, is_final=True)
    assert one.language == "fr"


def test_a_doubtful_language_holds_a_partial_back_but_no_final() -> None:
    one, guess = hearing(), hypothesis("cy", 0.3)
    assert not one.settle_language(guess, SHORT, is_final=False)
    assert one.settle_language(guess, SHORT, is_final=True)
    assert one.announcement(guess) == ("cy", 0.3)
    assert one.language is None, "one doubtful word does not decide the session"
    # The client was told something, so there is nothing more to wait for.
    assert one.settle_language(guess, SHORT, is_final=False)


def test_each_utterance_may_have_its_own_language() -> None:
    one = hearing(multilingual=True)
    one.settle_language(hypothesis("en", 1.0), LONG, is_final=False)
    languages = [one.language]
    one.start_utterance()
    languages.append(one.language)
    assert languages == ["en", None]
    one.settle_language(hypothesis("en", 1.0), LONG, is_final=True)
    assert one.language is None, "the last utterance's final comes too late"
    pinned = hearing("de", multilingual=True)
    pinned.start_utterance()
    assert pinned.language == "de"


def test_the_language_stays_where_it_was_not_asked_for_anew() -> None:
    one = hearing()
    one.settle_language(hypothesis("en", 1.0), LONG, is_final=True)
    one.start_utterance()
    assert one.language == "en"
