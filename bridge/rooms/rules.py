"""The operator's configuration as the rooms see it, a room's settings, and its enterprise. Pure.

`Rules` is built from the configuration and immutable. A reload replaces it as a whole
(`surroundings`), so that each step is decided by one set of rules.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from bridge.config.hours import HoursError, ZoneError, parse_hours
from bridge.config.model import (
    SERVED,
    Encryption,
    Limits,
    Permission,
    Queue,
    RatingOption,
    TellAgents,
)
from bridge.conversation import model
from bridge.conversation.chat import ended_at
from bridge.conversation.machine import wants_link
from bridge.conversation.queue import callback_wanted
from bridge.conversation.turn import Policy
from bridge.ids import QueueId, RoomId, SessionId, UserId
from bridge.rooms.record import CardKind, Chat, Ending, RoomRecord, RoomSettings
from bridge.texts import CATALOGUE, DEFAULT_LANGUAGE, LANGUAGES, Texts, nearest, placeholders
from bridge.webchat.codes import Source

TEXTS: Mapping[str, tuple[str, ...]] = {
    "greeting": ("room.welcome", "room.welcome_shared", "room.welcome_command", "robot.welcome"),
    "closed": ("status.6", "result.-3", "queue.closed"),
    "nobody": ("status.5", "result.-5"),
    "ended": ("chat.ended", "chat.ended_command"),
}
"""Sentences that a room can replace, with the text keys that each replaces.

A name with a language (`greeting.en`) takes precedence over the name alone."""
_OWN = {key: name for name, keys in TEXTS.items() for key in keys}
IN_TEXTS = frozenset({"queue", "prefix"})
"""Placeholders allowed in these sentences."""
ENTERPRISE = "enterprise"
"""A further key, where several enterprises share a bot."""
LONGEST_SENTENCE, LONGEST_HOURS = 500, 300
"""Maximum characters of a room's own sentence, and of its hours."""
LONGEST_TEXTS = 3_600
"""Maximum characters of all a room's sentences: a reset must fit into `visit.LONGEST_UNDONE`."""
SOURCES = tuple(source.value for source in Source)
STARTS = ("on_message", "on_command")
"""Values of `start`: when the bridge asks for an agent."""
GONE = "?"
"""Name for every enterprise that is no longer configured; it serves nobody."""
LONGEST_WORD = 100
"""Maximum characters of a word that may be a command."""
_WIDE = re.compile("[０-：Ａ-Ｚａ-ｚ－／]+")
"""Full-width letters and signs that are made narrow in hours: not "～" and "，"."""
_PART = 500
"""Characters that `narrow` normalises at a time."""
TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Bidirectional control characters: an unclosed one would reverse all text after it."""
_VARIANTS = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f]|\u200d[♀♂]")
"""Skin tones, variation selectors and genders of emoji."""
KNOWN = 4096
"""Maximum entries of each cache: people's permissions, rooms' policies."""


class Rules(msgspec.Struct, frozen=True):
    """The operator's rules for one enterprise; see the config keys of the same names."""

    bot: UserId
    queues: tuple[Queue, ...]
    default_queue: QueueId
    permission: Callable[[str], Permission]
    queue_of_user: Callable[[UserId], QueueId | None]
    """Returns the queue of a queue user, else None."""
    enterprise: str = ""
    """Id of the enterprise; empty if it is the only one."""
    choices: tuple[str, ...] = ()
    """Enterprises that share the bot, between which its rooms can choose; empty if only one."""
    enterprises_of: Callable[[str], tuple[str, ...]] = lambda _: ()
    """Returns the enterprises of a bridge user, in the order of the configuration."""
    rules_of: Callable[[str], Rules | None] = lambda _: None
    """Returns the current rules of an enterprise."""
    bot_name: str = "WebChat"
    prefix: str = "!wc"
    other_prefixes: tuple[str, ...] = ()
    """Prefixes of the other enterprises, if they differ."""
    language: str = DEFAULT_LANGUAGE
    start: str = "on_message"
    limits: Limits = Limits()
    encryption: Encryption = Encryption()
    tell: TellAgents = TellAgents()
    status_events: bool = False
    """Whether to send com.beeper.message_send_status events."""
    policy: Policy = Policy()
    texts: Texts = Texts()
    ratings: tuple[RatingOption, ...] = ()
    """Best first; empty for one to five stars. A list from the server takes precedence."""
    robot: bool = False
    """Whether the command `ask` can query the knowledge base."""
    km_base_url: str = ""
    """Base URL of the knowledge base's articles; empty for no links."""
    seal: Callable[[RoomId, str], bytes] | None = None
    """Seals a password with the operator's secret; None if customers cannot use own accounts."""
    login_key: Callable[[RoomId], str] | None = None
    """Derives a new room's `RoomRecord.key` from the operator's secret; None for no key."""
    panel_url: str = ""
    """URL of the room page as a widget; empty if there is none."""
    timezone: tzinfo | None = None
    """Time zone of times shown to people; None for UTC."""
    longest_text: Callable[[], int] | None = None
    """Maximum bytes of text in a frame at the moment; None for `policy.max_text_bytes`."""
    longest_clip: Callable[[], int] | None = None
    """The same for a voice as base64; dialect `dual` repeats only texts. 0 if voices are URLs."""
    long_voices: Callable[[], bool] = lambda: False
    """Whether WebChat may accept the URL of a voice that does not fit into a frame."""

    _policies: dict[tuple[RoomSettings, UserId, int], Policy] = {}
    _prefixes: re.Pattern[str] = re.compile("")

    def __post_init__(self) -> None:
        """Create new caches, in a changed copy too, since they depend on the rules."""
        msgspec.structs.force_setattr(self, "permission", lru_cache(KNOWN)(self.permission))
        msgspec.structs.force_setattr(self, "_policies", {})
        prefixes = "|".join(map(_essence, (self.prefix, *self.other_prefixes)))
        msgspec.structs.force_setattr(self, "_prefixes", re.compile(prefixes))

    def serves(self, who: str) -> bool:
        """True if the person's messages are carried."""
        return self.permission(who) in SERVED

    def may_command(self, text: str) -> bool:
        """Whether a text may hold a command with a prefix: a quick test that few pass."""
        return self._prefixes.search(narrow(text.strip()).casefold()) is not None

    def are_of(self, record: RoomRecord) -> bool:
        """True if these rules' enterprise serves the room; always, if there is only one."""
        return not self.enterprise or self.rules_of(record.enterprise) is self

    def of_room(self, settings: RoomSettings) -> Rules:
        """Return the rules of the enterprise chosen in a room's settings, else these."""
        chosen = settings.enterprise
        return (chosen in self.choices and self.rules_of(chosen)) or self

    def queue(self, queue_id: int) -> Queue | None:
        return next((queue for queue in self.queues if queue.id == queue_id), None)

    def find_queue(self, text: str) -> Queue | None:
        """Find a queue by id ("二", "2番です"), name or alias, ignoring case, width, end marks."""
        wanted = _unmarked(text).removesuffix("です")
        number = wanted.rstrip("番号號").translate(NUMERALS)
        for queue in self.queues:
            known = (str(queue.id), queue.name, *queue.aliases)
            if wanted and (number == known[0] or wanted in map(_unmarked, known)):
                return queue
        return None

    def hours_of(self, queue_id: int, settings: RoomSettings) -> str:
        """Return the room's or the queue's opening hours; empty if none are configured."""
        queue, own = self.queue(queue_id), settings.hours
        if own and readable_hours(own):
            return own
        return "" if queue is None else queue.hours

    def zone_of(self, queue_id: int, settings: RoomSettings) -> tzinfo | None:
        """Return the time zone of these hours; None if there are none."""
        hours = self.hours_of(queue_id, settings)
        return parse_hours(hours).zone if hours else None

    def queue_name(self, queue_id: int) -> str:
        """Return the queue's display name, or its id if it is not configured."""
        queue = self.queue(queue_id)
        return queue.name if queue is not None else str(queue_id)

    def of_chat(self, chat: Chat) -> Rules:
        """Return the rules of the enterprise that a chat was with; if it is gone, without names."""
        rules, name = self.rules_of(chat.enterprise), chat.enterprise
        return rules or (replace(self, enterprise=name, queues=(), ratings=()) if name else self)

    def queue_for(self, record: RoomRecord) -> QueueId:
        """Return the room admin's choice, else the host's queue, else the default queue.

        A choice counts only while its queue is configured.
        """
        settings = record.settings
        theirs = settings.enterprise in {None, self.enterprise}
        if settings.queue is not None and theirs and self.queue(settings.queue) is not None:
            return settings.queue
        return self.queue_of_user(record.host) or self.default_queue

    def sentence(self, record: RoomRecord, key: str, args: model.Args) -> str:
        """Render a sentence for the room: its own if it has one, else from the texts.

        If the arguments say when the queue opens, the usual sentence follows in a line of its own.
        """
        template, rendered = None, ""
        if record.settings.texts and key in _OWN:
            texts, language = dict(record.settings.texts), self.language_for(record)
            template = texts.get(f"{_OWN[key]}.{language}", texts.get(_OWN[key]))
        if template is not None:
            queue = args.get("queue", self.queue_name(self.queue_for(record)))
            rendered = template.format_map({"queue": queue, "prefix": self.prefix})
            if "opens" not in args:
                return rendered
        usual = self.texts.render(self.language_for(record), key, args)
        return f"{rendered}\n{usual}" if rendered else usual

    def word(self, language: str, key: str) -> str:
        """Return the name of a way, a setting or its value ("way.cli"); unknown ones unchanged."""
        known = key in CATALOGUE
        return self.texts.render(language, key, {}) if known else key.partition(".")[2]

    def line(self, language: str, key: str, value: str) -> str:
        """Return a line that shows a setting and its value."""
        named = {"key": self.word(language, f"setting.{key}"), "value": value}
        return self.texts.render(language, "config.line", named)

    def language_for(self, record: RoomRecord) -> str:
        """Return the room's language: as set, else as its customers write, else the default."""
        return record.settings.language or record.language[1] or self.language

    def agents_language(self, settings: RoomSettings) -> str:
        """Return the language of sentences for agents: `tell.language`, or as set for the room."""
        chosen = settings.language or self.language
        return chosen if self.tell.language == "room" else self.tell.language

    def clip_bytes(self) -> int:
        """Return the maximum bytes of a voice, as base64, in one frame."""
        return self.policy.max_text_bytes if self.longest_clip is None else self.longest_clip()

    def policy_for(self, record: RoomRecord) -> Policy:
        """Return the machine's policy for the room, from a cache: every step needs it."""
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
            hours = dict.fromkeys((*(QueueId(queue.id) for queue in self.queues), *hours), own)
        return replace(
            self.policy,
            max_text_bytes=longest,
            queue_id=self.queue_for(record),
            source=source or self.policy.source,
            to_agent=queue.to_agent if queue is not None else "",
            start_on_message=start == "on_message",
            paused=record.settings.paused,
            leaving=self.of_room(record.settings) is not self,
            hours=hours,
        )


QUOTES = '"“”„「」『』'
"""Quotation marks around a command, copied from a sentence that names it."""
MARKS = ".。!！?？,，、:：;；/~～"
"""Punctuation that may end or separate the words of a command without changing them."""
AROUND = f"{MARKS}{QUOTES} "
"""Signs that may surround a command or a value."""
_QUOTED = re.compile(f"[{QUOTES}]([^{QUOTES}]+)[{QUOTES}]")
NUMERALS = str.maketrans("一二三四五六七八九", "123456789")
"""Chinese and Japanese digits, as customers answer a numbered list."""


def _unmarked(name: str) -> str:
    return folded(name.strip().strip(AROUND).strip("<>")).replace("臺", "台")  # both: Taiwan


def _essence(prefix: str) -> str:
    """Return the part of a prefix that is in every spelling of it ("wc" in "/wc"), for a regex."""
    whole = folded(prefix)
    return re.escape(re.sub(r"^\W+", "", whole) or whole[1:] or whole)


def unquoted(text: str) -> str:
    """Strip quotation marks around a whole text; a sentence may begin with a quoted command."""
    quoted = _QUOTED.fullmatch(text.strip())
    return quoted[1] if quoted else text


def folded(word: str) -> str:
    """Normalise a word for comparing commands: lower case, full-width letters made narrow.

    Only for comparison, never for passwords or displayed text. Words longer than `LONGEST_WORD`,
    which cannot be commands, are returned unchanged.
    """
    return narrow(word).casefold() if len(word) <= LONGEST_WORD else word


def narrow(text: str) -> str:
    """Normalise a text for comparison (NFKC): full-width letters of input methods become narrow.

    In parts of `_PART` characters, since sorting a letter's combining marks takes quadratic time;
    marks across the border of two parts are not sorted together.
    """
    if text.isascii():
        return text
    parts = (text[at : at + _PART] for at in range(0, len(text), _PART))
    return "".join(unicodedata.normalize("NFKC", part) for part in parts)


def bare_sign(key: str) -> str:
    """Return a reaction without skin tone, variation selectors and gender, for comparison."""
    return _VARIANTS.sub("", key).strip()


def hides(rules: Rules, record: RoomRecord) -> bool:
    """True if agents' messages must not be shown: encryption is required but off."""
    return rules.encryption.require and not record.encrypted


# --- enterprises: which one serves a room ---------------------------------------------------------


def unconfigured_rules(every: Iterable[Rules]) -> Rules:
    """Return rules for an enterprise that is no longer configured: nobody has permission.

    Its queues have no names, as those of another one would mislead. Its rooms can choose among
    those that share the bot, or the one that is left.
    """
    rules = max(every, key=lambda rules: bool(rules.choices))
    left = rules.choices or tuple(filter(None, [rules.enterprise]))
    rules = replace(rules, choices=left, policy=replace(rules.policy, hours={}))
    return replace(rules, enterprise=GONE, permission=lambda _: Permission.NONE, queues=())


def settled(conversation: model.Conversation, rules: Rules) -> bool:
    """True if no chat is under way or pending, so that another enterprise may take the room over.

    If that of the room is no longer configured (`GONE`), its phase and link do not matter.
    """
    if rules.enterprise != GONE and (wants_link(conversation) or callback_wanted(conversation)):
        return False
    return not (conversation.held or conversation.questions or conversation.outstanding)


def moved(record: RoomRecord, rules: Rules, now: int) -> RoomRecord:
    """Return the record moved to the enterprise of `rules`.

    Drops everything of the former enterprise: session, account, login name, queue. A message that
    did not reach it goes to the new one if its sender asks for that (`references`). Messages from
    before the end of the last chat (or from before now, during one) are not quoted to the new one.
    Its questions for a rating stay, to answer that it is too late for one.
    """
    if record.enterprise == rules.enterprise:
        return record
    old, settings, former = record.conversation, record.settings, record.former
    if settings.enterprise != rules.enterprise:
        settings, former = replace(settings, enterprise=None, queue=None, source=None), ()
    ended = ended_at(old) if isinstance(old.phase, model.NoChat) else now
    # A chat with one that is no longer configured has not ended yet.
    chats = tuple(
        replace(chat, ended=now, ending=Ending.LOST) if chat.ended is None else chat
        for chat in record.chats
    )
    fresh = model.Conversation(
        number=old.number, typed=old.typed, next_call=old.next_call, last_ended_at=ended
    )
    return replace(
        record,
        enterprise=rules.enterprise,
        conversation=fresh,
        chats=chats,
        settings=settings,
        former=former,
        key="" if rules.login_key is None else rules.login_key(record.room_id),
        login=None,
        cards=tuple(
            replace(card, session_id=SessionId(0)) if card.kind is CardKind.RATING else card
            for card in record.cards
            if card.dropped or card.kind is CardKind.RATING
        ),
    )


def named(record: RoomRecord, rules: Rules) -> RoomRecord:
    """Return the record with its enterprise's name, which older records lack."""
    if rules.enterprise in {record.enterprise, GONE}:
        return record
    return replace(record, enterprise=rules.enterprise)


def chosen(record: RoomRecord, rules: Rules, now: int) -> tuple[RoomRecord, Rules]:
    """Move the room to the enterprise that its admin chose, if it is `settled`."""
    other = rules.of_room(record.settings)
    if other is rules or record.host != rules.bot or not settled(record.conversation, rules):
        return record, rules
    return moved(record, other, now), other


def choices_of(record: RoomRecord, rules: Rules) -> tuple[str, ...]:
    """Return the enterprises that the room's admins can choose; empty if only its own.

    They share the bot, if that is the host, and serve somebody in the room: to all others their
    names and queues are not shown.
    """
    people = (record.customer, *(person.user for person in record.people))
    known = rules.choices if record.host == rules.bot else ()
    every = [(name, its) for name in known if (its := rules.rules_of(name)) is not None]
    found = tuple(name for name, its in every if any(map(its.serves, people)))
    return () if found == (rules.enterprise,) else found


# --- settings of a room ---------------------------------------------------------------------------


class BadOrder(Exception):
    """An invalid setting or order; `key` and `values` are text key and arguments of the answer."""

    def __init__(self, key: str, args: model.Args) -> None:
        super().__init__(key)
        self.key = key
        self.values = args

    def localized(self, rules: Rules, language: str) -> model.Args:
        """Return `values`, with settings and their possible values named in the language."""
        args, keys = dict(self.values), self.key == "config.bad_key"
        if isinstance(known := args.get("known"), tuple):
            names = (f"setting.{word}" if keys else f"value.{word}" for word in known)
            args["known"] = tuple(rules.word(language, name) for name in names)
        if isinstance(key := args.get("key"), str):
            args["key"] = rules.word(language, f"setting.{key}")
        return args

    def sentence(self, rules: Rules, language: str = "en") -> str:
        args = {"prefix": rules.prefix, **self.localized(rules, language)}
        return rules.texts.render(language, self.key, args)


def settings_of_event(content: Mapping[str, object], rules: Rules) -> RoomSettings:
    """Parse the settings of a state event, in the order of `set_together`; raises BadOrder."""
    settings = RoomSettings()
    known = KEYS if not rules.choices else (*KEYS, ENTERPRISE)
    for key in sorted(content, key=lambda key: key != ENTERPRISE):
        if key not in known:
            raise _bad_key(key, known)
        settings = _changed(settings, key, content[key], rules)
    return settings


def set_together(wished: Mapping[str, str], settings: RoomSettings, rules: Rules) -> RoomSettings:
    """Change settings, as commands do; "" resets one to the operator's config.

    The enterprise first, as it decides which queues exist. Sentences are unset before, so that only
    the new ones count towards `LONGEST_TEXTS`. Raises BadOrder for an unknown key or invalid value.
    """
    for key in filter(text_named, wished):
        settings = unset(key, settings)
    for key in sorted(wished, key=lambda key: key != ENTERPRISE):
        value = wished[key]
        settings = _changed(settings, key, value, rules) if value else unset(key, settings)
    return settings


def state_of(settings: RoomSettings) -> dict[str, object]:
    """Return the settings chosen for the room, as content of `org.matrix_webchat.room`."""
    chosen = {key: getattr(settings, field) for key, (field, _) in SETTINGS.items()}
    chosen = {ENTERPRISE: settings.enterprise, **chosen, "texts": dict(settings.texts) or None}
    return {key: value for key, value in chosen.items() if value is not None and value is not False}


def as_strings(settings: RoomSettings) -> dict[str, str]:
    """Return the same as strings, by the keys of `set_together`."""
    content = state_of(settings)
    content.pop("texts", None)
    chosen = {key: "true" if value is True else str(value) for key, value in content.items()}
    return chosen | {f"text.{name}": sentence for name, sentence in settings.texts}


def bridge_state_of(rules: Rules, record: RoomRecord) -> tuple[str, dict[str, object]]:
    """Return state key and content of the room's `m.bridge` event (MSC2346).

    One key per bridge, not per queue as the MSC proposes: a room has one customer, so that a new
    queue replaces the former one.
    """
    if rules.enterprise == GONE or isinstance(record.conversation.phase, model.NoChat):
        rules = rules.of_room(record.settings)  # else the chosen one serves the room later
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
    """Reset one setting to the operator's config. Raises BadOrder for an unknown key."""
    if (name := text_named(key)) is not None:
        return replace(settings, texts=tuple(text for text in settings.texts if text[0] != name))
    if key not in {*SETTINGS, ENTERPRISE}:
        raise _bad_key(key, BY_COMMAND)
    field = SETTINGS[key][0] if key in SETTINGS else key
    return replace(settings, **{field: getattr(RoomSettings(), field)})


def text_named(key: str) -> str | None:
    """Return the sentence's name in `text.greeting` or `text.greeting.zh`; None for other keys.

    Raises BadOrder for an unknown language.
    """
    text, _, whole = key.partition(".")
    name, dot, language = whole.partition(".")
    if text != "text" or name not in TEXTS:
        return None
    return f"{name}.{_language('language', language)}" if dot else name


def _bad_key(key: str, known: tuple[str, ...]) -> BadOrder:
    return BadOrder("config.bad_key", {"key": shown_value(key), "known": known})


def _changed(settings: RoomSettings, key: str, value: object, rules: Rules) -> RoomSettings:
    if key in SETTINGS:
        field, read = SETTINGS[key]
        return replace(settings, **{field: read(key, value, rules.of_room(settings))})
    if key == ENTERPRISE and rules.choices:
        chosen = _one_of(key, value, rules.choices)
        if chosen == settings.enterprise:
            return settings
        return replace(settings, enterprise=chosen, queue=None, source=None)
    if key == "texts":
        if not isinstance(value, Mapping):
            raise _bad_value(key, value, tuple(TEXTS))
        settings = replace(settings, texts=())
        for name, sentence in value.items():
            settings = _changed(settings, f"text.{name}", sentence, rules)
        return settings
    if (name := text_named(key)) is None:
        raise _bad_key(key, (*BY_COMMAND, ENTERPRISE) if rules.choices else BY_COMMAND)
    others = [text for text in settings.texts if text[0] != name]
    left = LONGEST_TEXTS - sum(len(sentence) for _, sentence in others)
    mine = name, _sentence(key, value)
    if len(mine[1]) > left:
        raise BadOrder("config.full_texts", {"limit": LONGEST_TEXTS, "left": left})
    return replace(settings, texts=tuple(sorted((*others, mine))))


def queue_named(value: object, rules: Rules) -> QueueId:
    """Return the id of the queue that a setting or a command names; BadOrder lists them."""
    queue = rules.find_queue(str(value))
    if queue is None:
        known = tuple(f"{queue.id} {queue.name}" for queue in rules.queues)
        raise BadOrder("config.bad_queue", {"value": shown_value(value), "known": known})
    return QueueId(queue.id)


def readable_hours(hours: str) -> bool:
    """True if hours parse; stored ones may not where a machine lacks their time zone."""
    try:
        parse_hours(hours)
    except ValueError:
        return False
    return True


def _truth(key: str, value: object, _: Rules) -> bool:
    return value if isinstance(value, bool) else _one_of(key, value, ("true", "false")) == "true"


def _hours(value: object) -> str:
    hours = value.strip().strip(AROUND) if isinstance(value, str) else ""
    hours = _WIDE.sub(lambda found: narrow(found[0]), hours)
    args: model.Args = {"value": shown_value(value)}
    if len(hours) > LONGEST_HOURS:
        raise BadOrder("config.bad_hours", args)
    try:
        parse_hours(hours)
    except HoursError as error:
        if error.part in {"", hours}:
            raise BadOrder("config.bad_hours", args) from error
        args = {**args, "part": shown_value(error.part)}
        key = "config.bad_zone" if isinstance(error, ZoneError) else "config.bad_hours_part"
        raise BadOrder(key, args) from error
    return hours


def _sentence(key: str, value: object) -> str:
    """Validate a room's own sentence: on one line, without control characters."""
    given = value if isinstance(value, str) else ""
    seen = ("" if unicodedata.category(one) == "Cc" and not one.isspace() else one for one in given)
    sentence = " ".join(TURNS.sub("", "".join(seen)).split())
    for name in IN_TEXTS:  # in braces as a Chinese input method writes them
        sentence = sentence.replace(f"｛{name}｝", f"{{{name}}}")
    try:
        fits = 0 < len(sentence) <= LONGEST_SENTENCE and placeholders(sentence) <= IN_TEXTS
    except ValueError:  # unmatched braces, or more than a name within
        fits = False
    if not fits:
        names = tuple(f"{{{name}}}" for name in sorted(IN_TEXTS))
        args = model.Args(key=key, limit=LONGEST_SENTENCE, names=names)
        raise BadOrder("config.bad_text", args)
    return sentence


def _language(key: str, value: object) -> str:
    meant = nearest(value) if isinstance(value, str) else None
    return _one_of(key, meant or value, LANGUAGES)


def _one_of(key: str, value: object, known: tuple[str, ...]) -> str:
    wanted = folded(value.strip()) if isinstance(value, str) else ""
    for choice in known:
        if wanted in map(folded, (choice, *CATALOGUE.get(f"value.{choice}", {}).values())):
            return choice
    raise _bad_value(key, value, known)


def _bad_value(key: str, value: object, known: tuple[str, ...]) -> BadOrder:
    return BadOrder("config.bad_value", {"key": key, "value": shown_value(value), "known": known})


def shown_value(value: object) -> str:
    """Return an untrusted value as it stands in the state event, cut to 60 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


SETTINGS: Mapping[str, tuple[str, Callable[[str, object, Rules], object]]] = {
    "queue": ("queue", lambda _, value, rules: queue_named(value, rules)),
    "from": ("source", lambda key, value, _: _one_of(key, value, SOURCES)),
    "language": ("language", lambda key, value, _: _language(key, value)),
    "start": ("start", lambda key, value, _: _one_of(key, value, STARTS)),
    "paused": ("paused", _truth),
    "hours": ("hours", lambda _, value, __: _hours(value)),
}
"""Settings by key: the field of `RoomSettings`, and its parser, which raises BadOrder."""
KEYS = (*SETTINGS, "texts")
"""Keys of the state event `org.matrix_webchat.room`."""
BY_COMMAND = (*SETTINGS, *(f"text.{name}" for name in TEXTS))
"""Keys for commands, which change one sentence at a time."""


def is_key(word: str) -> bool:
    return word in (*BY_COMMAND, ENTERPRISE) or word.startswith("text.")
