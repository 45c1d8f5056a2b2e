"""Durations and times in every language."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.texts import LANGUAGES, clock_time, duration, waiting_range

SHANGHAI = timezone(timedelta(hours=8))


def at(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]  # plain numbers


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 59, ("不到 1 分钟", "不到 1 分鐘", "less than a minute", "1分未満")),
        (0, 60, ("1 分钟以内", "1 分鐘以內", "up to 1 minute", "1分以内")),
        (30, 200, ("4 分钟以内", "4 分鐘以內", "up to 4 minutes", "4分以内")),
        (180, 300, ("3～5 分钟", "3～5 分鐘", "3–5 minutes", "3～5分")),
        (200, 290, ("3～5 分钟", "3～5 分鐘", "3–5 minutes", "3～5分")),
        (240, 240, ("约 4 分钟", "約 4 分鐘", "about 4 minutes", "約4分")),
        (60, 60, ("约 1 分钟", "約 1 分鐘", "about 1 minute", "約1分")),
        (660, 1380, ("10～25 分钟", "10～25 分鐘", "10–25 minutes", "10～25分")),
        (3600, 5400, ("60～90 分钟", "60～90 分鐘", "60–90 minutes", "60～90分")),
        (3600, 5401, ("1～2 小时", "1～2 小時", "1–2 hours", "1～2時間")),
        (6000, 8000, ("1.5～2.5 小时", "1.5～2.5 小時", "1.5–2.5 hours", "1.5～2.5時間")),
        (600, 7200, ("2 小时以内", "2 小時以內", "up to 2 hours", "2時間以内")),
        (300, 100, ("约 5 分钟", "約 5 分鐘", "about 5 minutes", "約5分")),
        (-5, -1, ("不到 1 分钟", "不到 1 分鐘", "less than a minute", "1分未満")),
    ],
)
def test_a_wait_is_a_round_range(low: float, high: float, expected: tuple[str, ...]) -> None:
    said = tuple(waiting_range(language, low, high) for language in LANGUAGES)
    assert said == expected


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from(LANGUAGES))
def test_a_wait_is_never_promised_shorter_than_it_is(low: float, extra: float, lang: str) -> None:
    said = waiting_range(lang, low, low + extra)
    assert len(said) < 30
    numbers = [
        float(n) for n in "".join(c if c.isdigit() or c == "." else " " for c in said).split()
    ]
    unit = 3600 if any(hour in said for hour in ("hour", "小时", "小時", "時間")) else 60
    if numbers:
        assert max(numbers) * unit >= low + extra - 0.001
        assert len(numbers) < 2 or numbers[0] * unit <= low + 0.001


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, ("0 秒", "0 秒", "0 seconds", "0秒")),
        (1.9, ("1 秒", "1 秒", "1 second", "1秒")),
        (59, ("59 秒", "59 秒", "59 seconds", "59秒")),
        (60, ("1 分钟", "1 分鐘", "1 minute", "1分")),
        (3599, ("59 分钟", "59 分鐘", "59 minutes", "59分")),
        (3600, ("1 小时", "1 小時", "1 hour", "1時間")),
        (8460, ("2 小时 21 分钟", "2 小時 21 分鐘", "2 hours 21 minutes", "2時間21分")),
    ],
)
def test_durations_are_rounded_down(seconds: float, expected: tuple[str, ...]) -> None:
    assert tuple(duration(language, seconds) for language in LANGUAGES) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (at(2026, 11, 25, 15), ("14:05",) * 4),
        (
            at(2026, 11, 25, 17),
            ("11月25日 14:05", "11月25日 14:05", "25 Nov, 14:05", "11月25日 14:05"),
        ),
        (
            None,
            (
                "2026年11月25日 14:05",
                "2026年11月25日 14:05",
                "25 Nov 2026, 14:05",
                "2026年11月25日 14:05",
            ),
        ),
    ],
)
def test_times_are_in_the_given_zone_with_the_date_of_another_day(
    now: int | None, expected: tuple[str, ...]
) -> None:
    ms = at(2026, 11, 25, 6, 5)
    assert tuple(clock_time(one, ms, SHANGHAI, now_ms=now) for one in LANGUAGES) == expected


def test_the_year_is_shown_if_it_is_another_one() -> None:
    said = clock_time("en", at(2025, 12, 31, 23, 59), now_ms=at(2026, 1, 1))
    assert said == "31 Dec 2025, 23:59 UTC"


def test_a_time_without_a_zone_is_in_utc_and_marked_so() -> None:
    ms = at(2026, 11, 25, 6, 5)
    assert clock_time("ja", ms, now_ms=ms) == "06:05 UTC"


@pytest.mark.parametrize("language", ["fr", "zh"])
def test_an_unknown_language_raises(language: str) -> None:
    with pytest.raises(KeyError):
        waiting_range(language, 60, 120)
    with pytest.raises(KeyError):
        duration(language, 60)
