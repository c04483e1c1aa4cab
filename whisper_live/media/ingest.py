"""One session's way from received bytes to scored frames.

Owns the order of the steps (decode, repair, cut into frames, score) and the samples
that do not fill a frame yet.  Must not know sessions, sockets or threads: whoever
calls it does so off the event loop, one call at a time.

Up to 511 samples (32 ms) wait for the rest of their frame when a client falls silent
without an end mark.  They hold nothing back: a session finishes stalled speech by its
own clock, without them, and gets them at their true positions with whatever comes
next, be it audio, the end mark or the idle timeout.  What they can change is the text
of speech cut off less than 0.1 s after its last sound (of ten demo sentences, one cut
right there lost its last word, five cut 50 ms later their full stop, and none lost
anything 100 ms later).  Giving them early would cost more: padded, they would move
every later position; as a part frame they would put the VAD and all that counts in
frames out of step.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples
from whisper_live.errors import DecodeError
from whisper_live.media.formats import StreamDecoder
from whisper_live.session.events import Frames
from whisper_live.vad.silero import Detector

__all__ = ["Ingest"]

# What one `pull` hands over at most: the session sees a long message in pieces, and
# neither the detector's scratch memory nor one pool job grows with the message.
_MOST_SAMPLES = 5 * SAMPLE_RATE // FRAME_SAMPLES * FRAME_SAMPLES

_LONGEST_GAP = 30 * SAMPLE_RATE  # as in a container's times

# Lossy codecs overshoot full scale by a few dB.  What is louder than this is not
# audio in -1..1 (garbage, or integers sent as floats) and is clipped.
_LOUDEST = 4.0


class Ingest:
    """Turns one stream's bytes into frames with speech probabilities.

    After each ``push``, and after ``finish``, ``pull`` while it ``has_more``.  The
    frames do not depend on how the bytes were cut.  ``pull`` raises ``DecodeError``
    only after everything decoded before the damage has been pulled; then the stream
    is over.
    """

    def __init__(self, decoder: StreamDecoder, detector: Detector) -> None:
        self._decoder = decoder
        self._detector = detector
        self._pending: Samples = np.empty(0, dtype=np.float32)
        self._finished = False  # the decoder takes no more bytes
        self._drained = False  # and gives no more samples
        self._is_dry = True  # it gave all that the bytes so far hold
        self._error: DecodeError | None = None  # raised once `_pending` is empty
        self._silence = 0  # samples in whole frames that come behind `_pending`
        self._behind_silence = 0  # and samples of silence in the frame after them
        self._decode_s = 0.0  # spent since the last frames were handed over
        self._repairs: Counter[str] = Counter()
        self._left_out = 0  # samples still to leave out
        self._is_fresh = True  # no bytes have come since the start, or ``restart``

    @property
    def codec(self) -> str:
        """What the decoder found the stream to be."""
        return self._decoder.codec

    @property
    def notes(self) -> Counter[str]:
        """How often something was repaired or skipped, by kind: the decoder's notes
        with ``non_finite`` and ``clipped`` (samples) added."""
        return self._decoder.notes + self._repairs

    @property
    def has_more(self) -> bool:
        """Whether ``pull`` has frames to give, or an error, before more bytes come.

        Asking costs a stream's every message one job in the pool less.
        """
        return (
            not self._is_dry
            or self._silence > 0
            or self._error is not None
            or len(self._pending) >= (1 if self._drained else FRAME_SAMPLES)
        )

    @property
    def is_fresh(self) -> bool:
        """Whether no bytes have come since the start, or since ``restart``."""
        return self._is_fresh

    def restart(self, decoder: StreamDecoder) -> None:
        """Go on behind the last frames handed over, with a stream that begins anew.

        What lies between, half a frame or half a cluster, is forgotten.
        """
        self._repairs += self._decoder.notes
        self._decoder = decoder
        self._pending = np.empty(0, dtype=np.float32)
        self._finished = self._drained = False
        self._is_dry = self._is_fresh = True
        self._silence = self._behind_silence = 0
        self._left_out = 0

    def begin_at(self, offset: int) -> None:
        """The stream begins so many samples behind where it is to go on.

        What it repeats (``offset`` below 0) is left out; up to 30 s of gap are silence.
        """
        assert self._is_fresh, "a position comes before the audio"
        self._left_out = max(-offset, 0)
        gap = min(max(offset, 0), _LONGEST_GAP)
        self._pending = np.zeros(gap, dtype=np.float32)

    def push(self, data: bytes) -> None:
        """Take the bytes of one message; ignored once the stream is over."""
        self._is_fresh = False
        if not self._finished:
            self._feed(lambda: self._decoder.push(data))

    def skip(self, samples: int) -> None:
        """So much silence comes here instead of audio; ``pull`` all before and after.

        It is no speech and is not scored.  The detector goes on behind it as if nothing
        had been: zeros would lower the background that whispering stands out from.
        """
        if self._finished:
            return
        self._is_fresh = False
        left_out = min(self._left_out, samples)
        self._left_out -= left_out
        samples -= left_out
        assert not self.has_more, "what came before it is pulled"
        self._decoder.skip()
        self._repairs["silence_told"] += 1
        missing = -len(self._pending) % FRAME_SAMPLES
        rest = (samples - missing) % FRAME_SAMPLES
        if samples - missing < FRAME_SAMPLES:  # there is no whole frame in it
            missing, rest = samples, 0
        self._pending = np.concatenate([self._pending, _zeros(missing)])
        self._silence, self._behind_silence = samples - missing - rest, rest

    def finish(self) -> None:
        """No more bytes will come: the last, part frame may be pulled now."""
        if not self._finished:
            self._feed(self._decoder.finish)
            self._finished = True

    def pull(self) -> Frames | None:
        """The next frames, at most 5 s; None when more bytes are needed.

        All frames are whole until the stream is over; its last may be a part, which
        is scored as if silence followed.
        """
        if self._silence and not len(self._pending):
            return self._pull_silence()
        self._fill()
        count = min(len(self._pending), _MOST_SAMPLES)
        if not self._drained:
            count -= count % FRAME_SAMPLES
        if not count:
            if self._error is not None:
                raise self._error
            return None
        samples, self._pending = self._pending[:count], self._pending[count:]
        started = time.thread_time()
        speech = self._detector.score(_in_frames(samples))
        vad_s = time.thread_time() - started
        decode_s, self._decode_s = self._decode_s, 0.0
        return Frames(samples, speech, decode_s=decode_s, vad_s=vad_s)

    def _pull_silence(self) -> Frames:
        """Whole frames of it; the rest waits for what follows."""
        count = min(self._silence, _MOST_SAMPLES)
        self._silence -= count
        if not self._silence:
            self._pending = _zeros(self._behind_silence)
        return Frames(_zeros(count), _zeros(count // FRAME_SAMPLES))

    def _feed(self, step: Callable[[], None]) -> None:
        started = time.thread_time()
        self._is_dry = False
        try:
            step()
        except DecodeError as error:
            self._error, self._finished = error, True
        self._decode_s += time.thread_time() - started

    def _fill(self) -> None:
        """Decode until one pull's worth is pending, or the decoder has no more."""
        started = time.thread_time()
        parts, size = [self._pending], len(self._pending)
        while size < _MOST_SAMPLES and not self._drained:
            try:
                samples = self._decoder.pull()
            except DecodeError as error:
                self._error = self._error or error
                self._finished = self._drained = self._is_dry = True
                break
            if samples is None:
                self._drained, self._is_dry = self._finished, True
                break
            if self._left_out:
                left_out = min(self._left_out, len(samples))
                self._left_out -= left_out
                samples = samples[left_out:]
            parts.append(self._repair(samples))
            size += len(samples)
        if len(parts) > 1:
            self._pending = np.concatenate(parts)
        self._decode_s += time.thread_time() - started

    def _repair(self, samples: Samples) -> Samples:
        """Samples that the detector and the engine can bear: finite and not absurd.

        One NaN would stay in the detector's state for the rest of the session.
        """
        # min and max both pass a NaN on, and no comparison with NaN is true.
        if not len(samples) or (
            samples.max() <= _LOUDEST and samples.min() >= -_LOUDEST
        ):
            return samples
        finite = np.isfinite(samples)
        tame = np.where(finite, samples, np.float32(0))
        self._repairs["non_finite"] += int(np.count_nonzero(~finite))
        self._repairs["clipped"] += int(np.count_nonzero(np.abs(tame) > _LOUDEST))
        return np.clip(tame, -_LOUDEST, _LOUDEST)


def _zeros(count: int) -> Samples:
    return np.zeros(count, dtype=np.float32)


def _in_frames(samples: Samples) -> Samples:
    """``[n]`` as ``[ceil(n / 512), 512]``, with zeros after a part frame."""
    missing = -len(samples) % FRAME_SAMPLES
    if missing:
        samples = np.concatenate([samples, np.zeros(missing, dtype=np.float32)])
    return samples.reshape(-1, FRAME_SAMPLES)
