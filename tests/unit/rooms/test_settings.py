"""Settings of a room: valid values, and messages about others."""

from __future__ import annotations

import re

import pytest

from bridge.config.hours import parse_hours
from bridge.ids import QueueId
from bridge.rooms.commands import parse
from bridge.rooms.people import Standing
from bridge.rooms.record import RoomSettings
from bridge.rooms.rules import SETTINGS, BadOrder, settings_of_event, shown_value
from bridge.texts import LANGUAGES, Texts, listed
from tests.unit.rooms.visits import RULES, House, answer


def test_a_whole_state_event() -> None:
    content = {"queue": 2, "from": "app", "language": "EN", "start": "on_command", "paused": True}
    assert settings_of_event(content, RULES) == RoomSettings(
        QueueId(2), "APP", "en", "on_command", paused=True
    )


def test_settings_not_named_are_the_operators_defaults() -> None:
    assert settings_of_event({}, RULES) == RoomSettings()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_by_its_code_or_another_name(language: str) -> None:
    other = {"zh-CN": "中文", "zh-TW": "zh_Hant", "en": "English", "ja": "日本語"}[language]
    for value in (language, language.lower(), other):
        assert settings_of_event({"language": value}, RULES).language == language


@pytest.mark.parametrize(
    ("speaks", "named", "then"),
    [
        ("zh-TW", "中文", "zh-TW"),
        ("zh-TW", "Chinese", "zh-TW"),
        ("zh-TW", "简体中文", "zh-CN"),
        ("zh-TW", "zh-CN", "zh-CN"),
        ("en", "中文", "zh-CN"),
    ],
)
@pytest.mark.parametrize("words", ["lang", "config set language"])
def test_chinese_without_its_script_keeps_the_traditional_one(
    words: str, speaks: str, named: str, then: str
) -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(language=speaks))
    house.say(f"!wc {words} {named}", standing=Standing.ADMIN)
    assert house.record.settings.language == then


@pytest.mark.parametrize(
    "value", [1, "1", "Sales", " SHOP ", "“Sales”", "「shop", "Sales\n", "　Sales　"]
)
def test_a_queue_by_id_name_or_alias(value: object) -> None:
    assert settings_of_event({"queue": value}, RULES).queue == 1


@pytest.mark.parametrize(
    ("content", "key", "says"),
    [
        ({"queue": 9}, "config.bad_queue", "1 Sales, 2 Returns"),
        ({"queue": True}, "config.bad_queue", "true"),
        ({"queue": None}, "config.bad_queue", "null"),
        ({"queue": [1]}, "config.bad_queue", "[1]"),
        ({"from": "TV"}, "config.bad_value", "PC, MOBILE, WECHAT, APP"),
        ({"language": "fr"}, "config.bad_value", "zh-CN, zh-TW, en, ja"),
        ({"language": None}, "config.bad_value", "null"),
        ({"language": {"a": "中"}}, "config.bad_value", '{"a": "中"}'),
        ({"start": 1}, "config.bad_value", "on_message, on_command"),
        ({"paused": "maybe"}, "config.bad_value", "true, false"),
        ({"queu": 1}, "config.bad_key", "queue, from, language, start, paused"),
        ({"x": 1}, "config.bad_key", "queue, from, language, start, paused"),
    ],
)
def test_bad_values_are_refused(content: dict[str, object], key: str, says: str) -> None:
    with pytest.raises(BadOrder) as caught:
        settings_of_event({"paused": True, **content}, RULES)
    assert caught.value.key == key
    for language in LANGUAGES:
        told = Texts().render(language, key, caught.value.values)
        assert listed(language, says.split(", ")) in told


@pytest.mark.parametrize(
    ("value", "paused"),
    [("yes", True), ("是", True), ("はい", True), ("TRUE", True), ("No", False), ("否", False)],
)
def test_yes_and_no_in_any_language(value: str, paused: bool) -> None:
    assert settings_of_event({"paused": value}, RULES).paused is paused


@pytest.mark.parametrize("language", LANGUAGES)
def test_settings_are_understood_by_the_names_that_are_shown(language: str) -> None:
    for key in SETTINGS:
        named = Texts().render(language, f"setting.{key}", {})
        meant = parse(f"!wc config reset {named}", "!wc", prefix_needed=True)
        assert meant is not None
        assert meant.words == ("reset", key)


def test_hours_are_shown_as_they_were_typed_but_for_wide_digits() -> None:
    typed = "周一至周五 ９：００～１８：００，周六 10:00～12:00 北京时间"
    shown = "周一至周五 9:00～18:00，周六 10:00～12:00 北京时间"
    assert settings_of_event({"hours": typed}, RULES).hours == shown


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("hours", ["平日9時から5時 日本時間", "daily 08:00-20:00 Mars/Olympus"])
def test_hours_that_do_not_count_are_listed_with_what_to_do(hours: str, language: str) -> None:
    """An earlier version, or a machine with other time zones, took them."""
    house = House().served()
    house.visit.set(settings=RoomSettings(hours=hours, language=language))
    house.say("!wc config show", standing=Standing.ADMIN)
    told = Texts().render(language, *answer(house))
    (line,) = (one for one in told.splitlines() if hours in one)
    house.say(re.split("[)」]", line[line.index("!wc ") :])[0], standing=Standing.ADMIN)
    assert parse_hours(house.record.settings.hours or "").spans
    house.say("!wc config show", standing=Standing.ADMIN)
    assert "!wc" not in Texts().render(language, *answer(house))


def test_a_value_is_refused_with_the_possible_ones_in_the_language() -> None:
    with pytest.raises(BadOrder) as caught:
        settings_of_event({"start": "自动"}, RULES)
    told = caught.value.sentence(RULES, "zh-CN")
    assert told == "「开始方式」不能设为「自动」，设置未更改。可用的值：发消息、发命令。"
    assert settings_of_event({"start": "发命令"}, RULES).start == "on_command"


def test_hours_and_sentences_are_kept_without_blanks_and_with_their_braces() -> None:
    settings = settings_of_event(
        {"hours": "Mon 9:00-10:00 UTC\n", "texts": {"closed": "｛！"}}, RULES
    )
    assert settings.hours == "Mon 9:00-10:00 UTC"
    assert dict(settings.texts)["closed"] == "｛！"


def test_foreign_values_are_shown_short() -> None:
    assert shown_value("x" * 60) == "x" * 60
    assert shown_value("x" * 61) == "x" * 57 + "…"


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("Mon 9-18 Asia/Shanghai", "9-18"),
        ("周一上午9点到25点 北京时间", "25:00"),
        ("平日9時から5時 日本時間", "9:00-5:00"),
        ("周一 9:00-18:00，節假日休息 台北時間", "節假日休息"),
    ],
)
def test_bad_hours_are_refused_with_the_part_that_is_not_understood(value: str, part: str) -> None:
    house = House().served()
    house.say(f"!wc hours set {value}", standing=Standing.ADMIN)
    key, args = answer(house)
    assert (key, args) == ("config.bad_hours_part", {"value": value, "part": part})
    assert house.record.settings.hours is None


@pytest.mark.parametrize("zone", ["上海", "CST"])
def test_hours_without_a_clear_zone_are_refused_with_the_way_to_name_one(zone: str) -> None:
    house = House().served()
    house.say(f"!wc hours set 周一至周五 9:00-18:00 {zone}", standing=Standing.ADMIN)
    key, args = answer(house)
    assert (key, args["part"]) == ("config.bad_zone", zone)
    assert house.record.settings.hours is None
