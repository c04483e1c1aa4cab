"""Sentences out of a text that comes in pieces.

Owns where a spoken answer is divided: each part goes to speech as soon as it is whole.
Knows nothing of models, speech or time.
"""

from __future__ import annotations

import re

from whisper_live.text.words import ends_sentence, is_word

__all__ = ["MOST_CHARACTERS", "Sentences"]

# A sentence that does not end is divided here: some 20 s of speech, for which nobody
# should have to wait.
MOST_CHARACTERS = 300
# Behind a full stop comes white space, or it may stand inside a number or a name;
# scripts without spaces have marks of their own.
_END = re.compile(
    r"[.!?\u061f\u0964][\"'\u2019\u201d)\]*_]*(?=\s)|[\u3002\uff01\uff1f]|\n"
)
_CLAUSE = re.compile(r"[,;:\u2013\u2014\u3001\uff0c\uff1b](?=\s|$)")
# Full stops that end no sentence: titles, initials, and the number of a list's item.
_ABBREVIATED = re.compile(
    r"(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|approx|e\.g|i\.e|[^\W\d_])\.$"
    r"|^\d{1,2}\.$",
    re.IGNORECASE,
)


class Sentences:
    """One answer's text, from its first piece to its end."""

    def __init__(self) -> None:
        self._rest = ""

    def push(self, piece: str) -> list[str]:
        """Take the next piece; the sentences that are whole with it, in order."""
        self._rest += piece
        found = []
        while (end := self._end()) is not None:
            found.append(self._rest[:end].strip())
            self._rest = self._rest[end:]
        return found

    def finish(self) -> list[str]:
        """The text is over: what is left of it, if there is a word in it."""
        rest, self._rest = self._rest.strip(), ""
        return [rest] if is_word(rest) else []

    def _end(self) -> int | None:
        """Behind the first sentence that is whole; None while there is none."""
        for match in _END.finditer(self._rest):
            sentence = self._rest[: match.end()].strip()
            # What has no word in it is said with the next sentence.
            if is_word(sentence) and not _is_abbreviated(sentence):
                return match.end()
        if len(self._rest) <= MOST_CHARACTERS:
            return None
        head = self._rest[:MOST_CHARACTERS]
        if not is_word(head):
            self._rest = self._rest[MOST_CHARACTERS:]
            return self._end()
        clauses = [match.end() for match in _CLAUSE.finditer(head)]
        return clauses[-1] if clauses else head.rfind(" ") + 1 or MOST_CHARACTERS


def _is_abbreviated(sentence: str) -> bool:
    if not ends_sentence(sentence):
        return False  # a line that ends without a mark
    return _ABBREVIATED.search(sentence) is not None
