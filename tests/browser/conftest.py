"""What several modules here need."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.browser.page import need


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's script, from npm."""
    need(shutil.which("npm"), "npm")
    folder = tmp_path_factory.mktemp("axe")
    install = ["npm", "install", "--silent", "--no-audit", "axe-core@4"]
    subprocess.run(install, cwd=folder, check=True, timeout=50)
    return (folder / "node_modules/axe-core/axe.min.js").read_text("utf-8")
