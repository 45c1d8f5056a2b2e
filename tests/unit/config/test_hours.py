"""Opening hours: reading them, and the next opening, also when the clocks change."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.hours import DAYS, Hours, Span, parse_hours
from tests.unit.config.configs import edited, problems

WEEK = "Mon-Fri 09:00-12:00, 13:00-18:00; Sat 10:00-14:00 Asia/Shanghai"
WEEK_MS = 7 * 86_400_000


def at(text: str, zone: str = "Asia/Shanghai", fold: int = 0) -> int:
    """Return a local time as ms since the epoch. 2 November 2026 is a Monday."""
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-02T08:59", "2026-11-02T09:00"),
        ("2026-11-02T09:00", "2026-11-02T09:00"),
        ("2026-11-02T11:59", "2026-11-02T11:59"),
        ("2026-11-02T12:00", "2026-11-02T13:00"),
        ("2026-11-02T18:00", "2026-11-03T09:00"),
        ("2026-11-06T18:00", "2026-11-07T10:00"),
        ("2026-11-07T14:00", "2026-11-09T09:00"),
        ("2026-11-08T00:00", "2026-11-09T09:00"),
    ],
)
def test_next_opening(now: str, opens: str) -> None:
    hours = parse_hours(WEEK)
    assert hours.opens(at(now)) == at(opens)
    assert hours.is_open(at(now)) is (now == opens)


def test_over_midnight() -> None:
    hours = parse_hours("Fri-Sun 22:00-06:00 Asia/Shanghai")
    assert hours.is_open(at("2026-11-07T05:59"))  # Friday's
    assert not hours.is_open(at("2026-11-07T06:00"))
    assert hours.is_open(at("2026-11-09T01:00"))  # Sunday's, on Monday
    assert hours.opens(at("2026-11-09T06:00")) == at("2026-11-13T22:00")


@pytest.mark.parametrize("times", ["8:00-次日8:00", "上午8点到次日早上8点", "朝8時〜翌8時"])
def test_until_the_same_time_of_the_next_day(times: str) -> None:
    hours = parse_hours(f"周六 {times} UTC")
    assert hours.opens(at("2026-11-07T07:59", "UTC")) == at("2026-11-07T08:00", "UTC")
    assert hours.is_open(at("2026-11-08T07:59", "UTC"))
    assert hours.opens(at("2026-11-08T08:00", "UTC")) == at("2026-11-14T08:00", "UTC")
    for other in ("8:00-8:00", "上午8点到8点", "8点到8点", "8点到次日8点"):
        with pytest.raises(ValueError, match=r"is empty|is not clear"):
            parse_hours(f"周六 {other} UTC")


def test_end_of_the_day() -> None:
    for text in ("Mon 22:00-24:00; Tue 00:00-02:00 UTC", "Mon 22:00-00:00; Tue 0:00-02:00 UTC"):
        hours = parse_hours(text)
        assert hours.is_open(at("2026-11-02T23:59:59", "UTC"))
        assert hours.is_open(at("2026-11-03T00:00", "UTC"))
        assert not hours.is_open(at("2026-11-03T02:00", "UTC"))


def test_weekly_opening_is_found_from_any_time() -> None:
    hours = parse_hours("Wed 09:00-09:01 UTC")
    assert hours.opens(at("2026-11-04T09:01", "UTC")) == at("2026-11-11T09:00", "UTC")


@pytest.mark.parametrize("days", ["daily", "Daily", "Mon-Sun", "Thu-Wed", "sat-sun,mon-fri"])
def test_every_day(days: str) -> None:
    spans = parse_hours(f"{days} 00:00-24:00 UTC").spans
    assert {span.day for span in spans} == set(range(7))
    assert {(span.begins, span.ends) for span in spans} == {(0, 1440)}


@pytest.mark.parametrize("zone", ["asia/shanghai", "ASIA/SHANGHAI", "Asia/shanghai"])
def test_a_zone_in_any_case(zone: str) -> None:
    """As a phone's keyboard writes it."""
    assert parse_hours(f"mon-fri 09:00-18:00 {zone}") == parse_hours(
        "Mon-Fri 09:00-18:00 Asia/Shanghai"
    )


@pytest.mark.parametrize(
    "text",
    [
        "周一至周五 9:00-12:00、13:00-18:00，周六 10:00-14:00 北京时间",
        "星期一到星期五 ９：００～１２：００，13:00～18:00；星期六 10:00－14:00 北京时间",
        "週一至五9:00—12:00, 13:00—18:00 週六：10:00—14:00 北京時間",
        "周一至周五9点-12点，13点整到18点；周六10點至14點00 北京时间",
        "周一、二、三、四、五 09:00-12:00,13:00-18:00, 礼拜六 10:00至14:00 Asia/Shanghai",
        "Mon–Fri 09:00–12:00, 13:00–18:00, Sat 10:00–14:00 Asia/Shanghai",
    ],
)
def test_hours_as_they_are_written_in_chinese_or_by_phones(text: str) -> None:
    assert parse_hours(text) == parse_hours(WEEK)


@pytest.mark.parametrize(
    ("names", "zone"),
    [
        ("北京时间 北京時間 上海时间 中国时间 中国标准时间 中國標準時間", "Asia/Shanghai"),
        ("UTC+8 GMT+08:00 utc+0800 东八区 東八區", "Asia/Shanghai"),
        ("台北時間 臺灣時間 台灣標準時間 中原標準時間 國家標準時間", "Asia/Taipei"),
        ("香港時間 香港标准时间 HKT", "Asia/Hong_Kong"),
        ("澳門時間 澳门时间", "Asia/Macau"),
        ("新加坡時間 新加坡时间 SGT", "Asia/Singapore"),
        ("日本時間 日本標準時 日本標準時間 東京時間 JST", "Asia/Tokyo"),
    ],
)
def test_zones_as_people_call_them(names: str, zone: str) -> None:
    meant = parse_hours(f"Mon-Fri 9:00-18:00 {zone}")
    for name in names.split():
        assert parse_hours(f"周一至周五 9:00-18:00 {name}") == meant
        assert parse_hours(f"周一至周五 9点到18点（{name}）") == meant


def test_a_zone_of_the_database_is_not_taken_for_an_offset() -> None:
    assert parse_hours("Mon 9:00-18:00 Etc/GMT+8").zone.key == "Etc/GMT+8"  # behind UTC


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Beijing time", "Asia/Shanghai"),
        ("China Standard Time", "Asia/Shanghai"),
        ("Taipei time", "Asia/Taipei"),
        ("Hong Kong Time", "Asia/Hong_Kong"),
        ("Macau time", "Asia/Macau"),
        ("Singapore Standard Time", "Asia/Singapore"),
        ("Japan Standard Time", "Asia/Tokyo"),
    ],
)
def test_zones_as_they_are_called_in_english(name: str, zone: str) -> None:
    hours = "Monday to Friday 9 a.m. to 6 p.m."
    assert parse_hours(f"{hours} {name}") == parse_hours(f"{hours} {zone}")


def test_days_and_half_hours_in_chinese() -> None:
    assert parse_hours("每天 8:00-20:00 台北時間") == parse_hours("daily 08:00-20:00 Asia/Taipei")
    assert parse_hours("每天 8:00-20:00 台灣時間") == parse_hours("daily 08:00-20:00 Asia/Taipei")
    assert parse_hours("周三9点半到18点30 UTC") == parse_hours("Wed 09:30-18:30 UTC")
    weekend = parse_hours("Sat,Sun 08:00-20:00 UTC")
    assert parse_hours("周六日 8:00-20:00 UTC") == parse_hours("週末 8:00-20:00 UTC") == weekend
    for day in ("周日", "星期天", "禮拜日"):
        assert parse_hours(f"{day} 8:00-20:00 UTC") == parse_hours("Sun 08:00-20:00 UTC")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("工作日 9:00-18:00 北京时间", "Mon-Fri 9:00-18:00 Asia/Shanghai"),
        ("工作日早上9点到晚上9点半北京时间", "Mon-Fri 9:00-21:30 Asia/Shanghai"),
        (
            "周一到周五 上午9点到12点，下午2点到6点 北京时间",
            "Mon-Fri 9:00-12:00, 14:00-18:00 Asia/Shanghai",
        ),
        ("每天 上午9:00-中午12:00、下午14:00-18:00 UTC", "daily 9:00-12:00, 14:00-18:00 UTC"),
        ("每天晚上10点到早上6点 UTC", "daily 22:00-6:00 UTC"),
        (
            "周六日、一 中午12点到2点，中午12点半到18点 UTC",
            "Sat,Sun,Mon 12:00-14:00, 12:30-18:00 UTC",
        ),
        ("週六和週日上午9點到18:00 臺北時間", "Sat,Sun 9:00-18:00 Asia/Taipei"),
        ("平日9時から18時まで日本時間", "Mon-Fri 9:00-18:00 Asia/Tokyo"),
        (
            "平日は午前9時～12時、午後1時～6時 Asia/Tokyo",
            "Mon-Fri 9:00-12:00, 13:00-18:00 Asia/Tokyo",
        ),
        ("月〜金 9:00〜18:00 日本時間", "Mon-Fri 9:00-18:00 Asia/Tokyo"),
        (
            "月曜・水曜 9時30分ー17時半、土日 午後0時〜4時 UTC",
            "Mon,Wed 9:30-17:30; Sat,Sun 12:00-16:00 UTC",
        ),
        ("Mon-Fri 9am-6pm UTC", "Mon-Fri 9:00-18:00 UTC"),
        ("Mon–Fri 9 a.m. to 5 p.m. Europe/London", "Mon-Fri 9:00-17:00 Europe/London"),
        (
            "Monday to Thursday: 9:30AM–1PM; weekends 10 am until 12 pm UTC",
            "Mon-Thu 9:30-13:00; Sat,Sun 10:00-12:00 UTC",
        ),
        ("Weekdays and Saturdays 1pm-5:30 UTC", "Mon-Sat 13:00-17:30 UTC"),
        ("every day 12am - 12pm UTC", "daily 0:00-12:00 UTC"),
        ("年中無休 10時～22時 日本時間", "daily 10:00-22:00 Asia/Tokyo"),
        ("每天24小时 北京时间", "daily 00:00-24:00 Asia/Shanghai"),
        ("年中無休24時間 日本時間", "daily 00:00-24:00 Asia/Tokyo"),
        ("週五22點到6點、週六18點半到2點 UTC", "Fri 22:00-6:00; Sat 18:30-2:00 UTC"),
        ("周一、三、五 上午九点到下午六点（北京时间）", "Mon,Wed,Fri 9:00-18:00 Asia/Shanghai"),
        (
            "周一/三/五 九点到十二点半，十三点零五到二十点 UTC",
            "Mon,Wed,Fri 9:00-12:30, 13:05-20:00 UTC",
        ),
        ("金曜 九時四十五分から十八時十分 UTC", "Fri 9:45-18:10 UTC"),
        ("周五六点到九点、周六 凌晨两点到五点 UTC", "Fri 6:00-9:00; Sat 2:00-5:00 UTC"),
        ("每天二十四小时 UTC", "daily 00:00-24:00 UTC"),
        ("周五 晚上8点到凌晨2点，周六 20:00-次日2:00 UTC", "Fri,Sat 20:00-2:00 UTC"),
        ("周五下午两点到第二天凌晨三点 UTC", "Fri 14:00-3:00 UTC"),
        ("周五 10:00-次日02:00、土 11:00〜翌1:00 UTC", "Fri 10:00-2:00; Sat 11:00-1:00 UTC"),
        ("周一至周五，9:00-18:00，周六，9点-12点 UTC", "Mon-Fri 9:00-18:00; Sat 9:00-12:00 UTC"),
        ("土日 朝9時〜夜8時、金曜 17時から深夜1時 UTC", "Sat,Sun 9:00-20:00; Fri 17:00-1:00 UTC"),
        ("金 夕方5時〜翌朝5時、土 18時～翌2時 UTC", "Fri 17:00-5:00; Sat 18:00-2:00 UTC"),
        ("工作日 上午8:30-12:00 下午13:30-17:30 UTC", "Mon-Fri 8:30-12:00, 13:30-17:30 UTC"),
        ("每周一到周五，上午九点至十二点 / 14:00-18:00 UTC", "Mon-Fri 9:00-12:00, 14:00-18:00 UTC"),
        (
            "毎週月水金 10時〜19時、毎週日曜 10時〜12時 UTC",
            "Mon,Wed,Fri 10:00-19:00; Sun 10:00-12:00 UTC",
        ),
        ("Mon, Fri, 9am-5pm; 每周末 10点-12点 UTC", "Mon,Fri 9:00-17:00; Sat,Sun 10:00-12:00 UTC"),
        ("7*24小时 UTC", "daily 00:00-24:00 UTC"),
        ("全天24小时 UTC", "daily 00:00-24:00 UTC"),
        ("周五十点到20点，周二十二点到18点 UTC", "Fri 10:00-20:00; Tue 12:00-18:00 UTC"),
        ("週一至週五十點半到十二點 UTC", "Mon-Fri 10:30-12:00 UTC"),
        ("周一至五十一点到20点，周六十点到12点 UTC", "Mon-Fri 11:00-20:00; Sat 10:00-12:00 UTC"),
        ("周一三五十点到12点 UTC", "Mon,Wed,Fri 10:00-12:00 UTC"),
        ("禮拜四二十點到二十二點 UTC", "Thu 20:00-22:00 UTC"),
        ("星期二、四十點到12點；周日十点到12点 UTC", "Tue,Thu,Sun 10:00-12:00 UTC"),
        ("每天9点到12点、12点到17点、9点到0点 UTC", "daily 9:00-12:00, 12:00-17:00, 9:00-0:00 UTC"),
    ],
)
def test_hours_as_people_write_them(text: str, meant: str) -> None:
    assert parse_hours(text) == parse_hours(meant)


@pytest.mark.parametrize(
    "times",
    [
        "下午12点到6点",
        "晚上6点到晚上12点",
        "晚上10点到6点",
        "上午9点到6点",
        "上午14:00-18:00",
        "9点到下午6点",
        "1:30-5:30pm",
        "9am-5:30",
        "9時から5時",
        "9点半到5点",
        "12點到6點",
        "9点到12点，1点到6点",
        "上午9点到12点、2点到6点",
        "九点到五点",
        "九点到十二点，一点到六点",
        "10点-12点，0点-2点",  # 0 is also noon, in Japanese
        "10時〜翌2時",
        "10時〜翌2:00",
        "10:00-次日14:00",
        "12点到凌晨2点",
        "凌晨1点到次日5点",
        "晚上8点到次日14:00",
    ],
)
def test_hours_with_two_meanings_are_refused(times: str) -> None:
    with pytest.raises(ValueError, match="is not clear") as refused:
        parse_hours(f"daily {times} UTC")
    wrong = str(refused.value)
    assert wrong.startswith(f'"daily {times.replace("，", ",")} UTC" was read as ')
    assert not {*"上下時"} & {*wrong.partition("was read as")[2]}, "who wrote 9am reads no Chinese"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "每天晚上1点到早上7点",
            "每天晚上 02:30-03:30",
            "每天下午6点到晚上1点",
            "每天晚上0点到早上6点",
        ),
        *("五一 9:00-18:00", "三月 9:00-18:00", "一月至五月 9:00-18:00", "六日 9:00-18:00"),
        *("土日祝日 9:00-18:00", "第2土曜 9:00-18:00", "月二 9:00-18:00", "三天 9:00-18:00"),
        *("土日祝 10:00-17:00", "节假日 10:00-17:00", "工作日 9:00-17:00，节假日休息"),
        *("每天 20:00-24:00，凌晨0点-2点", "金 深夜0時〜4時", "每天凌晨10点到12点"),
        *("周一二十点到二十二点", "六七点到十二点", "每天五六点到十点", "周一、二、三点到五点"),
    ],
)
def test_hours_after_midnight_and_dates_are_refused(text: str) -> None:
    """晚上1点 is no time in the afternoon, and 五一 is no Friday and Monday.

    周一二十点 is Monday at 20:00, or Monday and Tuesday at 10:00; 六七点 is no Saturday.
    """
    with pytest.raises(ValueError, match="must be"):
        parse_hours(f"{text} UTC")


def test_hours_on_several_lines() -> None:
    """As a block of YAML has them: what stood behind the first line did not count."""
    assert parse_hours(WEEK.replace("; ", "\n").replace(", ", "\n, ")) == parse_hours(WEEK)
    with pytest.raises(ValueError, match="must be a start and an end time"):
        parse_hours("Mon 9:00-12:00\n13:00-18:00 UTC")


def test_hours_are_in_local_time() -> None:
    """09:00 in Berlin is 08:00 UTC in winter and 07:00 in summer."""
    hours = parse_hours("daily 09:00-17:00 Europe/Berlin")
    assert hours.opens(at("2026-03-28T20:00", "UTC")) == at("2026-03-29T07:00", "UTC")
    assert hours.opens(at("2026-03-27T20:00", "UTC")) == at("2026-03-28T08:00", "UTC")


def test_a_time_that_the_clocks_skip() -> None:
    """29 March 2026, 02:00 to 03:00 does not exist in Berlin."""
    hours = parse_hours("Sun 02:30-04:00 Europe/Berlin")
    assert hours.opens(at("2026-03-28T12:00", "UTC")) == at("2026-03-29T00:30", "UTC")
    hours = parse_hours("Sun 01:00-02:30 Europe/Berlin")
    assert hours.is_open(at("2026-03-29T01:29", "UTC"))
    assert not hours.is_open(at("2026-03-29T01:30", "UTC"))


def test_a_time_that_comes_twice() -> None:
    """25 October 2026, 02:00 to 03:00 comes twice in Berlin."""
    hours = parse_hours("Sun 02:30-02:45 Europe/Berlin")
    assert hours.opens(at("2026-10-24T12:00", "UTC")) == at("2026-10-25T00:30", "UTC")
    assert hours.is_open(at("2026-10-25T01:44", "UTC"))
    assert not hours.is_open(at("2026-10-25T01:45", "UTC"))


@given(
    st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"]),
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 1439), st.integers(1, 1440)).filter(
            lambda one: one[1] != one[2]
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1_700_000_000_000, 1_900_000_000_000),
)
def test_there_is_always_a_next_opening(
    zone: str, spans: list[tuple[int, int, int]], now: int
) -> None:
    hours = Hours(tuple(Span(*span) for span in spans), ZoneInfo(zone))
    opens = hours.opens(now)
    assert now <= opens <= now + WEEK_MS + 3_600_000
    assert hours.is_open(opens)
    assert (opens == now) is hours.is_open(now)
    assert opens == now or not hours.is_open(opens - 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9-17", "must end with a time zone"),
        ("Mon-Fri 09:00-18:00", "must end with a time zone"),
        ("Mon", "must end with a time zone"),
        ("Mon 09:00-18:00 Asia/Nowhere", '"Asia/Nowhere" is not a time zone'),
        ("Mon 09:00-18:00 Asia", '"Asia" is not a time zone'),
        ("Mon 09:00-18:00 CST", '"CST" is not a time zone such as Asia/Shanghai or Europe/Berlin'),
        ("Mon 09:00-18:00 BST", "an abbreviation such as CST may be one of several"),
        ("Mon 09:00-18:00 UTC+1", '"UTC+1" is not a time zone'),
        ("Mon 09:00-18:00 UTC+80", '"UTC+80" is not a time zone'),
        ("周一 09:00-18:00 天津时间", "must end with a time zone"),
        ("Mon 09:00-18:00 a/../b", '"a/../b" is not a time zone'),
        ("09:00-18:00 UTC", "must be days and times"),
        ("土日祝 10:00-17:00 UTC", "such as Mon-Fri 09:00-18:00; holidays are unknown"),
        ("Mon 09:00-18:00; UTC", "must be days and times"),
        ("Mon 9-18 UTC", '"9-18" must be a start and an end time'),
        ("Moo 09:00-18:00 UTC", f'"Moo" is not a day; use {", ".join(DAYS)} or daily'),
        ("Mon-Wed-Fri 09:00-18:00 UTC", "must be a day, or two days"),
        ("周一九点到十点，五十点到十二点 UTC", '"50:00" is not a time of day'),
        ("每天三十点到十二点 UTC", '"30:00" is not a time of day'),
        ("Mon 25:00-26:00 UTC", '"25:00" is not a time of day'),
        ("Mon 09:60-10:00 UTC", '"09:60" is not a time of day'),
        ("Mon 24:00-06:00 UTC", "begins at 24:00"),
        ("Mon 09:00-09:00 UTC", "is empty"),
    ],
)
def test_invalid_hours_are_explained(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_hours(text)


def test_invalid_hours_are_reported_with_their_line(tmp_path: Path) -> None:
    found = problems(tmp_path, edited("Sales}", 'Sales, hours: "Mon 9-17 UTC"}'))
    says = '"9-17" must be a start and an end time, such as 09:00-18:00'
    assert found == [f"config.yaml line 7: queues[0].hours: {says}"]
    assert problems(tmp_path, edited("Sales}", f'Sales, hours: "{WEEK}"}}')) == []


def test_an_error_quotes_what_was_typed_and_what_it_was_taken_for() -> None:
    with pytest.raises(ValueError, match="is not a time") as refused:
        parse_hours("工作日上午9点到25点 北京时间")
    assert str(refused.value) == (
        '"工作日上午9点到25点 北京时间" was read as "Mon-Fri AM 9:00-25:00", in which '
        '"25:00" is not a time of day'
    )
    with pytest.raises(ValueError, match=r'^"上海" is not a time zone'):
        parse_hours("周一 9点-18点 上海")
    for zone in ("Asia/天津", "Europe/weekday", "Ａsia／Shanghaii"):
        with pytest.raises(ValueError, match=f'^"{zone}" is not a time zone'):
            parse_hours(f"周一 9点-18点 {zone}")
    with pytest.raises(ValueError, match=r"^must end with a time zone"):
        parse_hours("平日9時から18時")
    with pytest.raises(ValueError, match=r'^"25:00" is not a time of day$'):
        parse_hours("Mon 09:00-25:00 UTC")
