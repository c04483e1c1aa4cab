"""Run one step of the demo model, or all: ``python -m bench.demo_model <command>``.

``all`` goes from nothing to a model directory: clips, training, export, evaluation.
Each step finds what an interrupted run left and goes on from there.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from argparse import ArgumentParser
from pathlib import Path

_COMMANDS = {
    "tokenizer": "tokens",
    "clips": "dataset",
    "train": "train",
    "export": "export",
    "evaluate": "evaluate",
    "recording": "recording",
}


def _run(command: str, arguments: list[str]) -> int:
    # Imported late: "evaluate" and "recording" work where torch is not installed.
    module = importlib.import_module(f"bench.demo_model.{_COMMANDS[command]}")
    return int(module.main(arguments) or 0)


def _all(arguments: list[str]) -> int:
    parser = ArgumentParser(prog="bench.demo_model all", description=__doc__)
    parser.add_argument("work", type=Path, help="folder for clips and checkpoints")
    parser.add_argument("model", type=Path, help="folder of the finished model")
    parser.add_argument("--ranks", type=Path, required=True, help="rank table")
    parser.add_argument("--fsdd", type=Path, required=True, help="FSDD archives")
    parser.add_argument("--minutes", type=float, default=110.0)
    parser.add_argument("--shards", type=int, default=130)
    parser.add_argument("--processes", type=int, default=2, help="1 on a GPU")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--leave-out", default="jackson", help="FSDD speaker")
    options = parser.parse_args(arguments)
    work, model = options.work, options.model
    clips, run, tokenizer = work / "clips", work / "run", work / "tokenizer.json"
    work.mkdir(parents=True, exist_ok=True)
    _run("tokenizer", [str(options.ranks), str(tokenizer)])
    builders = [
        multiprocessing.Process(
            target=_run,
            args=(
                "clips",
                f"{clips} --first {first} --step {options.processes} "
                f"--shards {options.shards // options.processes}".split(),
            ),
        )
        for first in range(options.processes)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
        if builder.exitcode != 0:
            raise SystemExit("building clips failed")
    _run("clips", [str(clips), "--shards", "0", "--fsdd", str(options.fsdd)])
    common = ["--tokenizer", str(tokenizer), "--bfloat16", "--device", options.device]
    common += ["--processes", str(options.processes)]
    # First without one human speaker, to be judged by that one; then all four, for
    # the last stretch of a run as long.
    apart, left_out = work / "apart", work / "left_out"
    minutes = ["--minutes", str(options.minutes)]
    leaving = ["--leave-out", options.leave_out]
    _run("train", [str(clips), str(apart), *common, *minutes, *leaving])
    _run("export", [str(apart / "checkpoint.pt"), str(tokenizer), str(left_out)])
    archive = str(options.fsdd / f"{options.leave_out}.tar.gz")
    _run("evaluate", [str(left_out), "--only", "1", "--fsdd", archive])
    start = ["--start", str(apart / "checkpoint.pt"), "--start-at", "0.88"]
    _run("train", [str(clips), str(run), *common, *minutes, *start])
    _run("export", [str(run / "checkpoint.pt"), str(tokenizer), str(model)])
    return _run("evaluate", [str(model)])


def main(arguments: list[str]) -> int:
    """Dispatch; returns the exit code."""
    names = [*_COMMANDS, "all"]
    if not arguments or arguments[0] not in names:
        print(__doc__, f"Commands: {', '.join(names)}", file=sys.stderr)
        return 2
    command, rest = arguments[0], arguments[1:]
    return _all(rest) if command == "all" else _run(command, rest)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
