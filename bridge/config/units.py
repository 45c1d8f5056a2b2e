"""Quantities as people write them: `64MiB`, `1d`, `8/60s`. Pure."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)")
_PREFIXES = "kmgt"
_MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}


def parse_size(text: str) -> int:
    """Bytes of `50MiB`, `50M` (1024), `50MB` (1000), `512`.

    Raises:
        ValueError: a sentence for the operator.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a size such as 50MiB, 800KiB or 1048576")
    number, unit = match[1], match[2].lower()
    prefix = unit[:1] if unit[:1] in _PREFIXES else ""
    # "50M" means 1024 as in Synapse's configuration; only "MB" is decimal.
    base = 1000 if prefix and unit == prefix + "b" else 1024
    return int(float(number) * base ** (_PREFIXES.index(prefix) + 1 if prefix else 0))


def parse_duration(text: str) -> int:
    """Milliseconds of `1d`, `90s`, `1.5h`, `250ms`.

    Raises:
        ValueError: a sentence for the operator.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a duration with its unit, such as 90s, 15m, 12h or 7d")
    return int(float(match[1]) * _MILLISECONDS[match[2]])


def parse_rate(text: str) -> dict[str, float]:
    """`8/60s` as the keys of a `Rate`.

    Raises:
        ValueError: a sentence for the operator.
    """
    count, slash, per = text.partition("/")
    if not slash or not count.strip().isdecimal():
        raise ValueError("must be a rate such as 8/60s, or {count: 8, per_seconds: 60}")
    return {"count": int(count), "per_seconds": parse_duration(per) / 1000}


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    # A bare number has no unit: parse_duration refuses it with the right sentence.
    return parse_duration(str(value)) if isinstance(value, int | float) else value


Bytes = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["50MiB"]}),
]
"""A size; an int of bytes once it is read."""
Milliseconds = Annotated[
    int,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "examples": ["7d"]}),
]
"""A duration; an int of milliseconds once it is read."""
