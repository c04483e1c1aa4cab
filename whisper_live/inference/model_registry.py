"""The models that clients may choose from: the main one, and further ones by name.

Owns the further models: loads one when the first client asks for it, in a thread and
one at a time, runs a worker for it, and unloads it when it has been idle for long or
its memory is wanted.  What goes is ``model_cache``'s to decide.  The main model and its
worker are the server's.  Knows no sockets, and not how a model is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from whisper_live.config.model import Config
from whisper_live.errors import EngineUnavailable, Overloaded, WhisperLiveError
from whisper_live.inference.engine import Engine
from whisper_live.inference.futures import settle
from whisper_live.inference.model_cache import ModelCache
from whisper_live.inference.worker import Worker
from whisper_live.observability.metrics import Metrics

__all__ = ["Loader", "Model", "ModelRegistry"]

logger = logging.getLogger("whisper_live.engine")

_WAIT_MINUTES = 1.0  # told to who finds all memory in use; sessions end unforeseeably

Result = TypeVar("Result")


class Loader(Protocol):
    """How a further model gets into memory.  Both block, in a thread of the registry.

    Both raise whatever they like: the model then counts as one that cannot be loaded.
    """

    def size_bytes(self, name: str) -> int:
        """What the model will take, estimated before it is loaded."""

    def load(self, name: str) -> Engine:
        """The model, loaded and run once."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded model, as a session uses it."""

    name: str  # as the operator wrote it; "" for the main one
    worker: Worker
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    """A further model with what it needs to be unloaded again."""

    model: Model
    engine: Engine
    run: asyncio.Task[None]


class ModelRegistry:
    """Gives sessions their models; everything here happens on the loop thread."""

    def __init__(
        self, config: Config, *, main: Model, metrics: Metrics, loader: Loader | None
    ) -> None:
        """Without a ``loader`` there is the main model alone."""
        self._config = config
        self._main = main
        self._metrics = metrics
        self._loader = loader
        engine = config.engine
        self._offered = engine.offered_models if loader else frozenset[str]()
        self._by_language = engine.language_models if loader else {}
        self._final = engine.final_pass_model if loader else ""
        self._cache = ModelCache(
            most_bytes=config.engine.model_memory_mb * 1_000_000,
            idle_s=config.engine.model_idle_s,
        )
        self._running: dict[str, _Running] = {}
        self._arrivals: dict[str, asyncio.Task[Model]] = {}
        self._changing = asyncio.Lock()  # held while a model comes or goes
        self._sweep: asyncio.Task[None] | None = None  # unloads idle models
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    # -------------------------------------------------------------- for connections

    @property
    def names(self) -> list[str]:
        """What clients may ask for, the main model first."""
        return [self._config.engine.model, *sorted(self._offered)]

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that the main model knows."""
        return self._main.languages

    def choose(self, asked: str | None, language: str | None = None) -> str:
        """The name of the model that a client gets which asks for this one.

        An offered one that it asks for by name comes first, then the operator's choice
        for its language.  The main one, "", for whatever is not offered: that is
        WhisperLive's answer where the server has a model of its own.
        """
        if asked is not None and asked in self._offered:
            return asked
        named = self._by_language.get(language or "", "")
        return "" if named == self._config.engine.model else named

    @contextlib.asynccontextmanager
    async def for_final_pass(
        self, own: Model, *, session: str, language: str | None
    ) -> AsyncIterator[Model]:
        """The model that reads a session's recording once more; released at the end.

        ``own`` is the session's model, and the answer where no other is set, where it
        cannot be had now, and where it does not know ``language`` (None: detected).
        """
        model = own
        if self._final and self._final != (own.name or self._config.engine.model):
            try:
                model = await self.hold(self._final)
            except (Overloaded, EngineUnavailable) as error:
                logger.warning("the final pass is read by the session's own: %s", error)
        if model is not own and not _understands(model, language):
            self.release(model)
            model = own
        try:
            yield model
        finally:
            if model is not own:
                model.worker.forget(session)
                self.release(model)

    def queue_delay_s(self, name: str) -> float:
        """How long live requests to this model wait for a call these days."""
        if not name:
            return self._main.worker.queue_delay_s
        running = self._running.get(name)
        return running.model.worker.queue_delay_s if running else 0.0

    async def hold(self, name: str) -> Model:
        """A model of ``choose``'s for one more session, loaded if need be.

        To be followed by ``release`` if it returns, and not if it raises or is
        cancelled; the model is loaded to the end all the same, for the next one.
        Raises ``Overloaded`` where those in use leave no memory for it and
        ``EngineUnavailable`` where it cannot be loaded.
        """
        if not name:
            return self._main
        self._cache.hold(name)
        try:
            running = self._running.get(name)
            return running.model if running else await self._arrival(name)
        except BaseException:
            self._release(name)
            raise

    def release(self, model: Model) -> None:
        """The session that held the model has ended."""
        if model.name:
            self._release(model.name)

    # ------------------------------------------------------------------- for the server

    async def close(self) -> None:
        """Unload all further models; outcomes of open requests are delivered first."""
        self._is_closed = True
        self._set_timer()
        arrivals = list(self._arrivals.values())
        for arrival in arrivals:
            arrival.cancel()
        await asyncio.gather(*arrivals, return_exceptions=True)
        if self._sweep is not None:
            await self._sweep
        for name in list(self._running):
            await self._unload(name, "shutting down")

    # ---------------------------------------------------------------- coming and going

    def _release(self, name: str) -> None:
        self._cache.release(name, now=self._loop.time())
        self._set_timer()

    async def _arrival(self, name: str) -> Model:
        """Wait for a model that is not there; all who ask for it wait for one load."""
        arrival = self._arrivals.get(name)
        if arrival is None:
            arrival = asyncio.create_task(self._arrive(name), name=f"loading {name}")
            self._arrivals[name] = arrival
            arrival.add_done_callback(lambda task: self._arrived(name, task))
        await asyncio.wait([arrival])  # and if we are cancelled, the load goes on
        return arrival.result()

    def _arrived(self, name: str, arrival: asyncio.Task[Model]) -> None:
        del self._arrivals[name]
        if not arrival.cancelled():
            arrival.exception()  # seen, even if all who waited have left
        self._set_timer()

    async def _arrive(self, name: str) -> Model:
        loader = self._loader
        assert loader is not None, "without a loader nothing is offered"
        try:
            # Outside the lock: a slow download keeps no other model from its clients.
            size_bytes = await _in_thread(lambda: loader.size_bytes(name))
            async with self._changing:
                await self._make_room(name, size_bytes)
                engine = await _in_thread(lambda: loader.load(name))
                try:
                    return self._start(name, engine, size_bytes)
                except BaseException:
                    await engine.close()
                    raise
        except Overloaded:
            raise
        except Exception as error:
            # The edge of one model: whatever it was, only who wants it is told.
            is_bug = not isinstance(error, WhisperLiveError)
            logger.error("model %s: %s", name, error, exc_info=is_bug)
            self._metrics.model_changed("failed")
            raise EngineUnavailable(
                f"Failed to load model: {name}", kind="model_load"
            ) from None

    async def _make_room(self, name: str, size_bytes: int) -> None:
        """Unload what has to go for a model of this size."""
        if not self._cache.fits(size_bytes):
            raise EngineUnavailable(
                f"about {size_bytes / 1e6:.0f} MB are more than model-memory-mb allows"
            )
        # One at a time and asked again: while one goes another may be taken up.
        while going := self._cache.room(size_bytes):
            await self._unload(going[0], f"to make room for {name}")
        if going is None:
            raise Overloaded(
                "the other models in use leave no memory for this one",
                wait_minutes=_WAIT_MINUTES,
                kind="model_memory",
            )

    def _start(self, name: str, engine: Engine, size_bytes: int) -> Model:
        metrics = self._metrics.of_model(name)
        worker = Worker(engine, self._config.batch, metrics=metrics)
        # What takes a device from one model takes it from all: only a restart helps.
        worker.lost = self._main.worker.lost
        model = Model(name, worker, engine.info.languages)
        run = asyncio.create_task(worker.run(), name=f"worker of {name}")
        self._running[name] = _Running(model, engine, run)
        self._cache.loaded(name, size_bytes, now=self._loop.time())
        self._metrics.model_changed("loaded")
        logger.info("model %s is ready", name)
        return model

    async def _unload(self, name: str, why: str) -> None:
        """From here on nobody is given it; returns when its memory is free."""
        running = self._running.pop(name)
        self._cache.unloaded(name)
        logger.info("unloading model %s: %s", name, why)
        await running.model.worker.close()
        running.run.cancel()
        await asyncio.gather(running.run, return_exceptions=True)
        await running.engine.close()
        self._metrics.model_changed("unloaded")
        self._metrics.forget_model(name)

    # -------------------------------------------------------------------- idle models

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._cache.deadline()
        if deadline is not None and self._sweep is None and not self._is_closed:
            self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._sweep = asyncio.create_task(self._unload_expired())

    async def _unload_expired(self) -> None:
        try:
            async with self._changing:  # then somebody may have asked for it again
                while expired := self._cache.expired(now=self._loop.time()):
                    await self._unload(expired[0], "idle")
        finally:
            self._sweep = None
            self._set_timer()


def _understands(model: Model, language: str | None) -> bool:
    """A model of one language writes it whatever is said."""
    return language in model.languages if language else len(model.languages) > 1


async def _in_thread(job: Callable[[], Result]) -> Result:
    """What a blocking job returns or raises.

    In a daemon thread, for a download must not keep the process from exiting.
    """
    future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def work() -> None:
        try:
            result = job()
        except Exception as error:
            settle(future, None, error)
        else:
            settle(future, result, None)

    threading.Thread(target=work, name="loading", daemon=True).start()
    return await future
