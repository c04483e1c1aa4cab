"""When two texts say the same, so that one answer is an answer to both."""

from __future__ import annotations

import unicodedata

from whisper_live.text.words import is_word

__all__ = ["wording"]

_AROUND = ".,;:!?\u2026\"'\u2018\u2019\u201c\u201d\u3002\uff0c\uff01\uff1f"


def wording(text: str) -> tuple[str, ...]:
    """The words without case, and without the punctuation before and behind each.

    What is inside a word stays, and so do signs: 1.5 is not 15, nor C++ C, nor -5 5.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().split()
    return tuple(word for token in folded if is_word(word := token.strip(_AROUND)))
