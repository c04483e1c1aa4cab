"""How far behind its client one stream is: audio sent but not taken in yet.

What lies unread in sockets and waits for a busy event loop cannot be seen from here.
But a client that speaks in real time gives it away: while the server keeps up, audio
comes in as fast as time goes by; where less comes, though the client was never waited
for, the rest lies somewhere.  Pure: times are given.

On two cores the ingest was seen to fall behind by 2 % of real time while the engine's
queue stood empty: after ten minutes everybody's text came 13 s late, nobody's requests
were spaced out and nobody was turned away.
"""

from __future__ import annotations

__all__ = ["Backlog"]

# A wait this long is the client's own: it was muted, or sends no silence.  A busy event
# loop needs up to 0.1 s for the ways between a socket and its reader.
_PAUSE_S = 0.25

# Of audio time: forgives clients whose clocks are slow, or who stalled for moments.
_FORGIVEN = 0.01


class Backlog:
    """Of one stream.  All times in seconds, ``now`` monotonic."""

    def __init__(self) -> None:
        self.behind_s = 0.0
        self._live_at: float | None = None  # when audio taken in now should have come

    def waited(self, seconds: float) -> None:
        """The client was waited for."""
        if seconds >= _PAUSE_S and self._live_at is not None:
            self._live_at += seconds

    def took(self, seconds: float, *, now: float) -> None:
        """So much audio was taken in."""
        if self._live_at is None:
            self._live_at = now - seconds  # the first was recorded before it came
        self._live_at += seconds * (1 + _FORGIVEN)
        self._live_at = min(self._live_at, now)  # nobody is ahead for later
        self.behind_s = now - self._live_at
