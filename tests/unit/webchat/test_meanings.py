"""Every number has a meaning."""

import pytest

from bridge.webchat.codes import RequestStatus, ResultCode
from bridge.webchat.meanings import (
    Progress,
    Verdict,
    meaning,
    name,
    progress,
    status_name,
    verdict,
)

GUIDE_NAMES = {
    1: "SUCCESS",
    -1: "REQUEST_ALREADY_IN_ROULTING",
    -2: "ALREADY_IN_CHATTING",
    -3: "NOT_IN_WORKTIME",
    -4: "INVAILD_SKILLGROUP",
    -5: "NO_AGENT_ONLINE",
    -6: "INVAILD_CLIENT_ID",
    -7: "INVAILD_QUEUE_ID",
    -8: "REQUEST_ERROR",
    -9: "INVAILD_TO_USER_ID",
    -10: "INVAILD_CHAT_REQUEST_ID",
    -11: "INVAILD_CHAT_SESSION_ID",
    -12: "INVAILD_MESSAGE_TYPE",
    -13: "UPLOAD_FILE_FAILED",
    -14: "INVAILD_PARAMETER",
    -15: "INVAILD_TOKEN",
    -16: "INVAILD_FILE_EXTENSION",
    -17: "EMPTY_MESSAGE",
    -20: "INVAILD_LOGINNAME_OR_PASSWORD",
    -30: "INVAILD_SIGN",
    -100: "INTERNAL_ERROR",
}


@pytest.mark.parametrize("code", list(ResultCode))
def test_every_result_is_explained(code: ResultCode) -> None:
    found = meaning(code)
    assert not found.name.startswith("undocumented")
    assert found.says
    assert (found.verdict is Verdict.OK) == (code == ResultCode.SUCCESS)


@pytest.mark.parametrize(("code", "spelling"), GUIDE_NAMES.items())
def test_names_are_the_vendors(code: int, spelling: str) -> None:
    assert name(code) == spelling


@pytest.mark.parametrize("status", list(RequestStatus))
def test_every_status_is_explained(status: RequestStatus) -> None:
    assert status_name(status) == status.name
    assert progress(status) in Progress


def test_every_verdict_is_used() -> None:
    assert {verdict(code) for code in ResultCode} == set(Verdict)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-1, Verdict.STATE),
        (-7, Verdict.CONFIGURATION),
        (-11, Verdict.STATE),
        (-15, Verdict.RELOGIN),
        (-16, Verdict.REFUSED),
        (-17, Verdict.REFUSED),
        (-20, Verdict.CONFIGURATION),
        (-100, Verdict.RETRY),
        (-77, Verdict.REFUSED),
        (2, Verdict.REFUSED),
    ],
)
def test_verdicts(code: int, expected: Verdict) -> None:
    assert verdict(code) is expected


def test_undocumented_numbers_are_named_by_number() -> None:
    assert name(-77) == "undocumented result -77"
    assert status_name(42) == "undocumented status 42"
    assert progress(42) is Progress.OVER


def test_accepted_on_another_channel_is_accepted() -> None:
    assert progress(11) is progress(1) is Progress.ACCEPTED
    assert progress(0) is Progress.WAITING
