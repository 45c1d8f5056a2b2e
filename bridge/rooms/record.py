"""The record of a room, its chats, its stored inputs, and the meanings of Matrix events.

The record is one value, stored whole with each step that changes it, but for one (`taken`).
Whatever in it could grow has a bound, which stands beside the code that adds to it. A row may be
older than this code: every field but the room's id has a default.

A *chat* is everything from a customer's request to its end, answered or not: "chat 3" is the third
time that this room has asked for an agent (`Conversation.number`, on the queue card as well). A
number never changes. A session that the server takes away and that is asked for anew is a chat of
its own: its agent may be another. The record keeps the newest; a change is stored with its step.

Inputs are stored as tagged JSON: the conversation's own, and Matrix events as they came. The tag is
the name of the class, as for effects (`visit`): a class that is renamed keeps the former name as
its `tag`, and a field that is added has a default (samples: `stored_rows.jsonl`). A `Meaning`, what
the matrix ring makes of an event, is never stored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from bridge.conversation.model import (
    Args,
    Cancel,
    Chatting,
    Close,
    Conversation,
    CustomerContent,
    Input,
    Pushed,
    Replied,
    Said,
    Value,
    Waiting,
)
from bridge.conversation.queue import hidden
from bridge.ids import AgentId, EventId, QueueId, RoomId, SessionId, UserId
from bridge.webchat.frames import Agent, RateSession, SendMessage, SessionClosed

Raw = dict[str, object]
"""JSON as the homeserver gives it: an event, or the content of one."""
MOST_AGENTS = 50
"""Agents of one chat that are remembered; the first ones stay."""


class Ending(StrEnum):
    AGENT = "agent"
    CUSTOMER = "customer"
    LOST = "lost"
    """WebChat no longer knew it, or another took its place."""
    CANCELLED = "cancelled"
    """The customer left the queue."""
    NOBODY = "nobody"
    """No agent came: closed, nobody online, refused."""


class ChatAgent(Value, frozen=True):
    """An agent (or robot) who took part in a chat."""

    id: AgentId
    name: str = ""


class Chat(Value, frozen=True):
    """One chat of a room. Times are ms since the epoch, by our clock."""

    number: int
    queue_id: QueueId
    asked: int
    started: int | None = None
    """None: no session began (yet)."""
    answered: int | None = None
    """When an agent first wrote; None: nobody did (yet), or an earlier version did not note it."""
    ended: int | None = None
    ending: Ending | None = None
    session_id: SessionId | None = None
    robot: bool = False
    """It was with the robot, at first at least."""
    agents: tuple[ChatAgent, ...] = ()
    """In the order in which they came."""
    rating: int | None = None
    """The id that WebChat took."""
    first: EventId | None = None
    """The customer's event with which it began; None if they began it without one."""
    last: EventId | None = None
    """The customer's newest event that belongs to it."""


_encoder = msgspec.json.Encoder()
dump_chat: Callable[[Chat], bytes] = _encoder.encode
load_chat: Callable[[bytes], Chat] = msgspec.json.Decoder(Chat).decode
"""Raises ValueError for anything but a stored chat."""


def note_chat(
    chats: tuple[Chat, ...],
    before: Conversation,
    after: Conversation,
    happened: Input,
    now: int,
    *,
    queue: QueueId,
    event: EventId | None = None,
) -> tuple[Chat, ...]:
    """The chats, the newest last, after a step; `queue` is the room's, `event` what brought it."""
    same = before.phase is after.phase and before.number == after.number
    if not isinstance(happened, Said):
        chats = _rated(chats, before, happened)
        if same:
            return chats  # most of what happens: nothing of it is the chat's
    else:
        known = chats[-1] if chats and chats[-1].number == after.number else None
        if known is not None and same and isinstance(after.phase, Chatting) and known.first:
            return (*chats[:-1], replace(known, last=happened.event_id))  # as nearly always
        event = happened.event_id
    former, phase = _going_on(before), _going_on(after)
    by_number = {one.number: one for one in chats}
    if former is not None and (phase is None or after.number != before.number):
        # One that began before there was a record is made up for.
        chat = by_number.get(before.number) or _begun(before, former, former.since, None)
        by_number[chat.number] = replace(chat, ended=now, ending=_ending(before, happened))
    over = after.number if phase is None else after.number - 1
    for number in range(before.number + 1, over + 1):
        # Asked for and given up in one step: the customer has seen it all the same.
        vain = Chat(number, queue, now, ended=now, ending=Ending.NOBODY, first=event)
        by_number[number] = vain
    if phase is not None:
        known = by_number.get(after.number)
        chat = known or _begun(after, phase, now, event)
        if isinstance(happened, Said):
            chat = replace(chat, first=chat.first or happened.event_id, last=happened.event_id)
        by_number[chat.number] = chat if same and known else _gone_on(chat, before, phase, now)
    return tuple(by_number[number] for number in sorted(by_number))


def kept_chats(chats: tuple[Chat, ...]) -> tuple[Chat, ...]:
    """Those that may still change: the newest, and the newest with a session."""
    with_session = [one for one in chats if one.session_id is not None][-1:]
    return tuple(dict.fromkeys((*with_session, *chats[-1:])))


def changed_chats(
    before: tuple[Chat, ...], after: tuple[Chat, ...]
) -> list[tuple[Chat | None, Chat]]:
    """Those that have to be written, as they were (None: there was none) and as they are.

    `last` alone moves with every message and can wait.
    """
    changed: list[tuple[Chat | None, Chat]] = []
    known = {one.number: one for one in before}
    for one in after:
        old = known.get(one.number)
        if old is None or (old is not one and replace(old, last=one.last) != one):
            changed.append((old, one))
    return changed


def _going_on(conversation: Conversation) -> Waiting | Chatting | None:
    """The chat that the customer knows of; a quiet request (`conversation.queue`) is none yet."""
    phase = conversation.phase
    if isinstance(phase, Waiting):
        return None if hidden(phase) else phase
    return phase if isinstance(phase, Chatting) else None


def _begun(after: Conversation, phase: Waiting | Chatting, now: int, event: EventId | None) -> Chat:
    """A new chat, which begins with the customer's first message that still waits, if any does."""
    waiting = after.held[0].event_id if after.held else None
    return Chat(after.number, phase.queue_id, now, first=waiting or event)


def _gone_on(chat: Chat, before: Conversation, phase: Waiting | Chatting, now: int) -> Chat:
    """The chat as it goes on; an agent may take up a request that was refused after all."""
    chat = replace(chat, ended=None, ending=None)
    if not isinstance(phase, Chatting):
        return chat
    former = before.phase
    known = isinstance(former, Chatting) and not (former.unanswered or former.robot)
    answered = not (known or phase.unanswered or phase.robot) and chat.answered is None
    return replace(
        chat,
        started=now if chat.started is None else chat.started,
        answered=now if answered else chat.answered,
        session_id=phase.session_id,
        robot=chat.robot or phase.robot,
        agents=_joined(chat.agents, phase.agents),
    )


def _joined(known: tuple[ChatAgent, ...], present: Iterable[Agent]) -> tuple[ChatAgent, ...]:
    """The agents with those who came; a name, once heard, is only replaced by another."""
    by_id = {agent.id: agent for agent in known}
    for agent in present:
        former = by_id.get(agent.id)
        if former is None or agent.name.strip():
            by_id[agent.id] = ChatAgent(agent.id, agent.name.strip())
    return tuple(by_id.values())[:MOST_AGENTS]


def _ending(before: Conversation, happened: Input) -> Ending:
    phase = before.phase
    if isinstance(phase, Waiting):
        left = phase.cancel or isinstance(happened, Cancel | Close)
        return Ending.CANCELLED if left else Ending.NOBODY
    if isinstance(phase, Chatting) and phase.unwanted:
        return Ending.CANCELLED
    if isinstance(phase, Chatting) and phase.close:
        return Ending.CUSTOMER
    closed = isinstance(happened, Pushed) and isinstance(happened.push, SessionClosed)
    return Ending.AGENT if closed else Ending.LOST


def _rated(chats: tuple[Chat, ...], before: Conversation, happened: Input) -> tuple[Chat, ...]:
    """The chats with the rating that the server has just taken."""
    asked = before.outstanding
    if not isinstance(happened, Replied) or asked is None or asked.call_id != happened.call_id:
        return chats
    rate = asked.what
    if not isinstance(rate, RateSession) or not happened.reply.ok:
        return chats
    return tuple(
        replace(one, rating=rate.rating) if one.session_id == rate.session_id else one
        for one in chats
    )


class Membership(StrEnum):
    NONE = "none"
    ENTERING = "entering"
    """Invited; the join is on its way. What people write meanwhile is parked."""
    JOINED = "joined"
    LEFT = "left"


class RoomSettings(Value, frozen=True):
    """Settings by room admins; None: as the operator's config says."""

    queue: QueueId | None = None
    source: str | None = None
    language: str | None = None
    start: str | None = None
    """`on_message` or `on_command`."""
    paused: bool = False
    hours: str | None = None
    """Opening hours, as of a queue in the config."""
    texts: tuple[tuple[str, str], ...] = ()
    """Sentences of the room's own: names as of `rules.TEXTS`, each with its words."""
    enterprise: str | None = None
    """Of those that share the bot; it is followed while there is no chat (`people.settled`)."""


class SealedEvent(Value, frozen=True):
    """An encrypted event whose key may still come. Times are ms since the epoch."""

    raw: Raw
    until: int
    """When it is given up."""
    retry_at: int
    """When to try again, if no key's arrival says so before."""


class Thread(Value, frozen=True):
    """The thread in which the customer's last words were: the event `latest`."""

    root: EventId
    latest: EventId
    at: int = 0
    """When we received them, ms since the epoch; earlier versions did not note it."""


class CardKind(StrEnum):
    RATING = "rating"
    QUEUE = "queue"
    ROBOT = "robot"
    CHOICES = "choices"
    CALLBACK = "callback"
    QUEUES = "queues"


class OurCard(Value, frozen=True):
    """A message of ours that a reaction or a vote can answer."""

    event_id: EventId
    kind: CardKind
    session_id: SessionId | None = None
    """Rating: of which chat."""
    choices: tuple[int, ...] = ()
    """Rating: the ids, the best first. Queues: theirs."""
    number: int = 0
    """Queue: of which request. Robot: of the newest request there was."""
    text: str = ""
    """Robot: what was asked by command, and goes along to a person."""
    asked: EventId | None = None
    """Robot: the command that asked it."""
    about: EventId | None = None
    """Robot: the message that was asked about and waits for the customer's word."""
    options: tuple[str, ...] = ()
    """Choices: what the robot proposed, in the order shown."""
    dropped: tuple[EventId, ...] = ()
    """Queue: messages that 🔁 sends after all."""
    signs: tuple[str, ...] = ()
    """Queue: reactions of ours that stand below it."""


class Person(Value, frozen=True):
    """A member of the room who is not one of ours."""

    user: UserId
    name: str = ""
    """In this room, on one line; empty if they have none."""


class Undelivered(Value, frozen=True):
    """A message whose sender was told that it did not, or perhaps not, reach the call centre."""

    event_id: EventId
    passed: bool = False
    """Something else was delivered since: a receipt for this one would say nothing new."""
    again: bool = False
    """It was sent again, and is under way."""


class OwnLogin(Value, frozen=True):
    """An account of the customer's own at the call centre."""

    name: str
    password: bytes
    """Sealed with the operator's secret (`Rules.seal`)."""


class Upgrade(Value, frozen=True):
    """An upgrade of the room that we have not followed yet: all goes on where it is."""

    until: int
    """When the chat ends and we leave, unless we are entering the new room by then; ms."""
    into: RoomId | None = None
    """The room that we are entering; None: nobody has invited us into it."""
    host: UserId = UserId("")
    """Our user who was invited there."""


class RoomRecord(Value, frozen=True):
    """The stored state of one room: of the same one whichever room it is on Matrix by upgrades."""

    room_id: RoomId
    """Its key in the store, for ever; on Matrix it was the first one."""
    version: int = 1
    """Of this layout; a reader refuses a newer one."""
    membership: Membership = Membership.NONE
    host: UserId = UserId("")
    """Our user whom the customer invited: the bot, or a queue user. It speaks for us."""
    customer: UserId = UserId("")
    """Who invited us last. It stays after we left, for what still has to be said to WebChat."""
    speaker: UserId = UserId("")
    """Who wrote last, of several people; their phone rings too."""
    displayname: str = ""
    key: str = ""
    """Stands for the room in its login names at the call centre (`Rules.login_key`). Kept, as the
    secret may change. Empty: the room is from before there was one, and its key is a plain hash."""
    enterprise: str = ""
    """The call centre that serves it, one while a chat runs; "": the only one, or the first."""
    direct: bool = True
    """Nobody is here with us but the customer who invited us (see `people`)."""
    was_direct: bool = False
    """It was so until somebody joined, and will be again once they have left."""
    encrypted: bool = False
    refusal: str = ""
    """Why we shall leave again as soon as we are in: a key of the texts."""
    refused_until: int = 0
    """Until when that holds, ms since the epoch; 0: not for a certain time."""
    settings: RoomSettings = RoomSettings()
    language: tuple[int, str] = (0, "")
    """The language in which customers write, and how clearly (`languages.spoken`)."""
    conversation: Conversation = Conversation()
    thread: Thread | None = None
    corrections: tuple[tuple[EventId, EventId], ...] = ()
    """Corrected messages, each with the event of a newer wording, the newest last."""
    whole: tuple[EventId, ...] = ()
    """Corrections of messages of which no agent has a former wording: to be sent as the message."""
    parked: tuple[Raw, ...] = ()
    """Raw events that came while we were entering, in the order of arrival."""
    sealed: tuple[SealedEvent, ...] = ()
    """Encrypted events that could not be read yet; their senders were told."""
    minute: int = 0
    """The minute in which `spoken` messages were counted."""
    spoken: int = 0
    cards: tuple[OurCard, ...] = ()
    """The newest of our cards, the latest last."""
    place: RoomId | None = None
    """Which room it is on Matrix since an upgrade; None: still the first."""
    came_from: RoomId | None = None
    """Which room it was before that."""
    moved_at: int = 0
    """When it became another, ms since the epoch."""
    upgrade: Upgrade | None = None
    greet_at: int | None = None
    """When the customer of a direct room is greeted, unless they write before, ms."""
    empty_since: int | None = None
    """When the last customer left a shared room, ms; None while there is one."""
    people: tuple[Person, ...] = ()
    """Who is in the room besides us, the newest last; of a large one its customers, and some more.
    While we are entering: who has joined since we were invited."""
    turned_away: tuple[tuple[UserId, int], ...] = ()
    """People without permission, and when they were told so (ms)."""
    chats: tuple[Chat, ...] = ()
    """The chats that may still change (`kept_chats`), the newest last; the store has them all."""
    transcript_at: int = 0
    """When a transcript was last asked for, ms since the epoch."""
    figures_at: int = 0
    """When figures were last asked for, ms since the epoch."""
    login_at: int = 0
    """When somebody last tried to log in, ms since the epoch."""
    login: OwnLogin | None = None
    """The customer's own account at the call centre; None: as the operator's config says."""
    read_up_to: EventId | None = None
    """The newest message that the call centre has, all of it: our users have read up to there."""
    undelivered: tuple[Undelivered, ...] = ()
    """The newest messages that their senders may have sent again, the latest last."""
    arrived_again: int = 0
    """How many of those that were sent again have arrived, which is told once none is under way."""
    erasing: tuple[EventId, ...] = ()
    """Events that were taken back, of which copies of ours may be left (`references`)."""
    erase_at: int = 0
    """When to look for those, ms since the epoch."""
    gone_at: int | None = None
    """From when on all of the room is to be erased, once nothing is under way, ms (`erasure`)."""
    stays: bool = False
    """It is served afterwards, as one that is new."""
    former: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Settings as they were before each of the newest changes, the latest last, for `undo`."""

    @property
    def matrix_id(self) -> RoomId:
        """The room that it is on Matrix today."""
        return self.place or self.room_id

    def room_at(self, moment: int) -> RoomId:
        """The room that it was on Matrix then (ms), as far back as to the last upgrade but one."""
        return self.came_from or self.room_id if moment < self.moved_at else self.matrix_id

    def anchored(self, name: str) -> str:
        """The stored name of an anchor: what stood in a former room is none in this one."""
        return name if self.place is None else f"{self.place} {name}"


RECORD_VERSION = 1
THREAD_USED_FOR = 3 * 60_000
"""ms after the customer's last words in a thread during which they are answered there."""

_decoder = msgspec.json.Decoder(RoomRecord)
dump_record: Callable[[RoomRecord], bytes] = _encoder.encode


def thread_in_use(record: RoomRecord, now: int) -> Thread | None:
    """The thread in which agents, and we ourselves, answer at this moment (ms), if any.

    Who asked one thing in a thread may have closed it, and would wait before a silent room.
    """
    thread = record.thread
    return None if thread is None or now - thread.at >= THREAD_USED_FOR else thread


def load_record(data: bytes) -> RoomRecord:
    """Raises ValueError for no record, or one that a newer version of the bridge wrote."""
    record = _decoder.decode(data)
    if record.version > RECORD_VERSION:
        raise ValueError(f"room record of version {record.version}, this bridge reads 1")
    return record


def taken(record: RoomRecord) -> RoomRecord | None:
    """The record, once the call centre has simply taken the message under way; None: it has not.

    That is what comes of nearly every call. It follows from the outcome of the call's row, so the
    record need not be written for it (`visit.Draft`), and `visit.recovered` has it all the same.
    """
    state = record.conversation
    asked = state.outstanding
    if asked is None or asked.held is None or not isinstance(asked.what, SendMessage):
        return None
    if asked.stale or not isinstance(state.phase, Chatting):
        return None
    read_up_to = asked.held.event_id if asked.held.last else record.read_up_to
    state = replace(state, outstanding=None)
    return replace(record, conversation=state, read_up_to=read_up_to)


# --- links (Matrix specification, "matrix.to navigation") -----------------------------------------

MOST_SERVERS = 3
"""The specification's own advice."""
_ADDRESS = re.compile(r"(?:\[.*\]|[0-9.]*)(?::[0-9]+)?")
"""A server that has no name is no help to others."""


def permalink(room_id: RoomId, event_id: EventId | None, servers: tuple[str, ...]) -> str:
    """The address of an event or a room, with servers through which that can be joined (`via`)."""
    via = "&".join(f"via={quote(server, safe=':')}" for server in servers)
    where = f"https://matrix.to/#/{quote(room_id, safe='!:')}"
    if event_id is not None:
        where += f"/{quote(event_id, safe='$:')}"
    return f"{where}?{via}" if via else where


def via(record: RoomRecord) -> tuple[str, ...]:
    """Servers that know the room: that of whoever invited us, ours, and those with most people."""
    people = Counter(_server(person.user) for person in record.people)
    ranked = [name for name, _ in sorted(people.items(), key=lambda one: (-one[1], one[0]))]
    servers = dict.fromkeys((_server(record.customer), _server(record.host), *ranked))
    named = [name for name in servers if name and not _ADDRESS.fullmatch(name)]
    return tuple(named[:MOST_SERVERS])


def _server(user: str) -> str:
    return user.partition(":")[2]


# --- inputs ---------------------------------------------------------------------------------------


class MatrixEvent(Value, frozen=True):
    """One event of a transaction, untouched."""

    raw: Raw


class Entered(Value, frozen=True):
    """Our user has joined. The events of `order`, sent until it had, were stored along with it."""

    order: tuple[EventId, ...] = ()
    direct: bool = True
    encrypted: bool = False
    displayname: str = ""
    """The inviter's name in the room."""
    config: Raw | None = None
    """Content of the state event `org.matrix_webchat.room`, where there was one before us."""
    people: tuple[Person, ...] = ()
    """Who has joined besides us."""
    encrypted_by_us: bool = False
    """Our host turned encryption on, now or when it was here before."""
    configured_by: UserId = UserId("")
    """Who set `config`; empty in rows of versions that did not ask."""


class EntryFailed(Value, frozen=True):
    why: str = ""


class CardPosted(Value, frozen=True):
    """A card of ours stands in the room."""

    card: OurCard
    signs: tuple[str, ...] = ()
    """Reactions that customers may tap; put there once a tap would be understood."""


class PartPosted(Value, frozen=True):
    """A later part of an agent's message stands in the room; its key is its event's id.

    Nothing comes of it but that the ledger knows its words, for as long as it keeps any.
    """

    text: str = ""
    of: EventId = EventId("")
    """The first part; "": stored by an earlier version."""


class RobotAnswered(Value, frozen=True):
    """The knowledge base was asked; `key` and `args` are of the sentence that says what came."""

    event_id: EventId
    question: str
    """Empty if it was not asked by command."""
    key: str
    args: Args = {}
    first: bool = False
    """It was not asked by command: the message waits for what comes of it."""
    short: tuple[str, ...] = ()
    """The answers in a few words each, for an agent; empty if there are none."""
    unreachable: bool = False
    """There are none because the knowledge base gave no reply, or refused us."""


class LookedUp(Value, frozen=True):
    """Answer to a command: `key` and `args` are of the sentence that replies to it."""

    event_id: EventId
    key: str
    args: Args = {}


class Order(Value, frozen=True):
    """A command from outside the room, with an admin's rights (`commands.check_order`)."""

    actor: str
    """A Matrix user, or a name such as `operator`."""
    way: str
    """`console`, `api`, `cli` or `widget`."""
    words: str = ""
    settings: dict[str, str] = {}
    """As it would be typed, without prefix; or what changes together (`rules.set_together`)."""


class LoginTried(Value, frozen=True):
    """The call centre was asked whether it takes a customer's account."""

    event_id: EventId
    login: OwnLogin
    reason: str | None = None
    """Key of the sentence that says why not; None: it does."""
    code: int | None = None
    """The server's own verdict."""


class EraseRoom(Value, frozen=True):
    """Order to erase all of the room (`erasure`): its chat ends, and we leave it before."""

    stay: bool = False
    """Do not leave, but begin anew with whoever is there."""
    redact: bool = False
    """Before that, have the homeserver redact what the ledger knows of."""


class ErasePerson(Value, frozen=True):
    """Order to erase what is one person's in a room that is not theirs alone.

    Named by a fact, so that the order itself leaves nothing of them in the journal.
    """

    fact: str
    redact: bool = False


_Told = EntryFailed | CardPosted | PartPosted | RobotAnswered | LookedUp | LoginTried | Order
Simple = _Told | Input
"""An input that needs nothing but the room's record."""
Stored = MatrixEvent | Entered | EraseRoom | ErasePerson | Simple

_stored: msgspec.json.Decoder[Stored] = msgspec.json.Decoder(Stored)
dump_input: Callable[[Stored], bytes] = _encoder.encode
load_input: Callable[[bytes], Stored] = _stored.decode
"""Raises ValueError for anything but a stored input."""


# --- meanings -------------------------------------------------------------------------------------


class Undecryptable(msgspec.Struct, frozen=True):
    """An encrypted event that cannot be read (now)."""

    key: str
    """Why, as a key of the texts."""
    later: bool
    """What is missing may still come."""


class FromPerson(msgspec.Struct, frozen=True):
    """Base of what a person sent."""

    event_id: EventId
    sender: UserId


class AboutEvent(FromPerson, frozen=True):
    """Base of what a person sent about an earlier event, `target`."""

    target: EventId


class Invited(msgspec.Struct, frozen=True):
    """A person invited one of our own users (bot or queue user) into a room."""

    event_id: EventId
    by: UserId
    whom: UserId
    direct: bool


class AgentInvited(msgspec.Struct, frozen=True):
    """A person invited a user of ours who answers no invitations, an agent's mostly."""

    event_id: EventId
    by: UserId
    whom: UserId


class MemberJoined(msgspec.Struct, frozen=True):
    who: UserId
    name: str = ""
    event_id: EventId = EventId("")


class Renamed(msgspec.Struct, frozen=True):
    who: UserId
    name: str


class MemberGone(msgspec.Struct, frozen=True):
    """A member left, was kicked or banned; `who` may be one of ours."""

    who: UserId
    by: UserId
    event_id: EventId = EventId("")


class Spoke(FromPerson, frozen=True):
    """A person's message that can be carried, or read as a command."""

    content: CustomerContent
    plain: str = ""
    """The text to read as a command; a file's caption."""
    wrap: str = ""
    """Key of the sentence in which agents see the text; empty: as it is."""
    reply_to: EventId | None = None
    thread: EventId | None = None
    """The event at the root of the thread that this one is in."""
    answers: tuple[tuple[str, str], ...] = ()
    """A poll's: id and text of each."""
    notice: bool = False
    """It says of itself that a program wrote it (specification, `m.notice`)."""

    @property
    def about(self) -> EventId | None:
        """The event that an agent sees quoted."""
        return self.reply_to or self.thread


class Corrected(AboutEvent, frozen=True):
    """A person corrected an earlier message of theirs; `content` and `plain` are the new ones."""

    content: CustomerContent
    plain: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    """A poll's: id and text of each."""
    notice: bool = False


class Withdrew(AboutEvent, frozen=True):
    """A person took back a message, a reaction, or whatever else `target` is."""


class Reacted(AboutEvent, frozen=True):
    """A person put a reaction, mostly an emoji, to a message."""

    key: str


class PollAnswered(AboutEvent, frozen=True):
    answer: str
    """Id of the answer, as the poll's start names it."""
    more: tuple[str, ...] = ()
    """Ids of the others, where several may be chosen."""


class Unreadable(FromPerson, frozen=True):
    """A person's message that we cannot carry; the person is told, by `key` of the texts."""

    key: str
    args: Args = {}


class RoomConfigured(FromPerson, frozen=True):
    """The state event `org.matrix_webchat.room`."""

    content: Raw


class EncryptionOn(msgspec.Struct, frozen=True):
    """The room has become encrypted."""


TOMBSTONE = "m.room.tombstone"


class Upgraded(msgspec.Struct, frozen=True):
    """The room was replaced by another (tombstone), into which we have to be invited."""

    into: RoomId | None = None
    """None: it was closed, and names no other."""


class Nothing(msgspec.Struct, frozen=True):
    """Of no interest to us: an echo of ours, a topic, …"""


_OfMembers = Invited | AgentInvited | MemberJoined | MemberGone | Renamed
OfMessages = Spoke | Corrected | Withdrew | Reacted | PollAnswered | Unreadable
Meaning = _OfMembers | OfMessages | RoomConfigured | EncryptionOn | Upgraded | Nothing
