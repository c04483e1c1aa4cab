"""The ordered segments of a session: what is committed, and the text behind it.

Completed segments are append-only, ordered, disjoint and never edited.  At most one
interim stands behind them; its start stays where it was first shown, because one
client (iOS) knows segments by their start.  Costs the same after ten hours: only the
last words are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whisper_live.audio import ms_to_samples
from whisper_live.inference.types import Word
from whisper_live.session.updates import Segment

__all__ = ["Transcript"]

_SHORTEST = ms_to_samples(10)  # a segment never ends where it starts
_CONTEXT_CHARACTERS = 1000  # committed text remembered as context for the engine


class Transcript:
    """What was said so far."""

    def __init__(self) -> None:
        self._interim: Segment | None = None
        self._end = 0
        self._context = ""

    @property
    def end(self) -> int:
        """Position after the newest completed segment."""
        return self._end

    @property
    def context(self) -> str:
        """The newest committed text."""
        return self._context

    @property
    def interim(self) -> Segment | None:
        """The text behind all that is completed, which may still change."""
        return self._interim

    def show(self, start: int, end: int, text: str) -> bool:
        """Replace the interim text; whether a reader sees a difference.

        ``end`` is that of the audio it was read from, which it does not pass.
        """
        if not text.strip():
            return False
        previous = self._interim
        if previous is not None:
            start = previous.start
        start = max(min(start, end - _SHORTEST), self._end)
        self._interim = Segment(start, max(end, start + _SHORTEST), text, False)
        return previous is None or previous.text != text

    def commit(
        self,
        segments: Sequence[Segment],
        *,
        until: int,
        interim: str = "",
        heard_to: int = 0,
    ) -> tuple[Segment, ...]:
        """Complete ``segments``, which end by ``until``; as they were placed.

        ``interim`` is what is still open behind them, heard up to ``heard_to``.
        """
        completed = self._place(segments, until)
        self._interim = None
        for segment in completed:
            self._end = segment.end
            self._context = (self._context + segment.text)[-_CONTEXT_CHARACTERS:]
        if completed and interim.strip():
            end = max(heard_to, until + _SHORTEST)
            self._interim = Segment(until, end, interim, False)
        return tuple(completed)

    def forget_interim(self) -> None:
        """Its window failed: a new one begins elsewhere."""
        self._interim = None

    def _place(self, segments: Sequence[Segment], until: int) -> list[Segment]:
        """Clip to what is free: behind the last one, before ``until``, in order.

        The first takes the start that its interim was shown with; what finds no room
        at the end joins the one before it.
        """
        placed: list[Segment] = []
        at = self._end
        for segment in segments:
            if not segment.text.strip():
                continue
            start = segment.start
            if not placed and self._interim is not None:
                start = self._interim.start
            start = max(min(start, until - _SHORTEST), at)
            if start + _SHORTEST > until:
                assert placed, "a window lies behind what is completed"
                last = placed.pop()
                start = last.start
                segment = replace(
                    segment,
                    text=last.text + segment.text,
                    words=last.words + segment.words,
                )
            end = max(min(segment.end, until), start + _SHORTEST)
            words = tuple(_clip(word, start, end) for word in segment.words)
            placed.append(Segment(start, end, segment.text, True, words))
            at = end
        return placed

    def check(self, *, received: int) -> None:
        """Invariants: ordered, disjoint, inside the audio, and with text."""
        assert self._end <= received, "a segment passes the audio"
        interim = self._interim
        if interim is not None:
            assert self._end <= interim.start < interim.end <= received
            assert interim.text.strip(), "an interim segment has no text"


def _clip(word: Word, start: int, end: int) -> Word:
    first = min(max(word.start, start), end)
    return replace(word, start=first, end=min(max(word.end, first), end))
