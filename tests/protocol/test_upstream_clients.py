"""Published WhisperLive clients against the real daemon, every word accounted for.

The daemon runs the oracle engine: words are numbers in the samples, so that what a
client printed, wrote to its SRT file or got in a callback can be compared with what it
sent, word by word.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.protocol.clients import Chrome, Ios, Python, check_session
from tests.protocol.upstream import Run, Upstream, run_client, write_wav
from whisper_live.audio import Samples
from whisper_live.testing.marks import account_for, read_numbers, write_speech

pytestmark = pytest.mark.timeout(120)  # many processes on a small machine

NEWEST = Upstream("0.10.0")
ON_1_8 = Upstream("0.10.0", "1.8.0")
OLDER = Upstream("0.7.1", "1.8.0")
OLD = Upstream("0.5.1", "1.8.0")

# The last utterance breaks off with its last word: nothing tells the server that it
# has ended but END_OF_AUDIO, or that no more audio comes.
SHAPE = [4, 1, 6, 3, 2]
PAUSES_S = [0.9, 0.6, 1.2, 0.9]
# Without END_OF_AUDIO the last samples that do not fill a frame wait for more, so a
# word must not end in them.
A_FRAME_S = 0.04


@dataclass(frozen=True)
class Speech:
    """What one client says; no two clients say the same numbers."""

    numbers: list[int]
    samples: Samples

    @classmethod
    def of_client(cls, index: int, *, tail_s: float = 0.0) -> Speech:
        numbers = iter(range(1000 * index + 1, 1000 * index + 1000))
        utterances = [[next(numbers) for _ in range(size)] for size in SHAPE]
        samples, words = write_speech(utterances, pause_s=[*PAUSES_S, tail_s])
        return cls([word.number for word in words], samples)

    @property
    def int16(self) -> bytes:
        return (self.samples * 32768).astype("<i2").tobytes()

    @property
    def uint8(self) -> bytes:
        return (self.samples * 128 + 128).astype(np.uint8).tobytes()

    def assert_complete(self, texts: Sequence[str]) -> None:
        account = account_for(self.numbers, read_numbers(" ".join(texts)))
        assert account.clean, f"{account}: {texts}"

    def assert_beginning(self, texts: Sequence[str]) -> None:
        """Nothing is missing up to the last word that came, and some did."""
        heard = read_numbers(" ".join(texts))
        assert heard and heard == self.numbers[: len(heard)], texts


@contextmanager
def daemon(*flags: str) -> Iterator[int]:
    """A daemon of its own with the oracle engine; its port."""
    command = [sys.executable, "-m", "whisper_live", "serve"]
    command += ["--engine", "oracle", "--port", "0", "--http-port", "0", *flags]
    # Its log is left to pytest, which shows it when a test fails.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on ws://127.0.0.1:"), line
            yield int(line.rpartition(":")[2])
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=25)
    assert status == 0


@pytest.fixture(scope="module", name="port")
def _shared_daemon() -> Iterator[int]:
    with daemon() as port:
        yield port


# ---------------------------------------------------------------- published clients


@pytest.mark.slow
async def test_every_published_client_gets_every_word_once(
    port: int, tmp_path: Path
) -> None:
    """All of them at the same time, in real time, with upstream's own wait of 15 s."""
    cases = [
        (NEWEST, "file"),
        (ON_1_8, "file"),
        (OLDER, "file"),
        (OLD, "file"),
        (NEWEST, "microphone"),
        (NEWEST, "stream"),
        (ON_1_8, "stream"),
    ]

    async def one(index: int, client: Upstream, mode: str) -> tuple[Speech, Run]:
        tail_s = 0.0 if mode == "stream" else A_FRAME_S
        speech = Speech.of_client(index, tail_s=tail_s)
        wav = write_wav(tmp_path / f"{index}.wav", speech.int16)
        folder = tmp_path / f"run{index}"
        patience_s = 5.0 if mode == "microphone" else 15.0
        run = await run_client(
            *(client, mode, port, wav, folder),
            speed=1,
            patience_s=patience_s,
            timeout_s=80,
        )
        return speech, run

    runs = await asyncio.gather(*(one(n, *case) for n, case in enumerate(cases)))
    for (client, mode), (speech, run) in zip(cases, runs, strict=True):
        assert run.exit_status == 0, f"{client} {mode}: {run.output}"
        if mode == "stream":
            speech.assert_complete(run.result["committed"])
            assert run.result["partials"], "nothing was shown while it was said"
            assert run.result["close_s"] < 5
        else:
            speech.assert_complete(run.srt_text)
            assert all(text.startswith(" ") for text in run.srt_text)
            assert "Server detected language" in run.output
            assert run.srt is not None
            edges = [edge for times, _ in run.srt for edge in times.split(" --> ")]
            assert edges == sorted(edges)
        if client is not OLD and mode == "file":
            last = f"w{speech.numbers[-1]}"
            assert last in run.output.rpartition("\x1b[2J")[2], "not on the screen"


@pytest.mark.parametrize("client", [NEWEST, ON_1_8], ids=str)
async def test_the_streaming_client_gets_its_tail(
    client: Upstream, port: int, tmp_path: Path
) -> None:
    speech = Speech.of_client(1)
    wav = write_wav(tmp_path / "speech.wav", speech.int16)
    run = await run_client(client, "stream", port, wav, tmp_path / "run")
    assert run.exit_status == 0, run.output
    speech.assert_complete(run.result["committed"])
    assert run.result["close_s"] < 5


@pytest.mark.slow
async def test_refused_clients_say_why_and_end(tmp_path: Path) -> None:
    speech = Speech.of_client(1)
    wav = write_wav(tmp_path / "speech.wav", speech.int16)
    clients = [NEWEST, ON_1_8, OLDER, OLD]

    async def all_run(name: str, **options: Any) -> list[Run]:
        return await asyncio.gather(
            *(
                run_client(
                    *(client, "file", port, wav, tmp_path / name / str(client)),
                    **options,
                )
                for client in clients
            )
        )

    with daemon("--max-sessions", "1") as port:
        async with Raw.talking(port, "keeper") as keeper:
            await keeper.ready()
            full, unknown = await asyncio.gather(
                all_run("full"), all_run("unknown", lang="xx")
            )
            await keeper.say(speech.samples.tobytes())
            await keeper.end()
            speech.assert_complete(keeper.texts())
    for run in full:
        assert (run.exit_status, run.srt) == (0, None), run.output
        assert "Estimated wait time 2 minutes" in run.output
    for run in unknown:
        assert (run.exit_status, run.srt) == (0, None), run.output
        assert 'Unknown language "xx"' in run.output


@pytest.mark.slow
async def test_over_time_files_are_written_and_clean(tmp_path: Path) -> None:
    async def one(index: int, client: Upstream, mode: str) -> tuple[Speech, Run]:
        speech = Speech.of_client(index)
        wav = write_wav(tmp_path / f"{index}.wav", speech.int16)
        folder = tmp_path / f"run{index}"
        run = await run_client(
            *(client, mode, port, wav, folder), speed=1, patience_s=1
        )
        return speech, run

    cases = [(NEWEST, "file"), (ON_1_8, "file"), (OLDER, "file"), (OLD, "file")]
    cases += [(NEWEST, "stream")]
    with daemon("--max-session-s", "4") as port:
        runs = await asyncio.gather(*(one(n, *case) for n, case in enumerate(cases)))
    for (client, mode), (speech, run) in zip(cases, runs, strict=True):
        assert run.exit_status == 0, f"{client} {mode}: {run.output}"
        assert "overtime" in run.output
        speech.assert_beginning(
            run.result["committed"] if mode == "stream" else run.srt_text
        )


# ---------------------------------------------------------------------- bare sockets


@dataclass
class Raw:
    """A client of ours with no habits: sends what it is told, keeps what it hears."""

    uid: str
    language: str | None
    socket: Any
    messages: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def talking(
        cls, port: int, uid: str, *, language: str | None = None, **options: Any
    ) -> AsyncIterator[Raw]:
        async with connect(f"ws://127.0.0.1:{port}/any/path?x=1") as socket:
            handshake = {"uid": uid, "language": language, "task": "transcribe"}
            await socket.send(json.dumps(handshake | options).encode())
            yield cls(uid, language, socket)

    async def ready(self) -> None:
        self.messages.append(json.loads(await self.socket.recv()))

    async def say(self, data: bytes, chunk_bytes: int = 10_007) -> None:
        for at in range(0, len(data), chunk_bytes):
            await self.socket.send(data[at : at + chunk_bytes])

    async def end(self, mark: str | bytes = b"END_OF_AUDIO") -> None:
        await self.socket.send(mark)
        await self.until_closed()

    async def until_closed(self) -> None:
        try:
            while True:
                message = await self.socket.recv()
                assert isinstance(message, str), "browsers want text"
                self.messages.append(json.loads(message))
        except ConnectionClosed:
            pass

    def texts(self) -> list[str]:
        """The completed texts, after a look at every rule and with every model."""
        texts = check_session(self.messages, uid=self.uid, language=self.language)
        python, chrome = Python(self.uid), Chrome(self.uid, self.language)
        ios = Ios(self.uid)
        for message in self.messages:
            python.receive(message)
            chrome.receive(message)
            ios.receive(message)
        exported = [segment["text"] for segment in chrome.export]
        assert python.srt_text == exported == ios.texts == texts
        return texts


async def test_all_raw_formats_cut_anywhere_and_the_same_uid_twice(port: int) -> None:
    async def one(index: int, audio_format: str | None, mark: str | bytes) -> None:
        speech = Speech.of_client(index)
        data = {
            None: speech.samples.tobytes(),
            "float32": speech.samples.tobytes(),
            "int16": speech.int16,
            "uint8": speech.uint8,
        }[audio_format]
        language = "en" if index % 2 else None
        async with Raw.talking(
            port, "the-same-uid", language=language, audio_format=audio_format
        ) as client:
            # Before SERVER_READY, as Firefox does, and in odd pieces.
            await client.say(data, chunk_bytes=997 + 1000 * index)
            await client.end(mark)
        assert client.socket.close_code == 1000
        speech.assert_complete(client.texts())

    await asyncio.gather(
        one(1, None, b"END_OF_AUDIO"),
        one(2, None, "END_OF_AUDIO"),
        one(3, "float32", b"END_OF_AUDIO"),
        one(4, "int16", b"END_OF_AUDIO"),
        one(5, "uint8", "END_OF_AUDIO"),
    )


async def test_words_come_when_asked_for(port: int) -> None:
    asked, plain = Speech.of_client(1), Speech.of_client(2)
    async with Raw.talking(port, "asks", language="en", word_timestamps=True) as client:
        await client.say(asked.samples.tobytes())
        await client.end()
    asked.assert_complete(client.texts())
    completed = [s for s in client.messages[-1]["segments"] if s["completed"]]
    for segment in completed:
        words = segment["words"]
        assert "".join(word["word"] for word in words) == segment["text"]
        times = [float(word[edge]) for word in words for edge in ("start", "end")]
        assert times == sorted(times)
        assert float(segment["start"]) <= times[0]
        assert times[-1] <= float(segment["end"])

    async with Raw.talking(port, "does not", language="en") as client:
        await client.say(plain.samples.tobytes())
        await client.end()
    shown = [s for m in client.messages for s in m.get("segments", ())]
    assert shown and not any("words" in segment for segment in shown)


async def test_bad_input_is_answered_and_the_neighbour_loses_nothing(
    port: int,
) -> None:
    good = {"uid": "bad", "language": "en", "task": "transcribe"}
    refused: list[tuple[str | bytes, str, str]] = [
        ("hello", "", "handshake_json"),
        (b"\x00\x01\x02\x03", "", "handshake_json"),
        ("[1]", "", "handshake_object"),
        (json.dumps({"uid": "bad"}), "bad", "handshake_missing"),
        (json.dumps(good | {"task": "sing"}), "bad", "handshake_task"),
        (json.dumps(good | {"language": "xx"}), "bad", "handshake_language"),
        (json.dumps(good | {"audio_format": "mp3"}), "bad", "handshake_audio_format"),
        (json.dumps(good | {"uid": 7}), "", "handshake_type"),
    ]

    async def refuse(message: str | bytes, uid: str, kind: str) -> None:
        async with connect(f"ws://127.0.0.1:{port}") as socket:
            await socket.send(message)
            answer = json.loads(await socket.recv())
            assert (answer["uid"], answer["status"]) == (uid, "ERROR"), answer
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert (socket.close_code, socket.close_reason) == (1008, kind)

    async def interrupt() -> None:
        """A text message in the middle: what was said so far is not lost."""
        speech = Speech.of_client(1, tail_s=A_FRAME_S)
        async with Raw.talking(port, "texter", language="en") as client:
            await client.say(speech.samples.tobytes())
            await client.socket.send("what about text?")
            await client.until_closed()
        assert client.messages[-1]["status"] == "ERROR"
        assert client.socket.close_code == 1002
        speech.assert_complete(client.texts())

    async def ragged() -> None:
        speech = Speech.of_client(2)
        async with Raw.talking(port, "ragged", language="en") as client:
            await client.say(speech.samples.tobytes() + b"\x00\x00\x00")
            await client.end()
        assert client.socket.close_code == 1000
        speech.assert_complete(client.texts())

    async def oversize() -> None:
        async with Raw.talking(port, "big", language="en") as client:
            await client.ready()
            await client.socket.send(bytes((1 << 20) + 4))
            await client.until_closed()
        assert client.socket.close_code == 1009

    async def neighbour() -> None:
        speech = Speech.of_client(3)
        async with Raw.talking(port, "neighbour", language="en") as client:
            await client.say(speech.samples.tobytes())
            await client.end()
        speech.assert_complete(client.texts())

    await asyncio.gather(
        *(refuse(*case) for case in refused),
        interrupt(),
        ragged(),
        oversize(),
        neighbour(),
    )
