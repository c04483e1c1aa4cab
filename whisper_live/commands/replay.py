"""``whisper-live replay LOG``: drive the pure core through a recorded session."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from whisper_live.session import eventlog
from whisper_live.text.counted import counted

__all__ = ["run"]


def run(path: Path, *, verbose: bool = False) -> int:
    """Replay one log; 0 if every effect came out as recorded, byte for byte, else 1."""
    steps = differing = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for step in eventlog.replay(lines):
                steps += 1
                if verbose:
                    print(f"{step.now:12.3f} {step.event}")
                    for effect in step.repeated:
                        print(f"{'':12} -> {effect}")
                if not step.is_same:
                    differing += 1
                    _show_difference(step)
    except json.JSONDecodeError:
        why = (
            f"it breaks off behind step {steps}" if steps else "it is not an event log"
        )
        print(f"{path}: cannot be replayed: {why}", file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError) as error:
        print(f"{path}: cannot be replayed: {error}", file=sys.stderr)
        return 1
    differ = "differs" if differing == 1 else "differ"
    print(f"{path}: {counted(steps, 'step')}, {differing} {differ}")
    return 1 if differing else 0


def _show_difference(step: eventlog.Replay) -> None:
    print(f"step {step.number} ({step.event} at {step.now:.3f}) differs")
    for effect in step.recorded:
        print(f"  recorded {effect}")
    for effect in step.repeated:
        print(f"  repeated {effect}")
