"""What WebChat answers (reference 1.3, 2.5), command by command.

An answer settles the one call that is outstanding. What it means depends on the phase by then, for
a push may have been faster. Refusals that may pass (-100, -15) settle nothing yet: the call is made
again (`failures.try_again`).
"""

from __future__ import annotations

import msgspec

from bridge.conversation import quoting, rating, robot, waiting
from bridge.conversation.effects import Offer
from bridge.conversation.failures import blank, refuse, try_again
from bridge.conversation.inputs import Uploaded
from bridge.conversation.model import (
    Chatting,
    CustomerMedia,
    Held,
    Outstanding,
    Queued,
    Requesting,
    Upload,
)
from bridge.conversation.pushes import chat_started
from bridge.conversation.transitions import (
    end_chat,
    greet,
    queue_cancelled,
    queue_ended,
    queued,
    result_key,
    session_lost,
    start_chat,
    take_back,
)
from bridge.conversation.turn import Turn
from bridge.ids import CallId, RequestId
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import (
    CancelRequest,
    ChatStarted,
    CloseSession,
    RateSession,
    Reply,
    RequestChat,
    SendMessage,
    SendPreMessage,
    TransferFromRobot,
    Video,
)

_NO_SUCH_KIND = frozenset({ResultCode.INVALID_MESSAGE_TYPE, ResultCode.INVALID_PARAMETER})
_TRANSIENT = frozenset({ResultCode.INTERNAL_ERROR, ResultCode.INVALID_TOKEN})


def replied(turn: Turn, call_id: CallId, reply: Reply) -> None:
    """Settle the outstanding call; a reply to anything else changes nothing."""
    asked = turn.state.outstanding
    if asked is None or asked.call_id != call_id or isinstance(asked.what, Upload):
        return
    if reply.result in _TRANSIENT and try_again(turn, asked, reply.result):
        return
    turn.set(outstanding=None)
    _trouble_over(turn)
    match asked.what:
        case RequestChat():
            if not asked.moot:
                _chat_requested(turn, reply)
        case CancelRequest() as command:
            _request_cancelled(turn, command, reply)
        case CloseSession() as command:
            _session_closed(turn, command, reply)
        case RateSession() as command:
            rating.taken(turn, command, reply)
        case TransferFromRobot() as command:
            _handed_over(turn, command, reply)
        case SendMessage() as command if asked.held is not None:
            _message_sent(turn, command, asked, asked.held, reply)
        case SendPreMessage() as command if asked.held is not None:
            _pre_message_sent(turn, command, asked, asked.held, reply)
        case _:
            pass  # stored by another version of the bridge: whatever it was, it is settled


def _trouble_over(turn: Turn) -> None:
    if turn.state.told_trouble:
        turn.say("trouble.over")
    turn.set(failures=0, trouble_since=None, retry_at=None, told_trouble=False)
    waiting.turn_came(turn)


# --- 101 ----------------------------------------------------------------------------------------


def _chat_requested(turn: Turn, reply: Reply) -> None:
    phase = turn.state.phase
    if isinstance(phase, Chatting):
        _overtaken(turn, phase, reply)
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
    elif not _asked_without_agent(turn, phase, reply):
        queue_ended(turn, *result_key(reply.result), words=quoting.reason(reply))


def _overtaken(turn: Turn, phase: Chatting, reply: Reply) -> None:
    """A 202 was faster (row 15), and did not say whether it is the robot who is there."""
    if reply.robot_type is None or reply.session_id != phase.session_id:
        return
    if phase.robot or phase.unwanted:
        return
    robots = {agent.id for agent in reply.agents or phase.agents}
    if {agent.id for agent in phase.agents} <= robots:  # else a person has come meanwhile
        turn.enter(msgspec.structs.replace(phase, robot=True))
        turn.ask(Offer("robot.person_offered"))


def _request_granted(turn: Turn, phase: Requesting | Queued, reply: Reply) -> None:
    session_id = reply.session_id
    if session_id is None:
        _now_queued(turn, phase, reply)
    elif isinstance(phase, Requesting) and session_id == phase.lost_session:
        queue_ended(turn, "trouble.other_chat")  # disowned a moment ago: never in a circle
    elif reply.permanent or reply.robot_type is not None or phase.cancel:
        start_chat(turn, session_id, reply.agents, robot=reply.robot_type is not None)
    else:  # row 12
        _await_start(turn, phase, reply, turn.policy.start_wait)


def _now_queued(turn: Turn, phase: Requesting | Queued, reply: Reply) -> None:
    """Rows 7 and 30: a request of ours stands; the one before it, if any, is forgotten there."""
    place = queued(turn, phase)
    if reply.request_id not in {None, place.former_id}:
        place = msgspec.structs.replace(place, cut=False)  # a new one, made after the outage
    request_id = reply.request_id or place.request_id  # a 201 may have been faster (row 8)
    if place.pre_sent and (request_id is None or request_id != place.former_id):
        turn.put_back(*place.pre_sent)
        turn.lapse()
        place = msgspec.structs.replace(place, pre_sent=())
    _stand(turn, place, request_id, reply)


def _still_queued(turn: Turn, phase: Requesting | Queued, reply: Reply) -> None:
    """-1 is good news: the request that WebChat knows is ours (row 13)."""
    place = queued(turn, phase)
    _stand(turn, place, reply.request_id or place.request_id or place.former_id, reply)


def _stand(turn: Turn, place: Queued, request_id: RequestId | None, reply: Reply) -> None:
    if request_id == turn.state.last_request:
        turn.set(last_request=None)  # we had left it, WebChat had not: its news is news again
    turn.enter(
        msgspec.structs.replace(place, request_id=request_id, former_id=None, heard_at=turn.now)
    )
    waiting.moved(turn, reply.queue_length)


def _already_chatting(turn: Turn, phase: Requesting | Queued, reply: Reply) -> None:
    """-2: the session named, else the one we remember, else a 202 that may still come (row 14)."""
    lost = phase.lost_session if isinstance(phase, Requesting) else None
    session_id = reply.session_id
    if session_id is None and not turn.state.last_closed:
        session_id = turn.state.last_session
    if session_id is not None and session_id != lost:
        start_chat(turn, session_id, reply.agents, robot=reply.robot_type is not None)
    else:
        _await_start(
            turn,
            phase,
            msgspec.structs.replace(reply, session_id=None),
            turn.policy.unknown_chat_wait,
        )


def _await_start(turn: Turn, phase: Requesting | Queued, reply: Reply, wait: int) -> None:
    """A session exists, and a 202 is due that says more of it."""
    if isinstance(phase, Queued):  # the request turned into a session: the agent has these
        turn.delivered(*phase.pre_sent)
    turn.enter(
        Requesting(
            phase.queue_id,
            phase.since,
            session_id=reply.session_id,
            agents=reply.agents,
            adopt_at=turn.now + wait,
            lost_session=phase.lost_session if isinstance(phase, Requesting) else None,
            cancel=phase.cancel,
            quiet=waiting.hidden(phase),
        )
    )


def _asked_without_agent(turn: Turn, phase: Requesting | Queued, reply: Reply) -> bool:
    """-9: the agent asked for is unknown or away; ask once for anybody (trap T38)."""
    if reply.result != ResultCode.INVALID_TO_USER_ID:
        return False
    if phase.any_agent or not turn.policy.to_agent:
        return False
    if isinstance(phase, Queued):
        phase = msgspec.structs.replace(phase, resync=True)
    turn.enter(msgspec.structs.replace(phase, any_agent=True))
    return True


# --- 102, 103, 104 ------------------------------------------------------------------------------


def _request_cancelled(turn: Turn, command: CancelRequest, reply: Reply) -> None:
    phase = turn.state.phase
    if not isinstance(phase, Queued) or phase.request_id != command.request_id:
        return  # a 202 won the race (row 22), or status 7 was faster
    if reply.ok or reply.result == ResultCode.INVALID_CHAT_REQUEST_ID:
        queue_cancelled(turn)
        return
    turn.enter(msgspec.structs.replace(phase, cancel=False, cancel_by=None))
    waiting.show(turn)
    turn.say("cancel.refused", {"code": reply.result})
    quoting.say(turn, quoting.reason(reply))


def _session_closed(turn: Turn, command: CloseSession, reply: Reply) -> None:
    phase = turn.state.phase
    if not isinstance(phase, Chatting) or phase.session_id != command.session_id:
        return  # 205 was faster: one end, one notice
    if reply.ok or reply.result == ResultCode.INVALID_CHAT_SESSION_ID:
        end_chat(turn, phase, "chat.ended_by_you")
        return
    turn.enter(msgspec.structs.replace(phase, close=False, unwanted=False))
    turn.say("close.refused", {"code": reply.result})
    quoting.say(turn, quoting.reason(reply))
    if phase.unwanted:
        greet(turn, phase)


# --- 302 ----------------------------------------------------------------------------------------


def _handed_over(turn: Turn, command: TransferFromRobot, reply: Reply) -> None:
    """Row 27: a person is being looked for, or the robot goes on."""
    phase = turn.state.phase
    if not isinstance(phase, Chatting) or phase.session_id != command.session_id:
        return
    sought = reply.ok or reply.result == ResultCode.ALREADY_IN_ROUTING
    turn.enter(msgspec.structs.replace(phase, human=False, seeking=sought and phase.robot))
    if reply.result == ResultCode.INVALID_CHAT_SESSION_ID:
        session_lost(turn, command.session_id)
    elif reply.result in {ResultCode.NOT_IN_WORKTIME, ResultCode.NO_AGENT_ONLINE}:
        turn.say(f"robot.alone.{reply.result}")
        quoting.say(turn, quoting.reason(reply))
    elif not sought:
        turn.say("robot.refused", {"code": reply.result})
        quoting.say(turn, quoting.reason(reply))
    elif phase.robot:  # else a person was faster
        _looking(turn, phase, reply)


def _looking(turn: Turn, phase: Chatting, reply: Reply) -> None:
    """The place behind the robot, else what the server has to say of it (reference 1.2)."""
    position = reply.queue_length or 0
    words = quoting.words(reply) if reply.ok and position <= 0 else ""
    if words:
        quoting.say(turn, words)
    else:
        turn.say("robot.transferring")
    if position > 0:  # the card may stand far above, so not the card alone
        robot.place(turn, phase, position)


# --- 110, 111 -----------------------------------------------------------------------------------


def _message_sent(
    turn: Turn, command: SendMessage, asked: Outstanding, held: Held, reply: Reply
) -> None:
    if reply.ok:
        turn.delivered(held)
        if reply.session_id is not None:  # we missed the 202, or part of it (trap T14)
            by_robot = reply.robot_type is not None
            chat_started(turn, ChatStarted(reply.session_id, reply.agents, robot=by_robot))
        return
    media = held.content
    if (
        reply.result in _NO_SUCH_KIND
        and isinstance(command.content, Video)
        and isinstance(media, CustomerMedia)
    ):
        # WebChat takes no films: what lies there already goes as a file, in the same place.
        file = msgspec.structs.replace(media, kind="file")
        take_back(turn, asked, _fresh(msgspec.structs.replace(held, content=file)))
        return
    if reply.result != ResultCode.INVALID_CHAT_SESSION_ID:
        refuse(turn, asked, held, reply.result)
        if not asked.moot:
            quoting.say(turn, quoting.reason(reply))
        return
    # Row 24: the refused message stays first. Not for ever: a server may disown every session.
    if held.repeats >= turn.policy.max_repeats:
        refuse(turn, asked, held, reply.result)
    else:
        take_back(turn, asked, msgspec.structs.replace(held, asked=None, repeats=held.repeats + 1))
    session_lost(turn, command.session_id)


def _pre_message_sent(
    turn: Turn, command: SendPreMessage, asked: Outstanding, held: Held, reply: Reply
) -> None:
    if reply.ok:
        _pre_message_taken(turn, command, asked, held)
        return
    if reply.result == ResultCode.EMPTY_MESSAGE and blank(held):
        refuse(turn, asked, held, reply.result)
        return
    take_back(turn, asked, _fresh(held))
    phase = turn.state.phase
    if isinstance(phase, Queued) and phase.request_id == command.request_id:
        if reply.result == ResultCode.INVALID_CHAT_REQUEST_ID:
            # Accepted just now, or forgotten: a 202 comes soon, or we ask again.
            phase = msgspec.structs.replace(
                phase, request_id=None, accepted=True, heard_at=turn.now
            )
        else:  # a chat may take what a queue does not
            phase = msgspec.structs.replace(phase, pre_refused=True)
        turn.enter(phase)


def _pre_message_taken(turn: Turn, command: SendPreMessage, asked: Outstanding, held: Held) -> None:
    phase = turn.state.phase
    if isinstance(phase, Chatting) and phase.request_id == command.request_id:
        turn.delivered(held)  # trap T22: the agent who accepted has it
    elif not isinstance(phase, Queued) or command.request_id not in {
        phase.request_id,
        phase.former_id,
    }:
        take_back(turn, asked, _fresh(held))  # its queue has ended: nobody will read it there
    elif asked.moot:
        turn.report_whole((held,), "undelivered.cancelled")
    else:
        turn.enter(msgspec.structs.replace(phase, pre_sent=(*phase.pre_sent, _fresh(held))))


def _fresh(held: Held) -> Held:
    """Surely not with an agent: a later attempt is a first one."""
    return msgspec.structs.replace(held, asked=None, repeats=0)


def uploaded(turn: Turn, done: Uploaded) -> None:
    """The file lies on the WebChat server: its message may go when its turn comes."""
    asked = turn.state.outstanding
    if asked is None or asked.call_id != done.call_id or not isinstance(asked.what, Upload):
        return
    turn.set(outstanding=None)
    _trouble_over(turn)
    media = asked.what.media
    held = list(turn.state.held)
    for index, piece in enumerate(held):
        if piece.content == media and not piece.ready:
            known = msgspec.structs.replace(media, size=done.size) if done.size > 0 else media
            held[index] = msgspec.structs.replace(
                piece, content=known, url=done.url, clip=done.clip, repeats=0
            )
            break
    turn.set(held=tuple(held))
