"""Let a crowd of paced clients speak to any server of WhisperLive's protocol.

    python -m bench.capacity.load ws://127.0.0.1:9090 --clients 16 --out DIR
    python -m bench.capacity.load ws://127.0.0.1:9090 --clients 16 --out DIR --send webm
    python -m bench.capacity.load --again DIR   the figures of logs that lie there

The server's engine decides what must be said: to a model sentences (``--recording
meeting`` of the package for real Whisper, ``demo`` for the demo model, or ``--corpus
AUDIO JSON``), to the oracle ``--material marks``.  Open loop: each send has its moment,
a late one is counted, latency is measured from the schedule.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from bench.report import Bar, Report, provenance, seconds, table
from whisper_live.testing.load.crowd import Crowd, run_crowd, summarise_folder
from whisper_live.testing.load.material import Speech
from whisper_live.testing.load.speaker import Dialogue
from whisper_live.testing.load.summary import Percentiles, Summary

__all__ = ["add_crowd_arguments", "crowd_of", "figures"]


def add_crowd_arguments(parser: argparse.ArgumentParser) -> None:
    """Who speaks, what, and how; read by ``crowd_of``."""
    parser.add_argument("--material", choices=("sentences", "marks"))
    parser.add_argument("--recording", choices=("meeting", "demo"), default="meeting")
    parser.add_argument("--corpus", nargs=2, metavar=("WAV", "JSON"))
    parser.add_argument(
        "--send", choices=("float32", "int16", "webm"), default="float32"
    )
    parser.add_argument("--duty", type=int, default=45, help="per cent of speech")
    parser.add_argument("--duration-s", type=float, default=60.0)
    parser.add_argument("--ramp-s", type=float, default=4.0)
    parser.add_argument("--chunk-s", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=0, help="of the clients")


def crowd_of(args: argparse.Namespace, url: str, clients: int) -> Crowd:
    """The crowd that the arguments describe."""
    return Crowd(
        clients=clients,
        dialogue=Dialogue(url, audio_format=args.send, chunk_s=args.chunk_s),
        speech=Speech(args.duration_s, args.duty / 100, args.seed),
        material=args.material or "sentences",
        recording=args.recording,
        corpus=tuple(args.corpus) if args.corpus else None,
        ramp_s=args.ramp_s,
        processes=args.processes,
    )


def figures(summary: Summary) -> str:
    """Everything that was measured, as Markdown."""
    rows = []
    for field in dataclasses.fields(Summary):
        value = getattr(summary, field.name)
        name = field.name.replace("_", " ")
        if isinstance(value, Percentiles):
            marks = (seconds(p) for p in (value.p50, value.p95, value.p99))
            rows.append((name, value.count, *marks, value.never))
        elif isinstance(value, float):
            rows.append((name, f"{value:.4g}", *[""] * 4))
        elif value is not None:
            rows.append((name, value, *[""] * 4))
    return table(("", "count or value", "p50 s", "p95 s", "p99 s", "never"), rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder of the report")
    parser.add_argument("--again", type=Path, metavar="DIR", help="only compute")
    add_crowd_arguments(parser)
    args = parser.parse_args()
    if args.again:
        print(figures(summarise_folder(args.again)))
        return
    if not (args.url and args.out):
        parser.error("needs a URL and --out, or --again")
    crowd = crowd_of(args, args.url, args.clients)
    facts = provenance("load", **json.loads(json.dumps(dataclasses.asdict(crowd))))
    report = Report(args.out, f"{args.clients} clients of {args.url}", facts)
    bar = Bar("speaking")
    try:
        run = run_crowd(crowd, report.logs, progress=bar.progress)
        summary = run.summary
        report.add(
            summary=summary.as_json(),
            client_cpu_s=run.client_cpu_s,
            wall_s=run.wall_s,
            late_share=run.late_share,
        )
    except KeyboardInterrupt:  # what has been said until now counts
        summary = summarise_folder(report.logs)
        report.add(summary=summary.as_json(), interrupted=True)
    finally:
        bar.close()
    report.write(figures(summary))
    print(figures(summary))


if __name__ == "__main__":
    main()
