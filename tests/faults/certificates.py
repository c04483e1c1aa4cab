"""Certificates for tests, made by openssl where they are needed."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

__all__ = ["certificate"]


def certificate(folder: Path, name: str) -> bytes:
    """``cert.pem`` and ``key.pem`` in ``folder``, new; the certificate on the wire."""
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-nodes",
                "-days",
                "2",
                "-subj",
                f"/CN={name}",
            ),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return ssl.PEM_cert_to_DER_cert((folder / "cert.pem").read_text())
