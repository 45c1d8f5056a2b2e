"""The values that operations take and give, as JSON.

What an operation is asked is one struct: fields that its path names come from there, the others
from the query, or from the body where there is one. The docstrings are the descriptions in the
OpenAPI document.

Lists come in pages: `next` of an answer is the `after` of the question for the page behind it, and
null on the last one. A page may hold fewer entries than were asked for, even none, and still have a
next one: so no question is costly. All times are ms since the epoch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

_NO_CONTROL = r"[^\x00-\x1f\x7f]"
_END = r"$(?!\n)"
"""To Python, `$` alone stands before a last line feed as well."""
Room = Annotated[str, Meta(pattern=f"^!{_NO_CONTROL}+{_END}", max_length=255)]
User = Annotated[str, Meta(pattern=f"^@{_NO_CONTROL}+{_END}", max_length=255)]
Event = Annotated[str, Meta(pattern=rf"^\${_NO_CONTROL}+{_END}", max_length=255)]
Letter = Annotated[str, Meta(pattern="^[io][0-9]{1,18}" + _END)]
Name = Annotated[str, Meta(pattern=f"^{_NO_CONTROL}*{_END}", max_length=255)]
Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""What JavaScript can count to."""
Phase = Literal["Idle", "Requesting", "Queued", "Chatting", "Ended"]


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing more than the path says."""


class Answer(Struct, frozen=True, kw_only=True):
    """An answer."""


class Page(Asked, frozen=True, kw_only=True):
    """A page of a list."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    """Most entries of the page."""
    after: Annotated[str, Meta(pattern=f"^{_NO_CONTROL}*{_END}", max_length=255)] = ""
    """`next` of the page before; empty: the first page."""


class NumberedPage(Page, frozen=True, kw_only=True):
    """A page of a list that begins with the newest."""

    after: Annotated[str, Meta(pattern="^([0-9]{1,15}([.][0-9]{1,15})?)?" + _END)] = ""
    """`next` of the page before; empty: the first page."""


# --- the bridge itself ----------------------------------------------------------------------------


class Health(Answer, frozen=True, kw_only=True):
    """Whether the process that answers can do its work."""

    ready: bool
    missing: dict[str, str]
    """What it cannot reach, and why; as at `/_matrix/mau/ready`."""
    version: str
    replica: str
    """Name of the process that answers; empty: it is the only one."""


class Replica(Answer, frozen=True, kw_only=True):
    """A process that shares the rooms."""

    name: str
    shards: int
    """How many of the 256 parts of the rooms it serves."""
    started: int
    seen: float
    """Seconds since its last sign of life."""
    state: Literal["serves", "leaving", "gone"]


class Replicas(Answer, frozen=True, kw_only=True):
    """All processes on the database; none where there is no other."""

    replicas: list[Replica]


class Report(Answer, frozen=True, kw_only=True):
    """A process that has told of itself what follows."""

    replica: str
    """Its name; empty: it is the only one."""
    seconds: float
    """How long ago; 0: it is the one that answers."""
    up: int
    """Links of its rooms to the call centre that stand,"""
    opening: int
    """that are being opened,"""
    waiting: int
    """and that failed, and are tried again."""


class Link(Answer, frozen=True, kw_only=True):
    """The connection of one room to the call centre."""

    room_id: str
    replica: str
    """The process that holds it."""
    state: Literal["up", "opening", "waiting"]
    """`up`: it stands; `opening`: it is being opened; `waiting`: it failed, and is tried again."""
    since: int
    """Since when it stands, or has been away."""
    why: str
    """Why it does not stand; empty: nothing went wrong."""


class Links(Answer, frozen=True, kw_only=True):
    """Links by room: all of the process that answers, and those of which the others have told with
    their last sign of life, the 100 of each that stand least well.
    """

    reports: list[Report]
    """Of all processes, first the one that answers."""
    links: list[Link]
    next: str | None


class Enterprise(Answer, frozen=True, kw_only=True):
    """A call centre."""

    id: str
    """Empty where the configuration has only one."""
    bot: str
    """Our user whom its customers invite."""
    queues: int
    """How many it has."""
    default_queue: int


class Enterprises(Answer, frozen=True, kw_only=True):
    """All call centres of the configuration."""

    enterprises: list[Enterprise]


class QueuesAsked(Asked, frozen=True, kw_only=True):
    """Which queues."""

    enterprise: Name | UnsetType = UNSET
    """Only those of this call centre."""


class Wait(Answer, frozen=True, kw_only=True):
    """From where to where a wait is to be expected, in seconds."""

    low: float
    high: float


class Queue(Answer, frozen=True, kw_only=True):
    """A queue of the call centre, and what goes on in it."""

    enterprise: str
    id: int
    name: str
    aliases: list[str]
    hours: str
    """As the configuration has them; empty: nobody said."""
    open: bool | None
    """Whether the hours say "open" now; null: there are none."""
    opens: int | None
    """When they next say "open", while they do not."""
    waiting: int
    """Customers who have asked for an agent and wait."""
    chatting: int
    """Chats that go on."""
    wait: Wait | None
    """What a wait took lately; null: nobody knows."""


class Queues(Answer, frozen=True, kw_only=True):
    """Queues, in the order of the configuration."""

    queues: list[Queue]


class Waited(Answer, frozen=True, kw_only=True):
    """One customer's wait that has ended."""

    at: int
    """When it ended."""
    replica: str
    """The process in which it did."""
    enterprise: str
    queue: int
    seconds: float
    """From the request to an agent (or the robot), or until it was given up."""
    answered: bool
    """False: nobody came."""


class Waits(Answer, frozen=True, kw_only=True):
    """The newest waits that ended since the processes started, oldest first; of another process
    than the one that answers, the newest 100 that it has told of.
    """

    reports: list[Report]
    """Of all processes, first the one that answers."""
    waits: list[Waited]


# --- rooms ----------------------------------------------------------------------------------------


class RoomsAsked(Page, frozen=True, kw_only=True):
    """Which rooms."""

    enterprise: Name | UnsetType = UNSET
    """Only those of this call centre."""
    queue: Number | UnsetType = UNSET
    """Only those whose next request, or whose chat, goes to this queue."""
    phase: Phase | UnsetType = UNSET
    """Only those in this phase."""
    customer: User | UnsetType = UNSET
    """Only those that this user has us serve; all of them are on the first page."""


class RoomAsked(Asked, frozen=True, kw_only=True):
    """Which room."""

    room_id: Room
    """The room's first id, or the one that it has today."""


class Agent(Answer, frozen=True, kw_only=True):
    """Somebody of the call centre who is in a chat."""

    id: str
    name: str


class Settings(Answer, frozen=True, kw_only=True):
    """What room admins have chosen; null: as the operator's configuration says."""

    queue: int | None
    source: str | None = field(name="from")
    language: str | None
    start: str | None
    paused: bool
    hours: str | None
    texts: dict[str, str]
    """Sentences of the room's own, by name; one for a language alone: `greeting.en`."""


class RoomState(Answer, frozen=True, kw_only=True):
    """A room and what goes on in it."""

    room_id: str
    """By which the bridge knows it."""
    matrix_id: str
    """Its id on Matrix today; another one after an upgrade of the room."""
    enterprise: str
    membership: Literal["none", "entering", "joined", "left"]
    customer: str
    """The Matrix user who invited us."""
    host: str
    """Our user who was invited."""
    displayname: str
    """The customer's name."""
    direct: bool
    encrypted: bool
    queue: int
    """Where it is, or the next request goes."""
    next_queue: int
    """Where the next request goes, also while something goes on elsewhere."""
    language: str
    settings: Settings
    phase: Phase
    since: int | None
    """When the phase began."""
    chat: int
    """Number of the newest chat; 0: there was none."""
    position: int | None
    """Place in the queue, where the call centre tells it."""
    session_id: int | None
    """WebChat's number of the chat that goes on."""
    agents: list[Agent]
    """Who is there."""
    held: int
    """Pieces of what the customer wrote that wait for an agent."""
    own_account: bool
    """The customer has logged in with an account of their own."""


class Rooms(Answer, frozen=True, kw_only=True):
    """A page of rooms, by their ids."""

    rooms: list[RoomState]
    next: str | None


class RoomPage(NumberedPage, frozen=True, kw_only=True):
    """A page of what belongs to a room."""

    room_id: Room
    """The room's first id, or the one that it has today."""


class Repeatable(RoomAsked, frozen=True, kw_only=True):
    """Something for a room that is done once, however often it is asked for."""

    request_id: Annotated[str, Meta(pattern="^[!-~]*" + _END, max_length=64)] = ""
    """Drawn by you, such as a UUID: whoever got no answer asks again with the same, and gets the
    order that was given; remembered for `retention.rows`. Empty: each request gives an order."""


class OrderAsked(Repeatable, frozen=True, kw_only=True):
    """A command for a room."""

    words: Annotated[str, Meta(min_length=1, max_length=500)]
    """The command as it is typed in the room, without its prefix: `queue set 2`."""


class Ordered(Answer, frozen=True, kw_only=True):
    """An order is stored, and will be carried out in its turn."""

    room_id: str
    order: str
    """Its number; `get_order` tells what came of it."""


class OrderNumber(RoomAsked, frozen=True, kw_only=True):
    """Which order."""

    order: Annotated[str, Meta(pattern="^[0-9a-f]{16}" + _END)]
    """The number that the order was answered with."""


class OrderState(Answer, frozen=True, kw_only=True):
    """What has come of an order."""

    room_id: str
    order: str
    state: Literal["waiting", "done", "failed"]
    """`failed`: it could not be handled, and lies with the dead letters; `detail` says why."""
    at: int
    """When it was stored, or came to its end."""
    detail: str


SettingValue = Annotated[str, Meta(min_length=1, max_length=500)] | int | bool | None


class SettingsWished(Repeatable, frozen=True, kw_only=True):
    """Settings of a room that are to be changed, each as the state event has it."""

    settings: Annotated[
        dict[Annotated[str, Meta(pattern="^[a-zA-Z_.-]{1,40}" + _END)], SettingValue],
        Meta(min_length=1, max_length=20),
    ]
    """By key: `queue`, `from`, `language`, `start`, `paused`, `hours`, or `text.` and a name, as
    `text.greeting`, or `text.greeting.en` for those who read English; null: as the operator has it.
    `undo` takes all of them back."""


class Change(Answer, frozen=True, kw_only=True):
    """Something that somebody has changed; what was changed at once has the same `at`."""

    number: int
    """Grows from one to the next."""
    at: int
    enterprise: str
    room_id: str
    """Empty: it is about no room."""
    actor: str
    """A Matrix user; `operator` of the command line; `api`, or `api:` and what the caller said."""
    way: str
    """`command`, `state`, `console`, `api`, `cli` or `widget`."""
    key: str
    """What was changed: a setting, or the operation."""
    before: str
    after: str


class Changes(Answer, frozen=True, kw_only=True):
    """A page of changes, the newest first."""

    changes: list[Change]
    next: str | None


# --- chats and accounts ---------------------------------------------------------------------------


class ChatsAsked(Page, frozen=True, kw_only=True):
    """Which chats."""

    enterprise: Name | UnsetType = UNSET
    """Only those of this call centre."""
    queue: Number | UnsetType = UNSET
    """Only those in this queue."""
    phase: Literal["Requesting", "Queued", "Chatting"] | UnsetType = UNSET
    """Only those in this phase."""


class Chat(Answer, frozen=True, kw_only=True):
    """A chat: from the request for an agent to its end."""

    room_id: str
    number: int
    """Counted in its room."""
    queue: int
    asked: int
    started: int | None
    """When an agent or the robot took it; null: nobody did (yet)."""
    answered: int | None
    """When an agent first wrote."""
    ended: int | None
    ending: Literal["agent", "customer", "lost", "cancelled", "nobody"] | None
    """Who or what ended it; `nobody`: no agent came."""
    session_id: int | None
    robot: bool
    """It was with the robot, at first at least."""
    agents: list[Agent]
    """All who took part."""
    rating: int | None
    """The id of the customer's rating."""


class RoomChats(Answer, frozen=True, kw_only=True):
    """A page of a room's chats, the newest first."""

    chats: list[Chat]
    next: str | None


class Account(Answer, frozen=True, kw_only=True):
    """The account as which a room speaks to the call centre."""

    room_id: str
    customer: str
    own: bool
    """It is the customer's own, by the command `login`."""
    login_name: str | None
    """Null where the name alone opens the account, as with `webchat.login.type: register`."""
    logged_in: bool
    """There is a token with which the next link needs no login."""
    issued: int
    """When the last login was."""


class Accounts(Answer, frozen=True, kw_only=True):
    """A page of accounts, by room."""

    accounts: list[Account]
    next: str | None


class Done(Answer, frozen=True, kw_only=True):
    """It is done."""


# --- deliveries -----------------------------------------------------------------------------------


class EventAsked(Asked, frozen=True, kw_only=True):
    """Which event."""

    event_id: Event
    """A customer's event, or one that an agent's message became."""


class TraceLine(Answer, frozen=True, kw_only=True):
    """One line of the ledger."""

    at: int
    what: str
    """`received`, `handled`, `stored`, `attempted`, or how it ended."""
    room_id: str
    detail: str
    possible_double: bool


class Trace(Answer, frozen=True, kw_only=True):
    """What happened to an event, in order of time; without its content."""

    event_id: str
    lines: list[TraceLine]


class Delivery(Answer, frozen=True, kw_only=True):
    """A row of the ledger: what came, what had to be done for it, and what came of that."""

    number: int
    key: str | None
    """Id of the Matrix event, or our name of the call centre's push, that came with this row."""
    cause: str | None
    """What came that it was done for, if that has a row of its own."""
    received: int
    handled: int | None
    """When it was decided what follows; null: it still waits."""
    lane: Literal["webchat", "matrix", "aside"] | None
    """Where something had to be done; null: nothing had."""
    attempted: int | None
    attempts: int
    possible_double: bool
    outcome: str | None
    """How it ended; null: it has not."""
    settled: int | None
    detail: str
    """A code or a reason, never content."""
    event_id: str | None
    """The Matrix event that it became."""


class Deliveries(Answer, frozen=True, kw_only=True):
    """A page of a room's rows of the ledger, the newest first."""

    deliveries: list[Delivery]
    next: str | None


class LetterAsked(Asked, frozen=True, kw_only=True):
    """Which dead letter."""

    letter_id: Letter


class DeadLetter(Answer, frozen=True, kw_only=True):
    """Something that was given up."""

    id: str
    room_id: str
    at: int
    why: str
    fix: str
    """What to do about it, where we know."""


class DeadLetters(Answer, frozen=True, kw_only=True):
    """A page of dead letters, the oldest first."""

    dead_letters: list[DeadLetter]
    next: str | None


class OpenedLetter(DeadLetter, frozen=True, kw_only=True):
    """A dead letter with its content, as `dead-letters show` prints it."""

    body: str | None
    """Null: it is erased, or may hold a password."""


_SUBJECT = rf"^(!{_NO_CONTROL}+|@[^:\x00-\x1f\x7f]+:{_NO_CONTROL}+)(?<!\s){_END}"
Subject = Annotated[str, Meta(pattern=_SUBJECT, max_length=255)]


class EraseAsked(Asked, frozen=True, kw_only=True):
    """Whose data is to be erased, and how."""

    subject: Subject
    """A room (!…) or a person (@name:server)."""
    dry_run: bool = False
    """Only tell what there is."""
    force: bool = False
    """End chats that go on; without it they are a reason not to begin (409)."""
    stay: bool = False
    """Serve emptied rooms on, as new ones; else they are left."""
    redact: bool = False
    """Have the homeserver redact the events that the ledger knows of, where it lets us."""


class KeptData(Answer, frozen=True, kw_only=True):
    """What is not erased, where it lies, and why, or what to do about it."""

    what: str
    where: str
    why: str


class Erasure(Answer, frozen=True, kw_only=True):
    """What there was of the subject, what is left, and what stays where."""

    subject: str
    rooms: list[str]
    """Rooms that go whole."""
    shared: list[str]
    """Rooms of several people, of which only what is the person's goes."""
    chatting: list[str]
    """Rooms that go whole, in which a chat or a request goes on."""
    found: dict[str, int]
    """What there was, by kind."""
    left: dict[str, int]
    """What there is by now."""
    kept: list[KeptData]
    done: bool
    """False: the rooms' owners are at it; ask again in a few seconds."""


class Letters(NumberedPage, frozen=True, kw_only=True):
    """A page of dead letters."""


class Trouble(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """An error, in Matrix's form."""

    errcode: str
    error: str
    """One sentence that says what to do."""
    retry_after_ms: int = 0
    """With M_LIMIT_EXCEEDED: when to try again."""
