"""A Pipecat agent that hears through this project's Realtime API.

Needs `pip install 'pipecat-ai[local,openai]'`, `whisper-live serve`, and
OpenAI-compatible servers of a language model and of speech.
"""

from __future__ import annotations

import asyncio

from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
)
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.workers.runner import WorkerRunner

SYSTEM = "Answer in one or two short sentences."


def agent(
    source: FrameProcessor, sink: FrameProcessor, *, hear: str, think: str, speak: str
) -> PipelineWorker:
    """The pipeline between a microphone and a loudspeaker; the servers' base URLs."""
    stt = OpenAIRealtimeSTTService(
        base_url=f"{hear}/realtime",
        api_key="any",
        turn_detection={"type": "server_vad"},
    )
    llm = OpenAILLMService(base_url=think, api_key="any")
    tts = OpenAITTSService(base_url=speak, api_key="any")
    context = LLMContext([{"role": "system", "content": SYSTEM}])
    both = LLMContextAggregatorPair(context)
    stages = [source, stt, both.user(), llm, tts, sink, both.assistant()]
    return PipelineWorker(Pipeline(stages))


async def main() -> None:
    from pipecat.transports.local.audio import (
        LocalAudioTransport,
        LocalAudioTransportParams,
    )

    params = LocalAudioTransportParams(audio_in_enabled=True, audio_out_enabled=True)
    local = LocalAudioTransport(params)
    urls = {"think": "http://127.0.0.1:11434/v1", "speak": "http://127.0.0.1:8880/v1"}
    hear = "ws://127.0.0.1:8000/v1"
    runner = WorkerRunner()
    await runner.add_workers(agent(local.input(), local.output(), hear=hear, **urls))
    await runner.run()


if __name__ == "__main__":
    asyncio.run(main())
