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
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from whisper_live.inference.engine import Counting, Engine, EngineInfo
from whisper_live.inference.types import Task
from whisper_live.inference.worker import Worker
from whisper_live.media.files import probe_file, read_file
from whisper_live.observability.metrics import Metrics
from whisper_live.offline.transcriber import Transcriber
from whisper_live.protocols.base import for_model
from whisper_live.protocols.jsonl import JsonLines
from whisper_live.protocols.whisperlive import client as wire
from whisper_live.protocols.whisperlive.handshake import read_options
from whisper_live.server.fitting import cut_texts
from whisper_live.server.process import load_engine
from whisper_live.session.options import SessionOptions
from whisper_live.session.updates import Ending, Update
from whisper_live.vad.silero import Detector

__all__ = ["run"]

_STANDARD_INPUT = "-"
_EXTENSIONS = {
    "text": ".txt",
    "srt": ".srt",
    "vtt": ".vtt",
    "json": ".json",
    "jsonl": ".jsonl",
}
_SUBTITLES = frozenset({"srt", "vtt"})  # split by the times of words


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Transcribe the files; 1 if any of them could not be transcribed whole.

    Whatever can be found out without a model is found out before one is loaded.
    """
    names: list[str] = arguments.files
    outputs = _outputs(names, arguments)
    wishes = _wishes(config, arguments)
    for name in names:
        _check(name)
    with contextlib.ExitStack() as stack:
        jobs = [
            _Job(name, _content(name, stack), own)
            for name, own in zip(names, outputs, strict=True)
        ]
        readable = [job for job in jobs if job.probe()]
        if not readable:
            return 1
        engine, detector = load_engine(config, _say, is_live=False)
        options = _for_engine(wishes, engine)
        files = [_File(job, options.language, arguments) for job in readable]
        reading = _transcribe_all(config, engine, detector, options, files)
        is_whole = asyncio.run(reading)
    return 0 if is_whole and readable == jobs else 1


@dataclasses.dataclass(slots=True, eq=False)
class _Job:
    """One file, under the name the user gave it, and where its captions go."""

    name: str
    content: Path | BinaryIO
    outputs: Mapping[str, Path | None]  # by format; None is standard output
    length_s: float = 0.0  # as the file says; 0 if it does not

    def probe(self) -> bool:
        """Whether it can be read at all; if not, why is said."""
        try:
            self.length_s = probe_file(self.content) or 0.0
        except DecodeError as error:
            _say(f"{self.name}: {error}")
            return False
        return True


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


def _outputs(
    names: Sequence[str], arguments: argparse.Namespace
) -> list[dict[str, Path | None]]:
    """Where each file's captions go, by format; None is standard output."""
    formats: Sequence[str] = arguments.format
    if arguments.output_dir is None:
        if len(formats) > 1:
            raise ConfigError("several formats need --output-dir")
        if len(names) > 1 and formats[0] != "text":
            raise ConfigError(f"several files as {formats[0]} need --output-dir")
        return [{formats[0]: None} for _ in names]
    paths = [Path("stdin" if name == _STANDARD_INPUT else name) for name in names]
    folder = Path(arguments.output_dir)
    outputs: list[dict[str, Path | None]] = []
    taken: set[Path] = set()
    for path in paths:
        own = {each: folder / f"{path.stem}{_EXTENSIONS[each]}" for each in formats}
        for output in own.values():
            if output in taken:
                raise ConfigError(f"two of the files would become {output}")
            for other in paths:
                if output.exists() and other.exists() and output.samefile(other):
                    raise ConfigError(f"{other} would be overwritten")
        taken.update(own.values())
        outputs.append({**own})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create {folder}: {error.strerror}") from error
    return outputs


class _File:
    """What was told of one file so far, and how it is written down."""

    def __init__(
        self, job: _Job, language: str | None, arguments: argparse.Namespace
    ) -> None:
        """``language`` as it was chosen; None: to be detected."""
        self.job = job
        self.is_finished = False  # up to the end of the file
        self.error: DecodeError | None = None
        self._layout = Layout(arguments.max_line_width, arguments.max_line_count)
        self._has_heading = len(arguments.files) > 1
        self._shows_words = arguments.word_timestamps
        self._captions = Captions(language=language)
        self._subtitles = Captions()  # these have words in any case
        self._renderer = JsonLines()
        self._lines: list[str] = []

    def take(self, update: Update) -> None:
        """One more update."""
        self._subtitles.take(update)
        if not self._shows_words:
            plain = tuple(dataclasses.replace(s, words=()) for s in update.completed)
            update = dataclasses.replace(update, completed=plain)
        self._captions.take(update)
        self._lines += [message.text for message in self._renderer.render(update)]

    def write(self) -> bool:
        """Write what there is and say what is missing; whether nothing is."""
        if self.error is not None:
            _tell(f"{self.job.name}: {self.error}")
        if not self.is_finished:
            _tell(f"{self.job.name}: {self._how_far()}")
            if not self._captions.completed:
                return False
        is_written = True
        for kind, output in self.job.outputs.items():
            is_written &= self._write_as(kind, output)
        for loss in self._captions.losses():
            _tell(f"{self.job.name}: {loss}")
        return is_written and self.is_finished and not self._captions.dropped

    def _write_as(self, kind: str, output: Path | None) -> bool:
        content = self._rendered(kind)
        if output is None:
            head = f"{self.job.name}:\n" if self._has_heading else ""
            tqdm.write(head + content, file=sys.stdout, end="")
            return True
        try:
            output.write_text(content, encoding="utf-8")
        except OSError as error:
            _tell(f"cannot write {output}: {error.strerror}")
            return False
        return True

    def _rendered(self, kind: str) -> str:
        if kind != "jsonl":
            captions = self._subtitles if kind in _SUBTITLES else self._captions
            return RENDERERS[kind](captions, self._layout)
        ends = self._renderer.end(Ending.FINISHED) if self.is_finished else []
        lines = [*self._lines, *(message.text for message in ends)]
        return "".join(f"{line}\n" for line in lines)

    def _how_far(self) -> str:
        if not self._captions.completed:
            return "stopped before there was any text"
        length = f" of {self.job.length_s:.0f}" if self.job.length_s else ""
        paths = [str(path) for path in self.job.outputs.values() if path is not None]
        kept = f"; the text up to there is in {', '.join(paths)}" if paths else ""
        reached_s = self._captions.completed[-1].end_s
        return f"stopped after {reached_s:.0f}{length} s{kept}"


async def _transcribe_all(
    config: Config,
    engine: Engine,
    detector: Callable[[], Detector],
    options: SessionOptions,
    files: Sequence[_File],
) -> bool:
    """Transcribe the files and write each as it comes; whether nothing is missing.

    Where that is interrupted, what was read by then is written.
    """
    worker = Worker(engine, config.batch, metrics=Metrics())
    running = asyncio.create_task(worker.run())
    transcriber = Transcriber(config, worker, detector)
    together = asyncio.Semaphore(config.batch.batch_size)
    total_s = sum(file.job.length_s for file in files)
    bar = tqdm(total=total_s, unit="s", disable=not sys.stderr.isatty(), leave=False)

    async def transcribe(number: int, file: _File) -> None:
        async with together:
            try:
                await transcriber.transcribe(
                    f"{number} {file.job.name}",  # somebody may name a file twice
                    read_file(file.job.content),
                    options,
                    file.take,
                    bar.update,
                )
                file.is_finished = True
            except DecodeError as error:
                file.error = error

    tasks = [asyncio.create_task(transcribe(*item)) for item in enumerate(files)]
    unwritten = deque(files)
    is_whole = True
    try:
        for task in tasks:
            await task
            if worker.lost.is_set():
                name = unwritten[0].job.name
                raise EngineUnavailable(f"the engine was lost at {name}")
            is_whole &= unwritten.popleft().write()
    except (asyncio.CancelledError, EngineUnavailable):
        for file in unwritten:
            file.write()
        raise
    finally:
        bar.close()
        for task in tasks:
            task.cancel()
        await worker.close()
        running.cancel()
        await asyncio.gather(*tasks, running, return_exceptions=True)
        await engine.close()
    return is_whole


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _tell(line: str) -> None:
    """As ``_say``, around the progress bar."""
    tqdm.write(line, file=sys.stderr)


def _wishes(config: Config, arguments: argparse.Namespace) -> SessionOptions:
    """What a client's handshake with the same wishes would come to."""
    handshake = wire.handshake(
        client="",
        language=arguments.language,
        task=arguments.task,
        initial_prompt=arguments.initial_prompt,
        hotwords=arguments.hotwords,
        word_timestamps=arguments.word_timestamps
        or not _SUBTITLES.isdisjoint(arguments.format),
    )
    try:
        return read_options(handshake, defaults=config.speech).session
    except HandshakeError as error:
        raise ConfigError(str(error)) from error


def _for_engine(options: SessionOptions, engine: Engine) -> SessionOptions:
    """The wishes as this model can fulfil them; says where that is not as wished."""
    for warning in _warnings(options, engine.info):
        _say(f"warning: {warning}")
    if isinstance(engine, Counting):
        for name, why in cut_texts(options, engine).items():
            _say(f"warning: --{name.replace('_', '-')}: {why}")
    try:
        return for_model(options, engine.info.languages)
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
