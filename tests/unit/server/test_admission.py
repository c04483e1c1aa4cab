"""What a load balancer is told of free places is what a client would meet."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from whisper_live.config.model import LimitConfig
from whisper_live.errors import Overloaded
from whisper_live.server.access import Caller
from whisper_live.server.admission import Admission, place_page

CALLER = Caller("203.0.113.7", None)
FULL = (HTTPStatus.NOT_FOUND, "no place\n")
FREE = (HTTPStatus.OK, "a place\n")


def test_a_balancer_is_told_while_the_places_are_taken() -> None:
    admission = Admission(
        LimitConfig(max_sessions=1), clock=lambda: 0.0, queue_delay_s=lambda model: 0.0
    )
    assert place_page(True, admission) == FREE
    lease = admission.lease(CALLER, "")
    assert place_page(True, admission) == FULL
    admission.release(lease)
    assert place_page(True, admission) == FREE


def test_a_balancer_is_told_while_requests_wait_too_long() -> None:
    delay_s = 0.0
    admission = Admission(
        LimitConfig(max_queue_delay_s=2.0),
        clock=lambda: 0.0,
        queue_delay_s=lambda model: delay_s,
    )
    assert place_page(True, admission) == FREE
    delay_s = 2.1
    assert place_page(True, admission) == FULL
    with pytest.raises(Overloaded, match="requests wait 2.1 s"):
        admission.lease(CALLER, "")


def test_a_balancer_is_told_while_audio_is_read_too_late() -> None:
    admission = Admission(
        LimitConfig(max_queue_delay_s=2.0),
        clock=lambda: 0.0,
        queue_delay_s=lambda model: 0.0,
    )
    admission.lease(CALLER, "", behind_s=lambda: 2.1)
    assert place_page(True, admission) == FULL
    with pytest.raises(Overloaded, match="audio is read 2.1 s late"):
        admission.lease(CALLER, "")


def test_who_stops_or_has_no_engine_has_more_than_no_place() -> None:
    admission = Admission(
        LimitConfig(), clock=lambda: 0.0, queue_delay_s=lambda model: 0.0
    )
    status, _ = place_page(False, admission)
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    admission.close()
    assert place_page(True, admission) == FULL
