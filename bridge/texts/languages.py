"""The languages of our sentences: by a tag (BCP 47), by name, by the script of a text. Pure.

People and clients write it in many ways ("zh_TW", "zh-Hant-HK", "ja-JP", "日本語"); `nearest`
understands all of these, and nothing that could be a word of a sentence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import msgspec


class Locale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said of a language in `languages.toml`, which explains it."""

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
    """A data file of this package, without its ending."""
    return tomllib.loads((resources.files("bridge.texts") / f"{name}.toml").read_text("utf-8"))


LOCALES: Mapping[str, Locale] = msgspec.convert(data("languages"), dict[str, Locale])
LANGUAGES = tuple(LOCALES)
DEFAULT_LANGUAGE = "zh-CN"
_TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})
"""Subtags of Chinese that say its script, or a place where that script is written."""


def listed(language: str, values: Iterable[str]) -> str:
    """Several values in one sentence."""
    return LOCALES[language].comma.join(values)


def nearest(word: str) -> str | None:
    """The one of LANGUAGES that somebody means, letter case aside; None if it is none of them."""
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
    """Languages to look in, this one first, where an operator wrote less than all of them."""
    return (language, *LOCALES[language].fallbacks)


CLEAR = 4
"""The highest level of `spoken`."""
_CHARSETS = ("gb2312", "big5", "shift_jis")
LEAST_LATIN = 5
"""Letters, in words of two at least, that tell English: "OK" and "hi" are everybody's."""
_HAN, _LATIN = re.compile("[\u3400-\u9fff]"), re.compile("[A-Za-z\u00c0-\u024f]+")
_KANA = re.compile("[ぁ-ねは-ゖァ-ヺ]")  # all but の, which Chinese brands have


def spoken(text: str, default: str) -> tuple[int, str]:
    """How clearly the signs of a text tell its language, from 0 to CLEAR, and which that is.

    The character sets of three places are the table for it: a sign that only GB 2312 has is
    simplified, one that only Big5 has (its frequent part) is traditional, one that only JIS X 0208
    has is Japanese. Foreign names stand in many a text: kana counts where nothing is in one Chinese
    set alone, and any of it where there are fewer Latin words. What may be of several places ("在",
    "請問") is taken for `default` if that is one of them; "你" is in both Chinese sets alone.
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
    return code != b"" and (charset != "big5" or code < b"\xc9")  # from there on it has rare ones
