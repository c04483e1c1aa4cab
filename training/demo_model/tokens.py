"""Whisper's multilingual tokenizer, and the few of its tokens that are trained.

``build_tokenizer`` turns the published rank table into a ``tokenizers`` file.
``Tokens`` maps between the 51865 ids of the format and the compact ids of training:
text tokens of the domain, all timestamps, the special tokens in use, and one shared
row for everything else.
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from training.demo_model import grammar

__all__ = ["LANGUAGES", "TIMESTAMPS", "Tokens", "build_tokenizer", "VOCABULARY_SIZE"]

VOCABULARY_SIZE = 51865
TIMESTAMP_STEP_S = 0.02
TIMESTAMPS = 1501

# The order of the published tokenizer, 99 languages.
LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da "
    "hu ta no th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy "
    "ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht "
    "ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su"
).split()

_SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    *(f"<|{index * TIMESTAMP_STEP_S:.2f}|>" for index in range(TIMESTAMPS)),
]


def _byte_letters() -> dict[int, str]:
    """Return GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in letters)
    letters.update({byte: chr(256 + n) for n, byte in enumerate(others)})
    return letters


def build_tokenizer(ranks_path: Path) -> Tokenizer:
    """Build the tokenizer from ``multilingual.tiktoken`` of the openai-whisper sdist.

    The table lists tokens by rank; a token's merge is the split that byte pair
    encoding reaches using only lower ranks.
    """
    ranks: dict[bytes, int] = {}
    for line in ranks_path.read_bytes().splitlines():
        encoded, rank_text = line.split()
        ranks[base64.b64decode(encoded)] = int(rank_text)
    letters = _byte_letters()

    def name(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            parts = _split(token, rank, ranks)
            if len(parts) == 2:
                merges.append((name(parts[0]), name(parts[1])))
    vocabulary = {name(token): rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in _SPECIAL]
    )
    assert tokenizer.get_vocab_size() == VOCABULARY_SIZE, "the rank table is another"
    return tokenizer


def _split(token: bytes, limit: int, ranks: dict[bytes, int]) -> list[bytes]:
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, limit) for a, b in zip(parts, parts[1:])]
        best = min(range(len(pairs)), key=pairs.__getitem__)
        if pairs[best] >= limit:
            break
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts


class Tokens:
    """Encode text of the domain to compact ids; hold the compact special ids.

    ``full_ids[compact]`` is the id in the exported vocabulary; compact id 0 is the
    shared row and stands for all ``unused`` ids. Timestamps are the last rows.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        marks = {mark: self._text_ids(mark)[0] for mark in ".?"}
        full = set(marks.values())
        for word in self._words():
            full.update(self._text_ids(word))
        specials = [tokenizer.token_to_id(token) for token in _SPECIAL]
        ids = dict(zip(_SPECIAL, specials))
        used = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>"]
        used += ["<|translate|>", "<|transcribe|>", "<|startofprev|>"]
        used += ["<|nospeech|>", "<|notimestamps|>"]
        rows = [-1, *sorted(full), *(ids[token] for token in used)]
        rows += specials[-TIMESTAMPS:]
        self.full_ids: NDArray[np.int64] = np.array(rows)
        self._compact = {row: index for index, row in enumerate(rows)}
        self.unused = VOCABULARY_SIZE - (len(rows) - 1)
        self.size = len(rows)
        self.eot, self.sot, self.en, self.de = (
            self._compact[ids[token]] for token in used[:4]
        )
        self.translate, self.transcribe, self.previous = (
            self._compact[ids[token]] for token in used[4:7]
        )
        self.no_speech, self.no_timestamps = (
            self._compact[ids[token]] for token in used[7:]
        )
        self.timestamp_begin = self._compact[ids["<|0.00|>"]]
        self._marks = {mark: self._compact[row] for mark, row in marks.items()}
        self._cache: dict[str, list[int]] = {}

    @staticmethod
    def _words() -> list[str]:
        """Return every written form of a word: " kitchen", " Kitchen"."""
        lower = set(grammar.vocabulary("en")) | set(grammar.vocabulary("de"))
        return [
            f" {form}" for word in sorted(lower) for form in (word, word.capitalize())
        ]

    def _text_ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def word(self, written: str) -> list[int]:
        """Return the compact ids of a written word ("light.") with a space before.

        The closing mark is a token of its own, as in the published tokenizer.
        """
        if written not in self._cache:
            bare = written.rstrip(".?")
            ids = [self._compact[token] for token in self._text_ids(f" {bare}")]
            ids += [self._marks[mark] for mark in written[len(bare) :]]
            self._cache[written] = ids
        return self._cache[written]

    def timestamp(self, seconds: float) -> int:
        """Return the compact id of the nearest timestamp within 0 to 30 s."""
        step = round(seconds / TIMESTAMP_STEP_S)
        return self.timestamp_begin + min(max(step, 0), TIMESTAMPS - 1)

    def language(self, language: str) -> int:
        """Return the compact id of "en" or "de"."""
        return self.en if language == "en" else self.de


def main(arguments: list[str] | None = None) -> None:
    """Command line: ``tokenizer RANKS OUTPUT``, from multilingual.tiktoken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ranks", type=Path, help="multilingual.tiktoken")
    parser.add_argument("output", type=Path, help="tokenizer.json")
    options = parser.parse_args(arguments)
    build_tokenizer(options.ranks).save(str(options.output), pretty=False)
