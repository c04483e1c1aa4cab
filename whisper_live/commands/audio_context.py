"""``whisper-live audio-context FILE…``: how short may the audio context be here?

Stock Whisper weights degenerate on short contexts, some more than others, so this
measures: the utterances of the user's own recordings are read with the full context
and with ever shorter floors.  There is no reference text; what a floor changes
against the full context is what it costs.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples, s_to_samples
from whisper_live.commands.capacity import check_writable, write_setting
from whisper_live.config.model import Config, EngineConfig
from whisper_live.errors import ConfigError, DecodeError
from whisper_live.inference.ctranslate2.engine import load
from whisper_live.inference.engine import Again, Engine
from whisper_live.inference.types import DecodeOptions, Hypothesis, Request, RequestKind
from whisper_live.media.files import read_file
from whisper_live.session.endpointing import speech_spans
from whisper_live.session.options import VadOptions
from whisper_live.text.counted import counted
from whisper_live.text.wer import plain_words, word_errors
from whisper_live.vad.silero import Detector
from whisper_live.vad.whisper_boost import speech_detectors

__all__ = ["FLOORS", "Reading", "advise", "cut_utterances", "read_with", "run"]

FLOORS = ("full", "15", "10", "8", "5", "3", "2")
TOLERATED = 0.005  # words changed per word, up to which a floor is called safe
_LONGEST = s_to_samples(28.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """All utterances, read with one floor."""

    floor: str
    texts: tuple[str, ...]
    engine_s: float

    def changed(self, full: Reading) -> float:
        """Words that differ from the full context's, per word of it."""
        errors = words = 0
        for mine, theirs in zip(self.texts, full.texts, strict=True):
            reference = plain_words(theirs)
            errors += word_errors(reference, plain_words(mine))
            words += len(reference)
        return errors / max(words, 1)


def advise(readings: Sequence[Reading]) -> str:
    """The shortest floor up to which nothing goes wrong; ``readings[0]`` is full."""
    safe = readings[0].floor
    for reading in readings[1:]:
        if reading.changed(readings[0]) > TOLERATED:
            break
        safe = reading.floor
    return safe


def cut_utterances(samples: Samples, detector: Detector) -> list[Samples]:
    """What is said in a recording, utterance by utterance."""
    frames = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
    scores = detector.score(frames.reshape(-1, FRAME_SAMPLES)).tolist()
    spans = speech_spans(scores, VadOptions(), longest=_LONGEST)
    return [samples[start:end] for start, end in spans]


async def read_with(
    engine: Engine, floor: str, utterances: Sequence[Samples], language: str | None
) -> Reading:
    """Read all utterances; ``engine_s`` is the time spent in its calls."""
    texts: list[str] = []
    engine_s = 0.0
    ids = itertools.count()
    clock = asyncio.get_running_loop().time
    size = engine.info.max_batch
    for first in range(0, len(utterances), size):
        batch = [
            Request(
                id=number,
                session=str(number),
                kind=RequestKind.FINAL,
                start=0,
                audio=samples,
                options=DecodeOptions(language=language),
            )
            for number, samples in zip(ids, utterances[first : first + size])
        ]
        began = clock()
        outcomes = await engine.transcribe(batch)
        engine_s += clock() - began
        for outcome in outcomes:
            assert not isinstance(outcome, Again), "there is one temperature"
            segments = outcome.segments if isinstance(outcome, Hypothesis) else ()
            texts.append("".join(segment.text for segment in segments))
    return Reading(floor, tuple(texts), engine_s)


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Measure, print one line per floor and the advice; 1 if there is no speech."""
    if arguments.write:
        check_writable(Path(arguments.write))
    utterances: list[Samples] = []
    detector = speech_detectors(config.speech)
    for name in arguments.files:
        try:
            samples = np.concatenate(list(read_file(name)))
        except DecodeError as error:
            raise ConfigError(f"{name}: {error}") from error
        utterances += cut_utterances(samples, detector())
    if not utterances:
        print("there is no speech in these recordings", file=sys.stderr)
        return 1
    readings = asyncio.run(_measure(config, utterances, arguments.language))
    advice = advise(readings)
    print(f"safe for this audio: --audio-context {advice}")
    if arguments.write:
        write_setting(Path(arguments.write), "audio-context", advice)
        print(f"written to {arguments.write}")
    return 0


async def _measure(
    config: Config, utterances: Sequence[Samples], language: str | None
) -> list[Reading]:
    seconds = sum(map(len, utterances)) / SAMPLE_RATE
    print(f"{counted(len(utterances), 'utterance')}, {seconds:.0f} s of speech")
    print(f"{'floor':>6}{'words changed':>16}{'engine s per audio s':>23}")
    readings: list[Reading] = []
    for floor in FLOORS:
        engine_config: EngineConfig = dataclasses.replace(
            config.engine, audio_context=floor
        )
        engine = load(
            engine_config, max_batch=config.batch.batch_size, progress=_silent
        )
        size = engine.info.max_batch
        await read_with(engine, floor, utterances[:size], language)  # warm
        readings.append(await read_with(engine, floor, utterances, language))
        await engine.close()
        changed = readings[-1].changed(readings[0])
        cost = readings[-1].engine_s / seconds
        print(f"{floor:>6}{changed:>15.1%} {cost:>22.4f}", flush=True)
        if changed > 10 * TOLERATED:  # it only gets worse
            break
    return readings


def _silent(line: str) -> None:
    pass
