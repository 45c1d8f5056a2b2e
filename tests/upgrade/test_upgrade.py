"""A database of schema 6, the last with inbox and outbox, is used on without loss or duplicates.

Each test opens a stored database (see README.md), starts the engine over it, and checks what the
homeserver and the call centre get from then on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge.conversation.model import LinkRestored
from bridge.ids import EventId, RoomId, SessionId
from bridge.rooms.store import Cutoffs
from bridge.storage.sqlstore import open_store
from bridge.webchat.frames import SessionClosed
from bridge.webchat.http import HistoryEntry
from tests.fakes.clock import ManualClock
from tests.fakes.house import ROOM
from tests.fakes.memory import dead_letters
from tests.upgrade.database import read, restore
from tests.upgrade.life import MEI, RECEIPT, Life, Memory, event, message, place, said, started

pytestmark = pytest.mark.asyncio
OTHER = RoomId("!other:example.org")


@asynccontextmanager
async def upgraded(url: str, name: str) -> AsyncIterator[Life]:
    """Run an engine over a stored database, migrated from schema 6."""
    memory, rows = read(name, Memory)
    await restore(url, rows)
    async with open_store(url, ManualClock(), sole=True) as store:
        life = Life(store, memory)
        async with life.begin():
            yield life


async def traced(life: Life, event_id: str) -> list[str]:
    return [line.what for line in await life.store.trace(EventId(event_id))]


async def test_delivered_messages_are_not_sent_again(url: str) -> None:
    async with upgraded(url, "at_rest") as life:
        await life.passes(40)
        assert (life.heard(), life.heard(OTHER), life.new) == ([], [], [])
        assert life.commands() == life.commands(OTHER) == []
        assert life.link.kept == {ROOM, OTHER}


async def test_repeated_events_and_pushes_are_recognised(url: str) -> None:
    """Repeats of handled events and pushes are dropped."""
    async with upgraded(url, "at_rest") as life:
        await life.take(message(f"$two-{ROOM}", "question two"), message("$new", "new"))
        await life.push(f"a3-{ROOM}", said("answer three"))
        await life.push("new", said("new"))
        assert life.heard() == [(5, "new")]
        assert life.shown() == ["new"]
        await life.passes(RECEIPT)
        assert life.read_by_mei() == "$new"


async def test_trace_shows_rows_of_the_old_version(url: str) -> None:
    async with upgraded(url, "at_rest") as life:
        wanted = ["received", "handled", "stored", "attempted", "delivered"]
        assert sorted(await traced(life, f"$two-{OTHER}")) == sorted(wanted)
        assert await traced(life, "$unknown") == []
        shown = next(one for one in life.matrix.posted if one.text == "answer two")
        assert await traced(life, shown.event_id) == ["stored", "delivered"]


async def test_replies_quote_messages_of_the_old_version(url: str) -> None:
    """Texts of the customer and of the agent, stored by the old version."""
    async with upgraded(url, "at_rest") as life:
        shown = next(one for one in life.matrix.posted if one.text == "answer two")
        for number, target in enumerate((f"$one-{ROOM}", shown.event_id)):
            relation = {"m.in_reply_to": {"event_id": target}}
            await life.take(message(f"$r{number}", "about that", more={"m.relates_to": relation}))
        first, second = [words for _, words in life.heard()]
        assert "question one" in first
        assert "answer two" in second


async def test_edit_and_redaction_of_messages_of_the_old_version(url: str) -> None:
    async with upgraded(url, "at_rest") as life:
        relation = {"rel_type": "m.replace", "event_id": f"$one-{ROOM}"}
        new = {"msgtype": "m.text", "body": "question uno"}
        await life.take(
            message("$c", "* question uno", more={"m.new_content": new, "m.relates_to": relation})
        )
        back = event("m.room.redaction", "$b", {}, redacts=f"$two-{ROOM}")
        await life.take(back)
        heard = [words for _, words in life.heard()]
        assert "question uno" in heard[0]
        assert "took back" in heard[1]
        assert len(heard) == 2


async def test_history_shows_only_messages_not_shown_before(url: str) -> None:
    """The record of shown agent messages survives the upgrade."""
    async with upgraded(url, "at_rest") as life:
        now = life.world.clock.now()
        words = ["answer one", "answer two", "answer three", "answer four"]
        lines = tuple(
            HistoryEntry(str(number), MEI.id, "Mei", 2, text, now)
            for number, text in enumerate(words)
        )
        life.link.histories.append(lines)
        life.engine.signal(ROOM, LinkRestored())
        await life.passes(30)
        assert [text.rpartition("<br>")[2] for text in life.shown()] == ["answer four"]


async def test_stored_inputs_are_handled_once(url: str) -> None:
    async with upgraded(url, "inputs") as life:
        await life.rest()
        await life.take(message("$q4", "question 4"))
        await life.push("a4", said("answer 4"))
        assert life.heard() == [(5, "question 3"), (6, "question 4")]
        assert life.shown() == ["answer 3", "answer 4"]


async def test_unattempted_effects_are_carried_out_once(url: str) -> None:
    async with upgraded(url, "unattempted") as life:
        await life.rest()
        assert life.heard() == [(5, "question three"), (6, "question four")]
        assert life.shown() == ["answer four", "answer five"]
        repeats = [line.repeat for line in await life.store.trace(EventId("$q3"))]
        assert not any(repeats)


async def test_uncertain_messages_are_sent_again_and_marked(url: str) -> None:
    """They keep their call id (to the agent) or transaction id (to the room)."""
    async with upgraded(url, "attempted") as life:
        await life.passes(10)
        assert life.heard() == [(5, "question three"), (6, "question four")]
        assert life.shown() == ["answer five"]
        assert "answer four" in life.matrix.texts(ROOM)
        lines = await life.store.trace(EventId("$q3"))
        assert [line.what for line in lines if line.repeat] == ["stored", "attempted", "delivered"]
        assert "uncertain" in [line.what for line in lines]
        assert not any(line.repeat for line in await life.store.trace(EventId("$q4")))


async def test_stored_answers_to_calls_are_handled(url: str) -> None:
    async with upgraded(url, "answered") as life:
        await life.rest()
        assert life.heard() == [(6, "question four")]
        await life.passes(RECEIPT)
        assert life.read_by_mei() == "$q4"
        assert (await traced(life, "$q3"))[-1] == "delivered"


async def test_waiting_in_the_queue_continues(url: str) -> None:
    """The queue card is edited; later messages go to the agent who accepts."""
    async with upgraded(url, "queue") as life:
        await life.rest()
        card = next(one for one in life.matrix.posted if one.text == "queue.position")
        first = card.edits or card.event_id
        await life.push("q3", place(1))
        cards = [edits for text, edits in life.told() if text.startswith("queue.position")]
        assert cards == [first]
        before = life.heard()
        await life.push("started", started())
        assert before == life.heard() == []
        await life.take(message("$q9", "there you are"))
        assert life.heard() == [(4, "there you are")]
        assert [kind for _, kind in life.commands()] == ["SendMessage"]


async def test_held_messages_are_sent_in_order(url: str) -> None:
    async with upgraded(url, "held") as life:
        await life.passes(10)
        assert [kind for _, kind in life.commands()].count("RequestChat") == 1
        await life.push("started", started())
        assert [words for _, words in life.heard()] == [f"question {n}" for n in (1, 2, 3)]


async def test_dead_letters_are_listed_and_revived(url: str) -> None:
    async with upgraded(url, "dead") as life:
        await life.rest()
        assert (life.heard(), life.new) == ([], [])
        letters = await dead_letters(life.store)
        effect, poison = sorted(letters, key=lambda one: one.why != "M_FORBIDDEN")
        assert (effect.why, effect.room_id) == ("M_FORBIDDEN", ROOM)
        assert "answer four" in effect.body
        assert (poison.why, poison.room_id) == ("KeyError", ROOM)
        assert "$poison" in poison.body
        for one in (effect, poison):
            assert await life.store.revive(one.id, life.world.clock.now())
        await life.passes(31)
        assert await dead_letters(life.store) == []
        assert life.heard() == [(6, "poison")]
        assert life.shown() == ["answer four"]
        assert "revived" in await traced(life, "$poison")


async def test_a_dead_letter_is_discarded(url: str) -> None:
    async with upgraded(url, "dead") as life:
        for one in await dead_letters(life.store):
            assert await life.store.discard(one.id, life.world.clock.now())
        await life.passes(31)
        assert await dead_letters(life.store) == []
        assert (life.heard(), life.shown()) == ([], [])


async def test_reaction_resends_an_undelivered_message(url: str) -> None:
    async with upgraded(url, "undelivered") as life:
        answer = life.matrix.posted[-1]
        relation = {"rel_type": "m.annotation", "event_id": answer.event_id, "key": "🔁"}
        await life.take(event("m.reaction", "$again", {"m.relates_to": relation}))
        assert life.heard() == [(6, "order 4711")]
        assert life.told() == [("again.delivered", "$q3")]


async def test_encrypted_event_is_delivered_when_its_key_arrives(url: str) -> None:
    async with upgraded(url, "sealed") as life:
        await life.rest()
        assert life.heard() == []
        _, _, opened = message("$sealed", "secret words")
        life.matrix.keys["$sealed"] = opened
        for _ in range(2):
            life.engine.key_arrived(ROOM)
            await life.rest()
        assert life.heard() == [(6, "secret words")]


async def test_invited_room_is_joined_and_its_messages_are_sent(url: str) -> None:
    async with upgraded(url, "entering") as life:
        await life.rest()
        assert life.matrix.requests.count(f"enter {ROOM}") == 1
        await life.push("started", started())
        assert [words for _, words in life.heard()] == ["hello", "anybody?"]
        assert [kind for _, kind in life.commands()].count("RequestChat") == 1


async def test_messages_found_in_a_joined_room_are_sent(url: str) -> None:
    async with upgraded(url, "arrived") as life:
        await life.rest()
        assert life.matrix.requests.count(f"enter {ROOM}") == 0
        await life.push("started", started())
        assert [words for _, words in life.heard()] == ["is this the shop?", "hello"]


async def test_requested_callback_takes_place(url: str) -> None:
    async with upgraded(url, "callback") as life:
        await life.rest()
        assert life.commands() == []
        await life.passes(301)
        assert [kind for _, kind in life.commands()] == ["RequestChat", "SendPreMessage"]
        await life.push("started", started())
        assert life.told()[-1][0] == "queue.joined"
        assert [words for _, words in life.heard()] == ["hello"]


async def test_robot_and_history_questions_are_answered_once(url: str) -> None:
    async with upgraded(url, "aside") as life:
        await life.rest()
        assert life.link.questions == ["where is it?"]
        answers = [target for text, target in life.told() if target in {"$ask", "$history"}]
        assert sorted(answers) == ["$ask", "$history"]


async def test_pending_history_request_shows_missed_messages(url: str) -> None:
    memory, _ = read("recalling", Memory)
    lines = (
        HistoryEntry("8", MEI.id, "Mei", 2, "answer three", memory.now - 60_000),
        HistoryEntry("9", MEI.id, "Mei", 2, "missed", memory.now - 1_000),
    )
    async with upgraded(url, "recalling") as life:
        life.link.histories.append(lines)
        await life.passes(30)
        assert [text.rpartition("<br>")[2] for text in life.shown()] == ["missed"]


async def test_ended_chat_can_be_rated(url: str) -> None:
    async with upgraded(url, "ended") as life:
        await life.rest()
        assert life.new == []
        card = next(one for one in life.matrix.posted if "5 — Very satisfied" in one.text)
        relation = {"rel_type": "m.annotation", "event_id": card.event_id, "key": "👍"}
        await life.take(event("m.reaction", "$rate", {"m.relates_to": relation}))
        assert [kind for _, kind in life.commands()] == ["RateSession"]
        await life.push("closed", SessionClosed(SessionId(5150), MEI.id))
        await life.take(message("$next", "one more thing"))
        kinds = [kind for _, kind in life.commands()]
        assert kinds == ["RateSession", "RequestChat", "SendPreMessage"]


async def test_pending_upload_and_the_messages_behind_it_arrive(url: str) -> None:
    async with upgraded(url, "upload") as life:
        life.matrix.files["mxc://example.org/a"] = b"abc"
        await life.passes(10)
        assert life.link.uploads == 1
        assert [words for _, words in life.heard()] == ["File", "question three"]


async def test_database_with_pruned_bodies_continues(url: str) -> None:
    async with upgraded(url, "pruned") as life:
        assert await traced(life, f"$one-{ROOM}") == []
        assert "delivered" in await traced(life, f"$one-{OTHER}")
        await life.take(message(f"$one-{OTHER}", "question one", OTHER))
        await life.take(message("$new", "new", OTHER))
        await life.push("new", said("new", 5151), OTHER)
        assert life.heard(OTHER) == [(5, "new")]
        assert life.shown(OTHER) == ["new"]


async def test_redaction_erases_the_body_stored_by_the_old_version(url: str) -> None:
    async with upgraded(url, "at_rest") as life:
        taken = EventId(f"$two-{ROOM}")
        assert b"question two" in (await life.store.body_of(ROOM, taken) or b"")
        await life.take(event("m.room.redaction", "$b", {}, redacts=taken))
        await life.passes(70)
        assert await life.store.body_of(ROOM, taken) is None
        assert "delivered" in await traced(life, taken)


async def test_rows_of_the_old_version_are_pruned(url: str) -> None:
    async with upgraded(url, "dead") as life:
        later = life.world.clock.now() + 1
        assert await life.store.prune(later, 0, Cutoffs())
        assert await life.store.body_of(ROOM, EventId(f"$one-{ROOM}")) is None
        assert "delivered" in await traced(life, f"$one-{ROOM}")
        assert await life.store.prune(later, later, Cutoffs())
        assert await traced(life, f"$one-{ROOM}") == []
        assert len(await dead_letters(life.store)) == 2
        await life.take(message("$new", "new"))
        assert life.heard() == [(6, "new")]
