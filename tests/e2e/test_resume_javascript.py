"""The JavaScript example resumes through a proxy that cuts its sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.resuming import javascript_client, needs_node
from tests.e2e.support import quick, running
from whisper_live.testing.marks import read_numbers, write_speech


class Cutter:
    """A TCP proxy that resets each connection after so many bytes from its client."""

    def __init__(self, port: int, after: Iterator[int]) -> None:
        self._port = port
        self._after = after
        self.connections = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        left = next(self._after, 1 << 40)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        answers = asyncio.create_task(self._copy(there, writer))
        with contextlib.suppress(ConnectionError):
            while left > 0 and (data := await reader.read(min(left, 4096))):
                left -= len(data)
                back.write(data)
                await back.drain()
        if left > 0:
            back.close()
            await answers
        for each in (writer, back):
            each.transport.abort()
        answers.cancel()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
            writer.close()


@contextlib.asynccontextmanager
async def cutting(cutter: Cutter) -> AsyncIterator[int]:
    server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.slow
@needs_node
async def test_the_javascript_client_loses_and_doubles_no_word() -> None:
    samples, words = write_speech([[1, 2, 3], [4, 5], [6], [7, 8, 9, 10]], pause_s=0.7)
    data = samples.astype("<f4").tobytes()
    cuts = iter([300, 1000, 40_000, 90_001, 150_000])
    async with running(quick()) as server:
        cutter = Cutter(server.port, cuts)
        async with cutting(cutter) as port:
            async with javascript_client(port) as process:
                out, _ = await process.communicate(data)
    assert process.returncode == 0
    assert read_numbers(out.decode()) == [word.number for word in words]
    assert cutter.connections == 6
