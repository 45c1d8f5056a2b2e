"""Membership of a room: invitations, entering, configuration, leaving. Pure.

WebChat knows one customer per session. In a shared room each message to the agent therefore begins
with the speaker's name. Display names are untrusted: they are cut to one short line without
bidirectional control characters.

A direct room becomes shared when somebody joins, and direct again once only the customer is left;
the room is told both. No other room becomes direct: not all members of a large one are known.

The bridge creates no rooms, it is invited. With `encryption.default` the host turns encryption on
when it joins, if its power level allows and the inviter is a customer. With `encryption.require` an
unencrypted room is told how to turn it on, and is welcomed once it is encrypted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import partial
from math import ceil

from msgspec.structs import replace

from bridge.config.model import Permission
from bridge.conversation import model
from bridge.conversation.queue import callback_wanted, visible
from bridge.conversation.turn import all_pieces, inviting, unique_events
from bridge.ids import EventId, RoomId, UserId, server_of
from bridge.rooms import effects, ports
from bridge.rooms.record import (
    CardKind,
    Entered,
    EraseRoom,
    Membership,
    Person,
    Raw,
    RoomRecord,
    RoomSettings,
    Upgrade,
    fits,
    permalink,
    via,
)
from bridge.rooms.rules import (
    ENTERPRISE,
    GONE,
    KEYS,
    BadOrder,
    Rules,
    as_strings,
    choices_of,
    hides,
    moved,
    readable_hours,
    set_together,
    settings_of_event,
    settled,
)
from bridge.rooms.surroundings import LATELY
from bridge.rooms.visit import By, Visit, change
from bridge.texts import CLEAR, duration
from bridge.webchat.codes import RobotUse
from bridge.webchat.words import name_line

KEPT_PEOPLE = 200
"""Maximum members with display names that a room's record keeps; user ids stand for the others."""
GREET_AFTER = 5_000
"""ms before the welcome in a direct room, or the address of another; none is sent if the customer
writes first, as apps create the room and send the question at once."""
GRACE = 5 * 60_000
"""ms for which a chat goes on in a shared room without customers."""
UPGRADE_PATIENCE = 4 * 3_600_000
"""ms for which a chat goes on in an upgraded room, waiting for an invitation into the new one."""
ERASED_AFTER = 2_000
"""ms between leaving a room and erasing it: events may still arrive in that time."""
FORGOTTEN = 24 * 3_600_000
"""ms without a word after which a chat refers nobody to itself: WebChat may have ended it."""
ENTRY_PATIENCE = 25 * 3_600_000
"""Further ms for joining the new room: longer than the retries of the join (`to_matrix`)."""

_WHY: Mapping[str, str] = {
    "refused.other_enterprise": "a chat with another enterprise is still ending in this room",
    "refused.permission": "bridge.permissions gives none",
    "refused.muted": "its power level is too low to write there",
    "refused.encryption": "the room's encryption is not Megolm",
    "refused.too_many_rooms": "bridge.limits.rooms_per_user is reached",
    "refused.too_many_new_rooms": "bridge.limits.new_rooms_per_hour is reached",
    "agents.not_invited": "it is the user of an agent or of a former queue",
}
"""Reasons for the operator's log, by text key, naming keys of config.yaml."""


# --- invitations ----------------------------------------------------------------------------------


def invited(visit: Visit, invitation: ports.Invited, rooms: int, begun: tuple[int, ...]) -> None:
    """Handle an invitation of the bot or a queue user.

    `rooms`: number of other rooms served for the inviter. `begun`: times of the inviter's recent
    invitations into other rooms (ms), oldest first.
    """
    rules = enterprise_for(visit, invitation)
    passes_on = visit.rules.enterprise == GONE and rules.serves(invitation.by)
    if not _takes_host(visit, invitation.whom, passes_on=passes_on):
        return
    other = rules is not visit.rules
    if other and passes_on:
        give_back(visit)
    if other and settled(visit.record.conversation, visit.rules) and not visit.under_way:
        visit.record, visit.rules, other = moved(visit.record, rules, visit.now), rules, False
    record = visit.record
    # A joined user cannot be invited: the homeserver lost our removal from the room in a crash.
    served, permission = record.served, rules.permission(invitation.by)
    away = permission is Permission.NONE and server_of(invitation.by) != server_of(invitation.whom)
    if not served and (away or permission is Permission.IGNORED):
        # Not told in the room: anybody could make the homeserver join any room of any server.
        reason = visit.for_room("refused.permission", {"user": invitation.by}) if away else ""
        why = f"bridge.permissions gives {permission}"
        visit.ask(effects.LeaveRoom((invitation.whom,), reason, invitation.by, why))
        return
    limits, refusal, until = visit.rules.limits, "", 0
    if not rules.serves(invitation.by):
        refusal = "refused.permission"
    elif other:
        refusal = "refused.other_enterprise"
    elif rooms >= limits.rooms_per_user:
        refusal = "refused.too_many_rooms"
    elif len(begun) >= limits.new_rooms_per_hour:
        refusal, until = "refused.too_many_new_rooms", begun[-limits.new_rooms_per_hour] + LATELY
    key, draw = record.key, visit.rules.login_key
    if record.membership is Membership.NONE and not key and draw is not None:
        key = draw(record.room_id)  # never changes
    visit.set(
        membership=Membership.ENTERING,
        host=invitation.whom,
        customer=invitation.by,
        direct=invitation.direct,
        was_direct=False,
        refusal=refusal,
        refused_until=until,
        people=(),
        encrypted=served and record.encrypted,
        login=record.login if invitation.by == record.customer else None,
        key=key,
    )
    encrypt = visit.rules.encryption.default and not refusal
    visit.ask(effects.EnterRoom(invitation.whom, invitation.by, encrypt))


def _takes_host(visit: Visit, whom: UserId, *, passes_on: bool) -> bool:
    """Return whether the room can have the invited host; one that it cannot have leaves.

    `passes_on`: the present host's enterprise is gone, so it makes way.
    """
    record = visit.record
    erasing = record.gone_at is not None and not record.stays
    if erasing:
        visit.ask(effects.LeaveRoom((whom,)))
    elif record.served and whom != record.host:
        visit.ask(effects.LeaveRoom((record.host if passes_on else whom,)))  # one is enough
        if not passes_on:
            visit.say("room.host_here")
            return False
    return not (erasing or record.membership is Membership.ENTERING)


def enterprise_for(visit: Visit, invitation: ports.Invited | ports.AgentInvited) -> Rules:
    """Return the rules of the enterprise that the invited user belongs to.

    If there are several, the first that serves the inviter, beginning with the room's own.
    """
    ours, record = visit.rules.enterprises_of(invitation.whom), visit.record
    kept = [name for name in (record.settings.enterprise, record.enterprise) if name in ours]
    return _serving(visit, (*kept, *ours), invitation.by) or visit.rules


def _serving(visit: Visit, enterprises: Iterable[str], who: UserId) -> Rules | None:
    """Return the rules of the first enterprise that serves the person, else of the first."""
    known = [rules for name in enterprises if (rules := visit.rules.rules_of(name)) is not None]
    return next((rules for rules in known if rules.serves(who)), next(iter(known), None))


def give_back(visit: Visit) -> None:
    """Report messages that an enterprise which is gone has not read; its queue card ends."""
    state = visit.record.conversation
    held = unique_events(piece for piece in state.held if not piece.is_note)
    for event_id in unsent_messages(visit.record) or held:
        visit.report(event_id, "refused.gone")
    if isinstance(visible(state.phase), model.Waiting):
        visit.ask(model.Card(state.number, "queue.over"))
    visit.set(conversation=replace(visit.record.conversation, held=()))


def choosing(visit: Visit) -> Rules:
    """Return the rules that validate settings."""
    return replace(visit.rules, choices=choices_of(visit.record, visit.rules))


def home_enterprise(visit: Visit) -> dict[str, str]:
    """Return the setting that stands in for a reset choice of enterprise: the default one, by name.

    The default is the first that serves the customer; without a name the room would keep its own.
    """
    chosen = visit.record.settings.enterprise is not None
    home = _serving(visit, choosing(visit).choices, visit.record.customer) if chosen else None
    return {} if home is None else {ENTERPRISE: home.enterprise}


def followed(visit: Visit, invitation: ports.Invited, into: RoomId) -> None:
    """Handle an invitation into the room that replaces this one, or into a former one.

    While the bridge is in the old room, the chat goes on there until it has joined the new one;
    otherwise the record moves at once. It never moves back to a former room: strangers may be left.
    """
    record, upgrade = visit.record, visit.record.upgrade
    if not record.served:
        _move(visit, into)
    elif upgrade is None or into in {record.room_id, record.came_from}:
        visit.ask(effects.LeaveRoom((invitation.whom,), former=into))
    elif upgrade.into is None and record.membership is Membership.JOINED:
        visit.set(upgrade=replace(upgrade, into=into, host=invitation.whom))
        visit.ask(
            effects.EnterRoom(invitation.whom, invitation.by, visit.rules.encryption.default, into)
        )


def _move(visit: Visit, into: RoomId) -> None:
    """Bind the record to another Matrix room, in which the bridge has no messages yet."""
    visit.set(
        place=into,
        came_from=visit.record.matrix_id,
        moved_at=visit.now,
        upgrade=None,
        thread=None,
        cards=(),
        read_up_to=None,
    )


def agent_invited(visit: Visit, invitation: ports.AgentInvited) -> None:
    """Decline an invitation of a ghost, with the bot's name as the reason.

    Not in a room with a request or chat under way: it may be the agent who is just joining. Some
    clients hide the reason, so in a customer's direct room the ghost says where to write.
    """
    record, rules, by = visit.record, enterprise_for(visit, invitation), invitation.by
    idle = isinstance(record.conversation.phase, model.NoChat)
    if rules.permission(by) is Permission.IGNORED or (
        record.membership is Membership.JOINED and not idle
    ):
        return
    key, args, enterprise = "refused.permission", model.Args(user=by), None
    if rules.serves(by):
        key, args = "agents.not_invited", model.Args(bot=rules.bot)
        enterprise = rules.enterprise if invitation.direct and not record.served else None
    whom, reason = invitation.whom, visit.for_room(key, args)
    visit.ask(effects.Decline(invitation.event_id, whom, reason, by, _WHY[key], enterprise))


# --- entering -------------------------------------------------------------------------------------


PARKED_LIMIT, PARKED_BYTES = 100, 1024 * 1024
"""Maximum number and bytes of events parked while the bridge enters a room."""
_ANSWERED = (ports.Spoke, ports.Corrected, ports.Withdrew, ports.Unreadable)
_NEWS = (
    ports.MemberGone,
    ports.MemberJoined,
    ports.RoomConfigured,
    ports.EncryptionOn,
    ports.Upgraded,
)
"""State that may be newer than the first look at the room."""


def is_parked(record: RoomRecord, meaning: ports.Meaning) -> bool:
    """True for an event that is to be handled once the bridge has entered the room."""
    return isinstance(meaning, (*_ANSWERED, *_NEWS)) and not ends_service(record, meaning)


def park(visit: Visit, meaning: ports.Meaning, raw: Raw) -> None:
    """Keep an event for the moment when we are in the room; too many are answered, or dropped."""
    parked = visit.record.parked
    if len(parked) < PARKED_LIMIT and fits(parked, raw, PARKED_BYTES):
        visit.set(parked=(*parked, raw))
    elif isinstance(meaning, _ANSWERED):
        visit.report(EventId(str(raw["event_id"])), "undelivered.too_many", {"limit": len(parked)})


class Standing(StrEnum):
    """A person's authority to configure the room."""

    ADMIN = "admin"
    """Power level 50 or more, creator of a version-12 room, or admin in `bridge.permissions`."""
    ORDINARY = "ordinary"
    UNKNOWN = "unknown"
    """The homeserver could not be asked."""


def entered(
    visit: Visit, entry: Entered, standing: Standing, other: RoomRecord | None = None
) -> tuple[Raw, ...]:
    """Handle a completed join; return the parked events in the order in which they were sent.

    `standing`: of the sender of the room's state event, if any. `other`: another direct room of the
    same customer and host, preferably one with a chat.
    """
    record, rules = visit.record, visit.rules
    moving = record.upgrade if record.membership is Membership.JOINED else None
    if record.membership is not Membership.ENTERING and (moving is None or moving.into is None):
        return ()
    # Events missing from the homeserver's list arrived after it was made.
    place = {str(event_id): index for index, event_id in enumerate(entry.order)}
    parked = sorted(record.parked, key=lambda raw: place.get(str(raw.get("event_id")), len(place)))
    words_came = any("state_key" not in raw for raw in parked)
    refused = "refused.encryption" if entry.unreadable else "refused.muted" if entry.muted else ""
    visit.set(
        membership=Membership.JOINED,
        # The invitation into an upgraded room does not say whether it is direct.
        direct=entry.direct or (moving is not None and record.direct),
        encrypted=entry.encrypted,
        displayname=entry.displayname or record.displayname,
        parked=(),
        greet_at=None,
        greet_link="",
        empty_since=None,
        people=_kept(rules, entry.people),
        refusal=record.refusal or (refused if moving is None else ""),
    )
    if _has_company(visit):
        visit.set(direct=False)  # clients may mark a chat of three as direct
    if visit.record.refusal:
        _refuse(visit)
        return ()
    if moving is not None:
        _continue_in(visit, moving)
    else:
        _show_cancelled(visit)
        if visit.record.direct and other is not None:
            _learn_from(visit, other)
        if entry.config is not None:
            configured(visit, entry.config, standing, entry.configured_by, None)
    if entry.encrypted and not rules.encryption.allow:
        visit.say("encrypted.unsupported")
    elif moving is None:
        link = address(other, visit.now) if visit.record.direct else ""
        _greet(visit, link, words_came=words_came)
        if entry.encrypted_by_us and not link:
            visit.say("encrypting.turned_on")
    elif hides(rules, visit.record):
        _welcome(visit, words_came=words_came)
    visit.ask(effects.ShowBridge())
    return tuple(parked)


def _refuse(visit: Visit) -> None:
    record, rules = visit.record, visit.rules
    args: model.Args = {"user": record.customer, "limit": rules.limits.rooms_per_user}
    if record.refused_until:
        minutes = max(1, ceil((record.refused_until - visit.now) / 60_000))
        left = duration(rules.language_for(record), 60 * minutes)
        args = {"limit": rules.limits.new_rooms_per_hour, "left": left}
    visit.say(record.refusal, args)
    # Also as the reason of the leave: nobody may open a direct room again after that.
    reason = visit.for_room(record.refusal, args)
    _leave(visit, effects.LeaveRoom((record.host,), reason, record.customer, _WHY[record.refusal]))


def _continue_in(visit: Visit, upgrade: Upgrade) -> None:
    """Continue in the new room of an upgrade, which the bridge has joined; leave the old one."""
    former, host = visit.record.matrix_id, visit.record.host
    _move(visit, upgrade.into or former)
    visit.set(host=upgrade.host)
    if as_strings(visit.record.settings):
        visit.ask(effects.ShowSettings())
    if visit.rules.panel_url:
        visit.ask(effects.ShowPanel(former=former, reader=host))
    visit.step(model.Moved())
    visit.ask(effects.LeaveRoom((host,), former=former))


def _greet(visit: Visit, link: str, *, words_came: bool) -> None:
    """Welcome the customer, in a direct room a moment later, and unless they have written already.

    `link`: address of the room in which their chat goes on; each message gets it as reply, too.
    """
    if not visit.record.direct:
        _welcome(visit, words_came=words_came)
    elif not words_came and (link or visit.record.came_from is None):
        visit.set(greet_at=visit.now + GREET_AFTER, greet_link=link)


def _show_cancelled(visit: Visit) -> None:
    """Bring the card of a cancelled request up to date: a room that the bridge has left stays as it
    was, and the removal of the bridge cancels a request.
    """
    state, known = visit.record.conversation, visit.record.undelivered
    numbers = [card.number for card in visit.record.cards if card.kind is CardKind.QUEUE]
    if isinstance(state.phase, model.Idle) and state.vain is None and state.number in numbers:
        left = tuple(note.event_id for note in known if not (note.again or note.private))
        more, args = (model.COUNTED,) * bool(left), model.Args(count=len(left))
        visit.ask(model.Card(state.number, "queue.over", args, more=more, dropped=left))


def _learn_from(visit: Visit, other: RoomRecord) -> None:
    """Copy the customer's language from another room of theirs; clear words here may change it."""
    record, (sure, known) = visit.record, other.language
    language = record.settings.language or other.settings.language
    visit.set(settings=replace(record.settings, language=language))
    if sure > record.language[0] <= 1:  # else it knows better, from before it was left
        visit.set(language=(CLEAR - 1 if sure == CLEAR else sure, known))


def address(other: RoomRecord | None, now: int) -> str:
    """Return the permalink of a direct room with a chat or visible queue request; else ""."""
    if other is None or not other.direct or other.membership is not Membership.JOINED:
        return ""
    phase, watched_at = other.conversation.phase, other.conversation.watched_at
    old = isinstance(phase, model.Chatting) and now - max(phase.since, watched_at) >= FORGOTTEN
    return "" if old or visible(phase) is None else permalink(other.matrix_id, None, via(other))


def entry_failed(visit: Visit) -> None:
    upgrade = visit.record.upgrade
    if visit.record.membership is Membership.ENTERING:
        _mark_left(visit)
    elif upgrade is not None:
        visit.set(upgrade=replace(upgrade, into=None), parked=())


def became_encrypted(visit: Visit, news: ports.EncryptionOn) -> None:
    """Handle encryption of the room; leave, with the reason, if nothing could be read or sent."""
    if visit.record.membership is not Membership.JOINED or visit.record.encrypted:
        return
    visit.set(encrypted=True)
    if not visit.rules.encryption.allow:
        visit.say("encrypted.unsupported")
    elif news.unreadable:
        _end_conversation(visit)
        visit.set(refusal="refused.encryption")
        _refuse(visit)
    elif visit.rules.encryption.require:
        visit.set(greet_at=None, greet_link="")
        _welcome(visit)  # not welcomed before: see the module


def _welcome(visit: Visit, *, words_came: bool = False) -> None:
    """Welcome the room, with the languages on offer unless one is set, known or about to be."""
    if hides(visit.rules, visit.record):
        if not words_came:  # else the reply to them says the same
            visit.say("encrypting.needed")
        return
    queue = visit.rules.queue_name(visit.rules.queue_for(visit.record))
    policy = visit.rules.policy_for(visit.record)
    key = "room.welcome" if visit.record.direct else "room.welcome_shared"
    key = "robot.welcome" if policy.robot is RobotUse.FIRST else key
    args = model.Args(queue=queue, lang=f"{lead(visit)}lang")
    also = "room.languages" if is_language_open(visit) and not words_came else ""
    visit.ask(model.Say(inviting(key, policy), args, also=also))
    if visit.rules.panel_url and not visit.record.direct:
        visit.ask(effects.ShowPanel())


def is_language_open(visit: Visit) -> bool:
    """True if the room's language is neither set nor heard from a customer."""
    return not visit.record.language[0] and visit.record.settings.language is None


# --- configuration --------------------------------------------------------------------------------


def configured(
    visit: Visit, content: Raw, standing: Standing, sender: UserId, event_id: EventId | None
) -> None:
    """Handle the state event with the room's settings; `event_id` is None if found on joining.

    The room's `events` power levels may let anybody send it, so the sender's `standing` counts. An
    event found on joining that changes nothing is not refused.
    """
    if visit.record.membership is not Membership.JOINED:
        return
    settings, wrong = visit.record.settings, None
    try:
        settings = settings_of_event({**home_enterprise(visit), **content}, choosing(visit))
    except BadOrder as bad:
        wrong = bad
    changed = wrong is not None or settings != visit.record.settings
    if standing is not Standing.ADMIN:
        if changed or event_id is not None:
            refuse_admin(visit, standing, event_id)
    elif wrong is not None:
        visit.say(wrong.key, wrong.values, reply_to=event_id)  # with the keys of the event
    elif changed:
        shown = _adopt(visit, settings, By(sender, "state"))
        visit.say("config.taken", shown, reply_to=event_id)
    elif event_id is not None:
        visit.ask(effects.ShowSettings())  # ours may have overwritten this event


def set_settings(visit: Visit, wished: Mapping[str, str], by: By) -> model.Args:
    """Change settings ("" resets one), and return all for the answer; BadOrder if one is wrong."""
    if wished.get(ENTERPRISE) == "":
        wished = {**wished, **home_enterprise(visit)}
    named = wished.get("language", "").strip().casefold()
    if named in {"中文", "chinese"} and visit.rules.language_for(visit.record) == "zh-TW":
        wished = {**wished, "language": "zh-TW"}  # it names no script: no reason to change it
    return _adopt(visit, set_together(wished, visit.record.settings, choosing(visit)), by)


def _adopt(visit: Visit, settings: RoomSettings, by: By) -> model.Args:
    change(visit, settings, by)
    if visit.rules.enterprise == GONE and visit.rules.of_room(settings) is not visit.rules:
        give_back(visit)
    return shown_settings(visit)


def lead(visit: Visit) -> str:
    """Return the text before a verb: the prefix, or "" where none is needed (`reader`)."""
    chatting = isinstance(visit.record.conversation.phase, model.Chatting)
    bare = not chatting and is_alone(visit, visit.record.customer)
    return "" if bare else f"{visit.rules.prefix} "


def refuse_admin(visit: Visit, standing: Standing, event_id: EventId | None) -> None:
    """Tell the sender that only room admins may configure the room, and name up to three."""
    permission = visit.rules.permission
    people = [user for user in visit.admins if permission(user) is not Permission.IGNORED]
    names = tuple(map(visit.name_of, people[:3]))
    key = "refused.not_admin_named" if names else "refused.not_admin"
    unknown = standing is Standing.UNKNOWN
    visit.say("refused.standing_unknown" if unknown else key, {"names": names}, reply_to=event_id)


def shown_settings(visit: Visit) -> model.Args:
    """Return the room's settings as arguments of the `config.*` texts."""
    settings = visit.record.settings
    rules = visit.rules.of_room(settings)
    queue = rules.queue_for(visit.record)
    known, gone = as_strings(settings), visit.rules.enterprise == GONE
    now = visit.record.enterprise if gone else visit.rules.enterprise
    if choices_of(visit.record, visit.rules):
        known = {ENTERPRISE: now, **known}
    if rules is not visit.rules and not settled(visit.record.conversation, visit.rules):
        args: model.Args = {"value": rules.enterprise, "now": now}
        known[ENTERPRISE] = visit.for_room("config.enterprise_later", args)
    if settings.hours and not readable_hours(settings.hours):
        unread: model.Args = {"value": settings.hours, "prefix": rules.prefix}
        known["hours"] = visit.for_room("config.hours_unclear", unread)
    here = partial(visit.rules.line, visit.rules.language_for(visit.record))
    own = (here(key, value) for key, value in known.items() if key not in KEYS[:5])
    return {
        "queue": rules.queue_name(queue),
        "hours": rules.hours_of(queue, settings),
        "more": "".join(f"\n{line}" for line in own),
        "source": rules.policy_for(visit.record).source,
        "language": rules.language_for(visit.record),
        "start": visit.for_room(f"value.{settings.start or rules.start}", {}),
        "paused": visit.for_room(f"value.{str(settings.paused).lower()}", {}),
    }


# --- people who come and go -----------------------------------------------------------------------


def members_changed(visit: Visit, news: ports.MemberGone | ports.MemberJoined) -> None:
    record, who = visit.record, news.who
    if not record.served:
        return
    others = tuple(person for person in record.people if person.user != who)
    if not isinstance(news, ports.MemberGone):
        _note_people(visit, (*others, Person(who, name_line(news.name))))
        _tell_agent(visit, who, news.event_id, "agent.joined")
        return
    if len(others) < len(record.people):  # else invited only, or a bridge user
        _tell_agent(visit, who, news.event_id, "agent.left")
        _note_people(visit, others)
    if who == record.host:
        host_removed(visit)
    elif ends_service(record, news):
        _end_conversation(visit)
        _leave(visit, effects.LeaveRoom((record.host,)))


def ends_service(record: RoomRecord, news: ports.Meaning) -> bool:
    """True if the bridge's host is gone, or the customer of a direct room."""
    alone = record.direct and record.upgrade is None
    needed = {record.host, record.customer} if alone else {record.host}
    return isinstance(news, ports.MemberGone) and news.who in needed


def heard(visit: Visit, who: UserId) -> None:
    """Record the sender of a message as a member even if no join was seen.

    Earlier versions recorded nobody in a direct room and dropped customers of a large one, and a
    homeserver that crashed may lose joins. A host of a removed enterprise is no bridge user.
    """
    record = visit.record
    if record.membership is Membership.JOINED and who != record.host:
        known = any(person.user == who for person in record.people)
        _note_people(visit, record.people if known else (*record.people, Person(who)))


def is_alone(visit: Visit, who: UserId) -> bool:
    """True in the bot's direct room, if it stays direct with `who` as a member (`heard`)."""
    record, rules = visit.record, visit.rules
    if record.host != rules.bot or not record.direct or _has_company(visit):
        return False
    return who == record.customer or rules.permission(who) is Permission.IGNORED


def _has_company(visit: Visit) -> bool:
    """True if the room has a member besides the inviter, except people with `ignore`."""
    others = (person.user for person in visit.record.people if person.user != visit.record.customer)
    return any(visit.rules.permission(user) is not Permission.IGNORED for user in others)


def _tell_agent(visit: Visit, who: UserId, event_id: EventId, key: str) -> None:
    """Tell the agent that a customer joined or left, if `tell.members` is set."""
    if not visit.rules.tell.members or visit.record.direct or not event_id:
        return
    # A robot would answer it, and after a `close` it would reach the agent of the next chat.
    if visit.with_person and visit.rules.serves(who):
        text = model.CustomerText(visit.for_agent(key, {"name": visit.name_of(who)}))
        visit.step(model.Said(event_id, text))


def not_shown(visit: Visit) -> None:
    """Tell the agent that the customer cannot see what they write."""
    if visit.with_person:
        visit.step(model.Noted(EventId("unshown"), visit.for_agent("agent.not_shown", {})))


def _note_people(visit: Visit, members: tuple[Person, ...]) -> None:
    """Store the members; update whether the room is direct, and since when it has no customer."""
    if members != visit.record.people:
        visit.set(people=_kept(visit.rules, members))
    record = visit.record
    if record.direct or record.was_direct:
        alone = not _has_company(visit)
        if record.direct and not alone:
            visit.set(direct=False, was_direct=True)
            if record.greet_at is None:  # else the greeting says it
                visit.say("room.shared")
        elif alone and not record.direct and any(one.user == record.customer for one in members):
            visit.set(direct=True)
            bare = record.host == visit.rules.bot
            visit.say("room.alone" if bare else "room.alone_queue")
    record = visit.record
    served = record.direct or any(visit.rules.serves(person.user) for person in record.people)
    if served != (record.empty_since is None):
        visit.set(empty_since=None if served else visit.now)


def _kept(rules: Rules, members: tuple[Person, ...]) -> tuple[Person, ...]:
    """Keep the newest `KEPT_PEOPLE` members, customers before others."""
    if len(members) <= KEPT_PEOPLE:
        return members
    return tuple(sorted(members, key=lambda person: rules.serves(person.user)))[-KEPT_PEOPLE:]


# --- leaving, upgrades, erasure -------------------------------------------------------------------


def due(record: RoomRecord) -> int | None:
    """Return the deadline (ms) of erasure, leaving (upgraded or empty room) or greeting, if any."""
    if record.gone_at is not None:
        return record.gone_at
    if record.membership is not Membership.JOINED:
        return None
    if record.upgrade is not None:
        entering = record.upgrade.into is not None
        return record.upgrade.until + (ENTRY_PATIENCE if entering else 0)
    emptied = None if record.empty_since is None else record.empty_since + GRACE
    return emptied if record.greet_at is None else record.greet_at


def passed(visit: Visit) -> None:
    """Greet or leave if the deadline (`due`) has passed; erasure is not done here."""
    moment = due(visit.record)
    if moment is None or visit.now < moment or visit.record.gone_at is not None:
        return
    if visit.record.upgrade is not None:
        _close(visit)
    elif visit.record.greet_at is not None:
        link = visit.record.greet_link
        visit.set(greet_at=None, greet_link="")
        if link:
            visit.say("room.elsewhere", {"link": link})
        else:
            _welcome(visit)
    else:
        _end_conversation(visit)
        _leave(visit, effects.LeaveRoom((visit.record.host,)))


def _leave(visit: Visit, leave: effects.LeaveRoom) -> None:
    visit.ask(leave)
    _mark_left(visit)


def _mark_left(visit: Visit) -> None:
    visit.set(membership=Membership.LEFT, parked=(), upgrade=None)


def _end_conversation(visit: Visit) -> None:
    """End the conversation: close the chat, or leave the queue and drop held messages."""
    state = visit.record.conversation
    if isinstance(state.phase, model.Chatting):
        visit.step(model.Close())
    elif isinstance(state.phase, model.Waiting) or state.held or callback_wanted(state):
        visit.step(model.Cancel())


def end_late_chat(visit: Visit) -> None:
    """End what WebChat began or revived after the host had left the room: nobody there hears it."""
    phase = visit.record.conversation.phase
    chatting = isinstance(phase, model.Chatting) and not phase.close
    if chatting or (isinstance(phase, model.Waiting) and not phase.cancel):
        _end_conversation(visit)


def host_removed(visit: Visit) -> None:
    """Handle the host's removal from the room, or its loss as a bridge user.

    During the join into the replacing room the chat goes on there, or ends if the join fails.
    """
    upgrade = visit.record.upgrade
    if upgrade is not None and upgrade.into is not None:
        visit.set(upgrade=replace(upgrade, until=min(upgrade.until, visit.now)))
        return
    _end_conversation(visit)
    _mark_left(visit)


def upgraded(visit: Visit, into: RoomId | None) -> None:
    """Handle a tombstone: the chat goes on here until the bridge has joined the new room.

    `into` is None if the room was closed without a replacement.
    """
    record = visit.record
    if into is None:
        if record.membership is Membership.JOINED:
            _close(visit)
    elif record.served and record.upgrade is None:
        visit.set(upgrade=Upgrade(visit.now + UPGRADE_PATIENCE))
        left = duration(visit.rules.language_for(record), UPGRADE_PATIENCE // 1000)
        link = permalink(into, None, via(record))
        visit.say("room.upgraded", {"link": link, "left": left})


def begin_erasure(visit: Visit, order: EraseRoom) -> None:
    """End the conversation, say so and leave; later the room is erased (`Room.go_on`).

    Events that arrive within `ERASED_AFTER` are erased too. With `order.stay` the bridge does not
    leave, and answers messages that arrive meanwhile.
    """
    record = visit.record
    _end_conversation(visit)
    if order.redact and record.membership is Membership.JOINED:
        visit.ask(effects.RedactAll())
    served = record.served
    if served and not order.stay:
        if record.membership is Membership.JOINED:
            visit.say("room.erased")
        _leave(visit, effects.LeaveRoom((record.host,), former=record.matrix_id))
    upgrade = record.upgrade
    if upgrade is not None and upgrade.into is not None:  # joining, or joined
        visit.ask(effects.LeaveRoom((upgrade.host,), former=upgrade.into))
    gone_at = visit.now + ERASED_AFTER if record.gone_at is None else record.gone_at
    visit.set(gone_at=gone_at, stays=served and order.stay, upgrade=None)


def _close(visit: Visit) -> None:
    """Report messages that no agent had (impossible after leaving), end the conversation, leave."""
    for event_id in unsent_messages(visit.record):
        visit.step(model.Withdrawn(event_id))
        visit.report(event_id, "room.closed_unsent")
    _end_conversation(visit)
    visit.say("room.closed")
    _leave(visit, effects.LeaveRoom((visit.record.host,)))


def unsent_messages(record: RoomRecord) -> tuple[EventId, ...]:
    """Return the messages that no agent has had, in the order in which they were written."""
    if isinstance(record.conversation.phase, model.Chatting):
        return ()
    waiting = sorted(all_pieces(record.conversation), key=lambda piece: piece.order)
    return unique_events(piece for piece in waiting if not piece.is_note)


def inviter_stays(record: RoomRecord) -> bool:
    """False for a shared room that its inviter has left: others are served there."""
    entering = record.membership is Membership.ENTERING
    return entering or record.direct or any(who.user == record.customer for who in record.people)


def was_member(record: RoomRecord, who: UserId) -> bool:
    return who == record.customer or any(person.user == who for person in record.people)
