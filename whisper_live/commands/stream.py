"""``whisper-live stream FILE``: play a recording to a server and show what it answers.

Owns the choice of what to send.  Everything about the recording is in ``chunks``, about
the wire in ``live``, about what is shown in ``following``.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from whisper_live.client.backoff import Backoff
from whisper_live.client.chunks import (
    Chunk,
    pcm_chunks,
    webm_chunks,
    webm_file_chunks,
)
from whisper_live.client.connection import paced
from whisper_live.client.live import LiveClient
from whisper_live.client.reach import server_url
from whisper_live.commands.following import follow, viewed
from whisper_live.config.model import Config
from whisper_live.errors import ConfigError, DecodeError
from whisper_live.media.files import probe_file, read_file

__all__ = ["recording_chunks", "run"]

_BACKOFF = Backoff(give_up_s=60.0)


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Stream one file to a running server; the exit status."""
    path = Path(arguments.file)
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    url = server_url(arguments.url or config.listen.place, "ws")
    asyncio.run(_stream(url, path, arguments))
    return 0


async def _stream(url: str, path: Path, arguments: argparse.Namespace) -> None:
    audio_format, chunks = recording_chunks(path, arguments.send)
    client = LiveClient(
        url,
        audio_format=audio_format,
        language=arguments.language,
        task=arguments.task,
        key=arguments.key,
        ca=arguments.ca,
        live=False,
        backoff=_BACKOFF,
        initial_prompt=arguments.initial_prompt,
        hotwords=arguments.hotwords,
    )
    with viewed(arguments, speed=arguments.speed) as view:
        await follow(client, _played(client, chunks, arguments.speed), view)


async def _played(
    client: LiveClient, chunks: Iterator[Chunk], speed: float
) -> AsyncGenerator[bytes]:
    """The chunks, each when it is due."""
    client.begin()
    async for chunk in paced(chunks, speed=speed):
        yield chunk.data


def recording_chunks(path: Path, send: str) -> tuple[str, Iterator[Chunk]]:
    """The handshake's ``audio_format``, and the recording in that format.

    ``send`` is ``auto`` (a WebM file as it is, others as float32), ``float32``,
    ``int16`` or ``webm``.  Raises ``DecodeError`` for a file that has to be decoded and
    cannot be.
    """
    is_webm = path.suffix.lower() == ".webm"
    if is_webm and send in ("auto", "webm"):
        return "webm", webm_file_chunks(path)
    try:
        probe_file(path)
    except DecodeError as error:
        raise DecodeError(f"{path}: {error}", kind=error.kind) from error
    if send == "webm":
        return "webm", webm_chunks(read_file(path))
    audio_format = "float32" if send == "auto" else send
    return audio_format, pcm_chunks(read_file(path), audio_format)
