"""What the rows of the fault table share: figures, daemons, clients that speak."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.support import Client
from tests.faults.process import Daemon, daemon
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.testing.marks import (
    NumberedWord,
    account_for,
    read_numbers,
    write_speech,
)

FREE = ("--audio-rate", "0", "--max-sessions", "2000", "--max-queue-delay-s", "0")
CHUNK = SAMPLE_RATE // 10


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number and the mark that it is held against."""

    row: int
    what: str
    value: float
    mark: float  # at most, or, with ``exact``, just this
    unit: str = ""
    exact: bool = False

    @property
    def passed(self) -> bool:
        return self.value == self.mark if self.exact else self.value <= self.mark


def exactly(row: int, what: str, value: float, mark: float) -> Figure:
    """All of them, or it is missed."""
    return Figure(row, what, value, mark, exact=True)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every row gets."""

    folder: Path
    scale: float

    def some(self, count: int) -> int:
        return max(math.ceil(count * self.scale), 2)

    @contextlib.asynccontextmanager
    async def daemon(self, *flags: str) -> AsyncIterator[Daemon]:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            async with daemon(Path(folder), *FREE, *flags) as running:
                yield running


# ------------------------------------------------------------------------------ helpers


async def in_turn(jobs: Sequence[Callable[[], Awaitable[None]]], at_once: int) -> None:
    """Run all jobs, so many at a time."""
    waiting = list(reversed(jobs))

    async def work() -> None:
        while waiting:
            await waiting.pop()()

    await asyncio.gather(*[work() for _ in range(at_once)])


async def settled(server: Daemon) -> float:
    """Seconds until no session is left."""
    began = time.monotonic()
    while await server.sessions():
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def errors_logged(server: Daemon) -> int:
    return server.log.count("Traceback") + server.log.count(" ERROR ")


class Speaker:
    """A client that speaks in real time and notes when it hears its words."""

    def __init__(self, samples: Samples, words: Sequence[NumberedWord]) -> None:
        self.samples, self.words = samples, words
        self.heard: dict[int, float] = {}
        self.sent = 0  # samples
        self.counted: int | None = None  # of them; None: all
        self.client: Client | None = None
        self.code = 0

    async def speak(self, port: int, *, speed: float = 1.0) -> None:
        """To the end of the samples, or the close."""
        url = f"ws://127.0.0.1:{port}"
        async with connect(url, max_size=None, compression=None) as sock:
            self.client = peer = Client(sock)
            await peer.hello(send_last_n_segments=500)
            await peer.next()
            self.began = time.monotonic()
            listening = asyncio.create_task(self._listen(peer))
            data = self.samples.astype("<f4")
            with contextlib.suppress(ConnectionClosed):
                for at in range(0, len(data), CHUNK):
                    due = self.began + at / SAMPLE_RATE / speed
                    await asyncio.sleep(max(due - time.monotonic(), 0))
                    await peer.send(data[at : at + CHUNK].tobytes())
                    self.sent = min(at + CHUNK, len(data))
                await peer.end()
            self.code = await listening

    async def _listen(self, peer: Client) -> int:
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = await peer.next()
                for segment in message.get("segments", ()):
                    for number in read_numbers(segment["text"]):
                        self.heard.setdefault(number, time.monotonic())
        return peer.socket.close_code or 0

    def latencies_s(self) -> list[float]:
        """From a word's end, as scheduled, to the first message that has it."""
        ends = {word.number: word.end / SAMPLE_RATE for word in self.words}
        return [at - self.began - ends[n] for n, at in self.heard.items() if n in ends]

    def lost(self) -> int:
        """Words that were wholly sent and are in no completed segment."""
        assert self.client is not None
        end = self.sent if self.counted is None else self.counted
        sent = [word.number for word in self.words if word.end <= end]
        account = account_for(sent, [n for n in self.client.words if n in sent])
        return len(account.lost) + len(account.doubled) + len(account.out_of_order)


def speaker(seconds: float, seed: int) -> Speaker:
    chance = random.Random(seed)
    groups, pauses, at, number = [], [], 0.5, seed * 1000
    while at < seconds:
        size = chance.randint(2, 8)
        groups.append(list(range(number, number + size)))
        pauses.append(chance.uniform(0.6, 1.5))
        number += size
        at += size * 0.4 + pauses[-1]
    return Speaker(*write_speech(groups, pause_s=pauses))


def p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95)) if values else math.nan
