"""Durations and times of day, as they stand inside a sentence in each of our languages. Pure.

A sentence takes what these return as a value: "Expected wait: {wait}." A length in a language that
is none of ours raises KeyError. Babel was weighed and left out: it has no ranges of units, which is
what a queue needs, and it is ten megabytes for two patterns of a date.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo

from bridge.texts.languages import LOCALES

_HOUR = 60
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def waiting_range(language: str, low_seconds: float, high_seconds: float) -> str:
    """An expected wait, as honest as a round number can be: the low end down, the high end up.

    Whole minutes up to ten, then steps of five, from an hour and a half on half hours. "3–5
    minutes", "about 4 minutes", "up to 10 minutes", "less than a minute", "1.5–3 hours". A high end
    below the low one is taken as that.
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
    """A duration in words, rounded down: "45 seconds", "3 minutes", "1 hour 20 minutes"."""
    words, whole = LOCALES[language], max(int(seconds), 0)
    if whole < 60:
        return _amount(words.seconds, whole)
    hours, minutes = divmod(whole // 60, _HOUR)
    amounts = ((words.hours, hours), (words.minutes, minutes))
    return words.and_.join(_amount(pattern, amount) for pattern, amount in amounts if amount)


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


def _amount(pattern: str, n: float) -> str:
    text = pattern.format(n=f"{n:g}")
    return text.removesuffix("s") if n == 1 else text
