"""Supported languages, and their recognition by tag (BCP 47), name or script of a text. Pure.

`nearest` understands the many ways to write one ("zh_TW", "zh-Hant-HK", "ja-JP", "日本語"), but no
word that could be part of a sentence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
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
    homes = {_homes(one) for one in han}
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

    The higher confidence counts. After an English sentence, CJK counts only from LEAST_SIGNS on:
    less may be a name. After CJK, English does not count: it may be quoted.
    """
    heard = spoken(text, default)
    if known[0] == SENTENCE:
        signs = len(_HAN.findall(text)) + len(_KANA.findall(text))
        return heard if heard[1] != "en" and signs >= LEAST_SIGNS else known
    better = heard[0] > known[0] and (heard[0] != SENTENCE or known[0] <= 1)
    return heard if better else known


@lru_cache(8192)
def _homes(sign: str) -> tuple[bool, ...]:
    return tuple(_has(charset, sign) for charset in _CHARSETS)


def _has(charset: str, sign: str) -> bool:
    code = sign.encode(charset, "ignore")
    return code != b"" and (charset != "big5" or code < b"\xc9")  # rare characters from 0xC9 on
