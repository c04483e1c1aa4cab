"""The state machine of one client: audio and outcomes in, requests and messages out.

    NEW --Hello--> LIVE --EndOfAudio, Drain, overtime--> FLUSHING --decided--> CLOSED
    any --PeerGone--> CLOSED

An utterance is shown as a growing partial while it is spoken and decided by a final
request once it has ended.  The final is tried in advance at the first pause: if
speech does not resume, its text is there when the endpoint fires.  A window that
grows long is shortened wherever agreed words end at a quiet frame, so that a
monologue costs no more than it must.

Pure: ``now`` is an argument, positions are samples, and ``receive`` only returns
effects.  Every request submitted here gets exactly one outcome back.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from whisper_live.audio import FRAME_SAMPLES, SampleBuffer, s_to_samples
from whisper_live.config import Config
from whisper_live.cuts import find_cut, settled
from whisper_live.errors import ProtocolError
from whisper_live.events import (
    Cancel,
    Cancelled,
    ClientOptions,
    Close,
    Drain,
    Effect,
    EndOfAudio,
    Event,
    Frames,
    Hello,
    Hypothesis,
    HypothesisSegment,
    Outcome,
    PeerGone,
    Request,
    RequestFailed,
    Submit,
    VadOptions,
)
from whisper_live.hearing import Hearing
from whisper_live.reporter import Reporter
from whisper_live.requests import RequestMaker
from whisper_live.segmenter import (
    Endpoint,
    Mark,
    Onset,
    Pause,
    Resumed,
    Segmenter,
    Split,
)
from whisper_live.stabiliser import Stabiliser, normalise, split_words
from whisper_live.stats import SessionStats

__all__ = ["Session", "State"]

_FINISHED = Close(1000)
_GOING_AWAY = Close(1012, "service restart")
# A client that was told DISCONNECT still sends END_OF_AUDIO, and loses its SRT file
# if the socket is gone by then (WhisperLive 0.9 to 0.10).
_OVER_TIME = Close(1000, hold_s=20.0)

_BUSY_S = 0.5  # queue delay at which partials are at their longest interval
_ADVANCE_BELOW_S = 0.15  # queue delay under which finals are tried in advance
_SHORTEST = s_to_samples(0.1)  # a window shorter than this holds no word


class State(enum.Enum):
    """Where a session stands."""

    NEW = "new"
    LIVE = "live"
    FLUSHING = "flushing"
    CLOSED = "closed"


@dataclass(slots=True, eq=False)
class _Partial:
    """A reading of the open window that is under way."""

    window: int  # which window it belongs to; another one's outcome is stale
    start: int
    end: int


@dataclass(slots=True, eq=False)
class _Final:
    """A window that is decided, or will be if speech does not resume."""

    start: int
    end: int
    request_id: int | None = None  # None: not submitted yet
    outcome: Outcome | None = None
    words: list[str] = field(default_factory=list)  # heard in advance, normalised
    is_stable: bool = False  # the reading before it had the same words


class Session:
    """One client's state.

    ``name`` is unique in the process and safe to log; ``ids`` gives request ids.
    """

    def __init__(self, config: Config, *, name: str, ids: Iterator[int]) -> None:
        self.name = name
        self.stats = SessionStats()
        self._config = config
        self._stream = config.stream
        self._shorten_after = s_to_samples(config.stream.commit_after_s)
        self._ids = ids
        self._state = State.NEW
        self._closing = _FINISHED
        self._effects: list[Effect] = []
        self._prepare(ClientOptions(uid="", vad=VadOptions()))

        self._buffer = SampleBuffer()
        self._stabiliser = Stabiliser()
        self._window = 0  # counts windows, so that late outcomes can be told
        self._read_to = 0  # end of the newest partial's window
        self._partials: dict[int, _Partial] = {}
        self._finals: deque[_Final] = deque()  # decided, in order; the first submitted
        self._advance: _Final | None = None  # the one tried in advance

        self._queue_delay_s = 0.0  # smoothed, of our own requests
        self._frames_at = 0.0  # when the newest audio came
        self._over_time_at: float | None = None

    def _prepare(self, options: ClientOptions) -> None:
        self._options = options
        self._segmenter = Segmenter(
            options.vad, max_window=s_to_samples(self._stream.max_window_s)
        )
        self._hearing = Hearing(options, self.stats.suppressed)
        self._reporter = Reporter(options, self.stats)
        self._requests = RequestMaker(
            self._config, options, session=self.name, ids=self._ids
        )

    # ------------------------------------------------------------------ what is known

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def options(self) -> ClientOptions:
        """The client's handshake; meaningless before ``Hello``."""
        return self._options

    @property
    def received(self) -> int:
        """Samples received so far."""
        return self._buffer.end

    @property
    def is_speaking(self) -> bool:
        """Speech is open, so that a request may come any moment."""
        return self._state is State.LIVE and self._segmenter.is_speech

    @property
    def undecided(self) -> int:
        """Samples received that are neither silence nor covered by an outcome."""
        return self._buffer.end - self._decided_to()

    @property
    def has_room(self) -> bool:
        """Whether more audio may be received; if not, read the socket no further."""
        return self.undecided < s_to_samples(self._stream.max_buffer_s)

    def deadline(self) -> float | None:
        """When ``expire`` wants to be called, or None."""
        if self._state is not State.LIVE:
            return None
        moments = [] if self._over_time_at is None else [self._over_time_at]
        # While there is no room it is we who do not read: nothing has stalled.
        if self._segmenter.is_open and self.has_room:
            moments.append(self._frames_at + self._stream.stall_flush_s)
        return min(moments, default=None)

    # -------------------------------------------------------------------- what happens

    def receive(self, event: Event, *, now: float) -> list[Effect]:
        """Take one event; the effects are to be performed in order.

        Raises ``ProtocolError`` for a second ``Hello`` or audio before the first.
        """
        match event:
            case Hello():
                self._start(event.options, now)
            case Frames():
                self._take_frames(event, now)
            case Hypothesis() | RequestFailed() | Cancelled():
                self._take_outcome(event)
            case EndOfAudio():
                self._flush(_FINISHED)
            case Drain():
                self._flush(_GOING_AWAY)
            case PeerGone():
                self._abandon()
        return self._perform()

    def expire(self, *, now: float) -> list[Effect]:
        """The deadline has come: finish stalled speech, or a session over its time."""
        if self._state is State.LIVE:
            if self._over_time_at is not None and now >= self._over_time_at:
                self._flush(_OVER_TIME)
            elif now >= self._frames_at + self._stream.stall_flush_s:
                self._end_speech()
        return self._perform()

    def _perform(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _start(self, options: ClientOptions, now: float) -> None:
        if self._state is not State.NEW:
            raise ProtocolError("a second handshake", kind="second_handshake")
        self._state = State.LIVE
        self._prepare(options)
        self._frames_at = now
        if self._config.limits.max_session_s:
            self._over_time_at = now + self._config.limits.max_session_s
        self._effects.append(self._reporter.ready())

    def _take_frames(self, frames: Frames, now: float) -> None:
        if self._state is State.NEW:
            raise ProtocolError("audio before the handshake", kind="early_audio")
        self._frames_at = now
        self._buffer.append(frames.samples)
        self._reporter.note_ingest(frames)
        if self._state is State.LIVE:
            left = len(frames.samples)
            for probability in frames.speech.tolist():
                size = min(left, FRAME_SAMPLES)
                left -= size
                for mark in self._segmenter.push(probability, size):
                    self._take_mark(mark)
            assert left == 0, "frames without probabilities"
            self._try_early_endpoint()
            self._request_partial()
        elif self._state is State.FLUSHING:
            # It was on its way when the flush began; the client is told.
            end = self._buffer.end
            self._reporter.drop(end - len(frames.samples), end, "closing")
        self._trim()

    def _take_mark(self, mark: Mark) -> None:
        match mark:
            case Onset(at):
                self.stats.utterances += 1
                self._hearing.start_utterance()
                self._open_window(at)
            case Pause(at):
                self._try_in_advance(at)
            case Resumed():
                self._give_up_advance()
            case Endpoint(at):
                self._decide_window(self._window_start, at)
            case Split(at):
                self._decide_window(self._window_start, at)
                self._open_window(at)

    # ----------------------------------------------------------------- the open window

    def _open_window(self, start: int) -> None:
        self._window += 1
        self._window_start = start
        self._read_to = start
        self._stabiliser.reset()

    def _request_partial(self) -> None:
        """Ask for a reading of the open window once enough new audio stands."""
        segmenter = self._segmenter
        if not segmenter.is_speech or segmenter.is_paused or self._finals:
            return
        due = self._interval()
        if any(p.window == self._window for p in self._partials.values()):
            # One is under way.  A much newer one takes its place in the queue, or
            # waits behind it if it runs already.
            due = s_to_samples(self._stream.partial_interval_s)
        if segmenter.position - self._read_to < due or len(self._partials) > 1:
            return
        partial = _Partial(self._window, self._window_start, segmenter.position)
        self._read_to = partial.end
        request = self._requests.partial(
            self._buffer.read(partial.start, partial.end),
            partial.start,
            language=self._hearing.language,
            context=self._reporter.transcript.context,
            # Times of words cost a quarter more; they pay once a cut is due.
            word_timestamps=partial.end - partial.start > 2 * self._shorten_after,
        )
        self._partials[self._submit(request)] = partial

    def _interval(self) -> int:
        """New samples per partial: the floor when idle, growing with the queue."""
        floor, ceiling = self._stream.partial_floor_s, self._stream.partial_interval_s
        busy = min(self._queue_delay_s / _BUSY_S, 1.0)
        return s_to_samples(floor + (ceiling - floor) * busy)

    def _take_partial(self, partial: _Partial, hypothesis: Hypothesis) -> None:
        segments = self._believed(hypothesis)
        if not segments or not self._may_show(hypothesis, partial.end - partial.start):
            return
        words = _words(segments)
        self._stabiliser.update(words)
        cut = find_cut(
            segments,
            self._stabiliser.confirms(words),
            start=partial.start,
            end=partial.end,
            shorten_after=self._shorten_after,
            loudness=self._segmenter,
        )
        if cut is None:
            self._show(segments[0].start, partial.end)
            return
        self._stabiliser.cut(cut.words)
        self._segmenter.advance(cut.at)
        self._window += 1
        self._window_start = cut.at
        self._cancel_partials()
        self._effects += self._reporter.commit(
            cut.segments,
            partial.end,
            received=self._buffer.end,
            partial=self._stabiliser.text,
        )
        self._trim()

    def _show(self, start: int, end: int) -> None:
        self._effects += self._reporter.show(
            start, end, self._stabiliser.text, received=self._buffer.end
        )

    def _cancel_partials(self) -> None:
        """Withdraw requests whose window has changed; their outcomes are stale."""
        self._effects += [Cancel(request) for request in self._partials]

    # ----------------------------------------------------------------- decided windows

    def _try_in_advance(self, at: int) -> None:
        """The utterance may be over: decode it now, while the silence is awaited."""
        if self._finals or self._queue_delay_s > _ADVANCE_BELOW_S:
            return
        self._cancel_partials()
        self._advance = _Final(self._window_start, at)
        self._submit_final(self._advance)

    def _give_up_advance(self) -> None:
        """Speech went on; the reading in advance was only another partial."""
        final, self._advance = self._advance, None
        if final is None:
            return
        if final.outcome is None and final.request_id is not None:
            self._effects.append(Cancel(final.request_id))
        self._read_to = max(self._read_to, final.end)

    def _try_early_endpoint(self) -> None:
        """End the utterance sooner: its text is stable and it is clearly silent."""
        silence = self._segmenter.silence
        if self._advance is None or not self._advance.is_stable:
            return
        if silence < s_to_samples(self._stream.early_endpoint_ms / 1000):
            return
        position = self._segmenter.position
        quiet = self._segmenter.evidence(position - silence, position)
        if quiet < self._options.vad.release / 2:
            self._end_speech()

    def _end_speech(self) -> None:
        mark = self._segmenter.end_now()
        if mark is not None:
            self._take_mark(mark)

    def _decide_window(self, start: int, end: int) -> None:
        """The window ends here for good; its text comes from one final request."""
        self._window += 1
        self._cancel_partials()
        final = self._advance
        # A reading in advance has all the voice there was; the few frames of silence
        # that came after it change nothing.
        if final is not None and final.start == start and final.end <= end:
            self._advance = None
        else:
            self._give_up_advance()
            final = _Final(start, end)
        self._finals.append(final)
        self._pump()

    def _pump(self) -> None:
        """Bring decided windows to their end, in order, one request at a time."""
        while self._finals:
            final = self._finals[0]
            if final.end - final.start < _SHORTEST:
                self._finals.popleft()
                continue
            if final.request_id is None:
                self._submit_final(final)
            if final.outcome is None:
                return
            self._finals.popleft()
            self._resolve(final, final.outcome)
        self._trim()
        if self._state is State.FLUSHING:
            self._effects += self._reporter.finish(
                over_time=self._closing is _OVER_TIME
            )
            self._effects.append(self._closing)
            self._state = State.CLOSED

    def _submit_final(self, final: _Final) -> None:
        request = self._requests.final(
            self._buffer.read(final.start, final.end),
            final.start,
            language=self._hearing.language,
            context=self._reporter.transcript.context,
        )
        final.request_id = self._submit(request)

    def _resolve(self, final: _Final, outcome: Outcome) -> None:
        match outcome:
            case Hypothesis():
                segments = self._believed(outcome)
                if segments:
                    self._may_show(outcome, None)
                self._effects += self._reporter.commit(
                    [settled(segment, until=final.end) for segment in segments],
                    final.end,
                    received=self._buffer.end,
                )
            case RequestFailed():
                self._reporter.drop(final.start, final.end, outcome.error.kind)
            case Cancelled():
                self._reporter.drop(final.start, final.end, "cancelled")

    # ------------------------------------------------------------------------ outcomes

    def _take_outcome(self, outcome: Outcome) -> None:
        """One answer to one request; a stale one changes nothing."""
        if isinstance(outcome, Hypothesis):
            delay = outcome.timing.queue_s
            self._queue_delay_s += (delay - self._queue_delay_s) * 0.3
            self._reporter.note_request(outcome.timing)
        request_id = outcome.request_id
        partial = self._partials.pop(request_id, None)
        if partial is not None:
            is_fresh = partial.window == self._window and self._state is State.LIVE
            if is_fresh and isinstance(outcome, Hypothesis):
                self._take_partial(partial, outcome)
        elif self._advance is not None and self._advance.request_id == request_id:
            self._take_advance(self._advance, outcome)
        elif self._finals and self._finals[0].request_id == request_id:
            self._finals[0].outcome = outcome
            self._pump()

    def _take_advance(self, final: _Final, outcome: Outcome) -> None:
        if not isinstance(outcome, Hypothesis):
            self._advance = None  # the endpoint will ask again
            return
        final.outcome = outcome
        segments = self._believed(outcome)
        words = _words(segments)
        shown = split_words(self._stabiliser.text)
        final.is_stable = bool(words) and _equal(words, shown)
        if segments and self._may_show(outcome, None):
            self._stabiliser.update(words)
            self._show(segments[0].start, final.end)

    def _believed(self, hypothesis: Hypothesis) -> list[HypothesisSegment]:
        return self._hearing.believe(hypothesis, self._segmenter.evidence)

    def _may_show(self, hypothesis: Hypothesis, heard: int | None) -> bool:
        """Settle and announce the language; False: too early to show anything."""
        if not self._hearing.settle_language(hypothesis, heard):
            return False
        if told := self._hearing.announcement(hypothesis):
            self._effects.append(self._reporter.language(*told))
        return True

    # ------------------------------------------------------------------------- the end

    def _flush(self, closing: Close) -> None:
        """No more audio: bring all speech to text, then close."""
        if self._state in (State.FLUSHING, State.CLOSED):
            return
        self._closing = closing
        self._end_speech()
        self._state = State.FLUSHING
        self._pump()

    def _abandon(self) -> None:
        """Nobody listens any more: withdraw everything."""
        self._cancel_partials()
        self._give_up_advance()
        for final in self._finals:
            if final.request_id is not None:
                self._effects.append(Cancel(final.request_id))
        self._finals.clear()
        self._state = State.CLOSED

    # ------------------------------------------------------------------------- helpers

    def _submit(self, request: Request) -> int:
        self.stats.requests[request.kind] += 1
        self._effects.append(Submit(request))
        return request.id

    def _decided_to(self) -> int:
        """Everything before this has been decided or is silence."""
        if self._finals:
            return self._finals[0].start
        if self._segmenter.is_open:
            return self._segmenter.window_start
        return self._buffer.end

    def _trim(self) -> None:
        """Give up audio and probabilities that nothing will ask for again."""
        keep = min(self._segmenter.keep_from, self._decided_to())
        self._buffer.trim(keep)
        self._segmenter.forget(keep)

    def check(self) -> None:
        """Invariants, for tests to call after every event."""
        self._reporter.transcript.check(received=self._buffer.end)
        live = [p for p in self._partials.values() if p.window == self._window]
        assert len(self._partials) <= 2 and len(live) <= 2, "too many partials"
        submitted = [f for f in self._finals if f.request_id is not None]
        assert submitted == list(self._finals)[:1], "finals out of order"
        assert self._advance is None or not self._finals, "two finals at once"
        assert self._buffer.start <= self._decided_to() <= self._buffer.end
        bound = self._stream.max_buffer_s + 5.0  # one message's worth over the bound
        assert self.undecided <= s_to_samples(bound), "the buffer is unbounded"
        if self._state is State.CLOSED:
            assert not self._finals, "closed with undecided windows"


def _words(segments: Sequence[HypothesisSegment]) -> list[str]:
    return [word for segment in segments for word in split_words(segment.text)]


def _equal(left: Sequence[str], right: Sequence[str]) -> bool:
    return [normalise(word) for word in left] == [normalise(word) for word in right]
