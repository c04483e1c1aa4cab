"""Wire logs of real clients, one JSON object a line.

``"<"`` is from the client: its handshake, the size of a binary message in bytes, or
END_OF_AUDIO.  ``">"`` is from the server, and ``"close"`` its close code.  They are
written by the tests of upstream's clients when WHISPER_LIVE_RECORD_GOLDEN is set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["GOLDEN", "read", "record"]

GOLDEN = Path(__file__).with_name("golden")
UID = "00000000-0000-4000-8000-000000000000"


def record(name: str, log: Sequence[Mapping[str, Any]]) -> None:
    """Keep this log, if asked to by the environment, under a uid that never changes."""
    if not os.environ.get("WHISPER_LIVE_RECORD_GOLDEN"):
        return
    uid = next(entry["<"]["uid"] for entry in log if isinstance(entry.get("<"), dict))
    lines = [json.dumps(entry) for entry in log]
    GOLDEN.mkdir(exist_ok=True)
    text = "\n".join(lines).replace(uid, UID) + "\n"
    (GOLDEN / f"{name}.jsonl").write_text(text)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
