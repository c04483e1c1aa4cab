"""What the tests of the page have in common: what is said, servers, and its parts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import wave
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from whisper_live.audio import SAMPLE_RATE, Samples, s_to_samples
from whisper_live.config.model import (
    AccessConfig,
    Config,
    EngineConfig,
    LimitConfig,
    ListenConfig,
)
from whisper_live.media.files import read_file
from whisper_live.server.process import load_engine
from whisper_live.server.server import Server
from whisper_live.testing.recordings import shipped

__all__ = ["Said", "Tab", "need", "pictures", "said", "serving", "wait_for"]

_NOISE = 5e-4  # -66 dB: a room is never quite silent
_MARGIN_S = 0.15  # around a sentence of the recording


@dataclass(frozen=True, slots=True)
class Said:
    """A recording for a microphone, and what is said in it."""

    audio: Path
    sentences: tuple[str, ...]
    starts_s: tuple[float, ...]  # of the sentences
    silent: float  # the share of it that is none of theirs


class Tab(Protocol):
    """A page in some browser."""

    requested: list[str]
    complaints: list[str]

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression; a promise is awaited."""

    async def picture(self, path: Path) -> None:
        """What is seen of it, as a PNG."""


def need(program: str | None, name: str) -> None:
    """Skip without a program, but not where all that must pass is run."""
    if program is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed, and CI must not do without", False)
    if program is None:
        pytest.skip(f"{name} is not installed")


def said(path: Path, pauses_s: Sequence[float], name: str = "demo") -> Said:
    """A recording's first sentences, so much silence before each and behind."""
    recording = shipped(name)
    samples = np.concatenate(list(read_file(recording.audio)))
    pieces: list[Samples] = []
    starts, length, spoken = [], 0.0, 0.0
    sentences = recording.sentences[: len(pauses_s) - 1]
    for pause_s, words in zip(pauses_s, sentences, strict=False):
        begin, end = words[0].start_s - _MARGIN_S, words[-1].end_s + _MARGIN_S
        piece = samples[s_to_samples(begin) : s_to_samples(end)]
        pieces += [np.zeros(s_to_samples(pause_s), np.float32), piece]
        starts.append(length + pause_s + _MARGIN_S)
        length += pause_s + len(piece) / SAMPLE_RATE
        spoken += words[-1].end_s - words[0].start_s
    pieces.append(np.zeros(s_to_samples(pauses_s[-1]), np.float32))
    length += pauses_s[-1]
    whole = np.concatenate(pieces)
    whole += np.random.default_rng(1).normal(0, _NOISE, len(whole)).astype(np.float32)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((whole.clip(-1, 1) * 32767).astype("<i2").tobytes())
    texts = recording.text.splitlines()[: len(sentences)]
    return Said(path, tuple(texts), tuple(starts), 1 - spoken / length)


@contextlib.asynccontextmanager
async def serving(
    model: str = "demo",
    *,
    http_port: int = -1,
    access: AccessConfig | None = None,
    **limits: Any,
) -> AsyncIterator[Server]:
    """A server with real weights, at any free port or this one."""
    config = Config(
        listen=ListenConfig(port=0, http_port=http_port),
        access=access or AccessConfig(),
        engine=EngineConfig(model=model),
        limits=replace(LimitConfig(), **limits),
    )
    engine, detector = await asyncio.to_thread(load_engine, config, lambda line: None)
    async with Server(config, engine=engine, detector=detector) as server:
        yield server


def pictures(otherwise: Path) -> Path:
    """Where pictures go: ``$PAGE_PICTURES``, to be looked at, or to be forgotten."""
    folder = Path(os.environ.get("PAGE_PICTURES") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def wait_for(tab: Tab, condition: str) -> None:
    """Until an expression is true in the page; the test's timeout is the end of it."""
    await tab.evaluate(f"""new Promise(done => {{
        const look = () => ({condition}) ? done() : setTimeout(look, 50);
        look();
    }})""")


def shown(text: str) -> str:
    """An expression: whether the page has this text among its words, whatever else."""
    return f'document.getElementById("text").textContent.includes({json.dumps(text)})'
