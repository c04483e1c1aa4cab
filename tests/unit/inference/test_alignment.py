"""Alignments to words: positions to samples, punctuation, spans and silence."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from faster_whisper.tokenizer import Tokenizer

from tests.engine.models import model_folder
from whisper_live.inference.ctranslate2.alignment import Aligned, aligned_words
from whisper_live.inference.ctranslate2.prompts import Prompts
from whisper_live.inference.ctranslate2.tokens import Span

POSITION = 320  # samples


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Prompts(model_folder() / "tokenizer.json", multilingual=True).tokenizer("en")


def align(
    tokenizer: Tokenizer, texts: list[str], positions: list[int], samples: int = 32_000
) -> list[list[Aligned]]:
    """Words of ``texts``, whose n-th token (and then the end) begins at a position."""
    spans = []
    for text in texts:
        tokens = tokenizer.encode(text)
        spans.append(Span(0, samples, tokens))
    count = sum(len(span.tokens) for span in spans)
    assert len(positions) == count + 1
    alignment = SimpleNamespace(
        alignments=[
            (token, position)
            for token, begin in enumerate(positions)
            for position in (begin, begin + 1)
        ],
        text_token_probs=[1 / (2 + i) for i in range(count)],
    )
    return aligned_words(tokenizer, spans, alignment, samples=samples)


def times(words: list[Aligned]) -> list[tuple[str, int, int]]:
    return [(w.text, w.start // POSITION, w.end // POSITION) for w in words]


def test_words_begin_and_end_where_their_tokens_do(tokenizer: Tokenizer) -> None:
    (words,) = align(tokenizer, [" open the door"], [2, 10, 14, 20])
    assert times(words) == [(" open", 2, 10), (" the", 10, 14), (" door", 14, 20)]
    assert words[1].probability == pytest.approx(1 / 3)


def test_marks_belong_to_their_words(tokenizer: Tokenizer) -> None:
    (words,) = align(tokenizer, [" door, please."], [0, 8, 9, 20, 24])
    assert times(words) == [(" door,", 0, 9), (" please.", 9, 24)]
    assert words[0].probability == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_words_stay_in_their_spans(tokenizer: Tokenizer) -> None:
    first, second = align(tokenizer, [" open", " the door"], [0, 10, 20, 30])
    assert times(first) == [(" open", 0, 10)]
    assert times(second) == [(" the", 10, 20), (" door", 20, 30)]


def test_silence_around_a_span_is_not_its_words(tokenizer: Tokenizer) -> None:
    (words,) = align(tokenizer, [" open the door"], [0, 60, 65, 95])
    # the median word has 30 positions: the outer ones get twice that
    assert times(words) == [(" open", 0, 60), (" the", 60, 65), (" door", 65, 95)]
    (words,) = align(tokenizer, [" open the door"], [0, 60, 70, 80])
    assert times(words) == [(" open", 40, 60), (" the", 60, 70), (" door", 70, 80)]


def test_nothing_passes_the_end_of_the_window(tokenizer: Tokenizer) -> None:
    (words,) = align(tokenizer, [" open the door"], [0, 5, 90, 95], samples=6400)
    assert [word.end for word in words][1:] == [6400, 6400]


def test_no_text_is_no_words(tokenizer: Tokenizer) -> None:
    assert align(tokenizer, [], [0]) == []
