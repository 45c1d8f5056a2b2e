"""The people in a room: their names for the agent's eyes, and who was turned away. Pure.

WebChat knows one customer per session. Where several people may speak, the agent is told who does:
each message begins with the speaker's name in the room. Names are strangers' words: they are kept
to one short line, and without marks that would turn the reading direction of what follows.

A direct chat is one for as long as its customer alone is there with us. Once somebody else joins it
is a shared room, and stays one until we are invited anew: what was said about names, commands and
passwords would else be true now and then.
"""

from __future__ import annotations

import re

import msgspec

from bridge.config.model import Permission
from bridge.conversation.inputs import Input, Said, Withdrawn
from bridge.conversation.model import (
    Chatting,
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
)
from bridge.ids import EventId, UserId
from bridge.rooms.record import Membership, Person, RoomRecord
from bridge.rooms.visit import Visit

KEPT_PEOPLE = 200
"""Names of a room that are remembered; of the others the user id speaks."""
KEPT_TURNED_AWAY = 50
"""People without permission of whom we remember that they were told."""
TURN_AWAY_EVERY = 3_600_000
"""ms until somebody without permission is told so once more."""
GRACE = 5 * 60_000
"""ms that a chat goes on in a shared room without a customer."""
LONGEST_NAME = 60

_UNFIT = re.compile("[\x00-\x1f\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069]")


def present(visit: Visit, who: UserId, name: str) -> None:
    """Somebody is in the room, under this name."""
    others = [person for person in visit.record.people if person.user != who]
    visit.set(people=(*others, Person(who, _line(name)))[-KEPT_PEOPLE:])
    look_round(visit)


def heard(visit: Visit, who: UserId) -> None:
    """Somebody has written, so they are here, whatever we know of their coming.

    An earlier version counted nobody in a direct chat, and a fallen homeserver forgets who joined.
    """
    record = visit.record
    if record.membership is not Membership.JOINED or not record.direct:
        return
    if who == record.customer or any(one.user == who for one in record.people):
        look_round(visit)
    else:
        present(visit, who, "")


def found(visit: Visit, there: tuple[Person, ...]) -> tuple[Person, ...]:
    """Who is in a room that we have entered.

    Args:
        visit: its record knows who joined since we were invited, and is there still.
        there: who was found as we looked; some of the others may have come a moment later.
    """
    known = {one.user for one in there}
    later = tuple(one for one in visit.record.people if one.user not in known)
    return (*later, *there)[-KEPT_PEOPLE:]


def in_company(visit: Visit) -> bool:
    """True if somebody is in the room beside the customer who invited us."""
    customer, permission = visit.record.customer, visit.rules.permission
    return any(
        one.user != customer and permission(one.user) > Permission.IGNORED
        for one in visit.record.people
    )


def gone(visit: Visit, who: UserId) -> None:
    """Somebody is not in the room any more."""
    if any(person.user == who for person in visit.record.people):
        visit.set(people=tuple(one for one in visit.record.people if one.user != who))
        look_round(visit)


def news(visit: Visit, who: UserId, event_id: EventId, key: str) -> None:
    """Tell the agent of a chat, if the operator wants it, that a customer came or went."""
    phase = visit.record.conversation.phase
    if not visit.rules.tell_members or visit.record.direct or not event_id:
        return
    if isinstance(phase, Chatting) and visit.rules.permission(who) >= Permission.CUSTOMER:
        told = CustomerText(visit.word(key, {"name": name_of(visit, who)}))
        visit.step(Said(event_id, told))


def empty_by(record: RoomRecord) -> int | None:
    """When a shared room that its customers have left is left by us too, ms since the epoch."""
    if record.membership is not Membership.JOINED or record.empty_since is None:
        return None
    return record.empty_since + GRACE


def look_round(visit: Visit) -> None:
    """Note who is in the room: nobody but the customer, others, or no customer at all.

    Customers may have gone only for a moment.
    """
    permission = visit.rules.permission
    if visit.record.membership is Membership.JOINED and visit.record.direct and in_company(visit):
        visit.set(direct=False)
        visit.say("room.shared", {"prefix": visit.rules.prefix})
    someone = any(permission(one.user) >= Permission.CUSTOMER for one in visit.record.people)
    if visit.record.direct or someone:
        visit.set(empty_since=None)
    elif visit.record.empty_since is None:
        visit.set(empty_since=visit.now)


def name_of(visit: Visit, who: UserId) -> str:
    """What an agent may call this person."""
    for person in visit.record.people:
        if person.user == who and person.name:
            return person.name
    return _line(who[1:].partition(":")[0]) or who


def signed(visit: Visit, who: UserId, happened: Input) -> Input:
    """What somebody said, with their name where it could be somebody else."""
    if visit.record.direct:
        return happened
    name = name_of(visit, who)
    if isinstance(happened, Withdrawn) and happened.note:
        note = visit.word("agent.speaker", {"name": name, "text": happened.note})
        return msgspec.structs.replace(happened, note=note)
    if not isinstance(happened, Said):
        return happened
    instead = happened.instead
    bare = happened.content.text if isinstance(happened.content, CustomerText) else ""
    return msgspec.structs.replace(
        happened,
        content=_signed(visit, name, happened.content),
        instead=None if instead is None else _signed(visit, name, instead),
        words=happened.words or bare,
    )


def to_be_told(visit: Visit, who: UserId) -> bool:
    """True once an hour for a person without permission: a shared room is no place to nag."""
    told = {user: at for user, at in visit.record.turned_away if visit.now - at < TURN_AWAY_EVERY}
    if who in told:
        return False
    told[who] = visit.now
    visit.set(turned_away=tuple(told.items())[-KEPT_TURNED_AWAY:])
    return True


def _signed(visit: Visit, name: str, content: CustomerContent) -> CustomerContent:
    match content:
        case CustomerText():
            return CustomerText(visit.word("agent.speaker", {"name": name, "text": content.text}))
        case CustomerMedia():
            if content.caption:
                caption = visit.word("agent.speaker", {"name": name, "text": content.caption})
            else:
                caption = visit.word("agent.sender", {"name": name})
            return msgspec.structs.replace(content, caption=caption)
        case CustomerLocation():
            poi = visit.word("agent.speaker", {"name": name, "text": content.poi}).strip()
            return msgspec.structs.replace(content, poi=poi)


def _line(name: str) -> str:
    line = " ".join(_UNFIT.sub(" ", name).split())
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"
