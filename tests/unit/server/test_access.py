"""The key file: which lines are keys, and what is refused instead of half believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_live.config.model import AccessConfig, ListenConfig
from whisper_live.errors import ConfigError, HandshakeError
from whisper_live.server.access import Access, Caller

ALICE, BOB = "alice-0123456789", "bob-0123456789ab"


def reading(path: Path) -> Access:
    return Access(AccessConfig(keys_file=str(path)), ListenConfig())


def test_lines_are_names_and_keys_and_comments_have_their_own(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# who\n\n  # they are\nalice {ALICE}#2\n bob\t{BOB} \n")
    rules = reading(path)
    assert rules.key_name(f"{ALICE}#2") == "alice"
    assert rules.key_name(BOB) == "bob"
    assert rules.key_name(ALICE) is None


def test_the_first_message_brings_the_key_that_the_upgrade_did_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys"
    path.write_text(f"alice {ALICE}\nbob {BOB}\n")
    rules = reading(path)
    unknown, bob = Caller("local", None), Caller("local", "bob")
    assert rules.identified(unknown, ALICE) == Caller("local", "alice")
    assert rules.identified(bob, ALICE) == bob  # whom the upgrade has shown
    for token, kind in {"": "no_key", ALICE[:-1]: "wrong_key"}.items():
        with pytest.raises(HandshakeError) as refused:
            rules.identified(unknown, token)
        assert refused.value.kind == kind
    free = Access(AccessConfig(), ListenConfig())
    assert free.identified(unknown, ALICE) == unknown


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("alice a#longsecret\n", "line 1: the key of alice has fewer than 16 char"),
        (f"alice {ALICE[:-1]}\n", "line 1: the key of alice has fewer than 16 char"),
        (f"alice {ALICE} # the first\n", "line 1: expected 'name key'"),
        ("alice\n", "line 1: expected 'name key'"),
        (f"#\nalice {ALICE}\nalice {BOB}\n", "line 3: alice has a key already"),
        (f"alice {ALICE}\nbob {ALICE}\n", "line 2: another name has this key"),
        (f"alice {ALICE}\nbob {BOB}", "the last line lacks its line break"),
        (f"alice {ALICE}\nbo", "line 2: expected 'name key'"),
        ("# alice\n", "has no keys"),
        ("", "has no keys"),
        ("alice \udcff\n", "cannot read the key file"),
    ],
)
def test_what_is_no_set_of_keys_is_refused_and_the_old_set_stays(
    content: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "keys"
    path.write_text(f"carol {ALICE}-of-carol\n")
    rules = reading(path)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as refused:
        rules.reload()
    assert says in str(refused.value)
    assert not {ALICE, ALICE[:-1], BOB, "a#longsecret"} & set(
        str(refused.value).split()
    )
    assert rules.key_name(f"{ALICE}-of-carol") == "carol"
    for key in (ALICE, BOB, "a", "a#longsecret"):
        assert rules.key_name(key) is None


def test_a_key_file_that_others_can_read_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text(f"alice {ALICE}\n")
    path.chmod(0o600)
    rules = reading(path)
    assert "chmod" not in caplog.text
    path.chmod(0o604)
    rules.reload()
    assert f"{path} is open to others: chmod 600 {path}" in caplog.text
