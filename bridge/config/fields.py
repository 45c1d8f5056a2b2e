"""Value types that several sections share: sizes, durations, names, addresses, templates. Pure.

Quantities (`64MiB`, `1d`, `8/60s`) are parsed to bytes, milliseconds and numbers. Validators
raise ValueError with a sentence without subject ("must be …").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from types import UnionType
from typing import Annotated, NoReturn, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
)

from bridge.config.hours import read_zone
from bridge.texts import placeholders

# --- quantities ----------------------------------------------------------------------------------

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)")
MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
LONGEST = 36_500 * MILLISECONDS["d"]
_DAY = MILLISECONDS["d"]
LARGEST = 1 << 50
"""Maximum duration in ms and size in bytes, so that sums fit a database's integers."""


def parse_size(text: str) -> int:
    """Parse a size to bytes: `50MiB`, `50M` (1024), `50MB` (1000), `512`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a size such as 50MiB, 800KiB or 1048576")
    prefix, binary, letter = match[2].lower(), match[3], match[4]
    # "50M" is binary as in Synapse's configuration; only "MB" is decimal.
    base = 1000 if letter and not binary else 1024
    size = float(match[1]) * base ** ("kmgt".index(prefix) + 1 if prefix else 0)
    if size > LARGEST:
        raise ValueError("must be at most 1024TiB")
    return int(size)


def parse_duration(text: str) -> int:
    """Parse a duration to milliseconds: `1d`, `90s`, `1.5h`, `250ms`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a duration with its unit, such as 90s, 15m, 12h or 7d")
    duration = float(match[1]) * MILLISECONDS[match[2]]
    if duration > LONGEST:
        raise ValueError("must be at most 36500d")
    return int(duration)


EVER = 0
"""Value of an `Age` without limit, written `ever`."""


def parse_age(text: str) -> int:
    """Parse a duration of at least one day to milliseconds, or `ever` to EVER."""
    if text.strip().casefold() == "ever":
        return EVER
    if _DURATION.fullmatch(text.strip()) is None or (age := parse_duration(text)) < _DAY:
        raise ValueError("must be ever, or at least 1d")
    return age


def parse_rate(text: str) -> dict[str, float]:
    """Parse `8/60s` to the keys of a `Rate`."""
    count, slash, per = text.partition("/")
    if not slash or not count.strip().isdecimal():
        raise ValueError("must be a rate such as 8/60s, or {count: 8, per_seconds: 60}")
    return {"count": int(count), "per_seconds": parse_duration(per) / 1000}


def parsed_by(parse: Callable[[str], object], kinds: type | UnionType = str) -> BeforeValidator:
    """Return a validator that parses values of `kinds`, as text, and passes all others on."""
    return BeforeValidator(lambda value: parse(str(value)) if isinstance(value, kinds) else value)


@dataclass(frozen=True)
class Written:
    """Marks a quantity: how its value is written in config.yaml, for the log of a reload."""

    units: tuple[tuple[str, int], ...]
    """From the largest; the last one is 1."""
    zero: str

    def __call__(self, value: int) -> str:
        whole = ((name, size) for name, size in self.units if value % size == 0)
        name, size = next(whole)
        return f"{value // size}{name}" if value else self.zero


_SPANS = tuple((name, MILLISECONDS[name]) for name in ("d", "h", "m", "s", "ms"))
Bytes = Annotated[
    int,
    Written((("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)), "0"),
    parsed_by(parse_size, str | int),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["50MiB"]}),
]
Milliseconds = Annotated[
    int,
    Written(_SPANS, "0s"),
    # A bare number lacks a unit: parse_duration rejects it with a message that says so.
    parsed_by(parse_duration, str | int | float),
    WithJsonSchema({"type": "string", "examples": ["7d"]}),
]
Age = Annotated[
    int,
    Written(_SPANS, "ever"),
    parsed_by(parse_age, str | int | float),
    WithJsonSchema({"type": "string", "examples": ["ever", "365d"]}),
]


# --- names, addresses, templates -----------------------------------------------------------------


class Faulty:
    """Stand-in for an invalid value: whatever uses it raises TypeError or AttributeError."""

    def _used(self, *_: object) -> NoReturn:
        raise TypeError

    __bool__ = __eq__ = __hash__ = __str__ = _used


FAULTY = Faulty()


@dataclass(frozen=True)
class Context:
    folder: Path
    """Folder of config.yaml, against which relative file names are resolved."""
    faulty: bool = False
    """True to replace every invalid value by `FAULTY`."""


T = TypeVar("T")
Reload = Enum("Reload", "LIVE ALWAYS")
Live = Annotated[T, Reload.LIVE]
"""Marks a key that can change while the bridge runs, with all keys below it (`loading`)."""
AlwaysLive = Annotated[T, Reload.ALWAYS]
"""Marks such a key that can change even if call centres are added or removed."""


class Section(BaseModel):
    """A part of config.yaml: frozen, rejects unknown keys, documents its keys by docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_faulty(
        cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        number = cls.model_fields[info.field_name or ""].annotation in {int, float}
        if number and isinstance(value, bool):  # else pydantic counts them as 1 and 0
            raise ValueError("must be a number, not true or false")
        try:
            valid = handler(value)
        except ValidationError:
            if info.context is None or not info.context.faulty:
                raise
            return FAULTY
        if isinstance(value, str) and value.isspace():
            raise ValueError("is blank: give a value, or leave the key out")
        return valid


def template(*, known: Set[str], needed: Set[str] = frozenset()) -> AfterValidator:
    """Return a validator of a template that may use `known` and must use one of `needed`."""

    def check(value: str) -> str:
        used = placeholders(value)
        for name in sorted(used - known):
            allowed = ", ".join(f"{{{word}}}" for word in sorted(known))
            raise ValueError(f"has the unknown placeholder {{{name}}}; it may use {allowed}")
        if needed and not needed & used:
            wanted = " or ".join(f"{{{name}}}" for name in sorted(needed))
            raise ValueError(f"must contain {wanted}")
        return value

    return AfterValidator(check)


def matching(pattern: str, otherwise: str) -> Callable[[str], str]:
    """Return a validator that requires a full match of the pattern; `otherwise` is its error."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(otherwise)
        return value

    return check


_localpart = matching(
    r"[a-z0-9._=/+-]+", "must be the part of a user id before the colon: a-z 0-9 . _ = / + -"
)
_domain = matching(
    r"(\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?",
    "must be a server name such as example.org, without https://",
)
_prefix = matching(r"\S+", "must be a word without spaces, such as !wc")
# 256 is Synapse's limit of a display name.
_name = matching(
    r"(?=.*\S)[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,256}",
    "must be a name of 1 to 256 characters, not blank, without line breaks or control characters",
)
_mxc = matching(
    r"(mxc://[^/]+/[^/]+)?", "must be an address such as mxc://example.org/abc, or empty"
)


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        # Both raise ValueError: a wrong port, a host that the resolver rejects (two dots in a row).
        _ = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL such as https://host/path")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("must be a URL without user, query or fragment")
    # Later comparisons need a lower-case scheme; any case is allowed (RFC 3986, 3.1).
    return f"{parts.scheme}:{value.partition(':')[2].rstrip('/')}"


def check_database_url(url: str) -> None:
    """Raise ValueError if no engine can open the URL, without quoting it (passwords)."""
    why = "must be sqlite:///file.db, sqlite:////absolute/file.db or postgres://user:pass@host/name"
    file = url.removeprefix(SQLITE)
    if file != url and file.strip("/") and file != ":memory:" and not set("?\0") & set(file):
        return
    if url.startswith(("postgres://", "postgresql://")):
        why += "; in user name and password, write @ / : # ? % as %40 %2F %3A %23 %3F %25"
        with suppress(ValueError):  # from an invalid port, or from an unescaped ? in the password
            parts = urlsplit(url)
            parse_qsl(parts.query, strict_parsing=bool(parts.query))
            hosts = parts.netloc.rpartition("@")[2].split(",")
            ports = [urlsplit(f"//{host}").port for host in hosts]
            # A Unix socket: no host before the path, or its directory given as ?host=.
            socket = (not parts.netloc and parts.path.strip("/")) or "host=" in parts.query
            # An @ in the path, or a fragment, comes from an unescaped / or # in the password, and
            # of two the driver takes the first one for the end of it.
            whole = "@" not in parts.path + parts.netloc.partition("@")[2] and not parts.fragment
            if whole and 0 not in ports and (parts.hostname is not None or socket):
                return
    raise ValueError(why)


def _token(value: SecretStr) -> SecretStr:
    if re.fullmatch("[!-~]*", value.get_secret_value()) is None:
        raise ValueError("must be printable ASCII characters without spaces")
    return value


def _one_line(value: SecretStr) -> SecretStr:
    if value.get_secret_value().endswith("\n"):
        raise ValueError("ends with a line break, as | and > add: write it beside the key")
    return value


def _database_url(value: SecretStr, info: ValidationInfo) -> SecretStr:
    url = value.get_secret_value()
    check_database_url(url)
    file = url.removeprefix(SQLITE)
    return value if file == url else SecretStr(SQLITE + _beside(file, info))


def _beside(file: str, info: ValidationInfo) -> str:
    """Return a file name resolved against config.yaml's folder, not the working directory."""
    return str(info.context.folder / file) if file and info.context is not None else file


def _ip(value: str) -> str:
    try:
        _ = value and ip_address(value)
    except ValueError as error:
        raise ValueError("must be an IP address such as 203.0.113.9, or empty") from error
    return value


def _json(value: str) -> str:
    try:
        _ = value and msgspec.json.decode(value)
    except (ValueError, RecursionError) as error:
        raise ValueError("must be JSON text such as [], or empty") from error
    return value


def _zone(value: str) -> str:
    if value and read_zone(value) is None:
        raise ValueError("must be a time zone such as Asia/Shanghai, or empty")
    return value


SQLITE = "sqlite:///"
LISTED = BeforeValidator(lambda value: value[0] if isinstance(value, list) and value else value)
"""Validator of a section that may also be written as a list of one."""

Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A number in the server's tables; a database holds no larger ones."""
Localpart = Annotated[str, AfterValidator(_localpart)]
GhostTemplate = Annotated[str, template(known={"agent"}, needed={"agent"})]
QueueTemplate = Annotated[str, template(known={"queue"}, needed={"queue"})]
"""Both templates are parsed further by `matrix.users`."""
Name = Annotated[str, AfterValidator(str.strip), AfterValidator(_name)]
Domain = Annotated[str, AfterValidator(_domain)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
OptionalUrl = Annotated[str, AfterValidator(lambda value: _http_url(value) if value else "")]
Token = Annotated[SecretStr, AfterValidator(_token)]
"""Sent in an HTTP header, so printable ASCII without spaces."""
Secret = Annotated[SecretStr, AfterValidator(_one_line)]
"""Compared with the server's own: a line break at its end is never meant."""
File = Annotated[str, AfterValidator(_beside)]
"""Name of a file, or empty."""
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
MxcUri = Annotated[str, AfterValidator(_mxc)]
CommandPrefix = Annotated[str, AfterValidator(_prefix)]
TimeZone = Annotated[str, AfterValidator(_zone)]
IpAddress = Annotated[str, AfterValidator(str.strip), AfterValidator(_ip)]
JsonText = Annotated[str, AfterValidator(_json)]
