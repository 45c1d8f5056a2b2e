"""How sentences are written down: plain dictionaries, key -> language -> sentence. Pure."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from types import MappingProxyType

Sentence = Mapping[str, str]
"""Language -> sentence, with placeholders `{name}`."""
Catalogue = Mapping[str, Sentence]


def placeholders(sentence: str) -> frozenset[str]:
    """The names in braces.

    Raises:
        ValueError: the braces do not match, or hold more than a name.
    """
    names = set()
    for _, name, spec, conversion in string.Formatter().parse(sentence):
        if name is None:
            continue
        if spec or conversion or not name.isidentifier():
            raise ValueError(f"not a plain placeholder: {{{name}}}")
        names.add(name)
    return frozenset(names)


def merge(catalogues: Iterable[Catalogue]) -> Catalogue:
    """One read-only catalogue of several.

    Raises:
        ValueError: two of them hold the same key.
    """
    merged: dict[str, Sentence] = {}
    for catalogue in catalogues:
        for key, sentence in catalogue.items():
            if key in merged:
                raise ValueError(f"two sentences have the key {key}")
            merged[key] = MappingProxyType(dict(sentence))
    return MappingProxyType(merged)
