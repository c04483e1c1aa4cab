"""SIGTERM, SIGINT and SIGHUP from the first moment of the daemon to its last.

Until the server listens nobody has been promised anything, and the main thread may be
inside of a library for seconds, or wait minutes for a download: a thread of its own
ends the process at once.  From ``hand_over`` on the event loop has the signals; at the
end they are ignored, so that one that comes late does not change the exit status.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from types import FrameType, TracebackType
from typing import Self

from whisper_live.observability import log
from whisper_live.server import systemd

__all__ = ["Signals", "log_stopped"]

logger = logging.getLogger("whisper_live.server")

_STOP = (signal.SIGTERM, signal.SIGINT)
_ALL = (*_STOP, signal.SIGHUP)


class Signals:
    """The signals of this process; to be entered once, in the main thread."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._reader = threading.Thread(target=self._read, name="signals", daemon=True)

    def __enter__(self) -> Self:
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)  # as Python wants it
        # Python writes the number of each signal there, whatever the main thread does.
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for signum in _ALL:
            signal.signal(signum, _leave_to_reader)
        self._reader.start()
        return self

    def hand_over(self) -> None:
        """Somebody else has called ``set_wakeup_fd`` and hears all three."""
        self._writing.shutdown(socket.SHUT_WR)  # a fork may have it open as well
        self._writing.close()
        self._reader.join()  # does not return where the process is being ended

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for signum in _ALL:
            signal.signal(signum, signal.SIG_IGN)
        if self._writing.fileno() >= 0:
            signal.set_wakeup_fd(-1)
            self.hand_over()

    def _read(self) -> None:
        """End the process if it is to stop; for SIGHUP nothing has been read yet."""
        with self._reading:
            while told := self._reading.recv(1):
                if told[0] in _STOP:
                    systemd.notify("STOPPING=1")
                    logger.info("stopping before anybody was served")
                    log_stopped(self.began)
                    log.flush()
                    os._exit(0)


def log_stopped(began: float) -> None:
    """The daemon's last line; ``began`` is when it did, by ``time.monotonic``."""
    logger.info("stopped after %.0f s", time.monotonic() - began)


def _leave_to_reader(signum: int, frame: FrameType | None) -> None:
    """Only a signal that has a function is written to the socket."""
