"""Models of clients, written from how they treat messages, and the rules behind them.

Chrome, Firefox and iOS cannot run here; the Python model is compared with the real
clients in ``test_client_habits.py`` and is what lets any session's messages be judged
without one.  ``check_session`` is the sum of what all of them depend on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Chrome", "Firefox", "Ios", "Python", "check_session"]

Message = Mapping[str, Any]


@dataclass
class Chrome:
    """Takes the first message for readiness, and the next for the language it lacks."""

    uid: str
    language: str | None = None
    ready: bool = False
    sends_audio: bool = False
    stopped: bool = False
    popup_minutes: int | None = None
    overlay: str = ""
    export: list[Message] = field(default_factory=list)

    def receive(self, message: Message) -> None:
        if message.get("uid") != self.uid:
            return
        if message.get("status") == "WAIT":
            self.popup_minutes = round(message["message"])
            self.stopped = True
        elif not self.ready:
            self.ready = self.sends_audio = True  # whatever it was, it is swallowed
        elif self.language is None:
            self.language = message["language"]  # in the browser: undefined, for ever
        elif message.get("message") == "DISCONNECT":
            self.stopped = True
        else:
            # A status here is an exception in the page, which catches it.
            self._show(message.get("segments", ()))

    def _show(self, segments: Sequence[Message]) -> None:
        self.overlay = " ".join(segment["text"] for segment in segments)
        for segment in segments:
            if segment["completed"] is not True:
                continue
            if not self.export or _start(segment) >= float(self.export[-1]["end"]):
                self.export.append(segment)


@dataclass
class Firefox:
    """Sends audio before anything was said to it; shows whatever has segments."""

    uid: str
    overlay: str = ""
    popup_minutes: int | None = None

    def receive(self, message: Message) -> None:
        if message.get("uid") != self.uid:
            return
        if message.get("status") == "WAIT":
            self.popup_minutes = round(message["message"])
        elif "segments" in message:
            self.overlay = " ".join(segment["text"] for segment in message["segments"])


@dataclass
class Ios:
    """Keeps segments by their start; one that is not typed as it expects is ignored."""

    uid: str
    by_start: dict[float, str] = field(default_factory=dict)

    def receive(self, message: Message) -> None:
        if message.get("uid") != self.uid:
            return
        for segment in message.get("segments", ()):
            typed = (
                isinstance(segment["start"], str)
                and isinstance(segment["end"], str)
                and isinstance(segment["text"], str)
                and isinstance(segment["completed"], bool)
            )
            if typed:
                self.by_start[_start(segment)] = segment["text"]

    @property
    def texts(self) -> list[str]:
        return [text for _, text in sorted(self.by_start.items())]


@dataclass
class Python:
    """The published Python client, newest rules: what would stand in its SRT file."""

    uid: str
    transcript: list[Message] = field(default_factory=list)
    last_partial: Message | None = None

    def receive(self, message: Message) -> None:
        if message.get("uid") != self.uid or "segments" not in message:
            return
        for index, segment in enumerate(message["segments"]):
            is_last = index == len(message["segments"]) - 1
            if is_last and not segment["completed"]:
                self.last_partial = segment
            elif segment["completed"]:
                end = float(self.transcript[-1]["end"]) if self.transcript else 0.0
                if _start(segment) >= end:
                    self.transcript.append(segment)

    @property
    def srt_text(self) -> list[str]:
        texts = [segment["text"] for segment in self.transcript]
        if self.last_partial and (not texts or texts[-1] != self.last_partial["text"]):
            texts.append(self.last_partial["text"])
        return texts


def _start(segment: Message) -> float:
    return float(segment["start"])


# -------------------------------------------------------------------------- rules


def check_session(
    messages: Iterable[Message], *, uid: str, language: str | None
) -> list[str]:
    """Judge all messages of one session; gives back its completed texts.

    ``language`` is what the handshake said.  Raises AssertionError with the rule that
    a message breaks.
    """
    heard = list(messages)
    assert heard, "a session without a message"
    for message in heard:
        assert message["uid"] == uid, f"a foreign uid: {message}"
    if "status" in heard[0] and heard[0]["status"] != "WARNING":
        assert len(heard) == 1, "a refusal is the only message"
        return []
    ready = {"uid": uid, "message": "SERVER_READY", "backend": "faster_whisper"}
    assert heard[0] == ready, f"the first message must be SERVER_READY: {heard[0]}"
    heard = heard[1:]
    if language is None and heard and "language" in heard[0]:
        detected = heard.pop(0)
        assert isinstance(detected["language"], str)
        assert 0 <= detected["language_prob"] <= 1
    elif language is None and heard:
        others = [message for message in heard if "segments" in message]
        assert not others, "segments before the language message"
    board = _Board()
    for index, message in enumerate(heard):
        if "segments" in message:
            board.receive(message)
        elif "status" in message:
            assert message["status"] in ("WARNING", "ERROR"), message
            later = [other for other in heard[index:] if "segments" in other]
            assert not later, "a status before text is taken for text"
        else:
            assert message.get("message") == "DISCONNECT", f"no such message: {message}"
            assert index == len(heard) - 1, "nothing may follow DISCONNECT"
    return [segment["text"] for segment in board.completed]


@dataclass
class _Board:
    """What has been shown so far."""

    completed: list[Message] = field(default_factory=list)
    shown: Sequence[Message] = ()
    partial: Message | None = None  # of the message before

    def receive(self, message: Message) -> None:
        segments = message["segments"]
        assert segments, "an empty list"
        news = segments != self.shown or "dropped" in message
        assert news, f"sent twice: {segments[-1]}"
        assert all(s["completed"] for s in segments[:-1]), "a partial that is not last"
        for segment in segments:
            assert isinstance(segment["start"], str) and isinstance(segment["end"], str)
            assert segment["text"].startswith(" "), f"no leading space: {segment}"
            assert segment["text"].strip(), "an empty text"
            assert float(segment["start"]) <= float(segment["end"])
        for before, after in zip(segments, segments[1:], strict=False):
            assert _start(after) >= float(before["end"]), f"overlap: {before} {after}"
        last = segments[-1]
        if self.partial is not None and _is_given_up(self.partial, message):
            self.partial = None
        self._take_completed([s for s in segments if s["completed"]], last)
        self.partial = None if last["completed"] else last
        self.shown = segments

    def _take_completed(self, shown: Sequence[Message], last: Message) -> None:
        known = {segment["start"]: segment for segment in self.completed}
        new = [segment for segment in shown if segment["start"] not in known]
        repeated = [segment for segment in shown if segment["start"] in known]
        assert repeated + new == list(shown), "a completed segment among older ones"
        expected = self.completed[len(self.completed) - len(repeated) :]
        assert repeated == expected, "completed segments changed or were left out"
        if new:
            end = float(self.completed[-1]["end"]) if self.completed else 0.0
            assert _start(new[0]) >= end, f"begins before the last one ended: {new[0]}"
            # One that came to nothing is taken back by a message without it, for which
            # there must be something completed.
            if self.partial is not None and self.completed:
                starts = [segment["start"] for segment in new]
                assert self.partial["start"] in starts, "a partial's start was not kept"
            if new[-1] is last:
                preview = self.partial["text"] if self.partial else "nothing"
                assert preview == last["text"], f"{preview!r} became {last['text']!r}"
        self.completed += new


def _is_given_up(partial: Message, message: Message) -> bool:
    """Its window failed: no completed segment will stand in its place."""
    start = _start(partial)
    return any(
        float(span["start"]) <= start < float(span["end"])
        for span in message.get("dropped", ())
    )
