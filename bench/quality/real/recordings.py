"""Recordings of people, as a folder's manifests list them.

A folder holds ``manifest.jsonl`` at its top, in its sub-folders, or both.  One line is
one recording: ``file`` (relative to the manifest), ``text`` (what was said, or null),
``lang`` (or null), ``seconds``, ``kind``; ``spk`` where the speaker is known.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.errors import ConfigError
from whisper_live.media.files import read_file

__all__ = ["Recording", "join_voices", "load", "read_manifests", "select"]

_MANIFEST = "manifest.jsonl"
_NOBODY_SPEAKS = frozenset({"noise", "music"})  # music with lyrics is of another kind

_LOUDEST_ROOM_DB = -50.0  # below full scale; added quiet is never louder than this...
_STILLEST_ROOM_DB = -80.0  # ...and never digital silence, which no microphone gives
_SHORTEST_GAP_S, _LONGEST_GAP_S = 0.6, 1.5  # between joined utterances


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording, or several of one speaker joined in order."""

    name: str  # corpus/file, or corpus/joined-speaker-count
    corpus: str
    files: tuple[Path, ...]
    texts: tuple[str, ...]  # of each file; empty where what was said is not known
    language: str | None  # ISO 639-1
    kind: str
    speaker: str  # empty where it is not known
    seconds: float
    parts: tuple[str, ...] = ()  # names of the recordings that were joined

    @property
    def text(self) -> str:
        """Everything said."""
        return " ".join(self.texts)

    @property
    def is_silent(self) -> bool:
        """Whether nobody speaks or sings in it."""
        return self.kind in _NOBODY_SPEAKS

    @property
    def half(self) -> str:
        """``a`` or ``b``, the same for all recordings of one voice.

        Recordings of a corpus and language without a speaker's name count as one
        voice.
        """
        voice = f"{self.corpus}/{self.language}/{self.speaker}".encode()
        return "ab"[hashlib.md5(voice, usedforsecurity=False).digest()[0] % 2]


# ------------------------------------------------------------------------ the manifests


def read_manifests(folder: Path) -> list[Recording]:
    """All recordings below ``folder``, in the manifests' order, each once.

    A recording's corpus is the first folder below ``folder`` on the way to it, or
    ``folder`` itself.  Raises ``ConfigError`` where there is no manifest, or where one
    cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; name one with {_MANIFEST}")
    manifests = sorted(folder.rglob(_MANIFEST), key=lambda path: len(path.parts))
    if not manifests:
        raise ConfigError(f"{folder} has no {_MANIFEST}, nor has a folder below it")
    found: dict[str, Recording] = {}
    for manifest in manifests:
        for number, line in enumerate(_lines(manifest), 1):
            try:
                recording = _recording(folder, manifest, json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigError(f"{manifest}, line {number}: {error!r}") from None
            found.setdefault(recording.name, recording)
    return list(found.values())


def _lines(manifest: Path) -> list[str]:
    try:
        content = manifest.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {manifest}: {error}") from None
    return [line for line in content.splitlines() if line.strip()]


def _recording(folder: Path, manifest: Path, line: dict[str, Any]) -> Recording:
    path = manifest.parent / line["file"]
    inside = path.relative_to(folder)
    corpus = inside.parts[0] if len(inside.parts) > 1 else folder.resolve().name
    name = inside.as_posix() if len(inside.parts) > 1 else f"{corpus}/{inside}"
    language = line["lang"]
    return Recording(
        name=name,
        corpus=corpus,
        files=(path,),
        texts=() if line["text"] is None else (str(line["text"]),),
        language=None if language is None else str(language).rstrip("?"),
        kind=str(line["kind"]),
        speaker=str(line.get("spk") or ""),
        seconds=float(line["seconds"]),
    )


def select(
    recordings: Iterable[Recording], *, limit: int = 0, seconds: float = 0.0
) -> list[Recording]:
    """At most so many recordings, or seconds, of each corpus and language; 0 is all.

    They are taken at even distances, so that every speaker is among them, and never
    fewer than one.
    """
    groups: dict[tuple[str, str | None], list[Recording]] = {}
    for recording in recordings:
        key = recording.corpus, recording.language
        groups.setdefault(key, []).append(recording)
    chosen: list[Recording] = []
    for group in groups.values():
        count = min(limit or len(group), len(group))
        while count > 1 and seconds and _length(_spread(group, count)) > seconds:
            count -= 1
        chosen += _spread(group, count)
    return chosen


def _spread(group: Sequence[Recording], count: int) -> list[Recording]:
    return [group[i * len(group) // count] for i in range(count)]


def _length(recordings: Iterable[Recording]) -> float:
    return sum(recording.seconds for recording in recordings)


def join_voices(recordings: Iterable[Recording], corpus: str) -> Iterator[Recording]:
    """Each speaker's recordings of a corpus as one, in the manifest's order.

    The length is that of the speech; ``load`` puts pauses between the utterances.
    """
    voices: dict[tuple[str, str | None], list[Recording]] = {}
    for recording in recordings:
        if recording.corpus == corpus and recording.speaker and recording.texts:
            key = recording.speaker, recording.language
            voices.setdefault(key, []).append(recording)
    for (speaker, language), parts in voices.items():
        yield Recording(
            name=f"{corpus}/joined-{speaker}-{len(parts)}",
            corpus=corpus,
            files=tuple(itertools.chain.from_iterable(p.files for p in parts)),
            texts=tuple(itertools.chain.from_iterable(p.texts for p in parts)),
            language=language,
            kind="joined",
            speaker=speaker,
            seconds=sum(part.seconds for part in parts),
            parts=tuple(part.name for part in parts),
        )


# ---------------------------------------------------------------------------- the audio


def load(recording: Recording, *, quiet_after_s: float = 0.0) -> Samples:
    """The recording's audio ``[n]``, 16 kHz mono, with quiet after it.

    Between joined files lie 0.6 to 1.5 s.  What is added is low noise, as loud as the
    stillest moments of the file before it; the same at every call.  Raises
    ``DecodeError`` for a file that cannot be decoded.
    """
    chance = np.random.default_rng(zlib.crc32(recording.name.encode()))
    pieces: list[Samples] = []
    for number, path in enumerate(recording.files):
        samples = np.concatenate(list(read_file(path)))
        is_last = number == len(recording.files) - 1
        gap_s = chance.uniform(_SHORTEST_GAP_S, _LONGEST_GAP_S)
        pause_s = quiet_after_s if is_last else gap_s
        noise = chance.standard_normal(round(pause_s * SAMPLE_RATE))
        pieces += [samples, (_room_level(samples) * noise).astype(np.float32)]
    return np.concatenate(pieces)


def _room_level(samples: Samples) -> float:
    """Root mean square of the stillest twentieth of a file, within bounds."""
    frames = samples[: len(samples) // 512 * 512].reshape(-1, 512)
    lowest, highest = (10 ** (db / 20) for db in (_STILLEST_ROOM_DB, _LOUDEST_ROOM_DB))
    if not len(frames):
        return lowest
    levels = np.sqrt(np.mean(np.square(frames), axis=1))
    return float(np.clip(np.quantile(levels, 0.05), lowest, highest))
