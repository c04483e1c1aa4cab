"""Names to folders, and the one line that says what is wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from whisper_live.config.model import Config, EngineConfig
from whisper_live.errors import ConfigError
from whisper_live.inference import model_files as models
from whisper_live.inference import model_hub
from whisper_live.inference.model_folder import NEEDED, describe, memory_bytes
from whisper_live.server.process import FurtherModels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory that looks like a converted model."""
    path = tmp_path / "model"
    path.mkdir()
    for name in NEEDED:
        (path / name).write_text("{}")
    return path


@pytest.fixture
def said() -> list[str]:
    return []


def failure(name: str, *, cache: str = "") -> str:
    config = EngineConfig(model=name, model_cache=cache)
    with pytest.raises(ConfigError) as caught:
        models.resolve(config, lambda line: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_directory_is_taken_as_it_is(folder: Path, said: list[str]) -> None:
    assert models.resolve(EngineConfig(model=str(folder)), said.append) == folder
    assert said == []


@pytest.mark.parametrize(
    ("missing", "fix"),
    [
        ("model.bin", "ct2-transformers-converter"),
        ("tokenizer.json", "copy it from the model"),
        ("config.json", "lacks config.json"),
    ],
)
def test_an_incomplete_directory_is_named(folder: Path, missing: str, fix: str) -> None:
    (folder / missing).unlink()
    assert fix in failure(str(folder)) and missing in failure(str(folder))


def test_names_that_mean_nothing() -> None:
    assert "no such directory" in failure("./nowhere")
    assert "no such directory" in failure("/nowhere/at/all")
    assert "large-v3-turbo" in failure("enormous")
    assert "not a valid hub id" in failure("a/b/c")


def test_the_demo_model_or_how_to_get_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    assert "reinstall" in failure("demo")
    (tmp_path / "data").mkdir()
    folder.rename(tmp_path / "data" / "demo-model")
    found = models.resolve(EngineConfig(model="demo"), lambda line: None)
    assert found == tmp_path / "data" / "demo-model"


@pytest.mark.parametrize("where", ["demo", "folder"])
def test_only_the_hub_has_revisions(where: str, folder: Path) -> None:
    name = str(folder) if where == "folder" else where
    with pytest.raises(ConfigError, match="not on the hub: revision cannot pin"):
        models.resolve(EngineConfig(model=name, revision="abc"), lambda line: None)


class Hub:
    """Stands for the hub: a cache, a download, and what was asked of both."""

    def __init__(self, cached: Path | None, answer: Path | Exception) -> None:
        self.cached, self.answer = cached, answer
        self.asked: list[dict[str, Any]] = []

    def __call__(self, **where: Any) -> str:
        self.asked.append(where)
        if where.pop("local_files_only", False):
            if self.cached is None:
                raise LocalEntryNotFoundError("not here")
            return str(self.cached)
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)


def use(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    monkeypatch.setattr(model_hub, "is_reachable", lambda: True)
    return hub


def test_a_stock_size_is_downloaded_once_and_pinned(
    folder: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = use(Hub(None, folder), monkeypatch)
    config = EngineConfig(model="small", revision="abc", model_cache="/cache")
    assert models.resolve(config, said.append) == folder
    assert said == ["downloading model small (Systran/faster-whisper-small)"]
    assert hub.asked[1]["repo_id"] == "Systran/faster-whisper-small"
    assert hub.asked[1]["revision"] == "abc"
    assert hub.asked[1]["cache_dir"] == "/cache"


def test_a_cached_model_needs_no_hub(
    folder: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = use(Hub(folder, AssertionError("asked the hub")), monkeypatch)
    assert models.resolve(EngineConfig(model="owner/name"), said.append) == folder
    assert said == [] and len(hub.asked) == 1


def test_an_interrupted_download_is_taken_up_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = tmp_path / "partial"
    partial.mkdir()
    use(Hub(partial, folder), monkeypatch)
    assert models.resolve(EngineConfig(model="tiny"), lambda line: None) == folder


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LocalEntryNotFoundError("x"), "hub cannot be reached; connect once, or give"),
        (OSError("No space left\non device"), "No space left on device; connect"),
    ],
)
def test_a_download_that_fails(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Hub(None, error), monkeypatch)
    assert words in failure("tiny")
    assert "what is here: " in failure("tiny") and "demo" in failure("tiny")


def test_offline_without_a_cache_is_one_line_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what a machine without a network does, through the real client
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    started = time.monotonic()
    assert "what is here: " in failure("tiny", cache=str(tmp_path))
    assert time.monotonic() - started < 5


def test_facts_of_a_stock_model(folder: Path) -> None:
    facts = describe(folder, "hub cache")
    assert (facts.mels, facts.min_context_s, facts.is_demo) == (80, None, False)
    assert facts.source == "hub cache"
    (folder / "preprocessor_config.json").write_text('{"feature_size": 128}')
    assert describe(folder).mels == 128


def test_facts_of_a_model_trained_on_short_contexts(folder: Path) -> None:
    own = {"whisper_live": {"min_audio_context_s": 2.0, "demo": True}}
    (folder / "config.json").write_text(json.dumps(own))
    facts = describe(folder)
    assert (facts.min_context_s, facts.is_demo) == (2.0, True)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"whisper_live": 3}',
        '{"whisper_live": {"min_audio_context_s": "x"}}',
    ],
)
def test_a_damaged_config_is_named(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ConfigError, match="config.json"):
        describe(folder)


def test_memory_is_estimated_from_the_weights_and_what_calls_need(folder: Path) -> None:
    with (folder / "model.bin").open("wb") as file:
        file.truncate(483_000_000)  # small's, which takes 705 MB
    assert memory_bytes(folder) == 1_053_750_000


def test_further_models_are_those_that_the_operator_names() -> None:
    config = EngineConfig(model="small", models=" tiny, small,,owner/name ")
    assert config.further_models == {"tiny": "", "owner/name": ""}
    assert EngineConfig().further_models == {}
    with pytest.raises(ConfigError, match="no \\*"):
        Config(engine=EngineConfig(models="tiny,*"))


def test_each_further_model_may_have_a_revision_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = use(Hub(folder, folder), monkeypatch)
    named = "tiny@abc,owner/name,owner/other@v1.0,./my@model"
    config = Config(engine=EngineConfig(model="small", revision="main", models=named))
    assert list(config.engine.further_models) == [
        "tiny",
        "owner/name",
        "owner/other",
        "./my@model",
    ]
    loader = FurtherModels(config)
    for name in ("tiny", "owner/name", "owner/other"):
        loader.size_bytes(name)
    asked = [(each["repo_id"], each["revision"]) for each in hub.asked]
    assert asked == [
        ("Systran/faster-whisper-tiny", "abc"),
        ("owner/name", None),
        ("owner/other", "v1.0"),
    ]


def test_models_by_language_and_for_the_final_pass_are_loaded_but_not_offered() -> None:
    config = EngineConfig(
        model="small",
        models="tiny",
        model_for_language="de=owner/name@abc, FR = medium,en=small",
        final_model="large-v3@main",
    )
    assert config.language_models == {"de": "owner/name", "fr": "medium", "en": "small"}
    assert config.final_pass_model == "large-v3"
    assert config.offered_models == {"tiny"}
    assert config.further_models == {
        "tiny": "",
        "owner/name": "abc",
        "medium": "",
        "large-v3": "main",
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_for_language": "medium"}, "'medium' must be CODE=NAME"),
        ({"model_for_language": "german=medium"}, "must be CODE=NAME"),
        ({"model_for_language": "de="}, "must be CODE=NAME"),
        ({"model_for_language": "de=a,de=b"}, "de has two models"),
        ({"model_for_language": "de=a@"}, "model-for-language: 'a@' must be NAME"),
        ({"model_for_language": "de=auto"}, "auto is for the main model alone"),
        ({"model_for_language": "de=a@1", "models": "a"}, "a is pinned to two"),
        ({"final_model": "a,b"}, "final-model must name one model"),
        ({"models": "tiny,auto"}, "models: auto is for the main model alone"),
    ],
)
def test_a_choice_of_models_that_cannot_be_read_is_named(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Config(engine=EngineConfig(**settings))


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("tiny@", "NAME@COMMIT"),
        ("@abc", "NAME@COMMIT"),
        ("tiny@a,tiny@b", "two revisions"),
        ("tiny@a,tiny", "two revisions"),
    ],
)
def test_a_pin_that_cannot_be_read_is_named(named: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Config(engine=EngineConfig(models=named))
