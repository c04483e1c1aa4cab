"""The client's copy of the transcript, and how it is written down.

Owns the folding of updates into completed captions and one partial, and the
renderings text, SRT, WebVTT and JSON.  Where subtitles are split is ``subtitles``'
affair.  Knows nothing of sockets, wires or files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from whisper_live.audio import samples_to_s
from whisper_live.client.subtitles import Cue, Layout, split_into_cues, timed_words
from whisper_live.inference.types import Word
from whisper_live.protocols.jsonl import dropped_object, word_object
from whisper_live.session.updates import Dropped, Segment, Update

__all__ = [
    "RENDERERS",
    "VTT_HEAD",
    "Caption",
    "Captions",
    "CueWriter",
    "clock_time",
    "vtt_block",
]

VTT_HEAD = "WEBVTT\n"


@dataclass(frozen=True, slots=True)
class Caption:
    """One segment; times in seconds."""

    start_s: float
    end_s: float
    text: str  # without the leading space
    words: tuple[Word, ...] = ()


@dataclass(slots=True)
class Captions:
    """What a reader would see now."""

    completed: list[Caption] = field(default_factory=list)
    partial: Caption | None = None
    language: str | None = None
    dropped: list[Dropped] = field(default_factory=list)

    def take(self, update: Update) -> list[Caption]:
        """Take one update; the captions that it completed, oldest first."""
        if update.language is not None:
            self.language = update.language.code
        self.dropped += update.dropped
        self.partial = None if update.interim is None else _caption(update.interim)
        fresh = [_caption(segment) for segment in update.completed]
        self.completed += fresh
        return fresh

    def losses(self) -> list[str]:
        """Where text is missing and why, a phrase for each span."""
        return [
            f"no text for {samples_to_s(span.start):.3f} to "
            f"{samples_to_s(span.end):.3f} s: {span.reason}"
            for span in self.dropped
        ]


def _caption(segment: Segment) -> Caption:
    return Caption(
        start_s=samples_to_s(segment.start),
        end_s=samples_to_s(segment.end),
        text=segment.text.strip(),
        words=segment.words,
    )


def _as_text(captions: Captions, layout: Layout) -> str:
    return "".join(f"{caption.text}\n" for caption in captions.completed)


def _as_srt(captions: Captions, layout: Layout) -> str:
    blocks = [
        _srt_block(number, cue)
        for number, cue in enumerate(_cues(captions.completed, layout), start=1)
    ]
    return "\n".join(blocks)


def _as_vtt(captions: Captions, layout: Layout) -> str:
    return "\n".join([VTT_HEAD, *map(vtt_block, _cues(captions.completed, layout))])


def vtt_block(cue: Cue) -> str:
    """A cue of WebVTT; an empty line stands before and behind it."""
    return f"{_span(cue, '.')}\n{_escaped(_lines(cue))}\n"


def _srt_block(number: int, cue: Cue) -> str:
    return f"{number}\n{_span(cue, ',')}\n{_lines(cue)}\n"


class CueWriter:
    """SRT or WebVTT that grows while text comes.

    The newest cue is held back until the next one says how long it may stand.
    """

    def __init__(self, style: str, layout: Layout) -> None:
        self._is_srt = style == "srt"
        self._layout = layout
        self._held: Cue | None = None
        self._written = 0

    def take(self, completed: Sequence[Caption]) -> str:
        """What new captions add to the file."""
        cues = _cues(completed, self._layout)
        if not cues:
            return ""
        held, self._held = self._held, cues.pop()
        if held is not None:
            start_s = cues[0].start_s if cues else self._held.start_s
            cues.insert(0, replace(held, end_s=min(held.end_s, start_s)))
        return "".join(map(self._written_cue, cues))

    def end(self) -> str:
        """What was held back, and the head of a file without cues."""
        held, self._held = self._held, None
        if held is None:
            return "" if self._is_srt or self._written else VTT_HEAD
        return self._written_cue(held)

    def _written_cue(self, cue: Cue) -> str:
        self._written += 1
        block = _srt_block(self._written, cue) if self._is_srt else vtt_block(cue)
        if self._written > 1:
            return f"\n{block}"
        return block if self._is_srt else f"{VTT_HEAD}\n{block}"


def _cues(completed: Sequence[Caption], layout: Layout) -> list[Cue]:
    words = [
        word
        for caption in completed
        for word in timed_words(
            caption.text, caption.start_s, caption.end_s, caption.words
        )
    ]
    return split_into_cues(words, layout)


def _lines(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _as_json(captions: Captions, layout: Layout) -> str:
    segments: Sequence[dict[str, Any]] = [
        {
            "start": round(caption.start_s, 3),
            "end": round(caption.end_s, 3),
            "text": caption.text,
        }
        | ({"words": [word_object(w) for w in caption.words]} if caption.words else {})
        for caption in captions.completed
    ]
    content = {
        "language": captions.language,
        "text": " ".join(caption.text for caption in captions.completed),
        "segments": segments,
        "dropped": [dropped_object(span) for span in captions.dropped],
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


# What a finished transcript looks like as a file; the layout is for subtitles.
RENDERERS: dict[str, Callable[[Captions, Layout], str]] = {
    "text": _as_text,
    "srt": _as_srt,
    "vtt": _as_vtt,
    "json": _as_json,
}


def _span(cue: Cue, mark: str) -> str:
    return f"{clock_time(cue.start_s, mark)} --> {clock_time(cue.end_s, mark)}"


def clock_time(seconds: float, mark: str = ",") -> str:
    """``HH:MM:SS,mmm``, rounded as a whole: 59.9996 s is one minute."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{mark}{milliseconds:03}"


def _escaped(text: str) -> str:
    """WebVTT reads markup in its text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
