"""Marks: what they survive, what must spoil them, and the account of words."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples
from whisper_live.testing.marks import (
    MAX_NUMBER,
    Account,
    NumberedWord,
    Variant,
    account_for,
    read_numbers,
    read_words,
    word_text,
    write_monologue,
    write_speech,
    write_words,
)
from whisper_live.testing.oracle import OracleDetector

VARIANTS: list[Variant] = ["plain", "robust"]


def _through(
    samples: Samples, codec: str, bit_rate: int, options: dict[str, str]
) -> Samples:
    """16 kHz -> 48 kHz -> codec -> 16 kHz, as a browser and the server do."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout = 48_000, "mono"
    encoder.format = "flt" if codec == "libopus" else "fltp"
    encoder.time_base, encoder.bit_rate = Fraction(1, 48_000), bit_rate
    encoder.options = options
    encoder.open()
    up = av.AudioResampler(encoder.format.name, "mono", 48_000, encoder.frame_size)
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    frame.pts = 0
    packets = [
        packet
        for raised in [*up.resample(frame), *up.resample(None)]
        for packet in encoder.encode(raised)
    ]
    packets += encoder.encode(None)
    decoder = av.CodecContext.create("opus" if codec == "libopus" else codec, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.extradata = encoder.extradata
    down = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    lowered = [out for frame in decoded for out in down.resample(frame)]
    lowered += down.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in lowered])


@pytest.mark.parametrize(
    "codec, bit_rate, options",
    [
        ("libopus", 16_000, {"application": "voip"}),
        ("libopus", 32_000, {"application": "audio"}),
        ("libopus", 64_000, {"application": "audio"}),
        ("libopus", 128_000, {"application": "audio"}),
        ("aac", 64_000, {}),
    ],
)
def test_robust_marks_survive_codecs(
    codec: str, bit_rate: int, options: dict[str, str]
) -> None:
    numbers = [0, MAX_NUMBER, *(k * 104_729 for k in range(1, 29))]
    utterances = [numbers[at : at + 5] for at in range(0, 30, 5)]
    samples, words = write_speech(utterances, pause_s=0.6, variant="robust")
    heard = read_words(_through(samples, codec, bit_rate, options))
    assert [word.number for word in heard] == numbers
    shifts = [got.start - sent.start for got, sent in zip(heard, words, strict=True)]
    # Encoders delay differently (libav's AAC by 21 ms), words keep their distances.
    assert max(shifts) - min(shifts) < 160
    assert abs(shifts[0]) < 500


def test_plain_marks_are_lost_in_codecs_but_not_misread() -> None:
    samples, _ = write_words(range(100, 120))
    heard = [
        word.number for word in read_words(_through(samples, "libopus", 24_000, {}))
    ]
    assert len(heard) < 20
    assert set(heard) <= set(range(100, 120))


@pytest.mark.parametrize("variant", VARIANTS)
def test_found_in_a_whole_stream(variant: Variant) -> None:
    samples, words = write_speech([[1, 2], [], [3]], lead_s=0.25, variant=variant)
    heard = read_words(samples)
    assert [word.number for word in heard] == [1, 2, 3]
    for got, sent in zip(heard, words, strict=True):
        assert sent.start <= got.start < sent.start + 40
        assert sent.end - 40 < got.end <= sent.end


@pytest.mark.parametrize("variant", VARIANTS)
def test_not_mistaken_in_other_sound(variant: Variant) -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.3, 10 * SAMPLE_RATE).astype(np.float32)
    assert read_words(noise) == []
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.5 * np.sin(2 * np.pi * 700 * time)).astype(np.float32)
    assert read_words(tone) == []
    assert read_words(np.zeros(0, np.float32)) == []
    samples, _ = write_words([77], variant=variant)
    loud_hum = samples + 0.15 * rng.choice([-1, 1], len(samples)).astype(np.float32)
    assert [word.number for word in read_words(loud_hum)] == [77]


def test_one_sample_lost_or_doubled_spoils_a_plain_word() -> None:
    samples, words = write_words([10, 11, 12])
    middle = (words[1].start + words[1].end) // 2
    lost = np.delete(samples, middle)
    doubled = np.insert(samples, middle, samples[middle])
    for spoiled in (lost, doubled):
        assert [word.number for word in read_words(spoiled)] == [10, 12]
    turned = samples.copy()
    turned[middle] *= -1
    assert [word.number for word in read_words(turned)] == [10, 12]


def test_a_tone_of_another_word_spoils_a_robust_one() -> None:
    samples, words = write_words([10, 11, 12], variant="robust")
    piece = (words[1].end - words[1].start) // 10
    at, other = words[1].start + 3 * piece, words[2].start + 5 * piece
    samples[at : at + 2 * piece] = samples[other : other + 2 * piece]
    assert [word.number for word in read_words(samples)] == [10, 12]


def test_a_blurred_tone_is_read_by_its_second_place() -> None:
    samples, words = write_words([1234567], variant="robust")
    piece = len(samples) // 10
    time = np.arange(piece) / SAMPLE_RATE
    louder = 0.6 * np.sin(2 * np.pi * 3800 * time)
    for place in (3, 6):
        samples[place * piece : (place + 1) * piece] += louder.astype(np.float32)
        assert [word.number for word in read_words(samples)] == [1234567]
    samples[piece : 2 * piece] += louder.astype(np.float32)  # a third is too much
    assert read_words(samples) == []


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("offset", range(0, FRAME_SAMPLES, 37))
def test_each_gap_has_a_silent_frame_and_is_no_endpoint(
    variant: Variant, offset: int
) -> None:
    samples, words = write_words(range(20), gap_s=0.064, variant=variant)
    audio = np.concatenate([np.zeros(offset, np.float32), samples])
    audio = np.append(audio, np.zeros(-len(audio) % FRAME_SAMPLES, np.float32))
    speech = OracleDetector().score(audio.reshape(-1, FRAME_SAMPLES))
    for left, right in pairwise(words):
        gap = speech[
            (left.end + offset)
            // FRAME_SAMPLES : (right.start + offset)
            // FRAME_SAMPLES
            + 1
        ]
        assert gap.min() == 0.0
        assert len(gap) * FRAME_SAMPLES < 0.5 * SAMPLE_RATE


def test_monologue_never_pauses_and_counts_on() -> None:
    pieces = list(write_monologue(60.0, first=500, seed=4))
    samples = np.concatenate([piece for piece, _ in pieces])
    words = [word for _, said in pieces for word in said]
    assert len(samples) / SAMPLE_RATE == pytest.approx(60, abs=1)
    assert max(len(piece) for piece, _ in pieces) < 11 * SAMPLE_RATE
    assert [word.number for word in words] == list(range(500, 500 + len(words)))
    gaps = [right.start - left.end for left, right in pairwise(words)]
    assert 1024 <= min(gaps) < max(gaps) <= 4800
    assert read_words(samples) == words
    again = np.concatenate([piece for piece, _ in write_monologue(60.0, seed=4)])
    other = np.concatenate([piece for piece, _ in write_monologue(60.0, seed=5)])
    assert len(again) == len(samples) != len(other)


def test_pauses_and_leads_are_as_asked() -> None:
    samples, words = write_speech(
        [[1], [2, 3]], lead_s=0.5, pause_s=[0.7, 0.2], word_s=0.2, gap_s=0.1
    )
    assert words == [
        NumberedWord(1, 8000, 11200),
        NumberedWord(2, 22400, 25600),
        NumberedWord(3, 27200, 30400),
    ]
    assert len(samples) == 30400 + 3200


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole silent frame"):
        write_words([1], gap_s=0.06)
    with pytest.raises(ValueError, match="from 0 to 16777215"):
        write_words([MAX_NUMBER + 1])
    with pytest.raises(ValueError, match="plain word cannot have 64 samples"):
        write_words([1], word_s=0.004)
    with pytest.raises(ValueError, match="robust word cannot have 2400 samples"):
        write_words([1], word_s=0.15, variant="robust")


def test_text_and_back() -> None:
    assert word_text(12) == " w12"
    assert read_numbers(" w12 w0") == [12, 0]
    for wrong in (" w12 misheard3", "w", "12", "w-1", "w1."):
        with pytest.raises(ValueError, match="not a word"):
            read_numbers(wrong)


@pytest.mark.parametrize(
    "received, account",
    [
        ([1, 2, 3, 4], Account((), (), (), ())),
        ([1, 3, 4], Account((2,), (), (), ())),
        ([1, 2, 2, 3, 2, 4], Account((), (2, 2), (), ())),
        ([1, 3, 2, 4], Account((), (), (2,), ())),
        ([9, 1, 2, 3, 9, 4], Account((), (), (), (9, 9))),
        ([4, 4, 8, 1], Account((2, 3), (4,), (1,), (8,))),
    ],
)
def test_account(received: list[int], account: Account) -> None:
    assert account_for([1, 2, 3, 4], received) == account
    assert account.clean == (received == [1, 2, 3, 4])
