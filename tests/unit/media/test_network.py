"""Addresses: radio, playlists and files of a real local server, and what is refused."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import sites
from tests.faults.certificates import certificate
from tests.sites import Site, encoded
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.errors import ConfigError, DecodeError
from whisper_live.media.network import open_address, shown
from whisper_live.testing.marks import read_words, write_speech


@pytest.fixture
def site() -> Iterator[Site]:
    with sites.site() as site:
        yield site


def tone(seconds: float) -> Samples:
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)


def heard_s(url: str) -> float:
    with open_address(url) as opened:
        return sum(map(len, opened.pieces)) / SAMPLE_RATE


def test_a_file_has_a_length_and_a_radio_station_none(
    site: Site, tmp_path: Path
) -> None:
    encoded(tmp_path / "a.mp3", "libmp3lame", tone(3))
    site.pages["/a.mp3"] = site.pages["/radio"] = (tmp_path / "a.mp3").read_bytes()
    site.endless.add("/radio")
    with open_address(f"{site.url}/a.mp3") as opened:
        assert opened.duration_s == pytest.approx(3, abs=0.1)
        assert sum(map(len, opened.pieces)) == pytest.approx(3 * SAMPLE_RATE, abs=2000)
    with open_address(f"{site.url}/radio") as opened:
        assert opened.duration_s is None
        pieces = []
        with pytest.raises(DecodeError, match="cannot be read on"):
            for piece in opened.pieces:  # libav cannot tell such an end from a break
                pieces.append(piece)
    assert sum(map(len, pieces)) == pytest.approx(3 * SAMPLE_RATE, abs=2000)
    assert max(map(len, pieces[:-1])) < 0.2 * SAMPLE_RATE, "as it arrives"


def test_a_playlist_gives_its_segments_in_order(site: Site, tmp_path: Path) -> None:
    url = sites.playlist(site, tmp_path, tone(5))
    assert heard_s(url) == pytest.approx(5, abs=0.2)


@pytest.mark.slow
def test_a_live_playlist_goes_on_behind_what_was_heard(
    site: Site, tmp_path: Path
) -> None:
    said, _ = write_speech([[n] for n in range(16)], pause_s=0.1, variant="robust")
    url = sites.playlist(site, tmp_path, said)
    whole = site.pages["/a.m3u8"].decode()

    def heard_of(part: bytes, to_s: float | None) -> tuple[Samples, float | None]:
        site.pages["/a.m3u8"] = part
        pieces = []
        with open_address(url, to_s) as opened:
            assert opened.duration_s is None
            for piece in opened.pieces:
                pieces.append(piece)
                site.pages.pop("/a.m3u8", None)  # it ends behind these segments
        return np.concatenate(pieces), opened.heard_to_s()

    # libav begins three segments before the end of what it is shown.
    first, to_s = heard_of(sites.live_part(whole, 0, 5), None)
    again, _ = heard_of(sites.live_part(whole, 3, 7), to_s)
    before, behind = ([word.number for word in read_words(x)] for x in (first, again))
    assert before[-1] < behind[0] <= before[-1] + 2, "one word may have been cut"
    assert len(behind) > 2


def test_a_camera_is_heard_until_it_leaves() -> None:
    with sites.camera(tone(2)) as url, open_address(url) as opened:
        assert opened.duration_s is None
        heard = np.concatenate(list(opened.pieces))
    assert heard == pytest.approx(tone(2)[: len(heard)], abs=1e-4)
    assert len(heard) > 1.9 * SAMPLE_RATE


@pytest.mark.parametrize("entry", ["file://{}", "{}", "subfile,,start,0,end,0,,:{}"])
def test_a_playlist_cannot_name_a_local_file(
    site: Site, tmp_path: Path, entry: str
) -> None:
    encoded(tmp_path / "a.ts", "aac", tone(2))
    local = entry.format(tmp_path / "a.ts")
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n"
    site.pages["/a.m3u8"] = f"{head}{local}\n#EXT-X-ENDLIST\n".encode()
    with pytest.raises(DecodeError):
        heard_s(f"{site.url}/a.m3u8")


def test_a_script_that_names_other_files_is_not_followed(
    site: Site, tmp_path: Path
) -> None:
    encoded(tmp_path / "a.ts", "aac", tone(2))
    script = f"ffconcat version 1.0\nfile '{tmp_path / 'a.ts'}'\n"
    site.pages["/a.ffconcat"] = script.encode()
    with pytest.raises(DecodeError):
        heard_s(f"{site.url}/a.ffconcat")


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "concat:a|b", "pipe:0", "ftp://x/a.mp3", "a.mp3"]
)
def test_other_kinds_of_addresses_are_never_opened(url: str) -> None:
    with pytest.raises(ConfigError, match="begins with none of http, https, rtsp"):
        heard_s(url)


def test_what_is_not_there_and_what_is_no_sound_are_one_sentence(site: Site) -> None:
    site.pages["/text"] = b"not audio at all\n" * 100
    for path, reason in (("/none", "404"), ("/text", "Invalid data")):
        with pytest.raises(
            DecodeError, match=f"cannot open {site.url}{path}.*{reason}"
        ):
            heard_s(site.url + path)


def test_a_file_that_breaks_off_is_an_error_behind_what_came(
    site: Site, tmp_path: Path
) -> None:
    encoded(tmp_path / "a.mp3", "libmp3lame", tone(8))
    body = (tmp_path / "a.mp3").read_bytes()
    site.pages["/a.mp3"] = body[: len(body) // 2]
    site.lengths["/a.mp3"] = len(body)
    heard = 0
    with pytest.raises(DecodeError, match="cannot be read on"):
        with open_address(f"{site.url}/a.mp3") as opened:
            for piece in opened.pieces:
                heard += len(piece)
    assert heard > 2 * SAMPLE_RATE


def test_names_and_passwords_are_not_shown() -> None:
    assert shown("rtsp://ann:secret@cam:554/1?x=y") == "rtsp://cam:554/1?x=y"
    with pytest.raises(ConfigError) as refused:
        heard_s("ftp://ann:secret@host/a.mp3")
    assert "secret" not in str(refused.value)


def test_https_wants_a_certificate_that_the_system_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate(tmp_path, "radio")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    encoded(tmp_path / "a.mp3", "libmp3lame", tone(1))
    with sites.site(context) as site:
        site.pages["/a.mp3"] = (tmp_path / "a.mp3").read_bytes()
        url = f"{site.url}/a.mp3"
        with pytest.raises(DecodeError, match="cannot open"):
            heard_s(url)
        assert site.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert heard_s(url) == pytest.approx(1, abs=0.2)
