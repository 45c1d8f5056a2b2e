"""Thanks after a chat's end call nobody; all else does."""

from __future__ import annotations

import pytest

from bridge.conversation.effects import CallWebChat
from bridge.conversation.model import (
    Conversation,
    CustomerMedia,
    Ended,
    Idle,
    Phase,
    Requesting,
)
from bridge.conversation.transitions import all_pieces
from bridge.ids import SessionId
from bridge.rooms.farewells import LONGEST, SOON, reads_as_farewell
from bridge.rooms.inputs import Spoke
from tests.unit.rooms.visits import ADA, House


@pytest.mark.parametrize(
    "words",
    [
        *("Thanks!", "thank you, bye", "OK thanks", "Great, thank you very much!", "Bye-bye 👋"),
        *("ok, that’s all. Thanks a lot", "Thx", "Thank you so much for your help 🙏🏻"),
        *("谢谢", "好的，谢谢您！", "非常感谢，再见～", "嗯嗯谢谢了", "没事了，拜拜"),
        *("謝謝您！", "好的 謝謝 掰掰", "多謝"),
        *("ありがとうございました。", "分かりました、ありがとうございます！", "では、失礼します"),
        *("🙏", "👍 thanks", "❤️"),
    ],
)
def test_farewells(words: str) -> None:
    assert reads_as_farewell(words)


@pytest.mark.parametrize(
    "words",
    [
        *("", "ok", "好的", "はい", "👍", "yes", "5"),
        *("thanks, but it is broken again", "Thanks. When will it come?", "no thanks to you"),
        *("谢谢，还有一个问题", "再见不到客服了吗", "谢谢，什么时候到货？", "感谢信怎么写"),
        *("ありがとう、でもまだ届きません", "thanksgiving opening hours", "bye" * LONGEST),
    ],
)
def test_other_words(words: str) -> None:
    assert not reads_as_farewell(words)


def after_a_chat(ms: int = 60_000, phase: Phase | None = None) -> House:
    house = House().served()
    ended = Ended(SessionId(5150), since=house.now - ms)
    house.visit.set(conversation=Conversation(phase or ended))
    return house


def test_thanks_call_nobody_and_are_answered() -> None:
    house = after_a_chat()
    event = house.say("Thank you, bye!")
    assert house.reported == {event: "undelivered.farewell"}
    assert not any(isinstance(one, CallWebChat) for one in house.effects)
    assert isinstance(house.record.conversation.phase, Ended)


def test_whoever_has_more_to_say_gets_an_agent() -> None:
    house = after_a_chat()
    house.say("Thanks. It is broken again!")
    assert house.reported == {}
    assert isinstance(house.record.conversation.phase, Requesting)


def test_later_they_are_the_beginning_of_something() -> None:
    house = after_a_chat(SOON)
    house.say("Thanks!")
    assert isinstance(house.record.conversation.phase, Requesting)


def test_in_a_chat_and_before_the_first_one_they_are_words() -> None:
    house = House().served().chat()
    house.say("Thanks!")
    assert len(all_pieces(house.record.conversation)) == 1
    house = after_a_chat(phase=Idle())
    house.say("Thanks!")
    assert isinstance(house.record.conversation.phase, Requesting)


def test_the_name_of_a_file_is_no_farewell() -> None:
    house = after_a_chat()
    cat = CustomerMedia("image", "thanks.png", "mxc://x/cat")
    house.receive(Spoke(house.event_id(), ADA, cat, plain="thanks"))
    assert house.reported == {}
