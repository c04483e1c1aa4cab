"""``whisper-live status``: how a running daemon is, from its own pages."""

from __future__ import annotations

import argparse
import http.client
import ssl
import time
import urllib.error
import urllib.request
from http import HTTPStatus

from prometheus_client.parser import text_string_to_metric_families

from whisper_live.client.reach import advice, server_url, trust
from whisper_live.config.model import Config
from whisper_live.text.counted import counted

__all__ = ["run"]

_TIMEOUT_S = 5.0
_MOST_BYTES = 4 << 20  # of a page; ours have some ten thousand


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Print what it says; 0 if it is ready, 1 if not or if nobody answers."""
    url = server_url(arguments.url or config.listen.place, "http").rstrip("/")
    trusted = trust(arguments.ca)
    try:
        status, said = _get(f"{url}/readyz", trusted)
        if said not in ("ready\n", "not ready\n"):
            raise _NotOurs
        is_ready = status == HTTPStatus.OK
        status, page = _get(f"{url}/metrics", trusted, arguments.key)
        is_denied = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        lines = [] if is_denied else _lines(page, is_ready)
    except (OSError, ValueError, http.client.HTTPException, _NotOurs) as error:
        told = advice(url, error)
        if not told and isinstance(error, OSError):
            told = str(getattr(error, "reason", error))
        other = "something answers there that is no whisper-live daemon"
        print(f"no daemon answers at {url}: {told or other}")
        return 1
    if is_denied:
        print(f"the daemon at {url} tells more only to who shows a key: --key")
        return 1
    for name, text in lines:
        print(f"{name:<10}{text}")
    return 0 if is_ready else 1


class _NotOurs(Exception):
    """The page is none of this program."""


def _get(url: str, trusted: ssl.SSLContext, key: str | None = None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=trusted)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.read(_MOST_BYTES).decode()


def _lines(page: str, is_ready: bool) -> list[tuple[str, str]]:
    total: dict[str, float] = {}
    build: dict[str, str] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            total[sample.name] = total.get(sample.name, 0.0) + sample.value
            if sample.name == "whisper_live_build_info":
                build = sample.labels
    if not build:
        raise _NotOurs

    def value(name: str) -> float:
        return total.get(f"whisper_live_{name}", 0.0)

    up_s = time.time() - total.get("process_start_time_seconds", time.time())
    place = " ".join(filter(None, (build.get("device"), build.get("compute_type"))))
    model = f"{build.get('model', '?')} on {place} ({build.get('engine', '?')})"
    if weights := build.get("weights"):
        model += f", weights: {weights}"
    return [
        ("ready", "yes" if is_ready else "no: the engine is down, or it is stopping"),
        ("version", build.get("version", "?")),
        ("model", model),
        ("engine", "answers" if value("engine_up") else "does not answer"),
        ("uptime", f"{up_s / 3600:.1f} h" if up_s >= 3600 else f"{up_s / 60:.0f} min"),
        (
            "sessions",
            f"{value('sessions'):.0f} open, {value('sessions_total'):.0f} so far, "
            f"{value('sessions_rejected_total'):.0f} turned away",
        ),
        (
            "uploads",
            f"{value('uploads'):.0f} under way, {value('uploads_total'):.0f} so far",
        ),
        ("http", f"port {port:.0f}" if (port := value("http_port")) else "off"),
        (
            "queue",
            f"{counted(int(value('queue_depth')), 'request')} waiting, "
            f"delay {value('queue_delay_seconds'):.2f} s, "
            f"audio is read {value('behind_seconds'):.2f} s late",
        ),
        ("audio", f"{value('audio_seconds_total') / 3600:.1f} h taken in"),
        ("errors", f"{value('errors_total'):.0f} so far"),
    ]
