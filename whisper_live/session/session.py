"""The state machine of one client: audio and outcomes in, requests and updates out.

    LIVE --EndOfAudio, Drain, over time--> FLUSHING --all decided--> CLOSED
    any --PeerGone--> CLOSED

An utterance is shown as a growing interim text while it is spoken and decided by a
final request once it has ended.  The final is tried in advance at the first pause
(preflight): if speech does not resume, its text is there when the endpoint fires.
Where the engine answers only the first part of a window, the final reads on behind it.
A window that grows long is cut wherever agreed words end at a quiet frame, so that a
monologue costs no more than it must.

Pure: ``now`` is an argument, positions are samples, and ``receive`` only returns
effects.  Every request submitted here gets exactly one outcome back.  How an update
looks on a wire is a protocol's affair.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import replace

from whisper_live.audio import SampleBuffer, s_to_samples
from whisper_live.config.model import Config
from whisper_live.inference.load_steps import LoadStep
from whisper_live.inference.types import (
    Cancelled,
    Hypothesis,
    HypothesisSegment,
    Outcome,
    Request,
    RequestFailed,
)
from whisper_live.session.commit import Cut, find_cut, joined, settled, spaced, stitched
from whisper_live.session.decode_policy import DecodePolicy
from whisper_live.session.endpointing import (
    Endpoint,
    Mark,
    Onset,
    Pause,
    Resumed,
    Segmenter,
)
from whisper_live.session.events import (
    Cancel,
    Configure,
    Drain,
    Effect,
    End,
    EndOfAudio,
    Event,
    Flush,
    Frames,
    PeerGone,
    Submit,
)
from whisper_live.session.hallucination import HallucinationFilter
from whisper_live.session.language import SpokenLanguage
from whisper_live.session.options import SessionOptions, plainly
from whisper_live.session.stats import SessionStats
from whisper_live.session.transcript import Transcript
from whisper_live.session.updates import (
    Dropped,
    Ending,
    Language,
    Segment,
    SpeechEvent,
    SpeechMoment,
    Timings,
    Update,
)
from whisper_live.session.window import (
    MOST_STUCK,
    UNREAD,
    DecidedWindows,
    Final,
    InterimRequest,
    Window,
)
from whisper_live.text.words import ends_sentence, normalise, split_words

__all__ = ["Session", "State"]

_PREFLIGHT_BELOW_S = 0.15  # delay under which finals are requested in advance
# A client that asks for more patience than 0.5 s gets it in an early endpoint too.
_LEAST_OF_HANGOVER = 0.6
_SHORTEST = s_to_samples(0.1)  # a window shorter than this holds no word


class State(enum.Enum):
    """Where a session stands."""

    LIVE = "live"
    FLUSHING = "flushing"
    CLOSED = "closed"


class Session:
    """One client's state.

    ``name`` is unique in the process and safe to log; ``ids`` gives request ids;
    ``now`` is when the session begins.
    """

    def __init__(
        self,
        config: Config,
        options: SessionOptions,
        *,
        name: str,
        ids: Iterator[int],
        now: float,
    ) -> None:
        self.name = name
        self.stats = SessionStats()
        if options.plain:
            config = replace(config, stream=plainly(config.stream))
        self._options = options
        self._stream = config.stream
        self._cut_after = s_to_samples(config.stream.commit_after_s)
        self._state = State.LIVE
        self._ending = Ending.FINISHED
        self._effects: list[Effect] = []

        longest_s = min(config.stream.max_window_s, options.vad.max_speech_s)
        self._segmenter = Segmenter(options.vad, max_window=s_to_samples(longest_s))
        self._window = Window(config.stream)
        self._decided = DecidedWindows()
        self._policy = DecodePolicy(config, options, session=name, ids=ids)
        self._filter = HallucinationFilter(
            no_speech_threshold=options.no_speech_threshold,
            suppressed=self.stats.suppressed,
        )
        self._language = SpokenLanguage(
            options.language, multilingual=options.multilingual
        )
        self._transcript = Transcript()

        self._buffer = SampleBuffer()
        self._received = 0
        self._pause: int | None = None  # where the newest frames made a pause
        self._timings = Timings()
        self._queue_delay_s = 0.0  # smoothed, of our own requests
        self._behind_s = 0.0  # of our audio, see `backlog`
        self._waits_since = now  # when the newest audio came, or room for more
        limit_s = config.limits.max_session_s
        self._over_time_at = now + limit_s if limit_s else None

    # ------------------------------------------------------------------ what is known

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

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
        """Take one event; the effects are to be performed in order."""
        if not self.has_room:
            self._waits_since = now
        match event:
            case Frames():
                self._take_frames(event, now)
            case Hypothesis() | RequestFailed() | Cancelled():
                self._take_outcome(event)
            case Flush():
                if self._state is State.LIVE:
                    self._end_speech()
            case Configure(options):
                self._configure(options)
            case EndOfAudio():
                self._flush(Ending.FINISHED)
            case Drain():
                self._flush(Ending.RESTARTING)
            case PeerGone():
                self._abandon()
        return self._perform()

    def expire(self, *, now: float) -> list[Effect]:
        """The deadline has come: finish stalled speech, or a session over its time."""
        if self._state is State.LIVE:
            if self._over_time_at is not None and now >= self._over_time_at:
                self._flush(Ending.OVER_TIME)
            elif (
                self._may_stall
                and now >= self._waits_since + self._stream.stall_flush_s
            ):
                self._end_speech()
        return self._perform()

    def _perform(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _configure(self, options: SessionOptions) -> None:
        """What is asked of the engine from now on; what was asked stays as it was."""
        if options.language != self._options.language:
            self._language.choose(options.language)
            self._window.agreement.reset()
        self._options = options
        self._policy.configure(options)
        self._segmenter.configure(options.vad)

    def _take_frames(self, frames: Frames, now: float) -> None:
        start = self._received
        self._received += len(frames.samples)
        if self._state is State.FLUSHING:
            # It was on its way when the flush began; the client is told, unless
            # there was nothing to hear.
            if frames.speech.max(initial=0.0) >= self._options.vad.threshold:
                self._drop(start, self._received, "closing")
        if self._state is not State.LIVE:
            return
        self._waits_since = now
        self._behind_s = frames.behind_s
        self._timings = replace(
            self._timings, decode_s=frames.decode_s, vad_s=frames.vad_s
        )
        self._buffer.append(frames.samples)
        for probability, size in frames.scored():
            for mark in self._segmenter.push(probability, size):
                self._take_mark(mark)
            at = self._segmenter.split_point(self._window.start)
            if at is not None:
                self._split_window(at)
        self._try_preflight()
        self._try_early_endpoint()
        self._request_interim()
        self._trim()

    def _take_mark(self, mark: Mark) -> None:
        match mark:
            case Onset(at):
                self.stats.utterances += 1
                self._language.start_utterance()
                self._window.open(at)
                self._tell_speech(SpeechMoment.STARTED, at)
            case Pause(at):
                self._pause = at
                self._tell_speech(SpeechMoment.STOPPED, at)
            case Resumed():
                self._pause = None
                self._give_up_preflight()
                self._tell_speech(SpeechMoment.RESUMED, self._segmenter.position)
            case Endpoint(at):
                self._tell_speech(SpeechMoment.TURN_ENDED, at)
                self._decide_window(at)

    # ----------------------------------------------------------------- the open window

    @property
    def _delay_s(self) -> float:
        """How overloaded the server is, by whichever of its ends is."""
        return max(self._queue_delay_s, self._behind_s)

    def _request_interim(self) -> None:
        """Ask for a reading of the open window once enough new audio stands."""
        segmenter, window = self._segmenter, self._window
        # The first silent frames may be a pause: then the preflight reads it all, and
        # one in three sentences is spared a reading right before it.
        if not segmenter.is_speech or segmenter.silence or self._decided:
            return
        end = segmenter.position
        if not window.is_due(end, delay_s=self._delay_s):
            return
        length = end - window.start
        language = self._language.current
        request = self._policy.partial(
            self._buffer.read(window.start, end),
            window.start,
            language=language,
            context=self._transcript.context,
            # The language may still turn out to be another: then nothing is agreed.
            prefix=window.agreement.agreed if language else "",
            # Times of words cost a quarter more; they pay once a cut is due.
            word_timestamps=length >= self._cut_after
            and (self._options.word_timestamps or length >= 2 * self._cut_after),
        )
        window.begin(self._submit(request), end)

    def _take_reading(self, reading: InterimRequest, hypothesis: Hypothesis) -> None:
        segments = self._believed(hypothesis, reading, is_final=False)
        if not segments or not self._may_show(hypothesis, reading, is_final=False):
            return
        agreement = self._window.agreement
        agreement.update(_words(segments))
        cut = None
        if self._window.preflight is None:  # else it is about to be decided
            cut = find_cut(
                segments,
                agreement.confirmed,
                start=reading.start,
                end=reading.end,
                shorten_after=self._cut_after,
                loudness=self._segmenter,
            )
        if cut is None:
            self._show(segments[0].start, reading.end)
        else:
            self._cut_window(cut, reading.end)

    def _cut_window(self, cut: Cut, heard_to: int) -> None:
        """Decide what lies before the cut and go on behind it."""
        self._window.cut(cut)
        self._segmenter.decide(cut.at)
        self._withdraw_interim()
        self._commit(
            cut.segments,
            until=cut.at,
            heard_to=heard_to,
            interim=self._window.agreement.shown,
        )
        self._trim()

    def _show(self, start: int, end: int) -> None:
        text = spaced(self._window.agreement.shown)
        if self._transcript.show(start, end, text):
            self._tell_text((), end)

    def _withdraw_interim(self) -> None:
        self._effects += [Cancel(request) for request in self._window.withdraw()]

    # ----------------------------------------------------------------- decided windows

    def _try_preflight(self) -> None:
        """The utterance may be over: decode it now, while the silence is awaited."""
        end, self._pause = self._pause, None
        if end is None or end - self._window.start < _SHORTEST or self._options.plain:
            return
        if self._decided or self._delay_s > _PREFLIGHT_BELOW_S:
            return
        self._withdraw_interim()
        self._submit_final(self._window.begin_preflight(end))

    def _give_up_preflight(self) -> None:
        """The utterance goes on; what is under way is only another reading of it."""
        final = self._window.give_up_preflight()
        if final is None or final.outcome is not None:
            return
        assert final.request_id is not None, "a preflight is submitted at once"
        if not final.readings:  # else it reads the last part alone
            self._window.begin(final.request_id, final.end, is_withdrawn=True)
        self._effects.append(Cancel(final.request_id))

    def _try_early_endpoint(self) -> None:
        """End the utterance sooner: its text is settled and it is clearly silent."""
        silence = self._segmenter.silence
        preflight = self._window.preflight
        if preflight is None or not preflight.is_settled:
            return
        patience_s = max(
            self._options.vad.early_s,
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

    def _split_window(self, at: int) -> None:
        """The window is full: decide all before ``at`` while speech goes on."""
        self._segmenter.decide(at)
        self._decide_window(at)
        self._window.open(at)

    def _decide_window(self, end: int) -> None:
        """The window ends here for good; its text comes from one final request."""
        self._pause = None
        preflight = self._window.preflight
        if preflight is not None and preflight.end > end:  # a split before the pause
            self._give_up_preflight()
        final = self._window.decide(end)
        self._withdraw_interim()
        if end - final.start >= _SHORTEST:
            self._decided.add(final)
            self._pump()

    def _pump(self) -> None:
        """Bring decided windows to their end, in order, one request at a time."""
        while (final := self._decided.first) is not None:
            if final.request_id is None:
                self._submit_final(final)
            if final.outcome is None:
                return
            self._decided.pop()
            self._resolve(final, final.outcome)
        self._trim()
        if self._state is State.FLUSHING:
            self._effects.append(End(self._ending))
            self._state = State.CLOSED

    def _submit_final(self, final: Final) -> None:
        """Ask for all of it that was not read yet."""
        read = "".join(s.text for reading in final.readings for s in reading.segments)
        request = self._policy.final(
            self._buffer.read(final.read_to, final.end),
            final.read_to,
            language=self._language.current,
            context=self._transcript.context + read,
            greedily=self._timings.load >= LoadStep.GREEDY_FINALS,
        )
        final.request_id = self._submit(request)

    def _resolve(self, final: Final, outcome: Outcome) -> None:
        match outcome:
            case Hypothesis():
                self._commit_final(final, until=final.end)
                if final.is_unread(self._segmenter.voiced):
                    self._drop(final.read_to, final.end, UNREAD)
            case RequestFailed():
                self._fail(final, outcome.error.kind)
            case Cancelled():
                self._fail(final, "cancelled")

    def _commit_final(self, final: Final, *, until: int) -> None:
        segments = self._believed_all(final, is_final=True)
        if segments:
            self._may_show(final.readings[0], final, is_final=True)
        self._commit(
            [settled(segment) for segment in joined(segments)],
            until=until,
            heard_to=until,
        )

    # ------------------------------------------------------------------------ outcomes

    def _take_outcome(self, outcome: Outcome) -> None:
        """One answer to one request; a stale one changes nothing."""
        if isinstance(outcome, Hypothesis):
            delay = outcome.timing.queue_s
            self._queue_delay_s += (delay - self._queue_delay_s) * 0.3
        final = self._window.preflight or self._decided.first
        if final is None or final.request_id != outcome.request_id:
            reading = self._window.finish(outcome)
            if reading is not None and self._state is State.LIVE:
                assert isinstance(outcome, Hypothesis), "others are never fresh"
                self._take_reading(reading, outcome)
            return
        if isinstance(outcome, Hypothesis):
            final.read_on(outcome)
            if final.is_unread(self._segmenter.voiced) and final.stuck < MOST_STUCK:
                self._submit_final(final)
                return
        final.outcome = outcome
        if final is self._window.preflight:
            self._take_preflight(final, outcome)
        else:
            self._pump()

    def _take_preflight(self, final: Final, outcome: Outcome) -> None:
        if not isinstance(outcome, Hypothesis):
            self._window.give_up_preflight()  # the endpoint will ask again
            return
        self._window.heard(final.end)
        agreement = self._window.agreement
        segments = self._believed_all(final, is_final=False)
        words = _words(segments)
        # Seldom had the reading before it all the words already, so that a closed
        # sentence has to do: finals at 0.66 s came down to 0.48 s (95th percentile).
        final.is_settled = bool(words) and (
            ends_sentence(segments[-1].text)
            or _equal(words, split_words(agreement.text))
        )
        if segments and self._may_show(outcome, final, is_final=False):
            agreement.show_all(words)
            self._show(segments[0].start, final.end)
            if final.is_settled:
                self._tell_speech(SpeechMoment.TURN_PROBABLY_OVER, final.end)

    def _believed_all(
        self, final: Final, *, is_final: bool
    ) -> Sequence[HypothesisSegment]:
        """What was said by all readings of a window."""
        return [
            segment
            for index, reading in enumerate(final.readings)
            for segment in self._believed(
                reading, final, is_final=is_final, is_first=not index
            )
        ]

    def _believed(
        self,
        hypothesis: Hypothesis,
        window: InterimRequest | Final,
        *,
        is_final: bool,
        is_first: bool = True,
    ) -> Sequence[HypothesisSegment]:
        timing = hypothesis.timing
        self._timings = replace(
            self._timings,
            queue_s=timing.queue_s,
            engine_s=timing.engine_s,
            batch_size=timing.batch_size,
            context_s=timing.context_s or None,
            is_fallback=timing.is_fallback,
            load=timing.load,
        )
        segments = self._filter.keep(
            hypothesis, self._segmenter.probabilities, is_final=is_final
        )
        stitch = self._window.stitch_of(window.start) if is_first else None
        return segments if stitch is None else stitched(segments, stitch)

    def _may_show(
        self, hypothesis: Hypothesis, window: InterimRequest | Final, *, is_final: bool
    ) -> bool:
        """Settle and announce the language; False: too early to show anything."""
        length = window.end - window.start
        if not self._language.settle(hypothesis, length, is_final=is_final):
            return False
        if told := self._language.announcement(hypothesis):
            self._tell(language=told)
        return True

    # ---------------------------------------------------------- what the client is told

    def _commit(
        self,
        segments: Sequence[Segment],
        *,
        until: int,
        heard_to: int,
        interim: str = "",
    ) -> None:
        """Segments that will not change again, all of them before ``until``.

        ``interim`` is what was heard behind them, in audio up to ``heard_to``.
        """
        if not self._options.word_timestamps:
            segments = [replace(segment, words=()) for segment in segments]
        was_shown = self._transcript.interim is not None
        completed = self._transcript.commit(
            segments, until=until, interim=spaced(interim), heard_to=heard_to
        )
        if completed or was_shown:
            self._tell_text(completed, heard_to)

    def _fail(self, final: Final, reason: str) -> None:
        """A window has no text; what was last shown of it stays until the next one.

        What earlier readings of it said is kept, and only the rest given up.
        """
        if final.read_to - final.start >= _SHORTEST:
            self._commit_final(final, until=final.read_to)
        else:
            self._transcript.forget_interim()
        self._drop(final.read_to, final.end, reason)

    def _drop(self, start: int, end: int, reason: str) -> None:
        self.stats.dropped[reason] += end - start
        self._tell(dropped=(Dropped(start, end, reason),))

    def _tell_speech(self, moment: SpeechMoment, at: int) -> None:
        self._tell(speech=SpeechEvent(moment, at))

    def _tell_text(self, completed: tuple[Segment, ...], heard_to: int) -> None:
        lag = self._received - heard_to
        self.stats.lags.append(lag)
        self._tell(completed=completed, lag=lag)

    def _tell(
        self,
        *,
        completed: tuple[Segment, ...] = (),
        dropped: tuple[Dropped, ...] = (),
        language: Language | None = None,
        speech: SpeechEvent | None = None,
        lag: int = 0,
    ) -> None:
        self._effects.append(
            Update(
                completed=completed,
                interim=self._transcript.interim,
                dropped=dropped,
                language=language,
                speech=speech,
                timings=self._timings,
                lag=lag,
            )
        )

    # ------------------------------------------------------------------------- the end

    def _flush(self, ending: Ending) -> None:
        """No more audio: bring all speech to text, then end."""
        if self._state in (State.FLUSHING, State.CLOSED):
            return
        self._ending = ending
        self._end_speech()
        self._state = State.FLUSHING
        self._pump()

    def _abandon(self) -> None:
        """Nobody listens any more: withdraw everything."""
        self._withdraw_interim()
        ids = self._decided.clear()
        preflight = self._window.give_up_preflight()
        if preflight is not None and preflight.request_id is not None:
            ids.append(preflight.request_id)
        self._effects += [Cancel(request) for request in ids]
        self._state = State.CLOSED

    # ------------------------------------------------------------------------- helpers

    def _submit(self, request: Request) -> int:
        self._effects.append(Submit(request))
        return request.id

    def _decided_to(self) -> int:
        """Everything before this has been decided or is silence."""
        if (first := self._decided.first) is not None:
            return first.start
        if self._segmenter.is_open:
            return self._segmenter.keep_from
        return self._buffer.end

    def _trim(self) -> None:
        """Give up audio and probabilities that nothing will ask for again."""
        keep = min(self._segmenter.keep_from, self._decided_to())
        self._buffer.trim(keep)
        self._segmenter.forget(keep)

    def check(self) -> None:
        """Invariants, for tests to call after every event."""
        self._transcript.check(received=self._received)
        self._window.check()
        self._decided.check()
        assert self._window.preflight is None or not self._decided, "two finals at once"
        assert self._buffer.start <= self._decided_to() <= self._buffer.end
        bound = self._stream.max_buffer_s + 5.0  # one message's worth over the bound
        assert self.undecided <= s_to_samples(bound), "the buffer is unbounded"
        if self._state is State.LIVE:
            assert self._window.is_open == self._segmenter.is_speech
        if not self.has_room:
            assert self._decided, "there is no room and nothing will make any"
        if self._state is State.CLOSED:
            assert not self._decided, "closed with undecided windows"


def _words(segments: Sequence[HypothesisSegment]) -> list[str]:
    return [word for segment in segments for word in split_words(segment.text)]


def _equal(left: Sequence[str], right: Sequence[str]) -> bool:
    return [normalise(word) for word in left] == [normalise(word) for word in right]
