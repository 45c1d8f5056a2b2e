"""What every number of the server means, and what is to be done about it, as data.

Sources: guide 5.3 and 5.4; protocol reference 2.3 and 2.5, which also say what the vendor's own
clients do. Names are the vendor's, misspelt as they are, because that is what people will search a
vendor log for.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from bridge.webchat.codes import RequestStatus, ResultCode


class Verdict(StrEnum):
    """What to do about a `result`."""

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
    """What a `requestStatus` says about a queue request."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    """Not an error (trap T31): the session follows by 202."""
    OVER = "over"
    """The request has ended without a session."""


class Meaning(msgspec.Struct, frozen=True):
    """One result code."""

    name: str
    """As the vendor spells it."""
    verdict: Verdict
    says: str
    """For logs and operators, in English."""


_RESULTS: Mapping[int, Meaning] = MappingProxyType(
    {
        ResultCode.SUCCESS: Meaning("SUCCESS", Verdict.OK, "done"),
        ResultCode.FAILURE: Meaning("FAILURE", Verdict.REFUSED, "failed, no reason given"),
        ResultCode.ALREADY_IN_ROUTING: Meaning(
            "REQUEST_ALREADY_IN_ROULTING", Verdict.STATE, "a queue request exists already"
        ),
        ResultCode.ALREADY_IN_CHATTING: Meaning(
            "ALREADY_IN_CHATTING", Verdict.STATE, "a session exists already"
        ),
        ResultCode.NOT_IN_WORKTIME: Meaning(
            "NOT_IN_WORKTIME", Verdict.STATE, "outside working hours"
        ),
        ResultCode.INVALID_SKILLGROUP: Meaning(
            "INVAILD_SKILLGROUP", Verdict.CONFIGURATION, "the queue has no such skill group"
        ),
        ResultCode.NO_AGENT_ONLINE: Meaning("NO_AGENT_ONLINE", Verdict.STATE, "no agent is online"),
        ResultCode.INVALID_CLIENT_ID: Meaning(
            "INVAILD_CLIENT_ID", Verdict.RELOGIN, "the server does not know us"
        ),
        ResultCode.INVALID_QUEUE_ID: Meaning(
            "INVAILD_QUEUE_ID", Verdict.CONFIGURATION, "there is no such queue"
        ),
        ResultCode.REQUEST_ERROR: Meaning(
            "REQUEST_ERROR", Verdict.REFUSED, "the server could not read the command"
        ),
        ResultCode.INVALID_TO_USER_ID: Meaning(
            "INVAILD_TO_USER_ID", Verdict.CONFIGURATION, "the wanted agent is unknown or offline"
        ),
        ResultCode.INVALID_CHAT_REQUEST_ID: Meaning(
            "INVAILD_CHAT_REQUEST_ID", Verdict.STATE, "the queue request is gone"
        ),
        ResultCode.INVALID_CHAT_SESSION_ID: Meaning(
            "INVAILD_CHAT_SESSION_ID", Verdict.STATE, "the session is gone"
        ),
        ResultCode.INVALID_MESSAGE_TYPE: Meaning(
            "INVAILD_MESSAGE_TYPE", Verdict.REFUSED, "the server does not know this kind of message"
        ),
        ResultCode.UPLOAD_FILE_FAILED: Meaning(
            "UPLOAD_FILE_FAILED", Verdict.RETRY, "the server could not store the file"
        ),
        # In 110 a sign of the wrong dialect, in 101 of a wrong setting (state table, row 16).
        ResultCode.INVALID_PARAMETER: Meaning(
            "INVAILD_PARAMETER", Verdict.CONFIGURATION, "a parameter is wrong or missing"
        ),
        ResultCode.INVALID_TOKEN: Meaning("INVAILD_TOKEN", Verdict.RELOGIN, "the token is void"),
        ResultCode.INVALID_FILE_EXTENSION: Meaning(
            "INVAILD_FILE_EXTENSION", Verdict.REFUSED, "files of this kind are not accepted"
        ),
        ResultCode.EMPTY_MESSAGE: Meaning(
            "EMPTY_MESSAGE", Verdict.REFUSED, "the server finds the message blank"
        ),
        ResultCode.INVALID_SESSION_TYPE: Meaning(
            "INVAILD_SESSION_TYPE", Verdict.CONFIGURATION, "a session of another kind exists"
        ),
        ResultCode.INVALID_REQUEST_TYPE: Meaning(
            "INVAILD_REQUEST_TYPE", Verdict.REFUSED, "the server does not know this command"
        ),
        # Never again by itself: the server counts log-ins and shuts out the address (ref. 3.7).
        ResultCode.INVALID_LOGIN: Meaning(
            "INVAILD_LOGINNAME_OR_PASSWORD", Verdict.CONFIGURATION, "wrong login name or password"
        ),
        ResultCode.INVALID_FILE_SIZE: Meaning(
            "INVAILD_FILE_SIZE", Verdict.REFUSED, "the file is too large"
        ),
        ResultCode.UPLOAD_IMAGE_FAILED: Meaning(
            "UPLOAD_IMAGE_FAILED", Verdict.REFUSED, "the server could not store the image"
        ),
        ResultCode.UPLOAD_VOICE_FAILED: Meaning(
            "UPLOAD_VOICE_FAILED", Verdict.REFUSED, "the server could not store the voice message"
        ),
        ResultCode.INVALID_SIGN: Meaning(
            "INVAILD_SIGN", Verdict.CONFIGURATION, "the signature is wrong: check the key"
        ),
        ResultCode.INTERNAL_ERROR: Meaning(
            "INTERNAL_ERROR", Verdict.RETRY, "the server had an internal error"
        ),
    }
)

_STATUSES: Mapping[int, tuple[str, Progress]] = MappingProxyType(
    {
        RequestStatus.WAITING: ("WAITING", Progress.WAITING),
        RequestStatus.ACCEPTED: ("ACCEPTED", Progress.ACCEPTED),
        RequestStatus.REFUSED: ("REFUSED", Progress.OVER),
        RequestStatus.TIMEOUT: ("TIMEOUT", Progress.OVER),
        RequestStatus.DROPPED: ("DROPPED", Progress.OVER),
        RequestStatus.NO_AGENT_ONLINE: ("NO_AGENT_ONLINE", Progress.OVER),
        RequestStatus.OFF_HOUR: ("OFF_HOUR", Progress.OVER),
        RequestStatus.CANCELED_BY_CLIENT: ("CANCELED_BY_CLIENT", Progress.OVER),
        RequestStatus.ENTERPRISE_WECHAT_ACCEPTED: (
            "ENTERPRISE_WECHAT_ACCEPTED",
            Progress.ACCEPTED,
        ),
    }
)


def meaning(code: int) -> Meaning:
    """What a `result` means. A number that no revision documents is a plain failure."""
    return _RESULTS.get(code) or Meaning(
        f"undocumented result {code}", Verdict.REFUSED, "failed for a reason that no guide explains"
    )


def verdict(code: int) -> Verdict:
    """What to do about a `result`."""
    return meaning(code).verdict


def name(code: int) -> str:
    """The vendor's name of a `result`."""
    return meaning(code).name


def progress(status: int) -> Progress:
    """What a `requestStatus` says. A number that no revision documents is an end (row 31)."""
    return _STATUSES[status][1] if status in _STATUSES else Progress.OVER


def status_name(status: int) -> str:
    """The vendor's name of a `requestStatus`."""
    return _STATUSES[status][0] if status in _STATUSES else f"undocumented status {status}"
