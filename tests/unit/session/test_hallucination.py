"""Segments that nobody said."""

from __future__ import annotations

import pytest

from whisper_live.inference.types import HypothesisSegment
from whisper_live.session.hallucination import Reason, remove_loop, suppress


def segment(
    text: str = " yes",
    *,
    no_speech: float = 0.0,
    logprob: float = -0.2,
    ratio: float = 1.0,
) -> HypothesisSegment:
    return HypothesisSegment(0, 16_000, text, no_speech, logprob, ratio)


@pytest.mark.parametrize(
    ("heard", "speech", "reason"),
    [
        (segment(), 0.9, None),
        (segment(), 0.1, None),  # one bad score alone
        (segment(no_speech=0.9), 0.9, None),
        (segment(logprob=-1.5), 0.9, None),
        (segment(no_speech=0.9, logprob=-1.5), 0.9, Reason.NO_SPEECH),
        (segment(no_speech=0.9), 0.1, Reason.WEAK_SPEECH),
        (segment(logprob=-0.9), 0.1, Reason.WEAK_SPEECH),
        (segment(logprob=-0.9), 0.3, None),
        (segment(logprob=-0.7), 0.1, None),
        (segment(" ..."), 0.9, Reason.NO_WORDS),
        (segment(" ♪ ♪"), 0.9, Reason.NO_WORDS),
        (segment(""), 0.9, Reason.NO_WORDS),
        (segment(" 好。"), 0.9, None),
    ],
)
def test_scores_decide_together(
    heard: HypothesisSegment, speech: float, reason: Reason | None
) -> None:
    found = suppress(heard, speech=speech, no_speech_threshold=0.45, is_final=True)
    assert found is reason


def test_a_partial_waits_until_it_is_sure() -> None:
    for logprob, reason in ((-1.5, Reason.UNSURE), (-0.9, None)):
        heard = segment(logprob=logprob)
        found = suppress(heard, speech=0.9, no_speech_threshold=0.45, is_final=False)
        assert found is reason


@pytest.mark.parametrize(
    ("text", "ratio", "kept"),
    [
        (" seven seven seven seven seven seven", 2.0, None),
        (" no" * 20, 3.0, " no"),
        (" no no no no yes", 3.0, None),
        (" so" + " thank you" * 8 + " bye", 3.0, " so thank you bye"),
        (" a b c d", 3.0, None),
        (" 谢谢你" + "谢谢你" * 6, 3.0, " 谢谢你"),
    ],
)
def test_endless_phrases_are_said_once(
    text: str, ratio: float, kept: str | None
) -> None:
    assert remove_loop(segment(text, ratio=ratio)) == (kept or text)
