"""The reader of a room: opens an input, finds out what it means, and applies it to a visit.

`read_command`, `needs_standing` and `receive` are pure: they take the room's record and one event
(`Meaning`), and leave a new record and effects in the visit. `Reader` fetches facts of the outside
world beforehand (may this person configure the room? does their chat go on in another room?) and
hands them in as `Facts`. A message that cannot be carried is reported to its sender. A reaction,
vote or redaction on a card of the bridge is a command (`cards`), 🔁 sends a message again, and
others are described to an agent in words (`references`).

With `encryption.require` nothing that anybody typed is carried unencrypted, either way: such a
message is answered with instructions, and so is a command that starts a chat or shows one. Commands
that only configure, tell or end something still work (`Command.in_clear`).

Most inputs need nothing but the room's record (`Reader.handle_now`); some have to wait for a key,
the homeserver or the store (`Reader.handle`). An input that makes the bridge's own code fail
becomes a dead letter, and its sender is told: it never blocks later inputs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import partial
from typing import assert_never

import msgspec
import structlog
from msgspec.structs import replace

from bridge.config.model import SERVED, Permission
from bridge.conversation import model
from bridge.conversation.turn import all_pieces, unique_events
from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.rooms import cards, commands, own_account, people, ports, references, surroundings
from bridge.rooms.commands import COMMANDS, Reading
from bridge.rooms.effects import Conceal, ShowSettings
from bridge.rooms.erasure import erase_person, record_of
from bridge.rooms.people import Standing
from bridge.rooms.record import (
    CardPosted,
    Entered,
    EntryFailed,
    ErasePerson,
    EraseRoom,
    LoginTried,
    LookedUp,
    MatrixEvent,
    Membership,
    NotShown,
    Order,
    PartPosted,
    Raw,
    RobotAnswered,
    RoomRecord,
    Simple,
    Thread,
    load_input,
    when_sent,
)
from bridge.rooms.references import Earlier
from bridge.rooms.rules import GONE, Rules, bare_sign
from bridge.rooms.store import InputRow, StoreError, Unstorable
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import (
    By,
    Call,
    Came,
    Visit,
    as_failed,
    excessive,
    signed,
    too_fast,
    undelivered,
)
from bridge.texts import CLEAR, followed
from bridge.webchat.frames import MessageReceived

ADMIN_LEVEL = 50
"""Minimum power level of a person who configures the room (contract)."""
# Used for each message: looking up an enum's member by name is slower than a function call.
_JOINED, _ENTERING = Membership.JOINED, Membership.ENTERING
_MOST_ROOMS = 10
"""Maximum number of a person's rooms that are searched for a chat."""
KEPT_TURNED_AWAY = 50
"""Maximum people without permission whose last refusal a room's record keeps."""
TURN_AWAY_EVERY, TURN_AWAY_DIRECT = 3_600_000, 300_000
"""Minimum ms between two refusals to a person without permission, and the same in direct rooms."""
_ASKING = (model.Human, model.CallBack, model.Said)
"""Inputs that ask for a person or a robot: refused in a paused room."""
Gesture = ports.Withdrew | ports.Reacted | ports.PollAnswered


class Facts(msgspec.Struct, frozen=True):
    """Facts of the outside world about an event, fetched before the step."""

    sent: int
    """When the event was sent (`when_sent`), ms since the epoch."""
    standing: Standing = Standing.ORDINARY
    earlier: Earlier | None = None
    """The message that this one is about (`references.refers_to`); None if none or erased."""
    encrypted: bool = False
    elsewhere: str = ""
    """Address of the other room in which the customer's chat goes on; empty if there is none."""


# --- what an event means --------------------------------------------------------------------------


def read_command(visit: Visit, meaning: ports.Meaning) -> Reading | None:
    """Read a message as a command, once, for `needs_standing` and `receive`; None if it is none."""
    record, rules = visit.record, visit.rules
    if record.membership is not _JOINED or not isinstance(meaning, (ports.Spoke, ports.Corrected)):
        return None
    text, command, prefixed = meaning.plain, None, rules.may_command(meaning.plain)
    if isinstance(meaning.content, model.CustomerText):  # else it is a caption
        command = commands.foreign_login(rules, text) if prefixed else None
        command = command or _read_text(visit, text, meaning.sender, prefixed=prefixed)
    return command or (commands.buried_login(rules, text) if prefixed else None)


def _read_text(visit: Visit, text: str, sender: UserId, *, prefixed: bool) -> Reading | None:
    chatting = isinstance(visit.record.conversation.phase, model.Chatting)
    bare = not chatting and people.is_alone(visit, sender)
    command = commands.read(visit, text, bare=bare) if bare or prefixed else None
    if command is None and bare:
        return commands.slip(visit, text)
    login = commands.like_login(visit, text) if command is None and chatting else None
    return login if login is not None and people.is_alone(visit, sender) else command


def needs_standing(visit: Visit, meaning: ports.Meaning, command: Reading | None) -> UserId | None:
    """Return the person whose `Standing` must be known before `receive`; None if not needed."""
    if isinstance(meaning, ports.RoomConfigured):
        return meaning.sender if visit.record.membership is _JOINED else None
    if command is not None and isinstance(meaning, (ports.Spoke, ports.Corrected)):
        stranger = visit.rules.permission(meaning.sender) is Permission.NONE
        asks = command.for_admins or command.verb == "help" or (stranger and command.configures)
        return meaning.sender if asks else None
    if not isinstance(meaning, (ports.PollAnswered, ports.Reacted)):
        return None
    return None if cards.chosen_queue(visit, meaning) is None else meaning.sender


def receive(
    visit: Visit, meaning: ports.RoomEvent, raw: Raw, facts: Facts, *, command: Reading | None
) -> None:
    """Handle one Matrix event, except an invitation (`people.invited`).

    `raw` is the event, to be parked while entering; `command` is the result of `read_command`.
    """
    if visit.record.membership is _ENTERING and people.is_parked(visit.record, meaning):
        people.park(visit, meaning, raw)
        return
    if visit.record.greet_at is not None and isinstance(meaning, (ports.Spoke, ports.Unreadable)):
        visit.set(greet_at=None, greet_link="")
    if isinstance(meaning, (ports.Spoke, ports.Corrected)):  # as nearly always
        heard = visit.record.direct or not meaning.notice  # else it is another program's
        if command is not None and command.secret and heard:
            visit.ask(Conceal(meaning.event_id))  # whatever becomes of the command itself
        _spoke(visit, meaning, facts, command)
        return
    match meaning:
        case ports.Withdrew() | ports.Reacted() | ports.PollAnswered():
            _gestured(visit, meaning, facts)
            _unquote(visit, meaning.event_id)
        case ports.AgentInvited():
            people.agent_invited(visit, meaning)
        case ports.MemberGone() | ports.MemberJoined():
            people.members_changed(visit, meaning)
        case ports.Unreadable():
            if _admit(visit, meaning.event_id, meaning.sender):
                visit.report(meaning.event_id, meaning.key, meaning.args)
        case ports.RoomConfigured():
            _configured(visit, meaning, facts)
            _unquote(visit, meaning.event_id)
        case ports.EncryptionOn():
            people.became_encrypted(visit, meaning)
        case ports.Upgraded():
            people.upgraded(visit, meaning.into)
        case ports.Nothing():
            references.note_redacted(visit, raw)
        case _:
            assert_never(meaning)


def _configured(visit: Visit, event: ports.RoomConfigured, facts: Facts) -> None:
    if excessive(visit, event.event_id, facts.sent):
        visit.ask(ShowSettings())  # a homeserver does not pass on the same content again
    else:
        people.configured(visit, event.content, facts.standing, event.sender, event.event_id)


def _unquote(visit: Visit, event_id: EventId) -> None:
    """Let answers to an event that apps do not show be no replies: they would quote an error."""
    for place, effect in enumerate(visit.effects):
        if isinstance(effect, model.Say) and effect.reply_to == event_id:
            visit.effects[place] = replace(effect, unquoted=True)


def _gestured(visit: Visit, gesture: Gesture, facts: Facts) -> None:
    if visit.record.membership is not _JOINED or visit.record.gone_at is not None:
        return
    if (queue := cards.chosen_queue(visit, gesture)) is not None:
        _chose_queue(visit, gesture, queue, facts)
    else:
        _step(visit, gesture.sender, _ordered_by(visit, gesture, facts))


def _chose_queue(visit: Visit, vote: ports.FromPerson, queue: QueueId, facts: Facts) -> None:
    """Handle a vote for a queue as a command: to set it (an admin's), or to start a chat there."""
    permission = visit.rules.permission(vote.sender)
    admin = facts.standing is Standing.ADMIN and permission is not Permission.IGNORED
    if not (admin or permission in SERVED) or excessive(visit, vote.event_id, facts.sent):
        return
    words = ("set", str(queue)) if admin else (str(queue),)
    call = Call(words, vote.event_id, by=By(vote.sender), admin=admin)
    if admin:
        commands.carry_out(visit, "queue", call)
    elif facts.standing is Standing.UNKNOWN:
        people.refuse_admin(visit, facts.standing, vote.event_id)
    elif visit.rules.encryption.require and not facts.encrypted:
        visit.say("encrypting.refused", reply_to=vote.event_id)
    else:
        commands.carry_out(visit, "start", call)


def _refusal(visit: Visit, who: UserId) -> str:
    """Return the text key that tells a person of the lack of permission; empty if told lately.

    Whoever gets it counts as told from now on.
    """
    known, now = visit.record.turned_away, visit.now
    every = TURN_AWAY_DIRECT if visit.record.direct else TURN_AWAY_EVERY
    recent = {user: at for user, at in known if 0 <= now - at < every}  # clock set back?
    if who in recent:
        return ""
    recent[who] = now
    visit.set(turned_away=tuple(recent.items())[-KEPT_TURNED_AWAY:])
    return "refused.gone" if visit.rules.enterprise == GONE else "refused.permission"


def _admit(visit: Visit, event_id: EventId, sender: UserId) -> bool:
    """True if this person's messages are carried; else tell them, if permission is missing.

    In a room that is being erased no messages are carried, and customers are told so.
    """
    if visit.record.membership is not _JOINED or sender == visit.record.host:
        return False
    permission = visit.rules.permission(sender)
    if permission in SERVED:
        if visit.record.gone_at is None:
            return True
        visit.say("room.erasing", reply_to=event_id)
    elif permission is Permission.NONE and (key := _refusal(visit, sender)):
        visit.report(event_id, key, {"user": sender})
    return False


def _spoke(
    visit: Visit, spoke: ports.Spoke | ports.Corrected, facts: Facts, command: Reading | None
) -> None:
    watched = visit.record.direct or visit.record.empty_since is not None
    if watched and not _is_only_customer(visit.record, spoke.sender):
        people.heard(visit, spoke.sender)
    if spoke.notice and not visit.record.direct:
        return  # in a shared room, notices of other bots are not for the agent
    if command is None or not _needs_no_permission(visit, spoke.sender, facts, command):
        if not _admit(visit, spoke.event_id, spoke.sender):
            return
        if visit.record.speaker != spoke.sender:
            visit.set(speaker=spoke.sender)
    _hear_language(visit, spoke.plain, command)
    if isinstance(spoke, ports.Spoke):
        root = spoke.thread
        thread = None if root is None else Thread(root, spoke.event_id, facts.sent)
        if thread != visit.record.thread:
            visit.set(thread=thread)
    shown = not facts.encrypted and (command is None or not command.in_clear)
    if shown and visit.rules.encryption.require:
        encrypted = visit.record.encrypted
        key = "encrypting.refused_here" if encrypted else "encrypting.refused"
        visit.report(spoke.event_id, key)
    elif command is not None:
        _commanded(visit, spoke, facts, command)
    elif visit.record.settings.paused:
        _message_in_pause(visit, spoke, facts)
    elif too_fast(visit, facts.sent, _messages_of(spoke)):
        limit = visit.rules.limits.messages_per_minute
        references.turn_down(visit, spoke, facts.earlier, "undelivered.too_fast", {"limit": limit})
    elif isinstance(spoke, ports.Spoke):
        _message_sent(visit, spoke, facts)
    elif facts.elsewhere:
        references.turn_down(
            visit, spoke, facts.earlier, "undelivered.elsewhere", {"link": facts.elsewhere}
        )
    elif not _rate_anew(visit, spoke, facts.earlier):
        _step(visit, spoke.sender, references.corrected(visit, spoke, facts.earlier))


def _needs_no_permission(visit: Visit, who: UserId, facts: Facts, command: Reading) -> bool:
    """True for what a room admin configures, and for the end of a former customer's chat."""
    admin = facts.standing is Standing.ADMIN and command.configures
    leaves = command.leaves and who == visit.record.customer
    return (admin or leaves) and visit.rules.permission(who) is not Permission.IGNORED


def _rate_anew(visit: Visit, edit: ports.Corrected, earlier: Earlier | None) -> bool:
    """Handle the edit of a rating in words, which no agent has; False if it is none."""
    if earlier is None or not earlier.unsent:
        return False
    anew = ports.Spoke(edit.event_id, edit.sender, edit.content, edit.plain)
    held = edit.target in unique_events(all_pieces(visit.record.conversation))
    return not held and cards.about_chat(visit, anew, answers=True)


def _messages_of(spoke: ports.Spoke | ports.Corrected) -> int:
    """Return how many messages an agent gets: one for each file of a gallery (MSC4274)."""
    content = spoke.content if isinstance(spoke, ports.Spoke) else None
    return 1 + len(content.more) if isinstance(content, model.CustomerMedia) else 1


def _message_in_pause(visit: Visit, spoke: ports.Spoke | ports.Corrected, facts: Facts) -> None:
    """Handle words in a paused room: they may only rate, or give thanks for, the last chat."""
    if isinstance(spoke, ports.Spoke):
        answers = facts.earlier is not None
        if not too_fast(visit, facts.sent) and cards.about_chat(visit, spoke, answers=answers):
            return
    references.turn_down(visit, spoke, facts.earlier, "undelivered.paused")


def _hear_language(visit: Visit, words: str, command: Reading | None) -> None:
    """Store the language of a customer's words if it counts more than what was known."""
    known = visit.record.language
    if known[0] == CLEAR or (known[0] > 1 and words.isascii()):
        return
    if command is not None and command.verb and COMMANDS[command.verb].outside == "sets":
        words = " ".join(words.split()[: 1 if command.bare else 2])  # without the setting's value
    heard = followed(known, words, visit.rules.language)
    if heard != known and (command is None or heard[1] != "en"):  # "help" is no language hint
        visit.follow(heard)


def _is_only_customer(record: RoomRecord, sender: UserId) -> bool:
    """True if the sender is the room's customer and the only person known to be in it."""
    if sender != record.customer or record.empty_since is not None:
        return False
    return not record.people or all(person.user == sender for person in record.people)


def _begins_chat(record: RoomRecord) -> bool:
    """True if a message would begin a chat here: first look for one in another room."""
    direct = record.direct and record.membership is _JOINED
    return direct and isinstance(record.conversation.phase, model.NoChat)


def _commanded(
    visit: Visit, spoke: ports.Spoke | ports.Corrected, facts: Facts, command: Reading
) -> None:
    if excessive(visit, spoke.event_id, facts.sent):
        return
    if command.fault:
        commands.explain(visit, command, spoke.event_id)
        return
    admin = facts.standing is Standing.ADMIN
    if command.for_admins and not admin:
        people.refuse_admin(visit, facts.standing, spoke.event_id)
        return
    call = Call(
        command.words,
        spoke.event_id,
        target=spoke.reply_to if isinstance(spoke, ports.Spoke) else None,
        reports=None if facts.earlier is None else facts.earlier.reports,
        by=By(spoke.sender),
        admin=admin,
        elsewhere=facts.elsewhere,
    )
    commands.carry_out(visit, command.verb, call)


def _message_sent(visit: Visit, spoke: ports.Spoke, facts: Facts) -> None:
    """Handle a text or a file that is no command: a message to an agent, or a card's answer."""
    meant, earlier, text = None, facts.earlier, isinstance(spoke.content, model.CustomerText)
    if text and (not visit.with_person or spoke.reply_to is not None):  # a caption's file is sent
        meant = cards.robot_wish(visit, spoke.plain)
        if meant is None and cards.about_chat(visit, spoke, answers=earlier is not None):
            return
    if facts.elsewhere and not isinstance(meant, model.Solved):
        visit.report(spoke.event_id, "undelivered.elsewhere", {"link": facts.elsewhere})
        return
    if meant is None:
        plain = earlier is None and not spoke.wrap and text
        message = model.Said(spoke.event_id, spoke.content, spoke.plain)
        meant = message if plain else references.spoken(visit, spoke, earlier)
    _step(visit, spoke.sender, [meant])


def _ordered_by(visit: Visit, gesture: Gesture, facts: Facts) -> list[model.Input]:
    """Return the inputs of a reaction, a vote or a redaction; none if it is not carried."""
    earlier = facts.earlier
    if isinstance(gesture, ports.Withdrew):  # by anybody whom the homeserver allows it
        visit.record = cards.unasked(visit.record, (gesture.target,))
        return references.withdrew(visit, gesture, earlier)
    who, permission = gesture.sender, visit.rules.permission(gesture.sender)
    crosses = isinstance(gesture, ports.Reacted) and bare_sign(gesture.key) in cards.CROSSES
    former = who == visit.record.customer and permission is Permission.NONE
    if permission not in SERVED and not (crosses and former):
        if former and visit.record.direct and (key := _refusal(visit, who)):
            visit.say(key, {"user": who}, reply_to=gesture.target)
        return []
    if isinstance(gesture, ports.Reacted) and references.resend_by_reaction(
        visit, gesture, earlier
    ):
        return []
    if excessive(visit, gesture.event_id, facts.sent):
        return []
    ordered, paused = cards.meant_by(visit, gesture), visit.record.settings.paused
    if ordered is not None:
        if paused and any(isinstance(event, _ASKING) for event in ordered):
            visit.say("config.paused", reply_to=gesture.event_id)
            return []
        return ordered
    if paused or permission not in SERVED:
        return []
    return references.gestured(visit, gesture, earlier)


def _step(visit: Visit, sender: UserId, happened: list[model.Input]) -> None:
    for item in happened:
        visit.step(item if visit.record.direct else signed(visit, sender, item))


def _elsewhere(record: RoomRecord, raw: Raw) -> RoomId | None:
    """Return the Matrix room of an event, if it is not the record's present one (upgrades)."""
    where = raw.get("room_id")
    return None if where is None or where == record.matrix_id else RoomId(str(where))


# --- inputs ---------------------------------------------------------------------------------------


async def other_room(
    around: Surroundings, rules: Rules, here: RoomRecord, inviter: UserId | None = None
) -> RoomRecord | None:
    """Return another direct room of this customer, host and enterprise; with a chat if any.

    With `inviter`, one of theirs that is served, with any host.
    """
    for room_id in (await around.store.rooms_of(inviter or here.customer))[:_MOST_ROOMS]:
        if room_id != here.room_id:
            other = await record_of(around.store, room_id)
            fits = other.served if inviter else other.host == here.host
            if fits and other.direct and rules.are_of(other):
                return other
    return None


class Reader:
    """Reader of one room's inputs: applies them to a visit, which the caller commits."""

    def __init__(self, room_id: RoomId, around: Surroundings) -> None:
        self.around = around
        """Dependencies of the enterprise that serves the room; replaced when that changes."""
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms", room=room_id)

    def handle_now(self, visit: Visit, came: Came) -> bool:
        """Process one input, if nothing has to be waited for.

        False if it has to wait, or failed: the caller must then undo or discard the visit.
        """
        try:
            self._check_host(visit)
            happened = came.happened
            if isinstance(happened, MatrixEvent):
                return self._event_now(visit, happened.raw, came.opened)
            if isinstance(happened, Entered | EraseRoom | ErasePerson):
                return False
            self._simple(visit, happened)
        except Exception:
            self.log.exception("unexpected error, taking the slow path")
            return False
        return True

    def _event_now(self, visit: Visit, raw: Raw, opened: Raw | ports.Undecryptable | None) -> bool:
        """Process an event that is decrypted and refers to no other event."""
        if visit.record.membership is not _JOINED:
            opened = raw  # still encrypted: it is parked while entering, else ignored
        if _elsewhere(visit.record, raw) is not None:
            return False
        if opened is None or isinstance(opened, ports.Undecryptable):
            return False
        meaning = self.around.matrix.interpret(opened)
        if visit.is_unserved(meaning) or visit.doubts(meaning, raw):
            return False
        command = read_command(visit, meaning)
        is_message = command is None and isinstance(meaning, ports.Spoke)  # as nearly always
        if not is_message and needs_standing(visit, meaning, command) is not None:
            return False
        if isinstance(meaning, ports.Spoke):
            asks = command is None or (not command.fault and COMMANDS[command.verb].elsewhere)
            about = meaning.reply_to or meaning.thread  # as `Spoke.about`
            wait = about is not None or (asks and _begins_chat(visit.record))
        else:
            if isinstance(meaning, ports.Invited):
                return False
            about = references.refers_to(visit.record, meaning)
            wait = about is not None or isinstance(meaning, ports.Withdrew)
        if wait:
            return False
        sent = when_sent(raw, visit.record.host, visit.now)
        receive(visit, meaning, opened, Facts(sent, encrypted=opened is not raw), command=command)
        return not visit.again

    async def handle(self, visit: Visit, row: InputRow) -> None:
        """Process one stored input.

        Raises StoreError if the database did not answer: the visit must be discarded.
        """
        mark = visit.mark()
        try:
            stored = load_input(row.body)
            self._check_host(visit)
            if isinstance(stored, MatrixEvent):
                await self._event(visit, stored.raw, row.received)
            elif isinstance(stored, Entered):
                await self._entered(visit, stored, row)
            elif isinstance(stored, EraseRoom):
                people.begin_erasure(visit, stored)
            elif isinstance(stored, ErasePerson):
                await erase_person(self.around, visit, stored)
            else:
                self._simple(visit, stored)
        except Exception as error:
            if isinstance(error, Unstorable):  # a value that not even a query can hold
                self.log.error("an input could not be handled", seq=row.seq, why=str(error))
            elif isinstance(error, StoreError):
                raise
            else:
                self.log.exception("an input could not be handled", seq=row.seq)
            visit.undo(mark)
            self.bury(visit, row, ports.describe(error))

    def is_redacted(self, visit: Visit, row: InputRow, waiting: Iterable[InputRow]) -> bool:
        """True if a waiting input redacts this one's event, or the message that it has edited."""
        about = [row.key, *(old for old, new in visit.record.corrections if new == row.key)]
        named = [b'"%s"' % str(event).encode() for event in about]
        for later in waiting:
            if b'"m.room.redaction"' in later.body and any(name in later.body for name in named):
                stored = load_input(later.body)
                if isinstance(stored, MatrixEvent):
                    meaning = self.around.matrix.interpret(stored.raw)
                    if isinstance(meaning, ports.Withdrew) and meaning.target in about:
                        return True
        return False

    def _check_host(self, visit: Visit) -> None:
        """Stop serving a room if its host account is somebody else's, who can read the room."""
        if visit.record.membership is _JOINED and not self.around.matrix.serves(visit.record.host):
            people.host_removed(visit)

    def _simple(self, visit: Visit, stored: Simple) -> None:
        if isinstance(stored, (model.Replied, model.Pushed)):  # as nearly always
            if isinstance(stored, model.Pushed) and isinstance(stored.push, MessageReceived):
                phase, named = visit.record.conversation.phase, stored.push.session_id
                if isinstance(phase, model.Chatting) and named not in {0, phase.session_id}:
                    # It came by this room's own link: does the server mix up its customers?
                    self.log.warning("message of another session", here=phase.session_id, of=named)
            visit.step(stored)
            # Not after a reply: WebChat may have refused this very end.
            if isinstance(stored, model.Pushed) and visit.record.membership is Membership.LEFT:
                people.end_late_chat(visit)
            return
        match stored:
            case EntryFailed(lost=True):
                if visit.record.membership is _JOINED:
                    people.host_removed(visit)
            case EntryFailed():
                people.entry_failed(visit)
            case CardPosted():
                cards.remember(visit, stored.card, stored.signs)
            case PartPosted():
                pass  # kept for the ledger only
            case NotShown():
                people.not_shown(visit)
            case RobotAnswered():
                cards.robot_answered(visit, stored)
            case LookedUp():
                visit.say(stored.key, stored.args, reply_to=stored.event_id or None)
            case LoginTried():
                own_account.login_tried(visit, stored)
            case Order():
                commands.ordered(visit, stored)
            case _:
                visit.step(stored)

    def bury(self, visit: Visit, row: InputRow, why: str) -> None:
        """Make an input a dead letter, and tell its sender."""
        visit.buried.append((row.seq, why))
        visit.record = as_failed(visit.record, row.body)
        self._tell(visit, row.key)

    @staticmethod
    def _tell(visit: Visit, key: object) -> None:
        if isinstance(key, str) and key.startswith("$"):
            visit.report(EventId(key), "undelivered.internal")

    async def try_again(self, visit: Visit) -> None:
        """Retry the decryption of sealed events. Raises like `handle`."""
        opened = []
        for event in visit.record.sealed:
            raw = await self.around.matrix.open(event.raw)
            if not isinstance(raw, ports.Undecryptable):
                opened.append(event)
                if not references.refuse_late(visit, event):
                    happened = self._readable(visit, raw, visit.now, encrypted=True)
                    await self._contained(visit, raw.get("event_id"), happened)
        references.sort_out_sealed(visit, opened)

    async def _entered(self, visit: Visit, entry: Entered, row: InputRow) -> None:
        """Handle the bridge's entry, then the events parked before it, each by itself."""
        standing, here = Standing.ORDINARY, visit.record
        if entry.config is not None and here.membership is _ENTERING and not here.refusal:
            standing = await self._standing(visit, entry.configured_by)
        other = await other_room(self.around, visit.rules, here)
        parked = people.entered(visit, entry, standing, other)
        for raw in parked:
            happened = self._event(visit, raw, row.received)
            await self._contained(visit, raw.get("event_id"), happened)

    async def _contained(self, visit: Visit, event_id: object, happened: Awaitable[object]) -> None:
        """Process an event without a journal row of its own; undo it alone if it fails."""
        mark = visit.mark()
        try:
            await happened
        except StoreError:
            raise
        except Exception:
            self.log.exception("an event could not be handled", event_id=event_id)
            visit.undo(mark)
            self._tell(visit, event_id)

    async def _event(self, visit: Visit, raw: Raw, received: int) -> None:
        """Decrypt and process an event.

        The sender of an undecryptable event is told; it is kept if its key may still come.
        """
        where = _elsewhere(visit.record, raw)
        if where is not None and self._handle_elsewhere(visit, raw, where):
            return
        # No question to a homeserver: a transaction, and so all other rooms, may wait for this.
        opened = await self.around.matrix.open(raw, ask=False)
        if visit.record.membership is not _JOINED:
            opened = raw  # still encrypted: it is parked while entering, else ignored
        elif isinstance(opened, ports.Undecryptable) and opened.later:
            patience = references.key_patience(received, self.around.clock.now())
            opened = await self.around.matrix.open(raw, patience)
            visit.now = self.around.clock.now()
        if not isinstance(opened, ports.Undecryptable):
            await self._readable(visit, opened, received, encrypted=opened is not raw)
            return
        meaning = self.around.matrix.interpret(raw)
        if not isinstance(meaning, ports.Unreadable):
            references.note_redacted(visit, raw)
            return
        if not await self._counts(visit, meaning, raw):
            return
        meaning = replace(meaning, key=references.keep_sealed(visit, raw, opened))
        receive(visit, meaning, raw, Facts(received), command=None)

    def _handle_elsewhere(self, visit: Visit, raw: Raw, where: RoomId) -> bool:
        """Handle an event of another Matrix room of this record (upgrade); True if that was all.

        False for an event of a replaced room, or an invitation to be handled like any other.
        """
        upgrade, meaning = visit.record.upgrade, self.around.matrix.interpret(raw)
        if upgrade is not None and upgrade.into == where:
            people.park(visit, meaning, raw)
            return True
        if not isinstance(meaning, ports.Invited):
            return False
        people.followed(visit, meaning, where)
        return visit.record.membership is _JOINED

    async def _readable(self, visit: Visit, raw: Raw, received: int, *, encrypted: bool) -> None:
        meaning, standing = self.around.matrix.interpret(raw), Standing.ORDINARY
        if _elsewhere(visit.record, raw) is not None:
            if not isinstance(meaning, ports.OfMessages):
                return  # members and state of a replaced room do not matter
            if isinstance(meaning, ports.Spoke):
                meaning = replace(meaning, thread=None)  # the replaced room is closed to answers
        elif visit.is_unserved(meaning):
            # Does only the database not know the room, because it was restored or lost its end?
            host = await self.around.matrix.host_in(visit.record.room_id)
            if host is not None:
                self.log.warning(
                    "the database does not know this room: it is served anew", user=host
                )
                await self._invited(visit, ports.Invited(meaning.sender, host, direct=False))
                people.park(visit, meaning, raw)
            return
        elif not await self._counts(visit, meaning, raw):
            return
        if isinstance(meaning, ports.Upgraded) and meaning.into is not None:
            # New here if it was found on entering: then the engine has not seen it.
            here = visit.record.matrix_id
            await self.around.upgrades.note(self.around.store, here, meaning.into)
        if isinstance(meaning, ports.Invited):
            await self._invited(visit, meaning)
            return
        command = read_command(visit, meaning)
        if (person := needs_standing(visit, meaning, command)) is not None:
            standing = await self._standing(visit, person)
        before, earlier = visit.record, await self._earlier(visit, meaning)
        begins = isinstance(meaning, (ports.Spoke, ports.Corrected)) and _begins_chat(before)
        other = await other_room(self.around, visit.rules, before) if begins else None
        link = people.address(other, visit.now)
        facts = Facts(when_sent(raw, before.host, received), standing, earlier, encrypted, link)
        receive(visit, meaning, raw, facts, command=command)
        wanted, visit.again = visit.again, []
        for event_id in wanted:
            await self._send_again(visit, event_id)
        if wanted:
            visit.step(model.Pending())
        if isinstance(meaning, ports.Withdrew):
            await references.erase(self.around, visit, before, meaning.target)

    async def _invited(self, visit: Visit, invited: ports.Invited) -> None:
        """Process an invitation under its inviter's lock: concurrent ones count each other."""
        store, before = self.around.store, visit.record
        if visit.locks is not None:
            await surroundings.lock_inviter(visit.locks, self.around.inviting, invited.by)
            visit.locks = None
        rules = people.enterprise_for(visit, invited)
        # The store may list this room, too.
        listed = [room for room in await store.rooms_of(invited.by) if room != before.room_id]
        begun = await surroundings.rooms_begun(store, invited.by, visit.now)
        # To come back to one of these rooms costs no further login: no limit on new rooms then.
        lately = () if before.room_id in begun else begun
        records = {room: await record_of(store, room) for room in dict.fromkeys((*listed, *lately))}
        # A room that is being refused is in none of the inviter's numbers.
        counted = {
            room_id for room_id, room in records.items() if not room.refusal and rules.are_of(room)
        }
        rooms = sum(room in counted and people.inviter_stays(records[room]) for room in listed)
        others = tuple(begun[room] for room in lately if room in counted)
        people.invited(visit, invited, rooms, others)
        after = visit.record
        if after != before and after.membership is _ENTERING and not after.refusal:
            await surroundings.note_room_begun(store, invited.by, after.room_id, visit.now)

    async def _send_again(self, visit: Visit, event_id: EventId) -> None:
        found = await references.original(self.around, visit, event_id)
        earlier, sender = None, UserId("")
        if isinstance(found, (ports.Spoke, ports.Corrected, ports.Reacted)):
            earlier, sender = await self._earlier(visit, found), found.sender
        if (
            isinstance(found, (ports.Spoke, ports.Corrected))
            and isinstance(found.content, model.CustomerText)
            and commands.parse(found.plain, visit.rules.prefix, prefix_needed=True) is not None
        ):
            found = ports.Nothing()  # it was a command, so there is nothing to resend
        _step(visit, sender, references.resend(visit, event_id, found, earlier))

    async def _earlier(self, visit: Visit, meaning: ports.Meaning) -> Earlier | None:
        """Return the message that this one is about; None if none, unknown or redacted."""
        record, about = visit.record, references.refers_to(visit.record, meaning)
        if about is None or about in record.erasing:
            return None
        earlier = await references.recall(self.around, record.room_id, about)
        if earlier is None:
            return await references.old_report(self.around, record, about)
        held = undelivered(record, about)
        command = held is not None and held.private  # it may hold a password: not to be quoted
        if isinstance(earlier.content, model.CustomerText):
            # Bare words are a command only outside a chat; the phase at that time is not recorded.
            idle = isinstance(record.conversation.phase, model.NoChat)
            bare = record.direct and record.host == visit.rules.bot and idle
            command |= commands.read(visit, earlier.text, bare=bare) is not None
        return replace(earlier, command=command)

    async def _standing(self, visit: Visit, person: UserId) -> Standing:
        """Ask for a person's authority to configure the room: not cached, as it may change."""
        if visit.rules.permission(person) is Permission.ADMIN:
            return Standing.ADMIN
        room_id, host = visit.record.matrix_id, visit.record.host
        members = [person.user for person in visit.record.people]
        ask = partial(self.around.matrix.power_levels, room_id, host, (person, *members))
        if (levels := await surroundings.asked(ask, self.around.clock)) is None:
            return Standing.UNKNOWN
        visit.admins = tuple(user for user in members if levels[user] >= ADMIN_LEVEL)
        return Standing.ADMIN if levels[person] >= ADMIN_LEVEL else Standing.ORDINARY

    async def _counts(self, visit: Visit, meaning: ports.Meaning, raw: Raw) -> bool:
        """False for an event that the homeserver shows to nobody (`Visit.doubts`)."""
        if not visit.doubts(meaning, raw):
            return True
        here, event_id = visit.record, EventId(str(raw["event_id"]))
        ask = partial(self.around.matrix.is_hidden, here.matrix_id, here.host, event_id)
        if hidden := await surroundings.asked(ask, self.around.clock):
            self.log.info("a hidden event is ignored", event_id=event_id, sender=raw["sender"])
        return not hidden
