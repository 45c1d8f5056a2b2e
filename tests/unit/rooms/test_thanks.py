"""Thanks after the end of a chat request no agent; any other message does."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conversation.model import (
    CallWebChat,
    Chatting,
    Conversation,
    CustomerMedia,
    Ended,
    Idle,
    Phase,
    Queued,
    Requesting,
    Say,
)
from bridge.conversation.turn import all_pieces
from bridge.ids import AgentId, QueueId, SessionId
from bridge.rooms.cards import LONGEST_PHRASE, SOON, is_thanks
from bridge.rooms.ports import Spoke
from bridge.rooms.record import Chat, ChatAgent
from tests.unit.rooms.visits import ADA, House

THANKS = (
    *(
        "Thanks!",
        "thank you",
        "THANK YOU!!! :)",
        "Thx",
        "ok, thanks",
        "Many thanks 🙏🏻",
        "ＴＨＡＮＫＳ",
    ),
    *(
        "Thank you very much.",
        "谢谢",
        "好的，谢谢您！",
        "非常感谢～",
        "謝謝您！",
        "好的 謝謝",
        "多謝",
    ),
    *("ありがとうございました。", "どうもありがとう", "ありがとう ♪", "サンキュー"),
    *("Thanks, bye", "ok, thank you very much! Bye!", "Great, thanks. Have a nice day!"),
    *("No, thanks", "不用了，谢谢", "不用謝謝", "大丈夫です。ありがとうございます"),
    *("谢谢，再见", "好的。謝謝，掰掰", "ありがとうございました。失礼します。"),
    *(
        "Thanks all!",
        "Thank you, everyone",
        "谢谢大家！",
        "謝謝大家",
        "皆さん、ありがとうございました",
    ),
    *("Thanks anyway!", "ok, thank you anyway", "还是谢谢您", "好的，還是謝謝"),
    *("Thank you for your help!", "Got it, thanks!", "That’s all, thank you.", "Vielen Dank!"),
    *("okay thanks", "谢啦！", "嗯，谢谢", "行，谢谢", "好评！", "好評"),
    *("谢谢您的帮助", "知道了，谢谢", "没有其他问题了，谢谢！", "辛苦了", "明白了，謝謝您的協助"),
    *("了解，謝謝", "沒問題，謝謝你", "好喔，謝啦", "感謝您的協助！", "唔該晒！", "好，唔該"),
    *(
        "助かりました。",
        "了解しました。ありがとうございます",
        "解決しました、ありがとうございました！",
    ),
    *("👍", "👍🏽", "🙏🙏", "❤️", "😊 👌"),
)
MORE = (
    *("but it is broken again", "When will it come?", "to you", "and my refund", "5", "where", "?"),
    *("还有一个问题", "什么时候到货？", "帮忙处理", "处理一下", "请退款", "那我的订单呢", "吗"),
    *("還有一個問題", "請退款", "什麼時候到貨？", "でもまだ届きません", "返信よろしくお願いします"),
    *("ですか", "cancel it", "opening hours", "not", "不", "for nothing", "Mei"),
)
"""Parts of sentences that ask, or may ask, for an agent."""


@pytest.mark.parametrize("words", THANKS)
def test_sentences_that_are_only_thanks(words: str) -> None:
    assert is_thanks(words)


@pytest.mark.parametrize(
    "words",
    [
        *(
            "",
            "ok",
            "好的",
            "👎",
            "👍?",
            "😡",
            "👋",
            "yes",
            "bye",
            "再见",
            "great",
            "Mei",
            "5",
            "没有",
            "はい",
        ),
        *(
            "感谢信怎么写",
            "thanksgiving opening hours",
            "还没解决，谢谢",
            "thanks" * LONGEST_PHRASE,
        ),
        *("Thank you Mei", "谢谢小梅", "thanks bye", "Thanks, Mei", "thanks?", "ありがとう？"),
        *("ok, bye", "好的，再见", "thanks, it is broken", "thanks, 5", "知道了", "了解しました"),
    ],
)
def test_sentences_that_are_more_than_thanks(words: str) -> None:
    assert not is_thanks(words)


@given(
    st.sampled_from(THANKS),
    st.sampled_from(MORE),
    st.sampled_from([" ", "。", "\n"]),
    st.booleans(),
)
def test_thanks_with_anything_more_are_a_message(
    thanks: str, more: str, between: str, before: bool
) -> None:
    assert not is_thanks(between.join((more, thanks) if before else (thanks, more)))


def after_a_chat(ms: int = 60_000, phase: Phase | None = None) -> House:
    house = House().served()
    ended = Ended(SessionId(5150), since=house.now - ms)
    house.visit.set(conversation=Conversation(phase or ended))
    return house


def test_thanks_request_no_agent_and_are_answered() -> None:
    house = after_a_chat()
    for words in ("Thank you!", "thanks, bye"):
        event = house.say(words)
        assert house.effects[-1] == Say("chat.thanked", reply_to=event)
    assert house.reported == {}
    assert house.record.undelivered == (), "no failure, and nothing to send again"
    assert not any(isinstance(one, CallWebChat) for one in house.effects)
    assert isinstance(house.record.conversation.phase, Ended)


def test_thanks_are_recognised_after_leaving_another_queue() -> None:
    house = after_a_chat()
    left = Conversation(Idle(house.now), last_ended_at=house.now - 1000)
    house.visit.set(conversation=left)
    event = house.say("ok, thanks")
    assert house.effects[-1] == Say("chat.thanked", reply_to=event)
    waiting = msgspec.structs.replace(left, phase=Queued(QueueId(1), house.now))
    house.visit.set(conversation=waiting)
    assert house.say("thanks") in house.carried


def test_thanks_after_a_request_without_a_chat_request_no_agent() -> None:
    """As after "we are closed, I have kept your message", or after leaving the queue."""
    house = House().served()
    kept = house.say("Is anybody there?")
    closed = msgspec.structs.replace(house.record.conversation, phase=Idle(house.now))
    house.visit.set(conversation=closed)
    event = house.say("ok, thanks")
    assert house.effects[-1] == Say("chat.thanked", reply_to=event)
    assert [one.event_id for one in house.record.conversation.held] == [kept]


@pytest.mark.parametrize("words", ["Thanks. It is broken again!", "Thank you Mei", "ok", "bye"])
def test_any_other_message_requests_an_agent(words: str) -> None:
    house = after_a_chat()
    house.say(words)
    assert house.reported == {}
    assert isinstance(house.record.conversation.phase, Requesting)


BY_NAME = (
    *("Thank you Mei", "Thanks, mei!", "THANKS MEI CHEN", "Thank you so much, Mei. Bye!", "Thanks"),
    *("谢谢小梅", "小梅女士，非常感谢！", "Meiさん、ありがとうございました！"),
)
MORE_THAN_A_NAME = (
    *("Mei", "小梅", "Thanks Meier", "Thanks, Mei, it is broken", "Thanks Jun", "thanks, Mei?"),
    *("谢谢小梅，还有一个问题", "thanks " + "Mei " * LONGEST_PHRASE + "but it is broken"),
)


@pytest.mark.parametrize("words", [*BY_NAME, *MORE_THAN_A_NAME])
def test_thanks_may_name_an_agent_of_the_chat(words: str) -> None:
    house = after_a_chat()
    agents = ChatAgent(AgentId("A1"), "Mei Chen"), ChatAgent(AgentId("A2"), "小梅")
    chat = Chat(1, QueueId(1), house.now, agents=(*agents, ChatAgent(AgentId("A3"))))
    house.visit.set(chats=(chat,))
    event = house.say(words)
    assert (Say("chat.thanked", reply_to=event) in house.effects) == (words in BY_NAME)
    assert isinstance(house.record.conversation.phase, Ended if words in BY_NAME else Requesting)


def test_thanks_long_after_a_chat_request_an_agent() -> None:
    house = after_a_chat(SOON)
    house.say("Thanks!")
    assert isinstance(house.record.conversation.phase, Requesting)


def test_thanks_during_a_chat_or_before_the_first_are_a_message() -> None:
    house = House().served().chat()
    house.say("Thanks!")
    assert len(all_pieces(house.record.conversation)) == 1
    house = after_a_chat(phase=Idle())
    house.say("Thanks!")
    assert isinstance(house.record.conversation.phase, Requesting)


def test_thanks_after_close_are_not_for_the_next_chat() -> None:
    house = House().served().chat()
    state = house.record.conversation
    away = msgspec.structs.replace(state, retry_at=house.now + 50_000, failures=1)
    house.visit.set(conversation=away)
    house.say("!wc close")
    event = house.say("thanks, bye")
    assert house.effects[-1] == Say("chat.thanked", reply_to=event)
    assert house.carried == []
    other = house.say("it is broken again")
    assert house.carried == [other]


def test_thanks_after_leaving_the_queue_are_a_message() -> None:
    house = House().served().chat()
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    phase = msgspec.structs.replace(phase, close=True, unwanted=True)
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=phase))
    assert house.say("thanks") in house.carried


def test_the_name_of_a_file_is_no_farewell() -> None:
    house = after_a_chat()
    cat = CustomerMedia("image", "thanks.png", "mxc://x/cat")
    house.receive(Spoke(house.event_id(), ADA, cat, plain="thanks"))
    assert house.reported == {}
    assert house.record.conversation.held
