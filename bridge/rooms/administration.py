"""Administration of a room: changes of its settings, who made them, and how they are undone. Pure.

Whichever way a setting is changed (a command, the state event, an order from outside), it comes
through `change`: the record has the new settings, the audit (`store.Change`) a row for each, both
written in one commit.
"""

from __future__ import annotations

from typing import NamedTuple

from bridge.rooms.record import RoomSettings
from bridge.rooms.rules import Rules, set_by_name, unset
from bridge.rooms.store import Change
from bridge.rooms.visit import Visit

MOST_UNDONE = 10
"""Changes of a room that can be undone, one after the other."""


class By(NamedTuple):
    """Who changes something, and which way."""

    actor: str = ""
    """A Matrix user, or a name such as `operator`."""
    way: str = "command"
    """`command`, `state`, `console`, `api`, `cli` or `widget`."""


def written(settings: RoomSettings) -> dict[str, str]:
    """The settings that somebody chose, by the names of `rules.KEYS`, as `set_by_name` reads them.

    All others are as the operator's config says.
    """
    chosen = {
        "queue": None if settings.queue is None else str(settings.queue),
        "from": settings.source,
        "language": settings.language,
        "start": settings.start,
        "paused": "true" if settings.paused else None,
    }
    return {key: value for key, value in chosen.items() if value is not None}


def change(visit: Visit, settings: RoomSettings, by: By) -> None:
    """Change the room's settings, with a row of the audit for each one that is new."""
    record, before, after = visit.record, written(visit.record.settings), written(settings)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    for key in keys:
        note(visit, by, key, before.get(key, ""), after.get(key, ""))
    if keys:
        former = tuple((key, before.get(key, "")) for key in keys)
        visit.set(settings=settings, former=(*record.former, former)[-MOST_UNDONE:])


def note(visit: Visit, by: By, key: str, before: str = "", after: str = "") -> None:
    """Write a row of the audit about the room."""
    visit.changes.append(Change(visit.now, *by, key, before, after, visit.record.room_id))


def undo(visit: Visit, by: By) -> bool:
    """Take back the last change that was not yet taken back; False: there is none.

    Raises BadOrder: what it was is no longer possible, such as a queue that is gone.
    """
    record = visit.record
    if not record.former:
        return False
    settings = record.settings
    for key, value in record.former[-1]:
        settings = before_it(settings, key, value, visit.rules)
    change(visit, settings, by)
    visit.set(former=record.former[:-1])
    return True


def before_it(settings: RoomSettings, key: str, value: str, rules: Rules) -> RoomSettings:
    """The settings with that one as it was, by `written`; empty: nobody had chosen it."""
    return set_by_name(key, settings, value, rules) if value else unset(key, settings)
