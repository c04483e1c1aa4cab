"""The daemon with a model that is loaded when a line comes on standard input.

It serves when another one comes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Self

from whisper_live import cli
from whisper_live.config.model import Config
from whisper_live.server import process
from whisper_live.server.server import Server

_load = process.load_engine


def load_later(config: Config, progress: Callable[[str], None], **named: Any) -> Any:
    """Say that it begins, and wait for the line."""
    print("loading", flush=True)
    sys.stdin.readline()
    return _load(config, progress, **named)


class LateServer(Server):
    """Takes as long to start as a busy machine may."""

    async def __aenter__(self) -> Self:
        print("starting", flush=True)
        sys.stdin.readline()
        return await super().__aenter__()


if __name__ == "__main__":
    process.load_engine = load_later
    setattr(process, "Server", LateServer)
    sys.exit(cli.main(["serve", *sys.argv[1:]]))
