"""``whisper-live transcribe FILE…``: whole files without a daemon.

Owns which files are read and where their captions go; how a file is read is
``offline.transcriber``'s affair.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from whisper_live.client.captions import RENDERERS, Captions
from whisper_live.client.subtitles import Layout
from whisper_live.config.model import Config
from whisper_live.errors import (
    ConfigError,
    DecodeError,
    EngineUnavailable,
    HandshakeError,
)
from whisper_live.inference.engine import EngineInfo
from whisper_live.inference.types import Task
from whisper_live.inference.worker import Worker
from whisper_live.media.files import file_duration_s, read_file
from whisper_live.observability.metrics import Metrics
from whisper_live.offline.transcriber import Transcriber
from whisper_live.protocols.base import for_model
from whisper_live.protocols.jsonl import JsonLines
from whisper_live.protocols.whisperlive import client as wire
from whisper_live.protocols.whisperlive.handshake import read_options
from whisper_live.server.process import load_engine
from whisper_live.session.options import SessionOptions
from whisper_live.session.updates import Ending, Update

__all__ = ["run"]

_STANDARD_INPUT = "-"
_EXTENSIONS = {
    "text": ".txt",
    "srt": ".srt",
    "vtt": ".vtt",
    "json": ".json",
    "jsonl": ".jsonl",
}
_SUBTITLES = ("srt", "vtt")  # split by the times of words


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Transcribe the files; 1 if any of them could not be transcribed whole."""
    names: list[str] = arguments.files
    outputs = _outputs(names, arguments)
    for name in names:
        _check(name)
    with contextlib.ExitStack() as stack:
        sources = [_Source(name, _content(name, stack)) for name in names]
        return asyncio.run(_transcribe_all(config, sources, outputs, arguments))


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """One file, under the name the user gave it."""

    name: str
    content: Path | BinaryIO


def _check(name: str) -> None:
    """Find what cannot be read before a pipe is read or a model loaded."""
    if name == _STANDARD_INPUT:
        return
    path = Path(name)
    if path.is_dir():
        raise ConfigError(f"{name} is a folder; name the files in it")
    if not path.exists():
        raise ConfigError(f"no such file: {name}")
    if not (path.is_file() or path.is_fifo()):
        raise ConfigError(f"{name} is neither a file nor a pipe")


def _content(name: str, stack: contextlib.ExitStack) -> Path | BinaryIO:
    """A file's path; what comes through a pipe, as a file without a name.

    An index may stand at either end of a recording, so it must be there whole.
    """
    if name != _STANDARD_INPUT and Path(name).is_file():
        return Path(name)
    try:
        kept = stack.enter_context(tempfile.TemporaryFile())
        is_given = name == _STANDARD_INPUT
        with open(0 if is_given else name, "rb", closefd=not is_given) as pipe:
            shutil.copyfileobj(pipe, kept)
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from error
    return kept


def _outputs(names: Sequence[str], arguments: argparse.Namespace) -> list[Path | None]:
    """Where each file's captions go; None is standard output."""
    if arguments.output_dir is None:
        if len(names) > 1 and arguments.format != "text":
            raise ConfigError(f"several files as {arguments.format} need --output-dir")
        return [None] * len(names)
    paths = [Path("stdin" if name == _STANDARD_INPUT else name) for name in names]
    folder, extension = Path(arguments.output_dir), _EXTENSIONS[arguments.format]
    outputs = [folder / f"{path.stem}{extension}" for path in paths]
    for output, path in zip(outputs, paths, strict=True):
        if outputs.count(output) > 1:
            raise ConfigError(f"two of the files would become {output}")
        if output.exists() and path.exists() and output.samefile(path):
            raise ConfigError(f"{path} would be overwritten")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create {folder}: {error.strerror}") from error
    return [*outputs]


class _Transcript:
    """What was told of one file, and how it is to be written down."""

    def __init__(self, language: str | None, arguments: argparse.Namespace) -> None:
        """``language`` as it was chosen; None: to be detected."""
        self.captions = Captions(language=language)
        self._layout = Layout(arguments.max_line_width, arguments.max_line_count)
        self._shows_words = arguments.word_timestamps
        self._subtitles = Captions()  # these have words in any case
        self._renderer = JsonLines()
        self._lines: list[str] = []

    def take(self, update: Update) -> None:
        """One more update."""
        self._subtitles.take(update)
        if not self._shows_words:
            plain = tuple(dataclasses.replace(s, words=()) for s in update.completed)
            update = dataclasses.replace(update, completed=plain)
        self.captions.take(update)
        self._lines += [message.text for message in self._renderer.render(update)]

    def written(self, kind: str) -> str:
        """All of it in one of the formats."""
        if kind != "jsonl":
            captions = self._subtitles if kind in _SUBTITLES else self.captions
            return RENDERERS[kind](captions, self._layout)
        ends = [message.text for message in self._renderer.end(Ending.FINISHED)]
        return "".join(f"{line}\n" for line in [*self._lines, *ends])


async def _transcribe_all(
    config: Config,
    sources: Sequence[_Source],
    outputs: Sequence[Path | None],
    arguments: argparse.Namespace,
) -> int:
    lengths = [_length_s(source) for source in sources]
    wishes = _wishes(config, arguments)
    engine, detector = load_engine(config, _say, is_live=False)
    options = _for_engine(wishes, engine.info)
    worker = Worker(engine, config.batch, metrics=Metrics())
    running = asyncio.create_task(worker.run())
    transcriber = Transcriber(config, worker, detector)
    together = asyncio.Semaphore(config.batch.batch_size)
    bar = tqdm(
        total=sum(lengths), unit="s", disable=not sys.stderr.isatty(), leave=False
    )

    async def transcribe(number: int, source: _Source) -> _Transcript | DecodeError:
        async with together:
            try:
                transcript = _Transcript(options.language, arguments)
                await transcriber.transcribe(
                    f"{number} {source.name}",  # somebody may name a file twice
                    read_file(source.content),
                    options,
                    transcript.take,
                    bar.update,
                )
                return transcript
            except DecodeError as error:
                return error

    tasks = [asyncio.create_task(transcribe(*item)) for item in enumerate(sources)]
    failures = 0
    try:
        for source, output, task in zip(sources, outputs, tasks, strict=True):
            name, result = source.name, await task
            if worker.lost.is_set():
                raise EngineUnavailable(f"the engine was lost at {name}")
            failures += not _write(name, output, result, arguments.format, len(tasks))
    finally:
        bar.close()
        for task in tasks:
            task.cancel()
        await worker.close()
        running.cancel()
        await asyncio.gather(*tasks, running, return_exceptions=True)
        await engine.close()
    return 1 if failures else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _wishes(config: Config, arguments: argparse.Namespace) -> SessionOptions:
    """What a client's handshake with the same wishes would come to."""
    handshake = wire.handshake(
        client="",
        language=arguments.language,
        task=arguments.task,
        initial_prompt=arguments.initial_prompt,
        hotwords=arguments.hotwords,
        word_timestamps=arguments.word_timestamps or arguments.format in _SUBTITLES,
    )
    try:
        return read_options(handshake, defaults=config.speech).session
    except HandshakeError as error:
        raise ConfigError(str(error)) from error


def _for_engine(options: SessionOptions, info: EngineInfo) -> SessionOptions:
    """The wishes as this model can fulfil them; says where that is not as wished."""
    for warning in _warnings(options, info):
        _say(f"warning: {warning}")
    try:
        return for_model(options, info.languages)
    except HandshakeError as error:
        raise ConfigError(str(error)) from error


def _warnings(options: SessionOptions, info: EngineInfo) -> Iterator[str]:
    if info.is_demo:
        yield (
            "the demo model knows a few hundred words and writes nonsense for all "
            "other speech; whisper-live models lists better ones"
        )
    elif info.languages == ("en",):
        if options.language not in (None, "en"):
            yield (
                f"{info.model} knows English alone and writes nonsense for other "
                f"speech: --language {options.language} needs another --model"
            )
        if options.task is Task.TRANSLATE:
            yield f"{info.model} knows English alone and translates nothing"


def _length_s(source: _Source) -> float:
    """What the progress bar reckons with."""
    try:
        return file_duration_s(source.content) or 0.0
    except DecodeError:
        return 0.0  # told again, with the file's name, when its turn comes


def _write(
    name: str,
    output: Path | None,
    result: _Transcript | DecodeError,
    kind: str,
    among: int,
) -> bool:
    """Write one file's captions; whether it was transcribed whole."""
    if isinstance(result, DecodeError):
        tqdm.write(f"{name}: {result}", file=sys.stderr)
        return False
    content = result.written(kind)
    if output is not None:
        try:
            output.write_text(content, encoding="utf-8")
        except OSError as error:
            tqdm.write(f"cannot write {output}: {error.strerror}", file=sys.stderr)
            return False
    else:
        head = f"{name}:\n" if among > 1 else ""
        tqdm.write(head + content, file=sys.stdout, end="")
    for loss in result.captions.losses():
        tqdm.write(f"{name}: {loss}", file=sys.stderr)
    return not result.captions.dropped
