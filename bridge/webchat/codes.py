"""Numbers of the WebChat protocol under corrected names, and the table of result codes.

Sources: guide part five; protocol reference 2.3 and 2.5. `later` marks what only later revisions
have. The vendor's misspelt names (INVAILD, ROULTING) stand in comments and in the table, so that a
search for what a vendor log prints ends here.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum

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
    # -31 to -35 stand in the HTTP sibling's guide alone, by 2020-08.
    TRANSFER_ERROR = -31
    ALREADY_IN_OTHER_CHATTING = -32
    INVALID_MESSAGE_ID = -33  # INVAILD_MESSAGE_ID
    CLIENT_UNTOUCHABLE = -34
    DIFFERENT_SESSION_TYPE = -35
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
    """Key names that we write (protocol reference 5). Reading takes those of every revision."""

    Y2016_11 = "2016-11"
    """Those of the first guides, until 2017-10: a text is a bare string, whose desks show the
    braces of any later content. Only an operator can tell: such a server refuses nothing."""
    Y2016 = "2016"
    """The guide's keys, all of them, "" where there is nothing to say."""
    Y2019 = "2019"
    """The keys of the later guides; what they mark as optional is left out when empty."""
    DUAL = "dual"
    """The guide's keys, and beside each renamed one its later name."""

    @property
    def others(self) -> "tuple[Dialect, ...]":
        """The dialects to try where the server refuses this one (DUAL: a strict server)."""
        return tuple(one for one in (Dialect.Y2016, Dialect.Y2019) if one is not self)


class Verdict(StrEnum):
    """Verdict on a `result`: what to do about it."""

    OK = "ok"
    """Go on."""
    RETRY = "retry"
    """The server's own trouble: again, with growing pauses, at most three times; then tell."""
    REFUSED = "refused"
    """Tell the person concerned. The same again would be refused again."""
    CONFIGURATION = "configuration"
    """Tell the room admin and the operator as well: nobody else can mend it. No retry."""
    STATE = "state"
    """We and the server differ about where the conversation stands: the life cycle heals it."""
    RELOGIN = "relogin"
    """Log in anew and send the command once more; a second time in a row it is a failure."""


class Progress(StrEnum):
    """State of a queue request, by its `requestStatus`."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    """Not an error (trap T31): the session follows by 202."""
    OVER = "over"
    """The request has ended without a session."""


class Meaning(msgspec.Struct, frozen=True):
    """One row of `RESULTS`: what a result code means, and all that follows from it."""

    name: str
    """As the vendor spells it."""
    verdict: Verdict
    says: str
    """For logs and operators, in English."""
    undelivered: str = "undelivered.refused"
    """Text key: what the sender of a message is told that is refused with it."""
    resend: bool = True
    """The same message may do better the next time, so its sender may send it again."""
    passing: bool = False
    """Whatever was asked is asked again by itself, some times."""
    hopeless: bool = False
    """A queue request is refused until an operator acts: nobody needs to ask again."""
    nobody: bool = False
    """Nobody is there to answer: calling back is offered."""
    vague: bool = False
    """Our sentence says less than the server's own words may: those are quoted beside it."""
    no_command: bool = False
    """The server's revision may lack the command."""
    no_media: bool = False
    """The server may not take this kind of media."""
    no_history: bool = False
    """The server may have no history."""


_RESULTS = """
   1  SUCCESS                        ok             done
   0  FAILURE                        refused        failed, no reason given
  -1  REQUEST_ALREADY_IN_ROULTING    state          a queue request exists already
  -2  ALREADY_IN_CHATTING            state          a session exists already
  -3  NOT_IN_WORKTIME                state          outside working hours
  -4  INVAILD_SKILLGROUP             configuration  the queue has no such skill group
  -5  NO_AGENT_ONLINE                state          no agent is online
  -6  INVAILD_CLIENT_ID              relogin        the server does not know us
  -7  INVAILD_QUEUE_ID               configuration  there is no such queue
  -8  REQUEST_ERROR                  refused        the server could not read the command
  -9  INVAILD_TO_USER_ID             configuration  the wanted agent is unknown or offline
 -10  INVAILD_CHAT_REQUEST_ID        state          the queue request is gone
 -11  INVAILD_CHAT_SESSION_ID        state          the session is gone
 -12  INVAILD_MESSAGE_TYPE           refused        the server does not know this kind of message
 -13  UPLOAD_FILE_FAILED             retry          the server could not store the file
 -14  INVAILD_PARAMETER              configuration  a parameter is wrong or missing
 -15  INVAILD_TOKEN                  relogin        the token is void
 -16  INVAILD_FILE_EXTENSION         refused        files of this kind are not accepted
 -17  EMPTY_MESSAGE                  refused        the server finds the message blank
 -18  INVAILD_SESSION_TYPE           configuration  a session of another kind exists
 -19  INVAILD_REQUEST_TYPE           refused        the server does not know this command
 -20  INVAILD_LOGINNAME_OR_PASSWORD  configuration  wrong login name or password
 -21  INVAILD_FILE_SIZE              refused        the file is too large
 -22  UPLOAD_IMAGE_FAILED            refused        the server could not store the image
 -23  UPLOAD_VOICE_FAILED            refused        the server could not store the voice message
 -30  INVAILD_SIGN                   configuration  the signature is wrong: check the key
 -31  TRANSFER_ERROR                 refused        the hand-over failed
 -32  ALREADY_IN_OTHER_CHATTING      refused        the customer chats on another channel
 -33  INVAILD_MESSAGE_ID             refused        there is no such message
 -34  CLIENT_UNTOUCHABLE             refused        the server cannot reach the customer
 -35  DIFFERENT_SESSION_TYPE         configuration  a session of another kind exists
-100  INTERNAL_ERROR                 retry          the server had an internal error
"""
"""Of each result code the vendor's name, the verdict, and the meaning in English."""
_UNDELIVERED: Mapping[int, str] = (
    {code: f"result.{code}" for code in (-12, -13, -16, -21, -22, -23)}
    | dict.fromkeys((0, -100), "undelivered.server_failed")
    | dict.fromkeys((-8, -14, -19), "undelivered.not_understood")
    | {-11: "undelivered.no_chat"}
)

RESULTS: Mapping[int, Meaning] = {
    (code := int(number)): Meaning(
        name,
        Verdict(verdict),
        says,
        _UNDELIVERED.get(code, "undelivered.refused"),
        resend=code not in {-12, -16, -17, -21},
        # In 110 a -14 is a sign of the wrong dialect, in 101 of a wrong setting (row 16). Never
        # a -20 again: the server counts log-ins and shuts out the address (reference 3.7).
        passing=code in {-15, -100},
        hopeless=code in {-4, -6, -7, -8, -9, -14, -18, -19, -35},
        nobody=code in {-3, -5},
        vague=code in {0, -3},
        no_command=code in {-12, -19},
        no_media=code in {-12, -14},
        no_history=code in {-8, -12, -14, -19},
    )
    for number, name, verdict, says in (
        line.split(maxsplit=3) for line in _RESULTS.strip().splitlines()
    )
}
"""THE table of result codes: a set of codes that is treated in one way is a column of it."""


def meaning(code: int) -> Meaning:
    """The row of a `result`. A number that no revision documents is a plain failure."""
    return RESULTS.get(code) or Meaning(
        f"undocumented result {code}",
        Verdict.REFUSED,
        "failed for a reason that no guide explains",
        vague=True,
    )


def progress(status: int) -> Progress:
    """The state by a `requestStatus`. A number that no revision documents is an end (row 31)."""
    if status == RequestStatus.WAITING:
        return Progress.WAITING
    accepted = status in {RequestStatus.ACCEPTED, RequestStatus.ENTERPRISE_WECHAT_ACCEPTED}
    return Progress.ACCEPTED if accepted else Progress.OVER
