"""Answers that run into the limit of tokens: read on behind, and no half characters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.requests import request, text
from tests.engine.speaker import say
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.inference.ctranslate2.batch import Call
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine
from whisper_live.inference.engine import Again
from whisper_live.inference.types import DecodeOptions, Hypothesis, RequestKind

# The numbers up to sixteen: three bytes a letter, and more tokens than letters.
GEORGIAN = (
    " ერთი ორი სამი ოთხი ხუთი ექვსი შვიდი რვა ცხრა ათი თერთმეტი თორმეტი ცამეტი"
    " თოთხმეტი თხუთმეტი თექვსმეტი"
)
HELLO = " გამარჯობა"


@pytest.fixture(scope="module")
def audio() -> Samples:
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.05, 4 * SAMPLE_RATE).astype(np.float32)


def saying(engine: CTranslate2Engine, words: str, *, end_s: float | None) -> list[int]:
    """Make the engine say ``words``; the tokens of it."""
    prompts = engine._calls[0].prompts
    tokens = list(prompts.tokenizer("ka").encode(words))
    if end_s is not None:
        tokens.append(prompts.tokenizer("ka").timestamp_begin + round(end_s / 0.02))
    say(engine, lambda prompt: tokens)
    return tokens


async def heard(
    engine: CTranslate2Engine, audio: Samples, options: DecodeOptions
) -> Hypothesis:
    (outcome,) = await engine.transcribe([request(audio, options, start=1000)])
    assert isinstance(outcome, Hypothesis)
    return outcome


@pytest.mark.parametrize("beam_size", [1, 5])
async def test_languages_of_many_tokens_are_not_cut(
    nano: CTranslate2Engine, audio: Samples, beam_size: int
) -> None:
    words = GEORGIAN[:60]  # in four seconds
    assert 120 < len(saying(nano, words, end_s=4.0)) < 224
    options = DecodeOptions(language="ka", beam_size=beam_size)
    outcome = await heard(nano, audio, options)
    assert text(outcome) == words
    assert outcome.read_to == 1000 + len(audio)


async def test_no_half_of_a_character_and_no_end_taken_for_read(
    nano: CTranslate2Engine, audio: Samples
) -> None:
    words = GEORGIAN
    assert len(saying(nano, words, end_s=None)) > 224
    outcome = await heard(nano, audio, DecodeOptions(language="ka"))
    assert "\ufffd" not in text(outcome)
    assert words.startswith(text(outcome)) and len(text(outcome)) > 60
    assert outcome.read_to is not None
    assert outcome.read_to < 1000 + len(audio), "the rest is to be read"
    assert not any(segment.words for segment in outcome.segments), "nobody asked"


async def test_what_was_closed_is_read_on_from_its_end(
    nano: CTranslate2Engine, audio: Samples
) -> None:
    prompts = nano._calls[0].prompts
    tokenizer = prompts.tokenizer("ka")
    closed = [*tokenizer.encode(HELLO), tokenizer.timestamp_begin + 50]
    open_end = tokenizer.encode(GEORGIAN)
    say(nano, lambda prompt: [*closed, *closed[-1:], *open_end])
    outcome = await heard(nano, audio, DecodeOptions(language="ka"))
    assert text(outcome) == HELLO
    assert outcome.read_to == 1000 + SAMPLE_RATE


async def test_english_spoken_fast_fits_into_its_limit(
    nano: CTranslate2Engine, audio: Samples
) -> None:
    # six words a second
    words = (
        " Well, he said that she should ask them all for it, but nobody ever did so,"
        " and they went home by half past eight."
    )
    saying(nano, words, end_s=4.0)
    outcome = await heard(nano, audio, DecodeOptions(language="en"))
    assert (text(outcome), outcome.read_to) == (words, 1000 + len(audio))


@pytest.mark.parametrize(
    ("kind", "is_again"),
    [
        (RequestKind.FINAL, True),
        (RequestKind.BACKGROUND, True),
        (RequestKind.PARTIAL, False),
    ],
)
async def test_an_answer_that_closes_nothing_is_read_again_in_the_whole_context(
    loaded_nano: CTranslate2Engine, audio: Samples, kind: RequestKind, is_again: bool
) -> None:
    calls = [
        Call(call._model, call.prompts, to_cpu=False) for call in loaded_nano._calls
    ]
    engine = CTranslate2Engine(
        loaded_nano.info, calls, mels=80, contexts=(500, 3000), trained_short=False
    )
    tokens = engine._calls[0].prompts.tokenizer("en").encode(" men")
    say(engine, lambda prompt: tokens)
    asked = replace(request(audio), kind=kind)
    (outcome,) = await engine.transcribe([asked])
    assert isinstance(outcome, Again) == is_again
    if isinstance(outcome, Again):
        (outcome,) = await engine.transcribe([outcome.request])
    assert isinstance(outcome, Hypothesis)
    assert (text(outcome), outcome.timing.is_fallback) == (" men", is_again)
