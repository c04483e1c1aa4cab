"""``docs/`` and CONTRIBUTING.md say what is true of settings, commands and files."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.docs.pages import DOCUMENTS, ROOT, between, read
from tests.docs.settings import MARKS, PAGE
from whisper_live import __version__, cli
from whisper_live.config.model import Config
from whisper_live.config.sources import all_settings, settings_table
from whisper_live.media.files import FORMATS
from whisper_live.observability.metrics import Metrics
from whisper_live.protocols.jsonl import JsonLines
from whisper_live.session.updates import Language, Segment, Update

DECISION = (
    *("Question", "Decided", "Why", "What it costs"),
    "When to look again",
)
# Of other programs, or of the library that reads flags.
FOREIGN_FLAGS = {"--strict", "--help", "--build-arg"}
# The changelog may name what is gone.
PRESENT = [page for page in DOCUMENTS if page != "CHANGELOG.md"]
# Named by the pages and not yet here; to be taken out of this list as they arrive.
COMING: set[str] = set()


def test_the_settings_table_is_the_one_that_the_program_prints() -> None:
    assert between(PAGE, *MARKS) == settings_table(), "python -m tests.docs.settings"


def test_every_command_has_its_paragraph() -> None:
    described = re.findall(r"^- \*\*([\w-]+)\*\*", read("docs/commands.md"), re.M)
    assert described == list(dict.fromkeys(described))
    assert sorted(described) == sorted(cli.COMMANDS)


def test_every_exit_code_is_described() -> None:
    text = read("docs/commands.md").partition("| exit code |")[2]
    rows = re.findall(r"^\| (\d+) \| \S", text, re.MULTILINE)
    assert [int(row) for row in rows] == sorted(cli.ExitCode)


def test_every_format_of_files_is_listed() -> None:
    listed = between("docs/commands.md", "<!-- formats", "<!-- end of formats")
    endings = {ending for endings in FORMATS.values() for ending in endings.split()}
    assert listed.strip().rstrip(".").replace(",", " ").split() == sorted(endings)


def test_the_line_of_json_is_one_that_is_printed() -> None:
    segment = Segment(6400, 30400, " Turn on the light.", True)
    update = Update(completed=(segment,), language=Language("en", 0.98))
    [line] = JsonLines().render(update)
    shown = between("docs/commands.md", "<!-- jsonl -->", "<!-- end of jsonl -->")
    assert shown.strip() == line.text


def test_every_metric_is_described() -> None:
    metrics = Metrics()
    metrics.describe(version="", engine="", model="", device="", compute_type="")
    page = metrics.render().decode()
    served = set(re.findall(r"^# TYPE whisper_live_(\w+) ", page, re.MULTILINE))
    table = read("docs/operating.md").partition("| metric |")[2]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == served


@pytest.mark.parametrize("page", PRESENT)
def test_every_flag_that_is_named_exists(page: str) -> None:
    """As a setting, or literally in the code of a command or bench."""
    known = {f"--{each.field.name.replace('_', '-')}" for each in all_settings()}
    known |= {f"--no-{flag[2:]}" for flag in known}
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("whisper_live", "bench", "training")
        for path in (ROOT / folder).rglob("*.py")
    )
    named = set(re.findall(r"`(--[a-z][a-z-]*)", read(page)))
    for line in read(page).replace("\\\n", "").splitlines():
        if re.search(r"(?:python -m (?:bench|training)\.|bin/whisper-live )", line):
            named |= set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", line))
    unknown = named - known - FOREIGN_FLAGS - COMING
    # Of a flag that is on unless it is taken back the name without no- may be there.
    spelt = {flag: (flag, flag.replace("--no-", "--")) for flag in unknown}
    assert not {
        flag
        for flag, forms in spelt.items()
        if not any(f'"{form}"' in code for form in forms)
    }


@pytest.mark.parametrize("page", PRESENT)
def test_every_file_that_is_named_exists(page: str) -> None:
    """What looks like a path from the top of the repository is one."""
    tops = "whisper_live|bench|tests|docs|systemd|training"
    named = re.findall(rf"`((?:{tops})/[\w./-]*[\w/])`", read(page))
    named = [path for path in named if "NAME" not in path]
    assert not {path for path in named if not (ROOT / path).exists()} - COMING


@pytest.mark.parametrize("page", PRESENT)
def test_every_module_that_is_run_exists(page: str) -> None:
    named = re.findall(r"(?:-m |`)((?:bench|training|tests)\.[\w.]*\w)", read(page))
    for name in set(named) - COMING:
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_the_architecture_names_every_layer_in_order() -> None:
    layers = re.search(r"^layers =\n((?:    \w+\n)+)", read("setup.cfg"), re.MULTILINE)
    assert layers is not None
    table = read("docs/architecture.md").partition("| package |")[2]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)/?`", row)]
    assert ["__main__", *named] == layers.group(1).split()


def test_ten_requests_name_the_files_to_change() -> None:
    text = read("CONTRIBUTING.md").partition("| request |")[2].partition("\n\n")[0]
    rows = text.splitlines()[2:]
    assert len(rows) == 10
    for row in rows:
        assert 1 <= row.split("|")[2].count("/") and row.count(";") < 4, row


def test_each_decision_answers_the_same_questions() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("0*.md"))
    assert [int(page.name[:3]) for page in pages] == list(range(1, len(pages) + 1))
    index = read("docs/decisions/index.md")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:3]}: "), page.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [*DECISION], page.name
        assert f"]({page.name})" in index


def test_the_changelog_knows_the_release() -> None:
    releases = re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)
    assert releases[0] == "Unreleased" or releases[0] == __version__
    assert __version__.partition(".dev")[0] in releases


def test_every_group_of_settings_is_in_the_table() -> None:
    """The table has a row for each field of each group, so none is forgotten."""
    fields = [
        field.name
        for group in dataclasses.fields(Config)
        for field in dataclasses.fields(getattr(Config(), group.name))
    ]
    rows = re.findall(r"^\| `--([a-z-]+)`", read(PAGE), re.MULTILINE)
    assert rows == [name.replace("_", "-") for name in fields]
