"""Every word accounted for: sessions and the batch queue on a simulated clock.

The engine reads word numbers out of the samples (``testing.marks``), takes a random
time for each call, so that outcomes of different sessions overtake each other, and
fails now and then.  Nothing waits: an hour of speech takes seconds.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.quality.simulation import Simulation, Stream
from tests.helpers import SessionHarness, frames_of, hear_marks, heard_words, left_out
from tests.protocol.clients import check_session
from whisper_live.audio import FRAME_S, FRAME_SAMPLES, Samples, s_to_samples
from whisper_live.config.model import BatchConfig, Config, StreamConfig
from whisper_live.errors import WindowRejected
from whisper_live.inference.types import (
    DecodeOptions,
    Hypothesis,
    Outcome,
    Request,
    RequestFailed,
)
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.session.events import Frames
from whisper_live.session.options import VadOptions
from whisper_live.testing.marks import (
    NumberedWord,
    account_for,
    read_numbers,
    write_monologue,
    write_speech,
)

CONFIG = Config(batch=BatchConfig(request_timeout_s=5.0))


class Moody:
    """An engine that takes its time, answers in any order, and fails now and then.

    With ``stops_early`` its answer may account only for the first part of a window, as
    Whisper's does.
    """

    def __init__(
        self,
        chance: random.Random,
        *,
        fail: float,
        slowest_s: float,
        stops_early: float = 0.0,
    ) -> None:
        self._chance = chance
        self._fail = fail
        self._slowest_s = slowest_s
        self._stops_early = stops_early

    def answer(self, batch: Sequence[Request]) -> tuple[list[Outcome], float]:
        answers: list[Outcome] = [
            (
                RequestFailed(request.id, WindowRejected("chance"))
                if self._chance.random() < self._fail
                else self._hear(request)
            )
            for request in batch
        ]
        self._chance.shuffle(answers)
        return answers, self._chance.uniform(0.02, self._slowest_s)

    def _hear(self, request: Request) -> Hypothesis:
        if self._chance.random() >= self._stops_early:
            return hear_marks(request)
        timed = DecodeOptions(word_timestamps=True)
        heard = hear_marks(replace(request, options=timed))
        words = [word for segment in heard.segments for word in segment.words]
        # Six words are more voice than the session leaves unread.
        if len(words) < 7:
            return hear_marks(request)
        kept = words[: self._chance.randint(1, len(words) - 6)]
        silence = words[len(kept)].start - kept[-1].end
        read_to = kept[-1].end + self._chance.randint(0, silence)
        return replace(heard_words(request, [kept]), read_to=read_to)

    def forget(self, session: str) -> None:
        """Nothing was kept."""


@dataclass(frozen=True)
class Client:
    """One stream and the words in it."""

    stream: Stream
    spoken: list[NumberedWord]


def _client(
    chance: random.Random, name: str, utterances: int, most_words: int = 5
) -> Client:
    """One that says so many utterances, with options that tell them apart."""
    count = itertools.count(chance.randrange(1 << 20))
    hangover_s = chance.choice((0.3, 0.5))
    pauses = [hangover_s + chance.uniform(0.15, 0.5) for _ in range(utterances)]
    samples, spoken = write_speech(
        [
            [next(count) for _ in range(chance.randint(1, most_words))]
            for _ in range(utterances)
        ],
        pause_s=pauses,
        word_s=chance.choice((0.12, 0.2)),
        gap_s=chance.choice((0.07, 0.1, 0.2)),
    )
    preroll_s = chance.choice((0.0, 0.3, 1.0))  # up to more than the pauses
    vad = VadOptions(hangover_s=hangover_s, preroll_s=preroll_s)
    stream = Stream(
        samples,
        frames_of(samples).speech,
        ClientOptions(uid=name, language="en", vad=vad),
        starts_at=chance.uniform(0, 2),
        pace=_pace(chance),
    )
    return Client(stream, spoken)


def _pace(chance: random.Random) -> Iterator[tuple[float, int]]:
    """Messages of any size, as fast as they are spoken or twice as fast after a jam."""
    most = chance.choice((1, 8, 40))
    while True:
        frames = chance.randint(1, most)
        yield frames * FRAME_S * chance.choice((1.0, 1.0, 0.5)), frames


def _talk(
    seed: int,
    *,
    utterances: int,
    fail: float,
    slowest_s: float,
    stops_early: float = 0.0,
) -> int:
    """Eight clients at once; every word must come back; the utterances spoken."""
    chance = random.Random(seed)
    engine = Moody(chance, fail=fail, slowest_s=slowest_s, stops_early=stops_early)
    most_words = 12 if stops_early else 5
    clients = [_client(chance, f"s{n}", utterances, most_words) for n in range(8)]
    streams = [client.stream for client in clients]
    Simulation(engine, CONFIG, streams, workers=2).run()
    reported = 0
    for client in clients:
        uid, sent = client.stream.options.uid, [t.message for t in client.stream.told]
        texts = check_session(sent, uid=uid, language="en")
        received = [n for text in texts for n in read_numbers(text)]
        dropped = [d for message in sent for d in message.get("dropped", ())]
        reported += len(dropped)
        spoken = [word.number for word in client.spoken]
        account = account_for(spoken, received)
        assert not (account.doubled or account.out_of_order or account.invented)
        kept = {word.number for word in left_out(client.spoken, dropped)}
        assert not kept & set(account.lost), (seed, uid, account)
        assert not set(received) - kept, "reported as dropped and sent all the same"
        if not fail and slowest_s < 2:
            assert account.clean and not dropped
    # Few failures may all hit readings and finals in advance, which are asked again.
    if fail >= 0.05:
        assert reported, "the engine failed and nobody was told"
    return sum(stream.session.stats.utterances for stream in streams)


@pytest.mark.parametrize(
    ("fail", "slowest_s"), [(0.0, 0.1), (0.0, 1.0), (0.1, 0.3), (0.05, 4.0)]
)
def test_no_word_is_lost_doubled_or_out_of_order(fail: float, slowest_s: float) -> None:
    assert _talk(1, utterances=10, fail=fail, slowest_s=slowest_s) >= 80


@pytest.mark.parametrize("stops_early", [0.3, 1.0])
@pytest.mark.parametrize("fail", [0.0, 0.1])
def test_no_word_is_lost_to_an_engine_that_stops_early(
    stops_early: float, fail: float
) -> None:
    for seed in range(3):
        _talk(seed, utterances=6, fail=fail, slowest_s=0.3, stops_early=stops_early)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_utterances() -> None:
    total = 0
    for seed in itertools.count(100):
        fail = (0.0, 0.0, 0.02, 0.1)[seed % 4]
        slowest_s = (0.1, 0.4, 1.0, 3.0)[seed // 4 % 4]
        total += _talk(seed, utterances=30, fail=fail, slowest_s=slowest_s)
        if total >= 10_000:
            break


# ------------------------------------------------------------------------- monologues


def _everything_is_speech(samples: Samples) -> NDArray[np.float32]:
    """What a detector says that is never in doubt, and least so of loud frames."""
    missing = -len(samples) % FRAME_SAMPLES
    frames = np.pad(samples, (0, missing)).reshape(-1, FRAME_SAMPLES)
    loudest = np.abs(frames).max(axis=1)
    return np.asarray(0.96 + 0.04 * np.minimum(loudest, 1), np.float32)


def _monologue(
    minutes: float,
    *,
    longest_gap_s: float = 0.3,
    use_vad: bool = True,
    answer_every: int = 1,
    config: Config = CONFIG,
) -> None:
    """Speech without a pause; the engine answers after every n-th message only."""
    harness = SessionHarness(config, answers_at_once=False)
    spoken: list[NumberedWord] = []
    numbers = 0
    messages = itertools.count()
    rest = np.empty(0, np.float32)
    for samples, words in write_monologue(60 * minutes, longest_gap_s=longest_gap_s):
        spoken += words
        samples = np.concatenate([rest, samples])
        whole = len(samples) - len(samples) % FRAME_SAMPLES
        rest = samples[whole:]
        for at in range(0, whole, 8 * FRAME_SAMPLES):
            frames = frames_of(samples[at : min(at + 8 * FRAME_SAMPLES, whole)])
            if not use_vad:
                frames = Frames(frames.samples, _everything_is_speech(frames.samples))
            while not harness.session.has_room:
                harness.answer()
            harness.hear_frames(frames)
            if next(messages) % answer_every == 0 and (
                harness.running or harness.queued
            ):
                harness.answer()
            assert harness.session.undecided <= s_to_samples(
                config.stream.max_buffer_s + 1
            )
        numbers = len(spoken)
    if len(rest):
        harness.hear_frames(frames_of(rest))
    harness.end()
    account = harness.account(spoken)
    assert numbers > 100 * minutes
    assert account.clean and not harness.dropped, account


def test_a_monologue_without_pauses_keeps_every_word() -> None:
    _monologue(2)


def test_a_monologue_without_partials_is_split_between_words() -> None:
    stream = StreamConfig(partial_interval_s=30, partial_floor_s=30)
    _monologue(2, longest_gap_s=0.07, config=Config(stream=stream))


def test_a_monologue_too_fast_for_the_engine_keeps_every_word() -> None:
    _monologue(2, answer_every=60)


def test_a_monologue_without_speech_detection_keeps_every_word() -> None:
    _monologue(2, longest_gap_s=0.07, use_vad=False)


def test_without_speech_detection_windows_are_split_where_it_is_quiet() -> None:
    stream = StreamConfig(partial_interval_s=30, partial_floor_s=30)
    config = Config(stream=stream)
    _monologue(2, longest_gap_s=0.07, use_vad=False, config=config)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("longest_gap_s", [0.07, 0.3, 0.45])
def test_forty_minutes_without_a_pause(longest_gap_s: float) -> None:
    _monologue(40, longest_gap_s=longest_gap_s)
