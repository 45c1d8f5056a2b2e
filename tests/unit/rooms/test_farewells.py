"""Thanks after a chat's end call nobody; all else does."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conversation.events import CallWebChat
from bridge.conversation.model import (
    Conversation,
    CustomerMedia,
    Ended,
    Idle,
    Phase,
    Queued,
    Requesting,
)
from bridge.conversation.turn import all_pieces
from bridge.ids import AgentId, QueueId, SessionId
from bridge.rooms.chats import Chat, ChatAgent
from bridge.rooms.farewells import LONGEST, SOON, reads_as_farewell
from bridge.rooms.inputs import Spoke
from tests.unit.rooms.visits import ADA, House

NAMES = ("Mei Wang", "王小梅")
FAREWELLS = (
    *("Thanks!", "thank you, bye", "OK thanks", "Great, thank you very much!", "Bye-bye 👋"),
    *("ok, that’s all. Thanks a lot", "Thx", "Thank you so much for your help 🙏🏻"),
    *("Thank you Mei", "Thanks, you too", "no thanks", "No, thank you"),
    *("many thanks", "Thx Mei Wang"),
    *("thanks, have a great day", "got it, thanks", "Thanks for everything", "Have a good one!"),
    *("I appreciate it", "You've been very helpful, thanks", "Thanks guys", "Thank you!! :)"),
    *("谢谢", "好的，谢谢您！", "非常感谢，再见～", "嗯嗯谢谢了", "没事了，拜拜", "谢谢小梅"),
    *("谢谢您的帮助", "收到，谢谢", "不用了，谢谢", "没问题了谢谢", "祝您生活愉快", "谢谢王小梅"),
    *("非常感谢您的耐心解答", "麻烦您了，谢谢", "辛苦了", "祝您工作顺利，生活愉快！"),
    *("謝謝您！", "好的 謝謝 掰掰", "多謝", "收到，謝謝您", "謝謝您的幫助", "不用了，謝謝"),
    *("沒問題了，謝謝", "祝您生活愉快，再見", "瞭解了，感謝", "太好了，謝謝"),
    *("ありがとうございました。", "分かりました、ありがとうございます！", "では、失礼します"),
    *("ご対応ありがとうございました", "Meiさん、ありがとうございました", "どうもありがとう"),
    *("ご丁寧に教えていただき、ありがとうございました", "お世話になりました", "助かりました！"),
    *("大丈夫です、ありがとうございます", "色々とありがとうございました"),
    *("🙏", "👍 thanks", "❤️"),
)
NOTES = (
    *("ok", "👍", "好的", "great", "Got it", "知道了", "嗯嗯", "OK👌", "好的👍"),
    *("收到", "好喔", "沒事了"),
    *("了解です", "承知しました", "はい、わかりました", "ok, great.", "All good"),
)
"""That what was said last is understood."""
MORE = (
    *("but it is broken again", "When will it come?", "to you", "and my refund", "5", "where", "?"),
    *("还有一个问题", "什么时候到货？", "帮忙处理", "处理一下", "请退款", "那我的订单呢", "吗"),
    *("還有一個問題", "請退款", "什麼時候到貨？", "でもまだ届きません", "返信よろしくお願いします"),
    *("ですか", "cancel it", "opening hours", "not", "不", "for nothing"),
)
"""A piece of what asks for an agent."""


@pytest.mark.parametrize("words", [*FAREWELLS, *NOTES])
def test_farewells(words: str) -> None:
    assert reads_as_farewell(words, NAMES)


@pytest.mark.parametrize(
    "words",
    [
        *("", "はい", "yes", "and", "no", "all", "again", "客服", "那", "了", "Mei", "5", "没有"),
        *("再见不到客服了吗", "感谢信怎么写", "thanksgiving opening hours", "bye" * LONGEST),
        *("ok?", "好吗", "可以吗", "你好", "您好", "hello", "没解决", "还没解决，谢谢", "不行"),
        *("大丈夫ですか", "了解ですが、届きません", "not good", "great 5"),
        *("thanks?", "ありがとう？"),
    ],
)
def test_other_words(words: str) -> None:
    assert not reads_as_farewell(words, NAMES)


@given(
    st.lists(st.sampled_from((*FAREWELLS, *NOTES)), min_size=1, max_size=3),
    st.sampled_from([" ", ", ", "。", "\n", "！"]),
)
def test_a_row_of_farewells_is_one(words: list[str], between: str) -> None:
    row = between.join(words)
    assert reads_as_farewell(row, NAMES) is (len(row) <= LONGEST)


@given(
    st.lists(st.sampled_from((*FAREWELLS, *NOTES)), min_size=1, max_size=2),
    st.sampled_from(MORE),
    st.sampled_from([" ", ", ", "。", "\n", "！"]),
    st.integers(0, 2),
)
def test_one_word_more_and_it_is_none(
    words: list[str], more: str, between: str, place: int
) -> None:
    words.insert(place, more)
    assert not reads_as_farewell(between.join(words), NAMES)


def test_a_name_is_one_of_those_that_were_there_and_a_whole_word() -> None:
    assert not reads_as_farewell("Thank you Mei", ("Jun",))
    assert not reads_as_farewell("thanks meister", NAMES)
    assert reads_as_farewell("谢谢小梅的帮助", NAMES)


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


def test_the_agents_of_that_chat_may_be_called_by_their_names() -> None:
    house = after_a_chat()
    mei = ChatAgent(AgentId("K00017"), "Mei")
    first = Chat(1, QueueId(1), 0, session_id=SessionId(5150), agents=(mei,))
    house.visit.set(chats=(first, Chat(2, QueueId(1), 0, ended=1)))
    event = house.say("Thank you Mei")
    assert house.reported == {event: "undelivered.farewell"}
    house.say("Thank you Jun")
    assert isinstance(house.record.conversation.phase, Requesting)


def test_a_queue_that_was_left_again_changes_nothing() -> None:
    house = after_a_chat()
    left = Conversation(Idle(house.now), last_ended_at=house.now - 1000)
    house.visit.set(conversation=left)
    event = house.say("ok, thanks")
    assert house.reported == {event: "undelivered.farewell"}
    waiting = msgspec.structs.replace(left, phase=Queued(QueueId(1), house.now))
    house.visit.set(conversation=waiting)
    assert house.say("thanks") in house.carried


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
