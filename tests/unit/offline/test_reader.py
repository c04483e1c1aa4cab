"""Whole recordings: where they are cut, and that each window is read to its end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers import frames_of, hear_marks, heard_words
from whisper_live.audio import FRAME_SAMPLES, Samples, s_to_samples
from whisper_live.config.model import Config
from whisper_live.errors import EngineTimeout
from whisper_live.inference.types import (
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
    Word,
)
from whisper_live.offline.reader import AudioWindow, Reader, WindowText, plan
from whisper_live.offline.transcriber import Transcriber
from whisper_live.session.options import SessionOptions, VadOptions
from whisper_live.session.updates import Dropped, Update
from whisper_live.testing.marks import read_numbers, write_monologue, write_speech
from whisper_live.testing.oracle import OracleDetector

Hear = Callable[[Request], Outcome]


def window_of(samples: Samples, start: int = 0) -> AudioWindow:
    speech = frames_of(samples).speech.tolist()
    return AudioWindow(start, samples, speech, start // FRAME_SAMPLES)


async def read(
    hear: Hear, samples: Samples, **options: str | None
) -> tuple[WindowText, list[Request], Reader]:
    asked: list[Request] = []

    def submit(request: Request, deliver: Callable[[Outcome], None]) -> None:
        asked.append(request)
        asyncio.get_running_loop().call_soon(deliver, hear(request))

    wishes = replace(SessionOptions(language="en"), **options)  # type: ignore[arg-type]
    reader = Reader(
        Config(),
        wishes,
        submit,
        session="s",
        ids=itertools.count(1),
        beam_size=5,
        timeout_s=5.0,
    )
    text = await reader.read(window_of(samples), lane="lane", word_timestamps=False)
    return text, asked, reader


def words_in(request: Request) -> list[Word]:
    options = replace(request.options, word_timestamps=True)
    heard = hear_marks(replace(request, options=options))
    return [word for segment in heard.segments for word in segment.words]


async def test_a_window_is_read_at_leisure() -> None:
    samples, _ = write_speech([[1, 2, 3]], lead_s=0.0)
    text, (request,), _ = await read(hear_marks, samples)
    assert (text.text, text.dropped) == (" w1 w2 w3", ())
    assert (request.kind, request.session) == (RequestKind.BACKGROUND, "lane")
    assert request.options.beam_size == 5 and len(request.options.temperatures) == 5


@pytest.mark.parametrize("after", [1, 2, 5])
async def test_what_an_answer_leaves_out_is_read_on(after: int) -> None:
    def hear(request: Request) -> Outcome:
        words = words_in(request)
        if len(words) < after + 3:
            return hear_marks(request)
        heard = heard_words(request, [words[:after]])
        return replace(heard, read_to=words[after - 1].end)

    samples, _ = write_speech([range(8)], lead_s=0.0)
    text, asked, _ = await read(hear, samples)
    assert read_numbers(text.text) == list(range(8)) and not text.dropped
    assert len(asked) > 1


async def test_what_cannot_be_read_is_reported_behind_what_was() -> None:
    samples, spoken = write_speech([range(6)], lead_s=0.0)

    def stuck(request: Request) -> Outcome:
        if request.start:
            return replace(heard_words(request, []), read_to=request.start)
        first = words_in(request)[:2]
        return replace(heard_words(request, [first]), read_to=first[-1].end)

    def fails(request: Request) -> Outcome:
        if request.start:
            return RequestFailed(request.id, EngineTimeout("late"))
        return stuck(request)

    for hear, reason, count in ((stuck, "unread", 3), (fails, "engine_timeout", 2)):
        text, asked, _ = await read(hear, samples)
        assert text.text == " w0 w1" and len(asked) == count
        assert text.dropped == (Dropped(spoken[1].end, len(samples), reason),)


async def test_a_language_is_detected_once_and_told() -> None:
    samples, _ = write_speech([range(8)], lead_s=0.0)
    _, (request,), reader = await read(hear_marks, samples, language=None)
    assert request.options.language is None
    assert reader.language.current == "en"
    assert reader.detected is not None and reader.detected.code == "en"


def test_spans_hold_all_speech_whatever_there_is() -> None:
    for runs in ((100, 40), (1000, 3), (3, 900), (40, 17)):
        speech = ([1.0] * runs[0] + [0.0] * runs[1]) * 20
        spans = plan(speech, VadOptions())
        assert all(end - start <= s_to_samples(28) for start, end in spans)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
        held = {
            f
            for a, b in spans
            for f in range(a // FRAME_SAMPLES, -(-b // FRAME_SAMPLES))
        }
        if runs[0] > 3:  # else they are clicks
            assert {f for f, p in enumerate(speech) if p} <= held
    assert plan([0.0] * 100, VadOptions()) == []


class Queue:
    """A worker's half that is asked for.

    Answers when every lane waits, the newest first, or when there is no more audio.
    """

    def __init__(self, hear: Hear) -> None:
        self.hear = hear
        self.waiting: dict[str, tuple[Request, Callable[[Outcome], None]]] = {}
        self.most = 0
        self.forgotten: list[str] = []
        self.is_ended = False

    def submit(self, request: Request, deliver: Callable[[Outcome], None]) -> None:
        assert request.session not in self.waiting, "one at a time in each lane"
        self.waiting[request.session] = request, deliver
        self.most = max(self.most, len(self.waiting))
        if self.is_ended or len(self.waiting) == 4:
            asyncio.get_running_loop().call_soon(self.answer)

    def answer(self) -> None:
        while self.waiting:
            _, (request, deliver) = self.waiting.popitem()
            deliver(self.hear(request))

    def end(self) -> None:
        self.is_ended = True
        self.answer()

    def cancel(self, request_id: int) -> None:
        raise AssertionError("nothing is withdrawn here")

    def forget(self, session: str) -> None:
        self.forgotten.append(session)


async def transcribed(
    hear: Hear, pieces: Sequence[Samples]
) -> tuple[list[Update], Queue, list[float]]:
    queue, told, seconds = Queue(hear), list[Update](), list[float]()
    loop = asyncio.get_running_loop()

    def given() -> Iterator[Samples]:
        yield from pieces
        loop.call_soon_threadsafe(queue.end)

    transcriber = Transcriber(Config(), queue, OracleDetector)  # type: ignore[arg-type]
    await transcriber.transcribe(
        "file", given(), SessionOptions(language="en"), told.append, seconds.append
    )
    return told, queue, seconds


async def test_windows_are_read_side_by_side_and_told_in_order() -> None:
    made = list(write_monologue(200.0, longest_gap_s=0.45))
    pieces = [piece for piece, _ in made]
    told, queue, seconds = await transcribed(hear_marks, pieces)
    heard = [n for u in told for s in u.completed for n in read_numbers(s.text)]
    assert heard == [word.number for _, words in made for word in words]
    assert not any(update.dropped for update in told)
    segments = [s for update in told for s in update.completed]
    assert all(a.end <= b.start for a, b in itertools.pairwise(segments))
    assert queue.most == Config().batch.batch_size
    assert set(queue.forgotten) == {f"file, {n}" for n in range(4)}
    assert sum(seconds) == pytest.approx(sum(map(len, pieces)) / 16_000)


async def test_a_window_that_fails_is_told_between_its_neighbours() -> None:
    def hear(request: Request) -> Outcome:
        if s_to_samples(28) < request.start < s_to_samples(80):
            return RequestFailed(request.id, EngineTimeout("late"))
        return hear_marks(request)

    pieces = [piece for piece, _ in write_monologue(120.0, longest_gap_s=0.45)]
    told, _, _ = await transcribed(hear, pieces)
    reasons = [d.reason for update in told for d in update.dropped]
    assert set(reasons) == {"engine_timeout"}
    spans = [(s.start, s.end) for u in told for s in u.completed]
    spans += [(d.start, d.end) for u in told for d in u.dropped]
    assert len(spans) > 3 and all(
        a[1] <= b[0] for a, b in itertools.pairwise(sorted(spans))
    ), "nothing is told twice"


async def test_silence_asks_for_nothing() -> None:
    told, queue, _ = await transcribed(hear_marks, [np.zeros(160_000, np.float32)])
    assert not told and not queue.most
