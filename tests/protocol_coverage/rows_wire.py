"""The numbers of the wire: frames, contents, notices, statuses, results (reference 1 and 2)."""

from __future__ import annotations

from tests.protocol_coverage.rows import Row, Section, wire

_TYPE = r'(?:"type": |commands\(\w+, |\.sent\(){}\b'

COMMANDS = (
    # Small numbers stand for too much else to be looked for as such.
    *wire(
        Section.COMMANDS,
        (
            (1, "PasswordLogin", "login with a password (HTTP)"),
            (3, "RegisterLogin", "login that makes the account (HTTP)"),
            (4, "VisitorLogin", "login of an anonymous visitor (HTTP)"),
            (2, "Logout", "logout"),
            (10, "Heartbeat", "heartbeat"),
        ),
    ),
    *wire(
        Section.COMMANDS,
        (
            (101, "RequestChat", "ask for an agent"),
            (102, "CancelRequest", "take the request back"),
            (103, "CloseSession", "end the chat"),
            (104, "RateSession", "rate the chat"),
            (110, "SendMessage", "a message of the customer"),
            (111, "SendPreMessage", "a message while waiting"),
            (112, "Preview", "what is being typed: at hand, never sent, for Matrix has no drafts"),
            (113, "Typing", "somebody is typing"),
            (120, "Receipt", "receipt for a push"),
            (302, "TransferFromRobot", "from the robot to a person"),
        ),
        _TYPE,
    ),
)

REPLIES = (
    Row(Section.REPLIES, "minimal", "101 accepted, and nothing else said"),
    Row(Section.REPLIES, "queued", "with requestId and a place in the queue"),
    Row(Section.REPLIES, "continued", "no queue: the chat goes on"),
    Row(Section.REPLIES, "session", "with the session that exists already"),
    Row(Section.REPLIES, "robot", "a robot's session, without requestId"),
    Row(Section.REPLIES, "permanent", "a permanent session, without a 202"),
    Row(Section.REPLIES, "refused", "refused, perhaps with the requestId all the same"),
)

PUSHES = tuple(
    wire(
        Section.PUSHES,
        (
            (200, "InitConfig", "what the server offers"),
            (201, "QueueStatus", "how the request stands"),
            (202, "ChatStarted", "the chat begins"),
            (203, "RatingPushed", "the agent asks for a rating"),
            (204, "AgentsUpdated", "who the agents are now"),
            (205, "SessionClosed", "the agent has ended the chat"),
            (210, "MessageReceived", "a message of an agent"),
            (301, "RobotMessage", "a message of a robot"),
            (302, "", "the hand-over by the robot"),
        ),
        r'(?:"type": |push\(){}\b',
    )
)

CONTENT = tuple(
    wire(
        Section.CONTENT,
        (
            (1, "Text|AgentText|TEXT", "text"),
            (2, "Image|AgentImage|IMAGE", "picture"),
            (3, "File|AgentFile|FILE", "file"),
            (4, "Location|AgentLocation|LOCATION", "place"),
            (5, "Voice|AgentVoice|VOICE", "voice"),
            (6, "Video|AgentVideo|VIDEO", "film"),
            (11, "HQ_VOICE", "voice of the phone clients"),
            (99, "AgentNotice|SYSTEM_NOTICE", "notice of the system"),
        ),
        r'"msg": \{{"type": {}\b',
    )
)

NOTICES = (
    *wire(
        Section.NOTICES,
        (
            (0, "NORMAL", "words of the agent"),
            (1, "TRACK_CHANGE", "not for people: dropped"),
            (2, "PUSH_RATING", "the agent asks for a rating"),
            (3, "AFK_WARNING", "still there?"),
            (4, "AFK_CLOSE", "ends for want of an answer"),
            (5, "TYPING", "somebody types"),
            (6, "REVOKE_MESSAGE", "an agent takes a message back"),
            (10, "INVITE", "one more agent"),
            (11, "TRANSFER", "another agent"),
            (12, "USER_LEFT", "an agent has left"),
            (99, "CUSTOM", "any notice"),
            (120, "", "a project's own: shown if it has words"),
        ),
        r'(?:"noticeType": |notice_type=|NoticeType\(){}\b',
        "NoticeType",
    ),
    Row(Section.NOTICES, "none", "no noticeType at all: a notice", (r"no noticeType",)),
)

STATUSES = tuple(
    wire(
        Section.STATUSES,
        (
            (0, "WAITING", "a place in the queue"),
            (1, "ACCEPTED", "accepted: the 202 comes"),
            (2, "REFUSED", "refused, but may come back to life"),
            (3, "TIMEOUT", "waited too long"),
            (4, "DROPPED", "lost"),
            (5, "NO_AGENT_ONLINE", "nobody there"),
            (6, "OFF_HOUR", "closed"),
            (7, "CANCELED_BY_CLIENT", "cancelled by us"),
            (11, "ENTERPRISE_WECHAT_ACCEPTED", "accepted elsewhere"),
            (42, "", "a number that nobody knows"),
        ),
        r'(?:"requestStatus": |requestStatus=|QueueStatus\([^)]*, ){}\b',
        "RequestStatus",
    )
)


def _number(code: int) -> str:
    """The number as it stands in code; not as the index in `cards[-1]`."""
    return rf"(?<![\w.-])(?!(?<=\[){code}\]){code}\b"


_RESULTS = (
    (1, "SUCCESS", "done"),
    (0, "FAILURE", "not done"),
    (-1, "ALREADY_IN_ROUTING", "in the queue already"),
    (-2, "ALREADY_IN_CHATTING", "in a chat already"),
    (-3, "NOT_IN_WORKTIME", "closed"),
    (-4, "INVALID_SKILLGROUP", "skill group unknown"),
    (-5, "NO_AGENT_ONLINE", "nobody there"),
    (-6, "INVALID_CLIENT_ID", "customer unknown"),
    (-7, "INVALID_QUEUE_ID", "queue unknown"),
    (-8, "REQUEST_ERROR", "frame not understood"),
    (-9, "INVALID_TO_USER_ID", "wanted agent not there"),
    (-10, "INVALID_CHAT_REQUEST_ID", "request gone"),
    (-11, "INVALID_CHAT_SESSION_ID", "session gone"),
    (-12, "INVALID_MESSAGE_TYPE", "kind of message unknown"),
    (-13, "UPLOAD_FILE_FAILED", "upload failed"),
    (-14, "INVALID_PARAMETER", "parameter missing or wrong"),
    (-15, "INVALID_TOKEN", "token refused"),
    (-16, "INVALID_FILE_EXTENSION", "kind of file refused"),
    (-17, "EMPTY_MESSAGE", "nothing said"),
    (-18, "INVALID_SESSION_TYPE", "a session of another kind"),
    (-19, "INVALID_REQUEST_TYPE", "kind of request unknown"),
    (-20, "INVALID_LOGIN", "name or password wrong"),
    (-21, "INVALID_FILE_SIZE", "file too big"),
    (-22, "UPLOAD_IMAGE_FAILED", "picture not taken"),
    (-23, "UPLOAD_VOICE_FAILED", "voice not taken"),
    (-30, "INVALID_SIGN", "signature wrong"),
    (-100, "INTERNAL_ERROR", "broken inside"),
)
RESULTS = (
    *(
        Row(
            Section.RESULTS,
            str(code),
            title,
            # A negative number stands for a result wherever a test of the protocol has one.
            (rf"\bResultCode\.{name}\b", *((_number(code),) if code < 0 else ())),
        )
        for code, name, title in _RESULTS
    ),
    Row(Section.RESULTS, "other", "a number that nobody knows", (r"result\.other|-77\b|-99\b",)),
)

ROWS: tuple[Row, ...] = (*COMMANDS, *REPLIES, *PUSHES, *CONTENT, *NOTICES, *STATUSES, *RESULTS)
