"""One session as our server sends it, message by message, for scripted servers.

Three utterances.  Every utterance ends as the session ends it: first a preview, whose
partial reads exactly as the completed segment will, then the completed segment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.protocol.upstream import Wire
from whisper_live.audio import s_to_samples
from whisper_live.inference.types import Word
from whisper_live.protocols.whisperlive import messages as protocol
from whisper_live.session.updates import Dropped, Segment

__all__ = [
    "AUDIO_S",
    "TEXTS",
    "completed",
    "converse",
    "messages",
    "partial",
    "segments",
]

AUDIO_S = 3.0
TEXTS = [" Alpha bravo charlie.", " Delta echo.", " Foxtrot golf.", " Hotel."]


def completed(start_s: float, end_s: float, text: str) -> Segment:
    return Segment(s_to_samples(start_s), s_to_samples(end_s), text, completed=True)


def partial(start_s: float, end_s: float, text: str) -> Segment:
    return Segment(s_to_samples(start_s), s_to_samples(end_s), text, completed=False)


def segments(uid: str, shown: Sequence[Segment], **more: Any) -> Mapping[str, Any]:
    """A message as the server renders it, of segments."""
    rendered = [protocol.segment(segment) for segment in shown]
    return dict(json.loads(protocol.segments(uid, rendered, **more)))


def messages(
    uid: str, *, language: str | None = None, previews: bool = True
) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Pairs of seconds of audio to await and the message that is due then.

    ``language`` is what the client chose; ``previews=False`` leaves out what protects
    clients from a doubled tail.
    """
    first = completed(0.1, 1.1, TEXTS[0])
    second = completed(1.1, 1.6, TEXTS[1])  # starts where the first ended
    third = completed(1.6, 2.1, TEXTS[2])
    last = completed(2.3, 2.9, TEXTS[3])
    yield 0.0, protocol.server_ready(uid)
    if language is None:
        yield 0.5, protocol.language(uid, "en", 0.98)
    yield 0.5, segments(uid, [partial(0.1, 0.5, " Alpha.")])
    yield 0.9, segments(uid, [partial(0.1, 0.9, " Alpha bravo")])
    if previews:
        yield 1.2, segments(uid, [partial(0.1, 1.1, TEXTS[0])])
    yield 1.2, segments(uid, [first])
    yield 1.8, segments(uid, [first, partial(1.1, 1.8, " Delta echoes fox")])
    if previews:  # one utterance may end in several segments; the last is previewed
        yield 2.2, segments(uid, [first, second, partial(1.6, 2.1, TEXTS[2])])
    yield 2.2, segments(
        uid,
        [first, second, third],
        # Our additions, which no client may stumble over.
        dropped=[Dropped(s_to_samples(2.1), s_to_samples(2.2), "window_rejected")],
        timings={"queue_s": 0.01},
    )
    yield 2.6, segments(uid, [first, second, third, partial(2.3, 2.6, " Hot Ella.")])
    if previews:
        yield AUDIO_S, segments(
            uid, [first, second, third, partial(2.3, 2.9, TEXTS[3])]
        )
    words = (Word(TEXTS[3], s_to_samples(2.3), s_to_samples(2.9), 0.87654321),)
    last = Segment(last.start, last.end, last.text, True, words)
    yield AUDIO_S, segments(uid, [first, second, third, last])


async def converse(wire: Wire, *, previews: bool = True) -> None:
    """Say all of it, each message once its audio has come."""
    chosen = wire.handshake["language"]
    for audio_s, message in messages(wire.uid, language=chosen, previews=previews):
        await wire.audio(audio_s)
        await wire.send(message)
