"""Commands: `!wc queue set sales` anywhere, `queue set sales` in a direct chat with the bot. Pure.

`parse` reads a message as a command and says only what was meant; `carry_out` does it. Whether the
sender may do it is decided by the reception, before it is carried out. What a command does to the
conversation is an input like any other; what has to be looked up or sent is an effect, and comes
back as an input.

Without the prefix a message counts only if it is exactly a command, and makes sense as one at this
moment (`makes_sense`): "help me" is a customer's word. A verb that is none is answered with the
nearest that there is, by its letters or by another word for it (`OTHER_WORDS`).

`login` and `logout`: a customer's own account at the call centre, for one room. The password is
sealed before anything is stored about the order, so neither the room's record nor an effect ever
holds it in clear; only the message itself does, and that is taken out of the room and out of our
inbox (`Conceal`). The call centre is asked at once whether it takes the account, and only an
account that it took becomes the room's. It is used from the next chat on: the server knows one chat
per account, so the account cannot change in the midst of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import assert_never

import msgspec

from bridge import __version__
from bridge.conversation import callback
from bridge.conversation.effects import Args, AskRobot
from bridge.conversation.inputs import CallBack, Cancel, Close, Rate, Solved, Start
from bridge.conversation.model import Chatting, Ended, Idle, Queued, Requesting
from bridge.conversation.transitions import all_pieces, ended_at, names, result_key
from bridge.conversation.turn import unique_events
from bridge.conversation.waiting import hidden
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
from bridge.rooms.visit import Visit
from bridge.texts.languages import nearest


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


class Parsed(msgspec.Struct, frozen=True):
    """A well-formed command."""

    verb: Verb
    words: tuple[str, ...] = ()
    bare: bool = False
    """Written without the prefix: only a command if it makes sense as one."""

    @property
    def for_admins(self) -> bool:
        """True if it changes the room for everybody."""
        if self.verb in {Verb.QUEUE, Verb.CONFIG}:
            return bool(self.words) and self.words[0] in {"set", "reset"}
        return self.verb in {Verb.LANG, Verb.FROM, Verb.PAUSE, Verb.RESUME}


class Malformed(msgspec.Struct, frozen=True):
    """Meant as a command, but not one; `key` and `args` are of the texts."""

    key: str
    args: Args
    secret: bool = False
    """It may hold a password all the same."""
    bare: bool = False
    """Written without the prefix: a customer's words, should they say so."""


_SETTINGS = frozenset({Verb.QUEUE, Verb.LANG, Verb.FROM, Verb.CONFIG})
_ACTIONS = frozenset({"set", "show", "reset"})


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
    words = text.split()
    if not words:
        return None
    if folded(words[0]) == folded(prefix):
        return _parse_words(words[1:], prefix)
    glued = _glued(words[0], prefix)
    if glued is not None:
        return _parse_words([glued, *words[1:]], prefix)
    if prefix_needed or "\n" in text.strip():
        return None
    parsed = _parse_words(words, prefix)
    if isinstance(parsed, Malformed):
        return None
    return msgspec.structs.replace(parsed, bare=True)


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
    words = [] if "\n" in text.strip() else text.split()
    verb = folded(words[0]) if words else ""
    rest = words[2:] if len(words) > 1 and folded(words[1]) in _ACTIONS else words[1:]
    if verb not in _SETTINGS or len(rest) > 1:
        return None
    return Malformed(f"usage.{verb}", {"prefix": prefix}, bare=True)


def _glued(word: str, prefix: str) -> str | None:
    """The command in a word like "!wcstatus", from which only a blank is missing.

    Nobody says such a word to an agent, if the prefix begins with a sign.
    """
    verb = folded(word).removeprefix(folded(prefix))
    if prefix[:1].isalnum() or verb == folded(word) or nearest_verb(verb, Verb) is None:
        return None
    return verb


def _parse_words(words: list[str], prefix: str) -> Parsed | Malformed:
    if not words:
        return Parsed(Verb.HELP)
    written = folded(words[0])
    try:
        verb = Verb(written)
    except ValueError:
        near = nearest_verb(written, Verb)
        if near is not None:
            args: Args = {"near": near, "prefix": prefix}
            secret = near == Verb.LOGIN and len(words) > 1
            return Malformed("command.unknown_near", args, secret=secret)
        return Malformed("command.unknown", {"prefix": prefix})
    return _check_words(verb, words[1:], prefix)


def _check_words(verb: Verb, words: list[str], prefix: str) -> Parsed | Malformed:
    usage = Malformed(f"usage.{verb}", {"prefix": prefix})
    match verb:
        case Verb.RATE | Verb.HISTORY | Verb.TRANSCRIPT:
            return _check_number(verb, words, usage)
        case Verb.QUEUE:
            return _check_queue(words, usage)
        case Verb.CONFIG:
            return _check_config(words, usage)
        case Verb.LANG | Verb.FROM:
            return Parsed(verb, (narrow(words[0]),)) if len(words) == 1 else usage
        case Verb.LOGIN:
            if len(words) == 2:
                return Parsed(verb, tuple(words))
            return msgspec.structs.replace(usage, secret=bool(words))
        case Verb.RETRY:
            known = [folded(word) for word in words] in ([], ["all"])
            return Parsed(verb, tuple(words)) if known else usage
        case Verb.ASK:
            return Parsed(verb, (" ".join(words),)) if words else usage
        case Verb.START:
            return Parsed(verb, (" ".join(words),)) if words else Parsed(verb)
        case _:
            return usage if words else Parsed(verb)


def _check_number(verb: Verb, words: list[str], usage: Malformed) -> Parsed | Malformed:
    """A rating may have words behind its number, and has to have one."""
    if not words:
        return usage if verb is Verb.RATE else Parsed(verb)
    number = narrow(words[0])
    well_formed = _is_number(number) and (verb is Verb.RATE or len(words) == 1)
    return Parsed(verb, (number, *words[1:])) if well_formed else usage


def _check_queue(words: list[str], usage: Malformed) -> Parsed | Malformed:
    action = folded(words[0]) if words else "show"
    if action in {"list", "show"} and len(words) <= 1:
        return Parsed(Verb.QUEUE, (action,))
    if action == "set" and len(words) > 1:
        return Parsed(Verb.QUEUE, ("set", " ".join(words[1:])))
    return usage


def _check_config(words: list[str], usage: Malformed) -> Parsed | Malformed:
    action = folded(words[0]) if words else "show"
    if action in {"show", "reset"} and len(words) <= 1:
        return Parsed(Verb.CONFIG, (action,))
    if action == "set" and len(words) > 2:
        return Parsed(Verb.CONFIG, ("set", folded(words[1]), " ".join(words[2:])))
    return usage


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 6


# --- the nearest command --------------------------------------------------------------------------

OTHER_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "help": ("?", "commands", "menu", "帮助", "幫助", "说明", "說明", "命令", "指令", "ヘルプ"),
        "start": ("begin", "chat", "contact", "开始", "開始", "联系", "聯絡", "咨询", "諮詢"),
        "cancel": ("leave", "abort", "取消", "退出", "キャンセル"),
        "close": ("stop", "end", "quit", "exit", "bye", "结束", "結束", "关闭", "關閉", "終了"),
        "rate": ("rating", "stars", "score", "评价", "評價", "评分", "評分", "評価"),
        "human": ("agent", "person", "operator", "人工", "转人工", "轉人工", "客服", "担当者"),
        "callback": ("recall", "notify", "remind", "回叫", "回电", "回電", "提醒", "折り返し"),
        "retry": ("resend", "again", "重发", "重發", "重试", "重試", "再送"),
        "status": ("state", "info", "position", "状态", "狀態", "排队", "排隊", "状況"),
        "lang": ("language", "语言", "語言", "言語"),
        "transcript": ("export", "save", "download", "记录", "紀錄"),
        "history": ("chats", "log", "历史", "歷史", "履歴"),
        "queue": ("queues", "department", "队列", "佇列", "キュー"),
        "config": ("settings", "configure", "设置", "設定"),
        "version": ("about", "版本", "バージョン"),
        "logout": ("signout", "登出", "ログアウト"),
        "login": ("signin", "登录", "登入", "ログイン"),
    }
)
"""What people say for our commands, in their languages."""


def nearest_verb(word: str, verbs: Iterable[str]) -> str | None:
    """The command that is nearest to a word that is none.

    Args:
        word: as it was written.
        verbs: the commands that there are.

    Returns:
        None if nothing is near.
    """
    wanted, known = word.casefold(), list(verbs)
    for verb in known:
        if wanted in OTHER_WORDS.get(verb, ()):
            return verb
    near = get_close_matches(wanted, known, 1)
    if not near:  # the beginning of one: "trans", "conf"
        near = [verb for verb in known if len(wanted) > 2 and verb.startswith(wanted)][:1]
    return near[0] if near else None


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


def log_in(visit: Visit, words: tuple[str, ...], event_id: EventId) -> None:
    """The order `login`; whatever becomes of it, the password does not stay in the room."""
    name, password = words
    visit.ask(Conceal(event_id))
    seal = visit.rules.seal
    if seal is None:
        visit.say("login.off", reply_to=event_id)
    elif not visit.record.direct:
        visit.say("login.direct_only", reply_to=event_id)
    elif _is_busy(visit.record):
        visit.say("login.chatting", {"prefix": visit.rules.prefix}, reply_to=event_id)
    elif visit.now - visit.record.login_at < LOGIN_EVERY:
        visit.say("login.too_soon", reply_to=event_id)
    else:
        visit.set(login_at=visit.now)
        login = OwnLogin(name, seal(visit.record.room_id, password))
        visit.ask(TryLogin(event_id, login))


def log_out(visit: Visit, words: tuple[str, ...], event_id: EventId) -> None:
    """The order `logout`: from now on the room has the account that the operator's config gives."""
    del words
    login = visit.record.login
    if login is None:
        visit.say("logout.nobody", reply_to=event_id)
    elif _is_busy(visit.record):
        visit.say("login.chatting", {"prefix": visit.rules.prefix}, reply_to=event_id)
    else:
        visit.set(login=None)
        visit.say("logout.done", {"name": login.name}, reply_to=event_id)


def login_tried(visit: Visit, came: LoginTried) -> None:
    """The call centre has said whether it takes the account."""
    if came.reason is not None:
        key, code = came.reason, came.code
        args: Args = {} if code is None else {"reason": visit.part(*_verdict(code))}
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


def _verdict(code: int) -> tuple[str, Args]:
    key, number = result_key(code)
    return key, {} if number is None else {"code": number}


# --- status ---------------------------------------------------------------------------------------


def _where_things_stand(visit: Visit) -> tuple[str, Args]:
    """The sentence, as a key of the texts, and its args."""
    key, args = _state_of(visit)
    if visit.record.settings.paused:
        return "command.status_paused", {
            "status": visit.part(key, args),
            "prefix": visit.rules.prefix,
        }
    return key, args


def _state_of(visit: Visit) -> tuple[str, Args]:
    """The same, whether the room is paused or not."""
    rules, phase = visit.rules, visit.record.conversation.phase
    args: Args = {"waiting": len(unique_events(all_pieces(visit.record.conversation)))}
    wished = callback.unseen(visit.record.conversation)
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
    """The sentence about a place in a queue; `away`: the call centre cannot be reached."""
    if phase.cancel:
        return "command.status_leaving_away" if away else "command.status_leaving"
    if isinstance(phase, Requesting):
        return "command.status_requesting"
    return "command.status_queued" if phase.position else "command.status_waiting"


# --- carrying out ---------------------------------------------------------------------------------

Words = tuple[str, ...]
Order = Callable[[Visit, Words, EventId], None]

TRANSCRIPT_EVERY = 60_000
"""ms between two transcripts in a room."""


def carry_out(visit: Visit, parsed: Parsed, event_id: EventId) -> None:
    """Do what a permitted command says; what the room answers replies to `event_id`.

    What the conversation has to say about it is said as always.
    """
    if parsed.bare and parsed.verb is Verb.LOGIN and reads_as_words(*parsed.words):
        visit.report(event_id, "undelivered.like_login", {"prefix": visit.rules.prefix})
        return
    ORDERS[parsed.verb](visit, parsed.words, event_id)


def explain(visit: Visit, malformed: Malformed, event_id: EventId) -> None:
    """Say how a command is written that was meant and is none."""
    if malformed.secret:
        visit.ask(Conceal(event_id))
    if malformed.bare:
        usage = visit.part(malformed.key, malformed.args)
        visit.report(event_id, "undelivered.like_command", {"usage": usage})
        return
    visit.say(malformed.key, malformed.args, reply_to=event_id)


def makes_sense(visit: Visit, parsed: Parsed) -> bool:
    """Whether a command without its prefix is one.

    "start over, please" and "rate 5 is too high" are what customers say.
    """
    word = parsed.words[-1] if parsed.words else ""
    match parsed.verb:
        case Verb.START:
            return not word or visit.rules.find_queue(word) is not None
        case Verb.QUEUE:
            return parsed.words[0] != "set" or visit.rules.find_queue(word) is not None
        case Verb.LANG:
            return nearest(word) is not None
        case Verb.FROM:
            return word.casefold() in {known.casefold() for known in SOURCES}
        case Verb.ASK:
            return visit.rules.robot
        case Verb.LOGIN:
            return visit.rules.seal is not None
        case Verb.RETRY:
            return bool(visit.record.undelivered)
        case Verb.SOLVED:
            return any(piece.consulted for piece in visit.record.conversation.held)
        case Verb.RATE:
            return _rates(visit, parsed.words)
        case _:
            return True


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


def _start(visit: Visit, words: Words, event_id: EventId) -> None:
    wanted = words[0] if words else ""
    if visit.record.settings.paused:
        visit.say("config.paused", {"prefix": visit.rules.prefix}, reply_to=event_id)
        return
    if not wanted:
        visit.step(Start(), event_id)
        return
    queue = visit.rules.find_queue(wanted)
    if queue is None:
        _unknown_queue(visit, wanted, event_id)
    elif not _waits_elsewhere(visit, queue, event_id):
        visit.step(Start(queue.id), event_id)


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


def _transcript(visit: Visit, words: Words, event_id: EventId) -> None:
    """Long chats cost the homeserver something, so not one after the other."""
    if visit.now - visit.record.transcript_at < TRANSCRIPT_EVERY:
        visit.say("transcript.too_soon", reply_to=event_id)
    else:
        visit.set(transcript_at=visit.now)
        visit.ask(SendTranscript(event_id, int(words[0]) if words else None))


def _ask(visit: Visit, words: Words, event_id: EventId) -> None:
    if visit.rules.robot:
        visit.ask(AskRobot(event_id, words[0]))
    else:
        visit.say("robot.off", {"prefix": visit.rules.prefix}, reply_to=event_id)


def _human(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    if visit.record.settings.paused:
        visit.say("config.paused", {"prefix": visit.rules.prefix}, reply_to=event_id)
        return
    for happened in cards.wants_person(visit, event_id):
        visit.step(happened, event_id)


def _call_back(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    if visit.record.settings.paused:
        visit.say("config.paused", {"prefix": visit.rules.prefix}, reply_to=event_id)
    else:
        visit.step(CallBack(), event_id)


def _queue(visit: Visit, words: Words, event_id: EventId) -> None:
    match words[0]:
        case "list":
            lines = [f"{queue.id} — {queue.name}" for queue in visit.rules.queues]
            visit.say("command.queues", {"list": "\n".join(lines)}, reply_to=event_id)
        case "set":
            _change(visit, set_queue, words[1], "config.queue_set", event_id)
        case _:
            name = visit.rules.queue_name(visit.rules.queue_for(visit.record))
            args: Args = {"queue": name, "prefix": visit.rules.prefix}
            visit.say("command.queue", args, reply_to=event_id)


def _config(visit: Visit, words: Words, event_id: EventId) -> None:
    match words[0]:
        case "set":
            _change(visit, partial(set_by_name, words[1]), words[2], "config.taken", event_id)
        case "reset":
            visit.set(settings=RoomSettings())
            visit.say("config.taken", shown_settings(visit), reply_to=event_id)
        case _:
            visit.say("config.shown", shown_settings(visit), reply_to=event_id)


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


def _status(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    key, args = _where_things_stand(visit)
    visit.say(key, args, reply_to=event_id)


def _help(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    visit.say("command.help", {"prefix": visit.rules.prefix}, reply_to=event_id)


def _version(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    visit.say("command.version", {"version": __version__}, reply_to=event_id)


def _history(visit: Visit, words: Words, event_id: EventId) -> None:
    visit.ask(TellHistory(event_id, int(words[0]) if words else 0))


def _cancel(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    visit.step(Cancel(), event_id)


def _close(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    visit.step(Close(), event_id)


def _solved(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    visit.step(Solved(), event_id)


def _rate(visit: Visit, words: Words, event_id: EventId) -> None:
    """A number that nobody offers is no rating; 0 may be one where nobody says what there is."""
    value, offered = int(words[0]), _ratings(visit)
    conversation = visit.record.conversation
    unsaid = not conversation.ratings and not visit.rules.ratings
    known = {one.id for one in offered} | ({0} if unsaid else set())
    if conversation.last_session is not None and value not in known:
        visit.say("rating.unknown", {"value": value, "options": shown(offered)}, reply_to=event_id)
    else:
        visit.step(Rate(value, " ".join(words[1:])), event_id)


def _language(visit: Visit, words: Words, event_id: EventId) -> None:
    _change(visit, set_language, words[0], "config.language_set", event_id)


def _from(visit: Visit, words: Words, event_id: EventId) -> None:
    _change(visit, set_source, words[0], "config.from_set", event_id)


def _pause(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    phase = visit.record.conversation.phase
    seen = isinstance(phase, Requesting | Queued) and not hidden(phase)
    done = "config.paused_meanwhile" if seen or isinstance(phase, Chatting) else "config.paused"
    _change(visit, set_paused, True, done, event_id)  # noqa: FBT003 - the setting's value


def _resume(visit: Visit, words: Words, event_id: EventId) -> None:
    del words
    done = "config.resumed" if visit.record.settings.paused else "config.not_paused"
    _change(visit, set_paused, False, done, event_id)  # noqa: FBT003 - likewise


def _elsewhere(visit: Visit, words: Words, event_id: EventId) -> None:
    """The reception's: it knows which message this one replies to."""
    del visit, words, event_id


ORDERS: Mapping[Verb, Order] = MappingProxyType(
    {
        Verb.HELP: _help,
        Verb.START: _start,
        Verb.CANCEL: _cancel,
        Verb.CLOSE: _close,
        Verb.RATE: _rate,
        Verb.ASK: _ask,
        Verb.HUMAN: _human,
        Verb.SOLVED: _solved,
        Verb.CALLBACK: _call_back,
        Verb.QUEUE: _queue,
        Verb.LANG: _language,
        Verb.FROM: _from,
        Verb.CONFIG: _config,
        Verb.STATUS: _status,
        Verb.RETRY: _elsewhere,
        Verb.HISTORY: _history,
        Verb.TRANSCRIPT: _transcript,
        Verb.LOGIN: log_in,
        Verb.LOGOUT: log_out,
        Verb.PAUSE: _pause,
        Verb.RESUME: _resume,
        Verb.VERSION: _version,
    }
)
"""What carries out each command; a test sees that none is missing."""
