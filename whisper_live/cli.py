"""The command line: flags, environment and file become one ``Config``, then a command.

Owns the names of commands, where settings come from, and exit codes.  The settings
themselves are described in ``config``; each becomes a flag, an environment variable
and a key of the file here, without being listed again.  What a command needs is
imported when it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import math
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

import configargparse

from whisper_live import __version__
from whisper_live.config import Config
from whisper_live.errors import ConfigError, EngineUnavailable, WhisperLiveError

__all__ = ["Command", "ExitCode", "main", "settings_table"]

PROGRAM = "whisper-live"
SETTINGS_FILE = "whisper-live.toml"
ENVIRONMENT_PREFIX = "WHISPER_LIVE_"


class ExitCode(enum.IntEnum):
    """What a command's exit status says; the README's table explains each."""

    OK = 0
    FAILED = 1
    CONFIGURATION = 2
    ENGINE_LOST = 3
    INTERRUPTED = 130


# -------------------------------------------------------------------- settings


@dataclass(frozen=True, slots=True)
class _Setting:
    """One field of one group of ``Config``, under the names operators use."""

    group: str
    field: dataclasses.Field[Any]

    @property
    def key(self) -> str:
        return self.field.name.replace("_", "-")

    @property
    def flag(self) -> str:
        return f"--{self.key}"

    @property
    def variable(self) -> str:
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


def _settings() -> Iterator[_Setting]:
    defaults = Config()
    for group in dataclasses.fields(Config):
        for each in dataclasses.fields(getattr(defaults, group.name)):
            yield _Setting(group.name, each)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # NaN would slip through every range check
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = _finite(text)
    if value <= 0:
        raise ValueError(text)
    return value


_finite.__name__ = "number"  # argparse puts these into its messages
_positive.__name__ = "positive number"


def settings_table() -> str:
    """The README's table of settings, one row per field of ``Config``."""
    rows = ["| flag | environment | default | accepts | what |"]
    rows.append("|---|---|---|---|---|")
    for each in _settings():
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
        unknown = content.keys() - {each.key for each in _settings()}
        if unknown:
            names = ", ".join(sorted(unknown))
            raise ConfigError(f"{stream.name}: unknown settings: {names}")
        for key, value in content.items():
            if not isinstance(value, str | bool | int | float):
                raise ConfigError(f"{stream.name}: {key} must be a single value")
        return {key: str(content[key]) for key in content if key in self._used}


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, where there is something to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, ""):
            return action.help
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


class _CommandParser(configargparse.ArgumentParser):  # type: ignore[misc]  # untyped
    error = _Parser.error


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: which settings it takes, its own arguments, and its work.

    ``groups`` name fields of ``Config``; ``fixed`` are settings that this command
    decides by itself and therefore does not offer.
    """

    name: str
    help: str
    run: Callable[[Config, argparse.Namespace], int]
    groups: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    add_arguments: Callable[[Any], None] = lambda parser: None

    def settings(self) -> list[_Setting]:
        """The settings that its user may choose."""
        return [
            each
            for each in _settings()
            if each.group in self.groups and each.field.name not in self.fixed
        ]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Live transcription over WebSocket, in WhisperLive's protocol.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_CommandParser
    )
    for command in COMMANDS.values():
        settings = command.settings()
        options: dict[str, Any] = {}
        if settings:
            options["config_file_parser_class"] = _SettingsFile(
                frozenset(each.key for each in settings)
            )
            options["default_config_files"] = [SETTINGS_FILE]
            options["ignore_unknown_config_file_keys"] = True  # checked by the above
        sub = commands.add_parser(
            command.name,
            help=command.help,
            description=command.help,
            allow_abbrev=False,
            add_config_file_help=False,
            formatter_class=_Help,
            **options,
        )
        command.add_arguments(sub)
        _add_settings(sub, settings)
    return parser


def _add_settings(parser: Any, settings: Sequence[_Setting]) -> None:
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
            kind["type"] = _finite
        elif each.field.metadata["choices"]:
            kind = {"choices": each.field.metadata["choices"]}
        offered.add_argument(
            each.flag,
            default=default,
            env_var=each.variable,
            help=each.field.metadata["help"].replace("%", "%%"),
            **kind,
        )


def _config(command: Command, arguments: argparse.Namespace) -> Config:
    """Build the one ``Config`` of this process from what the parser settled on."""
    chosen = {
        each.field.name: getattr(arguments, each.field.name)
        for each in command.settings()
    }
    chosen.update(command.fixed)
    groups: dict[str, Any] = {}
    for group in dataclasses.fields(Config):
        defaults = getattr(Config(), group.name)
        names = {each.name for each in dataclasses.fields(defaults)} & chosen.keys()
        changes = {name: chosen[name] for name in names}
        groups[group.name] = dataclasses.replace(defaults, **changes)
    return Config(**groups)


# --------------------------------------------------------------------- commands


def _serve(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live import daemon

    return daemon.run(config)


def _stream(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.client import stream

    return stream.run(config, arguments)


def _transcribe(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.client import transcribe

    return transcribe.run(config, arguments)


def _demo(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.client import demo

    return demo.run(config, arguments)


def _replay(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.client import replay

    path = Path(arguments.log)
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    return replay.run(path, verbose=arguments.verbose)


def _print_settings(config: Config, arguments: argparse.Namespace) -> int:
    print(settings_table(), end="")
    return ExitCode.OK


def _stream_arguments(parser: Any) -> None:
    parser.add_argument("file", metavar="FILE", help="the recording to play")
    parser.add_argument("--url", help="the server; ws://HOST:PORT unless given")
    parser.add_argument(
        "--key",
        env_var=ENVIRONMENT_PREFIX + "KEY",
        help="shown to a server that wants one; safer in the environment",
    )
    parser.add_argument(
        "--speed",
        type=_positive,
        default=1.0,
        metavar="N",
        help="times real time, as far as the server's audio-rate lets it",
    )
    parser.add_argument(
        "--send",
        choices=("auto", "float32", "int16", "webm"),
        default="auto",
        help="send raw samples or WebM/Opus; auto sends a WebM file as it is",
    )
    _speech_arguments(parser)


def _transcribe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="recordings to read")
    parser.add_argument(
        "--format", choices=("text", "srt", "vtt", "json"), default="text"
    )
    parser.add_argument(
        "--output-dir", metavar="DIR", help="write one file per recording there"
    )
    parser.add_argument(
        "--word-timestamps",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="put the times of words into json",
    )
    _speech_arguments(parser)


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", metavar="LOG", help="an event log of serve --record")
    parser.add_argument(
        "--verbose",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="print every event and effect",
    )


def _speech_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", metavar="CODE", help="detected unless given")
    parser.add_argument(
        "--task", choices=("transcribe", "translate"), default="transcribe"
    )
    parser.add_argument("--initial-prompt", metavar="TEXT", default="")
    parser.add_argument("--hotwords", metavar="TEXT", default="")


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "serve",
            "run the daemon",
            _serve,
            groups=tuple(group.name for group in dataclasses.fields(Config)),
        ),
        Command(
            "stream",
            "play a recording to a running daemon and show the words as they arrive",
            _stream,
            groups=("listen",),
            add_arguments=_stream_arguments,
        ),
        Command(
            "transcribe",
            "transcribe recordings without a daemon",
            _transcribe,
            groups=("engine", "batch", "speech", "stream"),
            add_arguments=_transcribe_arguments,
        ),
        Command(
            "demo",
            "start a daemon, stream the bundled recording to it and check the words",
            _demo,
            groups=("engine", "batch"),
            fixed={"model": "demo", "engine": "local", "port": 0},
        ),
        Command(
            "replay",
            "drive the core through a recorded session and compare what it does",
            _replay,
            add_arguments=_replay_arguments,
        ),
        Command("settings", "print the table of all settings", _print_settings),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors made for the user become one line and an exit code."""
    try:
        arguments = _parser().parse_args(argv)
        command = COMMANDS[arguments.command]
        code = command.run(_config(command, arguments), arguments)
        sys.stdout.flush()  # here, where a closed pipe can still be answered
        return code
    except ConfigError as error:
        return _complain(error, ExitCode.CONFIGURATION)
    except EngineUnavailable as error:
        return _complain(error, ExitCode.ENGINE_LOST)
    except WhisperLiveError as error:
        return _complain(error, ExitCode.FAILED)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (as head does); Python would complain when
        # it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED


def _complain(error: WhisperLiveError, code: ExitCode) -> ExitCode:
    print(f"{PROGRAM}: {error}", file=sys.stderr)
    return code
