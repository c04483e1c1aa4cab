"""Write the table of settings into its page: ``python -m tests.docs.settings``."""

from __future__ import annotations

from tests.docs.pages import ROOT, with_between
from whisper_live.config.sources import settings_table

__all__ = ["MARKS", "PAGE", "main"]

PAGE = "docs/settings.md"
MARKS = ("<!-- settings:", "<!-- end of settings")


def main() -> None:
    """Bring the page up to date."""
    text = with_between(PAGE, *MARKS, settings_table())
    (ROOT / PAGE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
