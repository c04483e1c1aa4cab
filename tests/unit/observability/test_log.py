"""The log: formats, levels, session lines, and what must not stand in it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from whisper_live.config.model import LogConfig
from whisper_live.errors import WindowRejected
from whisper_live.observability.log import setup, short_id
from whisper_live.observability.session_log import SessionLog

CANARY = "the purple canary sang at nine"

Logging = Callable[..., io.StringIO]


@pytest.fixture
def log_to() -> Iterator[Logging]:
    """Call it with settings: what is logged from then on goes into its result."""
    root, ours = logging.getLogger(), logging.getLogger("whisper_live")
    before = list(root.handlers), root.level, ours.level

    def start(**settings: Any) -> io.StringIO:
        stream = io.StringIO()
        setup(LogConfig(**settings), stream)
        return stream

    yield start
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    logging.captureWarnings(False)


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_plain_line(log_to: Logging) -> None:
    stream = log_to()
    logging.getLogger("whisper_live.server").info("listening on %s", "port 9090")
    SessionLog("s7").warning("odd")
    first, second = stream.getvalue().splitlines()
    time, _, rest = first.partition(" ")
    assert len(time) == len("2026-11-21T08:00:00.000Z") and time.endswith("Z")
    assert rest == "INFO whisper_live.server listening on port 9090"
    assert second.partition(" ")[2] == "WARNING whisper_live.session [s7] odd"


def test_json_line(log_to: Logging) -> None:
    stream = log_to(log_format="json")
    SessionLog("s7").warning('a "quoted"\nline')
    (entry,) = entries(stream)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "warning",
        "logger": "whisper_live.session",
        "message": 'a "quoted"\nline',
        "session": "s7",
    }


def test_second_setup_replaces_the_first(log_to: Logging) -> None:
    first = log_to()
    second = log_to(log_level="debug", log_format="json")
    logging.getLogger("whisper_live.worker").debug("again")
    assert first.getvalue() == ""
    assert [entry["message"] for entry in entries(second)] == ["again"]


@pytest.mark.parametrize(
    ("level", "heard"),
    [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")],
)
def test_level(log_to: Logging, level: str, heard: str) -> None:
    stream = log_to(log_level=level, log_format="json")
    logger = logging.getLogger("whisper_live.engine")
    logger.debug("d")
    logger.info("i")
    logger.warning("w")
    logger.error("e")
    assert "".join(entry["message"] for entry in entries(stream)) == heard


def test_other_packages_are_heard_from_warning_up(log_to: Logging) -> None:
    stream = log_to(log_level="debug", log_format="json")
    for name in ("websockets.server", "faster_whisper"):
        logging.getLogger(name).debug("< GET /?token=%s", CANARY)
        logging.getLogger(name).info("Processing %s", CANARY)
        logging.getLogger(name).warning("low memory")
    assert [entry["message"] for entry in entries(stream)] == ["low memory"] * 2


def test_what_python_warns_of_is_a_line_as_well(log_to: Logging) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        stream = log_to(log_format="json")
        warnings.warn("an old way to call a library", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (entry,) = entries(stream)
    assert (entry["level"], entry["logger"]) == ("warning", "py.warnings")
    assert "an old way to call a library" in entry["message"]


def test_session_has_a_line_at_open_and_one_at_close(log_to: Logging) -> None:
    stream = log_to(log_format="json")
    session = SessionLog("s7")
    session.opened(client=CANARY, audio_format=None, language="de", task="transcribe")
    session.closed(reason="end", audio_s=12.34, utterances=3, lag_p95_s=0.876)
    opened, closed = entries(stream)
    assert opened["session"] == closed["session"] == "s7"
    assert opened["level"] == closed["level"] == "info"
    assert (opened["client"], opened["language"]) == (short_id(CANARY), "de")
    assert (closed["reason"], closed["audio_s"]) == ("end", 12.3)
    assert (closed["utterances"], closed["lag_p95_s"]) == (3, 0.88)
    assert closed["message"] == (
        "closed reason=end audio_s=12.3 utterances=3 lag_p95_s=0.88"
    )
    assert "canary" not in stream.getvalue()


def test_session_without_text_has_no_lag(log_to: Logging) -> None:
    stream = log_to(log_format="json")
    SessionLog("s7").closed(reason="idle", audio_s=0, utterances=0, lag_p95_s=None)
    assert entries(stream)[0]["lag_p95_s"] is None


def test_short_id_is_short_and_steady() -> None:
    assert short_id("a") == short_id("a") != short_id("b")
    assert len(short_id("x" * 1000)) == 8
    assert short_id("\udcff")  # what a client can send, a hash can take


@pytest.mark.parametrize("level", ["debug", "info"])
def test_transcripts_only_where_asked_for(log_to: Logging, level: str) -> None:
    config = LogConfig(log_level=level)
    stream = log_to(log_level=level)
    SessionLog("s7", config).transcript(CANARY)
    assert stream.getvalue() == ""
    asked = LogConfig(log_transcripts=True)
    SessionLog("s7", asked).transcript(CANARY)
    assert CANARY in stream.getvalue()


def test_control_characters_make_no_second_line(log_to: Logging) -> None:
    stream = log_to()
    logging.getLogger("whisper_live.server").info(
        "refused: %s", "x\r\n2026 INFO fake\x1b[2J\u2028y"
    )
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().rstrip("\n").isprintable()
    assert r"x\r\n2026 INFO fake\x1b[2J\u2028y" in stream.getvalue()


# ------------------------------------------------------------------------- exceptions


def logged_error(error: BaseException) -> None:
    try:
        raise error
    except BaseException:
        logging.getLogger("whisper_live.worker").exception("a call raised")


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_exception_shows_stack_and_type_and_not_what_it_quotes(
    log_to: Logging, log_format: str
) -> None:
    stream = log_to(log_format=log_format)
    logged_error(ValueError(CANARY))
    assert "ValueError" in stream.getvalue()
    assert "in logged_error" in stream.getvalue()
    assert "canary" not in stream.getvalue()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory"),
        OSError("libcublas.so.12 not found"),
        WindowRejected("the window is empty"),
    ],
)
def test_exception_that_tells_the_operator_something_keeps_its_message(
    log_to: Logging, error: Exception
) -> None:
    stream = log_to(log_format="json")
    logged_error(error)
    assert str(error) in entries(stream)[0]["error"]


def test_causes_and_groups_are_held_to_the_same_rule(log_to: Logging) -> None:
    stream = log_to(log_format="json")
    error = RuntimeError("the engine stopped")
    error.__cause__ = KeyError(CANARY)
    logged_error(ExceptionGroup("several", [error, TypeError(CANARY)]))
    text = entries(stream)[0]["error"]
    assert "KeyError\nwhich led to\n" in text
    assert "RuntimeError: the engine stopped" in text
    assert "TypeError" in text
    assert "canary" not in text


def test_messages_are_shown_where_transcripts_may_be(log_to: Logging) -> None:
    stream = log_to(log_transcripts=True)
    logged_error(ValueError(CANARY))
    assert CANARY in stream.getvalue()


def test_task_that_died_unseen_does_not_quote_its_exception(log_to: Logging) -> None:
    stream = log_to(log_format="json")

    async def fail() -> None:
        raise ValueError(CANARY)

    async def lose() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    asyncio.run(lose())
    (entry,) = entries(stream)
    assert entry["logger"] == "asyncio"
    assert "never retrieved" in entry["message"]
    assert "ValueError" in entry["error"]
    assert "canary" not in stream.getvalue()


def test_error_without_an_exception_is_a_plain_line(log_to: Logging) -> None:
    stream = log_to(log_format="json")
    logging.getLogger("whisper_live.worker").exception("nothing was raised")
    assert "error" not in entries(stream)[0]
