"""The command line: where a setting comes from, and how a command ends."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from whisper_live import __version__, cli
from whisper_live.config.model import Config, EngineConfig, LogConfig
from whisper_live.config.sources import settings_table
from whisper_live.errors import (
    ConfigError,
    EngineUnavailable,
    HandshakeError,
    WhisperLiveError,
)


class Recorder:
    """Stands in for ``serve`` and keeps the configuration that it was given."""

    def __init__(self) -> None:
        self.configs: list[Config] = []
        self.error: BaseException | None = None

    def __call__(self, config: Config, arguments: argparse.Namespace) -> int:
        if self.error:
            raise self.error
        self.configs.append(config)
        return cli.ExitCode.OK

    def serve(self, *argv: str) -> Config:
        assert cli.main(["serve", *argv]) == 0
        return self.configs.pop()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WHISPER_LIVE_")]:
        monkeypatch.delenv(name)
    recorder = Recorder()
    command = dataclasses.replace(cli.COMMANDS["serve"], run=recorder)
    monkeypatch.setitem(cli.COMMANDS, "serve", command)
    return recorder


def test_nothing_given_is_the_default(served: Recorder) -> None:
    assert served.serve() == Config()


def test_flag_beats_environment_beats_file_beats_default(
    served: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "whisper-live.toml").write_text("port = 1001\nmax-sessions = 5\n")
    assert served.serve().listen.port == 1001
    monkeypatch.setenv("WHISPER_LIVE_PORT", "1002")
    assert served.serve().listen.port == 1002
    config = served.serve("--port", "1003")
    assert config.listen.port == 1003
    assert config.limits.max_sessions == 5
    assert config.batch == Config().batch


def test_named_file_wins_over_the_one_in_the_directory(
    served: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "whisper-live.toml").write_text("port = 1001\nhost = '0.0.0.0'\n")
    other = tmp_path / "other.toml"
    other.write_text("port = 1002\n")
    for config in (
        served.serve("--config", str(other)),
        served.serve(f"--config={other}"),
    ):
        assert (config.listen.port, config.listen.host) == (1002, "0.0.0.0")
    monkeypatch.setenv("WHISPER_LIVE_CONFIG", str(other))
    assert served.serve().listen.port == 1002


def test_every_type_of_setting_survives_every_source(
    served: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = Config(
        engine=EngineConfig(model="tiny", engine="oracle", oracle_call_s=0.5),
        log=LogConfig(log_transcripts=True),
    )
    flags = "--model tiny --engine oracle --oracle-call-s 0.5 --log-transcripts"
    assert served.serve(*flags.split()) == expected

    file = tmp_path / "whisper-live.toml"
    file.write_text(
        "model = 'tiny'\nengine = 'oracle'\noracle-call-s = 0.5\n"
        "log-transcripts = true\n"
    )
    assert served.serve() == expected
    assert not served.serve("--no-log-transcripts").log.log_transcripts
    monkeypatch.setenv("WHISPER_LIVE_LOG_TRANSCRIPTS", "false")
    assert not served.serve().log.log_transcripts
    file.unlink()

    for name, value in (
        ("MODEL", "tiny"),
        ("ENGINE", "oracle"),
        ("ORACLE_CALL_S", "0.5"),
        ("LOG_TRANSCRIPTS", "true"),
    ):
        monkeypatch.setenv(f"WHISPER_LIVE_{name}", value)
    assert served.serve() == expected


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["serve", "--port", "70000"], "port must be at most 65535"),
        (["serve", "--port", "many"], "argument --port: invalid int value: 'many'"),
        (["serve", "--hangover-ms", "nan"], "invalid number value: 'nan'"),
        (["serve", "--engine", "other"], "argument --engine: invalid choice: 'other'"),
        (["serve", "--prot", "1"], "arguments: --prot 1; did you mean --port?"),
        (["serve", "--prot=1"], "arguments: --prot=1; did you mean --port?"),
        (["serve", "--zzz"], "unrecognized arguments: --zzz (see whisper-live serve"),
        (["serve", "--vad-gian", "2"], "did you mean --vad-gain?"),
        (["stream", "a", "--spede", "2"], "did you mean --speed?"),
        (["serv"], "; did you mean serve?"),
        *(
            ([command, "a", "--language", language], f'language "{language}": use an')
            for command in ("stream", "transcribe", "audio-context")
            for language in ("klingon", "null")
        ),
        (["capacity", "--language", "klingon"], "or auto to have it detected"),
        (["serve", "--engine", "orcale"], "; did you mean oracle?"),
        (["serve", "--vad-release", "0.9"], "vad-release must not be above"),
        (
            ["serve", "--config", "absent.toml"],
            "whisper-live: cannot read the settings in absent.toml: No such file or "
            "directory\n",
        ),
        (
            ["serve", "--config", "."],
            "whisper-live: cannot read the settings in .: Is a directory\n",
        ),
        (["serve", "tiny.en"], "arguments: tiny.en; did you mean --model tiny.en?"),
        (["replay", "a", "b"], "unrecognized arguments: b (see"),
        (["capacity", "--url", "ftp://b"], "ftp://b: a server's URL begins with"),
        (["status", "--url", "ftp://b"], "ftp://b: a server's URL begins with ws://"),
        (["dance"], "invalid choice: 'dance'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_configuration_is_one_line_and_exit_2(
    served: Recorder,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    complaint: str,
) -> None:
    assert cli.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("whisper-live: ")
    assert complaint in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("prot = 1\nport = 2\ncolour = 'red'\n", "unknown settings: colour, prot"),
        ("max_sessions = 5\n", "max_sessions; did you mean max-sessions?"),
        ("[serve]\nport = 1\n", "unknown settings: serve"),
        ("port = [1, 2]\n", "port must be a single value"),
        ("port = \n", "Invalid value"),
        ("log-transcripts = 'perhaps'\n", "log-transcripts"),
    ],
)
def test_bad_file_is_named_with_its_fault(
    served: Recorder,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: str,
    complaint: str,
) -> None:
    (tmp_path / "whisper-live.toml").write_text(content)
    assert cli.main(["serve"]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("port", "many", "{}: invalid int value: 'many'"),
        ("port", "70000", "port must be at most 65535 ({})"),
        ("engine", "orcale", "{}: invalid choice: 'orcale'"),
        ("hangover-ms", "nan", "{}: invalid number value: 'nan'"),
        ("hangover-ms", "7", "hangover-ms must be 0 or at least 100 ({})"),
        ("vad-release", "0.9", "vad-release must not be above vad-threshold ({})"),
        ("vad-threshold", "0.1", "must not be above vad-threshold ({})"),
        ("models", "*", "models must name each model; there is no * for all ({})"),
        ("trusted-proxies", "no", "trusted-proxies: 'no' must be an address"),
    ],
)
def test_what_is_wrong_is_looked_for_where_it_stands(
    served: Recorder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    key: str,
    value: str,
    fault: str,
) -> None:
    variable = f"WHISPER_LIVE_{key.replace('-', '_').upper()}"
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("WHISPER_LIVE_MODEL", "tiny")  # the word is in some messages
    assert cli.main(["serve"]) == 2
    error = capsys.readouterr().err
    assert fault.format(f"{variable} in the environment") in error
    assert f"{variable} in the environment" in error and "--" not in error[:50]

    monkeypatch.delenv(variable)
    settings = tmp_path / "some.toml"
    settings.write_text(f'{key} = "{value}"\n')
    assert cli.main(["serve", "--config", str(settings)]) == 2
    error = capsys.readouterr().err
    assert fault.format(f"{key} in {settings}") in error
    assert f"{key} in {settings}" in error
    assert cli.main(["serve", f"--{key}", value]) == 2  # which is a flag's fault
    assert "(WHISPER" not in capsys.readouterr().err


def test_a_switch_of_the_file_that_is_none_is_told_with_its_file(
    served: Recorder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "whisper-live.toml").write_text("insecure = 'perhaps'\n")
    assert cli.main(["serve"]) == 2
    error = capsys.readouterr().err
    assert "whisper-live.toml: insecure must be true or false" in error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no such model"), 2),
        (EngineUnavailable("the device is gone"), 3),
        (HandshakeError("refused"), 1),
        (WhisperLiveError("something else"), 1),
    ],
)
def test_exit_code_tells_what_went_wrong(
    served: Recorder,
    capsys: pytest.CaptureFixture[str],
    error: WhisperLiveError,
    code: int,
) -> None:
    served.error = error
    assert cli.main(["serve"]) == code
    assert capsys.readouterr().err == f"whisper-live: {error}\n"


def test_interrupt_is_130_and_silent(
    served: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    served.error = KeyboardInterrupt()
    assert cli.main(["serve"]) == 130
    assert capsys.readouterr().err == ""


def test_a_variable_that_is_nearly_a_settings_is_told(
    served: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WHISPER_LIVE_KEY", "of-a-client")
    monkeypatch.setenv("WHISPER_LIVE_ELSEWHERE", "of another program")
    served.serve()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("WHISPER_LIVE_MAX_SESSION", "1")
    assert served.serve().limits.max_sessions == 64
    assert capsys.readouterr().err == (
        "whisper-live: WHISPER_LIVE_MAX_SESSION is no setting; "
        "did you mean WHISPER_LIVE_MAX_SESSIONS?\n"
    )


def flags_in_help(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*argv])
    assert stop.value.code == 0
    flags = re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
    return [flag for flag in flags if not flag.startswith("--no-")]


def test_help_shows_a_commands_own_options_first_and_few_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = flags_in_help(capsys, "transcribe", "--help")
    settings = ["--config", "--model", "--device", "--latency"]
    assert flags[-5:] == ["--help-all", *settings]
    assert {"--format", "--output-dir", "--language"} <= set(flags[:-5])
    assert len(flags_in_help(capsys, "serve", "--help")) < 20


@pytest.mark.parametrize("name", ["serve", "transcribe", "doctor"])
def test_all_settings_are_behind_help_all(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = flags_in_help(capsys, name, "--help-all")
    offered = [each.flag for each in cli.COMMANDS[name].settings()]
    assert flags[-len(offered) :] == offered


def test_a_command_of_few_settings_shows_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = flags_in_help(capsys, "stream", "--help")
    assert flags[-3:] == ["--config", "--host", "--port"]
    assert "--help-all" not in flags


def test_a_settings_file_that_cannot_be_read_is_one_line(
    served: Recorder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "whisper-live.toml").mkdir()
    assert cli.main(["serve"]) == 2
    assert capsys.readouterr().err == (
        "whisper-live: cannot read the settings in whisper-live.toml: "
        "Is a directory\n"
    )


def test_help_ends_with_flags_and_variables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for argv in (["serve", "--help"], ["serve", "--help-all"], ["stream", "--help"]):
        with pytest.raises(SystemExit):
            cli.main(argv)
        told = capsys.readouterr().out
        assert "In general" not in told and told.count("[env var:") > 1


def test_help_all_without_a_command_says_where_settings_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help-all"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: whisper-live ")
    assert told.endswith("of a command: whisper-live COMMAND --help-all\n")


def test_help_and_version_load_nothing_heavy() -> None:
    """Measured 0.06 s; importing CTranslate2 alone takes over half a second."""
    code = (
        "import sys\n"
        "from whisper_live.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'numpy', 'av', 'ctranslate2', 'onnxruntime', 'websockets'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    for argv in (["--help"], ["serve", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *argv], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == __version__ or "usage:" in done.stdout


def test_replay_judges_a_log(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "session.jsonl"
    log.write_text("no log at all\n")
    assert cli.main(["replay", str(log)]) == 1
    assert "cannot be replayed: it is not an event log" in capsys.readouterr().err
    assert cli.main(["replay", "absent.jsonl"]) == 2


def test_a_reader_that_goes_away_is_not_a_crash() -> None:
    """As in ``whisper-live settings | head -1``."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "whisper_live", "settings"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_table_has_a_row_for_every_setting() -> None:
    rows = settings_table().splitlines()
    assert len(set(rows)) == len(rows)
    names = [
        field.name
        for group in dataclasses.fields(Config)
        for field in dataclasses.fields(getattr(Config(), group.name))
    ]
    assert len(rows) == len(names) + 2
    for name, row in zip(names, rows[2:], strict=True):
        assert row.startswith(f"| `--{name.replace('_', '-')}` |")
        assert f"`WHISPER_LIVE_{name.upper()}`" in row


THREADS_OF_NUMPY = """
import sys
from importlib.metadata import entry_points
(script,) = entry_points(group="console_scripts", name="whisper-live")
script.load()
assert "numpy" not in sys.modules, "numpy came before its settings were made"
import os, numpy
tasks = "/proc/self/task"
threads = len(os.listdir(tasks)) if os.path.isdir(tasks) else 1
print(os.environ["OPENBLAS_NUM_THREADS"], threads)
"""


@pytest.mark.parametrize(("own", "threads"), [(None, {1}), ("2", {1, 2})])
def test_numpy_has_no_threads_but_the_users(own: str | None, threads: set[int]) -> None:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": own or ""}
    if own is None:
        del environment["OPENBLAS_NUM_THREADS"]
    done = subprocess.run(
        [sys.executable, "-c", THREADS_OF_NUMPY],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    setting, running = done.stdout.split()
    assert setting == (own or "1")
    assert int(running) in threads  # OpenBLAS starts no more than there are cores
