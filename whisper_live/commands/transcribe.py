"""``whisper-live transcribe FILE…``: whole files through the daemon's own path.

Each file is a session fed as fast as it accepts audio: the same detector, segmenter,
batch queue and engine as live, so the same audio gives the same text.  Only what a
reader would watch is left out: no partials.  Several files share batches as several
speakers do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from whisper_live.audio import Samples, samples_to_s
from whisper_live.client.captions import RENDERERS, Captions
from whisper_live.config.model import Config
from whisper_live.errors import (
    ConfigError,
    DecodeError,
    EngineUnavailable,
    HandshakeError,
)
from whisper_live.inference.types import RequestKind
from whisper_live.inference.worker import Worker
from whisper_live.media.files import file_duration_s, read_file
from whisper_live.media.formats import open_stream
from whisper_live.media.ingest import Ingest
from whisper_live.observability.metrics import Metrics
from whisper_live.protocols import whisperlive as protocol
from whisper_live.server.process import load_engine
from whisper_live.session.events import (
    Cancel,
    ClientOptions,
    Close,
    Effect,
    EndOfAudio,
    Event,
    Hello,
    PeerGone,
    Send,
    Submit,
)
from whisper_live.session.session import Session
from whisper_live.vad.silero import Detector

__all__ = ["Transcriber", "run"]

_STANDARD_INPUT = "-"
_EXTENSIONS = {"text": ".txt", "srt": ".srt", "vtt": ".vtt", "json": ".json"}
_TIMEOUT_S = 3600.0  # nobody waits for the words: a slow machine may take its time
_NEVER_S = 30.0  # longer than any window, so that no partial ever falls due


Progress = Callable[[float], object]


class Transcriber:
    """Runs files through one engine; ``worker.run`` must be running meanwhile."""

    def __init__(
        self, config: Config, worker: Worker, detector: Callable[[], Detector]
    ) -> None:
        stream = dataclasses.replace(
            config.stream, partial_interval_s=_NEVER_S, partial_floor_s=_NEVER_S
        )
        self._config = dataclasses.replace(config, stream=stream)
        self._worker = worker
        self._detector = detector
        self._ids = itertools.count(1)

    async def transcribe(
        self,
        name: str,
        pieces: Iterator[Samples],
        options: ClientOptions,
        progress: Progress = lambda seconds: None,
    ) -> Captions:
        """The captions of one recording, given in pieces (``[n]``, 16 kHz mono).

        ``name`` must be unique among the recordings under way.  ``progress`` is told
        how many more seconds have been decided.  Raises what ``pieces`` raises.
        """
        session = Session(self._config, name=name, ids=self._ids)
        file = _File(session, self._worker, progress)
        ingest = Ingest(open_stream("float32"), self._detector())
        try:
            file.handle(Hello(options))
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                ingest.push(piece.tobytes())
                await file.take_in(ingest)
            ingest.finish()
            await file.take_in(ingest)
            file.handle(EndOfAudio())
            await file.closed.wait()
        finally:
            file.handle(PeerGone())  # withdraws what a broken file leaves behind
            self._worker.forget(name)
        return file.captions


class _File:
    """One file's session and the captions that it has sent so far."""

    def __init__(self, session: Session, worker: Worker, progress: Progress) -> None:
        self.captions = Captions()
        self.closed = asyncio.Event()
        self._session = session
        self._worker = worker
        self._progress = progress
        self._decided = 0
        self._room = asyncio.Event()
        self._room.set()

    async def take_in(self, ingest: Ingest) -> None:
        """Score what was pushed, off the loop, and give it to the session."""
        while frames := await asyncio.to_thread(ingest.pull):
            self.handle(frames)
            await self._room.wait()

    def handle(self, event: Event) -> None:
        now = asyncio.get_running_loop().time()
        for effect in self._session.receive(event, now=now):
            self._perform(effect)
        if self._session.has_room:
            self._room.set()
        else:
            self._room.clear()
        decided = self._session.received - self._session.undecided
        self._progress(samples_to_s(decided - self._decided))
        self._decided = decided

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Submit(request):
                patient = dataclasses.replace(
                    request, kind=RequestKind.BACKGROUND, timeout_s=_TIMEOUT_S
                )
                self._worker.submit(patient, self.handle)
            case Cancel(request_id):
                self._worker.cancel(request_id)
            case Send(message):
                self.captions.update(message)
            case Close():
                self.closed.set()


# ------------------------------------------------------------------------ the command


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


async def _transcribe_all(
    config: Config,
    sources: Sequence[_Source],
    outputs: Sequence[Path | None],
    arguments: argparse.Namespace,
) -> int:
    lengths = [_length_s(source) for source in sources]
    engine, detector = load_engine(config, lambda line: print(line, file=sys.stderr))
    options = _options(config, engine.info.languages, arguments)
    worker = Worker(engine, config.batch, metrics=Metrics())
    running = asyncio.create_task(worker.run())
    transcriber = Transcriber(config, worker, detector)
    together = asyncio.Semaphore(config.batch.batch_size)
    bar = tqdm(
        total=sum(lengths), unit="s", disable=not sys.stderr.isatty(), leave=False
    )

    async def transcribe(number: int, source: _Source) -> Captions | DecodeError:
        async with together:
            try:
                return await transcriber.transcribe(
                    f"{number} {source.name}",  # somebody may name a file twice
                    read_file(source.content),
                    options,
                    bar.update,
                )
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


def _options(
    config: Config, languages: tuple[str, ...], arguments: argparse.Namespace
) -> ClientOptions:
    """What a client's handshake with the same wishes would come to."""
    handshake = {
        "uid": "",
        "language": arguments.language,
        "task": arguments.task,
        "initial_prompt": arguments.initial_prompt,
        "hotwords": arguments.hotwords,
        "word_timestamps": arguments.word_timestamps,
        "send_last_n_segments": 0,  # all
    }
    try:
        return protocol.parse_handshake(
            json.dumps(handshake), defaults=config.speech, languages=languages
        )
    except HandshakeError as error:
        raise ConfigError(str(error)) from error


def _length_s(source: _Source) -> float:
    """What the progress bar reckons with."""
    try:
        return file_duration_s(source.content) or 0.0
    except DecodeError:
        return 0.0  # told again, with the file's name, when its turn comes


def _write(
    name: str,
    output: Path | None,
    result: Captions | DecodeError,
    kind: str,
    among: int,
) -> bool:
    """Write one file's captions; whether it was transcribed whole."""
    if isinstance(result, DecodeError):
        tqdm.write(f"{name}: {result}", file=sys.stderr)
        return False
    content = RENDERERS[kind](result)
    if output is not None:
        try:
            output.write_text(content, encoding="utf-8")
        except OSError as error:
            tqdm.write(f"cannot write {output}: {error.strerror}", file=sys.stderr)
            return False
    else:
        head = f"{name}:\n" if among > 1 else ""
        tqdm.write(head + content, file=sys.stdout, end="")
    for lost in result.dropped:
        tqdm.write(
            f"{name}: no text for {lost['start']} to {lost['end']} s: {lost['reason']}",
            file=sys.stderr,
        )
    return not result.dropped
