"""Where settings come from: flag, else environment, else file, else default.

Owns the names of a setting in all of these, made from the fields of ``model``, and
the documents' table of them.  Knows no command; ``cli`` says which settings one takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, NoReturn

import configargparse

from whisper_live.config.model import Config
from whisper_live.config.suggestion import did_you_mean, nearest
from whisper_live.errors import ConfigError

__all__ = [
    "CommandParser",
    "ENVIRONMENT_PREFIX",
    "HelpOfAll",
    "Parser",
    "Setting",
    "add_settings",
    "all_settings",
    "blamed",
    "build_config",
    "count",
    "file_options",
    "finite",
    "mistyped_variables",
    "positive",
    "settings_table",
    "whole",
]

SETTINGS_FILE = "whisper-live.toml"
ENVIRONMENT_PREFIX = "WHISPER_LIVE_"
_SWITCHED = ("true", "false", "yes", "no", "1", "0")  # as in the environment


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of one group of ``Config``, under the names operators use."""

    group: str
    field: dataclasses.Field[Any]

    @property
    def key(self) -> str:
        """As in the file."""
        return self.field.name.replace("_", "-")

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--{self.key}"

    @property
    def variable(self) -> str:
        """As in the environment."""
        return ENVIRONMENT_PREFIX + self.field.name.upper()

    @property
    def accepts(self) -> str:
        """The values allowed, in words; empty where any will do."""
        if isinstance(self.field.default, bool):
            return "true, false"
        meta = self.field.metadata
        if meta["choices"]:
            return ", ".join(meta["choices"])
        low, high = meta["low"], meta["high"]
        if low is not None and high is not None:
            return f"{low:g} to {high:g}"
        return "" if low is None else f"at least {low:g}"


def all_settings() -> Iterator[Setting]:
    """Every setting, in the order of ``Config``."""
    defaults = Config()
    for group in dataclasses.fields(Config):
        for each in dataclasses.fields(getattr(defaults, group.name)):
            yield Setting(group.name, each)


def finite(text: str) -> float:
    """A number for argparse; neither infinite nor NaN."""
    value = float(text)
    if not math.isfinite(value):  # NaN would slip through every range check
        raise ValueError(text)
    return value


def positive(text: str) -> float:
    """A number above zero for argparse."""
    value = finite(text)
    if value <= 0:
        raise ValueError(text)
    return value


def count(text: str) -> int:
    """A whole number above zero for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def whole(text: str) -> int:
    """A whole number, zero or above, for argparse."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


finite.__name__ = "number"  # argparse puts these into its messages
positive.__name__ = "positive number"
count.__name__ = "positive whole number"
whole.__name__ = "whole number"


def settings_table() -> str:
    """The table of settings in docs/settings.md, one row per field of ``Config``."""
    rows = ["| flag | environment | default | accepts | what |"]
    rows.append("|---|---|---|---|---|")
    for each in all_settings():
        default = each.field.default
        shown = "" if default == "" else f"`{_as_text(default)}`"
        what = each.field.metadata["help"]
        rows.append(
            f"| `{each.flag}` | `{each.variable}` | {shown} | {each.accepts} | {what} |"
        )
    return "\n".join(rows) + "\n"


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------------- parsers


class Parser(argparse.ArgumentParser):
    """Complains with ``ConfigError`` and never exits by itself."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if wrong:
            message += did_you_mean(wrong[1], re.findall(r"'([^']*)'", wrong[2]))
        raise ConfigError(f"{message} (see {self.prog} --help)")


class CommandParser(configargparse.ArgumentParser):  # type: ignore[misc]  # untyped
    """A command's parser; it is given ``file_options`` and then ``add_settings``."""

    def error(self, message: str) -> NoReturn:
        """As ``Parser``'s; what was no flag is not called one."""
        if isinstance(sys.exc_info()[1], ConfigError):  # `_open` has said it
            raise
        wrong = re.match(r"argument (--[\w-]+)\S*: (.*)", message, re.DOTALL)
        place = wrong and self._sources().get(wrong[1].lstrip("-").replace("-", "_"))
        Parser.error(self, f"{place}: {wrong[2]}" if wrong and place else message)

    def format_help(self) -> str:
        """argparse's; configargparse has a last line of its own, without the file."""
        text: str = super().format_help()  # it puts variables into the help of flags
        head, last, _ = text.rpartition("\n In general, command-line values override")
        return head if last else text

    def _sources(self) -> dict[str, str]:
        """Where the values came from that no flag gave, by field, in words."""
        found: dict[str, str] = {}
        read: Mapping[str, Any] = vars(self).get("_source_to_settings", {})
        for source, settings in read.items():
            kind, _, path = source.partition("|")
            for key, (action, _) in settings.items():
                if kind == "environment_variables":
                    found[action.dest] = f"{key} in the environment"
                elif kind == "config_file":
                    found[action.dest] = f"{key} in {path}"
        return found

    def parse_known_args(
        self, *given: Any, **named: Any
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, but what is not known ends here, where the flags are known.

        The namespace has ``sources`` as well, for ``blamed``.
        """
        found, unknown = super().parse_known_args(*given, **named)
        found.sources = self._sources()
        if unknown:
            flag = next((each for each in unknown if each.startswith("--")), "")
            hint = did_you_mean(flag.partition("=")[0], self._option_string_actions)
            if not flag and "--model" in self._option_string_actions:
                hint = f"; did you mean --model {unknown[0]}?"
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown


def mistyped_variables(names: Iterable[str]) -> Iterator[str]:
    """A complaint for each variable that nothing reads and that is nearly a setting's.

    Others may have variables of the same prefix.
    """
    known = {each.variable for each in all_settings()}
    known |= {ENVIRONMENT_PREFIX + name for name in ("CONFIG", "KEY", "CA")}
    bare = {name.removeprefix(ENVIRONMENT_PREFIX) for name in known}
    for name in sorted(names):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in known:
            continue
        if like := nearest(name.removeprefix(ENVIRONMENT_PREFIX), bare):
            yield f"{name} is no setting; did you mean {ENVIRONMENT_PREFIX}{like}?"


def file_options(settings: Sequence[Setting]) -> dict[str, Any]:
    """What to make a ``CommandParser`` with, so that it reads the settings file."""
    if not settings:
        return {}
    return {
        "config_file_parser_class": _SettingsFile(frozenset(s.key for s in settings)),
        "default_config_files": [SETTINGS_FILE],
        "config_file_open_func": _open,
        "ignore_unknown_config_file_keys": True,  # _SettingsFile has checked them
    }


def _open(path: str) -> IO[str]:
    try:
        return open(path, encoding="utf-8")
    except OSError as error:
        what = f"cannot read the settings in {path}: {error.strerror}"
        raise ConfigError(what) from error


class _SettingsFile(configargparse.ConfigFileParser):  # type: ignore[misc]  # untyped
    """A flat TOML file; a key that is no setting at all is an error.

    A setting that the command at hand has no use for is skipped: one file serves
    ``serve``, ``stream`` and ``transcribe``.
    """

    def __init__(self, used: frozenset[str]) -> None:
        super().__init__()
        self._used = used

    def get_syntax_description(self) -> str:
        return "one `key = value` per line, in TOML"

    def parse(self, stream: IO[str]) -> dict[str, str]:
        try:
            content = tomllib.loads(stream.read())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{stream.name}: {error}") from error
        known = {each.key for each in all_settings()}
        unknown = content.keys() - known
        if unknown:
            names = ", ".join(sorted(unknown))
            hints = (did_you_mean(name, known) for name in sorted(unknown))
            hint = next(filter(None, hints), "")
            raise ConfigError(f"{stream.name}: unknown settings: {names}{hint}")
        switches = {s.key for s in all_settings() if isinstance(s.field.default, bool)}
        for key, value in content.items():
            if not isinstance(value, str | bool | int | float):
                raise ConfigError(f"{stream.name}: {key} must be a single value")
            if key in switches and str(value).lower() not in _SWITCHED:
                raise ConfigError(f"{stream.name}: {key} must be true or false")
        return {key: str(content[key]) for key in content if key in self._used}


class HelpOfAll(argparse.Action):
    """``--help`` of the program, and where a command's settings are."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> None:
        parser.print_help()
        print(f"\nthe settings of a command: {parser.prog} COMMAND --help-all")
        parser.exit()


class _HelpAll(argparse.Action):
    """``--help`` with what it leaves out."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **options)
        self.left_out: dict[argparse.Action, str] = {}  # and their help

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> None:
        for action, text in self.left_out.items():
            action.help = text
        parser.print_help()
        parser.exit()


def add_settings(
    parser: Any, settings: Sequence[Setting], *, first: Collection[str] | None = None
) -> None:
    """Offer the settings, and the flag that names a file of them.

    ``--help`` shows those whose fields are named in ``first``, ``--help-all`` all; None
    is all in both.
    """
    if not settings:
        return
    how = f"flag, else environment, else {SETTINGS_FILE}, else default"
    left_out: dict[argparse.Action, str] = {}
    if first is not None:
        more = sum(each.field.name not in first for each in settings)
        how += f"; --help-all shows {more} more"
        help_all = parser.add_argument(
            "--help-all", action=_HelpAll, help="show all settings as well, and exit"
        )
        left_out = help_all.left_out
    offered = parser.add_argument_group("settings", how)
    offered.add_argument(
        "--config",
        metavar="FILE",
        is_config_file_arg=True,
        env_var=ENVIRONMENT_PREFIX + "CONFIG",
        help=f"read settings from this file too; it wins over ./{SETTINGS_FILE}",
    )
    for each in settings:
        default = each.field.default
        kind: dict[str, Any] = {"type": type(default), "metavar": "VALUE"}
        if isinstance(default, bool):
            kind = {"action": argparse.BooleanOptionalAction}
        elif isinstance(default, float):
            kind["type"] = finite
        elif each.field.metadata["choices"]:
            kind = {"choices": each.field.metadata["choices"]}
        text = each.field.metadata["help"].replace("%", "%%")
        is_shown = first is None or each.field.name in first
        action = offered.add_argument(
            each.flag,
            default=default,
            env_var=each.variable,
            help=text if is_shown else argparse.SUPPRESS,
            **kind,
        )
        if not is_shown:
            left_out[action] = text


def blamed(error: ConfigError, sources: Mapping[str, str]) -> ConfigError:
    """The error with the places of the settings it speaks of, where they are no flags.

    ``sources`` are a parser's.  A message begins with a setting's key, and others of
    which it speaks have a dash in theirs: plain words may just be words.
    """
    first, *others = re.findall(r"[a-z0-9-]+", error.detail) or [""]
    keys = dict.fromkeys([first, *(word for word in others if "-" in word)])
    named = [sources.get(key.replace("-", "_")) for key in keys]
    places = ", ".join(filter(None, named))
    return ConfigError(f"{error} ({places})", kind=error.kind) if places else error


def build_config(chosen: Mapping[str, Any]) -> Config:
    """The one ``Config`` of this process; defaults for what was not ``chosen``.

    Raises ``ConfigError`` for values that are out of range or do not go together.
    """
    groups: dict[str, Any] = {}
    for group in dataclasses.fields(Config):
        defaults = getattr(Config(), group.name)
        names = {each.name for each in dataclasses.fields(defaults)} & chosen.keys()
        changes = {name: chosen[name] for name in names}
        groups[group.name] = dataclasses.replace(defaults, **changes)
    return Config(**groups)
