"""A LiveKit agent that hears through this project's Realtime API.

Needs `pip install livekit-plugins-openai`, `whisper-live serve`, and OpenAI-compatible
servers of a language model and of speech; then `python livekit_agent.py console`.
"""

from __future__ import annotations

import aiohttp
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli
from livekit.plugins import openai

SYSTEM = "Answer in one or two short sentences."


def session(
    *,
    hear: str,
    think: str,
    speak: str,
    http: aiohttp.ClientSession | None = None,
) -> AgentSession:
    """Transcription, language model and voice at the servers' base URLs.

    Our server says when a turn is over.  Outside of a job ``http`` carries the stream.
    """
    stt = openai.STT(
        base_url=hear, api_key="any", model="gpt-4o-transcribe", use_realtime=True
    )
    if http is not None:
        stt._session = http
    return AgentSession(
        stt=stt,
        llm=openai.LLM(base_url=think, api_key="any", model="llama3.2"),
        tts=openai.TTS(base_url=speak, api_key="any", response_format="wav"),
        vad=None,
        turn_handling={"turn_detection": "stt"},
    )


server = AgentServer()


@server.rtc_session()
async def converse(job: JobContext) -> None:
    """One conversation in a room, or on the console."""
    talk = session(
        hear="http://127.0.0.1:8000/v1",
        think="http://127.0.0.1:11434/v1",
        speak="http://127.0.0.1:8880/v1",
    )
    await talk.start(Agent(instructions=SYSTEM), room=job.room)


if __name__ == "__main__":
    cli.run_app(server)
