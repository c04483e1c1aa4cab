"""One live container stream: bytes in, contiguous 16 kHz mono samples out.

Owns the order of things (splitter, timeline, codec, resampler), restarts, and the
bounds on memory and on the work of one call.  Must not know how a container or a
codec is built.
"""

from __future__ import annotations

import numpy as np

from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.errors import DecodeError
from whisper_live.media.codec import BadPacket, PacketDecoder, Resampler, open_codec
from whisper_live.media.packets import Packet, Track
from whisper_live.media.splitter import Splitter
from whisper_live.media.timeline import Timeline

__all__ = ["ContainerStream", "Output", "keep"]

_MAX_PIECE_SAMPLES = 5 * SAMPLE_RATE
_MAX_BACKLOG_BYTES = 1024 * 1024

_MAX_BATCH_S = 5.0
# The splitter gets a message in slices and one call ends with the first slice that
# gave audio: a megabyte of two-byte elements must not hold a thread for a second.
_SLICE_BYTES = 64 * 1024
_MAX_UNUSABLE = 200  # packets in a row that are damaged, empty or sent twice
_FREE_RESTARTS = 50  # and one more for every second decoded; each builds a decoder


def keep(waiting: bytearray, data: bytes) -> None:
    """Put ``data`` behind what waits to be decoded.

    Raises ``DecodeError`` if over a MiB is waiting already.
    """
    if len(waiting) > _MAX_BACKLOG_BYTES:
        raise DecodeError("More was sent than was decoded.", kind="backlog")
    waiting += data


class Output:
    """Samples that are ready, handed out in pieces of at most 5 s."""

    def __init__(self) -> None:
        self._pieces: list[Samples] = []

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, pieces: list[Samples]) -> None:
        """Keep ``pieces`` in order; empty ones vanish."""
        self._pieces += [piece for piece in pieces if len(piece)]

    def take(self) -> Samples:
        """The next piece; ask only where there is one."""
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        (samples,) = self._pieces
        self._pieces = []
        if len(samples) > _MAX_PIECE_SAMPLES:
            self._pieces = [samples[_MAX_PIECE_SAMPLES:]]
            samples = samples[:_MAX_PIECE_SAMPLES]
        return samples


class ContainerStream:
    """The ``StreamDecoder`` of WebM, Ogg and MP4.

    Audio that was decoded before an error is handed out first; the error follows at
    the next ``pull`` and at every one after that.
    """

    def __init__(self, container: str, splitter: Splitter) -> None:
        self.codec = "unknown"
        self.notes = splitter.notes
        self._container = container
        self._splitter = splitter
        self._timeline = Timeline(self.notes)
        self._waiting = bytearray()  # pushed, not yet given to the splitter
        self._finished = False
        self._closed = False
        self._error: DecodeError | None = None
        self._decoder: PacketDecoder | None = None
        self._resampler: Resampler | None = None
        self._preskip = 0  # samples still to drop, at the decoder's rate
        self._silence = 0  # samples still to insert, at the decoder's rate
        self._after_silence: Packet | None = None
        self._batch: list[Samples] = []  # decoded, all at the resampler's rate
        self._batch_s = 0.0
        self._decoded_s = 0.0
        self._restarts = 0
        self._unusable = 0  # packets in a row
        self._output = Output()

    def push(self, data: bytes) -> None:
        """Keep ``data``; raises ``DecodeError`` if over a MiB is waiting already."""
        keep(self._waiting, data)

    def skip(self) -> None:
        """The next packet follows here, whatever its time."""
        self._timeline.restart()

    def finish(self) -> None:
        """No more bytes will come."""
        self._finished = True

    def pull(self) -> Samples | None:
        """The next piece of at most 5 s; None when more bytes are needed."""
        while not self._output:
            if self._error is not None:
                raise self._error
            more = True
            try:
                more = self._decode_batch()
            except DecodeError as error:
                self._error = error
            self._resample()
            if not (more or self._output):
                return None
        return self._output.take()

    # ------------------------------------------------------------------- decoding

    def _decode_batch(self) -> bool:
        """Decode up to 5 s or what one slice holds; False when nothing is left."""
        while self._batch_s < _MAX_BATCH_S:
            if self._silence:
                self._insert_silence()
            elif self._after_silence is not None:
                packet, self._after_silence = self._after_silence, None
                self._decode(packet)
            else:
                item = self._splitter.next()
                if isinstance(item, Packet):
                    self._place(item)
                elif item is not None:
                    self._start(item)
                elif self._batch:
                    return True
                elif not self._feed():
                    return self._finished and self._close()
        return True

    def _feed(self) -> bool:
        """Give the splitter the next slice; False when there is none."""
        if not self._waiting:
            return False
        self._splitter.push(bytes(self._waiting[:_SLICE_BYTES]))
        del self._waiting[:_SLICE_BYTES]
        return True

    def _close(self) -> bool:
        """Flush, the first time; nothing is left to decode."""
        if not self._closed:
            self._closed = True
            if self._resampler is not None:
                self._output.add(self._resampler.flush())
            self._splitter.finish()
        return False

    def _start(self, track: Track) -> None:
        """A header was read: the first, or that of a new recorder on this socket."""
        self._count_restart()
        self.codec = f"{self._container}_{track.codec.partition('_')[0]}"
        self._decoder = open_codec(track)
        self._preskip = track.preskip
        self._timeline.restart()

    def _place(self, packet: Packet) -> None:
        silence_s = self._timeline.place(packet.time_s)
        if silence_s is None:
            self._count_unusable()
        elif silence_s and self._resampler is not None:
            self._silence = round(silence_s * self._resampler.rate)
            self._after_silence = packet
        else:
            self._decode(packet)

    def _decode(self, packet: Packet) -> None:
        assert self._decoder is not None, "a splitter gives the track first"
        try:
            if not packet.data:  # libav would take it for the end of the stream
                raise BadPacket("empty")
            samples = self._decoder.decode(packet.data)
            if not len(samples):  # neither Opus nor AAC holds a packet back
                raise BadPacket("no samples")
        except BadPacket:
            self.notes["bad_packet"] += 1
            self._count_unusable()
            return
        self._unusable = 0
        rate = self._decoder.rate
        self._timeline.advance(len(samples) / rate)
        self._decoded_s += len(samples) / rate
        self._use_rate(rate)
        if packet.trim_s:
            samples = samples[: max(len(samples) - round(packet.trim_s * rate), 0)]
        if self._preskip:
            skipped = min(self._preskip, len(samples))
            self._preskip -= skipped
            samples = samples[skipped:]
        self._add(samples)

    def _insert_silence(self) -> None:
        assert self._resampler is not None, "silence follows audio only"
        count = min(self._silence, int(_MAX_BATCH_S * self._resampler.rate))
        self._silence -= count
        self._add(np.zeros(count, np.float32))

    # ------------------------------------------------------------------- resampling

    def _add(self, samples: Samples) -> None:
        assert self._resampler is not None, "the rate is known before samples are"
        if len(samples):
            self._batch.append(samples)
            self._batch_s += len(samples) / self._resampler.rate

    def _use_rate(self, rate: int) -> None:
        if self._resampler is not None:
            if self._resampler.rate == rate:
                return  # it also goes on over a restart: no click, no lost sample
            self._resample()
            self._output.add(self._resampler.flush())
            self._count_restart()
        if not 8_000 <= rate <= 192_000:
            raise DecodeError(
                f"The audio has a sample rate of {rate} Hz.", kind="sample_rate"
            )
        self._resampler = Resampler(rate)

    def _resample(self) -> None:
        if self._batch:
            assert self._resampler is not None, "samples came at some rate"
            batch, self._batch = self._batch, []
            self._batch_s = 0.0
            self._output.add(self._resampler.push(batch))

    # --------------------------------------------------------------------- bounds

    def _count_restart(self) -> None:
        self._restarts += 1
        if self._restarts > _FREE_RESTARTS + self._decoded_s:
            raise DecodeError("The stream restarts all the time.", kind="restarts")

    def _count_unusable(self) -> None:
        self._unusable += 1
        if self._unusable > _MAX_UNUSABLE:
            raise DecodeError(
                f"More than {_MAX_UNUSABLE} packets in a row could not be used.",
                kind="bad_packets",
            )
