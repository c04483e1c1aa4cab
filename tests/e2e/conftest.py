"""What several modules here need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.support import KEY
from whisper_live.config.model import AccessConfig


@pytest.fixture
def keyed(tmp_path: Path) -> AccessConfig:
    path = tmp_path / "keys"
    path.write_text(f"alice {KEY}\n")
    path.chmod(0o600)
    return AccessConfig(keys_file=str(path))
