"""Names that ``tiny.en`` mishears and a prompt or hotwords put right."""

from __future__ import annotations

import pytest

from tests.real.support import (
    Kept,
    hear,
    real_server,
    samples_of,
    shared_file,
    text_of,
)
from whisper_live.text.wer import plain_words

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

# LJ Speech: "But the first Bible actually dated (which also was printed at Maintz by
# Peter Schoeffer in the year fourteen sixty-two)", and "In fourteen sixty-five
# Sweynheim and Pannartz began printing in the monastery of Subiaco near Rome".
MISHEARD = [
    ("LJ001-0024", "initial_prompt", "Maintz, Peter Schoeffer.", ["schoeffer"]),
    ("LJ001-0024", "hotwords", "Maintz, Peter Schoeffer", ["maintz", "schoeffer"]),
    (
        "LJ001-0031",
        "initial_prompt",
        "Sweynheim, Pannartz, Subiaco.",
        ["pannartz", "subiaco"],
    ),
    (
        "LJ001-0031",
        "hotwords",
        "Sweynheim, Pannartz, Subiaco",
        ["sweynheim", "pannartz", "subiaco"],
    ),
]


@pytest.mark.parametrize(("recording", "key", "value", "names"), MISHEARD)
async def test_names_are_spelt_as_they_were_given(
    tiny: Kept, recording: str, key: str, value: str, names: list[str]
) -> None:
    samples = samples_of(shared_file(f"speech/ljspeech/{recording}.flac"))
    async with real_server(tiny) as server:
        without = plain_words(text_of(await hear(server, samples)))
        given = plain_words(text_of(await hear(server, samples, **{key: value})))
    assert not set(names) & set(without)
    assert set(names) <= set(given), given
    assert len(given) == len(without)  # the prompt itself is not written
