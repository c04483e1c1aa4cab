"""``whisper-live converse`` as a program, on real sockets.

The engine is the oracle; language model and speech are stand-ins over HTTP.
"""

from __future__ import annotations

import asyncio
import io
import signal
import sys
import wave
from pathlib import Path

import numpy as np
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


def write_question(path: Path, *, silence_s: float = 0.0) -> None:
    silence = np.zeros(int(silence_s * SAMPLE_RATE), np.float32)
    samples = np.concatenate([write_speech([[1, 2, 3]])[0], silence])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "whisper_live", "converse", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def converse(*arguments: str) -> tuple[int | None, str, str]:
    process = await start(*arguments)
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


async def test_ctrl_c_ends_the_conversation_with_its_final_text(tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    write_question(question, silence_s=600)
    chat = Chat(["More. "] * 100_000, pace_s=0.1)  # two hours and a half
    async with serving({"/v1/chat/completions": chat.answer}) as url:
        async with running() as server:
            process = await start(
                *("--url", f"ws://127.0.0.1:{server.port}", "--language", "en"),
                *("--llm-url", url, "--llm-model", "m", "--tts", "none"),
                *("--input", str(question), "--max-answer-chars", "1000000"),
            )
            assert process.stdout is not None
            while b"answer" not in (await process.stdout.readline()):
                pass
            process.send_signal(signal.SIGINT)
            out, errors = await process.communicate()
            await chat.ended.wait()
    assert process.returncode == 0, errors
    assert out.decode().endswith("\nfinal   w1 w2 w3\nlive    0 of 3 words wrong\n")
    assert "reply interrupted" in errors.decode()
