"""The built site needs no other host.  Needs the extra ``[docs]``."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None,
    reason="needs mkdocs: pip install -e '.[docs]'",
)
def test_the_site_builds_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    command = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))  # and 404.html
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"([^\"]*)", text)
        fetched += re.findall(r"<link[^>]*\bhref=\"([^\"]*)", text)
        assert not [url for url in fetched if re.match(r"(?:[a-z]+:)?//", url)]
