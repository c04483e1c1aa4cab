"""Peers that stop in the middle of a TLS handshake, before they show any key."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from tests.e2e.support import quick
from tests.faults.attacks import abort, open_raw
from tests.faults.certificates import certificate
from tests.faults.process import daemon
from whisper_live.config.model import AccessConfig
from whisper_live.server.server import Server
from whisper_live.testing.oracle import OracleDetector, OracleEngine

PEERS = 300


@functools.cache
def client_hello() -> bytes:
    """The first message of a handshake."""
    sent = ssl.MemoryBIO()
    context = ssl.create_default_context()
    half = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    return sent.read()


@contextlib.asynccontextmanager
async def half_open(port: int, peers: int) -> AsyncIterator[None]:
    """So many, each with the server's answer and none of its own."""
    writers = []
    for _ in range(peers):
        reader, writer = await open_raw(port)
        writer.write(client_hello())
        assert await reader.read(1)
        writers.append(writer)
    yield
    for writer in writers:
        abort(writer)


async def test_half_handshakes_take_no_more_than_a_client_may(tmp_path: Path) -> None:
    """They took up to 303 KiB each: the buffers that asyncio gives them."""
    certificate(tmp_path, "one")
    flags = ("--tls-cert", f"{tmp_path}/cert.pem", "--tls-key", f"{tmp_path}/key.pem")
    async with daemon(tmp_path, *flags) as server:
        before = server.rss_mib
        async with half_open(server.port, PEERS):
            taken_kib = (server.rss_mib - before) * 1024 / PEERS
    assert taken_kib < 90


async def test_what_half_handshakes_held_is_given_back(tmp_path: Path) -> None:
    certificate(tmp_path, "one")
    access = AccessConfig(
        tls_cert=f"{tmp_path}/cert.pem", tls_key=f"{tmp_path}/key.pem"
    )
    rests = asyncio.Event()
    loop = asyncio.get_running_loop()

    def rest() -> None:  # in a thread
        loop.call_soon_threadsafe(rests.set)

    config = dataclasses.replace(quick(handshake_timeout_s=0.5), access=access)
    async with Server(
        config, engine=OracleEngine(), detector=OracleDetector, at_rest=rest
    ) as server:
        async with half_open(server.port, 5):
            async with asyncio.timeout(10):
                await rests.wait()
            assert server._unmade == {}
