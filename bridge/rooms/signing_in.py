"""`login` and `logout`: a customer's own account at the call centre, for one room.

The password is sealed before anything is stored about the order, so neither the room's record nor
an effect ever holds it in clear; only the message itself does, and that is taken out of the room
and out of our inbox (`conceal`). Whether the call centre takes it is asked at once, and only an
account that it took becomes the room's. It is used from the next chat on: the server knows one chat
per account, so the account cannot change in the midst of one.
"""

from __future__ import annotations

import re

import msgspec

from bridge.conversation.events import Args, FailureReason
from bridge.conversation.model import Ended, Idle
from bridge.conversation.queue import result_key
from bridge.ids import EventId, RoomId
from bridge.rooms.effects import Conceal, TryLogin
from bridge.rooms.inputs import LoginTried, LookedUp
from bridge.rooms.ports import Account, CallFailure, Refused
from bridge.rooms.record import OwnLogin, RoomRecord
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit
from bridge.webchat.codes import ResultCode

EVERY = 60_000
"""ms between two attempts in a room: all rooms share the server's limit (reference 3.7)."""
LONGEST_NUMBER = 4
"""Digits that may be a number in a sentence; a longer one is a password."""
_SIGNS = re.compile(r"^\W+|(?<=\w)\W+$|(?<=\w)['’-](?=\w)")
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
    name, password = _SIGNS.sub("", name), _SIGNS.sub("", password)
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
    elif visit.now - visit.record.login_at < EVERY:
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


def tried(visit: Visit, came: LoginTried) -> None:
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


# --- outside ------------------------------------------------------------------------------------


async def attempt(around: Surroundings, account: Account, order: TryLogin) -> LoginTried:
    """Ask the call centre; says what came of it. May wait for its turn at the server's door."""
    try:
        await around.link.log_in(msgspec.structs.replace(account, login=order.login))
    except CallFailure as failure:
        if failure.reason is FailureReason.UNREACHABLE and failure.code is None:
            return LoginTried(order.event_id, order.login, "login.unreachable")
        code = ResultCode.FAILURE if failure.code is None else failure.code
        return LoginTried(order.event_id, order.login, "login.refused", int(code))
    return LoginTried(order.event_id, order.login)


async def conceal(around: Surroundings, record: RoomRecord, event_id: EventId) -> LookedUp | None:
    """Take a password out of the inbox and out of the room; what to say if the room keeps it.

    Raises:
        StoreError: the database did not answer.
        Unavailable: the homeserver did not.
    """
    room_id = RoomId(record.room_id)
    await around.store.forget_body(room_id, event_id)
    try:
        await around.matrix.redact(room_id, record.host, event_id, f"conceal.{event_id}")
    except Refused:
        return LookedUp(event_id, "login.delete")
    return None
