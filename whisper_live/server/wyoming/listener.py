"""Binds the port, lets in who may come, and keeps one link for each client."""

from __future__ import annotations

import asyncio
import logging
import socket

from whisper_live.config.model import WyomingConfig
from whisper_live.errors import ConfigError
from whisper_live.observability.session_log import log_refusal
from whisper_live.protocols.wyoming.events import MOST_HEADER_BYTES
from whisper_live.server.access import is_loopback, parsed_address
from whisper_live.server.wyoming.link import Host, Link

__all__ = ["Listener", "bind"]

logger = logging.getLogger("whisper_live.server")

# A peer that is gone without a word is found out after 30 + 3 * 10 s.
_TCP_KEEPALIVE = (
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


def bind(config: WyomingConfig) -> socket.socket:
    """Listen on the port; raises ``ConfigError`` where it cannot be had."""
    place = (config.wyoming_host, config.wyoming_port)
    is_v6 = ":" in config.wyoming_host
    try:
        listening = socket.create_server(
            place,
            family=socket.AF_INET6 if is_v6 else socket.AF_INET,
            backlog=128,
            dualstack_ipv6=config.wyoming_host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise ConfigError(
            f"cannot listen on wyoming-port {config.wyoming_port} of "
            f"{config.wyoming_host or 'every address'}: {error.strerror or error}"
        ) from error
    listening.setblocking(False)
    return listening


class Listener:
    """Listens on a bound socket, from ``start`` to ``close``."""

    def __init__(self, listening: socket.socket, host: Host) -> None:
        self._listening = listening
        self._host = host
        self._networks = host.config.wyoming.wyoming_networks
        self._links: dict[asyncio.Task[None], Link] = {}

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = self._listening.getsockname()[1]
        return port

    async def start(self) -> None:
        """Accept clients."""
        self._server = await asyncio.start_server(
            self._accept, sock=self._listening, limit=MOST_HEADER_BYTES
        )

    def stop(self) -> None:
        """Accept nobody any more; links go on."""
        self._server.close()

    async def close(self) -> None:
        """Cut every link, and wait until all are gone."""
        self.stop()
        for link in self._links.values():
            link.abort()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""  # it may be gone again
        if not self._may_come(address):
            self._host.refused("network")
            log_refusal(logger, "network", peer=address)
            writer.transport.abort()
            return
        for level, option, value in _TCP_KEEPALIVE:
            writer.get_extra_info("socket").setsockopt(level, option, value)
        link = Link(reader, writer, self._host, address=address)
        task = asyncio.create_task(link.run())
        self._links[task] = link
        task.add_done_callback(self._gone)

    def _may_come(self, address: str) -> bool:
        if not self._networks or is_loopback(address):
            return True
        parsed = parsed_address(address)
        return parsed is not None and any(parsed in known for known in self._networks)

    def _gone(self, task: asyncio.Task[None]) -> None:
        del self._links[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a Wyoming connection failed", exc_info=error)
