"""Requests for tests of the engine."""

from __future__ import annotations

import itertools

from whisper_live.audio import Samples
from whisper_live.inference.types import (
    DecodeOptions,
    Hypothesis,
    Request,
    RequestFailed,
    RequestKind,
)

_ids = itertools.count(1)


def request(
    audio: Samples, options: DecodeOptions | None = None, *, start: int = 0
) -> Request:
    """A final request of a session of its own."""
    number = next(_ids)
    return Request(
        id=number,
        session=f"session {number}",
        kind=RequestKind.FINAL,
        start=start,
        audio=audio,
        options=options or DecodeOptions(language="en"),
    )


def text(outcome: object) -> str:
    """The words of a hypothesis."""
    assert isinstance(outcome, Hypothesis), outcome
    return "".join(segment.text for segment in outcome.segments)


def words(outcome: object) -> str:
    """The words of a hypothesis without case and marks."""
    return text(outcome).lower().translate(str.maketrans("", "", ".,?!")).strip()


def why(outcome: object) -> str:
    """What a failed request was refused for."""
    assert isinstance(outcome, RequestFailed), outcome
    return str(outcome.error)
