"""Tells the network of the port (zeroconf), so that Home Assistant shows it as found.

Only a port that others can reach is told of.  What goes wrong is said in the log and
keeps nobody from being served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

from zeroconf import get_all_addresses  # type: ignore[attr-defined]  # in no __all__
from zeroconf import InterfaceChoice, IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from whisper_live.config.model import WyomingConfig
from whisper_live.protocols.wyoming.info import NAME
from whisper_live.server.access import is_loopback

__all__ = ["SERVICE", "announced"]

logger = logging.getLogger("whisper_live.server")

SERVICE = "_wyoming._tcp.local."
_EVERY_ADDRESS = ("", "0.0.0.0", "::")


@contextlib.asynccontextmanager
async def announced(
    config: WyomingConfig, *, interfaces: InterfaceChoice | list[str] | None = None
) -> AsyncIterator[None]:
    """The port is told of within the block; ``interfaces`` are all unless given."""
    telling = asyncio.create_task(_announce(config, interfaces or InterfaceChoice.All))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _announce(
    config: WyomingConfig, interfaces: InterfaceChoice | list[str]
) -> None:
    """Tell, and take it back when cancelled; asking whether the name is free takes 1 s.

    Nobody waits for it.
    """
    try:
        async with contextlib.AsyncExitStack() as stack:
            zeroconf = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
            stack.push_async_callback(zeroconf.async_close)
            info = await _service(config)
            await zeroconf.async_register_service(info, allow_name_change=True)
            stack.push_async_callback(zeroconf.async_unregister_all_services)
            logger.info("announced as %s", info.name)
            await asyncio.Event().wait()
    except Exception as error:  # the network's, or the library's
        logger.warning("Home Assistant's port is not announced: %s", error)


async def _service(config: WyomingConfig) -> AsyncServiceInfo:
    machine = socket.gethostname().partition(".")[0]
    return AsyncServiceInfo(
        SERVICE,
        f"{NAME} {machine}.{SERVICE}",
        addresses=[ip_address(each).packed for each in await _addresses(config)],
        port=config.wyoming_port,
        server=f"{machine}.local.",
    )


async def _addresses(config: WyomingConfig) -> list[str]:
    """Where others reach the port; raises ``OSError`` where nowhere."""
    if config.wyoming_host in _EVERY_ADDRESS:
        found = [each for each in get_all_addresses() if not is_loopback(each)]
    else:
        loop = asyncio.get_running_loop()
        known = await loop.getaddrinfo(config.wyoming_host, None)
        found = list(dict.fromkeys(str(address[0]) for *_, address in known))
    if not found:
        raise OSError("this machine has no address in a network")
    return found
