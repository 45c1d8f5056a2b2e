"""What an event in a room means for it: entering, leaving, talking, commanding, configuring.

`receive` is pure, like the machine inside it: record and input in, record and effects out. What it
needs to know of the world (may this person configure the room?) is asked beforehand by the actor
and handed in as `Standing`.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil
from typing import assert_never

import msgspec

from bridge.config.model import Permission
from bridge.conversation.effects import Args
from bridge.conversation.model import Chatting, CustomerText, Ended, Idle
from bridge.ids import EventId, UserId
from bridge.rooms import (
    afterwards,
    again,
    corrections,
    encrypting,
    leaving,
    orders,
    people,
    references,
    robot,
    turns,
)
from bridge.rooms.commands import Malformed, Parsed, Verb, parse, slip
from bridge.rooms.effects import Decline, EnterRoom, LeaveRoom
from bridge.rooms.gestures import gestured
from bridge.rooms.inputs import (
    AgentInvited,
    Corrected,
    EncryptionOn,
    Entered,
    EntryFailed,
    Invited,
    Meaning,
    MemberGone,
    MemberJoined,
    Nothing,
    PollAnswered,
    Reacted,
    Renamed,
    RoomConfigured,
    Spoke,
    Unreadable,
    Upgraded,
    Withdrew,
)
from bridge.rooms.pace import too_fast
from bridge.rooms.record import Membership
from bridge.rooms.settings import BadSetting, settings_of_event
from bridge.rooms.visit import Visit
from bridge.texts.durations import duration

Parkable = Spoke | Corrected | Withdrew | Unreadable
"""What waits for us while we enter the room."""
PARKED_LIMIT = 100
"""Events that a room may keep while we enter it."""


class Standing(StrEnum):
    """Whether a person may configure the room."""

    ADMIN = "admin"
    """Power level of 50 or more, creator of a version-12 room, or by the operator's permission."""
    ORDINARY = "ordinary"
    UNKNOWN = "unknown"
    """The homeserver could not be asked."""


class Facts(msgspec.Struct, frozen=True):
    """What the actor found out before the step."""

    standing: Standing = Standing.ORDINARY
    rooms_of_inviter: int = 0
    """Other rooms that this person already makes us serve."""
    earlier: references.Earlier | None = None
    """The message that this one is about (`references.refers_to`); None: forgotten."""
    encrypted: bool = False
    """It came encrypted."""
    rooms_begun: tuple[int, ...] = ()
    """When this person brought us into other rooms lately (`turns.begun`), the oldest first."""


def needs_standing(visit: Visit, meaning: Meaning) -> UserId | None:
    """Whose standing has to be known before `receive`; None if nobody's."""
    if visit.record.membership is not Membership.JOINED:
        return None
    if isinstance(meaning, RoomConfigured):
        return meaning.sender
    if isinstance(meaning, Spoke | Corrected):
        parsed = _command(visit, meaning)
        if isinstance(parsed, Parsed) and parsed.for_admins:
            return meaning.sender
    return None


def receive(
    visit: Visit, meaning: Meaning, raw: dict[str, object], received: int, facts: Facts
) -> None:
    """Handle one Matrix event.

    Args:
        visit: record in, record and effects out.
        meaning: what the event is.
        raw: the event itself, to be parked while we are entering.
        received: when it was stored, ms since the epoch.
        facts: what the actor asked the world.
    """
    if visit.record.membership is Membership.ENTERING and isinstance(meaning, Parkable):
        _park(visit, meaning, raw)
        return
    match meaning:
        case Invited():
            _invited(visit, meaning, facts)
        case AgentInvited():
            _agent_invited(visit, meaning)
        case MemberGone() | MemberJoined() | Renamed():
            _membership(visit, meaning)
        case Spoke() | Corrected():
            _spoke(visit, meaning, received, facts)
        case Withdrew() | Reacted() | PollAnswered():
            gestured(visit, meaning, received, facts.earlier)
        case Unreadable():
            if _served(visit, meaning.event_id, meaning.sender):
                visit.report(meaning.event_id, meaning.key)
        case RoomConfigured():
            _configured(visit, meaning, facts)
        case EncryptionOn():
            if visit.record.membership is Membership.JOINED and not visit.record.encrypted:
                encrypting.became_encrypted(visit)
        case Upgraded():
            leaving.upgraded(visit)
        case Nothing():
            pass
        case _:
            assert_never(meaning)


# --- coming and going ---------------------------------------------------------------------------


def _invited(visit: Visit, invited: Invited, facts: Facts) -> None:
    record = visit.record
    served = record.membership in {Membership.JOINED, Membership.ENTERING}
    if served and invited.whom != record.host:
        visit.ask(LeaveRoom((invited.whom,)))  # the room has its host; one is enough
        visit.say("room.host_here")
        return
    if record.membership is Membership.ENTERING:
        return
    # One who is in cannot be invited: that we were put out was lost with a homeserver that fell.
    refusal, until, permission = "", 0, visit.rules.permission(invited.by)
    if permission is Permission.IGNORED and not served:
        why = _why("refused.permission", permission)
        visit.ask(LeaveRoom((invited.whom,), inviter=invited.by, why=why))
        return
    limit = visit.rules.new_rooms_per_hour
    if permission < Permission.CUSTOMER:
        refusal = "refused.permission"
    elif facts.rooms_of_inviter >= visit.rules.rooms_per_user:
        refusal = "refused.too_many_rooms"
    elif len(facts.rooms_begun) >= limit:
        refusal, until = "refused.too_many_new_rooms", facts.rooms_begun[-limit] + turns.LATELY
    visit.set(
        membership=Membership.ENTERING,
        host=invited.whom,
        customer=invited.by,
        direct=invited.direct,
        refusal=refusal,
        refused_until=until,
        people=(),
        encrypted=served and record.encrypted,
        login=record.login if invited.by == record.customer else None,
        key=_key(visit),
    )
    encrypt = visit.rules.encrypt_rooms and not refusal
    visit.ask(EnterRoom(invited.whom, invited.by, encrypt))


def _key(visit: Visit) -> str:
    """The room's for ever: drawn when it is new to us, and what it was of a room that is not."""
    record, draw = visit.record, visit.rules.login_key
    new = record.membership is Membership.NONE and not record.key
    return draw(record.room_id) if new and draw is not None else record.key


def _agent_invited(visit: Visit, invited: AgentInvited) -> None:
    """Nobody would read what is written to an agent's user: its answer says where to write.

    While something goes on in a room of ours it may be the agent who is just coming.
    """
    record, permission = visit.record, visit.rules.permission(invited.by)
    idle = isinstance(record.conversation.phase, Idle | Ended)
    if permission is Permission.IGNORED or (record.membership is Membership.JOINED and not idle):
        return
    refused = permission < Permission.CUSTOMER
    key = "refused.permission" if refused else "agents.not_invited"
    reason = visit.part(key, {"user": invited.by} if refused else {"bot": visit.rules.bot})
    why = _why(key, permission)
    visit.ask(Decline(invited.event_id, invited.whom, reason, invited.by, why))


def _why(key: str, permission: Permission) -> str:
    """A refusal's reason for the operator, in the words of config.yaml."""
    if key == "refused.permission":
        return (
            f"bridge.permissions gives {'ignore' if permission is Permission.IGNORED else 'none'}"
        )
    return {
        "refused.too_many_rooms": "bridge.limits.rooms_per_user is reached",
        "refused.too_many_new_rooms": "bridge.limits.new_rooms_per_hour is reached",
        "agents.not_invited": "it is the user of an agent",
    }[key]


def brings_config(visit: Visit, entry: Entered) -> bool:
    """True if the room that we are in now has a configuration: whose, `entered` has to know."""
    entering = visit.record.membership is Membership.ENTERING
    return entering and not visit.record.refusal and entry.config is not None


def entered(visit: Visit, entry: Entered, facts: Facts) -> tuple[dict[str, object], ...]:
    """We are in. Returns the parked events in the order in which they were written.

    Args:
        visit: record in, record and effects out.
        entry: what was found in the room.
        facts: the standing of whoever set its configuration, if it `brings_config`.
    """
    record = visit.record
    if record.membership is not Membership.ENTERING:
        return ()
    parked = _in_order(record.parked, entry.order)
    visit.set(
        membership=Membership.JOINED,
        direct=entry.direct,
        encrypted=entry.encrypted,
        displayname=entry.displayname or record.displayname,
        parked=(),
        empty_since=None,
        people=people.found(visit, entry.people),
    )
    if people.in_company(visit):
        visit.set(direct=False)  # people call a chat of three a direct one as well
    if record.refusal:
        by, args = record.customer, _limits(visit)
        visit.say(record.refusal, args)
        # In the leave as well: in a chat of two nobody may see the room again once we are gone.
        reason, why = visit.part(record.refusal, args), _why(record.refusal, Permission.NONE)
        visit.ask(LeaveRoom((record.host,), reason, by, why))
        visit.set(membership=Membership.LEFT)
        return ()
    if entry.config is not None:
        _found_config(visit, entry.config, facts)
    encrypting.greet(visit, entry)
    return parked


def _limits(visit: Visit) -> Args:
    """What the sentences say that refuse an invitation."""
    record, rules = visit.record, visit.rules
    if not record.refused_until:
        return {"user": record.customer, "limit": rules.rooms_per_user}
    minutes = max(1, ceil((record.refused_until - visit.now) / 60_000))
    left = duration(rules.language_for(record.settings), 60 * minutes)
    return {"limit": rules.new_rooms_per_hour, "left": left}


def entry_failed(visit: Visit, failure: EntryFailed) -> None:
    """The invitation led nowhere: the room may invite us again."""
    del failure
    if visit.record.membership is Membership.ENTERING:
        visit.set(membership=Membership.LEFT, parked=())


def _in_order(
    parked: tuple[dict[str, object], ...], order: tuple[EventId, ...]
) -> tuple[dict[str, object], ...]:
    """Sort by the room's own order; what it did not list came later, as it arrived."""
    place = {event_id: index for index, event_id in enumerate(order)}
    return tuple(
        sorted(parked, key=lambda raw: place.get(EventId(str(raw.get("event_id"))), len(place)))
    )


def _park(visit: Visit, meaning: Parkable, raw: dict[str, object]) -> None:
    if len(visit.record.parked) >= PARKED_LIMIT:
        visit.report(meaning.event_id, "undelivered.too_many", {"limit": PARKED_LIMIT})
    else:
        visit.set(parked=(*visit.record.parked, raw))


def _membership(visit: Visit, news: MemberGone | MemberJoined | Renamed) -> None:
    if isinstance(news, MemberGone):
        _member_gone(visit, news)
    elif visit.record.membership in {Membership.JOINED, Membership.ENTERING}:
        people.present(visit, news.who, news.name)
        if isinstance(news, MemberJoined):
            people.news(visit, news.who, news.event_id, "agent.joined")


def _member_gone(visit: Visit, gone: MemberGone) -> None:
    record = visit.record
    if record.membership not in {Membership.JOINED, Membership.ENTERING}:
        return
    people.news(visit, gone.who, gone.event_id, "agent.left")
    people.gone(visit, gone.who)
    if gone.who == record.host:
        leaving.put_out(visit)
    elif gone.who == record.customer and record.direct:
        leaving.end_conversation(visit)
        visit.ask(LeaveRoom((record.host,)))
        visit.set(membership=Membership.LEFT, parked=())


def passed(visit: Visit) -> None:
    """A moment has come: a shared room without customers is left (see `people.empty_by`)."""
    moment = people.empty_by(visit.record)
    if moment is not None and visit.now >= moment:
        leaving.end_conversation(visit)
        visit.ask(LeaveRoom((visit.record.host,)))
        visit.set(membership=Membership.LEFT, empty_since=None)


# --- talking ------------------------------------------------------------------------------------


def _served(visit: Visit, event_id: EventId, sender: UserId) -> bool:
    """False, and the sender is told, if this person's messages are not carried."""
    if visit.record.membership is not Membership.JOINED:
        return False
    permission = visit.rules.permission(sender)
    if permission < Permission.CUSTOMER:
        if permission > Permission.IGNORED and people.to_be_told(visit, sender):
            visit.report(event_id, "refused.permission", {"user": sender})
        return False
    return True


def _spoke(visit: Visit, spoke: Spoke | Corrected, received: int, facts: Facts) -> None:
    people.heard(visit, spoke.sender)
    if spoke.notice and not visit.record.direct:
        return  # where several people are, programs speak among them, and are not for the agent
    parsed = _command(visit, spoke)
    if _configures(visit, parsed, facts):
        pass  # who may configure the room need not be a customer of ours
    elif not _served(visit, spoke.event_id, spoke.sender):
        return
    else:
        visit.set(speaker=spoke.sender)
    if isinstance(spoke, Spoke):
        references.note_thread(visit, spoke, received)
    unwelcome = encrypting.refusal(visit, parsed, encrypted=facts.encrypted)
    if unwelcome is not None:
        visit.report(spoke.event_id, unwelcome)
    elif isinstance(parsed, Malformed):
        orders.explain(visit, parsed, spoke.event_id)
    elif isinstance(parsed, Parsed):
        _ordered(visit, spoke, parsed, facts)
    elif visit.record.settings.paused:
        visit.report(spoke.event_id, "undelivered.paused", {"prefix": visit.rules.prefix})
    elif too_fast(visit, received):
        limit = visit.rules.messages_per_minute
        visit.report(spoke.event_id, "undelivered.too_fast", {"limit": limit})
    elif isinstance(spoke, Corrected):
        for happened in corrections.corrected(visit, spoke, facts.earlier):
            visit.step(people.signed(visit, spoke.sender, happened))
    else:
        _said(visit, spoke, facts)


def _said(visit: Visit, spoke: Spoke, facts: Facts) -> None:
    """Words for an agent, or what they mean outside a chat."""
    meant = robot.wish(visit, spoke.plain)
    if meant is None and afterwards.taken(visit, spoke):
        return
    said = references.spoken(visit, spoke, facts.earlier)
    visit.step(people.signed(visit, spoke.sender, meant or said))


def _configures(visit: Visit, parsed: Parsed | Malformed | None, facts: Facts) -> bool:
    return (
        visit.record.membership is Membership.JOINED
        and isinstance(parsed, Parsed)
        and parsed.for_admins
        and facts.standing is Standing.ADMIN
    )


def _command(visit: Visit, spoke: Spoke | Corrected) -> Parsed | Malformed | None:
    """The message as a command; None if it is a customer's word."""
    if not isinstance(spoke.content, CustomerText):
        return None
    record = visit.record
    bare_allowed = (
        record.direct
        and record.host == visit.rules.bot
        and not isinstance(record.conversation.phase, Chatting)
    )
    parsed = parse(spoke.plain, visit.rules.prefix, prefix_needed=not bare_allowed)
    if isinstance(parsed, Parsed) and parsed.bare and not orders.makes_sense(visit, parsed):
        parsed = None
    if parsed is None and bare_allowed:
        return slip(spoke.plain, visit.rules.prefix)
    return parsed


def _ordered(visit: Visit, spoke: Spoke | Corrected, parsed: Parsed, facts: Facts) -> None:
    if parsed.for_admins and facts.standing is not Standing.ADMIN:
        _refuse_admin(visit, facts, spoke.event_id)
        return
    if parsed.verb is Verb.RETRY:
        again.by_command(visit, spoke, facts.earlier)
        return
    orders.carry_out(visit, parsed, spoke.event_id)


def _refuse_admin(visit: Visit, facts: Facts, event_id: EventId | None) -> None:
    unknown = facts.standing is Standing.UNKNOWN
    key = "refused.standing_unknown" if unknown else "refused.not_admin"
    visit.say(key, reply_to=event_id)


# --- configuring --------------------------------------------------------------------------------


def _configured(visit: Visit, event: RoomConfigured, facts: Facts) -> None:
    if visit.record.membership is not Membership.JOINED:
        return
    if facts.standing is not Standing.ADMIN:
        _refuse_admin(visit, facts, event.event_id)
        return
    _apply_config(visit, event.content, event.event_id)


def _found_config(visit: Visit, content: dict[str, object], facts: Facts) -> None:
    """The state event that stood in the room before us: as good as the one who may set it today.

    The room's own `events` levels may let anybody send it (see `Standing` for whom we believe).
    """
    if facts.standing is Standing.ADMIN:
        _apply_config(visit, content, None)
    elif _changes(visit, content):
        _refuse_admin(visit, facts, None)


def _changes(visit: Visit, content: dict[str, object]) -> bool:
    """False if the room is configured so already."""
    try:
        return settings_of_event(content, visit.rules) != visit.record.settings
    except BadSetting:
        return True


def _apply_config(visit: Visit, content: dict[str, object], event_id: EventId | None) -> None:
    try:
        settings = settings_of_event(content, visit.rules)
    except BadSetting as bad:
        visit.say(bad.key, bad.values, reply_to=event_id)
        return
    if settings != visit.record.settings:
        visit.set(settings=settings)
        visit.say("config.taken", orders.shown_settings(visit), reply_to=event_id)
