"""Tree of known keys, from the model: for suggestions, example and JSON Schema."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.config.document import KeyPath, render_path
from bridge.config.model import SHORT_FORM, Config

Shape = Enum("Shape", "SECTION SECTIONS MAPPING LIST VALUE")
"""Kind of a key's value: section, list of sections, free-form keys, list of values, one value."""
MOST_PLACES = 3
"""Maximum number of places that are suggested for a key, such as `enabled`."""


@dataclass(frozen=True)
class Key:
    name: str
    info: FieldInfo
    shape: Shape
    model: type[BaseModel] | None
    """Model of a SECTION, of an entry of SECTIONS, or of a MAPPING's values; else None."""


@cache
def keys_of(model: type[BaseModel]) -> dict[str, Key]:
    keys = {}
    for attribute, info in model.model_fields.items():
        origin, arguments = get_origin(info.annotation), get_args(info.annotation)
        inner, shapes = info.annotation, (Shape.SECTION, Shape.VALUE)
        if origin is dict:
            inner, shapes = arguments[-1], (Shape.MAPPING, Shape.MAPPING)
        elif origin is tuple:
            inner, shapes = arguments[0], (Shape.SECTIONS, Shape.LIST)
        held = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
        name = info.alias or attribute
        keys[name] = Key(name, info, shapes[held is None], held)
    return keys


def section_at(path: KeyPath) -> type[BaseModel] | None:
    """Return the section at `path` of the file; None if there is none."""
    model: type[BaseModel] = Config
    rest = list(path)
    while rest:
        key = keys_of(model).get(str(rest.pop(0)))
        if key is None or key.model is None or (key.shape is Shape.MAPPING and not rest):
            return None
        # Skip the part that selects an entry: a free-form key or a list position.
        if key.shape is Shape.MAPPING or (rest and isinstance(rest[0], int)):
            rest.pop(0)
        model = key.model
    return model


def known_paths(
    model: type[BaseModel] = Config, above: KeyPath = (), *, entry: KeyPath = ()
) -> dict[KeyPath, Key]:
    """Return every key by path; `entry` is the position in a list of sections, if it has one."""
    found = {}
    for key in keys_of(model).values():
        path = (*above, key.name)
        found[path] = key
        if key.model is not None and key.shape is not Shape.MAPPING:
            within = (*path, *entry) if key.shape is Shape.SECTIONS else path
            found |= known_paths(key.model, within, entry=entry)
    return found


def advice(path: KeyPath) -> str:
    """Return the error message for an unknown key, suggesting a known one.

    A key in the wrong section is likelier than a misspelt one that has the name of another.
    """
    name = str(path[-1])
    section = section_at(path[:-1])
    siblings = list(keys_of(section)) if section is not None else []
    named = (one for one in known_paths() if one[-1] == name and "enterprises" not in one[:-1])
    elsewhere = [render_path(one) for one in named]
    misplaced = 0 < len(elsewhere) <= MOST_PLACES
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.9 if misplaced else 0.6)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    if misplaced:
        return f"unknown key here; it belongs at {' or '.join(elsewhere)}"
    if not siblings:
        return "unknown key"
    return f"unknown key (known here: {', '.join(siblings)})"


# --- config.example.yaml and its JSON Schema -----------------------------------------------------


def example_config() -> str:
    """Return config.example.yaml as text; `tests.support.example_config` generates it."""
    return (resources.files("bridge.config") / "example.yaml").read_text("utf-8")


def json_schema() -> str:
    """Return the JSON Schema of config.yaml, for editors."""
    schema = Config.model_json_schema(mode="validation")
    server = {"$ref": "#/$defs/WebChat"}
    schema["properties"]["webchat"] = {
        "description": schema["$defs"]["WebChat"]["description"],
        "anyOf": [server, {"type": "array", "items": server, "minItems": 1}],
    }
    schema["oneOf"] = [{"required": [*SHORT_FORM, "bridge"]}, {"required": ["enterprises"]}]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "config.yaml of matrix-webchat"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
