"""The languages of our sentences: by a tag (BCP 47), by name, by the script of a text. Pure.

People and clients write it in many ways ("zh_TW", "zh-Hant-HK", "ja-JP", "日本語"); `nearest`
understands all of these, and nothing that could be a word of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

LANGUAGES = ("zh-CN", "zh-TW", "en", "ja")
DEFAULT_LANGUAGE = "zh-CN"

_FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "zh-CN": ("zh-TW", "en"),
    "zh-TW": ("zh-CN", "en"),
    "en": ("zh-CN",),
    "ja": ("en", "zh-CN"),
}
_NAMES: Mapping[str, tuple[str, ...]] = {
    "zh-CN": ("cn", "chinese", "中文", "简体", "简体中文", "簡體", "簡體中文"),
    "zh-TW": ("tw", "繁體", "繁體中文", "繁体", "繁体中文", "正體", "正體中文"),
    "en": ("english", "英文", "英语", "英語"),
    "ja": ("jp", "japanese", "日本語", "日语", "日語", "日文"),
}
_TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})
"""Subtags of Chinese that say its script, or a place where that script is written."""


def listed(language: str, values: Iterable[str]) -> str:
    """Several values in one sentence; Chinese and Japanese have a comma of their own for it."""
    return (", " if language == "en" else "、").join(values)


def nearest(word: str) -> str | None:
    """The one of LANGUAGES that somebody means, letter case aside; None if it is none of them."""
    wanted = word.strip().casefold().replace("_", "-")
    for language, names in _NAMES.items():
        if wanted in names:
            return language
    primary, *rest = wanted.split("-")
    if not all(part.isascii() and part.isalnum() for part in rest):
        return None
    if primary == "zh":
        return "zh-TW" if _TRADITIONAL.intersection(rest) else "zh-CN"
    return primary if primary in {"en", "ja"} else None


def fallbacks(language: str) -> tuple[str, ...]:
    """Languages to look in, this one first, where an operator wrote less than all of them."""
    return (language, *_FALLBACKS[language])


# --- scripts --------------------------------------------------------------------------------------


class Script(StrEnum):
    """The script of what somebody writes; a later one tells more of the language."""

    UNKNOWN = ""
    LATIN = "latin"
    HAN = "han"
    """In China, Taiwan and Japan alike: 你好."""
    OLD_HAN = "old han"
    """Not in China: 請問, 時間."""
    SIMPLIFIED = "simplified"
    TRADITIONAL = "traditional"
    JAPANESE = "japanese"


LONGEST_LOOK = 500
"""Characters that are looked at."""
_HAN, _LATIN = re.compile("[\u3400-\u9fff]"), re.compile("[A-Za-z]+")
_KANA = re.compile("[ぁ-ねは-ゖァ-ヺ]")
"""All but の, which Chinese brands have."""
_ORDER = tuple(Script)
_CLEAR = {Script.SIMPLIFIED: "zh-CN", Script.TRADITIONAL: "zh-TW", Script.JAPANESE: "ja"}


def clearer(known: Script, text: str) -> Script:
    """The script of what was written so far, with one text more: the first clear one stays."""
    if known in _CLEAR or (known is Script.LATIN and text.isascii()):
        return known
    return max(known, script_of(text), key=_ORDER.index)


def script_of(text: str) -> Script:
    """The script of a text: the character sets of the three places are the table for it.

    A sign that only GB 2312 has is simplified, one that only Big5 has (its frequent part) is
    traditional, one that only JIS X 0208 has is Japanese. Foreign names stand in many a text: kana
    counts where nothing is Chinese alone, and any of them where there are fewer Latin words.
    """
    text = text[:LONGEST_LOOK]
    han, kana, words = _HAN.findall(text), _KANA.findall(text), _LATIN.findall(text)
    if len(words) >= len(han) + len(kana):
        return Script.LATIN if any(len(word) > 1 for word in words) else Script.UNKNOWN
    homes = {
        tuple(_has(charset, one) for charset in ("gb2312", "big5", "shift_jis")) for one in han
    }
    if (True, False, False) in homes:
        return Script.SIMPLIFIED
    if (False, True, False) in homes:
        return Script.TRADITIONAL
    if kana or (False, False, True) in homes:
        return Script.JAPANESE
    return Script.OLD_HAN if (False, True, True) in homes else Script.HAN


def _has(charset: str, sign: str) -> bool:
    code = sign.encode(charset, "ignore")
    return code != b"" and (charset != "big5" or code < b"\xc9")  # from there on it has rare ones


def language_of(script: Script, default: str) -> str:
    """The language for who writes so, where `default` is the operator's."""
    if script is Script.HAN:
        return "zh-CN" if default == "en" else default
    if script is Script.OLD_HAN:
        return "ja" if default == "ja" else "zh-TW"
    return "en" if script is Script.LATIN else _CLEAR.get(script, default)
