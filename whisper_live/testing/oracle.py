"""The oracle: an engine that reads word numbers out of the samples.

A test instrument, not a recogniser.  Chosen with ``--engine oracle``, it stands where
a model would, costs what it is told to cost, fails where it is told to fail, and
returns exactly the words that are wholly inside each window, so that everything
around it can be held to account for every word.  Silero hears no speech in its audio
(``marks`` makes it), so it brings its own detector.

Must not know sessions, batching or the wire.  All its chance comes from a seed and
the request's id: equal requests meet the same fate in any batch.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import Samples, s_to_samples, samples_to_s
from whisper_live.config.model import Config
from whisper_live.errors import EngineUnavailable, WindowRejected
from whisper_live.inference.engine import EngineInfo
from whisper_live.inference.types import (
    Hypothesis,
    HypothesisSegment,
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
    Word,
)
from whisper_live.testing.marks import LOUD, read_words, word_text

__all__ = ["Behaviour", "OracleDetector", "OracleEngine", "build_oracle"]

_PAUSE = s_to_samples(0.5)  # silence at which Whisper would write a timestamp


def _never(request: Request) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the oracle does besides reading."""

    call_s: float = 0.0  # cost of a call
    row_s: float = 0.0  # further cost of each of its rows
    jitter_s: float = 0.0  # most that chance adds to a call
    fail_every: int = 0  # each n-th row is rejected; 0: none
    fail_if: Callable[[Request], bool] = _never
    hang_if: Callable[[Request], bool] = _never  # its whole call never returns
    mishear: float = 0.0  # probability that the last word of a partial is wrong
    language: str = "en"  # what is detected where none was asked for
    language_probability: float = 1.0
    seed: int = 0


class OracleEngine:
    """Answers requests with the words written into their audio.

    ``sleep`` is how a call takes its time; tests pass that of a simulated clock.
    """

    def __init__(
        self,
        behaviour: Behaviour = Behaviour(),
        *,
        max_batch: int = 4,
        workers: int = 1,
        languages: tuple[str, ...] = ("en", "de", "fr"),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._info = EngineInfo(
            name="oracle",
            model="oracle",
            device="cpu",
            compute_type="",
            languages=languages,
            max_batch=max_batch,
            workers=workers,
        )
        self._behaviour = behaviour
        self._sleep = sleep
        self._rows = 0  # answered or failed so far
        self._closed = asyncio.Event()

    @property
    def info(self) -> EngineInfo:
        """Facts that do not change while the engine lives."""
        return self._info

    async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        """One outcome per request, in their order, after the call's cost.

        Raises ``EngineUnavailable`` once the engine was closed, out of a hanging call
        too.
        """
        assert len(batch) <= self._info.max_batch, "more rows than info.max_batch"
        self._check_open()
        behaviour = self._behaviour
        if any(behaviour.hang_if(request) for request in batch):
            await self._closed.wait()
        cost_s = behaviour.call_s + behaviour.row_s * len(batch)
        if batch and behaviour.jitter_s:
            cost_s += self._chance(batch[0], "cost").uniform(0, behaviour.jitter_s)
        await self._sleep(cost_s)
        self._check_open()
        return [self._answer(request) for request in batch]

    async def close(self) -> None:
        """Take no more calls, and end those that hang."""
        self._closed.set()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise EngineUnavailable("the oracle was closed")

    def _chance(self, request: Request, purpose: str) -> random.Random:
        return random.Random(f"{self._behaviour.seed} {request.id} {purpose}")

    def _answer(self, request: Request) -> Outcome:
        behaviour = self._behaviour
        self._rows += 1
        due = behaviour.fail_every and self._rows % behaviour.fail_every == 0
        if due or behaviour.fail_if(request):
            return RequestFailed(
                request.id, WindowRejected("the oracle was told to fail", kind="oracle")
            )
        if samples_to_s(len(request.audio)) > self._info.max_window_s:
            return RequestFailed(
                request.id,
                WindowRejected(
                    f"a window of {samples_to_s(len(request.audio)):.3f} s is longer "
                    f"than {self._info.max_window_s:g} s"
                ),
            )
        given = request.options.language
        return Hypothesis(
            request_id=request.id,
            segments=tuple(_segments(self._words(request), request)),
            language=given or behaviour.language,
            language_probability=1.0 if given else behaviour.language_probability,
        )

    def _words(self, request: Request) -> list[Word]:
        words = [
            Word(word_text(number), request.start + start, request.start + end, 1.0)
            for number, start, end in read_words(request.audio)
        ]
        words = _with_prefix(words, request)
        if words and request.kind is RequestKind.PARTIAL:
            if self._chance(request, "mishear").random() < self._behaviour.mishear:
                last = words[-1]
                # Not a word that read_numbers takes: it must never be committed.
                wrong = last.text.replace("w", "misheard")
                words[-1] = Word(wrong, last.start, last.end, 0.1)
        return words


def _with_prefix(words: list[Word], request: Request) -> list[Word]:
    """The words after a forced prefix, which is said whether it is heard or not."""
    rest, prefix = list(words), []
    for text in (f" {token}" for token in request.options.prefix.split()):
        heard = next((word for word in rest if word.text == text), None)
        if heard is not None:
            rest.remove(heard)
        prefix.append(heard or Word(text, request.start, request.start, 1.0))
    return prefix + rest


def _segments(words: list[Word], request: Request) -> list[HypothesisSegment]:
    """Words as segments: split at pauses where timestamps are asked for."""
    if not words:
        return []
    cuts = [
        index
        for index, (left, right) in enumerate(pairwise(words), start=1)
        if request.options.timestamps and right.start - left.end >= _PAUSE
    ]
    return [
        HypothesisSegment(
            start=words[first].start,
            end=words[after - 1].end,
            text="".join(word.text for word in words[first:after]),
            words=tuple(words[first:after]) if request.options.word_timestamps else (),
        )
        for first, after in pairwise([0, *cuts, len(words)])
    ]


class OracleDetector:
    """Hears a mark wherever a frame holds a loud sample; needs no state."""

    def score(self, frames: Samples) -> NDArray[np.float32]:
        """1.0 for each frame ``[n, 512]`` with a part of a mark in it, else 0.0."""
        speech: NDArray[np.bool_] = np.any(np.abs(frames) > LOUD, axis=1)
        return speech.astype(np.float32)


def build_oracle(config: Config) -> OracleEngine:
    """The oracle as the command line describes it."""
    behaviour = Behaviour(
        call_s=config.engine.oracle_call_s, row_s=config.engine.oracle_row_s
    )
    return OracleEngine(
        behaviour,
        max_batch=config.batch.batch_size,
        workers=config.engine.workers or 1,
    )
