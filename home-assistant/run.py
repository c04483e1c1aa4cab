"""Starts the daemon with the options of Home Assistant's add-on, where there are any.

Without them, as in a plain container, the environment sets what is left open here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OPTIONS = Path("/data/options.json")
# The port for programs stays inside; Home Assistant's is reached from the network.
ALWAYS = {
    "wyoming-port": "10300",
    "wyoming-host": "0.0.0.0",
    "model-cache": "/data/models",
}
FLAGS = {
    "model": "model",
    "silence_ms": "wyoming-silence-ms",
    "allow": "wyoming-allow",
}


def command(options: Mapping[str, Any]) -> list[str]:
    """The command line for an add-on's options."""
    chosen = {FLAGS[name]: value for name, value in options.items() if name in FLAGS}
    flags = [f"--{flag}={value}" for flag, value in {**ALWAYS, **chosen}.items()]
    return ["whisper-live", "serve", "--insecure", *flags]


if __name__ == "__main__":
    options = json.loads(OPTIONS.read_text("utf-8")) if OPTIONS.is_file() else {}
    line = command(options)
    os.execvp(line[0], line)
