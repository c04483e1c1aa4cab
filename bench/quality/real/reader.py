"""What a reader of live text saw, and when.

Owns the reading of a client's messages (``views``): the only place that knows their
form.  The accounting on views is pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.quality.simulation import Told
from whisper_live.text.wer import plain_words

__all__ = ["Account", "Segment", "View", "account", "views"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text; times in seconds of the recording."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """All that stands on the reader's screen from ``at_s`` on."""

    at_s: float  # since the stream's first sample
    completed: tuple[Segment, ...]
    interim: str = ""  # behind them; may change

    @property
    def text(self) -> str:
        """The whole text, as one line."""
        pieces = [*(segment.text for segment in self.completed), self.interim]
        return " ".join(" ".join(pieces).split())


def views(told: Sequence[Told]) -> list[View]:
    """One view for each message that shows text."""
    found = []
    for each in told:
        completed: list[Segment] = []
        interim = ""
        for shown in each.message.get("segments", ()):
            if shown["completed"]:
                start_s, end_s = float(shown["start"]), float(shown["end"])
                completed.append(Segment(start_s, end_s, shown["text"]))
            else:
                interim = shown["text"]
        if completed or interim:
            found.append(View(each.at, tuple(completed), interim))
    return found


@dataclass(frozen=True, slots=True)
class Account:
    """What became of one stream; moments in seconds since its first sample."""

    segments: tuple[Segment, ...]  # completed ones, at the end
    words: int  # in them
    shown: int  # words that ever appeared
    taken_back: int  # words that were shown and then removed or changed
    changed: int  # messages in which a completed segment was not as before
    first_at_s: float | None  # first word
    stood_at_s: float | None  # last change of what could be read
    completed_at_s: float | None  # last segment that was completed

    @property
    def text(self) -> str:
        """Of the completed segments."""
        return " ".join(segment.text.strip() for segment in self.segments)


def account(shown: Sequence[View]) -> Account:
    """Go through what a reader saw.

    Words are compared without case and punctuation; the moment since which the text
    stands takes every character into account.
    """
    completed: tuple[Segment, ...] = ()
    words: list[str] = []
    text = ""
    appeared = taken_back = changed = 0
    first_at_s = stood_at_s = completed_at_s = None
    for view in shown:
        changed += view.completed[: len(completed)] != completed
        if len(view.completed) > len(completed):
            completed_at_s = view.at_s
        completed = view.completed
        if view.text != text:
            stood_at_s, text = view.at_s, view.text
        now = plain_words(text)
        if now and first_at_s is None:
            first_at_s = view.at_s
        kept = _common(words, now)
        appeared += len(now) - kept
        taken_back += len(words) - kept
        words = now
    return Account(
        segments=completed,
        words=sum(len(plain_words(segment.text)) for segment in completed),
        shown=appeared,
        taken_back=taken_back,
        changed=changed,
        first_at_s=first_at_s,
        stood_at_s=stood_at_s,
        completed_at_s=completed_at_s,
    )


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the beginning that both share."""
    pairs = enumerate(zip(left, right))
    shorter = min(len(left), len(right))
    return next((i for i, (a, b) in pairs if a != b), shorter)
