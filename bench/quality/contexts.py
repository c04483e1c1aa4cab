"""What short audio contexts cost stock Whisper in words, and save in engine time.

    python -m bench.quality.contexts FOLDER --model tiny.en --model base
    python -m bench.quality.contexts FOLDER --model base --floors full,12 --beams 5

``FOLDER`` is as for ``bench.quality.real``.  Each recording with a reference, of up to
28 s, is read once in each context, by one thread; ``full`` is 30 s, a number the least
seconds, of which a window takes the next length that holds it.  Answers are kept in
``WORK/contexts.jsonl`` and not made again.

The table has, for each floor, the errors per 100 words without and with the guard (what
packs too well or says a phrase twice running is replaced by the reading in 30 s, and
its time added), CPU seconds of the engine per second of audio, likewise, and how many
recordings were read again.  The guard is applied to words here and to tokens in the
engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.quality.real.recordings import Recording, load, read_manifests
from bench.quality.real.scoring import units
from bench.report import model_hash
from whisper_live.config.model import EngineConfig
from whisper_live.inference import model_files
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine
from whisper_live.inference.ctranslate2.engine import load as load_engine
from whisper_live.inference.ctranslate2.tokens import says_twice
from whisper_live.inference.engine import Again
from whisper_live.inference.types import (
    MOST_COMPRESSION,
    DecodeOptions,
    Hypothesis,
    Request,
    RequestKind,
)
from whisper_live.text.wer import plain_words, word_errors

__all__ = ["Answer", "Row", "is_doubtful", "main", "table"]

FLOORS = "full,20,15,12,10,8,5"
_LONGEST_S = 28.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One recording read in one context."""

    weights: str
    recording: str
    seconds: float
    floor: str
    beams: int
    text: str
    average_logprob: float
    compression_ratio: float
    no_speech_probability: float
    engine_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; rates in percent, costs per second of audio."""

    floor: str
    errors: float
    guarded_errors: float
    cost: float
    guarded_cost: float
    again: int


def is_doubtful(answer: Answer) -> bool:
    """Whether the engine would read it again in the whole context."""
    words = plain_words(answer.text)
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    said = [numbers[word] for word in words]
    is_repeated = says_twice(said, eot=len(numbers))
    return answer.compression_ratio > MOST_COMPRESSION or is_repeated


def table(
    answers: Mapping[tuple[str, str], Answer],
    recordings: Sequence[Recording],
    floors: Sequence[str],
) -> list[Row]:
    """``answers`` by recording and floor, of one model and number of beams."""
    rows = []
    for floor in floors:
        words = errors = guarded_errors = again = 0
        cost = guarded_cost = seconds = 0.0
        for recording in recordings:
            answer = answers[recording.name, floor]
            said = units(recording.text, recording.language)
            wrong = word_errors(said, units(answer.text, recording.language))
            words, errors = words + len(said), errors + wrong
            seconds, cost = seconds + answer.seconds, cost + answer.engine_s
            guarded_cost += answer.engine_s
            if floor != floors[0] and is_doubtful(answer):
                again += 1
                answer = answers[recording.name, floors[0]]
                wrong = word_errors(said, units(answer.text, recording.language))
                guarded_cost += answer.engine_s
            guarded_errors += wrong
        rows.append(
            Row(
                floor,
                100 * errors / words,
                100 * guarded_errors / words,
                cost / seconds,
                guarded_cost / seconds,
                again,
            )
        )
    return rows


# ------------------------------------------------------------------------- the readings


async def _read(
    engine: CTranslate2Engine, recording: Recording, beams: int
) -> tuple[Hypothesis, float]:
    """Its first answer, whatever the guard thinks of it, and the CPU seconds."""
    options = DecodeOptions(language=recording.language, beam_size=beams)
    samples = load(recording)
    request = Request(1, recording.name, RequestKind.FINAL, 0, samples, options)
    before = time.process_time()
    (answer,) = await engine.transcribe([request])
    engine_s = time.process_time() - before
    heard = answer.doubtful if isinstance(answer, Again) else answer
    assert isinstance(heard, Hypothesis), heard
    return heard, engine_s


def _answer(
    weights: str,
    recording: Recording,
    floor: str,
    beams: int,
    engine: CTranslate2Engine,
) -> Answer:
    heard, engine_s = asyncio.run(_read(engine, recording, beams))
    first = heard.segments[0] if heard.segments else None
    return Answer(
        weights=weights,
        recording=recording.name,
        seconds=recording.seconds,
        floor=floor,
        beams=beams,
        text="".join(segment.text for segment in heard.segments),
        average_logprob=first.average_logprob if first else 0.0,
        compression_ratio=first.compression_ratio if first else 1.0,
        no_speech_probability=first.no_speech_probability if first else 0.0,
        engine_s=engine_s,
    )


def _kept(file: Path) -> Iterator[Answer]:
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            yield Answer(**json.loads(line))


def measure(
    model: str,
    recordings: Sequence[Recording],
    floors: Sequence[str],
    beams: Sequence[int],
    file: Path,
) -> None:
    """Make the answers that are missing, and print the model's tables."""
    folder = model_files.resolve(EngineConfig(model=model), _tell)
    weights = model_hash(folder)
    known = {(a.weights, a.recording, a.floor, a.beams): a for a in _kept(file)}
    engines: dict[str, CTranslate2Engine] = {}
    for floor in floors:
        config = EngineConfig(
            model=str(folder), device="cpu", workers=1, threads=1, audio_context=floor
        )
        engines[floor] = load_engine(config, max_batch=1, progress=lambda line: None)
        engines[floor].warm_up(lambda line: None, within_s=0.5)
    spoken = engines[floors[0]].info.languages
    readable = [r for r in recordings if r.language in spoken]
    with file.open("a", encoding="utf-8") as out:
        for recording in readable:
            for floor in floors:
                for count in beams:
                    key = weights, recording.name, floor, count
                    if key in known:
                        continue
                    answer = _answer(weights, recording, floor, count, engines[floor])
                    known[key] = answer
                    print(json.dumps(asdict(answer)), file=out, flush=True)
    for count in beams:
        found = {
            (name, floor): answer
            for (which, name, floor, of), answer in known.items()
            if (which, of) == (weights, count)
        }
        print(f"\n{model} ({weights}), {len(readable)} recordings, beam {count}\n")
        print("| floor | errors | with guard | engine | with guard | read again |")
        print("|---|---|---|---|---|---|")
        for row in table(found, readable, floors):
            print(
                f"| {row.floor} | {row.errors:.1f} | {row.guarded_errors:.1f} "
                f"| {row.cost:.3f} | {row.guarded_cost:.3f} | {row.again} |"
            )


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--model", action="append", help="may be repeated; else tiny.en"
    )
    parser.add_argument("--floors", default=FLOORS, help="full comes first")
    parser.add_argument("--beams", default="5,1")
    parser.add_argument("--half", choices=("a", "b"), help="of the voices")
    parser.add_argument("--work", type=Path, default=Path("contexts"))
    given = parser.parse_args()
    floors = given.floors.split(",")
    if floors[0] != "full":
        parser.error("--floors must begin with full, which the others are held against")
    recordings = [
        recording
        for recording in read_manifests(given.folder)
        if recording.texts
        and recording.seconds <= _LONGEST_S
        and given.half in (None, recording.half)
    ]
    given.work.mkdir(parents=True, exist_ok=True)
    beams = [int(count) for count in given.beams.split(",")]
    for model in given.model or ["tiny.en"]:
        measure(model, recordings, floors, beams, given.work / "contexts.jsonl")


if __name__ == "__main__":
    main()
