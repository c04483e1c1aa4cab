"""The report: tables in Markdown, plots beside them, and every figure as JSON lines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.quality.real import plots
from bench.quality.real.figures import (
    YARDSTICK,
    Figures,
    difference,
)
from bench.quality.real.figures import figures as count
from bench.quality.real.figures import percentiles, share
from bench.quality.real.results import Key, Row
from bench.quality.real.scoring import BY_CHARACTER
from bench.report import table

__all__ = ["write_report"]

_FACTS = (
    "machine",
    "cpu",
    "load",
    "python",
    "ctranslate2",
    "faster-whisper",
    "onnxruntime",
)

_COLUMNS = """\
**Words.** Errors per 100 words of the reference (per 100 characters for languages
written without spaces, and Korean), after Whisper's own normalisation. *plain* is
faster-whisper on the whole recording with beam 1 and 5, *file* is
`whisper-live transcribe`, *live* the completed segments of live sessions, so many at a
time. *live less plain* is the difference to plain beam 5 in points, with the bounds
that hold 90 % of it when recordings are drawn anew.

**Live.** *segments* and *cuts* per sentence of the reference; a cut is a segment that
ends inside a sentence. (Where a reference has no punctuation, an utterance counts as
one sentence.) *erasure*: words shown and then removed or changed, per word of the final
text. *first*: from the first voice to the first word shown; *stands*: from the last
voice to the last change that a reader sees; *completed*: to the last completed segment;
p50 / p95 in seconds. First and last voice are Silero's, at its own threshold. *lost*:
words at the ends of utterances in whose place plain beam 5 has some and the live text
none, and in how many utterances. *engine*: CPU seconds of the engine per second of
audio.
"""

Group = Callable[[Figures], bool]


def write_report(
    folder: Path, known: Mapping[Key, Row], keys: Sequence[Key], command: str
) -> Path:
    """Write ``report.md``, ``figures.jsonl`` and plots; the path of the first.

    ``keys`` are the readings to report, as far as they are known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [known[key] for key in keys if key in known]
    figures = [count(row, known) for row in rows]
    with (folder / "figures.jsonl").open("w", encoding="utf-8") as file:
        for each in figures:
            print(json.dumps(_short(each), separators=(",", ":")), file=file)
    dates = sorted({str(row.facts["date"])[:10] for row in rows})
    sections = [f"# Real speech, {' to '.join(dates[:1] + dates[1:][-1:])}\n"]
    sections += [f"    {command}\n", _COLUMNS]
    models = list(dict.fromkeys((f.model, f.weights) for f in figures))
    for model, weights in models:
        own = [f for f in figures if f.weights == weights]
        sections.append(f"## {model} (weights {weights})\n")
        sections += [part for part in _model_sections(own) if part]
    if plots.can_draw() and figures:
        sections += _plots(folder, figures)
    sections.append("## Where and with what\n")
    sections.append(_provenance(rows))
    path = folder / "report.md"
    path.write_text("\n".join(sections), encoding="utf-8")
    return path


def _short(figures: Figures) -> dict[str, object]:
    return {
        name: value
        for name, value in dataclasses.asdict(figures).items()
        if value is not None and value != ""
    }


def _model_sections(figures: Sequence[Figures]) -> Iterator[str]:
    spoken = [f for f in figures if f.units and not f.kind == "joined"]
    joined = [f for f in figures if f.kind == "joined"]
    silent = [f for f in figures if not f.units]
    yield _words(spoken)
    yield _live(spoken)
    yield _engine(spoken)
    if joined:
        yield "### Joined: a speaker's utterances as one stream\n"
        yield _joined(joined)
        yield _live(joined)
    if silent:
        yield "### Nobody speaks\n"
        yield _silent(silent)


# -------------------------------------------------------------------------- the tables


def _groups(figures: Sequence[Figures]) -> Iterator[tuple[str, list[Figures]]]:
    """By corpus and language, then what can be added up."""
    keys = sorted({(f.language != "en", f.corpus, f.language or "") for f in figures})
    for _, corpus, language in keys:
        own = [f for f in figures if (f.corpus, f.language) == (corpus, language)]
        yield f"{corpus} {language}", own
    pooled: Mapping[str, Group] = {
        "**all en**": lambda f: f.language == "en",
        "**all others, words**": lambda f: (
            f.language != "en" and f.language not in BY_CHARACTER
        ),
        "**all others, characters**": lambda f: f.language in BY_CHARACTER,
    }
    for name, is_in in pooled.items():
        own = [f for f in figures if is_in(f)]
        if len({(f.corpus, f.language) for f in own}) > 1:
            yield name, own


def _by_reader(figures: Sequence[Figures]) -> dict[str, list[Figures]]:
    readers: dict[str, list[Figures]] = {}
    for each in figures:
        readers.setdefault(each.reader, []).append(each)
    return readers


def _words(figures: Sequence[Figures]) -> str:
    readers = list(_by_reader(figures))
    lives = [name for name in readers if name.startswith("live")]
    header = ["recordings", "n", "units", *readers]
    header += [f"{name} less plain" for name in lives]
    rows = []
    for name, group in _groups(figures):
        own = _by_reader(group)
        longest = max(own.values(), key=len)
        line: list[object] = [name, len(longest), sum(f.units for f in longest)]
        line += [_error_rate(own.get(reader, []), of=longest) for reader in readers]
        line += [_gap(own.get(live, []), own.get(YARDSTICK, [])) for live in lives]
        rows.append(line)
    return table(header, rows)


def _error_rate(figures: Sequence[Figures], *, of: Sequence[Figures]) -> str:
    """Nothing where only some of the recordings were read: they do not compare."""
    if len(figures) < len(of):
        return "-"
    errors = sum(f.errors for f in figures)
    return _number(100 * share(errors, sum(f.units for f in figures)), 1)


def _gap(ours: Sequence[Figures], theirs: Sequence[Figures]) -> str:
    by_name = {f.recording: f for f in theirs}
    pairs = [(f, by_name[f.recording]) for f in ours if f.recording in by_name]
    gap, low, high = difference(pairs)
    if not pairs:
        return "-"
    if len(pairs) < 5:  # too few to draw from
        return f"{100 * gap:+.1f}"
    return f"{100 * gap:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _live(figures: Sequence[Figures]) -> str:
    live = [f for f in figures if f.reader.startswith("live")]
    if not live:
        return ""
    header = (
        "recordings,streams,segments,cuts,erasure,first,stands,completed,lost,engine"
    )
    rows = []
    for name, group in _groups(live):
        for reader, own in _by_reader(group).items():
            said = sum(f.sentences for f in own)
            rows.append(
                (
                    name,
                    reader.removeprefix("live-"),
                    _number(share(sum(f.segments for f in own), said)),
                    _number(share(sum(f.cuts for f in own), said)),
                    _number(
                        share(sum(f.taken_back for f in own), sum(f.words for f in own))
                    ),
                    _two(f.first_s for f in own),
                    _two(f.stands_s for f in own),
                    _two(f.completed_s for f in own),
                    _lost(own),
                    _cost(own),
                )
            )
    return table(header.split(","), rows)


def _lost(figures: Sequence[Figures]) -> str:
    known = [f for f in figures if f.lost is not None]
    if not known:
        return "-"
    return f"{sum(f.lost or 0 for f in known)} in {sum(f.lost_in or 0 for f in known)}"


def _engine(figures: Sequence[Figures]) -> str:
    readers = _by_reader(figures)
    header = ["engine seconds per audio second", *readers]
    return table(header, [["all", *(_cost(own) for own in readers.values())]])


def _joined(figures: Sequence[Figures]) -> str:
    readers = list(_by_reader(figures))
    header = ["stream", "seconds", "units", f"{YARDSTICK} by utterance", *readers]
    rows = []
    voices = dict.fromkeys(f.recording for f in figures)
    for name in (*voices, ""):
        group = [f for f in figures if name in ("", f.recording)]
        own = _by_reader(group)
        one = next(iter(own.values()))
        parts = 100 * share(
            sum(f.parts_errors for f in one), sum(f.parts_units for f in one)
        )
        line: list[object] = [name or "**all**", round(sum(f.seconds for f in one))]
        line += [sum(f.units for f in one), _number(parts, 1)]
        line += [_error_rate(own.get(reader, []), of=one) for reader in readers]
        rows.append(line)
    return table(header, rows)


def _silent(figures: Sequence[Figures]) -> str:
    header = ["sound", "kind", "seconds", "plain-5", "with vad_filter"]
    header += ["live, completed", "live, ever shown", "suppressed segments"]
    rows = []
    for name in (*dict.fromkeys(f.recording for f in figures), ""):
        group = [f for f in figures if name in ("", f.recording)]
        own = _by_reader(group)
        one = next(iter(own.values()))
        live = own.get("live-1", [])
        rows.append(
            (
                name or "**all**",
                one[0].kind if name else "",
                round(sum(f.seconds for f in one)),
                sum(f.words for f in own.get("plain-5", [])),
                sum(f.words for f in own.get("vad-5", [])),
                sum(f.words for f in live),
                sum(f.shown for f in live),
                sum(f.suppressed for f in live),
            )
        )
    return "Words that nobody said:\n\n" + table(header, rows)


def _cost(figures: Sequence[Figures]) -> str:
    return _number(
        share(sum(f.engine_s for f in figures), sum(f.seconds for f in figures))
    )


def _two(values: Iterator[float | None]) -> str:
    return " / ".join(_number(value) for value in percentiles(values))


def _number(value: float, digits: int = 2) -> str:
    return "-" if value != value else f"{value:.{digits}f}"


# -------------------------------------------------------------- plots, and where it ran


def _plots(folder: Path, figures: Sequence[Figures]) -> Iterator[str]:
    spoken = [f for f in figures if f.units and f.kind != "joined"]
    if not spoken:
        return
    yield "## Plots\n"
    plots.draw_errors(spoken, folder / "errors.png")
    yield "![errors by corpus](errors.png)\n"
    if any(f.reader.startswith("live") for f in spoken):
        plots.draw_times(spoken, folder / "times.png")
        yield "![distribution of times](times.png)\n"


def _provenance(rows: Sequence[Row]) -> str:
    seen: dict[str, list[str]] = {}
    for row in rows:
        for name in ("revision", *_FACTS):
            value = str(row.facts.get(name, ""))
            if value and value not in seen.setdefault(name, []):
                seen[name].append(value)
    return table(("what", "value"), [(k, ", ".join(v)) for k, v in seen.items()])
