"""What batching gains with many sessions, beside what it gains in bare CTranslate2.

    python -m bench.engine.batch_gain   tiny's shape, 5 s context, 8 sessions

Eight sessions offer windows at once, each its next one when it has an outcome, through
the real batch queue, worker and engine: once with calls of one row (serial), once with
calls of up to four.  Bare CTranslate2 does the same windows in calls of one and of four
rows.  The weights are random and write until their limit, so that each call decodes as
many tokens.  All four take turns in every round, in another order each time; ``gain``
is serial time over batched time, the ratio ours over bare, and is to be 0.9 at least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path

from bench.engine import random_model
from bench.engine.throughput import Bare, Ours, model_folder, window
from whisper_live.config.model import EngineConfig
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine, load

MARK = 0.9


async def one_round(
    engine: CTranslate2Engine, args: argparse.Namespace, order: int
) -> dict[str, float]:
    """Seconds and CPU seconds of all four for the same number of windows."""
    speech = args.model not in random_model.SHAPES
    audio = [window(args.context, seed, speech=speech) for seed in range(args.batch)]
    found: dict[str, float] = {}

    def bare(size: int) -> None:
        once = Bare(engine, audio[:size])
        once.call()
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(args.windows // size):
            once.call()
        found[f"bare{size}"] = time.perf_counter() - started
        found[f"bare{size}_cpu"] = time.process_time() - cpu

    async def ours(size: int) -> None:
        mine = Ours(engine, audio, size, sessions=args.sessions)
        result = await mine.calls(args.windows // size)
        found[f"ours{size}"] = result.seconds
        found[f"ours{size}_cpu"] = result.cpu_s
        found[f"occupancy{size}"] = result.occupancy

    sides = [("bare", 1), ("ours", args.batch), ("bare", args.batch), ("ours", 1)]
    for side, size in sides[order % 4 :] + sides[: order % 4]:
        if side == "bare":
            await asyncio.to_thread(bare, size)
        else:
            await ours(size)
    return found


async def run(args: argparse.Namespace, folder: str) -> None:
    """All rounds, each in a line, and their medians."""
    config = EngineConfig(
        model=folder,
        audio_context=f"{args.context:g}",
        device=args.device,
        compute_type=args.compute_type,
        workers=1,
        threads=1,
    )
    engine = load(config, max_batch=args.batch, progress=lambda line: None)
    engine.warm_up(lambda line: None)
    size = args.batch
    print(f"{'round':>6}{'bare gain':>11}{'ours':>7}{'ratio':>7}{'cpu':>7}{'full':>6}")
    rows: list[tuple[float, ...]] = []
    for number in range(args.rounds):
        found = await one_round(engine, args, number)
        gains = [
            found[f"{side}1"] / found[f"{side}{size}"] for side in ("bare", "ours")
        ]
        cpu = [
            found[f"{side}1_cpu"] / found[f"{side}{size}_cpu"]
            for side in ("bare", "ours")
        ]
        full = found[f"occupancy{size}"]
        rows.append((*gains, gains[1] / gains[0], cpu[1] / cpu[0], full))
        print(f"{number + 1:6}{_cells(rows[-1])}", flush=True)
        if args.json:
            with args.json.open("a") as lines:
                print(json.dumps(found), file=lines)
    median = tuple(map(statistics.median, zip(*rows)))
    verdict = "ok" if median[2] >= MARK else "MISSED"
    print(f"median{_cells(median)}   {verdict} (at least {MARK})")
    await engine.close()


def _cells(row: tuple[float, ...]) -> str:
    widths = (11, 7, 7, 7, 6)
    return "".join(f"{value:{width}.2f}" for value, width in zip(row, widths))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shapes = ", ".join(random_model.SHAPES)
    parser.add_argument("--model", default="tiny", help=f"as for serve, or {shapes}")
    parser.add_argument("--context", type=float, default=5.0, help="seconds")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--windows", type=int, default=16, help="of each in a round")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--compute-type", default="auto")
    parser.add_argument("--json", type=Path, help="append JSON lines to this file")
    args = parser.parse_args()
    with model_folder(args.model, "demo") as folder:
        asyncio.run(run(args, folder))


if __name__ == "__main__":
    main()
