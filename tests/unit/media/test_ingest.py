"""From bytes to scored frames: sizes, order, repairs, ends and errors."""

from __future__ import annotations

import time
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.helpers import SessionHarness
from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples
from whisper_live.errors import DecodeError
from whisper_live.media.formats import open_stream
from whisper_live.media.ingest import Ingest
from whisper_live.session.events import Frames
from whisper_live.testing.marks import write_speech
from whisper_live.testing.oracle import OracleDetector

BROKEN = b"broken"


class RawDecoder:
    """float32 bytes, in cuts of four bytes, one array per push; may break."""

    codec = "raw"

    def __init__(self) -> None:
        self.notes = Counter({"gap": 2})
        self.finished = False
        self._queue: deque[Samples | DecodeError] = deque()

    def push(self, data: bytes) -> None:
        assert not self.finished
        if data == BROKEN:
            raise DecodeError("the stream is broken")
        self._queue.append(np.frombuffer(data, dtype="<f4"))

    def break_later(self) -> None:
        self._queue.append(DecodeError("a packet is broken"))

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def pull(self) -> Samples | None:
        if not self._queue:
            return None
        item = self._queue.popleft()
        if isinstance(item, DecodeError):
            raise item
        return item

    def skip(self) -> None:
        self.notes["skipped"] += 1

    def finish(self) -> None:
        self.finished = True
        self._queue.append(np.full(3, 0.5, dtype=np.float32))  # a codec's tail


class FirstSample:
    """Scores a frame as its first sample and remembers what it was given."""

    def __init__(self) -> None:
        self.frames: list[Samples] = []

    def score(self, frames: Samples) -> NDArray[np.float32]:
        self.frames.append(frames)
        return frames[:, 0].astype(np.float32)


def _ramp(count: int) -> Samples:
    return (np.arange(count) % 1000 / 1000).astype(np.float32)


def _pull_all(ingest: Ingest) -> list[Frames]:
    """As a connection does it: not once more than there is something to pull."""
    pulled = []
    while ingest.has_more and (frames := ingest.pull()) is not None:
        pulled.append(frames)
    assert not ingest.has_more
    assert ingest.pull() is None, "nothing was left"
    return pulled


def _samples(frames: list[Frames]) -> Samples:
    return np.concatenate([np.empty(0, np.float32), *(f.samples for f in frames)])


def test_whole_frames_only_until_the_end() -> None:
    ingest = Ingest(RawDecoder(), FirstSample())
    ingest.push(_ramp(700).tobytes())
    (frames,) = _pull_all(ingest)
    assert len(frames.samples) == FRAME_SAMPLES
    ingest.push(_ramp(323).tobytes())  # 700 + 323 is one short of two frames
    assert ingest.pull() is None
    ingest.push(_ramp(1).tobytes())
    (frames,) = _pull_all(ingest)
    assert len(frames.samples) == FRAME_SAMPLES
    ingest.finish()
    (frames,) = _pull_all(ingest)
    assert frames.samples.tolist() == [0.5] * 3
    assert len(frames.speech) == 1


def test_part_frame_is_padded_for_scoring_only() -> None:
    detector = FirstSample()
    ingest = Ingest(RawDecoder(), detector)
    ingest.push(np.full(600, 0.25, np.float32).tobytes())
    ingest.finish()
    (frames,) = _pull_all(ingest)
    assert len(frames.samples) == 603
    assert len(frames.speech) == 2
    assert detector.frames[0].shape == (2, FRAME_SAMPLES)
    assert detector.frames[0][1, 91:].tolist() == [0.0] * 421


def test_end_on_a_frame_has_no_part_frame() -> None:
    ingest = Ingest(RawDecoder(), FirstSample())
    ingest.push(_ramp(2 * FRAME_SAMPLES - 3).tobytes())
    ingest.finish()
    assert [len(f.samples) for f in _pull_all(ingest)] == [2 * FRAME_SAMPLES]
    assert ingest.pull() is None


def test_long_message_comes_in_pieces_of_at_most_five_seconds() -> None:
    ingest = Ingest(RawDecoder(), FirstSample())
    samples = _ramp(12 * SAMPLE_RATE)
    ingest.push(samples.tobytes())
    pieces = _pull_all(ingest)
    assert [len(f.samples) for f in pieces] == [79872, 79872, 32256]
    ingest.finish()
    pieces += _pull_all(ingest)
    np.testing.assert_array_equal(_samples(pieces)[:-3], samples)


def test_no_more_is_decoded_than_is_handed_over() -> None:
    decoder = RawDecoder()
    ingest = Ingest(decoder, FirstSample())
    for _ in range(20):
        ingest.push(_ramp(SAMPLE_RATE).tobytes())
    ingest.pull()
    assert decoder.waiting == 15


def test_many_small_pieces_are_scored_in_one_call() -> None:
    detector = FirstSample()
    ingest = Ingest(RawDecoder(), detector)
    for _ in range(40):  # 40 packets of 20 ms
        ingest.push(_ramp(320).tobytes())
    assert [len(f.speech) for f in _pull_all(ingest)] == [25]
    assert len(detector.frames) == 1


@given(st.lists(st.integers(0, 4000), max_size=12), st.booleans())
def test_any_cut_gives_the_same_frames(cuts: list[int], pull_between: bool) -> None:
    samples = _ramp(4000)
    whole = Ingest(RawDecoder(), FirstSample())
    whole.push(samples.tobytes())
    whole.finish()
    expected = _pull_all(whole)
    ingest, got = Ingest(RawDecoder(), FirstSample()), list[Frames]()
    for piece in np.split(samples, sorted(cuts)):
        ingest.push(piece.tobytes())
        if pull_between:
            got += _pull_all(ingest)
    ingest.finish()
    got += _pull_all(ingest)
    np.testing.assert_array_equal(_samples(got), _samples(expected))
    np.testing.assert_array_equal(
        np.concatenate([f.speech for f in got]),
        np.concatenate([f.speech for f in expected]),
    )
    assert all(len(f.samples) % FRAME_SAMPLES == 0 for f in got[:-1])


def test_bad_samples_are_repaired_and_counted() -> None:
    samples = np.zeros(FRAME_SAMPLES, np.float32)
    samples[:6] = [np.nan, np.inf, -np.inf, 30000.0, -1e38, 1.5]
    ingest = Ingest(RawDecoder(), FirstSample())
    ingest.push(samples.tobytes())
    (frames,) = _pull_all(ingest)
    assert frames.samples[:7].tolist() == [0.0, 0.0, 0.0, 4.0, -4.0, 1.5, 0.0]
    assert ingest.notes == {"gap": 2, "non_finite": 3, "clipped": 2}


def test_good_samples_are_not_touched() -> None:
    samples = _ramp(FRAME_SAMPLES) * 2 - 1
    ingest = Ingest(RawDecoder(), FirstSample())
    ingest.push(samples.tobytes())
    (frames,) = _pull_all(ingest)
    np.testing.assert_array_equal(frames.samples, samples)
    assert ingest.notes == {"gap": 2}
    assert ingest.codec == "raw"


def test_audio_before_a_broken_packet_comes_first() -> None:
    decoder = RawDecoder()
    ingest = Ingest(decoder, FirstSample())
    ingest.push(_ramp(600).tobytes())
    decoder.break_later()
    frames = ingest.pull()
    assert frames is not None
    assert len(frames.samples) == 600
    for _ in range(2):
        with pytest.raises(DecodeError, match="a packet is broken"):
            ingest.pull()


def test_audio_before_a_refused_push_comes_first() -> None:
    ingest = Ingest(RawDecoder(), FirstSample())
    ingest.push(_ramp(600).tobytes())
    ingest.push(BROKEN)
    ingest.push(_ramp(600).tobytes())  # after the end of all: ignored
    ingest.finish()
    frames = ingest.pull()
    assert frames is not None
    assert len(frames.samples) == 600
    with pytest.raises(DecodeError, match="the stream is broken"):
        ingest.pull()


@pytest.mark.parametrize("waiting", [1, 100, FRAME_SAMPLES - 1])
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_part_frame_holds_nothing_back_when_the_stream_stalls(
    waiting: int, goes_on: bool
) -> None:
    """The final comes without it; it comes at its place with what is next."""
    samples, spoken = write_speech([[1, 2], [3, 4]], lead_s=0.0, pause_s=0.1)
    whole = spoken[1].end // FRAME_SAMPLES * FRAME_SAMPLES + FRAME_SAMPLES
    ingest = Ingest(open_stream("float32"), OracleDetector())
    harness = SessionHarness()

    def pull() -> None:
        for frames in iter(ingest.pull, None):
            harness.hear_frames(frames)

    ingest.push(samples[: whole + waiting].tobytes())
    pull()
    assert harness.session.received == whole
    harness.wait()  # no more audio comes
    assert harness.completed() == [" w1 w2"]
    if goes_on:
        ingest.push(samples[whole + waiting :].tobytes())
        pull()
    ingest.finish()
    pull()
    harness.end()
    if goes_on:
        assert harness.session.received == len(samples)
        assert harness.account(spoken).clean
        (second,) = harness.shown[1:]
        start_s = spoken[2].start / SAMPLE_RATE
        assert float(second["start"]) == pytest.approx(start_s, abs=0.05)
    else:
        assert harness.session.received == whole + waiting
        assert harness.completed() == [" w1 w2"]


def test_nothing_in_nothing_out() -> None:
    ingest = Ingest(RawDecoder(), FirstSample())
    assert ingest.pull() is None
    ingest.push(b"")
    assert ingest.pull() is None


def test_cpu_time_is_given_with_the_frames_it_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(time, "thread_time", lambda: float(next(ticks)))
    ingest = Ingest(RawDecoder(), FirstSample())
    ingest.push(_ramp(100).tobytes())
    assert ingest.pull() is None
    ingest.push(_ramp(500).tobytes())
    frames = ingest.pull()
    assert frames is not None
    assert frames.decode_s == 4.0  # two pushes and two fills, one tick each
    assert frames.vad_s == 1.0


# ------------------------------------------------------------ silence that was not sent


@given(st.integers(0, 1500), st.integers(1, 200_000), st.integers(0, 1500))
def test_silence_stands_where_it_was_told(
    before: int, silence: int, after: int
) -> None:
    ingest = Ingest(RawDecoder(), FirstSample())
    ingest.push(np.full(before, 0.25, np.float32).tobytes())
    frames = _pull_all(ingest)
    ingest.skip(silence)
    frames += _pull_all(ingest)
    ingest.push(np.full(after, 0.75, np.float32).tobytes())
    frames += _pull_all(ingest)
    ingest.finish()
    frames += _pull_all(ingest)
    levels, lengths = [0.25, 0, 0.75, 0.5], [before, silence, after, 3]
    np.testing.assert_array_equal(_samples(frames), np.repeat(levels, lengths))
    assert all(len(f.samples) % FRAME_SAMPLES == 0 for f in frames[:-1])
    assert all(len(f.samples) <= 5 * SAMPLE_RATE for f in frames)
    assert [len(f.speech) for f in frames] == [
        -(-len(f.samples) // 512) for f in frames
    ]


def test_silence_is_no_speech_and_costs_the_detector_nothing() -> None:
    detector = FirstSample()
    ingest = Ingest(RawDecoder(), detector)
    ingest.push(np.full(100, 0.25, np.float32).tobytes())
    assert not _pull_all(ingest)
    ingest.skip(30 * SAMPLE_RATE)
    frames = _pull_all(ingest)
    assert sum(len(f.samples) for f in frames) == 30 * SAMPLE_RATE // 512 * 512
    scored = [frame[0] for given in detector.frames for frame in given]
    assert scored == [0.25], "only the frame in which it begins"
    speech = np.concatenate([f.speech for f in frames])
    assert speech.tolist() == [0.25] + [0.0] * (len(speech) - 1)
    assert ingest.notes["silence_told"] == 1 and ingest.notes["skipped"] == 1


def test_silence_behind_the_end_is_nothing() -> None:
    ingest = Ingest(RawDecoder(), FirstSample())
    ingest.finish()
    _pull_all(ingest)
    ingest.skip(1000)
    assert not ingest.has_more and ingest.pull() is None


def test_a_stream_that_begins_anew_goes_on_where_it_is_told() -> None:
    """What it repeats is left out, in samples and in silence that is told of."""
    audio = np.linspace(-0.5, 0.5, 4 * FRAME_SAMPLES, dtype=np.float32)
    ingest = Ingest(open_stream("float32"), OracleDetector())
    ingest.push(audio[: FRAME_SAMPLES + 7].tobytes())
    first = ingest.pull()
    assert first is not None and len(first.samples) == FRAME_SAMPLES
    ingest.restart(open_stream("float32"))
    ingest.begin_at(-100)
    ingest.push(audio[FRAME_SAMPLES - 100 :].tobytes())
    rest = ingest.pull()
    assert rest is not None
    assert np.array_equal(np.concatenate([first.samples, rest.samples]), audio)
    ingest.restart(open_stream("float32"))
    ingest.begin_at(-FRAME_SAMPLES)
    ingest.skip(3 * FRAME_SAMPLES)
    silence = ingest.pull()
    assert silence is not None and len(silence.samples) == 2 * FRAME_SAMPLES


def test_a_stream_that_begins_later_is_silent_until_then() -> None:
    ingest = Ingest(open_stream("float32"), OracleDetector())
    ingest.begin_at(2 * FRAME_SAMPLES)
    ingest.push(np.full(FRAME_SAMPLES, 0.5, np.float32).tobytes())
    frames = ingest.pull()
    assert frames is not None
    assert frames.samples.nonzero()[0].tolist() == [
        *range(2 * FRAME_SAMPLES, 3 * FRAME_SAMPLES)
    ]
