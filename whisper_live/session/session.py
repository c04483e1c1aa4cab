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
from collections.abc import Iterator, Sequence

from whisper_live.audio import FRAME_SAMPLES, SampleBuffer, s_to_samples
from whisper_live.config.model import Config
from whisper_live.errors import ProtocolError
from whisper_live.inference.types import (
    Cancelled,
    Hypothesis,
    HypothesisSegment,
    Outcome,
    Request,
    RequestFailed,
)
from whisper_live.session.cuts import Cut, find_cut, settled
from whisper_live.session.decode_policy import RequestMaker
from whisper_live.session.endpointing import (
    Endpoint,
    Mark,
    Onset,
    Pause,
    Resumed,
    Segmenter,
    Split,
)
from whisper_live.session.events import (
    Cancel,
    ClientOptions,
    Close,
    Drain,
    Effect,
    EndOfAudio,
    Event,
    Frames,
    Hello,
    PeerGone,
    Submit,
    VadOptions,
)
from whisper_live.session.finals import Final, Finals
from whisper_live.session.hearing import Hearing
from whisper_live.session.readings import Reading, Readings
from whisper_live.session.reporter import Reporter
from whisper_live.session.seams import Seam, mend
from whisper_live.session.stats import SessionStats
from whisper_live.text.words import ends_sentence, normalise, split_words

__all__ = ["Session", "State"]

_FINISHED = Close(1000)
_GOING_AWAY = Close(1012, "service restart")
# A client that was told DISCONNECT still sends END_OF_AUDIO, and loses its SRT file
# if the socket is gone by then (WhisperLive 0.9 to 0.10).
_OVER_TIME = Close(1000, hold_s=20.0)

_ADVANCE_BELOW_S = 0.15  # delay under which finals are tried in advance
# A client that asks for more patience than 0.5 s gets it in an early endpoint too.
_LEAST_OF_HANGOVER = 0.6
_SHORTEST = s_to_samples(0.1)  # a window shorter than this holds no word


class State(enum.Enum):
    """Where a session stands."""

    NEW = "new"
    LIVE = "live"
    FLUSHING = "flushing"
    CLOSED = "closed"


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
        self._received = 0
        self._readings = Readings(config.stream)
        self._finals = Finals()
        self._seam: Seam | None = None  # where a window was shortened last
        self._pause: int | None = None  # where the newest frames made a pause

        self._queue_delay_s = 0.0  # smoothed, of our own requests
        self._behind_s = 0.0  # of our audio, see `backlog`
        self._waits_since = 0.0  # when the newest audio came, or room for more
        self._over_time_at: float | None = None

    def _prepare(self, options: ClientOptions) -> None:
        self._options = options
        longest_s = min(self._stream.max_window_s, options.vad.max_speech_s)
        self._segmenter = Segmenter(options.vad, max_window=s_to_samples(longest_s))
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
        return self._received

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
        if self._may_stall:
            moments.append(self._waits_since + self._stream.stall_flush_s)
        return min(moments, default=None)

    @property
    def _may_stall(self) -> bool:
        # While there is no room it is we who do not read: nothing has stalled.
        return self._segmenter.is_open and self.has_room

    # -------------------------------------------------------------------- what happens

    def receive(self, event: Event, *, now: float) -> list[Effect]:
        """Take one event; the effects are to be performed in order.

        Raises ``ProtocolError`` for a second ``Hello`` or audio before the first.
        """
        if not self.has_room:
            self._waits_since = now
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
            elif (
                self._may_stall
                and now >= self._waits_since + self._stream.stall_flush_s
            ):
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
        self._waits_since = now
        if self._config.limits.max_session_s:
            self._over_time_at = now + self._config.limits.max_session_s
        self._effects.append(self._reporter.ready())

    def _take_frames(self, frames: Frames, now: float) -> None:
        if self._state is State.NEW:
            raise ProtocolError("audio before the handshake", kind="early_audio")
        start = self._received
        self._received += len(frames.samples)
        if self._state is State.FLUSHING:
            # It was on its way when the flush began; the client is told, unless
            # there was nothing to hear.
            if frames.speech.max(initial=0.0) >= self._options.vad.threshold:
                self._reporter.drop(start, self._received, "closing")
        if self._state is not State.LIVE:
            return
        self._waits_since = now
        self._behind_s = frames.behind_s
        self._buffer.append(frames.samples)
        self._reporter.note_ingest(frames)
        left = len(frames.samples)
        for probability in frames.speech.tolist():
            size = min(left, FRAME_SAMPLES)
            left -= size
            for mark in self._segmenter.push(probability, size):
                self._take_mark(mark)
        assert left == 0, "frames without probabilities"
        self._try_in_advance()
        self._try_early_endpoint()
        self._request_partial()
        self._trim()

    def _take_mark(self, mark: Mark) -> None:
        match mark:
            case Onset(at):
                self.stats.utterances += 1
                self._hearing.start_utterance()
                self._readings.open(at)
            case Pause(at):
                self._pause = at
            case Resumed():
                self._pause = None
                self._give_up_advance()
            case Endpoint(at):
                self._decide_window(at)
            case Split(at):
                self._decide_window(at)
                self._readings.open(at)

    # ----------------------------------------------------------------- the open window

    @property
    def _delay_s(self) -> float:
        """How overloaded the server is, by whichever of its ends is."""
        return max(self._queue_delay_s, self._behind_s)

    def _request_partial(self) -> None:
        """Ask for a reading of the open window once enough new audio stands."""
        segmenter, readings = self._segmenter, self._readings
        # The first silent frames may be a pause: then the final in advance reads it
        # all, and one in three sentences is spared a reading right before it.
        if not segmenter.is_speech or segmenter.silence or self._finals:
            return
        end = segmenter.position
        if not readings.is_due(end, delay_s=self._delay_s):
            return
        length = end - readings.start
        request = self._requests.partial(
            self._buffer.read(readings.start, end),
            readings.start,
            language=self._hearing.language,
            context=self._reporter.transcript.context,
            # Times of words cost a quarter more; they pay once a cut is due.
            word_timestamps=length >= self._shorten_after
            and (self._options.word_timestamps or length >= 2 * self._shorten_after),
        )
        readings.begin(self._submit(request), end)

    def _take_reading(self, reading: Reading, hypothesis: Hypothesis) -> None:
        segments = self._believed(hypothesis, reading, is_final=False)
        if not segments or not self._may_show(hypothesis, reading, is_final=False):
            return
        words = _words(segments)
        stabiliser = self._readings.stabiliser
        stabiliser.update(words)
        cut = None
        if self._finals.advance is None:  # else the window is about to be decided
            cut = find_cut(
                segments,
                stabiliser.confirmed,
                start=reading.start,
                end=reading.end,
                shorten_after=self._shorten_after,
                loudness=self._segmenter,
            )
        if cut is None:
            self._show(segments[0].start, reading.end)
        else:
            self._shorten(cut, reading.end)

    def _shorten(self, cut: Cut, heard_to: int) -> None:
        """Decide what lies before the cut and go on behind it."""
        self._seam = cut.seam
        self._readings.cut(cut.at, cut.words)
        self._segmenter.advance(cut.at)
        self._withdraw_readings()
        self._effects += self._reporter.commit(
            cut.segments,
            until=cut.at,
            heard_to=heard_to,
            received=self._received,
            partial=self._readings.stabiliser.shown,
        )
        self._trim()

    def _show(self, start: int, end: int) -> None:
        text = self._readings.stabiliser.shown
        self._effects += self._reporter.show(start, end, text, received=self._received)

    def _withdraw_readings(self) -> None:
        self._effects += [Cancel(request) for request in self._readings.withdraw()]

    # ----------------------------------------------------------------- decided windows

    def _try_in_advance(self) -> None:
        """The utterance may be over: decode it now, while the silence is awaited."""
        start, end = self._readings.start, self._pause
        self._pause = None
        if end is None or end - start < _SHORTEST:
            return
        if self._finals or self._delay_s > _ADVANCE_BELOW_S:
            return
        self._withdraw_readings()
        self._submit_final(self._finals.begin_advance(start, end))

    def _give_up_advance(self) -> None:
        """The utterance goes on; what is under way is only another reading of it."""
        final = self._finals.give_up_advance()
        if final is None or final.outcome is not None:
            return
        assert final.request_id is not None, "what is tried in advance is submitted"
        self._readings.begin(final.request_id, final.end, is_withdrawn=True)
        self._effects.append(Cancel(final.request_id))

    def _try_early_endpoint(self) -> None:
        """End the utterance sooner: its text is settled and it is clearly silent."""
        silence = self._segmenter.silence
        if self._finals.advance is None or not self._finals.advance.is_settled:
            return
        patience_s = max(
            self._stream.early_endpoint_ms / 1000,
            self._options.vad.hangover_s * _LEAST_OF_HANGOVER,
        )
        if silence < s_to_samples(patience_s):
            return
        position = self._segmenter.position
        quiet = self._segmenter.evidence(position - silence, position)
        if quiet < self._options.vad.release / 2:
            self._end_speech()

    def _end_speech(self) -> None:
        mark = self._segmenter.end_now()
        if mark is not None:
            self._take_mark(mark)

    def _decide_window(self, end: int) -> None:
        """The window ends here for good; its text comes from one final request."""
        self._pause = None
        start, advance = self._readings.start, self._finals.advance
        if advance is not None and advance.end > end:  # a split before the pause
            self._give_up_advance()
        self._readings.close()
        self._withdraw_readings()
        if end - start >= _SHORTEST:
            self._finals.decide(start, end)
            self._pump()

    def _pump(self) -> None:
        """Bring decided windows to their end, in order, one request at a time."""
        while (final := self._finals.first) is not None:
            if final.request_id is None:
                self._submit_final(final)
            if final.outcome is None:
                return
            self._finals.pop()
            self._resolve(final, final.outcome)
        self._trim()
        if self._state is State.FLUSHING:
            over_time = self._closing is _OVER_TIME
            self._effects += self._reporter.finish(over_time=over_time)
            self._effects.append(self._closing)
            self._state = State.CLOSED

    def _submit_final(self, final: Final) -> None:
        request = self._requests.final(
            self._buffer.read(final.start, final.end),
            final.start,
            language=self._hearing.language,
            context=self._reporter.transcript.context,
        )
        final.request_id = self._submit(request)

    def _resolve(self, final: Final, outcome: Outcome) -> None:
        match outcome:
            case Hypothesis():
                segments = self._believed(outcome, final, is_final=True)
                if segments:
                    self._may_show(outcome, final, is_final=True)
                self._effects += self._reporter.commit(
                    [settled(segment) for segment in segments],
                    until=final.end,
                    heard_to=final.end,
                    received=self._received,
                )
            case RequestFailed():
                self._reporter.fail(final.start, final.end, outcome.error.kind)
            case Cancelled():
                self._reporter.fail(final.start, final.end, "cancelled")

    # ------------------------------------------------------------------------ outcomes

    def _take_outcome(self, outcome: Outcome) -> None:
        """One answer to one request; a stale one changes nothing."""
        if isinstance(outcome, Hypothesis):
            delay = outcome.timing.queue_s
            self._queue_delay_s += (delay - self._queue_delay_s) * 0.3
        final = self._finals.answer(outcome)
        if final is None:
            reading = self._readings.finish(outcome)
            if reading is not None and self._state is State.LIVE:
                assert isinstance(outcome, Hypothesis), "others are never fresh"
                self._take_reading(reading, outcome)
        elif final is self._finals.advance:
            self._take_advance(final, outcome)
        else:
            self._pump()

    def _take_advance(self, final: Final, outcome: Outcome) -> None:
        if not isinstance(outcome, Hypothesis):
            self._finals.give_up_advance()  # the endpoint will ask again
            return
        self._readings.heard(final.end)
        stabiliser = self._readings.stabiliser
        segments = self._believed(outcome, final, is_final=False)
        words = _words(segments)
        # Seldom had the reading before it all the words already, so that a closed
        # sentence has to do: finals at 0.66 s came down to 0.48 s (95th percentile).
        final.is_settled = bool(words) and (
            ends_sentence(segments[-1].text)
            or _equal(words, split_words(stabiliser.text))
        )
        if segments and self._may_show(outcome, final, is_final=False):
            stabiliser.update(words)
            self._show(segments[0].start, final.end)

    def _believed(
        self, hypothesis: Hypothesis, window: Reading | Final, *, is_final: bool
    ) -> Sequence[HypothesisSegment]:
        self._reporter.note_request(hypothesis.timing)
        segments = self._hearing.believe(
            hypothesis, self._segmenter.evidence, is_final=is_final
        )
        if self._seam is not None and self._seam.at == window.start:
            return mend(segments, self._seam)
        return segments

    def _may_show(
        self, hypothesis: Hypothesis, window: Reading | Final, *, is_final: bool
    ) -> bool:
        """Settle and announce the language; False: too early to show anything."""
        length = window.end - window.start
        if not self._hearing.settle_language(hypothesis, length, is_final=is_final):
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
        self._withdraw_readings()
        self._effects += [Cancel(request) for request in self._finals.clear()]
        self._state = State.CLOSED

    # ------------------------------------------------------------------------- helpers

    def _submit(self, request: Request) -> int:
        self.stats.requests[request.kind] += 1
        self._effects.append(Submit(request))
        return request.id

    def _decided_to(self) -> int:
        """Everything before this has been decided or is silence."""
        if (first := self._finals.first) is not None:
            return first.start
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
        self._reporter.transcript.check(received=self._received)
        self._finals.check()
        self._readings.check()
        assert self._buffer.start <= self._decided_to() <= self._buffer.end
        bound = self._stream.max_buffer_s + 5.0  # one message's worth over the bound
        assert self.undecided <= s_to_samples(bound), "the buffer is unbounded"
        if self._segmenter.is_speech and self._state is State.LIVE:
            assert self._segmenter.window_start == self._readings.start
        if not self.has_room:
            assert self._finals, "there is no room and nothing will make any"
        if self._state is State.CLOSED:
            assert not self._finals, "closed with undecided windows"


def _words(segments: Sequence[HypothesisSegment]) -> list[str]:
    return [word for segment in segments for word in split_words(segment.text)]


def _equal(left: Sequence[str], right: Sequence[str]) -> bool:
    return [normalise(word) for word in left] == [normalise(word) for word in right]
