"""What an engine is: a batch of requests goes in, one outcome for each comes out.

``local`` runs CTranslate2, ``oracle`` is the test instrument that reads word numbers
out of the samples.  Sessions, batching and the worker know only what stands here.

Every engine has the three members of ``Engine``.  Three more are optional, and the
worker uses them where they exist: ``Preparing`` does a row's own work before its call,
``Forgetting`` hears which sessions are gone, ``Counting`` says how much of a text is
read.  A row that needs a further try (a higher
temperature, say) is answered with ``Again``, so that its neighbours do not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from whisper_live.inference.types import Hypothesis, Outcome, Request

__all__ = ["Again", "Counting", "Engine", "EngineInfo", "Forgetting", "Preparing"]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the rest of the server needs to know about a loaded engine."""

    name: str  # "local" or "oracle"
    model: str  # as the operator named it, or what auto took
    device: str  # "cpu", "cuda"
    compute_type: str  # "int8", "float16", ...; "" where it means nothing
    languages: tuple[str, ...]  # ISO codes; one entry for an English-only model
    max_batch: int  # rows in one call
    max_window_s: float = 30.0
    workers: int = 1  # calls that may run at the same time
    is_demo: bool = False
    weights: str = (
        ""  # where they come from, as in "hub cache"; "" where there are none
    )


@dataclass(frozen=True, slots=True)
class Again:
    """Not an outcome yet: transcribe this row once more, in a later call.

    ``request`` has the id, session and kind of the row that it answers.  It may be an
    instance of the engine's own subclass of ``Request`` which carries what the first
    try computed (encoder output, the next temperature): it comes back as it was given,
    and is let go when the row times out or is cancelled.  It keeps its place in the
    queue, ahead of younger rows, and its session's turn.  ``doubtful`` is what there is
    so far, and the row's outcome if it times out: it is worth more than none.
    """

    request: Request
    doubtful: Hypothesis | None = None


class Engine(Protocol):
    """A loaded, warmed-up model."""

    @property
    def info(self) -> EngineInfo:
        """Facts that do not change while the engine lives."""

    async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome | Again]:
        """Transcribe one batch; outcomes in the order of the requests.

        Called on the loop thread, up to ``info.workers`` times at once, with at most
        ``info.max_batch`` rows and never two of one session.  A hypothesis whose
        ``timing`` is left as it is gets it from the worker.

        Never raises for a bad row: that row's outcome is ``RequestFailed``.  Raises
        ``EngineUnavailable`` only when no call can succeed any more.
        """

    async def close(self) -> None:
        """Let go of the model; calls after this raise ``EngineUnavailable``."""


@runtime_checkable
class Preparing(Protocol):
    """An engine that can work on a row before its call, off the engine's threads."""

    def prepare(self, request: Request) -> Request | None:
        """Compute what this row needs by itself (features), in a thread of the worker.

        Called once for each request at submission, possibly for several rows at
        once; finished before the row's call starts, skipped if the row was cancelled
        first.  Returns what to hand to ``transcribe`` in its place (the same id,
        session and kind), or None for the request itself.  What it raises fails this
        row alone.
        """


@runtime_checkable
class Forgetting(Protocol):
    """An engine that keeps something per session."""

    def forget(self, session: str) -> None:
        """The session is gone and submits no more.  On the loop thread; must be quick.

        A row of the session may still be running.
        """


@runtime_checkable
class Counting(Protocol):
    """An engine that reads texts up to a number of tokens."""

    def characters_read(self, *, hotwords: str, prompt: str) -> tuple[int, int]:
        """How many characters of each are read: the first hotwords, the prompt's last.

        Both without space around them.  On the loop thread: milliseconds.
        """
