"""Recordings in every form in which clients send them: the words are right."""

from __future__ import annotations

import pytest

from tests.real.support import (
    FORMATS,
    Kept,
    assert_words,
    hear,
    real_server,
    samples_of,
    shared_file,
    text_of,
)
from whisper_live.testing.recordings import shipped

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

JFK = (
    "And so my fellow Americans, ask not what your country can do for you, ask what "
    "you can do for your country."
)


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_our_recording_is_read_right(tiny: Kept, audio_format: str) -> None:
    recording = shipped("meeting")
    samples = samples_of(recording.audio)
    async with real_server(tiny) as server:
        peer = await hear(server, samples, audio_format)
    assert_words(text_of(peer), recording.text, most_wrong=0.02)


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_kennedy_is_read_right(tiny: Kept, audio_format: str) -> None:
    """``tiny.en`` reads "And so am I fellow Americans" in most forms: two errors."""
    samples = samples_of(shared_file("audio/jfk.flac"))
    async with real_server(tiny) as server:
        peer = await hear(server, samples, audio_format)
    assert_words(text_of(peer), JFK, most_wrong=0.1)
    assert text_of(peer).lower().rstrip(".").endswith("can do for your country")
