"""The call centre as plain data: customers, their queue requests, their sessions, their transcript.

Pure: what is to be sent is returned. A customer has at most one queue request or one open session
(reference 4: codes -1 and -2), except that a session with the robot can wait for a person. All of
it outlives the socket: only `session_grace`, an explicit end, or `forget` removes it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from bridge.ids import CallId, QueueId, RequestId, SessionId
from bridge.simulator.options import DeskAgent, SimulatorOptions

# --- what is to be sent ---------------------------------------------------------------

Wire = dict[str, object]
"""A decoded frame or a part of one, keys spelled as on the wire."""


@dataclass(frozen=True, slots=True)
class Send:
    """One frame for one customer's socket."""

    login: str
    frame: Wire
    record: Wire | None = None
    """Where to note that a socket took it (`sent`)."""

    @property
    def is_push(self) -> bool:
        """Replies die with their socket; a push may be kept for the next."""
        return "result" not in self.frame


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close a customer's socket once everything before has been written."""

    login: str
    code: int
    """A WebSocket close code; 1006 cuts the connection at once and without a word."""


Outgoing = Send | HangUp


@dataclass(slots=True)
class Pending:
    """A push that waits for its receipt, or for a socket."""

    send: Send
    sent_at: float
    """Seconds, monotonic."""
    resends: int = 0


# --- logs and the transcript ----------------------------------------------------------------------

LONGEST = 2000
"""Characters of one string that a log keeps whole: base64 pictures must not eat the memory."""


class Log:
    """The last `keep` entries, oldest first; their numbers grow by one and are never used twice."""

    def __init__(self, keep: int, number: str) -> None:
        self._entries: deque[Wire] = deque(maxlen=keep)
        self._key = number
        self.last = 0
        """The number of the newest entry; 0 before the first."""

    def add(self, entry: Wire) -> Wire:
        """Add what is returned: the entry with its number."""
        self.last += 1
        numbered = {self._key: self.last, **entry}
        self._entries.append(numbered)
        return numbered

    def since(self, number: int) -> list[Wire]:
        # Walking from the right keeps a long poll cheap when the log is full.
        newest = itertools.islice(reversed(self._entries), max(self.last - number, 0))
        return list(newest)[::-1]


def masked(value: object) -> object:
    """A copy of a decoded frame without its tokens, long strings shortened."""
    if isinstance(value, Mapping):
        return {
            key: "<token>" if key == "token" and isinstance(item, str) else masked(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    if isinstance(value, str):
        return shortened(value)
    return value


def shortened(text: str) -> str:
    """The text itself, or its beginning with its length and sha256 when it is long."""
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:64]}… ({len(text)} characters, sha256 {digest})"


Side = Literal["customer", "agent", "robot", "event"]
Entry = Wire
"""One line of a conversation; what is empty is left out.

Always: `n`, `time` (milliseconds), `login`, `side`, `kind` (`text`, `image`, `file`, `location`,
`voice`, `notice`; of an event, what happened). Maybe: `session`, `request` (of a pre-message, or an
event in the queue), `agent`, `text` (HTML where an agent or the robot speaks), `name`, `size`
(bytes), `file` (where the desk fetches it: `number/name` below `/desk/files/`) or `url` (not one of
ours), `seconds`, `audio` (base64), `latitude`, `longitude`, `map`, `rating`, `repeat` (the customer
had sent this messageId before).
"""


def shown(entry: Entry) -> Wire:
    """An entry for a desk: a voice is announced, and fetched by the entry's number."""
    told = {key: value for key, value in entry.items() if key != "audio"}
    ours = entry["kind"] == "voice" and ("audio" in entry or "file" in entry)
    return told | {"voice": entry["n"]} if ours else told


# --- the call centre -----------------------------------------------------------------------------


@dataclass(slots=True)
class QueueRequest:
    id: RequestId
    login: str
    queue_id: QueueId
    source: str
    since: float = 0
    """Seconds, monotonic."""
    wanted: str = ""
    """The id of the agent asked for by `toUserId`."""
    session: Session | None = None
    """The robot's session that waits for a person."""
    announced: int = 0
    """The place that the customer was last told."""


@dataclass(slots=True)
class Session:
    id: SessionId
    login: str
    queue_id: QueueId
    agents: list[DeskAgent]
    robot: bool = False
    """The robot answers."""
    open: bool = True
    ended_by: str = ""
    """An Ending, or empty while it is open."""


@dataclass(slots=True)
class History:
    """Journal of what was said and done, for the scripts that compare and count."""

    sessions: list[Session] = field(default_factory=list)
    messages: list[Wire] = field(default_factory=list)
    """Every 110 and 111 that was accepted, each copy of it, in order."""
    call_ids: dict[CallId, None] = field(default_factory=dict)
    """The messageIds of `messages`, in the order they came."""
    refused: list[Wire] = field(default_factory=list)
    """Every other 110 and 111, and the result it got."""
    said: list[Wire] = field(default_factory=list)
    """Every 210, with `sent` telling whether a socket took it."""
    ratings: list[Wire] = field(default_factory=list)
    signals: list[Wire] = field(default_factory=list)
    """Every 112 and 113, with the moment it came: scripts see whether they are throttled."""
    lost_pushes: int = 0
    dropped: int = 0
    """Entries of these lists that had to go for newer ones."""


@dataclass(slots=True)
class Customer:
    login: str
    client_id: str
    name: str = ""
    logins: int = 0
    tokens: dict[str, float] = field(default_factory=dict)
    """Token to the time it expires."""
    linked: bool = False
    links: int = 0
    """How many sockets it has had."""
    link_lost_at: float | None = None
    typed_at: float | None = None
    """When the last 113 or 112 came; seconds, monotonic."""
    preview: str = ""
    """The text of the last 112; cleared by a message."""
    request: QueueRequest | None = None
    session: Session | None = None
    last_session: Session | None = None
    """The newest session, still the one to rate after its end (trap T19)."""
    history: History = field(default_factory=History)
    pending: dict[str, Pending] = field(default_factory=dict)
    """Pushes without receipt (key: rsId), or kept for the next socket; oldest first."""


_T = TypeVar("_T")
Ending = Literal["agent", "customer", "grace", "forgotten"]
Memory = Literal["tokens", "requests", "sessions"]
STICKY = "SERVERID"
"""Name of a load balancer's sticky cookie."""


def node(token: str) -> str:
    """The value of the sticky cookie; each login has its own."""
    return "node-" + hashlib.sha256(token.encode()).hexdigest()[:12]


class CallCentre:
    def __init__(
        self, options: SimulatorOptions, new_token: Callable[[], str], wall_ms: Callable[[], int]
    ) -> None:
        self.options = options
        self.wall_ms = wall_ms
        """Milliseconds since the epoch."""
        self.transcript = Log(options.keep_entries, "n")
        """What all customers said and did, for people at `/desk`."""
        self.base_url = ""
        """Absolute address of the context path; known once the server listens."""
        self.customers: dict[str, Customer] = {}
        self.requests: dict[RequestId, QueueRequest] = {}
        """The queue requests of all queues, oldest first."""
        self.sessions: dict[SessionId, Session] = {}
        self.closed: deque[Session] = deque(maxlen=50)
        """The sessions that ended last, for the desk."""
        self._new_token = new_token
        self._holders: dict[str, Customer] = {}
        """Every token given out; whether it is still valid says its customer's `tokens`."""
        self._numbers = {"request": 9000, "session": 5000, "client": 0, "message": 0, "push": 0}

    def number(self, kind: Literal["request", "session", "client", "message", "push"]) -> int:
        self._numbers[kind] += 1
        return self._numbers[kind]

    # --- customers and tokens ---------------------------------------------------------------

    def sign_in(self, login: str, name: str, now: float) -> tuple[Customer, str]:
        customer = self.customers.get(login)
        if customer is None:
            client_id = f"00000000-0000-4000-8000-{self.number('client'):012d}"
            customer = self.customers[login] = Customer(login, client_id)
        customer.name = name or customer.name
        customer.logins += 1
        if self.options.new_login_kills_old:
            self.sign_out(customer)
        token = self._new_token()
        self._holders[token] = customer
        customer.tokens[token] = now + self.options.token_lifetime
        return customer, token

    def holder(self, token: str, now: float, cookie: str | None = None) -> Customer | None:
        """The customer of a valid token. The `cookie` of a request through a balancer must lead to
        the server that knows it (`sticky_cookie`); None: it came by a socket that stands.
        """
        customer = self._holders.get(token)
        if customer is None or now >= customer.tokens.get(token, now):
            return None
        led = cookie is None or not self.options.sticky_cookie or cookie == node(token)
        return customer if led else None

    def sign_out(self, customer: Customer) -> None:
        """Make all tokens of a customer invalid; nothing else changes."""
        for token in customer.tokens:
            self._holders.pop(token, None)
        customer.tokens.clear()

    # --- queue requests and sessions ----------------------------------------------------------

    def waiting(self, queue_id: QueueId) -> list[QueueRequest]:
        return [request for request in self.requests.values() if request.queue_id == queue_id]

    def leave_queue(self, request: QueueRequest) -> None:
        """End a request: a later 102 or 111 that names it finds nothing."""
        del self.requests[request.id]
        self.customers[request.login].request = None

    def start(self, request: QueueRequest, agent: DeskAgent) -> Session:
        """Turn a request into an open session; its pre-messages now belong to the session."""
        self.leave_queue(request)
        customer = self.customers[request.login]
        session = self.begin(customer, request.queue_id, [agent])
        for message in customer.history.messages:
            if message["requestId"] == request.id:
                message["sessionId"] = session.id
        return session

    def begin(
        self, customer: Customer, queue_id: QueueId, agents: list[DeskAgent], *, robot: bool = False
    ) -> Session:
        number = SessionId(self.number("session"))
        session = Session(number, customer.login, queue_id, agents, robot=robot)
        self.sessions[session.id] = customer.session = customer.last_session = session
        self.keep(customer, customer.history.sessions, session)
        return session

    def end(self, session: Session, by: Ending) -> None:
        """Close a session, and the request for a person in it; it can still be rated."""
        session.open = False
        session.ended_by = by
        del self.sessions[session.id]
        self.closed.append(session)
        customer = self.customers[session.login]
        customer.session = None
        if customer.request is not None:
            self.leave_queue(customer.request)

    def event(self, session: Session, kind: str, **fields: object) -> None:
        self.note(session.login, "event", kind, session=session.id, **fields)

    def note(self, login: str, side: Side, kind: str, **fields: object) -> Entry:
        known = {"time": self.wall_ms(), "login": login, "side": side, "kind": kind, **fields}
        told = {key: value for key, value in known.items() if value or type(value) in (int, float)}
        return self.transcript.add(told)

    def keep(self, customer: Customer, log: list[_T], entry: _T) -> None:
        """Add to one of a customer's lists; the oldest entries go when there are too many."""
        log.append(entry)
        surplus = len(log) - self.options.keep_records
        if surplus > 0:
            del log[:surplus]
            customer.history.dropped += surplus

    def settle(self, now: float) -> None:
        """End the sessions whose customers have been without a socket for too long."""
        grace = self.options.session_grace
        for session in list(self.sessions.values()) if grace else ():
            lost = self.customers[session.login].link_lost_at
            if lost is not None and now - lost >= grace:
                self.end(session, "grace")

    def forget(self, what: Memory) -> None:
        """Lose one kind of memory without telling anybody, as a restarted server does."""
        match what:
            case "tokens":
                for customer in self.customers.values():
                    self.sign_out(customer)
            case "requests":
                for request in list(self.requests.values()):
                    self.leave_queue(request)
            case "sessions":
                for session in list(self.sessions.values()):
                    self.end(session, "forgotten")
                for customer in self.customers.values():
                    customer.last_session = None
