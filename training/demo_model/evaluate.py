"""Measure a model directory through faster-whisper, int8, default options.

Prints one table, a row per point of what the demo model promises. Needs the speech
engines but not torch. Held-out sentences, reserved voices; see ``material``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer as WhisperTokenizer
from tokenizers import Tokenizer

from training.demo_model.export import random_model
from training.demo_model.grammar import normalise
from training.demo_model.material import (
    Recording,
    Speaker,
    human_digits,
    joined,
    noises,
)
from training.demo_model.metrics import Errors, agreement, matches
from training.demo_model.synth import SAMPLE_RATE

__all__ = ["Row", "main"]

_STEP_S = 0.5  # of growing windows
_SHORTEST_S = 2.0  # audio context promised in the config


@dataclass(frozen=True)
class Row:
    """One line of the table; ``passed`` compares with the goal."""

    name: str
    value: float
    unit: str
    goal: str
    passed: bool
    amount: str


def _text(model: WhisperModel, recording: Recording, **options: Any) -> str:
    segments, _ = model.transcribe(recording.samples, **options)
    return "".join(segment.text for segment in segments)


def _error_row(
    name: str,
    model: WhisperModel,
    recordings: list[Recording],
    goal: float,
    show: bool,
    **options: Any,
) -> Row:
    errors = Errors()
    exact = 0
    for recording in recordings:
        text = _text(model, recording, **options)
        translated = options.get("task") == "translate"
        reference = recording.english if translated else recording.text
        same = normalise(reference) == normalise(text)
        exact += same
        errors.add(reference, text)
        if show and not same:
            print(f"  {recording.voice} | {reference} |{text}", flush=True)
    amount = f"{len(recordings)} recordings, {errors.words} words, {exact} exact"
    return Row(name, errors.rate, "% WER", f"<= {goal}", errors.rate <= goal, amount)


def words_and_voices(
    model: WhisperModel, speaker: Speaker, count: int, show: bool, fsdd: Path | None
) -> list[Row]:
    """Point 1: word error rate by language, task and kind of sentence."""
    sentences = speaker.draw(count, "en", "sentences")
    digits = speaker.draw(count // 2, "en", "digits")
    german = speaker.draw(count, "de", "any")
    rows = [
        _error_row("English sentences", model, sentences, 5, show),
        _error_row("English digit strings", model, digits, 5, show),
        _error_row("German", model, german, 5, show),
        _error_row("German to English", model, german, 5, show, task="translate"),
    ]
    if fsdd is not None:
        human = human_digits(fsdd, count, seed=3)
        name = f"human single digits, {human[0].voice.partition('.')[0]}"
        rows.append(_error_row(name, model, human, 5, show))
    return rows


def long_windows(
    model: WhisperModel, speaker: Speaker, count: int, show: bool
) -> list[Row]:
    """Point 2: windows full of utterances, and files of several minutes."""
    languages = ["en", "en", "de"]
    windows = [
        speaker.conversation(27.0, 30.0, languages[index % 3])
        for index in range(max(count // 5, 3))
    ]
    files = [speaker.conversation(150.0, 180.0, language) for language in languages[1:]]
    return [
        _error_row("windows of 25 to 30 s", model, windows, 8, show),
        _error_row("files of 150 to 180 s", model, files, 8, show),
        _error_row(
            "the same, condition_on_previous_text=False",
            model,
            files,
            8,
            show,
            condition_on_previous_text=False,
        ),
    ]


def stability(model: WhisperModel, speaker: Speaker, count: int, show: bool) -> Row:
    """Point 3: committed words of LocalAgreement-2 that the final text confirms."""
    right = total = 0
    for index in range(max(count // 4, 3)):
        language = ("en", "en", "de")[index % 3]
        recording = joined(speaker.draw(1 + index % 3, language, "any"))
        steps = np.arange(_STEP_S, recording.duration, _STEP_S)
        hypotheses = []
        for end in [*steps, recording.duration]:
            samples = recording.samples[: round(end * SAMPLE_RATE)]
            part = Recording(samples, "", "", language, "")
            hypotheses.append(_text(model, part, language=language))
        agreed, committed = agreement(hypotheses)
        if show and agreed != committed:
            print("  growing:", *hypotheses, sep="\n    ", flush=True)
        right, total = right + agreed, total + committed
    value = 100 * right / max(total, 1)
    return Row("prefix stability", value, "%", ">= 97", value >= 97, f"{total} words")


def languages(model: WhisperModel, speaker: Speaker, count: int, show: bool) -> Row:
    """Point 4, first half: language detection on at least 1 s of speech."""
    recordings = speaker.draw(count, "en", "any") + speaker.draw(count, "de", "any")
    recordings = [recording for recording in recordings if recording.duration >= 1.5]
    right = 0
    for recording in recordings:
        _, info = model.transcribe(recording.samples)
        right += info.language == recording.language
        if show and info.language != recording.language:
            print(f"  {info.language} | {recording.voice} | {recording.text}")
    value = 100 * right / len(recordings)
    amount = f"{len(recordings)} recordings"
    return Row("language detection", value, "%", ">= 98", value >= 98, amount)


def no_speech(model: WhisperModel, show: bool) -> Row:
    """Point 4, second half: sounds without speech that give text, of all lengths."""
    texts = {}
    for name, samples in noises(11).items():
        for seconds in (1.0, 3.0, 10.0):
            part = Recording(samples[: round(seconds * SAMPLE_RATE)], "", "", "en", "")
            texts[f"{name} {seconds:.0f} s"] = _text(model, part).strip()
    loud = {name: text for name, text in texts.items() if text}
    if show:
        print(*(f"  {name}: {text}" for name, text in loud.items()), sep="\n")
    value = float(len(loud))
    return Row("noises with text", value, "", "0", not loud, f"{len(texts)} sounds")


def times(model: WhisperModel, speaker: Speaker, count: int) -> list[Row]:
    """Point 5: segment ends and word times against the synthesiser's."""
    ends: list[float] = []
    words: list[float] = []
    for index in range(max(count // 2, 3)):
        language = ("en", "en", "de")[index % 3]
        recording = joined(speaker.draw(1 + index % 3, language, "any"))
        segments, _ = model.transcribe(recording.samples, language=language)
        got = [segment.end for segment in segments]
        ends += [min(abs(end - g) for g in got) for end in recording.ends if got]
        segments, _ = model.transcribe(
            recording.samples, language=language, word_timestamps=True
        )
        found = [word for segment in segments for word in segment.words or []]
        reference = normalise(recording.text)
        hypothesis = ["".join(normalise(word.word)) for word in found]
        for expected, place in matches(reference, hypothesis):
            _, start, end = recording.words[expected]
            words += [abs(found[place].start - start), abs(found[place].end - end)]
    rows = []
    for name, errors, goal in (
        ("segment end, median error", ends, 0.1),
        ("word start and end, median error", words, 0.15),
    ):
        value = statistics.median(errors)
        amount = f"{len(errors)} times, 90 % under {np.quantile(errors, 0.9):.2f} s"
        rows.append(Row(name, value, "s", f"<= {goal}", value <= goal, amount))
    return rows


def short_contexts(
    model: WhisperModel, speaker: Speaker, count: int, show: bool
) -> Row:
    """Point 6: the encoder given the window's own length, against 30 s."""
    padded, short = Errors(), Errors()
    recordings = speaker.draw(count, "en", "any") + speaker.draw(
        count // 2, "de", "any"
    )
    for recording in recordings:
        reference = normalise(recording.text)
        features = model.feature_extractor(recording.samples)
        frames = features.shape[-1]
        own = max(frames + frames % 2, round(_SHORTEST_S * 100))
        if own in (160, 256):  # encoded states of these lengths look like mels
            own += 2
        for errors, length in ((padded, 3000), (short, own)):
            text = _generate(model, pad_or_trim(features, length), recording.language)
            errors.add(recording.text, text)
            if show and errors is short and normalise(text) != reference:
                print(f"  short | {recording.voice} | {recording.text} |{text}")
    value = short.rate - padded.rate
    amount = f"{short.rate:.2f} against {padded.rate:.2f} %, {short.words} words"
    name = "WER of short contexts over padded"
    return Row(name, value, "points", "<= 0.5", abs(value) <= 0.5, amount)


def _generate(model: WhisperModel, features: Any, language: str) -> str:
    """Decode one window of any length: beam of 5, timestamps, no fallback."""
    tokenizer = WhisperTokenizer(
        model.hf_tokenizer, True, task="transcribe", language=language
    )
    encoded = model.encode(features)
    (result,) = model.model.generate(
        encoded, [tokenizer.sot_sequence], beam_size=5, max_initial_timestamp_index=50
    )
    text = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
    decoded: str = tokenizer.decode(text)
    return decoded


def encode_time(model: WhisperModel, folder: Path) -> Row:
    """Point 7: a 30-s window against random weights of whisper-tiny's dimensions."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with tempfile.TemporaryDirectory() as name:
        random_model(Path(name), tokenizer, width=384, heads=6, layers=(4, 4))
        tiny = WhisperModel(name, device="cpu", compute_type="int8", cpu_threads=1)
        features = np.random.default_rng(0).random((80, 3000), np.float32)
        taken: dict[str, list[float]] = {"demo": [], "tiny": []}
        # In turn, so that a burst of other load hits both.
        for _ in range(9):
            for key, candidate in (("demo", model), ("tiny", tiny)):
                before = time.perf_counter()
                np.array(candidate.encode(features))
                taken[key].append(time.perf_counter() - before)
    demo, other = (statistics.median(taken[key]) for key in ("demo", "tiny"))
    value = demo / other
    amount = f"{1000 * demo:.0f} against {1000 * other:.0f} ms, one thread"
    name = "encode time over whisper-tiny's"
    return Row(name, value, "", "<= 0.7", value <= 0.7, amount)


def main(arguments: list[str] | None = None) -> int:
    """Command line: ``evaluate MODEL [--count N] [--fsdd ARCHIVE] [--show]``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=100, help="recordings a set")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--fsdd", type=Path, help="archive of a speaker left out")
    parser.add_argument("--only", nargs="*", type=int, help="points, 1 to 7")
    parser.add_argument("--show", action="store_true", help="print what went wrong")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    options = parser.parse_args(arguments)
    model = WhisperModel(
        str(options.model), device="cpu", compute_type="int8", cpu_threads=1
    )
    count, show, seed = options.count, options.show, options.seed

    points: dict[int, Callable[[], list[Row]]] = {
        1: lambda: words_and_voices(model, Speaker(seed), count, show, options.fsdd),
        2: lambda: long_windows(model, Speaker(seed + 1), count, show),
        3: lambda: [stability(model, Speaker(seed + 2), count, show)],
        4: lambda: [
            languages(model, Speaker(seed + 3), count // 2, show),
            no_speech(model, show),
        ],
        5: lambda: times(model, Speaker(seed + 4), count),
        6: lambda: [short_contexts(model, Speaker(seed + 5), count, show)],
        7: lambda: [encode_time(model, options.model)],
    }
    rows: list[tuple[int, Row]] = []
    print("| point | what | value | goal | met | measured on |")
    print("|---|---|---|---|---|---|", flush=True)
    for point in options.only or points:
        for row in points[point]():
            rows.append((point, row))
            met = "yes" if row.passed else "no"
            value = f"{row.value:.2f} {row.unit}".strip()
            print(
                f"| {point} | {row.name} | {value} | {row.goal} | {met} "
                f"| {row.amount} |",
                flush=True,
            )
    if options.json:
        lines = [{"point": point, **vars(row)} for point, row in rows]
        # Medians and quantiles are numpy scalars.
        options.json.write_text(json.dumps(lines, indent=1, default=float) + "\n")
    return 0 if all(row.passed for _, row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
