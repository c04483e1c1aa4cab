"""Reading a client: what it sends at once does not keep the others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from tests.virtual_time import virtual_time
from whisper_live.config.model import LimitConfig, SpeechConfig
from whisper_live.media.formats import open_stream
from whisper_live.media.ingest import Ingest
from whisper_live.observability.metrics import Metrics
from whisper_live.protocols.base import Audio, ClientMessage
from whisper_live.protocols.whisperlive.server import WhisperLive
from whisper_live.server import receiver
from whisper_live.server.keepalive import Keepalive
from whisper_live.server.receiver import Receiver
from whisper_live.session.events import EndOfAudio, Event, Flush
from whisper_live.testing.oracle import OracleDetector


class Full:
    """A socket whose messages have all come already; no read of it has to wait."""

    peer = "local"
    own_close_code = peer_close_code = 0

    def __init__(self, messages: Iterable[str | bytes]) -> None:
        self._messages = iter(messages)
        self.read = 0

    async def receive(self) -> str | bytes:
        self.read += 1
        return next(self._messages)

    async def send(self, text: str) -> None:
        raise AssertionError("a receiver says nothing")

    async def ping(self) -> Awaitable[object]:
        raise AssertionError("a receiver says nothing")

    async def close(self, code: int, reason: str = "") -> None:
        raise AssertionError("a receiver closes nothing")

    async def wait_closed(self) -> None:
        raise AssertionError("a receiver waits for no close")


def reading(
    socket: Full, taken: list[Event], *, pool: Executor, limits: LimitConfig
) -> Receiver:
    protocol = WhisperLive(SpeechConfig())
    protocol.read_hello('{"uid": "u", "language": "en", "task": "transcribe"}')
    return Receiver(
        socket,
        protocol,
        Ingest(open_stream("float32"), OracleDetector()),
        limits=limits,
        pool=pool,
        keepalive=Keepalive(socket),
        metrics=Metrics(),
        take=taken.append,
        ended=asyncio.Event(),
    )


@virtual_time
@pytest.mark.parametrize(
    ("message", "burst", "seconds"),
    [('{"type": "flush"}', 600, 10), ('{"type": "flush"}' + " " * 65_000, 9, 1583.4)],
)
async def test_text_messages_are_read_no_faster_than_some_a_second(
    message: str, burst: int, seconds: float
) -> None:
    socket = Full([message] * 1000)
    taken: list[Event] = []
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        limits = LimitConfig(audio_rate=2.0, audio_burst_s=30.0)
        receiver = reading(socket, taken, pool=pool, limits=limits)
        began_at = loop.time()
        running = asyncio.create_task(receiver.run())
        while len(taken) < burst:
            await asyncio.sleep(0)
        assert loop.time() == began_at
        while len(taken) < 1000:
            await asyncio.sleep(0.025)
        assert loop.time() - began_at == pytest.approx(seconds, abs=0.1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("is_wanted", [True, False])
@pytest.mark.parametrize(
    "message", ['{"type": "flush"}', '{"type": "configure", "hotwords": "Ada"}', b""]
)
async def test_others_get_a_turn_after_each_message(
    message: str | bytes, is_wanted: bool
) -> None:
    socket = Full([message] * 1000 + [b"END_OF_AUDIO"])
    taken: list[Event] = []
    with ThreadPoolExecutor(1) as pool:
        limits = LimitConfig(audio_rate=0.0)
        receiver = reading(socket, taken, pool=pool, limits=limits)
        receiver.go_on(has_room=True, is_wanted=is_wanted)
        if not is_wanted:
            receiver.end(asyncio.get_running_loop().time() + 3600)
        running = asyncio.create_task(receiver.run())
        turns = [0]
        while not running.done() and socket.read < 1001:
            await asyncio.sleep(0)
            turns.append(socket.read)
        steps = [b - a for a, b in zip(turns, turns[1:], strict=False)]
        assert max(steps) == 1 and sum(steps) == 1001
        if is_wanted:
            await running
            assert isinstance(taken[-1], EndOfAudio)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("message", "said", "seconds"),
    [
        (b"x" * 5000, Audio(b"x" * 5000), 0.0),
        ("x" * 100, None, 0.05),
        ("x" * 5000, Flush(), 0.25),
        ("x" * (1280 + 100), Audio(b"x" * 960), 0.0),  # 20 ms as OpenAI's clients send
        ("x" * 5000, Audio(b""), 0.25),
    ],
)
def test_text_counts_for_the_rate_but_for_the_audio_in_it(
    message: str | bytes, said: ClientMessage | None, seconds: float
) -> None:
    assert receiver._text_s(message, said) == seconds
