"""Whether the hub can be reached, found out within a bound."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from whisper_live.inference import model_hub

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def use(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)


@pytest.fixture(params=[200, 404])
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server with an answer."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_any_answer_will_do(answering: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(answering, monkeypatch)
    assert model_hub.is_reachable()


def test_who_speaks_no_tls_is_not_reached_but_who_speaks_it_badly_is(
    answering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what answers with anything at all is left to the hub's own client
    use(answering.replace("http:", "https:"), monkeypatch)
    assert model_hub.is_reachable()


def test_a_closed_port_is_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        use(f"http://127.0.0.1:{bound.getsockname()[1]}", monkeypatch)
        assert not model_hub.is_reachable()


def test_silence_is_waited_for_no_longer_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
        assert not model_hub.is_reachable(0.05)


def test_a_name_server_that_hangs_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def look_up(*_: object, **__: object) -> list[object]:
        answered.wait(30)
        raise OSError("no such name")

    use("http://hub.invalid", monkeypatch)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        assert not model_hub.is_reachable(0.05)
    finally:
        answered.set()


def test_what_only_the_hubs_client_can_use_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use("http://hub.invalid", monkeypatch)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    assert model_hub.is_reachable()


def test_offline_on_purpose_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(threading, "Thread", None)
    assert not model_hub.is_reachable()
