"""Our message sequences, as clients that cannot run here would take them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.protocol.clients import Chrome, Firefox, Ios, Python, check_session
from tests.protocol.conversation import TEXTS, messages
from whisper_live.protocols.whisperlive import messages as protocol

UID = "A1"


def conversation(language: str | None = None) -> list[dict[str, Any]]:
    said = [dict(message) for _, message in messages(UID, language=language)]
    return copy.deepcopy(said)


@pytest.mark.parametrize("language", [None, "en"])
def test_chrome_shows_and_exports_everything(language: str | None) -> None:
    chrome = Chrome(UID, language)
    for message in conversation(language):
        chrome.receive(message)
    assert chrome.language == "en"
    assert chrome.overlay == " ".join(TEXTS)
    assert [segment["text"] for segment in chrome.export] == TEXTS


def test_chrome_starts_on_ready_and_not_on_wait() -> None:
    chrome = Chrome(UID)
    chrome.receive(protocol.wait(UID, 1.6))
    assert (chrome.sends_audio, chrome.stopped, chrome.popup_minutes) == (
        False,
        True,
        2,
    )
    chrome = Chrome(UID)
    chrome.receive(protocol.server_ready(UID))
    assert chrome.sends_audio


def test_chrome_ends_on_disconnect() -> None:
    chrome = Chrome(UID, "en")
    for message in [*conversation("en"), protocol.disconnect(UID)]:
        chrome.receive(message)
    assert chrome.stopped
    assert [segment["text"] for segment in chrome.export] == TEXTS


def test_firefox_shows_the_last_captions() -> None:
    firefox = Firefox(UID)
    for message in conversation():
        firefox.receive(message)
    assert firefox.overlay == " ".join(TEXTS)


def test_ios_keeps_no_stale_partial() -> None:
    ios = Ios(UID)
    for message in conversation("en"):
        ios.receive(message)
    assert ios.texts == TEXTS


def test_python_keeps_no_stale_partial() -> None:
    python = Python(UID)
    for message in conversation():
        python.receive(message)
    assert python.srt_text == TEXTS


@pytest.mark.parametrize("language", [None, "en"])
def test_the_conversation_keeps_every_rule(language: str | None) -> None:
    said = conversation(language)
    assert check_session(said, uid=UID, language=language) == TEXTS
    said.append(protocol.disconnect(UID))
    assert check_session(said, uid=UID, language=language) == TEXTS


def test_a_refusal_keeps_the_rules() -> None:
    for refusal in (protocol.wait(UID, 1), protocol.error(UID, "No.")):
        assert check_session([refusal], uid=UID, language="en") == []


def _without_ready(said: list[dict[str, Any]]) -> None:
    del said[0]


def _late_language(said: list[dict[str, Any]]) -> None:
    said.insert(3, said.pop(1))


def _empty(said: list[dict[str, Any]]) -> None:
    said[2]["segments"] = []


def _numbers(said: list[dict[str, Any]]) -> None:
    said[2]["segments"][0]["start"] = 0.1


def _stripped(said: list[dict[str, Any]]) -> None:
    said[2]["segments"][0]["text"] = "Alpha."


def _twice(said: list[dict[str, Any]]) -> None:
    said.insert(3, said[2])


def _edited(said: list[dict[str, Any]]) -> None:
    said[-1]["segments"][0]["text"] += " again"


def _forgotten(said: list[dict[str, Any]]) -> None:
    del said[-1]["segments"][1]


def _moved_start(said: list[dict[str, Any]]) -> None:
    said[-1]["segments"][-1]["start"] = "2.200"


def _no_preview(said: list[dict[str, Any]]) -> None:
    del said[-2]


def _overlap(said: list[dict[str, Any]]) -> None:
    said[6]["segments"][1]["start"] = "1.099"


def _foreign(said: list[dict[str, Any]]) -> None:
    said[4]["uid"] = "B2"


def _after_disconnect(said: list[dict[str, Any]]) -> None:
    said.insert(-1, protocol.disconnect(UID))


@pytest.mark.parametrize(
    "spoil",
    [
        _without_ready,
        _late_language,
        _empty,
        _numbers,
        _stripped,
        _twice,
        _edited,
        _forgotten,
        _moved_start,
        _no_preview,
        _overlap,
        _foreign,
        _after_disconnect,
    ],
)
def test_each_rule_can_be_broken(spoil: Callable[[list[dict[str, Any]]], None]) -> None:
    said = conversation()
    spoil(said)
    with pytest.raises(AssertionError):
        check_session(said, uid=UID, language=None)
