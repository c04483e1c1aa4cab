"""Those rows of the fault table that have pass marks of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bench.faults.tools import (
    CHUNK,
    Bench,
    Figure,
    errors_logged,
    exactly,
    in_turn,
    p95,
    settled,
    speaker,
)
from tests.e2e.support import Client
from tests.faults.attacks import (
    ANSWERS,
    BINARY,
    HELLO,
    TEXT,
    abort,
    frame,
    malformed_connection,
    malformed_session,
    open_raw,
    open_socket,
)
from tests.faults.boot import boot, why_not
from tests.faults.process import get
from whisper_live.audio import SAMPLE_RATE
from whisper_live.testing.marks import (
    account_for,
    read_numbers,
    write_speech,
)

Row = Callable[[Bench], Awaitable[list[Figure]]]


async def row_1(bench: Bench) -> list[Figure]:
    """Malformed connections."""
    chance = random.Random(1)
    count = bench.some(10_000)
    async with bench.daemon() as server:
        bad = [malformed_connection(chance) for _ in range(count)]
        early = bad[: count // 5]  # for the allocator: then memory must stand still
        files, began = server.fds, time.monotonic()
        await in_turn([partial(b.send, server.port) for b in early], 50)
        rss = server.rss_mib
        await in_turn([partial(b.send, server.port) for b in bad[len(early) :]], 50)
        took = time.monotonic() - began
        await settled(server)
        await asyncio.sleep(3)  # the closing timeout of the last ones
        return [
            Figure(1, f"{count} malformed connections", took, 30 * bench.scale, "s"),
            Figure(1, "tracebacks and errors logged", errors_logged(server), 0),
            Figure(1, "descriptors left over", server.fds - files, 0),
            Figure(1, "RSS growth after a fifth", server.rss_mib - rss, 5, "MiB"),
        ]


async def row_2(bench: Bench) -> list[Figure]:
    """Malformed sessions beside a healthy one."""
    chance = random.Random(2)
    count = bench.some(10_000)
    codes: list[int] = []
    slowest = 0.0
    neighbour = speaker(30, 1)
    async with bench.daemon() as server:

        async def play(index: int) -> None:
            nonlocal slowest
            session = malformed_session(chance)
            began = time.monotonic()
            # A refused client is held for 2 s: one in fifty stays for its code.
            codes.append(await session.play(server.port, stay=index % 50 == 0))
            if codes[-1]:
                slowest = max(slowest, time.monotonic() - began)

        speaking = asyncio.create_task(neighbour.speak(server.port))
        await in_turn([partial(play, index) for index in range(count)], 10)
        await speaking
        undocumented = sum(code not in ANSWERS | {0} for code in codes)
        internal = (await server.metrics()).get(
            'whisper_live_errors_total{type="internal"}', 0.0
        )
        return [
            Figure(2, f"{count} malformed sessions: odd closes", undocumented, 0),
            Figure(2, "internal errors", internal, 0),
            Figure(2, "tracebacks and errors logged", errors_logged(server), 0),
            Figure(2, "slowest to its close (2 s of them held)", slowest, 4, "s"),
            Figure(2, "words lost by the neighbour", neighbour.lost(), 0),
        ]


async def row_3(bench: Bench) -> list[Figure]:
    """Resets in mid-message."""
    count = bench.some(500)
    hello = frame(TEXT, json.dumps(HELLO).encode())

    async def reset(port: int) -> None:
        reader, writer = await open_socket(port, hello)
        await reader.readuntil(b"SERVER_READY")
        writer.write(frame(BINARY, bytes(9999), length=60_000))
        await writer.drain()
        abort(writer)

    async with bench.daemon() as server:
        seconds, rss = [], []
        for _ in range(3):  # the first is for the allocator
            await asyncio.gather(*[reset(server.port) for _ in range(count)])
            seconds.append(await settled(server))
            rss.append(server.rss_mib)
    return [
        Figure(3, f"2 x {count} resets: sessions gone after", max(seconds[1:]), 1, "s"),
        Figure(3, "RSS growth in the last round", rss[2] - rss[1], 1, "MiB"),
    ]


async def row_4(bench: Bench) -> list[Figure]:
    """Slow handshakes."""
    count = bench.some(1000)
    slowest = 0.0
    async with bench.daemon("--handshake-timeout-s", "5") as server:
        began = time.monotonic()
        slow = [await open_raw(server.port) for _ in range(count)]
        opened = time.monotonic() - began

        async def drip(writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                for byte in b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n":
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.5)

        async def ended(reader: asyncio.StreamReader) -> None:
            with contextlib.suppress(OSError):
                await reader.read()

        drips = [asyncio.create_task(drip(writer)) for _, writer in slow]
        ends = asyncio.gather(*[ended(reader) for reader, _ in slow])
        while not ends.done():
            asked = time.monotonic()
            await asyncio.to_thread(get, server.port, "/healthz")
            slowest = max(slowest, time.monotonic() - asked)
            await asyncio.sleep(0.05)
        gone = time.monotonic() - began - opened
        for task in drips:
            task.cancel()
        await asyncio.gather(*drips, return_exceptions=True)
        for _, writer in slow:
            abort(writer)
    return [
        Figure(4, f"{count} slow handshakes gone after (timeout 5 s)", gone, 6, "s"),
        Figure(4, "slowest /healthz meanwhile", slowest * 1000, 100, "ms"),
    ]


CROWD = """
import asyncio, sys
from websockets.asyncio.client import connect
async def main(port, count):
    sockets = [await connect(f"ws://127.0.0.1:{port}") for _ in range(count)]
    for socket in sockets:
        await socket.send('{"uid": "x", "language": "en", "task": "transcribe"}')
        await socket.recv()
    print("ready", flush=True)
    await asyncio.sleep(3600)
asyncio.run(main(*map(int, sys.argv[1:])))
"""


async def row_5(bench: Bench) -> list[Figure]:
    """Peers that were stopped."""
    count = bench.some(50)
    async with bench.daemon("--idle-timeout-s", "600") as server:
        crowd = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CROWD, str(server.port), str(count)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert crowd.stdout is not None
        await crowd.stdout.readline()
        try:
            assert await server.sessions() == count
            crowd.send_signal(signal.SIGSTOP)
            gone = await settled(server)
        finally:
            crowd.kill()
            await crowd.wait()
    return [Figure(5, f"{count} stopped clients gone after", gone, 33, "s")]


async def row_6(bench: Bench) -> list[Figure]:
    """Clients that never read.

    At five times real time, so that the engine keeps up on any machine: what it is
    behind (30 s of samples at most) is no matter of reading.
    """
    count, speed = 5, 5
    speech, _ = write_speech([[n] for n in range(3000)], pause_s=0.6, word_s=0.3)
    data = speech.astype("<f4").tobytes()
    hello = {**HELLO, "send_last_n_segments": 500, "word_timestamps": True}
    second = SAMPLE_RATE * 4
    async with bench.daemon() as server:

        async def push() -> None:
            _, writer = await open_socket(
                server.port, frame(TEXT, json.dumps(hello).encode())
            )
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            began = time.monotonic()
            with contextlib.suppress(OSError):
                for index, at in enumerate(range(0, len(data), second)):
                    await asyncio.sleep(began + index / speed - time.monotonic())
                    writer.write(frame(BINARY, data[at : at + second]))
                    await writer.drain()
            abort(writer)

        await push()  # what the first client costs, the next ones share
        await settled(server)
        rss = peak = server.rss_mib
        pushing = asyncio.gather(*[push() for _ in range(count)])
        while not pushing.done():
            peak = max(peak, server.rss_mib)
            await asyncio.sleep(0.05)
        await settled(server)
        unread = (await server.metrics()).get(
            'whisper_live_errors_total{type="unread"}', 0.0
        )
    return [
        exactly(6, f"of {count} clients that never read closed", unread - 1, count),
        Figure(6, "RSS per session at the peak", (peak - rss) / count, 2, "MiB"),
    ]


async def row_7(bench: Bench) -> list[Figure]:
    """A flood beside neighbours in real time."""

    async def neighbours(port: int) -> tuple[float, int]:
        crowd = [speaker(20, seed) for seed in range(1, 9)]
        await asyncio.gather(*[each.speak(port) for each in crowd])
        latencies = [s for each in crowd for s in each.latencies_s()]
        return p95(latencies), sum(each.lost() for each in crowd)

    flags = ("--audio-rate", "2", "--audio-burst-s", "30")
    async with bench.daemon(*flags, "--oracle-call-s", "0.05") as server:
        alone, _ = await neighbours(server.port)
        flood = speaker(1000, 99)
        flooding = asyncio.create_task(flood.speak(server.port, speed=50))
        beside, lost = await neighbours(server.port)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
    return [
        Figure(7, "8 neighbours' p95 beside a 50x flood", beside, alone * 1.2, "s"),
        Figure(7, "words lost by them", lost, 0),
    ]


async def row_8(bench: Bench) -> list[Figure]:
    """An hour as fast as it is read."""
    minutes = max(bench.some(60), 7)
    early = 0.0
    received: list[int] = []
    sent: list[int] = []
    times: list[float] = []
    async with bench.daemon() as server:
        url = f"ws://127.0.0.1:{server.port}"
        async with connect(url, max_size=None, compression=None) as sock:
            peer = Client(sock)
            await peer.hello(send_last_n_segments=1)

            async def listen() -> None:
                with contextlib.suppress(ConnectionClosed):
                    async for segment in peer.completions():
                        times.extend((float(segment["start"]), float(segment["end"])))
                        received.extend(read_numbers(segment["text"]))

            listening = asyncio.create_task(listen())
            for minute in range(minutes):
                groups = [
                    range(100 * minute + 10 * i, 100 * minute + 10 * i + 10)
                    for i in range(10)
                ]
                samples, words = write_speech(groups, lead_s=0.5, pause_s=2.0)
                sent += [word.number for word in words]
                await peer.say(samples, chunk=CHUNK * 10)
                if minute == 5:
                    early = server.rss_mib
            drift = server.rss_mib - early
            await peer.end()
            await listening
    account = account_for(sent, received)
    return [
        Figure(8, f"RSS drift, minute 5 to {minutes}", drift, 10, "MiB"),
        Figure(8, "words lost or doubled", len(account.lost + account.doubled), 0),
        Figure(8, "steps back in time", int(np.sum(np.diff(times) < 0)), 0),
    ]


async def row_9(bench: Bench) -> list[Figure]:
    """SIGTERM with a hundred sessions."""
    count = bench.some(100)
    crowd = [speaker(60, seed) for seed in range(1, count + 1)]
    async with bench.daemon("--drain-timeout-s", "30") as server:
        speaking = [asyncio.create_task(each.speak(server.port)) for each in crowd]
        await asyncio.sleep(15)
        began = time.monotonic()
        server.kill()
        for each in crowd:
            each.counted = each.sent  # what follows was sent too late
        await asyncio.gather(*speaking)
        code = await server.ended()
        took = time.monotonic() - began
    return [
        Figure(
            9,
            f"{count} sessions: told 1012",
            sum(c.code == 1012 for c in crowd),
            count,
            "",
            True,
        ),
        Figure(9, "words lost of those sent before", sum(c.lost() for c in crowd), 0),
        Figure(9, "exit code", code, 0),
        Figure(9, "SIGTERM to exit", took, 30, "s"),
    ]


async def row_10(bench: Bench) -> list[Figure]:
    """Rows 10, 11, 12 and 15 under a real systemd (``tests/faults/booted.py``)."""
    if reason := why_not():
        print(f"rows 10, 11, 12 and 15: {reason}", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        with contextlib.redirect_stdout(sys.stderr):
            result = await asyncio.to_thread(boot, "tests.faults.booted", Path(folder))
    seen = json.loads(result.splitlines()[-1])
    kill_s, start_s = seen["kill_to_ready_s"], seen["start_to_ready_s"]
    return [
        Figure(9, "systemctl stop with a live session", seen["stop_s"], 2, "s"),
        Figure(10, "SIGKILL to READY, less a start", kill_s - start_s, 1.5, "s"),
        Figure(11, "hang to kill (WatchdogSec 3)", seen["hang_to_kill_s"], 4.5, "s"),
        exactly(12, "of 60 requests over restarts, kill", seen["activated"], 60),
        exactly(
            15, "words of a session over a reload", len(seen["reload_old_words"]), 2
        ),
    ]


async def row_13(bench: Bench) -> list[Figure]:
    """One client too many, again and again."""
    waits: list[float] = []
    async with bench.daemon("--max-sessions", "8") as server:

        async def crowd() -> tuple[float, int]:
            speakers = [speaker(15, seed) for seed in range(1, 9)]
            await asyncio.gather(*[each.speak(server.port) for each in speakers])
            latencies = [s for each in speakers for s in each.latencies_s()]
            return p95(latencies), sum(each.lost() for each in speakers)

        alone, _ = await crowd()
        talking = asyncio.create_task(crowd())
        await asyncio.sleep(2)
        held: list[float] = []
        while len(waits) < 20:
            began = time.monotonic()
            async with connect(f"ws://127.0.0.1:{server.port}") as sock:
                peer = Client(sock)
                await peer.hello()
                assert (await peer.next())["status"] == "WAIT"
                waits.append(time.monotonic() - began)
                if len(waits) == 1:
                    assert await peer.rest() == 1013
                    held.append(time.monotonic() - began - waits[0])
            await asyncio.sleep(0.2)
        beside, lost = await talking
    return [
        Figure(13, "WAIT after", max(waits), 1, "s"),
        Figure(13, "held for", held[0], 2.5, "s"),
        Figure(13, "others' p95 meanwhile", beside, alone * 1.1, "s"),
        Figure(13, "words lost by them", lost, 0),
    ]
