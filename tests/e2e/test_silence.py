"""Silence that a client tells of instead of sending it."""

from __future__ import annotations

import pytest

from tests.e2e.support import client, quick, running
from whisper_live.testing.marks import write_speech

FIRST, SECOND = (write_speech([words], pause_s=0.0)[0] for words in ([1, 2], [3, 4]))


async def starts(silence_s: float, *, told: bool) -> tuple[list[int], list[float]]:
    """The words of two utterances with silence between them, and where they begin."""
    async with running(quick()) as server, client(server) as peer:
        await peer.hello(word_timestamps=True)
        await peer.next()
        await peer.say(FIRST)
        left = silence_s
        while left > 0:
            piece, left = min(left, 0.25), left - 0.25
            if told:
                await peer.send(f'{{"type": "silence", "seconds": {piece}}}')
            else:
                await peer.say(FIRST[:1].repeat(round(piece * 16_000)) * 0)
        await peer.say(SECOND)
        await peer.end()
        assert await peer.rest() == 1000
        segments = [m["segments"] for m in peer.messages if "segments" in m][-1]
        return peer.words, [
            float(word["start"]) for each in segments for word in each["words"]
        ]


@pytest.mark.parametrize("silence_s", [0.8, 5.3])
async def test_words_and_their_times_are_those_of_real_silence(
    silence_s: float,
) -> None:
    words, times = await starts(silence_s, told=True)
    sent_words, sent_times = await starts(silence_s, told=False)
    assert words == sent_words == [1, 2, 3, 4]
    assert times == pytest.approx(sent_times, abs=0.05)


async def test_speech_ends_in_silence_that_is_only_told() -> None:
    async with running(quick()) as server, client(server) as peer:
        await peer.hello(turn_events=True)
        await peer.next()
        await peer.say(FIRST)
        for _ in range(8):
            await peer.send('{"type": "silence", "seconds": 0.25}')
        while (await peer.next()).get("turn_event") != "turn_ended":
            pass
        page = server.metrics.render()
    assert b'audio_seconds_total{codec="silence"}' in page


async def test_silence_of_no_use_ends_its_session_and_is_counted() -> None:
    async with running(quick()) as server:
        async with client(server) as peer, client(server) as neighbour:
            for each in (peer, neighbour):
                await each.hello()
                await each.next()
            await peer.say(FIRST)
            await peer.send('{"type": "silence", "seconds": 1e9}')
            assert await peer.rest() == 1002
            assert peer.words == [1, 2], "what was said before is told"
            said = "seconds of silence must be above 0 and at most 30"
            assert said in peer.messages[-1]["message"]
            await neighbour.say(SECOND)
            await neighbour.end()
            assert await neighbour.rest() == 1000 and neighbour.words == [3, 4]
        assert b'errors_total{type="silence"} 1.0' in server.metrics.render()
