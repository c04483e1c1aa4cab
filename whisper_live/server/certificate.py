"""The certificate that new connections are shown, and how another takes its place.

A pair that cannot be used never touches the one in force.
"""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from whisper_live.config.model import AccessConfig
from whisper_live.errors import ConfigError
from whisper_live.server.access import open_to_others

__all__ = ["Certificate", "load_pair", "secret_of"]

logger = logging.getLogger("whisper_live.server")


class Certificate:
    """A certificate and its key, from the files that the settings name."""

    def __init__(self, config: AccessConfig) -> None:
        """Raises ``ConfigError`` where the pair cannot be used."""
        self._config = config
        self._current = self._load()
        self._current.sni_callback = self._show_current
        self.context = self._current  # to listen with; stays the same

    def reload(self) -> None:
        """Read both files again; raises ``ConfigError`` and keeps the old pair."""
        self._current = self._load()

    def _load(self) -> ssl.SSLContext:
        context = load_pair(self._config)
        if fault := open_to_others(secret_of(self._config)):
            logger.warning("%s", fault)
        return context

    def _show_current(
        self,
        connection: ssl.SSLSocket | ssl.SSLObject,
        name: str | None,
        context: ssl.SSLContext,
    ) -> None:
        """Called for each handshake, whether it names a server or not."""
        connection.context = self._current


def load_pair(config: AccessConfig) -> ssl.SSLContext:
    """The certificate and its key in a context of their own.

    A new pair loaded into the old one's context would leave it with the new
    certificate and the old key where the key does not fit, and with both certificates
    where one is RSA and the other EC.  Raises ``ConfigError``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key or None, _no_password)
    except OSError as error:
        raise ConfigError(
            f"cannot load the certificate {config.tls_cert}: {_fault(config, error)}"
        ) from error
    return context


def _fault(config: AccessConfig, error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):  # it does not say which file it is about
        is_key = config.tls_key and _can_be_read(config.tls_cert)
        about = f"its key {config.tls_key}: " if is_key else ""
        return f"{about}{error.strerror}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key in {secret_of(config)} is the key of another one"
    if "PEM" in str(error):  # all that OpenSSL says
        return "it or its key is no PEM; the key may be in another file: --tls-key"
    return str(error)


def _can_be_read(path: str) -> bool:
    return Path(path).is_file() and os.access(path, os.R_OK)


def secret_of(config: AccessConfig) -> Path:
    """The file that the certificate's key is in, which may be the certificate's own."""
    return Path(config.tls_key or config.tls_cert)


def _no_password() -> str:
    # OpenSSL would ask for it on the terminal, and the event loop would wait.
    raise ConfigError("the certificate's key is encrypted; give one without a password")
