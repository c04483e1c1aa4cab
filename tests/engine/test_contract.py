"""What every engine must do; runs on each of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest

from tests.engine.models import sentences
from tests.engine.requests import request, text, words
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.errors import EngineUnavailable
from whisper_live.inference.engine import Engine
from whisper_live.inference.types import (
    DecodeOptions,
    Hypothesis,
    Request,
    RequestFailed,
)
from whisper_live.testing.marks import word_text, write_words
from whisper_live.testing.oracle import OracleEngine


@dataclass(frozen=True)
class Case:
    """An engine of two workers and windows that it understands."""

    engine: Engine
    windows: tuple[tuple[str, Samples], ...]  # words that it says, and samples

    def requests(self, count: int) -> list[Request]:
        return [
            request(self.windows[i % len(self.windows)][1], start=1000 * i)
            for i in range(count)
        ]

    def words(self, index: int) -> str:
        return self.windows[index % len(self.windows)][0]


def oracle_case() -> Case:
    """The oracle and three utterances of numbers."""
    utterances = [[1, 2, 3], [70], [500, 6000]]
    return Case(
        OracleEngine(workers=2),
        tuple(
            ("".join(map(word_text, numbers)).strip(), write_words(numbers)[0])
            for numbers in utterances
        ),
    )


@pytest.fixture(params=["oracle", "local"])
def case(request: pytest.FixtureRequest) -> Case:
    """Every engine in turn."""
    if request.param == "oracle":
        return oracle_case()
    alone = request.getfixturevalue("alone")
    audio = (samples for _, samples in sentences())
    return Case(request.getfixturevalue("local"), tuple(zip(alone, audio)))


@pytest.fixture(params=["oracle", "local"])
def to_be_closed(request: pytest.FixtureRequest) -> Engine:
    """Every engine in turn, the test's own."""
    if request.param == "oracle":
        return oracle_case().engine
    engine: Engine = request.getfixturevalue("nano")
    return engine


async def test_outcomes_stand_in_the_order_of_requests(case: Case) -> None:
    batch = case.requests(4)
    outcomes = await case.engine.transcribe(batch)
    for i, (one, outcome) in enumerate(zip(batch, outcomes, strict=True)):
        assert isinstance(outcome, Hypothesis)
        assert outcome.request_id == one.id
        assert words(outcome) == case.words(i)
        position = one.start
        for segment in outcome.segments:
            assert position <= segment.start < segment.end <= one.end
            assert segment.text.startswith(" ")
            position = segment.end


async def test_a_batch_says_what_its_rows_say_alone(case: Case) -> None:
    batch = case.requests(4)
    together = await case.engine.transcribe(batch)
    alone = [(await case.engine.transcribe([one]))[0] for one in batch]
    assert [text(o) for o in together] == [text(o) for o in alone]


async def test_one_bad_row_is_one_failure(case: Case) -> None:
    batch = case.requests(4)
    too_long = np.zeros(31 * SAMPLE_RATE, np.float32)
    batch[2] = request(too_long)
    outcomes = await case.engine.transcribe(batch)
    for i, outcome in enumerate(outcomes):
        if i == 2:
            assert isinstance(outcome, RequestFailed)
            assert outcome.request_id == batch[2].id
            assert "longer than 30 s" in str(outcome.error)
        else:
            assert words(outcome) == case.words(i)


async def test_nothing_gives_nothing(case: Case) -> None:
    assert list(await case.engine.transcribe([])) == []
    (outcome,) = await case.engine.transcribe([request(np.empty(0, np.float32))])
    assert isinstance(outcome, Hypothesis) and outcome.segments == ()


async def test_silence_has_no_words(case: Case) -> None:
    silence = np.zeros(2 * SAMPLE_RATE, np.float32)
    (outcome,) = await case.engine.transcribe([request(silence)])
    assert text(outcome) == ""


async def test_words_have_times_where_asked_for(case: Case) -> None:
    options = DecodeOptions(language="en", word_timestamps=True)
    one = request(case.windows[0][1], options, start=32_000)
    (outcome,) = await case.engine.transcribe([one])
    assert isinstance(outcome, Hypothesis)
    found = [word for segment in outcome.segments for word in segment.words]
    assert "".join(word.text for word in found) == text(outcome)
    assert [word.start for word in found] == sorted(word.start for word in found)
    assert all(one.start <= word.start <= word.end <= one.end for word in found)


async def test_a_forced_prefix_is_said(case: Case) -> None:
    first = case.windows[0][0].split()[0]
    options = DecodeOptions(language="en", prefix=first)
    (outcome,) = await case.engine.transcribe([request(case.windows[0][1], options)])
    assert words(outcome).startswith(first)


async def test_a_language_is_always_named(case: Case) -> None:
    unknown = request(case.windows[0][1], DecodeOptions(language=None))
    german = request(case.windows[0][1], DecodeOptions(language="de"))
    detected, given = await case.engine.transcribe([unknown, german])
    assert isinstance(detected, Hypothesis) and isinstance(given, Hypothesis)
    assert detected.language in case.engine.info.languages
    assert 0 < detected.language_probability <= 1
    assert (given.language, given.language_probability) == ("de", 1.0)


async def test_as_many_calls_at_once_as_it_says(case: Case) -> None:
    batches = [case.requests(2) for _ in range(case.engine.info.workers + 2)]
    answers = await asyncio.gather(*map(case.engine.transcribe, batches))
    for outcomes in answers:
        assert [words(o) for o in outcomes] == [case.words(0), case.words(1)]


async def test_a_cancelled_call_is_no_harm_to_the_next(case: Case) -> None:
    call = asyncio.create_task(_transcribe(case.engine, case.requests(2)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (outcome,) = await case.engine.transcribe(case.requests(1))
    assert words(outcome) == case.words(0)


async def _transcribe(engine: Engine, batch: list[Request]) -> None:
    await engine.transcribe(batch)


async def test_a_closed_engine_takes_no_more(to_be_closed: Engine) -> None:
    one = request(np.zeros(SAMPLE_RATE, np.float32))
    await to_be_closed.transcribe([one])
    await to_be_closed.close()
    with pytest.raises(EngineUnavailable):
        await to_be_closed.transcribe([one])
    await to_be_closed.close()  # and closing twice is no error
