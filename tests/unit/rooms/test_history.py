"""`history`: the room's chats as text, the newest first."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.model import Conversation
from bridge.ids import AgentId, EventId, QueueId
from bridge.rooms.effects import TellHistory
from bridge.rooms.record import Chat, ChatAgent, Ending, LookedUp, RoomRecord, dump_chat
from bridge.rooms.store import ChatRow, StoredRoom
from bridge.rooms.transcripts import MOST_CHATS, USUAL_CHATS, Telling, list_chats
from tests.fakes import flow
from tests.fakes.house import ROOM, World
from tests.unit.rooms.visits import ADA, BOT, RULES

ORDER = EventId("$order")
RECORD = RoomRecord(ROOM, host=BOT, customer=ADA)
RECORD = msgspec.structs.replace(
    RECORD, settings=msgspec.structs.replace(RECORD.settings, language="en")
)
MINUTE = 60_000
CHAT = Chat(
    7,
    QueueId(1),
    asked=1_733_011_200_000,
    started=1_733_011_200_000 + MINUTE,
    ended=1_733_011_200_000 + 13 * MINUTE,
    ending=Ending.AGENT,
    agents=(ChatAgent(AgentId("K1"), "Mei"), ChatAgent(AgentId("K2"))),
    rating=5,
    first=EventId("$a"),
)


def line(chat: Chat, first: EventId | None = None, record: RoomRecord = RECORD) -> str:
    return Telling(RULES, record).line(chat, first)


def test_a_line_with_everything_that_is_known_of_a_chat() -> None:
    stars = RULES.texts.render("en", "rating.stars_5", {})
    assert line(CHAT, EventId("$a")).split("\n") == [
        f"7. 1 Dec 2024, 00:00 UTC · Sales · Mei, K2, 12 minutes · rated 5 — {stars}",
        "https://matrix.to/#/!room:example.org/$a?via=example.org",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ended": None, "ending": None}, "Mei, K2 (going on)"),
        ({"agents": ()}, "an agent, 12 minutes"),
        ({"agents": (), "robot": True}, "the robot, 12 minutes"),
        ({"robot": True}, "Mei, K2, 12 minutes"),
        ({"started": None, "ending": Ending.NOBODY}, "no agent came"),
        ({"started": None, "ending": Ending.CANCELLED}, "left the queue"),
        ({"ending": Ending.CANCELLED}, "left the queue"),
        ({"started": None, "ended": None, "ending": None}, "waiting for an agent"),
    ],
)
def test_how_a_chat_ended_is_part_of_its_line(changes: dict[str, object], words: str) -> None:
    chat = msgspec.structs.replace(CHAT, rating=None, **changes)
    assert line(chat).endswith(f"Sales · {words}")


def test_a_line_names_the_rating() -> None:
    told = Conversation(ratings=((5, "Great"), (4, "4")))
    record = msgspec.structs.replace(RECORD, conversation=told)
    assert line(CHAT, record=record).endswith("rated 5 — Great")
    for value in (4, 77):
        rated = msgspec.structs.replace(CHAT, rating=value)
        assert line(rated, record=record).endswith(f"rated {value}")


@pytest.mark.asyncio
async def test_no_more_chats_than_asked_for_are_listed() -> None:
    world = World()
    world.speak(RULES.texts)
    empty = await list_chats(world.around, RECORD, TellHistory(ORDER))
    assert empty == LookedUp(ORDER, "history.none")
    rows = [
        ChatRow(number, dump_chat(msgspec.structs.replace(CHAT, number=number, first=None)))
        for number in range(1, 2 * MOST_CHATS)
    ]
    room = StoredRoom(ROOM, b"", live=False, phase="Idle")
    await flow.step(world.store, room, chats=rows)
    for limit, count in ((0, USUAL_CHATS), (1, 1), (999_999, MOST_CHATS)):
        told = await list_chats(world.around, RECORD, TellHistory(ORDER, limit))
        listed = str(told.args["list"]).splitlines()
        assert (told.key, len(listed)) == ("history.list", count)
        assert listed[0].startswith(f"{2 * MOST_CHATS - 1}. ")
