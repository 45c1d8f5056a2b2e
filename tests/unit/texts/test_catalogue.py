"""Every sentence that we ship: complete, the same in every language, and written as it is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import bridge.texts
from bridge.config.model import Language
from bridge.rooms import cards
from bridge.rooms.commands import Verb
from bridge.texts import CATALOGUE, LANGUAGES
from bridge.texts.catalogue import aligned, placeholders

IDEOGRAPH = re.compile(r"[\u3400-\u9fff]")
KANA = re.compile(r"[\u3040-\u30fa\u30fd-\u30ff]")
SYMBOL = re.compile(r"[\u2190-\u2bff\u2100-\u214f\U0001f000-\U0001faff]")
WORD = re.compile(r"[^\W\d_]{2,}")
NOT_TRANSLATED = {"command.version"}
"""A product's name and a number."""
REPERTOIRES = {"zh-CN": "gb2312", "zh-TW": "big5", "ja": "shift_jis"}
"""The character set of each script: what a foreign form of a character is not in."""
TAIWAN_WRITES_OTHERWISE = (
    *("后", "里", "几", "么", "于", "游", "准", "干"),  # in Big5, but as other words
    *("消息", "文件", "信息", "發送", "發消息", "視頻", "網絡", "默認", "服務器", "軟件", "用戶"),
    *("賬號", "設置", "登錄", "質量", "屏蔽", "客戶端", "不支持", "隊列", "命令", "房間", "更改"),
)

every_key = pytest.mark.parametrize("key", sorted(CATALOGUE))


def bare(text: str) -> str:
    """Without placeholders."""
    return re.sub(r"\{\w+\}", "", text)


@every_key
def test_a_sentence_is_there_in_every_language(key: str) -> None:
    sentence = CATALOGUE[key]
    assert tuple(sentence) == LANGUAGES, "all four, in the usual order"
    for language, text in sentence.items():
        assert text, language
        assert text == text.strip()
        assert "  " not in text
        assert "\t" not in text


@every_key
def test_a_sentence_says_the_same_in_every_language(key: str) -> None:
    said = {
        language: {
            "placeholders": placeholders(text),
            "commands": set(re.findall(r"\{prefix\} ([a-z]+)", text)),
            "symbols": set(SYMBOL.findall(text)),
            "lines": text.count("\n"),
        }
        for language, text in CATALOGUE[key].items()
    }
    for language in LANGUAGES:
        assert said[language] == said["en"], language


@every_key
def test_a_sentence_is_translated(key: str) -> None:
    sentence = CATALOGUE[key]
    assert not IDEOGRAPH.search(sentence["en"])
    if key in NOT_TRANSLATED or not WORD.search(bare(sentence["en"])):
        return
    for language in REPERTOIRES:
        assert sentence[language] != sentence["en"], language
        assert IDEOGRAPH.search(sentence[language]) or KANA.search(sentence[language]), language
    ideographs = len(IDEOGRAPH.findall(sentence["ja"]))
    assert KANA.search(sentence["ja"]) or ideographs <= 4, "Japanese has kana between"


@every_key
def test_characters_are_those_of_the_language(key: str) -> None:
    for language, repertoire in REPERTOIRES.items():
        foreign = [
            character
            for character in IDEOGRAPH.findall(CATALOGUE[key][language])
            if not character.encode(repertoire, "ignore")
        ]
        assert foreign == [], language


@every_key
def test_taiwan_is_spoken_to_in_its_own_words(key: str) -> None:
    text = CATALOGUE[key]["zh-TW"]
    assert [word for word in TAIWAN_WRITES_OTHERWISE if word in text] == []


@every_key
def test_people_are_addressed_politely(key: str) -> None:
    sentence = CATALOGUE[key]
    for language in ("zh-CN", "zh-TW"):
        assert "你" not in sentence[language]
    japanese = sentence["ja"]
    assert "あなた" not in japanese
    for ending in re.findall(r"(\w{1,3})。", japanese):
        assert re.search(r"(す|せん|した|さい|ょうか|件|にちは)$", ending), (
            f"…{ending}。 is not polite"
        )


@every_key
def test_punctuation_is_that_of_the_language(key: str) -> None:
    sentence = CATALOGUE[key]
    for language in REPERTOIRES:
        text = sentence[language]
        assert not re.search(r"[\u3040-\u9fff」）][,;:?!.()]", text), language
        assert not re.search(r"[,;:?!(][\u3040-\u9fff「（]", text), language
        assert not re.search("[“”‘’\"']", text), language
    assert not re.search(r"[\u3000-\u303f\uff01-\uff5e]", sentence["en"])
    assert '"' not in sentence["en"]


@every_key
def test_what_ends_in_one_language_ends_in_all(key: str) -> None:
    """A Japanese list after a colon, and a command at the very end, stand without a full stop."""
    sentence = CATALOGUE[key]
    ended = sentence["en"].endswith((".", "!", "?"))
    for language in REPERTOIRES:
        last = sentence[language][-1]
        assert not ended or last in "。！？）}", language
        assert ended or last not in "。！", language


def test_help_names_every_command_and_every_language() -> None:
    for text in CATALOGUE["command.help"].values():
        named = set(re.findall(r"\{prefix\} ([a-z]+)", text))
        assert named == {verb.value for verb in Verb} - {"help"}
        lines = [line.split(" — ")[0] for line in text.splitlines()]
        assert len(lines) == len(set(lines)), "each command once"
        assert "|".join(LANGUAGES) in text
    for text in CATALOGUE["usage.lang"].values():
        assert "|".join(LANGUAGES) in text


def test_the_words_that_the_robot_is_said_to_understand_it_does() -> None:
    for language, text in CATALOGUE["robot.answers_first"].items():
        solved, person = re.findall("[「“](.+?)[」”]", text)
        assert solved in cards._ENOUGH_WORDS, language
        assert person in cards._PERSON_WORDS, language


def test_every_sentence_is_said_somewhere() -> None:
    """By its whole key, or by one that is put together (`f"status.{status}"`)."""
    texts = Path(bridge.texts.__path__[0])
    files = (path for path in texts.parent.rglob("*.py") if path.parent != texts)
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    made = tuple(re.findall(r"""f["']([a-z_]+\.[a-z_.]*)\{""", code))
    named = set(re.findall(r"""["']([a-z_]+\.[\w.-]+)["']""", code))
    assert [key for key in CATALOGUE if key not in named and not key.startswith(made)] == []


def test_the_configuration_knows_the_same_languages() -> None:
    assert get_args(Language) == LANGUAGES


def test_placeholders() -> None:
    assert placeholders("a {b} {{c}} {d}{b}") == {"b", "d"}
    for text in ("{", "{}", "{0}", "{a.b}", "{a[0]}", "{a:>3}", "{a!r}"):
        with pytest.raises(ValueError, match=r"encountered|placeholder"):
            placeholders(text)


def test_a_key_that_a_language_lacks_or_has_elsewhere() -> None:
    whole = {"a.b": "x", "c": "y"}
    assert aligned({"en": whole, "ja": whole})["c"] == {"en": "y", "ja": "y"}
    with pytest.raises(ValueError, match=r"c is not in both en\.toml and ja\.toml"):
        aligned({"en": whole, "ja": {"a.b": "x"}})
    with pytest.raises(ValueError, match="another order"):
        aligned({"en": whole, "ja": dict(reversed(whole.items()))})
