"""What can be known of the settings before a model is loaded, and without the network.

A model takes seconds to load, or minutes to download: nobody should learn only then
that a file cannot be read or that the port is taken.  ``serve`` stops at the first
fault, ``doctor`` tells them all.
"""

from __future__ import annotations

import errno
import importlib.util
import itertools
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whisper_live.config.model import AccessConfig, Config, EngineConfig, ListenConfig
from whisper_live.errors import ConfigError
from whisper_live.inference import model_files as models
from whisper_live.server.access import is_loopback, read_keys
from whisper_live.server.certificate import load_pair
from whisper_live.server.recorder import check_directory

__all__ = [
    "PORT_TAKEN",
    "Port",
    "check_all",
    "check_distinct",
    "check_exposure",
    "check_free",
    "check_models",
    "check_secrets",
    "check_wyoming",
    "ports",
]

PORT_TAKEN = "port_taken"


def check_all(config: Config, listener: socket.socket | None = None) -> None:
    """All of the checks; ``listener`` is a socket that is there already, not to bind.

    Raises ``ConfigError`` for the first fault.
    """
    check_exposure(config.access, config.listen, listener)
    check_secrets(config.access)
    check_wyoming(config)
    wanted = list(ports(config, listener))
    for port in wanted:
        check_free(port)
    check_distinct(wanted)
    if config.log.record:
        check_directory(config.log.record)
    check_models(config.engine)


def check_exposure(
    access: AccessConfig, listen: ListenConfig, listener: socket.socket | None = None
) -> None:
    """Nobody serves other machines unguarded without having said so."""
    host = listen.host
    if listener is not None:  # then systemd has decided
        is_unix = listener.family == socket.AF_UNIX
        host = "localhost" if is_unix else listener.getsockname()[0]
    hosts = [host, listen.host] if listen.http_port else [host]
    if all(map(is_loopback, hosts)) or access.insecure:
        return
    host = next(each for each in hosts if not is_loopback(each))
    if not (access.keys_file and access.tls_cert):
        raise ConfigError(
            f"{host or 'every address'} can be reached from other machines: give "
            "--keys-file and --tls-cert, or --insecure if a proxy or the network "
            "protects it"
        )


def check_wyoming(config: Config) -> None:
    """Home Assistant's port can be served, and nobody else reaches it by accident."""
    wyoming = config.wyoming
    if not wyoming.wyoming_port:
        return
    if not (is_loopback(wyoming.wyoming_host) or config.access.insecure):
        raise ConfigError(
            f"{wyoming.wyoming_host or 'every address'} can be reached from other "
            "machines, and Wyoming has neither keys nor TLS: give --insecure if the "
            "network protects it, and --wyoming-allow with your network"
        )
    for package in ("wyoming", "zeroconf"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"wyoming-port needs the package {package}: "
                "pip install 'whisper-live-daemon[wyoming]'"
            )


def check_secrets(access: AccessConfig) -> None:
    """Keys and certificate can be read and used."""
    if access.keys_file:
        read_keys(Path(access.keys_file))
    if access.tls_cert:
        load_pair(access)


@dataclass(frozen=True, slots=True)
class Port:
    """A port that the daemon is to listen on."""

    setting: str  # its name
    listen: ListenConfig  # its address, as ``host`` and ``port``
    advice: str  # for whom it is taken


def ports(config: Config, listener: socket.socket | None = None) -> Iterator[Port]:
    """Those that the settings ask for; ``listener`` is there already, not to bind."""
    listen, wyoming = config.listen, config.wyoming
    if listener is None:
        yield Port(
            "port",
            listen,
            f"whisper-live status --port {listen.port} says whether a daemon has it; "
            "or give another --port",
        )
    if listen.http_port:
        place = replace(listen, port=max(listen.http_port, 0))
        yield Port("http-port", place, "give another --http-port, or 0 for none")
    if wyoming.wyoming_port:
        place = ListenConfig(wyoming.wyoming_host, wyoming.wyoming_port)
        advice = "give another --wyoming-port, or 0 for none"
        yield Port("wyoming-port", place, advice)


def check_free(port: Port) -> None:
    """The address can be bound, as asyncio will do it later.

    The error is of the kind ``PORT_TAKEN`` where somebody has it.
    """
    try:
        for family, kind, protocol, _, address in _places(port.listen):
            _bind(socket.socket(family, kind, protocol), address)
    except OSError as error:
        what = f"cannot listen on {port.listen.place}: {error.strerror}"
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(what) from error
        raise ConfigError(f"{what}; {port.advice}", kind=PORT_TAKEN) from error


def check_distinct(wanted: list[Port]) -> None:
    """No two of them are the same: each alone could be had."""
    for one, other in itertools.combinations(wanted, 2):
        same = one.listen.port == other.listen.port != 0
        if same and _overlap(one.listen, other.listen):
            raise ConfigError(
                f"{one.setting} and {other.setting} are both {one.listen.port}: give "
                f"another --{other.setting}, or 0 for none"
            )


def _overlap(one: ListenConfig, other: ListenConfig) -> bool:
    hosts = [{place[4][0] for place in _places(each)} for each in (one, other)]
    is_everywhere = any(not {"0.0.0.0", "::"}.isdisjoint(each) for each in hosts)
    return is_everywhere or not hosts[0].isdisjoint(hosts[1])


def _places(listen: ListenConfig) -> Sequence[tuple[Any, ...]]:
    return socket.getaddrinfo(
        listen.host or None,
        listen.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )


def _bind(sock: socket.socket, address: object) -> None:
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)  # type: ignore[arg-type]  # its form is the family's


def check_models(engine: EngineConfig) -> None:
    """Each model's name means something; loading shows whether it can be had."""
    if engine.engine == "oracle":
        return
    if engine.model != models.AUTO:
        models.check_name(engine)
    for name, revision in engine.further_models.items():
        models.check_name(replace(engine, model=name, revision=revision))
