"""What ``deploy/`` has is valid, and names only settings and metrics that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_dashboard import SERIES, rendered
from whisper_live.config.model import LimitConfig

if not os.environ.get("CI"):
    pytest.importorskip("kubernetes_validate", reason="pip install '.[test]'")

import kubernetes_validate
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")
KUBERNETES = "1.34"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def objects() -> list[dict[str, Any]]:
    """All that the base makes."""
    return [
        read(BASE / name) for name in read(BASE / "kustomization.yaml")["resources"]
    ]


def test_every_object_of_kubernetes_is_valid() -> None:
    kinds = []
    for thing in objects():
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)
        kinds.append(thing["kind"])
    wanted = ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]
    assert kinds == wanted


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_the_gpu_variant_asks_for_one_gpu() -> None:
    made = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / "gpu")],
        capture_output=True,
        check=True,
    )
    things = list(yaml.safe_load_all(made.stdout))
    for thing in things:
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)
    (deployment,) = [thing for thing in things if thing["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["args"] == ["serve", "--device", "cuda"]


def test_selectors_find_the_pods() -> None:
    deployment, service, budget, scaler = objects()
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    name = deployment["metadata"]["name"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == name


def test_a_pod_is_given_the_time_that_its_drain_takes() -> None:
    pod = objects()[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command, before_s = container["lifecycle"]["preStop"]["exec"]["command"]
    drain_s = LimitConfig().drain_timeout_s
    assert command == "sleep"
    assert pod["terminationGracePeriodSeconds"] > float(before_s) + drain_s


def test_the_dockerfile_is_without_faults() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    linted = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


def test_every_setting_that_is_named_exists() -> None:
    named: set[str] = set()
    for path in (p for p in DEPLOY.rglob("*") if p.is_file()):
        named |= set(re.findall(r"WHISPER_LIVE_[A-Z_]+", path.read_text("utf-8")))
    assert len(named) >= 5
    assert [name for name in named if f"`{name}`" not in SETTINGS] == []


def test_compose_mounts_what_is_there() -> None:
    compose = read(DEPLOY / "docker" / "compose.yaml")
    mounts = [
        mount.partition(":")[0]
        for service in compose["services"].values()
        for mount in service.get("volumes", ())
    ]
    files = [DEPLOY / "docker" / mount for mount in mounts if mount.startswith(".")]
    assert len(files) == 4 and all(path.exists() for path in files)
    volumes = {mount for mount in mounts if not mount.startswith(".")}
    assert volumes == compose["volumes"].keys()


def test_every_series_of_rules_and_autoscaler_exists() -> None:
    known = rendered()
    (group,) = read(DEPLOY / "prometheus" / "rules.yml")["groups"]
    made = {rule["record"] for rule in group["rules"] if "record" in rule}
    for rule in group["rules"]:
        text = rule["expr"]
        for name in made:
            text = text.replace(name, "")
        assert set(SERIES.findall(text)) <= known.keys(), rule
        assert "fleet:" not in text
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["summary"]
    metrics = [
        each["pods"]["metric"]["name"] for each in objects()[3]["spec"]["metrics"]
    ]
    assert set(metrics) <= known.keys()
