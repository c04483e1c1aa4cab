"""Previous text that comes back as an answer: it is asked again without it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.engine.requests import request, text
from tests.engine.speaker import say
from whisper_live.audio import SAMPLE_RATE
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine
from whisper_live.inference.ctranslate2.prompts import Prompt, Prompts
from whisper_live.inference.engine import Again
from whisper_live.inference.types import DecodeOptions, Hypothesis

BEFORE = "nine two one seven four zero six three"  # eight tokens, none cut off
NEW = " eight zero"
AUDIO = np.random.default_rng(0).normal(0, 0.05, 2 * SAMPLE_RATE).astype(np.float32)


def echo(engine: CTranslate2Engine) -> None:
    """Say the previous text again where there is any, else something new."""
    tokenizer = engine._calls[0].prompts.tokenizer("en")
    end = [tokenizer.timestamp_begin + 100]

    def saying(prompt: Sequence[int]) -> list[int]:
        has_text = prompt[0] == tokenizer.sot_prev
        return [*tokenizer.encode(f" {BEFORE}" if has_text else NEW), *end]

    say(engine, saying)


@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(language="en", prompt=BEFORE),
        DecodeOptions(language="en", hotwords=BEFORE),
    ],
)
async def test_an_echo_is_asked_again_without_what_it_echoes(
    nano: CTranslate2Engine, options: DecodeOptions
) -> None:
    echo(nano)
    with_text = request(AUDIO, options)
    fine, again = await nano.transcribe([request(AUDIO), with_text])
    assert text(fine) == NEW, "its neighbour is done"
    assert isinstance(again, Again)
    (outcome,) = await nano.transcribe([again.request])
    assert text(outcome) == NEW
    assert isinstance(outcome, Hypothesis) and not outcome.timing.is_fallback


async def test_what_is_said_again_without_previous_text_was_said(
    nano: CTranslate2Engine,
) -> None:
    tokenizer = nano._calls[0].prompts.tokenizer("en")
    tokens = [*tokenizer.encode(f" {BEFORE}"), tokenizer.timestamp_begin + 100]
    say(nano, lambda prompt: tokens)
    (again,) = await nano.transcribe(
        [request(AUDIO, DecodeOptions(language="en", prompt=BEFORE))]
    )
    assert isinstance(again, Again)
    (outcome,) = await nano.transcribe([again.request])
    assert text(outcome) == f" {BEFORE}"


async def test_a_few_equal_words_are_no_echo(nano: CTranslate2Engine) -> None:
    tokenizer = nano._calls[0].prompts.tokenizer("en")
    say(nano, lambda prompt: tokenizer.encode(" nine two one five three"))
    (outcome,) = await nano.transcribe(
        [request(AUDIO, DecodeOptions(language="en", prompt=BEFORE))]
    )
    assert text(outcome) == " nine two one five three"


async def test_an_echo_is_kept_where_the_second_prompt_cannot_be_made(
    nano: CTranslate2Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo(nano)
    options = DecodeOptions(language="en", prompt=BEFORE, word_timestamps=True)
    fine, again = await nano.transcribe([request(AUDIO), request(AUDIO, options)])
    assert isinstance(again, Again)

    def fail(self: Prompts, options: DecodeOptions, language: str) -> Prompt:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(Prompts, "build", fail)
        (outcome,) = await nano.transcribe([again.request])
    assert text(outcome) == f" {BEFORE}"
