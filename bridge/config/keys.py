"""The tree of known keys, read off the model: for the environment, suggestions, the example."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.config.fields import ONE_OR_MANY
from bridge.config.model import Config
from bridge.config.problems import KeyPath, render_path


class Shape(Enum):
    """What stands under a key."""

    SECTION = "section"
    """Keys of a model."""
    SECTIONS = "sections"
    """A list of those."""
    MAPPING = "mapping"
    """Keys that the operator invents."""
    LIST = "list"
    VALUE = "value"


@dataclass(frozen=True)
class Key:
    name: str
    """As it is written in the file."""
    info: FieldInfo
    shape: Shape
    model: type[BaseModel] | None = None
    """Of SECTION, SECTIONS and of a MAPPING's values, if those are sections."""

    @property
    def single(self) -> bool:
        """True if one mapping may stand for the list."""
        return ONE_OR_MANY in self.info.metadata


@cache
def keys_of(model: type[BaseModel]) -> dict[str, Key]:
    """The keys of a section, in the order of the model."""
    return {
        info.alias or name: _key(info.alias or name, info)
        for name, info in model.model_fields.items()
    }


def _key(name: str, info: FieldInfo) -> Key:
    annotation = info.annotation
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is dict:
        return Key(name, info, Shape.MAPPING, _as_model(arguments[1]))
    if origin is tuple:
        model = _as_model(arguments[0])
        return Key(name, info, Shape.SECTIONS if model else Shape.LIST, model)
    model = _as_model(annotation)
    return Key(name, info, Shape.SECTION if model else Shape.VALUE, model)


def _as_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def section_at(path: KeyPath) -> type[BaseModel] | None:
    """The section whose keys stand at `path` of the file, or None."""
    model: type[BaseModel] = Config
    rest = list(path)
    while rest:
        part = rest.pop(0)
        key = keys_of(model).get(str(part))
        if key is None or key.model is None:
            return None
        # The next part names one of several: a key that the operator invented, or a position.
        if key.shape is Shape.MAPPING:
            if not rest:
                return None
            rest.pop(0)
        elif key.shape is Shape.SECTIONS and rest and isinstance(rest[0], int):
            rest.pop(0)
        model = key.model
    return model


def known_paths(model: type[BaseModel] = Config, above: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key of the file; lists of sections are written without a position."""
    for key in keys_of(model).values():
        path = (*above, key.name)
        yield path
        if key.model is not None and key.shape is not Shape.MAPPING:
            yield from known_paths(key.model, path)


def advice(path: KeyPath) -> str:
    """What to write instead of an unknown key, as a whole sentence."""
    name = str(path[-1])
    section = section_at(path[:-1])
    siblings = list(keys_of(section)) if section is not None else []
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    elsewhere = [render_path(known) for known in known_paths() if known[-1] == name]
    if elsewhere:
        return f"unknown key here; it belongs at {elsewhere[0]}"
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.0)
    known_here = ", ".join(siblings)
    if near:
        return f'unknown key; the nearest is "{near[0]}" (known here: {known_here})'
    return f"unknown key (known here: {known_here})" if siblings else "unknown key"
