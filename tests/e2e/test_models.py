"""Several models behind one socket: oracles that each hear another language."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.e2e.support import client, quick, running, whole_session
from tests.engine.models import model_folder, sentences
from whisper_live.config.model import Config
from whisper_live.errors import EngineUnavailable
from whisper_live.inference.engine import Engine
from whisper_live.inference.types import Outcome, Request, RequestKind
from whisper_live.server import connection
from whisper_live.server.process import FurtherModels
from whisper_live.testing.marks import read_numbers, write_speech
from whisper_live.testing.oracle import Behaviour, OracleEngine
from whisper_live.vad.silero import SileroModel

SPEECH = write_speech([[1, 2, 3], [4]], pause_s=0.8)[0]


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.05)


class Oracle(OracleEngine):
    """Hears one language, and says when it is unloaded."""

    def __init__(self, language: str) -> None:
        super().__init__(Behaviour(language=language), languages=(language, "en"))
        self.closed = asyncio.Event()

    async def close(self) -> None:
        await super().close()
        self.closed.set()


class Lost(OracleEngine):
    async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        raise EngineUnavailable("CUDA failed with error", kind="device_lost")


class Shelf:
    """The loader: what it loaded, in order; each load waits at ``gate``."""

    def __init__(self, size_mb: int = 0, **models: Callable[[], Engine]) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()  # the first load
        self.loads: list[str] = []
        self._size_bytes = size_mb * 1_000_000
        self._models = models

    def size_bytes(self, name: str) -> int:
        return self._size_bytes

    def load(self, name: str) -> Engine:
        self.loads.append(name)
        self.begun.set()
        assert self.gate.wait(30)
        return self._models[name]()


def offering(
    names: str, *, memory_mb: int = 0, idle_s: float = 600.0, **limits: int
) -> Config:
    config = quick(**limits)
    engine = dataclasses.replace(
        config.engine, models=names, model_memory_mb=memory_mb, model_idle_s=idle_s
    )
    return dataclasses.replace(config, engine=engine)


def choosing(**settings: Any) -> Config:
    config = quick()
    return dataclasses.replace(
        config, engine=dataclasses.replace(config.engine, **settings)
    )


def german() -> Oracle:
    return Oracle("de")


def french() -> Oracle:
    return Oracle("fr")


@pytest.mark.parametrize(
    ("asked", "heard"),
    [("german", "de"), ("french", "fr"), ("small", "en"), ("../x", "en"), (None, "en")],
)
async def test_who_asks_for_an_offered_model_gets_it_and_others_the_main_one(
    asked: str | None, heard: str
) -> None:
    shelf = Shelf(german=german, french=french)
    async with running(offering("german, french"), loader=shelf) as server:
        peer = await whole_session(server, SPEECH, model=asked, language="")
    assert peer.messages[1]["language"] == heard
    assert peer.words == [1, 2, 3, 4]
    assert peer.socket.close_code == 1000


async def test_without_the_setting_the_servers_model_always_wins() -> None:
    shelf = Shelf(german=german)
    async with running(quick(), loader=shelf) as server:
        peer = await whole_session(server, SPEECH, model="german", language="")
    assert peer.messages[1]["language"] == "en"
    assert shelf.loads == []


async def test_models_work_side_by_side_and_each_is_loaded_once() -> None:
    shelf = Shelf(german=german, french=french)
    async with running(offering("german,french"), loader=shelf) as server:
        peers = await asyncio.gather(
            *[
                whole_session(server, SPEECH, model=name, language="")
                for name in ("german", "french", "small") * 3
            ]
        )
        page = server.metrics.render()
    assert [p.messages[1]["language"] for p in peers] == ["de", "fr", "en"] * 3
    assert all(peer.words == [1, 2, 3, 4] for peer in peers)
    assert sorted(shelf.loads) == ["french", "german"]
    assert b'whisper_live_model_events_total{event="loaded"} 2.0' in page
    assert b'whisper_live_model_engine_up{model="german"} 1.0' in page


async def test_a_load_keeps_nobody_else_waiting_and_loses_no_audio() -> None:
    shelf = Shelf(german=german)
    shelf.gate.clear()
    config = offering("german")
    async with running(config, loader=shelf) as server, client(server) as waiting:
        await waiting.hello(model="german", language="")
        await waiting.say(SPEECH, chunk=len(SPEECH) // 4)  # before it is ready
        await waiting.end()
        other = await whole_session(server, SPEECH, language="")
        assert other.words == [1, 2, 3, 4]
        assert waiting.messages == []
        shelf.gate.set()
        assert await waiting.rest() == 1000
    assert waiting.messages[0]["message"] == "SERVER_READY"
    assert waiting.messages[1]["language"] == "de"
    assert waiting.words == [1, 2, 3, 4]


async def test_a_model_that_cannot_be_loaded_is_told_and_harms_nobody() -> None:
    shelf = Shelf()  # has none of them
    config = offering("broken", max_sessions=2)
    async with running(config, loader=shelf) as server, client(server) as speaker:
        await speaker.hello()
        await speaker.next()
        for turn in range(2):  # the place is free again, and the load is tried again
            async with client(server) as peer:
                await peer.hello(model="broken")
                assert await peer.rest() == 1011
                assert peer.messages == [
                    {
                        "uid": "u",
                        "status": "ERROR",
                        "message": "Failed to load model: broken",
                    }
                ]
            assert len(shelf.loads) == turn + 1
        await speaker.say(SPEECH)
        await speaker.end()
        assert await speaker.rest() == 1000
        assert speaker.words == [1, 2, 3, 4]
        page = server.metrics.render()
    assert b'sessions_rejected_total{reason="model_load"} 2.0' in page
    assert b'model_events_total{event="failed"} 2.0' in page


async def test_a_refused_client_that_stays_on_takes_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 60.0)
    config = offering("broken", max_sessions=1)
    async with running(config, loader=Shelf()) as server, client(server) as refused:
        await refused.hello(model="broken")
        assert (await refused.next())["status"] == "ERROR"
        peer = await whole_session(server, SPEECH)
        assert peer.words == [1, 2, 3, 4]


async def test_memory_is_taken_from_idle_models_and_from_no_other() -> None:
    first = german()
    shelf = Shelf(60, german=lambda: first, french=french)
    config = offering("german,french", memory_mb=100)
    async with running(config, loader=shelf) as server:
        async with client(server) as speaker:
            await speaker.hello(model="german")
            await speaker.next()
            async with client(server) as late:
                await late.hello(model="french")
                assert (await late.next())["status"] == "WAIT"
                assert await late.rest() == 1013
            assert not first.closed.is_set()
            await speaker.end()
            assert await speaker.rest() == 1000
        peer = await whole_session(server, SPEECH, model="french", language="")
        assert first.closed.is_set()
        page = server.metrics.render()
    assert peer.messages[1]["language"] == "fr"
    assert shelf.loads == ["german", "french"]
    assert b'sessions_rejected_total{reason="model_memory"} 1.0' in page
    assert b'model="german"' not in page and b'model="french"' in page


async def test_a_model_larger_than_the_bound_is_not_worth_waiting_for() -> None:
    shelf = Shelf(101, german=german)
    config = offering("german", memory_mb=100)
    async with running(config, loader=shelf) as server, client(server) as peer:
        await peer.hello(model="german")
        assert await peer.rest() == 1011
    assert peer.messages[0]["message"] == "Failed to load model: german"
    assert shelf.loads == []


async def test_an_idle_model_is_unloaded_and_comes_back_when_asked_for() -> None:
    engines = [german(), german()]
    shelf = Shelf(german=iter(engines).__next__)
    config = offering("german", idle_s=0.01)
    async with running(config, loader=shelf) as server:
        for turn in (0, 1):
            peer = await whole_session(server, SPEECH, model="german")
            assert peer.words == [1, 2, 3, 4]
            await engines[turn].closed.wait()
    assert shelf.loads == ["german", "german"]


async def test_who_leaves_during_a_load_frees_the_place_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engines = [german(), german()]
    shelf = Shelf(german=iter(engines).__next__)
    shelf.gate.clear()
    config = offering("german", idle_s=0.01, max_sessions=1)
    async with running(config, loader=shelf) as server:
        async with client(server) as leaving:
            await leaving.hello(model="german")
            assert await asyncio.to_thread(shelf.begun.wait, 30)
            async with client(server) as late:  # who waits has a place
                await late.hello()
                assert (await late.next())["status"] == "WAIT"
        peer = await whole_session(server, SPEECH)
        assert peer.words == [1, 2, 3, 4]
        shelf.gate.set()
        await engines[0].closed.wait()  # the load was finished, and nobody uses it
        peer = await whole_session(server, SPEECH, model="german")
        assert peer.words == [1, 2, 3, 4]
    assert shelf.loads == ["german", "german"]
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


async def test_the_server_stops_in_the_middle_of_a_load() -> None:
    shelf = Shelf(german=german)
    shelf.gate.clear()
    async with running(offering("german"), loader=shelf) as server:
        async with client(server) as peer:
            await peer.hello(model="german")
            assert await asyncio.to_thread(shelf.begun.wait, 30)
            await server.close()
            assert await peer.rest() == 1012
            assert peer.messages == []
    shelf.gate.set()


async def test_a_chosen_language_is_judged_by_the_chosen_model() -> None:
    shelf = Shelf(french=french)
    async with running(offering("french"), loader=shelf) as server:
        async with client(server) as peer:
            await peer.hello(model="french", language="de")
            assert await peer.rest() == 1008
            assert "language" in peer.messages[0]["message"]
        peer = await whole_session(server, SPEECH, model="small", language="de")
        assert peer.words == [1, 2, 3, 4]


async def test_a_language_can_have_a_model_of_its_own() -> None:
    shelf = Shelf(german=german)
    config = choosing(model_for_language="de=german")
    async with running(config, loader=shelf) as server:
        for language, loads in (("en", []), ("", []), ("de-AT", ["german"])):
            peer = await whole_session(server, SPEECH, language=language)
            assert peer.words == [1, 2, 3, 4]
            assert shelf.loads == loads


async def test_the_final_pass_can_have_a_model_of_its_own() -> None:
    heard: list[Request] = []

    class Accurate(Oracle):
        async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome]:
            heard.extend(batch)
            return await super().transcribe(batch)

    accurate = Accurate("en")
    shelf = Shelf(accurate=lambda: accurate)
    config = choosing(final_model="accurate", model_idle_s=0.01)
    async with running(config, loader=shelf) as server:
        await whole_session(server, SPEECH)
        assert shelf.loads == []  # not before somebody wants it
        peer = await whole_session(server, SPEECH, final_pass=True)
        await accurate.closed.wait()  # nobody uses it any more
    assert peer.words == [1, 2, 3, 4] and peer.socket.close_code == 1000
    assert read_numbers(peer.messages[-1]["final_transcript"]["text"]) == [1, 2, 3, 4]
    assert {request.kind for request in heard} == {RequestKind.BACKGROUND}


async def test_without_its_model_the_final_pass_is_read_by_the_sessions_own() -> None:
    async with running(choosing(final_model="broken"), loader=Shelf()) as server:
        peer = await whole_session(server, SPEECH, final_pass=True)
    assert read_numbers(peer.messages[-1]["final_transcript"]["text"]) == [1, 2, 3, 4]
    assert peer.socket.close_code == 1000


async def test_a_device_lost_to_one_model_is_lost_to_the_server() -> None:
    shelf = Shelf(lost=Lost)
    async with running(offering("lost"), loader=shelf) as server:
        await whole_session(server, SPEECH, model="lost")
        assert server.worker.lost.is_set()


async def test_a_real_model_beside_the_main_one() -> None:
    folder = str(model_folder())
    text, audio = sentences()[0]
    config = offering(folder, memory_mb=2000)
    detector = SileroModel().detector
    loader = FurtherModels(config)
    async with running(config, loader=loader, detector=detector) as server:
        peer = await whole_session(server, audio, model=folder)
        page = server.metrics.render()
    heard = "".join(peer.completed.values()).strip(" .").lower()
    assert heard == text.strip(" .").lower()
    assert b'event="loaded"} 1.0' in page
