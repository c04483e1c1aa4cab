"""Speech probabilities in, utterances out; positions are in frames of 512 samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from whisper_live.audio import FRAME_SAMPLES, ms_to_samples, s_to_samples
from whisper_live.session.endpointing import (
    Click,
    Endpoint,
    Mark,
    Onset,
    Pause,
    Resumed,
    Segmenter,
)
from whisper_live.session.options import VadOptions

F = FRAME_SAMPLES
TAIL = ms_to_samples(200)
SECOND = 31  # frames in about a second


@dataclass(frozen=True)
class Split:
    """The window was full and was split at this position."""

    at: int


class Windows(Segmenter):
    """A segmenter, and where its owner's window starts."""

    window_start = 0


def segmenter(max_frames: int = 10_000, **options: float) -> Windows:
    return Windows(VadOptions(**options), max_window=max_frames * F)


def feed(one: Windows, *runs: tuple[float, int]) -> list[Mark | Split]:
    """Push frames and split full windows, as a session does."""
    marks: list[Mark | Split] = []
    for probability, frames in runs:
        for _ in range(frames):
            for mark in one.push(probability):
                marks.append(mark)
                if isinstance(mark, Onset):
                    one.window_start = mark.at
            at = one.split_point(one.window_start)
            if at is not None:
                marks.append(Split(at))
                one.decide(at)
                one.window_start = at
    return marks


def test_an_utterance_from_onset_to_endpoint() -> None:
    one = segmenter()
    marks = feed(one, (0.0, 20), (0.9, 10), (0.0, 20))
    voice = (20 * F, 30 * F)
    assert marks == [
        Onset(voice[0] - ms_to_samples(300)),
        Pause(voice[1] + 5 * F),
        Endpoint(voice[1] + TAIL),
    ]
    assert not one.is_open and one.silence == 20 * F


def test_the_preroll_does_not_pass_the_start() -> None:
    assert feed(segmenter(), (0.9, 3)) == [Onset(0)]


def test_utterances_do_not_overlap_however_long_the_preroll() -> None:
    one = segmenter(preroll_s=2.0, hangover_s=0.5)
    marks = feed(one, (0.9, 10), (0.0, 17), (0.9, 10), (0.0, 17))
    ends = [mark.at for mark in marks if isinstance(mark, Endpoint)]
    onsets = [mark.at for mark in marks if isinstance(mark, Onset)]
    assert onsets == [0, ends[0]]


def test_hysteresis_neither_ends_speech_nor_cancels_a_silence() -> None:
    one = segmenter()
    feed(one, (0.9, 5), (0.3, 100))
    assert one.is_speech and one.silence == 0
    marks = feed(one, (0.1, 6), (0.3, 9))
    assert one.silence == 15 * F and marks == [Pause(110 * F)]
    assert feed(one, (0.3, 1)) == [Endpoint(105 * F + TAIL)]


def test_speech_that_goes_on_after_a_pause() -> None:
    one = segmenter()
    assert feed(one, (0.9, 5), (0.0, 5))[-1] == Pause(10 * F)
    assert one.silence == 5 * F
    assert feed(one, (0.9, 1)) == [Resumed()]
    assert (one.silence, one.is_speech) == (0, True)


def test_a_click_is_no_utterance_and_takes_nothing_from_the_next() -> None:
    one = segmenter(hangover_s=0.1, preroll_s=1.0)
    (click,) = feed(one, (0.9, 2), (0.0, 4))
    assert click == Click(2 * F + s_to_samples(0.1))
    assert feed(one, (0.9, 3)) == [Onset(0)]


def test_clicks_that_go_on_are_closed_at_the_limit() -> None:
    one = segmenter(max_frames=40)
    marks = feed(one, (0.9, 2), (0.3, 60))
    assert marks == [Click(40 * F)]


def test_with_no_least_length_the_first_frame_is_speech() -> None:
    assert feed(segmenter(min_speech_s=0.0), (0.9, 1)) == [Onset(0)]


def test_a_full_window_is_split_at_its_quietest_frame() -> None:
    one = segmenter(max_frames=100)
    # Quieter ones in the first half would leave too much for the next window.
    marks = feed(one, (0.9, 20), (0.3, 2), (0.9, 50), (0.5, 2), (0.9, 26))
    assert marks == [Onset(0), Split(73 * F)]
    assert one.window_start == 73 * F and one.is_speech


def test_of_equally_loud_frames_the_last_is_split_at() -> None:
    assert feed(segmenter(max_frames=100), (1.0, 100))[-1] == Split(99 * F)


def test_a_split_in_a_pause_leaves_nothing_behind_it() -> None:
    one = segmenter(max_frames=100, hangover_s=2.0)
    marks = feed(one, (0.9, 90), (0.0, 10))
    assert marks[-1] == Split(99 * F) and one.silence == 10 * F
    last = feed(one, (0.0, 60))
    assert last == [Endpoint(99 * F)]  # a window without audio


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], None),
        ([(0.9, 1)], Click(F)),
        ([(0.9, 9)], Endpoint(9 * F)),
        ([(0.9, 9), (0.0, 3)], Endpoint(12 * F)),
        ([(0.9, 9), (0.0, 12)], Endpoint(9 * F + TAIL)),
    ],
)
def test_ending_now(runs: Iterable[tuple[float, int]], expected: Mark | None) -> None:
    one = segmenter()
    feed(one, *runs)
    assert one.end_now() == expected
    assert one.end_now() is None


def test_a_part_frame_ends_the_stream() -> None:
    one = segmenter()
    feed(one, (0.9, 5))
    one.push(0.9, 100)
    assert one.end_now() == Endpoint(5 * F + 100)


def test_quietest_prefers_silence_then_nearness() -> None:
    one = segmenter()
    feed(one, (1.0, 10), (0.0, 2), (1.0, 20))
    assert one.quietest(2 * F, 30 * F) == 11 * F
    assert one.quietest(2 * F, 30 * F, near=25 * F) == 11 * F
    assert one.quietest(14 * F, 30 * F, near=20 * F + 100) == 20 * F
    assert one.quietest(14 * F, 30 * F) == 30 * F


def test_quietest_without_a_frame_limit_in_reach() -> None:
    one = segmenter()
    feed(one, (1.0, 10))
    assert one.quietest(5 * F + 10, 5 * F + 20) == 5 * F + 10
    assert one.quietest(20 * F, 30 * F) == 10 * F


def test_the_window_moves_and_old_probabilities_are_forgotten() -> None:
    one = segmenter()
    feed(one, (0.9, 50))
    one.decide(30 * F)
    one.forget(30 * F)
    one.forget(10 * F)
    assert one.keep_from == 30 * F
    assert one.evidence(30 * F, 50 * F) == pytest.approx(0.9)
    assert one.evidence(0, 10 * F) == 1.0  # not remembered: no evidence against it
    with pytest.raises(AssertionError):
        one.decide(20 * F)


def test_what_is_kept_while_nobody_speaks() -> None:
    one = segmenter(preroll_s=0.32)
    feed(one, (0.0, 100))
    assert one.keep_from == 90 * F
    feed(one, (0.9, 5), (0.0, 16))
    assert one.keep_from == 105 * F + TAIL  # later than the preroll's start


def test_a_soft_beginning_belongs_to_the_utterance() -> None:
    one = segmenter(preroll_s=0.32)
    # a voice that Silero takes its time to believe in, with a dip
    marks = feed(one, (0.0, 40), (0.06, 10), (0.04, 9), (0.1, 10), (0.9, 3))
    assert marks == [Onset(30 * F)] and one.window_start == 30 * F


def test_a_murmur_out_of_reach_does_not() -> None:
    one = segmenter(preroll_s=0.32)
    marks = feed(one, (0.0, 40), (0.3, 10), (0.04, 11), (0.9, 3))
    assert marks == [Onset(51 * F)]


def test_a_soft_beginning_is_followed_for_two_seconds_and_kept_until_then() -> None:
    one = segmenter(preroll_s=0.32)
    feed(one, (0.3, 500))
    assert one.keep_from == 499 * F - s_to_samples(2.0) - s_to_samples(0.32)
    assert feed(one, (0.9, 3)) == [
        Onset(500 * F - s_to_samples(2.0) - s_to_samples(0.32))
    ]


def test_a_soft_beginning_does_not_pass_the_utterance_before() -> None:
    one = segmenter(preroll_s=0.32)
    feed(one, (0.9, 10), (0.0, 16))
    marks = feed(one, (0.3, 5), (0.9, 3))
    assert marks == [Onset(10 * F + TAIL)]


def test_evidence_is_the_mean_over_the_frames_touched() -> None:
    one = segmenter()
    feed(one, (0.0, 2), (1.0, 2))
    assert one.evidence(F + 1, 2 * F + 1) == 0.5
    assert one.evidence(2 * F, 4 * F) == 1.0
