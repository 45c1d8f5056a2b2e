"""People of a room: names for the agent's eyes, who was turned away, and leaving. Pure.

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
from bridge.conversation.model import (
    Cancel,
    Chatting,
    Close,
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Input,
    Queued,
    Requesting,
    Said,
    Withdrawn,
)
from bridge.conversation.queue import callback_wanted
from bridge.conversation.turn import all_pieces, unique_events
from bridge.ids import EventId, UserId
from bridge.rooms.effects import LeaveRoom
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
    """Note a person as a member of the room, under this name."""
    others = [person for person in visit.record.people if person.user != who]
    visit.set(people=(*others, Person(who, _line(name)))[-KEPT_PEOPLE:])
    look_round(visit)


def heard(visit: Visit, who: UserId) -> None:
    """Note the sender of a message as a member, whatever we know of their joining.

    An earlier version counted nobody in a direct chat, and a fallen homeserver forgets who joined.
    """
    record = visit.record
    if record.membership is not Membership.JOINED or not record.direct:
        return
    if who == record.customer or any(one.user == who for one in record.people):
        look_round(visit)
    else:
        present(visit, who, "")


def is_alone(visit: Visit, who: UserId) -> bool:
    """True if a room is direct, and stays so once it is known that `who` is there (`heard`)."""
    record = visit.record
    if not record.direct or in_company(visit):
        return False
    return who == record.customer or visit.rules.permission(who) <= Permission.IGNORED


def found(visit: Visit, there: tuple[Person, ...]) -> tuple[Person, ...]:
    """Members of a room that we have entered.

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
    """Note that a person is no member any more."""
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
    """Moment at which a shared room without customers is left by us too, ms since the epoch."""
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
    record = visit.record
    if record.direct or any(permission(one.user) >= Permission.CUSTOMER for one in record.people):
        if record.empty_since is not None:
            visit.set(empty_since=None)
    elif record.empty_since is None:
        visit.set(empty_since=visit.now)


def name_of(visit: Visit, who: UserId) -> str:
    """Display name of a person, for agents."""
    for person in visit.record.people:
        if person.user == who and person.name:
            return person.name
    return _line(who[1:].partition(":")[0]) or who


def signed(visit: Visit, who: UserId, happened: Input) -> Input:
    """Put the speaker's name before a message, in rooms where several people may speak."""
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


# --- leaving: the bridge's own, or everybody it serves --------------------------------------------


def end_conversation(visit: Visit) -> None:
    """End the conversation of a room without people: leave queue or chat, keep nothing."""
    conversation = visit.record.conversation
    if isinstance(conversation.phase, Chatting):
        visit.step(Close())
    elif (
        isinstance(conversation.phase, Requesting | Queued)
        or conversation.held
        or callback_wanted(conversation)
    ):
        visit.step(Cancel())


def put_out(visit: Visit) -> None:
    """Our host is in the room no longer, or is not ours any more."""
    end_conversation(visit)
    visit.set(membership=Membership.LEFT, parked=())


def _give_back(visit: Visit, key: str) -> None:
    """Report all that no agent has, in the order in which it was written; nothing of it goes."""
    waiting = sorted(all_pieces(visit.record.conversation), key=lambda piece: piece.order)
    for event_id in unique_events(tuple(piece for piece in waiting if not piece.is_note)):
        visit.step(Withdrawn(event_id))
        visit.report(event_id, key)


def upgraded(visit: Visit) -> None:
    """Handle a room upgrade: in the new room we have to be invited anew.

    Here nobody is to begin another chat, or be told of the end of this one that writing does.
    """
    if visit.record.membership is Membership.JOINED:
        if not isinstance(visit.record.conversation.phase, Chatting):
            _give_back(visit, "room.upgraded_unsent")  # once we are out, nothing can be said here
        end_conversation(visit)
        visit.say("room.upgraded")
        visit.ask(LeaveRoom((visit.record.host,)))
        visit.set(membership=Membership.LEFT)
