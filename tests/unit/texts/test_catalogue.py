"""Every sentence that we ship, and the tools to put them together."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from bridge.config.model import Language
from bridge.texts import CATALOGUE, LANGUAGES
from bridge.texts.catalogue import merge, placeholders

_CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("key", sorted(CATALOGUE))
def test_a_sentence_exists_in_every_language_with_the_same_placeholders(key: str) -> None:
    sentence = CATALOGUE[key]
    assert set(sentence) == set(LANGUAGES)
    assert placeholders(sentence["zh-CN"]) == placeholders(sentence["en"])
    for text in sentence.values():
        assert text == text.strip()
        assert text
    assert not _CHINESE.search(sentence["en"])


@pytest.mark.parametrize("key", sorted(CATALOGUE))
def test_chinese_is_polite_and_punctuated_as_chinese(key: str) -> None:
    chinese = CATALOGUE[key]["zh-CN"]
    assert "你" not in chinese
    assert not re.search(r"[\u4e00-\u9fff][,;?!]", chinese), "use full-width punctuation"


def test_the_configuration_knows_the_same_languages() -> None:
    assert get_args(Language) == LANGUAGES


def test_placeholders() -> None:
    assert placeholders("a {b} {{c}} {d}{b}") == {"b", "d"}
    for text in ("{", "{}", "{0}", "{a.b}", "{a[0]}", "{a:>3}", "{a!r}"):
        with pytest.raises(ValueError, match=r"encountered|placeholder"):
            placeholders(text)


def test_one_key_belongs_to_one_module() -> None:
    with pytest.raises(ValueError, match="two sentences have the key a"):
        merge(({"a": {"en": "x"}}, {"a": {"en": "y"}}))
