"""Logins: a customer's own account at the call centre, for one room. Pure.

The password is sealed before anything is stored about the command; only the message itself holds it
in clear, and is taken out of the room and out of our journal (`Conceal`). An account that the call
centre takes, which is asked at once, is used from the next chat on: the server knows one chat per
account.
"""

from __future__ import annotations

import re

from bridge.conversation import model
from bridge.conversation.queue import result_key
from bridge.ids import EventId
from bridge.rooms.record import LoginTried, OwnLogin, RoomRecord
from bridge.rooms.visit import Conceal, TryLogin, Visit

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
    password. Whoever wrote it says which it is. During a chat all such words are the agent's, and
    what reads otherwise is asked about in the same way (`commands.like_login`).
    """
    name, password = _AROUND_WORDS.sub("", name), _AROUND_WORDS.sub("", password)
    number = password.isdecimal() and len(password) <= LONGEST_NUMBER
    return name.isalpha() and (number or not password or password.isalpha())


def log_in(visit: Visit, words: tuple[str, ...], event_id: EventId, *, bare: bool) -> None:
    """The command `login`; whatever becomes of it, the password does not stay in the room."""
    name, password = words
    if bare and reads_as_words(name, password):
        visit.report(event_id, "undelivered.like_login")
        return
    visit.ask(Conceal(event_id))
    seal = visit.rules.seal
    if seal is None:
        visit.say("login.off", reply_to=event_id)
    elif not visit.record.direct:
        visit.say("login.direct_only", reply_to=event_id)
    elif _is_busy(visit.record):
        visit.say("login.chatting", reply_to=event_id)
    elif 0 <= visit.now - visit.record.login_at < LOGIN_EVERY:
        visit.say("login.too_soon", reply_to=event_id)
    else:
        visit.set(login_at=visit.now)
        login = OwnLogin(name, seal(visit.record.room_id, password))
        visit.ask(TryLogin(event_id, login))


def log_out(visit: Visit, event_id: EventId) -> None:
    """The command `logout`: back to the account that the operator's config gives."""
    login = visit.record.login
    if login is None:
        visit.say("logout.nobody", reply_to=event_id)
    elif _is_busy(visit.record):
        visit.say("login.chatting", reply_to=event_id)
    else:
        visit.set(login=None)
        visit.say("logout.done", {"name": login.name}, reply_to=event_id)


def login_tried(visit: Visit, came: LoginTried) -> None:
    key, args = "login.done", model.Args(name=came.login.name)
    if came.reason is not None:
        key, args = came.reason, {}
        if came.code is not None:
            args["reason"] = visit.part(*result_key(came.code))
    elif _is_busy(visit.record):  # a chat began meanwhile, under the former account
        key, args = "login.chatting", {}
    else:
        visit.set(login=came.login)
    visit.say(key, args, reply_to=came.event_id)


def _is_busy(record: RoomRecord) -> bool:
    """True while the server may still connect something with the account that the room has."""
    conversation = record.conversation
    return not isinstance(conversation.phase, model.NoChat) or conversation.outstanding is not None
