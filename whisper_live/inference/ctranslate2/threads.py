"""Threads that make the blocking calls, one model each, results back on the loop.

Daemon threads rather than an executor: a call that hangs in a driver must not keep
the process from exiting.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from whisper_live.errors import EngineUnavailable
from whisper_live.inference.futures import settle

__all__ = ["WorkerThreads"]

Model = TypeVar("Model")
Result = TypeVar("Result")


class WorkerThreads(Generic[Model]):
    """One thread per entry of ``models``; a job goes to whichever is free first."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._jobs: queue.SimpleQueue[_Job[Model] | None] = queue.SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(
                target=self._work, args=(model,), name=f"engine-{i}", daemon=True
            )
            for i, model in enumerate(models)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._threads)

    async def run(self, job: Callable[[Model], Result]) -> Result:
        """Run ``job`` on a free thread.  Raises what it raises.

        Cancelling the wait does not stop a running job, which cannot be stopped: its
        result is dropped.  A job that has not begun is skipped.
        """
        if self._closed:
            raise EngineUnavailable("the engine is closed")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(job, future))
        return await future

    async def close(self, timeout_s: float = 5.0) -> None:
        """Refuse new jobs, fail the waiting ones, await running ones for a while."""
        self._closed = True
        try:
            while waiting := self._jobs.get_nowait():
                error = EngineUnavailable("the engine was closed")
                settle(waiting.future, None, error)
        except queue.Empty:
            pass
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, timeout_s)

    def _work(self, model: Model) -> None:
        while (job := self._jobs.get()) is not None:
            job.perform(model)
            del job  # else the last batch lives until the next one comes


@dataclass(frozen=True, slots=True, eq=False)
class _Job(Generic[Model]):
    job: Callable[[Model], Any]
    future: asyncio.Future[Any]

    def perform(self, model: Model) -> None:
        if self.future.cancelled():
            return
        try:
            result = self.job(model)
        except BaseException as error:  # the waiter's to handle, whatever it is
            settle(self.future, None, error)
        else:
            settle(self.future, result, None)
