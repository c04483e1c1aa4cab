"""The Python client against a whole server, through connections that break."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import sites
from tests.e2e.relay import Relay
from tests.e2e.support import quick, running
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client import (
    Closed,
    Disconnected,
    Event,
    Gap,
    LiveClient,
    Reconnected,
    Segment,
    TranscriptionClient,
)
from whisper_live.client.chunks import webm_chunks
from whisper_live.testing.marks import NumberedWord, read_numbers, write_speech

CHUNK = SAMPLE_RATE // 4


async def chunks(samples: Samples) -> AsyncIterator[Samples]:
    for at in range(0, len(samples), CHUNK):
        yield samples[at : at + CHUNK]


# Of a server that resumes, and one that never does.
RESUME_S = {"resumed": 60.0, "anew": 0.0}
resuming = pytest.mark.parametrize("resume_s", RESUME_S.values(), ids=RESUME_S.keys())


def went_on(events: list[Event], resume_s: float) -> bool:
    """Whether each connection after the first was of the kind that it should be."""
    kinds = [event.resumed for event in events if isinstance(event, Reconnected)]
    return bool(kinds) and set(kinds) == {resume_s > 0}


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


@resuming
@pytest.mark.parametrize("seed", [1])
async def test_a_webm_stream_goes_on_between_two_of_its_blocks(
    seed: int, resume_s: float
) -> None:
    chance = random.Random(seed)
    spoken = [[n + k for k in range(chance.randint(1, 3))] for n in range(0, 45, 3)]
    samples, words = write_speech(spoken, variant="robust")
    lives = [9_000, *(chance.randint(100, 60_000) for _ in range(5))]
    events: list[Event] = []
    config = quick(resume_s=resume_s)
    async with running(config) as server, Relay.running(server.port, lives) as relay:
        url = f"ws://127.0.0.1:{relay.port}"
        client = LiveClient(
            url, language="en", audio_format="webm", live=False, sleep=at_once
        )
        async with client, client.feeding(as_webm(samples)):
            async for event in client:
                events.append(event)
    check(events, words, within_s=0.06)
    assert went_on(events, resume_s) and relay.connections > 3


@pytest.mark.parametrize(
    ("audio_format", "resume_s"), [("float32", 0.0), ("int16", 60.0)]
)
async def test_cut_connections_lose_and_double_no_word(
    audio_format: str, resume_s: float
) -> None:
    samples, words = write_speech([[n, n + 1, n + 2] for n in range(0, 60, 3)])
    events: list[Event] = []
    config = quick(resume_s=resume_s)
    async with running(config) as server, Relay.running(server.port) as relay:
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
    assert went_on(events, resume_s)
    cuts = sum(isinstance(event, Disconnected) for event in events)
    assert 1 <= cuts <= relay.connections - 1


@resuming
@pytest.mark.parametrize("seed", [1])
async def test_connections_that_break_anywhere_lose_and_double_no_word(
    seed: int, resume_s: float
) -> None:
    """In the handshake, in a message, in the answer, or at the end."""
    chance = random.Random(seed)
    spoken = [[n + k for k in range(chance.randint(1, 5))] for n in range(0, 100, 5)]
    pauses = [chance.choice([0.3, 0.7, 1.2]) for _ in spoken]
    samples, words = write_speech(spoken, pause_s=pauses)
    lives = [50_000, *(chance.randint(100, 250_000) for _ in range(9))]
    events: list[Event] = []
    config = quick(resume_s=resume_s)
    async with running(config) as server, Relay.running(server.port, lives) as relay:
        url = f"ws://127.0.0.1:{relay.port}"
        client = LiveClient(
            url, language="en", audio_format="int16", live=False, sleep=at_once
        )
        async with client, client.feeding(chunks(samples)):
            async for event in client:
                events.append(event)
    check(events, words)
    assert went_on(events, resume_s) and relay.connections > 5


@pytest.mark.parametrize("hands_over", [False, True])
async def test_a_restart_in_mid_word_loses_and_doubles_no_word(
    hands_over: bool, tmp_path: Path
) -> None:
    """The old server says what it has heard, or hands it over to the new one."""
    config = quick(state_dir=str(tmp_path) if hands_over else "")
    samples, words = write_speech([[1, 2], [3, 4, 5, 6, 7, 8], [9]])
    middle = (words[4].start + words[4].end) // 2
    events: list[Event] = []
    async with Relay.running(0) as relay, contextlib.AsyncExitStack() as new:
        async with contextlib.AsyncExitStack() as old:
            relay.to_port = (await old.enter_async_context(running(config))).port
            client = LiveClient(
                f"ws://127.0.0.1:{relay.port}", language="en", sleep=at_once
            )
            await new.enter_async_context(client)
            await client.send(samples[:middle])
            while not isinstance(event := await anext(client), Segment):
                events.append(event)
            events.append(event)
            stopping = asyncio.create_task(old.aclose())
            while not isinstance(event := await anext(client), Disconnected):
                events.append(event)
            await stopping
        relay.to_port = (await new.enter_async_context(running(config))).port
        await client.send(samples[middle:])
        await client.end()
        events += [event async for event in client]
        await client.close()
    check(events, words)
    assert Reconnected(resumed=hands_over) in events


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
