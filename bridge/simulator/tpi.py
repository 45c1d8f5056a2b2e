"""The answers of the HTTP interface: login and history at `/tpi`, the robot at `/robotSearch`.

Login (guide part one) gives out tokens and shuts out addresses that log in too often; type 5003
(later; reference 3.8) tells the history page by page, newest first; robotSearch (guide part four)
gives canned answers and is strict about the sign.

Pure: takes the request's bytes and the time, returns the JSON of the answer.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec

from bridge.ids import AgentId
from bridge.simulator.checks import Shape
from bridge.simulator.delivery import KINDS, icon
from bridge.simulator.options import SimulatorOptions
from bridge.simulator.state import CallCentre, Customer, Wire
from bridge.webchat.codes import FrameType, MessageType, ResultCode

# --- login ---------------------------------------------------------------------------------------


class Gate:
    """The source-address blacklist of reference 3.7: too many logins, and nothing answers."""

    def __init__(self) -> None:
        self._visits: dict[str, deque[float]] = {}
        self._banned: dict[str, float] = {}
        """Address to the time its ban ends."""

    def admits(self, address: str, now: float, options: SimulatorOptions) -> bool:
        """Count a login; False while its address is shut out, this visit included."""
        if not options.login_limit:
            return True
        if self.shuts_out(address, now):
            return False
        self._banned.pop(address, None)
        visits = self._visits.setdefault(address, deque())
        visits.append(now)
        while visits and visits[0] <= now - options.login_window:
            visits.popleft()
        if len(visits) <= options.login_limit:
            return True
        self._banned[address] = now + options.login_ban
        visits.clear()
        return False

    def shuts_out(self, address: str, now: float) -> bool:
        """True if an address is shut out; this does not count as a visit."""
        return now < self._banned.get(address, now)

    def banned(self) -> list[str]:
        """The addresses shut out, or not yet seen again since their ban ended."""
        return sorted(self._banned)

    def forget(self) -> None:
        """Let everybody in again."""
        self._visits.clear()
        self._banned.clear()


class _Envelope(msgspec.Struct):
    type: int


_LOGINS: Mapping[int, Shape] = MappingProxyType(
    {
        # The guide of 2016 shows `epid` and gives it no meaning when empty.
        FrameType.LOGIN: Shape({"loginName": str, "password": str}, {"epid": str}),
        # Named by the guide, shaped by later revisions (reference 3.1).
        FrameType.REGISTER: Shape(
            {"loginName": str}, optional={"name": str, "portraitUri": str, "epid": str}
        ),
        # Later.
        FrameType.VISITOR_LOGIN: Shape({"visitorId": str}, optional={"epid": str}),
    }
)


def log_in(centre: CallCentre, body: bytes, sign: str | None, now: float, cookie: str = "") -> Wire:
    """Answer one request to `/tpi`: a login, or a page of history.

    `body` are the bytes exactly as they came, since the header `sign` covers them; `cookie` is the
    balancer's; `now` is monotonic, in seconds.

    Returns:
        The JSON of the answer: -30 wrong sign, -8 not JSON, -12 another type, -14 a field is
        missing or wrong, -20 wrong password; of the history, -15 the token is not valid.
    """
    key = centre.options.sign_key
    if key and not hmac.compare_digest(sign_of(body, key).encode(), (sign or "").encode()):
        return result(ResultCode.INVALID_SIGN, "wrong sign")
    try:
        kind = msgspec.json.decode(body, type=_Envelope).type
        if kind == HISTORY and centre.options.tells_history:
            return _history(centre, msgspec.json.decode(body, type=_Wanted), now, cookie)
        who = _who(centre, kind, body)
    except msgspec.ValidationError as error:
        return result(ResultCode.INVALID_PARAMETER, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return result(ResultCode.REQUEST_ERROR, f"the body must be a JSON object: {error}")
    if isinstance(who, dict):
        return who
    login, name = who
    if not login:
        return result(ResultCode.INVALID_PARAMETER, "the login name is empty")
    customer, token = centre.sign_in(login, name, now)
    told = result(ResultCode.SUCCESS, token=token, config={})
    return told | {"clientId": customer.client_id} if centre.options.tells_client_id else told


def sign_of(body: bytes, key: str) -> str:
    """The login's `sign`: lower-case hex MD5 of body and key (reference 3.2)."""
    return hashlib.md5(body + key.encode(), usedforsecurity=False).hexdigest()


def _who(centre: CallCentre, kind: int, body: bytes) -> tuple[str, str] | Wire:
    """The login name and display name, or the refusal."""
    if kind not in _LOGINS:
        return result(ResultCode.INVALID_MESSAGE_TYPE, f"type {kind} is no login")
    known = _LOGINS[kind].read(msgspec.json.decode(body), centre.options)
    if kind == FrameType.VISITOR_LOGIN:
        return known["visitorId"], ""
    login, accounts = known["loginName"], centre.options.accounts
    if kind == FrameType.LOGIN and accounts and accounts.get(login) != known["password"]:
        return result(ResultCode.INVALID_LOGIN, "wrong login name or password")
    return login, known.get("name", "")


def result(code: int, message: str = "", **more: object) -> Wire:
    """The JSON of an answer."""
    return {"result": int(code), "message": message, **more}


# --- history -------------------------------------------------------------------------------------

HISTORY = 5003
_CUSTOMER, _AGENT = 1, 2
_NORMAL, _NOTICE = 0, 1
_Natural = Annotated[int, msgspec.Meta(ge=0)]


class _Wanted(msgspec.Struct):
    """The page that is asked for; everything but the token may be left out."""

    token: str
    from_session: _Natural = msgspec.field(name="fromSessionId", default=0)
    """Only this session and those before it; 0: all."""
    from_message: _Natural = msgspec.field(name="fromMessageId", default=0)
    """Only what was said before this message; 0: all."""
    count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = msgspec.field(name="maxCount", default=10)
    permanent: int = msgspec.field(name="permFlag", default=0)
    running: bool = msgspec.field(name="continueLastSession", default=False)
    """Also of the session that goes on."""


def _history(centre: CallCentre, wanted: _Wanted, now: float, cookie: str) -> Wire:
    customer = centre.holder(wanted.token, now, cookie)
    if customer is None:
        return result(ResultCode.INVALID_TOKEN, "the token is not valid")
    rows = _newest_first(centre, customer, wanted)
    if centre.options.history_style == "rows":
        kept = ("id", "userId", "userType", "messageType", "postTime")
        rows = [{key: row[key] for key in kept} | {"message": row["text"]} for row in rows]
    return result(ResultCode.SUCCESS, hisMessages=rows)


def _newest_first(centre: CallCentre, customer: Customer, wanted: _Wanted) -> list[Wire]:
    before = wanted.from_message or None
    mode = centre.options.running_history
    hidden = {one.id for one in customer.history.sessions if one.open}
    if mode == "told" or (mode == "asked" and wanted.running):
        hidden.clear()
    both = _from_customer(customer), _from_agents(centre, customer)
    everything = heapq.merge(*both, key=lambda message: -_number(message["id"]))
    page: list[Wire] = []
    for message in itertools.islice(everything, centre.options.history_behind, None):
        session = _number(message.pop("sessionId") or 0)
        if before is not None and _number(message["id"]) >= before:
            continue
        if session in hidden or (wanted.from_session and session > wanted.from_session):
            continue
        page.append(message)
        if len(page) == wanted.count:
            break
    return page


def _from_customer(customer: Customer) -> Iterable[Wire]:
    own = {"userId": customer.client_id, "userName": customer.name or customer.login, "icon": ""}
    for record in reversed(customer.history.messages):
        text = record["text"] or f"[{record['kind']}]"
        yield _message(record, text, own, _CUSTOMER)


def _from_agents(centre: CallCentre, customer: Customer) -> Iterable[Wire]:
    people = {agent.id: agent for agent in (*centre.options.agents, centre.options.robot)}
    for session in customer.history.sessions:
        people |= {agent.id: agent for agent in session.agents}
    for record in reversed(customer.history.said):
        kind, content = record["type"], record["content"]
        if kind == MessageType.SYSTEM_NOTICE and not content:
            continue  # typing is not history
        agent = people.get(AgentId(str(record["agentId"])))
        is_text = kind in (MessageType.TEXT, MessageType.SYSTEM_NOTICE)
        text = content if is_text else f"[{KINDS[_number(kind)]}]"
        who: Wire = {
            "userId": record["agentId"],
            "userName": agent.name if agent else "",
            "icon": icon(centre, agent) if agent else "",
        }
        yield _message(record, text, who, _AGENT)


def _message(record: Wire, text: object, who: Mapping[str, object], user_type: int) -> Wire:
    notice = user_type == _AGENT and record["type"] == MessageType.SYSTEM_NOTICE
    return {
        "id": record["n"],
        "sessionId": record["sessionId"],
        **who,
        "userType": user_type,
        "text": str(text),
        "messageType": _NOTICE if notice else _NORMAL,
        "postTime": record["time"],
        "revokeFlag": int("revoked" in record),
    }


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


# --- robotSearch ---------------------------------------------------------------------------------

_SIGNED = ("action", "epid", "question")
"""In the order of their names, which is the order they are signed in."""


def search(options: SimulatorOptions, form: Mapping[str, str]) -> Wire:
    """Answer one question, given as decoded form fields.

    Returns:
        The JSON of the answer: -14 a field is missing, -30 wrong sign; an unknown question has an
        empty `srs`.
    """
    missing = [name for name in (*_SIGNED, "sign") if name not in form]
    if missing:
        return result(ResultCode.INVALID_PARAMETER, f"{missing[0]} is missing")
    if form["action"] != "search":
        return result(ResultCode.INVALID_PARAMETER, "action must be search")
    given = form["sign"].lower().encode()
    key = options.robot_key
    if key and not hmac.compare_digest(search_sign(form, key).encode(), given):
        return result(ResultCode.INVALID_SIGN, "wrong sign")
    question = form["question"]
    if not question.strip():
        return result(ResultCode.EMPTY_MESSAGE, "the question is blank")
    results: list[Wire] = []
    if question in options.robot_answers:
        article = hashlib.sha256(question.encode()).hexdigest()[:12]
        path = f"/km/ArticleStore/{article}.htm"
        results.append(
            {
                "preview": options.robot_answers[question],
                "question": "",
                "ra": {"articleAId": article, "path": path, "title": question},
                "title": question,
            }
        )
    return result(ResultCode.SUCCESS, searchResult={"question": question, "srs": results})


def search_sign(form: Mapping[str, str], key: str) -> str:
    """The `sign` of a search: MD5 of the raw values in name order and the key (guide part four)."""
    text = "".join(form[name] for name in _SIGNED) + key
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
