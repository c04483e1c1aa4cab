"""How good live text is, how soon it comes and what it costs, by the model given.

    python -m bench.quality                      the demo model, some minutes
    python -m bench.quality --only live --model small
    python -m bench.quality --size 4 --json quality.jsonl
    python -m bench.quality --only noise --minutes 10

The streaming policy runs as in the daemon on a simulated clock (``simulation``)
over recordings whose words are known (``speech``).  Tables:

``live``   for each kind of recording, and for all words, at 1 stream and at 8.
           ``WER`` of the completed segments; ``offline``, the same recordings through
           faster-whisper as whole files, and ``cut``, each sentence by itself; ``gap``
           is WER less the lower of both.  ``erasure``: words shown and then taken back
           or changed, per final word.  ``changed`` completed segments, ``doubled``
           words at their seams.  ``words`` median error of word starts and ends, in ms.
``soon``   single sentences at one stream: ``first`` partial after the first word's
           start, ``final`` after the last word's end, and how many decodes they come
           after 1.0 s and the hangover (at most 1 is the goal).
``cost``   calls per minute of speech and engine seconds per audio second, beside the
           plain policy (``simulation.plain_policy``): it decodes everything
           since the last final, up to 28 s, for every 0.5 s of new audio.
``noise``  words sent for ten minutes each of sounds without words: of every partial,
           and of the completed segments alone.
``missed`` words that lie in no utterance, of each reserved voice in pink noise so far
           below it: the whole VAD, beside Silero's own probabilities.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import random
import statistics
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel

from bench.quality.account import Heard, account
from bench.quality.simulation import Call, Measured, Simulation, Stream, plain_policy
from bench.quality.speech import NOISES, Speech
from training.demo_model.material import Recording
from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples, s_to_samples
from whisper_live.config.model import Config, EngineConfig
from whisper_live.inference import model_files as models
from whisper_live.inference.ctranslate2.engine import load
from whisper_live.inference.types import RequestKind
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.session.endpointing import Endpoint, Onset, Segmenter
from whisper_live.session.options import VadOptions
from whisper_live.text.wer import plain_words, word_errors
from whisper_live.vad.silero import Detector, SileroModel
from whisper_live.vad.whisper_boost import speech_detectors

__all__ = ["main"]

WORKERS = 2  # of the simulated machine: one thread each, as on two cores
CONFIG = Config()


# -------------------------------------------------------------------------- a whole run


class Bench:
    """One model and what it is measured on."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self._seed = seed
        self._detector = speech_detectors(CONFIG.speech)
        self._engines: dict[str, Measured] = {}
        self._offline = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=1
        )

    def engine(self, context: str) -> Measured:
        """The model with a setting of ``audio-context``; one thread."""
        if context not in self._engines:
            config = EngineConfig(
                model=str(self.folder),
                audio_context=context,
                device="cpu",
                workers=1,
                threads=1,
            )
            engine = load(config, max_batch=8, progress=lambda line: None)
            engine.warm_up(lambda line: None)
            self._engines[context] = Measured(engine)
        return self._engines[context]

    def stream(
        self,
        samples: Samples,
        language: str | None,
        detector: Detector | None = None,
        *,
        starts_at: float = 0.0,
    ) -> Stream:
        """A client that sends ``samples``; ``detector`` instead of the daemon's.

        ``starts_at`` is in seconds of the simulation.
        """
        missing = -len(samples) % FRAME_SAMPLES
        frames = np.pad(samples, (0, missing)).reshape(-1, FRAME_SAMPLES)
        speech = (detector or self._detector()).score(frames)
        options = ClientOptions(
            uid="bench",
            language=language,
            word_timestamps=True,
            send_last_n_segments=0,
        )
        return Stream(samples, speech, options, starts_at=starts_at)

    def listen(
        self,
        recordings: Sequence[Recording],
        *,
        context: str = "auto",
        together: int = 1,
    ) -> tuple[list[Heard], list[Simulation]]:
        """Stream the recordings, so many of them at a time."""
        chance = random.Random(self._seed)
        heard, simulations = [], []
        for begin in range(0, len(recordings), together):
            part = recordings[begin : begin + together]
            starts = [0.0, *(chance.uniform(0, 3) for _ in part[1:])]
            streams = [
                self.stream(r.samples, r.language, starts_at=start)
                for r, start in zip(part, starts)
            ]
            simulation = Simulation(
                self.engine(context), CONFIG, streams, workers=WORKERS
            )
            simulation.run()
            simulations.append(simulation)
            heard += [account(r.words, s.told) for r, s in zip(part, streams)]
        return heard, simulations

    def read_plainly(
        self, recordings: Sequence[Recording], *, context: str
    ) -> tuple[int, list[Call]]:
        """Errors and calls of the plain policy, one stream at a time."""
        errors, calls = 0, []
        for recording in recordings:
            stream = self.stream(recording.samples, recording.language)
            text, made = plain_policy(self.engine(context), stream, CONFIG.stream)
            errors += word_errors(plain_words(recording.text), plain_words(text))
            calls += made
        return errors, calls

    def offline_errors(self, recordings: Sequence[Recording]) -> tuple[int, int]:
        """Errors of faster-whisper on whole files, and sentence by sentence."""
        whole = cut = 0
        for recording in recordings:
            spoken = plain_words(recording.text)
            text = self._transcribe(recording.samples, recording.language)
            whole += word_errors(spoken, plain_words(text))
            parts = [
                self._transcribe(piece, recording.language)
                for piece in _sentences(recording)
            ]
            cut += word_errors(spoken, plain_words(" ".join(parts)))
        return whole, cut

    def _transcribe(self, samples: Samples, language: str) -> str:
        segments, _ = self._offline.transcribe(samples, language=language)
        return "".join(segment.text for segment in segments)


def _sentences(recording: Recording) -> Iterator[Samples]:
    """The recording cut in the middle of the gaps between its sentences."""
    starts = [w[1] for w in recording.words]
    limits = [0.0]
    for end in recording.ends[:-1]:
        after = min(start for start in starts if start >= end - 0.1)
        limits.append((end + after) / 2)
    limits.append(recording.duration)
    marks = [round(limit * SAMPLE_RATE) for limit in limits]
    for begin, end in zip(marks, marks[1:]):
        yield recording.samples[begin:end]


# -------------------------------------------------------------------------- the tables


def live(bench: Bench, sets: dict[str, list[Recording]]) -> Iterator[dict[str, Any]]:
    """Quality at one stream and at eight, of each set and of all words together."""
    pooled: dict[int, tuple[Counter[str], list[float]]] = {
        together: (Counter(), []) for together in (1, 8)
    }
    for name, recordings in sets.items():
        whole, cut = bench.offline_errors(recordings)
        for together, (all_counts, all_times) in pooled.items():
            heard, simulations = bench.listen(recordings, together=together)
            counts = Counter(
                spoken=sum(len(plain_words(r.text)) for r in recordings),
                errors=sum(h.errors for h in heard),
                whole=whole,
                cut=cut,
                taken_back=sum(h.taken_back for h in heard),
                shown=sum(h.shown for h in heard),
                changed=sum(h.changed for h in heard),
                doubled=sum(h.doubled for h in heard),
                suppressed=sum(
                    sum(stream.session.stats.suppressed.values())
                    for simulation in simulations
                    for stream in simulation.streams
                ),
            )
            times = [e for h in heard for e in h.word_errors_s]
            all_counts.update(counts)
            all_times += times
            yield _live_row(name, together, counts, times)
    for together, (all_counts, all_times) in pooled.items():
        yield _live_row("all", together, all_counts, all_times)


def _live_row(
    name: str, together: int, counts: Counter[str], times: Sequence[float]
) -> dict[str, Any]:
    def rate(errors: int) -> float:
        return round(100 * errors / counts["spoken"], 2)

    return {
        "set": name,
        "streams": together,
        "words_spoken": counts["spoken"],
        "WER": rate(counts["errors"]),
        "offline": rate(counts["whole"]),
        "cut": rate(counts["cut"]),
        "gap": rate(counts["errors"] - min(counts["whole"], counts["cut"])),
        "erasure": round(counts["taken_back"] / counts["shown"], 3),
        "changed": counts["changed"],
        "doubled": counts["doubled"],
        "words": round(1000 * statistics.median(times or [0])),
        "suppressed": counts["suppressed"],
    }


def soon(bench: Bench, recordings: list[Recording]) -> Iterator[dict[str, Any]]:
    """Latency at one stream on an idle machine, in decodes."""
    heard, simulations = bench.listen(recordings)
    firsts = [h.first_s for h in heard if h.first_s == h.first_s]
    finals = [h.final_s for h in heard if h.final_s == h.final_s]
    hangover_s = VadOptions().hangover_s
    for name, latencies, allowed_s, kind in (
        ("first", firsts, 1.0, RequestKind.PARTIAL),
        ("final", finals, hangover_s, RequestKind.FINAL),
    ):
        decode_s = statistics.median(
            call.cost_s
            for simulation in simulations
            for call in simulation.calls
            if call.requests[0].kind is kind
        )
        p50, p95 = np.quantile(latencies, [0.5, 0.95])
        yield {
            "what": name,
            "n": len(latencies),
            "p50_s": round(float(p50), 3),
            "p95_s": round(float(p95), 3),
            "decode_s": round(decode_s, 4),
            "allowed_s": allowed_s,
            "p50_decodes": round((p50 - allowed_s) / decode_s, 2),
            "p95_decodes": round((p95 - allowed_s) / decode_s, 2),
        }


def cost(bench: Bench, sets: dict[str, list[Recording]]) -> Iterator[dict[str, Any]]:
    """Engine time beside the plain policy's, with short and with full contexts."""
    pooled: dict[tuple[str, str], Counter[str]] = {}
    for name, recordings in sets.items():
        for context in ("auto", "full"):
            heard, simulations = bench.listen(recordings, context=context)
            plain_errors, plain_calls = bench.read_plainly(recordings, context=context)
            our_calls = [call for s in simulations for call in s.calls]
            for policy, errors, calls in (
                ("ours", sum(h.errors for h in heard), our_calls),
                ("plain", plain_errors, plain_calls),
            ):
                counts: Counter[str] = Counter(
                    words=sum(len(plain_words(r.text)) for r in recordings),
                    errors=errors,
                    calls=len(calls),
                    # microseconds, so that they can be counted
                    engine=sum(round(1e6 * call.cost_s) for call in calls),
                    audio=sum(round(1e6 * r.duration) for r in recordings),
                    spoken=sum(
                        round(1e6 * (end - start))
                        for r in recordings
                        for _, start, end in r.words
                    ),
                )
                pooled.setdefault((context, policy), Counter()).update(counts)
                yield _cost_row(name, context, policy, counts)
    for (context, policy), counts in pooled.items():
        yield _cost_row("all", context, policy, counts)


def _cost_row(
    name: str, context: str, policy: str, counts: Counter[str]
) -> dict[str, Any]:
    return {
        "set": name,
        "context": context,
        "policy": policy,
        "WER": round(100 * counts["errors"] / counts["words"], 2),
        "calls_per_min": round(60e6 * counts["calls"] / counts["spoken"], 1),
        "engine_s_per_s": round(counts["engine"] / counts["audio"], 4),
    }


def noise(bench: Bench, seconds: float, seed: int) -> Iterator[dict[str, Any]]:
    """Words that nobody said."""
    for name, make in NOISES.items():
        stream = bench.stream(make(seconds, seed), None)
        simulation = Simulation(bench.engine("auto"), CONFIG, [stream], workers=1)
        simulation.run()
        sent = {
            (segment["completed"], segment["start"], segment["text"])
            for told in stream.told
            for segment in told.message.get("segments", ())
        }
        stats = stream.session.stats
        yield {
            "sound": name,
            "minutes": round(seconds / 60, 1),
            "words_sent": sum(len(plain_words(text)) for _, _, text in sent),
            "completed": sum(len(plain_words(text)) for done, _, text in sent if done),
            "utterances": stats.utterances,
            "calls": len(simulation.calls),
            "suppressed": dict(stats.suppressed),
        }


def missed(bench: Bench, speech: Speech, talks: int) -> Iterator[dict[str, Any]]:
    """Words that speech detection loses; nothing is decoded."""
    detectors = speech_detectors(CONFIG.speech), SileroModel().detector
    for voice in speech.voices():
        for snr_db in (20.0, 15.0, 10.0):
            recordings = [speech.in_noise(voice, 20.0, snr_db) for _ in range(talks)]
            words = sum(len(r.words) for r in recordings)
            ours, silero = (
                sum(
                    _outside(bench.stream(r.samples, None, detector()), r)
                    for r in recordings
                )
                for detector in detectors
            )
            yield {
                "voice": voice.name,
                "snr_db": snr_db,
                "words": words,
                "missed": round(100 * ours / words, 1),
                "silero": round(100 * silero / words, 1),
            }


def _outside(stream: Stream, recording: Recording) -> int:
    """Words whose middle lies in no utterance."""
    longest = s_to_samples(CONFIG.stream.max_window_s)
    segmenter = Segmenter(stream.options.vad, max_window=longest)
    marks = [m for p in stream.speech.tolist() for m in segmenter.push(p)]
    last = segmenter.end_now()
    limits = [
        (mark.at, isinstance(mark, Onset))
        for mark in (*marks, last)
        if isinstance(mark, Onset | Endpoint)
    ]
    middles = [(start + end) / 2 * SAMPLE_RATE for _, start, end in recording.words]
    return sum(
        not next((opens for at, opens in reversed(limits) if at <= middle), False)
        for middle in middles
    )


def _print(
    title: str, rows: Iterator[dict[str, Any]], facts: dict[str, Any], path: Path | None
) -> None:
    for index, row in enumerate(rows):
        if not index:
            print(f"\n{title}: " + " | ".join(row))
        print(" | ".join(map(str, row.values())), flush=True)
        if path is not None:
            with path.open("a") as lines:
                print(json.dumps(facts | {"table": title} | row), file=lines)


def _facts(folder: Path) -> dict[str, Any]:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    revision = subprocess.run(git, capture_output=True, text=True, check=False)
    return {
        "date": datetime.date.today().isoformat(),
        "revision": revision.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "model_sha256": hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest()[
            :12
        ],
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo", help="as for serve")
    parser.add_argument("--size", type=float, default=1.0, help="of the recordings")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of each sound without words"
    )
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument(
        "--only", nargs="*", help="tables, of live soon cost noise missed"
    )
    parser.add_argument("--json", type=Path, help="append JSON lines to this file")
    args = parser.parse_args()
    folder = models.resolve(EngineConfig(model=args.model), print)
    bench, speech = Bench(folder, args.seed), Speech(args.seed)
    facts = _facts(folder)
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    count = round(48 * args.size)
    talks = max(round(8 * args.size), 3)
    sets = {
        "singles": speech.singles(count),
        "pauses": speech.pauses(talks, 30.0),
        "noisy": speech.noisy(talks, 30.0, 15.0),
        "overlapped": speech.overlapped(talks, 30.0),
    }
    tables = {
        "live": lambda: live(bench, sets),
        "soon": lambda: soon(bench, sets["singles"]),
        "cost": lambda: cost(bench, sets),
        "noise": lambda: noise(bench, 60 * args.minutes, args.seed),
        "missed": lambda: missed(bench, speech, talks),
    }
    for title in args.only or tables:
        _print(title, tables[title](), facts, args.json)
