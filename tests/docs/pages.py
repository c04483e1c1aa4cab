"""The documents as tests read them: where they are, and what stands between marks."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DOCUMENTS", "ROOT", "between", "read", "with_between"]

ROOT = Path(__file__).parents[2]

# Every page that people read in a clone or on the built site.
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "systemd/README.md",
        ROOT / "tests/browser/README.md",
        ROOT / "tests/data/speech/README.md",
        ROOT / "training/demo_model/README.md",
        ROOT / "whisper_live/data/demo-model/README.md",
    )
)


def read(page: str) -> str:
    """The text of a page, named from the top of the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def between(page: str, start: str, end: str) -> str:
    """What stands between two marks of a page, the rest of their lines left out."""
    _, _, found = _parts(page, start, end)
    return found.strip("\n") + "\n"


def with_between(page: str, start: str, end: str, text: str) -> str:
    """The page with ``text`` between the two marks, a blank line around it."""
    before, after, _ = _parts(page, start, end)
    return before + "\n" + text.strip("\n") + "\n\n" + after


def _parts(page: str, start: str, end: str) -> tuple[str, str, str]:
    """Up to the start mark's line, from the end mark on, and what is between."""
    head, mark, rest = read(page).partition(start)
    assert mark, f"{page} has no {start!r}"
    line, _, rest = rest.partition("\n")
    found, mark, tail = rest.partition(end)
    assert mark, f"{page} has no {end!r} behind {start!r}"
    return f"{head}{start}{line}\n", end + tail, found
