"""``whisper-live listen URL``: show what is said on the radio, a camera or a stream.

Owns nothing of its own: the address is opened by ``broadcasts``, and what is shown is
``following``'s affair.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np

from whisper_live.audio import Samples
from whisper_live.client.broadcasts import broadcast
from whisper_live.client.chunks import pcm_chunks
from whisper_live.client.connection import paced
from whisper_live.client.reach import server_url
from whisper_live.commands.following import View, follow_until_ctrl_c
from whisper_live.config.model import Config
from whisper_live.errors import ConfigError, DecodeError
from whisper_live.media.files import probe_file, read_file
from whisper_live.media.network import SCHEMES, protocols_for, shown

__all__ = ["run"]


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Listen until it ends or Ctrl-C; the exit status."""
    url = server_url(arguments.url or config.listen.place, "ws")
    asyncio.run(_listen(url, arguments))
    return 0


async def _listen(url: str, arguments: argparse.Namespace) -> None:
    await follow_until_ctrl_c(
        url, arguments, lambda view: _audio(arguments.address, view)
    )


def _audio(address: str, view: View) -> AsyncGenerator[Samples]:
    """Of an address, or of a file as if it was heard now."""
    if "://" in address:
        protocols_for(address)  # before a server is asked
        return broadcast(address, view.say)
    path = Path(address)
    if not path.is_file():
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ConfigError(
            f"no such file: {shown(address)}; an address begins with one of {known}"
        )
    try:
        probe_file(path)
    except DecodeError as error:
        raise DecodeError(f"{path}: {error}", kind=error.kind) from error
    return _file_audio(path)


async def _file_audio(path: Path) -> AsyncGenerator[Samples]:
    async for chunk in paced(pcm_chunks(read_file(path))):
        yield np.frombuffer(chunk.data, "<f4")
