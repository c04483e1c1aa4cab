"""The engine that runs a Whisper model in this process, through CTranslate2.

Owns the loaded model, its threads and the features of growing windows.  A batch is
prepared off the loop, runs in one of its ``threads`` as in ``batch``, and comes back as
outcomes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import ctranslate2
import numpy as np
from ctranslate2.models import Whisper

from whisper_live.audio import SAMPLE_RATE, Samples, s_to_samples
from whisper_live.config.model import EngineConfig
from whisper_live.errors import ConfigError, EngineUnavailable, WindowRejected
from whisper_live.inference import model_files as models
from whisper_live.inference.ctranslate2.batch import HOPS_PER_S, Call, begin, rejection
from whisper_live.inference.ctranslate2.devices import (
    Placement,
    choose,
    explain,
    run_nice,
    tune_process,
)
from whisper_live.inference.ctranslate2.features import FeatureCache, Features
from whisper_live.inference.ctranslate2.prompts import Prompts
from whisper_live.inference.ctranslate2.row import Row
from whisper_live.inference.ctranslate2.threads import WorkerThreads
from whisper_live.inference.engine import Again, EngineInfo
from whisper_live.inference.memory import give_back_memory
from whisper_live.inference.model_folder import describe
from whisper_live.inference.types import (
    DecodeOptions,
    Hypothesis,
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
    Task,
)

__all__ = ["CONTEXT_HOPS", "CTranslate2Engine", "load"]

log = logging.getLogger("whisper_live.engine")

LONGEST_S = 30.0
SHORTEST_SAMPLES = s_to_samples(0.1)  # less holds no word
# Audio contexts, in mel columns of 10 ms.  Few, because every shape costs oneDNN a
# compiled primitive; never 160 or 256, which CTranslate2 takes for unencoded features
# (80 or 128 positions, as many as there are mels).
CONTEXT_HOPS = (200, 300, 400, 500, 600, 800, 1000, 1200, 1500, 2000, 3000)
# By the width of the encoder.  In at least so much context tiny.en and base are as
# right as in 30 s, where doubtful answers are read again; in 8 s one in seven loops
# (docs/benchmarks/audio-context.md).  Others have not been measured.
_STOCK_FLOORS_S = {384: 10.0, 512: 12.0}
_NO_FEATURES: Features = np.empty((0, 0), np.float32)
ROOM_HOPS = 50  # short contexts end in half a second of nothing: fewer lost last words


def load(
    config: EngineConfig, *, max_batch: int, progress: Callable[[str], None]
) -> CTranslate2Engine:
    """Find, fetch and load the configured model.  Blocking: seconds, or a download.

    ``progress`` is told in one line what is happening.  Raises ``ConfigError`` or
    ``EngineUnavailable`` with one line that says what to do.
    """
    placement = choose(config)
    asked_floor_s = _context_floor_s(config.audio_context)
    found = models.locate(config, progress, device=placement.device)
    path, facts = found.path, describe(found.path, found.source)
    tune_process()
    progress(
        f"loading model {found.name} ({found.source}) on {placement.device} "
        f"({placement.compute_type}; {placement.reason})"
    )
    started = time.monotonic()
    try:
        loaded = [
            _whisper(path, placement, index, config.nice) for index in placement.devices
        ]
        tokens = Prompts(
            path / "tokenizer.json", multilingual=loaded[0].is_multilingual
        )
    except Exception as error:  # tokenizers raises bare Exception
        raise explain(error, found.name) from error
    floor_s = asked_floor_s or facts.min_context_s or _stock_floor_s(loaded[0])
    contexts = tuple(h for h in CONTEXT_HOPS if h >= floor_s * HOPS_PER_S)
    log.info(
        "model %s loaded in %.1f s, audio context %s",
        found.name,
        time.monotonic() - started,
        "full" if len(contexts) == 1 else f"from {contexts[0] / HOPS_PER_S:g} s",
    )
    info = EngineInfo(
        name="local",
        model=found.name,
        device=placement.device,
        compute_type=loaded[0].compute_type,
        languages=tokens.languages,
        max_batch=max_batch,
        max_window_s=LONGEST_S,
        workers=placement.workers,
        is_demo=facts.is_demo,
        weights=facts.source,
    )
    # On a CPU all calls share one model, whose `workers` threads share its weights.
    of_each = [loaded[i % len(loaded)] for i in range(placement.workers)]
    several = len(placement.devices) > 1
    return CTranslate2Engine(
        info,
        [Call(model, tokens, to_cpu=several) for model in of_each],
        mels=loaded[0].n_mels,
        contexts=contexts,
        trained_short=facts.min_context_s is not None,
    )


class CTranslate2Engine:
    """A loaded model.  ``warm_up`` before the first ``transcribe``.

    ``contexts`` are the audio contexts to use, in mel columns, shortest first.  Weights
    that were not ``trained_short`` are doubted in all but the last one, and asked again
    there.
    """

    def __init__(
        self,
        info: EngineInfo,
        calls: Sequence[Call],
        *,
        mels: int,
        contexts: Sequence[int],
        trained_short: bool,
    ) -> None:
        self._info = info
        self._calls = calls
        self._prompts = calls[0].prompts
        self._contexts = contexts
        self._trained_short = trained_short
        self._cache = FeatureCache(mels)
        self._threads = WorkerThreads(calls)
        self._lost: str | None = None  # why there will be no more calls

    @property
    def info(self) -> EngineInfo:
        """Facts that do not change while the engine lives."""
        return self._info

    @property
    def inside_s(self) -> float:
        """Seconds spent inside CTranslate2 so far, over all workers; for the bench."""
        return sum(call.inside_s for call in self._calls)

    # --------------------------------------------------------------------- start

    def warm_up(
        self, progress: Callable[[str], None], *, within_s: float | None = None
    ) -> None:
        """Run every shape that will be used, on every worker.  Blocking.

        Single rows first, in every context: the first client sends one.  After
        ``within_s`` nothing further is begun: 3 s on a CPU, where a shape that has not
        been run costs 2 ms more the first time, and no limit on a GPU.  Raises
        ``EngineUnavailable`` if calls fail.
        """
        # The longest context first: the memory that it touches serves all others.
        contexts = sorted(self._contexts, reverse=True)
        shapes = [(hops, size) for size in self._warm_sizes() for hops in contexts]
        # A live session begins with little audio; what ran last is the least cold.
        runs = [*shapes, *[(hops, 1) for hops in contexts[-2:]] * 2]
        if within_s is None:
            within_s = 3.0 if self._info.device == "cpu" else math.inf
        enough_at = time.monotonic() + within_s
        with ThreadPoolExecutor(len(self._calls)) as threads:
            for done, (hops, size) in enumerate(runs):
                if done >= len(contexts) and time.monotonic() > enough_at:
                    break
                progress(f"warming up: {done + 1} of {len(runs)}")
                run = functools.partial(self._warm_shape, hops=hops, size=size)
                list(threads.map(run, self._calls))
            # In a thread, for the caller's may have a loop of its own running.
            threads.submit(asyncio.run, self._rehearse()).result()
        for call in self._calls:
            call.inside_s = 0.0

    async def _rehearse(self) -> None:
        """Take requests all the way that live ones take, through the workers' threads.

        The way beside the model's calls is 1.6 ms longer the first time (demo model,
        calls of 6 ms).
        """
        for _ in range(2 * len(self._calls)):
            noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE)
            options = DecodeOptions(language="en")
            request = Request(
                0, "", RequestKind.FINAL, 0, noise.astype(np.float32), options
            )
            await self.transcribe([self.prepare(request)])
        self._cache.forget("")

    def _warm_sizes(self) -> list[int]:
        most = self._info.max_batch
        if self._info.device == "cpu":
            return sorted({1, most})
        return sorted({most, *(2**i for i in range(most.bit_length()))} - {0})

    def _warm_shape(self, call: Call, *, hops: int, size: int) -> None:
        samples = min(max(hops - ROOM_HOPS, HOPS_PER_S), 2900) * SAMPLE_RATE // 100
        noise = np.random.default_rng(0).normal(0, 0.01, samples).astype(np.float32)
        features = self._cache.features("", 0, noise)
        rows = []
        for index in range(size):
            task = Task.TRANSLATE if index % 2 else Task.TRANSCRIBE
            options = DecodeOptions(language="en", task=task)
            if size == 1:  # and every stage that a call can have; noise says no word
                options = DecodeOptions(prefix="a", word_timestamps=True)
            request = Request(0, "", RequestKind.FINAL, 0, noise, options)
            rows.append(Row(request, features, hops, widest=hops))
        call.run(rows, most_tokens=8)
        for row in rows:
            if isinstance(row.outcome, RequestFailed):
                raise explain(row.outcome.error, self._info.model)
        self._cache.forget("")

    # ------------------------------------------------------------------- service

    def prepare(self, request: Request) -> Request:
        """Compute a queued request's features and prompt ahead of its call; optional.

        Any thread.  Returns what to hand to ``transcribe`` in the request's place;
        raises ``WindowRejected`` for samples or options that cannot be transcribed.
        """
        try:
            row = self._row(request)
            if row.outcome is None:
                begin(row, self._prompts)
        except Exception as error:  # a row can hold anything: this is its edge
            raise rejection(error) from error
        return _carrying(row)

    def characters_read(self, *, hotwords: str, prompt: str) -> tuple[int, int]:
        """See ``Counting``."""
        return self._prompts.characters_read(hotwords, prompt)

    def forget(self, session: str) -> None:
        """Drop what is kept of a session that has ended."""
        self._cache.forget(session)

    async def transcribe(self, batch: Sequence[Request]) -> list[Outcome | Again]:
        """Transcribe one batch; answers in the order of the requests.

        May be awaited ``info.workers`` times at once.  A row whose text is not
        believable is answered with ``Again`` while it has temperatures left; what it
        carries spares it the encoder the next time.

        Never raises for a bad row: that row's outcome is ``RequestFailed``.  Raises
        ``EngineUnavailable`` once the engine is closed or its device lost.  A cancelled
        wait leaves the running call to finish unheard.
        """
        if self._lost is not None:
            raise EngineUnavailable(self._lost)

        def job(call: Call) -> list[Row]:
            rows = [self._row_or_failure(request) for request in batch]
            call.run(rows)
            for row in rows:
                if row.outcome is None:
                    row.detach()
            return rows

        try:
            rows = await self._threads.run(job)
        except EngineUnavailable as error:
            self._lost = error.detail
            raise
        return [row.outcome or Again(_carrying(row), row.so_far()) for row in rows]

    async def close(self) -> None:
        """Let go of the model; calls after this raise ``EngineUnavailable``."""
        self._lost = "the engine is closed"
        await self._threads.close()
        self._calls = ()
        await asyncio.to_thread(give_back_memory)

    # ---------------------------------------------------------------------- rows

    def _row_or_failure(self, request: Request) -> Row:
        try:
            return self._row(request)
        except Exception as error:  # a row can hold anything: this is its edge
            row = Row(request, _NO_FEATURES, 0, 0)
            row.fail(rejection(error))
            return row

    def _row(self, request: Request) -> Row:
        """A request ready for its call, or settled already."""
        if isinstance(request, _Carrying):
            return request.row
        audio = _checked(request.audio)
        if len(audio) < SHORTEST_SAMPLES:
            row = Row(request, _NO_FEATURES, 0, 0)
            language = request.options.language
            known = 1.0 if language else 0.0
            row.outcome = Hypothesis(request.id, (), language or "", known)
            return row
        features = self._cache.features(request.session, request.start, audio)
        if request.kind is not RequestKind.PARTIAL:  # this window grows no further
            self._cache.forget(request.session)
        context = self._context(features.shape[1])
        widest = context if self._trained_short else self._contexts[-1]
        return Row(request, features, context, widest=widest)

    def _context(self, hops: int) -> int:
        """The smallest audio context that holds so many columns and some room."""
        fitting = (c for c in self._contexts if c >= hops + ROOM_HOPS)
        return next(fitting, self._contexts[-1])


def _checked(audio: object) -> Samples:
    if not isinstance(audio, np.ndarray) or audio.ndim != 1 or audio.dtype.kind != "f":
        raise WindowRejected("the window is not a row of floating-point samples")
    if len(audio) > s_to_samples(LONGEST_S):
        raise WindowRejected(f"the window is longer than {LONGEST_S:g} s")
    if not np.isfinite(audio).all():
        raise WindowRejected("the window holds samples that are not numbers")
    return audio.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Carrying(Request):
    """A request with what has been computed for it."""

    row: Row = field(kw_only=True)


def _carrying(row: Row) -> _Carrying:
    request = row.request
    values = {f.name: getattr(request, f.name) for f in dataclasses.fields(Request)}
    return _Carrying(**values, row=row)


def _stock_floor_s(model: Whisper) -> float:
    """The shortest audio context of stock weights by which no words were lost."""
    hops = CONTEXT_HOPS[0]
    silence = np.zeros((1, model.n_mels, hops), np.float32)
    encoded = model.encode(ctranslate2.StorageView.from_array(silence), to_cpu=True)
    return _STOCK_FLOORS_S.get(encoded.shape[-1], LONGEST_S)


def _whisper(path: Path, placement: Placement, index: int, nice: int) -> Whisper:
    def make(workers: int) -> Whisper:
        return Whisper(
            str(path),
            device=placement.device,
            device_index=index,
            compute_type=placement.compute_type,
            inter_threads=workers,
            intra_threads=placement.threads,
        )

    if placement.device == "cpu":
        return run_nice(lambda: make(placement.workers), nice)
    return make(1)


def _context_floor_s(setting: str) -> float | None:
    """The shortest audio context asked for; None leaves it to the model."""
    if setting == "auto":
        return None
    if setting == "full":
        return LONGEST_S
    try:
        floor_s = float(setting)
    except ValueError:
        floor_s = -1.0
    if not 0 < floor_s <= LONGEST_S:
        raise ConfigError(
            f"audio-context must be full, auto or seconds up to 30, not {setting!r}"
        )
    return floor_s
