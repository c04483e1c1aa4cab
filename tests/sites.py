"""Local servers of what a client listens to: HTTP pages and an RTSP camera."""

from __future__ import annotations

import functools
import io
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av

from whisper_live.audio import SAMPLE_RATE, Samples

__all__ = ["Site", "camera", "encoded", "live_part", "playlist", "site"]


class Site:
    """What each path of an HTTP server answers with; 404 for all others."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, bytes] = {}
        self.lengths: dict[str, int] = {}  # that are claimed, longer than the body
        self.endless: set[str] = set()  # that say nothing of their length
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, site: Site, *arguments: object) -> None:
        self._site = site
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._site.asked.append(self.path)
        body = self._site.pages.get(self.path)
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        if self.path not in self._site.endless:
            length = self._site.lengths.get(self.path, len(body))
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def site(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """An HTTP server on a free port; HTTPS with ``tls``."""
    site = Site("")
    handler = functools.partial(_Handler, site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        server.handle_error = lambda *request: None  # type: ignore[method-assign]
        if tls is not None:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def encoded(path: Path, codec: str, samples: Samples, **options: str) -> None:
    """Write samples (16 kHz mono) to a file in the format that its name says."""
    with av.open(path, "w", options=options) as out:
        stream = out.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def playlist(site: Site, folder: Path, samples: Samples) -> str:
    """Put an HLS playlist with an end, and its segments, on a site; its address.

    A segment lasts some 1 s.
    """
    folder.mkdir(exist_ok=True)
    encoded(folder / "a.m3u8", "aac", samples, hls_time="1", hls_list_size="0")
    for path in folder.iterdir():
        site.pages[f"/{path.name}"] = path.read_bytes()
    return f"{site.url}/a.m3u8"


def live_part(whole: str, first: int, end: int) -> bytes:
    """What a live playlist shows at one time, of one with an end: some segments."""
    head, _, rest = whole.partition("#EXTINF")
    segments = rest.replace("#EXT-X-ENDLIST", "").split("#EXTINF")
    head = head.replace("SEQUENCE:0", f"SEQUENCE:{first}")
    return "#EXTINF".join([head, *segments[first:end]]).encode()


@contextmanager
def camera(*recordings: Samples) -> Iterator[str]:
    """An RTSP server that plays one recording to each client and leaves; its address.

    Interleaved in the connection, as L16 at 16 kHz.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_film, args=(listening, recordings))
        thread.start()
        try:
            yield f"rtsp://127.0.0.1:{listening.getsockname()[1]}/live"
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # accept returns
            thread.join()


def _film(listening: socket.socket, recordings: tuple[Samples, ...]) -> None:
    for samples in recordings:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as requests:
            _answer(connection, requests, samples)


def _answer(
    connection: socket.socket, requests: io.BufferedReader, samples: Samples
) -> None:
    sdp = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
        "m=audio 0 RTP/AVP 96\r\na=rtpmap:96 L16/16000/1\r\na=control:audio\r\n"
    )
    more = {
        "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n",
        "DESCRIBE": "Content-Type: application/sdp\r\n"
        f"Content-Length: {len(sdp)}\r\n\r\n{sdp}",
        "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
        "PLAY": "\r\n",
    }
    while lines := _request(requests):
        method = lines[0].split()[0]
        number = next(line for line in lines if line.lower().startswith("cseq"))
        head = f"RTSP/1.0 200 OK\r\n{number}\r\nSession: 1\r\n"
        connection.sendall((head + more.get(method, "\r\n")).encode())
        if method == "PLAY":
            return _play(connection, samples)


def _request(requests: io.BufferedReader) -> list[str]:
    lines: list[str] = []
    while line := requests.readline().decode().strip():
        lines.append(line)
    return lines


def _play(connection: socket.socket, samples: Samples) -> None:
    whole = (samples * 32767).round().astype(">i2")
    step = 320
    for number, at in enumerate(range(0, len(whole), step)):
        head = struct.pack(">BBHII", 0x80, 96, number & 0xFFFF, at, 7)
        packet = head + whole[at : at + step].tobytes()
        connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
