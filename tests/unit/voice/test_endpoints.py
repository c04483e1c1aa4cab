"""Chat and speech endpoints as others serve them, and what their failures say."""

from __future__ import annotations

import asyncio
import io
import socket
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import numpy as np
import pytest
from aiohttp import web

from whisper_live.testing.chat import Chat, serving
from whisper_live.voice.conversation import ChatMessage
from whisper_live.voice.language_model import AnswerError, ChatEndpoint
from whisper_live.voice.speech import SpeechEndpoint, SpeechError

pytest.importorskip("openai")

HELLO = [ChatMessage("system", "Be short."), ChatMessage("user", "Hello?")]


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A URL on which nobody listens, nor can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


async def said(url: str, **options: str) -> list[str]:
    endpoint = ChatEndpoint(url, **options)
    try:
        return [token async for token in endpoint.answer(HELLO)]
    finally:
        await endpoint.close()


async def test_an_answer_comes_token_by_token() -> None:
    chat = Chat(["Hi", " there", "."])
    async with serving({"/v1/chat/completions": chat.answer}) as url:
        assert await said(url, model="small") == ["Hi", " there", "."]
    [asked] = chat.asked
    assert asked["model"] == "small" and asked["stream"] is True
    assert asked["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello?"},
    ]


async def test_without_a_name_the_first_model_is_asked() -> None:
    async def models(request: web.Request) -> web.Response:
        names = [{"id": name, "object": "model"} for name in ("one", "two")]
        return web.json_response({"object": "list", "data": names})

    chat = Chat(["Hi."])
    routes = {"/v1/models": models, "/v1/chat/completions": chat.answer}
    async with serving(routes) as url:
        assert await said(url) == ["Hi."]
    assert chat.asked[0]["model"] == "one"


async def test_a_server_without_models_is_told() -> None:
    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async with serving({"/v1/models": models}) as url:
        with pytest.raises(AnswerError, match="has no model: --llm-model names one"):
            await said(url)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "--llm-key"), (404, "--llm-model"), (429, "too often"), (500, "HTTP 500")],
)
async def test_a_refusal_says_what_to_do(status: int, hint: str) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "secret words"}}, status=status)

    async with serving({"/v1/chat/completions": refuse}) as url:
        with pytest.raises(AnswerError) as caught:
            await said(url, model="m")
    assert hint in str(caught.value) and "secret" not in str(caught.value)


async def test_no_password_is_shown(nowhere: str) -> None:
    url = nowhere.replace("http://", "http://me:secret@") + "?key=secret"
    for endpoint in (ChatEndpoint(url, model="m"), SpeechEndpoint(url)):
        assert "secret" not in endpoint.name and "127.0.0.1" in endpoint.name
        await endpoint.close()
    with pytest.raises(AnswerError) as caught:
        await said(url, model="m")
    assert "secret" not in str(caught.value)


async def test_nobody_there_is_told(nowhere: str) -> None:
    with pytest.raises(AnswerError, match="cannot be reached: is it running"):
        await said(nowhere, model="m")


async def test_an_answer_that_breaks_off_is_told_behind_its_words() -> None:
    chat = Chat(["Hi"], breaks_off=True)
    async with serving({"/v1/chat/completions": chat.answer}) as url:
        endpoint = ChatEndpoint(url, model="m")
        tokens = []
        with pytest.raises(AnswerError, match="broke off"):
            async for token in endpoint.answer(HELLO):
                tokens.append(token)
        await endpoint.close()
    assert tokens == ["Hi"]


async def test_closing_an_answer_stops_the_model() -> None:
    chat = Chat(["more "] * 1_000_000, pace_s=0.001)
    async with serving({"/v1/chat/completions": chat.answer}) as url:
        endpoint = ChatEndpoint(url, model="m")
        answer = endpoint.answer(HELLO)
        assert isinstance(answer, AsyncIterator)
        async with aclosing(answer):  # type: ignore[type-var]
            assert await anext(answer) == "more "
        await asyncio.wait_for(chat.ended.wait(), 30)
        await endpoint.close()


# ----------------------------------------------------------------------------- speech


def wav(rate: int, samples: int) -> bytes:
    """A WAV file of a constant tone."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\x00\x40" * samples)
    return out.getvalue()


async def spoken(url: str) -> tuple[int, int]:
    endpoint = SpeechEndpoint(url, model="m", voice="v", key="k")
    try:
        sound = await endpoint.synthesise("Hello.")
    finally:
        await endpoint.close()
    assert np.all(np.abs(sound.samples - 0.5) < 1e-3)
    return sound.rate, len(sound.samples)


@pytest.mark.parametrize("end", ["", "/", "/audio/speech"])
async def test_a_sentence_comes_as_sound_at_its_own_rate(end: str) -> None:
    asked = []

    async def speak(request: web.Request) -> web.Response:
        asked.append((request.headers["Authorization"], await request.json()))
        return web.Response(body=wav(22050, 4410), content_type="audio/wav")

    async with serving({"/v1/audio/speech": speak}) as url:
        assert await spoken(url + end) == (22050, 4410)
    [(key, body)] = asked
    assert key == "Bearer k"
    assert (body["model"], body["voice"], body["input"]) == ("m", "v", "Hello.")


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"not a sound", 200, "sent no sound"),
        (b"", 200, "sent no sound"),
        (wav(22050, 0), 200, "sent no sound"),
        (b"secret words", 500, "refused with HTTP 500"),
    ],
    ids=["text", "empty", "no samples", "refused"],
)
async def test_what_is_no_sound_is_told(body: bytes, status: int, told: str) -> None:
    async def speak(request: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    async with serving({"/v1/audio/speech": speak}) as url:
        with pytest.raises(SpeechError, match=told) as caught:
            await spoken(url)
    assert "secret" not in str(caught.value)


async def test_a_sound_without_end_is_told() -> None:
    async def speak(request: web.Request) -> web.Response:
        return web.Response(body=wav(8000, 8000 * 130))

    async with serving({"/v1/audio/speech": speak}) as url:
        with pytest.raises(SpeechError, match="a sound without end"):
            await spoken(url)


async def test_no_speech_server_is_told(nowhere: str) -> None:
    with pytest.raises(SpeechError, match="cannot be reached"):
        await spoken(nowhere)
