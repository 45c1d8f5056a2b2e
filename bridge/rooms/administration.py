"""Administration of a room: changes of its settings, who made them, and how they are undone. Pure.

Whichever way a setting is changed (a command, the state event, an order from outside), it comes
through `change`: the record has the new settings, the audit (`store.Change`) a row for each, both
written in one commit. The record is the truth. The state event `org.matrix_webchat.room` follows it
(`ShowSettings`) where our host may write it; where it may not, the event stays as somebody wrote
it, and counts again once somebody writes it anew. What we write ourselves is no change: the
homeserver's echo of it is dropped, as of all that our users send.
"""

from __future__ import annotations

from typing import NamedTuple

from bridge.rooms.record import RoomSettings
from bridge.rooms.rules import ENTERPRISE, Rules, set_by_name, unset
from bridge.rooms.store import Change
from bridge.rooms.visit import ShowSettings, Visit

MOST_UNDONE = 10
"""Changes of a room that can be undone, one after the other."""

USUAL_DAYS, MOST_DAYS = 7, 90
"""Days that figures are of."""


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
        ENTERPRISE: settings.enterprise,
        "queue": None if settings.queue is None else str(settings.queue),
        "from": settings.source,
        "language": settings.language,
        "start": settings.start,
        "paused": "true" if settings.paused else None,
        "hours": settings.hours,
        **{f"text.{name}": sentence for name, sentence in settings.texts},
    }
    return {key: value for key, value in chosen.items() if value is not None}


def state_of(settings: RoomSettings) -> dict[str, object]:
    """The same as content of the state event `org.matrix_webchat.room`."""
    content: dict[str, object] = {
        key: value for key, value in written(settings).items() if not key.startswith("text.")
    }
    if settings.queue is not None:
        content["queue"] = settings.queue
    if settings.paused:
        content["paused"] = True
    return content | ({"texts": dict(settings.texts)} if settings.texts else {})


def change(visit: Visit, settings: RoomSettings, by: By) -> None:
    """Change the room's settings, with a row of the audit for each one that is new."""
    record, before, after = visit.record, written(visit.record.settings), written(settings)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    for key in keys:
        note(visit, by, key, before.get(key, ""), after.get(key, ""))
    if keys:
        former = tuple((key, before.get(key, "")) for key in keys)
        visit.set(settings=settings, former=(*record.former, former)[-MOST_UNDONE:])
        visit.ask(ShowSettings())


def note(visit: Visit, by: By, key: str, before: str = "", after: str = "") -> None:
    """Write a row of the audit about the room."""
    record = visit.record
    row = Change(visit.now, *by, key, before, after, record.room_id, record.enterprise)
    visit.changes.append(row)


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
