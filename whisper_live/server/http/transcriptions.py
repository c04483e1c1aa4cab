"""The uploads under way, from the first byte of a form to the last of its answer.

Owns how many there may be, what is counted of them, and what becomes of them at the
end.  What happens to one is its ``Job``'s affair.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

from aiohttp import web

from whisper_live.errors import WhisperLiveError
from whisper_live.inference.types import Task
from whisper_live.server.access import Caller
from whisper_live.server.admission import Admission
from whisper_live.server.http.job import Job, restarting
from whisper_live.server.quota import Quota
from whisper_live.server.services import Services

__all__ = ["Transcriptions"]

logger = logging.getLogger("whisper_live.server")


class Transcriptions:
    """Answers uploads; ``wait`` for them, or ``abandon`` them, at the end."""

    def __init__(
        self,
        services: Services,
        pool: Executor,
        quota: Quota,
        rested: Callable[[], None],
    ) -> None:
        """``pool`` decodes and scores what is uploaded; ``quota`` is told of it.

        ``rested`` is called when no upload is left.
        """
        self._rested = rested
        self._services = services
        self._quota = quota
        self._pool = pool
        self._names = itertools.count(1)
        self._open: set[asyncio.Task[object]] = set()
        self._is_abandoned = False
        limits = services.config.limits
        # Places of their own: an upload waits behind every live final anyway.
        self._admission = Admission(
            replace(limits, max_sessions=limits.max_uploads, max_session_s=0.0),
            clock=asyncio.get_running_loop().time,
            queue_delay_s=services.registry.queue_delay_s,
        )

    @property
    def under_way(self) -> int:
        """How many uploads have no answer yet."""
        return len(self._open)

    def close(self) -> None:
        """Nobody new is let in."""
        self._admission.close()

    async def wait(self) -> None:
        """Return when each upload has its answer."""
        while self._open:
            await asyncio.wait(self._open)

    def abandon(self) -> None:
        """Answer those that are left with 503, now."""
        self._is_abandoned = True
        for task in self._open:
            task.cancel()

    async def answer(
        self, request: web.Request, caller: Caller, task: Task
    ) -> web.StreamResponse:
        """One upload, from its form to its answer; raises ``WhisperLiveError``."""
        lease = self._admission.lease(caller, "")
        metrics = self._services.metrics
        metrics.upload_opened()
        own = asyncio.current_task()
        assert own is not None, "a request is answered in a task"
        self._open.add(own)
        outcome = "peer_gone"
        job = Job(
            self._services,
            self._pool,
            request,
            name=f"u{next(self._names)}",
            is_abandoned=lambda: self._is_abandoned,
        )
        try:
            response = await job.run(task)
            outcome = job.outcome
            return response
        except WhisperLiveError as error:
            outcome = error.kind
            raise
        except ConnectionError:
            raise
        except Exception:
            outcome = "internal"
            raise
        except asyncio.CancelledError:
            if not self._is_abandoned:
                raise
            own.uncancel()
            outcome = "draining"
            raise restarting() from None
        finally:
            self._open.discard(own)
            metrics.upload_closed(outcome)
            metrics.audio_decoded("file", job.heard_s)
            metrics.key_used(caller.key_name, job.heard_s)
            self._quota.heard(caller, job.heard_s)
            self._admission.release(lease)
            logger.info(
                "upload %s: %.1f s of audio in %.1f s peer=%s key=%s outcome=%s",
                job.name,
                job.heard_s,
                asyncio.get_running_loop().time() - lease.since,
                caller.address,
                caller.key_name or "-",
                outcome,
            )
            if not self._open:
                self._rested()
