"""The last words of an utterance that Whisper answers only the first part of.

In these windows ``base`` closes its answer early; faster-whisper reads on from there.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.real.support import (
    Kept,
    hear,
    real_server,
    samples_of,
    shared_file,
    text_of,
)
from whisper_live.audio import Samples
from whisper_live.client.captions import Captions
from whisper_live.config.model import Config, SpeechConfig
from whisper_live.inference.worker import Worker
from whisper_live.observability.metrics import Metrics
from whisper_live.offline.transcriber import Transcriber
from whisper_live.session.options import SessionOptions
from whisper_live.session.updates import Update
from whisper_live.text.wer import plain_words
from whisper_live.vad.whisper_boost import speech_detectors

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

# Base writes the fifteenth century as digits.
ENDINGS = [
    ("ljspeech/LJ001-0023.flac", ["the", "15th", "century"]),
    ("vctk_autovc/p225_019.flac", ["causes", "the", "rainbows"]),
]


@pytest.mark.parametrize(("name", "last"), ENDINGS)
async def test_live_the_last_words_are_there(
    base: Kept, name: str, last: list[str]
) -> None:
    samples = samples_of(shared_file(f"speech/{name}"))
    async with real_server(base) as server:
        peer = await hear(server, samples)
    assert plain_words(text_of(peer))[-3:] == last


@pytest.mark.parametrize(("name", "last"), ENDINGS)
async def test_offline_the_last_words_are_there(
    base: Kept, name: str, last: list[str]
) -> None:
    text = await transcribe(base, samples_of(shared_file(f"speech/{name}")))
    assert plain_words(text)[-3:] == last


async def transcribe(engine: Kept, samples: Samples) -> str:
    """What ``whisper-live transcribe --language en`` writes."""
    worker = Worker(engine, Config().batch, metrics=Metrics())
    running = asyncio.create_task(worker.run())
    transcriber = Transcriber(Config(), worker, speech_detectors(SpeechConfig()))
    captions = Captions()

    def take(update: Update) -> None:
        captions.take(update)

    options = SessionOptions(language="en")
    await transcriber.transcribe("file", iter([samples]), options, take)
    await worker.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not captions.dropped
    return " ".join(caption.text for caption in captions.completed)
