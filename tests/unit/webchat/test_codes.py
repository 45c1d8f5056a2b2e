"""The numbers, compared with the guide's part five as printed."""

import re

import pytest

from bridge.webchat.codes import (
    Dialect,
    FrameType,
    MessageType,
    NoticeType,
    RequestStatus,
    ResultCode,
    Source,
)

GUIDE_FRAME_TYPES = {1, 2, 3, 101, 102, 103, 104, 110, 111, 201, 202, 203, 204, 205, 210}
GUIDE_RESULTS = {1, *range(-17, 0), -20, -30, -100}


def test_every_number_of_the_guide_is_known() -> None:
    assert set(FrameType) >= GUIDE_FRAME_TYPES
    assert set(MessageType) >= {1, 2, 3, 4, 5, 6, 99}
    assert set(RequestStatus) == {*range(8), 11}
    assert set(ResultCode) >= GUIDE_RESULTS


@pytest.mark.parametrize("numbers", [FrameType, MessageType, NoticeType, RequestStatus, ResultCode])
def test_names_are_spelt_correctly(
    numbers: type[FrameType | MessageType | NoticeType | RequestStatus | ResultCode],
) -> None:
    for number in numbers:
        assert not re.search("INVAILD|ROULTING", number.name)


def test_sources_and_dialects() -> None:
    assert [str(source) for source in Source] == ["PC", "MOBILE", "WECHAT", "APP"]
    assert [str(dialect) for dialect in Dialect] == ["2016", "2019", "dual"]


def test_the_other_sets_of_keys() -> None:
    assert [dialect.others for dialect in Dialect] == [
        (Dialect.Y2019,),
        (Dialect.Y2016,),
        (Dialect.Y2016, Dialect.Y2019),
    ]
