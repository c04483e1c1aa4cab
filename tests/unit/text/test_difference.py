"""What differs between two texts."""

from __future__ import annotations

import pytest

from whisper_live.text.difference import difference


@pytest.mark.parametrize(
    ("reference", "heard", "marked"),
    [
        ("Turn it on, please!", "turn it ON please", ""),
        ("", "", ""),
        ("Open the door.", "open a door now", "Open [-the-] {+a+} door. {+now+}"),
        ("Well - yes.", "well yes", ""),
        ("one two three", "three", "[-one-] [-two-] three"),
        ("", "you", "{+you+}"),
        ("don't", "don't.", ""),
        ("open the door", "open a door now", "open [-the-] {+a+} door {+now+}"),
    ],
)
def test_only_other_words_are_marked(reference: str, heard: str, marked: str) -> None:
    assert difference(reference, heard) == marked
