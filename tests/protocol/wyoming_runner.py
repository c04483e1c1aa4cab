"""Home Assistant's way through one utterance, with the ``wyoming`` that is on the path.

``python wyoming_runner.py PORT WAV LANGUAGE`` describes the server, sends a WAV file in
chunks of 64 ms, reading meanwhile, and prints one line of JSON.  Runs alone: nothing of
ours is imported here.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from typing import Any

from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info


async def main(port: int, path: str, language: str) -> dict[str, Any]:
    """What came, in order."""
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Describe().event())
        event = await client.read_event()
        assert event is not None
        [program] = Info.from_event(event).asr
    async with AsyncTcpClient("127.0.0.1", port) as client:
        reading = asyncio.create_task(read(client))
        await client.write_event(Transcribe(language=language).event())
        with wave.open(path) as file:
            form = {
                "rate": file.getframerate(),
                "width": file.getsampwidth(),
                "channels": file.getnchannels(),
            }
            await client.write_event(AudioStart(**form).event())
            while data := file.readframes(file.getframerate() * 64 // 1000):
                await client.write_event(AudioChunk(**form, audio=data).event())
            await client.write_event(AudioStop().event())
        events = await reading
    return {"models": [model.name for model in program.models], "events": events}


async def read(client: AsyncTcpClient) -> list[tuple[str, dict[str, Any]]]:
    """Everything up to the end of the answer, or the close."""
    events = []
    while (event := await client.read_event()) is not None:
        events.append((event.type, event.data))
        if event.type == "transcript-stop":
            break
    return events


if __name__ == "__main__":
    result = asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
    print(json.dumps(result))
