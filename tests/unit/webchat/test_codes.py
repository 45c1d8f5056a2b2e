"""The numbers, compared with part five of the guide as printed; each has a meaning."""

import re

import pytest

from bridge.webchat.codes import (
    RESULTS,
    Dialect,
    FrameType,
    MessageType,
    NoticeType,
    Progress,
    RequestStatus,
    ResultCode,
    Source,
    meaning,
    progress,
)

GUIDE_FRAME_TYPES = {1, 2, 3, 101, 102, 103, 104, 110, 111, 201, 202, 203, 204, 205, 210}
GUIDE_RESULTS = {1, *range(-17, 0), -20, -30, -100}


def test_every_number_of_the_guide_is_known() -> None:
    assert set(FrameType) >= GUIDE_FRAME_TYPES
    assert set(MessageType) >= {1, 2, 3, 4, 5, 6, 99}
    assert set(RequestStatus) == {*range(8), 11}
    assert set(ResultCode) >= GUIDE_RESULTS


@pytest.mark.parametrize("numbers", [FrameType, MessageType, NoticeType, RequestStatus, ResultCode])
def test_names_of_enum_members_are_spelt_correctly(
    numbers: type[FrameType | MessageType | NoticeType | RequestStatus | ResultCode],
) -> None:
    for number in numbers:
        assert not re.search("INVAILD|ROULTING", number.name)


def test_sources_and_dialects() -> None:
    assert [str(source) for source in Source] == ["PC", "MOBILE", "WECHAT", "APP"]
    assert [str(dialect) for dialect in Dialect] == ["2016-11", "2016", "2019", "dual"]


def test_each_dialect_lists_the_dialects_to_try_after_it() -> None:
    assert [dialect.others for dialect in Dialect] == [
        (Dialect.Y2016, Dialect.Y2019),
        (Dialect.Y2019,),
        (Dialect.Y2016,),
        (Dialect.Y2016, Dialect.Y2019),
    ]


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
    assert (found.says == "done") == (code == ResultCode.SUCCESS)


@pytest.mark.parametrize(("code", "spelling"), GUIDE_NAMES.items())
def test_meanings_have_the_names_of_the_vendor(code: int, spelling: str) -> None:
    assert meaning(code).name == spelling


@pytest.mark.parametrize("status", list(RequestStatus))
def test_every_status_is_explained(status: RequestStatus) -> None:
    over = status not in {RequestStatus.WAITING, 1, 11}
    assert (progress(status) is Progress.OVER) == over


def test_the_table_has_a_row_for_each_code_and_no_other() -> None:
    assert set(RESULTS) == set(ResultCode)
    for row in RESULTS.values():
        assert row.undelivered.startswith(("undelivered.", "result.-"))


@pytest.mark.parametrize(
    ("column", "codes"),
    [
        ("passing", {-15, -100}),
        ("hopeless", {-4, -6, -7, -8, -9, -14, -18, -19, -20, -30, -35}),
        ("nobody", {-3, -5}),
        ("vague", {0, -3, -77}),
        ("relogin", {-6, -15}),
        ("lacking", {-8, -12, -14, -19}),
    ],
)
def test_columns_of_the_result_table(column: str, codes: set[int]) -> None:
    assert {code for code in (*ResultCode, -77) if getattr(meaning(code), column)} == codes


def test_results_after_which_a_message_is_not_sent_again() -> None:
    assert {code for code in (*ResultCode, -77) if not meaning(code).resend} == {-12, -16, -17, -21}


def test_undocumented_numbers_are_named_by_number() -> None:
    assert meaning(-77).name == "undocumented result -77"
    assert progress(42) is Progress.OVER


def test_accepted_on_another_channel_is_accepted() -> None:
    assert progress(11) is progress(1) is Progress.ACCEPTED
    assert progress(0) is Progress.WAITING
