"""How the server writes its log, in two line formats.

Owns formatters, levels, and what may stand in a log at all.  Recognised text, prompts,
hotwords, keys and query strings may not, at any level, unless ``log-transcripts`` was
set.  Callers keep to that by what they pass; what this module adds is that

- the ``uid`` that a client chose is written as a hash,
- exceptions of a kind whose message tends to quote the input show their stack and
  type without the message,
- control characters cannot fake a second line in the plain format,
- other packages are heard from WARNING up (websockets logs whole requests below it,
  faster-whisper whole texts), and not without end (``log_handler``).

Loggers: ``whisper_live.server``, ``.session``, ``.worker``, ``.engine``,
``.voice``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import traceback
from datetime import datetime, timezone
from typing import Any, TextIO

from whisper_live.config.model import LogConfig
from whisper_live.errors import WhisperLiveError
from whisper_live.observability.log_handler import LogHandler

__all__ = [
    "JsonFormatter",
    "PlainFormatter",
    "as_line",
    "flush",
    "setup",
    "short_id",
]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# Their messages name devices, libraries, files and memory, which an operator needs,
# and not what somebody said.
_TELLING = (WhisperLiveError, ImportError, MemoryError, OSError, RuntimeError)


def setup(config: LogConfig, stream: TextIO | None = None) -> None:
    """Send the log to ``stream`` (standard error); again for a reloaded config."""
    root, target = logging.getLogger(), stream or sys.stderr
    handlers = {handler.stream: handler for handler in _handlers()}
    handler = handlers.pop(target, None) or LogHandler(target)
    formatter = JsonFormatter if config.log_format == "json" else PlainFormatter
    handler.setFormatter(formatter(show_messages=config.log_transcripts))
    for old in handlers.values():
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("whisper_live").setLevel(config.log_level.upper())
    logging.captureWarnings(True)  # what Python says of libraries is a line as well


def as_line(config: LogConfig, message: str, level: int = logging.INFO) -> str:
    """What the daemon says beside its log: ``message``, in JSON where the log is."""
    if config.log_format != "json":
        return message
    record = logging.LogRecord(
        "whisper_live.server", level, __file__, 0, message, None, None
    )
    return JsonFormatter().format(record)


def flush() -> None:
    """Wait for lines that are not written yet; not for long, should nobody read."""
    for handler in _handlers():
        handler.flush()


def _handlers() -> list[LogHandler]:
    """Ours among the root logger's handlers."""
    root = logging.getLogger()
    return [each for each in root.handlers if isinstance(each, LogHandler)]


def short_id(uid: str) -> str:
    """Eight hex digits that stand for a client's uid in the log."""
    return hashlib.blake2s(uid.encode("utf-8", "replace"), digest_size=4).hexdigest()


class _Formatter(logging.Formatter):
    """What both formats share: UTC times, and tracebacks without quoted input."""

    def __init__(self, *, show_messages: bool = False) -> None:
        super().__init__()
        self._show_messages = show_messages

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def formatException(self, ei: Any) -> str:
        return "\n".join(self._explain(ei[1]))

    def _explain(self, error: BaseException | None) -> list[str]:
        """Stack, type and perhaps message of an exception, its causes first."""
        lines: list[str] = []
        if error is None:
            return lines
        hides_context = error.__cause__ is not None or error.__suppress_context__
        earlier = error.__cause__ if hides_context else error.__context__
        if earlier is not None:
            lines += [*self._explain(earlier), "which led to"]
        for frame in traceback.extract_tb(error.__traceback__):
            lines.append(f"  {frame.filename}:{frame.lineno} in {frame.name}")
        name = type(error).__name__
        is_telling = self._show_messages or isinstance(error, _TELLING)
        lines.append(f"{name}: {_one_line(str(error))}" if is_telling else name)
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                lines += self._explain(inner)
        return lines

    def _message(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name == "asyncio" and not self._show_messages:
            # Further lines repeat the failed task with its exception's message.
            message = message.partition("\n")[0]
        return message

    def _error(self, record: logging.LogRecord) -> str:
        has_error = record.exc_info and record.exc_info[1] is not None
        return self.formatException(record.exc_info) if has_error else ""


class PlainFormatter(_Formatter):
    """``time level logger [session] message``, an exception on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        session = getattr(record, "session", None)
        parts = [self.formatTime(record), record.levelname, record.name]
        parts += [f"[{session}]"] if session else []
        line = " ".join([*parts, _one_line(self._message(record))])
        error = self._error(record)
        return f"{line}\n{error}" if error else line


class JsonFormatter(_Formatter):
    """One object per line: time, level, logger, message; session, error, fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._message(record),
        }
        if session := getattr(record, "session", None):
            entry["session"] = session
        entry |= getattr(record, "fields", {})
        if error := self._error(record):
            entry["error"] = error
        return json.dumps(entry, ensure_ascii=True, default=str)


def _one_line(text: str) -> str:
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)
