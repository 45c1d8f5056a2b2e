"""Live reload: the keys that can change while the bridge runs, and the diff of two configs. Pure.

Keys that affect the service of rooms can change. Addresses, tokens, names of users and the database
cannot: others know them, or running parts were built with them. A key that is not in LIVE needs a
restart, so a new key is safe by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, SecretStr

from bridge.config.document import KeyPath, render_path
from bridge.config.model import SHORT_FORM, Config, Enterprise

_LIVE_SERVER = """
    source brand tracks map long_voices videos emoji_mode escape_outgoing jsonlib_guard
    show_comments robot.enabled robot.mode robot.km_base_url
"""
_LIVE_ANYWAY = """
    retention logging.level bridge.encryption.default bridge.encryption.require
    bridge.message_status_events
"""
_LIVE_PART = """
    queues default_queue rating texts bridge.command_prefix bridge.permissions bridge.language
    bridge.timezone bridge.start bridge.callback bridge.tell_agents bridge.limits
"""
_QUEUES = frozenset({"queues", "default_queue"})


def _paths(keys: str, *above: str | int) -> frozenset[KeyPath]:
    return frozenset((*above, *key.split(".")) for key in keys.split())


LIVE_ANYWAY = _paths(_LIVE_ANYWAY)
LIVE: frozenset[KeyPath] = LIVE_ANYWAY | _paths(_LIVE_PART) | _paths(_LIVE_SERVER, "webchat", 0)
"""Paths, in attribute names, of keys that SIGHUP applies, with all keys below them."""
LONGEST_SHOWN = 80


def compare(old: Config, new: Config) -> dict[str, bool]:
    """Return each changed key as `path: old -> new` (secrets hidden), and whether it is live."""
    before, after, live = dict(leaves(old)), dict(leaves(new)), _live(old, new)
    changes = {}
    follows = _OF_PARTS if _ids(old) != _ids(new) else frozenset()
    if follows:
        changes[f"enterprises: {_shown(_ids(old))} -> {_shown(_ids(new))}"] = False
    for path in dict.fromkeys((*before, *after)):
        was, becomes = before.get(path), after.get(path)
        if was != becomes and path[0] not in follows:
            line = f"{render_path(_as_written(path))}: {_shown(was)} -> {_shown(becomes)}"
            changes[line] = any(path[:length] in live for length in range(1, len(path) + 1))
    return changes


_OF_PARTS = frozenset({"enterprises", *SHORT_FORM})


def _ids(config: Config) -> tuple[str, ...]:
    return tuple(one.id for one in config.enterprises)


def take_over(old: Config, new: Config) -> Config:
    """Return the running configuration with the live keys of the new one."""
    taken = old
    for path in _live(old, new):
        taken = cast(Config, _replaced(taken, new, path))
    return taken


def _replaced(old: Any, new: Any, path: KeyPath) -> object:
    """Return a copy of a section or tuple of sections with the value at `path` from `new`."""
    if not path:
        return new
    name, *below = path
    if isinstance(name, int):
        return (*old[:name], _replaced(old[name], new[name], tuple(below)), *old[name + 1 :])
    part = _replaced(getattr(old, name), getattr(new, name), tuple(below))
    return old.model_copy(update={name: part})


def _live(old: Config, new: Config) -> frozenset[KeyPath]:
    """Return the live paths: without queues if one was added or removed (each has a Matrix user).

    If call centres were added, removed or reordered, only keys outside of them are live.
    """

    def same(one: Config | Enterprise, other: Config | Enterprise) -> bool:
        return {queue.id for queue in one.queues} == {queue.id for queue in other.queues}

    if _ids(old) != _ids(new):
        return LIVE_ANYWAY
    live = LIVE if same(old, new) else LIVE - {(key,) for key in _QUEUES}
    for index, (one, other) in enumerate(zip(old.enterprises, new.enterprises, strict=True)):
        here = ("enterprises", index)
        own = _paths(_LIVE_PART, *here) | _paths(_LIVE_SERVER, *here, "webchat")
        live |= own if same(one, other) else own - {(*here, key) for key in _QUEUES}
    # The short form's server is absent; entries already contain what they inherit (`resolved`).
    return live - _paths(_LIVE_SERVER, "webchat", 0) if old.enterprises else live


def leaves(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Yield every leaf value with its path in attribute names."""
    if isinstance(value, BaseModel | Mapping):
        parts = dict(value)
    elif isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value):
        parts = dict(enumerate(value))
    else:
        yield path, value
        return
    for name, inner in parts.items():
        yield from leaves(inner, (*path, name))


def _as_written(path: KeyPath) -> KeyPath:
    """Return a path as in config.yaml: `from` for `source`, the server as a single mapping."""
    renamed = tuple("from" if part == "source" else part for part in path)
    return ("webchat", *renamed[2:]) if renamed[:2] == ("webchat", 0) else renamed


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
