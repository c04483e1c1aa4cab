"""Print the published grammar and word lists, as they stand in the README."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from training.demo_model import domain, grammar

__all__ = ["described", "main"]

README = Path(__file__).with_name("README.md")
_BEGIN, _END = "<!-- grammar -->\n", "<!-- /grammar -->\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 88, break_long_words=False, break_on_hyphens=False)


def _listed(items: Iterable[str]) -> str:
    return _wrapped(", ".join(items))


def described() -> str:
    """Return Markdown of templates, slots, phrases and words of both languages."""
    lines = ["### English sentences", ""]
    lines += [f"- {template}" for _, template in domain.TEMPLATES]
    lines += ["", "### English slots", ""]
    lines += [f"- {name}: {', '.join(v)}" for name, v in sorted(domain.SLOTS.items())]
    lines += ["", "### English phrases", "", _wrapped(" ".join(domain.PHRASES))]
    lines += ["", "### German sentences and their translations", ""]
    lines += [f"- {de} = {en}" for _, de, en in domain.TEMPLATES_DE]
    lines += ["", "### German slots", ""]
    for name, pairs in sorted(domain.SLOTS_DE.items()):
        lines.append(f"- {name}: " + ", ".join(f"{de} = {en}" for de, en in pairs))
    phrases = " ".join(f"{de} = {en}" for de, en in domain.PHRASES_DE)
    lines += ["", "### German phrases", "", _wrapped(phrases)]
    for name, language in (("English", "en"), ("German", "de")):
        words = grammar.vocabulary(language)
        lines += ["", f"### {name} words ({len(words)})", "", _listed(words)]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Bring the README's grammar up to date."""
    text = README.read_text()
    head, rest = text.split(_BEGIN)
    _, tail = rest.split(_END)
    README.write_text(f"{head}{_BEGIN}\n{described()}\n{_END}{tail}")


if __name__ == "__main__":
    main()
