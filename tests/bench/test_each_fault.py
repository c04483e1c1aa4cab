"""Every client of one crowd meets another fault; each log must name exactly that one.

Where ``test_accounting`` errs in single words, this server errs in whole utterances, as
a server with a policy of its own would: order, silence, revision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

from whisper_live.audio import SAMPLE_RATE
from whisper_live.testing.load.crowd import Crowd, play
from whisper_live.testing.load.material import Speech
from whisper_live.testing.load.measure import SessionFigures, measure
from whisper_live.testing.load.sessionlog import read_logs
from whisper_live.testing.load.speaker import Dialogue
from whisper_live.testing.marks import NumberedWord, read_words


@dataclass(slots=True)
class Session:
    """What one client was told, and what was done wrong on the way."""

    completed: list[dict[str, Any]] = field(default_factory=list)
    utterances: list[list[NumberedWord]] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)  # numbers of words

    def say_utterance(self, words: list[NumberedWord]) -> None:
        self.completed.append(segment(words, completed=True))

    @property
    def is_third(self) -> bool:
        return len(self.utterances) == 3


def segment(words: list[NumberedWord], *, completed: bool) -> dict[str, Any]:
    start, end = (f(words, key=lambda w: w.start) for f in (min, max))
    return {
        "start": f"{start.start / SAMPLE_RATE:.3f}",
        "end": f"{end.end / SAMPLE_RATE:.3f}",
        "text": "".join(f" w{word.number}" for word in words),
        "completed": completed,
    }


Fault = Callable[[Session, list[NumberedWord]], None]  # at an utterance's completion


def no_fault(session: Session, words: list[NumberedWord]) -> None:
    session.say_utterance(words)


def swap_two_words(session: Session, words: list[NumberedWord]) -> None:
    if session.is_third:
        session.wrong.append(words[0].number)
        words = [words[1], words[0], *words[2:]]
    session.say_utterance(words)


def drop_an_utterance(session: Session, words: list[NumberedWord]) -> None:
    if session.is_third:
        session.wrong += [word.number for word in words]
    else:
        session.say_utterance(words)


def double_an_utterance(session: Session, words: list[NumberedWord]) -> None:
    session.say_utterance(words)
    if session.is_third:
        session.wrong += [word.number for word in session.utterances[0]]
        session.completed.append(session.completed[0])


def invent_in_silence(session: Session, words: list[NumberedWord]) -> None:
    session.say_utterance(words)
    if session.is_third:
        end = words[-1].end + SAMPLE_RATE // 4
        session.wrong.append(9_000_000)
        session.say_utterance([NumberedWord(9_000_000, end, end + 1600)])


def revise_what_was_completed(session: Session, words: list[NumberedWord]) -> None:
    session.say_utterance(words)
    if session.is_third:
        first = session.utterances[0]
        session.wrong.append(first[-1].number)
        changed = [*first[:-1], first[-1]._replace(number=9_000_001)]
        session.completed[0] = segment(changed, completed=True)


FAULTS: tuple[Fault, ...] = (
    no_fault,
    swap_two_words,
    drop_an_utterance,
    double_an_utterance,
    invent_in_silence,
    revise_what_was_completed,
)


async def serve_one(socket: ServerConnection, sessions: dict[int, Session]) -> None:
    """Completes an utterance half a second after it; which fault, its words tell."""
    uid = json.loads(await socket.recv())["uid"]
    await socket.send(json.dumps({"uid": uid, "message": "SERVER_READY"}))
    session, audio = Session(), np.empty(0, np.float32)
    async for chunk in socket:
        if chunk == b"END_OF_AUDIO":
            break
        assert isinstance(chunk, bytes)
        audio = np.concatenate([audio, np.frombuffer(chunk, "<f4")])
        done = len(session.utterances)
        for words in utterances(audio)[done:]:
            partial = []
            if words[-1].end + SAMPLE_RATE // 2 <= len(audio):
                number = words[0].number // 10_000
                sessions[number] = session
                session.utterances.append(words)
                FAULTS[number](session, words)
            else:
                partial = [segment(words, completed=False)]
            segments = session.completed[-10:] + partial
            await socket.send(json.dumps({"uid": uid, "segments": segments}))


def utterances(
    audio: np.ndarray[Any, np.dtype[np.float32]],
) -> list[list[NumberedWord]]:
    found: list[list[NumberedWord]] = []
    for word in read_words(audio):
        if not found or word.start - found[-1][-1].end > SAMPLE_RATE // 2:
            found.append([])
        found[-1].append(word)
    return found


async def test_each_client_is_told_its_own_fault_and_no_other(tmp_path: Path) -> None:
    sessions: dict[int, Session] = {}
    async with serve(
        lambda socket: serve_one(socket, sessions), "127.0.0.1", 0, compression=None
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        crowd = Crowd(
            len(FAULTS),
            Dialogue(f"ws://127.0.0.1:{port}", chunk_s=0.25),
            Speech(14.0, duty=0.6, tail_s=1.5),
            material="marks",
            ramp_s=0.2,
            speed=6.0,
        )
        await play(crowd, tmp_path)
    found = {log.session: measure(log) for log in read_logs(tmp_path)}
    for number, fault in enumerate(FAULTS):
        figures, wrong = found[number], sessions[number].wrong
        assert bool(wrong) == (fault is not no_fault)
        assert figures.ended == "closed"
        expected = dict.fromkeys(("lost", "doubled", "out_of_order", "invented"), 0)
        false_finals = 0
        match fault.__name__:
            case "swap_two_words":
                expected["out_of_order"] = 1
            case "drop_an_utterance":
                expected["lost"] = len(wrong)
            case "double_an_utterance":
                expected["doubled"] = len(wrong)
            case "invent_in_silence":
                expected["invented"] = 1
            case "revise_what_was_completed":
                expected |= {"lost": 1, "invented": 1}
                false_finals = 1
        assert counts(figures) == expected, fault.__name__
        assert figures.false_finals == false_finals, fault.__name__
        assert figures.errors == sum(expected.values()), fault.__name__
        assert named(figures, wrong), fault.__name__


def counts(figures: SessionFigures) -> dict[str, int]:
    names = ("lost", "doubled", "out_of_order", "invented")
    return {name: len(getattr(figures.account, name)) for name in names}


def named(figures: SessionFigures, wrong: list[int]) -> bool:
    """Whether the words that the account names are those that were spoilt."""
    account = figures.account
    assert account is not None
    told = {*account.lost, *account.doubled, *account.out_of_order, *account.invented}
    return set(wrong) <= told
