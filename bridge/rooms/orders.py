"""Carrying out the commands of a room. Pure.

`commands` has read what was meant, and `reception` has seen whether its sender may: here each
command has its function (`ORDERS`). What it does to the conversation is an input like any other;
what has to be looked up or sent is an effect, and comes back as an input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from bridge import __version__
from bridge.conversation.chat import ended_at
from bridge.conversation.events import Args, AskRobot, CallBack, Cancel, Close, Rate, Solved, Start
from bridge.conversation.model import Chatting, Queued, Requesting
from bridge.conversation.queue import hidden
from bridge.ids import EventId
from bridge.rooms import cards, farewells, signing_in, status
from bridge.rooms.commands import Malformed, Parsed, Verb
from bridge.rooms.effects import Conceal, SendTranscript, TellHistory
from bridge.rooms.ratings import Choice, choices, shown
from bridge.rooms.record import RoomSettings
from bridge.rooms.rules import SOURCES, QueueRule
from bridge.rooms.settings import (
    BadSetting,
    Setter,
    set_by_name,
    set_language,
    set_paused,
    set_queue,
    set_source,
)
from bridge.rooms.visit import Visit
from bridge.texts.languages import nearest

Words = tuple[str, ...]
Order = Callable[[Visit, Words, EventId], None]

TRANSCRIPT_EVERY = 60_000
"""ms between two transcripts in a room."""


def carry_out(visit: Visit, parsed: Parsed, event_id: EventId) -> None:
    """Do what a permitted command says; what the room answers replies to `event_id`.

    What the conversation has to say about it is said as always.
    """
    if parsed.bare and parsed.verb is Verb.LOGIN and signing_in.reads_as_words(*parsed.words):
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
    if len(words) == 1 or farewells.polite(visit, " ".join(words[1:])):
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
    key, args = status.where_things_stand(visit)
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
        Verb.LOGIN: signing_in.log_in,
        Verb.LOGOUT: signing_in.log_out,
        Verb.PAUSE: _pause,
        Verb.RESUME: _resume,
        Verb.VERSION: _version,
    }
)
"""What carries out each command; a test sees that none is missing."""
