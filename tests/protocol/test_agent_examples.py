"""The examples for LiveKit and Pipecat, in the real frameworks, against this server.

Language model and speech are stand-ins.  They need ``pip install -e '.[agents]'``, and
are left out where that is not done, but not with ``WITH_AGENTS=1``.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from tests.docs.pages import ROOT
from tests.e2e.support import running, with_http
from tests.protocol.test_voice_agents import base, needed
from whisper_live.audio import SAMPLE_RATE
from whisper_live.testing.chat import Chat, serving
from whisper_live.testing.marks import write_speech

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of those packages' own
]

SPOKEN = write_speech([[1, 2, 3]])[0]
SPEECH = np.concatenate([SPOKEN, np.zeros(2 * SAMPLE_RATE, np.float32)])
PCM = (SPEECH * 32767).astype("<i2").tobytes()
TONE = b"\x00\x40" * 2400  # a tenth of a second at 24 kHz
QUESTION = {"role": "user", "content": "w1 w2 w3"}


def example(name: str) -> Any:
    path = ROOT / f"examples/voice_loop/{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wav(pcm: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(pcm)
    return out.getvalue()


@asynccontextmanager
async def answering(sound: bytes) -> AsyncIterator[tuple[str, Chat, list[str]]]:
    """Language model and speech; their URL, and what they were asked."""
    said: list[str] = []

    async def speak(request: web.Request) -> web.Response:
        said.append((await request.json())["input"])
        return web.Response(body=sound, content_type="audio/wav")

    chat = Chat(["Hello", " there", "."])
    routes = {"/v1/chat/completions": chat.answer, "/v1/audio/speech": speak}
    async with serving(routes) as url:
        yield url, chat, said
        await close_clients()


async def close_clients() -> None:
    """Close what both frameworks leave open."""
    import openai

    for each in gc.get_objects():
        # Not isinstance, which asks weak references to what is gone.
        if issubclass(type(each), openai.AsyncOpenAI) and not each.is_closed():
            await each.close()


async def test_pipecat_answers_aloud() -> None:
    needed("pipecat.services.openai.stt")
    from pipecat.frames import frames
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
    from pipecat.workers.runner import WorkerRunner

    heard = asyncio.Event()
    ready = asyncio.Event()

    class Sink(FrameProcessor):  # type: ignore[misc]
        async def process_frame(self, frame: Any, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, frames.StartFrame):
                ready.set()
            if isinstance(frame, frames.TTSAudioRawFrame) and any(frame.audio):
                heard.set()
            await self.push_frame(frame, direction)

    class Source(FrameProcessor):  # type: ignore[misc]
        async def process_frame(self, frame: Any, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            await self.push_frame(frame, direction)

    async with answering(TONE) as (url, chat, said), running(with_http()) as server:
        worker = example("pipecat_agent").agent(
            Source(), Sink(), hear=base(server, "ws"), think=url, speak=url
        )

        async def speak() -> None:
            await ready.wait()
            for at in range(0, len(PCM), 6_400):
                piece = PCM[at : at + 6_400]
                frame = frames.InputAudioRawFrame(piece, SAMPLE_RATE, 1)
                await worker.queue_frame(frame)
            await heard.wait()
            await worker.queue_frame(frames.EndFrame())

        runner = WorkerRunner()
        await runner.add_workers(worker)
        await asyncio.gather(runner.run(), speak())
    assert chat.asked[-1]["messages"][-1] == QUESTION
    assert said == ["Hello there."]


async def test_livekit_answers_aloud() -> None:
    needed("livekit.plugins.openai")
    from livekit import rtc
    from livekit.agents import Agent
    from livekit.agents.voice.io import (
        AudioInput,
        AudioOutput,
        AudioOutputCapabilities,
    )

    class Source(AudioInput):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(label="speech")
            self._at = 0

        async def __anext__(self) -> Any:
            if self._at >= len(PCM):
                await asyncio.Event().wait()  # nobody speaks any more
            piece = PCM[self._at : self._at + 3_200]
            self._at += len(piece)
            await asyncio.sleep(0)
            return rtc.AudioFrame(piece, SAMPLE_RATE, 1, len(piece) // 2)

    class Sink(AudioOutput):  # type: ignore[misc]
        def __init__(self) -> None:
            capabilities = AudioOutputCapabilities(pause=False)
            super().__init__(label="sound", capabilities=capabilities)
            self.heard = asyncio.Event()

        async def capture_frame(self, frame: Any) -> None:
            await super().capture_frame(frame)
            if any(frame.data.tobytes()):
                self.heard.set()

        def flush(self) -> None:
            super().flush()
            self.on_playback_finished(playback_position=0.1, interrupted=False)

        def clear_buffer(self) -> None:
            """Everything was played already."""

    async with (
        answering(wav(TONE)) as (url, chat, said),
        running(with_http()) as server,
        aiohttp.ClientSession() as http,
    ):
        module = example("livekit_agent")
        session = module.session(hear=base(server), think=url, speak=url, http=http)
        source, sink = Source(), Sink()
        session.input.audio, session.output.audio = source, sink
        await session.start(Agent(instructions=module.SYSTEM), record=False)
        await sink.heard.wait()
        await session.aclose()
        await session.stt.aclose()
    assert chat.asked[-1]["messages"][-1] == QUESTION
    assert said == ["Hello there."]
