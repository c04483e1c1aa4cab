"""What is told of a conversation: lines of the log, metrics, and a waterfall.

Owns the names of stages in all three.  No word of what was said is in any of them.
"""

from __future__ import annotations

import logging

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    start_http_server,
)
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from whisper_live.errors import ConfigError
from whisper_live.voice.conversation import Outcome
from whisper_live.voice.stages import LABELS, Moments, Stage

__all__ = ["Metrics", "Report"]

log = logging.getLogger("whisper_live.voice")

# The goal is 1.5 s from the last word to the first sound, and 5 s at the worst.
BUCKETS_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
SAYS = {
    "stt": "last word to text",
    "llm_first_token": "question to first token",
    "llm_sentence": "first token to first sentence",
    "tts": "sentence to sound",
    "turn_end": "sound ready to heard",
}
_WIDTH = 40  # of the waterfall's bars


class Metrics:
    """The numbers of one conversation's program; labels are our own names."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix = "whisper_live_voice_"
        self._stages = Histogram(
            prefix + "stage_seconds",
            "Parts of the time from the last word to the answer's first sound.",
            ["stage"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._response = Histogram(
            prefix + "response_seconds",
            "From the speaker's last word to the answer's first sound.",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._turns = Counter(
            prefix + "turns",
            "Answers, by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        self._errors = Counter(
            prefix + "errors",
            "What went wrong, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self._cache = Counter(
            prefix + "cache_lookups",
            "Answers and sounds looked up in the cache, and whether they were there.",
            ["of", "result"],
            registry=self.registry,
        )

    def serve(self, port: int) -> None:
        """Show them to Prometheus, on loopback.

        Raises ``ConfigError`` where the port cannot be had.
        """
        try:
            start_http_server(port, addr="127.0.0.1", registry=self.registry)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"cannot listen on port {port}: {error}") from error

    def turn(self, outcome: Outcome, stages: list[Stage], *, is_heard: bool) -> None:
        """A reply is over."""
        self._turns.labels(outcome.value).inc()
        for stage in stages:
            self._stages.labels(stage.name).observe(stage.duration_s)
        if is_heard:
            self._response.observe(stages[-1].ends_s)

    def error(self, kind: str) -> None:
        """Something went wrong; ``kind`` comes from our own code."""
        self._errors.labels(kind).inc()

    def looked_up(self, of: str, *, is_hit: bool) -> None:
        """The cache was asked for an ``answer`` or for ``speech``."""
        self._cache.labels(of, "hit" if is_hit else "miss").inc()


class Report:
    """Writes down what the loop does."""

    def __init__(
        self, metrics: Metrics | None = None, console: Console | None = None
    ) -> None:
        """``console`` is shown the waterfall, and failures in place of the log."""
        self.metrics = metrics or Metrics()
        self._console = console

    def turn(self, outcome: Outcome, moments: Moments) -> None:
        """A reply is over, with what is known of its times."""
        stages = moments.stages()
        is_heard = moments.heard is not None
        self.metrics.turn(outcome, stages, is_heard=is_heard)
        for stage in stages:
            log.info(
                "[PROFILING] [%s] %s: %.3f s",
                LABELS[stage.name],
                SAYS[stage.name],
                stage.duration_s,
            )
        if is_heard:
            total_s = stages[-1].ends_s
            log.info("[PROFILING] [PIPELINE] last word to first sound: %.3f s", total_s)
        log.info("[PROFILING] [PIPELINE] reply %s", outcome.value)
        if self._console is not None and is_heard:
            self._console.print(waterfall(stages))

    def failure(self, kind: str, sentence: str) -> None:
        """Something went wrong, and the conversation goes on."""
        self.metrics.error(kind)
        if self._console is None:
            log.warning("%s: %s", kind, sentence)
        else:
            self._console.print(sentence, style="red", markup=False, highlight=False)


def waterfall(stages: list[Stage]) -> Table:
    """A row for each stage: when it began, how long it took, and both as a bar."""
    whole_s = stages[-1].ends_s if stages else 0.0
    table = Table(box=None, padding=(0, 1), show_header=False)
    for stage in stages:
        table.add_row(
            f"[{LABELS[stage.name]}]".replace("[", r"\["),
            SAYS[stage.name],
            f"{stage.duration_s:.3f} s",
            Bar(max(whole_s, 1e-3), stage.begins_s, stage.ends_s, width=_WIDTH),
        )
    table.add_row("", "last word to first sound", f"{whole_s:.3f} s", "")
    return table
