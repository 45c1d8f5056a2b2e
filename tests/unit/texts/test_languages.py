"""Which language somebody means, and where to look for a sentence that is not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.texts.languages import DEFAULT_LANGUAGE, LANGUAGES, fallbacks, nearest


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("written", [str, str.upper, str.lower, lambda tag: tag.replace("-", "_")])
def test_our_own_codes_however_they_are_written(language: str, written: object) -> None:
    assert callable(written)
    assert nearest(f" {written(language)} ") == language


@pytest.mark.parametrize(
    ("word", "language"),
    [
        ("zh", "zh-CN"),
        ("zh-Hans", "zh-CN"),
        ("zh_SG", "zh-CN"),
        ("zh-Hans-HK-x", "zh-TW"),
        ("zh-Hant", "zh-TW"),
        ("zh_HK", "zh-TW"),
        ("zh-Hant-TW", "zh-TW"),
        ("中文", "zh-CN"),
        ("简体中文", "zh-CN"),
        ("繁體中文", "zh-TW"),
        ("繁体", "zh-TW"),
        ("English", "en"),
        ("en-GB", "en"),
        ("en_US.UTF-8", None),
        ("日本語", "ja"),
        ("ja-JP", "ja"),
        ("jp", "ja"),
        ("fr", None),
        ("klingon", None),
        ("zho", None),
        ("", None),
        ("en-", None),
        ("en—please", None),
    ],
)
def test_other_names(word: str, language: str | None) -> None:
    assert nearest(word) == language


@given(st.text(max_size=12))
def test_any_word_has_an_answer(word: str) -> None:
    assert nearest(word) in (*LANGUAGES, None)


def test_where_an_operators_word_is_looked_for() -> None:
    assert fallbacks("zh-TW") == ("zh-TW", "zh-CN", "en")
    assert fallbacks("ja")[:2] == ("ja", "en")
    for language in LANGUAGES:
        assert fallbacks(language)[0] == language
        assert set(fallbacks(language)) <= set(LANGUAGES)
        assert len(set(fallbacks(language))) == len(fallbacks(language))
    with pytest.raises(KeyError):
        fallbacks("fr")


def test_the_default_is_one_of_ours() -> None:
    assert DEFAULT_LANGUAGE in LANGUAGES
