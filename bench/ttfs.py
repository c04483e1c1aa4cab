"""Time to final segment over the realtime port, as Pipecat defines it (TTFS).

From the end of speech, which is where the client's detector heard it last, to the last
transcript of the utterance.  ``FOLDER`` has recordings with manifests, as
``bench.quality.real`` reads them; those in English of 1.5 to 10 s are said one after
the other, again from the first where there are too few.  A client commits 0.2 s after
the end of speech, as Pipecat does by default (``stop_secs``), or leaves the end to the
server (``server_vad``).  A line of JSON for each run, and a table.

    python -m bench.ttfs FOLDER
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bench.capacity.servers import free_port, ours, started
from bench.quality.real.recordings import read_manifests
from bench.quality.real.scoring import units
from bench.report import model_hash, provenance, seconds, table
from bench.wyoming.commands import Command, command
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.config.model import EngineConfig
from whisper_live.inference import model_files
from whisper_live.testing.load.summary import Percentiles
from whisper_live.text.wer import word_errors

__all__ = ["Talk", "figures", "schedule"]

_RATE = 24_000
_CHUNK_S = 0.05  # as LiveKit's frames; Pipecat's are of 20 ms
_STOP_S = 0.2  # of silence until Pipecat's detector says that speech has ended
_QUIET_S = 2.0  # between utterances; who has no text by then is waited for all the same
_PATIENCE_S = 20.0  # behind the last one
_STAGGER_S = 0.7  # between the first utterances of those at once
_SHORTEST_S, _LONGEST_S = 1.5, 10.0
_ITEM = "conversation.item.input_audio_transcription"
_BUFFER = "input_audio_buffer"


@dataclass(slots=True)
class Talk:
    """One client's utterances in a row, and what it was told of them.

    Times are seconds of its audio, which is sent in real time from ``began`` on.
    """

    said: Sequence[Command]
    commits: bool
    began: float = 0.0
    starts_s: list[float] = field(default_factory=list)
    items: dict[str, int] = field(default_factory=dict)  # item to utterance
    texts: list[list[str]] = field(default_factory=list)  # of each utterance
    told_s: list[float] = field(default_factory=list)  # of each, the last one
    failure: str = ""
    _commits: int = 0

    def __post_init__(self) -> None:
        at_s = 0.0
        for each in self.said:
            self.starts_s.append(at_s)
            at_s += each.end_s + _QUIET_S
            self.texts.append([])
            self.told_s.append(math.inf)

    def take(self, event: dict[str, Any], at_s: float) -> None:
        """What the server says, and when."""
        match event["type"]:
            case "input_audio_buffer.speech_started":
                started_s = event["audio_start_ms"] / 1000
                begun = sum(start_s <= started_s + 0.5 for start_s in self.starts_s)
                self.items[event["item_id"]] = max(begun - 1, 0)
            case "input_audio_buffer.committed" if self.commits:
                self.items[event["item_id"]] = self._commits
                self._commits += 1
            case kind if kind == f"{_ITEM}.completed" and event["transcript"].strip():
                number = self.items[event["item_id"]]
                self.texts[number].append(event["transcript"])
                self.told_s[number] = at_s
            case kind if kind == f"{_ITEM}.failed" or kind == "error":
                self.failure = str(event["error"].get("code"))

    @property
    def is_told(self) -> bool:
        """Whether each utterance has text."""
        return all(map(math.isfinite, self.told_s))

    @property
    def ttfs_s(self) -> list[float]:
        """Of each utterance; ``math.inf`` where no text came."""
        ends_s = (s + each.end_s for s, each in zip(self.starts_s, self.said))
        return [told - end for told, end in zip(self.told_s, ends_s)]


def schedule(talk: Talk) -> list[tuple[float, bytes | None]]:
    """When each chunk is due, in order; None is a commit."""
    plan: list[tuple[float, bytes | None]] = []
    step = round(_CHUNK_S * _RATE)
    sent = 0  # samples at 24 kHz
    for start_s, each in zip(talk.starts_s, talk.said):
        length = round((each.end_s + _QUIET_S) * SAMPLE_RATE)
        data = pcm_24_khz(each.samples[:length])
        commit_at = round((start_s + each.end_s + _STOP_S) * _RATE)
        for at in range(0, len(data), 2 * step):
            piece = data[at : at + 2 * step]
            is_before, sent = sent < commit_at, sent + len(piece) // 2
            plan.append((sent / _RATE, piece))
            if talk.commits and is_before and sent >= commit_at:
                plan.append((sent / _RATE, None))
    return plan


def pcm_24_khz(samples: Samples) -> bytes:
    """16-bit samples at 24 kHz of those at 16 kHz, exact up to 8 kHz."""
    whole = samples[: len(samples) // 2 * 2]
    raised = np.fft.irfft(np.fft.rfft(whole), len(whole) * 3 // 2) * 1.5
    return (np.clip(raised, -1, 1) * 32767).round().astype("<i2").tobytes()


# ------------------------------------------------------------------------- one client


async def hold(url: str, talk: Talk, *, after_s: float) -> Talk:
    """Say all of it to the server."""
    plan = schedule(talk)
    await asyncio.sleep(after_s)
    async with connect(url, max_size=None, compression=None) as socket:
        audio: dict[str, Any] = {
            "format": {"type": "audio/pcm", "rate": _RATE},
            "transcription": {"model": "whisper-1", "language": "en"},
            "turn_detection": None if talk.commits else {"type": "server_vad"},
        }
        session = {"type": "transcription", "audio": {"input": audio}}
        await _send(socket, "session.update", session=session)
        talk.began = time.monotonic()
        listening = asyncio.create_task(_listen(socket, talk))
        try:
            await _say(socket, talk, plan)
            until = time.monotonic() + _PATIENCE_S
            while not talk.is_told and time.monotonic() < until:
                await asyncio.sleep(0.1)
        except ConnectionClosed:
            pass
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    return talk


async def _say(
    socket: ClientConnection, talk: Talk, plan: Sequence[tuple[float, bytes | None]]
) -> None:
    for due_s, piece in plan:
        await asyncio.sleep(max(talk.began + due_s - time.monotonic(), 0))
        if piece is None:
            await _send(socket, f"{_BUFFER}.commit")
        else:
            audio = base64.b64encode(piece).decode()
            await _send(socket, f"{_BUFFER}.append", audio=audio)


async def _listen(socket: ClientConnection, talk: Talk) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            event = json.loads(await socket.recv())
            talk.take(event, time.monotonic() - talk.began)


async def _send(socket: ClientConnection, kind: str, **content: Any) -> None:
    await socket.send(json.dumps({"type": kind, **content}))


# ------------------------------------------------------------------------ all of it


async def run(
    url: str, said: Sequence[Command], streams: int, *, commits: bool
) -> list[Talk]:
    """So many clients at once, who share the utterances."""
    talks = [Talk(said[number::streams], commits) for number in range(streams)]
    return await asyncio.gather(
        *[
            hold(url, talk, after_s=number * _STAGGER_S)
            for number, talk in enumerate(talks)
        ]
    )


def figures(talks: Sequence[Talk]) -> dict[str, object]:
    """TTFS in seconds, word errors, and how many utterances had no text."""
    times = [each for talk in talks for each in talk.ttfs_s]
    told = Percentiles.of(filter(math.isfinite, times))
    errors = words = 0
    for talk in talks:
        for said, texts in zip(talk.said, talk.texts, strict=True):
            expected = units(said.text, "en")
            errors += word_errors(expected, units(" ".join(texts), "en"))
            words += len(expected)
    marks = {"p50_s": told.p50, "p95_s": told.p95, "p99_s": told.p99}
    return {
        "utterances": len(times),
        **{name: _rounded(value) for name, value in marks.items()},
        "worst_s": _rounded(max(filter(math.isfinite, times), default=None)),
        "no_text": sum(map(math.isinf, times)),
        "wer": round(errors / max(words, 1), 4),
        "failures": "; ".join(sorted({t.failure for t in talks if t.failure})) or 0,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def utterances(folder: Path, count: int) -> list[Command]:
    """So many; the folder's, and again from the first where it has fewer."""
    found = [
        each
        for each in read_manifests(folder)
        if each.language == "en"
        and each.kind == "read"
        and each.texts
        and _SHORTEST_S <= each.seconds <= _LONGEST_S
    ]
    if not found:
        raise SystemExit(f"{folder} has no English recordings of 1.5 to 10 s")
    known = [command(each) for each in found[:count]]
    return list(itertools.islice(itertools.cycle(known), count))


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ttfs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--model", default="tiny.en")
    parser.add_argument("--count", type=int, default=200, help="of utterances")
    parser.add_argument("--streams", default="1,8", help="clients at once, as in 1,8")
    parser.add_argument(
        "--ends", default="commit", help="who ends them: commit, server_vad or both"
    )
    parser.add_argument("--out", type=Path, default=Path("ttfs.jsonl"))
    arguments = parser.parse_args()
    said = utterances(arguments.folder, arguments.count)
    config = EngineConfig(model=arguments.model)
    weights = model_files.resolve(config, lambda line: None)
    facts = provenance("ttfs", model=arguments.model, weights=model_hash(weights))
    rows = []
    for ends in arguments.ends.split(","):
        for streams in map(int, arguments.streams.split(",")):
            told = {"ends": ends, "streams": streams} | _measured(
                arguments.model, said, streams, commits=ends == "commit"
            )
            with arguments.out.open("a") as out:
                out.write(json.dumps({**facts, **told}) + "\n")
            print(told, flush=True)
            rows.append([seconds(v) if _is_time(k) else v for k, v in told.items()])
    print(table(list(told), rows))


def _is_time(name: str) -> bool:
    return name.endswith("_s")


def _measured(
    model: str, said: Sequence[Command], streams: int, *, commits: bool
) -> dict[str, object]:
    port = free_port()
    contender = ours("whisper-live", "--model", model, http_port=port)
    url = f"ws://127.0.0.1:{port}/v1/realtime?intent=transcription"
    with tempfile.TemporaryDirectory() as folder:
        with started(contender, Path(folder, "log")):
            asyncio.run(run(url, said[:1], 1, commits=commits))  # warm
            return figures(asyncio.run(run(url, said, streams, commits=commits)))


if __name__ == "__main__":
    main()
