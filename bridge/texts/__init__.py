"""Every sentence that a person in a room or at a desk can see, by key, in our four languages. Pure.

They are data: a TOML file for each language, all with the same keys in the same order (`en.toml`
has the comments). A test finds a key that one of them lacks, and one that nobody says any more.

Operators replace single ones in config.yaml under `texts`; a replacement may use the placeholders
of the original and no others, so that rendering cannot fail on an operator's word.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from bridge.texts.catalogue import Catalogue, placeholders, shipped
from bridge.texts.languages import DEFAULT_LANGUAGE, LANGUAGES, listed

__all__ = ["CATALOGUE", "DEFAULT_LANGUAGE", "LANGUAGES", "BadOverride", "Texts", "check_overrides"]

CATALOGUE: Catalogue = shipped(LANGUAGES)

Overrides = Mapping[str, Mapping[str, str]]
"""Key -> language -> sentence."""
Value = str | int | tuple[str, ...]


class BadOverride(ValueError):
    """An operator's sentence that cannot be used; `language` is "" if the key itself is wrong."""

    def __init__(self, key: str, language: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.language = language


def check_overrides(
    overrides: Overrides, catalogue: Catalogue = CATALOGUE
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
        self, overrides: Overrides = MappingProxyType({}), catalogue: Catalogue = CATALOGUE
    ) -> None:
        """Take the operator's replacements; raises the first `BadOverride`."""
        for bad in check_overrides(overrides, catalogue):
            raise bad
        self._sentences = {
            key: {**sentence, **overrides.get(key, {})} for key, sentence in catalogue.items()
        }

    def render(self, language: str, key: str, args: Mapping[str, Value]) -> str:
        """A sentence with its placeholders filled in; several values are listed.

        Values are put in as they are: braces in a customer's name do nothing. A KeyError (key,
        language, argument) is our own mistake.
        """
        shown = {
            name: listed(language, value) if isinstance(value, tuple) else value
            for name, value in args.items()
        }
        return self._sentences[key][language].format_map(shown)
