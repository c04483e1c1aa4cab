"""Three daemons behind HAProxy: restarts, a kill and a reload cost no client a word."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.e2e.support import Client
from tests.e2e.test_resume import speech
from tests.faults.fleet import HAPROXY, Speaker, running_fleet
from tests.faults.process import wait_until

# FLEET_SESSIONS=60 was held as well; most of the time goes into starting daemons.
SESSIONS = int(os.environ.get("FLEET_SESSIONS", "20"))
FAULTS = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy"),
]


def test_the_configuration_is_valid() -> None:
    checked = subprocess.run(
        ["haproxy", "-c", "-f", str(HAPROXY)], capture_output=True, text=True
    )
    assert checked.returncode == 0 and "WARNING" not in checked.stderr, checked


@pytest.mark.timeout(400)
async def test_restarts_a_kill_and_a_reload_cost_no_word(tmp_path: Path) -> None:
    gates = [asyncio.Event() for _ in range(FAULTS + 1)]
    speakers, said = [], []
    async with running_fleet(tmp_path, "--max-queue-delay-s", "0") as fleet:
        for number in range(SESSIONS):
            samples, words = speech(number, random.Random(number), webm=False)
            url = f"ws://127.0.0.1:{fleet.proxy.port}/?session=random-{number}"
            speakers.append(Speaker(url, samples, gates))
            said.append(words)

        async def all_wait_at(gate: int) -> None:
            await wait_until(
                lambda: all(one.waits_at == gate for one in speakers), within_s=60
            )

        async with asyncio.TaskGroup() as group:
            for one in speakers:
                group.create_task(one.run())
            for gate, name in enumerate(("one", "two", "three"), 1):
                await all_wait_at(gate)
                await fleet.restart(name)
                gates[gate - 1].set()
            await all_wait_at(4)
            await fleet.restart("two", signal.SIGKILL)
            gates[3].set()
            await all_wait_at(5)
            await fleet.proxy.reload(SESSIONS)
            resumed = [one.resumed for one in speakers]
            for one in speakers:
                one.cut()
            await all_wait_at(5)
            # The new process knew where each one's session is.
            assert [one.resumed for one in speakers] == [n + 1 for n in resumed]
            gates[4].set()
            gates[5].set()
    assert [one.words for one in speakers] == said
    assert [one.failed for one in speakers] == [[]] * SESSIONS
    print(f"{sum(one.sessions for one in speakers)} sessions of {SESSIONS} speakers")


async def ready(port: int, name: str) -> tuple[Client, dict[str, object]]:
    """A client and the first message that it was sent."""
    url = f"ws://127.0.0.1:{port}/?session={name}"
    peer = Client(await connect(url))
    await peer.hello()
    return peer, await peer.next()


@pytest.mark.timeout(120)
async def test_a_full_daemon_leaves_clients_to_those_with_places(
    tmp_path: Path,
) -> None:
    async with running_fleet(tmp_path, "--max-sessions", "1") as fleet:
        # Its place is taken by somebody of whom the proxy does not know.
        guest, said = await ready(fleet.ports[0], "guest")
        assert said["message"] == "SERVER_READY"
        await fleet.proxy.state("one", "NOLB")
        peers = [await ready(fleet.proxy.port, f"peer-{n}") for n in range(2)]
        assert [said["message"] for _, said in peers] == ["SERVER_READY"] * 2
        await fleet.proxy.state("two", "NOLB")
        await fleet.proxy.state("three", "NOLB")
        late, said = await ready(fleet.proxy.port, "late")
        assert said["status"] == "WAIT"
        for peer, _ in [(guest, said), (late, said), *peers]:
            await peer.socket.close()
