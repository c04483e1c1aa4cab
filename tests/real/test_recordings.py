"""Recordings in every form in which clients send them: the words are right."""

from __future__ import annotations

import pytest

from tests.real.support import (
    FORMATS,
    Kept,
    assert_words,
    excerpt,
    hear,
    real_server,
    samples_of,
    shared_file,
    text_of,
)
from whisper_live.testing.load.alignment import align
from whisper_live.testing.recordings import shipped
from whisper_live.text.wer import plain_words

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

JFK = (
    "And so my fellow Americans, ask not what your country can do for you, ask what "
    "you can do for your country."
)


@pytest.mark.parametrize("audio_format", ["webm", "float32"])
async def test_our_recording_is_read_right(tiny: Kept, audio_format: str) -> None:
    recording = shipped("meeting")
    samples = samples_of(recording.audio)
    async with real_server(tiny) as server:
        peer = await hear(server, samples, audio_format)
    assert_words(text_of(peer), recording.text, most_wrong=0.02)


@pytest.mark.parametrize("audio_format", ["ogg", "mp4", "int16"])
async def test_its_beginning_is_read_right(tiny: Kept, audio_format: str) -> None:
    said = excerpt(sentences=4)
    async with real_server(tiny) as server:
        peer = await hear(server, said.samples, audio_format)
    assert_words(text_of(peer), said.text, most_wrong=0.05)


@pytest.mark.parametrize("model", ["tiny", "base"])
async def test_no_word_is_heard_twice(
    model: str, request: pytest.FixtureRequest
) -> None:
    """Whisper may close an answer before the voice ends: 'Friday. day.'"""
    engine: Kept = request.getfixturevalue(model)
    recording = shipped("meeting")
    async with real_server(engine) as server:
        peer = await hear(server, samples_of(recording.audio))
    heard, said = plain_words(text_of(peer)), plain_words(recording.text)
    assert align(heard, said).added == 0


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_kennedy_is_read_right(tiny: Kept, audio_format: str) -> None:
    """``tiny.en`` reads "And so am I fellow Americans" in most forms: two errors."""
    samples = samples_of(shared_file("audio/jfk.flac"))
    async with real_server(tiny) as server:
        peer = await hear(server, samples, audio_format)
    assert_words(text_of(peer), JFK, most_wrong=0.1)
    assert text_of(peer).lower().rstrip(".").endswith("can do for your country")
