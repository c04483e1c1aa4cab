"""Whisper Live: a live transcription daemon that speaks WhisperLive's protocol."""

import os

# ONNX Runtime (from 1.31 on) reports to its maker unless this is set before it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
