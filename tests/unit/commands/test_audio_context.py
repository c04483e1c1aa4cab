"""How short a context is safe, on recordings and on made-up readings."""

from __future__ import annotations

import numpy as np

from whisper_live.commands.audio_context import (
    FLOORS,
    Reading,
    advise,
    cut_utterances,
    read_with,
)
from whisper_live.testing.marks import write_speech
from whisper_live.testing.oracle import OracleDetector, OracleEngine

SAID = ("turn on the light", "what time is it", " ".join(["one"] * 193))


def reading(floor: str, *texts: str) -> Reading:
    return Reading(floor, texts, 1.0)


def test_words_changed_are_counted_against_the_full_context() -> None:
    full = reading("full", *SAID)
    assert reading("5", "Turn on the light.", *SAID[1:]).changed(full) == 0.0
    assert reading("5", "turn of the", *SAID[1:]).changed(full) == 2 / 201
    assert reading("5").changed(reading("full")) == 0.0


def test_the_advice_is_the_shortest_floor_before_anything_goes_wrong() -> None:
    full = reading("full", *SAID)
    fine = reading("15", *SAID)
    one_of_201 = reading("10", "turn off the light", *SAID[1:])  # 0.4975 %: tolerated
    bad = reading("8", "turn off that light", *SAID[1:])
    lucky = reading("5", *SAID)
    assert advise([full, fine, one_of_201, bad, lucky]) == "10"
    assert advise([full, bad]) == "full"
    assert FLOORS[0] == "full"


async def test_utterances_are_cut_out_and_read_one_by_one() -> None:
    groups = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    samples, _ = write_speech(groups, pause_s=1.0)
    utterances = cut_utterances(samples[:-100], OracleDetector())
    assert [samples.dtype for samples in utterances] == [np.dtype("float32")] * 3
    engine = OracleEngine(max_batch=2)
    result = await read_with(engine, "full", utterances, "en")
    assert result.texts == (" w1 w2 w3", " w4", " w5 w6 w7 w8 w9")
