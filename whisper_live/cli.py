"""The command line: a command, its settings as one ``Config``, and an exit code.

Owns the names of commands and what their exit codes mean.  Where settings come from
is ``config.sources``' business.  What a command needs is imported when it runs, so that
``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whisper_live import __version__
from whisper_live.config.latency import LATENCIES
from whisper_live.config.model import AccessConfig, Config
from whisper_live.config.sources import (
    ENVIRONMENT_PREFIX,
    CommandParser,
    HelpOfAll,
    Parser,
    Setting,
    add_settings,
    all_settings,
    blamed,
    build_config,
    count,
    file_options,
    mistyped_variables,
    positive,
    settings_table,
    whole,
)
from whisper_live.errors import ConfigError, EngineUnavailable, WhisperLiveError
from whisper_live.protocols.languages import DETECT, language_code, unknown_language
from whisper_live.server.process_limits import check_room_to_start, explain

__all__ = ["COMMANDS", "Command", "ExitCode", "build_parser", "main"]

PROGRAM = "whisper-live"

# What --help shows of the settings; the others are behind --help-all.
_FIRST = frozenset(
    {
        *("host", "port", "http_port", "keys_file", "tls_cert", "tls_key", "insecure"),
        *("model", "device", "latency", "max_sessions", "log_level", "log_format"),
    }
)


class ExitCode(enum.IntEnum):
    """What a command's exit status says; docs/commands.md explains each."""

    OK = 0
    FAILED = 1
    CONFIGURATION = 2
    ENGINE_LOST = 3
    INTERRUPTED = 130


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, where there is something to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, ""):
            return action.help
        return super()._get_help_string(action)


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: which settings it takes, its own arguments, and its work.

    ``groups`` name fields of ``Config``; ``fixed`` are settings that this command
    decides by itself and therefore does not offer, nor those in ``without``, which
    would change nothing.
    """

    name: str
    help: str
    run: Callable[[Config, argparse.Namespace], int]
    groups: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    add_arguments: Callable[[Any], None] = lambda parser: None

    def settings(self) -> list[Setting]:
        """The settings that its user may choose."""
        return [
            each
            for each in all_settings()
            if each.group in self.groups
            and each.field.name not in self.without | self.fixed.keys()
        ]

    def config(self, arguments: argparse.Namespace) -> Config:
        """What its parser settled on, and what is fixed."""
        names = [each.field.name for each in self.settings()]
        chosen = {name: getattr(arguments, name) for name in names}
        try:
            return build_config({**chosen, **self.fixed})
        except ConfigError as error:
            raise blamed(error, arguments.sources) from None


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = Parser(
        prog=PROGRAM,
        description="Live transcription over WebSocket, in WhisperLive's protocol.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--help-all", action=HelpOfAll, help="show this, and where all settings are"
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=CommandParser
    )
    for command in COMMANDS.values():
        settings = command.settings()
        sub = commands.add_parser(
            command.name,
            help=command.help,
            description=command.help,
            allow_abbrev=False,
            add_config_file_help=False,
            formatter_class=_Help,
            **file_options(settings),
        )
        command.add_arguments(sub)
        names = {each.field.name for each in settings}
        add_settings(sub, settings, first=_FIRST if names - _FIRST else None)
    return parser


# --------------------------------------------------------------------- commands


def _serve(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.observability import log
    from whisper_live.server.signals import Signals

    if config.engine.engine == "local":
        check_room_to_start()  # the libraries themselves may find no room to say so
    log.setup(config.log)
    with Signals() as signals:
        from whisper_live.server import process as daemon  # takes a second

        try:
            return daemon.run(config, signals, arguments.reread)
        finally:
            log.flush()  # before the line that says why it could not go on


def _models(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import models

    return models.run(config, arguments)


def _stream(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import stream

    return stream.run(config, arguments)


def _listen(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import listen

    return listen.run(config, arguments)


def _mic(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import mic

    return mic.run(config, arguments)


def _transcribe(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import transcribe

    return transcribe.run(config, arguments)


def _demo(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import demo

    return demo.run(config, arguments)


def _replay(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import replay

    path = Path(arguments.log)
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    return replay.run(path, verbose=arguments.verbose)


def _capacity(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import capacity

    return capacity.run(config, arguments)


def _audio_context(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import audio_context

    return audio_context.run(config, arguments)


def _status(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import status

    return status.run(config, arguments)


def _doctor(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import doctor

    return doctor.run(config, arguments)


def _key(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import key

    return key.run(config, arguments)


def _completion(config: Config, arguments: argparse.Namespace) -> int:
    from whisper_live.commands import completion

    return completion.run(config, arguments)


def _converse(config: Config, arguments: argparse.Namespace) -> int:
    try:
        from whisper_live.commands import converse
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package != "rich":
            raise
        told = f"{package} is not installed: pip install '.[converse]'"
        raise ConfigError(told) from error

    return converse.run(config, arguments)


def _print_settings(config: Config, arguments: argparse.Namespace) -> int:
    print(settings_table(), end="")
    return ExitCode.OK


def _language(text: str) -> str | None:
    """A language's code for argparse, None to have it detected; as in a handshake."""
    if text.strip().lower() in DETECT:
        return None
    if (code := language_code(text)) is None:
        raise argparse.ArgumentTypeError(unknown_language(text))
    return code


def _language_argument(
    parser: Any, help: str = "detected unless given", default: str | None = None
) -> None:
    parser.add_argument(
        "--language", type=_language, metavar="CODE", default=default, help=help
    )


def _stream_arguments(parser: Any) -> None:
    parser.add_argument("file", metavar="FILE", help="the recording to play")
    _server_arguments(parser)
    parser.add_argument(
        "--speed",
        type=positive,
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
    _live_text_arguments(parser)
    _speech_arguments(parser)


def _listen_arguments(parser: Any) -> None:
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        help="what to listen to: http://, https:// (radio, HLS), rtsp://, rtsps://, or "
        "a file",
    )
    _server_arguments(parser)
    _live_text_arguments(parser)
    _speech_arguments(parser)


def _mic_arguments(parser: Any) -> None:
    _server_arguments(parser)
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        help="its number, or a part of its name; the system's default unless given",
    )
    parser.add_argument(
        "--list-devices",
        action="store_true",
        help="print the devices that can be recorded from, and end",
    )
    _live_text_arguments(parser)
    _speech_arguments(parser)


def _server_arguments(parser: Any) -> None:
    parser.add_argument("--url", help="the server; ws://HOST:PORT unless given")
    parser.add_argument(
        "--key",
        env_var=ENVIRONMENT_PREFIX + "KEY",
        help="shown to a server that wants one; safer in the environment",
    )
    _ca_argument(parser)


def _live_text_arguments(parser: Any) -> None:
    parser.add_argument(
        "--format",
        choices=("text", "jsonl", "srt", "vtt"),
        default="text",
        help="jsonl prints each update as one JSON line, srt and vtt each subtitle as "
        "soon as its end is known",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write the format there, and show the words here",
    )


def _converse_arguments(parser: Any) -> None:
    _server_arguments(parser)
    parser.add_argument("--language", metavar="CODE", help="detected unless given")
    parser.add_argument(
        "--latency",
        choices=tuple(LATENCIES),
        default="balanced",
        help="how long a silence ends a turn: fast answers sooner, and into pauses",
    )
    parser.add_argument(
        "--input", metavar="FILE", help="a recording in place of the microphone"
    )
    parser.add_argument(
        "--microphone", metavar="NAME", help="the sound card's own unless given"
    )
    _answer_arguments(parser)
    _voice_arguments(parser)
    parser.add_argument(
        "--cache-mb",
        type=whole,
        default=0,
        metavar="N",
        help="MiB of answers and speech that are kept for the same words; 0 is off",
    )
    parser.add_argument(
        "--cache-ttl-s",
        type=positive,
        default=3600.0,
        metavar="N",
        help="seconds that they are kept",
    )
    parser.add_argument(
        "--final",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="read the whole recording once more at the end, and compare",
    )
    parser.add_argument(
        "--metrics-port",
        type=whole,
        default=0,
        metavar="PORT",
        help="for Prometheus, on loopback; 0 is off",
    )


def _http_url(text: str) -> str:
    """The base URL of an API, for argparse."""
    scheme, mark, place = text.partition("://")
    if scheme not in ("http", "https") or not mark or not place:
        raise argparse.ArgumentTypeError(f"{text!r} is no http:// or https:// URL")
    return text


def _speech_source(text: str) -> str:
    """What ``--tts`` may be, for argparse."""
    return text if text in ("piper", "none") else _http_url(text)


def _answer_arguments(parser: Any) -> None:
    parser.add_argument(
        "--llm-url",
        type=_http_url,
        default="http://127.0.0.1:11434/v1",
        metavar="URL",
        help="an OpenAI-compatible server of language models; Ollama's unless given",
    )
    parser.add_argument(
        "--llm-model",
        default="",
        metavar="NAME",
        help="the first that the server lists unless given",
    )
    parser.add_argument(
        "--llm-key",
        env_var=ENVIRONMENT_PREFIX + "LLM_KEY",
        help="shown to it; safer in the environment",
    )
    parser.add_argument(
        "--llm-timeout-s",
        type=positive,
        default=10.0,
        metavar="N",
        help="seconds that the next piece of an answer may take",
    )
    parser.add_argument(
        "--system",
        default="You are spoken with. Answer in one to three short sentences of plain "
        "speech, without lists or markup.",
        metavar="TEXT",
        help="what the model is told about its task",
    )
    parser.add_argument(
        "--max-answer-chars",
        type=count,
        default=2000,
        metavar="N",
        help="characters at which an answer is cut",
    )
    parser.add_argument(
        "--remember",
        type=whole,
        default=10,
        metavar="N",
        help="questions with their answers that are sent with the next one",
    )


def _voice_arguments(parser: Any) -> None:
    parser.add_argument(
        "--tts",
        type=_speech_source,
        default="piper",
        metavar="WHAT",
        help="piper, the URL of an OpenAI-compatible speech server, or none: text only",
    )
    parser.add_argument(
        "--tts-voice",
        default="",
        metavar="NAME",
        help="Piper's .onnx file, or the server's name of a voice",
    )
    parser.add_argument(
        "--tts-model", default="tts-1", metavar="NAME", help="the speech server's"
    )
    parser.add_argument(
        "--tts-key",
        env_var=ENVIRONMENT_PREFIX + "TTS_KEY",
        help="shown to it; safer in the environment",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write what is heard to a WAV file in place of the loudspeaker, or to "
        "standard output as bare 16-bit samples: -",
    )
    parser.add_argument(
        "--loudspeaker", metavar="NAME", help="the sound card's own unless given"
    )
    parser.add_argument(
        "--barge-in",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="speaking ends an answer; off where the microphone hears the loudspeaker",
    )


_CAPTION_FORMATS = ("text", "srt", "vtt", "json", "jsonl")


def _caption_formats(text: str) -> tuple[str, ...]:
    """One format, or several between commas, for argparse."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in _CAPTION_FORMATS:
            known = ", ".join(_CAPTION_FORMATS)
            raise argparse.ArgumentTypeError(f"no format {name!r}; there are {known}")
    return names


def _transcribe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="recordings to read; pipes too, - is standard input",
    )
    parser.add_argument(
        "--format",
        type=_caption_formats,
        default="text",
        metavar="NAMES",
        help=f"one or several of {', '.join(_CAPTION_FORMATS)}, with commas between; "
        "jsonl writes each update as one JSON line",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="write one file per recording and format there",
    )
    parser.add_argument(
        "--word-timestamps",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="put the times of words into json",
    )
    parser.add_argument(
        "--max-line-width",
        type=count,
        default=42,
        metavar="N",
        help="characters in a line of srt and vtt; wide ones count as two",
    )
    parser.add_argument(
        "--max-line-count",
        type=count,
        default=2,
        metavar="N",
        help="lines of srt and vtt that are shown at a time",
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


def _capacity_arguments(parser: Any) -> None:
    parser.add_argument(
        "--write", metavar="FILE", help="put max-sessions into this settings file"
    )
    parser.add_argument("--url", help="measure a running server, not one of our own")
    parser.add_argument(
        "--key",
        env_var=ENVIRONMENT_PREFIX + "KEY",
        help="shown to a server that wants one; safer in the environment",
    )
    parser.add_argument(
        "--duration-s", type=positive, default=60.0, help="of each client's speech"
    )
    parser.add_argument(
        "--duty", type=positive, default=45.0, help="per cent of speech; 100: no pause"
    )
    parser.add_argument(
        "--partial-p95-s", type=positive, default=1.5, help="objective for partials"
    )
    parser.add_argument(
        "--stands-p95-s",
        type=positive,
        default=1.0,
        help="objective for the last change of an utterance's text",
    )
    parser.add_argument(
        "--final-p95-s", type=positive, default=2.0, help="objective for finals"
    )
    parser.add_argument(
        "--send",
        choices=("float32", "int16", "webm"),
        default="int16",
        help="send raw samples or WebM/Opus",
    )
    _language_argument(parser, "that the clients ask for", "en")
    parser.add_argument("--start", type=int, default=1, help="streams of the first try")
    parser.add_argument("--most", type=int, default=256, help="streams not to exceed")
    parser.add_argument(
        "--logs", metavar="DIR", help="keep the event logs of all streams there"
    )


def _status_arguments(parser: Any) -> None:
    parser.add_argument("--url", help="the daemon; http://HOST:PORT unless given")
    parser.add_argument(
        "--key",
        env_var=ENVIRONMENT_PREFIX + "KEY",
        help="one of its keys, from another machine; safer in the environment",
    )
    _ca_argument(parser)


def _key_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="who will show it, in one word")


def _completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shell",
        metavar="SHELL",
        choices=("bash", "zsh", "fish"),
        help='bash, zsh or fish; as in eval "$(whisper-live completion bash)"',
    )


def _audio_context_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="recordings like yours"
    )
    _language_argument(parser)
    parser.add_argument(
        "--write", metavar="FILE", help="put audio-context into this settings file"
    )


def _ca_argument(parser: Any) -> None:
    parser.add_argument(
        "--ca",
        env_var=ENVIRONMENT_PREFIX + "CA",
        metavar="FILE",
        help="certificates (PEM) to trust in place of the system's: for a server with "
        "a certificate of its own making",
    )


def _speech_arguments(parser: argparse.ArgumentParser) -> None:
    _language_argument(parser)
    parser.add_argument(
        "--task",
        choices=("transcribe", "translate"),
        default="transcribe",
        help="translate writes English, whatever is spoken",
    )
    parser.add_argument(
        "--initial-prompt",
        metavar="TEXT",
        default="",
        help="text as it could stand before: for spelling and style",
    )
    parser.add_argument(
        "--hotwords", metavar="TEXT", default="", help="names and terms to expect"
    )


# Settings of a server's further models, partials, long windows and final pass:
# a file is read once, as the final pass reads, by the main model.
_ONLY_LIVE = frozenset(
    {
        "models",
        "model_for_language",
        "final_model",
        "model_memory_mb",
        "model_idle_s",
        "early_endpoint_ms",
        "partial_interval_s",
        "partial_floor_s",
        "max_window_s",
        "max_buffer_s",
        "commit_after_s",
        "final_pass",
        "final_pass_max_s",
        "final_pass_timeout_s",
        "stall_flush_s",
    }
)

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
            without=frozenset({"http_port"}),
            add_arguments=_stream_arguments,
        ),
        Command(
            "listen",
            "show what is said on a radio station, a camera or another network stream",
            _listen,
            groups=("listen",),
            without=frozenset({"http_port"}),
            add_arguments=_listen_arguments,
        ),
        Command(
            "mic",
            "show what is said into the microphone as it is said",
            _mic,
            groups=("listen",),
            without=frozenset({"http_port"}),
            add_arguments=_mic_arguments,
        ),
        Command(
            "transcribe",
            "transcribe recordings without a daemon",
            _transcribe,
            groups=("engine", "batch", "speech", "stream"),
            without=_ONLY_LIVE,
            add_arguments=_transcribe_arguments,
        ),
        Command(
            "demo",
            "start a daemon, stream a recording to it and check the words",
            _demo,
            groups=("engine", "batch"),
            fixed={"engine": "local", "port": 0, "http_port": 0},
        ),
        Command(
            "replay",
            "drive the core through a recorded session and compare what it does",
            _replay,
            add_arguments=_replay_arguments,
        ),
        Command(
            "capacity",
            "find out how many live streams this machine carries",
            _capacity,
            groups=("engine", "batch", "speech", "stream", "limits"),
            fixed={"max_sessions": 1024, "max_queue_delay_s": 0.0},
            add_arguments=_capacity_arguments,
        ),
        Command(
            "audio-context",
            "find out how short an audio context your recordings allow",
            _audio_context,
            groups=("engine", "batch"),
            fixed={"audio_context": "full", "engine": "local"},
            add_arguments=_audio_context_arguments,
        ),
        Command(
            "status",
            "ask a running daemon how it is",
            _status,
            groups=("listen",),
            without=frozenset({"http_port"}),
            add_arguments=_status_arguments,
        ),
        Command(
            "key",
            "make a key for a client and add it to the file of keys, which --keys-file "
            "must name here, if no variable and no settings file does",
            _key,
            groups=("access",),
            fixed={
                each.name: each.default
                for each in dataclasses.fields(AccessConfig)
                if each.name != "keys_file"
            },
            add_arguments=_key_arguments,
        ),
        Command(
            "doctor",
            "check whether the daemon could be served here, and say what to do",
            _doctor,
            groups=("listen", "access", "engine", "limits", "wyoming"),
        ),
        Command(
            "models",
            "list the models that are installed, cached or known, with their sizes",
            _models,
            groups=("engine",),
            fixed={"engine": "local"},
        ),
        Command(
            "converse",
            "speak with a language model: a daemon hears, a voice answers",
            _converse,
            groups=("listen", "log"),
            without=frozenset(
                {"http_port", "log_transcripts", "record", "record_audio"}
            ),
            add_arguments=_converse_arguments,
        ),
        Command("settings", "print the table of all settings", _print_settings),
        Command(
            "completion",
            "print what a shell needs to complete this command line",
            _completion,
            add_arguments=_completion_arguments,
        ),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors made for the user become one line and an exit code."""
    config = Config()
    try:
        parser = build_parser()
        if "_ARGCOMPLETE" in os.environ:  # a shell asks; this ends here
            from whisper_live.commands import completion

            completion.answer(parser)
        arguments = parser.parse_args(argv)
        command = COMMANDS[arguments.command]
        # What SIGHUP asks for: the same flags, the file and environment as they are.
        arguments.reread = lambda: command.config(build_parser().parse_args(argv))
        config = command.config(arguments)
        for complaint in mistyped_variables(os.environ):
            _tell(complaint, logging.WARNING, config)
        code = command.run(config, arguments)
        sys.stdout.flush()  # here, where a closed pipe can still be answered
        return code
    except ConfigError as error:
        return _complain(error, ExitCode.CONFIGURATION, config)
    except EngineUnavailable as error:
        return _complain(error, ExitCode.ENGINE_LOST, config)
    except WhisperLiveError as error:
        return _complain(error, ExitCode.FAILED, config)
    except (ImportError, MemoryError, RuntimeError) as error:
        if (limited := explain(error)) is None:
            raise
        return _complain(limited, ExitCode.CONFIGURATION, config)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (as head does); Python would complain when
        # it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED


def _complain(error: WhisperLiveError, code: ExitCode, config: Config) -> ExitCode:
    _tell(str(error), logging.ERROR, config)
    return code


def _tell(message: str, level: int, config: Config) -> None:
    from whisper_live.observability.log import as_line

    line = as_line(config.log, f"{PROGRAM}: {message}", level)
    print(line, file=sys.stderr)
