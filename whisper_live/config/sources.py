"""Where settings come from: flag, else environment, else file, else default.

Owns the names of a setting in all of these, made from the fields of ``model``, and
the documents' table of them.  Knows no command; ``cli`` says which settings one takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, NoReturn

import configargparse

from whisper_live.config.model import Config
from whisper_live.errors import ConfigError

__all__ = [
    "CommandParser",
    "ENVIRONMENT_PREFIX",
    "Parser",
    "Setting",
    "add_settings",
    "all_settings",
    "build_config",
    "count",
    "file_options",
    "finite",
    "positive",
    "settings_table",
]

SETTINGS_FILE = "whisper-live.toml"
ENVIRONMENT_PREFIX = "WHISPER_LIVE_"


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


finite.__name__ = "number"  # argparse puts these into its messages
positive.__name__ = "positive number"
count.__name__ = "positive whole number"


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
        raise ConfigError(f"{message} (see {self.prog} --help)")


class CommandParser(configargparse.ArgumentParser):  # type: ignore[misc]  # untyped
    """A command's parser; it is given ``file_options`` and then ``add_settings``."""

    error = Parser.error


def file_options(settings: Sequence[Setting]) -> dict[str, Any]:
    """What to make a ``CommandParser`` with, so that it reads the settings file."""
    if not settings:
        return {}
    return {
        "config_file_parser_class": _SettingsFile(frozenset(s.key for s in settings)),
        "default_config_files": [SETTINGS_FILE],
        "ignore_unknown_config_file_keys": True,  # _SettingsFile has checked them
    }


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
        unknown = content.keys() - {each.key for each in all_settings()}
        if unknown:
            names = ", ".join(sorted(unknown))
            raise ConfigError(f"{stream.name}: unknown settings: {names}")
        for key, value in content.items():
            if not isinstance(value, str | bool | int | float):
                raise ConfigError(f"{stream.name}: {key} must be a single value")
        return {key: str(content[key]) for key in content if key in self._used}


def add_settings(parser: Any, settings: Sequence[Setting]) -> None:
    """Offer the settings, and the flag that names a file of them."""
    if not settings:
        return
    offered = parser.add_argument_group(
        "settings", f"flag, else environment, else {SETTINGS_FILE}, else default"
    )
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
        offered.add_argument(
            each.flag,
            default=default,
            env_var=each.variable,
            help=each.field.metadata["help"].replace("%", "%%"),
            **kind,
        )


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
