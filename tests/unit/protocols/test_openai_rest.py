"""OpenAI's REST shapes: what a form means, how sure an answer is, errors."""

from __future__ import annotations

import math

import pytest

from whisper_live.audio import SAMPLE_RATE
from whisper_live.config.model import SpeechConfig
from whisper_live.errors import (
    DecodeError,
    EngineTimeout,
    HandshakeError,
    LimitExceeded,
    Overloaded,
    WhisperLiveError,
)
from whisper_live.inference.types import HypothesisSegment, Task
from whisper_live.protocols.openai_rest import (
    RequestError,
    Result,
    Wishes,
    failure_of,
    json_body,
    read_wishes,
    verbose_body,
)
from whisper_live.session.updates import Dropped, Language, Segment, Update


def wishes(*fields: tuple[str, str], task: Task = Task.TRANSCRIBE) -> Wishes:
    return read_wishes(fields, task=task, defaults=SpeechConfig())


def test_nothing_asked_is_plain_json() -> None:
    wished = wishes()
    assert wished.response_format == "json" and not wished.is_streamed
    assert wished.granularities == {"segment"} and wished.options.vad.threshold > 0
    assert wished.options.language is None and not wished.options.word_timestamps


def test_all_of_it() -> None:
    wished = wishes(
        ("model", "gpt-transcribe"),
        ("language", "en-US"),
        ("prompt", "about"),
        ("keywords[]", "Ada"),
        ("keywords[]", "Babbage"),
        ("hotwords", "engine"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("stream", "True"),
        ("include[]", "logprobs"),
        ("vad_filter", "false"),
        ("temperature", "0.2"),
        ("chunking_strategy", "auto"),
        ("nothing", "known"),
        task=Task.TRANSLATE,
    )
    assert wished.model == "gpt-transcribe"
    assert wished.options.language == "en" and wished.options.task is Task.TRANSLATE
    assert wished.options.initial_prompt == "about"
    assert wished.options.hotwords == "Ada, Babbage, engine"
    assert wished.granularities == {"word"} and wished.options.word_timestamps
    assert (
        wished.is_streamed and wished.has_logprobs and wished.options.vad.threshold == 0
    )


@pytest.mark.parametrize(
    ("languages", "language"), [(["de"], "de"), (["de", "fr"], None), ([], None)]
)
def test_one_possible_language_is_the_language(
    languages: list[str], language: str | None
) -> None:
    fields = [("languages[]", each) for each in languages]
    assert wishes(*fields).options.language == language


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_subtitles_have_word_times(name: str) -> None:
    assert wishes(("response_format", name)).options.word_timestamps


def heard(start_s: float, end_s: float, logprob: float) -> HypothesisSegment:
    start, end = (round(each * SAMPLE_RATE) for each in (start_s, end_s))
    return HypothesisSegment(start, end, " a", 0.25, logprob, 1.5)


def result() -> Result:
    """Two seconds of text of which the engine had three opinions."""
    found = Result(duration_s=3.0)
    segments = tuple(
        Segment(at * SAMPLE_RATE, (at + 1) * SAMPLE_RATE, text, True)
        for at, text in ((0, " One."), (1, " Two."))
    )
    found.take(Update(completed=segments, language=Language("de", 0.9)))
    found.heard += [heard(0, 0.25, -0.8), heard(0.25, 1, -0.4), heard(1, 2, -0.1)]
    return found


def test_scores_are_means_over_a_segments_time() -> None:
    body = verbose_body(result(), wishes())
    assert body["language"] == "german" and body["duration"] == 3.0
    assert [s["avg_logprob"] for s in body["segments"]] == [-0.5, -0.1]
    assert body["segments"][0]["confidence"] == round(math.exp(-0.5), 4)
    assert body["confidence"] == round(math.exp(-0.3), 4)
    assert body["segments"][1]["seek"] == 100
    assert "words" not in body and "dropped" not in body


def test_what_was_not_read_is_said() -> None:
    found = result()
    found.take(Update(dropped=(Dropped(32000, 48000, "unread"),)))
    for body in (json_body(found, wishes()), verbose_body(found, wishes())):
        assert body["dropped"] == [{"start": 2.0, "end": 3.0, "reason": "unread"}]


@pytest.mark.parametrize("advised", ["en", "auto"])
def test_a_wrong_language_has_a_code_of_its_own_and_advice_that_is_taken(
    advised: str,
) -> None:
    with pytest.raises(HandshakeError) as caught:
        wishes(("language", "klingon"))
    body = failure_of(caught.value).body["error"]
    assert (body["param"], body["code"]) == ("language", "unsupported_language")
    assert f" {advised}" in body["message"] and "null" not in body["message"]
    wishes(("language", advised))


@pytest.mark.parametrize(
    ("error", "status", "type", "code"),
    [
        (RequestError("x", param="stream"), 400, "invalid_request_error", None),
        (HandshakeError("x"), 400, "invalid_request_error", "handshake"),
        (
            DecodeError("x", kind="unknown_format"),
            415,
            "invalid_request_error",
            "unknown_format",
        ),
        (DecodeError("x", kind="damaged"), 422, "invalid_request_error", "damaged"),
        (
            LimitExceeded("x", kind="file_too_long"),
            413,
            "invalid_request_error",
            "file_too_long",
        ),
        (
            Overloaded("x", wait_minutes=1, kind="key"),
            429,
            "rate_limit_error",
            "rate_limit_exceeded",
        ),
        (
            Overloaded("x", wait_minutes=1, kind="capacity"),
            503,
            "server_error",
            "capacity",
        ),
        (EngineTimeout("x"), 503, "server_error", "engine_timeout"),
        (WhisperLiveError("a path of the server"), 500, "server_error", None),
    ],
)
def test_errors(error: WhisperLiveError, status: int, type: str, code: str) -> None:
    failure = failure_of(error)
    assert (failure.status, failure.type, failure.code) == (status, type, code)
    assert (failure.retry_after_s is not None) == isinstance(error, Overloaded)
    assert "path" not in failure.message
