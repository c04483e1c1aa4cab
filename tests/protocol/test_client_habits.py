"""What published clients make of the message sequences that our server sends.

The clients are real, the server is scripted: each test is one thing that they depend
on, and where it says so also what happens without it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.conversation import (
    AUDIO_S,
    TEXTS,
    completed,
    converse,
    messages,
    partial,
    segments,
)
from tests.protocol.golden import record
from tests.protocol.upstream import (
    Run,
    ScriptedServer,
    Upstream,
    Wire,
    run_client,
    write_wav,
)
from whisper_live.protocols.whisperlive import messages as protocol

pytestmark = pytest.mark.timeout(120)  # many processes on a small machine

NEWEST = Upstream("0.10.0")
ON_1_8 = Upstream("0.10.0", "1.8.0")
OLDER = Upstream("0.7.1", "1.8.0")
OLD = Upstream("0.5.1", "1.8.0")


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "speech.wav", b"\0\0" * int(AUDIO_S * 16_000))


async def talk_then_close(wire: Wire) -> None:
    await converse(wire)
    await wire.until_end()
    await wire.close()


@pytest.mark.parametrize("client", [NEWEST, OLDER, OLD], ids=str)
async def test_file_clients_write_each_text_once(
    client: Upstream, wav: Path, tmp_path: Path
) -> None:
    async with ScriptedServer.running(talk_then_close) as server:
        run = await run_client(
            client, "file", server.port, wav, tmp_path / "run", patience_s=1
        )
    assert run.exit_status == 0, run.output
    assert run.srt_text == TEXTS
    assert {"<": "END_OF_AUDIO"} in server.wires[0].log
    record(f"file-{client.version}", server.wires[0].log)


@pytest.mark.parametrize("client", [NEWEST, ON_1_8], ids=str)
async def test_the_streaming_client_gets_the_tail_and_leaves_at_once(
    client: Upstream, wav: Path, tmp_path: Path
) -> None:
    async def flush_after_the_end(wire: Wire) -> None:
        *said, preview, last = messages(wire.uid)
        for audio_s, message in said:
            await wire.audio(audio_s)
            await wire.send(message)
        await wire.until_end()
        await wire.send(preview[1])
        await wire.send(last[1])
        await wire.close()

    async with ScriptedServer.running(flush_after_the_end) as server:
        run = await run_client(client, "stream", server.port, wav, tmp_path / "run")
    assert run.exit_status == 0, run.output
    assert run.result["committed"] == [text.strip() for text in TEXTS]
    assert run.result["partials"][-1] == TEXTS[-1].strip()
    assert run.result["close_s"] < 5  # its limit is 15
    if client is NEWEST:
        record(f"stream-{client.version}", server.wires[0].log)


@pytest.mark.slow
@pytest.mark.parametrize("client", [NEWEST, OLDER, OLD], ids=str)
async def test_microphone_clients_leave_without_a_word(
    client: Upstream, wav: Path, tmp_path: Path
) -> None:
    async with ScriptedServer.running(talk_then_close) as server:
        run = await run_client(
            client, "microphone", server.port, wav, tmp_path / "run", patience_s=1
        )
    assert run.exit_status == 0, run.output
    assert run.srt_text == TEXTS
    assert {"<": "END_OF_AUDIO"} not in server.wires[0].log
    if client is NEWEST:
        record(f"microphone-{client.version}", server.wires[0].log)


@pytest.mark.slow
@pytest.mark.parametrize("client", [NEWEST, OLDER, OLD], ids=str)
async def test_without_a_preview_a_stale_partial_would_end_the_file(
    client: Upstream, wav: Path, tmp_path: Path
) -> None:
    async def no_previews(wire: Wire) -> None:
        await converse(wire, previews=False)
        await wire.until_end()
        await wire.close()

    async with ScriptedServer.running(no_previews) as server:
        run = await run_client(
            client, "file", server.port, wav, tmp_path / "run", patience_s=1
        )
    stale = [] if client is OLD else [" Hot Ella."]  # 0.5.1 keeps whatever came last
    assert run.srt_text == TEXTS + stale


@pytest.mark.slow
async def test_sentences_may_repeat(wav: Path, tmp_path: Path) -> None:
    """With its leading space 0.10.0 keeps a repeated text; 0.7.1 and before lose it."""

    async def yes_yes(wire: Wire) -> None:
        await wire.send(protocol.server_ready(wire.uid))
        await wire.audio(AUDIO_S)
        said = [completed(n, n + 0.5, " Yes.") for n in range(3)]
        for count in range(3):
            preview = partial(count, count + 0.5, " Yes.")
            await wire.send(segments(wire.uid, [*said[:count], preview]))
            await wire.send(segments(wire.uid, said[: count + 1]))
        await talk_end(wire)

    async def talk_end(wire: Wire) -> None:
        await wire.until_end()
        await wire.close()

    clients = [NEWEST, OLDER]
    async with ScriptedServer.running(yes_yes) as server:
        new, old = await all_run(clients, "file", server.port, wav, tmp_path)
    assert new.srt_text == [" Yes."] * 3
    assert old.srt_text == [" Yes."]


@pytest.mark.slow
async def test_what_clients_do_not_know_passes_by(wav: Path, tmp_path: Path) -> None:
    async def noisy(wire: Wire) -> None:
        for audio_s, message in messages(wire.uid):
            await wire.audio(audio_s)
            await wire.send(message)
            await wire.send({"uid": wire.uid, "news": {"of": "tomorrow"}})
            await wire.send({**message, "uid": "someone-else"})
        await wire.until_end()
        await wire.close()

    clients = [NEWEST, OLDER, OLD]
    async with ScriptedServer.running(noisy) as server:
        runs = await all_run(clients, "file", server.port, wav, tmp_path)
    for run in runs:
        assert (run.exit_status, run.srt_text) == (0, TEXTS)
        assert "invalid client uid" in run.output


# -------------------------------------------------------------- refusals and limits

HOLD_S = 2.0


async def refuse_with_wait(wire: Wire) -> None:
    await wire.send(protocol.wait(wire.uid, 1.6))
    await wire.hold(HOLD_S)
    await wire.close(1013)


async def refuse_with_error(wire: Wire) -> None:
    await wire.send(protocol.error(wire.uid, "The model is on holiday."))
    await wire.hold(HOLD_S)
    await wire.close(1008)


EVERYONE = [NEWEST, ON_1_8, OLDER, Upstream("0.7.1"), OLD, Upstream("0.5.1")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "script, reason",
    [
        (refuse_with_wait, "Estimated wait time 2 minutes"),
        (refuse_with_error, "The model is on holiday."),
    ],
    ids=["WAIT", "ERROR"],
)
async def test_a_refused_client_says_why_and_ends(
    script: Any, reason: str, wav: Path, tmp_path: Path
) -> None:
    """Held for two seconds, a refusal is seen; closed at once, 1.8 spins for ever."""
    async with ScriptedServer.running(script) as server:
        runs, streams = await asyncio.gather(
            all_run(EVERYONE, "file", server.port, wav, tmp_path / "files"),
            all_run([NEWEST, ON_1_8], "stream", server.port, wav, tmp_path / "streams"),
        )
    for run in runs + streams:
        assert run.exit_status == 0, run.output
        assert reason in run.output
        assert run.srt is None
    assert all("refusal" in run.result for run in streams)
    record(f"refused-{script.__name__.split('_')[-1]}", server.wires[0].log)


@pytest.mark.slow
async def test_over_time_the_last_words_come_before_disconnect(
    wav: Path, tmp_path: Path
) -> None:
    """0.10.0 sends END_OF_AUDIO after DISCONNECT and writes no file if it cannot."""

    async def time_is_up(wire: Wire) -> None:
        for audio_s, message in messages(wire.uid):
            await wire.audio(min(audio_s, 1.0))
            await wire.send(message)
        await wire.send(protocol.disconnect(wire.uid))
        await wire.until_end()
        await wire.close()

    clients = [NEWEST, ON_1_8, OLDER, OLD]
    async with ScriptedServer.running(time_is_up) as server:
        runs = await all_run(clients, "file", server.port, wav, tmp_path, speed=2)
        (stream,) = await all_run(
            [NEWEST], "stream", server.port, wav, tmp_path / "stream", speed=2
        )
    for run in runs:
        assert (run.exit_status, run.srt_text) == (0, TEXTS), run.output
        assert "overtime" in run.output
    assert stream.result["committed"] == [text.strip() for text in TEXTS]
    record("disconnect", server.wires[0].log)


@pytest.mark.slow
async def test_a_client_that_reconnects_brings_its_uid_again(
    wav: Path, tmp_path: Path
) -> None:
    uids: list[str] = []

    async def lost_once(wire: Wire) -> None:
        uids.append(wire.uid)
        await wire.send(protocol.server_ready(wire.uid))
        if len(uids) == 1:
            await wire.close(1012)
            return
        said = [completed(0, 1, " Here again.")]
        await wire.send(segments(wire.uid, said))
        await wire.hold(10)

    # On 1.9.2 a close frame is an error, and after an error it does not come back.
    async with ScriptedServer.running(lost_once) as server:
        (run,) = await all_run([ON_1_8], "reconnect", server.port, wav, tmp_path)
    assert uids == [run.result["uid"]] * 2
    assert [s["text"] for s in run.result["transcript"]] == [" Here again."]


async def all_run(
    clients: list[Upstream],
    mode: str,
    port: int,
    wav: Path,
    folder: Path,
    *,
    speed: float = 0.0,
) -> list[Run]:
    """All of them at the same time, each in a folder of its own."""
    return await asyncio.gather(
        *(
            run_client(
                client,
                mode,
                port,
                wav,
                folder / str(client),
                speed=speed,
                patience_s=1,
            )
            for client in clients
        )
    )
