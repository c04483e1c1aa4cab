"""The report's pictures: errors by corpus, and how soon words come and stand.

Where matplotlib is not installed nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.quality.real.figures import Figures, share

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
except ImportError:
    pyplot = None  # type: ignore[assignment]  # the extra [bench] has it

__all__ = ["can_draw", "draw_errors", "draw_times"]

_LONGEST_S = 6.0  # of the axis


def can_draw() -> bool:
    """Whether there will be pictures."""
    return pyplot is not None


def draw_errors(figures: Sequence[Figures], path: Path) -> None:
    """Error rates of each reader by corpus, English only; a panel for each model."""
    english = [f for f in figures if f.language == "en"] or figures
    models = list(dict.fromkeys(f.model for f in english))
    readers = list(dict.fromkeys(f.reader for f in english))
    figure, panels = pyplot.subplots(
        len(models), 1, figsize=(10, 3.2 * len(models)), squeeze=False
    )
    for axes, model in zip(panels[:, 0], models):
        own = [f for f in english if f.model == model]
        corpora = sorted({f.corpus for f in own})
        for place, reader in enumerate(readers):
            rates = [
                _error_rate([f for f in own if (f.corpus, f.reader) == (name, reader)])
                for name in corpora
            ]
            left = [i + 0.8 * place / len(readers) for i in range(len(corpora))]
            axes.bar(left, rates, 0.8 / len(readers), align="edge", label=reader)
        axes.set_xticks([i + 0.4 for i in range(len(corpora))], corpora, fontsize=7)
        axes.tick_params("x", rotation=20)
        axes.set_ylabel(f"{model}: errors per 100 words")
        axes.grid(axis="y", alpha=0.3)
    panels[0, 0].legend(fontsize=7)
    _save(figure, path)


def _error_rate(figures: Sequence[Figures]) -> float:
    return 100 * share(sum(f.errors for f in figures), sum(f.units for f in figures))


def draw_times(figures: Sequence[Figures], path: Path) -> None:
    """Distributions of first, stands and completed, a line for each model and load."""
    figure, panels = pyplot.subplots(1, 3, figsize=(11, 3.6), sharey=True)
    live = [f for f in figures if f.reader.startswith("live")]
    lines = list(dict.fromkeys((f.model, f.reader) for f in live))
    for axes, name, title in zip(
        panels,
        ("first_s", "stands_s", "completed_s"),
        ("first voice to first word", "last voice to last change", "... to completed"),
    ):
        for line in lines:
            values: list[float] = sorted(
                value
                for f in live
                if (f.model, f.reader) == line
                and (value := getattr(f, name)) is not None
            )
            shares = [(i + 1) / len(values) for i in range(len(values))]
            axes.step(values, shares, where="post", label=" ".join(line))
        axes.set_xlabel(f"{title}, s")
        axes.set_xlim(-1, _LONGEST_S)
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("share of recordings")
    panels[-1].legend(fontsize=7, loc="lower right")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
