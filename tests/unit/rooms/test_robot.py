"""The robot's answers in a room, and what the customer replies to them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from bridge.conversation.model import (
    AskRobot,
    Chatting,
    CustomerMedia,
    CustomerText,
    Human,
    Idle,
    Input,
    Phase,
    Question,
    Queued,
    Solved,
)
from bridge.conversation.turn import Policy
from bridge.ids import EventId, QueueId, SessionId
from bridge.rooms import cards
from bridge.rooms.effects import ShowAnswer
from bridge.rooms.ports import CallFailure, Reacted, Spoke
from bridge.rooms.reader import Facts, receive
from bridge.rooms.record import CardKind, OurCard, RobotAnswered, RoomSettings
from bridge.rooms.rules import Rules
from bridge.texts import CATALOGUE
from bridge.webchat.codes import FailureReason, RobotUse
from bridge.webchat.frames import Reply, RequestChat, SendPreMessage
from bridge.webchat.http import RobotAnswer
from tests.fakes.clock import quiet
from tests.fakes.house import KEYS, ROOM, World, said
from tests.fakes.link import FakeLink
from tests.unit.rooms.visits import ADA, RULES, SALES_USER, House

FIRST = msgspec.structs.replace(RULES, robot=True, policy=Policy(robot=RobotUse.FIRST))
NOBODY = msgspec.structs.replace(RULES, robot=True, policy=Policy(robot=RobotUse.WHEN_NO_AGENT))
COMMAND = msgspec.structs.replace(RULES, robot=True, policy=Policy(robot=RobotUse.COMMAND))
FOUND = (RobotAnswer("Returns", "Send it back"),)


class Knowing(FakeLink):
    """A link whose robot answers as told."""

    def __init__(self, told: tuple[RobotAnswer, ...] | CallFailure) -> None:
        super().__init__()
        self._told = told
        self.questions: list[str] = []
        self.thinking = asyncio.Event()
        self.thinking.set()

    async def ask_robot(self, question: str) -> tuple[RobotAnswer, ...]:
        self.questions.append(question)
        await self.thinking.wait()
        if isinstance(self._told, CallFailure):
            raise self._told
        return self._told


def failure(reason: FailureReason) -> CallFailure:
    return CallFailure(reason, certain=True)


# --- asking -------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("told", "key", "unreachable"),
    [
        ((), "robot.nothing", False),
        (failure(FailureReason.TOO_BIG), "robot.too_long", False),
        (failure(FailureReason.UNREACHABLE), "robot.unreachable", True),
        (failure(FailureReason.SIGN_REFUSED), "robot.unreachable", True),
    ],
)
async def test_the_robot_has_no_answer(
    told: tuple[RobotAnswer, ...] | CallFailure, key: str, unreachable: bool
) -> None:
    around = msgspec.structs.replace(World().around, link=Knowing(told))
    came = await cards.ask_robot(around, AskRobot(EventId("$1"), "how?"))
    assert came == RobotAnswered(EventId("$1"), "how?", key, unreachable=unreachable)


@pytest.mark.asyncio
@pytest.mark.parametrize("base", ["", "https://kb.example.org/"])
async def test_answers_are_plain_text_cards(base: str) -> None:
    """Trap T37: previews are HTML."""
    found = RobotAnswer("<b>Returns</b>", "Send <em>it</em>\n back" + "x" * 400, path="/a/1.html")
    told = (found, RobotAnswer("", "<script>x</script>", "Why?"))
    rules = msgspec.structs.replace(RULES, km_base_url=base)
    around = msgspec.structs.replace(World().around, link=Knowing(told), rules=rules)
    came = await cards.ask_robot(around, AskRobot(EventId("$1"), "how?", first=True))
    assert (came.key, came.first, came.short) == ("robot.answers", True, ("Returns", "Why?"))
    first, second = str(came.args["answers"]).split("\n\n")
    title, preview, *link = first.split("\n")
    assert title == "▪ Returns"
    assert preview.startswith("Send it back")
    assert len(preview) == cards.LONGEST_PREVIEW
    assert link == (["https://kb.example.org/a/1.html"] if base else [])
    assert second == "▪ Why?"


# --- showing ------------------------------------------------------------------------------------


def waiting(house: House, *, aside: bool = False) -> EventId:
    """The robot was asked about what the customer has just said."""
    event_id = house.say("how?")
    conversation = house.record.conversation
    question = Question(event_id, house.now, aside=aside)
    house.visit.set(conversation=msgspec.structs.replace(conversation, questions=(question,)))
    house.effects.clear()
    return event_id


@pytest.mark.parametrize(
    ("aside", "key"), [(False, "robot.answers_first"), (True, "robot.answers_kept")]
)
def test_an_answer_is_shown_and_noted_for_an_agent(aside: bool, key: str) -> None:
    house = House(FIRST).served()
    event_id = waiting(house, aside=aside)
    came = RobotAnswered(event_id, "how?", "robot.answers", {"answers": "x"}, True, ("A", "B"))
    cards.robot_answered(house.visit, came)
    assert house.effects == [ShowAnswer(event_id, "how?", key, {"answers": "x"}, first=True)]
    (question,) = house.record.conversation.questions
    assert question.note == "（机器人已回复：A / B）"


def test_no_answer_of_the_robot_requests_a_person() -> None:
    house = House(FIRST).served()
    event_id = waiting(house)
    cards.robot_answered(house.visit, RobotAnswered(event_id, "how?", "robot.nothing", first=True))
    assert house.notices == ["robot.person_nothing"]
    assert house.record.conversation.number == 1


def test_bare_person_requests_nobody_if_a_chat_runs_in_another_room() -> None:
    house = House(FIRST).served(SALES_USER)
    spoke = Spoke(house.event_id(), ADA, CustomerText("person"), "person")
    facts = Facts(house.now, elsewhere="https://matrix.to/#/!first:example.org")
    receive(house.visit, spoke, {}, facts, command=None)
    assert house.reported == {spoke.event_id: "undelivered.elsewhere"}
    assert isinstance(house.record.conversation.phase, Idle)


def test_an_answer_is_not_shown_after_a_person_was_requested() -> None:
    house = House(FIRST).served()
    event_id = waiting(house)
    house.say("human")
    house.effects.clear()
    came = RobotAnswered(event_id, "how?", "robot.answers", {"answers": "x"}, True, ("A",))
    cards.robot_answered(house.visit, came)
    assert house.effects == []


def test_an_answer_to_the_ask_command_is_always_shown() -> None:
    house = House(RULES).served()
    cards.robot_answered(house.visit, RobotAnswered(EventId("$1"), "how?", "robot.nothing"))
    assert house.effects == [ShowAnswer(EventId("$1"), "how?", "robot.nothing")]


@pytest.mark.parametrize("key", ["answers", "nothing", "too_long", "unreachable"])
@pytest.mark.parametrize(
    ("phase", "paused", "offered"),
    [
        (Idle(), False, True),
        (Idle(), True, False),
        (Queued(QueueId(2), 0), False, False),
        (Queued(QueueId(2), 0, quiet_until=1), False, True),
        (Chatting(SessionId(5), 1, QueueId(2)), False, False),
        (Chatting(SessionId(5), 1, QueueId(2), robot=True), False, True),
    ],
)
def test_a_person_is_offered_only_to_somebody_without_one(
    phase: Phase, paused: bool, offered: bool, key: str
) -> None:
    house = House(COMMAND).served()
    conversation = msgspec.structs.replace(house.record.conversation, phase=phase)
    house.visit.set(conversation=conversation, settings=RoomSettings(paused=paused))
    cards.robot_answered(house.visit, RobotAnswered(EventId("$1"), "how?", f"robot.{key}"))
    (shown,) = house.effects
    assert isinstance(shown, ShowAnswer)
    assert shown.key == (f"robot.{key}" if offered else f"robot.no_person.{key}")
    text = CATALOGUE[shown.key]["en"]
    assert ("person" in text) is offered


# --- without a command ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("human", Human()),
        ("Human!", Human()),
        ("转人工。", Human()),
        ("转人工服务", Human()),
        ("客服", Human()),
        ("Talk to a human!", Human()),
        ("ｈｕｍａｎ！", Human()),
        ("ｵﾍﾟﾚｰﾀｰ", Human()),
        ("オペレーター", Human()),
        ("谢谢！", Solved()),
        ("Thank  you", Solved()),
        ("解决了，谢谢！", Solved()),
        ("Thanks, solved.", Solved()),
        ("solved? thanks", None),
        ("a human being bit me", None),
        ("thanks, but how?", None),
        ("", None),
    ],
)
def test_plain_words_that_mean_human_or_solved(words: str, meant: Input | None) -> None:
    house = House(FIRST).served()
    came = RobotAnswered(waiting(house), "how?", "robot.answers", {"answers": "x"}, True, ("A",))
    cards.robot_answered(house.visit, came)
    assert cards.robot_wish(house.visit, words) == meant


def test_where_plain_words_are_understood() -> None:
    house = House(FIRST).served()
    assert cards.robot_wish(house.visit, "thanks") is None
    assert cards.robot_wish(house.visit, "human") == Human()
    assert cards.robot_wish(house.chat().visit, "human") is None
    assert cards.robot_wish(House(NOBODY).served().visit, "human") is None
    assert cards.robot_wish(House(RULES).served().visit, "human") is None


def test_thanks_are_no_new_question() -> None:
    house = House(FIRST).served()
    event_id = waiting(house)
    cards.robot_answered(
        house.visit,
        RobotAnswered(event_id, "how?", "robot.answers", {"answers": "x"}, True, ("A",)),
    )
    house.say("Thanks!")
    assert house.notices == ["robot.solved"]
    assert house.carried == []


def test_solved_by_command() -> None:
    house = House(FIRST).served()
    waiting(house)
    house.say("!wc solved")
    assert house.notices == ["robot.solved"]
    other = House(FIRST).served()
    said = other.say("solved")
    assert other.carried == [said]  # a message, as there is no question to settle
    without = House(RULES).served()
    without.say("!wc solved")
    assert without.notices == ["robot.none_open"]


@pytest.mark.parametrize("words", ["solved", "Thanks!", "!wc solved", "👍"])
def test_thanks_or_solved_after_an_answer_to_ask_settles_it(words: str) -> None:
    """The question of `ask` waits for no agent, and the reply to its answer requests none."""
    house = House(COMMAND).served()
    card, asked = EventId("$card"), EventId("$asked")
    number = house.record.conversation.number
    cards.remember(
        house.visit, OurCard(card, CardKind.ROBOT, text="how?", asked=asked, number=number)
    )
    if words == "👍":
        house.receive(Reacted(EventId("$r"), ADA, card, words))
    else:
        house.say(words)
    assert house.notices == ["robot.solved"]
    assert house.carried == []


def test_solved_without_a_recent_answer_is_a_message() -> None:
    house = House(COMMAND).served()
    cards.remember(house.visit, OurCard(EventId("$card"), CardKind.ROBOT, text="how?", number=9))
    said = house.say("solved")
    assert house.carried == [said]


# --- the whole engine ---------------------------------------------------------------------------


def world_with(link: Knowing, rules: Rules = FIRST) -> World:
    world = World()
    world.link = link
    rules = msgspec.structs.replace(rules, texts=KEYS)
    world.around = msgspec.structs.replace(world.around, link=link, rules=rules)
    return world


@pytest.mark.asyncio
async def test_a_slow_knowledge_base_holds_nobody_up() -> None:
    link = Knowing(FOUND)
    link.thinking.clear()
    world = world_with(link, msgspec.structs.replace(RULES, robot=True))
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="!wc ask how?")])
        await quiet()
        assert link.questions == ["how?"]
        await engine.pushed(ROOM, "p", said("hello"))
        await engine.accept_events([world.event(text="I am here")])
        await quiet()
        assert world.matrix.texts(ROOM) == ["hello"]
        assert link.texts(ROOM) == ["I am here"]
        link.thinking.set()
        await quiet()
    assert world.matrix.texts(ROOM) == ["hello", "robot.no_person.answers"]


@pytest.mark.asyncio
async def test_first_the_robot_then_a_person() -> None:

    link = Knowing(FOUND)
    world = world_with(link)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="how?")])
        await quiet()
        assert link.questions == ["how?"]
        assert link.calls == []
        assert world.matrix.texts(ROOM) == ["robot.answers_first", "👍", "👎"]
        await engine.accept_events([world.event(text="human")])
        await quiet()
    sent = [one.command for one in link.calls]
    assert isinstance(sent[0], RequestChat)
    texts = [one.text for one in sent if isinstance(one, SendPreMessage)]
    assert texts == ["how?", "（机器人已回复：Returns）"]


@pytest.mark.asyncio
async def test_a_question_to_the_robot_survives_a_restart() -> None:
    link = Knowing(FOUND)
    link.thinking.clear()
    world = world_with(link)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="how?")])
        await quiet()
    assert world.matrix.texts(ROOM) == []
    link.thinking.set()
    async with world.running():
        await quiet()
    assert link.questions == ["how?", "how?"]
    assert world.matrix.texts(ROOM) == ["robot.answers_first", "👍", "👎"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_knowledge_base_that_hangs_leads_to_a_person() -> None:
    link = Knowing(FOUND)
    link.thinking.clear()
    world = world_with(link)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="how?")])
        await world.clock.turn(61)
        assert world.matrix.texts(ROOM)[0] == "robot.person_unreachable"
        link.thinking.set()  # too late: the answer is not shown
        await quiet()
    assert "robot.answers_first" not in world.matrix.texts(ROOM)
    assert [type(one.command) for one in link.calls] == [RequestChat, SendPreMessage]


@pytest.mark.asyncio
async def test_without_agents_the_robot_answers_and_the_message_is_kept() -> None:
    link = Knowing(FOUND)
    link.answers.append(Reply(101, -5))
    world = world_with(link, NOBODY)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        event = world.event(text="how long?")
        await engine.accept_events([event])
        await quiet()
    texts = world.matrix.texts(ROOM)
    assert texts[-3:] == ["robot.answers_kept", "👍", "👎"]
    assert "result.-5 queue.kept_one\ncallback.offer" in texts
    held = (await world.stored()).conversation.held
    assert [piece.event_id for piece in held] == [event[1]]


def test_the_welcome_says_who_answers_first() -> None:
    house = House(FIRST)
    house.invite()
    house.enter()
    assert house.notices == ["robot.welcome"]
    other = House(NOBODY)
    other.invite()
    other.enter()
    assert other.notices == ["room.welcome"]


@pytest.mark.parametrize(
    "words",
    [
        "I'd like to talk to a real person, please",
        "Could you connect me to a customer service representative?",
        "请帮我转人工客服，谢谢",
        "可以转人工吗？",
        "Can you put me through to someone? I would like to speak with somebody",
        "請幫我轉真人客服",
        *("轉接專員", "有人工客服吗？", "有没有人工", "請問能有真人嗎"),
        *("能不能转人工", "请问怎么联系人工客服？", "客服在吗", "有人工客服在线吗", "快转人工！"),
        *("人工服务在哪", "请问人工客服在哪里？", "真人客服在哪裡", "哪里可以转人工"),
        *("請幫我轉接客服人員", "可不可以轉真人", "我想和真人對話", "你們有客服嗎"),
        *("可以叫真人來嗎", "唔該搵客服", "我想同真人傾", "有冇真人"),
        "担当者に繋いでください",
        "担当の方と話したいのですが",
        "オペレーターと話したいです",
        "オペレーターに代わっていただけますか",
        *("すみません、担当者をお願いします", "オペレーターはいますか？", "人と話したいです"),
        *("担当者に繋いで欲しいのですが", "有人対応を希望します", "担当の方とお話しできますか"),
    ],
)
def test_a_wish_for_a_person_in_a_sentence(words: str) -> None:
    """No words for a robot; a text of other words than these is for it."""
    assert cards.wants_person(words)
    assert not cards.wants_person(f"{words} 007")
    assert not cards.wants_person(words * 40)


@pytest.mark.parametrize(
    "words",
    [
        *("Are you a human?", "my agent said no", "personal data", "agents", "not a person"),
        *("你是真人吗", "人工智能", "不要转人工", "客服电话", "个人", "一个人", "给我一位"),
        *("Someone", "I want to transfer to someone", "I like the agent"),
        "I need someone like you",
        *("担当者です", "担当の方ですか", "人間ですか？", "スタッフです"),
        *("我有专人", "我们有客服，请联系", "您有專員"),
        *("担当者の名前は？", "人気の商品", "個人に", "担当者ではありません"),
        *("人工服务在哪个城市", "客服中心在哪", "专员在哪里上班", "在哪里", "客服是哪里人"),
        *("你是客服人员吗", "客服在线时间", "怎么没有人工", "如何给客服好评", "在吗", "能不能退货"),
        *("担当者はいません", "オペレーターに接続できません", "担当者の希望日", "すみません"),
    ],
)
def test_no_wish_for_a_person(words: str) -> None:
    assert not cards.wants_person(words)


@pytest.mark.parametrize(("words", "meant"), [("人工", Human()), ("1", None), ("thanks", None)])
def test_plain_words_to_the_robot_of_a_queue(words: str, meant: Input | None) -> None:
    house = House(RULES).served().chat()
    conversation = house.record.conversation
    assert isinstance(conversation.phase, Chatting)
    phase = msgspec.structs.replace(conversation.phase, robot=True)
    house.visit.set(conversation=msgspec.structs.replace(conversation, phase=phase))
    assert cards.robot_wish(house.visit, words) == meant


@pytest.mark.parametrize("caption", ["Please connect me to an agent", "人工", "ok", "thanks"])
def test_a_file_whose_caption_is_a_wish_is_sent(caption: str) -> None:
    house = House(FIRST).served()
    house.say("how?")
    file = CustomerMedia("image", "a.png", "mxc://example.org/a")
    media = msgspec.structs.replace(file, caption=caption)
    house.receive(Spoke(EventId("$picture"), ADA, media, plain=caption))
    held = [one.content for one in house.record.conversation.held]
    assert held[1:] == [file, CustomerText(caption)]


def test_the_robot_gets_the_text_without_the_senders_name() -> None:
    house = House(FIRST).served(direct=False)
    house.say("how?")
    (ask,) = (one for one in house.effects if isinstance(one, AskRobot))
    assert ask.question == "how?"
    (held,) = house.record.conversation.held
    assert isinstance(held.content, CustomerText)
    assert held.content.text.endswith("how?")
    assert held.content.text != "how?"
