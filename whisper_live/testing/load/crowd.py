"""Many clients at once, in a few processes of their own.

Every client has its own recording and its own moment to start, drawn from the seed.
The processes do nothing but send, receive and write logs; nothing is measured while
they run except what they themselves cost.  They stand for other machines, so they go
before everything on this one where they may: see ``_come_first``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Literal

from whisper_live.audio import SAMPLE_RATE
from whisper_live.testing.load.material import (
    Recording,
    RecordingName,
    Speech,
    read_sentences,
    recite,
    shipped_sentences,
    write_marks,
)
from whisper_live.testing.load.measure import Span, measure
from whisper_live.testing.load.sessionlog import SessionLog, read_logs
from whisper_live.testing.load.speaker import Dialogue, Script, chunks_of, speak
from whisper_live.testing.load.summary import Summary, summarise

__all__ = ["Crowd", "Run", "play", "run_crowd", "summarise_folder", "together"]

_COME_UP_S = 0.5  # from when all processes are ready to the first client
_PREPARE_S = 300.0  # most that making the recordings may take


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who speaks, what, and when."""

    clients: int
    dialogue: Dialogue
    speech: Speech
    material: Literal["marks", "sentences"] = "sentences"
    recording: RecordingName = "meeting"  # what sentences are from...
    corpus: tuple[str, str] | None = None  # ...or from this audio with word times
    ramp_s: float = 4.0  # clients start at random moments within this
    processes: int = 0  # 0: one for each 16 clients, at most 4
    first: int = 0  # number of the first session; two crowds at once must differ
    speed: float = 1.0  # times real time; marks only, for segments tell audio's time


@dataclass(frozen=True, slots=True)
class Run:
    """What one crowd met with."""

    crowd: Crowd
    summary: Summary
    client_cpu_s: float  # of all its processes
    wall_s: float
    folder: str  # of the logs

    @property
    def late_share(self) -> float:
        """Late sends over all; above 0.001 the bench measured itself."""
        return self.summary.late_sends / max(self.summary.sends, 1)

    @property
    def client_cores(self) -> float:
        """Processor cores that the clients themselves took."""
        return self.client_cpu_s / max(self.wall_s, 1e-9)


def run_crowd(
    crowd: Crowd,
    folder: Path,
    *,
    progress: Callable[[float, float], None] = lambda *_: None,
) -> Run:
    """Let a crowd speak and summarise its logs in ``folder``.  Blocking.

    ``progress`` is told the seconds gone and in all, about once a second.  What it or
    Ctrl-C raises ends the crowd; its logs stay and can be summarised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for former in folder.glob("session-*.jsonl"):
        former.unlink()
    (folder / "crowd.json").write_text(json.dumps(_public(crowd), indent=1))
    began = time.monotonic()
    shares = _shares(crowd)
    total_s = 3 * _COME_UP_S + crowd.ramp_s + crowd.speech.whole_s / crowd.speed
    spawn = multiprocessing.get_context("spawn")  # no thread of ours is in the way
    barrier, cpu_s = spawn.Barrier(len(shares)), spawn.SimpleQueue()
    parts = [
        spawn.Process(target=_play, args=(crowd, numbers, folder, barrier, cpu_s))
        for numbers in shares
    ]
    with _ended(parts):
        for part in parts:
            part.start()
        _watch(parts, lambda: progress(time.monotonic() - began, total_s))
    wall_s = time.monotonic() - began
    client_cpu_s = sum(cpu_s.get() for _ in parts)
    return Run(crowd, summarise_folder(folder), client_cpu_s, wall_s, str(folder))


def summarise_folder(folder: Path) -> Summary:
    """The figures of logs that lie there, of a finished or a broken run."""
    logs = read_logs(folder)
    span = together(logs)
    return summarise([measure(log, span) for log in logs])


def together(logs: Sequence[SessionLog]) -> Span:
    """When all who were admitted were speaking; all of it if they never did at once."""
    starts = [log.started_at for log in logs if log.started_at is not None]
    ends = [
        log.started_at + max((word.end_s for word in log.words), default=0.0)
        for log in logs
        if log.started_at is not None
    ]
    if not starts or max(starts) >= min(ends):
        return Span(float("-inf"), float("inf"))
    return Span(max(starts), min(ends))


# ------------------------------------------------------------------- in the processes


def _play(
    crowd: Crowd,
    numbers: Sequence[int],
    folder: Path,
    barrier: Barrier,
    cpu_s: SimpleQueue[float],
) -> None:
    """One process's clients; tells the CPU seconds they took while they spoke."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C goes to the parent, who ends us
    scripts = {number: _script(crowd, number) for number in numbers}
    barrier.wait(_PREPARE_S)
    _come_first()
    before = _cpu_s()
    with contextlib.suppress(asyncio.CancelledError):  # the logs have what there was
        asyncio.run(_speak_until_ended(crowd, scripts, folder))
    cpu_s.put(_cpu_s() - before)


async def _speak_until_ended(
    crowd: Crowd, scripts: dict[int, Script], folder: Path
) -> None:
    task = asyncio.current_task()
    assert task is not None, "this is a coroutine"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await _speak_all(crowd, scripts, folder)


async def play(crowd: Crowd, folder: Path) -> None:
    """A whole crowd in this process and loop: for few clients, where cost is no matter.

    ``summarise_folder`` has its figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(crowd.first, crowd.first + crowd.clients)
    await _speak_all(crowd, {n: _script(crowd, n) for n in numbers}, folder)


async def _speak_all(crowd: Crowd, scripts: dict[int, Script], folder: Path) -> None:
    zero = time.monotonic() + _COME_UP_S

    async def one(number: int, script: Script) -> None:
        await asyncio.sleep(zero + _start_s(crowd, number) - time.monotonic())
        path = folder / f"session-{number:04}.jsonl"
        await speak(crowd.dialogue, number, script, path)

    async with asyncio.TaskGroup() as group:
        for number, script in scripts.items():
            group.create_task(one(number, script))


def _start_s(crowd: Crowd, number: int) -> float:
    """The first comes first, so that it is the cold one; the others at random."""
    if number == crowd.first:
        return 0.0
    return random.Random(f"{crowd.speech.seed} start {number}").uniform(
        0.2, max(crowd.ramp_s, 0.2)
    )


def _script(crowd: Crowd, number: int) -> Script:
    recording = _recording(crowd, number)
    chunks = chunks_of(recording.samples, crowd.dialogue)
    script = Script(recording.words, chunks, len(recording.samples) / SAMPLE_RATE)
    if crowd.speed != 1:
        assert crowd.material == "marks", "only marks can be told apart at any speed"
        return script.faster(crowd.speed)
    return script


def _recording(crowd: Crowd, number: int) -> Recording:
    if crowd.material == "marks":
        robust = crowd.dialogue.audio_format == "webm"
        return write_marks(number, crowd.speech, "robust" if robust else "plain")
    if crowd.corpus is None:
        sentences = shipped_sentences(crowd.recording)
    else:
        sentences = read_sentences(*map(Path, crowd.corpus))
    return recite(sentences, number, crowd.speech)


def _come_first() -> None:
    """Go before all other work where that is allowed: a late send is our fault.

    Nice values alone do not do it: where sessions are scheduled as groups they count
    only within the group.  128 clients with 0.1 s chunks on two cores that are busy
    with other work: 0.11 % late sends at nice -15, none of 23,188 in the real-time
    class, where none was as much as 10 ms late.
    """
    gc.collect()
    gc.freeze()
    gc.disable()  # a run makes no cycles worth a pause
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        return
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    # not root: late sends will show whether it mattered


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# -------------------------------------------------------------------------- in parent


def _shares(crowd: Crowd) -> list[list[int]]:
    """Client numbers for each process, dealt out in turns."""
    count = crowd.processes or min(max(crowd.clients // 16, 1), 4)
    numbers = range(crowd.first, crowd.first + crowd.clients)
    shares = [list(numbers[i::count]) for i in range(count)]
    return [share for share in shares if share]


@contextlib.contextmanager
def _ended(parts: Sequence[SpawnProcess]) -> Iterator[None]:
    """Leave no process behind, whatever ends this."""
    try:
        yield
    finally:
        for part in parts:
            if part.is_alive():
                part.terminate()
        for part in parts:
            if part.pid is not None:
                part.join()


def _watch(parts: Sequence[SpawnProcess], tell: Callable[[], None]) -> None:
    running = {part.sentinel: part for part in parts}
    while running:
        tell()
        for sentinel in wait(list(running), timeout=1.0):
            assert isinstance(sentinel, int), "it was given"
            part = running.pop(sentinel)
            part.join()
            if part.exitcode:
                raise RuntimeError(f"a client process ended with {part.exitcode}")


def _public(crowd: Crowd) -> dict[str, object]:
    """A crowd without its key."""
    plain = asdict(crowd)
    plain["dialogue"]["key"] = None
    return plain
