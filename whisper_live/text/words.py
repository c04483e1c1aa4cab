"""Words of a text: where they begin, when two are the same, what closes a sentence."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["ends_sentence", "is_word", "normalise", "split_words"]

# Thai, Lao, Burmese, Khmer, and kana to Hangul's neighbours: written without spaces.
# Punctuation and marks belong to the character before them.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"\s*(?:[{_UNSPACED}][^\w\s]*|[^\s{_UNSPACED}]+)")

# Not dots in a row: with them Whisper writes that somebody broke off.
_CLOSED = re.compile(r"(?:(?<!\.)\.(?!\.)|[!?\u3002\uff01\uff1f\u061f\u0964])[\W_]*$")


def split_words(text: str) -> list[str]:
    """Words with their leading space, so that joining them gives the text back.

    Scripts written without spaces are compared character by character.
    """
    return _WORD.findall(text)


def ends_sentence(text: str) -> bool:
    """Whether ``text`` closes with a full stop or the like, quotes aside."""
    return _CLOSED.search(text) is not None


def normalise(word: str) -> str:
    """The word as it is compared: letters, marks and digits only, case folded.

    A token of nothing else (a dash, an ellipsis) keeps its symbols, so that it is
    not equal to every other one.
    """
    folded = unicodedata.normalize("NFKC", word).casefold().strip()
    kept = "".join(c for c in folded if unicodedata.category(c)[0] in "LMN")
    return kept or folded


def is_word(token: str) -> bool:
    """Whether there is a letter or a digit in it, and not punctuation alone.

    Letters carry marks in many scripts: "नमस्ते" is not alphanumeric by `str.isalnum`.
    """
    return any(unicodedata.category(c)[0] in "LN" for c in token)
