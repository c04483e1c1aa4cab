"""The local engine on real weights: words, times, mixed batches and odd rows."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.models import MARGIN_S, SPEECH, sentences
from tests.engine.requests import request, text, why, words
from whisper_live.audio import SAMPLE_RATE
from whisper_live.config.model import EngineConfig
from whisper_live.errors import ConfigError, EngineUnavailable, WindowRejected
from whisper_live.inference.ctranslate2.batch import CPU_ENCODE_ROWS, Call
from whisper_live.inference.ctranslate2.engine import (
    CONTEXT_HOPS,
    ROOM_HOPS,
    CTranslate2Engine,
    load,
)
from whisper_live.inference.ctranslate2.row import Row
from whisper_live.inference.engine import Again
from whisper_live.inference.types import DecodeOptions, Hypothesis, RequestFailed, Task

ENGLISH = DecodeOptions(language="en")
KITCHEN, DOOR, TIME = range(3)


async def test_words_and_times(local: CTranslate2Engine) -> None:
    asked = [request(audio, start=5000) for _, audio in sentences()]
    outcomes = await local.transcribe(asked)
    right = [words(o) == said for o, (said, _) in zip(outcomes, sentences())]
    assert sum(right) >= 2  # a small model may miss one
    for one, outcome in zip(asked, outcomes):
        assert isinstance(outcome, Hypothesis)
        assert outcome.request_id == one.id
        assert (outcome.language, outcome.language_probability) == ("en", 1.0)
        position = one.start
        for segment in outcome.segments:
            assert position <= segment.start < segment.end <= one.end
            assert segment.text.startswith(" ")
            position = segment.end
        assert outcome.timing.batch_size == 3 and outcome.timing.engine_s > 0
        hops = len(one.audio) // 160
        context = next(c for c in CONTEXT_HOPS if c >= hops + ROOM_HOPS)
        assert outcome.timing.padding == pytest.approx(1 - hops / context)


async def test_the_whole_context_gives_the_same_words(real_folder: Path) -> None:
    config = EngineConfig(model=str(real_folder), audio_context="full")
    engine = load(config, max_batch=2, progress=lambda line: None)
    spoken, audio = sentences()[KITCHEN]
    assert words((await engine.transcribe([request(audio)]))[0]) == spoken
    await engine.close()


async def test_language_is_detected_where_it_was_not_given(
    local: CTranslate2Engine, alone: tuple[str, ...]
) -> None:
    rows = [(DOOR, None), (TIME, "en"), (KITCHEN, None)]
    asked = [
        request(sentences()[which][1], DecodeOptions(language=language))
        for which, language in rows
    ]
    outcomes = await local.transcribe(asked)
    for (which, language), outcome in zip(rows, outcomes):
        assert isinstance(outcome, Hypothesis)
        assert outcome.language == "en"
        assert (outcome.language_probability == 1.0) is (language is not None)
        assert words(outcome) == alone[which]


async def test_word_times_follow_the_speech(local: CTranslate2Engine) -> None:
    options = dataclasses.replace(ENGLISH, word_timestamps=True)
    asked = [request(audio, options, start=1600) for _, audio in sentences()]
    asked.insert(1, request(sentences()[DOOR][1]))  # one that wants no words
    outcomes = await local.transcribe(asked)
    plain = outcomes.pop(1)
    assert isinstance(plain, Hypothesis)
    assert all(not segment.words for segment in plain.segments)
    for (_, audio), outcome in zip(sentences(), outcomes):
        assert isinstance(outcome, Hypothesis)
        found = [word for segment in outcome.segments for word in segment.words]
        assert "".join(word.text for word in found) == text(outcome)
        assert len(found) == len(text(outcome).split())
        position = 1600
        for word in found:
            assert position <= word.start <= word.end <= 1600 + len(audio)
            assert 0 < word.probability <= 1
            position = word.end


async def test_word_times_are_those_of_the_recording(local: CTranslate2Engine) -> None:
    sentence = json.loads((SPEECH / "commands.json").read_text())["sentences"][KITCHEN]
    options = dataclasses.replace(ENGLISH, word_timestamps=True)
    audio = sentences()[KITCHEN][1]
    (outcome,) = await local.transcribe([request(audio, options)])
    assert isinstance(outcome, Hypothesis) and words(outcome) == sentence["text"]
    found = [word for segment in outcome.segments for word in segment.words]
    begins_at = sentence["start"] - MARGIN_S
    errors = [
        abs(at / SAMPLE_RATE - (expected - begins_at))
        for word, (_, start, end) in zip(found, sentence["words"], strict=True)
        for at, expected in ((word.start, start), (word.end, end))
    ]
    assert statistics.median(errors) <= 0.1
    assert max(errors) <= 0.5


MIXED = [
    DecodeOptions(language="en", prompt="open the door please and turn on the light"),
    DecodeOptions(language="de", task=Task.TRANSLATE, timestamps=False),
    DecodeOptions(language="en", prefix=" what", hotwords="kitchen"),
    DecodeOptions(language="de", timestamps=False, prefix=" turn on the", beam_size=3),
    DecodeOptions(language=None, word_timestamps=True, prompt="what time " * 60),
    DecodeOptions(language="en", task=Task.TRANSLATE, beam_size=2),
]


async def test_mixed_rows_give_what_each_gives_alone(local: CTranslate2Engine) -> None:
    spoken = sentences()
    asked = [
        request(np.tile(spoken[i % 3][1], 1 + i % 2), options)
        for i, options in enumerate(MIXED)
    ]
    alone = [(await local.transcribe([one]))[0] for one in asked]
    together = await local.transcribe(asked)
    backwards = (await local.transcribe(asked[::-1]))[::-1]
    assert [text(o) for o in together] == [text(o) for o in alone]
    assert [text(o) for o in backwards] == [text(o) for o in alone]
    for one, other in zip(alone, together):
        assert isinstance(one, Hypothesis) and isinstance(other, Hypothesis)
        assert one.language == other.language
        for mine, its in zip(one.segments, other.segments, strict=True):
            assert (mine.start, mine.end) == (its.start, its.end)
            assert mine.average_logprob == pytest.approx(its.average_logprob, abs=1e-3)
            assert [w.text for w in mine.words] == [w.text for w in its.words]
    assert text(together[2]).startswith(" what")
    assert text(together[3]).startswith(" turn on the")


async def test_equal_rows_share_their_calls(local: CTranslate2Engine) -> None:
    calls: list[tuple[str, int]] = []

    class Counting:
        def __init__(self, model: Any) -> None:
            self._model = model

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._model, name)
            if name not in ("encode", "generate"):
                return found

            def counted(first: Any, *args: Any, **options: Any) -> Any:
                calls.append((name, first.shape[0]))
                return found(first, *args, **options)

            return counted

    kept = [call._model for call in local._calls]
    for call in local._calls:
        call._model = Counting(call._model)
    try:
        audio = sentences()[DOOR][1]
        others = [
            DecodeOptions(language="en"),
            DecodeOptions(language="de"),
            DecodeOptions(language="en", task=Task.TRANSLATE),
            DecodeOptions(language="en", prefix=" open"),
        ]
        await local.transcribe([request(audio, options) for options in others])
    finally:
        for call, model in zip(local._calls, kept):
            call._model = model
    encodings = [("encode", CPU_ENCODE_ROWS)] * (4 // CPU_ENCODE_ROWS)
    assert calls == [*encodings, ("generate", 4)]


SPOILED: list[tuple[DecodeOptions, str]] = [
    (DecodeOptions(language="xx"), "language 'xx'"),
    (DecodeOptions(language=["en"]), "language"),  # type: ignore[arg-type]
    (DecodeOptions(hotwords=7), "hotwords must be text"),  # type: ignore[arg-type]
    (DecodeOptions(prompt=b"x"), "prompt must be text"),  # type: ignore[arg-type]
    (DecodeOptions(language="en", beam_size=0), "beam size"),
    (DecodeOptions(language="en", beam_size=10**6), "beam size"),
    (DecodeOptions(beam_size=2.5), "beam size"),  # type: ignore[arg-type]
    (DecodeOptions(temperatures=()), "temperatures"),
    (DecodeOptions(temperatures=(0.0, float("nan"))), "temperatures"),
    (DecodeOptions(task="sing"), ""),  # type: ignore[arg-type]
    (DecodeOptions(temperatures=(0.0, [1])), "temperatures"),  # type: ignore[arg-type]
    (DecodeOptions(temperatures=("hot",)), "temperatures"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("options", "reason"), SPOILED)
async def test_a_spoiled_row_fails_alone(
    local: CTranslate2Engine,
    alone: tuple[str, ...],
    options: DecodeOptions,
    reason: str,
) -> None:
    audio, other = sentences()[DOOR][1], sentences()[TIME][1]
    rows = [request(audio), request(audio, options), request(other), request(audio)]
    first, bad, third, fourth = await local.transcribe(rows)
    assert [words(o) for o in (first, third, fourth)] == [
        alone[DOOR],
        alone[TIME],
        alone[DOOR],
    ]
    assert reason in why(bad)
    assert isinstance(bad, RequestFailed) and isinstance(bad.error, WindowRejected)
    assert bad.request_id == rows[1].id


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (np.full(SAMPLE_RATE, np.nan, np.float32), "not numbers"),
        (np.zeros(31 * SAMPLE_RATE, np.float32), "longer than 30 s"),
        (np.zeros((2, SAMPLE_RATE), np.float32), "row of floating-point"),
        (b"bytes", "row of floating-point"),
    ],
)
async def test_spoiled_samples_fail_alone(
    local: CTranslate2Engine, alone: tuple[str, ...], audio: Any, reason: str
) -> None:
    good = sentences()[DOOR][1]
    bad = request(audio)
    with pytest.raises(WindowRejected, match=reason):
        local.prepare(bad)
    failed, fine = await local.transcribe([bad, request(good)])
    assert reason in why(failed)
    assert words(fine) == alone[DOOR]


async def test_a_huge_prompt_is_cut_not_refused(
    local: CTranslate2Engine, alone: tuple[str, ...]
) -> None:
    audio = sentences()[DOOR][1]
    huge = DecodeOptions(language="en", prompt="what time is it " * 100_000)
    outcomes = await local.transcribe([request(audio, huge), request(audio)])
    assert isinstance(outcomes[0], Hypothesis)
    assert words(outcomes[1]) == alone[DOOR]


@pytest.mark.parametrize("samples", [0, 1, 200, 1599])
async def test_no_call_for_less_than_a_tenth_of_a_second(
    local: CTranslate2Engine, samples: int
) -> None:
    short = request(np.zeros(samples, np.float32), DecodeOptions(language=None))
    before = local.inside_s
    (outcome,) = await local.transcribe([short])
    assert outcome == Hypothesis(short.id, (), "", 0.0)
    assert local.inside_s == before


async def test_every_length_up_to_thirty_seconds(local: CTranslate2Engine) -> None:
    quiet = np.zeros(30 * SAMPLE_RATE, np.float32)
    for samples in (1600, 2 * SAMPLE_RATE, 2**18, 30 * SAMPLE_RATE):
        (outcome,) = await local.transcribe([request(quiet[:samples])])
        assert isinstance(outcome, Hypothesis)


async def test_prepared_rows_give_the_same(
    local: CTranslate2Engine, alone: tuple[str, ...]
) -> None:
    asked = request(sentences()[TIME][1])
    ready = local.prepare(asked)
    assert (ready.id, ready.session, ready.kind) == (
        asked.id,
        asked.session,
        asked.kind,
    )
    assert words((await local.transcribe([ready]))[0]) == alone[TIME]
    local.forget(asked.session)


async def test_only_the_unbelievable_row_is_tried_again(
    local: CTranslate2Engine, alone: tuple[str, ...]
) -> None:
    audio, other = sentences()[DOOR][1], sentences()[TIME][1]
    # whatever the model adds to this, it repeats itself too much to be believed
    looping = DecodeOptions(
        language="en", prefix=" door" * 60, temperatures=(0.0, 0.5, 1.0)
    )
    asked = [request(audio), request(audio, looping), request(other)]
    first = await local.transcribe(asked)
    assert words(first[0]) == alone[DOOR]
    tries = 1
    answer = first[1]
    while isinstance(answer, Again):
        again = answer.request
        assert (again.id, again.session) == (asked[1].id, asked[1].session)
        assert answer.doubtful is not None and answer.doubtful.request_id == again.id
        assert text(answer.doubtful).startswith(" door" * 60)
        tries += 1
        # it shares its next call with rows that are at their first attempt
        fresh, answer = await local.transcribe([request(audio), again])
        assert words(fresh) == alone[DOOR]
    assert tries == 3 and text(answer).startswith(" door" * 60)


async def test_what_a_short_context_spoiled_is_read_again_in_the_whole_one(
    local: CTranslate2Engine, alone: tuple[str, ...]
) -> None:
    guarded = CTranslate2Engine(
        local.info,
        [Call(call._model, call.prompts, to_cpu=False) for call in local._calls],
        mels=80,
        contexts=(300, 800, 3000),
        trained_short=False,
    )
    audio = sentences()[DOOR][1]
    # a phrase said twice, as stock weights do in a context too short for them
    twice = DecodeOptions(language="en", prefix=" open the red door" * 2)
    looping = DecodeOptions(language="en", prefix=" door" * 60, temperatures=(0.0, 0.5))
    asked = [request(audio), request(audio, twice), request(audio, looping)]
    fine, *again = await guarded.transcribe(asked)
    assert words(fine) == alone[DOOR]
    assert isinstance(fine, Hypothesis)
    assert (fine.timing.context_s, fine.timing.is_fallback) == (3.0, False)
    for answer, prefix in zip(again, (" open the red door", " door" * 60)):
        assert isinstance(answer, Again)
        assert answer.doubtful is not None
        assert text(answer.doubtful).startswith(prefix)
    rows = [answer.request for answer in again if isinstance(answer, Again)]
    settled, unsettled = await guarded.transcribe(rows)
    assert isinstance(settled, Hypothesis)  # once: what is said twice then is said
    assert text(settled).startswith(" open the red door open the red door")
    assert (settled.timing.context_s, settled.timing.is_fallback) == (30.0, True)
    # and the attempt in the short context was none of its temperatures
    assert isinstance(unsettled, Again)
    (last,) = await guarded.transcribe([unsettled.request])
    assert isinstance(last, Hypothesis) and last.timing.context_s == 30.0


async def test_cancelling_a_wait_harms_nothing(
    local: CTranslate2Engine, alone: tuple[str, ...]
) -> None:
    audio = sentences()[DOOR][1]
    waits = [asyncio.create_task(local.transcribe([request(audio)])) for _ in range(6)]
    await asyncio.sleep(0)
    for wait in waits[:5]:
        wait.cancel()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert all(isinstance(r, asyncio.CancelledError) for r in results[:5])
    assert isinstance(results[5], list)
    assert words(results[5][0]) == alone[DOOR]


async def test_a_closed_engine_says_so(nano: CTranslate2Engine) -> None:
    audio = np.zeros(16_000, np.float32)
    await nano.transcribe([request(audio)])
    await nano.close()
    with pytest.raises(EngineUnavailable):
        await nano.transcribe([request(audio)])


@pytest.mark.parametrize(("within_s", "run"), [(60.0, 8), (0.0, 2)])
def test_warm_up_runs_every_shape(
    nano: CTranslate2Engine, within_s: float, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    ran: dict[Call, list[tuple[int, int]]] = {call: [] for call in nano._calls}
    stages: set[str] = set()
    once = Call.run

    def noting(call: Call, rows: list[Row], **options: Any) -> None:
        ran[call].append((rows[0].hops, len(rows)))
        once(call, rows, **options)
        stages.update(
            "aligned" if row.words else "detected"
            for row in rows
            if row.request.options.language is None
        )

    monkeypatch.setattr(Call, "run", noting)
    nano.warm_up(lines.append, within_s=within_s)
    assert lines == [f"warming up: {i + 1} of 8" for i in range(run)]
    # single rows whatever it takes, then full batches, then the likely first ones
    shapes = [(300, 1), (200, 1), (300, 4), (200, 4), *[(300, 1), (200, 1)] * 2]
    assert all(each[:run] == shapes[:run] for each in ran.values())
    # and then two a worker that came through the queue, to whichever worker was free
    rehearsed = [shape for each in ran.values() for shape in each[run:]]
    assert rehearsed == [(200, 1)] * 2 * len(ran)
    assert stages == {"aligned"}


def test_no_context_is_taken_for_unencoded_features() -> None:
    assert not {160, 256} & set(CONTEXT_HOPS)
    assert CONTEXT_HOPS[-1] == 3000


@pytest.mark.parametrize("setting", ["0", "-1", "31", "nan", "long"])
def test_impossible_audio_contexts_are_named(setting: str) -> None:
    config = EngineConfig(model="demo", audio_context=setting)
    with pytest.raises(ConfigError, match="audio-context"):
        load(config, max_batch=1, progress=lambda line: None)


def test_facts(local: CTranslate2Engine) -> None:
    info = local.info
    assert (info.name, info.device, info.workers) == ("local", "cpu", 2)
    assert info.compute_type.startswith("int8")
    assert {"en", "de"} <= set(info.languages)
