"""``whisper-live doctor``: whether the daemon could be served here, and what to do.

Looks and tells; downloads, loads and changes nothing.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from whisper_live import __version__
from whisper_live.config.model import Config
from whisper_live.errors import ConfigError, WhisperLiveError
from whisper_live.text.counted import counted

__all__ = ["run"]

PACKAGE = "whisper_live"
DISTRIBUTION = "whisper-live-daemon"
LIBRARIES = ("ctranslate2", "faster-whisper", "onnxruntime", "websockets", "av")
UNIT = "whisper-live.service"

Check = Callable[[Config], Iterator[tuple[str, str]]]


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Print a line for each finding; 0 if nothing keeps ``serve`` from working."""
    is_bad = False
    for name, check in CHECKS.items():
        try:
            for mark, text in check(config):
                is_bad |= mark == "bad"
                print(f"{mark:<5}{name:<10}{text}")
        except (WhisperLiveError, OSError, ImportError) as error:
            is_bad = True
            print(f"{'bad':<5}{name:<10}{error}")
    return 1 if is_bad else 0


def _versions(config: Config) -> Iterator[tuple[str, str]]:
    versions = [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    python = platform.python_version()
    yield "ok", f"{__version__}, Python {python}, {', '.join(versions)}"


def _package(config: Config) -> Iterator[tuple[str, str]]:
    """Upstream's package on PyPI has the same import name."""
    owners = set(metadata.packages_distributions().get(PACKAGE, ())) | {DISTRIBUTION}
    for other in sorted(owners - {DISTRIBUTION}):
        yield "bad", f"{other} also installs {PACKAGE}: pip uninstall {other}"
    if len(owners) == 1:
        yield "ok", f"nobody else installs {PACKAGE}"


def _model(config: Config) -> Iterator[tuple[str, str]]:
    if config.engine.engine == "oracle":
        yield "warn", "the oracle is a test instrument and hears no speech"
        return
    from whisper_live.inference import model_files as models
    from whisper_live.inference.ctranslate2 import devices
    from whisper_live.inference.model_folder import describe
    from whisper_live.server.checks import check_models

    check_models(config.engine)
    name = config.engine.model
    if name == models.AUTO:
        try:
            device = devices.choose(config.engine).device
        except ConfigError:
            return  # the next check says so
        name, found = models.auto_wants(device), models.look_auto(config.engine, device)
        if found.name != name:
            yield "warn", (
                f"auto: {name} is not here; the first start downloads it, or uses "
                f"{found.name} ({found.source}) where the hub cannot be reached"
            )
            return
    else:
        here = models.look(config.engine)
        if here is None:
            yield "warn", f"{name} is not here; the first start downloads it"
            return
        found = here
    if not found.source.startswith("package"):  # those are known by their hash
        describe(found.path)
    yield "ok", f"{found.name}, {found.source}: {found.path}"


def _device(config: Config) -> Iterator[tuple[str, str]]:
    if config.engine.engine == "oracle":
        return
    from whisper_live.inference.ctranslate2 import devices

    place = devices.choose(config.engine)
    yield "ok", f"{place.device} {place.compute_type}; {place.reason}"


def _access(config: Config) -> Iterator[tuple[str, str]]:
    from whisper_live.server.access import is_loopback, open_to_others
    from whisper_live.server.certificate import secret_of
    from whisper_live.server.checks import check_exposure, check_secrets

    access, host = config.access, config.listen.host
    check_secrets(access)
    for secret in (access.keys_file, access.tls_cert and secret_of(access)):
        if secret and (fault := open_to_others(Path(secret))):
            yield "warn", fault
    check_exposure(access, config.listen)
    if is_loopback(host):
        yield "ok", f"{host} is reached from this machine alone"
    elif access.keys_file and access.tls_cert:
        yield "ok", f"{host} asks for keys, over TLS"
    else:
        yield "warn", f"{host} is reached from outside without keys and TLS"


def _port(config: Config) -> Iterator[tuple[str, str]]:
    from whisper_live.server.checks import (
        PORT_TAKEN,
        check_distinct,
        check_free,
        ports,
    )

    wanted = list(ports(config))
    for port in wanted:
        try:
            check_free(port)
        except ConfigError as error:
            if error.kind != PORT_TAKEN:
                raise
            yield "warn", str(error)  # perhaps by the daemon itself
        else:
            host, number = port.listen.host, port.listen.port
            any_free = f"any free port of {host or 'every address'} will do"
            yield "ok", f"{port.listen.place} is free" if number else any_free
    if not config.listen.http_port:
        yield "ok", "the HTTP port is off"
    check_distinct(wanted)


def _wyoming(config: Config) -> Iterator[tuple[str, str]]:
    from whisper_live.server.access import is_loopback
    from whisper_live.server.checks import check_wyoming

    check_wyoming(config)
    wyoming = config.wyoming
    if not wyoming.wyoming_port:
        yield "ok", "Home Assistant's port is off"
    elif is_loopback(wyoming.wyoming_host):
        yield "ok", f"{wyoming.place} is reached from this machine alone"
    elif not wyoming.wyoming_allow:
        yield "warn", f"{wyoming.place} is open to who can reach it: --wyoming-allow"
    else:
        yield "ok", f"{wyoming.place} is for {wyoming.wyoming_allow}"


def _files(config: Config) -> Iterator[tuple[str, str]]:
    from whisper_live.server.process_limits import most_open_files, session_files

    files, limits = most_open_files(), config.limits
    needed = session_files(limits.max_sessions)
    sessions = counted(limits.max_sessions, "session")
    readers = limits.max_room_readers if config.access.rooms != "off" else 0
    if files < needed:
        yield "warn", f"{files} open files are few: ulimit -n {needed}, or the unit"
    elif (left := files - needed) < readers:
        enough = f"ulimit -n {needed + readers}, or the unit"
        yield "warn", f"{files} open files leave {left} readers of rooms: {enough}"
    else:
        yield "ok", f"{files} open files for {sessions}"


def _unit(config: Config) -> Iterator[tuple[str, str]]:
    if shutil.which("systemctl") is None:
        yield "ok", "no systemd on this machine"
        return
    command = ["systemctl", "cat", UNIT]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        yield "warn", f"{UNIT} is not installed: {_units() / 'README.md'} says how"
    else:
        yield "ok", f"{UNIT} is installed"


def _units() -> Path:
    """Where the units lie: beside an installed package, else in its repository."""
    installed = Path(sysconfig.get_path("data"), "share", "whisper-live", "systemd")
    return installed if installed.is_dir() else Path("systemd")


CHECKS: dict[str, Check] = {
    "versions": _versions,
    "package": _package,
    "model": _model,
    "device": _device,
    "access": _access,
    "port": _port,
    "wyoming": _wyoming,
    "files": _files,
    "unit": _unit,
}
