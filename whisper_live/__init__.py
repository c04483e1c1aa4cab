"""Whisper Live: a live transcription daemon that speaks WhisperLive's protocol."""

__version__ = "0.1.0"
