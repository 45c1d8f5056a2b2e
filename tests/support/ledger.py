"""What the bridge's own ledger (SQLite) says afterwards, and whether it covers what was seen."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.support.load import Chat, difference


def repeated_calls(database: Path, room: str) -> set[int]:
    """Call ids of the messages that the ledger marks as sent again, possibly for the second time.

    The database is opened read-only: nothing is changed by looking.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT call_id FROM outbox WHERE room_id = ? AND repeat", (room,)
        ).fetchall()
    return {int(row[0]) for row in rows}


def unsettled(database: Path) -> int:
    """Inputs and effects that are still to be handled, and dead letters."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        counts = [
            connection.execute(
                f"SELECT count(*) FROM {box} WHERE outcome IS NULL OR outcome = 'dead'"  # noqa: S608 - two names, ours
            ).fetchone()[0]
            for box in ("inbox", "outbox")
        ]
    return sum(counts)


def check_towards_the_agent(chat: Chat, database: Path, disturbances: int) -> int:
    """See that nothing is missing or out of order, and that each double is marked in the ledger.

    Args:
        chat: with everything arrived.
        database: the bridge's.
        disturbances: how often the bridge or this chat's link was cut off; each may have left one
            message in doubt.

    Returns:
        How many messages the desk got twice.
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
    assert list(seen) == chat.asked, difference(chat.asked, list(seen), f"to the agent in {room}")
    marked = repeated_calls(database, room)
    for message in doubles:
        assert message.repeat, f"{message.text!r} came twice under different call ids in {room}"
        assert message.message_id in marked, f"{message.text!r}: a double that nobody marked"
    assert len(doubles) <= disturbances
    assert len(marked) <= disturbances
    return len(doubles)


async def check_towards_the_customer(chat: Chat) -> None:
    """See that each of the agent's texts stands in the room once, and in order."""
    read = await chat.read()
    assert read == chat.answered, difference(
        chat.answered, read, f"to the customer in {chat.talk.room}"
    )
