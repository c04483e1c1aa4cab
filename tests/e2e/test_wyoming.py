"""Home Assistant's port on real sockets, with the package's own client."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest

from tests.e2e.support import quick
from tests.e2e.support import whole_session as websocket_session
from tests.e2e.wyoming import client, read_answer, running, say, whole
from whisper_live.audio import PcmFormat, s_to_samples
from whisper_live.config.model import AccessConfig, Config, EngineConfig
from whisper_live.errors import ConfigError
from whisper_live.server import connection
from whisper_live.server.checks import check_wyoming
from whisper_live.testing.marks import write_speech
from whisper_live.testing.oracle import Behaviour, OracleEngine

from wyoming.asr import Transcribe  # isort: skip
from wyoming.event import Event  # isort: skip
from wyoming.info import Describe, Info  # isort: skip
from wyoming.ping import Ping  # isort: skip

from whisper_live.server.wyoming.pace import Pace  # isort: skip


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.05)


@pytest.fixture
def microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast audio comes, it counts as live."""
    monkeypatch.setattr(Pace, "is_recorded", lambda self, now: False)


COMMAND = write_speech([[1, 2, 3]], pause_s=0.1)[0]
# The pause is longer than the silence that ends a command.
TWO = write_speech([[1, 2, 3], [4, 5]], pause_s=[1.5, 0.1])[0]
SILENCE = np.zeros(s_to_samples(2.0), np.float32)


async def test_an_utterance_is_answered_in_both_ways() -> None:
    async with running() as server:
        answer = await whole(server, COMMAND, asked=Transcribe(language="en"))
    assert answer.types == [
        *("transcript-start", "transcript-chunk", "transcript", "transcript-stop")
    ]
    assert answer.words == [1, 2, 3]
    assert answer.chunks == answer.text
    assert all(
        event.data.get("language", "en") == "en" for event in answer.events if event
    )


async def test_transcribe_is_not_needed() -> None:
    async with running() as server:
        assert (await whole(server, COMMAND)).words == [1, 2, 3]


@pytest.mark.parametrize(
    "pcm",
    [
        PcmFormat(16_000, 1, 1),
        PcmFormat(16_000, 3, 1),
        PcmFormat(16_000, 4, 2),
        PcmFormat(48_000, 2, 2),
    ],
    ids=str,
)
async def test_audio_in_any_form(pcm: PcmFormat) -> None:
    """In words that survive being resampled."""
    samples = write_speech([[1, 2, 3]], pause_s=0.1, variant="robust")[0]
    async with running() as server:
        answer = await whole(server, samples, pcm)
    assert answer.words == [1, 2, 3]


async def test_a_recording_is_read_over_its_pauses() -> None:
    async with running() as server:
        assert (await whole(server, TWO)).words == [1, 2, 3, 4, 5]


async def test_silence_is_answered_with_nothing() -> None:
    async with running() as server:
        answer = await whole(server, SILENCE)
    assert answer.text == ""
    assert answer.types == ["transcript-start", "transcript", "transcript-stop"]


async def test_no_audio_at_all_is_answered_with_nothing() -> None:
    async with running() as server:
        assert (await whole(server, SILENCE[:0])).text == ""


# ---------------------------------------------------------- the end found by the server


@pytest.mark.usefixtures("microphone")
async def test_the_answer_comes_before_audio_stop() -> None:
    async with running() as server, client(server) as peer:
        await say(peer, COMMAND, stop=False)
        await say(peer, SILENCE, start=False, stop=False)
        answer = await read_answer(peer)
        assert answer.words == [1, 2, 3]
        # What still comes is passed over, and the connection can be used again.
        await say(peer, TWO, start=False, stop=True)
        await say(peer, COMMAND, stop=False)
        await say(peer, SILENCE, start=False)
        assert (await read_answer(peer)).words == [1, 2, 3]


@pytest.mark.usefixtures("microphone")
async def test_another_command_may_begin_without_audio_stop() -> None:
    async with running() as server, client(server) as peer:
        for _ in range(3):
            await say(peer, COMMAND, stop=False)
            await say(peer, SILENCE, start=False, stop=False)
            assert (await read_answer(peer)).words == [1, 2, 3]


@pytest.mark.usefixtures("microphone")
async def test_the_client_may_keep_the_end_to_itself() -> None:
    async with running(silence_ms=0.0) as server, client(server) as peer:
        await say(peer, TWO)
        assert (await read_answer(peer)).words == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("microphone")
async def test_a_client_may_choose_how_patient_the_server_is() -> None:
    first, second = (write_speech([[n]], pause_s=p)[0] for n, p in ((1, 0.9), (2, 1.5)))
    async with running() as server:
        async with client(server) as peer:
            await say(peer, first, stop=False)
            assert (await read_answer(peer)).words == [1]
        async with client(server) as peer:
            patient = Transcribe(vad_sensitivity="relaxed")
            await say(peer, first, asked=patient, stop=False)
            await say(peer, second, start=False, stop=False)
            assert (await read_answer(peer)).words == [1, 2]


@pytest.mark.usefixtures("microphone")
async def test_a_microphone_that_hears_nobody_is_answered_in_the_end() -> None:
    async with running(max_s=3.0) as server, client(server) as peer:
        for index in range(3):
            await say(peer, SILENCE, start=not index, stop=False)
        assert (await read_answer(peer)).text == ""


@pytest.mark.usefixtures("microphone")
async def test_two_commands_on_one_connection_are_told_apart() -> None:
    """Sent at once, before the first is answered."""
    other = write_speech([[7, 8]], pause_s=0.1)[0]
    async with running() as server, client(server) as peer:
        await say(peer, COMMAND)
        await say(peer, other, asked=Transcribe(language="en"))
        assert (await read_answer(peer)).words == [1, 2, 3]
        assert (await read_answer(peer)).words == [7, 8]


# ------------------------------------------------------------------- questions, models


async def test_it_says_what_it_is() -> None:
    engine = EngineConfig(model="main", models="other.en", engine="oracle")
    config = Config(engine=engine)
    async with running(config) as server, client(server) as peer:
        await peer.write_event(Describe().event())
        event = await peer.read_event()
        assert event is not None
        [program] = Info.from_event(event).asr
    names = {model.name: model.languages for model in program.models}
    assert names["other.en"] == ["en"]
    assert "de" in names["main"] and names["main"] == sorted(names["main"])
    assert not program.requires_external_vad


async def test_a_ping_is_answered_in_the_middle_of_audio() -> None:
    async with running() as server, client(server) as peer:
        await say(peer, COMMAND[:8000], stop=False)
        await peer.write_event(Ping("still there?").event())
        event = await peer.read_event()
        assert event is not None and event.type == "pong"
        assert event.data == {"text": "still there?"}
        await say(peer, COMMAND[8000:], start=False)
        assert (await read_answer(peer)).words == [1, 2, 3]


async def test_events_of_other_services_are_passed_over() -> None:
    async with running() as server, client(server) as peer:
        await peer.write_event(Event("select-program", {"name": "x"}))
        await peer.write_event(Event("synthesize", {"text": "x"}, b"1234"))
        await say(peer, COMMAND)
        assert (await read_answer(peer)).words == [1, 2, 3]


async def test_names_reach_the_engine_as_hotwords(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    engine = OracleEngine(Behaviour(), max_batch=4)
    plain = engine.transcribe

    async def transcribe(batch: list) -> object:  # type: ignore[type-arg]
        seen.extend(request.options.hotwords for request in batch)
        return await plain(batch)

    monkeypatch.setattr(engine, "transcribe", transcribe)
    asked = Transcribe(transcript_names=["Anna"], transcript_terms=["lamp"])
    async with running(engine=engine) as server:
        await whole(server, COMMAND, asked=asked)
    assert set(seen) == {"Anna, lamp"}


# ---------------------------------------------------------------- places, access, drain


async def test_its_commands_take_places_like_everybody() -> None:
    async with running(quick(max_sessions=1)) as server, client(server) as first:
        await say(first, COMMAND, stop=False)
        await first.write_event(Ping("taken in").event())
        assert await first.read_event() is not None
        answer = await whole(server, COMMAND)
        assert answer.error == "capacity"
        assert answer.types == ["error", "closed"]
        await say(first, SILENCE, start=False)
        assert (await read_answer(first)).words == [1, 2, 3]
        page = server.metrics.render().decode()
    assert 'whisper_live_sessions_rejected_total{reason="capacity"} 1.0' in page


async def test_keys_are_the_websockets_alone(tmp_path: object) -> None:
    keys = f"{tmp_path}/keys"
    with open(keys, "w", encoding="utf-8") as file:
        file.write("anna 0123456789abcdef\n")
    config = Config(
        listen=quick().listen, batch=quick().batch, access=AccessConfig(keys_file=keys)
    )
    async with running(config) as server:
        assert (await whole(server, COMMAND)).words == [1, 2, 3]


async def test_only_networks_that_are_allowed_may_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from whisper_live.server.wyoming import listener

    monkeypatch.setattr(listener, "is_loopback", lambda address: False)
    async with running(allow="192.168.0.0/16") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.wyoming_port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.transport.abort()
        page = server.metrics.render().decode()
    assert 'whisper_live_sessions_rejected_total{reason="network"} 1.0' in page
    async with running(allow="192.168.0.0/16,127.0.0.0/8") as server:
        assert (await whole(server, COMMAND)).words == [1, 2, 3]


async def test_a_command_is_finished_when_the_server_stops() -> None:
    async with running() as server, client(server) as peer:
        await say(peer, COMMAND, stop=False)
        await say(peer, SILENCE, start=False, stop=False)
        await peer.write_event(Ping("all of it").event())
        assert await peer.read_event() is not None
        closing = asyncio.create_task(server.close())
        answer = await read_answer(peer)
        assert answer.words == [1, 2, 3]
        assert await peer.read_event() is None
        await closing


async def test_both_ports_share_what_they_serve_with() -> None:
    async with running() as server:
        over_websocket, answer = await asyncio.gather(
            websocket_session(server, TWO), whole(server, COMMAND)
        )
    assert over_websocket.words == [1, 2, 3, 4, 5]
    assert answer.words == [1, 2, 3]


def test_other_machines_need_insecure() -> None:
    from whisper_live.config.model import WyomingConfig

    wyoming = WyomingConfig(wyoming_port=10300, wyoming_host="0.0.0.0")
    with pytest.raises(ConfigError, match="--insecure"):
        check_wyoming(Config(wyoming=wyoming))
    check_wyoming(Config(wyoming=wyoming, access=AccessConfig(insecure=True)))
    check_wyoming(Config(wyoming=WyomingConfig(wyoming_port=10300)))
    with pytest.raises(ConfigError, match="wyoming-allow: .* must be an address"):
        Config(wyoming=WyomingConfig(wyoming_allow="home"))
