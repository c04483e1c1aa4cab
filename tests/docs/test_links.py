"""No dead link: files and anchors, in README, ``docs/`` and beside them.

Anchors are made as forges do; ``mkdocs build --strict`` checks the site's own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCUMENTS, ROOT, read

_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def links(text: str) -> list[str]:
    """The targets of a page's links, those inside code left out."""
    return _LINK.findall(_CODE.sub("", text))


def anchors(page: Path) -> set[str]:
    """What a link into a page can end with."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*?)\s*$", text, re.MULTILINE):
        name = re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        found[name] = found.get(name, 0) + 1
    again = {f"{name}-{i}" for name, count in found.items() for i in range(1, count)}
    return {*found, *again}


def dead(page: str) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for target in links(read(page)):
        if re.match(r"[a-z]+:", target):
            continue  # another host's affair
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.is_file() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_lead_somewhere(page: str) -> None:
    assert not dead(page)


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if page[:5] == "docs/"])
def test_pages_of_the_site_link_only_within_it(page: str) -> None:
    """What lies outside ``docs/`` is named by its path: the site does not have it."""
    folder = (ROOT / page).parent
    for target in links(read(page)):
        if ":" not in target:
            assert (folder / target).resolve().is_relative_to(ROOT / "docs"), target


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"([\w/-]+\.md)$", read("mkdocs.yml"), re.MULTILINE)
    pages = [page[5:] for page in DOCUMENTS if page.startswith("docs/")]
    assert sorted(listed) == pages


def test_readme_leads_to_every_part() -> None:
    linked = set(links(read("README.md")))
    tops = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    parts = {
        f"docs/{path.parent.name}/index.md" for path in ROOT.glob("docs/*/index.md")
    }
    assert tops - {"docs/index.md"} | parts | {"CONTRIBUTING.md", "CHANGELOG.md"} <= {
        link.partition("#")[0] for link in linked
    }
