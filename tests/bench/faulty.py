"""A stand-in server that hears marks at once and errs on purpose, as it is told.

It speaks WhisperLive's protocol, shows each word as a partial as soon as its last
sample has come, and completes it ``complete_after_s`` of audio later, one word in each
segment.  Everything that it does wrong is written down, for the bench must find it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.testing.marks import NumberedWord, read_words

SEGMENTS_SENT = 10


@dataclass(slots=True)
class Faults:
    """What to do wrong, and what was done wrong, in word numbers."""

    lose_every: int = 0  # each n-th word of a session never appears
    double_every: int = 0  # each n-th word is completed twice
    invent_every: int = 0  # behind each n-th word stands one that nobody said
    delay_s: float = 0.0  # every message is held back so long
    take_back_every: int = 0  # each n-th completed segment is changed later
    drop_s: float = 0.0  # of audio reported as given up, once a session
    admit: int = 1000  # clients after these get WAIT
    close_code: int = 1000
    complete_after_s: float = 0.3

    admitted: int = 0
    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    invented: list[int] = field(default_factory=list)
    taken_back: list[int] = field(default_factory=list)


@contextlib.asynccontextmanager
async def faulty_server(faults: Faults) -> AsyncIterator[str]:
    """Its URL."""

    async def handler(socket: ServerConnection) -> None:
        await _Session(socket, faults).run()

    async with serve(handler, "127.0.0.1", 0, max_size=None, compression=None) as s:
        port = next(iter(s.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


def _due(number: int, every: int) -> bool:
    return every > 0 and number % every == every - 1


class _Session:
    def __init__(self, socket: ServerConnection, faults: Faults) -> None:
        self._socket = socket
        self._faults = faults
        self._audio = np.empty(0, np.float32)
        self._completed: list[dict[str, Any]] = []
        self._known: set[int] = set()  # words that were completed
        self._outgoing: asyncio.Queue[tuple[float, dict[str, Any]]] = asyncio.Queue()

    async def run(self) -> None:
        hello = json.loads(await self._socket.recv())
        self._uid = hello["uid"]
        faults = self._faults
        if faults.admitted >= faults.admit:
            await self._send({"status": "WAIT", "message": 1.0})
            return
        faults.admitted += 1
        await self._send({"message": "SERVER_READY", "backend": "faster_whisper"})
        sender = asyncio.create_task(self._deliver())
        async for chunk in self._socket:
            assert isinstance(chunk, bytes)
            if chunk == b"END_OF_AUDIO":
                break
            heard = np.frombuffer(chunk, "<f4")
            self._audio = np.concatenate([self._audio, heard])
            self._update(len(self._audio) / SAMPLE_RATE)
        self._update(float("inf"))
        await self._outgoing.join()
        sender.cancel()
        await self._socket.close(faults.close_code)

    def _update(self, now_s: float) -> None:
        """Complete what is old enough and show the next word."""
        partial = None
        for word in _words(self._audio):
            if word.number in self._known:
                continue
            if _due(word.number, self._faults.lose_every):
                self._known.add(word.number)
                self._faults.lost.append(word.number)
            elif word.end / SAMPLE_RATE + self._faults.complete_after_s <= now_s:
                self._known.add(word.number)
                self._complete(word)
            else:
                partial = _segment(word, completed=False)
                break
        self._say(partial)

    def _complete(self, word: NumberedWord) -> None:
        faults = self._faults
        self._completed.append(_segment(word))
        if _due(word.number, faults.double_every):
            again = word._replace(start=word.start + 16, end=word.end + 16)
            self._completed.append(_segment(again))
            faults.doubled.append(word.number)
        if _due(word.number, faults.invent_every):
            other = NumberedWord(
                9_000_000 + word.number, word.start + 32, word.end + 32
            )
            self._completed.append(_segment(other))
            faults.invented.append(other.number)
        if _due(word.number, faults.take_back_every):
            self._say(None)  # it has been seen
            self._completed[-1] = {**self._completed[-1], "text": " w8888888"}
            faults.taken_back.append(word.number)

    def _say(self, partial: dict[str, Any] | None) -> None:
        segments = self._completed[-SEGMENTS_SENT:] + ([partial] if partial else [])
        if segments:
            message: dict[str, Any] = {"segments": segments}
            if self._faults.drop_s and len(self._completed) == 1:
                message["dropped"] = [
                    {"start": "0.000", "end": f"{self._faults.drop_s:.3f}"}
                ]
                self._faults.drop_s = 0.0
            due = asyncio.get_running_loop().time() + self._faults.delay_s
            self._outgoing.put_nowait((due, message))

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, message = await self._outgoing.get()
            held_back = loop.create_future()
            loop.call_at(due, held_back.set_result, None)
            await held_back
            await self._send(message)
            self._outgoing.task_done()

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send(json.dumps({"uid": self._uid, **message}))


def _words(audio: Samples) -> list[NumberedWord]:
    return read_words(audio)


def _segment(word: NumberedWord, *, completed: bool = True) -> dict[str, Any]:
    return {
        "start": f"{word.start / SAMPLE_RATE:.3f}",
        "end": f"{word.end / SAMPLE_RATE:.3f}",
        "text": f" w{word.number}",
        "completed": completed,
    }
