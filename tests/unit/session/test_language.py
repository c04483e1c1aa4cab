"""In which language the client speaks, and what it is told of it."""

from __future__ import annotations

import pytest

from whisper_live.inference.types import Hypothesis, HypothesisSegment
from whisper_live.session.language import SpokenLanguage
from whisper_live.session.updates import Language

SHORT, LONG = 16_000, 32_000


def hypothesis(
    language: str, probability: float, *segments: HypothesisSegment
) -> Hypothesis:
    return Hypothesis(1, segments, language, probability)


def spoken(
    language: str | None = None, *, multilingual: bool = False
) -> SpokenLanguage:
    return SpokenLanguage(language, multilingual=multilingual)


def test_a_chosen_language_is_never_announced() -> None:
    one = spoken("de")
    assert one.settle(hypothesis("en", 1.0), SHORT, is_final=False)
    assert one.current == "de" and one.announcement(hypothesis("en", 1.0)) is None


@pytest.mark.parametrize(("heard", "probability"), [(LONG, 0.2), (SHORT, 0.8)])
def test_a_certain_language_is_kept_and_announced_once(
    heard: int, probability: float
) -> None:
    one, guess = spoken(), hypothesis("fr", probability)
    assert one.settle(guess, heard, is_final=False)
    assert one.current == "fr"
    assert one.announcement(guess) == Language("fr", probability)
    assert one.announcement(guess) is None
    assert one.settle(hypothesis("en", 1.0), LONG, is_final=True)
    assert one.current == "fr"


def test_a_doubtful_language_holds_a_partial_back_but_no_final() -> None:
    one, guess = spoken(), hypothesis("cy", 0.3)
    assert not one.settle(guess, SHORT, is_final=False)
    assert one.settle(guess, SHORT, is_final=True)
    assert one.announcement(guess) == Language("cy", 0.3)
    assert one.current is None, "one doubtful word does not decide the session"
    # The client was told something, so there is nothing more to wait for.
    assert one.settle(guess, SHORT, is_final=False)


def test_each_utterance_may_have_its_own_language() -> None:
    one = spoken(multilingual=True)
    one.settle(hypothesis("en", 1.0), LONG, is_final=False)
    languages = [one.current]
    one.start_utterance()
    languages.append(one.current)
    assert languages == ["en", None]
    one.settle(hypothesis("en", 1.0), LONG, is_final=True)
    assert one.current is None, "the last utterance's final comes too late"
    pinned = spoken("de", multilingual=True)
    pinned.start_utterance()
    assert pinned.current == "de"


def test_the_language_stays_where_it_was_not_asked_for_anew() -> None:
    one = spoken()
    one.settle(hypothesis("en", 1.0), LONG, is_final=True)
    one.start_utterance()
    assert one.current == "en"
