"""Carrying out the commands of a room."""

from __future__ import annotations

from typing import assert_never

from bridge import __version__
from bridge.conversation.inputs import Cancel, Close, Rate, Start
from bridge.conversation.model import Chatting, Ended, Idle, Queued, Requesting
from bridge.conversation.transitions import names
from bridge.ids import EventId
from bridge.rooms.commands import Parsed, Verb
from bridge.rooms.settings import (
    BadSetting,
    Setter,
    set_language,
    set_paused,
    set_queue,
    set_source,
)
from bridge.rooms.visit import Visit


def carry_out(visit: Visit, parsed: Parsed, event_id: EventId) -> None:
    """Do what a permitted command says; its answer replies to `event_id`."""
    words = parsed.words
    match parsed.verb:
        case Verb.HELP:
            visit.say("command.help", {"prefix": visit.rules.prefix})
        case Verb.VERSION:
            visit.say("command.version", {"version": __version__})
        case Verb.STATUS:
            _status(visit)
        case Verb.START:
            _start(visit, words[0] if words else "", event_id)
        case Verb.CANCEL:
            visit.step(Cancel())
        case Verb.CLOSE:
            visit.step(Close())
        case Verb.RATE:
            visit.step(Rate(int(words[0]), " ".join(words[1:])))
        case Verb.QUEUE:
            _queue(visit, words, event_id)
        case Verb.LANG:
            _change(visit, set_language, words[0], "config.language_set", event_id)
        case Verb.FROM:
            _change(visit, set_source, words[0], "config.from_set", event_id)
        case Verb.PAUSE:
            _change(visit, set_paused, True, "config.paused", event_id)  # noqa: FBT003
        case Verb.RESUME:
            _change(visit, set_paused, False, "config.resumed", event_id)  # noqa: FBT003
        case _:
            assert_never(parsed.verb)


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


def _queue(visit: Visit, words: tuple[str, ...], event_id: EventId) -> None:
    match words[0]:
        case "list":
            lines = [f"{queue.id} — {queue.name}" for queue in visit.rules.queues]
            visit.say("command.queues", {"list": "\n".join(lines)})
        case "set":
            _change(visit, set_queue, words[1], "config.queue_set", event_id)
        case _:
            name = visit.rules.queue_name(visit.rules.queue_for(visit.record))
            visit.say("command.queue", {"queue": name, "prefix": visit.rules.prefix})


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
    queue = visit.rules.queue_name(visit.rules.queue_for(visit.record))
    visit.say(
        done,
        {
            "queue": queue,
            "language": visit.rules.language_for(settings),
            "source": settings.source or visit.rules.source,
        },
        reply_to=event_id,
    )


def _status(visit: Visit) -> None:
    conversation = visit.record.conversation
    queue = visit.rules.queue_name(visit.rules.queue_for(visit.record))
    waiting = len(conversation.held) + (conversation.outstanding is not None)
    match conversation.phase:
        case Idle() | Ended():
            visit.say("command.status_idle", {"queue": queue, "waiting": waiting})
        case Requesting():
            visit.say("command.status_requesting", {"queue": queue, "waiting": waiting})
        case Queued() as phase:
            position = "?" if phase.position is None else phase.position
            visit.say("command.status_queued", {"queue": queue, "position": position})
        case Chatting() as phase:
            agents = names(phase.agents) or "?"
            visit.say("command.status_chatting", {"names": agents, "waiting": waiting})
        case _:
            assert_never(conversation.phase)
