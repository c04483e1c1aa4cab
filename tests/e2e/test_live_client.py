"""The Python client against a whole server, through connections that break."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.e2e.relay import Relay
from tests.e2e.support import running
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client import Closed, Disconnected, Event, LiveClient, Segment
from whisper_live.client.events import Gap
from whisper_live.testing.marks import NumberedWord, read_numbers, write_speech

CHUNK = SAMPLE_RATE // 4


async def chunks(samples: Samples) -> AsyncIterator[Samples]:
    for at in range(0, len(samples), CHUNK):
        yield samples[at : at + CHUNK]


async def at_once(seconds: float) -> None:
    """Waits for nothing."""


def check(events: list[Event], words: list[NumberedWord]) -> None:
    """Every word came once, in order and at its place; nothing was given up."""
    segments = [event for event in events if isinstance(event, Segment)]
    heard = [number for each in segments for number in read_numbers(each.text)]
    assert heard == [word.number for word in words]
    assert not [event for event in events if isinstance(event, Gap)]
    by_number = {word.number: word for word in words}
    for each in segments:
        numbers = read_numbers(each.text)
        first, last = by_number[numbers[0]], by_number[numbers[-1]]
        assert each.start_s <= first.start / SAMPLE_RATE + 0.002
        assert last.end / SAMPLE_RATE - 0.002 <= each.end_s


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
    assert 2 <= cuts <= relay.connections - 1
