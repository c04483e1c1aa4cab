"""How a client reaches a server: its URL, whom to trust, what to do when it fails."""

from __future__ import annotations

import errno
import socket
import ssl
from urllib.error import URLError
from urllib.parse import urlsplit

from whisper_live.errors import ConfigError

__all__ = ["advice", "server_url", "trust"]

_PROBE_S = 3.0
_SECURE = {"http": "https", "ws": "wss"}
_PLAIN = {secure: plain for plain, secure in _SECURE.items()}
_CERTIFICATE_FAULTS = {  # OpenSSL's numbers (verify(1)), in other words than its own
    10: "has expired",
    62: "is for another name",
    64: "is for another address",
}


def server_url(given: str, plain: str) -> str:
    """``given`` with the scheme ``plain``, ``http`` or ``ws``, or its secure form.

    All four schemes name the same server, and so does none.  Raises ``ConfigError`` for
    any other.
    """
    scheme, mark, place = given.partition("://")
    scheme = scheme.lower()
    if not mark:
        return f"{plain}://{given}"
    if scheme in _SECURE:
        return f"{plain}://{place}"
    if scheme not in _PLAIN:
        raise ConfigError(
            f"{given}: a server's URL begins with ws://, wss://, http:// or https://"
        )
    return f"{_SECURE[plain]}://{place}"


def trust(ca: str | None) -> ssl.SSLContext:
    """Whom the system trusts, or only who is vouched for by a certificate in ``ca``.

    Raises ``ConfigError`` for a file that has none.
    """
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        is_read = isinstance(error, ssl.SSLError)
        what = "there is no certificate (PEM) in it" if is_read else error.strerror
        raise ConfigError(f"cannot read the certificates in {ca}: {what}") from error


def advice(url: str, error: BaseException) -> str:
    """What is wrong where a connection to ``url`` failed with ``error``, and the flag.

    "" where the error says all there is.  Blocking: it may ask the server, for some
    seconds.
    """
    reason = error.reason if isinstance(error, URLError) else error
    if f"[Errno {errno.ECONNREFUSED}]" in str(reason):
        return "nobody listens there; is the daemon running, and on this port?"
    scheme, place = urlsplit(url).scheme, urlsplit(url).netloc
    if isinstance(reason, ssl.SSLCertVerificationError):
        fault = _CERTIFICATE_FAULTS.get(reason.verify_code)
        if fault is not None:
            return f"its certificate {fault}"
        return (
            f"its certificate is not trusted ({reason.verify_message}); --ca FILE must "
            "hold it, or the one of who made it"
        )
    if scheme in _SECURE and _speaks_tls(url):
        return f"it speaks TLS: --url {_SECURE[scheme]}://{place}"
    if scheme in _PLAIN and isinstance(reason, ssl.SSLError):
        return f"it speaks no TLS: --url {_PLAIN[scheme]}://{place}"
    return ""


def _speaks_tls(url: str) -> bool:
    """Whether a TLS handshake gets as far as a certificate, any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        where = urlsplit(url).hostname or "", urlsplit(url).port or 80
        with socket.create_connection(where, timeout=_PROBE_S) as plain:
            with context.wrap_socket(plain, server_hostname=where[0]):
                return True
    except (OSError, ValueError):
        return False
