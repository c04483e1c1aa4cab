"""One upload: its form is taken in, its file read in idle batch slots, and answered.

What an answer looks like is ``openai_rest``'s affair, how a file is read ``offline``'s,
and how many are under way the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
)
from concurrent.futures import Executor
from dataclasses import replace
from typing import TypeVar

from aiohttp import web

from whisper_live.audio import Samples, samples_to_s
from whisper_live.client.captions import RENDERERS, Captions
from whisper_live.client.subtitles import Layout
from whisper_live.errors import (
    EngineUnavailable,
    LimitExceeded,
    Overloaded,
    WhisperLiveError,
)
from whisper_live.inference.model_registry import Model
from whisper_live.inference.types import Task
from whisper_live.media.files import read_file
from whisper_live.offline.transcriber import Transcriber
from whisper_live.protocols import openai_rest as rest
from whisper_live.protocols.base import Message
from whisper_live.protocols.jsonl import JsonLines
from whisper_live.protocols.openai_rest import Result, Wishes
from whisper_live.server.fitting import fitted
from whisper_live.server.http.upload import Upload, read_upload
from whisper_live.server.http.webhook import deliver
from whisper_live.server.services import Services
from whisper_live.session.updates import Ending, Update
from whisper_live.session.window import UNREAD

__all__ = ["Job", "restarting"]

logger = logging.getLogger("whisper_live.server")

_CONTENT_TYPES = {
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "jsonl": "application/jsonl",
}


_JSON = "application/json; charset=utf-8"

Answer = TypeVar("Answer")


class Job:
    """One upload on its way."""

    def __init__(
        self,
        services: Services,
        pool: Executor,
        request: web.Request,
        *,
        name: str,
        is_abandoned: Callable[[], bool],
    ) -> None:
        """``is_abandoned`` tells whether it was cancelled because the server stops."""
        self.outcome = "finished"
        self._is_abandoned = is_abandoned
        self._is_being_read = False  # then whoever reads the file closes it
        self._services = services
        self._pool = pool
        self._request = request
        self.name = name
        self._result = Result()
        self._id = f"upload_{uuid.uuid4().hex}"  # for a webhook
        self._stopped = asyncio.Event()  # the server's end is here

    @property
    def heard_s(self) -> float:
        """Seconds of audio that were decoded."""
        return self._result.duration_s

    async def run(self, task: Task) -> web.StreamResponse:
        """The answer; its head may have been sent already."""
        limits = self._services.config.limits
        try:
            upload = await read_upload(self._request, limits)
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            logger.error("an upload cannot be kept: %s", error)
            raise EngineUnavailable("no room", kind="upload_disk") from error
        try:
            defaults = self._services.config.speech
            wishes = rest.read_wishes(upload.fields, task=task, defaults=defaults)
            if wishes.webhook_url:
                hosts = self._services.config.access.webhook_names
                rest.check_webhook(wishes, hosts)
                response = await self._answer_later(upload, wishes)
            else:
                response = await self._transcribe(upload, wishes, self._respond)
        finally:
            if not self._is_being_read:
                upload.close()
        return response

    async def _transcribe(
        self,
        upload: Upload,
        wishes: Wishes,
        answer: Callable[[AsyncIterator[Update], Wishes], Awaitable[Answer]],
    ) -> Answer:
        """Read it with a model that can; ``answer`` makes something of the updates."""
        async with self._model(wishes) as model:
            options, why = fitted(wishes.options, model)
            self._services.metrics.options_ignored(len(why))
            self._result.warnings = rest.warnings(why)
            wishes = replace(wishes, options=options)
            self._result.language = options.language
            reading = self._updates(upload, wishes, model)
            async with contextlib.aclosing(reading) as updates:
                return await answer(updates, wishes)

    @contextlib.asynccontextmanager
    async def _model(self, wishes: Wishes) -> AsyncIterator[Model]:
        registry = self._services.registry
        name = registry.choose(wishes.model, wishes.options.language)
        model = await registry.hold(name)
        try:
            yield model
        finally:
            registry.release(model)

    # ------------------------------------------------------------------------ reading

    async def _updates(
        self, upload: Upload, wishes: Wishes, model: Model
    ) -> AsyncGenerator[Update, None]:
        """What the recording says, in order; raises what reading it raises."""
        # As long as what an upload may hold says at most: some 100 KB an hour.
        told: asyncio.Queue[Update | None] = asyncio.Queue()

        async def read() -> None:
            try:
                await self._read(upload, wishes, model, told)
            finally:
                told.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            while (update := await told.get()) is not None:
                self._result.take(update)
                yield update
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(
        self,
        upload: Upload,
        wishes: Wishes,
        model: Model,
        told: asyncio.Queue[Update | None],
    ) -> None:
        services = self._services
        transcriber = Transcriber(
            services.config,
            model.worker,
            services.detector,
            ids=services.ids,
            pool=self._pool,
        )
        await transcriber.transcribe(
            self.name,
            self._samples(upload),
            wishes.options,
            told.put_nowait,
            heard=self._result.heard.extend,
        )

    def _samples(self, upload: Upload) -> Iterator[Samples]:
        """The file's audio; in a thread.  A small file may hold days of silence.

        Closes the file, which is still being read for a moment when the work on it is
        cancelled.
        """
        self._is_being_read = True
        most_s = self._services.config.limits.max_upload_s
        try:
            for piece in read_file(upload.spool.file):
                self._result.duration_s += samples_to_s(len(piece))
                if self._result.duration_s > most_s:
                    raise LimitExceeded(
                        f"The file has more than {most_s:g} s of audio.",
                        kind="file_too_long",
                    )
                yield piece
        finally:
            upload.close()

    # ---------------------------------------------------------------------- answering

    async def _respond(
        self, updates: AsyncIterator[Update], wishes: Wishes
    ) -> web.StreamResponse:
        if wishes.response_format == "jsonl":
            return await self._stream(updates, _Lines())
        if wishes.is_streamed:
            return await self._stream(updates, _Events(wishes, self._result))
        text, kind = await self._whole(updates, wishes)
        headers = {"Content-Type": kind, **self._warning}
        return web.Response(text=text, headers=headers)

    @property
    def _warning(self) -> dict[str, str]:
        """A header, for forms of answers that have no place for warnings too."""
        warnings = "; ".join(self._result.warnings)
        return {"X-Warning": warnings} if warnings else {}

    async def _whole(
        self, updates: AsyncIterator[Update], wishes: Wishes
    ) -> tuple[str, str]:
        """All of it, once it is there, and its content type."""
        captions = Captions(language=wishes.options.language)
        lines = _Lines()
        text = ""
        async for update in updates:
            captions.take(update)
            for span in update.dropped:
                if span.reason != UNREAD:  # no text must not look like silence
                    raise EngineUnavailable(span.reason, kind=span.reason)
            if wishes.response_format == "jsonl":
                text += lines.update(update)
        if wishes.response_format == "jsonl":
            return text + lines.end(), lines.content_type
        loop = asyncio.get_running_loop()
        # Hours of words take a second.
        return await loop.run_in_executor(self._pool, self._rendered, captions, wishes)

    def _rendered(self, captions: Captions, wishes: Wishes) -> tuple[str, str]:
        match wishes.response_format:
            case "json":
                return json.dumps(rest.json_body(self._result, wishes)), _JSON
            case "verbose_json":
                return json.dumps(rest.verbose_body(self._result, wishes)), _JSON
            case other:
                kind = f"{_CONTENT_TYPES[other]}; charset=utf-8"
                return RENDERERS[other](captions, Layout()), kind

    async def _answer_later(self, upload: Upload, wishes: Wishes) -> web.StreamResponse:
        """Say that it was taken, and bring the text to where it is wanted.

        The client may go away now, and does.
        """
        response = web.json_response({"id": self._id, "status": "accepted"}, status=202)
        response.force_close()  # nothing else is answered meanwhile
        await response.prepare(self._request)
        await response.write_eof()
        bringing = asyncio.create_task(self._bring(upload, wishes))
        own = asyncio.current_task()
        while not bringing.done():
            try:
                await asyncio.shield(bringing)
            except asyncio.CancelledError:
                if own is not None:
                    own.uncancel()
                if self._is_abandoned():
                    self._stopped.set()
        return response

    async def _bring(self, upload: Upload, wishes: Wishes) -> None:
        """Read it and post the text, or why there is none."""
        reading = asyncio.create_task(self._transcribe(upload, wishes, self._whole))
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait({reading, stopped}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if not reading.done():
                raise restarting()
            text, kind = reading.result()
        except WhisperLiveError as error:
            self.outcome = error.kind
            text, kind = json.dumps(rest.failure_of(error).body), _JSON
        except Exception as error:
            logger.error("an upload failed", exc_info=error)
            self._services.metrics.error("internal")
            self.outcome = "internal"
            failure = rest.failure_of(WhisperLiveError("internal error"))
            text, kind = json.dumps(failure.body), _JSON
        finally:
            for task in (reading, stopped):
                task.cancel()
            await asyncio.gather(reading, stopped, return_exceptions=True)
        await deliver(
            wishes.webhook_url,
            text,
            kind,
            upload=self._id,
            metrics=self._services.metrics,
        )

    async def _stream(
        self, updates: AsyncIterator[Update], form: _Lines | _Events
    ) -> web.StreamResponse:
        """Send what is known as it comes; an error at first is an ordinary answer."""
        response = web.StreamResponse(
            headers={
                **self._warning,
                "Content-Type": form.content_type,
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx would keep it to the end
            }
        )
        try:
            async for update in updates:
                await self._send(response, form.update(update))
            await self._send(response, form.end())
        except WhisperLiveError as error:
            if not response.prepared:
                raise
            self.outcome = error.kind
            await self._send(response, form.failed(error))
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if own is None or not response.prepared or not self._is_abandoned():
                raise
            own.uncancel()
            self.outcome = "draining"
            await self._send(response, form.failed(restarting()))
        await response.write_eof()
        return response

    async def _send(self, response: web.StreamResponse, text: str) -> None:
        """Raises ``ConnectionError`` where it is not read."""
        if not text:
            return
        if not response.prepared:
            await response.prepare(self._request)
        try:
            async with asyncio.timeout(self._services.config.limits.idle_timeout_s):
                await response.write(text.encode())
        except TimeoutError:
            raise ConnectionResetError("the answer is not read") from None


def restarting() -> Overloaded:
    """What an upload is told that the end of the server leaves without its text."""
    return Overloaded("restarting", wait_minutes=0.1, kind="draining")


class _Lines:
    """Updates as JSON lines."""

    content_type = _CONTENT_TYPES["jsonl"]

    def __init__(self) -> None:
        self._renderer = JsonLines()

    def update(self, update: Update) -> str:
        return self._joined(self._renderer.render(update))

    def end(self) -> str:
        return self._joined(self._renderer.end(Ending.FINISHED))

    def failed(self, error: WhisperLiveError) -> str:
        return rest.error_line(rest.failure_of(error))

    @staticmethod
    def _joined(messages: list[Message]) -> str:
        return "".join(f"{message.text}\n" for message in messages)


class _Events:
    """Updates as OpenAI's server-sent events."""

    content_type = "text/event-stream"

    def __init__(self, wishes: Wishes, result: Result) -> None:
        self._wishes = wishes
        self._result = result
        self._has_begun = False

    def update(self, update: Update) -> str:
        event = rest.delta_event(update, self._wishes, is_first=not self._has_begun)
        self._has_begun |= bool(event)
        return event

    def end(self) -> str:
        for span in self._result.dropped:
            if span.reason != UNREAD:
                raise EngineUnavailable(span.reason, kind=span.reason)
        return rest.done_event(self._result, self._wishes)

    def failed(self, error: WhisperLiveError) -> str:
        return rest.error_event(rest.failure_of(error))
