"""LiveKit's and Pipecat's own services for OpenAI, unmodified, against this server.

They need ``pip install -e '.[agents]'``, and are left out where that is not done, but
not with ``WITH_AGENTS=1``, as in .ci/run.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

import aiohttp
import numpy as np
import pytest

from tests.e2e.support import running, with_http
from tests.e2e.test_realtime import at_24_khz
from whisper_live.audio import SAMPLE_RATE
from whisper_live.server.server import Server
from whisper_live.testing.marks import read_numbers, write_speech

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of those packages' own
]

SPOKEN = write_speech([[1, 2, 3], [4, 5]], pause_s=1.5)[0]
SPEECH = np.concatenate([SPOKEN, np.zeros(2 * SAMPLE_RATE, np.float32)])
WORDS = [[1, 2, 3], [4, 5]]


def base(server: Server, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.http_port}/v1"


def needed(module: str) -> Any:
    if os.environ.get("WITH_AGENTS"):
        return importlib.import_module(module)
    return pytest.importorskip(module)


# -------------------------------------------------------------------------- LiveKit


@pytest.fixture
def livekit() -> Any:
    needed("livekit.plugins.openai")
    from livekit import rtc
    from livekit.plugins import openai

    return rtc, openai


def livekit_frames(rtc: Any) -> list[Any]:
    data, size = at_24_khz(SPEECH), 24_000  # bytes: half a second
    return [
        rtc.AudioFrame(data[at : at + size], 24_000, 1, len(data[at : at + size]) // 2)
        for at in range(0, len(data), size)
    ]


async def test_livekit_streams(livekit: Any) -> None:
    rtc, openai = livekit
    async with running(with_http()) as server, aiohttp.ClientSession() as session:
        service = openai.STT(
            base_url=base(server),
            api_key="any",
            model="gpt-4o-transcribe",
            use_realtime=True,
        )
        service._session = session  # outside of a job there is no other
        stream = service.stream()
        for frame in livekit_frames(rtc):
            stream.push_frame(frame)
        kinds, finals = [], []
        async for event in stream:
            kinds.append(event.type.value)
            if event.type.value == "final_transcript":
                finals.append(read_numbers(event.alternatives[0].text))
            if len(finals) == len(WORDS):
                break
        await stream.aclose()
        await service.aclose()
        await service._client.close()
    assert finals == WORDS
    assert kinds.count("start_of_speech") == kinds.count("end_of_speech") == 2


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe"])
async def test_livekit_uploads(livekit: Any, model: str) -> None:
    rtc, openai = livekit
    async with running(with_http()) as server:
        service = openai.STT(base_url=base(server), api_key="any", model=model)
        event = await service.recognize(livekit_frames(rtc))
        await service.aclose()
        await service._client.close()
    assert read_numbers(event.alternatives[0].text) == sum(WORDS, [])


# -------------------------------------------------------------------------- Pipecat


@pytest.fixture
def pipecat() -> Any:
    return needed("pipecat.services.openai.stt")


async def heard(service: Any, *, has_turns: bool) -> list[list[int]]:
    """The words of each transcription, in a pipeline of this service alone."""
    from pipecat.frames import frames
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
    from pipecat.tests.utils import PipelineWorker, WorkerRunner

    found: list[list[int]] = []
    ready, done = asyncio.Event(), asyncio.Event()

    class Sink(FrameProcessor):  # type: ignore[misc]
        async def process_frame(self, frame: Any, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, frames.StartFrame):
                ready.set()
            if isinstance(frame, frames.TranscriptionFrame):
                found.append(read_numbers(frame.text))
                if sum(found, []) == sum(WORDS, []):
                    done.set()
            await self.push_frame(frame, direction)

    worker = PipelineWorker(Pipeline([service, Sink()]), cancel_on_idle_timeout=False)

    async def speak() -> None:
        await ready.wait()
        pcm = (SPEECH * 32767).astype("<i2").tobytes()
        if not has_turns:
            await worker.queue_frame(frames.VADUserStartedSpeakingFrame())
        for at in range(0, len(pcm), 6_400):
            piece = pcm[at : at + 6_400]
            await worker.queue_frame(frames.InputAudioRawFrame(piece, SAMPLE_RATE, 1))
        if not has_turns:
            await worker.queue_frame(frames.VADUserStoppedSpeakingFrame())
        await done.wait()
        await worker.queue_frame(frames.EndFrame())

    runner = WorkerRunner()
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), speak())
    return found


async def test_pipecat_uploads(pipecat: Any) -> None:
    async with running(with_http()) as server:
        service = pipecat.OpenAISTTService(
            base_url=base(server), api_key="any", sample_rate=SAMPLE_RATE
        )
        found = await heard(service, has_turns=False)
        await service._client.close()
    assert sum(found, []) == sum(WORDS, [])


@pytest.mark.parametrize("turns", [{"type": "server_vad"}, False])
async def test_pipecat_streams(pipecat: Any, turns: Any) -> None:
    async with running(with_http()) as server:
        service = pipecat.OpenAIRealtimeSTTService(
            base_url=f"{base(server, 'ws')}/realtime",
            api_key="any",
            turn_detection=turns,
            sample_rate=SAMPLE_RATE,
        )
        found = await heard(service, has_turns=bool(turns))
    assert found == (WORDS if turns else [sum(WORDS, [])])
