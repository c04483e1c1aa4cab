"""How right live text is on people, beside whole-file reading and faster-whisper.

    python -m bench.quality.real FOLDER --model tiny.en --model base
    python -m bench.quality.real FOLDER --model DIR --corpus ljspeech --limit 10
    python -m bench.quality.real FOLDER --model DIR --half a --set hangover-ms=800

``FOLDER`` holds recordings and a ``manifest.jsonl`` (see ``recordings``).  Readers:

``plain``   faster-whisper on the whole recording, beam 1 and 5
``live``    a live session, at each number of streams
``file``    what ``whisper-live transcribe`` does
``noise``   recordings in which nobody speaks: live, and faster-whisper with and without
            ``vad_filter``
``joined``  all utterances of a speaker as one stream, by all of the readers above

An English-only model reads the English recordings.  Recordings of speech without a
reference text are left out.  All readings are kept in ``WORK/readings.jsonl`` and not
made again; the report is made from there: ``OUT/report.md``, plots, and
``figures.jsonl``, which holds counts and times of each reading but no text.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.quality.real.measure import Bench, Reading, together
from bench.quality.real.recordings import (
    Recording,
    join_voices,
    read_manifests,
    select,
)
from bench.quality.real.report import write_report
from bench.quality.real.results import Key, Results, row
from bench.report import model_hash, provenance
from whisper_live.config.model import Config, EngineConfig
from whisper_live.config.sources import all_settings, build_config, finite
from whisper_live.errors import ConfigError, DecodeError
from whisper_live.inference import model_files

__all__ = ["main"]

_READERS = ("plain", "live", "file", "noise", "joined")
_BEAMS = (1, 5)
_SEED = 5
_TELL_S = 15.0  # between two lines of progress


@dataclass(frozen=True, slots=True)
class Task:
    """What one reader reads."""

    reader: str  # as in Key
    recordings: Sequence[Recording]
    streams: int = 0  # of live readers
    beams: int = 0  # of the others, 0: as the daemon does
    vad_filter: bool = False

    @property
    def takes_settings(self) -> bool:
        """Whether the daemon's settings matter to it."""
        return not self.beams


def tasks(
    chosen: Sequence[Recording],
    joined: Sequence[Recording],
    only: Sequence[str],
    streams: Sequence[int],
) -> Iterator[Task]:
    """All that is to be read, the cheapest first."""
    spoken = [recording for recording in chosen if recording.texts]
    silent = [recording for recording in chosen if recording.is_silent]
    for kind, recordings in (("", spoken), ("joined", joined)):
        if not recordings or kind and kind not in only:
            continue
        wanted = _READERS if kind else only
        if "plain" in wanted:
            for beams in _BEAMS:
                yield Task(f"plain-{beams}", recordings, beams=beams)
        if "live" in wanted:
            for count in streams:
                yield Task(f"live-{count}", recordings, streams=count)
        if "file" in wanted:
            yield Task("file", recordings)
    if silent and "noise" in only:
        yield Task("plain-5", silent, beams=5)
        yield Task("vad-5", silent, beams=5, vad_filter=True)
        yield Task("live-1", silent, streams=1)


def read(bench: Bench, task: Task, batch: Sequence[Recording]) -> list[Reading]:
    """Readings of some of a task's recordings, as many as are read together."""
    if task.streams:
        return bench.live(batch, streams=task.streams)
    if task.beams:
        return [
            bench.plain(r, beams=task.beams, vad_filter=task.vad_filter) for r in batch
        ]
    return [bench.file(r) for r in batch]


def complete(wanted: Sequence[Key], known: Container[Key]) -> list[Key]:
    """The readings of those recordings that all wanted readers have read.

    A run that was stopped leaves readers with different recordings, whose error rates
    do not compare.
    """
    missing = {(key.weights, key.recording) for key in wanted if key not in known}
    return [key for key in wanted if (key.weights, key.recording) not in missing]


def settings(given: Sequence[str]) -> Config:
    """The daemon's settings from ``key=value`` pairs; ``ConfigError`` for bad ones."""
    known = {each.key: each.field for each in all_settings()}
    chosen: dict[str, Any] = {}
    for pair in given:
        key, mark, value = pair.partition("=")
        field = known.get(key)
        if field is None or not mark:
            raise ConfigError(f"--set {pair}: write setting=value, as for serve")
        try:
            chosen[field.name] = _value(field.default, value)
        except ValueError:
            raise ConfigError(f"--set {pair}: {value!r} is no value of it") from None
    return build_config(chosen)


def _value(default: Any, text: str) -> Any:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    return (finite if isinstance(default, float) else type(default))(text)


# ------------------------------------------------------------------------- the command


def run(arguments: argparse.Namespace) -> None:
    """Read what was not read before, then write the report."""
    config = settings(arguments.set)
    everything = read_manifests(arguments.folder)
    if arguments.half:
        everything = [r for r in everything if r.half == arguments.half]
    chosen = select(
        [r for r in everything if arguments.corpus in (None, r.corpus)],
        limit=arguments.limit,
        seconds=arguments.seconds,
    )
    if not chosen:
        raise ConfigError("no recording of the folder is of this corpus and half")
    joined = list(join_voices(chosen, arguments.joined))
    results = Results(arguments.work / "readings.jsonl")
    wanted: list[Key] = []
    for name in arguments.model or ["demo"]:
        folder = model_files.resolve(EngineConfig(model=name), print)
        model, weights = _label(name), model_hash(folder)
        bench = Bench(folder, config, seed=_SEED)
        facts = provenance("quality.real", seed=_SEED)

        languages = (*bench.languages, None)
        readable, streamable = (
            [r for r in recordings if r.language in languages]
            for recordings in (chosen, joined)
        )
        for task in tasks(readable, streamable, arguments.only, arguments.streams):
            text = " ".join(sorted(arguments.set)) if task.takes_settings else ""
            keys = {
                r.name: Key(weights, task.reader, text, r.name) for r in task.recordings
            }
            wanted += keys.values()
            if not arguments.report:
                _make(bench, task, keys, model, results, facts)
    wanted = complete(wanted, results.rows)
    if not wanted:
        raise ConfigError("there is nothing to report: no recording was read")
    folder = arguments.out or arguments.work
    print(write_report(folder, results.rows, wanted, _command(arguments)))


def _make(
    bench: Bench,
    task: Task,
    keys: Mapping[str, Key],
    model: str,
    results: Results,
    facts: Mapping[str, Any],
) -> None:
    """Make the readings of one task that are not there yet, and keep them.

    Recordings that are read together are read together again if one is missing.
    """
    batches = [
        batch
        for batch in _batches(task)
        if any(keys[r.name] not in results.rows for r in batch)
    ]
    started = told = time.monotonic()
    done_s, total_s = 0.0, sum(r.seconds for batch in batches for r in batch)
    for batch in batches:
        for recording, reading in zip(batch, read(bench, task, batch)):
            speech, key = bench.speech(recording), keys[recording.name]
            results.add(row(key, model, recording, speech, reading, facts))
            done_s += recording.seconds
        now = time.monotonic()
        if now - told >= _TELL_S or batch is batches[-1]:
            told = now
            print(
                f"{model} {task.reader}: {done_s:.0f} of {total_s:.0f} s of audio "
                f"in {now - started:.0f} s",
                file=sys.stderr,
            )


def _batches(task: Task) -> list[Sequence[Recording]]:
    size = together(task.streams) if task.streams else 1
    recordings = task.recordings
    return [recordings[i : i + size] for i in range(0, len(recordings), size)]


def _label(name: str) -> str:
    """A model's name, or the last part of its folder's."""
    return Path(name).name if Path(name).is_dir() else name


def _command(arguments: argparse.Namespace) -> str:
    """How this was started, without this machine's folders."""
    words = ["python -m bench.quality.real FOLDER"]
    words += [f"--model {_label(name)}" for name in arguments.model or ["demo"]]
    if set(arguments.only) != set(_READERS):
        words.append(f"--only {','.join(arguments.only)}")
    words += [f"--set {pair}" for pair in arguments.set]
    chosen = [
        ("corpus", arguments.corpus),
        ("half", arguments.half),
        ("limit", arguments.limit),
        ("seconds", f"{arguments.seconds:g}" if arguments.seconds else None),
    ]
    words += [f"--{name} {value}" for name, value in chosen if value]
    words.append(f"--streams {','.join(map(str, arguments.streams))}")
    return " ".join(words)


def _readers(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(_READERS):
        raise argparse.ArgumentTypeError(f"must be of {', '.join(_READERS)}")
    return names


def _streams(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise ValueError(text)
    return counts


_streams.__name__ = "numbers of streams"  # argparse puts it into its messages


def main(given: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.real",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--model", action="append", help="as for serve; may be repeated; else demo"
    )
    parser.add_argument(
        "--only", type=_readers, default=list(_READERS), help=",".join(_READERS)
    )
    parser.add_argument("--streams", type=_streams, default=[1, 8], help="as in 1,8")
    parser.add_argument("--corpus", metavar="NAME", help="this one alone")
    parser.add_argument(
        "--joined",
        metavar="NAME",
        default="librispeech_test_other",
        help="corpus whose speakers' utterances are joined",
    )
    parser.add_argument(
        "--half",
        choices=("a", "b"),
        help="of the voices: tune on one, report the other",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="most recordings of each corpus and language",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        metavar="N",
        help="most audio of each corpus and language",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help="of the daemon, as in hangover-ms=800; may be repeated",
    )
    parser.add_argument(
        "--work", type=Path, default=Path("real-speech"), help="folder of readings"
    )
    parser.add_argument("--out", type=Path, help="folder of the report; else --work's")
    parser.add_argument(
        "--report",
        action="store_true",
        help="make no readings; report the recordings that all readers have read",
    )
    arguments = parser.parse_args(given)
    try:
        run(arguments)
    except (ConfigError, DecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
