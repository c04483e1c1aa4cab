"""Whisper Live: a live transcription daemon that speaks WhisperLive's protocol.

Settings of libraries that are read when those are imported are made here, because
every way in comes past this module first.  What the user has set is left as it is.
"""

import os

# ONNX Runtime (from 1.31 on) reports to its maker unless this is set before it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# numpy's BLAS starts a thread for each core, which spin for more work after each
# product: features then cost twice the CPU, taken from the engine's own threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
