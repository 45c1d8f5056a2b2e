"""Formatting of durations and times, as values for sentences in each language. Pure.

Durations in an unknown language raise KeyError. Babel was considered and rejected: it has no ranges
of units ("3–5 minutes"), which a queue needs, and takes ten megabytes for two date patterns.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo

from bridge.texts.languages import LOCALES

_HOUR = 60
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def waiting_range(language: str, low_seconds: float, high_seconds: float) -> str:
    """Format an expected wait as a range, the low end rounded down, the high end up.

    In whole minutes up to ten, then in steps of five, over an hour and a half in half hours: "3–5
    minutes", "about 4 minutes", "up to 10 minutes", "less than a minute", "1.5–3 hours". A high end
    below the low one is raised to it.
    """
    words = LOCALES[language]
    low = max(low_seconds, 0.0) / 60
    high = max(high_seconds / 60, low)
    if high < 1:
        return words.under_a_minute
    if high > 90:  # nobody counts "135 minutes"
        pattern, step, ends = words.hours, 0.5, (low / _HOUR, high / _HOUR)
    else:
        pattern, step, ends = words.minutes, 1.0 if high <= 10 else 5.0, (low, high)
    least, most = math.floor(ends[0] / step) * step, math.ceil(ends[1] / step) * step
    if least in {0, most}:
        return (words.about if least else words.up_to).format(n=_amount(pattern, most))
    return pattern.format(n=f"{least:g}{words.dash}{most:g}")


def duration(language: str, seconds: float) -> str:
    """Format a duration, rounded down: "45 seconds", "3 minutes", "1 hour 20 minutes"."""
    words, whole = LOCALES[language], max(int(seconds), 0)
    if whole < 60:
        return _amount(words.seconds, whole)
    hours, minutes = divmod(whole // 60, _HOUR)
    amounts = ((words.hours, hours), (words.minutes, minutes))
    return words.and_.join(_amount(pattern, amount) for pattern, amount in amounts if amount)


def clock_time(
    language: str, ms: int, zone: tzinfo | None = None, *, now_ms: int | None = None
) -> str:
    """Format a time: "14:05", "25 Nov, 14:05" on another day, "25 Nov 2024, 14:05" in another year.

    `zone`: the readers' time zone; None if unknown: the time is in UTC and says so. `now_ms`: the
    current time; None shows date and year.
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


def _amount(pattern: str, n: float) -> str:
    text = pattern.format(n=f"{n:g}")
    return text.removesuffix("s") if n == 1 else text
