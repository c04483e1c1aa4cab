"""Agreement of successive hypotheses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_live.session.local_agreement import LocalAgreement
from whisper_live.text.words import ends_sentence, normalise, split_words


def agreed(one: LocalAgreement) -> tuple[str, ...]:
    """Words confirmed by two hypotheses, as they were first agreed upon."""
    return tuple(one._agreed)


def heard(*texts: str) -> LocalAgreement:
    one = LocalAgreement()
    for text in texts:
        one.update(split_words(text))
    return one


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" one  two", [" one", "  two"]),
        ("don't U.S.", ["don't", " U.S."]),
        (" 你好,世界。", [" 你", "好,", "世", "界。"]),
        (" ไปไหน", [" ไ", "ป", "ไ", "ห", "น"]),
        ("กั", ["กั"]),  # a vowel sign stays with its letter
        (" はい OK です", [" は", "い", " OK", " で", "す"]),
        ("", []),
        ("  ", []),
    ],
)
def test_words_with_their_spaces(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@given(st.text(alphabet="ab 你ก,。'\n", max_size=30))
def test_joining_the_words_gives_the_text_back(text: str) -> None:
    assert "".join(split_words(text)) == text.rstrip()


@pytest.mark.parametrize(
    ("word", "plain"),
    [
        (" Hello,", "hello"),
        ("STRASSE", "strasse"),
        ("straße", "strasse"),
        ("２０", "20"),
        (" -", "-"),
        (" ...", "..."),
        (" don't", "dont"),
        ("好。", "好"),
    ],
)
def test_what_is_compared(word: str, plain: str) -> None:
    assert normalise(word) == plain


def test_two_hypotheses_agree_on_all_but_the_newest_word() -> None:
    one = heard(" one two", " One, two three")
    assert agreed(one) == (" One,", " two")
    assert one.text == " One, two three"


def test_the_newest_word_is_held_back_even_if_it_was_heard_twice() -> None:
    assert agreed(heard(" one two", " one two")) == (" one",)


def test_agreement_ends_at_the_first_difference() -> None:
    one = heard(" one two three", " one too three four")
    assert agreed(one) == (" one",)
    assert one.text == " one too three four"


def test_one_hypothesis_alone_does_not_revise_what_was_agreed() -> None:
    one = heard(" one two three", " one two three", " won two three four")
    assert agreed(one) == (" one", " two", " three")
    assert one.text == " one two three four"


def test_a_word_lost_or_won_before_the_rest_is_aligned() -> None:
    base = " one two three four"
    assert heard(base, base, " two three four five").text == base + " five"
    assert heard(base, base, " oh one two three four five").text == base + " five"


def test_a_shorter_hypothesis_takes_back_only_what_was_open() -> None:
    one = heard(" one two three", " one two three", " one")
    assert one.text == " one two"
    one.update([])
    assert one.text == " one two"


@pytest.mark.parametrize(
    ("texts", "confirmed"),
    [
        ((" one two three",), 0),
        ((" one two three", " ONE two. three"), 2),
        ((" one two three", " one two three", " one"), 1),
        ((" one two three", " one two three", " two"), 0),
        # a word of an older agreement that this reading begins with needs no second
        ((" one two three", " one two three", " five", " one two six"), 2),
        # and two readings in a row are right about one that does not
        ((" won two three", " won two three", " one two four", " one two four"), 2),
    ],
)
def test_confirmed_words_are_counted_from_the_start(
    texts: tuple[str, ...], confirmed: int
) -> None:
    assert heard(*texts).confirmed == confirmed


def test_what_was_agreed_upon_is_what_the_next_reading_begins_with() -> None:
    one = heard(" one two three")
    assert one.agreed == ""
    one.update(split_words(" One, two four"))
    assert one.agreed == " One, two"  # space for space, as it was heard last
    one.update(split_words(" won two five"))
    assert one.agreed == ""  # once contradicted, it is not held against the engine
    one.update([])
    assert one.agreed == ""


def test_decided_words_leave_and_the_rest_stays() -> None:
    one = heard(" one two three four", " one two three four")
    one.cut(2)
    assert (one.text, one.confirmed) == (" three four", 1)
    with pytest.raises(AssertionError):
        one.cut(2)
    one.reset()
    assert (one.text, agreed(one), one.confirmed) == ("", (), 0)


def test_two_hypotheses_in_a_row_replace_a_wrong_agreement() -> None:
    wrong, right = " won to three", " one two three four five"
    one = heard(wrong, wrong, right)
    assert agreed(one) == (" won", " to", " three")
    one.update(split_words(right))
    assert (one.text, one.confirmed) == (right, 4)
    one.cut(2)
    assert list(agreed(one)) == [" three", " four"]
    assert (one.text, one.confirmed) == (" three four five", 2)
    one.update(split_words(" three four five six"))
    assert list(agreed(one)) == [" three", " four", " five"]


def test_a_reading_that_goes_to_and_fro_is_not_shown() -> None:
    one = heard(" a b c d", " a x y d")
    assert one.shown == " a b c"
    for text in (" a b c e", " a x y e"):
        one.update(split_words(text))
        assert (one.text, one.shown[:6]) == (text, " a b c")


def test_doubt_ends_after_three_hypotheses() -> None:
    one = heard(" a b c d e")
    shown = []
    for text in (" a x y z", " a p q r", " a t u v", " a f g h i j k l m n o p"):
        one.update(split_words(text))
        assert one.text == text
        shown.append(one.shown)
    # Three words were taken back each time; the newest and three times two stay hidden.
    assert shown == [" a b c d"] * 3 + [" a f g h i"]


def test_a_single_word_is_replaced_at_once() -> None:
    one = LocalAgreement()
    for text, shown in (
        (" forty", " forty"),
        (" forty two", " forty"),
        (" forty two for", " forty two"),
        (" forty two four six", " forty two four"),
    ):
        one.update(split_words(text))
        assert one.shown == shown


def test_the_newest_word_is_shown_by_the_next_reading_or_a_pause() -> None:
    one = heard(" we can scoop")
    assert one.shown == " we can"
    one.update(split_words(" we can scoop"))
    assert one.shown == " we can", "it may be cut off still"
    one.update(split_words(" we can scoop these"))
    assert one.shown == " we can scoop"
    one.show_all(split_words(" we can scoop these things"))
    assert one.shown == " we can scoop these things"
    one.update(split_words(" we can scoop these things"))
    assert one.shown == " we can scoop these things", "nothing is taken back for it"


def test_older_words_are_revised_at_a_pause_alone() -> None:
    old, new = " we see far and wide", " we sea far and wide"
    one = heard(f"{old} over", f"{old} over the", f"{old} over the hills")
    assert one.shown == f"{old} over the"
    for more in (" over the hills at", " over the hills at night", " over the"):
        one.update(split_words(new + more))
        one.update(split_words(new + more))
        assert one.shown[: len(old)] == old
    one.show_all(split_words(f"{new} over the hills"))
    assert one.shown == f"{new} over the hills"


def test_an_older_word_that_is_left_out_does_not_double_the_rest() -> None:
    one = heard(*[" a b c d e f g"] * 2)
    assert one.shown == " a b c d e f"
    for text in (" b c d e f g h", " b c d e f g h i", " a x b c d e f g h i j"):
        one.update(split_words(text))
        assert one.shown == " a b c d e f g h i j"[: len(one.shown)]
    assert one.shown == " a b c d e f g h i"


def test_what_may_be_over_is_shown_as_it_was_read() -> None:
    one = heard(" a b c d e", " a x y z", " a p q r")
    assert one.shown == " a b c d", "doubted"
    one.show_all(split_words(" a s t u v"))
    assert one.shown == " a s t u v"
    one.update(split_words(" a s t u v w"))
    assert one.shown[:10] == " a s t u v", "and it stays if that is heard again"


def test_doubt_outlives_a_cut_before_it() -> None:
    one = heard(" a b c d e f", " a b x y z")
    one.cut(1)
    assert (one.text, one.shown) == (" b x y z", " b c d e")
    one.update(split_words(" b x y z"))
    assert one.shown == " b x y"


def test_a_new_window_knows_how_unsteady_the_one_before_was() -> None:
    one = heard(" a b c d", " p q r s", " t u v w")
    one.reset()
    assert one.shown == ""
    one.update(split_words(" x y z u"))
    assert one.shown == " x"


@given(st.lists(st.lists(st.sampled_from([" a", " b", " c"]), max_size=6)))
def test_a_shown_word_that_is_heard_again_stays(hypotheses: list[list[str]]) -> None:
    one = LocalAgreement()
    for words in hypotheses:
        before = split_words(one.shown)
        one.update(words)
        shown, heard_now = split_words(one.shown), split_words(one.text)
        held = before[:-4]
        assert shown[: len(held)] == held, "older words wait for a pause"
        if shown != before and heard_now[: len(held)] == held:
            assert heard_now[: len(shown)] == shown
        still = 0
        for old, new in zip(before, heard_now, strict=False):
            if old != new:
                break
            still += 1
        assert len(shown) >= still


HYPOTHESES = st.lists(st.sampled_from([" a", " b", " c"]), max_size=6)


@given(st.lists(HYPOTHESES), HYPOTHESES)
def test_a_pause_shows_what_was_read_whatever_was_shown_before(
    before: list[list[str]], words: list[str]
) -> None:
    one = LocalAgreement()
    for hypothesis in before:
        one.update(hypothesis)
    one.show_all(words)
    assert split_words(one.shown) == words


def test_unspaced_scripts_agree_by_character() -> None:
    one = heard(" 今日は天", " 今日は天気")
    assert agreed(one) == (" 今", "日", "は", "天")


@pytest.mark.parametrize(
    "text", [" Yes.", " Really?", ' He said "no!"', " (That is all.) ", "好。", "क्या।"]
)
def test_a_closed_sentence(text: str) -> None:
    assert ends_sentence(text)


@pytest.mark.parametrize("text", ["", " and", " wait...", " 3.5 percent", " well,"])
def test_an_open_sentence(text: str) -> None:
    assert not ends_sentence(text)
