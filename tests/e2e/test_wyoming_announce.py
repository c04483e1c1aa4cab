"""Home Assistant's port is found in the network, for as long as it is there."""

from __future__ import annotations

import asyncio

import pytest

from whisper_live.config.model import AccessConfig, Config, WyomingConfig
from whisper_live.server import process

pytest.importorskip("zeroconf", reason="pip install '.[wyoming]'")

from zeroconf import ServiceStateChange, Zeroconf  # noqa: E402
from zeroconf.asyncio import (  # noqa: E402
    AsyncServiceBrowser,
    AsyncServiceInfo,
    AsyncZeroconf,
)

from whisper_live.server.wyoming import announce  # noqa: E402
from whisper_live.server.wyoming.announce import SERVICE, announced  # noqa: E402

LOOPBACK = ["127.0.0.1"]


async def test_it_is_found_and_lost_again() -> None:
    changes: asyncio.Queue[tuple[ServiceStateChange, str]] = asyncio.Queue()

    def changed(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: object
    ) -> None:
        assert isinstance(state_change, ServiceStateChange)
        if name.startswith("whisper-live "):
            changes.put_nowait((state_change, name))

    config = WyomingConfig(wyoming_port=12345, wyoming_host="127.0.0.1")
    async with AsyncZeroconf(interfaces=LOOPBACK) as zeroconf:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[changed])
        async with announced(config, interfaces=LOOPBACK):
            change, name = await changes.get()
            assert change is ServiceStateChange.Added
            info = AsyncServiceInfo(SERVICE, name)
            assert await info.async_request(zeroconf.zeroconf, 3000)
            assert info.port == 12345
            assert info.parsed_addresses() == ["127.0.0.1"]
        while change is not ServiceStateChange.Removed:
            change, _ = await changes.get()
        await browser.async_cancel()


async def test_what_cannot_be_announced_is_served_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(**options: object) -> None:
        raise OSError("no such device")

    monkeypatch.setattr(announce, "AsyncZeroconf", fails)
    async with announced(WyomingConfig(wyoming_port=12345)):
        async with asyncio.timeout(5):
            while not caplog.records:
                await asyncio.sleep(0)
    assert "is not announced: no such device" in caplog.text


@pytest.mark.parametrize(
    ("host", "wanted", "is_told"),
    [("127.0.0.1", True, False), ("0.0.0.0", True, True), ("0.0.0.0", False, False)],
)
async def test_only_what_others_reach_is_announced(
    host: str, wanted: bool, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[WyomingConfig] = []
    monkeypatch.setattr(announce, "announced", told.append)
    wyoming = WyomingConfig(
        wyoming_port=10300, wyoming_host=host, wyoming_announce=wanted
    )
    process._announced(Config(wyoming=wyoming, access=AccessConfig(insecure=True)))
    assert bool(told) == is_told
