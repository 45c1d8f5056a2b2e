"""Numbers of the WebChat protocol under corrected names, and the table of result codes.

Sources: guide part five; protocol reference 2.3 and 2.5. `later` marks numbers that only later
revisions have. The vendor's misspelt names (INVAILD, ROULTING) are kept beside the numbers, so that
a search for a name from a vendor log finds it here.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Self

import msgspec


class FrameType(IntEnum):
    """Wire `type` of a frame (guide 5.1)."""

    LOGIN = 1  # LOGON; HTTP only
    LOGOUT = 2
    REGISTER = 3  # HTTP only
    VISITOR_LOGIN = 4  # later; HTTP only
    HEARTBEAT = 10  # later
    REQUEST_CHAT = 101  # SEND_CHAT_REQUEST
    CANCEL_REQUEST = 102  # CANCEL_CHAT_REQUEST
    CLOSE_SESSION = 103
    RATE_SESSION = 104
    SEND_MESSAGE = 110  # SEND_CHAT_MESSAGE
    SEND_PRE_MESSAGE = 111  # SEND_PRE_CHAT_MESSAGE
    PREVIEW = 112  # later; PREVIEW_CHAT_MESSAGE
    TYPING = 113  # later; SEND_TYPING_NOTICE
    RECEIPT = 120  # later; MESSAGE_RECEIPT
    CUSTOM = 199  # later; SEND_CUSTOM_MESSAGE; never sent
    INIT_CONFIG = 200  # later; CHAT_INIT_CONFIG
    REQUEST_STATUS = 201  # CHAT_REQUEST_STATUS_UPDATE
    CHAT_STARTED = 202
    RATING_PUSHED = 203  # AGENT_PUSH_RATING
    AGENTS_UPDATED = 204  # AGENT_UPDATED
    SESSION_CLOSED = 205  # AGENT_CLOSE_SESSION
    MESSAGE_RECEIVED = 210  # RECEIVE_MESSAGE
    ROBOT_MESSAGE = 301  # later
    ROBOT_TRANSFER = 302  # later; ROBOT_TRANSFER_MESSAGE


class MessageType(IntEnum):
    """Wire `msg.type` (guide 5.2)."""

    TEXT = 1
    IMAGE = 2  # IMG
    FILE = 3
    LOCATION = 4
    VOICE = 5
    VIDEO = 6
    HQ_VOICE = 11  # seen in the vendor's phone clients only
    SYSTEM_NOTICE = 99


class NoticeType(IntEnum):
    """Wire `msg.noticeType` of a system notice (later; protocol reference 2.2)."""

    NORMAL = 0
    TRACK_CHANGE = 1
    PUSH_RATING = 2
    AFK_WARNING = 3  # AFK_ELAPSED_NOTIFY
    AFK_CLOSE = 4  # AFK_ELAPSED_CLOSE_SESSION
    TYPING = 5
    REVOKE_MESSAGE = 6  # only in the HTTP sibling's guide, from 2019-05-17
    INVITE = 10
    TRANSFER = 11
    USER_LEFT = 12
    CUSTOM = 99


class RequestStatus(IntEnum):
    """Wire `requestStatus` (guide 5.3)."""

    WAITING = 0
    ACCEPTED = 1
    REFUSED = 2
    TIMEOUT = 3
    DROPPED = 4
    NO_AGENT_ONLINE = 5
    OFF_HOUR = 6
    CANCELED_BY_CLIENT = 7
    ENTERPRISE_WECHAT_ACCEPTED = 11


class ResultCode(IntEnum):
    """Wire `result` (guide 5.4), with the vendor's spelling of its name and a description.

    Any other value than SUCCESS is a refusal.
    """

    vendor: str
    says: str

    def __new__(cls, number: int, vendor: str = "", says: str = "") -> Self:
        code = int.__new__(cls, number)
        code._value_, code.vendor, code.says = number, vendor, says
        return code

    SUCCESS = 1, "SUCCESS", "done"
    # The generic "0 failed" of the guide's examples.
    FAILURE = 0, "FAILURE", "failed, no reason given"
    ALREADY_IN_ROUTING = -1, "REQUEST_ALREADY_IN_ROULTING", "a queue request exists already"
    ALREADY_IN_CHATTING = -2, "ALREADY_IN_CHATTING", "a session exists already"
    NOT_IN_WORKTIME = -3, "NOT_IN_WORKTIME", "outside working hours"
    INVALID_SKILLGROUP = -4, "INVAILD_SKILLGROUP", "the queue has no such skill group"
    NO_AGENT_ONLINE = -5, "NO_AGENT_ONLINE", "no agent is online"
    INVALID_CLIENT_ID = -6, "INVAILD_CLIENT_ID", "the server does not know this client id"
    INVALID_QUEUE_ID = -7, "INVAILD_QUEUE_ID", "there is no such queue"
    REQUEST_ERROR = -8, "REQUEST_ERROR", "the server could not read the command"
    INVALID_TO_USER_ID = -9, "INVAILD_TO_USER_ID", "the requested agent is unknown or offline"
    INVALID_CHAT_REQUEST_ID = -10, "INVAILD_CHAT_REQUEST_ID", "the queue request is gone"
    INVALID_CHAT_SESSION_ID = -11, "INVAILD_CHAT_SESSION_ID", "the session is gone"
    INVALID_MESSAGE_TYPE = (
        -12,
        "INVAILD_MESSAGE_TYPE",
        "the server does not know this kind of message",
    )
    UPLOAD_FILE_FAILED = -13, "UPLOAD_FILE_FAILED", "the server could not store the file"
    INVALID_PARAMETER = -14, "INVAILD_PARAMETER", "a parameter is wrong or missing"
    INVALID_TOKEN = -15, "INVAILD_TOKEN", "the token is invalid"
    INVALID_FILE_EXTENSION = -16, "INVAILD_FILE_EXTENSION", "files of this kind are not accepted"
    EMPTY_MESSAGE = -17, "EMPTY_MESSAGE", "the message is blank"
    # -18, -19 and -21 to -23 are later.
    INVALID_SESSION_TYPE = -18, "INVAILD_SESSION_TYPE", "a session of another kind exists"
    INVALID_REQUEST_TYPE = -19, "INVAILD_REQUEST_TYPE", "the server does not know this command"
    INVALID_LOGIN = -20, "INVAILD_LOGINNAME_OR_PASSWORD", "wrong login name or password"
    INVALID_FILE_SIZE = -21, "INVAILD_FILE_SIZE", "the file is too large"
    UPLOAD_IMAGE_FAILED = -22, "UPLOAD_IMAGE_FAILED", "the server could not store the image"
    UPLOAD_VOICE_FAILED = -23, "UPLOAD_VOICE_FAILED", "the server could not store the voice message"
    INVALID_SIGN = -30, "INVAILD_SIGN", "the signature is wrong: check the key"
    # -31 to -35 are only in the HTTP sibling's guide, by 2020-08.
    TRANSFER_ERROR = -31, "TRANSFER_ERROR", "the transfer failed"
    ALREADY_IN_OTHER_CHATTING = (
        -32,
        "ALREADY_IN_OTHER_CHATTING",
        "the customer chats on another channel",
    )
    INVALID_MESSAGE_ID = -33, "INVAILD_MESSAGE_ID", "there is no such message"
    CLIENT_UNTOUCHABLE = -34, "CLIENT_UNTOUCHABLE", "the server cannot reach the customer"
    DIFFERENT_SESSION_TYPE = -35, "DIFFERENT_SESSION_TYPE", "a session of another kind exists"
    INTERNAL_ERROR = -100, "INTERNAL_ERROR", "the server had an internal error"


class Source(StrEnum):
    """Wire `from` of a queue request, which selects the customer's icon at the desk (guide 2)."""

    PC = "PC"
    MOBILE = "MOBILE"
    WECHAT = "WECHAT"
    APP = "APP"


class LoginType(StrEnum):
    """Kind of login (protocol reference 3.1)."""

    PASSWORD = "password"  # noqa: S105 - the name of a kind of login (wire type 1)
    REGISTER = "register"
    VISITOR = "visitor"


class UploadMode(StrEnum):
    """Encoding of a file in the body of an upload (protocol reference 3.4)."""

    RAW = "raw"
    MULTIPART = "multipart"
    AUTO = "auto"


class RobotUse(StrEnum):
    """Mode of the knowledge base: when it is asked without a command."""

    OFF = "off"
    COMMAND = "command"
    FIRST = "first"
    """Messages outside a chat go to it before they go to a person."""
    WHEN_NO_AGENT = "when_no_agent"
    """Kept messages go to it once the call centre said that no agent is available."""


class Dialect(StrEnum):
    """Key names to write (protocol reference 5). Reading accepts those of every revision."""

    Y2016_11 = "2016-11"
    """Keys of the first guides, until 2017-10: a text is a bare string. Desks of that time show
    the braces of later content; only an operator can tell, as such a server refuses nothing."""
    Y2016 = "2016"
    """All keys of the guide, with "" for missing values."""
    Y2019 = "2019"
    """Keys of the later guides; empty optional values are left out."""
    DUAL = "dual"
    """Keys of the guide, their later names, and the first guides' `url` and `locationAddress`."""

    @property
    def others(self) -> "tuple[Dialect, ...]":
        """The dialects to try if the server refuses this one (a strict server refuses DUAL)."""
        return tuple(dialect for dialect in (Dialect.Y2016, Dialect.Y2019) if dialect is not self)


class Progress(StrEnum):
    """State of a queue request, by its `requestStatus`."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    """Accepted, no error (trap T31): the session follows with a 202."""
    OVER = "over"
    """The request has ended without a session."""


class FailureReason(StrEnum):
    """Why a call, an upload or a login failed, or was not made."""

    UNREACHABLE = "unreachable"
    """Network failure, a proxy's error page, a server that is starting: worth a retry."""
    NO_TURN = "no_turn"
    """No error: the login waits for the rate limit, a file for a homeserver that is away, or the
    link is no longer wanted."""
    NO_ANSWER = "no_answer"
    """Written, but the link or the bridge went down before an answer came."""
    SILENT = "silent"
    """Written, but the server gave no answer for long although the link stood."""
    LOGIN_REFUSED = "login_refused"
    """-20, -6, or no account for this room: no retry helps."""
    SIGN_REFUSED = "sign_refused"
    """-30: the operator's key is wrong."""
    TOO_BIG = "too_big"
    """The server closed the link because of this frame's size, or the file exceeds a limit."""
    MEDIA_GONE = "media_gone"
    """The homeserver does not have the file, or does not give it."""
    MEDIA_AWAY = "media_away"
    """The homeserver answers, but not for this file: it cannot reach the one that has it, or its
    media repository is away."""
    MEDIA_CHANGED = "media_changed"
    """The encrypted file does not match its hash."""
    INTERNAL = "internal"
    """The bridge's own disk is full: no peer is to blame."""
    REFUSED = "refused"
    """The server refused an upload; `code` says why."""
    UPLOAD_FAILED = "upload_failed"
    """The answer to an upload is not one of the guide's, or it was cut off; `code` is the HTTP
    status, if it helps."""
    OVERTAKEN = "overtaken"
    """Not written, because the content or the request was given up, redacted or changed first."""


class Silence(StrEnum):
    """Why the knowledge base gave no answer."""

    NOTHING = "nothing"
    UNREACHABLE = "unreachable"
    """The knowledge base does not answer, or refuses the request."""


class Meaning(msgspec.Struct, frozen=True):
    """One row of `RESULTS`: the meaning of a result code and its treatment."""

    name: str
    """The vendor's spelling."""
    says: str
    """English description for logs and operators."""
    undelivered: str = "undelivered.refused"
    """Text key for the sender of a message refused with this code."""
    resend: bool = True
    """True if sending the same message again may succeed, so that its sender may do so."""
    passing: bool = False
    """True if the refusal is transient: the call is retried automatically, a few times."""
    hopeless: bool = False
    """True if only the operator can mend it, so that a retry is useless."""
    nobody: bool = False
    """True if nobody is there to answer: a callback is offered."""
    vague: bool = False
    """True if the bridge's sentence says little, so that the server's message is quoted too."""
    relogin: bool = False
    """True if a new login may help, once; a second refusal is a failure."""
    lacking: bool = False
    """True if the server's revision may lack the command, the kind of media, or the history."""


_UNDELIVERED: Mapping[int, str] = (
    {code: f"result.{code}" for code in (-12, -13, -16, -21, -22, -23)}
    | dict.fromkeys((0, -100), "undelivered.server_failed")
    | dict.fromkeys((-8, -14, -19), "undelivered.not_understood")
    | {-11: "undelivered.no_chat"}
)

RESULTS: Mapping[int, Meaning] = {
    int(code): Meaning(
        code.vendor,
        code.says,
        _UNDELIVERED.get(code, "undelivered.refused"),
        resend=code not in {-12, -16, -17, -21},
        # -14 means a wrong dialect in a 110, a wrong setting in a 101 (row 16). -20 is never
        # retried: the server counts logins and blocks the IP address (reference 3.7).
        passing=code in {-15, -100},
        hopeless=code in {-4, -6, -7, -8, -9, -14, -18, -19, -20, -30, -35},
        nobody=code in {-3, -5},
        vague=code in {0, -3},
        relogin=code in {-6, -15},
        lacking=code in {-8, -12, -14, -19},
    )
    for code in ResultCode
}
"""The only table of result codes: each column selects the codes that are treated alike."""


def meaning(code: int) -> Meaning:
    """Return the row of a `result`; an undocumented number is a plain failure."""
    return RESULTS.get(code) or Meaning(
        f"undocumented result {code}", "failed for an undocumented reason", vague=True
    )


def progress(status: int) -> Progress:
    """Return the state for a `requestStatus`; an undocumented number is an end (test 31)."""
    if status == RequestStatus.WAITING:
        return Progress.WAITING
    accepted = status in {RequestStatus.ACCEPTED, RequestStatus.ENTERPRISE_WECHAT_ACCEPTED}
    return Progress.ACCEPTED if accepted else Progress.OVER
