"""Which language somebody means, and where to look for a sentence that is not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.texts.languages import (
    DEFAULT_LANGUAGE,
    LANGUAGES,
    LONGEST_LOOK,
    Script,
    clearer,
    fallbacks,
    language_of,
    nearest,
    script_of,
)


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


@pytest.mark.parametrize(
    ("text", "script"),
    [
        *(
            (text, Script.SIMPLIFIED)
            for text in ("请问", "订单4711", "在吗", "我买的スピーカー坏了")
        ),
        *(
            (text, Script.TRADITIONAL)
            for text in ("請問可以退貨嗎", "有人在嗎", "我的包裹沒到，你們說呢")
        ),
        *((text, Script.JAPANESE) for text in ("荷物が届きません", "スピーカー", "営業", "お願い")),
        *((text, Script.OLD_HAN) for text in ("請問", "我想退貨", "優の良品", "予約確認")),
        *(
            (text, Script.HAN)
            for text in ("你好", "您好", "嗨", "在", "你好 iPhone 15", "返品希望")
        ),
        *(
            (text, Script.LATIN)
            for text in ("hello", "Größe 38", "où est mon colis ?", "I live at 北京路")
        ),
        *((text, Script.UNKNOWN) for text in ("", "4711", "A1", "?", "👍", "привет", "안녕")),
        ("x" * LONGEST_LOOK + "请问", Script.LATIN),
    ],
)
def test_the_script_of_a_text(text: str, script: Script) -> None:
    assert script_of(text) is script


@pytest.mark.parametrize(
    ("script", "languages"),
    [  # where the operator's default is zh-CN, zh-TW, en, ja
        (Script.UNKNOWN, LANGUAGES),
        (Script.LATIN, ("en",) * 4),
        (Script.HAN, ("zh-CN", "zh-TW", "zh-CN", "ja")),
        (Script.OLD_HAN, ("zh-TW", "zh-TW", "zh-TW", "ja")),
        (Script.SIMPLIFIED, ("zh-CN",) * 4),
        (Script.TRADITIONAL, ("zh-TW",) * 4),
        (Script.JAPANESE, ("ja",) * 4),
    ],
)
def test_the_language_of_a_script(script: Script, languages: tuple[str, ...]) -> None:
    assert tuple(language_of(script, default) for default in LANGUAGES) == languages


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        (["4711", "hi", "你好", "请问", "ありがとう"], Script.SIMPLIFIED),
        (["你好", "OK", "請問", "嗎"], Script.TRADITIONAL),
        (["予約確認", "お願いします", "请问"], Script.JAPANESE),
        (["hello", "4711", "bye"], Script.LATIN),
        (["你好", "hello"], Script.HAN),
    ],
)
def test_later_words_may_tell_more_and_the_first_clear_ones_stay(
    texts: list[str], script: Script
) -> None:
    known = Script.UNKNOWN
    for text in texts:
        known = clearer(known, text)
    assert known is script


@given(st.text(max_size=40), st.sampled_from(Script))
def test_any_text_has_a_script(text: str, known: Script) -> None:
    order = list(Script)
    assert order.index(clearer(known, text)) >= order.index(known)
