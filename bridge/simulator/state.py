"""The call centre as plain data: customers, their queue requests, sessions, and transcript.

Pure. A customer has at most one queue request or one open session (reference 4: codes -1 and -2),
except that a robot session may wait for a person. Both outlive the socket: only `session_grace`
(sessions), `queue_timeout` (requests), an explicit end or `forget` removes them.

Fault injection: frames are lost, doubled, reordered, delayed or refused; HTTP requests fail. Faults
are used up in list order, so the same script meets the same faults each time. `web` asks the plan
at each frame and request.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.simulator.options import DeskAgent, Positive, SimulatorOptions

# --- outgoing -------------------------------------------------------------------------

Wire = dict[str, object]
"""A decoded frame or a part of one, keys spelled as on the wire."""
Record = dict[str, Any]
"""An act of a customer or an agent, for scripts that compare and count; keys as in the state."""
CloseCode = Annotated[int, msgspec.Meta(ge=1000, le=4999)]
"""A WebSocket close code."""


@dataclass(frozen=True, slots=True)
class Send:
    """One frame for one customer's socket."""

    login: str
    frame: Wire
    record: Record | None = None
    """Record whose `sent` becomes True once a socket took the frame."""

    @property
    def is_push(self) -> bool:
        """Whether the frame is a push: it may be kept for the next socket, unlike a reply."""
        return "result" not in self.frame


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close a customer's socket once all earlier frames are written."""

    login: str
    code: int
    """A WebSocket close code; 1006 aborts the connection at once, without a close frame."""


Outgoing = Send | HangUp


@dataclass(slots=True)
class Pending:
    """A push without a receipt yet, or kept until the customer has a socket."""

    send: Send
    sent_at: float
    """Seconds, monotonic."""
    resends: int = 0


# --- faults --------------------------------------------------------------------------------------


class Fault(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One kind of fault, `count` times; docs/simulator.md says what each kind does."""

    fault: Literal["drop", "double", "reorder", "delay", "answer", "ignore", "cut", "http", "hang"]
    count: Positive = 1
    login: str = ""
    """Customer whom the fault hits; empty for all. `http` and `hang` ignore it."""
    type: int | None = None
    """Wire type of the frame or command that the fault hits; None for every type."""
    result: int | None = None
    carried_out: bool = True
    code: CloseCode = 1006
    delay_ms: int = 0
    path: Literal["tpi", "tpiu", "robotSearch", "cws", "up", "any"] = "any"
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503

    def __post_init__(self) -> None:
        if self.fault == "answer" and self.result is None:
            raise ValueError("answer needs a result")
        if self.fault == "delay" and self.delay_ms < 1:
            raise ValueError("delay needs delay_ms, at least 1")


class FaultPlan:
    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)

    def on_command(self, login: str, frame_type: int) -> Fault | None:
        """Return the fault for a command that just arrived, if any; uses up one count."""
        return self._on_frame(("answer", "ignore", "cut"), login, frame_type)

    def on_http(self, path: str) -> Fault | None:
        """Return the fault for an HTTP request, if any; uses up one count."""
        return self._take(("http", "hang"), lambda fault: fault.path in (path, "any"))

    def on_send(self, send: Send, held: list[Send]) -> list[Send]:
        """Return the frames that really go out for `send`, and those `held` back by `reorder` until
        the next frame to that customer; uses up one count if a fault applies.
        """
        fault = self._on_frame(("drop", "double", "reorder"), send.login, send.frame.get("type"))
        kind = fault.fault if fault is not None else ""
        if kind == "reorder":
            held.append(send)
        if kind in ("reorder", "drop"):
            return []
        real = [send] * (2 if kind == "double" else 1) + held
        held.clear()
        return real

    def delay(self, send: Send) -> float:
        """Return the extra delay of a frame in seconds; uses up one count if there is any."""
        fault = self._on_frame(("delay",), send.login, send.frame.get("type"))
        return 0 if fault is None else fault.delay_ms / 1000

    def describe(self) -> list[object]:
        """Return the remaining faults as the operation `set` takes them."""
        return [msgspec.to_builtins(fault) for fault in self._faults]

    def _on_frame(self, kinds: tuple[str, ...], login: str, frame_type: object) -> Fault | None:
        return self._take(
            kinds, lambda fault: fault.login in ("", login) and fault.type in (None, frame_type)
        )

    def _take(self, kinds: tuple[str, ...], meant: Callable[[Fault], bool]) -> Fault | None:
        for fault in self._faults:
            if fault.fault in kinds and meant(fault):
                fault.count -= 1
                if fault.count == 0:
                    self._faults.remove(fault)
                return fault
        return None


# --- the login rate limit ------------------------------------------------------------------------


class Gate:
    """The login rate limit and blacklist of source addresses (reference 3.7)."""

    def __init__(self) -> None:
        self._visits: dict[str, list[float]] = {}
        self._banned: dict[str, float] = {}
        """Address to the end of its ban, monotonic seconds."""

    def admits(self, address: str, now: float, options: SimulatorOptions) -> bool:
        """Count a login; False if its address is banned already, or by this login."""
        if not options.login_limit:
            return True
        if self.shuts_out(address, now):
            return False
        self._banned.pop(address, None)
        since = now - options.login_window
        visits = [*(visit for visit in self._visits.pop(address, ()) if visit > since), now]
        if len(visits) > options.login_limit:
            self._banned[address] = now + options.login_ban
            return False
        self._visits[address] = visits
        return True

    def shuts_out(self, address: str, now: float) -> bool:
        """True while an address is banned; does not count as a login."""
        return now < self._banned.get(address, now)

    def banned(self) -> list[str]:
        """Return the banned addresses, with ended bans until the address logs in again."""
        return sorted(self._banned)

    def forget(self) -> None:
        self._visits.clear()
        self._banned.clear()


# --- logs and the transcript ----------------------------------------------------------------------

LONGEST = 2000
"""Maximum characters of a string in a log: base64 pictures would fill the memory."""


class Log:
    """Ring buffer of the last `keep` entries, oldest first; their numbers are never reused."""

    def __init__(self, keep: int, number: str) -> None:
        self._entries: deque[Wire] = deque(maxlen=keep)
        self._key = number
        self.last = 0
        """Number of the newest entry; 0 before the first."""

    def add(self, entry: Wire) -> Wire:
        """Add an entry and return it with its number."""
        self.last += 1
        numbered = {self._key: self.last, **entry}
        self._entries.append(numbered)
        return numbered

    def since(self, number: int) -> list[Wire]:
        # Walking from the right keeps a long poll cheap when the log is full.
        newest = itertools.islice(reversed(self._entries), max(self.last - number, 0))
        return list(newest)[::-1]


_TOKEN = re.compile(r"""(token["']?\s*[:=]\s*["']?)[^"',}\s&]+""", re.IGNORECASE)


def masked_text(text: str) -> str:
    """Return a frame that is no JSON, such as a cut one, with what must be its token masked."""
    return _TOKEN.sub(r"\1<token>", text)


def masked(value: object) -> object:
    """Copy a decoded frame, with tokens masked and long strings shortened."""
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
    """Return the text, or the beginning, length and sha256 of one longer than LONGEST."""
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:64]}… ({len(text)} characters, sha256 {digest})"


Side = Literal["customer", "agent", "robot", "event"]
Entry = Wire
"""One entry of the transcript; empty fields are left out.

Always: `n`, `time` (ms), `login`, `side`, `kind` (`text`, `image`, `file`, `location`, `voice`,
`video`, `notice`; for an event, its name). Optional: `session`, `request` (of a pre-message or a
queue event), `agent`, `text` (HTML from an agent or the robot), `name`, `size` (bytes), `file` (if
hosted here: `number/name` below `/desk/files/`), `url` (as the customer sent it), `seconds`,
`audio` (base64), `latitude`, `longitude`, `map`, `rating`, `repeat` (messageId seen before).
"""


def shown(entry: Entry) -> Wire:
    """Copy an entry for a desk without its audio: `voice` is the number to fetch a voice by."""
    fields = {key: value for key, value in entry.items() if key != "audio"}
    ours = entry["kind"] == "voice" and ("audio" in entry or "file" in entry)
    return fields | {"voice": entry["n"]} if ours else fields


# --- the call centre -----------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class QueueRequest:
    id: RequestId
    customer: Customer
    queue_id: QueueId
    source: str
    since: float = 0
    """Seconds, monotonic."""
    wanted: str = ""
    """Agent id from `toUserId`; empty for any agent."""
    session: Session | None = None
    """Robot session in which the customer asked for a person, if any."""
    announced: int = 0
    """Queue position in the customer's last 201; 0 before the first."""


@dataclass(slots=True, eq=False)
class Session:
    id: SessionId
    customer: Customer
    queue_id: QueueId
    agents: list[DeskAgent]
    robot: bool = False
    """True while the robot answers."""
    ended_by: str = ""
    """An Ending; empty while the session is open."""


@dataclass(slots=True, eq=False)
class Customer:
    login: str
    client_id: str
    name: str = ""
    logins: int = 0
    tokens: dict[str, float] = field(default_factory=dict)
    """Token to its expiry, monotonic seconds."""
    linked: bool = False
    link_lost_at: float | None = None
    typed_at: float | None = None
    """Monotonic seconds of the last 112 or 113; None after a message."""
    preview: str = ""
    """The text of the last 112; cleared by a message."""
    request: QueueRequest | None = None
    session: Session | None = None
    last_session: Session | None = None
    """The newest session: it can be rated after its end (trap T19)."""
    pending: dict[str, Pending] = field(default_factory=dict)
    """Pushes without a receipt (key: rsId), or kept for the next socket; oldest first."""
    lost_pushes: int = 0

    # --- records ----------------------------------------------------------------------------

    sessions: list[Session] = field(default_factory=list)
    messages: list[Record] = field(default_factory=list)
    """Accepted 110 and 111 in order, repeated ones included."""
    call_ids: dict[CallId, None] = field(default_factory=dict)
    """The messageIds of `messages`, in order of arrival."""
    refused: list[Record] = field(default_factory=list)
    """Every refused 110 and 111 with its result, but for what a fault answered."""
    said: list[Record] = field(default_factory=list)
    """210 and 301 made by `desk.speak`; `sent` is True once a socket took it."""
    ratings: list[Record] = field(default_factory=list)
    signals: list[Record] = field(default_factory=list)
    """Every 112 and 113 with its time of arrival: scripts check the client's throttling."""
    dropped: int = 0
    """Number of entries of these lists that were dropped for newer ones (`keep_records`)."""


_T = TypeVar("_T")
Ending = Literal["agent", "customer", "grace", "forgotten"]
Memory = Literal["tokens", "requests", "sessions", "blacklist"]
STICKY = "SERVERID"
"""Name of a load balancer's sticky cookie."""


def node(token: str) -> str:
    """Return the value of the sticky cookie of the login that got this token."""
    return "node-" + hashlib.sha256(token.encode()).hexdigest()[:12]


class CallCentre:
    def __init__(
        self, options: SimulatorOptions, new_token: Callable[[], str], wall_ms: Callable[[], int]
    ) -> None:
        self.options = options
        self.wall_ms = wall_ms
        """Milliseconds since the epoch."""
        self.transcript = Log(options.keep_entries, "n")
        """Messages and events of all customers, agents and robots, for `/desk`."""
        self.base_url = ""
        """Absolute URL of the context path; empty until the server listens."""
        self.faults = FaultPlan()
        self.gate = Gate()
        self.down_until = 0.0
        """Monotonic seconds until which every WebChat request gets 404."""
        self.customers: dict[str, Customer] = {}
        self.requests: dict[RequestId, QueueRequest] = {}
        """The queue requests of all queues, oldest first."""
        self.sessions: dict[SessionId, Session] = {}
        self.closed: deque[Session] = deque(maxlen=50)
        """The most recently ended sessions, for the desk."""
        self._outbox: list[Outgoing] = []
        """Frames to send and sockets to close, since the last `outgoing`."""
        self._new_token = new_token
        self._holders: dict[str, Customer] = {}
        """Customer by token, until it is signed out; `Customer.tokens` has the expiry."""
        self._numbers = {"request": 9000, "session": 5000, "client": 0, "message": 0, "push": 0}

    def number(self, kind: Literal["request", "session", "client", "message", "push"]) -> int:
        self._numbers[kind] += 1
        return self._numbers[kind]

    def send(self, customer: Customer, frame: Wire, record: Wire | None = None) -> None:
        self._outbox.append(Send(customer.login, frame, record))

    def hang_up(self, customer: Customer, code: int) -> None:
        self._outbox.append(HangUp(customer.login, code))

    def outgoing(self) -> list[Outgoing]:
        """Empty the outbox: return what is to be sent or closed, in order."""
        news, self._outbox = self._outbox, []
        return news

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
        """Return the customer of a valid token. With `sticky_cookie`, a request's cookie must be
        that of the token's login; None skips the check (command on an open socket).
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
        """Remove a queue request: a later 102 or 111 that names it is refused."""
        del self.requests[request.id]
        request.customer.request = None

    def begin(
        self, customer: Customer, queue_id: QueueId, agents: list[DeskAgent], *, robot: bool = False
    ) -> Session:
        number = SessionId(self.number("session"))
        session = Session(number, customer, queue_id, agents, robot=robot)
        self.sessions[session.id] = customer.session = customer.last_session = session
        self.keep(customer, customer.sessions, session)
        return session

    def end(self, session: Session, by: Ending, agent_id: AgentId | None = None) -> None:
        """Close a session, and its queue request for a person if any; it can still be rated."""
        session.ended_by = by
        del self.sessions[session.id]
        self.closed.append(session)
        customer = session.customer
        customer.session, customer.typed_at, customer.preview = None, None, ""
        if customer.request is not None:
            self.leave_queue(customer.request)
        self.note(session, "event", "closed", agent=agent_id or "", text=by)

    def note(self, about: Session | QueueRequest, side: Side, kind: str, **fields: object) -> Entry:
        where = {"session" if isinstance(about, Session) else "request": about.id}
        who = {"login": about.customer.login, "side": side}
        known = {"time": self.wall_ms(), **who, "kind": kind, **where, **fields}
        kept = {key: value for key, value in known.items() if value or type(value) in (int, float)}
        return self.transcript.add(kept)

    def keep(self, customer: Customer, log: list[_T], entry: _T) -> None:
        """Append to one of a customer's lists; drop the oldest entries beyond `keep_records`."""
        log.append(entry)
        surplus = len(log) - self.options.keep_records
        if surplus > 0:
            del log[:surplus]
            customer.dropped += surplus

    def forget(self, what: Memory) -> None:
        """Drop one kind of state without a push to anybody, as a restarted server does."""
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
            case "blacklist":
                self.gate.forget()
