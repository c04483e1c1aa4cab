"""A daemon whose log nobody reads, as when a log collector hangs."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys

from tests.faults.attacks import TEXT, abort, frame, open_socket
from tests.faults.process import SERVE, get

PIPE_BYTES = 4096  # the least that Linux gives a pipe: some 40 lines


async def refused(port: int) -> None:
    """Be refused, which is a line in the log."""
    reader, writer = await open_socket(port, frame(TEXT, b"{}"))
    await reader.readuntil(b"ERROR")
    abort(writer)


async def test_a_log_pipe_that_nobody_reads_stops_neither_service_nor_exit() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *SERVE), stdout=asyncio.subprocess.PIPE, stderr=writer
    )
    os.close(writer)
    try:
        assert process.stdout is not None
        port = int((await process.stdout.readline()).rpartition(b":")[2])
        async with asyncio.timeout(30):
            for _ in range(5):
                await asyncio.gather(*[refused(port) for _ in range(40)])
            assert await asyncio.to_thread(get, port, "/healthz") == (200, "ok\n")
            _, page = await asyncio.to_thread(get, port, "/metrics")
            assert 'rejected_total{reason="handshake_missing"} 200.0' in page
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        log = os.read(reader, 2 * PIPE_BYTES)
        os.close(reader)
    assert log.count(b"refused kind=handshake_missing") > 20  # it did log
