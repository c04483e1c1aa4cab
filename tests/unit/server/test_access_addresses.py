"""Whose address counts behind proxies, and who may see the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whisper_live.config.model import AccessConfig, Config, ListenConfig
from whisper_live.config.sources import build_config
from whisper_live.errors import ConfigError
from whisper_live.server.access import UNIX_PEER, Access, Caller

KEY = "s3cret-key-of-alice"
OWN = "192.168.0.2"


def access(**settings: Any) -> Access:
    return Access(AccessConfig(**settings), ListenConfig())


def guarded(folder: Path, **settings: Any) -> Access:
    keys = folder / "keys"
    keys.write_text(f"alice {KEY}\n", "utf-8")
    return access(keys_file=str(keys), **settings)


# -------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        ("10.0.0.0/8", "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        # A dual-stack socket shows IPv4 peers as IPv6; so may the setting.
        ("10.0.0.1", "::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("::ffff:10.0.0.1", "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("::ffff:10.0.0.0/104", "::ffff:10.9.9.9", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"),
        ("", "::ffff:1.2.3.4", "", "1.2.3.4"),
        # Some proxies add the port, which differs with every connection.
        ("10.0.0.1", "10.0.0.1", "1.2.3.4:50123", "1.2.3.4"),
        ("10.0.0.1", "10.0.0.1", "[2001:DB8::1]:50123", "2001:db8::1"),
        ("10.0.0.1", "10.0.0.1", '"[2001:db8:0::1]"', "2001:db8::1"),
        ("10.0.0.1", "10.0.0.1", "2001:0db8::1", "2001:db8::1"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1", "1.2.3.4, 10.0.0.2:80", "1.2.3.4"),
        # A proxy on this machine may come over a Unix socket.
        ("unix", UNIX_PEER, "1.2.3.4", "1.2.3.4"),
        ("Unix,10.0.0.1", UNIX_PEER, "1.2.3.4, 10.0.0.1", "1.2.3.4"),
        # Who is not named is not believed.
        ("10.0.0.1", UNIX_PEER, "1.2.3.4", UNIX_PEER),
        ("", UNIX_PEER, "1.2.3.4", UNIX_PEER),
        ("10.0.0.1", "::ffff:10.0.0.2", "1.2.3.4", "10.0.0.2"),
        # What is no address is one name for all who send it.
        ("10.0.0.1", "10.0.0.1", "unknown", "unknown"),
        ("10.0.0.1", "10.0.0.1", "a:b:c", "a:b:c"),
        ("10.0.0.1", "10.0.0.1", "[x]:1", "[x]:1"),
        ("10.0.0.1", "10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_the_address_of_a_client(
    proxies: str, peer: str, forwarded: str, address: str
) -> None:
    rules = access(trusted_proxies=proxies)
    caller = rules.check("/", {"X-Forwarded-For": forwarded}, [], peer)
    assert caller.address == address


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.5", False),  # IPv4, as a dual stack shows it
        ("1.2.3.4", "1.2.3.5", False),
        ("fe80::1", "fe80::2", False),  # neighbours
        ("unknown", "unknown", True),
        (UNIX_PEER, "::1", False),
    ],
)
def test_what_one_host_may_use_counts_as_one_address(
    one: str, other: str, are_one: bool
) -> None:
    places = [Caller(address, None).place for address in (one, other)]
    assert (places[0] == places[1]) is are_one


@pytest.mark.parametrize(
    "nonsense", ["nonsense", "10.0.0.1,10.0.0", "10.0.0.0/33", "proxy.example", "::g"]
)
def test_proxies_that_are_no_addresses_are_refused_with_the_settings(
    nonsense: str,
) -> None:
    """Before a model is loaded."""
    with pytest.raises(ConfigError, match="trusted-proxies: .* must be an address"):
        build_config({"trusted_proxies": nonsense})


# ------------------------------------------------------------------------- odd requests


@pytest.mark.parametrize("path", ["//[", "//[::1", "//[x]/?a=b", "/?a=b"])
def test_a_path_that_looks_like_a_broken_host_has_no_key(
    path: str, tmp_path: Path
) -> None:
    assert guarded(tmp_path).check(path, {}, [], "1.2.3.4").key_name is None


def test_a_key_is_found_behind_such_a_path(tmp_path: Path) -> None:
    caller = guarded(tmp_path).check(f"//[?token={KEY}#x", {}, [], "1.2.3.4")
    assert caller.key_name == "alice"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_a_key_is_read_in_any_case(scheme: str, tmp_path: Path) -> None:
    headers = {"Authorization": f"{scheme} {KEY}"}
    assert guarded(tmp_path).check("/", headers, [], "1.2.3.4").key_name == "alice"


# ----------------------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("peer", "headers", "may"),
    [
        ("127.0.0.1", {}, True),
        ("127.9.9.9", {}, True),
        ("::1", {}, True),
        ("::ffff:127.0.0.1", {}, True),
        (UNIX_PEER, {}, True),
        (OWN, {}, True),
        (f"::ffff:{OWN}", {}, True),
        ("192.168.0.7", {}, False),
        ("::ffff:192.168.0.7", {}, False),
        ("2001:db8::1", {}, False),
        # A proxy on this machine that nobody named asks for somebody else.
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, False),
        ("127.0.0.1", {"X-Real-IP": "192.168.0.7"}, False),
        ("127.0.0.1", {"Forwarded": "for=192.168.0.7"}, False),
        (UNIX_PEER, {"X-Forwarded-For": "192.168.0.7"}, False),
        # One that was named is believed.
        ("10.0.0.1", {"X-Forwarded-For": "192.168.0.7"}, False),
        ("10.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, True),
    ],
)
def test_metrics_are_for_this_machine(
    peer: str, headers: dict[str, str], may: bool
) -> None:
    rules = access(trusted_proxies="10.0.0.1")
    assert rules.may_see_metrics("/metrics", headers, peer, OWN) is may


@pytest.mark.parametrize(
    ("path", "headers", "may"),
    [
        ("/metrics", {"Authorization": f"Bearer {KEY}"}, True),
        (f"/metrics?token={KEY}", {}, True),
        ("/metrics", {"Authorization": "Bearer wrong"}, False),
        ("/metrics?token=wrong", {}, False),
        ("/metrics", {}, False),
    ],
)
def test_metrics_are_for_who_shows_a_key(
    path: str, headers: dict[str, str], may: bool, tmp_path: Path
) -> None:
    assert guarded(tmp_path).may_see_metrics(path, headers, "1.2.3.4", OWN) is may


def test_a_key_that_no_file_names_shows_nothing() -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    assert not access().may_see_metrics("/metrics", headers, "1.2.3.4", OWN)


def test_metrics_are_public_where_that_is_asked_for() -> None:
    rules = access(metrics_public=True)
    assert rules.may_see_metrics("/metrics", {}, "1.2.3.4", OWN)
    assert not Config().access.metrics_public
