"""Who may connect: keys, Origin and Host.

Decides from the upgrade request alone, except for browsers, which cannot set a header
and may bring their token in the first message.  Keys are compared in constant time
and never logged; a caller is known by the name that its key has in the file.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from whisper_live.config.model import AccessConfig, ListenConfig
from whisper_live.errors import ConfigError
from whisper_live.text.counted import counted

__all__ = [
    "JUDGED_HEADERS",
    "NO_KEYS",
    "UNIX_PEER",
    "Access",
    "Caller",
    "Denied",
    "is_loopback",
    "open_to_others",
    "parsed_address",
    "read_keys",
    "shown_key",
]

logger = logging.getLogger("whisper_live.server")

UNIX_PEER = "local"  # stands for the address of who comes over a Unix socket
# What proxies add to a request; the address is taken from the first.
_FORWARDED = ("X-Forwarded-For", "X-Real-IP", "Forwarded")
JUDGED_HEADERS = ("Origin", "Host", "Authorization", *_FORWARDED)

NO_KEYS = "no_keys"  # the kind of error where a file has none
_FEWEST_KEY_CHARS = 16  # 96 bits, if they are random

_ONE_HOST_BITS = 64  # what the smallest network of IPv6 is given

_OPENAI_KEY = "openai-insecure-api-key."  # a subprotocol, as OpenAI's pages show keys

_EXTENSIONS = ("chrome-extension://", "moz-extension://", "safari-web-extension://")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as it is known.  ``key_name`` is None until a key was shown."""

    address: str
    key_name: str | None

    @property
    def place(self) -> str:
        """What counts as one address: of IPv6 the /64, of which one host may use all.

        But not of addresses that are valid on a link alone: all its hosts share one.
        """
        address = parsed_address(self.address)
        if not isinstance(address, IPv6Address) or address.is_link_local:
            return self.address
        return str(IPv6Network((int(address), _ONE_HOST_BITS), strict=False))


class Denied(Exception):
    """The upgrade is refused with this status; ``kind`` labels the metric."""

    def __init__(self, status: HTTPStatus, kind: str, address: str) -> None:
        super().__init__(kind)
        self.status = status
        self.kind = kind
        self.address = address  # the client's, as in ``Caller``


class Access:
    """The rules of one server; ``reload`` takes a changed key file over."""

    def __init__(self, config: AccessConfig, listen: ListenConfig) -> None:
        self._config = config
        self._keys: dict[str, bytes] = {}
        self._origins = _listed(config.allowed_origins)
        self._hosts = {
            "localhost",
            socket.gethostname().lower(),
            listen.host.lower(),
            *_listed(config.allowed_hosts),
        }
        self._proxies = config.proxy_networks
        self.reload()

    @property
    def needs_key(self) -> bool:
        """Whether a caller must show a key."""
        return bool(self._config.keys_file)

    def has_key(self, name: str | None) -> bool:
        """Whether a key of this name is in force."""
        return name in self._keys

    def reload(self) -> None:
        """Read the key file again; raises ``ConfigError`` and keeps the old keys."""
        if self._config.keys_file:
            path = Path(self._config.keys_file)
            self._keys = read_keys(path)
            if fault := open_to_others(path):
                logger.warning("%s", fault)
            logger.info("%s in force", counted(len(self._keys), "key"))

    def check(
        self,
        path: str,
        headers: Mapping[str, str],
        offered: Sequence[str],
        peer: str,
        *,
        vouched: str | None = None,
    ) -> Caller:
        """Judge an upgrade request; ``offered`` are its subprotocols.

        ``vouched`` is the name of a key whose holder stands for who asks.  Raises
        ``Denied``: 403 for a foreign Origin, 401 for a wrong key.
        """
        address = self._address(peer, headers.get("X-Forwarded-For", ""))
        if kind := self._foreign(headers.get("Origin"), headers.get("Host", "")):
            raise Denied(HTTPStatus.FORBIDDEN, kind, address)
        if not self.needs_key:
            return Caller(address, None)
        if vouched is not None:
            return Caller(address, vouched)
        shown = shown_key(path, headers, offered)
        if shown is None:
            return Caller(address, None)  # the first message may bring it
        name = self.key_name(shown)
        if name is None:
            raise Denied(HTTPStatus.UNAUTHORIZED, "wrong_key", address)
        return Caller(address, name)

    def check_metrics(
        self, path: str, headers: Mapping[str, str], peer: str, own: str
    ) -> None:
        """Raises ``Denied`` where ``may_see_metrics`` says no."""
        if self.may_see_metrics(path, headers, peer, own):
            return
        address = self._address(peer, headers.get("X-Forwarded-For", ""))
        if not self.needs_key:
            raise Denied(HTTPStatus.FORBIDDEN, "metrics", address)
        has_shown = shown_key(path, headers, ()) is not None
        kind = "wrong_key" if has_shown else "metrics"
        raise Denied(HTTPStatus.UNAUTHORIZED, kind, address)

    def may_see_metrics(
        self, path: str, headers: Mapping[str, str], peer: str, own: str
    ) -> bool:
        """Whether ``/metrics`` is for who asks: this machine, or the holder of a key.

        ``own`` is the address of this machine that was called.
        """
        if self._config.metrics_public or self._is_local(headers, peer, own):
            return True
        shown = shown_key(path, headers, ()) if self.needs_key else None
        return shown is not None and self.key_name(shown) is not None

    def _is_local(self, headers: Mapping[str, str], peer: str, own: str) -> bool:
        """Whether the request was made on this machine, and by no proxy for another.

        Nor by a page whose name was rebound to this machine: its own requests for
        pages come without an Origin, but name its host.
        """
        if (host := headers.get("Host")) and not self._is_own(host):
            return False
        if not self._is_proxy(peer) and any(name in headers for name in _FORWARDED):
            return False
        address = self._address(peer, headers.get("X-Forwarded-For", ""))
        return address in (UNIX_PEER, _address_alone(own)) or is_loopback(address)

    def key_name(self, shown: str) -> str | None:
        """The name of a key, or None if it is not one of ours."""
        found = None
        try:
            given = shown.encode("utf-8", "surrogateescape")  # as headers are decoded
        except UnicodeEncodeError:
            return None
        for name, key in self._keys.items():  # all of them: no early way out
            if hmac.compare_digest(key, given):
                found = name
        return found

    def _foreign(self, origin: str | None, host: str) -> str:
        """What of an upgrade is not ours: a page's origin or its host; "" for nothing.

        Browsers always send Origin; a page elsewhere must not reach this server.  A
        rebound DNS name gives an Origin equal to the Host, so the Host must be one of
        ours as well.
        """
        if origin is None or origin.startswith(_EXTENSIONS):
            return ""
        if origin.lower() in self._origins or "*" in self._origins:
            return ""
        try:
            same = urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            same = False
        if not same:
            return "foreign_origin"
        return "" if self._is_own(host) else "foreign_host"

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this machine by an address or a known name."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        is_known = name in self._hosts or "*" in self._hosts
        return is_known or parsed_address(name) is not None

    def _address(self, peer: str, forwarded: str) -> str:
        """The client's address; a trusted proxy's word is taken for it."""
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        peer = _address_alone(peer)
        while hops and self._is_proxy(peer):
            peer = _address_alone(hops.pop())
        return peer

    def _is_proxy(self, address: str) -> bool:
        if address == UNIX_PEER:
            return self._config.trusts_unix
        parsed = parsed_address(address)
        return parsed is not None and any(parsed in known for known in self._proxies)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    address = parsed_address(host)
    return host == "localhost" or address is not None and address.is_loopback


def parsed_address(address: str) -> IPv4Address | IPv6Address | None:
    """The address; an IPv4 one where a dual-stack socket shows it as ``::ffff:…``."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _address_alone(hop: str) -> str:
    """``hop`` without the port that some proxies add; each address in one spelling.

    What is no address (``unknown``) stays as it is.
    """
    host = hop.strip('"')
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    address = parsed_address(host)
    return hop if address is None else str(address)


def _listed(setting: str) -> list[str]:
    return [item.strip().lower() for item in setting.split(",") if item.strip()]


def shown_key(
    path: str, headers: Mapping[str, str], offered: Sequence[str]
) -> str | None:
    """The key in the header, the subprotocols or the query, in this order."""
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    if len(offered) > 1 and offered[0] == "bearer":
        return offered[1]
    for name in offered:
        if name.startswith(_OPENAI_KEY):
            return name.removeprefix(_OPENAI_KEY)
    # Not by urlsplit, which takes the path "//[" for a host and raises.
    tokens = parse_qs(path.partition("?")[2].partition("#")[0]).get("token")
    return tokens[0] if tokens else None


def open_to_others(path: Path) -> str:
    """What to do where others than its owner and group can read or change a secret.

    "" where they cannot.
    """
    with contextlib.suppress(OSError):  # who reads it finds out
        if path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            return f"{path} is open to others: chmod 600 {path}"
    return ""


def read_keys(path: Path) -> dict[str, bytes]:
    """The keys in a file, by name; raises ``ConfigError``.

    Lines are ``name key``; a line that begins with ``#`` is a comment.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"cannot read the key file {path}: there is none; whisper-live key NAME "
            f"--keys-file {path} makes it"
        ) from error
    except OSError as error:
        what = f"cannot read the key file {path}: {error.strerror}"
        raise ConfigError(what) from error
    except UnicodeError as error:
        what = f"cannot read the key file {path}: it is no text in UTF-8"
        raise ConfigError(what) from error
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            name, key = _key_of(line)
            if name in keys:
                raise ValueError(f"{name} has a key already")
            if key in keys.values():
                raise ValueError("another name has this key")
        except ValueError as error:  # which quotes no key
            raise ConfigError(f"{path}, line {number}: {error}") from None
        keys[name] = key
    if not keys:
        raise ConfigError(f"the key file {path} has no keys", kind=NO_KEYS)
    if not text.endswith("\n"):  # a key that is being written is a shorter one
        raise ConfigError(f"{path}: the last line lacks its line break; is it whole?")
    return keys


def _key_of(line: str) -> tuple[str, bytes]:
    fields = line.split()
    if len(fields) != 2:
        raise ValueError("expected 'name key'; comments have lines of their own")
    name, key = fields
    if len(key) < _FEWEST_KEY_CHARS:
        raise ValueError(
            f"the key of {name} has fewer than {_FEWEST_KEY_CHARS} characters"
        )
    return name, key.encode()
