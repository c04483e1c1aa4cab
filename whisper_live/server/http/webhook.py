"""Brings an upload's text to where its client wants it, on hosts that are allowed.

One request, no redirects, a bounded time: whoever does not take it has lost it, and the
log says so.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp

from whisper_live.observability.metrics import Metrics

__all__ = ["deliver"]

logger = logging.getLogger("whisper_live.server")

_TIMEOUT_S = 10.0


async def deliver(
    url: str, text: str, content_type: str, *, upload: str, metrics: Metrics
) -> None:
    """Post it; raises nothing but ``CancelledError``."""
    headers = {"Content-Type": content_type, "X-Upload-Id": upload}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
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
