"""What WebChat answers (reference 1.3, 2.5), command by command."""

from __future__ import annotations

from typing import assert_never

import msgspec

from bridge.conversation.failures import try_again
from bridge.conversation.model import Chatting, Ended, Held, Idle, Queued, Requesting, Upload
from bridge.conversation.pushes import show_position
from bridge.conversation.transitions import (
    end_chat,
    queue_cancelled,
    queue_ended,
    resume_held,
    session_lost,
    start_chat,
)
from bridge.conversation.turn import Turn
from bridge.ids import CallId
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import (
    CancelRequest,
    CloseSession,
    RateSession,
    Reply,
    RequestChat,
    SendMessage,
    SendPreMessage,
)

_TRANSIENT = frozenset({ResultCode.INTERNAL_ERROR, ResultCode.INVALID_TOKEN})


def replied(turn: Turn, call_id: CallId, reply: Reply) -> None:
    """Settle the outstanding call; a reply to anything else changes nothing."""
    outstanding = turn.state.outstanding
    if outstanding is None or outstanding.call_id != call_id:
        return
    held = outstanding.held
    if reply.result in _TRANSIENT and try_again(turn, reply.result):
        return
    turn.set(outstanding=None)
    _trouble_over(turn)
    match outstanding.what:
        case RequestChat():
            _chat_requested(turn, reply)
        case CancelRequest():
            _request_cancelled(turn, reply)
        case CloseSession() as command:
            _session_closed(turn, command, reply)
        case RateSession():
            _session_rated(turn, reply)
        case SendMessage() as command if held is not None:
            _message_sent(turn, command, held, reply)
        case SendPreMessage() as command if held is not None:
            _pre_message_sent(turn, command, held, reply)
        case _:
            pass  # an upload has no reply, and the machine makes no other call


def _trouble_over(turn: Turn) -> None:
    if turn.state.told_trouble:
        turn.say("trouble.over")
    turn.set(failures=0, trouble_since=None, retry_at=None, told_trouble=False)


def result_key(code: int) -> str:
    """The key of the sentence for a result code."""
    return f"result.{code}" if code in set(ResultCode) else "result.other"


# --- 101 ----------------------------------------------------------------------------------------


def _chat_requested(turn: Turn, reply: Reply) -> None:
    phase = turn.state.phase
    if not isinstance(phase, Requesting | Queued):
        return  # a push was faster: 202 (row 15) or the end of the queue
    if reply.ok:
        _request_granted(turn, phase, reply)
    elif reply.result == ResultCode.ALREADY_IN_ROUTING:
        _still_queued(turn, phase, reply)
    elif reply.result == ResultCode.ALREADY_IN_CHATTING:
        _already_chatting(turn, phase, reply)
    elif phase.cancel:
        queue_cancelled(turn)
    elif _can_do_without_agent(turn, phase, reply):
        pass
    else:
        key = result_key(reply.result)
        queue_ended(turn, key, reply.result if key == "result.other" else None)


def _request_granted(turn: Turn, phase: Requesting | Queued, reply: Reply) -> None:
    if reply.session_id is None:
        _now_queued(turn, phase, reply)
    elif reply.permanent or reply.robot_type is not None:
        start_chat(turn, reply.session_id, reply.agents, robot=reply.robot_type is not None)
    elif phase.cancel:
        start_chat(turn, reply.session_id, reply.agents)
    else:  # row 12: a 202 is due
        _drop_pre_sent(turn, phase)
        turn.enter(
            Requesting(
                phase.queue_id,
                phase.since,
                session_id=reply.session_id,
                agents=reply.agents,
                adopt_at=turn.now + turn.policy.start_wait,
            )
        )


def _now_queued(turn: Turn, phase: Requesting | Queued, reply: Reply) -> None:
    """Rows 7 and 30: a request of our own stands; an earlier one of ours is forgotten there."""
    request_id = reply.request_id
    pre_sent: tuple[Held, ...] = ()
    if isinstance(phase, Queued):
        request_id = request_id or phase.request_id  # a 201 may have been faster (row 8)
        if request_id is not None and request_id == phase.former_id:
            pre_sent = phase.pre_sent
        else:
            turn.put_back(*phase.pre_sent)
    queued = Queued(
        phase.queue_id,
        phase.since,
        request_id=request_id,
        position=phase.position if isinstance(phase, Queued) else None,
        heard_at=turn.now,
        cancel=phase.cancel,
        cancel_by=turn.now + turn.policy.cancel_wait if phase.cancel else None,
        pre_sent=pre_sent,
    )
    turn.enter(queued)
    show_position(turn, reply.queue_length)


def _still_queued(turn: Turn, phase: Requesting | Queued, reply: Reply) -> None:
    """-1 is good news: the request that WebChat knows is ours (row 13)."""
    known = (phase.request_id or phase.former_id) if isinstance(phase, Queued) else None
    queued = phase if isinstance(phase, Queued) else Queued(phase.queue_id, phase.since)
    turn.enter(
        msgspec.structs.replace(
            queued,
            request_id=reply.request_id or known,
            heard_at=turn.now,
            accepted=False,
            cancel=phase.cancel,
            cancel_by=turn.now + turn.policy.cancel_wait if phase.cancel else None,
        )
    )
    show_position(turn, reply.queue_length)


def _already_chatting(turn: Turn, phase: Requesting | Queued, reply: Reply) -> None:
    """-2: the session named, else the one we remember, else a 202 that may still come (row 14)."""
    lost = phase.lost_session if isinstance(phase, Requesting) else None
    session_id = reply.session_id
    if session_id is None and not turn.state.last_closed and turn.state.last_session != lost:
        session_id = turn.state.last_session
    if session_id is not None:
        start_chat(turn, session_id, reply.agents)
        return
    _drop_pre_sent(turn, phase)
    turn.enter(
        Requesting(
            phase.queue_id,
            phase.since,
            adopt_at=turn.now + turn.policy.unknown_chat_wait,
            lost_session=lost,
            cancel=phase.cancel,
        )
    )


def _drop_pre_sent(turn: Turn, phase: Requesting | Queued) -> None:
    """The request turned into a session: what 111 took is with the agent."""
    if isinstance(phase, Queued):
        turn.delivered(*phase.pre_sent)


def _can_do_without_agent(turn: Turn, phase: Requesting | Queued, reply: Reply) -> bool:
    """-9: the agent asked for is unknown or away; ask once for anybody (trap T38)."""
    if reply.result != ResultCode.INVALID_TO_USER_ID or not isinstance(phase, Requesting):
        return False
    if phase.any_agent or not turn.policy.to_agent:
        return False
    turn.enter(msgspec.structs.replace(phase, any_agent=True))
    return True


# --- 102, 103, 104 ------------------------------------------------------------------------------


def _request_cancelled(turn: Turn, reply: Reply) -> None:
    phase = turn.state.phase
    if not isinstance(phase, Queued):
        return  # a 202 won the race (row 22), or status 7 was faster
    if reply.ok or reply.result == ResultCode.INVALID_CHAT_REQUEST_ID:
        queue_cancelled(turn)
        return
    turn.enter(msgspec.structs.replace(phase, cancel=False, cancel_by=None))
    turn.say("cancel.refused", {"code": reply.result})


def _session_closed(turn: Turn, command: CloseSession, reply: Reply) -> None:
    phase = turn.state.phase
    if not isinstance(phase, Chatting) or phase.session_id != command.session_id:
        return  # 205 was faster: one end, one notice
    if reply.ok or reply.result == ResultCode.INVALID_CHAT_SESSION_ID:
        end_chat(turn, "chat.ended_by_you")
        return
    turn.enter(msgspec.structs.replace(phase, close=False))
    turn.say("close.refused", {"code": reply.result})


def _session_rated(turn: Turn, reply: Reply) -> None:
    turn.set(rating=None)
    if reply.ok:
        turn.say("rating.thanks")
    elif reply.result == ResultCode.INVALID_CHAT_SESSION_ID:
        turn.say("rating.too_late")
    else:
        turn.say("rating.refused", {"code": reply.result})


# --- 110, 111 -----------------------------------------------------------------------------------


def _message_sent(turn: Turn, command: SendMessage, held: Held, reply: Reply) -> None:
    if reply.ok:
        turn.delivered(held)
        phase = turn.state.phase
        if reply.session_id is not None and not isinstance(phase, Chatting):
            start_chat(turn, reply.session_id, reply.agents)  # we missed the 202 (trap T14)
        return
    if reply.result == ResultCode.INVALID_CHAT_SESSION_ID:  # row 24
        turn.put_back(_fresh(held))
        session_lost(turn, command.session_id)
        return
    _refuse(turn, held, reply.result)


def _pre_message_sent(turn: Turn, command: SendPreMessage, held: Held, reply: Reply) -> None:
    phase = turn.state.phase
    if reply.ok:
        _pre_message_taken(turn, held)
    elif reply.result == ResultCode.INVALID_CHAT_REQUEST_ID:
        turn.put_back(_fresh(held))
        if isinstance(phase, Queued) and phase.request_id == command.request_id:
            # Accepted just now, or forgotten: a 202 comes soon, or we ask again.
            turn.enter(
                msgspec.structs.replace(phase, request_id=None, accepted=True, heard_at=turn.now)
            )
        resume_held(turn)
    else:
        _refuse(turn, held, reply.result)


def _pre_message_taken(turn: Turn, held: Held) -> None:
    phase = turn.state.phase
    match phase:
        case Queued() if phase.cancel:
            turn.report((held,), "undelivered.cancelled")
        case Queued():
            turn.enter(msgspec.structs.replace(phase, pre_sent=(*phase.pre_sent, _fresh(held))))
        case Chatting() | Requesting():
            turn.delivered(held)  # trap T22: the agent who accepted has it
        case Idle() | Ended():
            turn.put_back(_fresh(held))  # the queue ended meanwhile: nobody will read it
        case _:
            assert_never(phase)


def _fresh(held: Held) -> Held:
    """Surely not with an agent: a later attempt is a first one."""
    return msgspec.structs.replace(held, asked=None, repeats=0)


def _refuse(turn: Turn, held: Held, code: int) -> None:
    if code == ResultCode.EMPTY_MESSAGE:
        turn.report((held,), "undelivered.blank")
    else:
        turn.report((held,), "undelivered.refused", {"code": code})


def uploaded(turn: Turn, call_id: CallId, url: str, size: int) -> None:
    """The file lies on the WebChat server: its message may go when its turn comes."""
    outstanding = turn.state.outstanding
    if outstanding is None or outstanding.call_id != call_id:
        return
    if not isinstance(outstanding.what, Upload):
        return
    turn.set(outstanding=None)
    _trouble_over(turn)
    media = outstanding.what.media
    if size > 0:
        media = msgspec.structs.replace(media, size=size)
    pieces = list(turn.state.held)
    for index, piece in enumerate(pieces):
        if piece.content == outstanding.what.media and not piece.url:
            pieces[index] = msgspec.structs.replace(piece, content=media, url=url)
            break
    turn.set(held=tuple(pieces))
