"""How a span of audio is put to the engine."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from whisper_live.config.model import (
    BatchConfig,
    Config,
    EngineConfig,
    SpeechConfig,
    StreamConfig,
)
from whisper_live.inference.types import Request, RequestKind, Task
from whisper_live.session.decode_policy import DecodePolicy
from whisper_live.session.options import SessionOptions

AUDIO = np.zeros(1600, np.float32)
CONFIG = Config(
    engine=EngineConfig(beam_size=5),
    batch=BatchConfig(request_timeout_s=7),
    stream=StreamConfig(context_chars=12),
)


def maker(**options: Any) -> DecodePolicy:
    return DecodePolicy(
        CONFIG, SessionOptions(**options), session="s9", ids=itertools.count(5)
    )


def final(one: DecodePolicy, context: str = "") -> Request:
    return one.final(AUDIO, 300, language="de", context=context)


def test_partials_are_greedy_and_plain() -> None:
    one = maker(word_timestamps=True, hotwords="Kyiv", task=Task.TRANSLATE)
    request = one.partial(
        AUDIO, 300, language=None, context="", prefix="", word_timestamps=False
    )
    assert (request.id, request.session) == (5, "s9")
    assert (request.kind, request.start, request.end) == (
        RequestKind.PARTIAL,
        300,
        1900,
    )
    options = request.options
    assert (options.beam_size, options.temperatures) == (1, (0.0,))
    assert (options.language, options.word_timestamps) == (None, False)
    assert (options.hotwords, options.task) == ("Kyiv", Task.TRANSLATE)
    timed = one.partial(
        AUDIO, 0, language="en", context="", prefix=" one two", word_timestamps=True
    )
    assert timed.options.word_timestamps and timed.id == 6
    assert timed.options.prefix == " one two"


def test_finals_get_all_that_was_configured() -> None:
    request = final(maker(word_timestamps=True))
    assert request.kind is RequestKind.FINAL and request.timeout_s == 7
    options = request.options
    assert (options.beam_size, options.language) == (5, "de")
    assert len(options.temperatures) == 3 and options.word_timestamps
    assert not final(maker()).options.word_timestamps


@pytest.mark.parametrize(
    ("initial", "context", "prompt"),
    [
        ("", "", ""),
        ("Minutes.", "", "Minutes."),
        ("", " one two", "one two"),
        ("Minutes.", " one two", "Minutes. one two"),
        ("", " one two three four", "three four"),
        ("", "一二三四五六七八九十一二三", "三四五六七八九十一二三"),
        ("", " " + "x" * 40, ""),
        ("Minutes.", " One two.", "Minutes."),  # closed: the next sentence is new
        ("", " One. Two", "One. Two"),
    ],
)
def test_context_begins_with_a_whole_word(
    initial: str, context: str, prompt: str
) -> None:
    request = final(maker(initial_prompt=initial), context)
    assert request.options.prompt == prompt


def test_beams_are_the_clients_else_the_servers_else_those_of_its_latency() -> None:
    def beams(config: Config, **options: Any) -> int:
        one = DecodePolicy(
            config, SessionOptions(**options), session="s", ids=itertools.count()
        )
        return final(one).options.beam_size

    fast = Config(speech=SpeechConfig(latency="fast"))
    assert (beams(fast), beams(Config())) == (1, 5)
    assert beams(CONFIG) == 5 and beams(CONFIG, beam_size=2) == 2
