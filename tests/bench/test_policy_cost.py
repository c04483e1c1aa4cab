"""What the streaming policy costs beside the plain one, counted instead of timed.

The oracle reads the words, and each call is charged by a table: what a model of tiny's
size takes on one core.  Calls take no simulated time, so that both policies read at the
same cadence.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.quality.simulation import Call, Simulation, Stream, plain_policy
from tests.helpers import frames_of, hear_marks
from whisper_live.audio import Samples, samples_to_s
from whisper_live.config.model import Config
from whisper_live.inference.ctranslate2.batch import HOPS_PER_S
from whisper_live.inference.ctranslate2.engine import CONTEXT_HOPS, ROOM_HOPS
from whisper_live.inference.types import Hypothesis, Request, RequestKind
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.testing.marks import (
    account_for,
    read_numbers,
    write_monologue,
    write_speech,
)


class Charged:
    """The oracle; answers at once and writes down what a model would have taken."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def answer(self, batch: Sequence[Request]) -> tuple[list[Hypothesis], float]:
        heard = [hear_marks(request) for request in batch]
        self.seconds += sum(map(charge_s, batch, heard))
        return heard, 0.0

    def forget(self, session: str) -> None:
        """Nothing was kept."""


def charge_s(request: Request, heard: Hypothesis) -> float:
    """Measured with tiny's shape in int8: to 10 % from 2 s to 30 s of audio context."""
    hops = samples_to_s(len(request.audio)) * HOPS_PER_S + ROOM_HOPS
    fitting = (c for c in CONTEXT_HOPS if c >= hops)
    context_s = next(fitting, CONTEXT_HOPS[-1]) / HOPS_PER_S
    words = sum(len(segment.text.split()) for segment in heard.segments)
    tokens = 1.3 * words + 2 * len(heard.segments) + 1
    prompt = 1.3 * len(request.options.prompt.split())
    ms = 5.2 * context_s + 0.32 * context_s**2  # encoder
    ms += 8.0 + 0.12 * prompt + (2.4 + 0.09 * context_s) * tokens
    if request.options.word_timestamps and words:
        ms += 16.0 + 1.1 * context_s
    return ms / 1000


@dataclass(frozen=True)
class Bill:
    """Calls, and engine seconds for each second of audio."""

    calls: int
    finals: int
    engine: float


def bills(samples: Samples, numbers: Sequence[int]) -> tuple[Bill, Bill]:
    """Ours and the plain policy's for a stream of which both must get every word."""

    def stream() -> Stream:
        options = ClientOptions("u", language="en", send_last_n_segments=0)
        return Stream(samples, frames_of(samples).speech, options)

    def bill(engine: Charged, calls: Sequence[Call]) -> Bill:
        kinds = [call.requests[0].kind for call in calls]
        seconds = engine.seconds / samples_to_s(len(samples))
        return Bill(len(calls), kinds.count(RequestKind.FINAL), seconds)

    config = Config()
    ours, plain = Charged(), Charged()
    simulation = Simulation(ours, config, [stream()], workers=1)
    simulation.run()
    last = simulation.streams[0].told[-1].message["segments"]
    text = "".join(segment["text"] for segment in last)
    assert account_for(numbers, read_numbers(text)).clean
    text, calls = plain_policy(plain, stream(), config.stream)
    assert account_for(numbers, read_numbers(text)).clean
    return bill(ours, simulation.calls), bill(plain, calls)


def sentences(pause_s: tuple[float, float]) -> tuple[Samples, list[int]]:
    """Fifteen sentences of one to three seconds."""
    chance, count = random.Random(5), itertools.count()
    spoken = [[next(count) for _ in range(chance.randint(4, 9))] for _ in range(15)]
    pauses = [chance.uniform(*pause_s) for _ in spoken]
    samples, words = write_speech(spoken, pause_s=pauses, word_s=0.25, gap_s=0.1)
    return samples, [word.number for word in words]


def test_short_sentences_leave_little_to_save() -> None:
    """Each reading is of two seconds at least, however few of its words are new.

    What is saved is what the plain policy reads while it waits for the endpoint.
    """
    ours, plain = bills(*sentences((2.0, 2.0)))
    assert ours.finals == plain.finals == 15, "what was read in advance is the final"
    assert plain.engine >= 1.15 * ours.engine
    assert plain.calls - ours.calls >= 15, "one for each wait"


def test_finals_in_advance_do_not_make_pauses_dear() -> None:
    ours, plain = bills(*sentences((0.25, 1.55)))
    assert ours.finals - plain.finals <= 6, "resumed speech makes a reading of them"
    assert plain.engine >= 1.15 * ours.engine
    assert ours.calls < plain.calls


def test_talk_without_pauses_costs_less_than_half() -> None:
    parts = list(write_monologue(60, longest_gap_s=0.15, word_s=0.25))
    samples = np.concatenate([part for part, _ in parts])
    numbers = [word.number for _, words in parts for word in words]
    ours, plain = bills(samples, numbers)
    assert plain.engine >= 2.4 * ours.engine
    assert ours.calls <= plain.calls
