"""Every word accounted for: sessions and the batch queue on a simulated clock.

The engine reads word numbers out of the samples (``oracle_marks``), takes a random
time for each call, so that outcomes of different sessions overtake each other, and
fails now and then.  Nothing waits: an hour of speech takes seconds.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers import SessionHarness, frames_of, hear_marks, left_out
from tests.protocol.clients import check_session
from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples, s_to_samples
from whisper_live.batching import Batcher
from whisper_live.config import BatchConfig, Config, StreamConfig
from whisper_live.engine.oracle_marks import (
    NumberedWord,
    account_for,
    read_numbers,
    write_monologue,
    write_speech,
)
from whisper_live.errors import WindowRejected
from whisper_live.events import (
    Cancel,
    ClientOptions,
    Close,
    Effect,
    EndOfAudio,
    Event,
    Frames,
    Hello,
    Outcome,
    Request,
    RequestFailed,
    Send,
    Submit,
    VadOptions,
)
from whisper_live.session import Session, State
from whisper_live.vad import EverythingIsSpeech

CONFIG = Config(batch=BatchConfig(request_timeout_s=5.0))


@dataclass
class Client:
    """One stream and what its session has said about it."""

    name: str
    session: Session
    samples: Samples
    spoken: list[NumberedWord]
    chunks: Iterator[int]  # frames in each message
    at: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False


class Hall:
    """Sessions of one server: one clock, one batch queue, an engine with moods."""

    def __init__(
        self, chance: random.Random, *, fail: float, slowest_s: float, workers: int = 2
    ) -> None:
        self.now = 0.0
        self._chance = chance
        self._fail = fail
        self._slowest_s = slowest_s
        self._batcher = Batcher(CONFIG.batch, workers=workers)
        self._ids = itertools.count(1)
        self._clients: dict[str, Client] = {}
        self._agenda: list[tuple[float, int, Any]] = []  # (when, order, what)
        self._orders = itertools.count()
        self._owner: dict[int, Client] = {}
        self.given: set[int] = set()

    def enter(
        self, samples: Samples, spoken: list[NumberedWord], vad: VadOptions
    ) -> Client:
        name = f"s{len(self._clients)}"
        session = Session(CONFIG, name=name, ids=self._ids)
        most = self._chance.choice((1, 8, 40))
        chunks = iter(lambda: self._chance.randint(1, most), None)
        client = Client(name, session, samples, spoken, chunks)
        self._clients[name] = client
        options = ClientOptions(uid=name, language="en", vad=vad)
        self._tell(client, Hello(options))
        self._plan(self._chance.uniform(0, 2), client)
        return client

    def run(self) -> None:
        while self._agenda or self._batcher.deadline() is not None:
            moments = [self._batcher.deadline()] + [m[0] for m in self._agenda[:1]]
            self.now = max(self.now, min(m for m in moments if m is not None))
            self._give(self._batcher.expire(now=self.now))
            while self._agenda and self._agenda[0][0] <= self.now:
                what = heapq.heappop(self._agenda)[2]
                if isinstance(what, Client):
                    self._hear(what)
                else:
                    self._finish(what)
            self._start_calls()

    # ------------------------------------------------------------------------- inside

    def _plan(self, delay_s: float, what: Client | list[Request]) -> None:
        heapq.heappush(self._agenda, (self.now + delay_s, next(self._orders), what))

    def _hear(self, client: Client) -> None:
        """The client's next message, unless it must wait for room."""
        deadline = client.session.deadline()
        if deadline is not None and deadline <= self.now:
            self._perform(client, client.session.expire(now=self.now))
        if not client.session.has_room:
            self._plan(0.1, client)
        elif client.at >= len(client.samples):
            self._tell(client, EndOfAudio())
        else:
            size = next(client.chunks) * FRAME_SAMPLES
            piece = client.samples[client.at : client.at + size]
            client.at += len(piece)
            self._tell(client, frames_of(piece))
            # As fast as it is spoken, or twice as fast where there was a jam.
            pace = self._chance.choice((1.0, 1.0, 0.5))
            self._plan(len(piece) / SAMPLE_RATE * pace, client)

    def _start_calls(self) -> None:
        while (batch := self._batcher.take(now=self.now)) is not None:
            self._plan(self._chance.uniform(0.02, self._slowest_s), batch)

    def _finish(self, batch: list[Request]) -> None:
        answers = [r for r in batch if self._batcher.answered(r.id, now=self.now)]
        self._batcher.finished([r.id for r in batch], now=self.now)
        self._chance.shuffle(answers)
        for request in answers:
            outcome: Outcome = hear_marks(request)
            if self._chance.random() < self._fail:
                outcome = RequestFailed(request.id, WindowRejected("chance"))
            self._give([outcome])

    def _give(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            assert outcome.request_id not in self.given, "a second outcome"
            self.given.add(outcome.request_id)
            self._tell(self._owner.pop(outcome.request_id), outcome)

    def _tell(self, client: Client, event: Event) -> None:
        self._perform(client, client.session.receive(event, now=self.now))

    def _perform(self, client: Client, effects: list[Effect]) -> None:
        client.session.check()
        outcomes: list[Outcome] = []
        for effect in effects:
            match effect:
                case Send(message):
                    client.sent.append(dict(message))
                case Submit(request):
                    self._owner[request.id] = client
                    outcomes += self._batcher.offer(request, now=self.now)
                case Cancel(request_id):
                    outcomes += self._batcher.cancel(request_id, now=self.now)
                case Close():
                    client.closed = True
        self._batcher.speaking(client.name, client.session.is_speaking)
        self._give(outcomes)


def _speech(
    chance: random.Random, utterances: int
) -> tuple[Samples, list[NumberedWord], VadOptions]:
    """One client's stream, and options under which it holds that many utterances."""
    count = itertools.count(chance.randrange(1 << 20))
    hangover_s = chance.choice((0.3, 0.5))
    pauses = [hangover_s + chance.uniform(0.15, 0.5) for _ in range(utterances)]
    samples, spoken = write_speech(
        [[next(count) for _ in range(chance.randint(1, 5))] for _ in range(utterances)],
        pause_s=pauses,
        word_s=chance.choice((0.12, 0.2)),
        gap_s=chance.choice((0.07, 0.1, 0.2)),
    )
    preroll_s = chance.choice((0.0, 0.3, 1.0))  # up to more than the pauses
    return samples, spoken, VadOptions(hangover_s=hangover_s, preroll_s=preroll_s)


def _talk(seed: int, *, utterances: int, fail: float, slowest_s: float) -> int:
    """Eight clients at once; every word must come back; the utterances spoken."""
    chance = random.Random(seed)
    hall = Hall(chance, fail=fail, slowest_s=slowest_s)
    clients = [hall.enter(*_speech(chance, utterances)) for _ in range(8)]
    hall.run()
    reported = 0
    for client in clients:
        assert client.closed and client.session.state is State.CLOSED
        texts = check_session(client.sent, uid=client.name, language="en")
        received = [n for text in texts for n in read_numbers(text)]
        dropped = [d for message in client.sent for d in message.get("dropped", ())]
        reported += len(dropped)
        spoken = [word.number for word in client.spoken]
        account = account_for(spoken, received)
        assert not (account.doubled or account.out_of_order or account.invented)
        kept = {word.number for word in left_out(client.spoken, dropped)}
        assert not kept & set(account.lost), (seed, client.name, account)
        assert not set(received) - kept, "reported as dropped and sent all the same"
        if not fail and slowest_s < 2:
            assert account.clean and not dropped
    if fail:
        assert reported, "the engine failed and nobody was told"
    return sum(client.session.stats.utterances for client in clients)


@pytest.mark.parametrize(
    ("fail", "slowest_s"), [(0.0, 0.1), (0.0, 1.0), (0.1, 0.3), (0.05, 4.0)]
)
def test_no_word_is_lost_doubled_or_out_of_order(fail: float, slowest_s: float) -> None:
    assert _talk(1, utterances=10, fail=fail, slowest_s=slowest_s) >= 80


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
    """What the detector of a client without speech detection says."""
    missing = -len(samples) % FRAME_SAMPLES
    frames = np.pad(samples, (0, missing)).reshape(-1, FRAME_SAMPLES)
    return EverythingIsSpeech().score(frames)


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
