"""Names of languages, fallbacks of a missing text, and the language of a customer's text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.texts import (
    CLEAR,
    DEFAULT_LANGUAGE,
    LANGUAGES,
    SENTENCE,
    fallbacks,
    followed,
    nearest,
    spoken,
)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("written", [str, str.upper, str.lower, lambda tag: tag.replace("-", "_")])
def test_codes_of_supported_languages_in_any_spelling(language: str, written: object) -> None:
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
        ("臺灣", "zh-TW"),
        ("台灣", "zh-TW"),
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
def test_other_names_of_languages(word: str, language: str | None) -> None:
    assert nearest(word) == language


@given(st.text(max_size=12))
def test_any_word_names_a_supported_language_or_none(word: str) -> None:
    assert nearest(word) in (*LANGUAGES, None)


def test_fallbacks_of_each_language() -> None:
    assert fallbacks("zh-TW") == ("zh-TW", "zh-CN", "en")
    assert fallbacks("ja")[:2] == ("ja", "en")
    for language in LANGUAGES:
        assert fallbacks(language)[0] == language
        assert set(fallbacks(language)) <= set(LANGUAGES)
        assert len(set(fallbacks(language))) == len(fallbacks(language))
    with pytest.raises(KeyError):
        fallbacks("fr")


def test_the_default_language_is_supported() -> None:
    assert DEFAULT_LANGUAGE in LANGUAGES


@pytest.mark.parametrize(
    ("level", "texts", "languages"),
    [  # with the operator's default zh-CN, zh-TW, en, ja
        (0, ("", "4711", "A1", "?", "👍", "привет", "안녕"), LANGUAGES),
        (0, ("OK", "ok!", "hi", "Yes", "test", "a b c d e f", "ok ok 4711", "VIP"), LANGUAGES),
        (1, ("hello", "it is OK", "Größe 38", "I live at 北京路", "是 Apple iPhone"), ("en",) * 4),
        (
            1,
            ("Apple iPhone 15 Pro Max", "12 Hill Road, Bath", "http://a.de/is/my/home"),
            ("en",) * 4,
        ),
        (1, ("ming.li@example.com or so", "x-ray of bones"), ("en",) * 4),
        (
            SENTENCE,
            ("is it ok?", "où est mon colis ?", "I don't know why", "I live in the 北京路"),
            ("en",) * 4,
        ),
        (1, ("x" * 500 + "请问",), ("en",) * 4),  # only its beginning is read
        (2, ("在", "返品希望", "人工"), ("zh-CN", "zh-TW", "zh-CN", "ja")),
        (2, ("你好", "嗨", "你好 iPhone 15"), ("zh-CN", "zh-TW", "zh-CN", "zh-CN")),
        (3, ("請問", "我想退貨", "優の良品", "予約確認"), ("zh-TW", "zh-TW", "zh-TW", "ja")),
        (3, ("你好，請問",), ("zh-TW",) * 4),
        (CLEAR, ("请问", "订单4711", "在吗", "我买的スピーカー坏了"), ("zh-CN",) * 4),
        (CLEAR, ("請問可以退貨嗎", "有人在嗎", "我的包裹沒到，你們說呢"), ("zh-TW",) * 4),
        (CLEAR, ("荷物が届きません", "スピーカー", "営業", "お願い"), ("ja",) * 4),
    ],
)
def test_the_language_of_a_text(
    level: int, texts: tuple[str, ...], languages: tuple[str, ...]
) -> None:
    for text in texts:
        for default, language in zip(LANGUAGES, languages, strict=True):
            assert spoken(text, default) == (level, language), text


@pytest.mark.parametrize(
    ("texts", "language"),
    [  # with the operator's default zh-CN
        (("Where is my parcel?", "李明"), "en"),
        (("Where is my parcel?", "欧阳娜娜", "タロウ"), "en"),
        (("Where is my parcel?", "李明", "!wc 状态", "2024年5月"), "en"),
        (("Where is my parcel?", "上海市浦东新区世纪大道100号", "東京都千代田区丸の内１−９"), "en"),
        (("Where is my parcel?", "请问有人吗"), "zh-CN"),
        (("Where is my parcel?", "我的订单4711在哪里", "请问有人吗"), "zh-CN"),
        (("Where is my parcel?", "荷物が届きません"), "ja"),
        (("Where is my parcel?", "我想找人工", "It has not come yet."), "zh-CN"),
        (("hello", "有人吗"), "zh-CN"),
        (("Good morning", "Where is my parcel?", "李明"), "en"),
        (("有人吗", "Apple iPhone 15 Pro Max", "thank you"), "zh-CN"),
        (("有人吗", "error: the printer is not there"), "zh-CN"),
        (("你好", "the printer is not there", "請問"), "zh-TW"),
        (("有人嗎", "我想找人工"), "zh-TW"),  # the first clear one stays
        (("荷物が届きません", "我的包裹没到"), "ja"),
    ],
)
def test_the_language_of_one_text_after_the_other(texts: tuple[str, ...], language: str) -> None:
    known = (0, "")
    for text in texts:
        known = followed(known, text, "zh-CN")
    assert known[1] == language


@given(st.text(max_size=40), st.sampled_from(LANGUAGES))
def test_any_text_has_a_language(text: str, default: str) -> None:
    assert spoken(text, default)[1] in LANGUAGES
