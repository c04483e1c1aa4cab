"""Turns, withdrawal, barge-in and failures, without a clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from whisper_live.session.updates import SpeechMoment
from whisper_live.voice.conversation import (
    Ask,
    Conversation,
    Done,
    Effect,
    Outcome,
    Phase,
    Play,
    Said,
    Speak,
    StopAsking,
    Tell,
    Withdraw,
)

STARTED, STOPPED, RESUMED = (
    SpeechMoment.STARTED,
    SpeechMoment.STOPPED,
    SpeechMoment.RESUMED,
)
PROBABLY, ENDED = SpeechMoment.TURN_PROBABLY_OVER, SpeechMoment.TURN_ENDED


def questions(effects: list[Effect]) -> list[str]:
    return [each.messages[-1].content for each in effects if isinstance(each, Ask)]


def ask(talk: Conversation, text: str, at_s: float = 0.0) -> list[Effect]:
    """A turn of two seconds up to where it is probably over."""
    effects = talk.on_speech(STARTED, at_s)
    effects += talk.on_text([], Said(at_s, at_s + 2, text))
    effects += talk.on_speech(STOPPED, at_s + 2)
    return effects + talk.on_speech(PROBABLY, at_s + 2)


def end(talk: Conversation, text: str, at_s: float = 0.0) -> list[Effect]:
    """The silence has lasted, and the text is completed."""
    effects = talk.on_speech(ENDED, at_s + 2)
    return effects + talk.on_text([Said(at_s, at_s + 2, text)])


def answer(talk: Conversation, reply: int, *sentences: str) -> list[Effect]:
    """All of an answer; none of it is heard."""
    effects: list[Effect] = []
    for sentence in sentences:
        effects += talk.on_token(reply, f"{sentence} ")
    return effects + talk.on_answer_end(reply)


def test_the_answer_is_made_early_and_heard_when_the_turn_has_ended() -> None:
    talk = Conversation(system="Be short.")
    [asked] = ask(talk, "Is it warm?")
    assert isinstance(asked, Ask)
    assert [(m.role, m.content) for m in asked.messages] == [
        ("system", "Be short."),
        ("user", "Is it warm?"),
    ]
    assert talk.on_token(1, "Yes. It") == [Speak(1, "Yes.")]
    assert talk.on_token(1, " is.") == []
    assert talk.on_answer_end(1) == [Speak(1, "It is.")]
    assert end(talk, "Is it warm?") == [Play(1, "Is it warm?")]
    assert talk.on_sentence_heard(1) == []
    assert talk.on_sentence_heard(1) == [Done(1, Outcome.ANSWERED)]


def test_the_phases_follow_the_turn() -> None:
    talk = Conversation()
    phases = [talk.phase]
    steps: list[Callable[[], list[Effect]]] = [
        lambda: ask(talk, "Is it warm?"),
        lambda: answer(talk, 1, "Yes."),
        lambda: end(talk, "Is it warm?"),
        lambda: talk.on_sentence_heard(1),
    ]
    for step in steps:
        step()
        phases.append(talk.phase)
    assert phases == [
        Phase.LISTENING,
        Phase.PREPARING,
        Phase.PREPARING,
        Phase.ANSWERING,
        Phase.LISTENING,
    ]


def test_completed_text_that_only_looks_different_is_no_other_question() -> None:
    talk = Conversation()
    ask(talk, "is it warm")
    assert end(talk, " Is it warm?") == [Play(1, "is it warm")]


def test_who_pauses_and_goes_on_gets_one_answer_to_the_whole() -> None:
    talk = Conversation()
    ask(talk, "Is it warm")
    talk.on_token(1, "Yes. ")
    assert talk.on_speech(RESUMED, 2.5) == [Withdraw(1, Outcome.WITHDRAWN)]
    assert talk.on_token(1, "Late. ") == talk.on_answer_end(1) == []
    talk.on_text([], Said(0, 4, "Is it warm in May?"))
    assert questions(talk.on_speech(PROBABLY, 4)) == ["Is it warm in May?"]
    assert talk.on_speech(ENDED, 4) == [Play(2, "Is it warm in May?")]
    assert talk.on_text([Said(0, 4, "Is it warm in May?")]) == []


@pytest.mark.parametrize("is_completed", [True, False])
def test_a_pause_longer_than_a_turn_s_end_is_a_pause_too(is_completed: bool) -> None:
    """While nothing of the answer was heard to its end."""
    talk = Conversation()
    ask(talk, "Is it warm")
    talk.on_speech(ENDED, 2)
    if is_completed:
        talk.on_text([Said(0, 2, "Is it warm")])
    assert talk.on_speech(STARTED, 3) == [Withdraw(1, Outcome.WITHDRAWN)]
    if not is_completed:  # it comes late, and is not forgotten
        talk.on_text([Said(0, 2, "Is it warm")])
    talk.on_text([], Said(3, 4, "in May?"))
    assert questions(talk.on_speech(PROBABLY, 4)) == ["Is it warm in May?"]


def test_a_sound_without_words_is_answered_as_if_it_had_not_been() -> None:
    talk = Conversation()
    ask(talk, "Is it warm?")
    end(talk, "Is it warm?")
    assert talk.on_speech(STARTED, 3) == [Withdraw(1, Outcome.WITHDRAWN)]
    again, play = talk.on_speech(ENDED, 3.5)
    assert questions([again]) == ["Is it warm?"] and play == Play(2, "Is it warm?")


def test_speech_into_the_answer_ends_it_and_is_a_turn_of_its_own() -> None:
    talk = Conversation()
    ask(talk, "Tell me a story.")
    answer(talk, 1, "One.", "Two.", "Three.")
    end(talk, "Tell me a story.")
    talk.on_sentence_heard(1)
    assert talk.on_speech(STARTED, 5) == [Withdraw(1, Outcome.INTERRUPTED)]
    assert talk.on_sentence_heard(1) == []
    talk.on_text([Said(0, 2, "Tell me a story.")])  # late, and not of this turn
    talk.on_text([], Said(5, 6, "Stop."))
    [asked] = talk.on_speech(PROBABLY, 6)
    assert isinstance(asked, Ask)
    assert [(m.role, m.content) for m in asked.messages] == [
        ("user", "Tell me a story."),
        ("assistant", "One. Two."),  # the second was cut off, the third not begun
        ("user", "Stop."),
    ]


def test_an_answered_question_is_not_asked_again() -> None:
    talk = Conversation()
    ask(talk, "Is it warm?")
    answer(talk, 1, "Yes.")
    talk.on_speech(ENDED, 2.04)
    assert talk.on_sentence_heard(1) == [Done(1, Outcome.ANSWERED)]
    assert talk.on_text([Said(0, 2.04, "Is it warm?")]) == []  # late
    assert questions(ask(talk, "And cold?", 5)) == ["And cold?"]


def test_text_that_changes_at_the_end_is_asked_again() -> None:
    talk = Conversation()
    ask(talk, "Is it worn?")
    assert talk.on_speech(ENDED, 2) == [Play(1, "Is it worn?")]
    withdrawn, asked, play = talk.on_text([Said(0, 2, "Is it warm?")])
    assert withdrawn == Withdraw(1, Outcome.WITHDRAWN)
    assert questions([asked]) == ["Is it warm?"] and play == Play(2, "Is it warm?")


def test_a_turn_whose_text_comes_after_its_end_waits_for_it() -> None:
    talk = Conversation()
    talk.on_speech(STARTED, 0)
    talk.on_text([], Said(0, 1, "Is"))
    assert talk.on_speech(ENDED, 2) == []  # the interim text is of its beginning
    assert talk.on_text([], Said(0, 2, "Is it")) == []
    asked, play = talk.on_text([Said(0, 2, "Is it warm?")])
    assert questions([asked]) == ["Is it warm?"] and play == Play(1, "Is it warm?")


def test_nothing_said_is_not_answered() -> None:
    talk = Conversation()
    assert ask(talk, " ... ") == [] and end(talk, "...") == []


def test_only_so_many_exchanges_are_remembered() -> None:
    talk = Conversation(remembered=2)
    for number in range(4):
        asked = ask(talk, f"Question {number}?", 5 * number)
        answer(talk, number + 1, f"Answer {number}.")
        end(talk, f"Question {number}?", 5 * number)
        talk.on_sentence_heard(number + 1)
    [last] = asked
    assert isinstance(last, Ask)
    assert [m.content for m in last.messages] == [
        *("Question 1?", "Answer 1.", "Question 2?", "Answer 2."),
        "Question 3?",
    ]


# --------------------------------------------------------------------------- failures


def kinds(effects: list[Effect]) -> list[str]:
    return [each.kind for each in effects if isinstance(each, Tell)]


def test_an_empty_answer_is_told_and_the_next_question_is_answered() -> None:
    talk = Conversation()
    ask(talk, "Hello?")
    talk.on_token(1, " \n ")
    told, done = talk.on_answer_end(1)
    assert kinds([told]) == ["empty_answer"] and done == Done(1, Outcome.FAILED)
    assert end(talk, "Hello?") == []  # not a second time
    assert questions(ask(talk, "Hello?", 5)) == ["Hello?"]  # but when asked again


def test_an_answer_that_fails_early_is_made_again_if_the_speaker_goes_on() -> None:
    talk = Conversation()
    ask(talk, "Is it")
    effects = talk.on_answer_failure(1, "llm_failed", "It failed.")
    assert effects == [Tell("llm_failed", "It failed."), Done(1, Outcome.FAILED)]
    talk.on_speech(RESUMED, 2.5)
    talk.on_text([], Said(0, 4, "Is it warm?"))
    assert questions(talk.on_speech(PROBABLY, 4)) == ["Is it warm?"]


def test_sentences_before_a_failure_are_still_said() -> None:
    talk = Conversation()
    ask(talk, "Is it warm?")
    end(talk, "Is it warm?")
    talk.on_token(1, "Yes. But")
    assert kinds(talk.on_answer_failure(1, "llm_failed", "It failed.")) == [
        "llm_failed"
    ]
    assert talk.phase is Phase.ANSWERING
    assert talk.on_sentence_heard(1) == [Done(1, Outcome.ANSWERED)]


@pytest.mark.parametrize("token", ["word ", "A sentence. ", "x", " "])
def test_an_answer_for_ever_is_cut(token: str) -> None:
    talk = Conversation(most_characters=500)
    ask(talk, "Tell me all.")
    effects: list[Effect] = []
    for _ in range(1000):
        effects += talk.on_token(1, token)
    assert effects.count(StopAsking(1)) == kinds(effects).count("answer_too_long") == 1
    spoken = [each.sentence for each in effects if isinstance(each, Speak)]
    assert sum(map(len, spoken)) <= 500 + len(token)
    if token == " ":
        assert effects[-1] == Done(1, Outcome.FAILED)
    else:
        end(talk, "Tell me all.")
        heard = [talk.on_sentence_heard(1) for _ in spoken]
        assert heard[-1] == [Done(1, Outcome.ANSWERED)]


def test_missing_speech_is_told_once_for_an_answer() -> None:
    talk = Conversation()
    ask(talk, "Is it warm?")
    answer(talk, 1, "Yes.", "It is.")
    end(talk, "Is it warm?")
    assert kinds(talk.on_speech_failure(1, "tts_failed", "No sound.")) == ["tts_failed"]
    talk.on_sentence_heard(1)
    assert talk.on_speech_failure(1, "tts_failed", "No sound.") == []
    assert talk.on_sentence_heard(1) == [Done(1, Outcome.ANSWERED)]


def test_a_fault_of_our_own_ends_one_answer() -> None:
    talk = Conversation()
    ask(talk, "Hello?")
    effects = talk.on_reply_lost(1)
    assert kinds(effects) == ["internal"] and talk.on_reply_lost(1) == []
    end(talk, "Hello?")
    assert questions(ask(talk, "Hello?", 5)) == ["Hello?"]
