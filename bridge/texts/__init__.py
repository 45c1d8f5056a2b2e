"""Every sentence that a person in a room or at a desk can see, by key, in our four languages. Pure.

They are data: a TOML file for each language, all with the same keys in the same order (`en.toml`
has the comments). Operators replace single ones in config.yaml under `texts`; a replacement may use
the placeholders of the original and no others, so that rendering cannot fail on their words.
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
    """The names in braces; ValueError if the braces do not match, or hold more than a name."""
    try:
        parts = list(string.Formatter().parse(sentence))
    except ValueError as error:
        raise ValueError(f"has unbalanced braces: {error}") from error
    for _, name, spec, conversion in parts:
        if name is not None and (spec or conversion or not name.isidentifier()):
            raise ValueError("may hold only plain placeholders such as {name}")
    return frozenset(name for _, name, _, _ in parts if name is not None)


def shipped(language: str) -> dict[str, str]:
    """Key -> sentence, as the data file of a language has them."""
    return dict(_flat(data(language)))


def _flat(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """The keys of a table and of those in it, as one word each ("robot.alone.-3")."""
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
"""What people say that means one thing by itself, by kind."""


class BadOverride(ValueError):
    """An operator's sentence that cannot be used; `language` is "" if the key itself is wrong."""

    def __init__(self, key: str, language: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.language = language


def check_overrides(
    overrides: Catalogue, catalogue: Catalogue = CATALOGUE
) -> Iterator[BadOverride]:
    for key, sentences in overrides.items():
        if key not in catalogue:
            near = difflib.get_close_matches(key, catalogue, n=1, cutoff=0.0)
            yield BadOverride(key, "", f'no sentence has this key; the nearest is "{near[0]}"')
            continue
        allowed = frozenset().union(*map(placeholders, catalogue[key].values()))
        for language, text in sentences.items():
            if wrong := _wrong(language, text, allowed):
                yield BadOverride(key, language, wrong)


def _wrong(language: str, text: str, allowed: frozenset[str]) -> str:
    """Why a replacement cannot be used; empty if it can."""
    if language not in LANGUAGES:
        return f"must be one of {', '.join(LANGUAGES)}"
    if not text.strip():
        return "must not be empty"
    try:
        unknown = placeholders(text) - allowed
    except ValueError:
        return "has braces that are no placeholder"
    if not unknown:
        return ""
    names = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "none"
    return f"does not know {{{min(unknown)}}}; it may use: {names}"


class Texts:
    def __init__(
        self, overrides: Catalogue = MappingProxyType({}), catalogue: Catalogue = CATALOGUE
    ) -> None:
        """Take the operator's replacements; raises the first `BadOverride`."""
        for bad in check_overrides(overrides, catalogue):
            raise bad
        self._sentences = {
            key: {**sentence, **overrides.get(key, {})} for key, sentence in catalogue.items()
        }

    def render(self, language: str, key: str, args: Mapping[str, Value]) -> str:
        """A sentence with its placeholders filled in; several values are listed.

        Values are put in as they are: braces in a customer's name do nothing. A `count` of one has
        a sentence of its own where there is one ("…_one"). A KeyError (key, language, argument) is
        our own mistake.
        """
        if args.get("count") == 1 and f"{key}_one" in self._sentences:
            key = f"{key}_one"
        shown = {
            name: listed(language, value) if isinstance(value, tuple) else value
            for name, value in args.items()
        }
        return self._sentences[key][language].format_map(shown)
