"""The commands `login` and `logout`: a customer's own account at the call centre. Pure.

The password is encrypted before anything is stored about the command; only the message itself holds
it in plain text, and is redacted and erased from the journal (`Conceal`). The login is tried at
once; an accepted account is used from the next chat on, as the server allows one chat per account.
"""

from __future__ import annotations

import re

from bridge.conversation import model
from bridge.conversation.queue import result_key
from bridge.ids import EventId
from bridge.rooms.record import LoginTried, OwnLogin, RoomRecord
from bridge.rooms.visit import TryLogin, Visit

LOGIN_EVERY = 60_000
"""ms between two login attempts of a room: all share the server's rate limit (reference 3.7)."""
LONGEST_NUMBER = 4
"""Maximum digits of a number in a sentence; a longer one is a password."""
_AROUND_WORDS = re.compile(r"^\W+|(?<=\w)\W+$|(?<=\w)['’-](?=\w)")
"""Punctuation around a word, apostrophes and hyphens within. The lookbehind avoids quadratic
backtracking: 60,000 punctuation characters stopped all rooms for a minute."""


def reads_as_words(name: str, password: str) -> bool:
    """True if a `login` without prefix may be a sentence ("login doesn't work", "login error 404").

    It is neither tried, as that deletes the message, nor sent to the agent, who might read a
    password: the customer is asked. During a chat such words go to the agent, and the customer is
    asked about all others (`commands.like_login`).
    """
    name, password = _AROUND_WORDS.sub("", name), _AROUND_WORDS.sub("", password)
    number = password.isdecimal() and len(password) <= LONGEST_NUMBER
    return name.isalpha() and (number or not password or password.isalpha())


def log_in(visit: Visit, words: tuple[str, ...], event_id: EventId) -> None:
    """Handle the command `login`; the reader has asked for its removal from the room."""
    name, password = words
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
    """Handle the command `logout`: return to the account that the operator configured."""
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
    """True while the room's current account may have a chat or call at the server."""
    conversation = record.conversation
    return not isinstance(conversation.phase, model.NoChat) or conversation.outstanding is not None
