"""A new certificate takes the old one's place whole, or not at all."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.certificates import EC, RSA, certificate
from whisper_live.config.model import AccessConfig
from whisper_live.errors import ConfigError
from whisper_live.server.certificate import Certificate


def named(folder: Path) -> Certificate:
    cert, key = folder / "cert.pem", folder / "key.pem"
    return Certificate(AccessConfig(tls_cert=str(cert), tls_key=str(key)))


def shown(server: Certificate, *, name: str | None = None, only: str = "") -> bytes:
    """The certificate that a new connection gets; raises where there is none.

    ``only`` is a kind of certificate, as TLS 1.2 lets a client ask for one.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    if only:
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(f"a{only}")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    ours = server.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (theirs, ours):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    found = theirs.getpeercert(binary_form=True)
    assert found is not None
    return found


def move(source: Path, target: Path, name: str) -> None:
    (target / name).write_bytes((source / name).read_bytes())


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another folder, where the next pair comes from."""
    folder = tmp_path / "other"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("order", [("cert.pem", "key.pem"), ("key.pem", "cert.pem")])
@pytest.mark.parametrize("kind", [EC, RSA])
def test_half_a_new_pair_leaves_the_old_one_in_force(
    order: tuple[str, str], kind: tuple[str, ...], tmp_path: Path, other: Path
) -> None:
    first = certificate(tmp_path, "one")
    second = certificate(other, "two", kind=kind)
    server = named(tmp_path)
    move(other, tmp_path, order[0])
    with pytest.raises(ConfigError, match="cannot load the certificate"):
        server.reload()
    assert shown(server) == first
    move(other, tmp_path, order[1])
    server.reload()
    assert shown(server) == second
    assert shown(server, name="two") == second


def test_a_pair_of_another_kind_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    certificate(tmp_path, "one", kind=RSA)
    server = named(tmp_path)
    second = certificate(tmp_path, "two")
    server.reload()
    assert shown(server, only="ECDSA") == second
    with pytest.raises(ssl.SSLError):
        shown(server, only="RSA")


@pytest.mark.parametrize(
    "spoil", [Path.unlink, lambda path: path.write_text("-----BEGIN CERT")]
)
def test_a_file_that_is_gone_or_half_written_leaves_the_old_pair(
    spoil: Callable[[Path], object], tmp_path: Path
) -> None:
    first = certificate(tmp_path, "one")
    server = named(tmp_path)
    spoil(tmp_path / "cert.pem")
    with pytest.raises(ConfigError):
        server.reload()
    assert shown(server) == first


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        (
            "cert.pem",
            "other/key.pem",
            "the key in {}/other/key.pem is the key of anoth",
        ),
        ("cert.pem", "none.pem", "its key {}/none.pem: No such file or directory"),
        ("none.pem", "key.pem", "cannot load the certificate {0}/none.pem: No such"),
        ("cert.pem", "", "the key may be in another file: --tls-key"),
        ("other", "key.pem", "cannot load the certificate {}/other: Is a directory"),
    ],
)
def test_a_pair_that_is_none_is_told_in_words(
    cert: str, key: str, says: str, tmp_path: Path, other: Path
) -> None:
    certificate(tmp_path, "one")
    certificate(other, "two")
    given = AccessConfig(
        tls_cert=str(tmp_path / cert), tls_key=str(tmp_path / key) if key else ""
    )
    with pytest.raises(ConfigError) as refused:
        Certificate(given)
    assert says.format(tmp_path) in str(refused.value)
    assert "Errno" not in str(refused.value) and "_ssl.c" not in str(refused.value)


def test_a_key_with_a_password_is_refused_and_nobody_asked(tmp_path: Path) -> None:
    certificate(tmp_path, "one", password="sesame")
    with pytest.raises(ConfigError, match="give one without a password"):
        named(tmp_path)


def test_a_key_that_others_can_read_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate(tmp_path, "one")
    key = tmp_path / "key.pem"
    for mode, said in ((0o600, 0), (0o640, 0), (0o644, 1), (0o660, 1)):
        caplog.clear()
        key.chmod(mode)
        named(tmp_path)
        assert caplog.text.count(f"chmod 600 {key}") == said, oct(mode)
