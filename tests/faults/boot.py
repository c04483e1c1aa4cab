"""Boots a real systemd as PID 1 of namespaces of its own, over a copy of this machine.

An overlay catches every write; Python, its packages and this checkout appear under
``/opt``, where the unit's sandbox lets them be seen.  ``boot`` runs a driver program as
root in there and returns what it printed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import site
import subprocess
import sys
from functools import cache
from pathlib import Path

__all__ = ["boot", "why_not"]

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
UNSHARE = "unshare --mount --pid --uts --ipc --net --cgroup --fork".split()

# What would reach out of the namespaces, or wait for hardware.
MASKED = (
    *("systemd-sysctl", "systemd-modules-load", "systemd-udevd", "systemd-timesyncd"),
    *("systemd-udev-trigger", "systemd-random-seed", "systemd-update-utmp"),
    *("systemd-tmpfiles-setup-dev", "systemd-binfmt", "systemd-sysusers"),
)

SCRIPT = Path(__file__).with_name("boot.sh")


@cache
def why_not() -> str | None:
    """Why it cannot be done here, in words; None if it can."""
    if os.geteuid() != 0:
        return "needs root to make namespaces"
    if not SYSTEMD.exists():
        return "no systemd is installed"
    for tool in ("unshare", "pivot_root", "ip", "openssl"):
        if shutil.which(tool) is None:
            return f"no {tool} is installed"
    probe = """set -e
        mount --make-rprivate /
        mount -t tmpfs tmpfs /mnt
        mkdir /mnt/u /mnt/w /mnt/r
        mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r
        mount -t sysfs -o ro sysfs /mnt/r/sys
        mount -t cgroup2 cgroup2 /mnt/r/sys/fs/cgroup
    """
    tried = subprocess.run(
        [*UNSHARE, "sh", "-c", probe], capture_output=True, text=True
    )
    return tried.stderr.strip() or None if tried.returncode else None


def boot(driver: str, folder: Path, *, timeout_s: float = 240) -> str:
    """Run module ``driver`` in a booted system; what it printed.

    ``folder`` gets ``result``, ``errors`` and the unit's ``journal``.
    """
    work, out = folder / "work", folder / "out"
    work.mkdir()
    out.mkdir()
    environment = {
        "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        "WORK": str(work),
        "OUT": str(out),
        "PREFIX": sys.base_prefix,
        "PYTHON": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "PACKAGES": site.getsitepackages()[0],
        "SOURCE": str(ROOT),
        "DRIVER": driver,
        "MASKED": shlex.join(MASKED),
    }
    subprocess.run(
        [*UNSHARE, "bash", str(SCRIPT)],
        env=environment,
        timeout=timeout_s,
        capture_output=True,
    )
    errors = (out / "errors").read_text() if (out / "errors").exists() else "no boot"
    journal = (out / "journal").read_text() if (out / "journal").exists() else ""
    print(errors, journal, sep="\n")  # pytest shows it when a test fails
    return (out / "result").read_text() if (out / "result").exists() else ""
