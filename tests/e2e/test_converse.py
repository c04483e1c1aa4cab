"""``whisper-live converse`` as a program, on real sockets.

The engine is the oracle; language model and speech are stand-ins over HTTP.
"""

from __future__ import annotations

import asyncio
import io
import sys
import wave
from pathlib import Path

from aiohttp import web

from tests.e2e.support import running
from whisper_live.audio import SAMPLE_RATE
from whisper_live.testing.chat import Chat, serving
from whisper_live.testing.marks import write_speech

SENTENCES = ["Hello there.", "How are you?"]


def wav(seconds: float) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(b"\x00\x40" * int(seconds * SAMPLE_RATE))
    return out.getvalue()


def write_question(path: Path) -> None:
    samples = write_speech([[1, 2, 3]])[0]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())


async def converse(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "whisper_live", "converse", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


async def test_a_recorded_question_is_answered_aloud(tmp_path: Path) -> None:
    said: list[str] = []

    async def speak(request: web.Request) -> web.Response:
        said.append((await request.json())["input"])
        return web.Response(body=wav(0.2))

    chat = Chat([f"{word} " for word in " ".join(SENTENCES).split()])
    routes = {"/v1/chat/completions": chat.answer, "/v1/audio/speech": speak}
    question, answer = tmp_path / "question.wav", tmp_path / "answer.wav"
    write_question(question)
    async with serving(routes) as url, running() as server:
        code, out, errors = await converse(
            *("--url", f"ws://127.0.0.1:{server.port}", "--language", "en"),
            *("--llm-url", url, "--llm-model", "m", "--tts", url),
            *("--input", str(question), "--output", str(answer)),
        )
    assert code == 0, errors
    assert out.splitlines() == [
        "you     w1 w2 w3",
        *(f"answer  {sentence}" for sentence in SENTENCES),
        "",
        "final   w1 w2 w3",
        "live    0 of 3 words wrong",
    ]
    assert chat.asked[-1]["messages"][-1] == {"role": "user", "content": "w1 w2 w3"}
    assert said[-2:] == SENTENCES
    with wave.open(str(answer)) as written:
        assert written.getnframes() == 2 * int(0.2 * SAMPLE_RATE)
    for label in ("STT", "AI", "TTS", "PIPELINE"):
        assert f"[PROFILING] [{label}]" in errors
    assert "Hello" not in errors and "w1" not in errors  # no words in the log
