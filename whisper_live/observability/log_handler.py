"""Where lines of the log go, so that no log can stop or drown the server.

Owns a thread that writes them, the bound of its queue, and how many lines another
package may log.  What is left out is counted in a metric and told in the log.  Knows
nothing of what a line says.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TextIO

from whisper_live.observability.metrics import LOG_DROPPED
from whisper_live.rate_limit import RateLimit
from whisper_live.text.counted import counted

__all__ = ["LogHandler"]

MOST_LINES = 4096  # that wait to be written
# asyncio writes a line for each failed write to a peer that is gone: ten peers made
# 171,636 of them.
_FOREIGN_BURST = 20
_FOREIGN_PER_S = 1.0
_FLOOD = LOG_DROPPED.labels("flood")
_UNREAD = LOG_DROPPED.labels("unread")
_FLUSH_S = 1.0  # at the end, for a reader that may not be there


class LogHandler(logging.StreamHandler[TextIO]):
    """Hands lines to a thread; whoever logs never waits for who reads the log.

    A stream without a descriptor (one in memory) is written to at once.
    """

    def __init__(
        self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream)
        self._clock = clock
        self._writer = _writer(stream)
        self._unread = 0  # lines left out since the last one that was taken
        self._left_out: defaultdict[str, int] = defaultdict(int)  # by package
        self._limits: defaultdict[str, RateLimit] = defaultdict(
            lambda: RateLimit(_FOREIGN_BURST, _FOREIGN_PER_S)
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, or count it."""
        try:
            package = record.name.partition(".")[0]
            if not self._lets_in(package):
                self._left_out[package] += 1
                _FLOOD.inc()
                return
            if count := self._left_out.pop(package, 0):
                self._write(_note("%s of %s left out", counted(count, "line"), package))
            if self._unread:
                lines = counted(self._unread, "line")
                note = _note("%s left out: nobody read them", lines)
                self._unread = 0 if self._write(note) else self._unread
            if not self._write(record):
                self._unread += 1
                _UNREAD.inc()
        except Exception:
            self.handleError(record)

    def _lets_in(self, package: str) -> bool:
        ours = package == "whisper_live"
        return ours or self._limits[package].allows(self._clock())

    def _write(self, record: logging.LogRecord) -> bool:
        line = self.format(record) + self.terminator
        if self._writer is not None:
            return self._writer.put(line)
        self.stream.write(line)
        return True

    def flush(self) -> None:
        """Wait until all is written, but not long."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what was handed over, and end the thread."""
        if self._writer is not None:
            self._writer.close()
        super().close()


class _Writer:
    """A thread that writes lines to a descriptor, and the queue before it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Its put may be interrupted by another put in the same thread, as Queue's may
        # not: asyncio logs from __del__.
        self._queue: queue.SimpleQueue[bytes | threading.Event | None]
        self._queue = queue.SimpleQueue()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, line: str) -> bool:
        """Take the line, if there is room."""
        if self._queue.qsize() >= MOST_LINES:
            return False
        self._queue.put(line.encode("utf-8", "backslashreplace"))
        return True

    def flush(self) -> None:
        written = threading.Event()
        self._queue.put(written)
        written.wait(_FLUSH_S)

    def close(self) -> None:
        self._queue.put(None)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            try:
                self._write(item)
            except OSError:  # whoever read it has gone for good
                _UNREAD.inc()

    def _write(self, line: bytes) -> None:
        """Not through the stream, whose lock, held while nobody reads, stops exit."""
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # others may have made it so
                select.select([], [self._descriptor], [])


def _writer(stream: TextIO) -> _Writer | None:
    try:
        return _Writer(stream.fileno())
    except (AttributeError, OSError):  # there is none
        return None


def _note(text: str, *arguments: object) -> logging.LogRecord:
    name = "whisper_live.server"
    return logging.LogRecord(name, logging.WARNING, "", 0, text, arguments, None)
