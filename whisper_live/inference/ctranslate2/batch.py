"""One batch on one model: encode, detect, generate, align; row by row isolated.

Owns how rows share CTranslate2 calls.  Rows may differ in everything: what cannot be
mixed in one ``generate`` (see ``_Kind``) is grouped here, and a call that raises is
split until the guilty row stands alone.  Synchronous and blocking; knows no loop, no
queue and no session.  A row's text never depends on its neighbours.
"""

from __future__ import annotations

import dataclasses
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import ctranslate2
import numpy as np
from ctranslate2.models import Whisper

from whisper_live.errors import EngineError, WindowRejected
from whisper_live.inference.ctranslate2.alignment import aligned_words
from whisper_live.inference.ctranslate2.devices import explain, is_lost, out_of_memory
from whisper_live.inference.ctranslate2.prompts import Prompt, Prompts
from whisper_live.inference.ctranslate2.row import Encoded, Row
from whisper_live.inference.ctranslate2.tokens import (
    Answer,
    compression_ratio,
    cut_loop,
    is_echo,
    read_spans,
    read_to,
    says_twice,
    without_open_end,
)
from whisper_live.inference.types import DecodeOptions, Timing
from whisper_live.text.counted import counted

__all__ = ["Call", "HOPS_PER_S", "begin", "rejection"]

log = logging.getLogger("whisper_live.engine")

HOPS_PER_S = 100
MOST_BEAMS = 16  # time and memory grow with each
BROKEN = "\ufffd"  # of a character whose last bytes are missing
POSITIONS = 448  # of the decoder: prompt and answer together
# A CPU gains nothing by encoding rows together: four of 10 s take tiny 0.20 s one by
# one and 0.25 s at once, of 12 s base 0.73 and 0.84 s (int8, one thread).  And
# attention scores take heads x positions**2 x 4 bytes a row: 150 MB at 30 s in small.
CPU_ENCODE_ROWS = 1


class _Kind(NamedTuple):
    """Rows of one ``generate`` agree in all of this."""

    hops: int  # there is no length mask: padding is heard
    start: int  # index of <|startoftranscript|>
    timestamps: bool  # the rules are taken from the first row
    beam_size: int
    temperature: float
    # Greedy answers that are too long are cut afterwards, with the same result as if
    # the call had stopped there; a beam search stopped elsewhere picks other text.
    most_tokens: int | None


class Call:
    """Runs batches on one model.  One thread at a time."""

    def __init__(self, model: Whisper, prompts: Prompts, *, to_cpu: bool) -> None:
        self._model = model
        self.prompts = prompts
        self._to_cpu = to_cpu  # encoder output may be used on another GPU
        self._most_hops: int | None = None  # of one call, learned from failures
        self.inside_s = 0.0  # time spent in CTranslate2, for the bench

    def run(self, rows: Sequence[Row], *, most_tokens: int | None = None) -> None:
        """Make one attempt at each row.  Rows left without an outcome want another.

        Rows may be at their first attempt or a later one, which finds their encoder
        output kept.  ``most_tokens`` caps the answers (warm-up).  Raises
        ``EngineUnavailable`` if the device is lost; any other error is the guilty
        row's outcome.
        """
        started = time.monotonic()
        for row in _open(rows):
            if row.prompt is None:  # else it was prepared, or is at a later attempt
                self._guarded([row], self._begin)
        self._each(rows, self._encode, _context, _wants_encoding)
        self._each(rows, self._detect, _context, _wants_detection)

        def generate(part: Sequence[Row]) -> None:
            self._generate(part, most_tokens)

        self._each(rows, generate, _kind, _wants_attempt)
        done = [row for row in _open(rows) if row.is_settled]
        self._each(done, self._align, _alignment_kind, _wants_words)
        engine_s = time.monotonic() - started
        for row in _open(done):
            padding = max(1 - row.features.shape[1] / row.hops, 0.0)
            row.outcome = row.hypothesis(
                Timing(
                    engine_s=engine_s,
                    batch_size=len(rows),
                    padding=padding,
                    context_s=row.hops / HOPS_PER_S,
                    is_fallback=row.is_widened,
                )
            )

    # ---------------------------------------------------------------- isolation

    def _each(
        self,
        rows: Iterable[Row],
        stage: Callable[[Sequence[Row]], None],
        key: Callable[[Row], Any],
        wanted: Callable[[Row], bool] | None = None,
    ) -> None:
        """Run ``stage`` on groups of equal ``key``, in order of first appearance."""
        groups: dict[Any, list[Row]] = {}
        for row in _open(rows):
            if wanted is None or wanted(row):
                groups.setdefault(key(row), []).append(row)
        for group in groups.values():
            self._guarded(group, stage)

    def _guarded(
        self, rows: Sequence[Row], stage: Callable[[Sequence[Row]], None]
    ) -> None:
        """Run ``stage``; where it raises, on ever smaller parts of the rows."""
        most = len(rows)
        if self._most_hops is not None:
            most = max(self._most_hops // rows[0].hops, 1)
        for part in _portions(rows, most):
            try:
                stage(part)
            except Exception as error:  # a row can hold anything: this is its edge
                if is_lost(error):
                    raise explain(error, "in use") from error
                if out_of_memory(error):
                    self._most_hops = sum(row.hops for row in part) // 2
                    size = counted(len(part), "row")
                    log.warning("out of memory with %s: halving", size)
                if len(part) == 1:
                    part[0].fail(rejection(error))
                else:
                    middle = len(part) // 2
                    self._guarded(part[:middle], stage)
                    self._guarded(part[middle:], stage)

    # -------------------------------------------------------------------- calls

    def _inside(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*args, **options)
        finally:
            self.inside_s += time.perf_counter() - started

    def _begin(self, rows: Sequence[Row]) -> None:
        for row in rows:
            begin(row, self.prompts)

    def _encode(self, rows: Sequence[Row]) -> None:
        hops, on_cpu = rows[0].hops, self._model.device == "cpu"
        for part in _portions(rows, CPU_ENCODE_ROWS if on_cpu else len(rows)):
            # zeros after the audio, as faster-whisper pads: models know it as its end
            padded = np.zeros((len(part), self._model.n_mels, hops), dtype=np.float32)
            for target, row in zip(padded, part):
                width = min(row.features.shape[1], hops)
                target[:, :width] = row.features[:, :width]
            view = ctranslate2.StorageView.from_array(padded)
            encoded = Encoded(
                self._inside(self._model.encode, view, to_cpu=self._to_cpu)
            )
            for index, row in enumerate(part):
                row.encoded, row.index = encoded, index

    def _detect(self, rows: Sequence[Row]) -> None:
        found = self._inside(self._model.detect_language, _memory(rows))
        for row, ranking in zip(rows, found):
            token, row.language_probability = ranking[0]
            row.language = token.removeprefix("<|").removesuffix("|>")
            row.prompt = self.prompts.build(_options(row), row.language)

    def _generate(self, rows: Sequence[Row], most_tokens: int | None) -> None:
        kind = _kind(rows[0])
        prompts = [_the(row.prompt) for row in rows]
        given = len(prompts[0].tokens) - prompts[0].forced  # equal in all rows
        limits = [
            min(row.most_tokens, most_tokens or POSITIONS) + prompt.forced
            for row, prompt in zip(rows, prompts)
        ]
        # CTranslate2 writes min(max_length / 2, max_length - (given - 1)) tokens
        most = min(max(limits), POSITIONS // 2, POSITIONS - given)
        search: dict[str, float] = {"beam_size": kind.beam_size}
        if kind.temperature > 0:  # topk 0 is all tokens; its default is the best one
            search |= {"sampling_topk": 0, "sampling_temperature": kind.temperature}
        results = self._inside(
            self._model.generate,
            _memory(rows),
            [prompt.tokens for prompt in prompts],
            max_length=max(2 * most, most + given - 1),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self.prompts.suppressed,
            **search,
        )
        for row, result, limit in zip(rows, results, limits):
            row.take(self._answer(row, result, min(limit, most)))

    def _answer(self, row: Row, result: Any, limit: int) -> Answer:
        prompt, tokens = _the(row.prompt), result.sequences_ids[0]
        # the score is a mean over all tokens; forced ones add nothing to its sum
        total = result.scores[0] * len(tokens)
        average = total / (len(tokens) - prompt.forced + 1)
        tokenizer = self.prompts.tokenizer(prompt.language, prompt.task)
        marks = {"eot": tokenizer.eot, "timestamp_begin": tokenizer.timestamp_begin}
        looped = ran_out = False
        if len(tokens) >= limit:
            tokens = tokens[:limit]
            unlooped = cut_loop(tokens)
            closed = without_open_end(tokens, **marks)
            looped = len(unlooped) < len(tokens)
            ran_out = not looped and len(closed) == len(tokens)
            tokens = unlooped if looped else closed
            while ran_out and tokenizer.decode(tokens).endswith(BROKEN):
                tokens = tokens[:-1]
        samples = len(row.request.audio)
        spans = read_spans(tokens, samples=samples, **marks)
        texts = [tokenizer.decode(span.tokens) for span in spans]
        kept = [(span, text) for span, text in zip(spans, texts) if text.strip()]
        return Answer(
            spans=[span for span, _ in kept],
            texts=[text for _, text in kept],
            read_to=read_to(tokens, samples=samples, **marks),
            average_logprob=average,
            no_speech_probability=result.no_speech_prob,
            compression_ratio=compression_ratio("".join(texts)),
            is_repeated=looped or says_twice(tokens, eot=tokenizer.eot),
            is_echo=is_echo(
                prompt.tokens[: prompt.start],
                tokens[prompt.forced :],
                eot=tokenizer.eot,
            ),
            is_open=prompt.timestamps and bool(kept) and tokens[-1] < tokenizer.eot,
            ran_out=ran_out and bool(kept),
        )

    def _align(self, rows: Sequence[Row]) -> None:
        prompt = _the(rows[0].prompt)
        tokenizer = self.prompts.tokenizer(prompt.language, prompt.task)
        answers = [row.chosen for row in rows]
        results = self._inside(
            self._model.align,
            _memory(rows),
            tokenizer.sot_sequence,
            [[token for span in a.spans for token in span.tokens] for a in answers],
            [min(row.features.shape[1], row.hops) for row in rows],
        )
        for row, answer, result in zip(rows, answers, results):
            samples = len(row.request.audio)
            row.words = aligned_words(tokenizer, answer.spans, result, samples=samples)


# ------------------------------------------------------------------------ of a row


def begin(row: Row, prompts: Prompts) -> None:
    """Give the row its language, where it is known, and its start tokens.

    In any thread, once.  Odd options raise here, before they cost a call or cannot be
    told from a neighbour's.
    """
    options = _options(row)
    _check(options)
    row.language = prompts.language(options)
    # in a stand-in language until it is detected
    row.prompt = prompts.build(options, row.language or "en")
    hash((options, _kind(row)))


def _options(row: Row) -> DecodeOptions:
    if not row.without_prompt:
        return row.request.options
    return dataclasses.replace(row.request.options, prompt="", hotwords="")


def _open(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.outcome is None]


def _the(prompt: Prompt | None) -> Prompt:
    assert prompt is not None, "rows have a prompt from the first stage on"
    return prompt


def _kind(row: Row) -> _Kind:
    options, prompt = row.request.options, _the(row.prompt)
    temperature = row.temperature
    beams = options.beam_size if temperature == 0 else 1
    greedy = beams == 1 and temperature == 0
    return _Kind(
        hops=row.hops,
        start=prompt.start,
        timestamps=prompt.timestamps,
        beam_size=beams,
        temperature=temperature,
        most_tokens=None if greedy else row.most_tokens,
    )


def _check(options: DecodeOptions) -> None:
    """Refuse what CTranslate2 would choke on, with its neighbours waiting."""
    beams, temperatures = options.beam_size, options.temperatures
    if type(beams) is not int or not 1 <= beams <= MOST_BEAMS:
        raise WindowRejected(f"the beam size must be 1 to {MOST_BEAMS}, not {beams!r}")
    numbers = [t for t in temperatures if isinstance(t, int | float) and t >= 0]
    if not numbers or len(numbers) < len(temperatures):
        raise WindowRejected("the temperatures must be numbers from 0 on")


def _context(row: Row) -> int:
    return row.hops


def _wants_encoding(row: Row) -> bool:
    return row.encoded is None


def _wants_detection(row: Row) -> bool:
    return row.language is None


def _wants_attempt(row: Row) -> bool:
    return not row.gave_up


def _wants_words(row: Row) -> bool:
    if row.prompt is None:  # it could not be made anew
        return False
    wanted = row.request.options.word_timestamps or row.chosen.ran_out
    return wanted and bool(row.chosen.spans)


def _alignment_kind(row: Row) -> tuple[Any, ...]:
    prompt = _the(row.prompt)  # `align` takes one start sequence
    return row.hops, prompt.language, prompt.task


# ----------------------------------------------------------------------- of a call


def _portions(rows: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
    for begin in range(0, len(rows), most):
        yield rows[begin : begin + most]


def _memory(rows: Sequence[Row]) -> ctranslate2.StorageView:
    """Encoder output of the rows; no copy where they are one whole ``encode``."""
    whole = rows[0].encoded
    assert whole is not None, "rows are encoded before they are decoded"
    together = all(row.encoded is whole for row in rows)
    if together and [row.index for row in rows] == list(range(whole.view.shape[0])):
        return whole.view
    parts = [row.encoded[row.index] for row in rows if row.encoded is not None]
    return ctranslate2.StorageView.from_array(np.stack(parts))


def rejection(error: Exception) -> EngineError:
    """The outcome of a row that cannot be transcribed, out of what was raised."""
    if isinstance(error, EngineError):
        return error
    if out_of_memory(error):
        return WindowRejected("out of memory", kind="out_of_memory")
    # The rest of the message may hold all that the call was given, prompts included.
    first = str(error).partition("\n")[0]
    what = f"{type(error).__name__}: {first}"
    trace = "".join(traceback.format_tb(error.__traceback__))
    log.warning("a window failed by itself: %s\n%s", what, trace)
    return WindowRejected(f"the window cannot be transcribed: {what}")
