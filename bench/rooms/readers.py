"""Many readers of one room, in a process of their own.

    python -m bench.rooms.readers PORT COUNT

Says ``reading`` once all have been greeted.  When its input ends it prints JSON:
``arrivals`` has, by a line's number, the moments (monotonic seconds, the same for all
processes of a machine) at which readers had it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import resource
import sys
import time

_LINE = re.compile(rb"id: [0-9a-f]+-(\d+)\nevent: (?:line|dropped)\n")
_AT_ONCE = 100  # that are connecting


class Reader(asyncio.Protocol):
    """One of them; as little of an ``EventSource`` as tells when a line came."""

    def __init__(self, request: bytes, arrivals: dict[int, list[float]]) -> None:
        self.greeted = asyncio.get_running_loop().create_future()
        self.lines = 0
        self.faults = 0
        self._request = request
        self._arrivals = arrivals
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        whole, mark, self._rest = (self._rest + data).rpartition(b"\n\n")
        if not mark:
            return
        if not self.greeted.done() and b"retry: " in whole:
            self.greeted.set_result(None)
        for found in _LINE.finditer(whole):
            number = int(found[1])
            self.faults += number != self.lines + 1  # twice, out of order, or missed
            self.lines = number
            self._arrivals.setdefault(number, []).append(now)

    def connection_lost(self, error: Exception | None) -> None:
        self.faults += 1
        if not self.greeted.done():
            self.greeted.set_exception(error or ConnectionError("closed"))


async def read(port: int, count: int) -> dict[str, object]:
    """Until the input ends; what is printed then."""
    loop = asyncio.get_running_loop()
    arrivals: dict[int, list[float]] = {}
    request = b"GET /room/bench/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    places = asyncio.Semaphore(_AT_ONCE)

    async def open_one() -> Reader:
        async with places:
            _, reader = await loop.create_connection(
                lambda: Reader(request, arrivals), "127.0.0.1", port
            )
            await reader.greeted
            return reader

    readers = await asyncio.gather(*[open_one() for _ in range(count)])
    gc.collect()
    gc.freeze()
    print("reading", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    return {
        "arrivals": arrivals,
        "faults": sum(reader.faults for reader in readers),
        "fewest_lines": min(reader.lines for reader in readers),
        "most_lines": max(reader.lines for reader in readers),
    }


def main() -> None:
    """See above."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(asyncio.run(read(int(sys.argv[1]), int(sys.argv[2])))))


if __name__ == "__main__":
    main()
