"""``Session`` through random events: whatever happens, its invariants hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.helpers import Hear, SessionHarness, frames_of, hear_marks, heard_words
from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, s_to_samples
from whisper_live.config.model import Config, LimitConfig, SpeechConfig, StreamConfig
from whisper_live.errors import EngineTimeout, WindowRejected
from whisper_live.inference.types import (
    Hypothesis,
    HypothesisSegment,
    Request,
    RequestFailed,
    RequestKind,
    Timing,
    Word,
)
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.session.events import Drain, EndOfAudio, Frames, PeerGone
from whisper_live.session.options import VadOptions
from whisper_live.session.session import State
from whisper_live.testing.marks import write_speech

TEXTS = ("one", "two", "Two,", "three", "-five", "好", "世。", "...", "ไป", "don't")
PROBABILITIES = (0.0, 0.1, 0.2, 0.3, 0.45, 0.9, 1.0)

WORD = s_to_samples(0.2)

words = st.lists(st.sampled_from(TEXTS), max_size=12)
unit = st.floats(0, 1)


@st.composite
def hypotheses(draw: st.DrawFn, request: Request) -> Hypothesis:
    """Any answer that an engine might give, with times that may be nonsense."""
    segments = []
    for _ in range(draw(st.integers(0, 3))):
        spoken = draw(words)
        length = len(request.audio)
        at = st.integers(request.start - SAMPLE_RATE, request.end + SAMPLE_RATE)
        start = (
            draw(at)
            if draw(unit) < 0.3
            else request.start + draw(st.integers(0, length))
        )
        timed = tuple(
            Word(f" {text}", start + 800 * n, start + 800 * (n + 1), 0.5)
            for n, text in enumerate(spoken)
        )
        segments.append(
            HypothesisSegment(
                start,
                max(draw(at), 0) if draw(unit) < 0.3 else start + 800 * len(spoken),
                draw(st.sampled_from(("", " "))) + " ".join(spoken),
                no_speech_probability=draw(unit),
                average_logprob=-2 * draw(unit),
                compression_ratio=3 * draw(unit),
                words=timed if request.options.word_timestamps else (),
            )
        )
    return Hypothesis(
        request.id,
        tuple(segments),
        request.options.language or draw(st.sampled_from(("en", "de"))),
        draw(unit),
        Timing(queue_s=draw(st.sampled_from((0.0, 0.1, 0.4, 5.0)))),
    )


def plausible(request: Request, *, run: int, unheard: int) -> Hypothesis:
    """The words that are spoken every 0.2 s, ``run`` of them in each segment."""
    grid = range(-(-request.start // WORD) * WORD, request.end - WORD + 1, WORD)
    spoken = [
        Word(f" {TEXTS[at // WORD % len(TEXTS)]}", at, at + WORD, 0.9) for at in grid
    ]
    spoken = spoken[: len(spoken) - unheard]
    runs = [spoken[at : at + run] for at in range(0, len(spoken), run)]
    return heard_words(request, runs)


class SessionMachine(RuleBasedStateMachine):
    """A client, an engine and a clock that all do as they like."""

    @initialize(
        language=st.sampled_from((None, "en")),
        multilingual=st.booleans(),
        word_timestamps=st.booleans(),
        repeated=st.sampled_from((1, 2, 10, 500)),
        hangover_s=st.sampled_from((0.1, 0.5)),
        max_session_s=st.sampled_from((0.0, 20.0)),
    )
    def say_hello(
        self,
        language: str | None,
        multilingual: bool,
        word_timestamps: bool,
        repeated: int,
        hangover_s: float,
        max_session_s: float,
    ) -> None:
        self.harness = SessionHarness(
            # Small, so that few frames reach every limit.
            Config(
                stream=StreamConfig(max_window_s=5, max_buffer_s=10, commit_after_s=2),
                limits=LimitConfig(max_session_s=max_session_s),
            ),
            ClientOptions(
                uid="u",
                language=language,
                multilingual=multilingual,
                word_timestamps=word_timestamps,
                send_last_n_segments=repeated,
                vad=VadOptions(hangover_s=hangover_s),
            ),
            answers_at_once=False,
        )
        self.is_ragged = False

    def is_live(self) -> bool:
        return self.harness.session.state is State.LIVE

    @precondition(lambda self: self.is_live() and not self.is_ragged)
    @precondition(lambda self: self.harness.session.has_room)
    @rule(
        runs=st.lists(
            st.tuples(st.sampled_from(PROBABILITIES), st.integers(1, 40)),
            min_size=1,
            max_size=4,
        ),
        last=st.sampled_from((FRAME_SAMPLES,) * 9 + (1, 200)),
    )
    def hear_frames(self, runs: list[tuple[float, int]], last: int) -> None:
        speech = np.repeat(*map(np.array, zip(*runs, strict=True))).astype(np.float32)
        samples = (len(speech) - 1) * FRAME_SAMPLES + last
        self.is_ragged = last < FRAME_SAMPLES
        self.harness.hear_frames(Frames(np.zeros(samples, np.float32), speech))

    @precondition(lambda self: self.harness.queued is not None)
    @rule()
    def start_request(self) -> None:
        self.harness.start()

    @precondition(lambda self: self.harness.running or self.harness.queued)
    @rule(data=st.data())
    def answer_nonsense(self, data: st.DataObject) -> None:
        self.harness.start()
        assert self.harness.running is not None
        self.harness.answer(data.draw(hypotheses(self.harness.running)))

    @precondition(lambda self: self.harness.running or self.harness.queued)
    @rule(run=st.sampled_from((3, 8, 200)), unheard=st.integers(0, 2))
    def answer(self, run: int, unheard: int) -> None:
        self.harness.start()
        assert self.harness.running is not None
        request = self.harness.running
        self.harness.answer(plausible(request, run=run, unheard=unheard))

    @precondition(lambda self: self.is_live() and not self.is_ragged)
    @rule(seconds=st.integers(1, 6), run=st.sampled_from((3, 200)))
    def speak_on(self, seconds: int, run: int) -> None:
        """Speech that is read as it comes, to get to long windows."""
        for _ in range(4 * seconds):
            if not self.harness.session.has_room or not self.is_live():
                break
            speech = np.full(8, 0.9, np.float32)
            samples = np.zeros(8 * FRAME_SAMPLES, np.float32)
            self.harness.hear_frames(Frames(samples, speech))
            self.harness.start()
            if (request := self.harness.running) is not None:
                self.harness.answer(plausible(request, run=run, unheard=0))

    @precondition(lambda self: self.harness.running or self.harness.queued)
    @rule(error=st.sampled_from((EngineTimeout("late"), WindowRejected("odd"))))
    def fail(self, error: EngineTimeout | WindowRejected) -> None:
        self.harness.start()
        assert self.harness.running is not None
        self.harness.answer(RequestFailed(self.harness.running.id, error))

    @rule(seconds=st.sampled_from((0.0, 0.5, 4.0)))
    def let_time_pass(self, seconds: float) -> None:
        self.harness.clock.advance(seconds)
        self.harness.expire()

    @rule(late=st.booleans())
    def repeat_an_old_outcome(self, late: bool) -> None:
        before = list(self.harness.sent)
        event = RequestFailed(10**6, EngineTimeout("nobody asked"))
        self.harness.tell(event)
        assert self.harness.sent == before

    @precondition(lambda self: not self.is_live())
    @rule(speech=st.booleans())
    def hear_late_frames(self, speech: bool) -> None:
        probability = np.array([float(speech)], np.float32)
        self.harness.hear_frames(
            Frames(np.zeros(FRAME_SAMPLES, np.float32), probability)
        )

    @precondition(lambda self: self.is_live())
    @rule(chance=st.integers(0, 20), event=st.sampled_from((EndOfAudio(), Drain())))
    def end(self, chance: int, event: EndOfAudio | Drain) -> None:
        if chance == 0:
            self.harness.tell(event)

    @rule(chance=st.integers(0, 40))
    def leave(self, chance: int) -> None:
        if chance == 0:
            self.harness.tell(PeerGone())
            assert self.harness.session.state is State.CLOSED

    @invariant()
    def requests_are_bounded(self) -> None:
        if not hasattr(self, "harness"):
            return
        session = self.harness.session
        if session.state is not State.LIVE:
            assert session.deadline() is None
        kinds = [r.kind for r in (self.harness.running, self.harness.queued) if r]
        if not session.has_room:
            assert RequestKind.FINAL in kinds, "nothing will make room"

    def teardown(self) -> None:
        if not hasattr(self, "harness"):
            return
        harness = self.harness
        if harness.session.state is State.LIVE:
            harness.tell(EndOfAudio())
        harness.answer_all()
        assert harness.session.state is State.CLOSED
        assert sorted(harness.outcomes) == [r.id for r in harness.requests]
        harness.completed()  # holds every message against what clients need


SessionMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
test_any_order_of_events = SessionMachine.TestCase


class LongSessionMachine(SessionMachine):
    """The same for longer."""


LongSessionMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=80, deadline=None
)
test_any_order_of_events_at_length = pytest.mark.slow(
    pytest.mark.timeout(600)(LongSessionMachine.TestCase)
)


# ------------------------------------------------------------------------ re-chunking


def _late(hear: Hear, harness: SessionHarness, delay: int) -> None:
    """Answer what was asked more than ``delay`` samples of audio ago."""
    harness.start()
    while harness.running and harness.running.end + delay <= harness.session.received:
        harness.answer()
        harness.start()


@given(
    utterances=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    pauses=st.lists(st.sampled_from((0.7, 1.0, 1.5)), min_size=4, max_size=4),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=20),
    delay_s=st.sampled_from((0.0, 0.2, 0.9)),
)
@settings(max_examples=30, deadline=None)
def test_the_transcript_does_not_depend_on_the_cut_of_the_messages(
    utterances: list[int], pauses: list[float], cuts: list[int], delay_s: float
) -> None:
    count = itertools.count()
    samples, spoken = write_speech(
        [[next(count) for _ in range(n)] for n in utterances],
        pause_s=pauses[: len(utterances)],
    )
    # An early endpoint depends on when a reading came back; where words end does not.
    config = Config(speech=SpeechConfig(early_endpoint_ms=5000))
    transcripts = []
    for sizes in (itertools.repeat(1), itertools.cycle(cuts)):
        harness = SessionHarness(config, answers_at_once=False)
        at = 0
        for size in sizes:
            if at >= len(samples):
                break
            piece = samples[at : at + size * FRAME_SAMPLES]
            harness.hear_frames(frames_of(piece))
            at += size * FRAME_SAMPLES
            _late(hear_marks, harness, s_to_samples(delay_s))
        harness.end()
        assert harness.account(spoken).clean
        segments = [(s["start"], s["end"], s["text"]) for s in harness.shown]
        transcripts.append(segments)
    assert transcripts[0] == transcripts[1]
