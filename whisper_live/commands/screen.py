"""Text as it arrives, on a terminal or in a pipe, with its latency."""

from __future__ import annotations

import shutil
import statistics
from collections import deque
from typing import TextIO

from whisper_live.client.captions import Caption, Captions
from whisper_live.session.updates import Update

__all__ = ["Screen"]

_LAGS = 10_000  # the newest are summed up: an endless stream has ever more
_METER = 10  # columns


class Screen:
    """Lines of text with their latency: how long after its last word each came.

    On a terminal a partial overwrites the one before; elsewhere each is a line.
    """

    def __init__(self, out: TextIO, *, speed: float = 1.0) -> None:
        self._out = out
        self._speed = speed
        self._overwrites = out.isatty()
        self._meter = ""  # before the open line, on a terminal
        self._open = ""
        self.first_at_s: float | None = None  # when any text came
        self.partial_lags_s: deque[float] = deque(maxlen=_LAGS)
        self.final_lags_s: deque[float] = deque(maxlen=_LAGS)

    def show(self, update: Update, captions: Captions, at_s: float) -> list[Caption]:
        """Take an update into ``captions`` and show it; what captions it completed."""
        before = captions.partial
        completed = captions.take(update)
        for caption in completed:
            self.show_final(caption, at_s)
        if captions.partial and (completed or captions.partial != before):
            self.show_partial(captions.partial, at_s)
        return completed

    def show_partial(self, caption: Caption, at_s: float) -> None:
        """Show text that may still change."""
        self.partial_lags_s.append(self._lag(caption, at_s))
        line = f"{at_s:7.2f}  partial  {caption.text}"
        if self._overwrites:
            self._open = line
            self._draw()
        else:
            self._write(f"{line}\n")

    def show_level(self, level: float) -> None:
        """Show how loud it is, 0 to 1, on a terminal."""
        if self._overwrites:
            self._meter = f"{'#' * round(level * _METER):{_METER}} "
            self._draw()

    def show_final(self, caption: Caption, at_s: float) -> None:
        """Show text that is settled."""
        lag = self._lag(caption, at_s)
        self.final_lags_s.append(lag)
        self._open = ""
        line = f"{at_s:7.2f}  final    {caption.text}  [{lag:+.2f} s]\n"
        self._write(self._erased() + line)

    def say(self, sentence: str, err: TextIO) -> None:
        """Print a line of another kind, which is no text of the stream."""
        if self._overwrites:
            self._write(self._erased())
        print(sentence, file=err, flush=True)
        if self._overwrites:
            self._draw()

    def close(self) -> None:
        """Leave no open line behind."""
        if self._overwrites:
            self._write(self._erased())

    def summary(self) -> str:
        """One line of figures."""
        if self.first_at_s is None:
            return "no text"
        parts = [f"first text at {self.first_at_s:.2f} s"]
        for name, lags in (
            ("partials", self.partial_lags_s),
            ("finals", self.final_lags_s),
        ):
            if lags:
                parts.append(
                    f"{name} {statistics.median(lags):.2f} s after their last word "
                    f"(worst {max(lags):.2f})"
                )
        return "; ".join(parts)

    def _lag(self, caption: Caption, at_s: float) -> float:
        if self.first_at_s is None:
            self.first_at_s = at_s
        return at_s - caption.end_s / self._speed

    def _draw(self) -> None:
        """The open line, cut, for it could not be overwritten if it wrapped."""
        width = shutil.get_terminal_size().columns
        line = f"{self._meter}{self._open}"[: width - 1]
        self._write(f"{self._erased()}{line}")

    def _erased(self) -> str:
        return "\r\x1b[K" if self._overwrites else ""

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
