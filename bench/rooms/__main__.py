"""How soon a line reaches all readers of a room, and what a reader costs the daemon.

A line's delay is from when the speaker's own client has it to when a reader does; the
readers are a process of their own on the same cores.  ``/healthz`` is asked all the
while, to see what they cost everybody else.  A line of JSON for each run, and a table.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path

import aiohttp
import psutil
from websockets.asyncio.client import connect

from bench.report import provenance, table
from tests.e2e.support import Client
from tests.faults.process import Daemon, daemon
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.testing.marks import write_speech

_CHUNK_S = 0.1
_ASKED_EVERY_S = 0.05
_SETTLE_S = 3.0


def speech(seconds: float) -> Samples:
    """Sentences of six words with pauses, for so long: a line every 3.3 s."""
    count = max(int(seconds / 3.3), 1)
    sentences = [[6 * n + word for word in range(1, 7)] for n in range(count)]
    return write_speech(sentences, pause_s=1.5, word_s=0.3)[0]


async def speak(
    port: int, samples: Samples, heard: list[float], *, room: str = "bench"
) -> None:
    """At its own pace; ``heard`` gets when each completed segment was there."""
    async with connect(f"ws://127.0.0.1:{port}", max_size=None) as socket:
        peer = Client(socket)
        await peer.hello(uid="bench", room=room, send_last_n_segments=1)
        await peer.next()
        listening = asyncio.create_task(_listen(peer, heard))
        step = int(_CHUNK_S * SAMPLE_RATE)
        began = time.monotonic()
        for number, at in enumerate(range(0, len(samples), step)):
            await asyncio.sleep(began + number * _CHUNK_S - time.monotonic())
            await socket.send(samples[at : at + step].astype("<f4").tobytes())
        await asyncio.sleep(_SETTLE_S)
        listening.cancel()


async def _listen(peer: Client, heard: list[float]) -> None:
    async for _ in peer.completions():
        heard.append(time.monotonic())


async def ask(port: int, waits: list[float]) -> None:
    """How long the daemon's loop lets others wait."""
    url = f"http://127.0.0.1:{port}/healthz"
    async with aiohttp.ClientSession() as session:
        while True:
            began = time.monotonic()
            async with session.get(url) as answer:
                await answer.read()
            waits.append(time.monotonic() - began)
            await asyncio.sleep(_ASKED_EVERY_S)


@contextlib.asynccontextmanager
async def reading(port: int, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """So many readers, once all have been greeted."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.rooms.readers", str(port), str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 28,  # of one line: its results
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"reading\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run(count: int, seconds: float, folder: Path) -> dict[str, object]:
    """The figures of one run."""
    flags = ("--http-port", "-1", "--max-room-readers", str(count))
    async with daemon(folder, *flags) as server:
        place = re.search(r" on http://\S+:(\d+)", server.log)
        assert place is not None, server.log
        port = int(place[1])
        await speak(server.port, speech(1), [], room="warm")
        alone: list[float] = []
        await _during(ask(port, alone), asyncio.sleep(_SETTLE_S))
        memory = server.rss_mib
        async with reading(port, count) as readers:
            await asyncio.sleep(_SETTLE_S)
            per_reader = (server.rss_mib - memory) * 1024 / count
            heard: list[float] = []
            waits: list[float] = []
            began, cpu_s = time.monotonic(), _cpu_s(server)
            speaking = speak(server.port, speech(seconds), heard)
            await _during(ask(port, waits), speaking)
            cpu = (_cpu_s(server) - cpu_s) / (time.monotonic() - began)
            spoken = (server.rss_mib - memory) * 1024 / count
            output, _ = await readers.communicate(b"")  # the end of its input
    told = json.loads(output)
    delays = sorted(
        arrived - heard[int(number) - 1]
        for number, times in told["arrivals"].items()
        for arrived in times
    )
    missing = count * len(heard) - len(delays)
    return {
        "readers": count,
        "lines": len(heard),
        "delay_p50_s": _quantile(delays, 0.5),
        "delay_p95_s": _quantile(delays, 0.95),
        "delay_max_s": round(delays[-1], 3),
        "missing_or_wrong": missing + told["faults"],
        "kib_per_reader": round(per_reader, 1),
        "kib_per_reader_after": round(spoken, 1),
        "cpu_cores": round(cpu, 2),
        "healthz_p95_ms": round(1000 * _quantile(sorted(waits), 0.95), 1),
        "healthz_p95_ms_alone": round(1000 * _quantile(sorted(alone), 0.95), 1),
    }


async def _during(
    beside: Coroutine[object, object, None], main: Coroutine[object, object, None]
) -> None:
    task = asyncio.create_task(beside)
    try:
        await main
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _cpu_s(server: Daemon) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return float(times.user + times.system)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 4)


def main() -> None:
    """Run it for each number of readers."""
    parser = argparse.ArgumentParser(prog="python -m bench.rooms", description=__doc__)
    parser.add_argument("--readers", default="2000", help="as in 100,2000")
    parser.add_argument("--seconds", type=float, default=60.0, help="of speech")
    parser.add_argument("--out", type=Path, default=Path("rooms.jsonl"))
    arguments = parser.parse_args()
    rows = []
    with arguments.out.open("a") as out:
        for count in map(int, arguments.readers.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                told = asyncio.run(run(count, arguments.seconds, Path(folder)))
            out.write(json.dumps({**provenance("rooms"), **told}) + "\n")
            out.flush()
            rows.append(list(told.values()))
            print(told, flush=True)
    print(table(list(told), rows))


if __name__ == "__main__":
    main()
