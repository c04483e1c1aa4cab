"""Certificates for tests, made by openssl where they are needed."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["EC", "RSA", "certificate"]


EC = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
RSA = ("rsa:2048",)


def certificate(
    folder: Path, name: str, *, kind: Sequence[str] = EC, password: str = ""
) -> bytes:
    """``cert.pem`` and ``key.pem`` in ``folder``, new; the certificate on the wire."""
    secrecy = ("-passout", f"pass:{password}") if password else ("-nodes",)
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                *secrecy,
                "-days",
                "2",
                "-subj",
                f"/CN={name}",
            ),
            *("-newkey", *kind),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return ssl.PEM_cert_to_DER_cert((folder / "cert.pem").read_text())
