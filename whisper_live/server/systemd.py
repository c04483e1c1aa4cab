"""The little of systemd that the daemon speaks: sd_notify, watchdog, inherited socket.

Does nothing where systemd did not start it.  The protocol is a datagram of
``KEY=value`` lines to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3)).
"""

from __future__ import annotations

import os
import socket

__all__ = ["inherited_socket", "notify", "watchdog_s"]

_FIRST_FD = 3  # SD_LISTEN_FDS_START


def notify(state: str) -> bool:
    """Send ``state`` (``"READY=1"``, ``"STATUS=..."``); whether anyone listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:  # there may be no file descriptor left either
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)  # a manager that hangs must not stop the loop
            sock.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_s() -> float | None:
    """Seconds within which systemd wants a sign of life, or None."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdigit() else None


def inherited_socket() -> socket.socket | None:
    """The listening socket that a ``.socket`` unit handed over, or None."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if os.environ.get("LISTEN_FDS", "0") == "0":
        return None
    sock = socket.socket(fileno=_FIRST_FD)
    sock.setblocking(False)
    os.set_inheritable(_FIRST_FD, False)
    return sock
