"""The demo model's sentences and voices: what is held out stays out of training."""

from __future__ import annotations

import random

import pytest

from training.demo_model import describe, grammar, voices
from training.demo_model.domain import DIGITS


def draw(language: str, held_out: bool, count: int = 400) -> list[grammar.Sentence]:
    rng = random.Random(f"{language} {held_out}")
    return [
        grammar.generate(rng, language, held_out=held_out, phrase_share=0.0)
        for _ in range(count)
    ]


@pytest.mark.parametrize("language", ["en", "de"])
def test_evaluation_sentences_are_not_trained_on(language: str) -> None:
    trained = {sentence.text for sentence in draw(language, False)}
    reserved = {sentence.text for sentence in draw(language, True)}
    assert trained and reserved
    assert not trained & reserved
    assert all(grammar.is_held_out(text) for text in reserved)
    assert not any(grammar.is_held_out(text) for text in trained)


def test_the_rule_ignores_case_and_marks() -> None:
    for sentence in draw("en", True, 20):
        assert grammar.is_held_out(sentence.text.upper().rstrip(".?"))


@pytest.mark.parametrize("language", ["en", "de"])
def test_sentences_use_only_published_words(language: str) -> None:
    published = set(grammar.vocabulary(language))
    english = set(grammar.vocabulary("en"))
    rng = random.Random(5)
    for _ in range(500):
        sentence = grammar.generate(rng, language, held_out=False, phrase_share=0.3)
        assert set(grammar.normalise(sentence.text)) <= published
        assert set(grammar.normalise(sentence.english)) <= english
        assert sentence.text[0].isupper() and sentence.text[-1] in ".?"


def test_the_readme_shows_the_grammar_as_it_is() -> None:
    assert describe.described() in describe.README.read_text()


def test_kinds_of_sentences() -> None:
    rng = random.Random(1)
    digits = set(grammar.normalise(" ".join(DIGITS)))
    for _ in range(50):
        text = grammar.generate(rng, "en", held_out=False, kind="digits").text
        assert set(grammar.normalise(text)) <= digits
        text = grammar.generate(rng, "en", held_out=False, kind="sentences").text
        assert not set(grammar.normalise(text)) <= digits


@pytest.mark.parametrize("language", ["en", "de"])
def test_reserved_voices_are_never_drawn_for_training(language: str) -> None:
    rng = random.Random(2)
    named = [*voices.RESERVED_ESPEAK, "f1", "m1"]
    drawn = {
        voices.training_voice(rng, language, named, 10).identity for _ in range(3000)
    }
    reserved = {f"espeak:{name}" for name in voices.RESERVED_ESPEAK}
    reserved |= {"flite:rms", "festival:ked_diphone", "festival:ked"}
    assert not drawn & reserved
    assert "espeak:f1" in drawn


def test_evaluation_uses_reserved_voices_alone() -> None:
    for listed in voices.EVALUATION_VOICES.values():
        for voice in listed:
            assert voice.identity.removesuffix("_diphone") in voices.RESERVED
