"""``whisper-live status``: how a running daemon is, from its own pages."""

from __future__ import annotations

import argparse
import time
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from whisper_live.config.model import Config

__all__ = ["run"]

_TIMEOUT_S = 5.0


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Print what it says; 0 if it is ready, 1 if not or if nobody answers."""
    url = arguments.url or f"http://{config.listen.host}:{config.listen.port}"
    url = url.rstrip("/")
    try:
        is_ready = _get(f"{url}/readyz")[0] == 200
        code, page = _get(f"{url}/metrics", arguments.key)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        print(f"no daemon answers at {url}: {reason}")
        return 1
    if code in (401, 403):
        print(f"the daemon at {url} tells more only to who shows a key: --key")
        return 1
    for name, text in _lines(page, is_ready):
        print(f"{name:<10}{text}")
    return 0 if is_ready else 1


def _get(url: str, key: str | None = None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")


def _lines(page: str, is_ready: bool) -> list[tuple[str, str]]:
    total: dict[str, float] = {}
    build: dict[str, str] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            total[sample.name] = total.get(sample.name, 0.0) + sample.value
            if sample.name == "whisper_live_build_info":
                build = sample.labels

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
            "queue",
            f"{value('queue_depth'):.0f} requests wait, "
            f"delay {value('queue_delay_seconds'):.2f} s, "
            f"audio is read {value('behind_seconds'):.2f} s late",
        ),
        ("audio", f"{value('audio_seconds_total') / 3600:.1f} h taken in"),
        ("errors", f"{value('errors_total'):.0f} so far"),
    ]
