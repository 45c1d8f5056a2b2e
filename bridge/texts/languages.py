"""Supported languages, and their recognition by tag (BCP 47), name or script of a text. Pure.

`nearest` understands the many ways to write one ("zh_TW", "zh-Hant-HK", "ja-JP", "日本語"), but no
word that could be part of a sentence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import msgspec


class Locale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A language's table in `languages.toml`, which explains the fields."""

    names: tuple[str, ...]
    fallbacks: tuple[str, ...]
    comma: str
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


CLEAR = 4
"""The highest confidence of `spoken`."""
_CHARSETS = ("gb2312", "big5", "shift_jis")
LEAST_LATIN = 5
"""Minimum letters, in words of two or more, of English: "OK" and "hi" occur in every language."""
_HAN, _LATIN = re.compile("[\u3400-\u9fff]"), re.compile("[A-Za-z\u00c0-\u024f]+")
_KANA = re.compile("[ぁ-ねは-ゖァ-ヺ]")  # all but の, which occurs in Chinese brand names


def spoken(text: str, default: str) -> tuple[int, str]:
    """Detect the language of a text by its characters: confidence from 0 to CLEAR, and language.

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
        return (1, "en") if letters >= LEAST_LATIN else (0, default)
    homes = {tuple(_has(charset, one) for charset in _CHARSETS) for one in han}
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


def _has(charset: str, sign: str) -> bool:
    code = sign.encode(charset, "ignore")
    return code != b"" and (charset != "big5" or code < b"\xc9")  # rare characters from 0xC9 on
