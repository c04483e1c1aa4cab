"""What is kept to be sent again, and what is given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whisper_live.client.backlog import Backlog


def drained(backlog: Backlog) -> list[bytes | str]:
    """Everything that is to be sent, in order."""
    return list(iter(backlog.next, None))


def filled(*messages: bytes | str, most: int = 100, unit: int = 1) -> Backlog:
    backlog = Backlog(most, unit)
    for message in messages:
        if isinstance(message, bytes):
            backlog.add(message)
        else:
            backlog.say(message)
    return backlog


def test_messages_go_out_once_and_in_order() -> None:
    backlog = filled(b"abc", "flush", b"de")
    assert (backlog.unsent, backlog.is_waiting) == (5, True)
    assert drained(backlog) == [b"abc", "flush", b"de"]
    assert (backlog.unsent, backlog.is_waiting) == (0, False)
    assert drained(backlog) == []


def test_what_was_sent_is_sent_again_from_a_position_on() -> None:
    backlog = filled(b"abc", "flush", b"de", "end")
    assert drained(backlog) == [b"abc", "flush", b"de", "end"]
    assert backlog.rewind(1) == 1
    assert backlog.unsent == 4
    assert drained(backlog) == [b"bc", "flush", b"de", "end"]


def test_a_message_at_the_position_itself_is_said_again() -> None:
    backlog = filled(b"abc", "flush", b"de", "end")
    drained(backlog)
    backlog.settle(5)
    assert backlog.rewind(5) == 5
    assert drained(backlog) == ["end"]


def test_settled_audio_is_forgotten() -> None:
    backlog = filled(b"abc", b"de", b"f")
    assert backlog.next() == b"abc"
    backlog.settle(2)
    assert backlog.rewind(0) == 2, "no further back than what is kept"
    assert drained(backlog) == [b"c", b"de", b"f"]


def test_cuts_are_between_whole_samples() -> None:
    backlog = filled(b"abcdefgh", unit=4)
    drained(backlog)
    assert backlog.rewind(6) == 4
    assert drained(backlog) == [b"efgh"]
    backlog.settle(7)
    assert backlog.rewind(0) == 4


def test_sent_audio_is_given_up_before_unsent() -> None:
    backlog = filled(b"abc", b"def", most=6)
    backlog.next()
    assert backlog.add(b"ghi") is None, "what was lost had been sent"
    assert backlog.rewind(0) == 3
    assert drained(backlog) == [b"def", b"ghi"]


def test_unsent_audio_that_is_given_up_is_told_and_messages_stay() -> None:
    backlog = filled("configure", b"abc", b"def", most=6)
    assert backlog.add(b"ghi") == (0, 3)
    assert backlog.add(b"jklmn") == (3, 9)
    assert backlog.unsent == 5
    assert drained(backlog) == ["configure", b"jklmn"]
    assert backlog.rewind(0) == 9


def test_a_prefix_goes_out_before_one_connections_audio_alone() -> None:
    backlog = filled(b"abc", b"de")
    drained(backlog)
    assert backlog.rewind(1, b"<1>") == 1
    assert backlog.unsent == 4
    assert drained(backlog) == [b"<1>", b"bc", b"de"]
    backlog.rewind(1, b"<2>")
    assert backlog.next() == b"<2>"
    assert backlog.next() == b"bc"
    backlog.rewind(2, b"<3>")
    backlog.say("flush")
    backlog.rewind(2, b"<4>")
    assert drained(backlog) == [b"<4>", b"c", b"de", "flush"]


@given(st.data())
def test_nothing_between_settled_and_newest_is_missing_or_doubled(
    data: st.DataObject,
) -> None:
    """Whatever happens in between, a receiver's copy has each byte at its place."""
    backlog = Backlog(1 << 20, 1)
    said = bytearray()
    settled = 0
    received = bytearray()  # from its own start on
    at = 0
    for step in data.draw(st.lists(st.sampled_from("atsr"), max_size=40)):
        if step == "a":
            piece = bytes(data.draw(st.binary(min_size=1, max_size=9)))
            said += piece
            assert backlog.add(piece) is None
        elif step == "t" and (message := backlog.next()) is not None:
            assert isinstance(message, bytes)
            received += message
        elif step == "s":
            settled = data.draw(st.integers(settled, at + len(received)))
            backlog.settle(settled)
        elif step == "r":
            at, received = backlog.rewind(settled), bytearray()
            assert at == settled
        assert said[at : at + len(received)] == received
        assert backlog.unsent == len(said) - at - len(received)
