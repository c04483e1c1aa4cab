"""``whisper-live stream FILE``: play a recording to a server and show what it answers.

Owns the choice of what to send and how text appears on a terminal.  Everything about
the wire is in ``live``, everything about the recording in ``chunks``.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from whisper_live.client.captions import Caption, Captions
from whisper_live.client.chunks import (
    Chunk,
    pcm_chunks,
    webm_chunks,
    webm_file_chunks,
)
from whisper_live.client.connection import Arrival, connect
from whisper_live.client.reach import server_url
from whisper_live.config.model import Config
from whisper_live.errors import ConfigError, DecodeError, WhisperLiveError
from whisper_live.media.files import probe_file, read_file
from whisper_live.protocols.base import Message
from whisper_live.protocols.jsonl import JsonLines
from whisper_live.protocols.whisperlive.client import Follower
from whisper_live.session.updates import Ending, Update

__all__ = ["Screen", "follow", "recording_chunks", "run"]


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Stream one file to a running server; the exit status."""
    path = Path(arguments.file)
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    url = server_url(arguments.url or config.listen.place, "ws")
    captions = asyncio.run(_stream(url, path, arguments))
    if captions.dropped:
        losses = "; ".join(captions.losses())
        raise WhisperLiveError(f"the server gave up audio: {losses}")
    return 0


async def _stream(url: str, path: Path, arguments: argparse.Namespace) -> Captions:
    audio_format, chunks = recording_chunks(path, arguments.send)
    is_text = arguments.format == "text"
    screen = Screen(sys.stdout if is_text else io.StringIO(), speed=arguments.speed)
    lines = JsonLines()

    def told(update: Update) -> None:
        if not is_text:
            _print(lines.render(update))

    async with connect(
        url,
        audio_format=audio_format,
        language=arguments.language,
        task=arguments.task,
        key=arguments.key,
        ca=arguments.ca,
        initial_prompt=arguments.initial_prompt,
        hotwords=arguments.hotwords,
    ) as client:
        arrivals = client.stream(chunks, speed=arguments.speed)
        captions = await follow(arrivals, screen, told)
    if not is_text:
        _print(lines.end(Ending.FINISHED))
    print(screen.summary(), file=sys.stderr)
    return captions


def _print(messages: Iterable[Message]) -> None:
    for message in messages:
        print(message.text, flush=True)


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


async def follow(
    arrivals: AsyncIterator[Arrival],
    screen: Screen,
    told: Callable[[Update], None] = lambda update: None,
) -> Captions:
    """Show every change as it arrives; the captions at the end.

    ``told`` gets each update as well.
    """
    captions, follower = Captions(), Follower()
    async for arrival in arrivals:
        update = follower.take(arrival.message)
        if update is None:
            continue
        told(update)
        before = captions.partial
        for caption in captions.take(update):
            screen.show_final(caption, arrival.at_s)
        if captions.partial and (update.completed or captions.partial != before):
            screen.show_partial(captions.partial, arrival.at_s)
    return captions


class Screen:
    """Lines of text with their latency: how long after its last word each came.

    On a terminal a partial overwrites the one before; elsewhere each is a line.
    """

    def __init__(self, out: TextIO, *, speed: float = 1.0) -> None:
        self._out = out
        self._speed = speed
        self._overwrites = out.isatty()
        self.first_at_s: float | None = None  # when any text came
        self.finals: list[tuple[float, Caption]] = []  # each with when it came
        self.partial_lags_s: list[float] = []
        self.final_lags_s: list[float] = []

    def show_partial(self, caption: Caption, at_s: float) -> None:
        """Show text that may still change."""
        self.partial_lags_s.append(self._lag(caption, at_s))
        line = f"{at_s:7.2f}  partial  {caption.text}"
        if self._overwrites:
            width = shutil.get_terminal_size().columns
            self._write(f"\r\x1b[K{line[: width - 1]}")
        else:
            self._write(f"{line}\n")

    def show_final(self, caption: Caption, at_s: float) -> None:
        """Show text that is settled."""
        lag = self._lag(caption, at_s)
        self.final_lags_s.append(lag)
        self.finals.append((at_s, caption))
        erase = "\r\x1b[K" if self._overwrites else ""
        self._write(f"{erase}{at_s:7.2f}  final    {caption.text}  [{lag:+.2f} s]\n")

    def summary(self) -> str:
        """One line of figures."""
        if self.first_at_s is None:
            return "no text"
        parts = [f"first text at {self.first_at_s:.2f} s"]
        for name, lags in (
            ("partials", self.partial_lags_s),
            ("finals", self.final_lags_s),
        ):
            if lags:
                parts.append(
                    f"{name} {statistics.median(lags):.2f} s after their last word "
                    f"(worst {max(lags):.2f})"
                )
        return "; ".join(parts)

    def _lag(self, caption: Caption, at_s: float) -> float:
        if self.first_at_s is None:
            self.first_at_s = at_s
        return at_s - caption.end_s / self._speed

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
