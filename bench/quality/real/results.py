"""What readers wrote, kept as JSON lines, so that an interrupted run goes on.

One line is one reading of one recording.  A later line replaces an earlier one with
the same key.  The lines hold texts, and so stay in the work folder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.quality.real.measure import Reading
from bench.quality.real.reader import Segment, View
from bench.quality.real.recordings import Recording

__all__ = ["Key", "Results", "Row", "row"]


@dataclass(frozen=True, slots=True)
class Key:
    """Who read what, and how."""

    weights: str  # first digits of the SHA-256 of the model's weights
    reader: str  # plain-1, plain-5, vad-5, file, live-1, live-8
    settings: str  # of the daemon, as given on the command line; empty: defaults
    recording: str


@dataclass(frozen=True, slots=True)
class Row:
    """One reading of one recording, with all that is needed to count its errors."""

    key: Key
    model: str
    corpus: str
    language: str | None
    kind: str
    seconds: float
    texts: tuple[str, ...]
    parts: tuple[str, ...]
    speech: tuple[float, float] | None  # first and last voice, s
    reading: Reading
    facts: Mapping[str, Any]  # date, revision, versions, machine


def row(
    key: Key,
    model: str,
    recording: Recording,
    speech: tuple[float, float] | None,
    reading: Reading,
    facts: Mapping[str, Any],
) -> Row:
    """The row of a reading that was just made."""
    return Row(
        key=key,
        model=model,
        corpus=recording.corpus,
        language=recording.language,
        kind=recording.kind,
        seconds=recording.seconds,
        texts=recording.texts,
        parts=recording.parts,
        speech=speech,
        reading=reading,
        facts=facts,
    )


class Results:
    """The rows of one file; a last line that was cut off is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[Key, Row] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    found = _decoded(json.loads(line))
                except json.JSONDecodeError:  # the run was stopped while it wrote
                    continue
                self._rows[found.key] = found
        path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def rows(self) -> Mapping[Key, Row]:
        """The newest row of each key."""
        return self._rows

    def add(self, row: Row) -> None:
        """Keep a row, on disk before this returns."""
        self._rows[row.key] = row
        line = json.dumps(_encoded(row), ensure_ascii=False, separators=(",", ":"))
        with self._path.open("a", encoding="utf-8") as file:
            # Ends a line that was cut off; an empty line is none.
            file.write(f"\n{line}\n" if not self._is_ended() else f"{line}\n")

    def _is_ended(self) -> bool:
        if not self._path.stat().st_size:
            return True
        with self._path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"


def _encoded(row: Row) -> dict[str, Any]:
    """Segments and views as plain lists; names only where they are few."""
    reading = row.reading
    content = {
        field.name: getattr(row, field.name)
        for field in dataclasses.fields(row)
        if field.name not in ("key", "reading")
    }
    return {
        **dataclasses.asdict(row.key),
        **content,
        "segments": [_list(segment) for segment in reading.segments],
        "views": [
            [round(view.at_s, 4), [_list(s) for s in view.completed], view.interim]
            for view in reading.views
        ],
        "engine_s": round(reading.engine_s, 4),
        "suppressed": reading.suppressed,
        "dropped": reading.dropped,
    }


def _list(segment: Segment) -> list[Any]:
    return [round(segment.start_s, 3), round(segment.end_s, 3), segment.text]


def _decoded(line: dict[str, Any]) -> Row:
    speech = line["speech"]
    return Row(
        key=Key(line["weights"], line["reader"], line["settings"], line["recording"]),
        model=line["model"],
        corpus=line["corpus"],
        language=line["language"],
        kind=line["kind"],
        seconds=line["seconds"],
        texts=tuple(line["texts"]),
        parts=tuple(line["parts"]),
        speech=None if speech is None else (speech[0], speech[1]),
        reading=Reading(
            segments=_segments(line["segments"]),
            engine_s=line["engine_s"],
            views=tuple(
                View(at, _segments(completed), interim)
                for at, completed, interim in line["views"]
            ),
            suppressed=line["suppressed"],
            dropped=line["dropped"],
        ),
        facts=line["facts"],
    )


def _segments(lists: list[list[Any]]) -> tuple[Segment, ...]:
    return tuple(Segment(start, end, text) for start, end, text in lists)
