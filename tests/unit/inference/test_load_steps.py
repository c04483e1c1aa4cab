"""What is given up under load, and how it comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whisper_live.inference.load_steps import LoadStep, LoadSteps

NOTHING, SLOWER, GREEDY = LoadStep


def steps_of(*delays: tuple[float, float]) -> list[LoadStep]:
    """The step after each ``now, delay_s``."""
    one = LoadSteps()
    found = []
    for now, delay_s in delays:
        before = one.step
        assert one.update(delay_s, now=now) == (one.step is not before)
        found.append(one.step)
    return found


def test_steps_are_taken_as_the_delay_grows() -> None:
    assert steps_of((0, 0.0), (1, 0.14), (2, 0.15), (3, 0.59), (4, 0.6)) == [
        NOTHING,
        NOTHING,
        SLOWER,
        SLOWER,
        GREEDY,
    ]
    assert steps_of((0, 5.0)) == [GREEDY], "all at once in a rush"


def test_they_come_back_one_by_one_after_a_calm_while() -> None:
    rush = (0.0, 1.0)
    calm = [(at, 0.0) for at in (1.0, 3.9, 4.0, 6.9, 7.0)]
    assert steps_of(rush, *calm) == [GREEDY, GREEDY, GREEDY, SLOWER, SLOWER, NOTHING]


def test_a_delay_between_changes_nothing() -> None:
    between = [(at, 0.4) for at in range(1, 20)]
    assert steps_of((0, 1.0), *between)[-1] is GREEDY
    # nor does a calm that a new rush interrupts
    assert steps_of((0, 1.0), (1, 0.0), (3, 0.4), (5, 0.0), (7, 0.0))[-1] is GREEDY


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 5))))
def test_never_more_than_the_delay_says_is_taken(
    moves: list[tuple[float, float]],
) -> None:
    one, now = LoadSteps(), 0.0
    for delay_s, passed_s in moves:
        now += passed_s
        before = one.step
        one.update(delay_s, now=now)
        assert one.step >= before - 1
        if one.step > before:
            assert delay_s >= (0.6 if one.step is GREEDY else 0.15)
