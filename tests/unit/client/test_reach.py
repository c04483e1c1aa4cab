"""What a client is told where it cannot reach a daemon."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.certificates import certificate
from whisper_live import cli
from whisper_live.client.connection import connect
from whisper_live.client.reach import server_url
from whisper_live.errors import WhisperLiveError

Capture = pytest.CaptureFixture[str]

NOBODY = "nobody listens there; is the daemon running, and on this port?"
PLAIN = b"SSH-2.0-OpenSSH_9\r\n"
PAGE = b"<!DOCTYPE HTML><title>files</title>"
HTTP = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PAGE


@asynccontextmanager
async def answering(answer: bytes, folder: Path | None = None) -> AsyncIterator[str]:
    """A server that always says ``answer``; over TLS, with a certificate in a folder.

    Yields ``host:port``.
    """

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    context = None
    if folder is not None:
        certificate(folder, "elsewhere")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def status(capsys: Capture, *flags: str) -> str:
    assert await asyncio.to_thread(cli.main, ["status", *flags]) == 1
    [line] = capsys.readouterr().out.splitlines()
    return line


async def stream(url: str, ca: str | None = None) -> str:
    with pytest.raises(WhisperLiveError) as refused:
        async with connect(url, ca=ca):
            pass
    return str(refused.value)


@pytest.mark.parametrize("answer", [HTTP, PLAIN, b"", b"HTTP/1.1 404 No\r\n\r\n"])
async def test_status_at_the_port_of_another_server(
    answer: bytes, capsys: Capture
) -> None:
    async with answering(answer) as place:
        said = await status(capsys, "--url", f"http://{place}")
    assert said.startswith(f"no daemon answers at http://{place}: ")
    if answer:
        assert said.endswith("something answers there that is no whisper-live daemon")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (HTTP, "refused with HTTP 200; something answers there that is no live"),
        (PLAIN, "something answers there that speaks another protocol"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "refused with HTTP 502"),
    ],
)
async def test_stream_at_the_port_of_another_server(answer: bytes, says: str) -> None:
    async with answering(answer) as place:
        assert says in await stream(f"ws://{place}")


async def test_tls_where_plain_was_asked(tmp_path: Path, capsys: Capture) -> None:
    async with answering(HTTP, tmp_path) as place:
        said = await status(capsys, "--url", f"http://{place}/")
        assert said.endswith(f": it speaks TLS: --url https://{place}")
        assert await stream(f"ws://{place}") == (
            f"no server at ws://{place}: it speaks TLS: --url wss://{place}"
        )


async def test_plain_where_tls_was_asked(capsys: Capture) -> None:
    async with answering(HTTP) as place:
        said = await status(capsys, "--url", f"wss://{place}")
        assert said.endswith(f": it speaks no TLS: --url http://{place}")
        said = await stream(f"wss://{place}")
        assert said.endswith(f": it speaks no TLS: --url ws://{place}")


async def test_a_certificate_of_its_own_making(tmp_path: Path, capsys: Capture) -> None:
    async with answering(HTTP, tmp_path) as place:
        ca = str(tmp_path / "cert.pem")
        hint = "its certificate is not trusted (self-signed certificate); --ca FILE"
        assert hint in await status(capsys, "--url", f"https://{place}")
        assert hint in await stream(f"wss://{place}")
        said = await status(capsys, "--url", f"https://{place}", "--ca", ca)
        assert said.endswith("no whisper-live daemon")  # so TLS was no obstacle
        assert "HTTP 200" in await stream(f"wss://{place}", ca)
        localhost = place.replace("127.0.0.1", "localhost")
        said = await status(capsys, "--url", f"https://{localhost}", "--ca", ca)
        assert said.endswith(": its certificate is for another name")


def test_a_file_without_certificates_is_a_configuration_error(
    tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    certificate(tmp_path, "elsewhere")
    for name, why in (
        ("empty.pem", "there is no certificate (PEM) in it"),
        ("key.pem", "there is no certificate (PEM) in it"),
        ("absent.pem", "No such file or directory"),
    ):
        ca = str(tmp_path / name)
        assert cli.main(["status", "--ca", ca]) == 2
        said = capsys.readouterr().err
        assert said == f"whisper-live: cannot read the certificates in {ca}: {why}\n"


async def test_a_certificate_that_vouches_for_another(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    certificate(other, "another")
    async with answering(HTTP, tmp_path) as place:
        said = await stream(f"wss://{place}", str(other / "cert.pem"))
    assert said.endswith("--ca FILE must hold it, or the one of who made it")


@pytest.mark.parametrize(
    ("given", "plain", "url"),
    [
        ("ws://a:1", "http", "http://a:1"),  # as the daemon prints where it listens
        ("wss://a:1/x", "http", "https://a:1/x"),
        ("https://a:1", "http", "https://a:1"),
        ("http://a:1", "ws", "ws://a:1"),
        ("https://a:1", "ws", "wss://a:1"),
        ("wss://a:1", "ws", "wss://a:1"),
        ("localhost:9090", "ws", "ws://localhost:9090"),
        ("[::1]:9090", "http", "http://[::1]:9090"),
        ("WS://a", "ws", "ws://a"),
    ],
)
def test_every_scheme_names_the_same_server(given: str, plain: str, url: str) -> None:
    assert server_url(given, plain) == url


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_nobody_there(host: str, capsys: Capture) -> None:
    with socket.socket() as unused:  # bound, not listening: refused
        unused.bind(("127.0.0.1", 0))
        place = f"{host}:{unused.getsockname()[1]}"
        for said in (
            await status(capsys, "--url", place),
            await stream(f"ws://{place}"),
        ):
            assert said.endswith(f"{place}: {NOBODY}")
        assert await asyncio.to_thread(cli.main, ["capacity", "--url", place]) == 1
        assert capsys.readouterr().err.endswith(f"ws://{place}: {NOBODY}\n")
