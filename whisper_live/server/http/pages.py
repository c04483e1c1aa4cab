"""The files of the pages that people open in a browser.

Owns what is served of them and with which headers.  All of it is read once: a path that
a client names is looked up among those files and never in a file system.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath

from aiohttp import ETag, web

__all__ = ["Pages"]

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
# A page may load its own files and speak with its own server, and nothing else.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Kept, and asked about each time: a new server has its new page at once.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    """One file as it is sent; ``tag`` changes with what is in it."""

    body: bytes
    content_type: str
    tag: str


class Pages:
    """All files of the pages, by name."""

    def __init__(self) -> None:
        folder = resources.files("whisper_live") / "data" / "page"
        self._files = {
            entry.name: _file(entry.name, entry.read_bytes())
            for entry in folder.iterdir()
        }

    def answer(self, request: web.Request, name: str) -> web.Response:
        """One of the files, or that the browser has it already."""
        file = self._files[name]
        headers = {**_HEADERS, "ETag": f'"{file.tag}"'}
        known = request.if_none_match or ()
        if any(tag in (ETag(file.tag), ETag("*")) for tag in known):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = file.content_type
        return web.Response(body=file.body, headers=headers)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name that a page may load."""
        return name in self._files and not name.endswith(".html")


def _file(name: str, body: bytes) -> _File:
    tag = hashlib.sha256(body).hexdigest()[:32]
    return _File(body, _TYPES[PurePath(name).suffix], tag)
