"""Fifty speakers at once, and one who never stops: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from tests.e2e.support import Client, client, quick, running
from whisper_live.audio import Samples
from whisper_live.testing.marks import account_for, write_speech
from whisper_live.testing.oracle import Behaviour


def minute(session: int, chance: random.Random) -> tuple[Samples, list[int]]:
    """About a minute of utterances of 1 to 12 words with pauses of 0.6 to 3 s."""
    utterances, numbers, at = [], 0, 0.0
    pauses = []
    while at < 58.0:
        size = chance.randint(1, 12)
        first = session * 1000 + numbers
        utterances.append(list(range(first, first + size)))
        pauses.append(chance.uniform(0.6, 3.0))
        numbers += size
        at += size * 0.4 + pauses[-1]
    samples, words = write_speech(utterances, pause_s=pauses)
    return samples, [word.number for word in words]


def ragged(data: bytes, chance: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = chance.randint(1, 40_000)
        yield data[at : at + size]
        at += size


async def speak(
    peer: Client, session: int, samples: Samples, chance: random.Random
) -> None:
    await peer.hello(uid=f"client {session}")
    rest = asyncio.create_task(peer.rest())
    for chunk in ragged(samples.astype("<f4").tobytes(), chance):
        await peer.send(chunk)
        await asyncio.sleep(0)
    await peer.end()
    assert await rest == 1000


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_fifty_sessions_of_a_minute_lose_and_double_nothing() -> None:
    behaviour = Behaviour(call_s=0.005, row_s=0.001, jitter_s=0.02, mishear=0.3)
    async with running(quick(max_queue_delay_s=0.0), behaviour) as server:

        async def one(session: int) -> None:
            chance = random.Random(session)
            # Made before the clock of the handshake runs.
            samples, sent = minute(session, chance)
            async with client(server) as peer:
                await speak(peer, session, samples, chance)
            account = account_for(sent, peer.words)
            assert account.clean, (session, account)

        async with asyncio.TaskGroup() as group:
            for session in range(50):
                group.create_task(one(session))
        occupancy = server.worker.load.occupancy
    assert occupancy > 0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_three_hours_cost_what_five_minutes_do() -> None:
    """One stream of three hours, as fast as it is read."""
    process = psutil.Process(os.getpid())
    received: list[int] = []
    times: list[float] = []
    async with running() as server, client(server) as peer:
        await peer.hello(send_last_n_segments=1)

        async def listen() -> None:
            async for segment in peer.completions():
                times.extend([float(segment["start"]), float(segment["end"])])
                received.extend(int(w[1:]) for w in segment["text"].split())

        listener = asyncio.create_task(listen())
        sent: list[int] = []
        after_five_minutes = 0
        for minute_of_stream in range(180):
            first = 100 * minute_of_stream
            groups = [range(first + 10 * i, first + 10 * i + 10) for i in range(10)]
            samples, words = write_speech(groups, lead_s=0.5, pause_s=2.0)
            sent += [word.number for word in words]
            await peer.say(samples, chunk=32_000)
            if minute_of_stream == 5:
                after_five_minutes = process.memory_info().rss
        await peer.end()
        await asyncio.gather(listener, return_exceptions=True)
        drift = process.memory_info().rss - after_five_minutes
    assert account_for(sent, received).clean
    assert np.all(np.diff(times) >= 0)
    assert drift <= 10 * 2**20, f"{drift / 2**20:.1f} MiB"
