"""Kinds of values, and quantities."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bridge.config.fields import (
    CommandPrefix,
    DatabaseUrl,
    Domain,
    GhostTemplate,
    HttpUrl,
    Localpart,
    MxcUri,
    TimeZone,
    parse_age,
    parse_duration,
    parse_rate,
    parse_size,
    template,
)

KINDS: dict[str, TypeAdapter[object]] = {
    "domain": TypeAdapter(Domain),
    "url": TypeAdapter(HttpUrl),
    "database": TypeAdapter(DatabaseUrl),
    "localpart": TypeAdapter(Localpart),
    "ghost": TypeAdapter(GhostTemplate),
    "prefix": TypeAdapter(CommandPrefix),
    "mxc": TypeAdapter(MxcUri),
    "zone": TypeAdapter(TimeZone),
}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("domain", "example.org"),
        ("domain", "example.org:8448"),
        ("domain", "[::1]:8448"),
        ("domain", "10.0.0.1"),
        ("url", "https://host/path"),
        ("url", "http://[::1]:8008"),
        ("url", "http://bücher.example"),
        ("url", "http://host.example."),
        ("url", "http://matrix_webchat:29340"),
        ("database", "sqlite:///bridge.db"),
        ("database", "sqlite:////data/bridge.db"),
        ("database", "postgres://u:p@host/name"),
        ("database", "postgresql://host/name"),
        ("database", "postgres://u:p@one:5432,two:5432/name"),
        ("database", "postgres:///name?host=/run/postgresql&password=p@ss"),
        ("database", "postgres://u:p%40ss:p%40ss@host/name"),
        ("database", "postgresql:///name?host=/run/postgresql"),
        ("localpart", "a.b_c-d=e/f+1"),
        ("ghost", "webchat_{agent}"),
        ("ghost", "{agent}_webchat"),
        ("prefix", "!wc"),
        ("mxc", ""),
        ("mxc", "mxc://example.org/abc"),
        ("zone", ""),
        ("zone", "Asia/Shanghai"),
        ("zone", "UTC"),
    ],
)
def test_valid_values(kind: str, value: str) -> None:
    KINDS[kind].validate_python(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("domain", ""),
        ("domain", "https://example.org"),
        ("domain", "@a:example.org"),
        ("domain", "example.org/"),
        ("url", "ftp://host"),
        ("url", "http://"),
        ("url", "http://host?x=1"),
        ("url", "http://host#x"),
        ("url", "http://user@host"),
        ("url", "http://host:port"),
        ("url", "http://matrix..example.org"),
        ("url", f"http://{'a' * 64}.org"),
        ("url", "http://[::1"),
        ("database", "sqlite://bridge.db"),
        ("database", "sqlite:///"),
        ("database", "sqlite:////"),
        ("database", "sqlite:///:memory:"),
        ("database", "sqlite:///bridge.db?mode=ro"),
        ("database", "sqlite:///bridge\0.db"),
        ("database", "postgres://"),
        ("database", "postgres:///"),
        ("database", "postgres://host:port/name"),
        ("database", "postgres://u:?hunter2@host/name"),  # the driver's error would quote it
        ("database", "postgres://u:p@ss@host/name"),  # the driver looks for the host `ss@host`
        ("database", "postgres://u@azure:p@azure.example/name"),
        ("database", "mysql://host/name"),
        ("localpart", ""),
        ("localpart", "Upper"),
        ("localpart", "@a"),
        ("ghost", "webchat"),
        ("prefix", ""),
        ("prefix", "a b"),
        ("mxc", "https://example.org/a"),
        ("zone", "Asia"),
        ("zone", "Beijing"),
        ("zone", "../etc/passwd"),
        ("zone", "+08:00"),
    ],
)
def test_invalid_values(kind: str, value: str) -> None:
    with pytest.raises(ValidationError):
        KINDS[kind].validate_python(value)


@given(st.text())
def test_hostile_texts_are_refused_with_a_sentence(text: str) -> None:
    for adapter in KINDS.values():
        try:
            adapter.validate_python(text)
        except ValidationError as error:
            (details,) = error.errors()
            assert details["type"] == "value_error"


def test_templates_check_known_and_needed_placeholders() -> None:
    templates = Annotated[str, template(known={"a", "b", "c"}, needed={"a", "b"})]
    check = TypeAdapter[str](templates).validate_python
    assert check("{a}{c}") == "{a}{c}"
    assert check("{b}") == "{b}"
    with pytest.raises(ValueError, match=r"must contain \{a\} or \{b\}"):
        check("{c}")
    with pytest.raises(
        ValueError, match=r"has the unknown placeholder \{x\}; it may use \{a\}, \{b\}, \{c\}"
    ):
        check("{a}{x}")


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
def test_invalid_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="50MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("parse", "text", "most"),
    [
        (parse_size, "1025TiB", "1024TiB"),
        (parse_size, f"{'9' * 400}B", "1024TiB"),
        (parse_duration, "36501d", "36500d"),
        (parse_duration, f"{'9' * 400}d", "36500d"),
    ],
)
def test_values_too_large_for_a_database_are_refused(
    parse: Callable[[str], int], text: str, most: str
) -> None:
    assert parse(most)
    with pytest.raises(ValueError, match=f"must be at most {most}"):
        parse(text)


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
def test_invalid_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="90s"):
        parse_duration(text)


def test_the_scheme_of_an_address_comes_in_any_case() -> None:
    assert KINDS["url"].validate_python("HTTPS://Host/Path/") == "https://Host/Path"


def test_rates() -> None:
    assert parse_rate("8/60s") == {"count": 8, "per_seconds": 60}
    assert parse_rate("100 / 1h") == {"count": 100, "per_seconds": 3600}


@pytest.mark.parametrize("text", ["8", "/60s", "x/60s", "8/60"])
def test_invalid_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a"):
        parse_rate(text)


@given(st.text())
def test_any_text_raises_only_value_error(text: str) -> None:
    for parse in (parse_size, parse_duration, parse_rate):
        with suppress(ValueError):
            parse(text)


@pytest.mark.parametrize(("text", "age"), [("ever", 0), (" Ever ", 0), ("365d", 31_536_000_000)])
def test_ages(text: str, age: int) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["never", "0d", "1h", "7"])
def test_invalid_age_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be ever, or at least 1d"):
        parse_age(text)
