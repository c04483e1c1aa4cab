"""Start tokens of one row: what a decode is told before it writes anything.

Owns the tokenizer and the rules by which CTranslate2 lets rows share a call: all rows
of one ``generate`` must have ``<|startoftranscript|>`` at the same index, so previous
text is cut to one of a few lengths.  A row's own length decides, alone or in company.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from faster_whisper.tokenizer import _LANGUAGE_CODES, Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

from whisper_live.errors import WindowRejected
from whisper_live.inference.types import DecodeOptions, Task

__all__ = ["CONTEXT_LENGTHS", "Prompt", "Prompts", "context_tokens"]

# Lengths of previous text in tokens.  0.12 ms per token and row on one core; 223 is
# the most that leaves half of the 448 positions for the answer.
CONTEXT_LENGTHS = (0, 4, 8, 16, 32, 64, 128, 223)
MOST_HOTWORDS = 96
MOST_PREFIX = 128
# A token is rarely longer than 16 characters: more text than this is never used.
MOST_CHARACTERS = 16 * CONTEXT_LENGTHS[-1]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Start tokens of one row.

    ``start``: index of ``<|startoftranscript|>``, equal for all rows of one call.
    ``forced``: tokens after the task tokens, which come back as part of the answer.
    """

    tokens: list[int]
    start: int
    forced: int
    timestamps: bool
    language: str
    task: Task


class Prompts:
    """Builds prompts for one model.  Thread-safe once built."""

    def __init__(self, tokenizer_file: Path, *, multilingual: bool) -> None:
        self._tokens = _parsed(tokenizer_file.read_bytes())
        self._multilingual = multilingual
        self._tokenizers: dict[tuple[str, Task], Tokenizer] = {}
        self.languages: tuple[str, ...] = ("en",)
        if multilingual:
            # `yue` exists from large-v3 on
            self.languages = tuple(
                code
                for code in _LANGUAGE_CODES
                if self._tokens.token_to_id(f"<|{code}|>") is not None
            )
        self.suppressed = list(get_suppressed_tokens(self.tokenizer("en"), [-1]))

    def tokenizer(self, language: str, task: Task = Task.TRANSCRIBE) -> Tokenizer:
        """faster-whisper's tokenizer of a language and task (0.6 ms, then kept)."""
        kept = self._tokenizers.get((language, task))
        if kept is None:
            kept = Tokenizer(self._tokens, self._multilingual, task.value, language)
            self._tokenizers[language, task] = kept
        return kept

    def language(self, options: DecodeOptions) -> str | None:
        """The language a row is to be decoded in; None where it must be detected.

        Raises ``WindowRejected`` for one that the model does not know.
        """
        if not self._multilingual:
            return "en"
        if options.language is None or options.language in self.languages:
            return options.language
        raise WindowRejected(f"the model does not know language {options.language!r}")

    def build(self, options: DecodeOptions, language: str) -> Prompt:
        """The start tokens of a row.

        Raises ``WindowRejected`` for options that cannot be written as tokens.
        """
        tokenizer = self.tokenizer(language, options.task)
        first = slice(MOST_CHARACTERS)  # of a previous text the last
        hotwords = self._encode("hotwords", options.hotwords, first)[:MOST_HOTWORDS]
        previous = self._encode("prompt", options.prompt)
        prefix = self._encode("prefix", options.prefix, first, spaced=False)
        del prefix[MOST_PREFIX:]
        context = context_tokens(hotwords, previous)
        if context:
            context = [tokenizer.sot_prev, *context]
        task = list(tokenizer.sot_sequence)
        if not options.timestamps:
            task.append(tokenizer.no_timestamps)
        elif prefix:
            prefix = [tokenizer.timestamp_begin, *prefix]
        return Prompt(
            tokens=[*context, *task, *prefix],
            start=len(context),
            forced=len(prefix),
            timestamps=options.timestamps,
            language=language,
            task=options.task,
        )

    def characters_read(self, hotwords: str, prompt: str) -> tuple[int, int]:
        """How many of each ``build`` uses: the first hotwords, the prompt's last.

        Both without space around them.  4096 characters take 4 ms.
        """
        first, last = hotwords[:MOST_CHARACTERS], prompt[-MOST_CHARACTERS:]
        names, words = self._ends(first), self._ends(last)
        if len(names) > MOST_HOTWORDS:
            names = names[:MOST_HOTWORDS]
            first = first[: names[-1]]
        room = CONTEXT_LENGTHS[-1] - len(names)
        if len(words) > room:
            last = last[words[-room - 1] :]
        return len(first), len(last)

    def _ends(self, text: str) -> list[int]:
        """Where in the text each of its tokens ends."""
        encoded = self._tokens.encode(f" {text}", add_special_tokens=False)
        eot = self.tokenizer("en").eot
        pairs = zip(encoded.ids, encoded.offsets)
        return [end - 1 for token, (_, end) in pairs if token < eot]

    def _encode(
        self,
        name: str,
        text: str,
        kept: slice = slice(-MOST_CHARACTERS, None),
        *,
        spaced: bool = True,
    ) -> list[int]:
        """Its tokens; ``spaced`` as text that follows other text."""
        if not isinstance(text, str):
            raise WindowRejected(f"{name} must be text, not {type(text).__name__}")
        # JSON may hold halves of characters, which no tokenizer takes
        text = text[kept].encode(errors="ignore").decode()
        if not text.strip():
            return []
        if spaced:
            text = f" {text.strip()}"
        ids: list[int] = self._tokens.encode(text, add_special_tokens=False).ids
        eot = self.tokenizer("en").eot
        return [token for token in ids if token < eot]  # no specials from clients


@functools.lru_cache(maxsize=2)
def _parsed(content: bytes) -> tokenizers.Tokenizer:
    """A tokenizer file's content, shared by the models that have the same one.

    Parsing takes 0.3 to 1 s in which no other thread runs, the event loop's included:
    too long for each further model of a server that has sessions.
    """
    return tokenizers.Tokenizer.from_buffer(content)


def context_tokens(hotwords: Sequence[int], previous: Sequence[int]) -> list[int]:
    """Hotwords and the newest previous text, together one of ``CONTEXT_LENGTHS``.

    The oldest text is left out to come down to a length.  Hotwords are not: where they
    alone are longer than that, they are repeated up to the next length instead.
    """
    total = len(hotwords) + len(previous)
    size = max(length for length in CONTEXT_LENGTHS if length <= total)
    if len(hotwords) > size:
        size = min(length for length in CONTEXT_LENGTHS if length >= len(hotwords))
    kept = list(previous[max(len(previous) - (size - len(hotwords)), 0) :])
    missing = size - len(hotwords) - len(kept)
    repeated = [hotwords[i % len(hotwords)] for i in range(-missing, 0)]
    return [*repeated, *hotwords, *kept]
