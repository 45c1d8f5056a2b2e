"""Login at `/tpi` (guide part one): who gets a token, and which address is shut out.

Pure: takes the request's bytes and the time, returns the JSON of the answer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from typing import NamedTuple

import msgspec

from bridge.simulator import history
from bridge.simulator.outgoing import Wire
from bridge.simulator.state import CallCentre
from bridge.webchat.codes import FrameType, ResultCode


class Gate:
    """The source-address blacklist of reference 3.7: too many logins, and nothing answers."""

    def __init__(self) -> None:
        self._visits: dict[str, deque[float]] = {}
        self._banned: dict[str, float] = {}
        """Address to the time its ban ends."""

    def admits(self, address: str, now: float, *, limit: int, window: float, ban: float) -> bool:
        """Count a login from an address.

        Args:
            address: the client's.
            now: seconds, monotonic.
            limit: logins allowed in the window; 0: no limit.
            window: seconds.
            ban: seconds that an address stays shut out.

        Returns:
            False while the address is shut out, this visit included.
        """
        if not limit:
            return True
        if now < self._banned.get(address, now):
            return False
        self._banned.pop(address, None)
        visits = self._visits.setdefault(address, deque())
        visits.append(now)
        while visits and visits[0] <= now - window:
            visits.popleft()
        if len(visits) <= limit:
            return True
        self._banned[address] = now + ban
        visits.clear()
        return False

    def shuts_out(self, address: str, now: float) -> bool:
        """Whether an address is shut out; this does not count as a visit."""
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


class _Password(msgspec.Struct):
    """Type 1. The guide of 2016 shows `epid` and gives it no meaning when empty."""

    login_name: str = msgspec.field(name="loginName")
    password: str
    epid: str


class _LaterPassword(_Password):
    epid: str = ""


class _Register(msgspec.Struct):
    """Type 3: named by the guide, shaped by later revisions (reference 3.1)."""

    login_name: str = msgspec.field(name="loginName")
    name: str = ""
    portrait_uri: str = msgspec.field(name="portraitUri", default="")
    epid: str = ""


class _Visitor(msgspec.Struct):
    """Type 4 (later)."""

    visitor_id: str = msgspec.field(name="visitorId")
    epid: str = ""


class _Who(NamedTuple):
    login: str
    name: str = ""


def log_in(centre: CallCentre, body: bytes, sign: str | None, now: float, cookie: str = "") -> Wire:
    """Answer one request to `/tpi`: a login, or a page of history.

    Args:
        centre: gets the customer and the token.
        body: the request's bytes exactly as they came: the sign covers them.
        sign: the `sign` header, None when absent.
        now: seconds, monotonic.
        cookie: the balancer's.

    Returns:
        The JSON of the answer: -30 wrong sign, -8 not JSON, -12 another type, -14 a field is
        missing, -20 wrong password.
    """
    key = centre.options.sign_key
    if key and not hmac.compare_digest(sign_of(body, key).encode(), (sign or "").encode()):
        return _no(ResultCode.INVALID_SIGN, "wrong sign")
    try:
        kind = msgspec.json.decode(body, type=_Envelope).type
        if kind == history.HISTORY and centre.options.tells_history:
            return history.tell(centre, body, now, cookie)
    except msgspec.ValidationError as error:
        return _no(ResultCode.INVALID_PARAMETER, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _no(ResultCode.REQUEST_ERROR, f"the body must be a JSON object: {error}")
    try:
        who = _who(centre, kind, body)
    except msgspec.ValidationError as error:
        return _no(ResultCode.INVALID_PARAMETER, str(error))
    if isinstance(who, dict):
        return who
    if not who.login:
        return _no(ResultCode.INVALID_PARAMETER, "the login name is empty")
    customer, token = centre.sign_in(who.login, who.name, now)
    own: Wire = {"clientId": customer.client_id} if centre.options.tells_client_id else {}
    return {"result": int(ResultCode.SUCCESS), "message": "", "token": token, "config": {}, **own}


def sign_of(body: bytes, key: str) -> str:
    """The login's `sign`: lower-case hex MD5 of body and key (reference 3.2)."""
    return hashlib.md5(body + key.encode(), usedforsecurity=False).hexdigest()


def _who(centre: CallCentre, kind: int, body: bytes) -> _Who | Wire:
    """Who logs in, or the refusal."""
    accounts = centre.options.accounts
    match kind:
        case FrameType.LOGIN:
            shape = _LaterPassword if centre.options.later else _Password
            known = msgspec.json.decode(body, type=shape)
            if accounts and accounts.get(known.login_name) != known.password:
                return _no(ResultCode.INVALID_LOGIN, "wrong login name or password")
            return _Who(known.login_name)
        case FrameType.REGISTER:
            named = msgspec.json.decode(body, type=_Register)
            return _Who(named.login_name, named.name)
        case FrameType.VISITOR_LOGIN:
            return _Who(msgspec.json.decode(body, type=_Visitor).visitor_id)
        case _:
            return _no(ResultCode.INVALID_MESSAGE_TYPE, f"type {kind} is no login")


def _no(code: ResultCode, message: str) -> Wire:
    return {"result": int(code), "message": message}
