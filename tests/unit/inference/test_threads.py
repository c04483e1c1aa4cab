"""Threads for blocking calls: results, errors, cancels and a call that hangs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from whisper_live.errors import EngineUnavailable
from whisper_live.inference.ctranslate2.threads import WorkerThreads


async def test_results_and_errors_come_back() -> None:
    threads = WorkerThreads(["model"])
    assert await threads.run(str.upper) == "MODEL"
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda model: 1 // 0)
    assert await threads.run(len) == 5
    await threads.close()


async def test_as_many_jobs_at_once_as_models() -> None:
    threads = WorkerThreads(["a", "b"])
    meeting = threading.Barrier(2, timeout=10)  # passes only if both are inside

    def job(model: str) -> str:
        meeting.wait()
        return model

    assert sorted(await asyncio.gather(threads.run(job), threads.run(job))) == [
        "a",
        "b",
    ]
    await threads.close()


async def test_a_cancelled_wait_leaves_the_lane_usable() -> None:
    threads = WorkerThreads(["model"])
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    ran: list[str] = []

    def slow(model: str) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)

    running = asyncio.create_task(threads.run(slow))
    await begun.wait()
    queued = asyncio.create_task(threads.run(lambda model: ran.append("queued")))
    await asyncio.sleep(0)
    running.cancel()
    queued.cancel()
    await asyncio.gather(running, queued, return_exceptions=True)
    go_on.set()
    await threads.run(lambda model: ran.append("next"))
    assert ran == ["next"]
    await threads.close()


async def test_closing_fails_what_waits_and_what_comes() -> None:
    threads = WorkerThreads(["model"])
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(model: str) -> str:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        return "done"

    running = asyncio.create_task(threads.run(slow))
    await begun.wait()
    waiting = asyncio.create_task(threads.run(len))
    await asyncio.sleep(0)
    closing = asyncio.create_task(threads.close())
    with pytest.raises(EngineUnavailable):
        await waiting
    go_on.set()
    assert await running == "done"
    await closing
    with pytest.raises(EngineUnavailable):
        await threads.run(len)


async def test_closing_does_not_wait_for_a_call_that_hangs() -> None:
    threads = WorkerThreads(["model"])
    begun, never = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hang(model: str) -> None:
        loop.call_soon_threadsafe(begun.set)
        never.wait(30)

    hanging = asyncio.create_task(threads.run(hang))
    await begun.wait()
    await threads.close(timeout_s=0.05)
    assert not hanging.done()
    never.set()
    await hanging
