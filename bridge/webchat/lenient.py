"""Reading what the server wrote, whatever it wrote.

Every revision and every client of the vendor spells numbers, flags and objects in its own way
(protocol reference 1.1, traps T6, T10, T18), so each of these small functions takes any JSON value
and gives back a value of ours, or None where there is nothing to be read. None of them raises,
except `decode`, whose one exception says that there is no JSON at all.
"""

import json
import math
import re
from collections.abc import Mapping

JsonObject = Mapping[str, object]

_INT64 = range(-(2**63), 2**63)
_DIGITS = re.compile(r"[+-]?[0-9]{1,19}(\.0*)?")
_TRUE_WORDS = ("true", "1")
_MAX_SHOWN = 2000
"""Characters of foreign JSON that we are ready to show to people."""


class NotJson(ValueError):
    """The text is no JSON document, or one that no honest server would write."""


def decode(text: str) -> object:
    """Read one JSON document.

    Strict JSON but for three things that servers in the field get wrong and that must not cost us
    an agent's message: a byte order mark, raw control characters inside strings, and the constants
    NaN and Infinity (read as null).

    Raises:
        NotJson: no JSON, nested too deep, or with a number of thousands of digits.
    """
    try:
        value: object = _DECODER.decode(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise NotJson(type(error).__name__) from None
    return value


_DECODER = json.JSONDecoder(strict=False, parse_constant=lambda _name: None)
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def clean(text: str) -> str:
    """Make a text fit for databases and for Matrix.

    Half surrogate pairs (what is left of an emoji that Java cut in two) and NUL become U+FFFD.
    """
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def compact(value: object) -> str:
    """Any JSON value as compact JSON of at most 2,000 characters, for people to look at."""
    try:
        shown = _COMPACT.encode(value)
    except (ValueError, RecursionError):  # nesting that could be read but not written
        return "…"
    return clean(shown[:_MAX_SHOWN])


def integer(value: object) -> int | None:
    """An integer, an integral float or a digit string, within 64 bits (reference 1.1)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        found = _DIGITS.fullmatch(value.strip())
        value = int(value.strip().partition(".")[0]) if found else None
    elif isinstance(value, float):
        value = int(value) if value.is_integer() else None
    return value if isinstance(value, int) and value in _INT64 else None


def result_code(value: object) -> int | None:
    """Wire `result`; true and false are 1 and 0 (trap T13)."""
    return int(value) if isinstance(value, bool) else integer(value)


def number(value: object) -> float | None:
    """A finite number, also from a string (row 58)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def string(value: object) -> str:
    """A string as it is, null as "", anything else as compact JSON."""
    if isinstance(value, str):
        return clean(value)
    return "" if value is None else compact(value)


def flag(value: object) -> bool:
    """True for true, 1 and "true" (trap T18)."""
    if isinstance(value, str):
        return value.strip().lower() in _TRUE_WORDS
    return isinstance(value, int | float) and value == 1


def unwrap(value: object) -> object:
    """An object or array that came as JSON text becomes that object or array (trap T6)."""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return decode(value)
        except NotJson:
            return value
    return value


def mapping(value: object) -> JsonObject | None:
    """An object, also as JSON text."""
    found = unwrap(value)
    return found if isinstance(found, dict) else None


def sequence(value: object) -> list[object]:
    """An array, also as JSON text; empty for anything else."""
    found = unwrap(value)
    return found if isinstance(found, list) else []


def first(source: JsonObject, *keys: str) -> object:
    """The value of the first of `keys` that is there and neither null nor ""."""
    for key in keys:
        value = source.get(key)
        if value is not None and value != "":
            return value
    return None
