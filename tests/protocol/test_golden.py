"""What real clients sent, replayed: read by the parser, and played to a session.

The session's engine here hears spoken numbers at known places, so that what the
client ends up with can be compared word for word.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.protocol import golden
from tests.protocol.clients import Chrome, Ios, Python, check_session
from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE
from whisper_live.config.model import Config
from whisper_live.inference.types import (
    Hypothesis,
    HypothesisSegment,
    Outcome,
    Request,
    Timing,
    Word,
)
from whisper_live.protocols.base import Close, Message
from whisper_live.protocols.whisperlive import handshake as protocol
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.protocols.whisperlive.server import WhisperLive
from whisper_live.session.driver import SessionDriver
from whisper_live.session.events import EndOfAudio, Event, Frames, PeerGone
from whisper_live.session.session import Session
from whisper_live.session.updates import Ending

LOGS = sorted(golden.GOLDEN.glob("*.jsonl"))
PLAYED = [path for path in LOGS if not path.stem.startswith("refused")]

# In each recorded session's three seconds: when numbers are spoken, 0.2 s each.
SPOKEN = [(0.3, 0.9), (1.6, 2.4), (2.8, 3.0)]
WORD_S = 0.2


def _spoken_words() -> list[Word]:
    starts = [
        round((begin + n * WORD_S) * SAMPLE_RATE)
        for begin, end in SPOKEN
        for n in range(round((end - begin) / WORD_S))
    ]
    length = round(WORD_S * SAMPLE_RATE)
    return [Word(f" w{n}", at, at + length, 0.9) for n, at in enumerate(starts)]


WORDS = _spoken_words()


@dataclass
class Stage:
    """A session whose requests are answered at once."""

    options: ClientOptions
    now: float = 0.0
    position: int = 0
    waiting: int = 0  # samples that do not fill a frame yet
    sent: list[dict[str, Any]] = field(default_factory=list)
    closed: Close | None = None

    def __post_init__(self) -> None:
        self.session = Session(
            Config(),
            self.options.session,
            name="golden",
            ids=itertools.count(),
            now=self.now,
        )
        self.wire = WhisperLive(Config().speech, options=self.options)
        self.asked: list[Request] = []
        self.driver = SessionDriver(
            self.session,
            self,
            deliver=self.tell,
            tell=lambda update: self._send(self.wire.render(update)),
            ended=self._ended,
            record=lambda now, event, effects: self.session.check(),
        )
        self._send(self.wire.ready())

    def tell(self, event: Event) -> None:
        self.driver.give(event, now=self.now)
        self._answer()

    def wait(self) -> None:
        """No more audio comes until the session has finished what stands open."""
        while (deadline := self.session.deadline()) is not None:
            self.driver.expire(now=deadline)
            self._answer()

    def submit(self, request: Request, deliver: Callable[[Outcome], None]) -> None:
        self.asked.append(request)

    def cancel(self, request_id: int) -> None:
        """It was answered at once."""

    def _answer(self) -> None:
        asked, self.asked = self.asked, []
        for request in asked:
            self.tell(_hear(request))

    def _ended(self, ending: Ending) -> None:
        self._send(self.wire.end(ending))
        self.closed = self.wire.close(ending)

    def _send(self, messages: Iterable[Message]) -> None:
        self.sent += [json.loads(message.text) for message in messages]

    def play(self, samples: int) -> None:
        self.now += samples / SAMPLE_RATE
        self.waiting += samples
        frames = self.waiting // FRAME_SAMPLES
        self.waiting -= frames * FRAME_SAMPLES
        self._feed(frames * FRAME_SAMPLES)

    def end(self) -> None:
        self._feed(self.waiting)
        self.tell(EndOfAudio())

    def _feed(self, samples: int) -> None:
        if not samples:
            return
        starts = range(self.position, self.position + samples, FRAME_SAMPLES)
        speech = [0.95 if _is_speech(at) else 0.02 for at in starts]
        self.position += samples
        pcm = np.zeros(samples, dtype=np.float32)
        self.tell(Frames(pcm, np.array(speech, dtype=np.float32)))


def _is_speech(position: int) -> bool:
    middle_s = (position + FRAME_SAMPLES / 2) / SAMPLE_RATE
    return any(begin <= middle_s < end for begin, end in SPOKEN)


def _hear(request: Request) -> Hypothesis:
    heard = [w for w in WORDS if request.start <= (w.start + w.end) // 2 < request.end]
    segments: tuple[HypothesisSegment, ...] = ()
    if heard:
        text = "".join(word.text for word in heard)
        start, end = heard[0].start, min(heard[-1].end, request.end)
        segments = (HypothesisSegment(start, end, text, words=tuple(heard)),)
    return Hypothesis(request.id, segments, "en", 0.99, Timing())


def _words(texts: Sequence[str]) -> list[str]:
    return "".join(texts).split()


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_recorded_handshakes_are_read(path: Path) -> None:
    handshake = golden.read(path)[0]["<"]
    options = protocol.parse_handshake(json.dumps(handshake), defaults=Config().speech)
    assert (options.uid, options.language, options.model) == (golden.UID, None, "small")
    assert (options.use_vad, options.ignored) == (True, ())


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_what_the_clients_were_sent_keeps_the_rules(path: Path) -> None:
    said = [entry[">"] for entry in golden.read(path) if ">" in entry]
    check_session(said, uid=golden.UID, language=None)


@pytest.mark.parametrize("path", PLAYED, ids=lambda path: path.stem)
def test_a_session_gives_every_client_every_word_once(path: Path) -> None:
    log = golden.read(path)
    message = json.dumps(log[0]["<"])
    stage = Stage(protocol.parse_handshake(message, defaults=Config().speech))
    for entry in log[1:]:
        match entry.get("<"):
            case int(size):
                assert size % 4 == 0
                stage.play(size // 4)
            case "END_OF_AUDIO":
                stage.end()
    if stage.closed is None:
        assert path.stem.startswith("microphone"), "END_OF_AUDIO was not answered"
        stage.wait()  # the user stays for the text, then leaves
        stage.tell(PeerGone())
    else:
        assert stage.closed == Close(1000)
    heard = [word for word in WORDS if word.end <= stage.position + 1600]
    expected = [word.text.strip() for word in heard]
    assert len(expected) >= 3
    assert _words(check_session(stage.sent, uid=golden.UID, language=None)) == expected
    python, chrome, ios = Python(golden.UID), Chrome(golden.UID), Ios(golden.UID)
    for said in stage.sent:
        python.receive(said)
        chrome.receive(said)
        ios.receive(said)
    assert _words(python.srt_text) == expected
    assert _words([segment["text"] for segment in chrome.export]) == expected
    assert _words(ios.texts) == expected
