"""Threads for blocking calls: results, errors, cancels and a call that hangs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from whisper_live.errors import EngineUnavailable
from whisper_live.inference.ctranslate2.threads import WorkerThreads


async def test_results_and_errors_come_back() -> None:
    lanes = WorkerThreads(["model"])
    assert await lanes.run(str.upper) == "MODEL"
    with pytest.raises(ZeroDivisionError):
        await lanes.run(lambda model: 1 // 0)
    assert await lanes.run(len) == 5
    await lanes.close()


async def test_as_many_jobs_at_once_as_models() -> None:
    lanes = WorkerThreads(["a", "b"])
    meeting = threading.Barrier(2, timeout=10)  # passes only if both are inside

    def job(model: str) -> str:
        meeting.wait()
        return model

    assert sorted(await asyncio.gather(lanes.run(job), lanes.run(job))) == ["a", "b"]
    await lanes.close()


async def test_a_cancelled_wait_leaves_the_lane_usable() -> None:
    lanes = WorkerThreads(["model"])
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    ran: list[str] = []

    def slow(model: str) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)

    running = asyncio.create_task(lanes.run(slow))
    await begun.wait()
    queued = asyncio.create_task(lanes.run(lambda model: ran.append("queued")))
    await asyncio.sleep(0)
    running.cancel()
    queued.cancel()
    await asyncio.gather(running, queued, return_exceptions=True)
    go_on.set()
    await lanes.run(lambda model: ran.append("next"))
    assert ran == ["next"]
    await lanes.close()


async def test_closing_fails_what_waits_and_what_comes() -> None:
    lanes = WorkerThreads(["model"])
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(model: str) -> str:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        return "done"

    running = asyncio.create_task(lanes.run(slow))
    await begun.wait()
    waiting = asyncio.create_task(lanes.run(len))
    await asyncio.sleep(0)
    closing = asyncio.create_task(lanes.close())
    with pytest.raises(EngineUnavailable):
        await waiting
    go_on.set()
    assert await running == "done"
    await closing
    with pytest.raises(EngineUnavailable):
        await lanes.run(len)


async def test_closing_does_not_wait_for_a_call_that_hangs() -> None:
    lanes = WorkerThreads(["model"])
    begun, never = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hang(model: str) -> None:
        loop.call_soon_threadsafe(begun.set)
        never.wait(30)

    hanging = asyncio.create_task(lanes.run(hang))
    await begun.wait()
    await lanes.close(timeout_s=0.05)
    assert not hanging.done()
    never.set()
    await hanging
