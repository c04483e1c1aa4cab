"""The voice loop with a real server's turns; model and voice are stand-ins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.e2e.support import quick, running
from tests.unit.voice.standins import Bench, Model, Script, Voice
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client import LiveClient
from whisper_live.testing.marks import write_speech
from whisper_live.voice.source import recording


class Storyteller(Model):
    """Tells a story that lasts for minutes, unless the question is ``w4``."""

    def script(self, question: str) -> Script:
        if question == "w4":
            return ["Done."]
        return [part for n in range(1000) for part in (f"Sentence {n}. ", 0.01)]


async def test_one_answer_to_a_whole_turn_and_none_behind_an_interruption() -> None:
    """What the speaker says next waits for the answer, so that no clock decides."""
    bench = Bench(
        Storyteller(),
        Voice(0.0, sound_s=0.2),
        most_characters=1_000_000,
        sink=lambda pcm, rate: None,
    )

    def pieces() -> Iterator[Samples]:
        yield write_speech([[1, 2], [3]], pause_s=0.6)[0]
        while len(bench.seen.answers) < 3:  # two sentences were heard to their end
            yield np.zeros(SAMPLE_RATE // 10, np.float32)
        yield write_speech([[4]])[0]

    async with running(quick()) as server:
        client = LiveClient(
            f"ws://127.0.0.1:{server.port}",
            language="en",
            latency="balanced",  # a second of silence ends a turn
            turn_events=True,
        )
        async with client, client.feeding(recording(pieces())):
            await bench.loop.run(client)
    question, answer, interruption = bench.model.asked[-1]
    assert (question.content, interruption.content) == ("w1 w2 w3", "w4")
    assert answer.content.startswith("Sentence 0. Sentence 1. Sentence 2.")
    assert bench.seen.lines[:2] == ["w1 w2 w3", "Sentence 0."]
    assert bench.seen.lines[-2:] == ["w4", "Done."]
    assert bench.seen.lines.count("w1 w2 w3") == 1
    assert bench.count("turns_total", outcome="interrupted") == 1
    assert bench.count("turns_total", outcome="answered") == 1
    assert bench.model.under_way == 0
