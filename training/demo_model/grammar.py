"""The small language the demo model knows: sentences of a home assistant.

Owns the templates, the words, the German/English pairs and the rule that keeps
evaluation sentences out of training. Knows nothing of audio or tokens.

A template is text with ``{slot}`` names. An expansion is written with a capital
first letter and a closing mark; numbers are spelled as words, so the written form
follows from the spoken words and word error rate needs no number normalisation.
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass

from training.demo_model.domain import (
    DIGITS,
    DIGITS_DE,
    HOURS,
    MINUTES,
    ORDINALS,
    PHRASES,
    PHRASES_DE,
    SLOTS,
    SLOTS_DE,
    TEMPLATES,
    TEMPLATES_DE,
)

__all__ = [
    "Sentence",
    "generate",
    "is_held_out",
    "normalise",
    "vocabulary",
]

# One sentence in eight is kept for evaluation, chosen by checksum: the rule needs no
# list, and anybody can check any sentence against it.
_HELD_OUT_MODULUS = 8

_SLOT = re.compile(r"\{(\w+)(?::\d)?\}")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True)
class Sentence:
    """One utterance's text; ``english`` is its translation, itself if English."""

    text: str
    language: str  # "en" or "de"
    english: str


def normalise(text: str) -> list[str]:
    """Return the words compared by word error rate: no case, no punctuation."""
    return _WORD.findall(text.lower())


def is_held_out(text: str) -> bool:
    """Tell whether this sentence is reserved for evaluation.

    Sentences of fewer than three words are too few to spare and never are.
    """
    words = normalise(text)
    if len(words) < 3 or text in PHRASES or any(text == de for de, _ in PHRASES_DE):
        return False
    return zlib.crc32(" ".join(words).encode()) % _HELD_OUT_MODULUS == 0


def _time(rng: random.Random) -> str:
    hour = rng.choice(HOURS)
    form = rng.random()
    if form < 0.3:
        return f"{hour} o'clock"
    if form < 0.4:
        return f"half past {hour}"
    if form < 0.5:
        return f"quarter {rng.choice(('to', 'past'))} {hour}"
    return f"{hour} {rng.choice(MINUTES)}"


def _date(rng: random.Random) -> str:
    day, month = rng.choice(SLOTS["day"]), rng.choice(SLOTS["month"])
    if rng.random() < 0.5:
        return f"{day} {month} {rng.choice(ORDINALS)}"
    return f"{month} {rng.choice(ORDINALS)}"


def _fill_english(template: str, rng: random.Random) -> str:
    def value(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot == "time":
            return _time(rng)
        if slot == "date":
            return _date(rng)
        if slot == "digits":
            return " ".join(rng.choices(DIGITS, k=rng.randint(3, 8)))
        return rng.choice(SLOTS[slot])

    return _capitalise(_SLOT.sub(value, template))


def _fill_german(templates: tuple[str, str], rng: random.Random) -> tuple[str, str]:
    chosen: dict[str, tuple[str, str]] = {}
    for match in _SLOT.finditer(templates[0]):
        slot = match.group(1)
        if slot == "digits":
            pairs = rng.choices(SLOTS_DE["digit"], k=rng.randint(3, 7))
            pair = (" ".join(p[0] for p in pairs), " ".join(p[1] for p in pairs))
        else:
            pair = rng.choice(SLOTS_DE[slot])
        chosen[match.group(0)] = pair
    german, english = (
        _capitalise(_SLOT.sub(lambda match: chosen[match.group(0)][side], text))
        for side, text in enumerate(templates)
    )
    return german, english


def _capitalise(text: str) -> str:
    return text[0].upper() + text[1:]


def generate(
    rng: random.Random,
    language: str,
    *,
    held_out: bool,
    phrase_share: float = 0.08,
    kind: str = "any",
) -> Sentence:
    """Draw one sentence of ``language`` ("en" or "de").

    ``held_out`` picks the side of the evaluation rule. ``phrase_share`` is the
    probability of a fixed phrase or a single digit. ``kind`` narrows the templates:
    "digits" to bare digit strings, "sentences" to all others.
    """
    if kind == "any" and rng.random() < phrase_share:
        return _phrase(rng, language)
    while True:
        if language == "en":
            rows = [row for row in TEMPLATES if _matches(row[1], kind)]
            template = rng.choices(rows, [row[0] for row in rows])[0][1]
            text = _fill_english(template, rng)
            english = text
        else:
            pairs = [row for row in TEMPLATES_DE if _matches(row[1], kind)]
            pair = rng.choices(pairs, [row[0] for row in pairs])[0]
            text, english = _fill_german(pair[1:], rng)
        if is_held_out(text) == held_out:
            return Sentence(text, language, english)


def _matches(template: str, kind: str) -> bool:
    return kind == "any" or (template == "{digits}.") == (kind == "digits")


def _phrase(rng: random.Random, language: str) -> Sentence:
    if rng.random() < 0.35:
        index = rng.randrange(10)
        english = f"{DIGITS[index].capitalize()}."
        if language == "en":
            return Sentence(english, "en", english)
        return Sentence(f"{DIGITS_DE[index].capitalize()}.", "de", english)
    if language == "en":
        text = rng.choice(PHRASES)
        return Sentence(text, "en", text)
    german, english = rng.choice(PHRASES_DE)
    return Sentence(german, "de", english)


def vocabulary(language: str) -> list[str]:
    """Return every normalised word the grammar of ``language`` can produce, sorted."""
    if language == "en":
        texts = [text for _, text in TEMPLATES] + PHRASES
        texts += [value for values in SLOTS.values() for value in values]
        texts += ["o'clock half past quarter to"]
        texts += [row[2] for row in TEMPLATES_DE]
    else:
        texts = [row[1] for row in TEMPLATES_DE] + [de for de, _ in PHRASES_DE]
        texts += [de for pairs in SLOTS_DE.values() for de, _ in pairs]
    words = {word for text in texts for word in normalise(_SLOT.sub(" ", text))}
    return sorted(words)
