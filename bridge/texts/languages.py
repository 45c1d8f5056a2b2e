"""The languages of our sentences, and the nearest of them to a language tag (BCP 47). Pure.

Codes are BCP 47 tags. People and clients write them in many ways ("zh_TW", "zh-Hant-HK", "ja-JP",
"日本語"); `nearest` understands all of these, and nothing that could be a word of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

LANGUAGES = ("zh-CN", "zh-TW", "en", "ja")
DEFAULT_LANGUAGE = "zh-CN"

_FALLBACKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "zh-CN": ("zh-TW", "en"),
        "zh-TW": ("zh-CN", "en"),
        "en": ("zh-CN",),
        "ja": ("en", "zh-CN"),
    }
)
_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "cn": "zh-CN",
        "chinese": "zh-CN",
        "中文": "zh-CN",
        "简体": "zh-CN",
        "简体中文": "zh-CN",
        "簡體": "zh-CN",
        "簡體中文": "zh-CN",
        "tw": "zh-TW",
        "繁體": "zh-TW",
        "繁體中文": "zh-TW",
        "繁体": "zh-TW",
        "繁体中文": "zh-TW",
        "正體": "zh-TW",
        "正體中文": "zh-TW",
        "english": "en",
        "英文": "en",
        "英语": "en",
        "英語": "en",
        "jp": "ja",
        "japanese": "ja",
        "日本語": "ja",
        "日语": "ja",
        "日語": "ja",
        "日文": "ja",
    }
)
_TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})
"""Subtags of Chinese that say its script, or a place where that script is written."""


def listed(language: str, values: Iterable[str]) -> str:
    """Several values in one sentence; Chinese and Japanese have a comma of their own for it."""
    return (", " if language == "en" else "、").join(values)


def nearest(word: str) -> str | None:
    """The language of ours that somebody means, letter case aside.

    Args:
        word: a tag with "-" or "_" ("zh", "zh-Hans", "zh_TW", "en-GB"), or what people call it
            ("日本語", "English").

    Returns:
        One of LANGUAGES; None if it is none of them.
    """
    wanted = word.strip().casefold().replace("_", "-")
    if wanted in _NAMES:
        return _NAMES[wanted]
    primary, *rest = wanted.split("-")
    if not all(part.isascii() and part.isalnum() for part in rest):
        return None
    match primary:
        case "zh":
            return "zh-TW" if _TRADITIONAL.intersection(rest) else "zh-CN"
        case "en" | "ja":
            return primary
        case _:
            return None


def fallbacks(language: str) -> tuple[str, ...]:
    """In which languages to look, in this order, where an operator wrote less than all of them.

    Args:
        language: one of LANGUAGES; it comes first.

    Raises:
        KeyError: the language is none of ours.
    """
    return (language, *_FALLBACKS[language])
