"""Nothing outside ``protocols.whisperlive`` knows that wire's keys."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import whisper_live

PACKAGE = Path(whisper_live.__file__).parent
WIRE = PACKAGE / "protocols" / "whisperlive"

# Those that are nobody else's words; "text", "start" or "language" say nothing.
KEYS = {
    "DISCONNECT",
    "END_OF_AUDIO",
    "SERVER_READY",
    "WAIT",
    "backend",
    "clip_audio",
    "enable_diarization",
    "enable_translation",
    "language_prob",
    "min_silence_duration_ms",
    "neg_threshold",
    "no_speech_thresh",
    "same_output_threshold",
    "send_last_n_segments",
    "uid",
    "use_vad",
    "vad_parameters",
}


def strings(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    values = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {
        value.decode("ascii", "replace") if isinstance(value, bytes) else value
        for value in values
        if isinstance(value, str | bytes)
    }


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if WIRE not in path.parents],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_no_other_module_knows_the_wires_keys(path: Path) -> None:
    assert not strings(path) & KEYS


def test_the_wire_itself_is_seen_to_know_them() -> None:
    known = {key for path in WIRE.rglob("*.py") for key in strings(path)}
    assert KEYS <= known
