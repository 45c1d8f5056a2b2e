"""The record of a room, its chats, and its stored inputs.

The record is one value, stored in full with each step that changes it, with one exception
(`visit.after_success`). All that could grow in it is bounded; the bound is defined beside the code
that adds to it. A row may be older than this code, so every field but the room's id has a default.

A *chat* lasts from a customer's request to its end, answered or not: "chat 3" is the room's third
request for an agent (`Conversation.number`, also on the queue card). A number never changes. When
the server drops a session and it is requested again, that is a new chat, as its agent may be
another. The record keeps the newest chats; a change of a chat is stored with its step.

Inputs are stored as tagged JSON, like those of the conversation (`conversation.model`), and Matrix
events unchanged (samples: `stored_rows.jsonl`).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, TypeVar, get_type_hints
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from bridge.conversation.model import (
    Args,
    Cancel,
    Chatting,
    Close,
    Conversation,
    Input,
    Pushed,
    Replied,
    Said,
    Value,
    Waiting,
)
from bridge.conversation.queue import visible
from bridge.ids import AgentId, EventId, QueueId, RoomId, SessionId, UserId, server_of
from bridge.webchat.frames import Agent, RateSession, SessionClosed

Raw = dict[str, object]
"""JSON from the homeserver: an event, or the content of one."""
MOST_AGENTS = 50
"""Maximum number of agents recorded for a chat; the first ones are kept."""


class Ending(StrEnum):
    AGENT = "agent"
    CUSTOMER = "customer"
    LOST = "lost"
    """WebChat no longer knew the session, or another one replaced it."""
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
    """None if no session has begun."""
    answered: int | None = None
    """When an agent first wrote; None if none has, or in rows of earlier versions."""
    ended: int | None = None
    ending: Ending | None = None
    session_id: SessionId | None = None
    robot: bool = False
    """True if the robot took part, even if only at first."""
    agents: tuple[ChatAgent, ...] = ()
    """In order of arrival."""
    rating: int | None = None
    """The rating's id, as accepted by WebChat."""
    first: EventId | None = None
    """The customer's event that began it; None if it began without one."""
    enterprise: str = ""
    """The one whose queue it was, by name; empty if unknown, or if there is only one."""


_encoder = msgspec.json.Encoder()
dump_chat: Callable[[Chat], bytes] = _encoder.encode
load_chat: Callable[[bytes], Chat] = msgspec.json.Decoder(Chat).decode
"""Decode a stored chat; raises ValueError for anything else."""


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
    """Return the chats after a step, newest last; `queue` is the room's, `event` the cause."""
    same = before.phase is after.phase and before.number == after.number
    if not isinstance(happened, Said):
        chats = _rated(chats, before, happened)
        if same:
            return chats  # most inputs do not change a chat
    else:
        known = chats[-1] if chats and chats[-1].number == after.number else None
        if known is not None and same and isinstance(after.phase, Chatting) and known.first:
            return chats  # as nearly always
        event = happened.event_id
    former, phase = visible(before.phase), visible(after.phase)
    by_number = {chat.number: chat for chat in chats}
    if former is not None and (phase is None or after.number != before.number):
        # A chat that began before chats were recorded is added now.
        chat = by_number.get(before.number) or _begun(before, former, former.since, None)
        by_number[chat.number] = replace(chat, ended=now, ending=_ending(before, happened))
    over = after.number if phase is None else after.number - 1
    for number in range(before.number + 1, over + 1):
        # Requested and given up in one step: a chat all the same, as the customer saw it.
        vain = Chat(number, queue, now, ended=now, ending=Ending.NOBODY, first=event)
        by_number[number] = vain
    if phase is not None:
        known = by_number.get(after.number)
        chat = known or _begun(after, phase, now, event)
        if isinstance(happened, Said):
            chat = replace(chat, first=chat.first or happened.event_id)
        by_number[chat.number] = chat if same and known else _continued(chat, before, phase, now)
    return tuple(by_number[number] for number in sorted(by_number))


def kept_chats(chats: tuple[Chat, ...]) -> tuple[Chat, ...]:
    """Return the chats that may still change: the newest, and the newest with a session."""
    with_session = [chat for chat in chats if chat.session_id is not None][-1:]
    return tuple(dict.fromkeys((*with_session, *chats[-1:])))


def changed_chats(
    before: tuple[Chat, ...], after: tuple[Chat, ...]
) -> list[tuple[Chat | None, Chat]]:
    """Return the chats to be written as (before, after); before is None for a new chat."""
    known = {chat.number: chat for chat in before}
    return [(old, chat) for chat in after if (old := known.get(chat.number)) != chat]


def _begun(after: Conversation, phase: Waiting | Chatting, now: int, event: EventId | None) -> Chat:
    """Return a new chat, which begins with the customer's first held message, if there is one."""
    waiting = after.held[0].event_id if after.held else None
    return Chat(after.number, phase.queue_id, now, first=waiting or event)


def _continued(chat: Chat, before: Conversation, phase: Waiting | Chatting, now: int) -> Chat:
    """Return the chat as going on; an agent may accept a request after WebChat refused it."""
    chat = replace(chat, ended=None, ending=None)
    if not isinstance(phase, Chatting):
        return chat
    former = before.phase
    known = isinstance(former, Chatting) and not former.unanswered
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
    """Add the agents present to the known ones; a known name is never replaced by an empty one."""
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
    """Return the chats with the rating that the server has just accepted, if it has."""
    asked = before.outstanding
    if not isinstance(happened, Replied) or asked is None or asked.call_id != happened.call_id:
        return chats
    rate = asked.what
    if not isinstance(rate, RateSession) or not happened.reply.ok:
        return chats
    return tuple(
        replace(chat, rating=rate.rating) if chat.session_id == rate.session_id else chat
        for chat in chats
    )


class Membership(StrEnum):
    NONE = "none"
    ENTERING = "entering"
    """Invited; the join is under way. Messages are parked meanwhile."""
    JOINED = "joined"
    LEFT = "left"


class RoomSettings(Value, frozen=True):
    """Settings by room admins; None: the operator's config applies."""

    queue: QueueId | None = None
    source: str | None = None
    language: str | None = None
    start: str | None = None
    """`on_message` or `on_command`."""
    paused: bool = False
    hours: str | None = None
    """Opening hours, in the format of a queue's in the config."""
    texts: tuple[tuple[str, str], ...] = ()
    """The room's own sentences: (name in `rules.TEXTS`, text)."""
    enterprise: str | None = None
    """One of those that share the bot; takes effect while there is no chat (`rules.settled`)."""


class SealedEvent(Value, frozen=True):
    """An encrypted event whose key may still come. Times are ms since the epoch."""

    raw: Raw
    until: int
    """When the event is given up."""
    retry_at: int
    """When to retry the decryption, unless a key arrives before."""
    chat: int = 0
    """Number of the chat in which it came; 0: there was none, or its sender is not served."""


class Thread(Value, frozen=True):
    """The thread of the customer's last message, which is the event `latest`."""

    root: EventId
    latest: EventId
    at: int = 0
    """When that was sent (`when_sent`), ms since the epoch; 0 in rows of earlier versions."""


class CardKind(StrEnum):
    RATING = "rating"
    QUEUE = "queue"
    ROBOT = "robot"
    CHOICES = "choices"
    CALLBACK = "callback"
    QUEUES = "queues"


class OurCard(Value, frozen=True):
    """A message of the bridge that a reaction or a vote can answer."""

    event_id: EventId
    kind: CardKind
    session_id: SessionId | None = None
    """Rating: session of the chat; 0, which no server uses, if it was with another call centre."""
    choices: tuple[int, ...] = ()
    """Rating: the ratings' ids, the best first. Queues: the queues' ids."""
    number: int = 0
    """Queue: number of the request. Robot: number of the newest request so far."""
    text: str = ""
    """Robot: the question of a command, which is passed on to a person."""
    asked: EventId | None = None
    """Robot: the command that asked it."""
    about: EventId | None = None
    """Robot: the message that the robot answered and that waits for the customer's verdict."""
    options: tuple[str, ...] = ()
    """Choices: the robot's proposals, in the order shown."""
    dropped: tuple[EventId, ...] = ()
    """Queue: dropped messages, which 🔁 sends after all."""
    signs: tuple[str, ...] = ()
    """Queue: the bridge's reactions to it."""
    removed: bool = False
    """Queue: True if somebody redacted it, so that no client shows its later versions."""


class Person(Value, frozen=True):
    """A member of the room who is not a bridge user."""

    user: UserId
    name: str = ""
    """Display name in this room, on one line; empty if there is none."""


class Undelivered(Value, frozen=True):
    """A message whose sender was told that it did not, or perhaps not, reach the call centre."""

    event_id: EventId
    passed: bool = False
    """True if a later message was delivered: a read receipt for this one would go back."""
    again: bool = False
    """True while it is being sent again."""
    private: bool = False
    """True if it may hold a password, or words about an agent: `retry all` leaves it out."""


class OwnLogin(Value, frozen=True):
    """The customer's own account at the call centre."""

    name: str
    password: bytes
    """Sealed with the operator's secret (`Rules.seal`)."""


class Upgrade(Value, frozen=True):
    """An upgrade of the room that is not followed yet: all goes on in the old room."""

    until: int
    """Deadline to be entering the new room, ms; after it the chat ends and the bridge leaves."""
    into: RoomId | None = None
    """The new room, while the bridge enters it; None if nobody has invited it there."""
    host: UserId = UserId("")
    """The bridge user who was invited there."""


T = TypeVar("T")
Stays = Annotated[T, "stays"]
"""Marks a field that an erased room keeps if it stays in service; all others may hold words."""


class RoomRecord(Value, frozen=True):
    """Stored state of one room; the same record across upgrades of the Matrix room."""

    room_id: Stays[RoomId]
    """Key in the store, which never changes: the id of the first Matrix room."""
    version: int = 1
    """Version of this layout; newer ones are refused."""
    membership: Stays[Membership] = Membership.NONE
    host: Stays[UserId] = UserId("")
    """The bridge user whom the customer invited: the bot, or a queue user. It posts notices."""
    customer: Stays[UserId] = UserId("")
    """Last person to invite the bridge; kept after it has left, for calls still owed to WebChat."""
    speaker: UserId = UserId("")
    """Sender of the last message: mentioned as well as the customer, if that is another."""
    displayname: Stays[str] = ""
    key: Stays[str] = ""
    """The room's part of its login names at the call centre (`Rules.login_key`). Stored, as the
    secret may change; empty in a room from before there was one, whose key is a plain hash."""
    enterprise: Stays[str] = ""
    """The call centre that serves the room, fixed during a chat; "": the only one, or the first."""
    direct: Stays[bool] = True
    """True if only the customer who invited the bridge is there with it (see `people`)."""
    was_direct: Stays[bool] = False
    """True if it was direct until somebody joined: it will be again once they have left."""
    encrypted: Stays[bool] = False
    refusal: str = ""
    """Text key of the reason to leave again right after entering; empty if there is none."""
    refused_until: int = 0
    """When that reason ends, ms since the epoch; 0 if unknown."""
    settings: Stays[RoomSettings] = RoomSettings()
    language: tuple[int, str] = (0, "")
    """Detected language of the customers' words: (confidence, code), see `texts.followed`."""
    conversation: Conversation = Conversation()
    thread: Thread | None = None
    corrections: tuple[tuple[EventId, EventId], ...] = ()
    """Edits: (edited message, event of the newer wording), the newest last."""
    whole: tuple[EventId, ...] = ()
    """Edits whose original never reached an agent: they are sent as the message."""
    parked: tuple[Raw, ...] = ()
    """Raw events that came while entering, in order of arrival."""
    sealed: tuple[SealedEvent, ...] = ()
    """Encrypted events that could not be decrypted yet; their senders were told."""
    minute: int = 0
    """The minute in which `spoken` messages were counted, for the rate limit."""
    spoken: int = 0
    cards: tuple[OurCard, ...] = ()
    """The newest cards, the latest last."""
    place: Stays[RoomId | None] = None
    """Present Matrix room since an upgrade; None: still the first one."""
    came_from: Stays[RoomId | None] = None
    """The Matrix room before that."""
    moved_at: Stays[int] = 0
    """When the room moved to `place`, ms since the epoch."""
    upgrade: Upgrade | None = None
    greet_at: int | None = None
    """When to greet the customer of a direct room, unless they write before, ms."""
    greet_link: str = ""
    """Instead of a greeting: the address of the customer's chat in another room."""
    empty_since: Stays[int | None] = None
    """When the last customer left a shared room, ms; None while there is one."""
    people: Stays[tuple[Person, ...]] = ()
    """Members other than bridge users, the newest last; in a large room, customers take precedence.
    Empty while entering."""
    turned_away: tuple[tuple[UserId, int], ...] = ()
    """People without permission, and when they were told so (ms)."""
    chats: tuple[Chat, ...] = ()
    """The chats that may still change (`kept_chats`), the newest last; the store has them all."""
    transcript_at: int = 0
    """When a transcript was last requested, ms since the epoch."""
    figures_at: int = 0
    """When figures were last requested, ms since the epoch."""
    called_at: int = 0
    """When a call was last answered, ms since the epoch."""
    login_at: int = 0
    """When somebody last tried to log in, ms since the epoch."""
    login: OwnLogin | None = None
    """The customer's own account at the call centre; None: the operator's config applies."""
    read_up_to: EventId | None = None
    """The newest message that the call centre has in full: read receipts are sent up to it."""
    undelivered: tuple[Undelivered, ...] = ()
    """The newest undelivered messages that can be sent again, the latest last."""
    arrived_again: int = 0
    """Number of messages sent again that have arrived, reported once none is under way."""
    erasing: tuple[EventId, ...] = ()
    """Redacted events of which the store may still hold copies (`references`)."""
    erase_at: int = 0
    """When to look for those copies, ms since the epoch."""
    gone_at: int | None = None
    """When the room may be erased, ms, once nothing is under way (`erasure`); None: never."""
    stays: bool = False
    """True if the room is served after its erasure, as a new one."""
    former: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Former values of the newest changes of settings, the latest last, for `undo`."""

    @property
    def served(self) -> bool:
        """True while the bridge is in the room, or about to be."""
        return self.membership in {Membership.JOINED, Membership.ENTERING}

    @property
    def matrix_id(self) -> RoomId:
        """The room's present id on Matrix."""
        return self.place or self.room_id

    def room_at(self, moment: int) -> RoomId:
        """Return the Matrix room at a moment (ms), as far back as to the last upgrade but one."""
        return self.came_from or self.room_id if moment < self.moved_at else self.matrix_id

    def anchored(self, name: str, place: RoomId | None = None) -> str:
        """Return the stored name of an anchor in a Matrix room; None: the present one."""
        place = place or self.matrix_id
        return name if place == self.room_id else f"{place} {name}"


_HINTS = get_type_hints(RoomRecord, include_extras=True).items()
STAYING = [name for name, kind in _HINTS if "stays" in getattr(kind, "__metadata__", ())]
"""Names of the fields that are marked so."""
RECORD_VERSION = 1
THREAD_USED_FOR = 3 * 60_000
"""ms after the customer's last message in a thread while answers go into that thread."""

_decoder = msgspec.json.Decoder(RoomRecord)
dump_record: Callable[[RoomRecord], bytes] = _encoder.encode


def rung(record: RoomRecord) -> tuple[UserId, ...]:
    """Return the user ids to mention: the customer, and the person who wrote last.

    With an agent's ghost the room has three members, where clients ring for mentions only.
    """
    return tuple(filter(None, dict.fromkeys((record.customer, record.speaker))))


def thread_in_use(record: RoomRecord, now: int) -> Thread | None:
    """Return the thread in which agents and the bridge answer at this moment (ms), if any.

    A customer who has closed the thread since would see no answer in the room.
    """
    thread = record.thread
    return None if thread is None or now - thread.at >= THREAD_USED_FOR else thread


def load_record(data: bytes) -> RoomRecord:
    """Decode a record; raises MsgspecError if it is none, or was written by a newer version."""
    record = _decoder.decode(data)
    if record.version > RECORD_VERSION:
        why = f"room record has version {record.version}, newer than this bridge"
        raise msgspec.ValidationError(why)
    return record


def fits(kept: Iterable[Raw], event: Raw, limit: int) -> bool:
    """Return whether events take `limit` bytes at most: the record is written with each step."""
    return sum(len(msgspec.json.encode(raw)) for raw in (*kept, event)) <= limit


# --- links (Matrix specification, "matrix.to navigation") -----------------------------------------

MOST_SERVERS = 3
"""Maximum number of `via` servers, as the specification advises."""
_ADDRESS = re.compile(r"(?:\[.*\]|[0-9.]*)(?::[0-9]+)?")
"""A server name that is an IP address: no use to other servers."""


def age_of(event: Raw) -> float:
    """Return the event's age in ms (`unsigned.age`); 0 if the homeserver does not say."""
    unsigned = event.get("unsigned")
    age = unsigned.get("age") if isinstance(unsigned, dict) else None
    return age if isinstance(age, int | float) and 0 < age < sys.maxsize else 0


def when_sent(event: Raw, host: UserId, received: int) -> int:
    """Return when an event was sent, by the age that the homeserver tells; else when it came.

    Told of others than its own users, an age may be forged. All times are ms since the epoch.
    """
    return received - int(age_of(event)) if is_local(event, host) else received


def is_local(event: Raw, host: UserId) -> bool:
    """Return whether an event was sent by a user of the host's homeserver."""
    return str(event.get("sender")).endswith(host[host.find(":") :])


def permalink(room_id: RoomId, event_id: EventId | None, servers: tuple[str, ...]) -> str:
    """Return the matrix.to link of an event or a room, with servers to join through (`via`)."""
    via = "&".join(f"via={quote(server, safe=':')}" for server in servers)
    where = f"https://matrix.to/#/{quote(room_id, safe='!:')}"
    if event_id is not None:
        where += f"/{quote(event_id, safe='$:')}"
    return f"{where}?{via}" if via else where


def via(record: RoomRecord) -> tuple[str, ...]:
    """Return servers in the room: the inviter's, the bridge's, and those with most members."""
    people = Counter(server_of(person.user) for person in record.people)
    ranked = [name for name, _ in sorted(people.items(), key=lambda item: (-item[1], item[0]))]
    servers = dict.fromkeys((server_of(record.customer), server_of(record.host), *ranked))
    named = [name for name in servers if name and not _ADDRESS.fullmatch(name)]
    return tuple(named[:MOST_SERVERS])


# --- inputs ---------------------------------------------------------------------------------------


class MatrixEvent(Value, frozen=True):
    """One event of a transaction, unchanged."""

    raw: Raw


class Entered(Value, frozen=True):
    """The host has joined. The events in `order`, sent before that, were stored along with this."""

    order: tuple[EventId, ...] = ()
    direct: bool = True
    encrypted: bool = False
    displayname: str = ""
    """The inviter's name in the room."""
    config: Raw | None = None
    """Content of the state event `org.matrix_webchat.room`, if the room has one."""
    people: tuple[Person, ...] = ()
    """Joined members other than bridge users."""
    encrypted_by_us: bool = False
    """True if the host turned encryption on, now or when it was there before."""
    configured_by: UserId = UserId("")
    """Author of `config`; empty in rows of versions that did not record it."""
    muted: bool = False
    """True if the room does not let the host send messages."""
    unreadable: bool = False
    """True if the room is encrypted, but not with Megolm."""


class EntryFailed(Value, frozen=True):
    why: str = ""
    lost: bool = False
    """True if the host had joined, and is not in the room any more."""


class CardPosted(Value, frozen=True):
    """A card was posted in the room."""

    card: OurCard
    signs: tuple[str, ...] = ()
    """Reactions for customers to tap, added once a tap would be understood."""


class PartPosted(Value, frozen=True):
    """One more message posted for an effect, for the ledger only; the key is its event id."""

    text: str = ""
    of: EventId = EventId("")
    """Event of the first part of an agent's message; empty if none, or of an earlier version."""


class NotShown(Value, frozen=True):
    """The room took neither an agent's message nor a notice of it; the key is of the chat."""


class RobotAnswered(Value, frozen=True):
    """Result of asking the knowledge base; `key` and `args` are of the sentence that shows it."""

    event_id: EventId
    question: str
    """Empty if it was not asked by command."""
    key: str
    args: Args = {}
    first: bool = False
    """True if it was not asked by command: the message waits for the result."""
    short: tuple[str, ...] = ()
    """The answers in a few words each, for an agent; empty if there are none."""
    unreachable: bool = False
    """True if there are none because the knowledge base did not reply, or refused the request."""


class LookedUp(Value, frozen=True):
    """Answer to a command; `key` and `args` are of the sentence that replies to it."""

    event_id: EventId
    key: str
    args: Args = {}


class Order(Value, frozen=True):
    """A command from outside the room, with an admin's rights (`commands.check_order`)."""

    actor: str
    way: str
    """See `store.Change`."""
    words: str = ""
    settings: dict[str, str] = {}
    """`words`: as typed, without prefix. `settings`: changed together (`rules.set_together`)."""


class LoginTried(Value, frozen=True):
    """Result of trying a customer's own account at the call centre."""

    event_id: EventId
    login: OwnLogin
    reason: str | None = None
    """Text key of the refusal's reason; None if the account was accepted."""
    code: int | None = None
    """The server's result code."""


class EraseRoom(Value, frozen=True):
    """Order to erase the room (`erasure`), after its chat has ended and the bridge has left."""

    stay: bool = False
    """True to stay in the room, and begin anew with its members."""
    redact: bool = False
    """True to have the homeserver redact the events in the ledger first."""


class ErasePerson(Value, frozen=True):
    """Order to erase one person's data in a room of several people.

    The person's id is stored as a fact, so that the order leaves no trace of it in the journal.
    """

    fact: str
    redact: bool = False


_Posted = EntryFailed | CardPosted | PartPosted | NotShown
Simple = _Posted | RobotAnswered | LookedUp | LoginTried | Order | Input
"""An input that needs nothing but the room's record."""
RoomInput = MatrixEvent | Entered | EraseRoom | ErasePerson | Simple
"""Any input of a room, in the form in which it is stored."""
_stored: msgspec.json.Decoder[RoomInput] = msgspec.json.Decoder(RoomInput)
dump_input: Callable[[RoomInput], bytes] = _encoder.encode
load_input: Callable[[bytes], RoomInput] = _stored.decode
"""Decode a stored input; raises ValueError for anything else."""
