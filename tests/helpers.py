"""What tests drive the pure core with: a clock, a session and something to answer it.

``SessionHarness`` does what a connection and a worker do around a session, at once or
step by step, and holds every message against what clients depend on.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.protocol.clients import check_session
from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples, s_to_samples
from whisper_live.config.model import Config
from whisper_live.inference.types import (
    Cancelled,
    Hypothesis,
    HypothesisSegment,
    Outcome,
    Request,
    RequestKind,
    Word,
)
from whisper_live.protocols.base import Close, Message
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.protocols.whisperlive.server import WhisperLive
from whisper_live.session.driver import SessionDriver
from whisper_live.session.events import EndOfAudio, Event, Frames
from whisper_live.session.session import Session, State
from whisper_live.session.updates import Ending, Update
from whisper_live.testing.marks import (
    Account,
    NumberedWord,
    account_for,
    read_numbers,
    read_words,
    word_text,
)
from whisper_live.testing.oracle import OracleDetector

__all__ = [
    "Clock",
    "SessionHarness",
    "frames_of",
    "hear_marks",
    "heard_words",
    "in_frames",
    "left_out",
    "say",
]

Hear = Callable[[Request], Outcome]


@dataclass
class Clock:
    """Monotonic seconds that pass only when told to."""

    now: float = 100.0

    def advance(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


# ------------------------------------------------------------------------- audio in


def frames_of(samples: Samples) -> Frames:
    """Samples with the speech probabilities of the oracle's detector."""
    padded = np.zeros(-(-len(samples) // FRAME_SAMPLES) * FRAME_SAMPLES, np.float32)
    padded[: len(samples)] = samples
    return Frames(samples, OracleDetector().score(padded.reshape(-1, FRAME_SAMPLES)))


def in_frames(samples: Samples, *, frames: int = 8) -> list[Frames]:
    """Samples as events of some frames each; the last may hold a part frame."""
    step = frames * FRAME_SAMPLES
    return [frames_of(samples[at : at + step]) for at in range(0, len(samples), step)]


def say(*probabilities: float, frames: int = 1) -> Frames:
    """Silent samples with these speech probabilities, each for some frames."""
    speech = np.repeat(np.array(probabilities, np.float32), frames)
    return Frames(np.zeros(len(speech) * FRAME_SAMPLES, np.float32), speech)


# ------------------------------------------------------------------------- text out


def hear_marks(request: Request) -> Hypothesis:
    """What the oracle engine answers: the words that stand wholly in the window.

    One segment for each run of words without half a second of silence in it.
    """
    words = [
        Word(word_text(number), request.start + start, request.start + end, 1.0)
        for number, start, end in read_words(request.audio)
    ]
    runs: list[list[Word]] = []
    for word in words:
        if runs and word.start - runs[-1][-1].end < SAMPLE_RATE // 2:
            runs[-1].append(word)
        else:
            runs.append([word])
    return heard_words(request, runs)


def heard_words(request: Request, runs: Sequence[Sequence[Word]]) -> Hypothesis:
    """The hypothesis with one segment for each run of words."""
    timed = request.options.word_timestamps
    return Hypothesis(
        request.id,
        tuple(
            HypothesisSegment(
                run[0].start,
                run[-1].end,
                "".join(word.text for word in run),
                words=tuple(run) if timed else (),
            )
            for run in runs
        ),
        request.options.language or "en",
        1.0,
    )


@dataclass
class SessionHarness:
    """A session, and an engine that runs one request of it at a time.

    ``hear`` makes the outcomes.  While ``answers_at_once``, each request gets its
    outcome before anything else happens; else ``answer`` gives the next one.  The
    queue keeps the rules that the batch queue asserts.
    """

    config: Config = Config()
    options: ClientOptions = ClientOptions(uid="u", language="en")
    hear: Hear = hear_marks
    answers_at_once: bool = True
    clock: Clock = field(default_factory=Clock)
    sent: list[dict[str, Any]] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)  # all ever submitted
    outcomes: list[int] = field(default_factory=list)  # ids, as they were given
    running: Request | None = None
    queued: Request | None = None
    closed: Close | None = None

    def __post_init__(self) -> None:
        self.session = Session(
            self.config,
            self.options.session,
            name="s1",
            ids=itertools.count(1),
            now=self.clock.now,
        )
        self.wire = WhisperLive(self.config.speech, options=self.options)
        self._driver = SessionDriver(
            self.session,
            self,
            deliver=self.tell,
            tell=self._told,
            ended=self._ended,
            record=lambda now, event, effects: self.session.check(),
        )
        self._rest: Samples = np.empty(0, np.float32)
        self._cancelled: list[int] = []  # whose outcome is on its way
        self._send(self.wire.ready())

    # ------------------------------------------------------------------------ driving

    def tell(self, event: Event) -> None:
        """Give the session one event and do what it asks for."""
        self._driver.give(event, now=self.clock.now)
        self._answer()

    def play(self, samples: Samples, *, frames: int = 8) -> None:
        """Samples in real time, some frames in each message.

        What does not fill a frame waits for more, or for ``end``.
        """
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) - len(samples) % FRAME_SAMPLES
        self._rest = samples[whole:]
        for event in in_frames(samples[:whole], frames=frames):
            self.hear_frames(event)

    def hear_frames(self, event: Frames) -> None:
        self.clock.advance(len(event.samples) / SAMPLE_RATE)
        self.expire()
        self.tell(event)

    def expire(self) -> None:
        """Call the session where its deadline has come."""
        deadline = self.session.deadline()
        if deadline is not None and deadline <= self.clock.now:
            self._expire()

    def wait(self) -> None:
        """No more audio comes; time goes on until the session waits for nothing."""
        while (deadline := self.session.deadline()) is not None:
            self.clock.now = max(self.clock.now, deadline)
            self._expire()

    def _expire(self) -> None:
        self._driver.expire(now=self.clock.now)
        self._answer()

    def end(self) -> None:
        """The last part frame and END_OF_AUDIO, then all outcomes."""
        if len(self._rest):
            self.hear_frames(frames_of(self._rest))
        self.tell(EndOfAudio())
        self.answer_all()
        assert self.closed is not None and self.session.state is State.CLOSED

    # ------------------------------------------------------------------------- engine

    def start(self) -> None:
        """The engine takes what is queued, if it is free."""
        if self.running is None:
            self.running, self.queued = self.queued, None

    def answer(self, outcome: Outcome | None = None) -> Request:
        """Give the running request its outcome: what ``hear`` says, or this one."""
        self.start()
        request, self.running = self.running, None
        assert request is not None, "nothing to answer"
        self._give(outcome or self.hear(request))
        return request

    def answer_all(self) -> None:
        while self.running or self.queued:
            self.answer()

    def _give(self, outcome: Outcome) -> None:
        assert outcome.request_id not in self.outcomes, "a second outcome"
        self.outcomes.append(outcome.request_id)
        self.tell(outcome)

    def _answer(self) -> None:
        while self._cancelled:
            self._give(Cancelled(self._cancelled.pop(0)))
        if self.answers_at_once:
            self.answer_all()

    def submit(self, request: Request, deliver: Callable[[Outcome], None]) -> None:
        """What the session asks of the batch queue."""
        assert self.closed is None, "after the close"
        if self.queued is not None:
            assert self.queued.kind is RequestKind.PARTIAL, "a final was replaced"
            self._cancelled.append(self.queued.id)
        assert len(request.audio) <= s_to_samples(30.0)
        self.requests.append(request)
        self.queued = request

    def cancel(self, request_id: int) -> None:
        """What the session asks of the batch queue."""
        if self.queued is not None and self.queued.id == request_id:
            self.queued = None
            self._cancelled.append(request_id)

    # ------------------------------------------------------------------------ messages

    def _told(self, update: Update) -> None:
        assert self.closed is None, "after the close"
        self.updates.append(update)
        self._send(self.wire.render(update))

    def _ended(self, ending: Ending) -> None:
        assert self.closed is None, "after the close"
        self._send(self.wire.end(ending))
        self.closed = self.wire.close(ending)

    def _send(self, messages: Iterable[Message]) -> None:
        self.sent += [json.loads(message.text) for message in messages]

    # ------------------------------------------------------------------------ results

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The segments of the newest message that had any."""
        return next(
            (list(m["segments"]) for m in reversed(self.sent) if "segments" in m), []
        )

    @property
    def partials(self) -> list[str]:
        """Each text that was shown as a partial, in order."""
        lasts = [m["segments"][-1] for m in self.sent if "segments" in m]
        return [last["text"] for last in lasts if not last["completed"]]

    @property
    def dropped(self) -> list[dict[str, str]]:
        return [d for message in self.sent for d in message.get("dropped", ())]

    def completed(self) -> list[str]:
        """All completed texts, after holding the messages against clients' needs."""
        language = self.options.language
        return check_session(self.sent, uid=self.options.uid, language=language)

    def account(self, spoken: Sequence[NumberedWord]) -> Account:
        """What became of the words that were said."""
        received = [n for text in self.completed() for n in read_numbers(text)]
        return account_for([word.number for word in spoken], received)


def left_out(
    spoken: Sequence[NumberedWord], dropped: Sequence[dict[str, str]]
) -> list[NumberedWord]:
    """The words that no dropped span touches: those which must have come back."""
    spans = [
        (s_to_samples(float(d["start"])), s_to_samples(float(d["end"])))
        for d in dropped
    ]
    return [
        word
        for word in spoken
        if not any(word.start < end and word.end > start for start, end in spans)
    ]
