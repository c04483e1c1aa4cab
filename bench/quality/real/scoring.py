"""Words against words: errors, cuts inside sentences, what is missing at the end.

Pure.  Texts are compared as in Whisper's paper: with its English normaliser, or its
basic one for other languages, and by characters where a language is written without
spaces between words.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from whisper_live.text.words import ends_sentence, split_words

__all__ = ["BY_CHARACTER", "cuts_inside", "lost_at_ends", "sentences", "units"]

# Korean has spaces, but where they stand varies from writer to writer.
BY_CHARACTER = frozenset({"zh", "yue", "ja", "ko", "th", "lo", "my", "km", "bo"})

# What closes with a full stop and no sentence, as compared by `split_words`.
_ABBREVIATIONS = frozenset({"mr.", "mrs.", "ms.", "dr.", "st.", "prof.", "no."})


@functools.cache
def _normaliser(is_english: bool) -> Callable[[str], str]:
    if is_english:
        english: Callable[[str], str] = EnglishTextNormalizer()
        return english
    basic: Callable[[str], str] = BasicTextNormalizer()
    return basic


def units(text: str, language: str | None) -> list[str]:
    """What errors are counted in: words, or characters, as they are compared."""
    normal = _normaliser(language == "en")(text)
    if language in BY_CHARACTER:
        return list(normal.replace(" ", ""))
    return normal.split()


def sentences(texts: Sequence[str], language: str | None) -> list[list[str]]:
    """The units of each sentence of a reference; a text's end is always one's end."""
    found = []
    for text in texts:
        sentence = ""
        for word in split_words(text):
            sentence += word
            is_initial = len(word.strip()) == 2 and word.strip()[0].isupper()
            if ends_sentence(word) and not (
                is_initial or word.strip().lower() in _ABBREVIATIONS
            ):
                found.append(units(sentence, language))
                sentence = ""
        found.append(units(sentence, language))
    return [sentence for sentence in found if sentence]


def cuts_inside(
    reference: Sequence[Sequence[str]], segments: Sequence[Sequence[str]]
) -> int:
    """How many segments end inside a sentence of the reference.

    Both are given in units.  A segment ends inside a sentence where no alignment with
    the fewest errors puts its end at a sentence's end, so that a wrong or missing word
    beside the end is not taken for a cut.  Segments without units, and the last one,
    end nowhere.
    """
    said = [unit for sentence in reference for unit in sentence]
    heard = [unit for segment in segments for unit in segment]
    limits = {0, *_ends(reference)}
    forward = _distances(said, heard)
    backward = _distances(said[::-1], heard[::-1])
    least = forward[-1][-1]
    inside = 0
    for at in sorted({*_ends(segments)} - {0, len(heard)}):
        places = {
            place
            for place in range(len(said) + 1)
            if forward[place][at] + backward[len(said) - place][len(heard) - at]
            == least
        }
        inside += not places & limits
    return inside


def lost_at_ends(
    utterances: Sequence[Sequence[str]], whole: Sequence[str], live: Sequence[str]
) -> list[int]:
    """How many units at the end of each utterance are missing live.

    ``utterances`` are those of the reference.  A unit is missing where the text has
    nothing in its place; what a whole reading misses as well does not count.
    """
    said = [unit for utterance in utterances for unit in utterance]
    in_whole, in_live = _has(said, whole), _has(said, live)
    lost, start = [], 0
    for end in _ends(utterances):
        missing = [_missing(has[start:end]) for has in (in_live, in_whole)]
        lost.append(max(missing[0] - missing[1], 0))
        start = end
    return lost


def _missing(has: Sequence[bool]) -> int:
    """How many at the end are not there."""
    return next((i for i, there in enumerate(reversed(has)) if there), len(has))


def _has(said: Sequence[str], heard: Sequence[str]) -> list[bool]:
    """For each unit said, whether an alignment with the fewest errors pairs it.

    Of several such alignments the one that leaves out the latest units: "a x" for "a b
    c" lacks the "c".
    """
    table = _distances(said, heard)
    has = [False] * len(said)
    i, j = len(said), len(heard)
    while i and j:
        if said[i - 1] != heard[j - 1]:
            if table[i][j] == table[i - 1][j] + 1:
                i -= 1
                continue
            if table[i][j] == table[i][j - 1] + 1:
                j -= 1
                continue
        i, j = i - 1, j - 1
        has[i] = True
    return has


def _ends(pieces: Sequence[Sequence[str]]) -> list[int]:
    ends, count = [], 0
    for piece in pieces:
        count += len(piece)
        ends.append(count)
    return ends


def _distances(left: Sequence[str], right: Sequence[str]) -> list[list[int]]:
    """Fewest errors between the beginnings of both, by the lengths of these."""
    table = [list(range(len(right) + 1))]
    for i, a in enumerate(left, 1):
        above, row = table[-1], [i]
        for j, b in enumerate(right):
            row.append(min(above[j] + (a != b), above[j + 1] + 1, row[j] + 1))
        table.append(row)
    return table
