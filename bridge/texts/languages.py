"""The languages of our sentences, and the nearest of them to a language tag (BCP 47). Pure.

People and clients write it in many ways ("zh_TW", "zh-Hant-HK", "ja-JP", "日本語"); `nearest`
understands all of these, and nothing that could be a word of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
