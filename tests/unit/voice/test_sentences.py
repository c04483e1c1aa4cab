"""Where a spoken answer is divided, however it comes in pieces."""

from __future__ import annotations

import pytest

from whisper_live.voice.sentences import MOST_CHARACTERS, Sentences


def divided(text: str, size: int) -> list[str]:
    sentences = Sentences()
    found = []
    for at in range(0, len(text), size):
        found += sentences.push(text[at : at + size])
    return found + sentences.finish()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rains. Take a coat!", ["It rains.", "Take a coat!"]),
        ("Is it? Yes.", ["Is it?", "Yes."]),
        ("Pi is 3.14, so. There.", ["Pi is 3.14, so.", "There."]),
        ("Dr. Smith met Mr. J. Doe. Ok.", ["Dr. Smith met Mr. J. Doe.", "Ok."]),
        ("See e.g. the sea. Now.", ["See e.g. the sea.", "Now."]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("First line\nsecond line", ["First line", "second line"]),
        ("No. It is 25. Bye.", ["No.", "It is 25.", "Bye."]),
        ("1. Salt.\n2. Oil.", ["1. Salt.", "2. Oil."]),
        ("今日は雨です。傘を持って!", ["今日は雨です。", "傘を持って!"]),
        ("यह है। वह है।", ["यह है।", "वह है।"]),
        ("... - Well. *", ["... - Well."]),
        ("", []),
        (" \n ... ", []),
        ("no end", ["no end"]),
    ],
)
def test_any_cut_gives_the_same_sentences(
    text: str, sentences: list[str], size: int
) -> None:
    assert divided(text, size) == sentences


def test_a_sentence_goes_out_as_soon_as_it_is_whole() -> None:
    sentences = Sentences()
    assert sentences.push("One") == []
    assert sentences.push(" two.") == []  # 2.5 might follow
    assert sentences.push(" Three") == ["One two."]


@pytest.mark.parametrize("word", ["word ", "word, ", "w" * 50, "... "])
def test_what_never_ends_is_divided_and_nothing_is_lost(word: str) -> None:
    sentences = Sentences()
    found = []
    for _ in range(200):
        found += sentences.push(word)
    if word.startswith("w"):
        assert len(found) >= len(word) * 200 // MOST_CHARACTERS - 1
        assert all(len(each) <= MOST_CHARACTERS for each in found)
        whole = "".join([*found, *sentences.finish()])
        assert whole.replace(" ", "") == (word * 200).replace(" ", "")
    else:
        assert found == sentences.finish() == []
