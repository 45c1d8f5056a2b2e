"""Sizes, durations and rates."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.fields import parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", 512),
        ("1B", 1),
        ("64MiB", 67_108_864),
        ("64mib", 67_108_864),
        ("64M", 67_108_864),
        ("50MB", 50_000_000),
        ("1.5KiB", 1536),
        (" 2 GiB ", 2_147_483_648),
        ("1TiB", 1024**4),
        ("800kB", 800_000),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "MiB", "-1MiB", "1XiB", "1 2", "0x10", "1e9"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="50MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", 250),
        ("90s", 90_000),
        ("15m", 900_000),
        ("15min", 900_000),
        ("1.5h", 5_400_000),
        ("7d", 604_800_000),
        ("2w", 1_209_600_000),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "7", "7 days", "-1d", "1d12h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="90s"):
        parse_duration(text)


def test_rates() -> None:
    assert parse_rate("8/60s") == {"count": 8, "per_seconds": 60}
    assert parse_rate("100 / 1h") == {"count": 100, "per_seconds": 3600}


@pytest.mark.parametrize("text", ["8", "/60s", "x/60s", "8/60"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a"):
        parse_rate(text)


@given(st.text())
def test_no_text_raises_anything_but_a_sentence(text: str) -> None:
    for parse in (parse_size, parse_duration, parse_rate):
        with suppress(ValueError):
            parse(text)
