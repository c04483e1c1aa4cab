"""Material, alignment, percentiles, verdict and search of the load bench."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_live.audio import SAMPLE_RATE
from whisper_live.commands.capacity import Trials, write_setting
from whisper_live.testing.load.alignment import align
from whisper_live.testing.load.crowd import Crowd, Run
from whisper_live.testing.load.material import (
    TAIL_S,
    Speech,
    bare_words,
    read_sentences,
    recite,
    write_marks,
)
from whisper_live.testing.load.measure import SessionFigures
from whisper_live.testing.load.search import largest
from whisper_live.testing.load.speaker import Dialogue
from whisper_live.testing.load.summary import Objective, Percentiles, Summary, summarise
from whisper_live.testing.marks import read_words

DATA = Path(__file__).parents[2] / "data" / "speech"

# --------------------------------------------------------------------------- material


@pytest.mark.parametrize("variant", ["plain", "robust"])
@pytest.mark.parametrize("duty", [0.45, 1.0])
def test_marks_stand_where_the_words_say(variant: str, duty: float) -> None:
    recording = write_marks(7, Speech(20.0, duty), variant)  # type: ignore[arg-type]
    found = read_words(recording.samples)
    assert [f"w{word.number}" for word in found] == [w.text for w in recording.words]
    for heard, word in zip(found, recording.words, strict=True):
        assert heard.start / SAMPLE_RATE == pytest.approx(word.start_s, abs=0.004)
        assert heard.end / SAMPLE_RATE == pytest.approx(word.end_s, abs=0.004)
    tail_s = len(recording.samples) / SAMPLE_RATE - recording.words[-1].end_s
    assert tail_s >= TAIL_S - 0.001


def test_sessions_share_no_mark_and_a_seed_gives_the_same_again() -> None:
    one, other = (write_marks(n, Speech(10.0)) for n in (1, 2))
    again = write_marks(1, Speech(10.0))
    assert not {w.text for w in one.words} & {w.text for w in other.words}
    assert np.array_equal(one.samples, again.samples) and one.words == again.words


@pytest.mark.parametrize("duty", [0.3, 0.45, 0.6])
def test_the_duty_cycle_is_about_what_was_asked(duty: float) -> None:
    spoken_s = whole_s = 0.0
    for session in range(20):
        recording = write_marks(session, Speech(60.0, duty))
        spoken_s += sum(word.end_s - word.start_s + 0.1 for word in recording.words)
        whole_s += len(recording.samples) / SAMPLE_RATE - TAIL_S
    assert spoken_s / whole_s == pytest.approx(duty, abs=0.06)


def test_sentences_are_cut_and_recited_with_their_words() -> None:
    sentences = read_sentences(DATA / "commands.wav", DATA / "commands.json")
    assert [" ".join(w.text for w in s.words) for s in sentences] == [
        "turn on the kitchen light",
        "open the door please",
        "what time is it",
    ]
    recording = recite(sentences, 3, Speech(30.0, 0.45))
    utterances = {word.utterance for word in recording.words}
    assert len(utterances) > 4
    loud = np.abs(recording.samples) > 0.02
    for word in recording.words:
        part = loud[int(word.start_s * SAMPLE_RATE) : int(word.end_s * SAMPLE_RATE)]
        assert part.any(), word
    assert not loud[int((recording.words[-1].end_s + 0.2) * SAMPLE_RATE) :].any()
    other = recite(sentences, 4, Speech(30.0, 0.45))
    assert [w.start_s for w in other.words] != [w.start_s for w in recording.words]


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert bare_words(" It's Monday, isn't it?") == ["it's", "monday", "isn't", "it"]


# -------------------------------------------------------------------------- alignment


@pytest.mark.parametrize(
    ("heard", "spoken", "edits"),
    [
        ("a b c", "a b c", (0, 0, 0)),
        ("a x c", "a b c", (1, 0, 0)),
        ("a c", "a b c", (0, 1, 0)),
        ("a b b c", "a b c", (0, 0, 1)),
        ("", "a b", (0, 2, 0)),
        ("a b", "", (0, 0, 2)),
    ],
)
def test_edits_are_told_apart(
    heard: str, spoken: str, edits: tuple[int, int, int]
) -> None:
    found = align(heard.split(), spoken.split())
    assert (found.substituted, found.missing, found.added) == edits


def test_a_piece_costs_nothing_at_its_edges() -> None:
    found = align("c d".split(), "a b c d e".split(), part=True)
    assert [(p.heard, p.spoken, p.is_equal) for p in found.pairs] == [
        (0, 2, True),
        (1, 3, True),
    ]
    assert found.errors == 0


words = st.lists(st.sampled_from("abcd"), max_size=8)


@given(words, words, st.booleans())
def test_pairs_are_in_order_and_equal_where_they_say(
    heard: list[str], spoken: list[str], part: bool
) -> None:
    found = align(heard, spoken, part=part)
    for pair in found.pairs:
        assert (heard[pair.heard] == spoken[pair.spoken]) == pair.is_equal
    for left, right in zip(found.pairs, found.pairs[1:]):
        assert left.heard < right.heard and left.spoken < right.spoken
    assert found.added == len(heard) - len(found.pairs)
    if not part:
        assert found.missing == len(spoken) - len(found.pairs)
        assert abs(len(heard) - len(spoken)) <= found.errors
        assert found.errors <= max(len(heard), len(spoken))


# ------------------------------------------------------------------ summary and search


def test_percentiles_are_values_that_were_measured() -> None:
    values = Percentiles.of([x / 100 for x in range(1, 101)])
    assert (values.p50, values.p95, values.p99) == (0.5, 0.95, 0.99)
    assert Percentiles.of([]).p95 is None


def test_what_never_came_pushes_a_percentile_up() -> None:
    values = Percentiles.of([0.1] * 9 + [math.inf])
    assert values.never == 1
    assert values.p50 == 0.1 and values.p95 == math.inf


ALONE = summarise([])  # nobody erred


def figures(session: int, lag_s: float, **changes: object) -> SessionFigures:
    base = {
        "session": session,
        "ended": "closed",
        "code": 1000,
        "reason": "",
        "audio_s": 10.0,
        "ready_s": 0.1,
        "first_partial_s": 0.5,
        "flush_s": 0.1,
        "partial_lags_s": (lag_s,) * 10,
        "stands_lags_s": (lag_s,) * 3,
        "final_lags_s": (lag_s + 0.8,) * 3,
        "spoken": 10,
        "shown": 10,
    }
    return SessionFigures(**{**base, **changes})  # type: ignore[arg-type]


def test_the_objective_is_kept_or_broken_in_words() -> None:
    kept = summarise([figures(0, 0.9), figures(1, 0.8)])
    assert kept.broken(Objective(), ALONE) == []
    slow = summarise([figures(0, 1.6)])
    assert slow.broken(Objective(), ALONE) == [
        "p95 of partial lag 1.60 s, at most 1.5 s",
        "p95 until text stands 1.60 s, at most 1 s",
        "p95 of finals 2.40 s, at most 2 s",
    ]


def test_word_errors_are_held_against_one_stream_and_chance() -> None:
    def erring(errors: int, words: int) -> Summary:
        return summarise([figures(0, 0.5, substituted=errors, spoken=words)])

    # 2 % more over 10,000 words is no chance, over 100 words it may be
    assert erring(700, 10_000).broken(Objective(), erring(500, 10_000)) == [
        "WER 7.00%, 5.00% for one stream"
    ]
    assert erring(7, 100).broken(Objective(), erring(5, 100)) == []
    assert erring(40, 100).broken(Objective(), erring(5, 100))
    assert erring(520, 10_000).broken(Objective(), erring(500, 10_000)) == []


def test_a_word_that_never_came_breaks_the_objective() -> None:
    never = summarise([figures(0, math.inf)])
    assert "p95 of finals never, at most 2 s" in never.broken(Objective(), ALONE)
    assert never.as_json()["final_after_speech"]["p95"] is None


def test_the_first_client_is_the_cold_one() -> None:
    summary = summarise([figures(0, 0.1, first_partial_s=3.0), figures(1, 0.1)])
    assert summary.first_partial_cold_s == 3.0
    assert summary.first_partial.p99 == 0.5


@given(st.integers(0, 80), st.integers(1, 64), st.integers(1, 4), st.integers(1, 9))
def test_the_largest_is_found_within_a_step(
    truth: int, most: int, step: int, start: int
) -> None:
    asked: list[int] = []

    def succeeds(n: int) -> bool:
        asked.append(n)
        return n <= truth

    found = largest(succeeds, start=start, most=most, step=step)
    right = min(truth, most)
    assert right - step < found <= right
    assert len(asked) == len(set(asked)) and all(1 <= n <= most for n in asked)


# ----------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "max-sessions = 12 "),
        ('model = "demo"', 'model = "demo"\nmax-sessions = 12 '),
        (
            "# mine\nmax-sessions = 64\nport = 1\n",
            "# mine\nmax-sessions = 12 # measured\nport = 1\n",
        ),
        ("max-sessions-per-key = 3\n", "max-sessions-per-key = 3\nmax-sessions = 12 "),
    ],
)
def test_a_setting_is_written_and_the_rest_left_alone(
    tmp_path: Path, before: str, after: str
) -> None:
    path = tmp_path / "whisper-live.toml"
    path.write_text(before)
    write_setting(path, "max-sessions", 12)
    lines = path.read_text().splitlines()
    shown = [line.split("  # measured on ")[0] for line in lines]
    expected = [line.split(" # measured")[0].rstrip() for line in after.splitlines()]
    assert shown == expected


def test_capacity_is_the_most_that_keep_the_objective(tmp_path: Path) -> None:
    said: list[str] = []
    crowd = Crowd(1, Dialogue("ws://nowhere"), Speech(1.0))
    trials = Trials(crowd, tmp_path, say=said.append)
    for clients, lag_s in ((1, 0.3), (2, 0.6), (3, 0.9), (4, 1.2)):
        summary = summarise([figures(n, lag_s) for n in range(clients)])
        many = dataclasses.replace(crowd, clients=clients)
        trials.runs[clients] = Run(many, summary, 0.1, 1.0, "")
    assert trials.capacity(most=4) == 3
    assert any("p95 until text stands 1.20 s" in line for line in said)
