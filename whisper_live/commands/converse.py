"""``whisper-live converse``: speak with a language model.

Owns what the arguments mean and what stands on the terminal.  Everything about turns is
in ``voice``, everything about the wire in ``client``.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from whisper_live.audio import Samples
from whisper_live.client import Final, LiveClient
from whisper_live.client.microphone import microphone
from whisper_live.client.reach import server_url
from whisper_live.config.model import Config
from whisper_live.errors import ConfigError, DecodeError, WhisperLiveError
from whisper_live.media.files import probe_file, read_file
from whisper_live.observability import log
from whisper_live.text.counted import counted
from whisper_live.text.difference import difference
from whisper_live.text.wer import plain_words, word_errors
from whisper_live.voice.cache import Cache
from whisper_live.voice.conversation import Conversation
from whisper_live.voice.language_model import ChatEndpoint
from whisper_live.voice.loop import Limits, VoiceLoop
from whisper_live.voice.player import (
    Loudspeaker,
    PacedPlayer,
    Player,
    raw_sink,
    wav_sink,
)
from whisper_live.voice.report import Report
from whisper_live.voice.source import muted_while, recording, until
from whisper_live.voice.speech import PiperSpeech, Speech, SpeechEndpoint

__all__ = ["Screen", "run"]

_MIB = 1 << 20


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Converse until the recording ends or Ctrl-C; the exit status."""
    if arguments.input is not None:
        path = Path(arguments.input)
        if not path.is_file():
            raise ConfigError(f"no such file: {path}")
        try:
            probe_file(path)
        except DecodeError as error:
            raise DecodeError(f"{path}: {error}", kind=error.kind) from error
    log.setup(config.log)
    with _player(arguments) as player:
        asyncio.run(_converse(config, arguments, player))
    return 0


async def _converse(
    config: Config, arguments: argparse.Namespace, player: Player
) -> None:
    # Where the sound goes to standard output, the text must not.
    screen = Screen(sys.stderr if arguments.output == "-" else sys.stdout)
    console = Console(stderr=True)
    report = Report(console=console if console.is_terminal else None)
    if arguments.metrics_port:
        report.metrics.serve(arguments.metrics_port)
    url = server_url(arguments.url or config.listen.place, "ws")
    async with AsyncExitStack() as open_clients:
        model = ChatEndpoint(
            arguments.llm_url, model=arguments.llm_model, key=arguments.llm_key or ""
        )
        open_clients.push_async_callback(model.close)
        speech = await _speech(arguments, report)
        if isinstance(speech, SpeechEndpoint):
            open_clients.push_async_callback(speech.close)
        loop = VoiceLoop(
            _conversation(arguments),
            model=model,
            speech=speech,
            player=player,
            screen=screen,
            report=report,
            cache=_cache(arguments),
            owner=arguments.key or "",
            limits=Limits(token_s=arguments.llm_timeout_s),
        )
        final = await _listen(url, arguments, loop)
    screen.end(final, " ".join(loop.live_text))


def _conversation(arguments: argparse.Namespace) -> Conversation:
    return Conversation(
        system=arguments.system,
        most_characters=arguments.max_answer_chars,
        remembered=arguments.remember,
    )


async def _listen(
    url: str, arguments: argparse.Namespace, loop: VoiceLoop
) -> Final | None:
    stop = asyncio.Event()
    source = until(stop, _source(arguments))
    if not arguments.barge_in:
        source = muted_while(lambda: loop.is_sounding, source)
    client = LiveClient(
        url,
        audio_format="int16",
        language=arguments.language,
        key=arguments.key,
        ca=arguments.ca,
        latency=arguments.latency,
        turn_events=True,
        final_pass=arguments.final,
    )
    async with client:
        with _ends_at_interrupt(stop, loop):
            async with client.feeding(source):
                return await loop.run(client)


@contextmanager
def _ends_at_interrupt(stop: asyncio.Event, loop: VoiceLoop) -> Iterator[None]:
    """The first Ctrl-C ends the audio, the second one everything."""
    events = asyncio.get_running_loop()

    def end() -> None:
        events.remove_signal_handler(signal.SIGINT)
        stop.set()
        loop.stop_answering()

    events.add_signal_handler(signal.SIGINT, end)
    try:
        yield
    finally:
        events.remove_signal_handler(signal.SIGINT)


def _source(arguments: argparse.Namespace) -> AsyncGenerator[Samples]:
    if arguments.input is not None:
        return recording(read_file(Path(arguments.input)))
    return microphone(_device(arguments.microphone))


@contextmanager
def _player(arguments: argparse.Namespace) -> Iterator[Player]:
    if arguments.output is None:
        if arguments.tts == "none":
            yield PacedPlayer(lambda pcm, rate: None)
            return
        speaker = Loudspeaker(_device(arguments.loudspeaker))
        try:
            yield speaker
        finally:
            speaker.close()
    elif arguments.output == "-":
        yield PacedPlayer(raw_sink(sys.stdout.buffer))
    else:
        with _writable(arguments.output) as file:
            sink, close = wav_sink(file)
            try:
                yield PacedPlayer(sink)
            finally:
                close()


def _device(name: str | None) -> str | int | None:
    """A sound card's name, or part of it, or its number."""
    return int(name) if name is not None and name.isdigit() else name


def _writable(path: str) -> Any:
    try:
        return open(path, "wb")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


async def _speech(arguments: argparse.Namespace, report: Report) -> Speech | None:
    """Who speaks; without it answers are shown, and that is said."""
    if arguments.tts == "none":
        return None
    try:
        if arguments.tts == "piper":
            return await asyncio.to_thread(PiperSpeech.load, arguments.tts_voice)
        return SpeechEndpoint(
            arguments.tts,
            model=arguments.tts_model,
            voice=arguments.tts_voice or "alloy",
            key=arguments.tts_key or "",
        )
    except WhisperLiveError as error:
        report.failure("tts_missing", f"{error}; answers are shown only")
        return None


def _cache(arguments: argparse.Namespace) -> Cache[Any] | None:
    if not arguments.cache_mb:
        return None
    size = arguments.cache_mb * _MIB
    return Cache(most_bytes=size, ttl_s=arguments.cache_ttl_s)


class Screen:
    """Both sides of the conversation as lines of text."""

    def __init__(self, out: Any) -> None:
        self._out = out

    def question(self, text: str) -> None:
        """What the speaker said."""
        print(f"you     {text}", file=self._out, flush=True)

    def answer(self, sentence: str) -> None:
        """What is answered."""
        print(f"answer  {sentence}", file=self._out, flush=True)

    def end(self, final: Final | None, live: str) -> None:
        """The accurate text of the whole recording, and how the live one differs."""
        if final is None:
            return
        print(f"\nfinal   {final.text}", file=self._out)
        words = plain_words(final.text)
        errors = word_errors(words, plain_words(live))
        total = counted(len(words), "word")
        print(f"live    {errors} of {total} wrong", file=self._out)
        if marked := difference(final.text, live):
            print(f"        ([-final-] {{+live+}}) {marked}", file=self._out)
        for gap in final.gaps:
            span = f"{gap.start_s:.3f} to {gap.end_s:.3f} s"
            print(f"        no text for {span}: {gap.reason}", file=self._out)
