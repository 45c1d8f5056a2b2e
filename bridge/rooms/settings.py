"""Checking what room admins configure, by command and by state event."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches

import msgspec

from bridge.conversation.events import Args
from bridge.rooms.record import RoomSettings
from bridge.rooms.rules import SOURCES, STARTS, Rules
from bridge.texts.languages import LANGUAGES, nearest


class BadSetting(Exception):
    """One value cannot be used; `key` and `values` are of the texts."""

    def __init__(self, key: str, args: Args) -> None:
        super().__init__(key)
        self.key = key
        self.values = args


def set_queue(settings: RoomSettings, value: object, rules: Rules) -> RoomSettings:
    """Choose the queue by id, name or alias."""
    queue = None
    if isinstance(value, int | str) and not isinstance(value, bool):
        queue = rules.find_queue(str(value))
    if queue is None:
        known = tuple(f"{queue.id} {queue.name}" for queue in rules.queues)
        raise BadSetting("config.bad_queue", {"value": shown(value), "known": known})
    return msgspec.structs.replace(settings, queue=queue.id)


def set_source(settings: RoomSettings, value: object, rules: Rules) -> RoomSettings:
    """Choose the customer's picture at the desk (guide 2, `from`)."""
    del rules
    return msgspec.structs.replace(settings, source=_one_of("from", value, SOURCES))


def set_language(settings: RoomSettings, value: object, rules: Rules) -> RoomSettings:
    """Choose the language of our own sentences, by any name that people give it."""
    del rules
    meant = nearest(value) if isinstance(value, str) else None
    language = _one_of("language", meant or value, LANGUAGES)
    return msgspec.structs.replace(settings, language=language)


def set_start(settings: RoomSettings, value: object, rules: Rules) -> RoomSettings:
    """Choose whether a word asks for a chat, or only the command `start`."""
    del rules
    return msgspec.structs.replace(settings, start=_one_of("start", value, STARTS))


def set_paused(settings: RoomSettings, value: object, rules: Rules) -> RoomSettings:
    """Stop or resume serving the room."""
    del rules
    if not isinstance(value, bool):
        raise BadSetting(
            "config.bad_value", {"key": "paused", "value": shown(value), "known": ("true", "false")}
        )
    return msgspec.structs.replace(settings, paused=value)


Setter = Callable[[RoomSettings, object, Rules], RoomSettings]


def setters() -> Mapping[str, Setter]:
    """The keys of the state event `org.matrix_webchat.room`, each with its check."""
    return {
        "queue": set_queue,
        "from": set_source,
        "language": set_language,
        "start": set_start,
        "paused": set_paused,
    }


def settings_of_event(content: Mapping[str, object], rules: Rules) -> RoomSettings:
    """The settings that a state event declares; what it does not name is as in the config.

    Raises:
        BadSetting: for the first value that cannot be used. Nothing of the event counts then.
    """
    settings = RoomSettings()
    for key, value in content.items():
        settings = _setter(key)(settings, value, rules)
    return settings


def set_by_name(key: str, settings: RoomSettings, value: str, rules: Rules) -> RoomSettings:
    """Change one setting by the name of its key, as the command `config set` does.

    Raises:
        BadSetting: no such key, or its value cannot be used.
    """
    setter = _setter(key)
    truth = {"true": True, "false": False}.get(value.strip().casefold())
    return setter(settings, value if setter is not set_paused or truth is None else truth, rules)


def _setter(key: str) -> Setter:
    known = setters()
    if key not in known:
        near = get_close_matches(key, known, 1)
        raise BadSetting("config.bad_key", {"key": shown(key), "known": tuple(near or known)})
    return known[key]


def _one_of(key: str, value: object, known: tuple[str, ...]) -> str:
    for choice in known:
        if isinstance(value, str) and value.strip().casefold() == choice.casefold():
            return choice
    raise BadSetting("config.bad_value", {"key": key, "value": shown(value), "known": known})


def shown(value: object) -> str:
    """A foreign value, as it stands in the state event and short enough for a sentence."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
