"""Catalogue of all sentences that customers and agents can see, in four languages. Pure.

Each language has a TOML file with the same keys in the same order (`en.toml` has the comments).
Operators override single sentences in config.yaml under `texts`, with no other placeholders than
the original's, so that rendering cannot fail.

Languages are recognised by tag (BCP 47), name or script of a text: `nearest` understands the many
ways to write one ("zh_TW", "zh-Hant-HK", "ja-JP", "日本語"), but no word that could be part of a
sentence.

Durations and times are formatted in each language, as values for sentences. Babel was considered
and rejected: it has no ranges of units ("3–5 minutes"), which a queue needs, and takes ten
megabytes for two date patterns.
"""

from __future__ import annotations

import difflib
import math
import re
import string
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

# --- languages ------------------------------------------------------------------------------------


class Locale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A language's table in `languages.toml`, which explains the fields."""

    names: tuple[str, ...]
    fallbacks: tuple[str, ...]
    comma: str
    semicolon: str
    dash: str
    and_: str = msgspec.field(name="and")
    seconds: str
    minutes: str
    hours: str
    about: str
    up_to: str
    under_a_minute: str


def data(name: str) -> dict[str, Any]:
    """Read a TOML file of this package, named without its suffix."""
    return tomllib.loads((resources.files("bridge.texts") / f"{name}.toml").read_text("utf-8"))


LOCALES: Mapping[str, Locale] = msgspec.convert(data("languages"), dict[str, Locale])
LANGUAGES = tuple(LOCALES)
DEFAULT_LANGUAGE = "zh-CN"
_TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})
"""Subtags of traditional Chinese: its script, and regions that use it."""


def listed(language: str, values: Iterable[str]) -> str:
    """Join values with the language's comma."""
    return LOCALES[language].comma.join(values)


def nearest(word: str) -> str | None:
    """Return the member of LANGUAGES that a word names, ignoring case; None if there is none."""
    wanted = word.strip().casefold().replace("_", "-")
    for language, known in LOCALES.items():
        if wanted in known.names:
            return language
    primary, *rest = wanted.split("-")
    if not all(part.isascii() and part.isalnum() for part in rest):
        return None
    if primary == "zh":
        return "zh-TW" if _TRADITIONAL.intersection(rest) else "zh-CN"
    return primary if primary in {"en", "ja"} else None


def fallbacks(language: str) -> tuple[str, ...]:
    """Languages to try in order, this one first, where an operator did not write all of them."""
    return (language, *LOCALES[language].fallbacks)


CLEAR, SENTENCE = 4, 5
"""Confidence in characters of one CJK language only, and in an English sentence."""
_CHARSETS = ("gb2312", "big5", "shift_jis")
LEAST_LATIN = 5
"""Minimum letters, in words of two or more, of English: "OK" and "hi" occur in every language."""
LEAST_WORDS, LEAST_SIGNS = 3, 5
"""Minimum lower-case words of an English sentence (a capital may begin a name, and an address of a
page is one word), and minimum signs of a CJK one (a name has two to four)."""
_HAN, _LATIN = re.compile("[\u3400-\u9fff]"), re.compile("[A-Za-z\u00c0-\u024f]+")
_KANA = re.compile("[ぁ-ねは-ゖァ-ヺ]")  # all but の, which occurs in Chinese brand names
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"(?<!\S)[a-z\u00df-\u024f'’]+(?=[,.;:!?]*(?!\S))")


def spoken(text: str, default: str) -> tuple[int, str]:
    """Detect the language of a text by its characters: confidence from 0 to SENTENCE, and language.

    Three character sets serve as the table: a character only in GB 2312 is simplified Chinese, only
    in Big5 (its frequent part) traditional, only in JIS X 0208 Japanese. As texts contain foreign
    names, kana counts only if no character is exclusive to one Chinese set, and CJK only if it
    outnumbers the Latin words. Ambiguous characters ("在", "請問") mean `default` if that is
    possible; "你" is in both Chinese sets only, so not Japanese.
    """
    text = text[:500]
    han, kana, words = _HAN.findall(text), _KANA.findall(text), _LATIN.findall(text)
    if len(words) >= len(han) + len(kana):
        letters = sum(len(word) for word in words if len(word) > 1)
        if letters < LEAST_LATIN:
            return 0, default
        return SENTENCE if len(_WORD.findall(text)) >= LEAST_WORDS else 1, "en"
    homes = {_homes(char) for char in han}
    if (True, False, False) in homes:
        return CLEAR, "zh-CN"
    if (False, True, False) in homes:
        return CLEAR, "zh-TW"
    if kana or (False, False, True) in homes:
        return CLEAR, "ja"
    if default == "ja" and (True, True, False) in homes:
        default = "zh-CN"
    if (False, True, True) in homes:
        return 3, "ja" if default == "ja" else "zh-TW"
    return 2, "zh-CN" if default == "en" else default


def followed(known: tuple[int, str], text: str, default: str) -> tuple[int, str]:
    """Return the language of a customer, known as `spoken` returns it, after one more text.

    The higher confidence counts. After an English sentence, CJK counts only from LEAST_SIGNS on and
    without a digit: it may be a name or an address. After CJK, English does not count: it may be
    quoted.
    """
    heard = spoken(text, default)
    if known[0] == SENTENCE:
        signs = 0 if _DIGIT.search(text) else len(_HAN.findall(text)) + len(_KANA.findall(text))
        return heard if heard[1] != "en" and signs >= LEAST_SIGNS else known
    better = heard[0] > known[0] and (heard[0] != SENTENCE or known[0] <= 1)
    return heard if better else known


@lru_cache(8192)
def _homes(sign: str) -> tuple[bool, ...]:
    simplified, traditional, japanese = (sign.encode(charset, "ignore") for charset in _CHARSETS)
    # Rare characters of Big5 begin with 0xC9.
    return simplified != b"", b"" < traditional < b"\xc9", japanese != b""


# --- the catalogue --------------------------------------------------------------------------------

Sentence = Mapping[str, str]
"""Language -> sentence, with placeholders `{name}`."""
Catalogue = Mapping[str, Sentence]
"""Key -> language -> sentence."""
Value = str | int | tuple[str, ...]


def placeholders(sentence: str) -> frozenset[str]:
    """Return the names in braces; ValueError if braces do not match, or hold more than a name."""
    try:
        parts = list(string.Formatter().parse(sentence))
    except ValueError as error:
        raise ValueError(f"has unbalanced braces: {error}") from error
    for _, name, spec, conversion in parts:
        if name is not None and (spec or conversion or not name.isidentifier()):
            raise ValueError("may hold only plain placeholders such as {name}")
    return frozenset(name for _, name, _, _ in parts if name is not None)


def shipped(language: str) -> dict[str, str]:
    """Read a language's data file as key -> sentence."""
    return dict(_flat(data(language)))


def _flat(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Flatten nested tables to dotted keys ("robot.alone.-3")."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, str(value)


_SHIPPED = {language: shipped(language) for language in LANGUAGES}
CATALOGUE: Catalogue = MappingProxyType(
    {
        key: MappingProxyType({language: texts[key] for language, texts in _SHIPPED.items()})
        for key in _SHIPPED[DEFAULT_LANGUAGE]
    }
)


WORDS: Mapping[str, Sequence[str]] = data("words")
"""Kind -> phrases with one fixed meaning as a whole message, such as thanks."""


LONGEST_SENTENCE = 2_000
"""In characters: a poll or a corrected card has a sentence up to six times in its 64 KiB."""


class BadOverride(NamedTuple):
    """An invalid override of a sentence; `language` is "" if the key itself is wrong."""

    key: str
    language: str
    why: str


def check_overrides(
    overrides: Catalogue, catalogue: Catalogue = CATALOGUE
) -> Iterator[BadOverride]:
    for key, sentences in overrides.items():
        if key not in catalogue:
            near = difflib.get_close_matches(key, catalogue, n=1)
            hint = f'the nearest is "{near[0]}"' if near else "`example-config --texts` lists all"
            yield BadOverride(key, "", f"no sentence has this key; {hint}")
            continue
        allowed = frozenset().union(*map(placeholders, catalogue[key].values()))
        for language, text in sentences.items():
            if wrong := _wrong(language, text, allowed):
                yield BadOverride(key, language, wrong)


def _wrong(language: str, text: str, allowed: frozenset[str]) -> str:
    """Return why an override is invalid; empty if it is valid."""
    if language not in LANGUAGES:
        return f"must be one of {', '.join(LANGUAGES)}"
    if not text.strip():
        return "must not be empty"
    if len(text) > LONGEST_SENTENCE or "\0" in text:
        return f"must have at most {LONGEST_SENTENCE} characters, none of them NUL"
    try:
        unknown = placeholders(text) - allowed
    except ValueError:
        return "has braces that are not a placeholder"
    if not unknown:
        return ""
    names = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "none"
    return f"has the unknown placeholder {{{min(unknown)}}}; it may use: {names}"


class Texts:
    def __init__(
        self, overrides: Catalogue = MappingProxyType({}), catalogue: Catalogue = CATALOGUE
    ) -> None:
        """Apply the operator's overrides, which `check_overrides` has found valid."""
        self._sentences = {
            key: {**sentence, **overrides.get(key, {})} for key, sentence in catalogue.items()
        }

    def render(self, language: str, key: str, args: Mapping[str, Value]) -> str:
        """Return a sentence with its placeholders filled in; a tuple becomes a list of values.

        Values are inserted verbatim: braces in a customer's name do nothing. For a `count` of one,
        the key "…_one" is used if it exists. A KeyError (key, language, argument) is a bug.
        """
        if args.get("count") == 1 and f"{key}_one" in self._sentences:
            key = f"{key}_one"
        shown = {
            name: listed(language, value) if isinstance(value, tuple) else value
            for name, value in args.items()
        }
        return self._sentences[key][language].format_map(shown)


# --- durations and times; an unknown language raises KeyError -------------------------------------

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
