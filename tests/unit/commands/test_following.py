"""What is shown of news, what goes to the file, and what to standard error."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from whisper_live.client.events import Disconnected, Heard, Reconnected, Warned
from whisper_live.commands.following import viewed
from whisper_live.errors import WhisperLiveError
from whisper_live.session.updates import Dropped, Segment, Update

S = 16_000
NEWS = (
    Heard(Update(interim=Segment(0, S, " Hel", False)), 1.25, True),
    Warned("the prompt is too long"),
    Disconnected("the server ended the stream with close code 1012", 0.5),
    Reconnected(resumed=True),
    Disconnected("no server at ws://x", 1.0),
    Reconnected(resumed=False),
    Heard(
        Update(
            completed=(Segment(0, 2 * S, " Hello.", True),),
            dropped=(Dropped(3 * S, 4 * S, "unsent"),),
        ),
        *(2.5, True),
    ),
)


def shown(name: str, path: Path | None) -> list[str]:
    """Show all news in a format; the losses."""
    options = argparse.Namespace(format=name, output=path)
    with viewed(options) as view:
        for news in NEWS:
            view.take(news)
        view.end()
    return view.losses


def test_words_are_shown_and_sentences_are_told_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    losses = shown("text", None)
    assert losses == ["no text for 3.000 to 4.000 s: unsent"]
    printed = capsys.readouterr()
    assert printed.out == (
        "   1.25  partial  Hel\n   2.50  final    Hello.  [+0.50 s]\n"
    )
    assert printed.err.splitlines()[:-1] == [
        "warning: the prompt is too long",
        "the server ended the stream with close code 1012; trying again in 0.5 s",
        "connected again; the session goes on where it was",
        "no server at ws://x; trying again in 1.0 s",
        "connected again; a new session goes on from the last completed text",
    ]
    assert printed.err.splitlines()[-1].startswith("first text at 1.25 s; ")


FORMS = {
    "text": "Hello.\n",
    "jsonl": '{"interim": {"start": 0.0, "end": 1.0, "text": "Hel"}}\n'
    '{"completed": [{"start": 0.0, "end": 2.0, "text": "Hello."}], "dropped": '
    '[{"start": 3.0, "end": 4.0, "reason": "unsent"}], "interim": null}\n'
    '{"end": "finished"}\n',
    "srt": "1\n00:00:00,000 --> 00:00:02,000\nHello.\n",
    "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nHello.\n",
}


@pytest.mark.parametrize(("name", "form"), FORMS.items())
def test_each_format_goes_to_a_file_beside_the_words_or_to_the_pipe_alone(
    name: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "said"
    shown(name, path)
    assert path.read_text() == form
    assert capsys.readouterr().out.startswith("   1.25  partial  Hel\n")
    if name != "text":
        shown(name, None)
        assert capsys.readouterr().out == form


@pytest.mark.parametrize("name", FORMS)
def test_where_it_breaks_off_what_came_is_written(name: str, tmp_path: Path) -> None:
    options = argparse.Namespace(format=name, output=tmp_path / "said")
    with pytest.raises(WhisperLiveError), viewed(options) as view:
        for news in NEWS:
            view.take(news)
        raise WhisperLiveError("the server has gone")
    end = '{"end": "finished"}\n'  # by which a reader knows that nothing is missing
    assert (tmp_path / "said").read_text() == FORMS[name].removesuffix(end)
