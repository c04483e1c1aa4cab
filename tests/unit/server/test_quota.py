"""What one caller may ask for in a minute."""

from __future__ import annotations

import pytest

from tests.helpers import Clock
from whisper_live.config.model import LimitConfig
from whisper_live.errors import Overloaded
from whisper_live.server import quota
from whisper_live.server.access import Caller
from whisper_live.server.quota import Quota

ALICE = Caller("192.0.2.1", "alice")
BOB = Caller("192.0.2.1", "bob")


def made(
    clock: Clock, *, requests_per_minute: float = 0.0, audio_s_per_minute: float = 0.0
) -> Quota:
    limits = LimitConfig(
        requests_per_minute=requests_per_minute, audio_s_per_minute=audio_s_per_minute
    )
    return Quota(limits, clock=lambda: clock.now)


def test_a_64_of_ipv6_has_the_allowance_of_one_address() -> None:
    limits = made(Clock(), requests_per_minute=1)
    limits.ask(Caller("2001:db8::1", None))
    with pytest.raises(Overloaded):
        limits.ask(Caller("2001:db8::2", None))
    limits.ask(Caller("2001:db8:0:1::2", None))


def test_requests_are_counted_by_key_and_come_back_with_time() -> None:
    clock = Clock()
    limits = made(clock, requests_per_minute=2)
    for _ in range(2):
        limits.ask(ALICE)
    with pytest.raises(Overloaded) as refused:
        limits.ask(ALICE)
    assert refused.value.kind == "rate"
    assert refused.value.wait_minutes == pytest.approx(0.5)
    limits.ask(BOB)
    clock.advance(30)
    limits.ask(ALICE)


def test_a_long_file_is_paid_for_afterwards() -> None:
    clock = Clock()
    limits = made(clock, audio_s_per_minute=60)
    limits.ask(ALICE)
    limits.heard(ALICE, 600)
    with pytest.raises(Overloaded) as refused:
        limits.ask(ALICE)
    assert refused.value.wait_minutes == pytest.approx(9)
    clock.advance(540)
    limits.ask(ALICE)


def test_without_keys_addresses_count() -> None:
    limits = made(Clock(), requests_per_minute=1)
    for address in ("192.0.2.1", "192.0.2.2"):
        limits.ask(Caller(address, None))
        with pytest.raises(Overloaded):
            limits.ask(Caller(address, None))


def test_no_limit_is_none() -> None:
    limits = made(Clock())
    for _ in range(1000):
        limits.ask(ALICE)
    limits.heard(ALICE, 1e9)
    limits.ask(ALICE)


def test_many_addresses_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "_MOST_CALLERS", 10)
    limits = made(Clock(), requests_per_minute=1)
    for number in range(100):
        limits.ask(Caller(str(number), None))
    assert len(limits._requests._of) == 10
