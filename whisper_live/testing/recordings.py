"""The recordings that ship with the package: what is said in them, and when.

``meeting`` is ordinary English, for real Whisper; ``demo`` has sentences that the demo
model knows.  Both are spoken by synthesised voices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from whisper_live.errors import ConfigError

__all__ = ["ShippedRecording", "TimedWord", "read_word_times", "shipped"]

_AUDIO = {"meeting": "meeting.flac", "demo": "demo.wav"}
_CUT_PAUSE_S = 0.6  # a pause at which one sentence ends, where the file does not say


class TimedWord(NamedTuple):
    """A word as it is written, in seconds from the start of the recording."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class ShippedRecording:
    """One of them; its files are there."""

    audio: Path  # 16 kHz mono
    webm: Path  # the same as a browser sends it
    text: str
    times: Path
    sentences: tuple[tuple[TimedWord, ...], ...]


def shipped(name: str) -> ShippedRecording:
    """``meeting`` or ``demo``; raises ``ConfigError`` if the installation lacks it."""
    folder = f"data/{name}-recording"
    root = Path(str(resources.files("whisper_live"))) / folder
    files = (_AUDIO[name], f"{name}.webm", f"{name}.txt", f"{name}.words.json")
    for file in files:
        if not (root / file).is_file():
            raise ConfigError(
                f"this installation lacks {folder}/{file}; install the package again"
            )
    audio, webm, text, times = (root / file for file in files)
    return ShippedRecording(
        audio, webm, text.read_text(encoding="utf-8"), times, read_word_times(times)
    )


def read_word_times(file: Path) -> tuple[tuple[TimedWord, ...], ...]:
    """The words of each sentence.

    The file holds a JSON list of ``{"word", "start", "end"}`` in seconds, cut into
    sentences at its pauses, or ``{"sentences": [{"words": [[word, start, end], ...]},
    ...]}``.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        return tuple(
            tuple(TimedWord(*word) for word in sentence["words"])
            for sentence in content["sentences"]
        )
    sentences: list[list[TimedWord]] = []
    for entry in content:
        word = TimedWord(entry["word"], entry["start"], entry["end"])
        if not sentences or word.start_s - sentences[-1][-1].end_s >= _CUT_PAUSE_S:
            sentences.append([])
        sentences[-1].append(word)
    return tuple(map(tuple, sentences))
