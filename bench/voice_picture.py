"""Where the time of a turn goes, as a picture: an SVG file with a bar for each stage.

Drawn by ``python -m bench.voice_loop --draw FILE.svg`` for docs/voice-loop.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from whisper_live.voice.report import SAYS
from whisper_live.voice.stages import LABELS, Stage

__all__ = ["picture"]

_LEFT, _ROW, _S = 250, 30, 220  # columns of text, a row, a second
_WIDTH_S = 2.5
_GOAL_S = 1.5
_COLOURS = {"STT": "#2a9d8f", "AI": "#e9a820", "TTS": "#c8553d", "PIPELINE": "#577590"}


def picture(stages: Sequence[Stage], title: str) -> str:
    """The whole file; ``stages`` follow one another."""
    width, height = int(_LEFT + _WIDTH_S * _S), (len(stages) + 3) * _ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="13">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            _text(10, 20, title),
            *_axis(len(stages) + 1),
            *(line for n, stage in enumerate(stages) for line in _bar(n, stage)),
            "</svg>",
            "",
        ]
    )


def _axis(rows: int) -> Iterator[str]:
    bottom = (rows + 0.5) * _ROW
    for half in range(int(_WIDTH_S * 2)):
        x = _LEFT + half / 2 * _S
        colour = "#c00" if half / 2 == _GOAL_S else "#ccc"
        yield f'<path d="M{x:.0f} {_ROW}V{bottom:.0f}" stroke="{colour}"/>'
        yield _text(x - 10, bottom + 18, f"{half / 2:.1f} s")


def _bar(row: int, stage: Stage) -> Iterator[str]:
    top = (row + 1.2) * _ROW
    x, wide = _LEFT + stage.begins_s * _S, stage.duration_s * _S
    label = LABELS[stage.name]
    yield _text(10, top + 15, f"[{label}] {SAYS[stage.name]}")
    yield (
        f'<rect x="{x:.1f}" y="{top:.0f}" width="{max(wide, 1):.1f}" height="20" '
        f'fill="{_COLOURS[label]}"/>'
    )
    yield _text(x + wide + 5, top + 15, f"{stage.duration_s:.2f} s")


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="#222">{escape(text)}</text>'
