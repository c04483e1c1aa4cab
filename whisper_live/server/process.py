"""The process around a server: start, signals, systemd, exit code.

READY is said only after the engine has been loaded and run.  The watchdog is fed
only while the event loop and the engine make progress.  SIGTERM and SIGINT drain, a
second one cuts short; SIGHUP takes over changed keys, a changed certificate and the
settings of the log.  Before there is anything to drain, ``signals`` has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

from whisper_live.config.model import Config
from whisper_live.errors import ConfigError, WhisperLiveError
from whisper_live.inference import model_files as models
from whisper_live.inference.engine import Engine
from whisper_live.inference.memory import give_back_memory
from whisper_live.inference.model_folder import memory_bytes
from whisper_live.inference.pool import started_pool
from whisper_live.observability import log
from whisper_live.server import systemd
from whisper_live.server.access import is_loopback
from whisper_live.server.checks import check_all
from whisper_live.server.process_limits import (
    allow_open_files,
    check_room,
    session_files,
)
from whisper_live.server.server import Server
from whisper_live.server.signals import Signals, log_stopped
from whisper_live.text.counted import counted
from whisper_live.vad.silero import Detector
from whisper_live.vad.whisper_boost import speech_detectors

__all__ = ["ENGINE_LOST", "FurtherModels", "load_engine", "run"]

logger = logging.getLogger("whisper_live.server")

FAILED = 1  # exit code: a bug
ENGINE_LOST = 3  # exit code: the engine (a GPU) or what drives it is gone for good


def load_engine(
    config: Config, progress: Callable[[str], None], *, is_live: bool = True
) -> tuple[Engine, Callable[[], Detector]]:
    """The engine that was asked for, loaded and run once, and its speech detector.

    Where nobody waits for first words (``is_live`` False), it is run on a GPU alone and
    as little as shows that it works: libraries may be missing there.  Raises
    ``ConfigError`` or ``EngineUnavailable`` with one clear sentence.
    """
    if config.engine.engine == "oracle":
        from whisper_live.testing.oracle import OracleDetector, build_oracle

        return build_oracle(config), OracleDetector
    from whisper_live.inference.ctranslate2 import engine as local

    engine = local.load(
        config.engine, max_batch=config.batch.batch_size, progress=progress
    )
    check_room()
    if is_live:
        progress("running every shape of a call once")
        engine.warm_up(logger.debug)  # a line for each of some 20 shapes
    elif engine.info.device != "cpu":
        engine.warm_up(logger.debug, within_s=0.0)
    return engine, speech_detectors(config.speech)


class FurtherModels:
    """Loads the models that clients may ask for, as the main one is loaded."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def size_bytes(self, name: str) -> int:
        """The estimate; downloads the model first where that is needed."""
        engine = self._for(name).engine
        if engine.engine == "oracle":
            return 0
        return memory_bytes(models.resolve(engine, logger.info))

    def load(self, name: str) -> Engine:
        """As ``load_engine``."""
        return load_engine(self._for(name), logger.info)[0]

    def _for(self, name: str) -> Config:
        revision = self._config.engine.further_models[name]
        engine = replace(self._config.engine, model=name, revision=revision)
        return replace(self._config, engine=engine)


def run(config: Config, signals: Signals, reread: Callable[[], Config]) -> int:
    """Serve until told to stop; the exit code of the command.

    ``signals`` have been entered, and the log is set up.  ``reread`` gives the settings
    as they are now, for SIGHUP.  Raises ``ConfigError`` where the settings cannot be
    served.
    """
    listener = systemd.inherited_socket()
    check_all(config, listener)
    limits = config.limits
    allow_open_files(session_files(limits.max_sessions) + limits.max_room_readers)
    try:
        return _load_and_serve(config, signals, listener, reread)
    except WhisperLiveError:
        raise  # one line, which is the command line's to print
    except Exception:
        logger.critical("the daemon failed", exc_info=True)
        return FAILED


def _load_and_serve(
    config: Config,
    signals: Signals,
    listener: socket.socket | None,
    reread: Callable[[], Config],
) -> int:
    systemd.notify("STATUS=loading the model")
    with contextlib.ExitStack() as loading:
        wyoming = loading.enter_context(_described(config))
        engine, detector = load_engine(config, logger.info)
        if config.engine.model == models.AUTO and engine.info.weights:
            # From here on it is as if the model had been named: in the records of
            # sessions, and where --models or --final-model name the same one.
            chosen = replace(config.engine, model=engine.info.model)
            config = replace(config, engine=chosen)
        serving = _serve(
            config, signals, engine, detector, listener, wyoming, reread, loading.close
        )
        return asyncio.run(serving)


@contextlib.contextmanager
def _described(config: Config) -> Iterator[socket.socket | None]:
    """Home Assistant's port, where it is wanted; asked about itself it answers."""
    if not config.wyoming.wyoming_port:
        yield None
        return
    from whisper_live.server.wyoming.early import answering

    with answering(config) as listening:
        yield listening


def _announced(config: Config) -> contextlib.AbstractAsyncContextManager[None]:
    """Tell the network of Home Assistant's port, where it is to be found there."""
    wyoming = config.wyoming
    if not (wyoming.wyoming_port and wyoming.wyoming_announce) or is_loopback(
        wyoming.wyoming_host
    ):
        return contextlib.nullcontext()
    from whisper_live.server.wyoming.announce import announced

    return announced(wyoming)


async def _serve(
    config: Config,
    signals: Signals,
    engine: Engine,
    detector: Callable[[], Detector],
    listener: socket.socket | None,
    wyoming: socket.socket | None,
    reread: Callable[[], Config],
    is_open: Callable[[], None],
) -> int:
    """``is_open`` is called when the server listens; the exit code of the command."""
    server = Server(
        config,
        engine=engine,
        detector=detector,
        listener=listener,
        wyoming=wyoming,
        loader=FurtherModels(config),
        at_rest=give_back_memory,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # For what may take seconds and nobody waits for: one such job at a time.
    loop.set_default_executor(started_pool(1, "aside"))
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, _stop, stop, server)
    loop.add_signal_handler(signal.SIGHUP, _reload, server, reread)
    signals.hand_over()
    watchdog = asyncio.create_task(_feed_watchdog(config, server))
    # What is loaded by now stays: collections during service need not look at it.
    gc.collect()
    gc.freeze()
    async with server:
        is_open()
        async with _announced(config):
            _announce(config, engine, server)
            lost = asyncio.create_task(server.worker.lost.wait())
            told = asyncio.create_task(stop.wait())
            await asyncio.wait(
                {lost, told, watchdog}, return_when=asyncio.FIRST_COMPLETED
            )
            systemd.notify("STOPPING=1\nSTATUS=draining")
            logger.info("stopping")
            for task in (lost, told):
                task.cancel()
    log_stopped(signals.began)
    if watchdog.done():
        logger.error("the watchdog is fed no more", exc_info=watchdog.exception())
        return ENGINE_LOST
    watchdog.cancel()
    if server.worker.lost.is_set():
        logger.error("the engine is lost; a restart may bring it back")
        return ENGINE_LOST
    return 0


def _announce(config: Config, engine: Engine, server: Server) -> None:
    info = engine.info
    logger.info(
        "model %s%s on %s %s: %s at a time, %s each",
        info.model,
        f" ({info.weights})" if info.weights else "",
        info.device,
        info.compute_type,
        counted(info.workers, "call"),
        counted(min(config.batch.batch_size, info.max_batch), "row"),
    )
    if info.is_demo:
        logger.warning("the demo model knows a few hundred words; not for real use")
    if server.http_port:
        secure = "https" if config.access.tls_cert else "http"
        place = replace(config.listen, port=server.http_port).place
        logger.info("OpenAI's API, pages and sockets on %s://%s", secure, place)
    scheme = "wss" if config.access.tls_cert else "ws"
    line = f"listening on {scheme}://{server.address}"
    print(log.as_line(config.log, line), flush=True)
    if config.wyoming.wyoming_port:
        logger.info("Home Assistant's port is %s", config.wyoming.place)
    systemd.notify("READY=1\nSTATUS=listening")


def _stop(stop: asyncio.Event, server: Server) -> None:
    if stop.is_set():
        logger.warning("told twice: not waiting for sessions")
        server.cut_short()
    stop.set()


def _reload(server: Server, reread: Callable[[], Config]) -> None:
    """Take over whatever has changed; what cannot be used holds up nothing else."""
    parts: list[Callable[[], None]] = [
        server.reload_keys,
        server.reload_certificate,
        lambda: log.setup(reread().log),
    ]
    failed = False
    for take_over in parts:
        try:
            take_over()
        except ConfigError as error:
            failed = True
            logger.error("not everything was read again: %s", error)
    if not failed:
        logger.info("keys, certificate and log settings read again")


async def _feed_watchdog(config: Config, server: Server) -> None:
    """Tell systemd that we live, as long as the engine does as well; never returns."""
    period = systemd.watchdog_s()
    if period is None:
        await asyncio.Event().wait()
        return
    loop = asyncio.get_running_loop()
    longest = config.batch.request_timeout_s
    while True:
        if loop.time() - server.worker.progress_at <= longest:
            systemd.notify("WATCHDOG=1")
        else:
            logger.error("an engine call hangs; systemd may restart us")
            systemd.notify("STATUS=an engine call hangs")
        await asyncio.sleep(period / 3)
