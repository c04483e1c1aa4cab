"""What a short audio context saves, and what it costs in words.

    python -m bench.engine.audio_context [--model demo] [--floors full,2,5] [--count 60]

Held-out sentences by reserved voices (``training.demo_model.material``, needs espeak-ng
and flite) go through the engine in batches, once for each floor.  Columns: word error
rate and its difference to the first floor, seconds inside CTranslate2 per audio second
(RTF), and how many times lower that is than with the first floor.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.demo_model.material import Recording, Speaker
from training.demo_model.metrics import Errors
from whisper_live.audio import SAMPLE_RATE
from whisper_live.config.model import EngineConfig
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine, load
from whisper_live.inference.types import DecodeOptions, Hypothesis, Request, RequestKind


@dataclass(frozen=True, slots=True)
class Result:
    """One floor: ``wer`` in percent, ``rtf`` engine seconds per audio second."""

    model: str
    floor: str
    recordings: int
    audio_s: float
    wer: float
    rtf: float


async def transcribe(
    engine: CTranslate2Engine, recordings: Sequence[Recording], batch: int
) -> list[str]:
    """The text of each recording."""
    texts: list[str] = []
    for first in range(0, len(recordings), batch):
        rows = [
            Request(
                id=number,
                session=f"recording {number}",
                kind=RequestKind.FINAL,
                start=0,
                audio=recording.samples,
                options=DecodeOptions(language=recording.language),
            )
            for number, recording in enumerate(recordings[first : first + batch])
        ]
        for outcome in await engine.transcribe(rows):
            assert isinstance(outcome, Hypothesis), outcome
            texts.append("".join(segment.text for segment in outcome.segments))
    return texts


async def measure(
    model: str, floor: str, recordings: Sequence[Recording], batch: int
) -> Result:
    """One floor over all recordings, after one batch to warm up."""
    config = EngineConfig(model=model, audio_context=floor, workers=1, threads=1)
    engine = load(config, max_batch=batch, progress=lambda line: None)
    await transcribe(engine, recordings[:batch], batch)
    before_s = engine.inside_s
    texts = await transcribe(engine, recordings, batch)
    inside_s = engine.inside_s - before_s
    await engine.close()
    errors = Errors()
    for recording, text in zip(recordings, texts, strict=True):
        errors.add(recording.text, text)
    audio_s = sum(len(recording.samples) for recording in recordings) / SAMPLE_RATE
    return Result(model, floor, len(texts), audio_s, errors.rate, inside_s / audio_s)


async def run(args: argparse.Namespace) -> None:
    """Measure all floors and print each as soon as it is known."""
    speaker = Speaker(args.seed)
    recordings = speaker.draw(args.count, "en", "any")
    recordings += speaker.draw(args.count // 3, "de", "any")
    print(f"{'floor':>6}{'WER %':>9}{'diff':>8}{'RTF':>10}{'times lower':>13}")
    first: Result | None = None
    for floor in args.floors.split(","):
        result = await measure(args.model, floor, recordings, args.batch)
        first = first or result
        print(
            f"{floor:>6}{result.wer:9.2f}{result.wer - first.wer:+8.2f}"
            f"{result.rtf:10.5f}{first.rtf / result.rtf:13.1f}",
            flush=True,
        )
        if args.json:
            with args.json.open("a") as lines:
                print(json.dumps(dataclasses.asdict(result)), file=lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo")
    parser.add_argument("--floors", default="full,auto")
    parser.add_argument("--count", type=int, default=60, help="English recordings")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, help="append JSON lines to this file")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
