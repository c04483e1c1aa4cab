"""Every figure of the load bench on logs whose figures are known beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from whisper_live.testing.load.material import SpokenWord
from whisper_live.testing.load.measure import Span, lags_over_time, measure
from whisper_live.testing.load.sessionlog import Arrived, Sent, SessionLog

STARTED_AT = 100.0
# two utterances: "turn it on" and "yes", then silence
SPEECH = (
    SpokenWord("turn", 1.0, 1.3, 0),
    SpokenWord("it", 1.3, 1.5, 0),
    SpokenWord("on", 1.5, 1.9, 0),
    SpokenWord("yes", 4.0, 4.4, 1),
)
MARKS = tuple(
    SpokenWord(f"w{n}", 1.0 + 0.5 * n, 1.3 + 0.5 * n, n // 4) for n in range(8)
)


def segment(
    start: float, end: float, text: str, completed: bool = True
) -> dict[str, Any]:
    return {
        "start": f"{start:.3f}",
        "end": f"{end:.3f}",
        "text": text,
        "completed": completed,
    }


def log_of(
    words: Sequence[SpokenWord], *arrivals: tuple[float, list[dict[str, Any]]]
) -> SessionLog:
    """A session of 10 s whose messages came at these moments."""
    return SessionLog(
        session=0,
        words=tuple(words),
        audio_s=10.0,
        connected_at=STARTED_AT - 0.25,
        started_at=STARTED_AT,
        is_marked=words[0].text == "w0",
        sends=[Sent(s / 4, s / 4, s / 4) for s in range(1, 41)],
        arrivals=[Arrived(at, {"segments": segments}) for at, segments in arrivals],
        stopped_s=10.0,
        ended="closed",
        ended_s=10.2,
        code=1000,
    )


def test_a_word_lags_until_the_first_message_that_holds_it() -> None:
    turn = segment(1.0, 1.4, " Turn", completed=False)
    turn_it = segment(1.0, 1.6, " Turn it", completed=False)
    final = segment(1.0, 1.9, " Turn it on.")
    yes = segment(4.0, 4.4, " Yes.")
    log = log_of(SPEECH, (1.6, [turn]), (2.0, [turn_it]), (2.5, [final]), (5, [yes]))
    figures = measure(log)
    assert figures.partial_lags_s == pytest.approx((0.3, 0.5, 0.6, 0.6))
    assert figures.commit_lags_s == pytest.approx((0.3, 0.5, 0.6, 0.6))
    assert figures.final_lags_s == pytest.approx((0.6, 0.6))
    assert figures.first_partial_s == pytest.approx(0.6)
    assert figures.ready_s == pytest.approx(0.25)
    assert figures.flush_s == pytest.approx(0.2)
    assert (figures.spoken, figures.errors, figures.erased) == (4, 0, 0)


def test_a_word_is_settled_when_it_came_for_good() -> None:
    right = segment(1.0, 1.4, " turn", completed=False)
    wrong = segment(1.0, 1.6, " burn", completed=False)
    final = segment(1.0, 1.9, " turn it on")
    figures = measure(log_of(SPEECH, (1.5, [right]), (2.0, [wrong]), (3.0, [final])))
    assert figures.partial_lags_s[0] == pytest.approx(0.2)
    assert figures.commit_lags_s[0] == pytest.approx(1.7)
    assert figures.erased == 2  # "turn", then "burn"


def test_an_utterance_stands_when_none_of_its_words_changes_any_more() -> None:
    shown = segment(1.0, 1.6, " turn it on", completed=False)
    wrong = segment(1.0, 1.6, " turn in on", completed=False)
    final = segment(1.0, 1.9, " turn it on")
    log = log_of(SPEECH, (2.0, [shown]), (2.2, [wrong]), (2.4, [shown]), (3.4, [final]))
    figures = measure(log)
    assert figures.stands_lags_s == pytest.approx((0.5,)), "'yes' was never heard"
    assert figures.final_lags_s[0] == pytest.approx(1.5)


def test_an_utterance_without_a_final_never_had_one() -> None:
    final = segment(1.0, 1.9, " turn it on")
    yes = segment(4.0, 4.4, " yes", completed=False)
    figures = measure(log_of(SPEECH, (2.5, [final]), (5.0, [final, yes])))
    assert figures.final_lags_s == pytest.approx((0.6, math.inf))
    assert figures.missing == 0  # it was shown, after all


def test_a_misheard_last_word_ends_its_utterance_all_the_same() -> None:
    final = segment(1.0, 1.9, " turn it off")
    figures = measure(log_of(SPEECH, (2.5, [final])))
    assert figures.final_lags_s[0] == pytest.approx(0.6)
    assert (figures.substituted, figures.missing, figures.added) == (1, 1, 0)


def test_the_same_word_is_told_apart_by_its_time() -> None:
    words = [SpokenWord("no", 1.0, 1.2, 0), SpokenWord("no", 8.0, 8.2, 1)]
    late = segment(8.0, 8.2, " No.")
    figures = measure(log_of(words, (8.7, [late])))
    assert figures.partial_lags_s == pytest.approx((0.5,))
    assert figures.missing == 1


def test_text_cannot_be_heard_before_it_was_said() -> None:
    """A reading that guesses ahead is not credited with words to come."""
    words = [SpokenWord("go", 1.0, 1.2, 0), SpokenWord("go", 2.5, 2.7, 0)]
    guess = segment(1.0, 1.2, " go go", completed=False)
    figures = measure(log_of(words, (1.4, [guess])))
    assert len(figures.partial_lags_s) == 1


def exact_arrivals(delay_s: float) -> list[tuple[float, list[dict[str, Any]]]]:
    """Each mark completed ``delay_s`` after its end."""
    segments = [segment(w.start_s, w.end_s, f" {w.text}") for w in MARKS]
    return [
        (word.end_s + delay_s, segments[max(i - 3, 0) : i + 1])
        for i, word in enumerate(MARKS)
    ]


@pytest.mark.parametrize("delay_s", [0.0, 0.4, 3.0])
def test_a_delay_is_every_latency_exactly(delay_s: float) -> None:
    figures = measure(log_of(MARKS, *exact_arrivals(delay_s)))
    assert figures.partial_lags_s == pytest.approx((delay_s,) * 8)
    assert figures.commit_lags_s == pytest.approx((delay_s,) * 8)
    assert figures.final_lags_s == pytest.approx((delay_s,) * 2)
    assert figures.account is not None and figures.account.clean


@pytest.mark.parametrize(("late", "utterance"), [(3, 0), (7, 1)])
def test_one_final_that_comes_late_is_late_by_exactly_that(
    late: int, utterance: int
) -> None:
    arrivals = exact_arrivals(0.5)
    moved = [(at + 0.7 * (i == late), ss) for i, (at, ss) in enumerate(arrivals)]
    # the messages between carry on without it
    moved = [
        (at, [s for s in ss if s["text"] != f" w{late}" or at >= moved[late][0]])
        for at, ss in sorted(moved, key=lambda pair: pair[0])
    ]
    figures = measure(log_of(MARKS, *moved))
    expected = [0.5, 0.5]
    expected[utterance] = 1.2
    assert figures.final_lags_s == pytest.approx(expected)
    lags = [1.2 if i == late else 0.5 for i in range(8)]
    assert figures.partial_lags_s == pytest.approx(lags)
    assert figures.account is not None and not figures.account.lost


def test_a_change_in_the_middle_is_one_false_final() -> None:
    arrivals = exact_arrivals(0.5)[:4]
    at, segments = arrivals[-1]
    changed = [segment(1.0, 1.3, " w99"), *segments[1:]]
    figures = measure(log_of(MARKS[:4], *arrivals, (at + 0.1, changed)))
    assert figures.false_finals == 1
    assert figures.account is not None
    assert (figures.account.lost, figures.account.invented) == ((0,), (99,))


def test_a_mark_out_of_order_is_one_word_error() -> None:
    one, other = segment(1.5, 1.8, " w1"), segment(1.0, 1.3, " w0")
    figures = measure(log_of(MARKS[:2], (2.0, [one]), (2.1, [one, other])))
    assert figures.account is not None and figures.account.out_of_order == (0,)
    assert (figures.errors, figures.substituted) == (1, 1)


def test_a_lost_mark_never_came() -> None:
    arrivals = exact_arrivals(0.5)
    lost = [(at, [s for s in ss if s["text"] != " w2"]) for at, ss in arrivals]
    figures = measure(log_of(MARKS, *lost))
    assert figures.account is not None and figures.account.lost == (2,)
    assert sum(map(math.isinf, figures.partial_lags_s)) == 1
    assert (figures.missing, figures.errors) == (1, 1)


def test_a_segment_completed_twice_is_doubled_and_repeats_are_not() -> None:
    one, other = segment(1.0, 1.3, " w0"), segment(1.5, 1.8, " w1")
    arrivals = [(2.0, [one]), (2.1, [one, one]), (2.2, [one, one, other])]
    account = measure(log_of(MARKS[:2], *arrivals)).account
    assert account is not None
    assert (account.doubled, account.lost, account.invented) == ((0,), (), ())


def test_a_word_that_nobody_said_is_invented() -> None:
    strange = segment(1.0, 2.0, " w0 thank w77")
    account = measure(log_of(MARKS[:1], (2.0, [strange]))).account
    assert account is not None and account.invented == (-1, 77)


def test_a_final_that_changes_or_vanishes_was_false() -> None:
    one, other = segment(1.0, 1.3, " w0"), segment(1.5, 1.8, " w1")
    changed = segment(1.5, 1.8, " w9")
    history = [(2.0, [one, other]), (2.5, [one, changed])]
    assert measure(log_of(MARKS[:2], *history)).false_finals == 1
    history = [(2.0, [one, other]), (2.5, [one])]
    assert measure(log_of(MARKS[:2], *history)).false_finals == 1
    history = [(2.0, [one, other]), (2.5, [other])]  # the tail moved on
    assert measure(log_of(MARKS[:2], *history)).false_finals == 0


def test_only_words_within_the_span_count() -> None:
    span = Span(STARTED_AT + 2.0, STARTED_AT + 3.5)
    figures = measure(log_of(MARKS, *exact_arrivals(0.5)), span)
    assert len(figures.partial_lags_s) == 3  # they end at 2.3, 2.8 and 3.3
    assert figures.spoken == 8


def test_words_that_were_not_sent_are_nobodys_loss() -> None:
    log = log_of(MARKS, *exact_arrivals(0.5)[:2])
    log.sends = log.sends[:8]  # 2 s; two words had ended by then
    log.ended = "cut"
    figures = measure(log)
    assert (figures.spoken, figures.missing) == (2, 0)


def test_a_send_is_late_only_by_the_clients_own_fault() -> None:
    log = log_of(MARKS, *exact_arrivals(0.5))
    log.sends = [
        Sent(0.25, 0.25, 0.26),
        Sent(0.50, 0.57, 0.58),  # late
        Sent(0.75, 0.75, 1.40),  # the server did not read
        Sent(1.00, 1.41, 1.42),  # its consequence
    ]
    figures = measure(log)
    assert (figures.sends, figures.late_sends, figures.blocked_sends) == (4, 1, 1)


def test_given_up_audio_is_summed() -> None:
    log = log_of(MARKS, *exact_arrivals(0.5))
    span = {"start": "1.000", "end": "2.250", "reason": "engine_timeout"}
    log.arrivals.append(Arrived(9.0, {"segments": [], "dropped": [span]}))
    assert measure(log).dropped_s == pytest.approx(1.25)


def test_who_was_refused_has_no_latencies() -> None:
    log = SessionLog(3, MARKS, 10.0, connected_at=5.0, ended="refused", reason="2.0")
    figures = measure(log)
    assert (figures.ready_s, figures.spoken, figures.partial_lags_s) == (None, 0, ())
    assert lags_over_time(log) == []


def test_lags_over_time_stand_at_the_moment_of_the_word() -> None:
    pairs = lags_over_time(log_of(MARKS, *exact_arrivals(0.5)))
    assert [at for at, _ in pairs] == pytest.approx(
        [STARTED_AT + word.end_s for word in MARKS]
    )
    assert [lag for _, lag in pairs] == pytest.approx([0.5] * 8)
