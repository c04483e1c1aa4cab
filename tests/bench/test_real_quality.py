"""What the bench on recordings of people counts, and that it runs and resumes."""

from __future__ import annotations

import dataclasses
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.quality.real import __main__ as command
from bench.quality.real.figures import Figures, difference, figures, percentiles
from bench.quality.real.measure import Reading
from bench.quality.real.reader import Account, Segment, View, account, views
from bench.quality.real.recordings import (
    Recording,
    join_voices,
    load,
    read_manifests,
    select,
)
from bench.quality.real.results import Key, Results, Row
from bench.quality.real.scoring import cuts_inside, lost_at_ends, sentences, units
from bench.quality.simulation import Told
from whisper_live.errors import ConfigError

SPEECH = Path(__file__).parent.parent / "data" / "speech"

# ----------------------------------------------------------------------------- scoring


def test_english_is_compared_as_in_whispers_paper() -> None:
    assert units("Mr. Smith didn't like twenty colours!", "en") == (
        "mister smith did not like 20 colors".split()
    )


def test_other_languages_are_compared_by_word_or_by_character() -> None:
    assert units("Größe, naïve!", "de") == ["größe", "naïve"]
    assert units("你好，世界。", "zh") == list("你好世界")
    assert units("그는 갔다.", "ko") == list("그는갔다")


def test_sentences_end_at_full_stops_but_not_at_titles_and_initials() -> None:
    text = "Mr. J. Quilter came. Did he? HE DID"
    assert sentences([text, "and left"], "en") == [
        ["mister", "j", "quilter", "came"],
        ["did", "he"],
        ["he", "did"],
        ["and", "left"],
    ]
    assert len(sentences(["动物生活。动物游泳。"], "zh")) == 2


SAID = [["a", "b", "c"], ["d", "e", "f"]]


@pytest.mark.parametrize(
    ("segments", "cuts"),
    [
        (["a b c", "d e f"], 0),
        (["a b c d e f"], 0),
        (["a b", "c", "d e f"], 1),  # the one after "b"
        (["a", "b", "c", "d", "e", "f"], 4),
        (["a b x", "d e f"], 0),  # a wrong word at the end
        (["a b", "d e f"], 0),  # or none
        (["a b c c", "d e f"], 0),  # or one too many
        (["", "a b c d e f"], 0),
        (["x", "a b c d e f"], 0),
        ([], 0),
    ],
)
def test_a_segment_that_ends_inside_a_sentence_is_a_cut(
    segments: list[str], cuts: int
) -> None:
    assert cuts_inside(SAID, [segment.split() for segment in segments]) == cuts


@pytest.mark.parametrize(
    ("whole", "live", "lost"),
    [
        ("a b c d e f", "a b c d e f", [0, 0]),
        ("a b c d e f", "a b c d e", [0, 1]),
        ("a b c d e f", "a d e f", [2, 0]),
        ("a b c d e f", "a x d", [1, 2]),  # x stands for b
        ("a b c d e f", "a b x d e f", [0, 0]),  # wrong, not lost
        ("a b c d e f", "b c d e f", [0, 0]),  # lost at the beginning
        ("a b c d e", "a b c d", [0, 1]),  # the whole reading lacks the f as well
        ("a b c d e f", "", [3, 3]),
        ("", "", [0, 0]),
        ("a b c d e f g", "a b c d e f", [0, 0]),  # nobody said g
    ],
)
def test_words_lost_at_the_end_of_an_utterance_are_those_a_whole_reading_has(
    whole: str, live: str, lost: list[int]
) -> None:
    assert lost_at_ends(SAID, whole.split(), live.split()) == lost


# ---------------------------------------------------------------------- what was shown


def seen(*shown: tuple[float, list[str], str]) -> Account:
    """The account of a reader who saw these completed texts and interim text."""
    return account(
        [
            View(at_s, tuple(Segment(i, i + 1, t) for i, t in enumerate(done)), interim)
            for at_s, done, interim in shown
        ]
    )


def test_text_that_only_grows_costs_nothing() -> None:
    got = seen(
        (1.0, [], " Turn on"),
        (1.5, [], " Turn on the"),
        (2.0, [" Turn on the light."], ""),
        (2.5, [" Turn on the light."], ""),
    )
    assert got.text == "Turn on the light."
    assert (got.words, got.shown, got.taken_back, got.changed) == (4, 4, 0, 0)
    assert (got.first_at_s, got.stood_at_s, got.completed_at_s) == (1.0, 2.0, 2.0)


def test_text_stands_before_it_is_completed_where_nothing_changes_any_more() -> None:
    got = seen((1.0, [], " Stop."), (1.8, [" Stop."], ""))
    assert (got.stood_at_s, got.completed_at_s) == (1.0, 1.8)


def test_a_full_stop_that_comes_late_is_a_change_but_no_word_taken_back() -> None:
    got = seen((1.0, [], " Stop"), (1.8, [" Stop."], ""))
    assert (got.stood_at_s, got.taken_back) == (1.8, 0)


def test_words_put_right_are_taken_back_with_all_that_follow() -> None:
    got = seen(
        (1.0, [], " Turn off the"), (1.5, [], " Turn on the light"), (2.0, [], "")
    )
    assert (got.shown, got.taken_back) == (6, 6)
    assert (got.words, got.completed_at_s) == (0, None)


def test_a_completed_segment_that_changes_is_counted() -> None:
    assert seen((1.0, [" Yes."], ""), (2.0, [" Yet."], "")).changed == 1
    assert seen((1.0, [" Yes."], ""), (2.0, [], " Yes.")).changed == 1


def test_nothing_shown_has_no_times() -> None:
    got = account([])
    assert (got.first_at_s, got.stood_at_s, got.completed_at_s) == (None, None, None)


def test_messages_become_views() -> None:
    done = {"start": "0.500", "end": "1.250", "text": " Yes.", "completed": True}
    open_ = {"start": "1.250", "end": "2.000", "text": " No", "completed": False}
    told = [
        Told(0.0, {"uid": "a", "message": "SERVER_READY"}),
        Told(1.5, {"uid": "a", "segments": [done, open_]}),
    ]
    assert views(told) == [View(1.5, (Segment(0.5, 1.25, " Yes."),), " No")]


# ----------------------------------------------------------------------------- figures


def row(
    reader: str, *texts: str, name: str = "c/a.wav", shown: tuple[View, ...] = ()
) -> Row:
    """A reading of "Say it again now." whose voice lasts from 0.5 to 2.0 s."""
    segments = tuple(Segment(i, i + 1.0, text) for i, text in enumerate(texts))
    return Row(
        key=Key("abc", reader, "", name),
        model="tiny",
        corpus="c",
        language="en",
        kind="read",
        seconds=2.5,
        texts=("Say it again now.",),
        parts=(),
        speech=(0.5, 2.0),
        reading=Reading(segments, 0.25, shown),
        facts={"date": "2026-11-27 12:00:00"},
    )


def test_figures_bring_words_and_times_together() -> None:
    plain = row("plain-5", " Say it again now.")
    shown = (
        View(1.25, (), " Say"),
        View(1.5, (), " Say it"),
        View(2.75, (Segment(0, 1, " Say."), Segment(1, 2, " It again.")), ""),
    )
    live = row("live-1", " Say.", " It again.", shown=shown)
    got = figures(live, {plain.key: plain})
    assert (got.units, got.errors) == (4, 1)
    assert (got.lost, got.lost_in) == (1, 1)
    assert (got.sentences, got.segments, got.cuts) == (1, 2, 1)
    assert (got.first_s, got.stands_s, got.completed_s) == (0.75, 0.75, 0.75)
    assert figures(plain, {}).lost is None
    assert figures(live, {}).lost is None


def test_a_joined_stream_is_held_against_its_utterances_if_all_were_read() -> None:
    parts = [row("plain-5", " Say it again.", name=f"c/{i}") for i in range(2)]
    joined = dataclasses.replace(
        row("live-1"), parts=("c/0", "c/1"), kind="joined", texts=("x", "y")
    )
    known = {part.key: part for part in parts}
    got = figures(joined, known)
    assert (got.parts_units, got.parts_errors) == (8, 2)
    got = figures(joined, {parts[0].key: parts[0]})
    assert (got.parts_units, got.parts_errors) == (0, 0)


def test_the_difference_is_that_of_all_words_within_its_bounds() -> None:
    def read(errors: int, count: int) -> Figures:
        good = figures(row("plain-5", " Say it again now."), {})
        return dataclasses.replace(good, errors=errors, units=count)

    pairs = [(read(i % 3, 10), read(0, 10)) for i in range(30)]
    gap, low, high = difference(pairs)
    assert gap == pytest.approx(0.1)
    assert low < gap < high


def test_percentiles_pass_over_what_is_not_known() -> None:
    assert percentiles([None, 1.0, 3.0], [0.5]) == [2.0]
    assert np.isnan(percentiles([None])).all()


# -------------------------------------------------------------------------- recordings


def line(file: str, **more: Any) -> str:
    """One line of a manifest."""
    facts = {"text": "hello", "lang": "en", "seconds": 1.0, "kind": "read"}
    return json.dumps({"file": file, **facts, **more})


def test_manifests_are_found_at_the_top_and_below(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "manifest.jsonl").write_text(
        line("words/a.wav", spk="ann") + "\n" + line("b.wav", text=None, lang=None)
    )
    (tmp_path / "words" / "manifest.jsonl").write_text(
        line("a.wav") + "\n" + line("c.wav", lang="en?") + "\n"
    )
    first, second, third = read_manifests(tmp_path)
    assert (first.name, first.corpus, first.speaker) == ("words/a.wav", "words", "ann")
    assert (second.corpus, second.texts, second.language) == (tmp_path.name, (), None)
    assert (third.name, third.language) == ("words/c.wav", "en")
    assert third.files == (tmp_path / "words" / "c.wav",)


@pytest.mark.parametrize("content", ["{", "{}", line("a", seconds="long")])
def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(content)
    with pytest.raises(ConfigError, match="manifest.jsonl, line 1"):
        read_manifests(tmp_path)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no manifest\.jsonl"):
        read_manifests(tmp_path)


def recording(name: str, speaker: str = "", seconds: float = 4.0) -> Recording:
    """A recording that needs no file."""
    return Recording(f"c/{name}", "c", (), (name,), "en", "read", speaker, seconds)


def test_few_recordings_are_taken_from_all_over_the_corpus() -> None:
    many = [recording(str(i)) for i in range(10)]
    assert [r.texts[0] for r in select(many, limit=3)] == ["0", "3", "6"]
    assert [r.texts[0] for r in select(many, seconds=9.0)] == ["0", "5"]
    assert [r.texts[0] for r in select(many, seconds=1.0)] == ["0"]
    assert select(many) == many


def test_a_voice_is_in_one_half_for_ever() -> None:
    halves = {s: recording("x", s).half for s in ("p225", "p226", "p227", "p228")}
    assert halves == {"p225": "b", "p226": "a", "p227": "a", "p228": "a"}
    assert recording("y", "p227").half == "a"


def wav(path: Path, samples: np.ndarray[Any, Any]) -> None:
    """Write 16 kHz mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.astype("<i2").tobytes())


def test_a_speakers_utterances_are_joined_with_pauses(tmp_path: Path) -> None:
    lines = []
    for name, speaker in (("a", "ann"), ("b", "bob"), ("c", "ann")):
        wav(tmp_path / f"{name}.wav", np.full(16000, 3000))
        lines.append(line(f"{name}.wav", text=name, spk=speaker))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    ann, bob = join_voices(read_manifests(tmp_path), tmp_path.name)
    assert (ann.texts, bob.texts) == (("a", "c"), ("b",))
    assert ann.parts == (f"{tmp_path.name}/a.wav", f"{tmp_path.name}/c.wav")
    samples = load(ann, quiet_after_s=2.0)
    loud = np.abs(samples) > 0.05
    assert loud.sum() == 32000
    gap = len(samples) - 32000 - 2 * 16000
    assert 0.6 <= gap / 16000 <= 1.5
    assert not loud[16000 : 16000 + gap].any()
    assert samples[-32000:].any()  # not digital silence
    assert np.array_equal(samples, load(ann, quiet_after_s=2.0))


# --------------------------------------------------------------------- kept and resumed


def test_readings_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "work" / "readings.jsonl"
    view = View(1.25, (Segment(0.5, 1.0, " Yes."),), " No")
    kept = row("live-1", " Yes.", shown=(view,))
    Results(path).add(kept)
    with path.open("a") as file:
        file.write('{"weights": "ab')  # the run was stopped here
    results = Results(path)
    assert results.rows[kept.key] == kept
    other = row("file", " Yes.")
    results.add(other)
    results = Results(path)
    assert dict(results.rows) == {kept.key: kept, other.key: other}


def test_recordings_that_only_some_readers_have_read_are_left_out() -> None:
    keys = [
        Key("w", reader, "", name) for name in "ab" for reader in ("file", "live-1")
    ]
    assert command.complete(keys, set(keys)) == keys
    assert command.complete(keys, set(keys[:3])) == keys[:2]
    other = Key("other", "file", "", "b")
    assert command.complete([*keys, other], {*keys[:3], other}) == [*keys[:2], other]


@pytest.mark.parametrize(
    "pair", ["hangover-ms", "no-such=1", "hangover-ms=long", "final-pass=yes"]
)
def test_settings_that_are_none_are_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        command.settings([pair])


def test_settings_are_the_daemons() -> None:
    config = command.settings(["hangover-ms=800", "beam-size=5", "final-pass=true"])
    assert config.speech.hangover_ms == 800
    assert config.engine.beam_size == 5 and config.stream.final_pass
    with pytest.raises(ConfigError, match="hangover-ms must be 0 or at least"):
        command.settings(["hangover-ms=1"])


# ------------------------------------------------------------------- from end to end


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two synthesised sentences of one speaker, and a hiss."""
    with wave.open(str(SPEECH / "commands.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    content = json.loads((SPEECH / "commands.json").read_text())
    made = tmp_path / "recordings" / "commands"
    made.mkdir(parents=True)
    lines = []
    for number, said in enumerate(content["sentences"][::2]):
        start, end = (round(16000 * s) for s in (said["start"], said["end"]))
        wav(made / f"{number}.wav", samples[start - 4800 : end + 4800])
        lines.append(
            line(
                f"commands/{number}.wav",
                text=said["text"],
                seconds=(end - start) / 16000 + 0.6,
                spk="espeak",
            )
        )
    wav(made / "hiss.wav", np.random.default_rng(1).normal(0, 30, 16000))
    lines.append(line("commands/hiss.wav", text=None, lang=None, kind="noise"))
    (made.parent / "manifest.jsonl").write_text("\n".join(lines))
    return made.parent


@pytest.mark.slow
@pytest.mark.timeout(300)  # 7 s of CPU time; other work on the machine may stretch it
def test_two_recordings_from_end_to_end(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    given = [str(folder), "--model", "demo", "--joined", "commands", "--streams", "1,2"]
    given += ["--work", str(work), "--out", str(out)]
    assert command.main(given) == 0
    found = [
        json.loads(text) for text in (out / "figures.jsonl").read_text().splitlines()
    ]
    spoken = [f for f in found if f["kind"] == "read"]
    readers = {"plain-1", "plain-5", "live-1", "live-2", "file"}
    assert {f["reader"] for f in spoken} == readers
    live = [f for f in spoken if f["reader"].startswith("live")]
    assert [f["errors"] for f in live] == [0] * 4
    assert [f["units"] for f in live] == [5, 4, 5, 4]
    assert all(f["completed_s"] > 0 and f["first_s"] > 0 for f in live)
    joined = [f for f in found if f["kind"] == "joined"]
    assert {f["reader"] for f in joined} == readers
    assert {f["units"] for f in joined} == {9}
    silent = [f for f in found if f["kind"] == "noise"]
    assert [(f["reader"], f["words"]) for f in silent][1:] == [
        ("vad-5", 0),
        ("live-1", 0),
    ]
    assert "kitchen" not in (out / "figures.jsonl").read_text()
    report = (out / "report.md").read_text()
    assert "kitchen" not in report
    assert "| commands en | 2 | 9 |" in report
    assert str(tmp_path) not in report

    lines = (work / "readings.jsonl").read_text()
    assert command.main(given) == 0  # all of it was there
    assert (work / "readings.jsonl").read_text() == lines
    assert command.main([*given, "--half", "b", "--report"]) in (0, 2)
    capsys.readouterr()


def test_a_missing_folder_ends_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err
