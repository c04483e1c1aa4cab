"""What ``stream``, ``listen`` and ``mic`` have in common: text to a screen or a file.

Owns the formats of live text and what the user is told of the connection.  Where the
audio comes from is the commands' own affair.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Protocol, TextIO

from whisper_live.audio import Samples
from whisper_live.client.captions import Caption, Captions, CueWriter
from whisper_live.client.events import (
    Disconnected,
    Heard,
    News,
    Reconnected,
    Warned,
)
from whisper_live.client.live import LiveClient
from whisper_live.client.stopping import until
from whisper_live.client.subtitles import Layout
from whisper_live.commands.screen import Screen
from whisper_live.errors import ConfigError, WhisperLiveError
from whisper_live.protocols.jsonl import JsonLines
from whisper_live.session.updates import Ending, Update

__all__ = ["View", "follow", "follow_until_ctrl_c", "viewed"]


class _Writer(Protocol):
    """A format of live text."""

    def take(self, update: Update, completed: list[Caption]) -> str:
        """What an update adds; ``completed`` are its new captions."""

    def end(self) -> str:
        """What comes last, when nothing is missing."""

    def rest(self) -> str:
        """What was held back, where it breaks off."""


class _Lines:
    """Each completed text on a line of its own."""

    def take(self, update: Update, completed: list[Caption]) -> str:
        return "".join(f"{caption.text}\n" for caption in completed)

    def end(self) -> str:
        return ""

    def rest(self) -> str:
        return ""


class _JsonLines:
    def __init__(self) -> None:
        self._lines = JsonLines()

    def take(self, update: Update, completed: list[Caption]) -> str:
        return "".join(f"{each.text}\n" for each in self._lines.render(update))

    def end(self) -> str:
        return "".join(f"{each.text}\n" for each in self._lines.end(Ending.FINISHED))

    def rest(self) -> str:
        return ""


class _Cues:
    def __init__(self, style: str) -> None:
        self._cues = CueWriter(style, Layout())

    def take(self, update: Update, completed: list[Caption]) -> str:
        return self._cues.take(completed)

    def end(self) -> str:
        return self._cues.end()

    def rest(self) -> str:
        return self._cues.end()


def _writer(name: str) -> _Writer:
    if name == "jsonl":
        return _JsonLines()
    return _Lines() if name == "text" else _Cues(name)


class View:
    """Shows news as they come.

    Text goes to the screen, and in its format to ``out`` if there is one; sentences
    about the connection go to standard error.
    """

    def __init__(self, screen: Screen, writer: _Writer, *, out: TextIO | None) -> None:
        self.screen = screen
        self._writer = writer
        self._out = out
        self._captions = Captions()
        self._is_ended = False

    @property
    def losses(self) -> list[str]:
        """Where text is missing and why."""
        return self._captions.losses()

    def take(self, news: News) -> None:
        """Show one piece of news."""
        match news:
            case Heard():
                self._show(news)
            case Warned(text):
                self.say(f"warning: {text}")
            case Disconnected(reason, retry_s):
                self.say(f"{reason}; trying again in {retry_s:.1f} s")
            case Reconnected(resumed):
                self.say(
                    "connected again; the session goes on where it was"
                    if resumed
                    else "connected again; a new session goes on from the last "
                    "completed text"
                )

    def say(self, sentence: str) -> None:
        """Tell the user something that is no text of the stream."""
        self.screen.say(sentence, sys.stderr)

    def _show(self, heard: Heard) -> None:
        completed = self.screen.show(heard.update, self._captions, heard.at_s)
        self._captions.completed.clear()  # an endless stream has ever more
        self._write(self._writer.take(heard.update, completed))

    def end(self) -> None:
        """All text has come."""
        self._is_ended = True
        self._write(self._writer.end())

    def close(self) -> None:
        """Leave nothing behind that is not written."""
        if not self._is_ended:
            self._write(self._writer.rest())
        self.screen.close()

    def _write(self, text: str) -> None:
        if text and self._out is not None:
            self._out.write(text)
            self._out.flush()


@contextlib.contextmanager
def viewed(arguments: argparse.Namespace, *, speed: float = 1.0) -> Iterator[View]:
    """A view as ``--format`` and ``--output`` ask for it.

    Text of the format ``text``, and what goes to a file, is shown on standard output as
    well.  Raises ``ConfigError`` for a file that cannot be written.
    """
    with contextlib.ExitStack() as stack:
        out: TextIO | None = None
        if arguments.output:
            out = stack.enter_context(_opened(Path(arguments.output)))
        elif arguments.format != "text":
            out = sys.stdout
        screen = Screen(io.StringIO() if out is sys.stdout else sys.stdout, speed=speed)
        view = View(screen, _writer(arguments.format), out=out)
        try:
            yield view
        finally:
            view.close()
        print(screen.summary(), file=sys.stderr)


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


async def follow(
    client: LiveClient, source: AsyncGenerator[bytes | Samples], view: View
) -> None:
    """Send what ``source`` gives and show what comes back, to the last word.

    Raises ``WhisperLiveError`` where the server cannot go on, or audio has no text.
    """
    async with client, client.feeding(source):
        while (news := await client.hear()) is not None:
            view.take(news)
    view.end()
    if view.losses:
        raise WhisperLiveError(f"not all has come out: {'; '.join(view.losses)}")


async def follow_until_ctrl_c(
    url: str,
    arguments: argparse.Namespace,
    source: Callable[[View], AsyncGenerator[Samples]],
) -> None:
    """Follow what is said now, as the flags ask for, until it ends or Ctrl-C.

    Raises what ``source``, ``viewed`` and ``follow`` raise.
    """
    client = LiveClient(
        url,
        audio_format="int16",
        language=arguments.language,
        task=arguments.task,
        key=arguments.key,
        ca=arguments.ca,
        initial_prompt=arguments.initial_prompt,
        hotwords=arguments.hotwords,
    )
    with viewed(arguments) as view, _ctrl_c() as stop:
        await follow(client, until(stop, source(view)), view)


@contextlib.contextmanager
def _ctrl_c() -> Iterator[asyncio.Event]:
    """An event that the first Ctrl-C sets; the second one ends the program at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def pressed() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop.set()

    loop.add_signal_handler(signal.SIGINT, pressed)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGINT)
