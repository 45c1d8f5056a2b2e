"""Interpretation of Matrix events: entering, leaving, talking, commanding, configuring. Pure.

`receive` takes a room's record and one event (`Meaning`) and leaves a new record and effects in the
visit, like the state machine inside it. Facts of the outside world (may this person configure the
room? which message is replied to?) are asked beforehand by the reader and handed in as `Facts`.
Nothing is raised; what cannot be carried is reported to its sender.

Encryption: the bridge makes no rooms, it is invited. With `encryption.default` its host turns
encryption on as it comes in, where it may and once the inviter is known to be a customer. With
`encryption.require` nothing that anybody typed is carried in clear, either way: a message in clear
is answered with what to do, and so is a command that starts a chat or shows one. Commands that only
configure, tell or end something work all the same (`Command.in_clear`).

Gestures are reactions, votes and redactions. One on a card of ours is an order to us (`cards`), 🔁
sends a message again (`references`), and the rest is told to an agent in words, as far as the
operator wants it.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil
from typing import assert_never

import msgspec

from bridge.config.model import Permission
from bridge.conversation.model import Args, Chatting, CustomerText, Ended, Idle
from bridge.conversation.policy import RobotUse
from bridge.conversation.turn import inviting
from bridge.ids import EventId, UserId
from bridge.rooms import cards, commands, people, references, surroundings
from bridge.rooms.commands import Malformed, Parsed, parse, slip
from bridge.rooms.effects import Decline, EnterRoom, LeaveRoom
from bridge.rooms.inbox import (
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
from bridge.rooms.record import Membership
from bridge.rooms.references import Earlier
from bridge.rooms.rules import BadSetting, settings_of_event
from bridge.rooms.visit import Visit
from bridge.texts.durations import duration

Parkable = Spoke | Corrected | Withdrew | Unreadable
"""What waits for us while we enter the room."""
PARKED_LIMIT = 100
"""Events that a room may keep while we enter it."""


class Standing(StrEnum):
    """Authority of a person to configure the room."""

    ADMIN = "admin"
    """Power level of 50 or more, creator of a version-12 room, or by the operator's permission."""
    ORDINARY = "ordinary"
    UNKNOWN = "unknown"
    """The homeserver could not be asked."""


class Facts(msgspec.Struct, frozen=True):
    """Facts of the outside world, found out before the step."""

    standing: Standing = Standing.ORDINARY
    rooms_of_inviter: int = 0
    """Other rooms that this person already makes us serve."""
    earlier: references.Earlier | None = None
    """The message that this one is about (`references.refers_to`); None: forgotten."""
    encrypted: bool = False
    """It came encrypted."""
    rooms_begun: tuple[int, ...] = ()
    """When this person brought us into other rooms lately, the oldest first (`surroundings`)."""


Reading = Parsed | Malformed | None
"""A message as a command; None: it is a customer's word, or no text."""


def read_command(visit: Visit, meaning: Meaning) -> Reading:
    """Read a message as a command, once, for `needs_standing` and `receive`.

    Without the prefix it counts only in a direct room of the bot's while no chat runs.
    """
    record = visit.record
    if record.membership is not Membership.JOINED or not isinstance(meaning, Spoke | Corrected):
        return None
    if not isinstance(meaning.content, CustomerText):
        return None
    bare_allowed = (
        not isinstance(record.conversation.phase, Chatting)
        and record.host == visit.rules.bot
        and people.is_alone(visit, meaning.sender)
    )
    parsed = parse(meaning.plain, visit.rules.prefix, prefix_needed=not bare_allowed)
    if isinstance(parsed, Parsed) and parsed.bare and not commands.makes_sense(visit, parsed):
        parsed = None
    if parsed is None and bare_allowed:
        return slip(meaning.plain, visit.rules.prefix)
    return parsed


def needs_standing(visit: Visit, meaning: Meaning, command: Reading) -> UserId | None:
    """The person whose standing has to be known before `receive`; None if nobody's."""
    if visit.record.membership is not Membership.JOINED:
        return None
    if isinstance(meaning, RoomConfigured):
        return meaning.sender
    if isinstance(meaning, Spoke | Corrected):
        for_admins = isinstance(command, Parsed) and command.for_admins
        return meaning.sender if for_admins else None
    return None


def receive(
    visit: Visit,
    meaning: Meaning,
    raw: dict[str, object],
    received: int,
    facts: Facts,
    *,
    command: Reading,
) -> None:
    """Handle one Matrix event.

    Args:
        visit: record in, record and effects out.
        meaning: what the event is.
        raw: the event itself, to be parked while we are entering.
        received: when it was stored, ms since the epoch.
        facts: what the reader asked the world.
        command: what `read_command` says of it.
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
            _spoke(visit, meaning, received, facts, command)
        case Withdrew() | Reacted() | PollAnswered():
            _gestured(visit, meaning, received, facts.earlier)
        case Unreadable():
            if _served(visit, meaning.event_id, meaning.sender):
                visit.report(meaning.event_id, meaning.key)
        case RoomConfigured():
            _configured(visit, meaning, facts)
        case EncryptionOn():
            if visit.record.membership is Membership.JOINED and not visit.record.encrypted:
                _became_encrypted(visit)
        case Upgraded():
            people.upgraded(visit)
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
        refusal, until = (
            "refused.too_many_new_rooms",
            facts.rooms_begun[-limit] + surroundings.LATELY,
        )
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
    """Key of the room in login names: drawn when the room is new to us, and kept for ever."""
    record, draw = visit.record, visit.rules.login_key
    new = record.membership is Membership.NONE and not record.key
    return draw(record.room_id) if new and draw is not None else record.key


def _agent_invited(visit: Visit, invited: AgentInvited) -> None:
    """Decline an invitation of an agent's user, whose messages nobody would read, and say whom to
    invite instead.

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
    _greet(visit, entry)
    return parked


def _limits(visit: Visit) -> Args:
    """Args of the sentences that refuse an invitation."""
    record, rules = visit.record, visit.rules
    if not record.refused_until:
        return {"user": record.customer, "limit": rules.rooms_per_user}
    minutes = max(1, ceil((record.refused_until - visit.now) / 60_000))
    left = duration(rules.language_for(record.settings), 60 * minutes)
    return {"limit": rules.new_rooms_per_hour, "left": left}


def entry_failed(visit: Visit, failure: EntryFailed) -> None:
    """Handle a join that failed: the room may invite us again."""
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
        people.put_out(visit)
    elif gone.who == record.customer and record.direct:
        people.end_conversation(visit)
        visit.ask(LeaveRoom((record.host,)))
        visit.set(membership=Membership.LEFT, parked=())


def passed(visit: Visit) -> None:
    """A moment has come: a shared room without customers is left (see `people.empty_by`)."""
    moment = people.empty_by(visit.record)
    if moment is not None and visit.now >= moment:
        people.end_conversation(visit)
        visit.ask(LeaveRoom((visit.record.host,)))
        visit.set(membership=Membership.LEFT, empty_since=None)


# --- talking ------------------------------------------------------------------------------------


def _served(visit: Visit, event_id: EventId, sender: UserId) -> bool:
    """False, and the sender is told, if this person's messages are not carried."""
    if visit.record.membership is not Membership.JOINED:
        return False
    permission = visit.rules.permission(sender)
    if permission is Permission.IGNORED:
        return False
    if permission is Permission.NONE:
        if people.to_be_told(visit, sender):
            visit.report(event_id, "refused.permission", {"user": sender})
        return False
    return True


def _spoke(
    visit: Visit, spoke: Spoke | Corrected, received: int, facts: Facts, parsed: Reading
) -> None:
    people.heard(visit, spoke.sender)
    if spoke.notice and not visit.record.direct:
        return  # where several people are, programs speak among them, and are not for the agent
    if _configures(visit, parsed, facts):
        pass  # who may configure the room need not be a customer of ours
    elif not _served(visit, spoke.event_id, spoke.sender):
        return
    elif visit.record.speaker != spoke.sender:
        visit.set(speaker=spoke.sender)
    if isinstance(spoke, Spoke):
        references.note_thread(visit, spoke, received)
    unwelcome = _clear_text_refusal(visit, parsed, encrypted=facts.encrypted)
    if unwelcome is not None:
        visit.report(spoke.event_id, unwelcome)
    elif isinstance(parsed, Malformed):
        commands.explain(visit, parsed, spoke.event_id)
    elif isinstance(parsed, Parsed):
        _ordered(visit, spoke, parsed, facts)
    elif visit.record.settings.paused:
        visit.report(spoke.event_id, "undelivered.paused", {"prefix": visit.rules.prefix})
    elif _too_fast(visit, received):
        limit = visit.rules.messages_per_minute
        visit.report(spoke.event_id, "undelivered.too_fast", {"limit": limit})
    elif isinstance(spoke, Corrected):
        for happened in references.corrected(visit, spoke, facts.earlier):
            visit.step(people.signed(visit, spoke.sender, happened))
    else:
        _said(visit, spoke, facts)


def _said(visit: Visit, spoke: Spoke, facts: Facts) -> None:
    """Words for an agent, or what they mean outside a chat."""
    phase, meant = visit.record.conversation.phase, None
    if not isinstance(phase, Chatting) or phase.robot or spoke.reply_to is not None:
        meant = cards.robot_wish(visit, spoke.plain)
        if meant is None and cards.about_chat(visit, spoke):
            return
    said = references.spoken(visit, spoke, facts.earlier)
    visit.step(people.signed(visit, spoke.sender, meant or said))


def _configures(visit: Visit, parsed: Reading, facts: Facts) -> bool:
    return (
        visit.record.membership is Membership.JOINED
        and isinstance(parsed, Parsed)
        and parsed.for_admins
        and facts.standing is Standing.ADMIN
    )


def _ordered(visit: Visit, spoke: Spoke | Corrected, parsed: Parsed, facts: Facts) -> None:
    if parsed.for_admins and facts.standing is not Standing.ADMIN:
        _refuse_admin(visit, facts, spoke.event_id)
        return
    target = spoke.reply_to if isinstance(spoke, Spoke) else None
    reports = None if facts.earlier is None else facts.earlier.reports
    call = commands.Call(parsed.words, spoke.event_id, parsed.bare, target, reports)
    commands.carry_out(visit, parsed.verb, call)


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
        visit.say("config.taken", commands.shown_settings(visit), reply_to=event_id)


# --- encryption -----------------------------------------------------------------------------------


def _greet(visit: Visit, entry: Entered) -> None:
    """Say what the room needs to know first."""
    if entry.encrypted and not visit.rules.encryption:
        visit.say("encrypted.unsupported")
    elif visit.rules.encryption_required and not entry.encrypted:
        visit.say("encrypting.needed")
    else:
        _welcome(visit)
        if entry.encrypted_by_us:
            visit.say("encrypting.turned_on")


def _became_encrypted(visit: Visit) -> None:
    """Handle encryption being turned on by somebody."""
    visit.set(encrypted=True)
    if not visit.rules.encryption:
        visit.say("encrypted.unsupported")
    elif visit.rules.encryption_required:
        _welcome(visit)  # until now it was told why it is not served


def _clear_text_refusal(visit: Visit, parsed: Reading, *, encrypted: bool) -> str | None:
    """Why a message goes nowhere, as a key of the texts; None: it may go on.

    Args:
        visit: the room.
        parsed: the message as a command; None if it is a customer's word.
        encrypted: it came encrypted.
    """
    if encrypted or not visit.rules.encryption_required:
        return None
    explained = isinstance(parsed, Malformed) and not parsed.bare
    if explained or (isinstance(parsed, Parsed) and parsed.in_clear):
        return None
    return "encrypting.refused_here" if visit.record.encrypted else "encrypting.refused"


def _welcome(visit: Visit) -> None:
    queue = visit.rules.queue_name(visit.rules.queue_for(visit.record))
    policy = visit.rules.policy_for(visit.record)
    key = "robot.welcome" if policy.robot is RobotUse.FIRST else "room.welcome"
    visit.say(inviting(key, policy), {"queue": queue, "prefix": visit.rules.prefix})


# --- gestures: reactions, votes, redactions -------------------------------------------------------

Gesture = Withdrew | Reacted | PollAnswered


def _gestured(visit: Visit, gesture: Gesture, received: int, earlier: Earlier | None) -> None:
    """Handle a reaction, a vote or a redaction; one that is not carried is answered by nothing.

    Args:
        visit: record in, record and effects out.
        gesture: what was done.
        received: when it was stored, ms since the epoch.
        earlier: the message that it is about, as the ledger has it.
    """
    record, rules = visit.record, visit.rules
    if record.membership is not Membership.JOINED:
        return
    # Whoever may take something back (moderators may) has done so already.
    allowed = isinstance(gesture, Withdrew)
    if not allowed and rules.permission(gesture.sender) < Permission.CUSTOMER:
        return
    ordered = None if isinstance(gesture, Withdrew) else cards.meant_by(visit, gesture)
    if ordered is not None:
        happened = ordered
    elif isinstance(gesture, Withdrew):
        happened = references.withdrew(visit, gesture, earlier)
    elif _sends_again(visit, gesture, earlier) or _unwelcome(visit, received):
        happened = []
    elif isinstance(gesture, PollAnswered):
        happened = references.voted(visit, gesture, earlier)
    else:
        happened = references.reacted(visit, gesture, earlier)
    for one in happened:
        visit.step(people.signed(visit, gesture.sender, one))


def _sends_again(visit: Visit, gesture: Gesture, earlier: Earlier | None) -> bool:
    return isinstance(gesture, Reacted) and references.resend_by_reaction(visit, gesture, earlier)


def _unwelcome(visit: Visit, received: int) -> bool:
    return visit.record.settings.paused or _too_fast(visit, received)


# --- rate limit -----------------------------------------------------------------------------------


def _too_fast(visit: Visit, received: int) -> bool:
    """Count a message, by the minute in which it was stored (ms since the epoch).

    True if there have been more in it than the operator allows.
    """
    minute = received // 60_000
    spoken = visit.record.spoken + 1 if minute == visit.record.minute else 1
    visit.set(minute=minute, spoken=spoken)
    return spoken > visit.rules.messages_per_minute
