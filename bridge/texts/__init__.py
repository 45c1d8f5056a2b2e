"""Catalogue of all sentences that customers and agents can see, in four languages. Pure.

Each language has a TOML file with the same keys in the same order (`en.toml` has the comments).
Operators override single sentences in config.yaml under `texts`, with no other placeholders than
the original's, so that rendering cannot fail.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from bridge.texts.languages import DEFAULT_LANGUAGE, LANGUAGES, data, listed

__all__ = ["CATALOGUE", "DEFAULT_LANGUAGE", "LANGUAGES", "BadOverride", "Texts", "check_overrides"]

Sentence = Mapping[str, str]
"""Language -> sentence, with placeholders `{name}`."""
Catalogue = Mapping[str, Sentence]
"""Key -> language -> sentence."""
Value = str | int | tuple[str, ...]


def placeholders(sentence: str) -> frozenset[str]:
    """Return the names in braces; ValueError if braces do not match, or hold more than a name."""
    try:
        parts = list(string.Formatter().parse(sentence))
    except ValueError as error:
        raise ValueError(f"has unbalanced braces: {error}") from error
    for _, name, spec, conversion in parts:
        if name is not None and (spec or conversion or not name.isidentifier()):
            raise ValueError("may hold only plain placeholders such as {name}")
    return frozenset(name for _, name, _, _ in parts if name is not None)


def shipped(language: str) -> dict[str, str]:
    """Read a language's data file as key -> sentence."""
    return dict(_flat(data(language)))


def _flat(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Flatten nested tables to dotted keys ("robot.alone.-3")."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, str(value)


_SHIPPED = {language: shipped(language) for language in LANGUAGES}
CATALOGUE: Catalogue = MappingProxyType(
    {
        key: MappingProxyType({language: said[key] for language, said in _SHIPPED.items()})
        for key in _SHIPPED[DEFAULT_LANGUAGE]
    }
)


WORDS: Mapping[str, Sequence[str]] = data("words")
"""Kind -> phrases with one fixed meaning as a whole message, such as thanks."""


class BadOverride(ValueError):
    """An invalid override of a sentence; `language` is "" if the key itself is wrong."""

    def __init__(self, key: str, language: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.language = language


def check_overrides(
    overrides: Catalogue, catalogue: Catalogue = CATALOGUE
) -> Iterator[BadOverride]:
    for key, sentences in overrides.items():
        if key not in catalogue:
            near = difflib.get_close_matches(key, catalogue, n=1)
            hint = f'the nearest is "{near[0]}"' if near else "`example-config --texts` lists all"
            yield BadOverride(key, "", f"no sentence has this key; {hint}")
            continue
        allowed = frozenset().union(*map(placeholders, catalogue[key].values()))
        for language, text in sentences.items():
            if wrong := _wrong(language, text, allowed):
                yield BadOverride(key, language, wrong)


def _wrong(language: str, text: str, allowed: frozenset[str]) -> str:
    """Return why an override is invalid; empty if it is valid."""
    if language not in LANGUAGES:
        return f"must be one of {', '.join(LANGUAGES)}"
    if not text.strip():
        return "must not be empty"
    try:
        unknown = placeholders(text) - allowed
    except ValueError:
        return "has braces that are not a placeholder"
    if not unknown:
        return ""
    names = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "none"
    return f"has the unknown placeholder {{{min(unknown)}}}; it may use: {names}"


class Texts:
    def __init__(
        self, overrides: Catalogue = MappingProxyType({}), catalogue: Catalogue = CATALOGUE
    ) -> None:
        """Apply the operator's overrides; raises the first `BadOverride`."""
        for bad in check_overrides(overrides, catalogue):
            raise bad
        self._sentences = {
            key: {**sentence, **overrides.get(key, {})} for key, sentence in catalogue.items()
        }

    def render(self, language: str, key: str, args: Mapping[str, Value]) -> str:
        """Return a sentence with its placeholders filled in; a tuple becomes a list of values.

        Values are inserted verbatim: braces in a customer's name do nothing. For a `count` of one,
        the key "…_one" is used if it exists. A KeyError (key, language, argument) is a bug.
        """
        if args.get("count") == 1 and f"{key}_one" in self._sentences:
            key = f"{key}_one"
        shown = {
            name: listed(language, value) if isinstance(value, tuple) else value
            for name, value in args.items()
        }
        return self._sentences[key][language].format_map(shown)
