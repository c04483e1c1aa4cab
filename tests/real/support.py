"""Real Whisper behind a server in this process, and what tests say to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.decode_media import FRAGMENTED, mux
from tests.e2e.support import Client, client, quick, running
from whisper_live.audio import SAMPLE_RATE, Samples, s_to_samples
from whisper_live.client.chunks import pcm_chunks, webm_chunks
from whisper_live.config.model import SpeechConfig
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine
from whisper_live.inference.engine import Again, EngineInfo
from whisper_live.inference.types import Outcome, Request
from whisper_live.media.files import read_file
from whisper_live.server.server import Server
from whisper_live.testing.recordings import shipped
from whisper_live.text.wer import plain_words, word_errors
from whisper_live.vad.whisper_boost import speech_detectors

__all__ = [
    "Excerpt",
    "FORMATS",
    "Kept",
    "assert_words",
    "encode",
    "excerpt",
    "hear",
    "message_bytes",
    "real_server",
    "samples_of",
    "shared_file",
    "text_of",
]

_ROOT = Path(__file__).parents[2]
_MESSAGE_BYTES = 16_384
_BEHIND_S = 0.1

FORMATS = ("webm", "ogg", "mp4", "float32", "int16")


class Kept:
    """A loaded engine that several servers have, one after the other.

    A server closes its engine; loading one takes seconds.
    """

    def __init__(self, engine: CTranslate2Engine) -> None:
        self._engine = engine

    @property
    def info(self) -> EngineInfo:
        """See ``Engine``."""
        return self._engine.info

    def prepare(self, request: Request) -> Request:
        """See ``Preparing``."""
        return self._engine.prepare(request)

    def forget(self, session: str) -> None:
        """See ``Forgetting``."""
        self._engine.forget(session)

    async def transcribe(self, batch: Sequence[Request]) -> list[Outcome | Again]:
        """See ``Engine``."""
        return await self._engine.transcribe(batch)

    async def close(self) -> None:
        """Keep it."""


@contextlib.asynccontextmanager
async def real_server(engine: Kept) -> AsyncIterator[Server]:
    """A server as ``serve`` runs it, which reads audio as fast as it comes."""
    detectors = speech_detectors(SpeechConfig())
    async with running(quick(), engine=engine, detector=detectors) as server:
        yield server


# ----------------------------------------------------------------------------- audio


def shared_file(name: str) -> Path:
    """A recording that is not part of the repository; skips the test without it.

    They lie in ``shared`` beside the checkout, or where ``WHISPER_LIVE_SHARED`` says.
    """
    shared = os.environ.get("WHISPER_LIVE_SHARED") or _ROOT.parent / "shared"
    path = Path(shared) / name
    if not path.is_file():
        pytest.skip(f"there is no {path}; WHISPER_LIVE_SHARED names the folder")
    return path


def samples_of(path: Path) -> Samples:
    """A recording as 16 kHz mono."""
    return np.concatenate(list(read_file(path)))


def encode(samples: Samples, audio_format: str) -> bytes:
    """The bytes that a client sends of 16 kHz ``samples`` in one of ``FORMATS``."""
    row = samples[None]
    match audio_format:
        case "webm":
            return b"".join(chunk.data for chunk in webm_chunks([samples]))
        case "ogg":
            return mux("ogg", "libopus", row, rate=SAMPLE_RATE, encoder_rate=48_000)
        case "mp4":
            return mux("mp4", "aac", row, rate=SAMPLE_RATE, options=FRAGMENTED)
        case _:
            return b"".join(c.data for c in pcm_chunks([samples], audio_format))


def message_bytes(data: bytes) -> Iterable[bytes]:
    """``data`` in messages."""
    return (
        data[at : at + _MESSAGE_BYTES] for at in range(0, len(data), _MESSAGE_BYTES)
    )


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a recording, and what is said in it."""

    samples: Samples
    text: str


def excerpt(*, sentences: int, without_words: int = 0) -> Excerpt:
    """The first sentences of our recording, without the last words of the last one.

    Ends a little behind its last word.
    """
    recording = shipped("meeting")
    words = [word for sentence in recording.sentences[:sentences] for word in sentence]
    words = words[: len(words) - without_words]
    end = s_to_samples(words[-1].end_s + _BEHIND_S)
    return Excerpt(
        samples_of(recording.audio)[:end], " ".join(word.text for word in words)
    )


# --------------------------------------------------------------------------- sessions


async def hear(
    server: Server, samples: Samples, audio_format: str = "float32", **hello: Any
) -> Client:
    """A whole session; its client has all that it was told.

    ``hello`` are keys of the handshake; a ``language`` of None has it detected.
    """
    data = encode(samples, audio_format)
    keys: dict[str, Any] = {"uid": "u", "language": "en", "task": "transcribe"}
    keys |= {"send_last_n_segments": 0, "audio_format": audio_format, **hello}
    async with client(server) as peer:
        await peer.send(json.dumps(keys))
        rest = asyncio.create_task(peer.rest())
        for message in message_bytes(data):
            await peer.send(message)
        await peer.end()
        assert await rest == 1000
        assert not peer.dropped
        return peer


def text_of(peer: Client) -> str:
    """All completed text, in the order of its times."""
    ordered = sorted(peer.completed.items(), key=lambda item: float(item[0]))
    return "".join(text for _, text in ordered)


def assert_words(heard: str, said: str, *, most_wrong: float = 0.0) -> None:
    """At most this share of the words is wrong; case and punctuation do not count."""
    expected = plain_words(said)
    errors = word_errors(expected, plain_words(heard))
    assert errors <= most_wrong * len(expected), f"{errors} wrong in: {heard}"
