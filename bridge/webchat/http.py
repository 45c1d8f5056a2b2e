"""Bodies of the three HTTP endpoints: login (tpi), upload (tpiu), robot search (reference 3).

Only the bodies: addresses are in `urls`, signatures in `signing`, sending is the link's. A body
that is not the server's JSON (the error page of a proxy, a servlet container still deploying) is
None: the server is unavailable, which is not a refusal, whatever the HTTP status says.
"""

from dataclasses import dataclass, field

from bridge.webchat.codes import FrameType, ResultCode
from bridge.webchat.errors import LocalProtocolError
from bridge.webchat.lenient import (
    JsonObject,
    NotJson,
    clean,
    decode,
    first,
    mapping,
    result_code,
    sequence,
    string,
)
from bridge.webchat.signing import robot_sign
from bridge.webchat.writing import encode


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """Type 1: an account that exists (guide 1)."""

    name: str
    password: str = field(repr=False)
    """May be empty."""
    enterprise_id: str = ""
    ip: str = ""
    """The customer's address, where it is known (later)."""


@dataclass(frozen=True, slots=True)
class RegisterLogin:
    """Type 3: find the account by name or create it (named in the guide, explained later)."""

    name: str
    display_name: str = ""
    portrait: str = ""
    """Address of the customer's picture."""
    enterprise_id: str = ""
    ip: str = ""


@dataclass(frozen=True, slots=True)
class VisitorLogin:
    """Type 4 (later): nobody in particular."""

    visitor_id: str
    """A GUID; the same one is the same visitor."""
    enterprise_id: str = ""
    ip: str = ""


Login = PasswordLogin | RegisterLogin | VisitorLogin


@dataclass(frozen=True, slots=True)
class LoginReply:
    result: int
    """A ResultCode, or a number that no revision documents."""
    message: str = ""
    token: str = field(default="", repr=False)
    """Non-empty if `result` is 1."""
    client_id: str = ""
    """Our own id on people lists, where the server tells it (trap T16)."""


@dataclass(frozen=True, slots=True)
class UploadReply:
    result: int
    message: str = ""
    url: str = ""
    """As the server wrote it, usually relative: see `Endpoints.absolute`."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class RobotAnswer:
    """One hit of the knowledge base."""

    title: str
    preview: str
    """HTML with highlight spans."""
    question: str = ""
    article_id: str = ""
    path: str = ""
    """Relative to a knowledge-base host that no revision names."""


@dataclass(frozen=True, slots=True)
class RobotReply:
    result: int
    message: str = ""
    answers: tuple[RobotAnswer, ...] = ()


def dump_login(login: Login) -> bytes:
    """The body of a login: strict JSON, UTF-8. Sign and send these very bytes.

    Raises:
        LocalProtocolError: nobody is named.
    """
    frame = _who(login)
    if login.ip:
        frame["ip"] = login.ip
    frame["epid"] = login.enterprise_id  # "" too: the guide prints it (trap T26)
    return encode(frame).encode()


def _who(login: Login) -> dict[str, object]:
    if isinstance(login, VisitorLogin):
        return {"type": int(FrameType.VISITOR_LOGIN), "visitorId": _named(login.visitor_id)}
    frame: dict[str, object] = {"loginName": _named(login.name)}
    if isinstance(login, PasswordLogin):
        return {"type": int(FrameType.LOGIN), **frame, "password": login.password}
    if login.display_name:
        frame["name"] = login.display_name
    if login.portrait:
        frame["portraitUri"] = login.portrait
    return {"type": int(FrameType.REGISTER), **frame}


def _named(name: str) -> str:
    if not name.strip():
        raise LocalProtocolError("the login names nobody")
    return name


def parse_login_reply(body: bytes) -> LoginReply | None:
    """Read the answer to a login. None also for a success without a token: nobody can use it."""
    told = _object(body)
    result = result_code(told.get("result"))
    if result is None:
        return None
    token = string(told.get("token")).strip()
    if result == ResultCode.SUCCESS and not token:
        return None
    return LoginReply(result, string(told.get("message")), token, string(told.get("clientId")))


def parse_upload_reply(body: bytes) -> UploadReply | None:
    """Read the answer to an upload. None also for a success without an address."""
    told = _object(body)
    result = result_code(told.get("result"))
    if result is None:
        return None
    url = string(told.get("url")).strip()
    if result == ResultCode.SUCCESS and not url:
        return None
    name = string(first(told, "fileName", "name"))
    return UploadReply(result, string(told.get("message")), url, name)


def robot_form(enterprise_id: str, question: str, key: str) -> dict[str, str]:
    """The form fields of one question, signed (guide 4).

    Raises:
        LocalProtocolError: the question is blank.
    """
    if not question.strip():
        raise LocalProtocolError("question is blank")
    form = {"epid": enterprise_id, "action": "search", "question": clean(question)}
    return {**form, "sign": robot_sign(form, key)}


def parse_robot_reply(body: bytes) -> RobotReply | None:
    """Read the robot's answer; no answers is a proper answer (row 83).

    The vendor's older robot sends the list bare, without `result` and wrapper.
    """
    told = _object(body)
    result = result_code(told.get("result"))
    if result is None:
        if "srs" not in told:
            return None
        result = int(ResultCode.SUCCESS)
    found = mapping(told.get("searchResult")) or told
    hits = (_robot_answer(mapping(hit) or {}) for hit in sequence(found.get("srs")))
    answers = tuple(hit for hit in hits if hit.title or hit.preview)
    return RobotReply(result, string(told.get("message")), answers)


def _robot_answer(hit: JsonObject) -> RobotAnswer:
    article = mapping(hit.get("ra")) or {}
    return RobotAnswer(
        title=string(first(hit, "title") or first(article, "title")),
        preview=string(hit.get("preview")),
        question=string(hit.get("question")),
        article_id=string(article.get("articleAId")),
        path=string(article.get("path")),
    )


def _object(body: bytes) -> JsonObject:
    try:
        told = decode(body.decode("utf-8", "replace"))
    except NotJson:
        return {}
    return told if isinstance(told, dict) else {}
