"""The sentences as data files hold them, and as the program does: key -> language -> sentence."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from types import MappingProxyType

Sentence = Mapping[str, str]
"""Language -> sentence, with placeholders `{name}`."""
Catalogue = Mapping[str, Sentence]


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


def shipped(languages: Sequence[str]) -> Catalogue:
    """The sentences of the data files, one a language, in that order."""
    folder = resources.files("bridge.texts")
    files = {
        language: dict(_flat(tomllib.loads((folder / f"{language}.toml").read_text("utf-8"))))
        for language in languages
    }
    return aligned(files)


def aligned(files: Mapping[str, Mapping[str, str]]) -> Catalogue:
    """Language -> key -> sentence, turned round; ValueError if they differ in keys or order."""
    first, *others = files
    for language in others:
        for key in files[first].keys() ^ files[language].keys():
            raise ValueError(f"{key} is not in both {first}.toml and {language}.toml")
        if tuple(files[language]) != tuple(files[first]):
            raise ValueError(f"{first}.toml and {language}.toml have another order")
    return MappingProxyType(
        {
            key: MappingProxyType({language: said[key] for language, said in files.items()})
            for key in files[first]
        }
    )


def _flat(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """The keys of a table and of those in it, as one word each ("robot.alone.-3")."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, str(value)
