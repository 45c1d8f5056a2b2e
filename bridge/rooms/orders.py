"""Carrying out the commands of a room."""

from __future__ import annotations

from functools import partial
from typing import assert_never

from bridge import __version__
from bridge.conversation.effects import Args
from bridge.conversation.inputs import Cancel, Close, Rate, Start
from bridge.conversation.model import Chatting, Ended, Idle, Queued, Requesting
from bridge.conversation.transitions import all_pieces, names
from bridge.conversation.turn import unique_events
from bridge.ids import EventId
from bridge.rooms import cards
from bridge.rooms.commands import Parsed, Verb
from bridge.rooms.effects import AskRobot
from bridge.rooms.record import RoomSettings
from bridge.rooms.rules import LANGUAGES, SOURCES
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


def carry_out(visit: Visit, parsed: Parsed, event_id: EventId) -> None:
    """Do what a permitted command says; what the room answers replies to `event_id`.

    What the conversation has to say about it is said as always.
    """
    words = parsed.words
    match parsed.verb:
        case Verb.HELP:
            visit.say("command.help", {"prefix": visit.rules.prefix}, reply_to=event_id)
        case Verb.VERSION:
            visit.say("command.version", {"version": __version__}, reply_to=event_id)
        case Verb.STATUS:
            _status(visit, event_id)
        case Verb.START:
            _start(visit, words[0] if words else "", event_id)
        case Verb.CANCEL:
            visit.step(Cancel())
        case Verb.CLOSE:
            visit.step(Close())
        case Verb.RATE:
            visit.step(Rate(int(words[0]), " ".join(words[1:])))
        case Verb.ASK:
            _ask(visit, words[0], event_id)
        case Verb.HUMAN:
            _human(visit, event_id)
        case Verb.QUEUE:
            _queue(visit, words, event_id)
        case Verb.CONFIG:
            _config(visit, words, event_id)
        case Verb.LANG:
            _change(visit, set_language, words[0], "config.language_set", event_id)
        case Verb.FROM:
            _change(visit, set_source, words[0], "config.from_set", event_id)
        case Verb.PAUSE | Verb.RESUME:
            paused = parsed.verb is Verb.PAUSE
            done = "config.paused" if paused else "config.resumed"
            _change(visit, set_paused, paused, done, event_id)
        case _:
            assert_never(parsed.verb)


def makes_sense(visit: Visit, parsed: Parsed) -> bool:
    """Whether a command without its prefix is one.

    "start over, please", "from Beijing" and "rate 5 is too high" are what customers say.
    """
    word = parsed.words[-1] if parsed.words else ""
    match parsed.verb:
        case Verb.START:
            return not word or visit.rules.find_queue(word) is not None
        case Verb.QUEUE:
            return parsed.words[0] != "set" or visit.rules.find_queue(word) is not None
        case Verb.LANG:
            return word.casefold() in {known.casefold() for known in LANGUAGES}
        case Verb.FROM:
            return word.casefold() in {known.casefold() for known in SOURCES}
        case Verb.ASK:
            return visit.rules.robot
        case Verb.RATE:
            return visit.record.conversation.last_session is not None
        case _:
            return True


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


def _start(visit: Visit, wanted: str, event_id: EventId) -> None:
    if visit.record.settings.paused:
        visit.report(event_id, "undelivered.paused", {"prefix": visit.rules.prefix})
        return
    if not wanted:
        visit.step(Start())
        return
    queue = visit.rules.find_queue(wanted)
    if queue is None:
        _unknown_queue(visit, wanted, event_id)
    else:
        visit.step(Start(queue.id))


def _ask(visit: Visit, question: str, event_id: EventId) -> None:
    if visit.rules.robot:
        visit.ask(AskRobot(event_id, question))
    else:
        visit.say("robot.off", {"prefix": visit.rules.prefix}, reply_to=event_id)


def _human(visit: Visit, event_id: EventId) -> None:
    if visit.record.settings.paused:
        visit.report(event_id, "undelivered.paused", {"prefix": visit.rules.prefix})
        return
    for happened in cards.wants_person(visit, event_id):
        visit.step(happened)


def _queue(visit: Visit, words: tuple[str, ...], event_id: EventId) -> None:
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


def _config(visit: Visit, words: tuple[str, ...], event_id: EventId) -> None:
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
    visit.say(done, shown_settings(visit), reply_to=event_id)


def _status(visit: Visit, event_id: EventId) -> None:
    rules, phase = visit.rules, visit.record.conversation.phase
    args: Args = {"waiting": len(unique_events(all_pieces(visit.record.conversation)))}
    match phase:
        case Idle() | Ended():
            key = "command.status_idle"
            args["queue"] = rules.queue_name(rules.queue_for(visit.record))
        case Requesting():
            key = "command.status_requesting"
            args["queue"] = rules.queue_name(phase.queue_id)
        case Queued():
            key = "command.status_queued"
            args["queue"] = rules.queue_name(phase.queue_id)
            args["position"] = phase.position or "?"
        case Chatting():
            key = "command.status_chatting"
            args["names"] = names(phase.agents) or "?"
        case _:
            assert_never(phase)
    visit.say(key, args, reply_to=event_id)
