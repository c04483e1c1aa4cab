"""``whisper-live capacity``: how many live streams this machine carries.

Starts a daemon with the settings at hand on a free port (or goes to a running one),
lets more and more clients speak to it in real time, and finds the largest number at
which the objective holds.  ``--write`` puts it into a settings file as
``max-sessions``, so that admission goes by what was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from whisper_live.client.connection import connect
from whisper_live.client.reach import server_url
from whisper_live.config.model import Config
from whisper_live.errors import ConfigError, WhisperLiveError
from whisper_live.server.process import load_engine
from whisper_live.server.server import Server
from whisper_live.testing.load.crowd import Crowd, Run, run_crowd
from whisper_live.testing.load.material import Speech
from whisper_live.testing.load.search import largest
from whisper_live.testing.load.speaker import Dialogue
from whisper_live.testing.load.summary import Objective, Percentiles
from whisper_live.text.counted import counted

__all__ = ["Trials", "check_writable", "line", "run", "write_setting"]

_MOST = 1024  # streams from one machine: its own CPU comes to an end before


@dataclass(slots=True)
class Trials:
    """Runs crowds of different sizes, each once, and judges them.

    The word error rate of the smallest crowd that was tried is what all others are
    held against.
    """

    crowd: Crowd
    folder: Path
    objective: Objective = Objective()
    say: Callable[[str], None] = print
    seen: Callable[[Run], None] = lambda run: None  # each run, once it is over
    progress: Callable[[float, float], None] = lambda gone_s, total_s: None
    runs: dict[int, Run] = dataclasses.field(default_factory=dict)

    def run(self, clients: int) -> Run:
        """The run with so many clients; made now if there is none."""
        if clients not in self.runs:
            crowd = dataclasses.replace(self.crowd, clients=clients)
            folder = self.folder / f"clients-{clients:04}"
            self.runs[clients] = run = run_crowd(crowd, folder, progress=self.progress)
            self.say(line(run))
            self.seen(run)
        return self.runs[clients]

    @property
    def fewest(self) -> Run:
        """The smallest of the runs."""
        return self.runs[min(self.runs)]

    def judge(self, run: Run) -> list[str]:
        """What of the objective a run did not keep."""
        return run.summary.broken(self.objective, self.fewest.summary)

    def broken(self, clients: int) -> list[str]:
        """What of the objective so many clients break."""
        broken = self.judge(self.run(clients))
        for complaint in broken:
            self.say(f"        {complaint}")
        return broken

    def capacity(self, *, start: int = 1, most: int = _MOST, step: int = 1) -> int:
        """The largest number of clients for which the objective holds; 0 for none."""
        self.run(1)
        return largest(lambda n: not self.broken(n), start=start, most=most, step=step)


def line(run: Run) -> str:
    """One run in one line."""
    summary = run.summary
    return (
        f"{counted(run.crowd.clients, 'stream'):>11}: partial lag p50/p95 "
        f"{_pair(summary.partial_lag)} s, "
        f"text stands {_pair(summary.stands)} s, "
        f"finals {_pair(summary.final_after_speech)} s, "
        f"WER {summary.wer:.1%}, clients {run.client_cores:.2f} cores, "
        f"late sends {run.late_share:.2%}"
    )


def _pair(values: Percentiles) -> str:
    marks = (values.p50, values.p95)
    return "/".join(
        "-" if mark is None else f"{mark:.2f}".replace("inf", "never") for mark in marks
    )


def _show_progress(gone_s: float, total_s: float) -> None:
    if sys.stderr.isatty():
        left_s = max(total_s - gone_s, 0.0)
        print(f"\r\x1b[K  {left_s:.0f} s left of this run\r", end="", file=sys.stderr)


# --------------------------------------------------------------------------- command


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Measure, print, write; the exit status."""
    if arguments.write:
        check_writable(Path(arguments.write))
    with _folder(arguments.logs) as logs:
        found = asyncio.run(_measure(config, arguments, logs))
    if found == 0:
        raise WhisperLiveError("the objective is not met by a single stream")
    print(counted(found, "stream"))
    if arguments.write:
        write_setting(Path(arguments.write), "max-sessions", found)
        print(f"max-sessions = {found} written to {arguments.write}")
    else:
        print(f"serve with --max-sessions {found}, or let --write FILE set it")
    return 0


@contextlib.contextmanager
def _folder(kept: str | None) -> Iterator[Path]:
    """Where event logs go: a folder to keep, else one that is gone afterwards."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="whisper-live-capacity-") as folder:
            yield Path(folder)
        return
    try:
        Path(kept).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create {kept}: {error.strerror}") from error
    try:
        yield Path(kept)
    finally:  # what was measured before Ctrl-C can still be read
        print(f"event logs of all streams: {kept}")


async def _measure(config: Config, arguments: argparse.Namespace, logs: Path) -> int:
    given = server_url(arguments.url, "ws") if arguments.url else None
    if given is not None:
        async with connect(given, key=arguments.key):
            pass  # or it says why nobody could be admitted
    async with _server(config, given) as (url, is_demo):
        crowd = Crowd(
            clients=1,
            dialogue=Dialogue(
                url,
                audio_format=arguments.send,
                language=arguments.language,
                key=arguments.key,
            ),
            speech=Speech(arguments.duration_s, arguments.duty / 100),
            material="marks" if config.engine.engine == "oracle" else "sentences",
            recording="demo" if is_demo else "meeting",
        )
        objective = Objective(
            arguments.partial_p95_s, arguments.stands_p95_s, arguments.final_p95_s
        )
        interrupted = threading.Event()

        def progress(gone_s: float, total_s: float) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt
            _show_progress(gone_s, total_s)

        trials = Trials(crowd, logs, objective, progress=progress)
        try:
            return await asyncio.to_thread(
                trials.capacity, start=arguments.start, most=arguments.most
            )
        finally:
            interrupted.set()


@contextlib.asynccontextmanager
async def _server(config: Config, url: str | None) -> AsyncIterator[tuple[str, bool]]:
    """The one named, or one of our own; and whether its model is the demo's."""
    if url:
        yield url, config.engine.model == "demo"
        return
    listen = dataclasses.replace(config.listen, port=0, http_port=0)
    # all clients come from one address, which says nothing about the machine
    limits = dataclasses.replace(config.limits, max_sessions_per_address=0)
    config = dataclasses.replace(config, listen=listen, limits=limits)
    engine, detector = await asyncio.to_thread(load_engine, config, print)
    async with Server(config, engine=engine, detector=detector) as server:
        yield f"ws://{config.listen.host}:{server.port}", engine.info.is_demo


def check_writable(path: Path) -> None:
    """To be asked before an hour of measuring, not after it; raises ``ConfigError``."""
    is_new = not path.exists()
    try:
        with path.open("a"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def write_setting(path: Path, key: str, value: int | str) -> None:
    """Set one key of a flat TOML file; everything else in it stays as it is."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    measured = (
        f"{key} = {json.dumps(value)}  # measured on {time.strftime('%Y-%m-%d')}\n"
    )
    pattern = rf"^[ \t]*{re.escape(key)}[ \t]*=.*\n?"
    if re.search(pattern, text, re.MULTILINE):
        text = re.sub(pattern, measured, text, count=1, flags=re.MULTILINE)
    else:
        text += ("" if not text or text.endswith("\n") else "\n") + measured
    path.write_text(text, encoding="utf-8")
