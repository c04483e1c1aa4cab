"""Places to go on at: what is sent from there is a stream with the same audio."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decode_media import decode
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client.chunks import webm_chunks
from whisper_live.client.cuts import Cut, RawCuts, WebmCuts, cuts_of
from whisper_live.testing.marks import NumberedWord, read_words, write_speech

DATA = Path(__file__).parents[2] / "data/browser"
SPEECH, WORDS = write_speech([[n, n + 1] for n in range(0, 12, 2)], variant="robust")
OURS = b"".join(chunk.data for chunk in webm_chunks([SPEECH]))
BROWSERS = sorted(DATA.glob("*webm*/media.bin"))


def decoded(data: bytes) -> Samples:
    """As the server takes it in."""
    samples, _ = decode(data, "webm")
    return samples


def known(data: bytes, step: int = 4096) -> WebmCuts:
    cuts = WebmCuts()
    for at in range(0, len(data), step):
        cuts.take(data[at : at + step])
    return cuts


def test_raw_samples_are_cut_anywhere() -> None:
    cuts = RawCuts(4)
    assert cuts.at(5, oldest=0) == Cut(5, 20)
    assert cuts.at(5, oldest=41) == Cut(11, 44)
    assert (cuts.offset_of(3), cuts.position_of(15)) == (12, 3)


def test_formats_without_known_places_have_none() -> None:
    assert cuts_of("ogg") is None and cuts_of("mp4") is None
    assert cuts_of("webm") is not None and cuts_of("int16") is not None


@pytest.mark.parametrize("word", WORDS[1:], ids=lambda word: str(word.number))
def test_the_rest_of_a_webm_stream_has_all_later_words(word: NumberedWord) -> None:
    position = word.start - SAMPLE_RATE // 20
    cut = known(OURS).at(position, oldest=0)
    assert cut is not None and position - 320 <= cut.position <= position
    rest = decoded(cut.prefix + OURS[cut.offset :])
    later = [each for each in WORDS if each.start >= word.start]
    heard = read_words(rest)
    assert [each.number for each in heard] == [each.number for each in later]
    for one, other in zip(heard, later, strict=True):
        assert one.start + cut.position == pytest.approx(other.start, abs=400)


@pytest.mark.parametrize("path", BROWSERS, ids=lambda path: path.parent.name)
def test_what_browsers_record_can_be_cut(path: Path) -> None:
    data = path.read_bytes()
    whole = decoded(data)
    cuts = known(data)
    for position in range(SAMPLE_RATE // 2, len(whole) - SAMPLE_RATE, SAMPLE_RATE):
        cut = cuts.at(position, oldest=0)
        assert cut is not None and cut.prefix.startswith(b"\x1a\x45\xdf\xa3")
        rest = decoded(cut.prefix + data[cut.offset :])
        # Within what the server's own rules make of a browser's times.
        assert len(rest) == pytest.approx(len(whole) - cut.position, abs=2000)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 3000), st.integers(0, len(SPEECH)))
def test_any_cut_of_the_bytes_gives_the_same_places(step: int, position: int) -> None:
    assert known(OURS, step).at(position, oldest=0) == WHOLE.at(position, oldest=0)


def test_bytes_that_are_gone_move_the_place() -> None:
    early, late = WHOLE.at(SAMPLE_RATE, oldest=0), WHOLE.at(3 * SAMPLE_RATE, oldest=0)
    assert early is not None and late is not None
    assert WHOLE.at(SAMPLE_RATE, oldest=late.offset) == late
    moved = WHOLE.at(SAMPLE_RATE, oldest=early.offset + 1)
    assert moved is not None and early.offset < moved.offset < early.offset + 500
    assert WHOLE.at(SAMPLE_RATE, oldest=len(OURS)) is None


def test_the_beginning_needs_nothing_before_it() -> None:
    assert WebmCuts().at(0, oldest=0) == Cut(0, 0)
    assert WHOLE.at(0, oldest=0) == Cut(0, 0)
    assert WHOLE.position_of(len(OURS)) == pytest.approx(len(SPEECH), abs=1000)
    assert WHOLE.offset_of(0) < WHOLE.offset_of(SAMPLE_RATE) < len(OURS)


@pytest.mark.parametrize(
    "damage", [b"\x00" * 40, b"\x80\xff" * 20, b"\x1f\x43\xb6\x75\xff\xa3\x82xx"]
)
def test_what_is_not_understood_has_no_places_any_more(damage: bytes) -> None:
    between = WHOLE.offset_of(5 * SAMPLE_RATE)
    cuts = known(OURS[:between] + damage + OURS[between:])
    assert cuts.at(SAMPLE_RATE, oldest=0) is None


WHOLE = known(OURS)
