"""JSON requests and answers of the operations.

A request is one struct: its fields come from the path, the others from the query or the JSON body.
The docstrings are the descriptions in the OpenAPI document.

Lists are paged: pass `next` of an answer as `after` of the following request; it is null on the
last page. A page may hold fewer entries than `limit`, even none, and still have a next one, which
bounds the cost of each request. All times are ms since the epoch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

_NO_CONTROL = r"[^\x00-\x1f\x7f]"
_END = r"$(?!\n)"
"""End of a pattern: in Python, `$` alone also matches before a final line feed."""
_PERSON = rf"@[^:\x00-\x1f\x7f]+:{_NO_CONTROL}+"
FORMS = {
    (_LINE := f"^{_NO_CONTROL}*{_END}"): "text without line breaks and other control characters",
    (_ROOM := f"^!{_NO_CONTROL}+{_END}"): "the id of a room (!…)",
    (_USER := f"^@{_NO_CONTROL}+{_END}"): "a user id (@name:server)",
    (_EVENT := rf"^\${_NO_CONTROL}+{_END}"): "the id of an event ($…)",
    (
        _SUBJECT := rf"^(!{_NO_CONTROL}+|{_PERSON})(?<!\s){_END}"
    ): "a room (!…) or a person (@name:server)",
    (_LETTER := "^[io][0-9]{1,18}" + _END): "i or o and a number, such as i12",
    (_NUMBERED := "^([0-9]{1,15}([.][0-9]{1,15})?)?" + _END): "`next` of the previous page",
    (_PRINTABLE := "^[!-~]*" + _END): "printable ASCII characters without spaces",
    (_ORDER := "^[0-9a-f]{16}" + _END): "16 digits of 0-9 and a-f",
    (_SETTING := "^[a-zA-Z_.-]{1,40}" + _END): "1 to 40 of a-z A-Z _ . -",
}
"""Each pattern in words, for error messages."""
Room = Annotated[str, Meta(pattern=_ROOM, max_length=255)]
User = Annotated[str, Meta(pattern=_USER, max_length=255)]
Event = Annotated[str, Meta(pattern=_EVENT, max_length=255)]
Letter = Annotated[str, Meta(pattern=_LETTER)]
Name = Annotated[str, Meta(pattern=_LINE, max_length=255)]
Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""Up to JavaScript's largest safe integer."""
Phase = Literal["Idle", "Requesting", "Queued", "Chatting", "Ended"]


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request without parameters but those in the path."""


class Answer(Struct, frozen=True, kw_only=True):
    """An answer."""


class Page(Asked, frozen=True, kw_only=True):
    """Request for a page of a list."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    """Maximum number of entries."""
    after: Annotated[str, Meta(pattern=_LINE, max_length=255)] = ""
    """`next` of the previous page; empty for the first page."""


class NumberedPage(Page, frozen=True, kw_only=True):
    """Request for a page of a list whose pages are marked by numbers."""

    after: Annotated[str, Meta(pattern=_NUMBERED)] = ""
    """`next` of the previous page; empty for the first page."""


# --- the bridge itself ----------------------------------------------------------------------------


class Health(Answer, frozen=True, kw_only=True):
    """Whether the answering process is ready."""

    ready: bool
    missing: dict[str, str]
    """Parts without which it is not ready -> reason; as at `/_matrix/mau/ready`."""
    away: dict[str, str]
    """Unreachable parts -> reason, also one of several call centres (`webchat best`)."""
    version: str
    replica: str
    """Name of the answering process; empty if it is the only one."""


class Replica(Answer, frozen=True, kw_only=True):
    """A process that shares the rooms."""

    name: str
    shards: int
    """Number of the 256 shards of rooms that it serves."""
    started: int
    seen: float
    """Seconds since its last sign of life."""
    state: Literal["serves", "leaving", "gone"]


class Replicas(Answer, frozen=True, kw_only=True):
    """All processes that share the database; empty if the bridge runs as a single process."""

    replicas: list[Replica]


class Report(Answer, frozen=True, kw_only=True):
    """The latest report of a process about its links and waits."""

    replica: str
    """Name of the process; empty if it is the only one."""
    seconds: float
    """Age of the report in seconds; 0 for the answering process."""
    up: int
    """Number of its links to the call centre that are up."""
    opening: int
    """Number of links that are being opened."""
    waiting: int
    """Number of links that failed and will be retried."""


class Link(Answer, frozen=True, kw_only=True):
    """The link of a room to the call centre."""

    room_id: str
    enterprise: str
    replica: str
    """Name of the process that holds it."""
    state: Literal["up", "opening", "waiting"]
    """`up`; `opening`: being opened; `waiting`: it failed and will be retried."""
    since: int
    """When it came up or went down."""
    why: str
    """Why it is down; empty if there was no error."""


class Links(Answer, frozen=True, kw_only=True):
    """Links by room: all of the answering process, and up to 100 of each other process from its
    last report, links that are down first.
    """

    reports: list[Report]
    """Reports of all processes, the answering one first."""
    links: list[Link]
    next: str | None


class Enterprise(Answer, frozen=True, kw_only=True):
    """A call centre."""

    id: str
    """Id in the configuration; empty if there is only one."""
    bot: str
    """Matrix user id of the bot that its customers invite."""
    queues: int
    """Number of its queues."""
    default_queue: int


class Enterprises(Answer, frozen=True, kw_only=True):
    """All call centres of the configuration."""

    enterprises: list[Enterprise]


class QueuesAsked(Asked, frozen=True, kw_only=True):
    """Filter of queues."""

    enterprise: Name | UnsetType = UNSET
    """Only queues of this call centre."""


class Wait(Answer, frozen=True, kw_only=True):
    """Expected range of a wait, in seconds."""

    low: float
    high: float


class Queue(Answer, frozen=True, kw_only=True):
    """A queue of the call centre with its load."""

    enterprise: str
    id: int
    name: str
    aliases: list[str]
    hours: str
    """Opening hours in the configuration; empty if none."""
    open: bool | None
    """Whether it is open now by its hours; null without hours."""
    opens: int | None
    """Next opening by its hours, while it is closed; else null."""
    waiting: int
    """Number of customers who wait for an agent."""
    chatting: int
    """Number of current chats."""
    wait: Wait | None
    """Expected wait, learned from recent waits; null if unknown."""


class Queues(Answer, frozen=True, kw_only=True):
    """Queues of the configuration, in its order; chats of one that has left it are in /chats."""

    queues: list[Queue]


class Waited(Answer, frozen=True, kw_only=True):
    """A customer's wait that has ended."""

    at: int
    """When it ended."""
    replica: str
    """Name of the process that served the room."""
    enterprise: str
    queue: int
    seconds: float
    """From the request until an agent or robot took it, or until it ended without."""
    answered: bool
    """False if nobody took it."""


class Waits(Answer, frozen=True, kw_only=True):
    """The newest waits that ended since the processes started, oldest first; at most 100 of each
    process that is not the answering one.
    """

    reports: list[Report]
    """Reports of all processes, the answering one first."""
    waits: list[Waited]


# --- rooms ----------------------------------------------------------------------------------------


class RoomsAsked(Page, frozen=True, kw_only=True):
    """Filter of rooms."""

    enterprise: Name | UnsetType = UNSET
    """Only rooms of this call centre."""
    queue: Number | UnsetType = UNSET
    """Only rooms whose current chat or next request is in this queue."""
    phase: Phase | UnsetType = UNSET
    """Only rooms in this phase."""
    customer: User | UnsetType = UNSET
    """Only rooms of this customer; the first page has all of them."""


class RoomAsked(Asked, frozen=True, kw_only=True):
    """A room."""

    room_id: Room
    """The room's original or current Matrix id."""


class Agent(Answer, frozen=True, kw_only=True):
    """An agent in a chat."""

    id: str
    name: str


class Settings(Answer, frozen=True, kw_only=True):
    """Settings by the room's admins; null: the configuration applies."""

    enterprise: str | None
    """Call centre chosen among those that share the bot; it serves the room once no chat runs."""
    queue: int | None
    source: str | None = field(name="from")
    language: str | None
    start: str | None
    paused: bool
    hours: str | None
    hours_unclear: bool
    """Whether `hours` cannot be read (stored by another version): the queue's count."""
    texts: dict[str, str]
    """The room's own sentences by name, with a suffix if for one language only: `greeting.en`."""


class RoomState(Answer, frozen=True, kw_only=True):
    """A room and the state of its conversation."""

    room_id: str
    """The bridge's id of the room: its first Matrix id."""
    matrix_id: str
    """Current Matrix id; differs from `room_id` after an upgrade of the room."""
    enterprise: str
    enterprises: list[str]
    """Call centres that its admins can choose; empty if only its own."""
    membership: Literal["none", "entering", "joined", "left"]
    customer: str
    """The Matrix user who invited the bridge."""
    host: str
    """The bridge user who was invited."""
    displayname: str
    """The customer's display name."""
    direct: bool
    encrypted: bool
    queue: int
    """Queue of the current request or chat, else of the next request."""
    next_queue: int
    """Queue of the next request."""
    language: str
    settings: Settings
    phase: Phase
    since: int | None
    """When the phase began."""
    chat: int
    """Number of the newest chat; 0 if there was none."""
    position: int | None
    """Position in the queue, if the call centre tells it."""
    session_id: int | None
    """WebChat session id of the current chat."""
    agents: list[Agent]
    """Agents in the current chat."""
    held: int
    """Number of customer messages (parts) that wait for an agent."""
    own_account: bool
    """Whether the customer has logged in with their own account."""


class Rooms(Answer, frozen=True, kw_only=True):
    """A page of rooms, ordered by id."""

    rooms: list[RoomState]
    next: str | None


class RoomPage(NumberedPage, frozen=True, kw_only=True):
    """Request for a page of a room's list."""

    room_id: Room
    """The room's original or current Matrix id."""


class Repeatable(RoomAsked, frozen=True, kw_only=True):
    """An idempotent request for a room."""

    request_id: Annotated[str, Meta(pattern=_PRINTABLE, max_length=64)] = ""
    """Idempotency key, such as a UUID. A repeat with the same key returns the first order, for
    `retention.rows`. Empty: each request makes a new order."""


class OrderAsked(Repeatable, frozen=True, kw_only=True):
    """A command for a room."""

    words: Annotated[str, Meta(min_length=1, max_length=500)]
    """The command as typed in the room, without the prefix: `queue set 2`."""


class Ordered(Answer, frozen=True, kw_only=True):
    """The order is stored and will be carried out."""

    room_id: str
    order: str
    """Number of the order; `get_order` returns its state."""


class OrderNumber(RoomAsked, frozen=True, kw_only=True):
    """An order of a room."""

    order: Annotated[str, Meta(pattern=_ORDER)]
    """Number of the order, from the answer to it."""


class OrderState(Answer, frozen=True, kw_only=True):
    """State of an order."""

    room_id: str
    order: str
    state: Literal["waiting", "done", "failed"]
    """`failed`: it could not be handled and is a dead letter; `detail` has the reason."""
    at: int
    """When it was carried out or failed; while it waits, when it was stored."""
    detail: str


SettingValue = Annotated[str, Meta(min_length=1, max_length=500)] | int | bool | None


class SettingsWished(Repeatable, frozen=True, kw_only=True):
    """New settings of a room, with the keys and values of the state event."""

    settings: Annotated[
        dict[Annotated[str, Meta(pattern=_SETTING)], SettingValue],
        Meta(min_length=1, max_length=20),
    ]
    """Keys: `queue`, `from`, `language`, `start`, `paused`, `hours`, `enterprise` (where several
    share the bot), or `text.` and a name, such as `text.greeting` (`text.greeting.en`: only in
    English). Null resets a key to the configuration. The command `undo` reverts all of them."""


class Change(Answer, frozen=True, kw_only=True):
    """An entry of the audit trail; entries of one change have the same `at`."""

    number: int
    """Increases with each entry."""
    at: int
    enterprise: str
    room_id: str
    """Empty if it concerns no room."""
    actor: str
    """A Matrix user; `operator` (command line); `api`, or `api:` with the caller's `X-Actor`."""
    way: str
    """`command`, `state`, `console`, `api`, `cli` or `widget`."""
    key: str
    """The setting or operation."""
    before: str
    after: str


class Changes(Answer, frozen=True, kw_only=True):
    """A page of the audit trail, newest first."""

    changes: list[Change]
    next: str | None


# --- chats and accounts ---------------------------------------------------------------------------


class ChatsAsked(Page, frozen=True, kw_only=True):
    """Filter of current chats and requests."""

    enterprise: Name | UnsetType = UNSET
    """Only those of this call centre."""
    queue: Number | UnsetType = UNSET
    """Only those in this queue."""
    phase: Literal["Requesting", "Queued", "Chatting"] | UnsetType = UNSET
    """Only those in this phase."""


class Chat(Answer, frozen=True, kw_only=True):
    """A chat, from the request for an agent to its end."""

    room_id: str
    number: int
    """Number of the chat within its room."""
    enterprise: str
    """Call centre that it was with; the room's own may be another by now."""
    queue: int
    asked: int
    started: int | None
    """When an agent or robot took it; null if none did (yet)."""
    answered: int | None
    """When an agent first wrote."""
    ended: int | None
    ending: Literal["agent", "customer", "lost", "cancelled", "nobody"] | None
    """Party that ended it; `nobody` if no agent came."""
    session_id: int | None
    robot: bool
    """Whether it began with a robot."""
    agents: list[Agent]
    """All agents who took part."""
    rating: int | None
    """Id of the customer's rating."""


class RoomChats(Answer, frozen=True, kw_only=True):
    """A page of a room's chats, newest first."""

    chats: list[Chat]
    next: str | None


class Account(Answer, frozen=True, kw_only=True):
    """The WebChat account of a room."""

    room_id: str
    enterprise: str
    """Call centre at which the account is."""
    customer: str
    own: bool
    """Whether it is the customer's own account (command `login`)."""
    login_name: str | None
    """Null if the name alone suffices to log in, as with `webchat.login.type: register`."""
    logged_in: bool
    """Whether a token is stored, so that the next link needs no login."""
    issued: int
    """Time of the last login."""


class Accounts(Answer, frozen=True, kw_only=True):
    """A page of accounts, ordered by room id."""

    accounts: list[Account]
    next: str | None


class Done(Answer, frozen=True, kw_only=True):
    """The operation was carried out."""


# --- deliveries -----------------------------------------------------------------------------------


class EventAsked(Asked, frozen=True, kw_only=True):
    """A Matrix event."""

    event_id: Event
    """Id of a customer's event, or of the event of an agent's message."""


class TraceLine(Answer, frozen=True, kw_only=True):
    """A line of the ledger."""

    at: int
    what: str
    """`received`, `handled`, `stored`, `attempted`, or the outcome."""
    room_id: str
    detail: str
    possible_double: bool


class Trace(Answer, frozen=True, kw_only=True):
    """The history of an event in order of time, without its content."""

    event_id: str
    lines: list[TraceLine]


class Delivery(Answer, frozen=True, kw_only=True):
    """A row of the ledger: an input, its effect, or both, with the outcome."""

    number: int
    key: str | None
    """Key of the input: a Matrix event id, or the bridge's key of a push; null: effect only."""
    cause: str | None
    """Key of the input that led to the effect, if that input has its own row."""
    received: int
    handled: int | None
    """When the input was handled; null while it waits."""
    lane: Literal["webchat", "matrix", "aside"] | None
    """Lane that carries out the effect; null without an effect."""
    attempted: int | None
    attempts: int
    possible_double: bool
    outcome: str | None
    """Outcome; null while it is pending."""
    settled: int | None
    detail: str
    """A code or a reason, never content."""
    event_id: str | None
    """Id of the Matrix event that the bridge sent."""


class Deliveries(Answer, frozen=True, kw_only=True):
    """A page of a room's rows of the ledger, newest first."""

    deliveries: list[Delivery]
    next: str | None


class LetterAsked(Asked, frozen=True, kw_only=True):
    """A dead letter's id."""

    letter_id: Letter


class DeadLetter(Answer, frozen=True, kw_only=True):
    """A dead letter: an input or effect that the bridge could not handle."""

    id: str
    room_id: str
    enterprise: str
    at: int
    why: str
    fix: str
    """Remedy; empty if unknown."""


class DeadLetters(Answer, frozen=True, kw_only=True):
    """A page of dead letters, oldest first."""

    dead_letters: list[DeadLetter]
    next: str | None


class OpenedLetter(DeadLetter, frozen=True, kw_only=True):
    """A dead letter with its content."""

    body: str | None
    """Null if it was erased or may contain a password."""


Subject = Annotated[str, Meta(pattern=_SUBJECT, max_length=255)]


class EraseAsked(Asked, frozen=True, kw_only=True):
    """Request to erase the data of a room or a person."""

    subject: Subject
    """A room (!…) or a person (@name:server)."""
    dry_run: bool = False
    """Only report what would be erased."""
    force: bool = False
    """End current chats first; otherwise they cause an error (409)."""
    stay: bool = False
    """Keep serving the erased rooms, as new ones; otherwise the bridge leaves them."""
    redact: bool = False
    """Also redact the events in the ledger on the homeserver, where the bridge has the power."""


class KeptData(Answer, frozen=True, kw_only=True):
    """Data that is not erased, its place, and the reason or what to do about it."""

    what: str
    where: str
    why: str


class Erasure(Answer, frozen=True, kw_only=True):
    """Data found of the subject, data not yet erased, and data that is kept."""

    subject: str
    rooms: list[str]
    """Rooms that are erased completely."""
    shared: list[str]
    """Rooms of several people, in which only this person's data is erased."""
    chatting: list[str]
    """Rooms of `rooms` with a current chat or request."""
    found: dict[str, int]
    """Number of items by kind, before."""
    left: dict[str, int]
    """Number of items by kind, now."""
    kept: list[KeptData]
    done: bool
    """False while rooms are still being erased: repeat the request in a few seconds."""


class Trouble(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """An error, in Matrix's form."""

    errcode: str
    error: str
    """A sentence that says what to do."""
    retry_after_ms: int = 0
    """With M_LIMIT_EXCEEDED: ms to wait before a retry."""
