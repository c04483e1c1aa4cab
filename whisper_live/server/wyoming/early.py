"""Answers ``describe`` while the model is being loaded, in a process of its own.

Home Assistant gives up after a second, and a load holds the interpreter for a quarter
of a second at a time (0.25 s for the demo model, 0.12 s for tiny.en).  A fork needs no
start of its own; it ends when the server listens on the same socket, and with the
process that loads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator

from whisper_live import __version__
from whisper_live.config.model import Config
from whisper_live.protocols.wyoming.info import describe
from whisper_live.server.wyoming.link import Host
from whisper_live.server.wyoming.listener import Listener, bind

__all__ = ["answering"]


@contextlib.contextmanager
def answering(config: Config) -> Iterator[socket.socket]:
    """Listen on the port, whose socket stays open; answer on it within the block.

    To be entered before the engine starts threads.  Raises ``ConfigError`` where the
    port cannot be had.
    """
    listening = bind(config.wyoming)
    try:
        with _forked(listening, config):
            yield listening
    except BaseException:
        listening.close()
        raise


@contextlib.contextmanager
def _forked(listening: socket.socket, config: Config) -> Iterator[None]:
    alive, hold = os.pipe()  # its other end closes with the process that loads
    child = os.fork()
    if not child:
        try:
            os.close(hold)
            logging.disable()  # whoever writes the log did not come along
            _leave_signals()
            asyncio.run(_answer(listening, config, alive))
        finally:
            os._exit(0)
    os.close(alive)
    try:
        yield
    finally:
        os.close(hold)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _leave_signals() -> None:
    """What a terminal tells both of them is the parent's."""
    signal.set_wakeup_fd(-1)  # it would be told there
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


async def _answer(listening: socket.socket, config: Config, alive: int) -> None:
    """Until nobody holds the pipe any more."""
    info = describe(config, __version__)
    host = Host(config, info, refused=lambda kind: None, converse=None)
    await Listener(listening, host).start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(alive, ended.set)
    await ended.wait()
