"""Encryption that the operator prefers or requires: notices, and what is not sent."""

from __future__ import annotations

import msgspec
import pytest

from bridge.config.model import Encryption
from bridge.conversation.model import Chatting, CustomerText, Say
from bridge.ids import EventId
from bridge.rooms.commands import COMMANDS
from bridge.rooms.effects import EnterRoom, LeaveRoom
from bridge.rooms.people import Standing, entered
from bridge.rooms.ports import Corrected, EncryptionOn, Spoke
from bridge.rooms.reader import Facts, read_command, receive
from bridge.rooms.record import Entered, Membership
from bridge.rooms.rules import hides
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World, said
from tests.unit.rooms.visits import ADA, BOT, NEIGHBOUR, RULES, House

ON = msgspec.structs.replace(RULES, encryption=Encryption())
WISHED = msgspec.structs.replace(ON, encryption=Encryption(default=True))
DEMANDED = msgspec.structs.replace(ON, encryption=Encryption(require=True))
CLEAR = Entered()


def hears(house: House, text: str, *, encrypted: bool) -> EventId:
    event_id = house.event_id()
    spoke = Spoke(event_id, ADA, CustomerText(text), plain=text)
    facts = Facts(house.now, Standing.ADMIN, encrypted=encrypted)
    command = read_command(house.visit, spoke)
    receive(house.visit, spoke, {"event_id": event_id}, facts, command=command)
    return event_id


def test_encryption_by_default_is_for_rooms_of_customers_only() -> None:
    house = House(WISHED)
    house.invite()
    assert house.effects == [EnterRoom(BOT, ADA, encrypt=True)]
    stranger = House(WISHED)
    stranger.invite(NEIGHBOUR)
    assert stranger.effects == [EnterRoom(BOT, NEIGHBOUR, encrypt=False)]


def test_encryption_turned_on_by_the_bridge_is_announced() -> None:
    house = House(WISHED)
    house.invite()
    house.enter(Entered(encrypted=True, encrypted_by_us=True))
    assert house.notices == ["encrypting.turned_on", "room.welcome"]
    assert house.record.encrypted


def test_a_room_that_could_not_be_encrypted_by_default_is_served() -> None:
    house = House(WISHED)
    house.invite()
    house.enter(CLEAR)
    event_id = hears(house, "hello", encrypted=False)
    assert house.notices == ["room.welcome"]
    assert house.carried == [event_id]


def test_a_clear_room_is_told_what_to_do_and_carries_nothing() -> None:
    house = House(DEMANDED)
    house.invite()
    house.enter(CLEAR)
    assert house.notices == ["encrypting.needed"]
    event_id = hears(house, "my password is 1234", encrypted=False)
    assert house.reported == {event_id: "encrypting.refused"}
    corrected = Corrected(EventId("$c"), ADA, event_id, CustomerText("no"), plain="no")
    command = read_command(house.visit, corrected)
    receive(house.visit, corrected, {}, Facts(house.now), command=command)
    assert house.reported[EventId("$c")] == "encrypting.refused"
    assert house.carried == []
    assert house.record.conversation.number == 0


def test_a_clear_room_is_told_once_what_to_do_if_words_came_with_the_invitation() -> None:
    house = House(DEMANDED)
    house.invite()
    hears(house, "hello", encrypted=False)
    house.enter(CLEAR)
    assert house.notices == [], "the words are answered when they are read after that"


def test_a_clear_room_is_told_once_what_to_do_if_words_come_a_moment_later() -> None:
    """As apps make the room and send the question at once: the reply says it all."""
    house = House(DEMANDED)
    house.invite()
    entered(house.visit, CLEAR, Standing.ORDINARY)
    event_id = hears(house, "hello", encrypted=False)
    house.silence()
    assert house.reported == {event_id: "encrypting.refused"}
    assert house.notices == []


def test_a_room_is_welcomed_once_it_is_encrypted() -> None:
    house = House(DEMANDED)
    house.invite()
    house.enter(CLEAR)
    house.receive(EncryptionOn())
    assert house.notices == ["encrypting.needed", "room.welcome"]
    event_id = hears(house, "hello", encrypted=True)
    assert house.carried == [event_id]
    clear = hears(house, "forgot to encrypt", encrypted=False)
    assert house.reported == {clear: "encrypting.refused_here"}


def test_a_chat_whose_room_becomes_unreadable_is_ended_with_the_reason() -> None:
    house = House(ON).served().chat()
    house.receive(EncryptionOn(unreadable=True))
    assert house.membership() is Membership.LEFT
    assert isinstance(phase := house.record.conversation.phase, Chatting)
    assert phase.close
    assert house.notices == ["refused.encryption"]
    left = house.effects[-1]
    assert isinstance(left, LeaveRoom)
    assert left.reason == house.visit.for_room("refused.encryption", {})
    house.invite()
    house.enter(CLEAR)
    assert house.membership() is Membership.JOINED


@pytest.mark.parametrize("verb", list(COMMANDS))
def test_commands_that_carry_content_are_refused_in_clear(verb: str) -> None:
    house = House(DEMANDED)
    house.invite()
    house.enter(CLEAR)
    words = {"rate": "5 thanks", "ask": "why", "lang": "en", "from": "PC", "login": "ada secret"}
    event_id = hears(house, f"!wc {verb} {words.get(verb, '')}", encrypted=False)
    carries = {
        "start", "rate", "ask", "human", "solved", "callback", "retry", "history", "transcript",
        "login", "stats",
    }  # fmt: skip
    expected = {event_id: "encrypting.refused"} if verb in carries else {}
    assert house.reported == expected


def test_an_unknown_command_in_clear_is_still_explained() -> None:
    house = House(DEMANDED)
    house.invite()
    house.enter(CLEAR)
    hears(house, "!wc hepl", encrypted=False)
    assert house.notices[-1].startswith("command.unknown")


def test_help_in_clear_asks_for_encryption_before_anything_else() -> None:
    house = House(DEMANDED)
    house.invite()
    house.enter(CLEAR)
    hears(house, "!wc help", encrypted=False)
    answer = house.effects[-1]
    assert isinstance(answer, Say)
    assert answer.args["now"] == house.visit.for_room("encrypting.needed", {"prefix": "!wc"})
    assert "start" not in str(answer.args["commands"])


def test_an_agents_word_is_hidden_in_a_clear_room_only() -> None:
    house = House(DEMANDED).served()
    assert hides(DEMANDED, house.record)
    assert not hides(ON, house.record)
    house.receive(EncryptionOn())
    assert not hides(DEMANDED, house.record)


@pytest.mark.asyncio
async def test_the_customer_is_told_of_an_agents_message_that_is_not_shown() -> None:
    """A chat that ran in clear when the operator began to demand encryption."""
    world = World(rules=DEMANDED)
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "k1", said("your parcel"))
        await quiet()
    assert [(one.text, one.ping) for one in world.matrix.posted] == [("encrypting.not_shown", True)]


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({}, "room.welcome"),
        ({"start": "on_command"}, "room.welcome_command"),
        ({"paused": True}, "room.welcome_paused"),
    ],
)
def test_the_welcome_says_how_a_chat_begins_here(config: dict[str, object], key: str) -> None:
    house = House()
    house.invite()
    house.enter(Entered(config=config))
    assert house.notices[-1] == key
