"""The daemon, told to stop at a moment that no test outside of it could hit.

``python -m tests.faults.stopping_itself MOMENT SIGNAL``, then the flags of ``serve``.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from typing import Any, NoReturn

from whisper_live import cli
from whisper_live.server import process, signals
from whisper_live.server.server import Server

_signals_enter, _server_enter = signals.Signals.__enter__, Server.__aenter__


def tell() -> None:
    """What an operator or systemd sends."""
    os.kill(os.getpid(), signal.Signals[sys.argv[2]])


def load(*given: Any, **named: Any) -> NoReturn:
    """Never ends, as an engine's library that looks at no signal."""
    os.kill(os.getpid(), signal.SIGHUP)  # is for a daemon that serves
    tell()
    threading.Event().wait()
    raise AssertionError("nobody sets it")


def start(self: signals.Signals) -> signals.Signals:
    """Before what takes a second is imported."""
    _signals_enter(self)
    tell()
    threading.Event().wait()
    raise AssertionError("nobody sets it")


async def listen(self: Server) -> Server:
    """With all loaded, and nobody listening yet."""
    tell()
    return await _server_enter(self)


def prepare(moment: str) -> None:
    """Be told then."""
    if moment == "start":
        setattr(signals.Signals, "__enter__", start)
    elif moment == "load":
        setattr(process, "load_engine", load)
    else:
        setattr(Server, "__aenter__", listen)
        if moment == "exit":
            atexit.register(tell)


if __name__ == "__main__":
    prepare(sys.argv[1])
    sys.exit(cli.main(["serve", *sys.argv[3:]]))
