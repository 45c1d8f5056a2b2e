"""The numbers of the WebChat protocol, under corrected names.

The vendor's misspelt names (INVAILD, ROULTING) stand in the comments, so that a search for what a
vendor log prints ends here. Sources: guide part five; `later` marks what only later revisions have.
"""

from enum import IntEnum, StrEnum
from typing import assert_never


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
    CUSTOM = 199  # later; SEND_CUSTOM_MESSAGE; we never send it
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
    """Wire `result` (guide 5.4). Anything but SUCCESS is a refusal."""

    SUCCESS = 1
    FAILURE = 0  # the generic "0 failed" of the guide's examples
    ALREADY_IN_ROUTING = -1  # REQUEST_ALREADY_IN_ROULTING
    ALREADY_IN_CHATTING = -2
    NOT_IN_WORKTIME = -3
    INVALID_SKILLGROUP = -4  # INVAILD_SKILLGROUP
    NO_AGENT_ONLINE = -5
    INVALID_CLIENT_ID = -6  # INVAILD_CLIENT_ID
    INVALID_QUEUE_ID = -7  # INVAILD_QUEUE_ID
    REQUEST_ERROR = -8
    INVALID_TO_USER_ID = -9  # INVAILD_TO_USER_ID
    INVALID_CHAT_REQUEST_ID = -10  # INVAILD_CHAT_REQUEST_ID
    INVALID_CHAT_SESSION_ID = -11  # INVAILD_CHAT_SESSION_ID
    INVALID_MESSAGE_TYPE = -12  # INVAILD_MESSAGE_TYPE
    UPLOAD_FILE_FAILED = -13
    INVALID_PARAMETER = -14  # INVAILD_PARAMETER
    INVALID_TOKEN = -15  # INVAILD_TOKEN
    INVALID_FILE_EXTENSION = -16  # INVAILD_FILE_EXTENSION
    EMPTY_MESSAGE = -17
    INVALID_SESSION_TYPE = -18  # later; INVAILD_SESSION_TYPE
    INVALID_REQUEST_TYPE = -19  # later; INVAILD_REQUEST_TYPE
    INVALID_LOGIN = -20  # INVAILD_LOGINNAME_OR_PASSWORD
    INVALID_FILE_SIZE = -21  # later; INVAILD_FILE_SIZE
    UPLOAD_IMAGE_FAILED = -22  # later
    UPLOAD_VOICE_FAILED = -23  # later
    INVALID_SIGN = -30  # INVAILD_SIGN
    INTERNAL_ERROR = -100


class Source(StrEnum):
    """Wire `from` of a queue request: chooses the customer's picture at the desk (guide 2)."""

    PC = "PC"
    MOBILE = "MOBILE"
    WECHAT = "WECHAT"
    APP = "APP"


class LoginType(StrEnum):
    """How rooms log in (protocol reference 3.1)."""

    PASSWORD = "password"  # noqa: S105 - the name of a kind of login (wire type 1)
    REGISTER = "register"
    VISITOR = "visitor"


class UploadMode(StrEnum):
    """How a file is put into the body of an upload (protocol reference 3.4)."""

    RAW = "raw"
    MULTIPART = "multipart"
    AUTO = "auto"


class Dialect(StrEnum):
    """How we write (protocol reference 5). Reading is always tolerant of every revision."""

    Y2016 = "2016"
    """The guide's keys, all of them, "" where there is nothing to say."""
    Y2019 = "2019"
    """The keys of the later guides; what they mark as optional is left out when empty."""
    DUAL = "dual"
    """The guide's keys, and beside each renamed one its later name."""

    @property
    def others(self) -> "tuple[Dialect, ...]":
        """What is left to be tried where the server refuses these keys."""
        match self:
            case Dialect.Y2016:
                return (Dialect.Y2019,)
            case Dialect.Y2019:
                return (Dialect.Y2016,)
            case Dialect.DUAL:  # a strict server, which takes only what it knows
                return (Dialect.Y2016, Dialect.Y2019)
            case _:
                assert_never(self)
