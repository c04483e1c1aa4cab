"""Words in any script: what is compared, and what is told from punctuation."""

from __future__ import annotations

import unicodedata

import pytest

from whisper_live.text.wer import plain_words
from whisper_live.text.words import ends_sentence, is_word, normalise, split_words

# Letters with vowel signs, viramas, points and tone marks, most of which are neither
# alphanumeric nor of a combining class.
MARKED = [
    "नमस्ते",
    "धन्यवाद।",
    "क्या?",
    "शुक्रिया",
    "ধন্যবাদ",
    "ਧੰਨਵਾਦ",
    "આભાર",
    "நன்றி",
    "ధన్యవాదములు",
    "ಧನ್ಯವಾದ",
    "വന്ദനം",
    "ස්තූතියි",
    "ที่นี่",
    "ຂອບໃຈ",
    "ကျေးဇူး",
    "អរគុណ",
    "شُكْرًا",
    "שָׁלוֹם",
    "cảm ơn",
]


@pytest.mark.parametrize("text", MARKED)
def test_letters_keep_their_marks(text: str) -> None:
    assert is_word(text)
    assert plain_words(text), "words are counted"
    bare = "".join(plain_words(text))
    assert all(unicodedata.category(c)[0] in "LMN" for c in bare)
    marks = [c for c in text if unicodedata.category(c)[0] == "M"]
    kept = [c for c in unicodedata.normalize("NFKC", text) if c in marks]
    assert [c for c in bare if c in marks] == kept, "no mark is lost"
    assert "".join(split_words(text)) == text


def test_words_that_differ_in_a_vowel_sign_are_not_equal() -> None:
    assert normalise("की") != normalise("कि")
    assert normalise("बोला") != normalise("बोली")


def test_a_closed_sentence_of_marked_letters() -> None:
    assert ends_sentence(" धन्यवाद।")
    assert not ends_sentence(" धन्यवाद")


@pytest.mark.parametrize("token", ["", " ", "...", " -", "♪", "।", "؟", "!?", "_", "¿"])
def test_punctuation_is_no_word(token: str) -> None:
    assert not is_word(token)


@pytest.mark.parametrize("token", ["7", "½", "x-", "'s", "٣", "五"])
def test_one_letter_or_digit_makes_a_word(token: str) -> None:
    assert is_word(token)
