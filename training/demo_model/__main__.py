"""Run one step of the demo model, or all: ``python -m training.demo_model <command>``.

``all`` goes from nothing to a model directory: clips, training, export, evaluation.
Each step finds what an interrupted run left and goes on from there.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from argparse import ArgumentParser
from pathlib import Path

COMMANDS = {
    "tokenizer": "tokens",
    "clips": "dataset",
    "train": "train",
    "export": "export",
    "evaluate": "evaluate",
    "recording": "recording",
}


def module_of(command: str) -> str:
    """The full name of the module that does the step."""
    return f"training.demo_model.{COMMANDS[command]}"


def _run(command: str, arguments: list[str]) -> int:
    # Imported late: "evaluate" and "recording" work where torch is not installed.
    module = importlib.import_module(module_of(command))
    return int(module.main(arguments) or 0)


def _all(arguments: list[str]) -> int:
    parser = ArgumentParser(prog="training.demo_model all", description=__doc__)
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
    clips, tokenizer = work / "clips", work / "tokenizer.json"
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
    common += ["--minutes", str(options.minutes)]
    strangers = ["--dropout", "0.1", "--digits", "0.25"]

    def train(name: str, *more: str) -> str:
        _run("train", [str(clips), str(work / name), *common, *more])
        return str(work / name / "checkpoint.pt")

    def export(folder: Path, checkpoint: str, other: str) -> str:
        given = [checkpoint, str(tokenizer), str(folder), "--mean-with", other]
        _run("export", given)
        return str(folder)

    # First without one human speaker, to be judged by that one; then with all four.
    # Each time two runs of which it is a mean: sentences, and digits of strangers.
    leaving = ["--leave-out", options.leave_out]
    apart = train("apart", *leaving)
    digits = train(
        "apart_digits", *leaving, *strangers, "--start", apart, "--start-at", "0.6"
    )
    archive = str(options.fsdd / f"{options.leave_out}.tar.gz")
    left_out = export(work / "left_out", apart, digits)
    _run("evaluate", [left_out, "--only", "1", "--fsdd", archive])
    last = train("all", "--start", apart, "--start-at", "0.88")
    digits = train("all_digits", *strangers, "--start", digits, "--start-at", "0.92")
    return _run("evaluate", [export(model, last, digits)])


def main(arguments: list[str]) -> int:
    """Dispatch; returns the exit code."""
    names = [*COMMANDS, "all"]
    if not arguments or arguments[0] not in names:
        print(__doc__, f"Commands: {', '.join(names)}", file=sys.stderr)
        return 2
    command, rest = arguments[0], arguments[1:]
    return _all(rest) if command == "all" else _run(command, rest)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
