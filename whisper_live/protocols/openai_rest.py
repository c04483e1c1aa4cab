"""OpenAI's REST API for whole files: what a request may say, and what it is answered.

Form fields become ``Wishes``; a ``Result`` that has taken a recording's updates becomes
the bodies and server-sent events that OpenAI's clients read, and an error becomes a
status with an object in OpenAI's shape.  Pure: text in, text out.  Subtitles are
``client.captions``' affair.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any
from urllib.parse import urlsplit

from whisper_live.audio import samples_to_s
from whisper_live.config.model import SpeechConfig
from whisper_live.errors import (
    ClientError,
    DecodeError,
    EngineError,
    LimitExceeded,
    Overloaded,
    WhisperLiveError,
)
from whisper_live.inference.types import HypothesisSegment, Task, Word
from whisper_live.protocols.jsonl import dropped_object, word_object
from whisper_live.protocols.languages import language_name
from whisper_live.protocols.whisperlive.client import handshake
from whisper_live.protocols.whisperlive.handshake import read_options
from whisper_live.session.options import SessionOptions
from whisper_live.session.updates import Dropped, Segment, Update

__all__ = [
    "FIELDS",
    "FORMATS",
    "SUBTITLES",
    "Failure",
    "RequestError",
    "Result",
    "Wishes",
    "check_webhook",
    "delta_event",
    "done_event",
    "error_event",
    "error_line",
    "failure_of",
    "json_body",
    "models_body",
    "read_wishes",
    "verbose_body",
    "warnings",
]

SUBTITLES = ("srt", "vtt")
FORMATS = ("json", "text", *SUBTITLES, "verbose_json", "jsonl")
_GRANULARITIES = ("word", "segment")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")

# ------------------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form beside the file; a list's name ends in ``[]``."""

    name: str
    help: str
    choices: tuple[str, ...] = ()
    type: str = "string"


FIELDS = (
    Field("model", "a model that the server offers; any other name is its own"),
    Field("language", "a code, a tag or an English name; detected where it is missing"),
    Field("languages[]", "one is as language; several are detected as none"),
    Field("multilingual", "detect the language again for each window", type="boolean"),
    Field("prompt", "text before the recording; its last 4096 characters"),
    Field("keywords[]", "words that are likely"),
    Field("hotwords", "the same as one text"),
    Field(
        "response_format", "the form of the answer; json where it is missing", FORMATS
    ),
    Field(
        "timestamp_granularities[]",
        "what verbose_json has; segment where it is missing",
        _GRANULARITIES,
    ),
    Field("stream", "give text as it comes, as server-sent events", type="boolean"),
    Field("include[]", "logprobs, one for each word", ("logprobs",)),
    Field("vad_filter", "false reads silence too", type="boolean"),
    Field("temperature", "0 to 1; without effect here", type="number"),
    Field("webhook_url", "bring the text there, if the operator allows that host"),
    Field("chunking_strategy", "without effect: files are always cut at silences"),
)


class RequestError(ClientError):
    """A request that makes no sense; ``param`` names the field that is to blame."""

    default_kind = "bad_request"

    def __init__(
        self,
        detail: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(detail, kind=kind)
        self.status = status
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request asks for, valid and inside the server's limits."""

    options: SessionOptions
    model: str | None = None
    response_format: str = "json"
    granularities: frozenset[str] = frozenset({"segment"})
    is_streamed: bool = False
    has_logprobs: bool = False
    webhook_url: str = ""  # where the text is wanted; "" in the answer


def read_wishes(
    fields: Sequence[tuple[str, str]], *, task: Task, defaults: SpeechConfig
) -> Wishes:
    """The form's text fields, in their order; those that are not known do nothing.

    Raises ``ClientError``: ``RequestError``, or what a handshake's values raise.
    """
    form = _Form(fields)
    response_format = form.choice("response_format", "json", FORMATS)
    granularities = form.choices("timestamp_granularities", _GRANULARITIES)
    has_logprobs = "logprobs" in form.all("include")
    form.number("temperature", 0.0, 1.0)  # fallbacks are the server's to choose
    languages = form.all("languages")
    language = form.one("language") or (languages[0] if len(languages) == 1 else None)
    is_timed = response_format in SUBTITLES or "word" in granularities
    hotwords = [*form.all("keywords"), *filter(None, [form.one("hotwords")])]
    wished = handshake(
        client="",
        language=language,
        task=task.value,
        initial_prompt=form.one("prompt"),
        hotwords=", ".join(hotwords),
        word_timestamps=is_timed or has_logprobs,
        multilingual=form.flag("multilingual", False),
        use_vad=form.flag("vad_filter", True),
    )
    return Wishes(
        read_options(wished, defaults=defaults).session,
        model=form.one("model") or None,
        response_format=response_format,
        granularities=frozenset(granularities or ("segment",)),
        is_streamed=form.flag("stream", False),
        has_logprobs=has_logprobs,
        webhook_url=form.one("webhook_url"),
    )


def check_webhook(wishes: Wishes, hosts: Collection[str]) -> None:
    """Raises ``RequestError`` where it is not one of these hosts', or not alone.

    ``hosts`` are names, with a port where it is not the scheme's own.
    """
    try:
        parts = urlsplit(wishes.webhook_url)
        place = parts.netloc.lower()
    except ValueError:
        place = ""
    if place not in hosts or parts.scheme not in ("http", "https"):
        raise RequestError(
            "This server brings no text to that host.",
            param="webhook_url",
            code="webhook_host",
        )
    if wishes.is_streamed:
        raise RequestError("A webhook gets no stream.", param="stream")


class _Form:
    """The fields of a form; a list's name may end in ``[]``."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in fields:
            self._fields.setdefault(name.removesuffix("[]"), []).append(value)

    def all(self, name: str) -> list[str]:
        return self._fields.get(name, [])

    def one(self, name: str) -> str:
        return self._fields.get(name, [""])[-1]

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        value = self.one(name) or default
        if value not in choices:
            raise self._nonsense(name, f"one of {', '.join(choices)}")
        return value

    def choices(self, name: str, choices: Sequence[str]) -> list[str]:
        values = self.all(name)
        if not set(values) <= set(choices):
            raise self._nonsense(name, f"of {', '.join(choices)}")
        return values

    def flag(self, name: str, default: bool) -> bool:
        if name not in self._fields:
            return default
        value = self.one(name).lower()
        if value not in (*_TRUE, *_FALSE):
            raise self._nonsense(name, "true or false")
        return value in _TRUE

    def number(self, name: str, low: float, high: float) -> None:
        """Raises for what is no number in these limits."""
        try:
            value = float(self.one(name) or low)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise self._nonsense(name, f"a number from {low:g} to {high:g}")

    def _nonsense(self, name: str, expected: str) -> RequestError:
        return RequestError(f"{name} must be {expected}.", param=name)


# ------------------------------------------------------------------------- results


@dataclass(slots=True)
class Result:
    """What a recording came to so far."""

    language: str | None = None  # as it was chosen, then as it was detected
    duration_s: float = 0.0
    warnings: list[str] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    heard: list[HypothesisSegment] = field(default_factory=list)

    def take(self, update: Update) -> None:
        """One more update."""
        if update.language is not None:
            self.language = update.language.code
        self.segments += update.completed
        self.dropped += update.dropped

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(segment.text for segment in self.segments).strip()

    @property
    def words(self) -> list[Word]:
        """Those of all segments, if they were asked for."""
        return [word for segment in self.segments for word in segment.words]


@dataclass(frozen=True, slots=True)
class _Scores:
    """How sure the engine was of a span, each of its segments by its length."""

    logprob: float
    no_speech: float
    compression: float

    @property
    def confidence(self) -> float:
        """The geometric mean of its tokens' probabilities."""
        return round(math.exp(min(self.logprob, 0.0)), 4)


def _start_of(segment: HypothesisSegment) -> int:
    return segment.start


def _scores(heard: Sequence[HypothesisSegment], start: int, end: int) -> _Scores:
    """Of a span; ``heard`` is in order, with few that overlap."""
    near = heard[max(bisect_right(heard, start, key=_start_of) - 4, 0) :]
    parts = [
        (max(min(each.end, end) - max(each.start, start), 0), each)
        for each in takewhile(lambda each: each.start < end, near)
    ]
    total = sum(length for length, _ in parts)
    if not total:
        return _Scores(0.0, 0.0, 1.0)
    return _Scores(
        sum(length * each.average_logprob for length, each in parts) / total,
        sum(length * each.no_speech_probability for length, each in parts) / total,
        sum(length * each.compression_ratio for length, each in parts) / total,
    )


def json_body(result: Result, wishes: Wishes) -> dict[str, Any]:
    """``response_format=json``."""
    content: dict[str, Any] = {"text": result.text}
    if result.language is not None:
        content["languages"] = [{"code": result.language}]
    if wishes.has_logprobs:
        content["logprobs"] = _logprobs(result.words)
    return content | _shortcomings(result) | {"usage": _usage(result)}


def verbose_body(result: Result, wishes: Wishes) -> dict[str, Any]:
    """``response_format=verbose_json``, in OpenAI's words and some more."""
    first = min((each.start for each in result.heard), default=0)
    last = max((each.end for each in result.heard), default=0)
    content: dict[str, Any] = {
        "task": wishes.options.task.value,
        "language": language_name(result.language),
        "duration": round(result.duration_s, 3),
        "text": result.text,
        "confidence": _scores(result.heard, first, last).confidence,
    }
    if "word" in wishes.granularities:
        content["words"] = [word_object(word) for word in result.words]
    if "segment" in wishes.granularities:
        content["segments"] = [
            _segment(number, segment, result.heard)
            for number, segment in enumerate(result.segments)
        ]
    if wishes.has_logprobs:
        content["logprobs"] = _logprobs(result.words)
    return content | _shortcomings(result) | {"usage": _usage(result)}


def _shortcomings(result: Result) -> dict[str, Any]:
    """Keys that are there only if there is something to say."""
    content: dict[str, Any] = {}
    if result.dropped:
        content["dropped"] = [dropped_object(span) for span in result.dropped]
    if result.warnings:
        content["warnings"] = result.warnings
    return content


def warnings(why: Mapping[str, str]) -> list[str]:
    """Sentences about wishes that are not fulfilled, by their names in a handshake."""
    own = {"initial_prompt": "prompt"}  # other names
    return [f"{own.get(name, name)}: {text}" for name, text in why.items()]


def _segment(
    number: int, segment: Segment, heard: Sequence[HypothesisSegment]
) -> dict[str, Any]:
    scores = _scores(heard, segment.start, segment.end)
    content: dict[str, Any] = {
        "id": number,
        "seek": round(100 * samples_to_s(segment.start)),  # hops of 10 ms, as Whisper
        "start": round(samples_to_s(segment.start), 3),
        "end": round(samples_to_s(segment.end), 3),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(scores.logprob, 4),
        "compression_ratio": round(scores.compression, 4),
        "no_speech_prob": round(scores.no_speech, 4),
        "confidence": scores.confidence,
    }
    if segment.words:
        content["words"] = [word_object(word) for word in segment.words]
    return content


def _logprobs(words: Iterable[Word]) -> list[dict[str, Any]]:
    """A word is what has a probability here, not a token."""
    return [
        {
            "token": word.text,
            "logprob": round(math.log(max(word.probability, 1e-9)), 4),
            "bytes": list(word.text.encode()),
        }
        for word in words
    ]


def _usage(result: Result) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(result.duration_s, 3)}


def models_body(names: Sequence[str]) -> dict[str, Any]:
    """The models that are there, the main one first."""
    return {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": 0, "owned_by": "whisper-live"}
            for name in names
        ],
    }


# ----------------------------------------------------------------- server-sent events


def delta_event(update: Update, wishes: Wishes, *, is_first: bool) -> str:
    """What is new; "" where no text is."""
    text = "".join(segment.text for segment in update.completed)
    if not text:
        return ""
    content: dict[str, Any] = {
        "type": "transcript.text.delta",
        "delta": text.lstrip() if is_first else text,
    }
    if wishes.has_logprobs:
        words = [word for segment in update.completed for word in segment.words]
        content["logprobs"] = _logprobs(words)
    return _event(content)


def done_event(result: Result, wishes: Wishes) -> str:
    """The whole text; nothing follows it."""
    return _event({"type": "transcript.text.done"} | json_body(result, wishes))


def error_event(failure: Failure) -> str:
    """Why nothing more comes."""
    return _event(failure.body)


def error_line(failure: Failure) -> str:
    """The same as a JSON line."""
    return json.dumps(failure.body, ensure_ascii=False) + "\n"


def _event(content: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


# ------------------------------------------------------------------------- errors


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is answered."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    retry_after_s: float | None = None

    @property
    def body(self) -> dict[str, Any]:
        """In OpenAI's shape."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


_WRONG_FORMAT = ("unknown_format", "unsupported_codec")
_TURNED_AWAY = {
    "capacity": "The server has as many uploads as it can take.",
    "address": "This address has as many uploads as it may have.",
    "key": "This key has as many uploads as it may have.",
    "rate": "There are too many requests, or too much audio, in a minute.",
    "draining": "The server is restarting.",
}
# Values that a handshake would not take either: which field, and what is wrong with it.
_VALUES = {
    "handshake_language": ("language", "unsupported_language"),
    "handshake_eagerness": ("eagerness", "invalid_value"),
    "handshake_type": (None, "invalid_type"),
}
_OF_ONE_CALLER = ("address", "key", "rate")


def failure_of(error: WhisperLiveError) -> Failure:
    """The answer to an error; nothing of the server's own is told."""
    match error:
        case RequestError():
            return Failure(
                error.status, error.detail, param=error.param, code=error.code
            )
        case DecodeError():
            status = 415 if error.kind in _WRONG_FORMAT else 422
            return Failure(status, error.detail, param="file", code=error.kind)
        case LimitExceeded():
            return Failure(413, error.detail, param="file", code=error.kind)
        case ClientError():
            param, code = _VALUES.get(error.kind, (None, error.kind))
            return Failure(400, error.detail, param=param, code=code)
        case Overloaded():
            message = _TURNED_AWAY.get(error.kind, f"The server is busy: {error}.")
            after_s = max(math.ceil(60 * error.wait_minutes), 1)
            if error.kind in _OF_ONE_CALLER:
                code = "rate_limit_exceeded"
                return Failure(429, message, "rate_limit_error", None, code, after_s)
            return Failure(503, message, "server_error", None, error.kind, after_s)
        case EngineError():
            message = "The model cannot be used at the moment."
            return Failure(503, message, "server_error", None, error.kind)
    return Failure(500, "An error of the server's own.", "server_error")
