"""How soon an uploaded file is answered, and what uploads cost live streams.

Clips by POST, one at a time on an idle daemon; then live streams alone, and the same
streams beside uploads that go on as long as they do.  Clips and streams are sentences
of the recording that ships with the package.  A line of JSON for each run, and tables.

    python -m bench.uploads
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import tempfile
import time
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp

from bench.capacity.servers import free_port, ours, started
from bench.report import model_hash, provenance, seconds, table
from whisper_live.audio import SAMPLE_RATE, Samples, samples_to_s
from whisper_live.config.model import EngineConfig
from whisper_live.inference import model_files
from whisper_live.testing.load.crowd import Crowd, Run, run_crowd, together
from whisper_live.testing.load.material import Speech, recite, shipped_sentences
from whisper_live.testing.load.measure import Span
from whisper_live.testing.load.sessionlog import read_logs
from whisper_live.testing.load.speaker import Dialogue

_PATH = "/v1/audio/transcriptions"
_GOALS_S = {2.0: 0.7, 10.0: 1.2, 60.0: 5.0}  # of clips, on two idle cores
_LONGEST_S = 600.0  # that an answer may take


@dataclass(frozen=True, slots=True)
class Posted:
    """One upload: when it was begun and answered (monotonic), and its audio."""

    begun_at: float
    answered_at: float
    audio_s: float

    @property
    def took_s(self) -> float:
        """Seconds in all."""
        return self.answered_at - self.begun_at

    def audio_within(self, span: Span) -> float:
        """Seconds of its audio that were read within a span, if evenly."""
        begin = max(self.begun_at, span.begin_at)
        end = min(self.answered_at, span.end_at)
        return self.audio_s * max(end - begin, 0.0) / max(self.took_s, 1e-9)


def clip(length_s: float, number: int) -> Samples:
    """Speech without pauses of exactly this length; each ``number`` has its own."""
    sentences = shipped_sentences("meeting")
    speech = Speech(duration_s=length_s + 2.0, duty=1.0, seed=1_000, tail_s=0.0)
    spoken = recite(sentences, number, speech)
    begin = round((spoken.words[0].start_s - 0.2) * SAMPLE_RATE)
    return spoken.samples[begin:][: round(length_s * SAMPLE_RATE)]


def wav(samples: Samples) -> bytes:
    """A WAV file of 16-bit samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


async def post(url: str, samples: Samples) -> Posted:
    """One upload over a connection of its own, as ``curl`` makes it."""
    content = wav(samples)
    begun_at = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=_LONGEST_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        form = aiohttp.FormData()
        form.add_field("file", content, filename="clip.wav")
        form.add_field("model", "whisper-1")
        async with session.post(url + _PATH, data=form) as answer:
            body = await answer.json()
            if answer.status != 200 or not body["text"].strip():
                raise SystemExit(f"an upload was answered {answer.status}: {body}")
    return Posted(begun_at, time.monotonic(), samples_to_s(len(samples)))


# ------------------------------------------------------------------ on an idle daemon


async def one_by_one(url: str, length_s: float, repeats: int) -> dict[str, object]:
    """Clips of one length, one behind the other; the first is not counted."""
    took_s = []
    for number in range(repeats + 1):
        posted = await post(url, clip(length_s, number))
        took_s.append(posted.took_s)
    counted = sorted(took_s[1:])
    return {
        "clip_s": length_s,
        "posts": repeats,
        "median_s": round(median(counted), 3),
        "worst_s": round(counted[-1], 3),
        "goal_s": _GOALS_S.get(length_s),
    }


# ------------------------------------------------------------------ beside live streams


async def streams_beside(
    url: str, crowd: Crowd, folder: Path, *, uploads: int, clip_s: float
) -> tuple[Run, list[Posted]]:
    """The crowd, with so many uploads under way as long as it speaks."""
    clips = [clip(clip_s, number) for number in range(2 * uploads)]
    speaking = asyncio.create_task(asyncio.to_thread(run_crowd, crowd, folder))
    posted: list[Posted] = []

    async def keep_posting(number: int) -> None:
        while not speaking.done():
            posted.append(await post(url, clips[number]))
            number = (number + uploads) % len(clips)

    async with asyncio.TaskGroup() as group:
        for number in range(uploads):
            group.create_task(keep_posting(number))
    return await speaking, posted


def live_figures(run: Run, posted: Sequence[Posted], folder: Path) -> dict[str, object]:
    """Finals of the streams, and how fast uploads were read meanwhile."""
    finals = run.summary.as_json()["final_after_speech"]  # what never came is null
    span = together(read_logs(folder))
    within_s = sum(each.audio_within(span) for each in posted)
    speed = within_s / (span.end_at - span.begin_at) if posted else None
    return {
        "streams": run.crowd.clients,
        "uploads": len(posted),
        "finals": finals["count"],
        "final_p50_s": finals["p50"],
        "final_p95_s": finals["p95"],
        "never": finals["never"],
        "wer": round(run.summary.wer, 4),
        "dropped_s": run.summary.dropped_s,
        "failed": "; ".join(run.summary.reasons) or 0,
        "late_sends": round(run.late_share, 4),
        "times_real_time": None if speed is None else round(speed, 2),
        "upload_median_s": (
            round(median(each.took_s for each in posted), 2) if posted else None
        ),
    }


def _ratio(beside_s: object, alone_s: object) -> str:
    if isinstance(beside_s, float) and isinstance(alone_s, float) and alone_s > 0:
        return f"{beside_s / alone_s:.2f}"
    return "-"


def live_table(alone: Mapping[str, object], beside: Mapping[str, object]) -> str:
    """Both runs beside each other, and by how much they differ."""
    rows: list[tuple[object, ...]] = []
    for name, without in alone.items():
        given = beside[name]
        is_time = name in ("final_p50_s", "final_p95_s")
        shown = tuple(
            seconds(value) if isinstance(value, float) and is_time else value
            for value in (without, given)
        )
        rows.append((name, *shown, _ratio(given, without) if is_time else ""))
    return table(("", "streams alone", "beside uploads", "ratio"), rows)


# ------------------------------------------------------------------------ all of it


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.uploads",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="tiny.en")
    parser.add_argument("--clips", default="2,10,60", help="seconds, as in 2,10,60")
    parser.add_argument("--repeats", type=int, default=9, help="of each clip")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--duration-s", type=float, default=90.0, help="of the streams")
    parser.add_argument("--uploads", type=int, default=10, help="at a time")
    parser.add_argument("--clip-s", type=float, default=10.0, help="of these uploads")
    parser.add_argument("--out", type=Path, default=Path("uploads.jsonl"))
    arguments = parser.parse_args()
    config = EngineConfig(model=arguments.model)
    weights = model_files.resolve(config, lambda line: None)
    facts = provenance("uploads", model=arguments.model, weights=model_hash(weights))
    port = free_port()
    flags = ("--model", arguments.model, "--max-uploads", str(arguments.uploads))
    contender = ours("whisper-live", *flags, http_port=port)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with started(contender, folder / "log") as running:
            url = f"http://127.0.0.1:{port}"
            lengths = [float(each) for each in arguments.clips.split(",") if each]
            clips = [
                asyncio.run(one_by_one(url, length_s, arguments.repeats))
                for length_s in lengths
            ]
            live = _streams(arguments, url, running.url, folder)
    with arguments.out.open("a") as out:
        for result in (*clips, *live):
            out.write(json.dumps({**facts, **result}) + "\n")
    if clips:
        print(table(list(clips[0]), [list(row.values()) for row in clips]))
    if live:
        print(live_table(*live))


def _streams(
    arguments: argparse.Namespace, url: str, socket_url: str, folder: Path
) -> list[dict[str, object]]:
    """The streams alone, then the same beside uploads."""
    if not arguments.streams:
        return []
    crowd = Crowd(
        clients=arguments.streams,
        dialogue=Dialogue(socket_url, chunk_s=0.1),
        speech=Speech(arguments.duration_s, 0.45),
    )
    results = []
    for uploads in (0, arguments.uploads):
        logs = folder / f"beside-{uploads}"
        working = streams_beside(
            url, crowd, logs, uploads=uploads, clip_s=arguments.clip_s
        )
        run, posted = asyncio.run(working)
        results.append(live_figures(run, posted, logs))
    return results


if __name__ == "__main__":
    main()
