"""The client's copy of the transcript, and how it is written down.

Owns the folding of segments messages into completed captions and one partial, and the
renderings text, SRT, WebVTT and JSON.  Knows nothing of sockets or files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["RENDERERS", "Caption", "Captions"]


@dataclass(frozen=True, slots=True)
class Caption:
    """One segment as it came over the wire; times in seconds."""

    start_s: float
    end_s: float
    text: str  # without the leading space
    words: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class Captions:
    """What a reader would see now."""

    completed: list[Caption] = field(default_factory=list)
    partial: Caption | None = None
    language: str | None = None
    dropped: list[Mapping[str, Any]] = field(default_factory=list)

    def update(self, message: Mapping[str, Any]) -> list[Caption]:
        """Take one message; the captions that it completed, oldest first.

        Completed segments are repeated in later messages and never change, so only
        what stands after the newest one known is new.
        """
        self.language = message.get("language", self.language)
        self.dropped += message.get("dropped", [])
        if "segments" not in message:
            return []
        self.partial = None
        fresh = []
        for segment in message["segments"]:
            caption = _caption(segment)
            if not segment["completed"]:
                self.partial = caption
            elif self._is_new(caption):
                fresh.append(caption)
                self.completed.append(caption)
        return fresh

    def _is_new(self, caption: Caption) -> bool:
        if not self.completed:
            return True
        last = self.completed[-1]
        return (caption.start_s, caption.end_s) > (last.start_s, last.end_s)


def _caption(segment: Mapping[str, Any]) -> Caption:
    return Caption(
        start_s=float(segment["start"]),
        end_s=float(segment["end"]),
        text=str(segment["text"]).strip(),
        words=tuple(segment.get("words", ())),
    )


def _as_text(captions: Captions) -> str:
    return "".join(f"{caption.text}\n" for caption in captions.completed)


def _as_srt(captions: Captions) -> str:
    blocks = [
        f"{number}\n{_span(caption, ',')}\n{caption.text}\n"
        for number, caption in enumerate(captions.completed, start=1)
    ]
    return "\n".join(blocks)


def _as_vtt(captions: Captions) -> str:
    blocks = [
        f"{_span(caption, '.')}\n{_escaped(caption.text)}\n"
        for caption in captions.completed
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _as_json(captions: Captions) -> str:
    segments: Sequence[dict[str, Any]] = [
        {"start": caption.start_s, "end": caption.end_s, "text": caption.text}
        | ({"words": list(caption.words)} if caption.words else {})
        for caption in captions.completed
    ]
    content = {
        "language": captions.language,
        "text": " ".join(caption.text for caption in captions.completed),
        "segments": segments,
        "dropped": captions.dropped,
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


RENDERERS = {"text": _as_text, "srt": _as_srt, "vtt": _as_vtt, "json": _as_json}


def _span(caption: Caption, mark: str) -> str:
    return f"{_clock(caption.start_s, mark)} --> {_clock(caption.end_s, mark)}"


def _clock(seconds: float, mark: str) -> str:
    """``HH:MM:SS,mmm``, rounded as a whole: 59.9996 s is one minute."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{mark}{milliseconds:03}"


def _escaped(text: str) -> str:
    """WebVTT reads markup in its text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
