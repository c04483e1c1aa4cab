"""Brings an upload's text to where its client wants it, on hosts that are allowed.

One request, no redirects, a bounded time: whoever does not take it has lost it, and the
log says so.  A name that leads to this machine is followed only where it is
``localhost``: who may change where a name leads could reach what listens here alone.
"""

from __future__ import annotations

import asyncio
import logging
import socket

import aiohttp
from aiohttp.abc import ResolveResult

from whisper_live.observability.metrics import Metrics
from whisper_live.server.access import parsed_address

__all__ = ["deliver"]

logger = logging.getLogger("whisper_live.server")

_TIMEOUT_S = 10.0


async def deliver(
    url: str, text: str, content_type: str, *, upload: str, metrics: Metrics
) -> None:
    """Post it; raises nothing but ``CancelledError``."""
    headers = {"Content-Type": content_type, "X-Upload-Id": upload}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(resolver=_Resolver())
    try:
        async with aiohttp.ClientSession(
            timeout=timeout, connector=connector
        ) as session:
            async with session.post(
                url, data=text.encode(), headers=headers, allow_redirects=False
            ) as answer:
                if answer.status < 300:
                    return
                what = f"status {answer.status}"
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        what = type(error).__name__  # its text may hold the URL, and that a secret
    metrics.error("webhook")
    logger.warning("the webhook of upload %s failed: %s", upload, what)


class _Resolver(aiohttp.ThreadedResolver):
    """The addresses of a name, but for those that no name may lead to.

    Nobody asks it where the URL has an address.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        if host == "localhost":
            return found
        allowed = [each for each in found if not _is_local(each["host"])]
        if not allowed:
            raise OSError("the name leads to this machine")
        return allowed


def _is_local(text: str) -> bool:
    """Whether an address is this machine's own, or a cloud's page about it."""
    address = parsed_address(text.partition("%")[0])
    return address is None or (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
    )
