"""A form with a file on its way in: its fields, and its bytes in a spool.

Owns the bounds of what strangers send: how much, in how many parts, and how slowly.
Must not know what the fields mean, nor what the file is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from whisper_live.config.model import LimitConfig
from whisper_live.errors import LimitExceeded
from whisper_live.offline.spool import Spool
from whisper_live.protocols.openai_rest import RequestError

__all__ = ["Upload", "read_upload"]

_FILE = "file"
_MOST_PARTS = 100  # a client of OpenAI sends at most some twenty
# Boundaries and headers, which are read line by line; 100 parts have some 400.  aiohttp
# passes over anything before the first boundary, without a pause: a megabyte of empty
# lines there held everybody up for three seconds.
_MOST_LINES = 2_000
_MOST_FIELD_BYTES = 16_384  # of a prompt 4,096 characters are used
_MOST_FORM_BYTES = 1 << 20  # of all that is not the file
_CHUNK_BYTES = 1 << 16
# A phone with a bad connection sends some 5 kB/s, one that only wants to keep a place
# as little as it may.
_SLOWEST_BYTES_PER_S = 1_000


@dataclass(slots=True)
class Upload:
    """What came; ``close`` it when it has been read."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    spool: Spool = field(default_factory=Spool)
    has_file: bool = False

    def close(self) -> None:
        """The bytes are gone."""
        self.spool.close()


async def read_upload(request: web.Request, limits: LimitConfig) -> Upload:
    """The whole form; raises ``ClientError`` for what is none, or too much of one."""
    most = limits.max_upload_bytes
    if (request.content_length or 0) > most + _MOST_FORM_BYTES:
        raise _too_large(most)
    if request.content_type != "multipart/form-data":
        raise RequestError(
            "The body must be multipart/form-data.", status=415, code="content_type"
        )
    upload = Upload()
    try:
        await _Body(request, limits).read_into(upload)
    except (HttpProcessingError, ValueError, RuntimeError, AssertionError) as error:
        # What aiohttp raises for a form that breaks off or is none.
        upload.close()
        raise RequestError("The form cannot be read.", code="bad_form") from error
    except BaseException:
        upload.close()
        raise
    return upload


class _Body:
    """Reads one request's parts, no longer than a slow peer may take for them."""

    def __init__(self, request: web.Request, limits: LimitConfig) -> None:
        self._request = request
        self._limits = limits
        self._began_at = asyncio.get_running_loop().time()

    async def read_into(self, upload: Upload) -> None:
        body = cast(StreamReader, _Lines(self._request.content))
        parts = MultipartReader(self._request.headers, body)
        for _ in range(_MOST_PARTS + 1):
            async with self._patience():
                part = await parts.next()
            if part is None:
                break
            if not isinstance(part, BodyPartReader) or not part.name:
                raise ValueError("a form's parts have names and no parts of their own")
            if part.name == _FILE:
                await self._read_file(part, upload)
            else:
                upload.fields.append((part.name, await self._read_field(part)))
        else:
            raise RequestError(
                f"The form has more than {_MOST_PARTS} parts.", code="too_many_parts"
            )
        if not upload.has_file:
            raise RequestError("There is no file in the form.", param=_FILE)

    async def _read_file(self, part: BodyPartReader, upload: Upload) -> None:
        if upload.has_file:
            raise RequestError("There is more than one file in the form.", param=_FILE)
        upload.has_file = True
        while chunk := await self._next(part):
            if upload.spool.size + len(chunk) > self._limits.max_upload_bytes:
                raise _too_large(self._limits.max_upload_bytes)
            upload.spool.add(chunk)

    async def _read_field(self, part: BodyPartReader) -> str:
        value = b""
        while chunk := await self._next(part):
            value += chunk
            if len(value) > _MOST_FIELD_BYTES:
                raise RequestError(
                    f"A field is longer than {_MOST_FIELD_BYTES} bytes.",
                    status=413,
                    code="field_too_long",
                )
        return value.decode()

    async def _next(self, part: BodyPartReader) -> bytes:
        async with self._patience():
            return bytes(await part.read_chunk(_CHUNK_BYTES))

    def _patience(self) -> _Patience:
        received = self._request.content.total_bytes
        grace_s = self._limits.handshake_timeout_s
        return _Patience(self._began_at + grace_s + received / _SLOWEST_BYTES_PER_S)


class _Lines:
    """A body, of which only so many lines are read one by one."""

    def __init__(self, body: StreamReader) -> None:
        self._body = body
        self._lines = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    async def readline(self, **given: Any) -> bytes:
        self._lines += 1
        if self._lines > _MOST_LINES:
            raise RequestError("The form has too many lines.", code="too_many_lines")
        return await self._body.readline(**given)


class _Patience:
    """A timeout whose end is the client's doing."""

    def __init__(self, until: float) -> None:
        self._timeout = asyncio.timeout_at(until)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *what: object) -> None:
        try:
            await self._timeout.__aexit__(*what)  # type: ignore[arg-type]
        except TimeoutError:
            raise RequestError(
                "The body comes too slowly.", status=408, code="too_slow"
            ) from None


def _too_large(most: int) -> LimitExceeded:
    return LimitExceeded(
        f"The file is larger than {most} bytes.", kind="file_too_large"
    )
