"""``whisper-live key``: a key that the daemon takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_live import cli
from whisper_live.server.access import read_keys

Capture = pytest.CaptureFixture[str]


def test_a_new_file_is_its_owners_alone(tmp_path: Path, capsys: Capture) -> None:
    keys = tmp_path / "keys"
    made = []
    for name in ("alice", "bob"):
        assert cli.main(["key", name, "--keys-file", str(keys)]) == 0
        printed = capsys.readouterr()
        made.append(printed.out.strip())
        assert f"{name} was added to {keys}" in printed.err
    assert keys.stat().st_mode & 0o777 == 0o600
    assert read_keys(keys) == {"alice": made[0].encode(), "bob": made[1].encode()}
    assert len(set(made)) == 2 and all(len(key) == 32 for key in made)


def test_what_is_in_the_file_stays(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# who they are\n")
    keys.chmod(0o644)
    monkeypatch.setenv("WHISPER_LIVE_KEYS_FILE", str(keys))
    assert cli.main(["key", "alice"]) == 0
    printed = capsys.readouterr()
    assert keys.read_text() == f"# who they are\nalice {printed.out}"
    assert f"{keys} is open to others: chmod 600 {keys}" in printed.err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("alice", "alice 0123456789abcdef\n", "alice has a key already"),
        ("bob", "alice 0123456789abcdef", "the last line lacks its line break"),
        ("bob", "alice\n", "line 1: expected 'name key'"),
        ("two words", "", "cannot be the name of a key"),
        ("#bob", "", "cannot be the name of a key"),
        ("", "", "cannot be the name of a key"),
        ("b\nob", "", "cannot be the name of a key"),
    ],
)
def test_what_cannot_be_added_leaves_the_file_as_it_is(
    name: str, content: str, says: str, tmp_path: Path, capsys: Capture
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(content)
    assert cli.main(["key", name, "--keys-file", str(keys)]) == 2
    assert keys.read_text() == content
    printed = capsys.readouterr()
    assert says in printed.err and printed.out == ""


def test_without_a_file_it_says_which_flag(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["key", "alice"]) == 2
    assert "give --keys-file FILE" in capsys.readouterr().err
    absent = str(tmp_path / "no" / "keys")
    assert cli.main(["key", "alice", "--keys-file", absent]) == 2
    assert f"cannot write {absent}: No such file" in capsys.readouterr().err
