"""Calls that raise: the guilty row alone fails, memory is learned about, and few wait.

The model is real, of one narrow layer; the faults are put between it and the engine.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.engine.requests import request, text, why
from whisper_live.audio import Samples
from whisper_live.errors import EngineUnavailable
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine
from whisper_live.inference.engine import Again
from whisper_live.inference.types import (
    DecodeOptions,
    Hypothesis,
    Request,
    RequestFailed,
)

# Forced prefixes are how a row is told from its neighbours inside a call.
GOOD = DecodeOptions(language="en", prefix=" yes")
POISON = DecodeOptions(language="en", prefix=" poison")


class Faulty:
    """A model whose ``generate`` may raise; keeps the sizes of its calls."""

    def __init__(
        self, model: Any, fault: Callable[[Sequence[Sequence[int]]], None]
    ) -> None:
        self._model, self._fault = model, fault
        self.calls: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, memory: Any, prompts: list[list[int]], **options: Any) -> Any:
        self.calls.append(len(prompts))
        self._fault(prompts)
        options["max_length"] = 16  # random weights talk on and on
        return self._model.generate(memory, prompts, **options)


def spoil(
    engine: CTranslate2Engine, fault: Callable[[Sequence[Sequence[int]]], None]
) -> Faulty:
    """Put a fault into one worker's model and take the others' place with it."""
    faulty = Faulty(engine._calls[0]._model, fault)
    for call in engine._calls:
        call._model = faulty
    return faulty


def on_poison(engine: CTranslate2Engine) -> Callable[[Sequence[Sequence[int]]], None]:
    """Raises where any prompt ends in the poisoned prefix."""
    marked = engine._calls[0].prompts.build(POISON, "en").tokens

    def fault(prompts: Sequence[Sequence[int]]) -> None:
        if any(list(prompt) == marked for prompt in prompts):
            raise RuntimeError("injected fault")

    return fault


@pytest.fixture(scope="module")
def audio() -> Samples:
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.05, 16_000).astype(np.float32)


@pytest.mark.parametrize("guilty", range(4))
async def test_the_guilty_row_stands_alone(
    nano: CTranslate2Engine, audio: Samples, guilty: int
) -> None:
    faulty = spoil(nano, on_poison(nano))
    rows = [request(audio, POISON if i == guilty else GOOD) for i in range(4)]
    outcomes = await nano.transcribe(rows)
    for i, outcome in enumerate(outcomes):
        assert not isinstance(outcome, Again)
        assert outcome.request_id == rows[i].id
        if i == guilty:
            assert "injected fault" in why(outcome)
        else:
            assert text(outcome).startswith(" yes")
    # all four, both halves, both rows of the guilty half
    assert sorted(faulty.calls) == [1, 1, 2, 2, 4]
    assert sum(faulty.calls[1:]) <= 2 * 4  # nobody later than two calls of all rows


async def test_an_attempt_that_raises_leaves_the_text_of_those_before(
    nano: CTranslate2Engine, audio: Samples
) -> None:
    fault, is_first = on_poison(nano), True
    faulty = spoil(nano, lambda prompts: None if is_first else fault(prompts))
    # random weights are never sure of anything: both rows are tried again
    rows = [
        request(audio, dataclasses.replace(options, temperatures=(0.0, 0.5)))
        for options in (GOOD, POISON)
    ]
    first = await nano.transcribe(rows)
    again = [answer.request for answer in first if isinstance(answer, Again)]
    assert len(again) == 2
    is_first = False
    second = await nano.transcribe(again)
    assert faulty.calls == [2, 2, 1, 1]
    assert text(second[0]).startswith(" yes")
    assert text(second[1]).startswith(" poison")


async def test_words_that_cannot_be_aligned_are_still_text(
    nano: CTranslate2Engine, audio: Samples
) -> None:
    def refuse(*args: Any) -> Any:
        raise RuntimeError("injected fault")

    for call in nano._calls:
        call._model = Faulty(call._model, lambda prompts: None)
        call._model.align = refuse
    options = DecodeOptions(language="en", prefix=" yes", word_timestamps=True)
    (outcome,) = await nano.transcribe([request(audio, options)])
    assert text(outcome).startswith(" yes")
    assert isinstance(outcome, Hypothesis) and not outcome.segments[0].words


async def test_two_guilty_rows_do_not_hide_behind_each_other(
    nano: CTranslate2Engine, audio: Samples
) -> None:
    spoil(nano, on_poison(nano))
    kinds = [POISON, GOOD, GOOD, POISON]
    outcomes = await nano.transcribe([request(audio, kind) for kind in kinds])
    failed = [isinstance(outcome, RequestFailed) for outcome in outcomes]
    assert failed == [True, False, False, True]


@pytest.mark.timeout(300)  # a thousand calls beside other work
@pytest.mark.parametrize(
    ("calls", "rate"), [(25, 0.1), pytest.param(1000, 0.01, marks=pytest.mark.slow)]
)
async def test_many_calls_with_poisoned_rows(
    nano: CTranslate2Engine, audio: Samples, calls: int, rate: float
) -> None:
    faulty = spoil(nano, on_poison(nano))
    (expected,) = await nano.transcribe([request(audio, GOOD)])
    rng = random.Random(5)
    odd: list[Callable[[], Request]] = [
        lambda: request(audio, POISON),
        lambda: request(np.full(16_000, np.nan, np.float32), GOOD),
        lambda: request(audio, DecodeOptions(language="xx")),
        lambda: request(audio, DecodeOptions(hotwords=[1])),  # type: ignore[arg-type]
    ]
    poisoned = 0
    for _ in range(calls):
        bad = [rng.random() < rate for _ in range(4)]
        batch = [rng.choice(odd)() if b else request(audio, GOOD) for b in bad]
        begun = len(faulty.calls)
        outcomes = await nano.transcribe(batch)
        for is_bad, outcome in zip(bad, outcomes, strict=True):
            assert isinstance(outcome, RequestFailed if is_bad else Hypothesis)
            assert is_bad or text(outcome) == text(expected)
        poisoned += sum(bad)
        assert sum(faulty.calls[begun:]) <= 3 * 4
    assert poisoned > calls * rate


async def test_a_failure_says_nothing_of_what_the_call_was_given(
    nano: CTranslate2Engine, audio: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "-".join(["purple", "canary"])

    def fault(prompts: Sequence[Sequence[int]]) -> None:
        raise TypeError(f"incompatible arguments\nInvoked with: {prompts} {secret}")

    spoil(nano, fault)
    (outcome,) = await nano.transcribe([request(audio, GOOD)])
    assert "TypeError: incompatible arguments" in why(outcome)
    assert "TypeError: incompatible arguments" in caplog.text
    assert secret not in why(outcome) + caplog.text


async def test_out_of_memory_halves_the_batch_and_remembers(
    nano: CTranslate2Engine, audio: Samples
) -> None:
    def fault(prompts: Sequence[Sequence[int]]) -> None:
        if len(prompts) > 2:
            raise RuntimeError("CUDA failed with error out of memory")

    faulty = spoil(nano, fault)
    for expected in ([4, 2, 2], [2, 2], [2, 2]):
        faulty.calls.clear()
        outcomes = await _on_one_lane(nano, [request(audio, GOOD) for _ in range(4)])
        assert all(isinstance(outcome, Hypothesis) for outcome in outcomes)
        assert faulty.calls == expected


async def _on_one_lane(
    engine: CTranslate2Engine, rows: list[Request]
) -> Sequence[object]:
    """Each worker learns by itself: ask the first one."""
    call = engine._calls[0]
    prepared = [engine._row(row) for row in rows]
    call.run(prepared)
    return [row.outcome for row in prepared]


async def test_a_row_too_large_for_memory_fails_alone(
    nano: CTranslate2Engine, audio: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(prompts: Sequence[Sequence[int]]) -> None:
        raise MemoryError("std::bad_alloc")

    spoil(nano, fault)
    (outcome,) = await nano.transcribe([request(audio, GOOD)])
    assert isinstance(outcome, RequestFailed)
    assert outcome.error.kind == "out_of_memory"
    assert "out of memory with 1 row: halving" in caplog.text


async def test_a_lost_device_is_not_blamed_on_rows(
    nano: CTranslate2Engine, audio: Samples
) -> None:
    def fault(prompts: Sequence[Sequence[int]]) -> None:
        raise RuntimeError("CUDA failed with error an illegal memory access")

    faulty = spoil(nano, fault)
    with pytest.raises(EngineUnavailable, match="illegal memory access"):
        await nano.transcribe([request(audio, GOOD), request(audio, GOOD)])
    with pytest.raises(EngineUnavailable, match="illegal memory access"):
        await nano.transcribe([request(audio, GOOD)])
    assert faulty.calls == [2]  # not split, and not tried again
