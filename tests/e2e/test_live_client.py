"""The Python client against a whole server, through connections that break."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import sites
from tests.e2e.relay import Relay
from tests.e2e.support import running
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client import (
    Closed,
    Disconnected,
    Event,
    Gap,
    LiveClient,
    Segment,
    TranscriptionClient,
)
from whisper_live.client.chunks import webm_chunks
from whisper_live.testing.marks import NumberedWord, read_numbers, write_speech

CHUNK = SAMPLE_RATE // 4


async def chunks(samples: Samples) -> AsyncIterator[Samples]:
    for at in range(0, len(samples), CHUNK):
        yield samples[at : at + CHUNK]


async def at_once(seconds: float) -> None:
    """Waits for nothing."""


def check(
    events: list[Event], words: list[NumberedWord], *, within_s: float = 0.002
) -> None:
    """Every word came once, in order and at its place; nothing was given up."""
    segments = [event for event in events if isinstance(event, Segment)]
    heard = [number for each in segments for number in read_numbers(each.text)]
    assert heard == [word.number for word in words]
    assert not [event for event in events if isinstance(event, Gap)]
    by_number = {word.number: word for word in words}
    for each in segments:
        numbers = read_numbers(each.text)
        first, last = by_number[numbers[0]], by_number[numbers[-1]]
        assert each.start_s <= first.start / SAMPLE_RATE + within_s
        assert last.end / SAMPLE_RATE - within_s <= each.end_s


async def as_webm(samples: Samples) -> AsyncIterator[bytes]:
    for chunk in webm_chunks([samples]):
        yield chunk.data


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_webm_stream_goes_on_between_two_of_its_blocks(seed: int) -> None:
    chance = random.Random(seed)
    spoken = [[n + k for k in range(chance.randint(1, 3))] for n in range(0, 45, 3)]
    samples, words = write_speech(spoken, variant="robust")
    lives = [9_000, *(chance.randint(100, 60_000) for _ in range(5))]
    events: list[Event] = []
    async with running() as server, Relay.running(server.port, lives) as relay:
        url = f"ws://127.0.0.1:{relay.port}"
        client = LiveClient(
            url, language="en", audio_format="webm", live=False, sleep=at_once
        )
        async with client, client.feeding(as_webm(samples)):
            async for event in client:
                events.append(event)
    check(events, words, within_s=0.06)
    assert relay.connections > 3


@pytest.mark.parametrize("audio_format", ["float32", "int16"])
async def test_cut_connections_lose_and_double_no_word(audio_format: str) -> None:
    samples, words = write_speech([[n, n + 1, n + 2] for n in range(0, 60, 3)])
    events: list[Event] = []
    async with running() as server, Relay.running(server.port) as relay:
        url = f"ws://127.0.0.1:{relay.port}"
        async with (
            LiveClient(
                url,
                language="en",
                audio_format=audio_format,
                live=False,
                sleep=at_once,
            ) as client,
            client.feeding(chunks(samples)),
        ):
            async for event in client:
                events.append(event)
                heard = sum(isinstance(each, Segment) for each in events)
                if isinstance(event, Segment) and heard % 3 == 0:
                    relay.cut()
    assert events[-1] == Closed()
    check(events, words)
    cuts = sum(isinstance(event, Disconnected) for event in events)
    assert 1 <= cuts <= relay.connections - 1


@pytest.mark.parametrize("seed", [1, 2])
async def test_connections_that_break_anywhere_lose_and_double_no_word(
    seed: int,
) -> None:
    """In the handshake, in a message, in the answer, or at the end."""
    chance = random.Random(seed)
    spoken = [[n + k for k in range(chance.randint(1, 5))] for n in range(0, 100, 5)]
    pauses = [chance.choice([0.3, 0.7, 1.2]) for _ in spoken]
    samples, words = write_speech(spoken, pause_s=pauses)
    lives = [50_000, *(chance.randint(100, 250_000) for _ in range(9))]
    events: list[Event] = []
    async with running() as server, Relay.running(server.port, lives) as relay:
        url = f"ws://127.0.0.1:{relay.port}"
        client = LiveClient(
            url, language="en", audio_format="int16", live=False, sleep=at_once
        )
        async with client, client.feeding(chunks(samples)):
            async for event in client:
                events.append(event)
    check(events, words)
    assert relay.connections > 5


@pytest.mark.slow
async def test_a_script_for_whisperlive_gets_every_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    samples, words = write_speech([[1, 2], [3]], lead_s=0.2, pause_s=0.6)
    sites.encoded(tmp_path / "a.wav", "pcm_f32le", samples)
    async with running() as server:
        script = TranscriptionClient(
            "127.0.0.1", server.port, lang="en", log_transcription=False
        )
        text = await asyncio.to_thread(script, "a.wav")
    assert read_numbers(text) == [word.number for word in words]
    cues = re.findall(r"--> \S+\n(.*)\n\n", (tmp_path / "output.srt").read_text())
    assert " ".join(cues) == text
