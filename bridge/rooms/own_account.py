"""The customer's own account at the call centre: the commands `login` and `logout`.

A command is checked in the pure step; the attempt is an effect of the lane aside, and its result an
input again. The server allows one chat per account. The password is encrypted before anything is
stored about the command; only the message itself holds it in plain text, and the reader has asked
for its redaction and its removal from the journal (`Conceal`).
"""

from __future__ import annotations

from msgspec.structs import replace

from bridge.conversation import model
from bridge.conversation.queue import result_key
from bridge.rooms.effects import Conceal, TryLogin
from bridge.rooms.ports import Account, CallFailure, Refused
from bridge.rooms.record import LoginTried, LookedUp, OwnLogin, RoomRecord
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Call, Visit
from bridge.webchat.codes import FailureReason, ResultCode

LOGIN_EVERY = 60_000
"""ms between two login attempts of a room: all share the server's rate limit (reference 3.7)."""


def log_in(visit: Visit, call: Call) -> None:
    """Carry out `login`: try the account, to be used from the next chat on."""
    (name, password), event_id, seal = call.words, call.event_id, visit.rules.seal
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


def log_out(visit: Visit, call: Call) -> None:
    """Carry out `logout`: return to the account that the operator configured."""
    login, event_id = visit.record.login, call.event_id
    if login is None:
        visit.say("logout.nobody", reply_to=event_id)
    elif _is_busy(visit.record):
        visit.say("login.chatting", reply_to=event_id)
    else:
        visit.set(login=None)
        visit.say("logout.done", {"name": login.name}, reply_to=event_id)


def login_tried(visit: Visit, result: LoginTried) -> None:
    key, args = "login.done", model.Args(name=result.login.name)
    if result.reason is not None:
        key, args = result.reason, {}
        if result.code is not None:
            args["reason"] = visit.for_room(*result_key(result.code))
    elif _is_busy(visit.record):  # a chat began meanwhile, under the former account
        key, args = "login.chatting", {}
    else:
        visit.set(login=result.login)
    visit.say(key, args, reply_to=result.event_id)


def _is_busy(record: RoomRecord) -> bool:
    """True while the room's current account may have a chat or call at the server."""
    conversation = record.conversation
    return not isinstance(conversation.phase, model.NoChat) or conversation.outstanding is not None


# --- in the lane aside ----------------------------------------------------------------------------


async def try_login(around: Surroundings, account: Account, order: TryLogin) -> LoginTried:
    """Try a login at the call centre, which may wait for its turn, and return its result."""
    try:
        await around.link.log_in(replace(account, login=order.login))
    except CallFailure as failure:
        later = failure.reason in {FailureReason.UNREACHABLE, FailureReason.NO_TURN}
        if later and failure.code is None:
            return LoginTried(order.event_id, order.login, "login.unreachable")
        code = ResultCode.FAILURE if failure.code is None else failure.code
        return LoginTried(order.event_id, order.login, "login.refused", int(code))
    return LoginTried(order.event_id, order.login)


async def conceal(around: Surroundings, record: RoomRecord, order: Conceal) -> LookedUp | None:
    """Erase a password from the journal and redact it; if refused, return the reply to say so."""
    event_id = order.event_id
    await around.store.forget_body(record.room_id, event_id)
    try:
        await around.matrix.redact(record.matrix_id, record.host, event_id, f"conceal.{event_id}")
    except Refused:
        return LookedUp(event_id, "login.delete")
    return None
