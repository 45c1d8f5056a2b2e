"""Check arrivals against the bridge's journal table, on SQLite or PostgreSQL.

A database is given by its URL (`database_of`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing

import asyncpg

from bridge.config.loading import load_config
from tests.support.load import Chat, difference
from tests.support.stage import Stage
from tests.support.talk import Talk

_LOOKS = 60
"""Polls, 0.2 s apart, without progress after which a backlog counts as stuck."""


_REPEATED = "SELECT call_id FROM journal WHERE room_id = $1 AND repeat"
_RECEIVED = "SELECT key FROM journal WHERE room_id = $1 AND key IS NOT NULL ORDER BY seq"
_UNSETTLED = (
    "SELECT coalesce(outcome, 'open') FROM journal WHERE outcome IS NULL OR outcome = 'dead'"
)


def database_of(stage: Stage) -> str:
    """Return the URL of the bridge's database."""
    return load_config(stage.config, {}).database.url.get_secret_value()


async def _column(database: str, query: str, *values: str) -> list[object]:
    """Return the first column of a query's result."""
    if not database.startswith("sqlite"):
        server = await asyncpg.connect(database)
        try:
            return [row[0] for row in await server.fetch(query, *values)]
        finally:
            await server.close()
    path = database.removeprefix("sqlite:///")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        return [row[0] for row in file.execute(query.replace("$1", "?"), values)]


async def repeated_calls(database: str, room: str) -> set[int]:
    """Return the call ids of messages that the journal marks as possibly sent twice."""
    return {int(str(call_id)) for call_id in await _column(database, _REPEATED, room)}


async def handed_over(database: str, chat: Chat) -> list[str]:
    """Return the customer's texts that the homeserver delivered to the bridge, in that order."""
    texts: dict[object, str] = {event_id: text for text, event_id in chat.events.items()}
    keys = await _column(database, _RECEIVED, chat.talk.room)
    return [texts[key] for key in keys if key in texts]


async def _unsettled(database: str) -> Counter[str]:
    """Return the number of open and of dead journal rows, by outcome."""
    return Counter(str(outcome) for outcome in await _column(database, _UNSETTLED))


async def all_handed_over(stage: Stage, chats: Sequence[Chat]) -> int:
    """Make the homeserver deliver every customer text; return the restarts needed (mostly 0).

    Synapse (1.163, `appservice/scheduler.py`) can leave a transaction behind: `send` finds the
    service down, the recoverer finds nothing more to send and declares it up, and only then does
    `send` store its transaction, which waits for the next recovery. So restart the bridge, which
    triggers a recovery, until nothing is missing.
    """
    database = database_of(stage)

    async def missing() -> int:
        return sum([len(set(chat.asked) - {*await handed_over(database, chat)}) for chat in chats])

    for recoveries in range(6):
        left, looks = await missing(), 0
        while left and looks < _LOOKS:  # a backlog that shrinks is slow, not stuck
            await asyncio.sleep(0.2)
            before, left = left, await missing()
            looks = looks + 1 if left == before else 0
        if not left:
            return recoveries
        await stage.bridge.stop()
        await chats[0].ask()
        await stage.bridge.start()
    raise AssertionError(f"{await missing()} texts were never handed over by the homeserver")


async def heard_at_last(stage: Stage, talks: Sequence[Talk], text: str) -> None:
    """Wait until the desk has the text from each room, with recoveries as in `all_handed_over`.

    Raises:
        AssertionError: the text never arrived.
    """
    for _ in range(5):
        try:
            for talk in talks:
                await talk.heard(text, 10)
        except AssertionError:
            await stage.bridge.stop()
            await talks[0].say("is anybody there?")
            await stage.bridge.start()
        else:
            return
    for talk in talks:
        await talk.heard(text)


async def all_taken_in(database: str, chat: Chat, patience: float) -> None:
    """Wait until the journal has every customer text, from a transaction or from catch-up.

    Raises:
        AssertionError: a text is missing.
    """
    missing = set(chat.asked)
    try:
        async with asyncio.timeout(patience):
            while missing:
                missing = set(chat.asked) - set(await handed_over(database, chat))
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"never taken in: {sorted(missing)}") from None


def in_order(given: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Return the texts of `given` that arrived before every text asked after them."""
    kept: list[str] = []
    for text in given:
        if not kept or asked.index(text) > asked.index(kept[-1]):
            kept.append(text)
    return kept


async def everything_settled(database: str, patience: float) -> None:
    """Wait until the journal has no open entries.

    Raises:
        AssertionError: entries stay open, or there is a dead letter.
    """
    left = Counter({"": 1})
    try:
        async with asyncio.timeout(patience):
            while left:
                left = await _unsettled(database)
                assert "dead" not in left, f"dead letters: {left}"
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"left undone: {left}") from None


def are_in_order(numbers: Iterable[int], *, two_lines: bool = False) -> bool:
    """True if the numbers never fall; with `two_lines`, if two such sequences were merged."""
    front = behind = -1
    for number in numbers:
        if number >= front:
            front = number
        elif two_lines and number >= behind:
            behind = number
        else:
            return False
    return True


async def check_towards_the_agent(
    chat: Chat, database: str, disturbances: int, *, keys_late: bool = False
) -> int:
    """Assert that texts reached the desk complete and in order, with duplicates marked as such.

    Args:
        chat: all its texts have arrived.
        database: of the bridge.
        disturbances: interruptions of the bridge or of this chat's link; each may cause one
            duplicate.
        keys_late: whether later texts may overtake those that waited for their key.

    Returns:
        The number of messages that the desk got twice.
    """
    person = chat.talk.person
    assert person is not None
    questions = [message for message in person.messages if message.text.startswith("question ")]
    seen: Counter[str] = Counter()
    doubles = []
    for message in questions:
        seen[message.text] += 1
        if seen[message.text] > 1:
            doubles.append(message)
    room = chat.talk.room
    sent = await handed_over(database, chat)
    assert sorted(sent) == sorted(chat.asked), "the homeserver has kept something back"
    assert sorted(seen) == sorted(sent), difference(sent, list(seen), f"to the agent in {room}")
    places = (sent.index(text) for text in seen)
    assert are_in_order(places, two_lines=keys_late), difference(
        sent, list(seen), f"to the agent in {room}"
    )
    marked = await repeated_calls(database, room)
    for message in doubles:
        assert message.repeat, f"{message.text!r} came twice under different call ids in {room}"
        assert message.message_id in marked, f"{message.text!r}: a double that nobody marked"
    assert len(doubles) <= disturbances
    assert len(marked) <= disturbances
    return len(doubles)


async def check_towards_the_customer(chat: Chat) -> None:
    """Assert that the room has each of the agent's texts once, and in order."""
    read = await chat.read()
    assert read == chat.answered, difference(
        chat.answered, read, f"to the customer in {chat.talk.room}"
    )
