"""Commands: `!wc queue set sales` anywhere, `queue set sales` in a direct chat with the bot. Pure.

The table `COMMANDS` at the end lists them. To add one: a row there, the texts, the test. `reader`
checks the sender's permission. Every room understands a command's words in all four languages.
Without the prefix a message is a command only if it is nothing else and makes sense at this moment:
"help me" is a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache, partial

import msgspec
from msgspec.structs import replace

from bridge import __version__
from bridge.conversation import model
from bridge.conversation.chat import ended_at
from bridge.conversation.queue import away, callback_wanted, unseen_callback, visible
from bridge.conversation.turn import inviting, unique_events
from bridge.ids import EventId, QueueId, UserId
from bridge.rooms import arguments, cards, effects, own_account, people
from bridge.rooms.arguments import Words, parted, reads_as_words, unended
from bridge.rooms.record import CardKind, Membership, Order, RoomRecord
from bridge.rooms.references import newest, reported_message, want_again
from bridge.rooms.rules import (
    AROUND,
    LONGEST_WORD,
    SETTINGS,
    SOURCES,
    BadOrder,
    Rules,
    as_strings,
    folded,
    hides,
    is_key,
    narrow,
    queue_named,
    unquoted,
)
from bridge.rooms.visit import By, Call, Visit, audit_order, undo_change
from bridge.texts import nearest
from bridge.webchat.codes import RobotUse


class Reading(msgspec.Struct, frozen=True):
    """A message read as a command, which may be malformed."""

    verb: str
    """A key of `COMMANDS`; of a malformed command the one that was probably meant, or empty."""
    words: Words = ()
    bare: bool = False
    """True if written without the prefix: then a command only if it makes sense as one. The sender
    of a malformed one can still have it sent to an agent."""
    fault: str = ""
    """Text key of the answer to a malformed command; else empty."""
    secret: bool = False
    """True if it may hold a password."""

    @property
    def for_admins(self) -> bool:
        return not self.fault and COMMANDS[self.verb].for_admins(self.words)

    @property
    def configures(self) -> bool:
        """True if it is about the room, not a chat: room admins need not be customers for it."""
        tells = not self.fault and COMMANDS[self.verb].outside in {"sets", "tells"}
        return tells or self.for_admins

    @property
    def leaves(self) -> bool:
        return not self.fault and COMMANDS[self.verb].leaves

    @property
    def in_clear(self) -> bool:
        """True if it works unencrypted where encryption is required."""
        return not self.bare if self.fault else COMMANDS[self.verb].in_clear


_LIKE_LOGIN = Reading("login", bare=True, fault="undelivered.like_login")


class Command(msgspec.Struct, frozen=True):
    run: Callable[[Visit, Call], None]
    read: Callable[[list[str]], Words | None]
    """Parses the arguments; None if they are malformed (the answer is then the usage)."""
    names: str
    """Aliases in lower case: the displayed names in zh-CN, zh-TW and ja, then further ones."""
    others: str = ""
    """Similar words that are not accepted, but lead to a suggestion of this command."""
    for_admins: Callable[[Words], bool] = lambda _: False
    """Whether it changes the room for everybody, so that only room admins may give it."""
    in_clear: bool = False
    """True if it works unencrypted where encryption is required: it reveals nothing of a chat."""
    secret: bool = False
    """True if its arguments may be a password."""
    own: int | None = None
    """Number of arguments before free text, whose final punctuation is kept; None for no text."""
    setting: bool = False
    """True if it is about a setting of the room: see `slip`."""
    leaves: bool = False
    """True if it ends a request or chat, which the room's customer may do without permission."""
    asks: bool = False
    """True if it asks for an agent or a call-back, which a paused room refuses."""
    elsewhere: bool = False
    """True if its answer may name the chat in another room, which has to be looked up."""
    outside: str = ""
    """Use from outside the room: `tells`, `sets` (the setting's change writes the audit row) or
    `acts` (the order itself is written to the audit); empty if not allowed."""
    provided: Callable[[Rules], bool] = lambda _: True
    """Whether the operator has switched it on: `help` lists no other commands."""
    off: str = ""
    """Text key of the answer where it is off; empty if `run` has one."""
    makes_sense: Callable[[Visit, Words], bool] = lambda _, __: True
    """Whether it is a command without the prefix, in a direct chat with the bot while no chat runs:
    "start over, please" and "rate 5 is too high" are messages."""


# --- reading --------------------------------------------------------------------------------------


def read(visit: Visit, text: str, *, bare: bool) -> Reading | None:
    """Parse a command; without the prefix (allowed if `bare`) it must also make sense now."""
    parsed = parse(text, visit.rules.prefix, prefix_needed=not bare)
    if not bare:
        return parsed
    newest = visit.record.cards[-1:] if parsed is None else ()
    if any(card.kind is CardKind.QUEUES for card in newest) and visit.rules.find_queue(text):
        return Reading("queue", ("set", text), bare=True)  # what the poll of queues asked for
    if parsed is None or parsed.fault or not parsed.bare:
        return parsed
    if not COMMANDS[parsed.verb].makes_sense(visit, parsed.words):
        return None
    waits = isinstance(visit.record.conversation.phase, model.Waiting)  # nobody can log in now
    return _LIKE_LOGIN if parsed.secret and (waits or reads_as_words(*parsed.words)) else parsed


def parse(text: str, prefix: str, *, prefix_needed: bool) -> Reading | None:
    """Parse a command; None for an ordinary message.

    The prefix may be in full-width letters of an input method ("！wc"), or have the slash of an
    app's own commands ("/wc"). A message that begins with a prefix like `!wc` never goes to an
    agent: it may be a misspelt login.
    """
    text = unquoted(text)
    first, wanted = text.split(None, 1)[:1], _wanted(prefix)
    if not first:
        return None
    word = folded(first[0][:LONGEST_WORD])  # Chinese has no blanks
    slashed = word == f"/{wanted[1:]}" and word != "/" and not wanted[0].isalnum()
    if slashed or word.startswith(wanted):
        words = text.split()
        glued = "" if slashed else _behind(words[0], wanted)
        if glued is not None:
            return _parse_words(_split(parted([glued, *words[1:]])), marked=True)
    if prefix_needed:
        return None
    words = _split(unended(text.split()))
    if words[0] not in _VERBS or "\n" in text.strip():
        return None
    parsed = _parse_words(words)
    return None if parsed.fault else replace(parsed, bare=True)


_wanted = cache(folded)
"""The prefix as `folded`: each message is compared with it."""


def foreign_login(rules: Rules, text: str) -> Reading | None:
    """Recognise a login with the prefix of another call centre, whose agents it is not meant for.

    It is deleted, but not tried here: the password is probably one of the other call centre.
    """
    found = (parse(text, prefix, prefix_needed=True) for prefix in rules.other_prefixes)
    secret = any(value is not None and value.secret for value in found)
    return Reading("login", fault="usage.login", secret=True) if secret else None


def _behind(word: str, wanted: str) -> str | None:
    """Return the rest of the word after the prefix ("!wcstatus"); None if it is another word.

    A prefix of letters only may begin any word, and one of punctuation only any run of it ("!!!").
    """
    most = min(2 * len(wanted), LONGEST_WORD, len(word))
    ends = (at for at in range(most + 1) if folded(word[:at]) == wanted)
    glued = word[next(ends, 0) :]
    if glued and (wanted[:1].isalnum() or glued == word):
        return None
    named = not glued or any(map(str.isalnum, wanted))
    return glued if named or nearest_verb(_split([glued])[0]) is not None else None


def slip(visit: Visit, text: str) -> Reading | None:
    """Recognise a miswritten command without prefix; None for an ordinary message.

    For a setting: its verb with at most one word, or an action and one word ("lang fr", "queue
    set"). "From Berlin" looks the same, so the report says how to send it to an agent after all.
    For other commands a single word: "rate" after a chat, "login", or one with a typing error.
    """
    login, words = like_login(visit, text), _split(unended(text.split()))
    if login is not None or not words[0] or "\n" in text.strip():
        return login
    verb, alone = _VERBS.get(words[0]), len(words) == 1
    if verb is None:
        near = _typo(words[0]) if alone else None
        return None if near is None else Reading(near, bare=True, fault="undelivered.near_command")
    most = 3 if not alone and arguments.action_of(words[1]) in {"set", "show", "reset"} else 2
    about = {"rate": visit.record.conversation.last_session, "login": visit.rules.seal}.get(verb)
    if (alone and about is not None) or (COMMANDS[verb].setting and len(words) <= most):
        return Reading(verb, bare=True, fault=f"usage.{verb}")
    return None


def like_login(visit: Visit, text: str) -> Reading | None:
    """Recognise a login without prefix that is miswritten, or sent during a chat.

    It may be an ordinary message ("login failed E42"), so it is neither deleted nor sent on.
    """
    words = [] if visit.rules.seal is None else text.split(None, 4)
    if not 2 <= len(words) <= 4:
        return None
    words = _joined(_split(parted(words)))
    if len(words) != 3 or reads_as_words(*words[1:]):
        return None
    verb = _VERBS.get(words[0]) or _OTHERS.get(words[0]) or _typo(words[0])
    return _LIKE_LOGIN if verb == "login" else None


def buried_login(rules: Rules, text: str) -> Reading | None:
    """Recognise a login behind other words ("WebChat: !wc login …"), as code, in a caption, or with
    a miswritten prefix. It may be a question about the command: treated like the above.
    """
    found = logins((rules.prefix, *rules.other_prefixes)).search(narrow(text).casefold())
    return None if found is None else _LIKE_LOGIN


@cache
def logins(prefixes: tuple[str, ...]) -> re.Pattern[str]:
    names = (folded(name) for name in prefixes)
    begun = "|".join(re.escape(re.sub(r"^\W+", "", name) or name) for name in names)
    verbs = "|".join(word for word, verb in (_VERBS | _OTHERS).items() if verb == "login")
    return re.compile(rf"(?:{begun})\W{{0,4}}(?:{verbs})\s+\S+\s+\S")


def _typo(word: str) -> str | None:
    """Return the verb of which a word is a misspelling, but not of real words: another ending
    ("closed"), one wrong letter in a short verb ("chose"), close to a setting's verb ("form").
    """
    if not 3 < len(word) <= LONGEST_WORD:
        return None
    verbs = [verb for verb in COMMANDS if verb[:1] == word[:1] and len(verb) > 3]
    verbs = [verb for verb in verbs if not COMMANDS[verb].setting]
    near = [verb for verb in verbs if sorted(verb) == sorted(word)]
    near += get_close_matches(word, [verb for verb in verbs if verb[-1] == word[-1]], 1, 0.82)
    return near[0] if near else None


def nearest_verb(word: str) -> str | None:
    """Return the command closest to an unknown word; None if nothing is close."""
    if len(word) > LONGEST_WORD:
        return None
    wanted = word.casefold()
    if known := _VERBS.get(wanted) or _OTHERS.get(wanted):
        return known
    near = [verb for verb in COMMANDS if sorted(verb) == sorted(wanted)]
    near = near or get_close_matches(wanted, COMMANDS, 1)
    near = near or [_OTHERS[name] for name in get_close_matches(wanted, _OTHERS, 1, 0.8)]
    if not near:  # an abbreviation: "trans", "conf"
        near = [verb for verb in COMMANDS if len(wanted) > 2 and verb.startswith(wanted)]
    return near[0] if near else None


_GLUED = re.compile("([^0-9]+)([0-9]+分?)")


def _split(words: list[str]) -> list[str]:
    """Fold the first word, and split off a number glued to it ("评价5": Chinese has no spaces)."""
    first = folded(words[0]) if words else ""
    glued = _GLUED.fullmatch(first)
    if glued is None or glued[1].isascii() or glued[1] not in _VERBS:
        return [first, *words[1:]]
    return [*glued.groups(), *words[1:]]


def _joined(words: list[str]) -> list[str]:
    """Join the first two words if they are a verb written as two ("log in")."""
    both = words[0] + folded(words[1]) if len(words) > 1 else ""
    apart = words[0] not in _VERBS and (both in _VERBS or both in _OTHERS)
    return [both, *words[2:]] if apart else words


def _begun(word: str) -> str | None:
    """Return the command whose longest alias begins a word without spaces ("登录ada")."""
    known = {**_OTHERS, **_VERBS}
    begun = [verb for verb in known if not verb.isascii() and word.startswith(verb)]
    return known[max(begun, key=len)] if begun else None


def _unmarked(command: Command, rest: list[str]) -> list[str]:
    """Return the arguments, the last without final punctuation unless it is free text."""
    own = command.own is not None and len(rest) > command.own
    if not rest or own or any("text" in folded(word) for word in rest[:2]):
        return rest
    return [*rest[:-1], *filter(None, [rest[-1].strip(AROUND)])]


def _parse_words(words: list[str], *, marked: bool = False) -> Reading:
    """Parse the words of a command; if `marked`, ignore punctuation after the last one."""
    if not words[0]:
        return Reading("help")
    words = _joined(words)
    verb = _VERBS.get(words[0])
    meant = verb or nearest_verb(words[0]) or _begun(words[0])
    if meant is None:
        return Reading("", fault="command.unknown")
    command = COMMANDS[meant]
    secret = command.secret and len(words) > 1
    if verb is None:
        return Reading(meant, fault="command.unknown_near", secret=secret)
    rest = command.read(_unmarked(command, words[1:]) if marked else words[1:])
    if marked and verb == "help" and rest is None:  # "!wc help hours": its usage, if it exists
        verb = _VERBS.get(folded(words[1]), verb)
    fault = f"usage.{verb}" if rest is None else ""
    return Reading(verb, rest or (), fault=fault, secret=secret)


def _key(word: str) -> str:
    """Return the key of a setting, which may be named by its command in any language: `语言`."""
    word = folded(word).replace("。", ".").rstrip(AROUND)
    verb = _VERBS.get(word, word)
    key = _KEYS.get(verb, verb)
    return key if key in SETTINGS else word


def _action(other: str, keys: int, words: list[str]) -> Words | None:
    """Parse `show` or the word `other`, or `set` with `keys` keys (0 or 1) and a value.

    `reset` may be followed by the name of a key, if `keys` allows one.
    """
    words = arguments.apart(words, 1 + keys)
    action, rest = arguments.action_of(words[0]) if words else "show", words[1:]
    if action == "set" and len(rest) > keys:
        return ("set", *map(_key, rest[:keys]), " ".join(rest[keys:]))
    if action == other == "reset" and len(rest) <= keys:
        return ("reset", *map(_key, rest))
    return (action,) if action in {"show", other} and not rest else None


def _names_queue(visit: Visit, words: Words) -> bool:
    """True if `start` or `queue set` names no queue, an existing one, or any number."""
    return not words or words[-1].isdecimal() or visit.rules.find_queue(words[-1]) is not None


def _tells_hours(visit: Visit, words: Words) -> bool:
    """False for `hours` where no opening hours are known: an agent can answer the question."""
    record, rules = visit.record, visit.rules
    return words != ("show",) or bool(rules.hours_of(rules.queue_for(record), record.settings))


# --- carrying out ---------------------------------------------------------------------------------


def explain(visit: Visit, malformed: Reading, event_id: EventId) -> None:
    args: model.Args = {"command": _as_typed(visit, malformed.verb)} if malformed.verb else {}
    key, off = malformed.fault, visit.rules.seal is None
    if malformed.bare:
        if not key.startswith("undelivered."):
            key, args = "undelivered.like_command", {"usage": visit.for_room(key, args)}
        visit.report(event_id, key, args)
    elif malformed.verb == "login" and (off or not visit.record.direct):
        visit.say("login.off" if off else "login.direct_only", reply_to=event_id)
    else:
        visit.say(key, args, reply_to=event_id)


def _as_typed(visit: Visit, verb: str) -> str:
    """Return a command as it is typed in this room: prefix if needed, verb in its language."""
    names = dict(zip(("zh-CN", "zh-TW", "ja"), COMMANDS[verb].names.split(), strict=False))
    return people.lead(visit) + names.get(visit.rules.language_for(visit.record), verb)


def carry_out(visit: Visit, verb: str, call: Call) -> None:
    call = replace(call, place=len(visit.effects))
    try:
        _run(visit, verb, call)
    except BadOrder as bad:
        args = bad.localized(visit.rules, visit.rules.language_for(visit.record))
        _answer(visit, call, bad.key, **args)


def _run(visit: Visit, verb: str, call: Call) -> None:
    command = COMMANDS[verb]
    if command.off and not command.provided(visit.rules):
        raise BadOrder(command.off, {})
    if command.asks and visit.record.settings.paused:
        raise BadOrder("config.paused", {})
    command.run(visit, call)


LONGEST_ORDER, LONGEST_ACTOR = 2_000, 255
"""Maximum characters of an order's text and of its actor's name."""


def check_order(record: RoomRecord, rules: Rules, order: Order, now: int = 0) -> Reading:
    """Parse and dry-run an order from outside a room; raises BadOrder if it cannot be run now."""
    if len(order.words) > LONGEST_ORDER:
        raise BadOrder("order.too_long", {"limit": LONGEST_ORDER})
    parsed = _parse_order(order, rules.prefix)
    if parsed.fault:
        raise BadOrder(parsed.fault, {"prefix": rules.prefix, "command": parsed.verb})
    command = COMMANDS[parsed.verb]
    if not command.outside:
        raise BadOrder("order.inside", {"command": parsed.verb})
    if record.membership is not Membership.JOINED or record.gone_at is not None:
        raise BadOrder("order.not_served", {})
    if rules.encryption.require and not (record.encrypted or command.in_clear):
        raise BadOrder("order.in_clear", {})
    call = Call(parsed.words, EventId(""), settings=order.settings)
    _run(Visit(record, rules, now), parsed.verb, call)
    return parsed


def _parse_order(order: Order, prefix: str) -> Reading:
    """Parse an order; its words may begin with the prefix, as in the room."""
    if order.settings:
        return Reading("config")
    marked = parse(order.words, prefix, prefix_needed=True)
    return marked or _parse_words(_split(order.words.split()))


def ordered(visit: Visit, order: Order) -> None:
    """Run an order from outside the room; it passed `check_order` when it was accepted."""
    parsed, record = _parse_order(order, visit.rules.prefix), visit.record
    joined = record.membership is Membership.JOINED and record.gone_at is None
    if parsed.fault or not joined:
        return
    by = By(order.actor[:LONGEST_ACTOR], order.way)
    call = Call(parsed.words, EventId(""), by=by, settings=order.settings)
    carry_out(visit, parsed.verb, call)
    if COMMANDS[parsed.verb].outside == "acts":
        named = _as_typed(visit, parsed.verb).removeprefix(people.lead(visit))
        audit_order(visit, by, parsed.verb, " ".join(parsed.words), named)


def _answer(visit: Visit, call: Call, key: str, /, **args: str | int | tuple[str, ...]) -> None:
    also = "" if call.event_id else "order.by"
    if also:
        args |= {"actor": call.by.actor, "way": call.by.way}
    answer = model.Say(key, args, reply_to=call.event_id or None, also=also)
    visit.effects.insert(call.place, answer)


def _step(make: Callable[[], model.Input], visit: Visit, call: Call) -> None:
    visit.step(make(), call.event_id or None)


def _help(visit: Visit, call: Call) -> None:
    """Answer in five lines with what makes sense now, or with `all` list every command."""
    rules, direct = visit.rules, visit.record.direct
    key, verbs = _sensible(visit, call.elsewhere)
    if call.words:
        key, verbs = "help.all", tuple(verb for verb in COMMANDS if direct or verb != "login")
    if rules.policy_for(visit.record).paused:
        key = _idle_help(visit)
    args: model.Args = {"queue": rules.queue_name(rules.queue_for(visit.record))}
    args |= cards.status_sentence(visit)[1]  # of a callback or wait, its own queue
    now = visit.for_room(key, {**args, "prefix": rules.prefix, "link": call.elsewhere})
    # "help" does not tell the language, and its answer may not be understood.
    named = "room.languages" if people.is_language_open(visit) and not call.words else "usage.lang"
    lang, lines = f"{people.lead(visit)}lang", list[str]()
    for verb in verbs:
        row = COMMANDS[verb]
        if row.provided(rules) and (call.admin or not row.for_admins(())):
            usage = named if verb == "lang" else f"usage.{verb}"
            lines.append(visit.for_room(usage, {"command": _as_typed(visit, verb), "lang": lang}))
    _answer(visit, call, "command.help", now=now, commands="\n".join(lines))


def _sensible(visit: Visit, elsewhere: str) -> tuple[str, tuple[str, ...]]:
    """Return what is going on (a text key), and the commands that make sense now."""
    conversation, policy = visit.record.conversation, visit.rules.policy_for(visit.record)
    phase, ended, idle = conversation.phase, ended_at(conversation), _idle_help(visit)
    if hides(visit.rules, visit.record):
        return "encrypting.needed", ("status", "lang", "help")
    if isinstance(phase, model.Chatting):
        first = "human" if phase.robot and not policy.paused else "status"
        ending = "start.ending" if phase.close else "help.chatting"
        return ending, (first, "close", "transcript", "help")
    if unseen_callback(conversation) is not None:
        return "command.status_callback", ("cancel", "status", "history", "help")
    if isinstance(visible(phase), model.Waiting):
        noted = policy.paused or callback_wanted(conversation)
        return "help.waiting", ("cancel", "status", "history" if noted else "callback", "help")
    if policy.paused:
        return idle, ("resume", "status", "history", "help")
    if conversation.callback is not None:
        now = "help.nobody" if idle == "help.idle" else idle
        return now, ("start", "callback", "history", "help")
    if ended is not None and visit.now - ended < cards.FRESH:
        if idle == "help.idle_command":  # "to reach an agent:"
            return idle, ("start", "rate", "transcript", "help")
        return idle, ("rate", "transcript", "history", "help")
    return "room.elsewhere" if elsewhere else idle, ("start", "lang", "history", "help")


def _idle_help(visit: Visit) -> str:
    policy = visit.rules.policy_for(visit.record)
    return inviting("robot.welcome" if policy.robot is RobotUse.FIRST else "help.idle", policy)


def _start(visit: Visit, call: Call) -> None:
    """Ask for an agent; a customer waiting in another queue is told so and keeps the position."""
    queue = queue_named(call.words[0], visit.rules) if call.words else None
    place = visible(visit.record.conversation.phase)
    if queue is None or not isinstance(place, model.Waiting) or place.queue_id == queue:
        visit.step(model.Start(queue), call.event_id or None)
    elif place.cancel:
        _answer(visit, call, "start.leaving")
    else:
        _answer(visit, call, "start.other_queue", **_between(visit, place, queue))


def _between(visit: Visit, place: model.Waiting, queue: QueueId) -> model.Args:
    """Return the arguments of the sentence on how to change to another queue while waiting."""
    present, other = map(visit.rules.queue_name, (place.queue_id, queue))
    return {"queue": present, "other": other}


def _retry(visit: Visit, call: Call) -> None:
    """Resend the message replied to, else the newest one, with `all` every one; latest wording."""
    known = visit.record.undelivered
    waiting = [note.event_id for note in known if not (note.again or (note.private and call.words))]
    wanted = [event for event in waiting if newest(visit.record, event) == event]
    if not call.words:
        wanted = wanted[-1:]
        if call.target is not None:
            meant = reported_message(visit, call.target, call.reports)
            wanted = [] if meant is None else [meant]
    for event_id in wanted:
        want_again(visit, event_id)
    if not wanted:
        _answer(visit, call, "again.nothing")


TRANSCRIPT_EVERY = 60_000
"""Minimum ms between two transcripts in a room, and two of `stats`: both are a load, one on the
homeserver, one on the database."""


def _transcript(visit: Visit, call: Call) -> None:
    number = next((int(word) for word in call.words if word != "json"), None)
    exists = number is None or number <= visit.record.conversation.number
    if exists and 0 <= visit.now - visit.record.transcript_at < TRANSCRIPT_EVERY:
        _answer(visit, call, "transcript.too_soon")
    else:
        if exists:
            visit.set(transcript_at=visit.now)
        by = UserId(call.by.actor)
        visit.ask(effects.SendTranscript(call.event_id, number, json="json" in call.words, by=by))


# --- settings of the room -------------------------------------------------------------------------


def _queue(visit: Visit, call: Call) -> None:
    """Show, offer or set the queue; `queue` alone offers a poll if there are several."""
    rules = visit.rules.of_room(visit.record.settings)
    match call.words[:1]:
        case () if len(rules.queues) > 1:
            visit.ask(effects.AskQueue(call.event_id))
        case ("list",):
            visit.ask(effects.AskQueue(call.event_id, in_words=True))
        case ("set",) | ("reset",):
            shown = people.set_settings(visit, {"queue": "".join(call.words[1:])}, call.by)
            place, queue = visible(visit.record.conversation.phase), rules.queue_for(visit.record)
            if not isinstance(place, model.Waiting) or place.cancel or place.queue_id == queue:
                _answer(visit, call, "config.queue_set", **shown)
                return
            sentence = visit.for_room("config.queue_set", shown)
            args = _between(visit, place, queue) | {"prefix": rules.prefix}
            kept_place = visit.for_room("start.other_queue", args)
            _answer(visit, call, "command.status_kept", status=sentence, kept=kept_place)
        case _:
            name = rules.queue_name(rules.queue_for(visit.record))
            _answer(visit, call, "command.queue", queue=name)


def _hours(visit: Visit, call: Call) -> None:
    action, *value = call.words
    wished = {} if action == "show" else {"hours": "".join(value)}
    shown = people.set_settings(visit, wished, call.by)
    _answer(visit, call, "hours.shown" if shown["hours"] else "hours.none", **shown)


def _undo(visit: Visit, call: Call) -> None:
    """Undo the last change; drop one that cannot be undone, so that earlier ones stay reachable."""
    try:
        done = undo_change(visit, call.by)
    except BadOrder as bad:
        visit.set(former=visit.record.former[:-1])
        _answer(visit, call, bad.key, **bad.values)
    else:
        key, args = ("undo.done", people.shown_settings(visit)) if done else ("undo.nothing", {})
        _answer(visit, call, key, **args)


def _list(
    effect: type[effects.TellChanges | effects.TellHistory], visit: Visit, call: Call
) -> None:
    visit.ask(effect(call.event_id, *map(int, call.words or ("0",))))


def _stats(visit: Visit, call: Call) -> None:
    if 0 <= visit.now - visit.record.figures_at < TRANSCRIPT_EVERY:
        _answer(visit, call, "stats.too_soon")
    else:
        visit.set(figures_at=visit.now)
        visit.ask(effects.TellFigures(call.event_id, int(call.words[0])))


def _config(visit: Visit, call: Call) -> None:
    """Show or change any settings; where nothing changed, "taken" is not claimed."""
    before, wished = visit.record.settings, call.settings
    if call.words[:1] == ("set",):
        wished = {call.words[1]: call.words[2]}
    elif call.words[:1] == ("reset",):
        wished = dict.fromkeys(call.words[1:] or as_strings(before), "")
    shown = people.set_settings(visit, wished, call.by)
    same = visit.record.settings == before
    _answer(visit, call, "config.shown" if same else "config.taken", **shown)


def _pause(visit: Visit, call: Call) -> None:
    going_on = visible(visit.record.conversation.phase) is not None
    done = "config.paused_meanwhile" if going_on else "config.paused"
    _set("paused", done, visit, call, "true")


def _resume(visit: Visit, call: Call) -> None:
    done = "config.resumed" if visit.record.settings.paused else "config.not_paused"
    _set("paused", done, visit, call, "false")


def _set(key: str, done: str, visit: Visit, call: Call, value: str = "") -> None:
    """Set a setting to `value`, by default the command's last word."""
    wished = {key: value or call.words[-1]}
    _answer(visit, call, done, **people.set_settings(visit, wished, call.by))


_STATUS_OF_LINK = {
    f"command.status_{state}" for state in ("requesting", "queued", "waiting", "chatting")
}
"""Sentences of `status` that say nothing of an outage."""


def _status(visit: Visit, call: Call) -> None:
    key, args = cards.status_sentence(visit)
    if key == "command.status_idle" and call.elsewhere:
        key, args = "room.elsewhere", {"link": call.elsewhere}
    conversation, sentences = visit.record.conversation, []
    pieces, asked = conversation.held, conversation.outstanding
    if away(conversation) and key in _STATUS_OF_LINK:
        sentences.append(visit.for_room("trouble.unreachable", {}))
    if asked is not None and asked.held is not None:
        pieces = (asked.held, *pieces)  # in an outage its call may wait for the link for minutes
    if count := len(unique_events(pieces)):
        sentences.append(visit.for_room("queue.kept", {"count": count}))
    for sentence in sentences:
        key, args = "command.status_kept", {"status": visit.for_room(key, args), "kept": sentence}
    if visit.record.settings.paused:
        key, args = "command.status_paused", {"status": visit.for_room(key, args)}
    _answer(visit, call, key, **args)


# --- the table ------------------------------------------------------------------------------------


def _changes(words: Words) -> bool:
    return words[:1] in {("set",), ("reset",)}


_Setting = partial(Command, in_clear=True, setting=True, outside="sets")
_ForAdmins = partial(Command, in_clear=True, for_admins=lambda _: True, outside="sets")
_OfRobot = partial(Command, provided=lambda rules: rules.robot)
_OfAccounts = partial(Command, provided=lambda rules: rules.seal is not None)

# fmt: off
COMMANDS: Mapping[str, Command] = {
    "help": Command(_help, arguments.maybe_all, "帮助 說明 ヘルプ 幫助 说明 命令 指令",
        "? commands menu", in_clear=True, elsewhere=True),
    "start": Command(_start, lambda words: arguments.sentence(words) or (),
        "开始 開始 開始 排队 排隊 联系客服 聯絡客服",
        "begin chat contact 联系 聯絡 咨询 諮詢", asks=True, outside="acts",
        makes_sense=_names_queue),
    "cancel": Command(partial(_step, model.Cancel), arguments.no_words, "取消 取消 キャンセル "
        "退出 取消排队 退出排队 取消排隊 退出排隊 取り消し", "leave abort", in_clear=True,
        leaves=True, outside="acts"),
    "close": Command(partial(_step, model.Close), arguments.no_words,
        "结束 結束 終了 关闭 關閉 结束对话 結束對話", "stop end quit exit bye", in_clear=True,
        leaves=True, outside="acts"),
    "rate": Command(cards.rate, partial(arguments.number_and_words, form=arguments.RATING),
        "评价 評分 評価 评分 評價", "rating stars score", own=1, makes_sense=cards.reads_as_rating),
    "ask": _OfRobot(cards.ask, arguments.sentence, "提问 提問 質問", own=0,
        makes_sense=lambda visit, _: visit.rules.robot),
    "human": Command(cards.want_person, arguments.no_words,
        "人工 真人 担当者 转人工 轉人工 轉真人 人工客服 转人工客服 真人客服 客服 オペレーター "
        "有人対応", "agent person operator", asks=True),
    "solved": _OfRobot(
        lambda visit, call: visit.step(cards.solved(visit), call.event_id), arguments.no_words,
        "已解决 已解決 解決しました 解决了 解決了",
        makes_sense=lambda visit, _: cards.can_be_solved(visit)),
    "callback": Command(partial(_step, model.CallBack), arguments.no_words,
        "通知 通知 折り返し 回电 回電 回叫 回撥", "recall notify remind 提醒", asks=True,
        outside="acts", provided=lambda rules: rules.policy.callback),
    "queue": _Setting(_queue, lambda words: (_action("list", 0, words) or
        _action("reset", 0, words)) if words else (),
        "队列 佇列 窓口 キュー", "queues department", for_admins=_changes,
        makes_sense=lambda visit, words: words[:1] != ("set",) or _names_queue(visit, words)),
    "lang": _Setting(partial(_set, "language", "config.language_set"), arguments.one_word,
        "语言 語言 言語", "language", for_admins=lambda _: True,
        makes_sense=lambda _, words: nearest(words[0]) is not None),
    "from": _Setting(partial(_set, "from", "config.from_set"), arguments.one_word,
        "来源 來源 接続元", for_admins=lambda _: True,
        makes_sense=lambda _, words: words[0].casefold() in map(str.casefold, SOURCES)),
    "config": _Setting(_config, partial(_action, "reset", 1), "设置 設定 設定 設置",
        "settings configure", for_admins=_changes,
        makes_sense=lambda _, words: words[0] != "reset" or all(map(is_key, words[1:]))),
    "hours": _Setting(_hours, partial(_action, "reset", 0), "营业时间 營業時間 営業時間",
        "opening schedule", for_admins=_changes, setting=False, makes_sense=_tells_hours),
    "undo": _ForAdmins(_undo, arguments.no_words, "撤销 復原 元に戻す 撤消 撤銷", "revert",
        makes_sense=lambda visit, _: bool(visit.record.former)),
    "audit": _ForAdmins(partial(_list, effects.TellChanges), arguments.maybe_number,
        "变更记录 變更紀錄 変更履歴 變更記錄", "changes"),
    "stats": Command(_stats, arguments.maybe_days, "统计 統計 統計 集計",
        "statistics figures report", for_admins=lambda _: True, outside="tells"),
    "status": Command(_status, arguments.no_words, "状态 狀態 状況 状態 ステータス",
        "state info position", in_clear=True, elsewhere=True, outside="tells"),
    "retry": Command(_retry, arguments.maybe_all, "重发 重傳 再送 重试 重試 重發",
        "resend again", makes_sense=lambda visit, _: bool(visit.record.undelivered)),
    "history": Command(partial(_list, effects.TellHistory), arguments.maybe_number,
        "历史 歷史 履歴", "chats log"),
    "transcript": Command(_transcript, arguments.number_and_form,
        "记录 紀錄 記録 对话记录 對話紀錄 記錄 對話記錄", "export save download"),
    "login": _OfAccounts(own_account.log_in, partial(arguments.just, 2),
        "登录 登入 ログイン 登陆 登陸 登錄 サインイン ログオン",
        "signin signon logon 登 ログ サイン", secret=True, own=0,
        makes_sense=lambda visit, _: visit.rules.seal is not None),
    "logout": _OfAccounts(own_account.log_out, arguments.no_words,
        "退出登录 登出 ログアウト 退出登陆 サインアウト", "signout", in_clear=True),
    "pause": _ForAdmins(_pause, arguments.no_words, "暂停 暫停 一時停止"),
    "resume": _ForAdmins(_resume, arguments.no_words, "恢复 恢復 再開", "继续 繼續 启用 啟用"),
    "panel": Command(
        lambda visit, call: visit.ask(effects.ShowPanel(call.event_id or None)), arguments.no_words,
        "面板 面板 パネル 房间页面 聊天室頁面 聊天室页面 ルームページ",
        "widget page 页面 頁面 ページ", in_clear=True,
        for_admins=lambda _: True, outside="acts", off="panel.off",
        provided=lambda rules: bool(rules.panel_url)),
    "version": Command(
        lambda visit, call: _answer(visit, call, "command.version", version=__version__),
        arguments.no_words, "版本 版本 バージョン", "about", in_clear=True, outside="tells"),
}
# fmt: on
_VERBS = {word: verb for verb, row in COMMANDS.items() for word in (verb, *row.names.split())}
_OTHERS = {word: verb for verb, row in COMMANDS.items() for word in row.others.split()}
_KEYS = {"lang": "language", "pause": "paused"} | dict.fromkeys(
    ("开始方式", "開始方式", "開始方法"), "start"
)
"""Keys of settings whose command, or name in the answers, is another word."""
