"""Bytes that no honest client sends: broken HTTP, broken frames, broken sessions.

``malformed_connection`` and ``malformed_session`` make one of them by chance; the same
seed makes the same.  Tests send some, the bench thousands.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

__all__ = [
    "ANSWERS",
    "BadConnection",
    "BadSession",
    "abort",
    "frame",
    "malformed_connection",
    "malformed_session",
    "open_raw",
    "open_socket",
    "upgrade",
]

RECORDINGS = Path(__file__).parents[1] / "data" / "browser"
END = b"END_OF_AUDIO"

# What a session may end with; 1011 would be a bug.
ANSWERS = frozenset({1000, 1002, 1007, 1008, 1009})


# ------------------------------------------------------------------ below the websocket


def upgrade(
    *headers: str, path: str = "/", key: str = "dGhlIHNhbXBsZSBub25jZQ=="
) -> bytes:
    """An upgrade request with ``headers`` added."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """One frame; ``length`` is what it says of itself."""
    said = len(payload) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    mask_bit = masked << 7
    if said < 126:
        head += bytes([mask_bit | said])
    elif said < 1 << 16:
        head += struct.pack("!BH", mask_bit | 126, said)
    else:
        head += struct.pack("!BQ", mask_bit | 127, said)
    return head + (bytes(4) + payload if masked else payload)  # a mask of zeros


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

REQUESTS: Sequence[Callable[[random.Random], bytes]] = (
    lambda chance: b"",
    lambda chance: chance.randbytes(chance.randint(1, 3000)),
    lambda chance: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    + chance.randbytes(400),
    lambda chance: b"\r\n" * chance.randint(1, 2000),
    lambda chance: b"GET / HTTP/9.9\r\n\r\n",
    lambda chance: b"GET\r\n\r\n",
    lambda chance: b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
    lambda chance: b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n",
    lambda chance: b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    lambda chance: b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
    lambda chance: b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nabc",
    lambda chance: b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    lambda chance: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    lambda chance: b"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    lambda chance: b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    lambda chance: upgrade("Upgrade: h2c", "Upgrade: websocket"),
    lambda chance: upgrade(
        "Host: a", "Host: b", "Origin: http://a", "Origin: http://b"
    ),
    lambda chance: upgrade("Authorization: Bearer \udcff\udcfe"),
    lambda chance: upgrade("Authorization: Bearer a", "Authorization: Bearer b"),
    lambda chance: upgrade("Origin: http://[::1"),
    lambda chance: upgrade("X-Forwarded-For: ,,;\udce9, 1.2.3.4"),
    lambda chance: upgrade("Sec-WebSocket-Protocol: bearer, \udcff"),
    lambda chance: upgrade("Sec-WebSocket-Extensions: permessage-deflate; =;"),
    lambda chance: upgrade(path="/?token=%ff%00&token=" + "x" * 5000),
    lambda chance: upgrade(path="//["),
    lambda chance: upgrade(key="short"),
    lambda chance: upgrade("Sec-WebSocket-Version: 7"),
    lambda chance: upgrade()[: chance.randint(1, 150)],
)

FRAMES: Sequence[Callable[[random.Random], bytes]] = (
    lambda chance: frame(TEXT, b"{}", masked=False),
    lambda chance: frame(BINARY, b"abc", rsv=chance.randint(1, 7)),
    lambda chance: frame(chance.choice([3, 4, 5, 6, 7, 11, 12, 15]), b"abc"),
    lambda chance: frame(0, b"no beginning"),
    lambda chance: frame(TEXT, b"{", fin=False) + frame(BINARY, b"}"),
    lambda chance: frame(PING, b"half", fin=False),
    lambda chance: frame(PING, bytes(126)),
    lambda chance: frame(CLOSE, b"\x03"),
    lambda chance: frame(CLOSE, struct.pack("!H", chance.choice([0, 999, 1005, 5000]))),
    lambda chance: frame(CLOSE, struct.pack("!H", 1000) + b"\xff\xfe"),
    lambda chance: frame(TEXT, b"\xff\xfe\x80"),
    lambda chance: frame(BINARY, b"abc", length=1 << 62),
    lambda chance: frame(BINARY, b"abc", length=(1 << 63) + 5),
    lambda chance: frame(BINARY, bytes(2000), length=2 << 20),
    lambda chance: frame(BINARY, bytes(3000), length=9000),  # and no more
    lambda chance: chance.randbytes(chance.randint(1, 2000)),
)


@dataclass(frozen=True, slots=True)
class BadConnection:
    """``request`` from the first byte on, or ``after`` a good upgrade."""

    request: bytes
    after: bytes = b""

    async def send(self, port: int) -> None:
        """Send it, take one answer if there is one, and be gone without a word."""
        reader, writer = await open_raw(port)
        try:
            if self.request:
                writer.write(self.request)
                if self.after:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(self.after)
                await writer.drain()
                async with asyncio.timeout(0.05):
                    await reader.read(4096)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            abort(writer)


def malformed_connection(chance: random.Random) -> BadConnection:
    """One of the above."""
    if chance.random() < 0.5:
        return BadConnection(chance.choice(REQUESTS)(chance))
    return BadConnection(upgrade(), chance.choice(FRAMES)(chance))


async def open_raw(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def open_socket(
    port: int, *messages: bytes, path: str = "/"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Upgraded, with ``messages`` (frames) sent."""
    reader, writer = await open_raw(port)
    writer.write(upgrade(path=path))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    writer.write(b"".join(messages))
    await writer.drain()
    return reader, writer


def abort(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# --------------------------------------------------------------- above the websocket

HELLO = {"uid": "bad", "language": "en", "task": "transcribe"}
KEYS = (
    *("uid", "language", "task", "model", "use_vad", "audio_format", "hotwords"),
    *("vad_parameters", "send_last_n_segments", "no_speech_thresh", "initial_prompt"),
    *(
        "word_timestamps",
        "same_output_threshold",
        "multilingual",
        "timings",
        "token",
        "room",
    ),
)
VALUES: Sequence[Any] = (
    *(None, True, False, 0, -1, 1e308, -1e308, 2**70, 0.5, "", "x", "x" * 5000),
    *("\ud800", "\x00", "en", "auto", "float32", "webm", "1e999", "nan", [], [[]], {}),
    *({"threshold": "nan"}, {"threshold": [1]}, {"x": {"y": []}}, [None] * 100),
    *({"min_silence_duration_ms": -5, "speech_pad_ms": 1e300}, "\u202e", "🂡" * 300),
)


def _first(chance: random.Random) -> str | bytes:
    kind = chance.randrange(7)
    if kind == 0:
        return chance.randbytes(chance.randint(0, 500))
    if kind == 1:
        return chance.choice(["", "null", "1", '"x"', "[]", "{", "NaN", "[" * 50_000])
    if kind == 2:
        return '{"uid": ' * 20_000
    if kind == 3:
        return json.dumps(HELLO)[: chance.randint(1, 50)]
    if kind == 4:
        return '{"uid": 1e999, "language": -Infinity, "task": ' + "9" * 5000 + "}"
    hello: dict[str, Any] = dict(HELLO)
    for _ in range(chance.randint(0, 4)):
        hello[chance.choice(KEYS)] = chance.choice(VALUES)
    return json.dumps(hello)


@cache
def _recordings() -> list[bytes]:
    files = sorted(path for path in RECORDINGS.rglob("*") if path.is_file())
    media = [f for f in files if f.suffix in (".webm", ".ogg", ".mp4", ".bin")]
    return [file.read_bytes()[:60_000] for file in media]


def _mutated(chance: random.Random) -> bytes:
    data = bytearray(chance.choice(_recordings()))
    for _ in range(chance.choice([1, 3, 20, 200])):
        at = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 300)]
            case _:
                data[at:at] = chance.randbytes(chance.randint(1, 50))
        if not data:
            break
    return bytes(data)


def _rest(chance: random.Random) -> list[str | bytes]:
    kind = chance.randrange(5)
    if kind == 0:
        return [chance.randbytes(chance.randint(0, 9000)) for _ in range(5)]
    if kind == 1:
        return ["text " * chance.randint(0, 100)]
    if kind == 2:
        return [b"", b"", chance.randbytes(3), b"END_OF_AUDIOS", b"END_OF_AUDI"]
    if kind == 3:
        return [struct.pack("<f", chance.choice([float("nan"), 3e38, 1e-40])) * 4000]
    data = _mutated(chance)
    size = chance.randint(100, 20_000)
    return [data[at : at + size] for at in range(0, len(data), size)]


@dataclass(frozen=True, slots=True)
class BadSession:
    """Messages of one client; END_OF_AUDIO follows."""

    messages: Sequence[str | bytes]

    async def play(self, port: int, *, stay: bool = True) -> int:
        """Send all; the close code, or 0 if it left on an ERROR (not ``stay``)."""
        url = f"ws://127.0.0.1:{port}"
        try:
            async with connect(url, max_size=None, compression=None) as socket:
                try:
                    for message in (*self.messages, END):
                        await socket.send(message)
                    while True:
                        answer = await socket.recv()
                        if not stay and '"ERROR"' in str(answer):
                            return 0
                except ConnectionClosed:
                    return socket.close_code or 0
        except (OSError, InvalidHandshake) as error:
            raise AssertionError(f"the server is gone: {error}") from error


def malformed_session(chance: random.Random) -> BadSession:
    """A bad first message, or a good one with bad ones behind it."""
    if chance.random() < 0.5:
        return BadSession([_first(chance)])
    formats = ["float32", "int16", "uint8", "webm", "ogg", "mp4", "auto"]
    hello = {**HELLO, "audio_format": chance.choice(formats)}
    return BadSession([json.dumps(hello), *_rest(chance)])
