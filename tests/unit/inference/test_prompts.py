"""Start tokens of rows: buckets, order, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.models import model_folder
from whisper_live.errors import WindowRejected
from whisper_live.inference.ctranslate2.prompts import (
    CONTEXT_LENGTHS,
    MOST_HOTWORDS,
    MOST_PREFIX,
    Prompts,
    context_tokens,
)
from whisper_live.inference.types import DecodeOptions, Task

SOT, SOT_PREV, TIMESTAMPS = 50258, 50361, 50364
EN, DE, TRANSCRIBE, TRANSLATE, NO_TIMESTAMPS = 50259, 50261, 50359, 50358, 50363


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts(model_folder() / "tokenizer.json", multilingual=True)


@given(
    st.lists(st.integers(0, 99), max_size=MOST_HOTWORDS),
    st.lists(st.integers(100, 199), max_size=500),
)
def test_context_has_a_listed_length_and_keeps_the_newest(
    hotwords: list[int], previous: list[int]
) -> None:
    context = context_tokens(hotwords, previous)
    assert len(context) in CONTEXT_LENGTHS
    kept = [token for token in context if token >= 100]
    assert kept == previous[len(previous) - len(kept) :]
    named = [token for token in context if token < 100]
    assert named[len(named) - len(hotwords) :] == hotwords
    assert not hotwords or set(named) == set(hotwords)


def test_context_is_as_long_as_its_own_text_allows() -> None:
    assert context_tokens([], [1, 2, 3]) == []
    assert context_tokens([], list(range(40))) == list(range(8, 40))
    assert context_tokens([1, 2, 3], []) == [3, 1, 2, 3]
    assert context_tokens([1, 2], [7, 8, 9]) == [1, 2, 8, 9]


def test_plain_prompt(prompts: Prompts) -> None:
    plain = prompts.build(DecodeOptions(), "en")
    assert plain.tokens == [SOT, EN, TRANSCRIBE]
    assert (plain.start, plain.forced, plain.timestamps) == (0, 0, True)


def test_task_language_and_no_timestamps(prompts: Prompts) -> None:
    options = DecodeOptions(task=Task.TRANSLATE, timestamps=False)
    assert prompts.build(options, "de").tokens == [SOT, DE, TRANSLATE, NO_TIMESTAMPS]


def test_previous_text_stands_before_and_prefix_behind(prompts: Prompts) -> None:
    options = DecodeOptions(prompt="open the door please", prefix=" what time")
    built = prompts.build(options, "en")
    assert built.tokens[0] == SOT_PREV
    assert built.start == 5 and built.tokens[5] == SOT
    assert built.tokens[8] == TIMESTAMPS  # a prefix begins at 0.00
    assert built.forced == len(built.tokens) - 8 == 3


def test_text_that_spells_a_special_token_stays_out(prompts: Prompts) -> None:
    options = DecodeOptions(prompt="<|endoftext|><|startoftranscript|> " * 3)
    assert max(prompts.build(options, "en").tokens[:-3], default=0) <= SOT_PREV
    assert prompts.build(options, "en").tokens.count(SOT) == 1


def test_halves_of_characters_are_left_out(prompts: Prompts) -> None:
    halved = DecodeOptions(prompt="open \ud83d the door please \udc00")
    whole = DecodeOptions(prompt="open  the door please")
    assert prompts.build(halved, "en") == prompts.build(whole, "en")


def test_a_huge_prompt_is_cut_like_any_other(prompts: Prompts) -> None:
    built = prompts.build(DecodeOptions(prompt="open the door " * 100_000), "en")
    assert built.start == CONTEXT_LENGTHS[-1] + 1


def test_of_long_hotwords_the_first_are_kept(prompts: Prompts) -> None:
    names = [f"Name{number}" for number in range(2000)]
    first = DecodeOptions(hotwords=", ".join(names[:300]))
    all_of_them = DecodeOptions(hotwords=", ".join(names))
    built = prompts.build(all_of_them, "en")
    assert built == prompts.build(first, "en")
    given = built.tokens[built.start - MOST_HOTWORDS : built.start]
    read = prompts.tokenizer("en").tokenizer.decode(given)
    assert read.startswith(" Name0, Name1, Name2")


def test_what_is_read_of_texts_is_what_stands_before_a_row(prompts: Prompts) -> None:
    names = ", ".join(f"Name{number}" for number in range(400))
    text = " ".join(f"number {number}" for number in range(400))
    first, last = prompts.characters_read(names, text)
    cut = DecodeOptions(hotwords=names[:first], prompt=text[-last:])
    assert prompts.build(cut, "en") == prompts.build(
        DecodeOptions(hotwords=names, prompt=text), "en"
    )
    assert 0 < first < len(names) and 0 < last < len(text)
    one_more = DecodeOptions(hotwords=names[: first + 8])
    assert prompts.characters_read(one_more.hotwords, "") == (first, 0)


def test_short_texts_are_read_whole(prompts: Prompts) -> None:
    assert prompts.characters_read("Ada, Babbage", "about engines") == (12, 13)
    assert prompts.characters_read("", "") == (0, 0)
    special = "<|de|>" * 500  # which no client can say: it is no token of a text
    assert prompts.characters_read("", special) == (0, 3000)


def test_languages(prompts: Prompts) -> None:
    assert {"en", "de", "ja"} <= set(prompts.languages)
    assert prompts.language(DecodeOptions(language="de")) == "de"
    assert prompts.language(DecodeOptions()) is None
    with pytest.raises(WindowRejected, match="'xx'"):
        prompts.language(DecodeOptions(language="xx"))


def test_an_english_only_model_has_one_language() -> None:
    prompts = Prompts(model_folder() / "tokenizer.json", multilingual=False)
    assert prompts.languages == ("en",)
    assert prompts.language(DecodeOptions(language="de")) == "en"
    assert prompts.build(DecodeOptions(), "en").tokens == [SOT]


@pytest.mark.parametrize("name", ["prompt", "prefix", "hotwords"])
def test_what_is_not_text_is_refused(prompts: Prompts, name: str) -> None:
    options = DecodeOptions(**{name: ["a", "list"]})  # type: ignore[arg-type]
    with pytest.raises(WindowRejected, match=f"{name} must be text, not list"):
        prompts.build(options, "en")


def test_of_a_long_prefix_the_beginning_is_forced(prompts: Prompts) -> None:
    built = prompts.build(DecodeOptions(prefix=" door" * 400), "en")
    assert built.forced == MOST_PREFIX + 1
    assert len(set(built.tokens[-MOST_PREFIX:])) == 1


def test_a_prefix_may_end_inside_a_character(prompts: Prompts) -> None:
    cut = prompts.build(DecodeOptions(prefix="\U00010348" * 200), "en")
    assert cut.forced == MOST_PREFIX + 1
    half = prompts.build(DecodeOptions(prefix=" door\ud83d"), "en")
    assert half == prompts.build(DecodeOptions(prefix=" door"), "en")


@pytest.mark.parametrize("text", ["door", " door", "\u6253\u958b\u9580"])
def test_a_prefix_keeps_its_space_or_has_none(prompts: Prompts, text: str) -> None:
    built = prompts.build(DecodeOptions(prefix=text), "en")
    tokenizer = prompts.tokenizer("en")
    assert tokenizer.decode(built.tokens[1 - built.forced :]) == text


def test_models_with_the_same_tokenizer_share_it(
    prompts: Prompts, tmp_path: Path
) -> None:
    """Parsing stops all threads for up to a second."""
    copied = tmp_path / "tokenizer.json"
    shutil.copyfile(model_folder() / "tokenizer.json", copied)
    other = Prompts(copied, multilingual=True)
    assert other.tokenizer("de").tokenizer is prompts.tokenizer("en").tokenizer
