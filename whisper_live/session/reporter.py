"""Everything one client is told: transcript and bookkeeping become messages.

Owns the transcript, the spans that were given up and not yet reported, the stage
timings and the lag.  Decides how a thing is said, never when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whisper_live.audio import samples_to_s
from whisper_live.inference.types import Timing
from whisper_live.protocols import whisperlive as protocol
from whisper_live.session.cuts import spaced
from whisper_live.session.events import ClientOptions, Dropped, Frames, Segment, Send
from whisper_live.session.stats import SessionStats
from whisper_live.session.transcript import Transcript

__all__ = ["Reporter"]


class Reporter:
    """One client's messages.  ``received`` is always the end of the received audio."""

    def __init__(self, options: ClientOptions, stats: SessionStats) -> None:
        self.transcript = Transcript(send_last=options.send_last_n_segments)
        self._uid = options.uid
        self._wants_timings = options.timings
        self._wants_words = options.word_timestamps
        self._stats = stats
        self._dropped: list[Dropped] = []
        self._timings: dict[str, float] = {}

    def ready(self) -> Send:
        """The client may send audio."""
        return Send(protocol.server_ready(self._uid))

    def language(self, code: str, probability: float) -> Send:
        """The language that was detected."""
        return Send(protocol.language(self._uid, code, probability))

    def show(self, start: int, end: int, text: str, *, received: int) -> list[Send]:
        """A new reading of the open window ``start..end``; nothing if unchanged."""
        snapshot = self.transcript.show(start, end, spaced(text))
        if snapshot is None:
            return []
        return [self._segments(snapshot, received - end, replaceable=True)]

    def commit(
        self,
        done: Sequence[Segment],
        *,
        until: int,
        heard_to: int,
        received: int,
        partial: str = "",
    ) -> list[Send]:
        """Segments that will not change again, all of them before ``until``.

        ``partial`` is what was heard behind them, in audio up to ``heard_to``.
        """
        if not self._wants_words:
            done = [replace(segment, words=()) for segment in done]
        snapshots = self.transcript.commit(
            done, until=until, partial=spaced(partial), heard_to=heard_to
        )
        return [self._segments(snapshot, received - heard_to) for snapshot in snapshots]

    def fail(self, start: int, end: int, reason: str) -> None:
        """A window has no text; what was last shown of it stays until the next one."""
        self.transcript.forget_partial()
        self.drop(start, end, reason)

    def drop(self, start: int, end: int, reason: str) -> None:
        """Remember a span without text; the next segments message tells it."""
        self._stats.dropped[reason] += end - start
        if self._dropped:
            last = self._dropped[-1]
            if (last.end, last.reason) == (start, reason):
                start = self._dropped.pop().start
        self._dropped.append(Dropped(start, end, reason))

    def finish(self, *, over_time: bool) -> list[Send]:
        """The last words before the close."""
        sends = []
        if self._dropped:
            if completed := self.transcript.completed:
                sends.append(self._segments(completed, 0))
            else:
                # There is nothing to repeat, and an empty list breaks clients.
                lost = samples_to_s(sum(d.end - d.start for d in self._dropped))
                text = f"{lost:.1f} s of speech could not be transcribed"
                sends.append(Send(protocol.warning(self._uid, text)))
        if over_time:
            sends.append(Send(protocol.disconnect(self._uid)))
        return sends

    def note_ingest(self, frames: Frames) -> None:
        """Stage timings of the newest audio."""
        self._timings["decode_ms"] = round(frames.decode_s * 1000, 3)
        self._timings["vad_ms"] = round(frames.vad_s * 1000, 3)

    def note_request(self, timing: Timing) -> None:
        """Stage timings of the newest hypothesis."""
        self._timings["queue_ms"] = round(timing.queue_s * 1000, 3)
        self._timings["infer_ms"] = round(timing.engine_s * 1000, 3)
        self._timings["batch_size"] = timing.batch_size

    def _segments(
        self, snapshot: Sequence[Segment], lag: int, *, replaceable: bool = False
    ) -> Send:
        dropped, self._dropped = self._dropped, []
        self._stats.lags.append(lag)
        message = protocol.segments(
            self._uid,
            snapshot,
            dropped=dropped,
            timings=self._timings if self._wants_timings else None,
        )
        return Send(message, replaceable=replaceable and not dropped)
