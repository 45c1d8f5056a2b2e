"""Room administration: undo, hours, own sentences, queue choice by poll, `help`."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from bridge.config.model import Encryption, Permission, Queue
from bridge.conversation.model import (
    Args,
    Callback,
    Card,
    Conversation,
    CustomerText,
    Held,
    Idle,
    Queued,
    Requesting,
    Say,
    Vain,
)
from bridge.ids import AgentId, EventId, QueueId, RequestId, RoomId, UserId
from bridge.rooms import cards
from bridge.rooms.effects import AskQueue, ShowSettings, TellChanges, TellFigures
from bridge.rooms.people import Standing, followed
from bridge.rooms.ports import (
    MOST_ANSWERS,
    Invited,
    PollAnswered,
    Reacted,
    RoomConfigured,
    Upgraded,
)
from bridge.rooms.record import CardKind, Entered, Order, OurCard, RoomRecord, RoomSettings
from bridge.rooms.rules import (
    LONGEST_HOURS,
    LONGEST_SENTENCE,
    LONGEST_TEXTS,
    TEXTS,
    BadOrder,
    as_strings,
    settings_of_event,
    state_of,
)
from bridge.texts import CATALOGUE, LANGUAGES, Texts
from bridge.webchat.frames import Agent, AgentsUpdated, Received, SessionClosed
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World
from tests.unit.rooms.visits import ADA, RULES, STRANGER, House, answer

HOURS = "Mon-Fri 09:00-18:00 Asia/Shanghai"
WHOLE = RoomSettings(
    QueueId(2),
    "PC",
    "en",
    "on_command",
    paused=True,
    hours=HOURS,
    texts=(("closed", "Zu"), ("greeting", "Hi")),
)


def order(house: House, *texts: str) -> None:
    for text in texts:
        house.now += 60_000  # commands per minute are limited
        house.say(f"!wc {text}", standing=Standing.ADMIN)


# --- settings and state event ---------------------------------------------------------------------


def test_the_state_event_says_what_the_settings_are() -> None:
    for settings in (WHOLE, RoomSettings(), RoomSettings(paused=True)):
        assert settings_of_event(state_of(settings), RULES) == settings
    assert set(as_strings(WHOLE)) == {
        *("queue", "from", "language", "start", "paused", "hours", "text.closed", "text.greeting")
    }


def test_a_change_by_command_is_shown_in_the_state_event() -> None:
    house = House().served()
    order(house, "queue set 1")
    assert ShowSettings(RoomSettings()) in house.effects
    house.effects.clear()
    order(house, "queue set 1", "status", "config show")
    assert not any(isinstance(one, ShowSettings) for one in house.effects)


def test_a_state_event_equal_to_the_settings_is_no_change() -> None:
    house = House().served()
    order(house, "queue set 1")
    house.effects.clear()
    house.receive(RoomConfigured(EventId("$s"), ADA, {"queue": "sales"}), Standing.ADMIN)
    assert house.effects == [ShowSettings()]
    assert len(house.visit.changes) == 1


@pytest.mark.asyncio
async def test_settings_are_written_to_the_state_event_if_the_bot_may() -> None:
    world = World()
    world.matrix.level = 50
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="!wc queue set 1")])
        await quiet()
        assert world.matrix.configured == {ROOM: {"queue": 1}}
        content: dict[str, object] = {"queue": "Sales", "language": "EN"}
        world.matrix.configured[ROOM] = content
        await engine.accept_events([world.event("configure", content=content)])
        await quiet()
        assert world.matrix.configured[ROOM] is content, "it says so already, in other words"
        assert (await world.stored()).settings.language == "en"
        await engine.accept_events([world.event(text="!wc config reset")])
        await quiet()
        assert world.matrix.configured[ROOM] == {}
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_of_two_concurrent_changes_the_last_handled_wins_in_store_and_room() -> None:
    world = World()
    world.matrix.level = 50
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        # The bridge overwrote the admin's event before it received it.
        world.matrix.configured[ROOM] = {"queue": 1}
        await engine.accept_events([world.event("configure", content={"queue": 2})])
        await quiet()
        assert (await world.stored()).settings.queue == 2
        assert world.matrix.configured[ROOM] == {"queue": 2}


@pytest.mark.asyncio
@pytest.mark.parametrize("known", [True, False])
async def test_a_differing_state_event_not_writable_is_reported_once(*, known: bool) -> None:
    world = World()
    world.matrix.levels = {ADA: 100}
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        if known:
            content: dict[str, object] = {"language": "ja"}
            world.matrix.configured[ROOM] = content
            await engine.accept_events([world.event("configure", content=content)])
            await quiet()
        await engine.accept_events([world.event(text="!wc queue set 1")])
        await quiet()
        assert ("config.state_differs" in world.matrix.texts(ROOM)) is known
        await engine.accept_events([world.event(text="!wc queue set 2")])
        await quiet()
    assert (await world.stored()).settings.queue == 2
    told = [one for one in world.matrix.posted if one.text == "config.state_differs"]
    assert len(told) == known, "once, not after each command"
    assert all(one.reply_to is None for one in told), "it answers nobody"
    assert await world.nothing_left()


def test_an_upgrade_carries_the_settings_and_shows_them_in_the_new_room() -> None:
    house, new = House().served(), RoomId("!new:example.org")
    order(house, "queue set 1", "config set text.greeting Hi")
    house.effects.clear()
    house.receive(Upgraded(new))
    followed(house.visit, Invited(ADA, RULES.bot, direct=True), new)
    house.enter(Entered(direct=True))
    assert house.record.matrix_id == new
    assert house.record.settings == RoomSettings(QueueId(1), texts=(("greeting", "Hi"),))
    assert ShowSettings() in house.effects
    assert house.visit.changes[-1].key == "text.greeting", "nobody has changed anything"


# --- m.bridge -------------------------------------------------------------------------------------


def bridge_of(channel: tuple[str, str], host: UserId = RULES.bot) -> dict[str, object]:
    queue, name = channel
    return {
        "bridgebot": host,
        "creator": ADA,
        "protocol": {"id": "webchat", "displayname": "WebChat"},
        "channel": {"id": queue, "displayname": name},
    }


@pytest.mark.asyncio
async def test_m_bridge_is_written_on_entry_and_when_the_queue_changes() -> None:
    world = World()
    world.matrix.level = 50
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
        assert world.matrix.bridged == {ROOM: bridge_of(("2", "Returns"))}
        await engine.accept_events([world.event(text=f"!wc {word}") for word in ("status", "help")])
        await engine.accept_events([world.event(text="!wc config set language en")])
        await quiet()
        assert world.matrix.bridges_written == [ROOM]
        await engine.accept_events([world.event(text="!wc queue set 1")])
        await quiet()
        assert world.matrix.bridged == {ROOM: bridge_of(("1", "Sales"))}
        assert world.matrix.bridges_written == [ROOM, ROOM]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_m_bridge_is_written_to_the_room_after_an_upgrade() -> None:
    world, new = World(), RoomId("!new:example.org")
    world.matrix.level = 50
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
        for event in (world.event("upgraded", into=new), world.invitation(new)):
            await engine.accept_events([event])
            await quiet()
    assert world.matrix.bridges_written == [ROOM, new]
    assert await world.nothing_left()


@pytest.mark.asyncio
@pytest.mark.parametrize("may", [True, False])
async def test_m_bridge_of_an_older_room_is_written_when_an_agent_joins(*, may: bool) -> None:
    world = World()
    world.matrix.level = 50 if may else 0
    await world.chatting()
    async with world.running() as engine:
        for number in range(2):
            joined = AgentsUpdated(SESSION, (MEI, Agent(AgentId(f"a{number}"), "Jun")))
            await engine.pushed(ROOM, f"p{number}", Received(joined))
            await quiet()
    assert world.matrix.bridges_written == ([ROOM] if may else [])
    assert await world.nothing_left(), "it is no trouble to anybody where we may not"


# --- undo -----------------------------------------------------------------------------------------


def test_changes_are_undone_one_after_the_other_and_that_is_audited() -> None:
    house = House().served()
    order(house, "queue set 1", "queue set 2", "config reset", "undo")
    assert house.record.settings == RoomSettings(QueueId(2))
    order(house, "undo")
    assert house.record.settings == RoomSettings(QueueId(1))
    order(house, "undo")
    assert house.record.settings == RoomSettings()
    order(house, "undo")
    assert answer(house)[0] == "undo.nothing"
    told = [(one.before, one.after) for one in house.visit.changes]
    assert told == [("", "1"), ("1", "2"), ("2", ""), ("", "2"), ("2", "1"), ("1", "")]
    assert {one.actor for one in house.visit.changes} == {ADA}


def test_a_state_event_is_undone_as_a_whole() -> None:
    house = House().served()
    order(house, "queue set 1")
    content = state_of(replace(WHOLE, queue=QueueId(2)))
    house.receive(RoomConfigured(EventId("$s"), ADA, content), Standing.ADMIN)
    assert house.record.settings == WHOLE
    order(house, "undo")
    assert house.record.settings == RoomSettings(QueueId(1))


def test_undo_to_a_removed_queue_is_refused_and_hides_no_earlier_change() -> None:
    house = House().served()
    order(house, "queue set 1", "queue set 2")
    fewer = replace(RULES, queues=RULES.queues[1:])
    house.visit.rules = fewer
    order(house, "undo")
    assert answer(house)[0] == "config.bad_queue"
    assert house.record.settings.queue == 2
    order(house, "undo")
    assert answer(house)[0] == "undo.done"
    assert house.record.settings.queue is None


def test_administration_commands_of_non_admins_are_refused() -> None:
    house = House().served()
    order(house, "pause")
    for text in ("!wc undo", "!wc audit", "!wc stats", "!wc hours set daily 09:00-10:00 UTC"):
        house.say(text)
        assert answer(house)[0] == "refused.not_admin"
    assert house.record.settings.paused


@pytest.mark.parametrize("words", ["pause", "resume", "lang ja", "!wc config set paused true"])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_queue_card_follows_the_settings_that_its_words_depend_on(
    words: str, hidden: bool
) -> None:
    """It says whether words go to an agent."""
    house = House().served()
    now = house.now if hidden else None
    waits = Queued(QueueId(1), house.now, RequestId(9001), position=2, quiet_until=now)
    house.visit.set(conversation=replace(house.record.conversation, phase=waits))
    house.visit.set(settings=replace(house.record.settings, paused=words == "resume"))
    house.say(words, standing=Standing.ADMIN)
    key = "queue.position_paused" if house.record.settings.paused else "queue.position"
    shown = [one.key for one in house.effects if isinstance(one, Card)]
    assert shown == ([] if hidden else [key])
    house.visit.effects.clear()
    house.say("!wc config set from PC", standing=Standing.ADMIN)
    assert [one for one in house.effects if isinstance(one, Card)] == []


# --- hours and sentences --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        f"hours set {HOURS}",
        f"config set hours {HOURS}",
        "hours set Mon－Fri 09：00-18：00 Asia/Shanghai",
        f"hours set “{HOURS}”",
    ],
)
def test_hours_of_a_room(words: str) -> None:
    house = House().served()
    order(house, words)
    assert house.record.settings.hours == HOURS
    assert answer(house)[1]["hours"] == HOURS
    policy = RULES.policy_for(house.record)
    saturday, monday = 1_732_939_200_000, 1_733_112_000_000
    for queue in (1, 2):
        assert not policy.hours[QueueId(queue)].is_open(saturday)
        assert policy.hours[QueueId(queue)].is_open(monday)
    assert str(RULES.zone_of(1, house.record.settings)) == "Asia/Shanghai"
    order(house, "hours reset")
    assert house.record.settings == RoomSettings()
    assert RULES.policy_for(house.record).hours == {}


def test_hours_in_an_unknown_time_zone_do_not_stop_the_room() -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(hours="daily 08:00-20:00 Mars/Olympus"))
    said = house.say("hello")
    assert house.carried == [said]
    assert RULES.policy_for(house.record).hours == {}
    assert RULES.zone_of(1, house.record.settings) is None


def test_hours_of_the_queue_are_shown_where_the_room_has_none() -> None:
    house = House().served()
    order(house, "hours")
    assert answer(house)[0] == "hours.none"
    order(house, "hours reset")
    assert answer(house)[0] == "hours.none"
    queue = Queue.model_validate({"id": 2, "name": "Returns", "hours": HOURS})
    house.visit.rules = replace(RULES, queues=(queue,))
    order(house, "hours")
    assert answer(house)[0] == "hours.shown"
    assert answer(house)[1]["hours"] == HOURS


@pytest.mark.parametrize("text", ["hours", "营业时间", "Hours Mon"])
def test_bare_hours_goes_to_the_agent_unless_hours_are_set(text: str) -> None:
    house = House().served()
    asked = house.say(text)
    assert house.carried == [asked]
    told = House().served()
    told.visit.set(settings=RoomSettings(hours=HOURS))
    told.say("营业时间")
    assert answer(told)[0] == "hours.shown"
    told.say("!wc hours")
    assert answer(told)[0] == "hours.shown"


def test_new_opening_hours_move_a_promised_callback() -> None:
    house = House().served()
    vain = Vain("result.-3", {"queue": 2}, house.now, 0)
    callback = Callback(QueueId(2), wanted=house.now, next_at=house.now + 86_400_000)
    house.visit.set(conversation=Conversation(Idle(), callback=callback, vain=vain))
    house.say("hours set daily 00:00-24:00 UTC", standing=Standing.ADMIN)
    (card,) = (one for one in house.effects if isinstance(one, Card))
    assert (card.key, card.below) == ("result.-3", ("callback.promised",))
    moved = house.record.conversation.callback
    assert moved is not None
    assert moved.next_at < callback.next_at


@pytest.mark.parametrize("value", ["never", "Mon 09:00-18:00", "x" * 400])
def test_bad_hours_are_refused(value: str) -> None:
    house = House().served()
    order(house, f"hours set {value}")
    assert answer(house)[0] == "config.bad_hours"
    assert house.record.settings.hours is None
    many = ", ".join(["09:00-10:00"] * (LONGEST_HOURS // 10))
    for content in (None, 7, "", f"Mon {many} UTC"):
        with pytest.raises(BadOrder, match=r"config\.bad_hours"):
            settings_of_event({"hours": content}, RULES)


def test_a_room_may_have_its_own_sentence() -> None:
    house = House().served()
    order(
        house,
        "config set text.greeting Grüezi!\u202e  Here is ｛queue｝;\u0007 {prefix} help helps.",
    )
    ((name, sentence),) = house.record.settings.texts
    assert (name, sentence) == ("greeting", "Grüezi! Here is {queue}; {prefix} help helps.")
    record = house.record
    for key in TEXTS["greeting"]:
        told = RULES.sentence(record, key, {"queue": "Returns", "prefix": "!wc", "lang": "lang"})
        assert told == "Grüezi! Here is Returns; !wc help helps."
    assert RULES.sentence(record, "command.version", {"version": "1"}).endswith("1")
    order(house, "config reset text.greeting")
    assert house.record.settings == RoomSettings()


def test_a_sentence_may_be_of_one_language() -> None:
    """It takes precedence over the one for all; audit, undo and state event include it."""
    house = House().served()
    order(house, "config set text.greeting Hallo", "config set text.greeting.ZH_cn 您好")
    settings = house.record.settings
    assert settings.texts == (("greeting", "Hallo"), ("greeting.zh-CN", "您好"))
    assert state_of(settings)["texts"] == {"greeting": "Hallo", "greeting.zh-CN": "您好"}
    assert settings_of_event(state_of(settings), RULES) == settings
    for language, said in (("zh-CN", "您好"), ("zh-TW", "Hallo"), ("en", "Hallo")):
        house.visit.set(settings=replace(settings, language=language))
        assert RULES.sentence(house.record, "room.welcome", {}) == said
    house.visit.set(settings=settings)
    order(house, "config reset text.greeting.zh")
    assert house.record.settings.texts == (("greeting", "Hallo"),)
    last = house.visit.changes[-1]
    assert (last.key, last.before, last.after) == ("text.greeting.zh-CN", "您好", "")
    order(house, "undo")
    assert house.record.settings == settings
    order(house, "config set text.greeting.fr Bonjour")
    key, args = answer(house)
    assert (key, args["key"], args["value"]) == ("config.bad_value", "语言", "fr")


def test_the_total_length_of_a_rooms_sentences_is_limited() -> None:
    house, count = House().served(), LONGEST_TEXTS // LONGEST_SENTENCE
    names = [f"{name}.{language}" for name in TEXTS for language in LANGUAGES]
    for name in names[:count]:
        order(house, f"config set text.{name} {'x' * LONGEST_SENTENCE}")
    order(house, f"config set text.{names[count]} {'x' * LONGEST_SENTENCE}")
    key, args = answer(house)
    assert (key, args["limit"]) == ("config.full_texts", LONGEST_TEXTS)
    assert args["left"] == LONGEST_TEXTS % LONGEST_SENTENCE, "what may be said is told"
    order(house, f"config set text.{names[0]} {'y' * LONGEST_SENTENCE}")
    assert answer(house)[0] == "config.taken", "one in another's place"
    settings = house.record.settings
    order(house, "config reset", "undo")
    assert house.record.settings == settings


def test_the_opening_time_follows_the_rooms_own_sentence() -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(language="en", texts=(("closed", "Shut, {queue}."),)))
    args: Args = {"queue": "Sales", "opens": "09:00", "prefix": "!wc"}
    said = RULES.sentence(house.record, "queue.closed", args)
    assert said == "Shut, Sales.\nWe are closed until 09:00."
    assert RULES.sentence(house.record, "status.6", {}) == "Shut, Returns."


@pytest.mark.asyncio
@pytest.mark.parametrize(("queue", "named"), [(2, "Returns"), (17, "Sales")])
async def test_the_end_of_a_chat_names_the_queue_of_the_chat(queue: int, named: str) -> None:
    """The room's queue may have changed since; a transfer may lead to one that has no name here."""
    world = World(rules=replace(RULES, default_queue=QueueId(1)))
    world.speak(Texts({"chat.ended": {"zh-CN": "Bye from {queue}"}}))
    await world.chatting(queue_id=QueueId(queue))
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
    assert f"Bye from {named}" in world.matrix.texts(ROOM)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "\u202e",
        "{name}",
        "{queue",
        "{queue!r}",
        "{queue:>9}",
        "x" * (LONGEST_SENTENCE + 1),
    ],
)
def test_an_unusable_sentence_is_refused(value: str) -> None:
    with pytest.raises(BadOrder, match=r"config\.bad_text"):
        settings_of_event({"texts": {"greeting": value}}, RULES)
    longest = settings_of_event({"texts": {"greeting": "x" * LONGEST_SENTENCE}}, RULES)
    assert longest.texts == (("greeting", "x" * LONGEST_SENTENCE),)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"texts": []}, "config.bad_value"),
        ({"texts": {"chat.ended": "x"}}, "config.bad_key"),
        ({"texts": {"greeting": 7}}, "config.bad_text"),
        ({"text.greeting": "x"}, "config.bad_key"),
    ],
)
def test_bad_texts_in_a_state_event_are_refused(content: dict[str, object], key: str) -> None:
    with pytest.raises(BadOrder) as caught:
        settings_of_event(content, RULES)
    assert caught.value.key == key


def test_every_changeable_sentence_renders_with_its_placeholders() -> None:
    known = {key for keys in TEXTS.values() for key in keys}
    assert known <= set(CATALOGUE)
    for name, keys in TEXTS.items():
        settings = settings_of_event({"texts": {name: "{queue} {prefix}"}}, RULES)
        record = RoomRecord(ROOM, settings=settings)
        for key in keys:
            assert RULES.sentence(record, key, {"queue": "Q"}) == "Q !wc"


@pytest.mark.asyncio
async def test_the_room_hears_its_own_sentence() -> None:
    world = World()
    world.speak(Texts())
    await world.record(ROOM, Idle())
    world.matrix.level = 50
    async with world.running() as engine:
        own = "config set text.ended Until tomorrow."
        await engine.accept_events([world.event(text=f"!wc {own}")])
        await quiet()
    record = await world.stored()
    assert world.around.rules.sentence(record, "chat.ended", {}) == "Until tomorrow."


# --- the poll -------------------------------------------------------------------------------------


def polled(house: House) -> House:
    """Remember a queue poll in the room."""
    card = OurCard(EventId("$poll"), CardKind.QUEUES, choices=(1, 2))
    cards.remember(house.visit, card)
    return house


def test_queue_alone_offers_a_poll_where_there_is_something_to_choose() -> None:
    house = House().served()
    event_id = house.say("!wc queue")
    assert house.effects == [AskQueue(event_id)]
    event_id = house.say("!wc queue list")
    assert house.effects[-1] == AskQueue(event_id, in_words=True)
    house.say("!wc queue show")
    assert answer(house)[0] == "command.queue"
    house.visit.rules = replace(RULES, queues=RULES.queues[:1])
    house.say("!wc queue")
    assert answer(house)[0] == "command.queue"


def test_an_admins_vote_sets_the_queue_and_a_customers_asks_for_an_agent() -> None:
    house = polled(House().served())
    vote = PollAnswered(EventId("$v"), ADA, EventId("$poll"), "1")
    house.receive(vote, Standing.ADMIN)
    assert house.record.settings.queue == 1
    assert answer(house)[0] == "config.queue_set"
    assert [one.actor for one in house.visit.changes] == [ADA]
    house.receive(replace(vote, answer="2"), Standing.ORDINARY)
    phase = house.record.conversation.phase
    assert isinstance(phase, Requesting)
    assert phase.queue_id == 2
    assert house.record.settings.queue == 1


@pytest.mark.parametrize(("chosen", "leaving"), [(1, False), (2, False), (1, True)])
def test_who_sets_the_queue_while_waiting_in_another_is_told_how_to_change(
    chosen: int, leaving: bool
) -> None:
    house = House().served()
    waiting = Queued(QueueId(2), house.now, cancel_by=house.now + 1 if leaving else None)
    house.visit.set(conversation=Conversation(waiting))
    house.say(f"queue set {chosen}", standing=Standing.ADMIN)
    key, args = answer(house)
    assert house.record.settings.queue == chosen
    if chosen == 1 and not leaving:
        assert key == "command.status_kept"
        assert "「Sales」" in str(args["status"])
        assert "「Returns」" in str(args["kept"])
    else:
        assert key == "config.queue_set"


def test_the_queue_is_reset_like_other_settings() -> None:
    house = House().served()
    house.say("!wc queue set 1", standing=Standing.ADMIN)
    house.say("!wc 队列 重置")
    assert answer(house)[0].startswith("refused.not_admin")
    assert as_strings(house.record.settings) == {"queue": "1"}
    house.say("!wc queue reset", standing=Standing.ADMIN)
    assert as_strings(house.record.settings) == {}
    assert answer(house)[0] == "config.queue_set"
    assert answer(house)[1]["queue"] == "Returns"


@pytest.mark.parametrize("said", ["1", "1️⃣", "sales", "Sales.", "一", "１番", "1号"])
def test_a_number_or_a_name_answers_the_poll_of_queues(said: str) -> None:
    """As a reaction or as the next words; else the agent of another queue would get them."""
    house = polled(House().served())
    if "\u20e3" in said:
        house.receive(Reacted(EventId("$r"), ADA, EventId("$poll"), said), Standing.ADMIN)
    else:
        house.say(said, standing=Standing.ADMIN)
    assert house.record.settings.queue == 1
    assert answer(house)[0] == "config.queue_set"
    house.say("start")  # its card is newer than the poll
    cards.remember(house.visit, OurCard(EventId("$card"), CardKind.QUEUE))
    event_id = house.say("2")
    assert house.carried == [event_id]


def test_a_queue_that_does_not_exist_is_not_asked_for() -> None:
    house = House().served()
    for words in ("start 9", "queue set 9"):
        house.say(words, standing=Standing.ADMIN)
        assert answer(house)[0] == "config.bad_queue"
        assert house.carried == []


def test_a_vote_chooses_a_queue_whatever_its_number() -> None:
    rules = replace(RULES, queues=(*RULES.queues, Queue(id=10_000_001, name="Abroad")))
    house = House(rules).served()
    card = OurCard(EventId("$poll"), CardKind.QUEUES, choices=(1, 10_000_001))
    cards.remember(house.visit, card)
    vote = PollAnswered(EventId("$v"), ADA, EventId("$poll"), "10000001")
    house.receive(vote, Standing.ORDINARY)
    phase = house.record.conversation.phase
    assert isinstance(phase, Requesting)
    assert phase.queue_id == 10_000_001


@pytest.mark.parametrize("answer_id", ["3", "x", ""])
def test_a_vote_for_an_option_not_offered_is_ignored(answer_id: str) -> None:
    house = polled(House().served())
    house.receive(PollAnswered(EventId("$v"), ADA, EventId("$poll"), answer_id), Standing.ADMIN)
    assert house.effects == []


def test_votes_for_a_queue_need_permission() -> None:
    house = polled(House().served())
    vote = PollAnswered(EventId("$v"), STRANGER, EventId("$poll"), "1")
    house.receive(vote)
    assert house.effects == []
    house.receive(replace(vote, sender=ADA), Standing.UNKNOWN)
    assert answer(house)[0] == "refused.standing_unknown"
    house.visit.rules = replace(RULES, encryption=Encryption(require=True))
    house.receive(replace(vote, sender=ADA))
    assert answer(house)[0] == "encrypting.refused"
    house.receive(replace(vote, sender=STRANGER), Standing.ADMIN)  # need not be a customer
    assert house.record.settings.queue == 1


def test_the_vote_of_an_ignored_user_has_no_effect_even_as_admin() -> None:
    house = polled(House().served())
    house.visit.rules = replace(RULES, permission=lambda _: Permission.IGNORED)
    house.receive(PollAnswered(EventId("$v"), ADA, EventId("$poll"), "1"), Standing.ADMIN)
    assert house.effects == []
    assert house.record.settings.queue is None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("level", "permission", "sets"),
    [
        (0, Permission.CUSTOMER, False),
        (50, Permission.CUSTOMER, True),
        (0, Permission.ADMIN, True),
    ],
)
async def test_an_admins_vote_sets_the_queue_another_vote_requests_an_agent(
    level: int, permission: Permission, sets: bool
) -> None:
    world = World(rules=replace(RULES, permission=lambda _: permission))
    world.matrix.level = level
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="!wc queue")])
        await quiet()
        (poll,) = world.matrix.polls
        assert poll.answers == (("1", "Sales"), ("2", "Returns"))
        assert poll.text == "command.queue_offer"
        (card,) = (await world.stored()).cards
        await engine.accept_events([world.event("vote", target=card.event_id, answer="1")])
        await quiet()
    after = await world.stored()
    assert (after.settings.queue == 1) is sets
    assert isinstance(after.conversation.phase, Idle) is sets
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_the_queue_poll_names_the_hours_of_the_room() -> None:
    world = World()
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.order(ROOM, Order("operator", "api", f"hours set {HOURS}"))
        await engine.accept_events([world.event(text="!wc queue")])
        await quiet()
    (poll,) = world.matrix.polls
    assert poll.answers == (("1", f"Sales · {HOURS}"), ("2", f"Returns · {HOURS}"))


@pytest.mark.asyncio
@pytest.mark.parametrize(("words", "most"), [("queue", MOST_ANSWERS), ("queue list", 1)])
async def test_queues_are_listed_in_words_where_no_poll_can_be_or_is_wanted(
    words: str, most: int
) -> None:
    queues = tuple(Queue(id=number, name=f"Q{number}") for number in range(1, most + 2))
    world = World(rules=replace(RULES, queues=queues))
    world.speak(Texts())
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text=f"!wc {words}")])
        await quiet()
    assert world.matrix.polls == []
    assert f"Q{most + 1}" in world.matrix.texts(ROOM)[-1]
    (card,) = (await world.stored()).cards
    assert card.choices == tuple(range(1, most + 2)), "a number answers this, too"


# --- a pause --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["on_message", "on_command"])
@pytest.mark.parametrize(
    ("ends", "answer"),
    [
        ("resume", "config.resumed"),
        ("config set paused false", "config.taken"),
        ("undo", "undo.done"),
        ("config reset", "config.taken"),
    ],
)
def test_the_end_of_a_pause_requests_an_agent_for_kept_messages(
    ends: str, answer: str, start: str
) -> None:
    house = House(replace(RULES, start=start)).served()
    kept = Held(EventId("$kept"), CustomerText("hello"), house.now)
    house.visit.set(conversation=Conversation(held=(kept,)))
    order(house, "pause", ends)
    asked = isinstance(house.record.conversation.phase, Requesting)
    assert asked is (start == "on_message")
    assert ("start.needed" in answer_keys(house)) is not asked
    assert answer_keys(house)[1] == answer, "then what follows from it"


def test_the_end_of_a_pause_requests_no_agent_if_nothing_was_kept() -> None:
    house = House().served()
    order(house, "pause", "resume")
    assert isinstance(house.record.conversation.phase, Idle)


# --- audit, stats, help ---------------------------------------------------------------------------


def test_audit_and_stats_are_looked_up() -> None:
    house = House().served()
    order(house, "audit", "audit 3", "stats", "統計 ７日間")
    assert answer_keys(house) == ["stats.too_soon"]
    house.visit.now += 60_000
    order(house, "stats 30d")
    house.visit.now += 60_000
    order(house, "统计 最近九天")
    asked = [one for one in house.effects if isinstance(one, TellChanges | TellFigures)]
    assert [msgspec.structs.astuple(one)[1] for one in asked] == [0, 3, 7, 30, 9]


def answer_keys(house: House) -> list[str]:
    return [one.key for one in house.effects if isinstance(one, Say)]


@pytest.mark.parametrize("words", ["0", "0d", "91", "1000d", "7 days", "d", "-1"])
def test_stats_of_an_invalid_number_of_days_shows_the_usage(words: str) -> None:
    house = House().served()
    order(house, f"stats {words}")
    assert answer_keys(house) == ["usage.stats"]


@pytest.mark.parametrize("standing", [Standing.ADMIN, Standing.ORDINARY, Standing.UNKNOWN])
def test_help_lists_admin_commands_to_admins_only(standing: Standing) -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(language="en"))
    house.say("!wc help all", standing=standing)
    key, args = answer(house)
    assert key == "command.help"
    lines = str(args["commands"]).splitlines()
    verbs = {line.split()[0].removeprefix("!wc ") for line in lines}
    theirs = {"audit", "undo", "stats", "pause", "resume", "lang", "from"}
    assert theirs & verbs == (theirs if standing is Standing.ADMIN else set())
    assert {"hours", "queue", "config", "start"} <= verbs


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refusal_names_whom_to_ask_or_says_who_may(language: str) -> None:
    texts, ada = Texts(), ("Ada",)
    named = texts.render(language, "refused.not_admin_named", {"names": ada})
    told = texts.render(language, "refused.not_admin", {"names": ada})
    assert "Ada" in named
    assert len(named) < len(told) / 1.5, "who can be asked need not be described"
    assert "50" in told
    assert "admin" in told
