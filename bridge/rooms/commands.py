"""Commands: `!wc queue set sales` anywhere, `queue set sales` in a direct chat with the bot. Pure.

`COMMANDS`, at the end of this file, is the table of them: a row says by which words a command is
meant, how its own words are read, who may give it, whether it works in clear and without the
prefix, and which function carries it out. To add one: a verb and a row here, the texts, the test.

`parse` reads a message as a command and says only what was meant; `carry_out` does it. Whether the
sender may do it is decided by the reception in between. What a command does to the conversation is
an input like any other; what has to be looked up or sent is an effect, and comes back as an input.

Without the prefix a message counts only if it is exactly a command, and makes sense as one at this
moment (`makes_sense`): "help me" is a customer's word. A verb that is none is answered with the
nearest that there is, by its letters or by another word for it.

`login` and `logout`: a customer's own account at the call centre, for one room. The password is
sealed before anything is stored about the command, so neither the room's record nor an effect ever
holds it in clear; only the message itself does, and that is taken out of the room and out of our
journal (`Conceal`). The call centre is asked at once whether it takes the account, and only an
account that it took becomes the room's. It is used from the next chat on: the server knows one chat
per account, so the account cannot change in the midst of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import assert_never

import msgspec

from bridge import __version__
from bridge.conversation.chat import ended_at, names
from bridge.conversation.model import (
    Args,
    AskRobot,
    CallBack,
    Cancel,
    Chatting,
    Close,
    Ended,
    Idle,
    Queued,
    Rate,
    Requesting,
    Solved,
    Start,
)
from bridge.conversation.queue import hidden, result_key, unseen_callback
from bridge.conversation.turn import all_pieces, unique_events
from bridge.ids import EventId
from bridge.rooms import cards
from bridge.rooms.cards import Choice, choices, shown
from bridge.rooms.effects import Conceal, SendTranscript, TellHistory, TryLogin
from bridge.rooms.inbox import LoginTried
from bridge.rooms.record import OwnLogin, RoomRecord, RoomSettings
from bridge.rooms.rules import (
    SOURCES,
    BadSetting,
    QueueRule,
    Setter,
    folded,
    narrow,
    set_by_name,
    set_language,
    set_paused,
    set_queue,
    set_source,
)
from bridge.rooms.visit import Visit, undelivered
from bridge.texts.languages import nearest

Words = tuple[str, ...]
"""What follows a verb."""


class Verb(StrEnum):
    """The commands of the contract that this version has."""

    HELP = "help"
    START = "start"
    CANCEL = "cancel"
    CLOSE = "close"
    RATE = "rate"
    ASK = "ask"
    HUMAN = "human"
    SOLVED = "solved"
    CALLBACK = "callback"
    QUEUE = "queue"
    LANG = "lang"
    FROM = "from"
    CONFIG = "config"
    STATUS = "status"
    RETRY = "retry"
    HISTORY = "history"
    TRANSCRIPT = "transcript"
    LOGIN = "login"
    LOGOUT = "logout"
    PAUSE = "pause"
    RESUME = "resume"
    VERSION = "version"


class Who(StrEnum):
    """Permission to give a command, in a room that serves its sender."""

    ANYBODY = "anybody"
    ADMIN = "admin"
    ADMIN_CHANGES = "admin_changes"
    """Admins, if the first word is `set` or `reset`: else it changes nothing."""


class Parsed(msgspec.Struct, frozen=True):
    """A well-formed command."""

    verb: Verb
    words: Words = ()
    bare: bool = False
    """Written without the prefix: only a command if it makes sense as one."""

    @property
    def for_admins(self) -> bool:
        """True if it changes the room for everybody."""
        who = COMMANDS[self.verb].who
        if who is Who.ADMIN_CHANGES:
            return bool(self.words) and self.words[0] in {"set", "reset"}
        return who is Who.ADMIN

    @property
    def in_clear(self) -> bool:
        """True if it carries nothing and shows nothing of a chat, so that it need not be secret."""
        return COMMANDS[self.verb].in_clear


class Malformed(msgspec.Struct, frozen=True):
    """Meant as a command, but not one; `key` and `args` are of the texts."""

    key: str
    args: Args
    secret: bool = False
    """It may hold a password all the same."""
    bare: bool = False
    """Written without the prefix: a customer's words, should they say so."""


class Call(msgspec.Struct, frozen=True):
    """A command that is carried out; what the room answers replies to `event_id`."""

    words: Words
    event_id: EventId
    bare: bool = False
    target: EventId | None = None
    """The message to which the command is a reply."""
    reports: EventId | None = None
    """The undelivered message that `target`, a message of ours, is about."""


class Command(msgspec.Struct, frozen=True):
    """A row of the table."""

    run: Callable[[Visit, Call], None]
    read: Callable[[list[str]], Words | None]
    """Reads the words behind the verb; None: they are not well-formed, and its usage is told."""
    others: str = ""
    """What people say for it in their languages, in small letters; by these it is guessed."""
    who: Who = Who.ANYBODY
    in_clear: bool = False
    """It works in clear where encryption is demanded."""
    secret: bool = False
    """Its words may be a password."""
    setting: bool = False
    """It is about the room's settings: see `slip`."""
    makes_sense: Callable[[Visit, Words], bool] = lambda _, __: True
    """Whether it counts without the prefix, in a direct chat with the bot while no chat runs."""


_ACTIONS = frozenset({"set", "show", "reset"})


# --- reading --------------------------------------------------------------------------------------


def parse(text: str, prefix: str, *, prefix_needed: bool) -> Parsed | Malformed | None:
    """Read a message as a command.

    Args:
        text: the plain body.
        prefix: the command prefix of the config; matched as a whole word, also in the full-width
            letters of an input method ("！wc").
        prefix_needed: False in a DM with the bot while no chat runs. There a message without the
            prefix counts only if it is exactly a command: "help me" is a customer's word.

    Returns:
        None for an ordinary message.
    """
    first = text.split(None, 1)[:1]
    if not first:
        return None
    word, wanted = folded(first[0]), folded(prefix)
    if word == wanted:
        return _parse_words(text.split()[1:], prefix)
    if word.startswith(wanted) and _is_glued(word, wanted):
        return _parse_words([word.removeprefix(wanted), *text.split()[1:]], prefix)
    if prefix_needed or (word not in _VERBS) or "\n" in text.strip():
        return None
    parsed = _parse_words(text.split(), prefix)
    if isinstance(parsed, Malformed):
        return None
    return msgspec.structs.replace(parsed, bare=True)


def _is_glued(word: str, prefix: str) -> bool:
    """True for a word like "!wcstatus", from which only a blank is missing.

    Nobody says such a word to an agent, if the prefix begins with a sign.
    """
    return not prefix[:1].isalnum() and nearest_verb(word.removeprefix(prefix)) is not None


def slip(text: str, prefix: str) -> Malformed | None:
    """Read what is no command without its prefix as one about the room's settings, miswritten.

    Only the command itself with an action and one more word, or fewer: "lang fr", "queue set".
    "From Berlin" looks the same, so whoever wrote it is told how it comes to an agent all the same.

    Args:
        text: the plain body.
        prefix: the command prefix of the config.

    Returns:
        None for a customer's words.
    """
    first = text.split(None, 1)[:1]
    verb = _VERBS.get(folded(first[0])) if first else None
    if verb is None or not COMMANDS[verb].setting or "\n" in text.strip():
        return None
    words = text.split()
    rest = words[2:] if len(words) > 1 and folded(words[1]) in _ACTIONS else words[1:]
    if len(rest) > 1:
        return None
    return Malformed(f"usage.{verb}", {"prefix": prefix}, bare=True)


def nearest_verb(word: str) -> Verb | None:
    """The command that somebody probably meant by a word that is none; None if nothing is near."""
    wanted = word.casefold()
    if wanted in _OTHERS:
        return _OTHERS[wanted]
    near = get_close_matches(wanted, _VERBS, 1)
    if not near:  # the beginning of one: "trans", "conf"
        near = [verb for verb in _VERBS if len(wanted) > 2 and verb.startswith(wanted)][:1]
    return _VERBS[near[0]] if near else None


def _parse_words(words: list[str], prefix: str) -> Parsed | Malformed:
    if not words:
        return Parsed(Verb.HELP)
    written = folded(words[0])
    verb = _VERBS.get(written)
    if verb is None:
        near = nearest_verb(written)
        if near is None:
            return Malformed("command.unknown", {"prefix": prefix})
        secret = COMMANDS[near].secret and len(words) > 1
        args: Args = {"near": near.value, "prefix": prefix}
        return Malformed("command.unknown_near", args, secret=secret)
    command = COMMANDS[verb]
    read = command.read(words[1:])
    if read is None:
        secret = command.secret and len(words) > 1
        return Malformed(f"usage.{verb}", {"prefix": prefix}, secret=secret)
    return Parsed(verb, read)


def _no_words(words: list[str]) -> Words | None:
    return None if words else ()


def _one_word(words: list[str]) -> Words | None:
    return (narrow(words[0]),) if len(words) == 1 else None


def _account(words: list[str]) -> Words | None:
    """A name and a password, as they were written."""
    return tuple(words) if len(words) == 2 else None


def _maybe_all(words: list[str]) -> Words | None:
    return tuple(words) if [folded(word) for word in words] in ([], ["all"]) else None


def _sentence(words: list[str]) -> Words | None:
    return (" ".join(words),) if words else None


def _maybe_sentence(words: list[str]) -> Words | None:
    return _sentence(words) or ()


def _number_and_words(words: list[str]) -> Words | None:
    number = narrow(words[0]) if words else ""
    return (number, *words[1:]) if _is_number(number) else None


def _maybe_number(words: list[str]) -> Words | None:
    return _number_and_words(words) if len(words) == 1 else _no_words(words)


def _queue_action(words: list[str]) -> Words | None:
    action = folded(words[0]) if words else "show"
    if action in {"list", "show"} and len(words) <= 1:
        return (action,)
    return ("set", " ".join(words[1:])) if action == "set" and len(words) > 1 else None


def _config_action(words: list[str]) -> Words | None:
    action = folded(words[0]) if words else "show"
    if action in {"show", "reset"} and len(words) <= 1:
        return (action,)
    if action == "set" and len(words) > 2:
        return ("set", folded(words[1]), " ".join(words[2:]))
    return None


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 6


# --- without the prefix ---------------------------------------------------------------------------


def makes_sense(visit: Visit, parsed: Parsed) -> bool:
    """Whether a command without its prefix is one.

    "start over, please" and "rate 5 is too high" are what customers say.
    """
    return COMMANDS[parsed.verb].makes_sense(visit, parsed.words)


def _names_queue(visit: Visit, words: Words) -> bool:
    """Whether a queue is named, if anything is."""
    return not words or visit.rules.find_queue(words[-1]) is not None


def _sets_known_queue(visit: Visit, words: Words) -> bool:
    return words[0] != "set" or _names_queue(visit, words)


def _robot_was_asked(visit: Visit, words: Words) -> bool:
    del words
    return any(piece.consulted for piece in visit.record.conversation.held)


def _rates(visit: Visit, words: Words) -> bool:
    """Whether "rate 5 …" is a rating: with more than thanks behind it, only soon after a chat."""
    conversation = visit.record.conversation
    if conversation.last_session is None:
        return False
    if len(words) == 1 or cards.is_thanks(" ".join(words[1:])):
        return True  # if there is no such rating, it is said which there are
    ended = ended_at(conversation)
    fresh = ended is not None and visit.now - ended < cards.FRESH
    return fresh and int(words[0]) in {one.id for one in _ratings(visit)}


def _ratings(visit: Visit) -> tuple[Choice, ...]:
    language = visit.rules.language_for(visit.record.settings)
    return choices(visit.rules, language, visit.record.conversation.ratings)


# --- carrying out ---------------------------------------------------------------------------------


def carry_out(visit: Visit, verb: Verb, call: Call) -> None:
    """Do what a permitted command says.

    What the conversation has to say about it is said as always.
    """
    COMMANDS[verb].run(visit, call)


def explain(visit: Visit, malformed: Malformed, event_id: EventId) -> None:
    """Say how a command is written that was meant and is none."""
    if malformed.secret:
        visit.ask(Conceal(event_id))
    if malformed.bare:
        usage = visit.part(malformed.key, malformed.args)
        visit.report(event_id, "undelivered.like_command", {"usage": usage})
        return
    visit.say(malformed.key, malformed.args, reply_to=event_id)


def shown_settings(visit: Visit) -> Args:
    """The room's configuration, as the sentences of the `config` family show it."""
    rules, settings = visit.rules, visit.record.settings
    return {
        "queue": rules.queue_name(rules.queue_for(visit.record)),
        "source": rules.policy_for(visit.record).source,
        "language": rules.language_for(settings),
        "start": settings.start or rules.start,
        "paused": "true" if settings.paused else "false",
    }


def _help(visit: Visit, call: Call) -> None:
    visit.say("command.help", {"prefix": visit.rules.prefix}, reply_to=call.event_id)


def _version(visit: Visit, call: Call) -> None:
    visit.say("command.version", {"version": __version__}, reply_to=call.event_id)


def _is_paused(visit: Visit, call: Call) -> bool:
    """True, and it is said, if the room is paused: nobody is asked for."""
    if visit.record.settings.paused:
        visit.say("config.paused", {"prefix": visit.rules.prefix}, reply_to=call.event_id)
    return visit.record.settings.paused


def _start(visit: Visit, call: Call) -> None:
    wanted = call.words[0] if call.words else ""
    if _is_paused(visit, call):
        return
    queue = visit.rules.find_queue(wanted)
    if not wanted:
        visit.step(Start(), call.event_id)
    elif queue is None:
        _unknown_queue(visit, wanted, call.event_id)
    elif not _waits_elsewhere(visit, queue, call.event_id):
        visit.step(Start(queue.id), call.event_id)


def _waits_elsewhere(visit: Visit, queue: QueueRule, event_id: EventId) -> bool:
    """True, and it is said, if the customer stands in another queue: nobody loses a place so."""
    phase = visit.record.conversation.phase
    if not isinstance(phase, Requesting | Queued) or hidden(phase) or phase.queue_id == queue.id:
        return False
    if phase.cancel:
        visit.say("start.leaving", {"prefix": visit.rules.prefix}, reply_to=event_id)
        return True
    present = visit.rules.queue_name(phase.queue_id)
    args: Args = {"queue": present, "other": queue.name, "prefix": visit.rules.prefix}
    visit.say("start.other_queue", args, reply_to=event_id)
    return True


def _cancel(visit: Visit, call: Call) -> None:
    visit.step(Cancel(), call.event_id)


def _close(visit: Visit, call: Call) -> None:
    visit.step(Close(), call.event_id)


def _rate(visit: Visit, call: Call) -> None:
    """A number that nobody offers is no rating; 0 may be one where nobody says what there is."""
    value, offered = int(call.words[0]), _ratings(visit)
    conversation = visit.record.conversation
    unsaid = not conversation.ratings and not visit.rules.ratings
    known = {one.id for one in offered} | ({0} if unsaid else set())
    if conversation.last_session is not None and value not in known:
        visit.say(
            "rating.unknown", {"value": value, "options": shown(offered)}, reply_to=call.event_id
        )
    else:
        visit.step(Rate(value, " ".join(call.words[1:])), call.event_id)


def _ask(visit: Visit, call: Call) -> None:
    if visit.rules.robot:
        visit.ask(AskRobot(call.event_id, call.words[0]))
    else:
        visit.say("robot.off", {"prefix": visit.rules.prefix}, reply_to=call.event_id)


def _human(visit: Visit, call: Call) -> None:
    if not _is_paused(visit, call):
        for happened in cards.wants_person(visit, call.event_id):
            visit.step(happened, call.event_id)


def _solved(visit: Visit, call: Call) -> None:
    visit.step(Solved(), call.event_id)


def _call_back(visit: Visit, call: Call) -> None:
    if not _is_paused(visit, call):
        visit.step(CallBack(), call.event_id)


def _retry(visit: Visit, call: Call) -> None:
    """Send again all that can be, or just the message that it replies to, or just the newest.

    What was corrected since does not go in its old words any more.
    """
    newest = dict(visit.record.corrections)
    waiting = [one.event_id for one in visit.record.undelivered if not one.again]
    wanted = [one for one in waiting if newest.get(one, one) == one]
    if not call.words:
        wanted = wanted[-1:]
        if call.target is not None:
            meant = reported_message(visit, call.target, call.reports)
            wanted = [] if meant is None else [meant]
    for event_id in wanted:
        want_again(visit, event_id)
    if not wanted:
        visit.say("again.nothing", reply_to=call.event_id)


def reported_message(visit: Visit, target: EventId, reports: EventId | None) -> EventId | None:
    """The undelivered message that `target` is, or is our report of, in its newest wording."""
    newest = dict(visit.record.corrections)
    for event_id in (target, reports):
        if event_id is None:
            continue
        wording = newest.get(event_id, event_id)
        if undelivered(visit.record, wording) is not None:
            return wording
    return None


def want_again(visit: Visit, event_id: EventId) -> None:
    """Have a message sent again, but not while it is under way."""
    on_its_way = {piece.event_id for piece in all_pieces(visit.record.conversation)}
    if event_id in on_its_way:
        visit.say("again.under_way", reply_to=event_id)
    else:
        visit.again.append(event_id)


def _history(visit: Visit, call: Call) -> None:
    visit.ask(TellHistory(call.event_id, int(call.words[0]) if call.words else 0))


TRANSCRIPT_EVERY = 60_000
"""ms between two transcripts in a room."""


def _transcript(visit: Visit, call: Call) -> None:
    """Long chats cost the homeserver something, so not one after the other."""
    if visit.now - visit.record.transcript_at < TRANSCRIPT_EVERY:
        visit.say("transcript.too_soon", reply_to=call.event_id)
    else:
        visit.set(transcript_at=visit.now)
        visit.ask(SendTranscript(call.event_id, int(call.words[0]) if call.words else None))


# --- settings of the room -------------------------------------------------------------------------


def _queue(visit: Visit, call: Call) -> None:
    match call.words[0]:
        case "list":
            lines = [f"{queue.id} — {queue.name}" for queue in visit.rules.queues]
            visit.say("command.queues", {"list": "\n".join(lines)}, reply_to=call.event_id)
        case "set":
            _change(visit, set_queue, call.words[1], "config.queue_set", call.event_id)
        case _:
            name = visit.rules.queue_name(visit.rules.queue_for(visit.record))
            args: Args = {"queue": name, "prefix": visit.rules.prefix}
            visit.say("command.queue", args, reply_to=call.event_id)


def _config(visit: Visit, call: Call) -> None:
    match call.words[0]:
        case "set":
            setter = partial(set_by_name, call.words[1])
            _change(visit, setter, call.words[2], "config.taken", call.event_id)
        case "reset":
            visit.set(settings=RoomSettings())
            visit.say("config.taken", shown_settings(visit), reply_to=call.event_id)
        case _:
            visit.say("config.shown", shown_settings(visit), reply_to=call.event_id)


def _language(visit: Visit, call: Call) -> None:
    _change(visit, set_language, call.words[0], "config.language_set", call.event_id)


def _from(visit: Visit, call: Call) -> None:
    _change(visit, set_source, call.words[0], "config.from_set", call.event_id)


def _pause(visit: Visit, call: Call) -> None:
    phase = visit.record.conversation.phase
    seen = isinstance(phase, Requesting | Queued) and not hidden(phase)
    done = "config.paused_meanwhile" if seen or isinstance(phase, Chatting) else "config.paused"
    _change(visit, set_paused, True, done, call.event_id)  # noqa: FBT003 - the setting's value


def _resume(visit: Visit, call: Call) -> None:
    done = "config.resumed" if visit.record.settings.paused else "config.not_paused"
    _change(visit, set_paused, False, done, call.event_id)  # noqa: FBT003 - likewise


def _unknown_queue(visit: Visit, wanted: str, event_id: EventId) -> None:
    try:
        set_queue(visit.record.settings, wanted, visit.rules)
    except BadSetting as bad:
        visit.say(bad.key, bad.values, reply_to=event_id)


def _change(visit: Visit, setter: Setter, value: object, done: str, event_id: EventId) -> None:
    try:
        settings = setter(visit.record.settings, value, visit.rules)
    except BadSetting as bad:
        visit.say(bad.key, bad.values, reply_to=event_id)
        return
    visit.set(settings=settings)
    args: Args = shown_settings(visit) | {"prefix": visit.rules.prefix}
    visit.say(done, args, reply_to=event_id)


# --- status ---------------------------------------------------------------------------------------


def _status(visit: Visit, call: Call) -> None:
    key, args = _state_of(visit)
    if visit.record.settings.paused:
        args = {"status": visit.part(key, args), "prefix": visit.rules.prefix}
        key = "command.status_paused"
    visit.say(key, args, reply_to=call.event_id)


def _state_of(visit: Visit) -> tuple[str, Args]:
    """Key and args of the sentence about the conversation, paused or not."""
    rules, phase = visit.rules, visit.record.conversation.phase
    args: Args = {"waiting": len(unique_events(all_pieces(visit.record.conversation)))}
    wished = unseen_callback(visit.record.conversation)
    if wished is not None:
        return "command.status_callback", args | {"queue": rules.queue_name(wished.queue_id)}
    match phase:
        case Idle() | Ended():
            key = "command.status_idle"
            args["queue"] = rules.queue_name(rules.queue_for(visit.record))
        case Requesting() | Queued():
            key = _waiting(phase, away=visit.record.conversation.trouble_since is not None)
            args["queue"] = rules.queue_name(phase.queue_id)
            if isinstance(phase, Queued) and phase.position:
                args["position"] = phase.position
        case Chatting():
            key = "command.status_chatting"
            args["names"] = names(phase.agents) or "?"
        case _:
            assert_never(phase)
    return key, args


def _waiting(phase: Requesting | Queued, *, away: bool) -> str:
    """Key of the sentence about a place in a queue; `away`: the call centre cannot be reached."""
    if phase.cancel:
        return "command.status_leaving_away" if away else "command.status_leaving"
    if isinstance(phase, Requesting):
        return "command.status_requesting"
    return "command.status_queued" if phase.position else "command.status_waiting"


# --- login and logout -----------------------------------------------------------------------------

LOGIN_EVERY = 60_000
"""ms between two attempts in a room: all rooms share the server's limit (reference 3.7)."""
LONGEST_NUMBER = 4
"""Digits that may be a number in a sentence; a longer one is a password."""
_AROUND_WORDS = re.compile(r"^\W+|(?<=\w)\W+$|(?<=\w)['’-](?=\w)")
"""What stands around a word, and what stands within one. Each run of signs is looked at once, from
its beginning: tried from each of its signs, 60,000 of them stopped all rooms for a minute."""


def reads_as_words(name: str, password: str) -> bool:
    """True for "login doesn't work" and "login error 404": without the prefix, it may be either.

    It is neither tried, for then it would be deleted, nor told to the agent, who would read a
    password. Whoever wrote it says which it is.

    Args:
        name: what stands in its place.
        password: likewise.
    """
    name, password = _AROUND_WORDS.sub("", name), _AROUND_WORDS.sub("", password)
    number = password.isdecimal() and len(password) <= LONGEST_NUMBER
    return name.isalpha() and (number or not password or password.isalpha())


def _log_in(visit: Visit, call: Call) -> None:
    """The command `login`; whatever becomes of it, the password does not stay in the room."""
    if call.bare and reads_as_words(*call.words):
        visit.report(call.event_id, "undelivered.like_login", {"prefix": visit.rules.prefix})
        return
    name, password = call.words
    visit.ask(Conceal(call.event_id))
    seal = visit.rules.seal
    if seal is None:
        visit.say("login.off", reply_to=call.event_id)
    elif not visit.record.direct:
        visit.say("login.direct_only", reply_to=call.event_id)
    elif _is_busy(visit.record):
        visit.say("login.chatting", {"prefix": visit.rules.prefix}, reply_to=call.event_id)
    elif visit.now - visit.record.login_at < LOGIN_EVERY:
        visit.say("login.too_soon", reply_to=call.event_id)
    else:
        visit.set(login_at=visit.now)
        login = OwnLogin(name, seal(visit.record.room_id, password))
        visit.ask(TryLogin(call.event_id, login))


def _log_out(visit: Visit, call: Call) -> None:
    """The command `logout`: back to the account that the operator's config gives."""
    login = visit.record.login
    if login is None:
        visit.say("logout.nobody", reply_to=call.event_id)
    elif _is_busy(visit.record):
        visit.say("login.chatting", {"prefix": visit.rules.prefix}, reply_to=call.event_id)
    else:
        visit.set(login=None)
        visit.say("logout.done", {"name": login.name}, reply_to=call.event_id)


def login_tried(visit: Visit, came: LoginTried) -> None:
    """Handle the call centre's answer to a login."""
    if came.reason is not None:
        key, code = came.reason, came.code
        args: Args = {} if code is None else {"reason": visit.part(*result_key(code))}
        visit.say(key, args, reply_to=came.event_id)
    elif _is_busy(visit.record):  # a chat began meanwhile, under the former account
        visit.say("login.chatting", {"prefix": visit.rules.prefix}, reply_to=came.event_id)
    else:
        visit.set(login=came.login)
        args = {"name": came.login.name, "prefix": visit.rules.prefix}
        visit.say("login.done", args, reply_to=came.event_id)


def _is_busy(record: RoomRecord) -> bool:
    """True while the server may still connect something with the account that the room has."""
    conversation = record.conversation
    return not isinstance(conversation.phase, Idle | Ended) or conversation.outstanding is not None


# --- the table ------------------------------------------------------------------------------------

_Setting = partial(Command, in_clear=True, setting=True)

# fmt: off
COMMANDS: Mapping[Verb, Command] = MappingProxyType({
    Verb.HELP: Command(_help, _no_words, "? commands menu 帮助 幫助 说明 說明 命令 指令 ヘルプ",
        in_clear=True),
    Verb.START: Command(_start, _maybe_sentence, "begin chat contact 开始 開始 联系 聯絡 咨询 諮詢",
        makes_sense=_names_queue),
    Verb.CANCEL: Command(_cancel, _no_words, "leave abort 取消 退出 キャンセル", in_clear=True),
    Verb.CLOSE: Command(_close, _no_words, "stop end quit exit bye 结束 結束 关闭 關閉 終了",
        in_clear=True),
    Verb.RATE: Command(_rate, _number_and_words, "rating stars score 评价 評價 评分 評分 評価",
        makes_sense=_rates),
    Verb.ASK: Command(_ask, _sentence, makes_sense=lambda visit, _: visit.rules.robot),
    Verb.HUMAN: Command(_human, _no_words, "agent person operator 人工 转人工 轉人工 客服 担当者"),
    Verb.SOLVED: Command(_solved, _no_words, makes_sense=_robot_was_asked),
    Verb.CALLBACK: Command(_call_back, _no_words,
        "recall notify remind 回叫 回电 回電 提醒 折り返し"),
    Verb.QUEUE: _Setting(_queue, _queue_action, "queues department 队列 佇列 キュー",
        who=Who.ADMIN_CHANGES,
        makes_sense=lambda visit, words: words[0] != "set" or _names_queue(visit, words)),
    Verb.LANG: _Setting(_language, _one_word, "language 语言 語言 言語",
        who=Who.ADMIN, makes_sense=lambda _, words: nearest(words[0]) is not None),
    Verb.FROM: _Setting(_from, _one_word,
        who=Who.ADMIN,
        makes_sense=lambda _, words: words[0].casefold() in map(str.casefold, SOURCES)),
    Verb.CONFIG: _Setting(_config, _config_action, "settings configure 设置 設定",
        who=Who.ADMIN_CHANGES),
    Verb.STATUS: Command(_status, _no_words, "state info position 状态 狀態 排队 排隊 状況",
        in_clear=True),
    Verb.RETRY: Command(_retry, _maybe_all, "resend again 重发 重發 重试 重試 再送",
        makes_sense=lambda visit, _: bool(visit.record.undelivered)),
    Verb.HISTORY: Command(_history, _maybe_number, "chats log 历史 歷史 履歴"),
    Verb.TRANSCRIPT: Command(_transcript, _maybe_number, "export save download 记录 紀錄"),
    Verb.LOGIN: Command(_log_in, _account, "signin 登录 登入 ログイン",
        secret=True, makes_sense=lambda visit, _: visit.rules.seal is not None),
    Verb.LOGOUT: Command(_log_out, _no_words, "signout 登出 ログアウト", in_clear=True),
    Verb.PAUSE: Command(_pause, _no_words, who=Who.ADMIN, in_clear=True),
    Verb.RESUME: Command(_resume, _no_words, who=Who.ADMIN, in_clear=True),
    Verb.VERSION: Command(_version, _no_words, "about 版本 バージョン", in_clear=True),
})
# fmt: on
"""Every command: its words, its permissions and what it does."""
_VERBS: Mapping[str, Verb] = MappingProxyType({verb.value: verb for verb in COMMANDS})
_OTHERS: Mapping[str, Verb] = MappingProxyType(
    {word: verb for verb, command in COMMANDS.items() for word in command.others.split()}
)
