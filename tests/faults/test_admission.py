"""One more client than there is room for (row 13)."""

from __future__ import annotations

import asyncio
import re
import threading

import numpy as np
from numpy.typing import NDArray

from tests.e2e.support import client, quick, running
from whisper_live.audio import FRAME_S, Samples
from whisper_live.server.server import Server
from whisper_live.testing.marks import write_speech
from whisper_live.testing.oracle import Behaviour, OracleDetector


async def test_who_waits_is_told_from_how_long_sessions_last() -> None:
    """Two places, sessions that took about no time: no two minutes of waiting."""
    async with running(quick(max_sessions=2)) as server:
        async with client(server) as before:
            await before.hello()
            await before.end()
            assert await before.rest() == 1000
        async with client(server) as one, client(server) as two:
            for peer in (one, two):
                await peer.hello()
                await peer.next()
            async with client(server) as third:
                await third.hello()
                told = await third.next()
                assert await third.rest() == 1013
        assert told["status"] == "WAIT"
        assert 0 < told["message"] < 0.5
        async with client(server) as again:  # the places are free again
            await again.hello()
            assert (await again.next())["message"] == "SERVER_READY"


async def test_a_refused_client_disturbs_no_session() -> None:
    speech = write_speech([[n, n + 1] for n in range(0, 20, 2)], pause_s=0.7)[0]
    async with running(quick(max_sessions=1)) as server, client(server) as speaker:
        await speaker.hello()
        await speaker.next()

        async def knock() -> int:
            async with client(server) as other:
                await other.hello()
                return await other.rest()

        rest = asyncio.create_task(speaker.rest())
        knocks = [asyncio.create_task(knock()) for _ in range(20)]
        await speaker.say(speech)
        await speaker.end()
        assert set(await asyncio.gather(*knocks)) == {1013}
        assert await rest == 1000
        assert speaker.words == list(range(20))
        page = server.metrics.render()
    assert b'sessions_rejected_total{reason="capacity"} 20.0' in page


async def test_a_long_queue_keeps_new_clients_out() -> None:
    """Admission goes by what requests wait for, not by the count alone."""
    config = quick(max_queue_delay_s=0.05)
    behaviour = Behaviour(call_s=0.15)
    speech = write_speech([[n] for n in range(3)], pause_s=0.7)[0]
    async with running(config, behaviour) as server:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            busy = asyncio.Event()

            async def speak() -> None:
                async with client(server) as peer:
                    await peer.hello()
                    rest = asyncio.create_task(peer.rest())
                    await peer.say(speech)
                    await busy.wait()
                    await peer.end()
                    assert await rest == 1000

            for _ in range(8):
                group.create_task(speak())
            while server.worker.queue_delay_s <= 0.05:
                await asyncio.sleep(0.02)
            async with client(server) as late:
                await late.hello()
                assert (await late.next())["status"] == "WAIT"
                assert await late.rest() == 1013
            busy.set()
        page = server.metrics.render()
    assert b'sessions_rejected_total{reason="overload"} 1.0' in page


class Slow(OracleDetector):
    """Takes twice as long as the audio lasts."""

    def score(self, frames: Samples) -> NDArray[np.float32]:
        threading.Event().wait(2 * len(frames) * FRAME_S)
        return super().score(frames)


async def test_audio_that_is_read_late_keeps_new_clients_out() -> None:
    """Where the engine is idle and the ingest is not, no request waits."""
    config = quick(max_queue_delay_s=0.2)
    async with running(config, detector=Slow) as server, client(server) as speaker:
        await speaker.hello()
        await speaker.next()
        rest = asyncio.create_task(speaker.rest())
        await speaker.say(write_speech([[1, 2, 3]], pause_s=0.7)[0])
        async with asyncio.timeout(30):
            while _behind_s(server) <= 0.2:
                await asyncio.sleep(0.02)
        async with client(server) as late:
            await late.hello()
            assert (await late.next())["status"] == "WAIT"
            assert await late.rest() == 1013
        await speaker.end()
        assert await rest == 1000
        assert speaker.words == [1, 2, 3]
        page = server.metrics.render()
    assert b'sessions_rejected_total{reason="overload"} 1.0' in page


def _behind_s(server: Server) -> float:
    page = server.metrics.render().decode()
    (line,) = re.findall(r"^whisper_live_behind_seconds (.*)$", page, re.MULTILINE)
    return float(line)
