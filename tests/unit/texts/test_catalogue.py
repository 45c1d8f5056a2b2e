"""Rules for every shipped text: complete, equivalent in all languages, and correct in each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

import bridge.texts
from bridge.config.model import Language
from bridge.rooms import cards
from bridge.rooms.cards import SIGNS
from bridge.rooms.commands import _VERBS, COMMANDS, parse
from bridge.texts import CATALOGUE, LANGUAGES, Sentence, placeholders, shipped
from bridge.webchat.codes import FailureReason

IDEOGRAPH = re.compile(r"[\u3400-\u9fff]")
KANA = re.compile(r"[\u3040-\u30fa\u30fd-\u30ff]")
SYMBOL = re.compile(r"[\u2190-\u2bff\u2100-\u214f\U0001f000-\U0001faff]")
WORD = re.compile(r"[^\W\d_]{2,}")
NOT_TRANSLATED = {"command.version"}
"""Keys with the same text in every language: a product's name and a number."""
REPERTOIRES = {"zh-CN": "gb2312", "zh-TW": "big5", "ja": "shift_jis"}
"""A character set per language that lacks the other languages' forms of characters."""
TAIWAN_WRITES_OTHERWISE = (
    *("后", "里", "几", "么", "于", "游", "准", "干"),  # in Big5, but with other meanings
    *("消息", "文件", "信息", "發送", "發消息", "視頻", "網絡", "默認", "服務器", "軟件", "用戶"),
    *("賬號", "設置", "登錄", "質量", "屏蔽", "客戶端", "不支持", "隊列", "命令", "房間", "更改"),
)

COMMAND = r"\{prefix\} (\w+)"
"""A command in a text, or another word after the prefix."""

Complaints = Iterator[str]


def bare(text: str) -> str:
    """Return the text without placeholders."""
    return re.sub(r"\{\w+\}", "", text)


def in_every_language(key: str, sentence: Sentence) -> Complaints:
    if tuple(sentence) != LANGUAGES:
        yield "not all four, or not in the usual order"
    for language, text in sentence.items():
        if not text or text != text.strip() or "  " in text or "\t" in text:
            yield f"{language}: empty, or with a space too many"


def the_same_in_every_language(key: str, sentence: Sentence) -> Complaints:
    said = {
        language: {
            "placeholders": placeholders(text),
            "commands": set(filter(None, map(_VERBS.get, re.findall(COMMAND, text)))),
            "symbols": set(SYMBOL.findall(text)),
            "lines": text.count("\n"),
        }
        for language, text in sentence.items()
    }
    for language in LANGUAGES:
        if said[language] != said["en"]:
            yield f"{language}: {said[language]}, en: {said['en']}"


def with_commands_as_its_readers_write_them(key: str, sentence: Sentence) -> Complaints:
    """With the command's word in that language, as in `help`, in quotes unless it is in English."""
    for number, language in enumerate(REPERTOIRES):
        quoted = re.findall("「({prefix} .+?)」", sentence[language])
        if len(quoted) != len(re.findall(COMMAND, sentence["en"])):
            yield f"{language}: not in quotes"
        for command in quoted:
            values = dict.fromkeys(placeholders(command), "5") | {"prefix": "!wc"}
            written = re.sub("<.+?>", "5", command.format_map(values))
            parsed = parse(written, "!wc", prefix_needed=True)
            word = command.split()[1]
            if (
                parsed is None
                or parsed.fault
                or COMMANDS[parsed.verb].names.split()[number] != word
            ):
                yield f"{language}: {command}"


def translated(key: str, sentence: Sentence) -> Complaints:
    if IDEOGRAPH.search(sentence["en"]):
        yield "en: an ideograph"
    if key in NOT_TRANSLATED or not WORD.search(bare(sentence["en"])):
        return
    for language in REPERTOIRES:
        text = sentence[language]
        if text == sentence["en"] or not (IDEOGRAPH.search(text) or KANA.search(text)):
            yield f"{language}: not translated"
    if not KANA.search(sentence["ja"]) and len(IDEOGRAPH.findall(sentence["ja"])) > 4:
        yield "ja: Japanese has kana between"


def in_the_characters_of_the_language(key: str, sentence: Sentence) -> Complaints:
    for language, repertoire in REPERTOIRES.items():
        for character in IDEOGRAPH.findall(sentence[language]):
            if not character.encode(repertoire, "ignore"):
                yield f"{language}: {character}"


def in_the_words_of_taiwan(key: str, sentence: Sentence) -> Complaints:
    yield from (word for word in TAIWAN_WRITES_OTHERWISE if word in sentence["zh-TW"])


def polite(key: str, sentence: Sentence) -> Complaints:
    for language in ("zh-CN", "zh-TW"):
        if "你" in sentence[language]:
            yield f"{language}: 你"
    japanese = sentence["ja"]
    if "あなた" in japanese:
        yield "ja: あなた"
    for ending in re.findall(r"(\w{1,3})。", japanese):
        if not re.search(r"(す|せん|した|さい|ょうか|件|にちは)$", ending):
            yield f"ja: …{ending}。 is not polite"


def with_the_punctuation_of_the_language(key: str, sentence: Sentence) -> Complaints:
    for language in REPERTOIRES:
        for wrong in (
            r"[\u3040-\u9fff」）][,;:?!.()]",
            r"[,;:?!(][\u3040-\u9fff「（]",
            "[“”‘’\"']",
        ):
            if found := re.search(wrong, sentence[language]):
                yield f"{language}: {found[0]}"
    if found := re.search(r"[\u3000-\u303f\uff01-\uff5e\"]", sentence["en"]):
        yield f"en: {found[0]}"


def ended_in_all_languages_or_in_none(key: str, sentence: Sentence) -> Complaints:
    """A Japanese list after a colon, and a final command, have no full stop."""
    ended = sentence["en"].endswith((".", "!", "?"))
    for language in REPERTOIRES:
        last = sentence[language][-1]
        if last not in "。！？）}" if ended else last in "。！":
            yield f"{language}: {last}"


@pytest.mark.parametrize(
    "rule",
    [
        in_every_language,
        the_same_in_every_language,
        with_commands_as_its_readers_write_them,
        translated,
        in_the_characters_of_the_language,
        in_the_words_of_taiwan,
        polite,
        with_the_punctuation_of_the_language,
        ended_in_all_languages_or_in_none,
    ],
)
def test_every_sentence_is(rule: Callable[[str, Sentence], Complaints]) -> None:
    wrong = [
        f"{key}: {complaint}"
        for key, sentence in CATALOGUE.items()
        if key != "room.languages"  # it names each language in that language
        for complaint in rule(key, sentence)
    ]
    assert not wrong, "\n  ".join([f"not {rule.__name__.replace('_', ' ')}:", *wrong])


def test_every_command_has_a_line_and_every_language_is_named() -> None:
    lines = {key: text for key, text in CATALOGUE.items() if key.startswith("usage.")}
    assert set(lines) == {f"usage.{verb}" for verb in COMMANDS}
    for key, sentence in lines.items():
        for language, text in sentence.items():
            assert text.startswith("{command}"), (key, language)
            assert " — " in text, (key, language)
    for text in lines["usage.lang"].values():
        assert "|".join(LANGUAGES) in text


def test_the_robot_understands_the_words_that_its_text_names() -> None:
    for language, text in CATALOGUE["robot.answers_first"].items():
        solved, person = re.findall("[「“](.+?)[」”]", text)
        assert solved in cards._ENOUGH_WORDS, language
        assert cards.wants_person(person), language


def test_the_robot_promises_nobody_before_one_is_asked_for() -> None:
    """The queue may be closed, or its robot may answer: the queue card says what comes of it."""
    person = re.compile("person|agent|人工|真人|客服|担当者")
    said = {key: text for key, text in CATALOGUE.items() if key.startswith("robot.person_")}
    for key in said.keys() - {"robot.person_offered"}:
        assert not [text for text in said[key].values() if person.search(text)], key


def test_every_text_is_used_in_the_code() -> None:
    """By its whole key, by a key built in an f-string (`f"status.{status}"`), or for a count."""
    texts = Path(bridge.texts.__path__[0])
    files = (path for path in texts.parent.rglob("*.py") if path.parent != texts)
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    made = set(re.findall(r"""f["']([a-z_]+\.[a-z_.]*)\{""", code)) - {
        "undelivered.",
        "transcript.",
    }
    named = set(re.findall(r"""["']([a-z_]+\.[\w.-]+)["']""", code))
    named |= {f"undelivered.{reason}" for reason in FailureReason}
    named |= {"transcript.withdrawn", "transcript.unreadable"}
    keys = {key.removesuffix("_one") for key in CATALOGUE}
    assert [key for key in keys if key not in named and not key.startswith(tuple(made))] == []


def test_texts_name_the_reactions_placed_below_them() -> None:
    for key, sign in SIGNS.items():
        for each in (key, f"{key}_one"):
            for language, text in CATALOGUE.get(each, {}).items():
                assert sign in text, f"{language}: {each}"


def test_the_configuration_knows_the_same_languages() -> None:
    assert get_args(Language) == LANGUAGES


def test_placeholders() -> None:
    assert placeholders("a {b} {{c}} {d}{b}") == {"b", "d"}
    for text in ("{", "}", "{}", "{0}", "{a.b}", "{a[0]}", "{a:>3}", "{a!r}"):
        with pytest.raises(ValueError, match=r"braces|placeholders"):
            placeholders(text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_keys_in_the_same_order(language: str) -> None:
    assert list(shipped(language)) == list(CATALOGUE)
