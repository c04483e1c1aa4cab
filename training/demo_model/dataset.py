"""Synthesise training clips into shards of cached log-mels.

A shard is ``NNNNN.npy`` (float16 log10 mel, [frames, 80], clips one after another)
and ``NNNNN.jsonl`` (one ``Clip`` a line). A shard appears whole or not at all, so an
interrupted build goes on where it stopped. Shard ``n`` depends on ``n`` alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.demo_model import grammar
from training.demo_model.digits import (
    digit_voice,
    read_digits,
    revoiced,
    spoken_digits,
)
from training.demo_model.features import log_mel
from training.demo_model.synth import SAMPLE_RATE, Espeak, Flite, Speech, festival
from training.demo_model.voices import Voice, random_variant, training_voice

__all__ = ["Clip", "build_digits", "build_shards", "load_shards"]

_CLIPS_PER_SHARD = 500
_RANDOM_VARIANTS = 100
_GERMAN_SHARE = 0.3


@dataclass
class Clip:
    """One utterance in a shard: ``frames`` rows from ``offset``; times in seconds."""

    offset: int
    frames: int
    text: str
    language: str
    english: str
    speaker: str
    words: list[tuple[float, float]]


def _write(path: Path, items: list[tuple[grammar.Sentence, str, Speech]]) -> None:
    mels: list[NDArray[np.float16]] = []
    lines: list[str] = []
    offset = 0
    for sentence, speaker, speech in items:
        mel = log_mel(speech.samples).astype(np.float16)
        words = [(round(a, 3), round(b, 3)) for a, b in speech.words]
        clip = Clip(
            offset,
            len(mel),
            sentence.text,
            sentence.language,
            sentence.english,
            speaker,
            words,
        )
        lines.append(json.dumps(asdict(clip), ensure_ascii=False))
        mels.append(mel)
        offset += len(mel)
    temporary = path.with_suffix(".tmp.npy")
    np.save(temporary, np.concatenate(mels))
    path.with_suffix(".jsonl").write_text("\n".join(lines) + "\n")
    temporary.rename(path.with_suffix(".npy"))


def _build_shard(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    espeak, flite = Espeak(), Flite()
    for index in range(_RANDOM_VARIANTS):
        random_variant(rng, espeak.variants_folder / f"r{index}")
    items: list[tuple[grammar.Sentence, str, Speech]] = []
    queued: list[tuple[grammar.Sentence, Voice]] = []
    while len(items) + len(queued) < _CLIPS_PER_SHARD:
        language = "de" if rng.random() < _GERMAN_SHARE else "en"
        sentence = grammar.generate(rng, language, held_out=False)
        voice = training_voice(rng, language, espeak.named_variants, _RANDOM_VARIANTS)
        if voice.engine == "festival":
            queued.append((sentence, voice))
            continue
        engine = espeak if voice.engine == "espeak" else flite
        try:
            speech = engine.speak(sentence.text, voice)
        except RuntimeError:
            continue  # an engine that splits words its own way: draw again
        items.append((sentence, voice.identity, speech))
    spoken = festival([(sentence.text, voice) for sentence, voice in queued])
    for (sentence, voice), result in zip(queued, spoken):
        if result is not None:
            items.append((sentence, voice.identity, result))
    _write(path, items)


def build_shards(folder: Path, first: int, count: int, step: int = 1) -> None:
    """Build shards ``first``, ``first + step``, ... that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count * step, step):
        path = folder / f"{number:05d}"
        if path.with_suffix(".npy").exists():
            continue
        # A fresh process for each shard: espeak-ng's voice list is global and full.
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _build_shard(path, seed=number)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        if status != 0:
            raise RuntimeError(f"shard {number} failed")
        print(f"shard {number}", flush=True)


def build_digits(archives: Path, folder: Path) -> None:
    """Turn the FSDD archives (``<speaker>.tar.gz``) into one shard per speaker.

    Four voices are too few to tell a digit from its speaker, so each says all its
    digits again in other voices, ``digits:<speaker>~<n>``. A last shard has those of
    the synthetic voices that were recorded from people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for archive in sorted(archives.glob("*.tar.gz")):
        speaker = archive.name.removesuffix(".tar.gz")
        recorded = [(speaker, *item) for item in read_digits(archive)]
        _write_digits(folder / f"fsdd_{speaker}", recorded, 6)
    _write_digits(folder / "spoken_digits", list(spoken_digits()), 20)


def _write_digits(
    path: Path, digits: list[tuple[str, NDArray[np.float32], str]], voices: int
) -> None:
    """Write (speaker, samples, digit) as they are and in ``voices`` other voices."""
    items: list[tuple[grammar.Sentence, str, Speech]] = []
    for speaker, samples, digit in digits:
        rng = np.random.default_rng(len(items))
        text = f"{digit.capitalize()}."
        sentence = grammar.Sentence(text, "en", text)
        for number in range(1 + voices):
            voice = f"digits:{speaker}~{number}"
            spoken = revoiced(samples, digit_voice(voice), rng) if number else samples
            words = [(0.0, len(spoken) / SAMPLE_RATE)]
            items.append((sentence, voice, Speech(spoken, words)))
    _write(path, items)
    print(path.name, flush=True)


def load_shards(
    folder: Path, exclude: tuple[str, ...] = ()
) -> list[tuple[NDArray[np.float16], Clip]]:
    """Return (mel, clip) of every clip, mels memory-mapped; skip ``exclude`` stems."""
    clips = []
    for path in sorted(folder.glob("*.npy")):
        if path.stem in exclude or path.stem.endswith(".tmp"):
            continue
        mels = np.load(path, mmap_mode="r")
        for line in path.with_suffix(".jsonl").read_text().splitlines():
            clip = Clip(**json.loads(line))
            clips.append((mels[clip.offset : clip.offset + clip.frames], clip))
    return clips


def main(arguments: list[str] | None = None) -> None:
    """Command line: ``dataset FOLDER --shards N [--first I --step K] [--fsdd DIR]``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--fsdd", type=Path, help="folder of FSDD archives")
    options = parser.parse_args(arguments)
    if options.fsdd:
        build_digits(options.fsdd, options.folder)
    build_shards(options.folder, options.first, options.shards, options.step)


if __name__ == "__main__":
    main()
