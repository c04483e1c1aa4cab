"""Two texts word by word, with what differs marked."""

from __future__ import annotations

from difflib import SequenceMatcher

from whisper_live.text.words import is_word, normalise, split_words

__all__ = ["difference"]


def difference(reference: str, heard: str) -> str:
    """The text with ``[-words-]`` of the reference alone and ``{+words+}`` heard alone.

    Empty if the words are the same; case and punctuation are no difference.
    """
    said, got = _words(reference), _words(heard)
    matcher = SequenceMatcher(
        None, [*map(normalise, said)], [*map(normalise, got)], autojunk=False
    )
    parts: list[str] = []
    is_same = True
    for kind, i, j, k, n in matcher.get_opcodes():
        if kind == "equal":
            parts += said[i:j]
            continue
        is_same = False
        parts += [f"[-{word}-]" for word in said[i:j]]
        parts += [f"{{+{word}+}}" for word in got[k:n]]
    return "" if is_same else " ".join(parts)


def _words(text: str) -> list[str]:
    words = (word.strip() for word in split_words(text))
    return [word for word in words if is_word(normalise(word))]
