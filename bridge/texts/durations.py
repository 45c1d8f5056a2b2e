"""Durations and times of day, as they stand inside a sentence in each of our languages. Pure.

A sentence takes what these return as a value: "Expected wait: {wait}." The clock and the zone are
the caller's. Babel was weighed and left out: it has no ranges of units, which is what a queue
needs, and it is ten megabytes for two patterns of a date.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType

_HOUR = 60
_LONG = 90
"""Minutes from which a wait is said in hours: nobody counts "135 minutes"."""

_SECONDS: Mapping[str, str] = MappingProxyType(
    {"zh-CN": "{n} 秒", "zh-TW": "{n} 秒", "en": "{n} seconds", "ja": "{n}秒"}
)
_MINUTES: Mapping[str, str] = MappingProxyType(
    {"zh-CN": "{n} 分钟", "zh-TW": "{n} 分鐘", "en": "{n} minutes", "ja": "{n}分"}
)
_HOURS: Mapping[str, str] = MappingProxyType(
    {"zh-CN": "{n} 小时", "zh-TW": "{n} 小時", "en": "{n} hours", "ja": "{n}時間"}
)
_RANGE: Mapping[str, str] = MappingProxyType(
    {
        "zh-CN": "{low}～{high}",
        "zh-TW": "{low}～{high}",
        "en": "{low}–{high}",
        "ja": "{low}～{high}",
    }
)
_ABOUT: Mapping[str, str] = MappingProxyType(
    {"zh-CN": "约 {length}", "zh-TW": "約 {length}", "en": "about {length}", "ja": "約{length}"}
)
_UP_TO: Mapping[str, str] = MappingProxyType(
    {
        "zh-CN": "{length}以内",
        "zh-TW": "{length}以內",
        "en": "up to {length}",
        "ja": "{length}以内",
    }
)
_UNDER_A_MINUTE: Mapping[str, str] = MappingProxyType(
    {"zh-CN": "不到 1 分钟", "zh-TW": "不到 1 分鐘", "en": "less than a minute", "ja": "1分未満"}
)
_JOINT: Mapping[str, str] = MappingProxyType({"zh-CN": " ", "zh-TW": " ", "en": " ", "ja": ""})
"""Between hours and minutes."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def waiting_range(language: str, low_seconds: float, high_seconds: float) -> str:
    """An expected wait, as honest as a round number can be: the low end down, the high end up.

    Whole minutes up to ten, then steps of five, from an hour and a half on half hours. "3–5
    minutes", "about 4 minutes", "up to 10 minutes", "less than a minute", "1.5–3 hours".

    Args:
        language: one of ours.
        low_seconds: the least to expect; not below 0.
        high_seconds: the most to expect; taken as `low_seconds` if it is less.

    Raises:
        KeyError: the language is none of ours.
    """
    low = max(low_seconds, 0.0) / 60
    high = max(high_seconds / 60, low)
    if high < 1:
        return _UNDER_A_MINUTE[language]
    if high > _LONG:
        pattern, step, ends = _HOURS, 0.5, (low / _HOUR, high / _HOUR)
    else:
        pattern, step, ends = _MINUTES, 1.0 if high <= 10 else 5.0, (low, high)
    least, most = math.floor(ends[0] / step) * step, math.ceil(ends[1] / step) * step
    if least == 0:
        return _UP_TO[language].format(length=_amount(language, pattern, most))
    if least == most:
        return _ABOUT[language].format(length=_amount(language, pattern, most))
    both = _RANGE[language].format(low=_number(least), high=_number(most))
    return pattern[language].format(n=both)


def duration(language: str, seconds: float) -> str:
    """How long something took: "45 seconds", "3 minutes", "1 hour 20 minutes".

    Seconds are said below a minute only; what is more is rounded down to minutes.

    Raises:
        KeyError: the language is none of ours.
    """
    whole = max(int(seconds), 0)
    if whole < 60:
        return _amount(language, _SECONDS, whole)
    hours, minutes = divmod(whole // 60, _HOUR)
    parts = []
    if hours:
        parts.append(_amount(language, _HOURS, hours))
    if minutes or not hours:
        parts.append(_amount(language, _MINUTES, minutes))
    return _JOINT[language].join(parts)


def clock_time(
    language: str, ms: int, zone: tzinfo | None = None, *, now_ms: int | None = None
) -> str:
    """A moment: "14:05", or with its date "25 Nov, 14:05", and with its year if that is another.

    Args:
        language: one of ours.
        ms: the moment, Unix time in milliseconds.
        zone: of the people who read it. None: nobody knows it, so it is UTC and says so.
        now_ms: the present; the date is left out if it is the same day. None: the date is said.

    Raises:
        KeyError: the language is none of ours.
    """
    moment = _moment(ms, zone)
    time = f"{moment:%H:%M}" + (" UTC" if zone is None else "")
    now = None if now_ms is None else _moment(now_ms, zone)
    if now is not None and now.date() == moment.date():
        return time
    day = _day(language, moment, with_year=now is None or now.year != moment.year)
    return f"{day}, {time}" if language == "en" else f"{day} {time}"


def _moment(ms: int, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(ms / 1000, zone or UTC)


def _day(language: str, moment: datetime, *, with_year: bool) -> str:
    if language == "en":
        day = f"{moment.day} {_MONTHS[moment.month - 1]}"
        return f"{day} {moment.year}" if with_year else day
    day = f"{moment.month}月{moment.day}日"
    return f"{moment.year}年{day}" if with_year else day


def _amount(language: str, pattern: Mapping[str, str], n: float) -> str:
    text = pattern[language].format(n=_number(n))
    return text.removesuffix("s") if language == "en" and n == 1 else text


def _number(n: float) -> str:
    return f"{n:g}"
