"""Durations and times of day, as they stand inside a sentence in each of our languages. Pure.

A sentence takes what these return as a value: "Expected wait: {wait}." A length in a language that
is none of ours raises KeyError. Babel was weighed and left out: it has no ranges of units, which is
what a queue needs, and it is ten megabytes for two patterns of a date.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

_HOUR = 60
_Words = Mapping[str, str]
"""Language -> pattern."""
_SECONDS: _Words = {"zh-CN": "{n} 秒", "zh-TW": "{n} 秒", "en": "{n} seconds", "ja": "{n}秒"}
_MINUTES: _Words = {"zh-CN": "{n} 分钟", "zh-TW": "{n} 分鐘", "en": "{n} minutes", "ja": "{n}分"}
_HOURS: _Words = {"zh-CN": "{n} 小时", "zh-TW": "{n} 小時", "en": "{n} hours", "ja": "{n}時間"}
_ABOUT: _Words = {"zh-CN": "约 {n}", "zh-TW": "約 {n}", "en": "about {n}", "ja": "約{n}"}
_UP_TO: _Words = {"zh-CN": "{n}以内", "zh-TW": "{n}以內", "en": "up to {n}", "ja": "{n}以内"}
_UNDER_A_MINUTE: _Words = {
    "zh-CN": "不到 1 分钟",
    "zh-TW": "不到 1 分鐘",
    "en": "less than a minute",
    "ja": "1分未満",
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def waiting_range(language: str, low_seconds: float, high_seconds: float) -> str:
    """An expected wait, as honest as a round number can be: the low end down, the high end up.

    Whole minutes up to ten, then steps of five, from an hour and a half on half hours. "3–5
    minutes", "about 4 minutes", "up to 10 minutes", "less than a minute", "1.5–3 hours". A high end
    below the low one is taken as that.
    """
    low = max(low_seconds, 0.0) / 60
    high = max(high_seconds / 60, low)
    if high < 1:
        return _UNDER_A_MINUTE[language]
    if high > 90:  # nobody counts "135 minutes"
        pattern, step, ends = _HOURS, 0.5, (low / _HOUR, high / _HOUR)
    else:
        pattern, step, ends = _MINUTES, 1.0 if high <= 10 else 5.0, (low, high)
    least, most = math.floor(ends[0] / step) * step, math.ceil(ends[1] / step) * step
    if least in {0, most}:
        words = _ABOUT if least else _UP_TO
        return words[language].format(n=_amount(language, pattern, most))
    dash = "–" if language == "en" else "～"
    return pattern[language].format(n=f"{least:g}{dash}{most:g}")


def duration(language: str, seconds: float) -> str:
    """A duration in words, rounded down: "45 seconds", "3 minutes", "1 hour 20 minutes"."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return _amount(language, _SECONDS, whole)
    hours, minutes = divmod(whole // 60, _HOUR)
    amounts = ((_HOURS, hours), (_MINUTES, minutes))
    parts = (_amount(language, pattern, amount) for pattern, amount in amounts if amount)
    return ("" if language == "ja" else " ").join(parts)


def clock_time(
    language: str, ms: int, zone: tzinfo | None = None, *, now_ms: int | None = None
) -> str:
    """A moment: "14:05", or with its date "25 Nov, 14:05", and with its year if that is another.

    `zone` is that of the people who read it; None: nobody knows it, so it is UTC and says so.
    `now_ms`: the present; the date is left out if it is the same day. None: the date is said.
    """
    moment = datetime.fromtimestamp(ms / 1000, zone or UTC)
    time = f"{moment:%H:%M}" + (" UTC" if zone is None else "")
    now = None if now_ms is None else datetime.fromtimestamp(now_ms / 1000, zone or UTC)
    if now is not None and now.date() == moment.date():
        return time
    with_year = now is None or now.year != moment.year
    if language == "en":
        year = f" {moment.year}" if with_year else ""
        return f"{moment.day} {_MONTHS[moment.month - 1]}{year}, {time}"
    year = f"{moment.year}年" if with_year else ""
    return f"{year}{moment.month}月{moment.day}日 {time}"


def _amount(language: str, pattern: _Words, n: float) -> str:
    text = pattern[language].format(n=f"{n:g}")
    return text.removesuffix("s") if language == "en" and n == 1 else text
