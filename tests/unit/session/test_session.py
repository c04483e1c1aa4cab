"""The session's policy, event by event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.helpers import SessionHarness, frames_of, hear_marks, heard_words, say
from whisper_live.audio import FRAME_SAMPLES, Samples, s_to_samples
from whisper_live.config.model import Config, LimitConfig, StreamConfig
from whisper_live.errors import EngineTimeout, WindowRejected
from whisper_live.inference.load_steps import LoadStep
from whisper_live.inference.types import (
    Cancelled,
    DecodeOptions,
    Hypothesis,
    HypothesisSegment,
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
    Timing,
    Word,
)
from whisper_live.protocols.base import Close
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.session.events import (
    Configure,
    Drain,
    End,
    EndOfAudio,
    Flush,
    Frames,
    PeerGone,
)
from whisper_live.session.options import SessionOptions, VadOptions
from whisper_live.session.session import Session, State
from whisper_live.session.updates import Ending, SpeechMoment
from whisper_live.testing.marks import read_numbers, write_speech, write_words

FINAL, PARTIAL = RequestKind.FINAL, RequestKind.PARTIAL
HANGOVER = s_to_samples(0.5)


def words(*numbers: int) -> Samples:
    """The words, and silence up to a whole frame."""
    samples = write_words(numbers)[0]
    return np.append(samples, np.zeros(-len(samples) % FRAME_SAMPLES, np.float32))


def silence(seconds: float) -> Samples:
    return np.zeros(s_to_samples(seconds), np.float32)


def slow(**more: Any) -> SessionHarness:
    """A session whose engine answers when it is told to."""
    return SessionHarness(answers_at_once=False, **more)


def kinds(harness: SessionHarness) -> list[RequestKind]:
    return [request.kind for request in harness.requests]


def waiting(harness: SessionHarness) -> RequestKind | None:
    """What is queued."""
    return harness.queued.kind if harness.queued else None


def state(harness: SessionHarness) -> State:
    return harness.session.state


# -------------------------------------------------------------------- order of events


def test_a_plain_session_reads_the_whole_window_again_at_a_fixed_pace() -> None:
    plain = SessionHarness(options=ClientOptions(uid="u", language="en", plain=True))
    tuned = SessionHarness()
    spoken, samples = list(range(1, 40)), words(*range(1, 40))
    for harness in (plain, tuned):
        harness.play(samples)
        harness.play(silence(1.2))
        harness.play(words(40))
        harness.end()
        assert read_numbers("".join(harness.completed())) == [*spoken, 40]
    readings = [request for request in plain.requests if request.kind is PARTIAL]
    first = [each for each in readings if each.start == readings[0].start]
    lengths = [len(each.audio) for each in first]
    steps = {
        after - before for before, after in zip(lengths, lengths[1:], strict=False)
    }
    assert len(samples) - lengths[-1] < 2 * 16_000, "it was never shortened"
    # A second, in messages of 0.256 s, and one more where the last frame is silent.
    assert steps <= {16_384, 20_480} and len(lengths) > 5
    assert kinds(plain).count(FINAL) == 2, "none in advance"
    said = {(each.options.prompt, each.options.prefix) for each in plain.requests}
    assert said == {("", "")}
    assert any(
        request.start > tuned.requests[0].start for request in tuned.requests[:-2]
    )


def test_an_empty_session_closes_at_once() -> None:
    harness = SessionHarness()
    harness.end()
    assert harness.closed == Close(1000) and len(harness.sent) == 1


def test_a_session_that_was_told_nothing_can_be_drained() -> None:
    session = Session(Config(), SessionOptions(), name="s", ids=iter(range(9)), now=0.0)
    assert session.receive(Drain(), now=0.0) == [End(Ending.RESTARTING)]
    assert session.receive(EndOfAudio(), now=0.0) == []


def test_draining_flushes_first_and_keeps_an_earlier_goodbye() -> None:
    harness = slow()
    harness.play(words(1, 2))
    harness.tell(Drain())
    harness.tell(EndOfAudio())
    assert harness.session.state is State.FLUSHING and not harness.session.is_speaking
    harness.answer_all()
    assert harness.completed() == [" w1 w2"]
    assert harness.closed == Close(1012, "service restart")


def test_the_peer_leaves_and_everything_is_withdrawn() -> None:
    harness = slow()
    harness.play(words(1, 2, 3, 4, 5, 6))
    assert waiting(harness) is PARTIAL
    harness.tell(PeerGone())
    assert (waiting(harness), state(harness)) == (None, State.CLOSED)
    harness.tell(PeerGone())
    harness.hear_frames(say(0.9))
    assert harness.session.deadline() is None and not harness.dropped


def test_the_peer_leaves_while_a_final_waits() -> None:
    harness = slow()
    harness.play(words(1, 2))
    harness.tell(EndOfAudio())
    assert waiting(harness) is FINAL
    harness.tell(PeerGone())
    assert (waiting(harness), harness.closed) == (None, None)


def test_an_outcome_that_nobody_asked_for_changes_nothing() -> None:
    harness = slow()
    harness.play(words(1, 2))
    harness.tell(Hypothesis(999, (), "en", 1.0))
    assert len(harness.sent) == 1


# ----------------------------------------------------------------------- from onset on


def test_partials_then_a_preview_and_the_completed_text() -> None:
    harness = SessionHarness()
    harness.play(words(1, 2, 3, 4))
    harness.play(silence(1.0))
    assert harness.completed() == [" w1 w2 w3 w4"]
    assert harness.partials[0] == " w1" and harness.partials[-1] == " w1 w2 w3 w4"
    assert harness.session.undecided == 0
    assert harness.session.stats.utterances == 1


def test_a_single_short_word_is_transcribed() -> None:
    harness = SessionHarness()
    harness.play(write_words([7], word_s=0.12)[0])
    harness.play(silence(1.0))
    assert harness.completed() == [" w7"]


@pytest.mark.parametrize(
    ("speech", "no_speech", "text"), [(0.01, 0.95, []), (0.01, 0.1, [" you you"])]
)
def test_silence_that_a_client_wants_read_is_judged_by_its_speech_too(
    speech: float, no_speech: float, text: list[str]
) -> None:
    def hear(request: Request) -> Outcome:
        return Hypothesis(
            request.id,
            (
                HypothesisSegment(
                    request.start, request.end, " you you", no_speech, -0.3
                ),
            ),
            "en",
            1.0,
        )

    options = ClientOptions(uid="u", language="en", use_vad=False)
    harness = SessionHarness(options=options, hear=hear)
    samples = silence(3.0)
    probabilities = np.full(len(samples) // FRAME_SAMPLES, speech, np.float32)
    whole = samples[: len(probabilities) * FRAME_SAMPLES]
    harness.hear_frames(Frames(whole, probabilities))
    harness.end()
    assert harness.completed() == text


def test_silence_and_clicks_never_reach_the_engine() -> None:
    harness = SessionHarness()
    harness.hear_frames(say(0.0, 0.3, frames=200))
    harness.hear_frames(say(0.9, frames=2))
    harness.hear_frames(say(0.0, frames=200))
    harness.end()
    assert harness.requests == [] and len(harness.sent) == 1


def test_only_much_newer_audio_replaces_a_waiting_partial() -> None:
    harness = slow()
    harness.hear_frames(say(0.9, frames=20))
    for _ in range(10):
        harness.hear_frames(say(0.9, frames=8))
    assert [r.end // FRAME_SAMPLES for r in harness.requests] == [20, 84]
    assert harness.outcomes == [1] and kinds(harness) == [PARTIAL, PARTIAL]


def test_nothing_is_read_while_the_silence_may_become_a_pause() -> None:
    harness = slow()
    harness.hear_frames(say(0.9, frames=9))
    harness.hear_frames(say(0.0, frames=4))
    assert harness.requests == []
    harness.hear_frames(say(0.9))
    assert [r.end // FRAME_SAMPLES for r in harness.requests] == [14]


def test_a_slow_queue_makes_partials_rarer_and_stops_advances() -> None:
    harness = slow()

    def late(request: Request) -> Outcome:
        return Hypothesis(request.id, (), "en", 1.0, Timing(queue_s=10.0))

    harness.hear = late
    harness.hear_frames(say(0.9, frames=20))
    harness.answer()
    harness.hear_frames(say(0.9, frames=60))
    assert len(harness.requests) == 1
    harness.hear_frames(say(0.0, frames=8))
    assert kinds(harness) == [PARTIAL]
    harness.hear_frames(say(0.0, frames=10))
    assert kinds(harness) == [PARTIAL, FINAL]


def test_audio_taken_in_late_makes_partials_rarer_and_stops_advances() -> None:
    harness = slow()

    def hear(frames: Frames) -> None:
        harness.hear_frames(replace(frames, behind_s=0.6))

    hear(say(0.9, frames=20))
    assert harness.requests == []
    hear(say(0.9, frames=50))
    assert kinds(harness) == [PARTIAL], "after two seconds instead of half a second"
    harness.answer()
    hear(say(0.0, frames=8))
    assert kinds(harness) == [PARTIAL]
    hear(say(0.0, frames=10))
    assert kinds(harness) == [PARTIAL, FINAL]


def prefixes(harness: SessionHarness, kind: RequestKind) -> list[str]:
    return [r.options.prefix for r in harness.requests if r.kind is kind]


def test_interim_readings_begin_with_what_was_agreed_upon() -> None:
    harness = SessionHarness()
    harness.play(words(1, 2, 3, 4, 5, 6))
    first, second, *_, last = prefixes(harness, PARTIAL)
    assert (first, second) == ("", "")  # it takes two to agree
    assert last.startswith(" w1 w2") and " w1 w2 w3 w4 w5 w6".startswith(last)
    harness.end()
    assert set(prefixes(harness, FINAL)) == {""}  # which may change all of it
    assert harness.completed() == [" w1 w2 w3 w4 w5 w6"]


def test_nothing_is_forced_in_a_language_that_is_not_certain() -> None:
    harness = SessionHarness(options=ClientOptions(uid="u", language=None))

    def doubtful(request: Request) -> Outcome:
        outcome = hear_marks(request)
        assert isinstance(outcome, Hypothesis)
        return replace(outcome, language_probability=0.3)

    harness.hear = doubtful
    harness.play(words(1, 2, 3, 4, 5, 6))
    assert set(prefixes(harness, PARTIAL)) == {""}


def test_what_was_agreed_upon_in_another_language_is_not_forced() -> None:
    harness = SessionHarness()
    harness.play(words(1, 2, 3, 4))
    assert prefixes(harness, PARTIAL)[-1]
    count = len(harness.requests)
    harness.tell(Configure(replace(harness.options.session, language="de")))
    harness.play(words(5, 6))
    assert prefixes(harness, PARTIAL)[count] == ""


# ------------------------------------------------------------------------- in advance


def test_finals_are_greedy_while_the_server_gives_up_beams() -> None:
    load = LoadStep.NOTHING

    def hear(request: Request) -> Outcome:
        heard = hear_marks(request)
        assert isinstance(heard, Hypothesis)
        return replace(heard, timing=Timing(load=load))

    options = ClientOptions(uid="u", language="en", beam_size=5)
    harness = SessionHarness(options=options, hear=hear)
    beams = []
    for load in (LoadStep.NOTHING, LoadStep.GREEDY_FINALS, LoadStep.NOTHING):
        harness.play(words(1, 2, 3))
        harness.play(silence(1.0))
        beams.append([r.options.beam_size for r in harness.requests if r.kind is FINAL])
        harness.requests.clear()
    assert beams == [[5], [1], [5]]


def test_the_final_is_there_when_the_endpoint_fires() -> None:
    harness = SessionHarness()
    harness.play(words(1, 2))
    harness.play(silence(0.3))
    assert kinds(harness)[-1] is FINAL and not harness.completed()
    before = len(harness.requests)
    harness.play(silence(0.4))
    assert harness.completed() == [" w1 w2"] and len(harness.requests) == before


def test_the_text_stands_once_the_advance_was_read() -> None:
    def hear(request: Request) -> Outcome:
        if request.kind is FINAL:
            return hear_marks(request)
        wrong = [" no", " such", " words"]
        return heard_words(
            request, [[Word(w, request.start, request.end, 0.9) for w in wrong]]
        )

    harness = SessionHarness(hear=hear)
    harness.play(words(1, 2, 3, 4))
    assert set(harness.partials) == {" no such"}
    harness.play(silence(0.3))
    assert not harness.completed()
    assert harness.partials[-1] == " w1 w2 w3 w4", "no doubt although much is revised"
    harness.play(silence(0.5))
    assert harness.completed() == [" w1 w2 w3 w4"]


def test_speech_resumes_and_the_advance_was_only_a_reading() -> None:
    harness = slow()
    harness.play(words(1, 2))
    harness.start()
    harness.play(silence(0.3))
    harness.answer_all()
    harness.play(words(3, 4))
    harness.answer_all()
    harness.play(silence(1.0))
    harness.answer_all()
    assert harness.completed() == [" w1 w2 w3 w4"]


def test_an_advance_that_runs_when_speech_resumes_is_still_heard() -> None:
    harness = slow()
    harness.play(words(1, 2, 3))
    harness.answer_all()
    harness.play(silence(0.3))
    harness.start()
    assert harness.running is not None and harness.running.kind is FINAL
    harness.play(words(4)[:4096])
    assert harness.partials == [" w1"]
    harness.answer()
    assert harness.partials == [" w1", " w1 w2"], "it was on its way anyhow"


def test_an_advance_that_waits_when_speech_resumes_is_withdrawn() -> None:
    harness = slow()
    harness.play(words(1, 2))
    harness.answer_all()
    harness.play(silence(0.3))
    advance = harness.queued
    assert advance is not None and advance.kind is FINAL
    harness.play(words(3)[:4096])
    assert advance.id in harness.outcomes and harness.partials == [" w1"]


def test_a_failed_advance_is_asked_for_again_at_the_endpoint() -> None:
    harness = slow()
    harness.play(words(1, 2))
    harness.answer_all()
    harness.play(silence(0.3))
    harness.start()
    assert harness.running is not None
    harness.answer(RequestFailed(harness.running.id, EngineTimeout("late")))
    harness.play(silence(0.5))
    harness.answer_all()
    assert harness.completed() == [" w1 w2"] and not harness.dropped


def test_a_pause_and_its_end_in_one_message_ask_for_nothing() -> None:
    harness = slow()
    harness.hear_frames(say(0.9, frames=3))
    harness.hear_frames(Frames(*_run((0.9, 1), (0.0, 5), (0.9, 1))))
    assert kinds(harness) == []


def _run(*runs: tuple[float, int]) -> tuple[Samples, Any]:
    speech = np.concatenate([np.full(n, p, np.float32) for p, n in runs])
    return np.zeros(len(speech) * FRAME_SAMPLES, np.float32), speech


@pytest.mark.parametrize(("quiet", "ended_by"), [(0.0, 0.4), (0.2, 0.6)])
def test_stable_text_and_clear_silence_end_it_sooner(
    quiet: float, ended_by: float
) -> None:
    harness = SessionHarness()
    harness.play(words(1, 2, 3))
    # A reading of the whole text, before the one in advance says the same.
    harness.play(words(4)[: 8 * FRAME_SAMPLES])
    spoken = harness.clock.now
    harness.hear = lambda request: Hypothesis(
        request.id,
        (HypothesisSegment(request.start, request.start + 100, " w1 w2 w3"),),
        "en",
        1.0,
    )
    harness.hear_frames(say(0.9, frames=16))
    spoken = harness.clock.now
    while not harness.completed():
        harness.hear_frames(say(quiet, frames=2))
    assert ended_by - 0.1 <= harness.clock.now - spoken <= ended_by


@pytest.mark.parametrize(
    ("text", "hangover_s", "ended_by"),
    [(" Stop.", 0.5, 0.4), (" Stop", 0.5, 0.6), (" Stop.", 1.0, 0.7)],
)
def test_a_closed_sentence_ends_it_sooner_but_not_before_the_client_is_patient(
    text: str, hangover_s: float, ended_by: float
) -> None:
    options = ClientOptions("u", language="en", vad=VadOptions(hangover_s=hangover_s))
    harness = SessionHarness(options=options)
    harness.hear = lambda request: Hypothesis(
        request.id,
        (HypothesisSegment(request.start, request.start + 100, text),),
        "en",
        1.0,
    )
    harness.hear_frames(say(0.9, frames=8))  # too short for any reading before
    spoken = harness.clock.now
    while not harness.completed():
        harness.hear_frames(say(0.0, frames=2))
    assert ended_by - 0.1 <= harness.clock.now - spoken <= ended_by


# -------------------------------------------------------------------------- utterances


@pytest.mark.parametrize("preroll_s", [0.0, 0.3, 2.0])
def test_no_word_is_heard_twice_by_two_utterances(preroll_s: float) -> None:
    options = ClientOptions("u", language="en", vad=VadOptions(preroll_s=preroll_s))
    harness = SessionHarness(options=options)
    samples, spoken = write_speech([[1], [2, 3], [4]], pause_s=0.6)
    harness.play(samples)
    harness.end()
    assert harness.account(spoken).clean
    finals = [r for r in harness.requests if r.kind is FINAL]
    assert all(
        a.end <= b.start or a.start == b.start for a, b in zip(finals, finals[1:])
    )


def test_a_window_that_fails_is_reported_with_the_next_segments() -> None:
    def fail(request: Request) -> Outcome:
        if request.kind is FINAL and request.start == 0:
            return RequestFailed(request.id, WindowRejected("odd"))
        return hear_marks(request)

    harness = SessionHarness(hear=fail)
    samples, _ = write_speech([[1, 2], [3]], lead_s=0.0)
    harness.play(samples)
    harness.end()
    assert harness.completed() == [" w3"]
    (lost,) = harness.dropped
    assert lost["reason"] == "window_rejected" and lost["start"] == "0.000"
    # Once in advance, once at the endpoint, and then no more.
    assert kinds(harness).count(FINAL) == 3


def test_a_withdrawn_final_is_reported_too() -> None:
    harness = slow()
    harness.play(words(1, 2))
    harness.tell(EndOfAudio())
    harness.answer(Cancelled(harness.requests[-1].id))
    assert harness.sent[-1]["status"] == "WARNING"
    assert harness.closed == Close(1000)


def test_text_that_the_final_does_not_confirm_is_taken_back() -> None:
    harness = SessionHarness()
    harness.play(words(1))
    harness.play(silence(1.0))
    harness.hear_frames(say(0.9, frames=8))

    def maybe(request: Request) -> Hypothesis:
        text = " hm" if request.kind is PARTIAL else " ..."
        heard = HypothesisSegment(request.start, request.end, text)
        return Hypothesis(request.id, (heard,), "en", 1.0)

    harness.hear = maybe
    harness.hear_frames(say(0.9, frames=16))
    assert [s["text"] for s in harness.shown] == [" w1", " hm"]
    harness.play(silence(1.0))
    assert [s["text"] for s in harness.shown] == [" w1"]
    assert harness.session.stats.suppressed == {"no_words": 1}


# ------------------------------------------------------------------------ long windows


def test_a_window_without_readings_is_split_and_loses_nothing() -> None:
    harness = slow(config=Config(stream=StreamConfig(max_window_s=5)))
    samples, spoken = write_speech([list(range(30))], lead_s=0.0)
    harness.play(samples[: s_to_samples(5.3)])
    assert harness.queued is not None and harness.queued.kind is FINAL
    harness.play(samples[s_to_samples(5.3) :])
    harness.end()
    assert harness.account(spoken).clean
    assert max(len(r.audio) for r in harness.requests) <= s_to_samples(5)


def test_a_client_may_want_shorter_windows() -> None:
    vad = VadOptions(max_speech_s=6)
    harness = slow(options=ClientOptions("u", language="en", vad=vad))
    harness.hear_frames(say(0.9, frames=200))
    assert kinds(harness) == [FINAL]


def test_a_split_inside_a_pause() -> None:
    config = Config(stream=StreamConfig(max_window_s=5, commit_after_s=30))
    harness = slow(config=config)
    frames = 5 * 16_000 // FRAME_SAMPLES
    harness.hear_frames(say(0.9, frames=frames - 8))
    harness.hear_frames(say(0.0, frames=6))
    assert kinds(harness)[-1] is FINAL
    asked = len(harness.requests)
    harness.hear_frames(say(0.0, frames=30))
    assert harness.session.undecided > 0
    harness.answer_all()
    assert harness.session.undecided == 0
    # The one in advance either stood, or gave way to the window up to the split.
    assert len(harness.requests) - asked <= 1


def test_a_split_before_the_pause_takes_the_advance_back() -> None:
    config = Config(stream=StreamConfig(max_window_s=5, commit_after_s=30))
    harness = slow(config=config)
    frames = -(-5 * 16_000 // FRAME_SAMPLES)
    harness.hear_frames(say(0.9, frames=frames - 12))
    harness.answer_all()
    harness.hear_frames(Frames(*_run((0.0, 2), (0.2, 4))))
    advance = harness.queued
    assert advance is not None and advance.kind is FINAL
    harness.hear_frames(say(0.2, frames=6))
    assert advance.id in harness.outcomes
    final = harness.queued
    assert final is not None and final.end == (frames - 11) * FRAME_SAMPLES
    assert final.end < advance.end


def test_a_long_window_is_shortened_at_agreed_words() -> None:
    harness = SessionHarness()
    harness.play(words(*range(40)))
    starts = sorted({r.start for r in harness.requests})
    assert len(starts) == 2
    shown = harness.shown
    assert [s["completed"] for s in shown] == [True, False]
    assert "words" not in shown[0]
    numbers = [int(w[1:]) for s in shown for w in s["text"].split()]
    assert numbers == list(range(len(numbers))) and len(numbers) > 35


@pytest.mark.parametrize("off_s", [-0.15, -0.1, 0.0, 0.1, 0.2])
@pytest.mark.parametrize("each", [1, 2])
def test_a_cut_into_a_word_neither_repeats_nor_loses_one(
    off_s: float, each: int
) -> None:
    harness = talk(lambda n, request: f" w{n // each}", off_s=off_s)
    assert len({r.start for r in harness.requests}) > 4
    heard = [int(w[1:]) for text in harness.completed() for w in text.split()]
    assert heard == [n // each for n in range(len(heard))] and len(heard) >= 240


def test_a_wrong_word_that_was_agreed_upon_does_not_keep_a_window_long() -> None:
    def read(n: int, request: Request) -> str:
        return " wrong" if n == 4 and request.end < s_to_samples(6) else f" w{n}"

    harness = talk(read)
    assert max(len(r.audio) for r in harness.requests) <= s_to_samples(12.6)
    heard = [word for text in harness.completed() for word in text.split()]
    assert heard == [f"w{n}" for n in range(len(heard))] and len(heard) >= 240


def talk(read: Callable[[int, Request], str], *, off_s: float = 0.0) -> SessionHarness:
    """A minute of words without gaps; a third of one is enough to be read."""
    size, off = s_to_samples(0.25), s_to_samples(off_s)

    def hear(request: Request) -> Outcome:
        first = -(-(request.start - size * 2 // 3) // size)
        words = [
            Word(read(n, request), n * size + off, (n + 1) * size + off, 0.9)
            for n in range(max(first, 0), request.end // size)
        ]
        return heard_words(request, [words] if words else [])

    harness = SessionHarness(hear=hear)
    while harness.session.received < 240 * size:
        harness.hear_frames(say(0.9, frames=8))
    harness.end()
    return harness


def test_no_cut_while_the_utterance_may_be_over() -> None:
    harness = slow()
    for _ in range(60):
        harness.play(words(1, 2)[:-800], frames=8)
        harness.hear_frames(say(0.3, frames=1))
        if harness.session.received < s_to_samples(11.5):
            harness.answer_all()
        elif harness.queued:
            break
    harness.start()
    assert harness.running is not None and harness.running.kind is PARTIAL
    harness.hear_frames(say(0.0, frames=6))
    assert harness.queued is not None and harness.queued.kind is FINAL
    start = harness.queued.start
    harness.answer()
    harness.hear_frames(say(0.0, frames=16))
    harness.answer_all()
    assert {r.start for r in harness.requests if r.kind is FINAL} == {start}


# ---------------------------------------------------------------------------- language


def test_the_language_is_told_once_before_the_first_segments() -> None:
    harness = SessionHarness(options=ClientOptions("u"))
    harness.play(words(1, 2, 3))
    harness.end()
    assert harness.sent[1] == {"uid": "u", "language": "en", "language_prob": 1.0}
    assert harness.completed() == [" w1 w2 w3"]
    assert harness.requests[-1].options.language == "en"


def test_a_doubtful_language_throws_nothing_away() -> None:
    def doubt(request: Request) -> Hypothesis:
        heard = hear_marks(request)
        return Hypothesis(heard.request_id, heard.segments, "cy", 0.2)

    harness = SessionHarness(options=ClientOptions("u"), hear=doubt)
    harness.play(words(1))
    assert len(harness.sent) == 1
    harness.play(silence(1.0))
    assert harness.completed() == [" w1"]
    harness.play(words(2, 3, 4))
    assert harness.requests[-1].options.language is None
    assert harness.partials[-1].startswith(" w2")


# ------------------------------------------------------------------------ room and time


def test_no_room_while_finals_wait_and_room_again_after() -> None:
    config = Config(stream=StreamConfig(max_window_s=5, max_buffer_s=10))
    harness = slow(config=config)
    while harness.session.has_room:
        harness.hear_frames(say(0.9, frames=10))
    assert harness.session.undecided >= s_to_samples(10)
    moments = [harness.session.deadline()]
    harness.clock.advance(60)
    harness.session.expire(now=harness.clock.now)
    assert harness.session.is_speaking
    harness.answer()
    moments.append(harness.session.deadline())
    closed, deadline = moments
    assert closed is None and deadline is not None, "it was we who did not read"
    assert deadline >= harness.clock.now + 2.9, "nothing stalled while we did not read"


def test_speech_that_stalls_is_finished_and_late_audio_goes_on() -> None:
    harness = SessionHarness()
    samples, spoken = write_speech([[1, 2], [3, 4]], lead_s=0.0, pause_s=0.1)
    half = spoken[1].end // FRAME_SAMPLES * FRAME_SAMPLES + FRAME_SAMPLES
    harness.hear_frames(frames_of(samples[:half]))
    assert not harness.completed()
    harness.wait()
    assert harness.completed() == [" w1 w2"]
    harness.play(samples[half:])
    harness.end()
    assert harness.completed() == [" w1 w2", " w3 w4"]


def test_a_session_over_its_time_gets_its_text_then_disconnect() -> None:
    harness = SessionHarness(Config(limits=LimitConfig(max_session_s=1.0)))
    harness.play(words(1, 2, 3))
    harness.wait()
    assert harness.sent[-1] == {"uid": "u", "message": "DISCONNECT"}
    assert harness.completed() and harness.closed == Close(1000, hold_s=20.0)
    assert harness.session.deadline() is None
    assert harness.session.expire(now=1e6) == []


def test_an_early_call_changes_nothing() -> None:
    harness = SessionHarness(Config(limits=LimitConfig(max_session_s=100.0)))
    harness.play(words(1)[:4096])
    assert harness.session.expire(now=harness.clock.now) == []
    assert harness.session.is_speaking


@pytest.mark.parametrize(("probability", "told"), [(0.9, True), (0.1, False)])
def test_speech_during_the_flush_is_reported(probability: float, told: bool) -> None:
    harness = slow()
    harness.play(words(1, 2))
    harness.tell(EndOfAudio())
    end = harness.session.received
    harness.hear_frames(say(probability))
    assert harness.session.received == end + FRAME_SAMPLES
    harness.answer_all()
    assert [d["reason"] for d in harness.dropped] == ["closing"] * told
    assert harness.completed() == [" w1 w2"]


def test_a_window_too_short_for_a_word_is_passed_over() -> None:
    harness = slow(options=ClientOptions("u", vad=VadOptions(min_speech_s=0.0)))
    harness.hear_frames(say(0.9, frames=2))
    harness.tell(EndOfAudio())
    assert harness.requests == [] and harness.closed is not None


def test_memory_does_not_grow_with_the_session() -> None:
    harness = SessionHarness()
    sizes = []
    for round_ in range(30):
        samples, _ = write_speech([[round_ * 3 + n for n in range(3)]], pause_s=2.0)
        harness.play(samples)
        sizes.append(len(harness.session._buffer))
    assert max(sizes[1:]) <= s_to_samples(0.4)
    assert len(harness.session._segmenter._history) <= 20


# ------------------------------------------------------------------------- its updates


def test_an_utterance_is_told_as_it_starts_pauses_and_ends() -> None:
    harness = SessionHarness()
    harness.play(words(1, 2))
    harness.play(silence(0.25))
    harness.play(words(3))
    harness.play(silence(1.0))
    told = [
        (update.speech.moment, update.interim and update.interim.text)
        for update in harness.updates
        if update.speech
    ]
    assert told == [
        (SpeechMoment.STARTED, None),
        (SpeechMoment.STOPPED, " w1"),
        (SpeechMoment.RESUMED, " w1 w2"),
        (SpeechMoment.STOPPED, " w1 w2"),
        (SpeechMoment.TURN_ENDED, " w1 w2 w3"),
    ]
    positions = [update.speech.at for update in harness.updates if update.speech]
    assert positions == sorted(positions)


def test_a_turn_is_probably_over_once_its_text_is_settled() -> None:
    def hear(request: Request) -> Outcome:
        said = [Word(" done.", request.start, request.end, 0.9)]
        return heard_words(request, [said])

    harness = SessionHarness(hear=hear)
    harness.play(words(1, 2))
    harness.play(silence(0.3))
    newest = harness.updates[-1]
    assert newest.speech is not None and newest.interim is not None
    assert newest.speech.moment is SpeechMoment.TURN_PROBABLY_OVER
    assert newest.interim.text == " done."
    assert newest.speech.at <= harness.session.received


def test_each_completed_segment_is_told_once() -> None:
    harness = SessionHarness()
    for number in range(3):
        harness.play(words(number))
        harness.play(silence(1.0))
    texts = [s.text for update in harness.updates for s in update.completed]
    assert texts == [" w0", " w1", " w2"]
    assert harness.updates[-1].interim is None


def test_a_flush_ends_the_utterance_and_not_the_session() -> None:
    harness = SessionHarness()
    harness.play(words(1, 2))
    harness.tell(Flush())
    assert harness.completed() == [" w1 w2"]
    harness.tell(Flush())  # nothing is open: nothing happens
    harness.play(words(3))
    harness.end()
    assert harness.completed() == [" w1 w2", " w3"]
    harness.tell(Flush())
    assert harness.session.state is State.CLOSED


# --------------------------------------------------------------- reading on to the end


def stops_early(after: int, *, closes_with: int = 0) -> Callable[[Request], Hypothesis]:
    """An engine that answers only the first words of a window, as Whisper may.

    Its answer ends ``closes_with`` samples behind the last word.
    """

    def hear(request: Request) -> Hypothesis:
        heard = hear_marks(request)
        words = [w for s in heard.segments for w in s.text.split()]
        if request.kind is PARTIAL or len(words) < after + 3:
            return heard
        numbers = [Word(w.text, w.start, w.end, 1.0) for w in timed(request)[:after]]
        read_to = numbers[-1].end + closes_with
        return replace(heard_words(request, [numbers]), read_to=read_to)

    return hear


def timed(request: Request) -> list[Word]:
    heard = hear_marks(replace(request, options=DecodeOptions(word_timestamps=True)))
    return [word for segment in heard.segments for word in segment.words]


@pytest.mark.parametrize("after", [1, 2, 3, 5])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_an_answer_leaves_out_is_read_on(after: int, at_once: bool) -> None:
    harness = SessionHarness(hear=stops_early(after), answers_at_once=at_once)
    samples, spoken = write_speech([range(8), range(8, 12)], lead_s=0.0)
    harness.play(samples)
    harness.end()
    assert harness.account(spoken).clean and not harness.dropped
    finals = [r for r in harness.requests if r.kind is FINAL]
    assert len(finals) > 2


def test_a_reading_that_goes_no_further_is_tried_twice_and_reported() -> None:
    def stuck(request: Request) -> Hypothesis:
        heard = hear_marks(request)
        if request.kind is PARTIAL:
            return heard
        first = timed(request)[:2] if request.start == 0 else []
        if not first:
            return replace(heard, segments=(), read_to=request.start)
        return replace(heard_words(request, [first]), read_to=first[-1].end)

    harness = SessionHarness(hear=stuck)
    samples, spoken = write_speech([range(6)], lead_s=0.0)
    harness.play(samples)
    harness.end()
    assert harness.completed() == [" w0 w1"]
    (lost,) = harness.dropped
    assert lost["reason"] == "unread"
    assert s_to_samples(float(lost["start"])) == spoken[1].end
    assert harness.session.stats.dropped["unread"] > s_to_samples(1.0)
    assert [r.start for r in harness.requests if r.kind is FINAL] == [
        0,
        spoken[1].end,
        spoken[1].end,
    ]


def test_silence_behind_an_answer_is_not_read() -> None:
    harness = SessionHarness(hear=stops_early(4))
    harness.play(words(1, 2, 3, 4))
    harness.play(silence(1.0))
    harness.end()
    assert kinds(harness).count(FINAL) == 1
    assert harness.completed() == [" w1 w2 w3 w4"]


def test_of_a_window_whose_rest_fails_the_first_part_is_kept() -> None:
    hear = stops_early(3)

    def fails_later(request: Request) -> Outcome:
        if request.kind is FINAL and request.start > 0:
            return RequestFailed(request.id, EngineTimeout("late"))
        return hear(request)

    harness = SessionHarness(hear=fails_later)
    samples, spoken = write_speech([range(6)], lead_s=0.0)
    harness.play(samples)
    harness.end()
    assert harness.completed() == [" w0 w1 w2"]
    assert [d["reason"] for d in harness.dropped] == ["engine_timeout"]
    assert s_to_samples(float(harness.dropped[0]["start"])) == spoken[2].end


def test_speech_resumes_while_a_preflight_reads_on() -> None:
    harness = slow(hear=stops_early(2))
    harness.play(words(1, 2, 3, 4, 5, 6))
    harness.answer_all()
    harness.play(silence(0.25))
    harness.start()
    harness.answer()  # the first part; the rest is asked for
    assert harness.queued is not None and harness.queued.start > 0
    harness.play(words(7))
    harness.end()
    assert harness.completed() == [" w1 w2 w3 w4 w5 w6 w7"]


def test_the_end_of_the_last_word_is_not_read_again() -> None:
    """A timestamp of Whisper's may come before the voice ends."""

    def hear(request: Request) -> Hypothesis:
        heard = hear_marks(request)
        last = timed(request)[-1]
        return replace(heard, read_to=last.end - s_to_samples(0.35))

    harness = SessionHarness(hear=hear)
    harness.play(words(1, 2, 3, 4))
    harness.play(silence(1.0))
    harness.end()
    assert harness.completed() == [" w1 w2 w3 w4"] and not harness.dropped
    assert kinds(harness).count(FINAL) == 1


def test_options_changed_in_mid_stream_hold_from_then_on() -> None:
    harness = SessionHarness()
    harness.play(words(1, 2))
    harness.play(silence(1.0))
    vad = VadOptions(hangover_s=1.5)
    options = SessionOptions(language="de", hotwords="Ada", vad=vad)
    harness.tell(Configure(options))
    asked = len(harness.requests)
    harness.play(words(3, 4))
    harness.play(silence(0.6))
    assert harness.completed() == [" w1 w2"], "the endpoint comes later now"
    harness.play(silence(1.2))
    assert harness.completed() == [" w1 w2", " w3 w4"]
    before, after = harness.requests[:asked], harness.requests[asked:]
    assert {r.options.language for r in before} == {"en"}
    assert {(r.options.language, r.options.hotwords) for r in after} == {("de", "Ada")}


def test_the_language_can_be_left_to_be_detected_again() -> None:
    harness = SessionHarness()
    harness.tell(Configure(SessionOptions(language=None)))
    harness.play(words(1, 2))
    assert harness.requests[0].options.language is None
