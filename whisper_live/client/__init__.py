"""What a Python program imports to talk to a server of live transcription.

``LiveClient`` for asyncio programs; ``TranscriptionClient`` and
``StreamingTranscriptionClient`` for scripts that were written for WhisperLive.
docs/client.md shows how.
"""

from whisper_live.client.backoff import Backoff
from whisper_live.client.events import (
    Closed,
    Disconnected,
    Event,
    Final,
    Gap,
    Heard,
    LanguageDetected,
    News,
    Partial,
    Reconnected,
    Segment,
    Stages,
    Turn,
    Warned,
)
from whisper_live.client.live import LiveClient
from whisper_live.client.transcription import (
    StreamingTranscriptionClient,
    TranscriptionClient,
)

__all__ = [
    "Backoff",
    "Closed",
    "Disconnected",
    "Event",
    "Final",
    "Gap",
    "Heard",
    "LanguageDetected",
    "LiveClient",
    "News",
    "Partial",
    "Reconnected",
    "Segment",
    "Stages",
    "StreamingTranscriptionClient",
    "TranscriptionClient",
    "Turn",
    "Warned",
]
