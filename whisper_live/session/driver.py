"""Gives one session its events and performs what it answers, in order.

The one loop around a session: a connection, a simulation and the tests differ only in
who queues requests and who is told.  Reads no clock: ``now`` is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from whisper_live.inference.types import Outcome, Request
from whisper_live.session.events import Cancel, Effect, End, Event, Submit
from whisper_live.session.session import Session
from whisper_live.session.updates import Ending, Update

__all__ = ["Queue", "SessionDriver"]


class Queue(Protocol):
    """Where requests go.  Must not deliver an outcome from inside these calls."""

    def submit(self, request: Request, deliver: Callable[[Outcome], None]) -> None:
        """Queue a request; ``deliver`` gets its one outcome later."""

    def cancel(self, request_id: int) -> None:
        """Withdraw a request that is not needed any more."""


class SessionDriver:
    """Performs one session's effects.

    ``tell`` gets each update and ``ended`` the end; ``deliver`` is where outcomes come
    back to; ``record`` sees every step with its event (None: the deadline came) before
    its effects are performed.
    """

    def __init__(
        self,
        session: Session,
        queue: Queue,
        *,
        deliver: Callable[[Outcome], None],
        tell: Callable[[Update], None],
        ended: Callable[[Ending], None],
        record: Callable[[float, Event | None, Sequence[Effect]], None] | None = None,
    ) -> None:
        self.session = session
        self._queue = queue
        self._deliver = deliver
        self._tell = tell
        self._ended = ended
        self._record = record

    def give(self, event: Event, *, now: float) -> None:
        """One event."""
        self._perform(now, event, self.session.receive(event, now=now))

    def expire(self, *, now: float) -> None:
        """The session's deadline has come; earlier it changes nothing."""
        self._perform(now, None, self.session.expire(now=now))

    def _perform(
        self, now: float, event: Event | None, effects: Sequence[Effect]
    ) -> None:
        if self._record is not None:
            self._record(now, event, effects)
        for effect in effects:
            match effect:
                case Update():
                    self._tell(effect)
                case Submit(request):
                    self._queue.submit(request, self._deliver)
                case Cancel(request_id):
                    self._queue.cancel(request_id)
                case End(ending):
                    self._ended(ending)
