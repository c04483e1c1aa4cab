"""Writes one session's event log to a file, and its audio if that was asked for.

For an operator who wants a field bug to be repeatable: ``whisper-live replay`` drives
the pure core through the log.  The files contain what was said; they are readable by
their owner alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from whisper_live.config.model import Config
from whisper_live.errors import ConfigError
from whisper_live.observability.metrics import Metrics
from whisper_live.observability.session_log import SessionLog
from whisper_live.session import eventlog
from whisper_live.session.events import Effect, Event, Frames
from whisper_live.session.options import SessionOptions

__all__ = ["Recorder", "Recording", "check_directory"]


def check_directory(directory: str) -> None:
    """Make the directory; raises ``ConfigError`` if nothing can be written there."""
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ConfigError(f"cannot write recordings to {directory}")


class Recorder:
    """One session's files: ``STEM.jsonl`` and, with audio, ``STEM.s16``.

    The audio is 16 kHz mono, 16 bit little-endian, without a header.
    """

    def __init__(
        self,
        config: Config,
        options: SessionOptions,
        *,
        name: str,
        stem: str,
        now: float,
    ) -> None:
        """Raises ``OSError``, as all methods do, with the path of the event log."""
        folder = Path(config.log.record)
        self._log_path = folder / f"{stem}.jsonl"
        self._audio_path = folder / f"{stem}.s16"
        self._audio: BinaryIO | None = None
        # Half a surrogate pair, from a client or out of a flag, becomes JSON's escape.
        self._log: TextIO = os.fdopen(
            _private(self._log_path), "w", encoding="utf-8", errors="backslashreplace"
        )
        try:
            with self._naming():
                if config.log.record_audio:
                    self._audio = os.fdopen(_private(self._audio_path), "wb")
                header = eventlog.header(config, options, name=name, now=now)
                self._log.write(header + "\n")
                self._log.flush()  # without it nothing that follows can be replayed
        except OSError:
            self.abandon()
            self._log_path.unlink(missing_ok=True)
            raise

    def step(self, now: float, event: Event | None, effects: Iterable[Effect]) -> None:
        """Append one step; buffered, so cheap enough for the event loop."""
        with self._naming():
            self._log.write(eventlog.step(now, event, effects) + "\n")
            if self._audio is not None and isinstance(event, Frames):
                scaled = np.clip(event.samples * 32768.0, -32768, 32767)
                self._audio.write(scaled.astype("<i2").tobytes())

    def close(self) -> None:
        """Write out what is buffered."""
        with self._naming():
            self._log.close()
            if self._audio is not None:
                self._audio.close()

    def abandon(self) -> None:
        """Close after an error: what was written stays, files without anything go."""
        for file, path in (
            (self._log, self._log_path),
            (self._audio, self._audio_path),
        ):
            if file is not None:
                with contextlib.suppress(OSError):  # it was told before
                    file.close()
                with contextlib.suppress(OSError):
                    if path.stat().st_size == 0:
                        path.unlink()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """A full disk is no error of opening, and its error names no file."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or str(self._log_path)
            raise


class Recording:
    """Records one session, if so configured; raises no ``OSError``.

    A full disk costs the recording and not its session: it is logged and counted once.
    """

    def __init__(
        self,
        config: Config,
        options: SessionOptions,
        *,
        log: SessionLog,
        metrics: Metrics,
        now: float,
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._recorder: Recorder | None = None
        if not config.log.record:
            return
        name = log.session
        stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{name}"
        try:
            self._recorder = Recorder(config, options, name=name, stem=stem, now=now)
        except OSError as error:
            self._fail("it is not recorded", error)

    def step(self, now: float, event: Event | None, effects: Iterable[Effect]) -> None:
        """See ``Recorder``."""
        self._write(lambda recorder: recorder.step(now, event, effects))

    def close(self) -> None:
        """See ``Recorder``."""
        self._write(lambda recorder: recorder.close())

    def _write(self, write: Callable[[Recorder], None]) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        try:
            write(recorder)
        except OSError as error:
            self._recorder = None
            recorder.abandon()
            self._fail("its recording ends here", error)

    def _fail(self, what: str, error: OSError) -> None:
        self._metrics.error("recording")
        self._log.error("%s: %s", what, error)


def _private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
