"""Write the man page out of the command table: ``python -m tests.docs.man``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from tests.docs.pages import ROOT, read
from whisper_live import __version__, cli
from whisper_live.config.model import Config
from whisper_live.config.sources import Setting, all_settings

__all__ = ["PAGE", "main", "man_page"]

PAGE = "share/man/man1/whisper-live.1"


def man_page() -> str:
    """The whole page, as troff with the macros of man(7)."""
    parser = cli.build_parser()
    return "\n".join([*_head(parser), *_commands(parser), *_settings(), *_tail(), ""])


def _head(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield '.\\" Written by python -m tests.docs.man'
    yield f'.TH WHISPER-LIVE 1 "" "whisper-live {__version__}" "User Commands"'
    yield ".SH NAME"
    about = str(parser.description).rstrip(".")
    yield f"whisper-live \\- {_text(about[0].lower() + about[1:])}"
    yield ".SH SYNOPSIS"
    yield ".B whisper-live\n.I COMMAND\n[options]"


def _commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield ".SH COMMANDS"
    for name, command in cli.COMMANDS.items():
        yield f".SS {_text(name)}"
        yield _text(command.help)
        settings = [each.flag for each in command.settings()]
        for action in _parser_of(parser, name)._actions:
            names = action.option_strings
            if {*settings, "--help", "--help-all", "--config"} & {*names}:
                continue
            yield from _entry(" ".join([*names[:1], _value(action)]), action.help)
        if settings:
            few = [_text(flag) for flag in settings] if len(settings) < 4 else None
            taken = few or [f"the settings below {', '.join(command.groups)}"]
            yield f".P\ntakes {', '.join(taken)}"


def _parser_of(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    [choices] = [
        each.choices for each in parser._actions if isinstance(each.choices, dict)
    ]
    found: argparse.ArgumentParser = choices[name]
    return found


def _settings() -> Iterator[str]:
    yield ".SH SETTINGS"
    yield _text(
        "each is a flag, a variable in the environment and a key in the settings "
        "file, in this order of precedence"
    )
    group = ""
    for each in all_settings():
        if each.group != group:
            group = each.group
            about = type(getattr(Config(), group)).__doc__ or ""
            yield f".SS {group}: {_text(about[0].lower() + about[1:].rstrip('.'))}"
        yield from _entry(f"{each.flag} VALUE", _told(each))


def _told(setting: Setting) -> str:
    default = setting.field.default
    facts = [setting.variable]
    facts += [f"default {default}".lower()] if default != "" else []
    facts += [f"accepts {setting.accepts}"] if setting.accepts else []
    return f"{setting.field.metadata['help']} ({'; '.join(facts)})"


def _tail() -> Iterator[str]:
    yield ".SH FILES"
    yield from _entry("./whisper-live.toml", "settings, as in port = 9090")
    yield ".SH EXIT STATUS"
    table = read("docs/commands.md").partition("| exit code |")[2]
    for code, meaning in re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE):
        yield from _entry(code, meaning)


def _entry(term: str, text: str | None) -> Iterator[str]:
    yield ".TP"
    yield f".B {_text(term.strip())}"
    yield _text((text or "").replace("%%", "%"))


def _value(action: argparse.Action) -> str:
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return ""
    if action.metavar or action.choices is None:
        return str(action.metavar or action.dest.upper())
    return "|".join(map(str, action.choices))


def _text(text: str) -> str:
    """For troff: hyphens that can be copied, no commands at the start of a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def main() -> None:
    """Bring the page up to date."""
    (ROOT / PAGE).write_text(man_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
