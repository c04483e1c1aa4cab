"""``python -m whisper_live`` is the same command as ``whisper-live``."""

from __future__ import annotations

import sys

from whisper_live.cli import main

if __name__ == "__main__":
    sys.exit(main())
