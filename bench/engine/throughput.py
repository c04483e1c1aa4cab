"""Throughput and latency of worker and engine, beside a bare CTranslate2 loop.

    python -m bench.engine   demo model, contexts of 2 and 5 s
    python -m bench.engine --model tiny --contexts 5        true shape, random weights
    python -m bench.engine --batches 1,4,16,64 --device cuda --compute-type float16

Both sides transcribe the same windows with the same options, batch size, audio context
and threads, in turns, so that a busy machine slows both.  The bare side is a loop of
``encode`` and ``generate`` on features made beforehand; ours goes through the worker's
queue as live sessions do, each submitting its next window when it has an outcome.

Columns: ``bare`` and ``ours`` are audio seconds per second; ``ratio`` is ours over
bare, ``cpu`` the same for CPU seconds (the one to trust where other processes run);
``outside`` is our time outside CTranslate2 calls over the time inside; ``call`` mean
and 95th percentile of a call; ``full`` the mean occupancy of batches; ``@2s`` and
``@0.5s`` how many sessions can be served that send a window so often; ``MiB`` memory of
the GPU, or of this process without one.  ``--json`` appends one line for each row to a
file.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import platform
import statistics
import subprocess
import tempfile
import time
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np
import psutil

from bench.engine import random_model
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.config.model import BatchConfig, EngineConfig
from whisper_live.inference import model_files as models
from whisper_live.inference.ctranslate2.batch import CPU_ENCODE_ROWS
from whisper_live.inference.ctranslate2.engine import ROOM_HOPS, CTranslate2Engine, load
from whisper_live.inference.ctranslate2.row import Row
from whisper_live.inference.types import (
    DecodeOptions,
    Hypothesis,
    Outcome,
    Request,
    RequestKind,
)
from whisper_live.inference.worker import Worker
from whisper_live.observability.metrics import Metrics

OPTIONS = DecodeOptions(language="en")
SPEECH = Path(__file__).parents[2] / "tests" / "data" / "speech" / "commands.wav"


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table."""

    model: str
    device: str
    compute_type: str
    workers: int
    threads: int
    context_s: float
    batch: int
    bare_audio_s_per_s: float
    ours_audio_s_per_s: float
    ratio: float
    cpu_ratio: float
    outside: float
    call_ms: float
    call_p95_ms: float
    occupancy: float
    streams_at_2s: float
    streams_at_half_s: float
    rss_mib: float
    gpu_mib: float


# ----------------------------------------------------------------------- the two sides


def window(context_s: float, seed: int, *, speech: bool) -> Samples:
    """Audio that fills a context but for the room at its end.

    Our own recording from somewhere on, round and round, for models that have words to
    say to it; noise for random weights, which talk until their limit in any case.
    """
    hops = min(round(context_s * 100), 3000) - (ROOM_HOPS if context_s < 30 else 0)
    samples = hops * 160
    rng = np.random.default_rng(seed)
    if not speech:
        return rng.normal(0, 0.05, samples).astype(np.float32)
    with wave.open(str(SPEECH)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    turned = np.resize(np.roll(pcm, -int(rng.integers(len(pcm)))), samples)
    return turned.astype(np.float32) / np.float32(32768)


class Bare:
    """What CTranslate2 does by itself with a batch, and nothing else."""

    def __init__(self, engine: CTranslate2Engine, audio: Sequence[Samples]) -> None:
        call = engine._calls[0]
        self._model, self._suppressed = call._model, call.prompts.suppressed
        self._prompt = call.prompts.build(OPTIONS, "en").tokens
        rows = [engine._row(_request(0, f"bare {i}", a)) for i, a in enumerate(audio)]
        self._most = min(rows[0].most_tokens, 224)
        self._padded = _padded(rows)
        self._portion = len(rows)
        if engine.info.device == "cpu":  # as the engine does it
            self._portion = CPU_ENCODE_ROWS
        for row in rows:
            engine.forget(row.request.session)

    def call(self) -> None:
        """One batch."""
        size = len(self._padded)
        step = self._portion
        parts = [
            self._model.encode(
                ctranslate2.StorageView.from_array(self._padded[i : i + step])
            )
            for i in range(0, size, step)
        ]
        memory = parts[0]
        if len(parts) > 1:
            whole = np.concatenate([np.asarray(part) for part in parts])
            memory = ctranslate2.StorageView.from_array(whole)
        self._model.generate(
            memory,
            [self._prompt] * size,
            beam_size=1,
            max_length=2 * self._most,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed,
        )


def _padded(rows: Sequence[Row]) -> np.ndarray:
    padded = np.zeros((len(rows), rows[0].features.shape[0], rows[0].hops), np.float32)
    for target, row in zip(padded, rows):
        width = min(row.hops, row.features.shape[1])
        target[:, :width] = row.features[:, :width]
    return padded


@dataclass(frozen=True, slots=True)
class Round:
    """Some batches of ours."""

    seconds: float
    cpu_s: float
    inside_s: float  # CTranslate2's part, over all workers
    call_s: list[float]  # of each row's call
    occupancy: float


class Ours:
    """Sessions that each submit a window when they have an outcome for the last."""

    def __init__(
        self,
        engine: CTranslate2Engine,
        audio: Sequence[Samples],
        batch: int,
        *,
        sessions: int | None = None,
    ) -> None:
        self._engine, self._audio, self._batch = engine, audio, batch
        # as many as run and as many again that gather, eight at least
        self._sessions = sessions or max(2 * batch * engine.info.workers, 8)
        self._ids = itertools.count(1)

    async def calls(self, count: int) -> Round:
        """``count`` batches in the steady state: those before, one for each worker,
        find no features made and count for nothing.
        """
        metrics = Metrics()
        config = BatchConfig(batch_size=self._batch)
        worker = Worker(self._engine, config, metrics=metrics)
        running = asyncio.create_task(worker.run())
        done = asyncio.Event()
        wanted = count * self._batch
        left = submitted = wanted + self._batch * self._engine.info.workers
        call_s: list[float] = []
        started = cpu = inside = 0.0

        def submit(session: int) -> None:
            nonlocal submitted
            submitted -= 1
            # a new utterance each time: nothing of its features is known yet
            number = next(self._ids)
            audio = self._audio[session % len(self._audio)]
            request = dataclasses.replace(
                _request(number, f"session {session}", audio), start=number << 20
            )

            def deliver(outcome: Outcome) -> None:
                nonlocal left, started, cpu, inside
                assert isinstance(outcome, Hypothesis), outcome
                left -= 1
                if left == wanted:
                    started, cpu = time.perf_counter(), time.process_time()
                    inside = self._engine.inside_s
                elif left < wanted:
                    call_s.append(outcome.timing.engine_s)
                if submitted > 0:
                    submit(session)
                elif left == 0:
                    done.set()

            worker.submit(request, deliver)

        for session in range(min(self._sessions, submitted)):
            submit(session)
        await done.wait()
        result = Round(
            seconds=time.perf_counter() - started,
            cpu_s=time.process_time() - cpu,
            inside_s=self._engine.inside_s - inside,
            call_s=call_s,
            occupancy=worker.load.occupancy,
        )
        await worker.close()
        await running
        return result


def _request(number: int, session: str, audio: Samples) -> Request:
    return Request(number, session, RequestKind.FINAL, 0, audio, OPTIONS)


# ------------------------------------------------------------------------- measurement


async def measure(
    engine: CTranslate2Engine,
    context_s: float,
    batch: int,
    *,
    rounds: int,
    calls: int,
    speech: bool = False,
) -> dict[str, float]:
    """Both sides in turns; medians over the rounds."""
    audio = [window(context_s, seed, speech=speech) for seed in range(batch)]
    seconds = sum(len(samples) for samples in audio) / SAMPLE_RATE
    bare, ours = Bare(engine, audio), Ours(engine, audio, batch)
    bare.call()
    await ours.calls(2)
    workers = engine.info.workers
    rates: list[tuple[float, float]] = []
    cpu_ratios: list[float] = []
    outside: list[float] = []
    call_s: list[float] = []
    occupancy: list[float] = []
    for _ in range(rounds):
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(
            *(asyncio.to_thread(_repeat, bare, calls) for _ in range(workers))
        )
        bare_s = time.perf_counter() - started
        bare_cpu_s = time.process_time() - cpu
        mine = await ours.calls(calls * workers)
        total = seconds * calls * workers
        rates.append((total / bare_s, total / mine.seconds))
        cpu_ratios.append(bare_cpu_s / mine.cpu_s)
        outside.append(mine.seconds * workers / mine.inside_s - 1)
        call_s += mine.call_s
        occupancy.append(mine.occupancy)
    ours_rate = statistics.median(rate for _, rate in rates)
    per_window = seconds / batch / ours_rate
    return {
        "bare_audio_s_per_s": statistics.median(rate for rate, _ in rates),
        "ours_audio_s_per_s": ours_rate,
        "ratio": statistics.median(ours / bare for bare, ours in rates),
        "cpu_ratio": statistics.median(cpu_ratios),
        "outside": statistics.median(outside),
        "call_ms": 1000 * statistics.mean(call_s),
        "call_p95_ms": 1000 * float(np.quantile(call_s, 0.95)),
        "occupancy": statistics.mean(occupancy),
        "streams_at_2s": 2 / per_window,
        "streams_at_half_s": 0.5 / per_window,
        "rss_mib": psutil.Process().memory_info().rss / 2**20,
        "gpu_mib": _gpu_mib(engine),
    }


def _repeat(bare: Bare, calls: int) -> None:
    for _ in range(calls):
        bare.call()


def _gpu_mib(engine: CTranslate2Engine) -> float:
    if engine.info.device == "cpu":
        return 0.0
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return float(answer.stdout.split()[0]) if answer.stdout else 0.0


# ------------------------------------------------------------------------ command line


@contextmanager
def model_folder(name: str, tokenizer_of: str) -> Iterator[str]:
    """``name`` itself, or for a shape's name a folder with random weights."""
    if name not in random_model.SHAPES:
        yield name
        return
    borrowed = models.resolve(EngineConfig(model=tokenizer_of), print)
    with tempfile.TemporaryDirectory() as scratch:
        shape = random_model.SHAPES[name]
        folder = random_model.build(
            shape,
            Path(scratch) / name,
            tokenizer=borrowed / "tokenizer.json",
            quantization="int8",
        )
        yield str(folder)


def _report(result: Result, *, as_header: bool = False) -> str:
    cells = [
        ("context", f"{result.context_s:g} s", 8),
        ("batch", f"{result.batch}", 6),
        ("w x t", f"{result.workers}x{result.threads}", 6),
        ("bare", f"{result.bare_audio_s_per_s:.1f}", 9),
        ("ours", f"{result.ours_audio_s_per_s:.1f}", 9),
        ("ratio", f"{result.ratio:.3f}", 7),
        ("cpu", f"{result.cpu_ratio:.3f}", 7),
        ("outside", f"{100 * result.outside:.1f} %", 9),
        ("call ms", f"{result.call_ms:.1f}", 9),
        ("p95", f"{result.call_p95_ms:.1f}", 9),
        ("full", f"{result.occupancy:.2f}", 6),
        ("@2s", f"{result.streams_at_2s:.0f}", 7),
        ("@0.5s", f"{result.streams_at_half_s:.0f}", 7),
        ("MiB", f"{result.gpu_mib or result.rss_mib:.0f}", 7),
    ]
    return "".join(f"{name if as_header else cell:>{w}}" for name, cell, w in cells)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _revision() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    answer = subprocess.run(git, capture_output=True, text=True, check=False)
    return answer.stdout.strip()


async def run(args: argparse.Namespace, folder: str) -> None:
    """Measure every combination that was asked for and print each at once."""
    facts = {
        "revision": _revision(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
        "ctranslate2": ctranslate2.__version__,
    }
    lines = args.json.open("a") if args.json else None
    header = False
    for workers, threads in args.lanes:
        for context_s in _numbers(args.contexts):
            engine = load(
                EngineConfig(
                    model=folder,
                    audio_context=f"{context_s:g}",
                    device=args.device,
                    device_index=args.device_index,
                    compute_type=args.compute_type,
                    workers=workers,
                    threads=threads,
                ),
                max_batch=int(max(_numbers(args.batches))),
                progress=lambda line: None,
            )
            for batch in map(int, _numbers(args.batches)):
                figures = await measure(
                    engine,
                    context_s,
                    batch,
                    rounds=args.rounds,
                    calls=args.calls,
                    speech=args.model not in random_model.SHAPES,
                )
                info = engine.info
                result = Result(
                    model=args.model,
                    device=info.device,
                    compute_type=info.compute_type,
                    workers=info.workers,
                    threads=threads,
                    context_s=context_s,
                    batch=batch,
                    **figures,
                )
                if not header:
                    print(f"model {args.model}, {info.device}, {info.compute_type}")
                    print(_report(result, as_header=True))
                    header = True
                print(_report(result), flush=True)
                if lines is not None:
                    print(json.dumps(facts | dataclasses.asdict(result)), file=lines)
            await engine.close()
    if lines is not None:
        lines.close()


def _lanes(text: str) -> list[tuple[int, int]]:
    return [(int(w), int(t)) for w, t in (part.split("x") for part in text.split(","))]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shapes = ", ".join(random_model.SHAPES)
    parser.add_argument("--model", default="demo", help=f"as for serve, or {shapes}")
    parser.add_argument("--tokenizer-of", default="demo", help="for random weights")
    parser.add_argument("--contexts", default="2,5", help="audio contexts in seconds")
    parser.add_argument("--batches", default="1,2,4,8")
    parser.add_argument(
        "--lanes",
        type=_lanes,
        default=[(1, 1)],
        help="workers x threads, as in 1x1,2x1",
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--device-index", default="0")
    parser.add_argument("--compute-type", default="auto")
    parser.add_argument("--rounds", type=int, default=5, help="of both sides in turns")
    parser.add_argument("--calls", type=int, default=5, help="per round and worker")
    parser.add_argument("--json", type=Path, help="append JSON lines to this file")
    args = parser.parse_args()
    with model_folder(args.model, args.tokenizer_of) as folder:
        asyncio.run(run(args, folder))
