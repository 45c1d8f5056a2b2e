"""Orders: commands from outside a room, carried out by its process; and the audit of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from bridge.config.model import Encryption
from bridge.conversation.model import Idle, Queued, Say
from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.rooms.commands import COMMANDS, LONGEST_ORDER, check_order, ordered
from bridge.rooms.people import Standing
from bridge.rooms.ports import RoomConfigured
from bridge.rooms.record import Order, RoomSettings, dump_record
from bridge.rooms.rules import LONGEST_SENTENCE, LONGEST_TEXTS, TEXTS, BadOrder
from bridge.rooms.store import Change
from bridge.rooms.visit import LONGEST_UNDONE, MOST_UNDONE
from bridge.texts import LANGUAGES, Texts
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World
from tests.fakes.store import Fault, FlakyStore
from tests.unit.rooms.test_several import two
from tests.unit.rooms.visits import ADA, RULES, House


def told(changes: Sequence[Change]) -> list[tuple[str, ...]]:
    return [(one.actor, one.way, one.key, one.before, one.after) for one in changes]


def by_operator(words: str) -> Order:
    return Order("operator", "api", words)


# --- which orders are accepted --------------------------------------------------------------------


@pytest.mark.parametrize("words", ["!wc queue set 1", "！ｗｃ 队列 设为 1", "!wcqueue set 1"])
def test_an_order_may_begin_with_the_prefix(words: str) -> None:
    house = House().served()
    assert check_order(house.record, RULES, by_operator(words)).verb == "queue"
    ordered(house.visit, by_operator(words))
    assert house.record.settings.queue == 1


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("queue set nowhere", "config.bad_queue"),
        ("!wc queue set nowhere", "config.bad_queue"),
        ("start nowhere", "config.bad_queue"),
        ("config set colour red", "config.bad_key"),
        ("from TV", "config.bad_value"),
        ("queue set", "usage.queue"),
        ("frobnicate", "command.unknown"),
        ("statos", "command.unknown_near"),
        ("login ada secret", "order.inside"),
        ("ask why", "order.inside"),
        ("panel", "panel.off"),
        ("", "order.inside"),
        ("queue set " + "x" * LONGEST_ORDER, "order.too_long"),
    ],
)
def test_invalid_orders_are_refused_before_they_are_stored(words: str, key: str) -> None:
    record = House().served().record
    with pytest.raises(BadOrder) as caught:
        check_order(record, RULES, by_operator(words))
    assert caught.value.key == key
    assert "{" not in caught.value.sentence(RULES)


def test_only_a_room_that_is_served_takes_orders() -> None:
    house = House()
    with pytest.raises(BadOrder, match=r"order\.not_served"):
        check_order(house.record, RULES, by_operator("status"))
    ordered(house.visit, by_operator("pause"))
    assert not house.record.settings.paused


def test_an_order_starts_no_chat_in_clear_where_encryption_is_required() -> None:
    rules = replace(RULES, encryption=Encryption(require=True))
    record = House().served().record
    assert check_order(record, rules, by_operator("queue set 1")).verb == "queue"
    with pytest.raises(BadOrder, match=r"order\.in_clear"):
        check_order(record, rules, by_operator("start"))
    check_order(replace(record, encrypted=True), rules, by_operator("start"))


def test_an_order_starts_no_chat_in_a_paused_room() -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(paused=True))
    with pytest.raises(BadOrder, match=r"config\.paused"):
        check_order(house.record, RULES, by_operator("start"))
    check_order(house.record, RULES, by_operator("resume"))


@pytest.mark.parametrize("verb", [verb for verb, row in COMMANDS.items() if row.outside])
def test_checking_an_order_changes_nothing(verb: str) -> None:
    house = House().served()
    before = house.record
    words = {"lang": "en", "from": "PC"}.get(verb, "")
    rules = replace(RULES, panel_url="https://example.org/room/")
    check_order(before, rules, by_operator(f"{verb} {words}"))
    assert house.record == before


# --- carrying out ---------------------------------------------------------------------------------


def test_an_order_acts_as_an_admins_command_and_names_its_actor() -> None:
    house = House().served()
    ordered(house.visit, by_operator("queue set sales"))
    assert house.record.settings.queue == 1
    (said,) = [one for one in house.effects if isinstance(one, Say)]
    assert (said.key, said.also, said.reply_to) == ("config.queue_set", "order.by", None)
    assert said.args["actor"] == "operator"
    assert said.args["way"] == "api"
    assert told(house.visit.changes) == [("operator", "api", "queue", "", "1")]


def test_an_order_that_acts_is_audited_and_one_that_asks_is_not() -> None:
    house = House().served()
    ordered(house.visit, by_operator("start sales"))
    assert told(house.visit.changes) == [("operator", "api", "start", "", "sales")]
    ordered(house.visit, by_operator("status"))
    assert len(house.visit.changes) == 1


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("close", ["close.nothing", "order.acted"]),
        ("cancel", ["cancel.nothing", "order.acted"]),
        ("start nowhere", ["config.bad_queue"]),
    ],
)
def test_the_room_is_told_who_ended_something(words: str, answers: list[str]) -> None:
    """The conversation's own notices address the customer: "You have ended the chat."."""
    house = House().served()
    ordered(house.visit, by_operator(words))
    said = [one for one in house.effects if isinstance(one, Say)]
    assert [one.key for one in said] == answers
    assert said[-1].args["actor"] == "operator"
    named = {"close": "结束", "cancel": "取消"}.get(words)
    assert said[-1].args.get("command") == named, "in the language of the room"


def test_settings_of_one_order_are_one_change() -> None:
    """All of them are applied or none; `undo` reverts all that a form has saved."""
    house = House().served()
    ordered(house.visit, Order("operator", "api", settings={"hours": "Mon-Fri 09:00-18:00 UTC"}))
    before = house.record.settings
    wished = {"queue": "1", "language": "ja", "paused": "true", "text.greeting": "嗨", "hours": ""}
    ordered(house.visit, Order("operator", "api", settings=wished))
    after = RoomSettings(queue=QueueId(1), language="ja", paused=True, texts=(("greeting", "嗨"),))
    assert house.record.settings == after
    assert [one[2] for one in told(house.visit.changes)][1:] == [
        "hours", "queue", "language", "paused", "text.greeting",
    ]  # fmt: skip
    wrong = Order("operator", "api", settings={"language": "en", "queue": "nowhere"})
    with pytest.raises(BadOrder, match=r"config\.bad_queue"):
        check_order(house.record, RULES, wrong)
    ordered(house.visit, wrong)  # the queue was removed meanwhile
    assert house.record.settings == after
    assert [one.key for one in house.effects if isinstance(one, Say)][1:] == [
        "config.taken", "config.bad_queue",
    ]  # fmt: skip
    ordered(house.visit, by_operator("undo"))
    assert house.record.settings == before


def test_the_limit_of_sentences_applies_to_the_result_of_an_order() -> None:
    """In whatever order new and removed sentences are named."""
    house, long = House().served(), "x" * LONGEST_SENTENCE
    names = [f"text.{name}.{language}" for name in TEXTS for language in LANGUAGES]
    half = LONGEST_TEXTS // LONGEST_SENTENCE
    first, second = names[half : 2 * half], names[:half]
    ordered(house.visit, Order("operator", "api", settings=dict.fromkeys(first, long)))
    before = house.record.settings
    assert len(before.texts) == half
    other = dict.fromkeys(second, long) | dict.fromkeys(first, "")
    ordered(house.visit, Order("operator", "api", settings=other))
    assert [f"text.{name}" for name, _ in house.record.settings.texts] == sorted(second)
    ordered(house.visit, by_operator("undo"))
    assert house.record.settings == before


@pytest.mark.asyncio
async def test_the_engine_carries_out_an_order() -> None:
    world = World()
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.order(ROOM, by_operator("queue set 1"))
        await quiet()
        assert (await world.stored()).settings.queue == 1
        with pytest.raises(BadOrder):
            await engine.order(ROOM, by_operator("queue set 9"))
        with pytest.raises(BadOrder):
            await engine.order(RoomId("!unknown:example.org"), by_operator("pause"))
    assert "config.queue_set\norder.by" in world.matrix.texts(ROOM)
    assert told(await world.store.changes(ROOM)) == [("operator", "api", "queue", "", "1")]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_an_answer_is_in_one_language_if_that_changes_before_it_is_sent() -> None:
    world = World()
    world.speak(Texts())
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        orders = (by_operator(words) for words in ("queue set 1", "lang en"))
        await asyncio.gather(*(engine.order(ROOM, one) for one in orders))
        await quiet()
    endings = [text.splitlines()[-1] for text in world.matrix.texts(ROOM)]
    assert endings == ["— operator, from outside this room (API)"] * 2


@pytest.mark.asyncio
async def test_any_process_accepts_an_order_and_the_owner_carries_it_out() -> None:
    world = World()
    await world.record(ROOM, Idle())
    async with two(world) as (_, other, post):
        await other.order(ROOM, by_operator("start"))
        assert isinstance((await world.stored()).conversation.phase, Idle)
        await post.deliver()
        assert isinstance((await world.stored()).conversation.phase, Queued)
    assert told(await world.store.changes(ROOM)) == [("operator", "api", "start", "", "")]


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.LOST, Fault.LATE])
async def test_an_order_is_carried_out_once_despite_database_faults(fault: Fault) -> None:
    store = FlakyStore()
    world = World(store)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        store.fail("commit", fault)
        await engine.order(ROOM, by_operator("start"))
        await store.write_late()
        await world.clock.turn(60)
        await quiet()
    assert isinstance((await world.stored()).conversation.phase, Queued)
    assert told(await world.store.changes(ROOM)) == [("operator", "api", "start", "", "")]


# --- the audit of changes in the room -------------------------------------------------------------


def test_commands_and_the_state_event_are_audited() -> None:
    house = House().served()
    house.say("queue set sales", standing=Standing.ADMIN)
    house.say("queue set sales", standing=Standing.ADMIN)
    content: dict[str, object] = {"language": "ja", "paused": True}
    house.receive(RoomConfigured(EventId("$s"), UserId("@bo:x"), content), Standing.ADMIN)
    house.say("!wc config reset", standing=Standing.ADMIN)
    house.say("resume", standing=Standing.ORDINARY)
    assert told(house.visit.changes) == [
        (ADA, "command", "queue", "", "1"),
        ("@bo:x", "state", "queue", "1", ""),
        ("@bo:x", "state", "language", "", "ja"),
        ("@bo:x", "state", "paused", "", "true"),
        (ADA, "command", "language", "ja", ""),
        (ADA, "command", "paused", "true", ""),
    ]
    assert house.record.settings == RoomSettings()


def test_the_history_for_undo_is_limited() -> None:
    house = House().served()
    for _ in range(MOST_UNDONE):
        house.now += 60_000
        house.say("pause", standing=Standing.ADMIN)
        house.say("!wc resume", standing=Standing.ADMIN)
    assert len(house.record.former) == MOST_UNDONE
    texts = ("greeting", "closed", "nobody", "ended")
    for turn in range(MOST_UNDONE):
        house.now += 60_000
        said = dict.fromkeys(texts, f"{turn}" + "长" * (LONGEST_SENTENCE - 1))
        content: dict[str, object] = {"texts": said}
        house.receive(RoomConfigured(EventId("$s"), ADA, content), Standing.ADMIN)
    assert len(dump_record(house.record)) < 4 * LONGEST_UNDONE + 10_000
    house.say("!wc undo", standing=Standing.ADMIN)
    assert house.record.settings.texts[0][1].startswith(f"{MOST_UNDONE - 2}")
