"""How soon a voice command is answered, beside wyoming-faster-whisper.

``FOLDER`` has recordings with manifests, as ``bench.quality.real`` reads them; those in
English of 1.5 to 10 s are played, each once, so many at once.  A line of JSON for each
run, and a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.quality.real.recordings import read_manifests, select
from bench.quality.real.scoring import units
from bench.report import model_hash, provenance, table
from bench.wyoming.commands import Answer, Command, command, play
from bench.wyoming.contenders import Contender, ours, started, theirs
from whisper_live.config.model import EngineConfig
from whisper_live.inference import model_files
from whisper_live.text.wer import word_errors

_STAGGER_S = 0.7  # between the first commands of those at once
_SHORTEST_S, _LONGEST_S = 1.5, 10.0


async def run(
    contender: Contender, commands: Sequence[Command], at_once: int
) -> tuple[list[Answer], list[float]]:
    """The answers in the order of the commands, and what ``describe`` took in s."""
    waiting = iter(enumerate(commands))
    answers: dict[int, Answer] = {}

    async def client(number: int, port: int) -> None:
        await asyncio.sleep(number * _STAGGER_S)
        for index, said in waiting:
            answers[index] = await play(port, said, stop_after_s=contender.stop_after_s)

    with tempfile.TemporaryDirectory() as folder:
        async with started(contender, Path(folder, "log")) as running:
            await play(running.port, commands[0], stop_after_s=0.0)  # warm
            await asyncio.gather(*[client(n, running.port) for n in range(at_once)])
            described = running.described_s
    return [answers[index] for index in range(len(commands))], described


def figures(
    commands: Sequence[Command], answers: Sequence[Answer]
) -> dict[str, object]:
    """Times from the end of speech, word errors, and how many were not answered."""
    times = sorted(answer.after_s for answer in answers if answer.after_s is not None)
    errors = words = 0
    for said, answer in zip(commands, answers, strict=True):
        expected = units(said.text, "en")
        errors += word_errors(expected, units(answer.text, "en"))
        words += len(expected)
    return {
        "commands": len(commands),
        "p50_s": _quantile(times, 0.5),
        "p95_s": _quantile(times, 0.95),
        "wer": round(errors / max(words, 1), 4),
        "failed": len(answers) - len(times),
    }


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    at = min(int(share * len(ordered)), len(ordered) - 1)
    value = statistics.median(ordered) if share == 0.5 else ordered[at]
    return round(value, 3)


def contenders(arguments: argparse.Namespace, weights: Path) -> Iterator[Contender]:
    """Ours, ours as others are used, and theirs in both ways where it is installed."""
    silence_s, model = arguments.silence_s, arguments.model
    yield ours(model, silence_s=silence_s)
    yield ours(model, silence_s=silence_s, hears=False)
    if arguments.theirs:
        yield theirs(arguments.theirs, weights, silence_s=silence_s)
        yield theirs(arguments.theirs, weights, silence_s=silence_s, hears=True)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.wyoming", description=__doc__
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--model", default="tiny.en")
    parser.add_argument("--count", type=int, default=100, help="of commands")
    parser.add_argument("--at-once", default="1,4", help="clients, as in 1,4")
    parser.add_argument(
        "--silence-s", type=float, default=0.7, help="that ends a command, for all"
    )
    parser.add_argument(
        "--theirs",
        type=Path,
        metavar="PYTHON",
        help="the Python of an environment with wyoming-faster-whisper",
    )
    parser.add_argument("--out", type=Path, default=Path("wyoming.jsonl"))
    arguments = parser.parse_args()
    found = [
        each
        for each in read_manifests(arguments.folder)
        if each.language == "en"
        and each.kind == "read"
        and _SHORTEST_S <= each.seconds <= _LONGEST_S
    ]
    per_corpus = -(-arguments.count // max(len({each.corpus for each in found}), 1))
    chosen = select(found, limit=per_corpus)
    chosen += [each for each in found if each not in chosen]
    commands = [command(each) for each in chosen[: arguments.count]]
    config = EngineConfig(model=arguments.model)
    weights = model_files.resolve(config, lambda line: None)
    rows = []
    with arguments.out.open("a") as out:
        for contender in contenders(arguments, weights):
            for at_once in map(int, arguments.at_once.split(",")):
                answers, described = asyncio.run(run(contender, commands, at_once))
                told = {
                    "server": contender.name,
                    "at_once": at_once,
                    **figures(commands, answers),
                    "describe_max_s": round(max(described, default=0.0), 4),
                    "describes": len(described),
                }
                about = provenance(
                    "wyoming", model=arguments.model, weights=model_hash(weights)
                )
                out.write(json.dumps({**about, **told}) + "\n")
                out.flush()
                rows.append(list(told.values()))
                print(told, flush=True)
    print(table(list(told), rows))


if __name__ == "__main__":
    main()
