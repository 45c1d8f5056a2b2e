"""Rendering of texts, operators' replacements, and faults of a replacement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.texts import CATALOGUE, DEFAULT_LANGUAGE, LANGUAGES, BadOverride, Texts, check_overrides

SMALL = {
    "greet": {"zh-CN": "您好，{name}。", "en": "Hello {name}."},
    "bye": {"zh-CN": "再见", "en": "Bye"},
}


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        ("en", "Mei, Jun joined the chat."),
        ("zh-CN", "Mei、Jun 加入了对话。"),
        ("ja", "Mei、Jun がチャットに加わりました。"),
    ],
)
def test_several_names_are_joined_as_in_the_language(language: str, shown: str) -> None:
    assert Texts().render(language, "chat.agent_joined", {"names": ("Mei", "Jun")}) == shown


def test_a_count_of_one_has_its_own_text() -> None:
    counted = {"kept": {"en": "{count} messages"}, "kept_one": {"en": "your message"}}
    texts = Texts(catalogue=counted)
    shown = [texts.render("en", "kept", {"count": count}) for count in (0, 1, 2)]
    assert shown == ["0 messages", "your message", "2 messages"]
    assert Texts(catalogue=SMALL).render("en", "bye", {"count": 1}) == "Bye"


def test_a_sentence_is_filled_in() -> None:
    texts = Texts(catalogue=SMALL)
    assert texts.render("en", "greet", {"name": "Ada"}) == "Hello Ada."
    assert texts.render("zh-CN", "greet", {"name": "小林"}) == "您好，小林。"


@given(st.text())
def test_values_are_never_read_as_placeholders(name: str) -> None:
    assert Texts(catalogue=SMALL).render("en", "greet", {"name": name}) == f"Hello {name}."


@pytest.mark.parametrize(
    ("language", "key", "args"),
    [("en", "nothing", {}), ("fr", "bye", {}), ("en", "greet", {})],
)
def test_unknown_keys_unknown_languages_and_missing_arguments_raise(
    language: str, key: str, args: dict[str, str]
) -> None:
    with pytest.raises(KeyError):
        Texts(catalogue=SMALL).render(language, key, args)


def test_an_operator_replaces_one_sentence_in_one_language() -> None:
    texts = Texts({"greet": {"en": "Welcome, {name}!"}}, SMALL)
    assert texts.render("en", "greet", {"name": "Ada"}) == "Welcome, Ada!"
    assert texts.render("zh-CN", "greet", {"name": "Ada"}) == "您好，Ada。"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_replacement_affects_its_language_only(language: str) -> None:
    texts = Texts({"rating.thanks": {language: "Ta!"}})
    for other in LANGUAGES:
        expected = "Ta!" if other == language else CATALOGUE["rating.thanks"][other]
        expected = expected.replace("{rating}", "5")
        assert texts.render(other, "rating.thanks", {"rating": "5"}) == expected


def test_a_replacement_may_leave_placeholders_out() -> None:
    assert Texts({"greet": {"en": "Hi."}}, SMALL).render("en", "greet", {"name": "Ada"}) == "Hi."


@pytest.mark.parametrize(
    ("override", "language", "said"),
    [
        ({"x.y": {"en": "x"}}, "", "no sentence has this key; `example-config --texts` lists all"),
        ({"gret": {"en": "x"}}, "", 'no sentence has this key; the nearest is "greet"'),
        ({"bye": {"fr": "x"}}, "fr", "must be one of zh-CN, zh-TW, en, ja"),
        ({"bye": {"en": "  "}}, "en", "must not be empty"),
        ({"bye": {"en": "x" * 2_001}}, "en", "must have at most 2000 characters, none of them NUL"),
        ({"bye": {"en": "a\0b"}}, "en", "must have at most 2000 characters, none of them NUL"),
        ({"bye": {"en": "{"}}, "en", "has braces that are not a placeholder"),
        ({"bye": {"en": "{0}"}}, "en", "has braces that are not a placeholder"),
        ({"greet": {"en": "{name.__class__}"}}, "en", "has braces that are not a placeholder"),
        ({"greet": {"en": "{name!r}"}}, "en", "has braces that are not a placeholder"),
        ({"greet": {"en": "{who}"}}, "en", "has the unknown placeholder {who}; it may use: {name}"),
        ({"bye": {"en": "{who}"}}, "en", "has the unknown placeholder {who}; it may use: none"),
    ],
)
def test_an_invalid_replacement_is_reported(
    override: dict[str, dict[str, str]], language: str, said: str
) -> None:
    (bad,) = check_overrides(override, SMALL)
    assert bad == BadOverride(next(iter(override)), language, said)


def test_all_invalid_replacements_are_found() -> None:
    overrides = {"bye": {"fr": "x", "en": ""}, "no": {"en": "x"}, "greet": {"en": "{name}"}}
    assert [bad.key for bad in check_overrides(overrides, SMALL)] == ["bye", "bye", "no"]


def test_the_shipped_catalogue_is_the_default_and_cannot_be_changed() -> None:
    assert DEFAULT_LANGUAGE in LANGUAGES
    assert Texts().render("en", "usage.logout", {"command": "!"}) == (
        "! — no longer under that account"
    )
    with pytest.raises(TypeError):
        CATALOGUE["x"] = {}  # type: ignore[index]  # that is what is tested
    with pytest.raises(TypeError):
        CATALOGUE["result.1"]["en"] = "x"  # type: ignore[index]  # that is what is tested
