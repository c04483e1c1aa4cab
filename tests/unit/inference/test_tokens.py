"""Timestamp tokens to spans, loops, and which answers are believed."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from whisper_live.inference.ctranslate2.tokens import (
    Answer,
    compression_ratio,
    cut_loop,
    read_spans,
    read_to,
    says_twice,
    without_open_end,
)

EOT, T0 = 1000, 2000
SAMPLES = 32_000  # 2 s: timestamps 2000..2100


def spans(*tokens: int, samples: int = SAMPLES) -> list[tuple[int, int, list[int]]]:
    found = read_spans(tokens, eot=EOT, timestamp_begin=T0, samples=samples)
    return [(span.start, span.end, span.tokens) for span in found]


def test_pairs_of_timestamps_bound_spans() -> None:
    assert spans(T0, 1, 2, T0 + 10, T0 + 20, 3, T0 + 50) == [
        (0, 3200, [1, 2]),
        (6400, 16000, [3]),
    ]


def test_text_without_times_is_the_whole_window() -> None:
    assert spans(1, 2) == [(0, SAMPLES, [1, 2])]


def test_an_unfinished_span_reaches_to_the_end() -> None:
    assert spans(T0 + 5, 1, T0 + 10, T0 + 20, 2) == [
        (1600, 3200, [1]),
        (6400, SAMPLES, [2]),
    ]


def test_times_beyond_the_window_are_clipped() -> None:
    assert spans(T0, 1, T0 + 1500) == [(0, SAMPLES, [1])]


def test_text_without_room_joins_its_neighbour() -> None:
    beyond = T0 + 1000
    assert spans(T0, 1, T0 + 10, beyond, 2, beyond) == [(0, SAMPLES, [1, 2])]
    assert spans(beyond, 7, beyond) == [(0, SAMPLES, [7])]
    assert spans(T0 + 10, 1, T0 + 50, T0, 2, T0 + 20) == [(3200, 16000, [1, 2])]


def test_nothing_said_is_nothing() -> None:
    assert spans() == spans(T0, T0 + 100) == []


@given(st.lists(st.integers(0, EOT - 1) | st.integers(T0, T0 + 1500)))
def test_spans_are_ordered_inside_and_lose_no_text(tokens: list[int]) -> None:
    found = spans(*tokens)
    end = 0
    for start, stop, text in found:
        assert end <= start < stop <= SAMPLES and text
        end = stop
    assert [t for _, _, text in found for t in text] == [t for t in tokens if t < EOT]


def accounted(*tokens: int) -> int:
    return read_to(tokens, eot=EOT, timestamp_begin=T0, samples=SAMPLES)


def test_an_answer_accounts_for_what_lies_before_its_last_timestamp() -> None:
    assert accounted(T0, 1, 2, T0 + 50) == 16_000
    assert accounted(T0, 1, T0 + 10, T0 + 10, 2, T0 + 50, T0 + 60) == 19_200
    assert accounted(T0, 1, T0 + 1500) == SAMPLES  # not more than there is


def test_text_without_an_end_and_no_text_account_for_everything() -> None:
    assert accounted(T0, 1, T0 + 10, T0 + 20, 2) == SAMPLES
    assert accounted() == accounted(T0, T0 + 10) == accounted(1) == SAMPLES


def test_of_an_answer_that_was_cut_off_only_closed_text_is_kept() -> None:
    def kept(*tokens: int) -> list[int]:
        return without_open_end(tokens, eot=EOT, timestamp_begin=T0)

    assert kept(T0, 1, T0 + 10, T0 + 10, 2, 3) == [T0, 1, T0 + 10]
    assert kept(T0, 1, T0 + 10) == [T0, 1, T0 + 10]
    assert kept(T0, 1, 2) == [T0, 1, 2], "there is no better place to go on from"
    assert kept() == []


def test_a_loop_is_cut_to_one_round() -> None:
    assert cut_loop([9, 1, 2, 1, 2, 1, 2, 1, 2]) == [9, 1, 2]
    assert cut_loop([5] * 20) == [5]
    assert cut_loop([1, 2, 3] * 3) == [1, 2, 3] * 3  # three rounds may be speech
    assert cut_loop([]) == []


@given(st.lists(st.integers(0, 5), max_size=80))
def test_cutting_a_loop_leaves_a_beginning(tokens: list[int]) -> None:
    cut = cut_loop(tokens)
    assert cut == tokens[: len(cut)]
    assert bool(cut) == bool(tokens)


def answer(logprob: float, silence: float = 0.0, ratio: float = 1.0) -> Answer:
    return Answer([], [], 0, logprob, silence, ratio)


def test_what_is_believed() -> None:
    assert answer(-0.5).believable
    assert not answer(-1.1).believable
    assert not answer(-0.5, ratio=2.5).believable
    # a guess over silence: trying again would only make up other words
    assert answer(-1.1, silence=0.7).believable


def test_a_loop_ranks_below_any_guess() -> None:
    ranked = sorted(
        [answer(-0.1, ratio=3.0), answer(-3.0), answer(-2.0)], key=lambda a: a.rank
    )
    assert [a.average_logprob for a in ranked] == [-0.1, -3.0, -2.0]


def test_repetition_packs_well() -> None:
    assert compression_ratio("yes " * 40) > 2.4 > compression_ratio("open the door")
    assert compression_ratio("") == 0


@given(
    st.lists(st.sampled_from(["open", " the", " door", "!", " ß", "q\n"]), max_size=224)
)
def test_packing_in_little_memory_packs_as_well(parts: list[str]) -> None:
    data = "".join(parts).encode()
    assert compression_ratio(data.decode()) == len(data) / len(zlib.compress(data))


def test_a_phrase_said_twice_running_is_found() -> None:
    phrase = [1, 2, 3, 4, 5]
    assert says_twice([*phrase, *phrase], eot=EOT)
    assert says_twice([9, *phrase, *phrase, 8], eot=EOT)
    # each round in a segment of its own
    assert says_twice([T0, *phrase, T0 + 9, T0 + 9, *phrase, T0 + 20], eot=EOT)
    assert says_twice([7] * 8, eot=EOT)


def test_words_said_twice_or_apart_are_none() -> None:
    assert not says_twice([], eot=EOT)
    assert not says_twice([1, 2, 3, 1, 2, 3], eot=EOT)  # "very very", "no no no"
    assert not says_twice([1, 2, 3, 4, 9, 1, 2, 3, 4], eot=EOT)
    assert not says_twice([1, 2, 3, 4, 1, 2, 3], eot=EOT)


@given(st.lists(st.integers(0, 3), max_size=30))
def test_a_repeat_is_one_by_its_definition(tokens: list[int]) -> None:
    is_there = any(
        tokens[at : at + size] == tokens[at + size : at + 2 * size]
        for size in range(4, len(tokens) // 2 + 1)
        for at in range(len(tokens) - 2 * size + 1)
    )
    assert says_twice(tokens, eot=EOT) == is_there
