"""What is done with the unit under a real systemd; run by ``boot``, as root, in there.

Prints one JSON object: what was seen and how long it took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from tests.e2e.support import Client
from tests.faults.certificates import certificate
from tests.faults.process import get
from whisper_live.testing.marks import write_speech

UNIT = "whisper-live"
DROP_INS = Path(f"/etc/systemd/system/{UNIT}.service.d")
SHIPPED = Path("/opt/source/systemd")
ETC = Path("/etc/whisper-live")
GROUP = "whisper-live-files"
ONE, TWO = "the-first-key-of-alice", "her-second-key-is-this"
PORT = 9090

ORACLE = """[Service]
Environment=WHISPER_LIVE_ENGINE=oracle
"""
HANGING = """[Service]
ExecStart=
ExecStart=/opt/whisper-live/bin/injected
Environment=WHISPER_LIVE_ENGINE=oracle FAULT=hang WHISPER_LIVE_REQUEST_TIMEOUT_S=0.5
WatchdogSec=3
"""

seen: dict[str, Any] = {}


def systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"systemctl {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


def show(name: str) -> str:
    return systemctl("show", "--value", "-p", name, UNIT)


def drop_in(name: str, text: str | None) -> None:
    DROP_INS.mkdir(exist_ok=True)
    if text is None:
        (DROP_INS / name).unlink()
    else:
        (DROP_INS / name).write_text(text)
    systemctl("daemon-reload")


async def until_active(*, but: str) -> float:
    """Seconds until another main process than ``but`` has said READY."""
    began = time.monotonic()
    while show("ActiveState") != "active" or show("MainPID") in (but, "0"):
        if time.monotonic() - began > 60:
            raise TimeoutError(show("StatusText"))
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@contextlib.asynccontextmanager
async def talking(
    *words: int, key: str = "", tls: bool = False
) -> AsyncIterator[Client]:
    options: dict[str, Any] = {}
    if tls:
        options["ssl"] = ssl.create_default_context(cafile=str(ETC / "cert.pem"))
    if key:
        options["additional_headers"] = {"Authorization": f"Bearer {key}"}
    url = f"{'wss' if tls else 'ws'}://127.0.0.1:{PORT}"
    async with connect(url, **options) as socket:
        peer = Client(socket)
        await peer.hello()
        await peer.next()
        await peer.say(write_speech([words], pause_s=0.0)[0])
        yield peer


async def start_and_stop() -> None:
    drop_in("oracle.conf", ORACLE)
    began = time.monotonic()
    systemctl("start", UNIT)
    seen["start_to_ready_s"] = time.monotonic() - began
    seen["uid"] = os.stat(f"/proc/{show('MainPID')}").st_uid
    seen["ready"] = get(PORT, "/readyz")[0]
    async with talking(1, 2, 3) as peer:
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(systemctl, "stop", UNIT))
        seen["stop_code"] = await peer.rest()
        await stopping
        seen["stop_s"] = time.monotonic() - began
        seen["stop_words"] = peer.words
    seen["stop_result"] = show("Result")


async def kill() -> None:
    systemctl("start", UNIT)
    pid = show("MainPID")
    subprocess.run(["kill", "-KILL", pid], check=True)
    seen["kill_to_ready_s"] = await until_active(but=pid)


async def hang() -> None:
    drop_in("hang.conf", HANGING)
    systemctl("restart", UNIT)
    pid = show("MainPID")
    async with talking(1, 2, 3) as peer:
        await peer.say(write_speech([[4]], pause_s=0.8)[0])
        began = time.monotonic()
        while show("MainPID") == pid and time.monotonic() - began < 30:
            await asyncio.sleep(0.02)
        seen["hang_to_kill_s"] = time.monotonic() - began
    await until_active(but=pid)
    seen["hang_restarts"] = int(show("NRestarts"))
    drop_in("hang.conf", None)


async def reload() -> None:
    """New keys and a new certificate; the session of the old ones goes on."""
    ETC.mkdir()
    subprocess.run(["groupadd", "--system", GROUP], check=True)

    def provide(key: str) -> None:
        (ETC / "keys").write_text(f"alice {key}\n")
        certificate(ETC, key)
        for file in ETC.iterdir():
            shutil.chown(file, "root", GROUP)
            file.chmod(0o640)

    provide(ONE)
    drop_in("access.conf", (SHIPPED / "access-group.conf").read_text())
    systemctl("restart", UNIT)
    pid = show("MainPID")
    async with talking(1, 2, key=ONE, tls=True) as old:
        provide(TWO)
        systemctl("reload", UNIT)
        async with asyncio.timeout(10):
            while True:  # kill -HUP has no answer
                with contextlib.suppress(Exception):
                    async with talking(3, key=TWO, tls=True) as new:
                        await new.end()
                        await new.rest()
                        seen["reload_new_words"] = new.words
                        break
        await old.end()
        await old.rest()
        seen["reload_old_words"] = old.words
    seen["reload_same_process"] = show("MainPID") == pid
    drop_in("access.conf", (SHIPPED / "access.conf").read_text())
    for file in ETC.iterdir():
        shutil.chown(file, "root", "root")
        file.chmod(0o600)
    systemctl("restart", UNIT)
    async with talking(5, key=TWO, tls=True) as peer:
        await peer.end()
        await peer.rest()
        seen["credential_words"] = peer.words
    drop_in("access.conf", None)


async def activate() -> None:
    """Sixty requests over restarts and a kill, none refused."""
    systemctl("stop", UNIT)
    systemctl("start", f"{UNIT}.socket")
    answers: list[int] = []
    for index in range(60):
        if index in (15, 45):
            systemctl("restart", "--no-block", UNIT)
        if index == 30:
            subprocess.run(["kill", "-KILL", show("MainPID")], check=True)
        status, _ = await asyncio.to_thread(get, PORT, "/healthz")
        answers.append(status)
    seen["activated"] = answers.count(200)
    systemctl("stop", f"{UNIT}.socket")
    systemctl("stop", UNIT)


async def sandbox() -> None:
    """The real engine under all of the unit's restrictions."""
    if not Path("/opt/source/whisper_live/data/demo-model").is_dir():
        return
    for name in ("gpu", "cpu"):
        settings = "[Service]\nEnvironment=WHISPER_LIVE_MODEL=demo\n"
        drop_in("oracle.conf", settings)
        drop_in("cpu.conf", (SHIPPED / "cpu.conf").read_text() if name == "cpu" else "")
        began = time.monotonic()
        systemctl("restart", UNIT)
        seen[f"{name}_sandbox_to_ready_s"] = time.monotonic() - began
    systemctl("stop", UNIT)


async def main() -> None:
    await start_and_stop()
    await kill()
    await hang()
    await reload()
    await activate()
    await sandbox()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    finally:
        print(json.dumps(seen))
