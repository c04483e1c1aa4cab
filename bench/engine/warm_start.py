"""The first request after READY beside the ones after it, over many starts.

    python -m bench.engine.warm_start   20 starts each, auto and full
    python -m bench.engine.warm_start --starts 5 --model small --contexts full --detect

Each start is a process of its own that loads and warms up as ``serve`` does.  From
then on one live session asks for the same window again and again, each time as a new
utterance, on a fresh worker: ``first`` is the time from the first submission to its
outcome, ``steady`` the median of the later ones.  The ratio's median over the starts is
to be 1.2 at most; ``cpu`` is the same for CPU seconds, to trust on a busy machine.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.engine.throughput import OPTIONS, model_folder, window
from whisper_live.config.model import BatchConfig, Config, EngineConfig
from whisper_live.inference.types import Hypothesis, Outcome, Request, RequestKind
from whisper_live.inference.worker import Worker
from whisper_live.observability.metrics import Metrics
from whisper_live.server.process import load_engine

MARK = 1.2
LATER = 15  # requests after the first


async def one_start(args: argparse.Namespace) -> dict[str, float]:
    """Load, warm up and ask; seconds."""
    config = Config(
        engine=EngineConfig(
            model=args.model,
            audio_context=args.child,
            device=args.device,
            workers=args.workers,
        )
    )
    started = time.perf_counter()
    engine, _ = load_engine(config, lambda line: None)
    ready_s = time.perf_counter() - started
    worker = Worker(engine, BatchConfig(), metrics=Metrics())
    running = asyncio.create_task(worker.run())
    audio = window(args.window_s + 0.5, 0, speech=not args.noise)
    options = OPTIONS
    if args.detect:
        options = dataclasses.replace(options, language=None, word_timestamps=True)
    seconds, cpu_seconds = [], []
    for number in range(1 + LATER):
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        request = Request(
            number, "session", RequestKind.FINAL, number << 20, audio, options
        )
        submitted, cpu = time.perf_counter(), time.process_time()
        worker.submit(request, done.set_result)
        outcome = await done
        seconds.append(time.perf_counter() - submitted)
        cpu_seconds.append(time.process_time() - cpu)
        assert isinstance(outcome, Hypothesis), outcome
    await worker.close()
    await running
    await engine.close()
    return {
        "first_s": seconds[0],
        "steady_s": statistics.median(seconds[1:]),
        "cpu_ratio": cpu_seconds[0] / statistics.median(cpu_seconds[1:]),
        "ready_s": ready_s,
    }


def starts(args: argparse.Namespace, model: str, context: str) -> None:
    """All starts with one context, and a line about them."""
    command = [sys.executable, "-m", "bench.engine.warm_start", "--child", context]
    command += ["--model", model, "--device", args.device]
    command += ["--workers", str(args.workers), "--window-s", str(args.window_s)]
    command += ["--detect"] * args.detect + ["--noise"] * (model != args.model)
    found = []
    for _ in range(args.starts):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found.append(json.loads(done.stdout))
    ratios = sorted(each["first_s"] / each["steady_s"] for each in found)
    ratio = statistics.median(ratios)

    verdict = "ok" if ratio <= MARK else "MISSED"

    def milliseconds(name: str) -> float:
        return 1000 * float(statistics.median(each[name] for each in found))

    print(
        f"{context:>7}{args.starts:8}{milliseconds('first_s'):10.1f}"
        f"{milliseconds('steady_s'):10.1f}{ratio:8.2f}{ratios[0]:7.2f}{ratios[-1]:7.2f}"
        f"{statistics.median(each['cpu_ratio'] for each in found):7.2f}"
        f"{milliseconds('ready_s') / 1000:9.1f}   {verdict}",
        flush=True,
    )
    if args.json:
        with args.json.open("a") as lines:
            print(json.dumps({"context": context, "starts": found}), file=lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo", help="as for serve, or a shape")
    parser.add_argument("--contexts", default="auto,full")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--window-s", type=float, default=1.5, help="of the request")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument(
        "--detect", action="store_true", help="detect the language and time the words"
    )
    parser.add_argument("--noise", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="append JSON lines to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(asyncio.run(one_start(args))))
        return
    print(
        f"{'context':>7}{'starts':>8}{'first ms':>10}{'steady':>10}{'ratio':>8}"
        f"{'least':>7}{'most':>7}{'cpu':>7}"
        f"{'ready s':>9}"
    )
    with model_folder(args.model, "demo") as model:
        for context in args.contexts.split(","):
            starts(args, model, context)


if __name__ == "__main__":
    main()
