"""A log that nobody reads, and one that is flooded."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

import pytest

from tests.helpers import Clock
from whisper_live.observability import log_handler
from whisper_live.observability.log_handler import LogHandler
from whisper_live.observability.metrics import Metrics

PIPE_BYTES = 4096  # the least that Linux gives a pipe


def line(text: str, name: str = "whisper_live.server") -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, "", 0, text, (), None)


def dropped(reason: str) -> float:
    """As every server's page shows it."""
    wanted = f'whisper_live_log_dropped_total{{reason="{reason}"}} '
    page = Metrics().render().decode()
    found = re.findall(f"^{re.escape(wanted)}(.*)$", page, re.MULTILINE)
    return float(found[0]) if found else 0.0


# --------------------------------------------------------------------------- one reads


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, int]]:
    """A pipe to log to, and the end that may be read."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with os.fdopen(writer, "w") as stream:
        yield stream, reader
    os.close(reader)


def read_until(reader: int, last: str) -> list[str]:
    """What the pipe holds, to the line ``last``."""
    text = ""
    while not text.endswith(f"{last}\n"):
        text += os.read(reader, 1 << 16).decode()
    return text.splitlines()


def test_lines_arrive_in_order(pipe: tuple[TextIO, int]) -> None:
    stream, reader = pipe
    handler = LogHandler(stream)
    for number in range(50):
        handler.handle(line(f"{number} grüßt \udcff"))
    handler.close()
    assert read_until(reader, "49 grüßt \\udcff") == [
        f"{number} grüßt \\udcff" for number in range(50)
    ]


def test_what_was_logged_is_written_by_the_end_of_flush(
    pipe: tuple[TextIO, int],
) -> None:
    stream, reader = pipe
    handler = LogHandler(stream)
    handler.handle(line("the last"))
    handler.flush()
    os.set_blocking(reader, False)
    assert os.read(reader, 100) == b"the last\n"
    handler.close()


def test_nobody_waits_for_a_log_that_nobody_reads(
    pipe: tuple[TextIO, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a bound this test would not end; no line is lost uncounted."""
    monkeypatch.setattr(log_handler, "MOST_LINES", 10)
    stream, reader = pipe
    before = dropped("unread")
    handler = LogHandler(stream)
    for number in range(1000):
        handler.handle(line(f"{number} {'x' * 100}"))
    lost = dropped("unread") - before
    assert 1000 - PIPE_BYTES // 100 - 20 <= lost < 1000
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_until, reader, "the next")  # now somebody does
        handler.flush()
        handler.handle(line("the next"))
        handler.close()
        *lines, note, last = reading.result()
    assert note.endswith(" lines left out: nobody read them")
    numbers = [int(each.split()[0]) for each in lines if each.endswith("x")]
    notes = [int(each.split()[0]) for each in (*lines, note) if "nobody" in each]
    assert numbers == sorted(numbers)
    assert (len(numbers), sum(notes)) == (1000 - lost, lost)


def test_a_reader_that_has_gone_stops_nothing(pipe: tuple[TextIO, int]) -> None:
    stream, reader = pipe
    before = dropped("unread")
    handler = LogHandler(stream)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, reader)  # which closes the pipe's end; the fixture closes this
    os.close(nothing)
    for number in range(100):
        handler.handle(line(str(number)))
    handler.flush()
    handler.close()
    assert dropped("unread") - before == 100


# ------------------------------------------------------------------------------- floods


def test_another_package_is_heard_a_few_times_a_second() -> None:
    clock, stream, before = Clock(), io.StringIO(), dropped("flood")
    handler = LogHandler(stream, clock=lambda: clock.now)
    for _ in range(1000):
        handler.handle(line("socket.send() raised exception.", "asyncio"))
        handler.handle(line("refused"))
    handler.handle(line("another", "websockets.server"))  # has its own allowance
    clock.now += 1.0
    handler.handle(line("socket.send() raised exception.", "asyncio"))
    lines = stream.getvalue().splitlines()
    assert lines.count("refused") == 1000  # our own lines are one for each event
    assert lines.count("socket.send() raised exception.") == 21
    assert lines[-3:] == [
        "another",
        "980 lines of asyncio left out",
        "socket.send() raised exception.",
    ]
    assert dropped("flood") - before == 980


def test_one_line_that_is_left_out_is_one_line() -> None:
    clock, stream = Clock(), io.StringIO()
    handler = LogHandler(stream, clock=lambda: clock.now)
    for _ in range(21):
        handler.handle(line("hm", "asyncio"))
    clock.now += 1.0
    handler.handle(line("hm", "asyncio"))
    assert stream.getvalue().splitlines()[-2:] == ["1 line of asyncio left out", "hm"]
