"""The operator's configuration as the rooms see it, and the settings of a single room. Pure.

`Rules` is built from the config and never changes. A reload of the configuration replaces it as a
whole (`surroundings`), so a step is decided by one set of rules from beginning to end.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import lru_cache
from itertools import dropwhile

import msgspec
from msgspec.structs import replace

from bridge.config.hours import parse_hours
from bridge.config.model import Encryption, Limits, Permission, Queue, RatingOption, TellAgents
from bridge.conversation.model import Args
from bridge.conversation.policy import Policy
from bridge.ids import QueueId, RoomId, UserId
from bridge.rooms.record import RoomRecord, RoomSettings
from bridge.texts import DEFAULT_LANGUAGE, Texts, placeholders
from bridge.texts.languages import LANGUAGES, nearest
from bridge.webchat.codes import Source

TEXTS: Mapping[str, tuple[str, ...]] = {
    "greeting": ("room.welcome", "room.welcome_shared", "room.welcome_command", "robot.welcome"),
    "closed": ("status.6", "result.-3", "queue.closed"),
    "nobody": ("status.5", "result.-5"),
    "ended": ("chat.ended", "chat.ended_command"),
}
"""Sentences that a room may have its own of, and the keys in whose place each stands.

One for a language is named so: `greeting.en`; it goes before the one for all."""
_OWN = {key: name for name, keys in TEXTS.items() for key in keys}
IN_TEXTS = frozenset({"queue", "prefix"})
"""Placeholders that they may use."""
KEYS = ("queue", "from", "language", "start", "paused", "hours", "texts")
"""Those of the state event `org.matrix_webchat.room`."""
BY_COMMAND = (*KEYS[:-1], *(f"text.{name}" for name in TEXTS))
"""The same for commands, which change one sentence at a time."""
ENTERPRISE = "enterprise"
"""A further one, where several call centres share a bot."""
LONGEST_SENTENCE, LONGEST_HOURS = 500, 300
"""Characters of a room's own."""
LONGEST_TEXTS = 3_600
"""Of all its sentences: the record has them, and a reset can be undone (`visit.LONGEST_UNDONE`)."""
SOURCES = tuple(source.value for source in Source)
STARTS = ("on_message", "on_command")
"""When a chat is asked for."""
WAYS = frozenset({"command", "state", "console", "api", "cli", "widget"})
"""In which settings are changed, and orders come."""
GONE = "?"
"""Stands for every enterprise that is not configured any more: it serves nobody."""
LONGEST_WORD = 100
"""Characters of a word that may be a command."""
_PART = 500
"""Characters that are made narrow at a time."""
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the reading direction of what follows."""
_SKINS = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f]")
"""Colours of hands, and marks that choose between two pictures of the same sign."""
KNOWN = 4096
"""Entries of a cache: people's permissions, policies of rooms."""


class Rules(msgspec.Struct, frozen=True):
    """The operator's rules: see the config keys of the same names."""

    bot: UserId
    queues: tuple[Queue, ...]
    default_queue: QueueId
    permission: Callable[[str], Permission]
    queue_of_user: Callable[[UserId], QueueId | None]
    """The queue whose user this is, or None."""
    enterprise: str = ""
    """The id of the call centre whose rules these are; "": the only one."""
    choices: tuple[str, ...] = ()
    """Enterprises that share its bot, if there are several: a room that invited it can choose."""
    enterprises_of: Callable[[str], tuple[str, ...]] = lambda _: ()
    """Those for which a user of ours speaks, the first first."""
    rules_of: Callable[[str], Rules | None] = lambda _: None
    """The rules of another enterprise, as they are at the moment."""
    bot_name: str = "WebChat"
    prefix: str = "!wc"
    language: str = DEFAULT_LANGUAGE
    start: str = "on_message"
    source: str = "APP"
    limits: Limits = Limits()
    encryption: Encryption = Encryption()
    tell: TellAgents = TellAgents()
    status_events: bool = False
    """Clients are told by an event what became of each message."""
    policy: Policy = Policy()
    texts: Texts = Texts()
    ratings: tuple[RatingOption, ...] = ()
    """The best first; empty: one to five stars. A server's own list goes before."""
    robot: bool = False
    """The command `ask` reaches the knowledge base."""
    km_base_url: str = ""
    """Where the knowledge base's articles can be read; empty: no links."""
    seal: Callable[[RoomId, str], bytes] | None = None
    """Seals a password with the operator's secret; None: customers' own accounts are not taken."""
    login_key: Callable[[RoomId], str] | None = None
    """Makes a new room's `RoomRecord.key`, with the operator's secret; None: it has none."""
    panel_url: str = ""
    """Address of the room page, as a widget's; empty: there is none."""
    timezone: tzinfo | None = None
    """Of the people in the rooms; None: nobody has said, so times are told in UTC."""
    longest_text: Callable[[], int] | None = None
    """Bytes of text that fit into one frame at the moment; None: as `policy` says."""
    longest_clip: Callable[[], int] | None = None
    """The same for a voice, which no dialect writes twice."""
    long_voices: Callable[[], bool] = lambda: False
    """WebChat may take the address of a voice that does not fit into a frame."""

    _policies: dict[tuple[RoomSettings, UserId, int], Policy] = {}
    _prefix: str = ""
    """`prefix`, as `folded` has it."""

    def __post_init__(self) -> None:
        """Begin with new caches, in a changed copy as well: they belong to these very rules."""
        msgspec.structs.force_setattr(self, "permission", lru_cache(KNOWN)(self.permission))
        msgspec.structs.force_setattr(self, "_prefix", folded(self.prefix))
        msgspec.structs.force_setattr(self, "_policies", {})

    def of_room(self, settings: RoomSettings) -> Rules:
        """The rules of the enterprise that a room's admin has chosen, else these."""
        chosen = settings.enterprise
        return (chosen in self.choices and self.rules_of(chosen)) or self

    def begins_command(self, word: str) -> bool:
        """True if a word begins with the prefix, however it is written."""
        return folded(word).startswith(self._prefix)

    def queue(self, queue_id: int) -> Queue | None:
        return next((queue for queue in self.queues if queue.id == queue_id), None)

    def find_queue(self, text: str) -> Queue | None:
        """The queue of that id, name or alias; letter case, wide letters, end marks aside."""
        wanted = _unmarked(text)
        for queue in self.queues:
            known = (str(queue.id), queue.name, *queue.aliases)
            if wanted and wanted in map(_unmarked, known):
                return queue
        return None

    def hours_of(self, queue_id: int, settings: RoomSettings) -> str:
        """Opening hours of a queue, for a room that may have its own; empty if nobody said."""
        queue, own = self.queue(queue_id), settings.hours
        if own and readable_hours(own):
            return own
        return "" if queue is None else queue.hours

    def zone_of(self, queue_id: int, settings: RoomSettings) -> tzinfo | None:
        """Time zone of those hours."""
        hours = self.hours_of(queue_id, settings)
        return parse_hours(hours).zone if hours else None

    def queue_name(self, queue_id: int) -> str:
        """Name of the queue for people; its number if it is not configured."""
        queue = self.queue(queue_id)
        return queue.name if queue is not None else str(queue_id)

    def queue_for(self, record: RoomRecord) -> QueueId:
        """The room admin's choice, else the queue of the user who was invited, else the default.

        A choice counts for as long as there is such a queue in the configuration.
        """
        settings = record.settings
        theirs = settings.enterprise in {None, self.enterprise}
        if settings.queue is not None and theirs and self.queue(settings.queue) is not None:
            return settings.queue
        return self.queue_of_user(record.host) or self.default_queue

    def sentence(self, record: RoomRecord, key: str, args: Args) -> str:
        """A sentence to the room: its own where it has one, else of the texts.

        When a queue opens again is said in any case.
        """
        own, said = None, ""
        if record.settings.texts and key in _OWN:
            texts, language = dict(record.settings.texts), self.language_for(record)
            own = texts.get(f"{_OWN[key]}.{language}", texts.get(_OWN[key]))
        if own is not None:
            queue = args.get("queue", self.queue_name(self.queue_for(record)))
            said = own.format_map({"queue": queue, "prefix": self.prefix})
            if "opens" not in args:
                return said
        usual = self.texts.render(self.language_for(record), key, args)
        return f"{said} {usual}" if said else usual

    def way(self, record: RoomRecord, way: str) -> str:
        """One of `WAYS` as it is called in the room; another as it is."""
        language = self.language_for(record)
        return self.texts.render(language, f"way.{way}", {}) if way in WAYS else way

    def language_for(self, record: RoomRecord) -> str:
        """The room's: as somebody chose it, else by what its customers write, else the default."""
        return record.settings.language or record.language[1] or self.language

    def agents_language(self, settings: RoomSettings) -> str:
        """The language of the sentences that agents read about a room, whatever customers write."""
        chosen = settings.language or self.language
        return chosen if self.tell.language == "room" else self.tell.language

    def clip_bytes(self) -> int:
        """Bytes of a voice, as base64, that fit into one frame."""
        return self.policy.max_text_bytes if self.longest_clip is None else self.longest_clip()

    def policy_for(self, record: RoomRecord) -> Policy:
        """The machine's policy for this room; cached, as it is asked for with every step."""
        longest = self.policy.max_text_bytes if self.longest_text is None else self.longest_text()
        key = (record.settings, record.host, longest)
        policy = self._policies.get(key)
        if policy is None:
            if len(self._policies) >= KNOWN:
                self._policies.clear()
            policy = self._policies[key] = self._policy(record, longest)
        return policy

    def _policy(self, record: RoomRecord, longest: int) -> Policy:
        queue = self.queue(self.queue_for(record))
        source = record.settings.source or (queue.source if queue is not None else None)
        start, hours = record.settings.start or self.start, self.policy.hours
        if record.settings.hours and readable_hours(record.settings.hours):
            own = parse_hours(record.settings.hours)
            hours = dict.fromkeys((*(QueueId(one.id) for one in self.queues), *hours), own)
        return replace(
            self.policy,
            max_text_bytes=longest,
            queue_id=self.queue_for(record),
            source=source or self.source,
            to_agent=queue.to_agent if queue is not None else "",
            start_on_message=start == "on_message",
            paused=record.settings.paused,
            hours=hours,
        )


MARKS = ".。!！?？,，、:："
"""What may end a word, or part it from the next, and changes nothing of it."""


_RUN_OF_MARKS = re.compile(f"[{MARKS}]+")


def parted(words: list[str]) -> list[str]:
    """The words of a command without marks before it, and with a blank for the first behind it."""
    words = list(dropwhile(lambda word: not word.strip(MARKS), words))
    parts = _RUN_OF_MARKS.split(words[0].lstrip(MARKS), maxsplit=1) if words else []
    return [*filter(None, parts), *words[1:]]


def unended(words: list[str]) -> list[str]:
    """The words of a message; a lone one without the mark that ends it, if that says no more.

    "取消！" is "取消", but "help!" may be said to a person, and "取消？" asks one.
    """
    if len(words) != 1 or words[0][-1] not in MARKS or words[0][-1] in "?？":
        return words
    word = words[0].rstrip(MARKS)
    if not folded(word).isascii():
        return [word]
    return [words[0].removesuffix(".").removesuffix("。")]


def _unmarked(name: str) -> str:
    return folded(name.strip().rstrip(MARKS))


def folded(word: str) -> str:
    """A word as commands are compared: small letters, and none of an input method's wide ones.

    For a word of ours; never for a password, or what somebody else is to read. A long one, which is
    none of ours, stays as it is.
    """
    return narrow(word).casefold() if len(word) <= LONGEST_WORD else word


def narrow(text: str) -> str:
    """A text as it is compared: wide letters of an input method made narrow (NFKC).

    It is done in parts: the marks upon a letter are sorted, which takes time by the square of their
    number, and nobody's word has so many. Upon a letter that ends a part they stay as they came.
    """
    if text.isascii():
        return text
    parts = (text[at : at + _PART] for at in range(0, len(text), _PART))
    return "".join(unicodedata.normalize("NFKC", part) for part in parts)


def bare_sign(key: str) -> str:
    """A reaction as it is compared."""
    return _SKINS.sub("", key).strip()


def hides(rules: Rules, record: RoomRecord) -> bool:
    """True if agents' messages are hidden here: encryption is required, and the room has none."""
    return rules.encryption.require and not record.encrypted


# --- settings of a room ---------------------------------------------------------------------------


def of_gone(rules: Rules) -> Rules:
    """The rules of an enterprise that is gone, made of another's: nobody may do anything there."""
    return replace(rules, enterprise=GONE, permission=lambda _: Permission.NONE)


class BadOrder(Exception):
    """A setting's value, or an order, cannot be used; `key` and `values` are of the texts."""

    def __init__(self, key: str, args: Args) -> None:
        super().__init__(key)
        self.key = key
        self.values = args

    def sentence(self, rules: Rules, language: str = "en") -> str:
        return rules.texts.render(language, self.key, {"prefix": rules.prefix, **self.values})


def settings_of_event(content: Mapping[str, object], rules: Rules) -> RoomSettings:
    """The settings of a state event, else the config's; BadOrder: nothing of it counts."""
    settings = RoomSettings()
    known = KEYS if not rules.choices else (*KEYS, ENTERPRISE)
    # The enterprise first: its queues are others.
    for key in sorted(content, key=lambda one: one != ENTERPRISE):
        if key not in known:
            raise _bad_key(key, known)
        settings = _changed(settings, key, content[key], rules)
    return settings


def set_by_name(key: str, settings: RoomSettings, value: str, rules: Rules) -> RoomSettings:
    """Change one setting, as commands do; "": to what the operator's config says.

    Raises BadOrder: no such key, or no such value.
    """
    if not value:
        return unset(key, settings)
    truth = {"true": True, "false": False}.get(value.strip().casefold())
    return _changed(settings, key, value if key != "paused" or truth is None else truth, rules)


def set_together(wished: Mapping[str, str], settings: RoomSettings, rules: Rules) -> RoomSettings:
    """Change several, as one by one; the enterprise first: its queues are others.

    Sentences are all taken out before, for how long they may be together counts in the end.
    """
    for key in filter(text_named, wished):
        settings = unset(key, settings)
    for key in sorted(wished, key=lambda one: one != ENTERPRISE):
        settings = set_by_name(key, settings, wished[key], rules)
    return settings


def state_of(settings: RoomSettings) -> dict[str, object]:
    """The settings that somebody chose, as content of the state event `org.matrix_webchat.room`.

    All others are as the operator's config says.
    """
    chosen = {
        ENTERPRISE: settings.enterprise,
        "queue": settings.queue,
        "from": settings.source,
        "language": settings.language,
        "start": settings.start,
        "paused": settings.paused or None,
        "hours": settings.hours,
        "texts": dict(settings.texts) or None,
    }
    return {key: value for key, value in chosen.items() if value is not None}


def written(settings: RoomSettings) -> dict[str, str]:
    """The same, each as a text that `set_by_name` reads under its name."""
    content = state_of(settings)
    content.pop("texts", None)
    chosen = {key: "true" if value is True else str(value) for key, value in content.items()}
    return chosen | {f"text.{name}": sentence for name, sentence in settings.texts}


def bridge_state_of(rules: Rules, record: RoomRecord) -> tuple[str, dict[str, object]]:
    """State key and content of the room's `m.bridge` (MSC2346).

    The key is one a bridge, not one a queue as the proposal has it: a room has one customer, so
    that a new queue replaces the former one.
    """
    queue, enterprise = rules.queue_for(record), rules.enterprise
    network = {"network": {"id": enterprise, "displayname": enterprise}} if enterprise else {}
    content: dict[str, object] = network | {
        "bridgebot": record.host,
        "creator": record.customer,
        "protocol": {"id": "webchat", "displayname": "WebChat"},
        "channel": {"id": str(queue), "displayname": rules.queue_name(queue)},
    }
    return f"org.matrix_webchat://webchat/{rules.bot}", content


def unset(key: str, settings: RoomSettings) -> RoomSettings:
    """One setting as the operator's config has it. Raises BadOrder: there is no such key."""
    if (name := text_named(key)) is not None:
        return replace(settings, texts=tuple(one for one in settings.texts if one[0] != name))
    if key not in (*KEYS[:-1], ENTERPRISE):
        raise _bad_key(key)
    field = "source" if key == "from" else key
    return replace(settings, **{field: getattr(RoomSettings(), field)})


def text_named(key: str) -> str | None:
    """The name of a sentence that `text.greeting` or `text.greeting.zh` sets; None: of none.

    Raises BadOrder: there is no such language.
    """
    text, _, whole = key.partition(".")
    name, dot, language = whole.partition(".")
    if text != "text" or name not in TEXTS:
        return None
    return f"{name}.{_language('language', language)}" if dot else name


def _bad_key(key: str, known: tuple[str, ...] = BY_COMMAND) -> BadOrder:
    return BadOrder("config.bad_key", {"key": shown_value(key), "known": known})


def _changed(settings: RoomSettings, key: str, value: object, rules: Rules) -> RoomSettings:
    match key:
        case "enterprise" if rules.choices:  # see `ENTERPRISE`
            chosen = _one_of(key, value, rules.choices)
            if chosen == settings.enterprise:
                return settings
            return replace(settings, enterprise=chosen, queue=None, source=None)
        case "queue":
            return replace(settings, queue=_queue(value, rules.of_room(settings)))
        case "from":
            return replace(settings, source=_one_of(key, value, SOURCES))
        case "language":
            return replace(settings, language=_language(key, value))
        case "start":
            return replace(settings, start=_one_of(key, value, STARTS))
        case "paused" if isinstance(value, bool):
            return replace(settings, paused=value)
        case "paused":
            raise _bad_value(key, value, ("true", "false"))
        case "hours":
            return replace(settings, hours=_hours(value))
        case "texts" if isinstance(value, Mapping):
            settings = replace(settings, texts=())
            for name, sentence in value.items():
                settings = _changed(settings, f"text.{name}", sentence, rules)
            return settings
        case "texts":
            raise _bad_value(key, value, tuple(TEXTS))
        case _ if (name := text_named(key)) is not None:
            others = [one for one in settings.texts if one[0] != name]
            left = LONGEST_TEXTS - sum(len(sentence) for _, sentence in others)
            mine = name, _sentence(key, value)
            if len(mine[1]) > left:
                raise BadOrder("config.full_texts", {"limit": LONGEST_TEXTS, "left": left})
            return replace(settings, texts=tuple(sorted((*others, mine))))
        case _:
            raise _bad_key(key, (*BY_COMMAND, ENTERPRISE) if rules.choices else BY_COMMAND)


def _queue(value: object, rules: Rules) -> QueueId:
    queue = None
    if isinstance(value, int | str) and not isinstance(value, bool):
        queue = rules.find_queue(str(value))
    if queue is None:
        known = tuple(f"{queue.id} {queue.name}" for queue in rules.queues)
        raise BadOrder("config.bad_queue", {"value": shown_value(value), "known": known})
    return QueueId(queue.id)


def readable_hours(hours: str) -> bool:
    """False also for what was readable once: another machine may not know the time zone."""
    try:
        parse_hours(hours)
    except ValueError:
        return False
    return True


def _hours(value: object) -> str:
    hours = narrow(value).strip() if isinstance(value, str) else ""
    if len(hours) <= LONGEST_HOURS and readable_hours(hours):
        return hours
    raise BadOrder("config.bad_hours", {"value": shown_value(value)})


def _sentence(key: str, value: object) -> str:
    """A sentence of the room's own, on one line, with no sign that is not seen."""
    given = value if isinstance(value, str) else ""
    seen = ("" if unicodedata.category(one) == "Cc" and not one.isspace() else one for one in given)
    sentence = " ".join(_TURNS.sub("", "".join(seen)).split())
    try:
        fits = 0 < len(sentence) <= LONGEST_SENTENCE and placeholders(sentence) <= IN_TEXTS
    except ValueError:  # braces that do not match, or hold more than a name
        fits = False
    if not fits:
        names = tuple(f"{{{name}}}" for name in sorted(IN_TEXTS))
        args = Args(key=key, limit=LONGEST_SENTENCE, names=names)
        raise BadOrder("config.bad_text", args)
    return sentence


def _language(key: str, value: object) -> str:
    meant = nearest(value) if isinstance(value, str) else None
    return _one_of(key, meant or value, LANGUAGES)


def _one_of(key: str, value: object, known: tuple[str, ...]) -> str:
    for choice in known:
        if isinstance(value, str) and value.strip().casefold() == choice.casefold():
            return choice
    raise _bad_value(key, value, known)


def _bad_value(key: str, value: object, known: tuple[str, ...]) -> BadOrder:
    return BadOrder("config.bad_value", {"key": key, "value": shown_value(value), "known": known})


def shown_value(value: object) -> str:
    """A foreign value, as it stands in the state event and short enough for a sentence."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
