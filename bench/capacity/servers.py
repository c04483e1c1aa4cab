"""Servers under test: start one, wait until it answers, watch what it uses, stop it.

Ours is the installed command in this interpreter; upstream runs in an environment of
its own, which ``python -m bench.capacity.servers`` makes (see ``UPSTREAM``).
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

__all__ = [
    "Contender",
    "Running",
    "Usage",
    "UPSTREAM",
    "free_port",
    "is_installed",
    "ours",
    "put_first",
    "started",
    "upstream",
]

REPOSITORY = Path(__file__).parents[2]
UPSTREAM_VERSION = "0.10.0"
UPSTREAM = (
    Path(
        os.environ.get("WHISPER_LIVE_BENCH_CACHE", "~/.cache/whisper-live-bench")
    ).expanduser()
    / f"upstream-{UPSTREAM_VERSION}"
)
_START_S = 120.0
_STOP_S = 30.0
_SAMPLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Contender:
    """A server with its settings."""

    name: str  # as the report calls it
    command: tuple[str, ...]
    port: int  # 0: the server prints its own
    environment: dict[str, str] = field(default_factory=dict)
    has_metrics: bool = True

    @property
    def shown(self) -> str:
        """The command without the paths of this machine."""
        _, *arguments = self.command
        flags = (a.replace(f"{REPOSITORY}/", "") for a in arguments)
        return " ".join(
            ["python", *(Path(f).name if Path(f).is_absolute() else f for f in flags)]
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server's processes held at one moment."""

    at_s: float  # since the server was started
    rss_mib: float
    cpu_s: float  # since the start
    threads: int
    descriptors: int


class Running:
    """A server that answers."""

    def __init__(self, contender: Contender, url: str, process: psutil.Process) -> None:
        self.contender = contender
        self.url = url
        self.usage: list[Usage] = []
        self._process = process
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def metrics(self) -> dict[str, float]:
        """The page at ``/metrics``: series to value; empty where there is none."""
        if not self.contender.has_metrics:
            return {}
        page = self.url.replace("ws://", "http://") + "/metrics"
        with urllib.request.urlopen(page, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def watch_no_more(self) -> None:
        """Take no more samples."""
        self._stop.set()
        self._thread.join()

    def sample(self) -> Usage:
        """What is held now."""
        members = [self._process, *self._process.children(recursive=True)]
        usage = Usage(
            at_s=round(time.monotonic() - self._started, 2),
            rss_mib=round(sum(p.memory_info().rss for p in members) / 2**20, 1),
            cpu_s=round(sum(sum(p.cpu_times()[:2]) for p in members), 2),
            threads=sum(p.num_threads() for p in members),
            descriptors=sum(p.num_fds() for p in members),
        )
        self.usage.append(usage)
        return usage

    def _watch(self) -> None:
        with suppress(psutil.Error):  # it has ended
            while not self._stop.wait(_SAMPLE_S):
                self.sample()


def ours(
    name: str,
    *flags: str,
    module: str = "whisper_live",
    threads: str | None = None,
    http_port: int = 0,
) -> Contender:
    """This tree's server with flags of ``serve``."""
    serve = ("serve",) if module == "whisper_live" else ()
    quiet = ("--log-level", "warning", "--http-port", str(http_port))
    command = (sys.executable, "-m", module, *serve, "--port", "0", *flags, *quiet)
    return Contender(name, command, 0, {"OMP_NUM_THREADS": threads} if threads else {})


def upstream(name: str, *flags: str) -> Contender:
    """Upstream's server with flags of ``bench/capacity/upstream.py``."""
    port = free_port()
    launcher = str(REPOSITORY / "bench" / "capacity" / "upstream.py")
    python = str(UPSTREAM / "bin" / "python")
    command = (python, launcher, "--port", str(port), *flags)
    return Contender(name, command, port, has_metrics=False)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def is_installed() -> bool:
    """Whether upstream's environment is there."""
    return (UPSTREAM / "installed").exists()


@contextmanager
def started(contender: Contender, log: Path, *, nice: int = 0) -> Iterator[Running]:
    """The server while it runs; what it says goes into ``log``.

    ``nice`` below 0 (root only) puts it before other work of a machine that is not
    idle; clients go before it all the same.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        process = subprocess.Popen(
            contender.command,
            cwd=REPOSITORY,
            env=os.environ | contender.environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C ends us first, then we end it
        )
        try:
            if nice:
                put_first(process.pid, nice)
            running = Running(
                contender, _url(contender, process, log), psutil.Process(process.pid)
            )
            try:
                yield running
            finally:
                running.watch_no_more()
        finally:
            _stop(process)


def put_first(pid: int, nice: int) -> None:
    """Give a process, and on Linux its whole session, this priority; root only.

    Where sessions are scheduled as groups, a process's own priority counts for nothing
    against other sessions.
    """
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def _url(contender: Contender, process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None, "it was asked for"
    if contender.port == 0:
        for line in process.stdout:
            if line.startswith("listening on "):
                return line.split()[-1]
        raise RuntimeError(f"{contender.name} did not start, see {log}")
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", contender.port), 1.0).close()
            return f"ws://127.0.0.1:{contender.port}"
        time.sleep(0.2)
    raise RuntimeError(f"{contender.name} did not start, see {log}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


# ------------------------------------------------------------------------ environment

# A plain install pulls torch with CUDA, torchaudio and openvino; this is what the
# faster_whisper backend needs on a CPU.
_STEPS: Sequence[tuple[str, ...]] = (
    ("torch==2.13.0",),
    (
        *("faster-whisper==1.2.0", "websockets", "fastapi", "uvicorn"),
        *("python-multipart", "prometheus_client", "requests"),
    ),
    ("--no-deps", f"whisper-live=={UPSTREAM_VERSION}"),
)


def install() -> None:
    """Make upstream's environment; some minutes and some hundred megabytes."""
    subprocess.run([sys.executable, "-m", "venv", str(UPSTREAM)], check=True)
    for step in _STEPS:
        pip = [str(UPSTREAM / "bin" / "pip"), "install", "--quiet", *step]
        subprocess.run(pip, check=True)
    (UPSTREAM / "installed").touch()


def versions() -> dict[str, str]:
    """What is installed beside upstream, for the report."""
    code = (
        "import importlib.metadata as m;"
        "print(*(f'{n}={m.version(n)}' for n in "
        "('whisper-live','faster-whisper','ctranslate2','torch')))"
    )
    python = str(UPSTREAM / "bin" / "python")
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return dict(pair.split("=") for pair in answer.stdout.split())


def main() -> None:
    """``python -m bench.capacity.servers``: make upstream's environment."""
    parser = argparse.ArgumentParser(description=install.__doc__)
    parser.parse_args()
    install()
    print(f"{UPSTREAM}: {versions()}")


if __name__ == "__main__":
    main()
