"""What holds for all tests."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import settings

# A loaded machine makes any example slow; pytest's own timeout is the bound.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# What the default run leaves out, and how it is run.
_LEFT_OUT = {
    "real": "pip install '.[tiny-en,base,converse]', then pytest -m real",
    "gpu": "pytest -m gpu where there is one",
    "browser": "tests/browser/README.md",
    "slow": "pytest -m slow",
}
_left_out = pytest.StashKey[Counter[str]]()

# A shell starts what it runs in the background with SIGINT ignored, and children
# inherit that: tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """What a command does to the signals of this process ends with the test."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_left_out] = Counter()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        marks = (mark for mark in _LEFT_OUT if item.get_closest_marker(mark))
        if mark := next(marks, None):
            item.config.stash[_left_out][mark] += 1


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what the default run leaves out; whoever gives ``-m`` knows."""
    if config.option.markexpr != _default_expression(config):
        return
    for mark, count in sorted(config.stash[_left_out].items()):
        terminalreporter.write_line(
            f"left out: {count} tests marked {mark} ({_LEFT_OUT[mark]})"
        )


def _default_expression(config: pytest.Config) -> str:
    """What ``addopts`` gives to ``-m``."""
    words: list[str] = config.getini("addopts")
    return words[words.index("-m") + 1]
