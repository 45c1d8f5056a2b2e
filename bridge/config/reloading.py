"""Live reload: the keys that can change while the bridge runs, and the diff of two configs. Pure.

Keys that affect the service of rooms can change. Addresses, tokens, names of users and the database
cannot: others know them, or running parts were built with them. A key that the model does not mark
with `Live` or `AlwaysLive` needs a restart, so a new key is safe by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr

from bridge.config.document import KeyPath, render_path
from bridge.config.fields import Reload, Section
from bridge.config.model import SHORT_FORM, Config

LONGEST_SHOWN = 80
_OF_PARTS = frozenset({"enterprises", *SHORT_FORM})
T = TypeVar("T", bound=Section)


def compare(old: Config, new: Config) -> dict[str, bool]:
    """Return each changed key as `path: old -> new` (secrets hidden), and whether it is live."""
    before, after, taken = (dict(leaves(one)) for one in (old, new, take_over(old, new)))
    changes = {}
    follows = _OF_PARTS if _ids(old) != _ids(new) else frozenset()
    if follows:
        changes[f"enterprises: {_shown(_ids(old))} -> {_shown(_ids(new))}"] = False
    for path in dict.fromkeys((*before, *after)):
        was, becomes = before.get(path), after.get(path)
        if was != becomes and path[0] not in follows:
            line = f"{render_path(path)}: {_shown(was)} -> {_shown(becomes)}"
            changes[line] = taken.get(path) == becomes
    return changes


def _ids(config: Config) -> tuple[str, ...]:
    return tuple(one.id for one in config.enterprises)


def take_over(old: Config, new: Config) -> Config:
    """Return the running configuration with the live keys of the new one.

    If call centres were added, removed or reordered, only `AlwaysLive` keys are live. Queues are
    not if one was added or removed, because each has a Matrix user.
    """
    if _ids(old) != _ids(new):
        return _taken(old, new, {Reload.ALWAYS})
    live = set(Reload)
    parts = (_taken(*both, live) for both in zip(old.enterprises, new.enterprises, strict=True))
    return _taken(old, new, live).model_copy(update={"enterprises": tuple(parts)})


def _taken(old: T, new: T, live: set[Reload]) -> T:
    """Return `old` with the keys of `new` that are marked so in the model."""
    changed: dict[str, object] = {}
    for name, info in type(old).model_fields.items():
        was, becomes = getattr(old, name), getattr(new, name)
        if any(mark in info.metadata for mark in live):
            changed[name] = becomes
        elif isinstance(was, Section):
            changed[name] = _taken(was, becomes, live)
    if "queues" in changed and _queues(old) != _queues(new):
        del changed["queues"], changed["default_queue"]
    return old.model_copy(update=changed)


def _queues(section: Any) -> set[int]:
    return {queue.id for queue in section.queues}


def leaves(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Yield every leaf value with its path in config.yaml."""
    parts: dict[Any, object]
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        parts = {fields[name].alias or name: inner for name, inner in value}
    elif isinstance(value, Mapping):
        parts = dict(value)
    elif isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value):
        parts = dict(enumerate(value))
    else:
        yield path, value
        return
    for name, inner in parts.items():
        yield from leaves(inner, (*path, name))


def _shown(value: object) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, Sequence) and not isinstance(value, str):
        text = "[" + ", ".join(str(one) for one in value) + "]"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value) or '""'
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
