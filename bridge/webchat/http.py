"""HTTP endpoints: addresses, request and response bodies, and the vendor's signatures.

Login and history (`tpi`), upload (`tpiu`), robot search (protocol reference 3). A body that is not
the server's JSON (an error page of a proxy, or of a servlet container that is still deploying) is
parsed as None: the server is unavailable, which is no refusal, whatever the HTTP status.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import msgspec

from bridge.ids import AgentId
from bridge.webchat import read
from bridge.webchat.codes import Dialect, FrameType, LoginType, ResultCode
from bridge.webchat.protocol import LocalProtocolError, encode
from bridge.webchat.words import name_line

_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)


class Endpoints:
    def __init__(self, base_url: str) -> None:
        """Parse `http(s)://host[:port][/context]`, perhaps with a trailing slash. The ValueError is
        for the operator, and omits the address, which may contain a password.
        """
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            raise ValueError("base_url is not a valid URL: check brackets and port") from None
        faults = {
            "must start with http:// or https://": parts.scheme not in {"http", "https"},
            "has no host": not parts.hostname,
            "has port 0": port == 0,
            "must not contain a user name or password": parts.username is not None,
            "must not have a query (?) or a fragment (#)": "?" in base_url or "#" in base_url,
            "must not contain spaces or control characters": any(
                char.isspace() or not char.isprintable() for char in base_url
            ),
        }
        for fault, found in faults.items():
            if found:
                raise ValueError(f"base_url {fault}")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        """Scheme, host and port."""
        self._scheme = parts.scheme
        self._context = parts.path.rstrip("/")
        self._base = self.origin + self._context
        self.login = f"{self._base}/tpi"
        self.robot = f"{self._base}/robotSearch"

    def upload(self, token: str) -> str:
        """Return the upload address, which is secret: it contains the token."""
        return f"{self._base}/tpiu?token={quote(token, safe='')}"

    def socket(self, token: str) -> str:
        """Return the WebSocket address, which is secret: it contains the token."""
        return f"ws{self._base.removeprefix('http')}/cws?token={quote(token, safe='')}"

    def absolute(self, url: str) -> str:
        """Return a server's `url` as an absolute address (reference 3.4). A path with the context
        path belongs to the origin (guide's example), any other to the base URL (HTTP guide).
        """
        if not url or _ABSOLUTE.match(url):
            return url
        if url.startswith("//"):
            return f"{self._scheme}:{url}"
        path = url if url.startswith("/") else f"/{url}"
        return (self.origin if path.startswith(f"{self._context}/") else self._base) + path

    def icon(self, icon: str, queue_id: int | None) -> str:
        """Return the address of an agent's picture (3.9): `icon`, or for a path `ngsIcon.do`."""
        if not icon.strip() or _ABSOLUTE.match(icon):
            return icon.strip()
        # `%` is not escaped: some servers give paths that are escaped already.
        path = quote(icon.strip(), safe="/%", errors="replace")
        queue = "" if queue_id is None else f"&queue={queue_id}"
        return f"{self._base}/ngsIcon.do?path={path}{queue}"


@dataclass(frozen=True, slots=True)
class Login:
    """The account of a login, of which a type sends only its own fields (reference 3.1)."""

    type: LoginType
    name: str
    """Login name; for a visitor a GUID that identifies them."""
    password: str = field(default="", repr=False)
    """Only with PASSWORD; may be empty."""
    enterprise_id: str = ""
    display_name: str = ""
    """Only with REGISTER, which finds or creates the account (in the guide; explained later)."""
    portrait: str = ""
    """Address of the customer's picture, only with REGISTER."""


_LOGINS: Mapping[LoginType, tuple[FrameType, str]] = {
    LoginType.PASSWORD: (FrameType.LOGIN, "loginName"),
    LoginType.REGISTER: (FrameType.REGISTER, "loginName"),
    LoginType.VISITOR: (FrameType.VISITOR_LOGIN, "visitorId"),
}
"""Wire `type` of each type of login, and the key of its name."""
CUSTOMER = 1
"""Wire `userType` of the customer in a history."""
_LATEST = 253_402_300_799_999
"""Last moment of the year 9999, ms since the epoch."""
LONGEST_QUESTION = 1000
"""Maximum characters of a question to the robot."""
_MOST_ROWS = 2_000
"""Maximum rows of a history and hits of the robot that are read: a hundred are asked for, and three
are shown."""
HISTORY = 5003
"""Wire `type` of a request for history: the HTTP sibling's number, never sent on the socket."""


@dataclass(frozen=True, slots=True)
class LoginReply:
    result: int
    """A ResultCode, or an undocumented number."""
    token: str = field(default="", repr=False)
    """Non-empty if `result` is 1."""
    client_id: str = ""
    """The customer's id on people lists, if the server gives it (trap T16)."""


class RobotAnswer(msgspec.Struct, frozen=True):
    """One hit of the knowledge base."""

    title: str
    preview: str
    """HTML with highlight spans."""
    question: str = ""
    path: str = ""
    """Path of the article, relative to a knowledge-base host that no guide names."""


class HistoryEntry(msgspec.Struct, frozen=True):
    """One message of a customer's history (reference 3.8)."""

    id: str
    """The server's message id, used to recognise known messages; "" if not given."""
    agent_id: AgentId
    """Id of the author: an agent, or the customer (see `user_type`)."""
    name: str
    user_type: int
    """CUSTOMER 1, agent 2, supervisor 3, administrator 5; 0 if not given."""
    html: str
    posted: int
    """ms since the epoch; 0 if not given or unreadable."""
    revoked: bool = False
    notice: bool = False
    """True for a system notice."""

    @property
    def by_customer(self) -> bool:
        return self.user_type == CUSTOMER


def dump_login(login: Login, dialect: Dialect = Dialect.Y2016, ip: str = "") -> bytes:
    """Return the login body to sign and send. LocalProtocolError if the name is blank."""
    if not login.name.strip():
        raise LocalProtocolError("the login name is blank")
    kind, key = _LOGINS[login.type]
    frame: dict[str, object] = {"type": int(kind), key: login.name}
    if login.type is LoginType.PASSWORD:
        frame["password"] = login.password
    elif login.type is LoginType.REGISTER:
        profile = {"name": login.display_name, "portraitUri": login.portrait}
        frame |= {key: value for key, value in profile.items() if value}
    if ip:
        # Older guides of the vendor have `ipAddr` (reference 3.1).
        frame |= {"ip": ip, "ipAddr": ip} if dialect is Dialect.DUAL else {"ip": ip}
    if login.enterprise_id or dialect is not Dialect.Y2019:
        # Also "", as in the guide's example (trap T26).
        frame["epid"] = login.enterprise_id
    return encode(frame).encode()


def parse_login_reply(body: bytes) -> LoginReply | None:
    """Parse the answer to a login; None also for a success without a token, which is useless."""
    reply, result = _answer(body)
    token = read.text_of(reply, "token").strip()
    if result is None or (result == ResultCode.SUCCESS and not token):
        return None
    return LoginReply(result, token, read.text_of(reply, "clientId"))


def parse_upload_reply(body: bytes) -> tuple[int, str] | None:
    """Parse the answer to an upload, its result and the file's address; None also for a success
    without one. The address is as the server wrote it, usually relative: see `Endpoints.absolute`.
    """
    reply, result = _answer(body)
    url = read.text_of(reply, "url", "fileUrl").strip()
    if result is None or (result == ResultCode.SUCCESS and not url):
        return None
    return result, url


def dump_history(token: str, count: int) -> bytes:
    """Return the body that requests a customer's last `count` messages (type 5003, later). Without
    `continueLastSession` the running chat would be left out (HTTP guide of 2020-08).
    """
    frame = {"type": HISTORY, "token": token, "fromSessionId": 0, "fromMessageId": 0}
    frame |= {"maxCount": count, "permFlag": 0, "continueLastSession": True}
    return encode(frame).encode()


def parse_history_reply(body: bytes) -> tuple[int, tuple[HistoryEntry, ...]] | None:
    """Parse a history: its result, and the entries, newest last. An older server sends raw rows,
    with `message` instead of `text`.
    """
    reply, result = _answer(body)
    if result is None:
        return None
    listed = read.sequence(reply.get("hisMessages"))[:_MOST_ROWS]
    rows = (read.mapping(row) or {} for row in listed)
    # The server's order is newest first: reverse it before the stable sort.
    entries = [entry for row in rows if (entry := _history_entry(row)) is not None][::-1]
    if all(entry.posted for entry in entries):
        entries.sort(key=lambda entry: entry.posted)
    return result, tuple(entries)


def _history_entry(row: read.JsonObject) -> HistoryEntry | None:
    number, html = read.text_of(row, "id"), read.text_of(row, "text", "message")
    if not number and not html:
        return None
    # json-lib writes a date as an object whose `time` is in ms (trap T24).
    moment = row.get("postTime")
    posted = read.integer((read.mapping(moment) or {}).get("time", moment)) or 0
    return HistoryEntry(
        number,
        AgentId(read.text_of(row, "userId").strip()),
        name_line(read.text_of(row, "userName")),
        read.integer(row.get("userType")) or 0,
        html,
        posted if 0 < posted <= _LATEST else 0,
        revoked=read.flag(row.get("revokeFlag")),
        notice=read.integer(row.get("messageType")) == 1,
    )


def robot_form(enterprise_id: str, question: str, key: str) -> dict[str, str]:
    """Return the signed form fields of a question (guide 4). LocalProtocolError if it is blank."""
    if not question.strip():
        raise LocalProtocolError("question is blank")
    form = {"epid": enterprise_id, "action": "search", "question": read.clean(question)}
    return {**form, "sign": robot_sign(form, key)}


def parse_robot_reply(body: bytes) -> tuple[int, tuple[RobotAnswer, ...]] | None:
    """Parse the robot's result and hits, also a bare list (older); no hits are valid (test 83)."""
    reply, result = _answer(body)
    if result is None and "srs" in reply:
        result = ResultCode.SUCCESS
    if result is None:
        return None
    found = read.mapping(reply.get("searchResult")) or reply
    listed = read.sequence(found.get("srs"))[:_MOST_ROWS]
    hits = (_robot_answer(read.mapping(hit) or {}) for hit in listed)
    return result, tuple(hit for hit in hits if hit.title or hit.preview)


def _robot_answer(hit: read.JsonObject) -> RobotAnswer:
    article = read.mapping(hit.get("ra")) or {}
    return RobotAnswer(
        read.string(read.first(hit, "title") or read.first(article, "title")),
        read.text_of(hit, "preview"),
        read.text_of(hit, "question"),
        read.text_of(article, "path"),
    )


def _answer(body: bytes) -> tuple[read.JsonObject, int | None]:
    """Return the body's JSON object (`read.flat`), and its `result`."""
    try:
        reply = read.decode(read.decoded(body))
    except read.NotJson:
        return {}, None
    reply = read.flat(reply) if isinstance(reply, dict) else {}
    return reply, read.result_code(reply.get("result"))


# --- signatures (reference 3.2, 3.5) ------------------------------------------------------------


def login_sign(body: bytes, key: str) -> str:
    """Return the `sign` header of a login: lower-case hex MD5 of the exact body and the key."""
    return _md5(body + key.encode())


def robot_sign(params: Mapping[str, str], key: str) -> str:
    """Return the `sign` parameter of robotSearch (guide 4): MD5 of the raw values except `sign`,
    ordered by parameter name, then the key, in UTF-8.
    """
    values = [value for name, value in sorted(params.items()) if name != "sign"]
    return _md5("".join([*values, key]).encode("utf-8", "replace"))


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
