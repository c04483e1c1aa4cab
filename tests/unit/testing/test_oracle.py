"""The oracle engine: what it says for a window, and how it misbehaves on demand."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples
from whisper_live.config.model import BatchConfig, Config, EngineConfig
from whisper_live.errors import EngineUnavailable, WindowRejected
from whisper_live.inference.engine import Engine
from whisper_live.inference.types import (
    DecodeOptions,
    Hypothesis,
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
)
from whisper_live.testing.marks import write_speech, write_words
from whisper_live.testing.oracle import (
    Behaviour,
    OracleDetector,
    OracleEngine,
    build_oracle,
)


class Clock:
    """Counts the seconds slept."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def _request(
    audio: Samples,
    *,
    id: int = 1,
    kind: RequestKind = RequestKind.FINAL,
    start: int = 0,
    **options: object,
) -> Request:
    decode = dataclasses.replace(DecodeOptions(), **options)  # type: ignore[arg-type]
    return Request(id, "session", kind, start, audio, decode)


async def _hear(engine: OracleEngine, request: Request) -> Hypothesis:
    (outcome,) = await engine.transcribe([request])
    assert isinstance(outcome, Hypothesis)
    return outcome


def _text(outcome: Outcome) -> str:
    assert isinstance(outcome, Hypothesis)
    return "".join(segment.text for segment in outcome.segments)


async def test_words_of_a_window_with_their_times() -> None:
    audio, words = write_words([7, 8, 9])
    heard = await _hear(OracleEngine(), _request(audio, start=1000))
    (segment,) = heard.segments
    assert segment.text == " w7 w8 w9"
    assert (segment.start, segment.end) == (1000, 1000 + words[-1].end)
    assert segment.words == ()
    assert (heard.language, heard.language_probability) == ("en", 1.0)


async def test_word_times_only_when_asked() -> None:
    audio, words = write_words([7, 8])
    heard = await _hear(
        OracleEngine(), _request(audio, start=1000, word_timestamps=True)
    )
    assert [
        (w.text, w.start - 1000, w.end - 1000) for w in heard.segments[0].words
    ] == [
        (" w7", words[0].start, words[0].end),
        (" w8", words[1].start, words[1].end),
    ]


@pytest.mark.parametrize(
    "pause_s, texts", [(0.5, [" w1 w2", " w3"]), (0.49, [" w1 w2 w3"])]
)
async def test_segments_split_at_pauses(pause_s: float, texts: list[str]) -> None:
    audio, _ = write_speech([[1, 2], [3]], pause_s=pause_s)
    heard = await _hear(OracleEngine(), _request(audio))
    assert [segment.text for segment in heard.segments] == texts
    plain = await _hear(OracleEngine(), _request(audio, timestamps=False))
    assert [segment.text for segment in plain.segments] == [" w1 w2 w3"]


async def test_cut_words_are_not_heard_and_silence_says_nothing() -> None:
    audio, words = write_words([1, 2, 3])
    cut = audio[words[0].start + 1 : words[2].end - 1]
    assert _text(await _hear(OracleEngine(), _request(cut))) == " w2"
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert (await _hear(OracleEngine(), _request(silence))).segments == ()


async def test_a_word_that_the_audio_doubles_is_said_twice() -> None:
    audio, _ = write_words([5, 6])
    twice = np.concatenate([audio, np.zeros(1600, np.float32), audio])
    heard = await _hear(OracleEngine(), _request(twice, prefix="w5"))
    assert _text(heard) == " w5 w6 w5 w6"


async def test_forced_prefix_is_said_heard_or_not() -> None:
    audio, words = write_words([5, 6])
    heard = await _hear(
        OracleEngine(), _request(audio, start=9, prefix="w4 w5", word_timestamps=True)
    )
    assert _text(heard) == " w4 w5 w6"
    assert [word.start for word in heard.segments[0].words] == [
        9,
        9,
        9 + words[1].start,
    ]


async def test_language_as_asked_or_as_told() -> None:
    audio, _ = write_words([1])
    engine = OracleEngine(Behaviour(language="fr", language_probability=0.3))
    detected = await _hear(engine, _request(audio))
    assert (detected.language, detected.language_probability) == ("fr", 0.3)
    given = await _hear(engine, _request(audio, language="de"))
    assert (given.language, given.language_probability) == ("de", 1.0)


async def test_outcomes_in_the_order_of_the_requests() -> None:
    batch = [_request(write_words([n])[0], id=n) for n in (4, 2, 3)]
    outcomes = await OracleEngine().transcribe(batch)
    assert [(o.request_id, _text(o)) for o in outcomes] == [
        (4, " w4"),
        (2, " w2"),
        (3, " w3"),
    ]


async def test_a_call_costs_what_it_was_told() -> None:
    clock = Clock()
    engine = OracleEngine(Behaviour(call_s=0.2, row_s=0.05), sleep=clock.sleep)
    request = _request(write_words([1])[0])
    await engine.transcribe([request])
    assert clock.now == pytest.approx(0.25)
    await engine.transcribe([request] * 4)
    assert clock.now == pytest.approx(0.65)


async def test_jitter_depends_on_seed_and_request_only() -> None:
    async def costs(seed: int, ids: Sequence[int]) -> dict[int, float]:
        clock = Clock()
        engine = OracleEngine(Behaviour(jitter_s=1.0, seed=seed), sleep=clock.sleep)
        spent = {}
        for id in ids:
            before = clock.now
            await engine.transcribe([_request(np.zeros(100, np.float32), id=id)])
            spent[id] = round(clock.now - before, 9)
        return spent

    first = await costs(1, range(20))
    assert first == await costs(1, range(19, -1, -1))
    assert first != await costs(2, range(20))
    assert 0.0 <= min(first.values()) < max(first.values()) <= 1.0


async def test_every_third_row_fails_alone() -> None:
    engine = OracleEngine(Behaviour(fail_every=3))
    batch = [_request(write_words([n])[0], id=n) for n in range(4)]
    outcomes = [*await engine.transcribe(batch), *await engine.transcribe(batch)]
    failed = [isinstance(outcome, RequestFailed) for outcome in outcomes]
    assert failed == [False, False, True, False, False, True, False, False]
    assert isinstance(outcomes[2], RequestFailed)
    assert isinstance(outcomes[2].error, WindowRejected)
    assert outcomes[2].request_id == 2


async def test_failure_by_predicate() -> None:
    engine = OracleEngine(Behaviour(fail_if=lambda request: request.start == 16000))
    audio, _ = write_words([1])
    bad, good = _request(audio, id=1, start=16000), _request(audio, id=2)
    outcomes = await engine.transcribe([bad, good])
    assert isinstance(outcomes[0], RequestFailed)
    assert _text(outcomes[1]) == " w1"


async def test_window_too_long_is_rejected_alone() -> None:
    longest = np.zeros(30 * SAMPLE_RATE, np.float32)
    over = np.zeros(30 * SAMPLE_RATE + 1, np.float32)
    outcomes = await OracleEngine().transcribe([_request(longest), _request(over)])
    assert isinstance(outcomes[0], Hypothesis)
    assert isinstance(outcomes[1], RequestFailed)
    assert "longer than 30 s" in str(outcomes[1].error)


async def test_misheard_is_the_last_word_of_partials_only() -> None:
    audio, _ = write_words([1, 2])
    engine = OracleEngine(Behaviour(mishear=1.0))
    partial = await _hear(engine, _request(audio, kind=RequestKind.PARTIAL))
    assert _text(partial) == " w1 misheard2"
    assert _text(await _hear(engine, _request(audio))) == " w1 w2"


async def test_mishearing_is_a_matter_of_seed_and_request() -> None:
    audio, _ = write_words([1, 2])
    requests = [_request(audio, id=n, kind=RequestKind.PARTIAL) for n in range(40)]

    async def wrong(batch_size: int) -> list[bool]:
        engine = OracleEngine(Behaviour(mishear=0.5, seed=3), max_batch=batch_size)
        outcomes = [
            outcome
            for at in range(0, 40, batch_size)
            for outcome in await engine.transcribe(requests[at : at + batch_size])
        ]
        return ["misheard" in _text(outcome) for outcome in outcomes]

    alone = await wrong(1)
    assert 8 < sum(alone) < 32
    assert await wrong(8) == alone


async def test_hanging_call_ends_when_cancelled_or_closed() -> None:
    audio, _ = write_words([1])
    engine = OracleEngine(Behaviour(hang_if=lambda request: request.id == 13))
    cancelled = asyncio.create_task(engine.transcribe([_request(audio, id=13)]))
    await engine.transcribe([_request(audio, id=1)])  # lets the task start and hang
    assert not cancelled.done()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    closed = asyncio.create_task(engine.transcribe([_request(audio, id=13)]))
    await engine.transcribe([_request(audio, id=2)])
    assert not closed.done()
    await engine.close()
    with pytest.raises(EngineUnavailable):
        await closed


async def test_closed_engine_takes_no_calls() -> None:
    engine = OracleEngine()
    await engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await engine.transcribe([])


def test_built_from_settings() -> None:
    config = Config(
        engine=EngineConfig(
            engine="oracle", oracle_call_s=0.1, oracle_row_s=0.02, workers=2
        ),
        batch=BatchConfig(batch_size=6),
    )
    engine: Engine = build_oracle(config)
    assert engine.info.name == "oracle"
    assert (engine.info.max_batch, engine.info.workers) == (6, 2)
    assert build_oracle(Config()).info.workers == 1


async def test_built_engine_costs_what_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = build_oracle(
        Config(engine=EngineConfig(oracle_call_s=0.1, oracle_row_s=0.02))
    )
    clock = Clock()
    monkeypatch.setattr(engine, "_sleep", clock.sleep)
    request = _request(write_words([1])[0])
    await engine.transcribe([request, request])
    assert clock.now == pytest.approx(0.14)


@pytest.mark.parametrize("offset", [0, 1, 100, 511])
def test_detector_hears_marks_and_nothing_else(offset: int) -> None:
    speech, words = write_speech([[1, 2, 3], [4]], pause_s=0.7)
    audio = np.concatenate([np.zeros(offset, np.float32), speech])
    audio = audio[: len(audio) // FRAME_SAMPLES * FRAME_SAMPLES]
    frames = audio.reshape(-1, FRAME_SAMPLES)
    expected = np.zeros(len(frames), np.float32)
    for word in words:
        first = (word.start + offset) // FRAME_SAMPLES
        last = (word.end + offset - 1) // FRAME_SAMPLES
        expected[first : last + 1] = 1.0
    scores = OracleDetector().score(frames)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, expected)
    assert OracleDetector().score(frames[:0]).shape == (0,)
