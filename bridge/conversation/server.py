"""Frames of the WebChat server: pushes (reference 1.4) and replies to calls (1.3, 2.5).

A *push* may be late, or about a request or a session that has ended: then it is ignored. A session
whose start was missed is adopted as soon as a push or reply reveals it.

A *reply* settles the one outstanding call. Its meaning depends on the current phase, as a push may
have been faster. Transient refusals (-100, -15) settle nothing: the call is retried
(`calls.try_again`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import assert_never

from msgspec.structs import replace

from bridge.conversation import chat, history, model, queue
from bridge.conversation.calls import blank, refuse, take_back, try_again
from bridge.conversation.turn import UNWATCHED, Turn, one_line, plain_text, server_reason
from bridge.ids import CallId, RequestId, SessionId
from bridge.webchat import frames
from bridge.webchat.codes import NoticeType, Progress, RequestStatus, ResultCode, meaning, progress

START_WAIT = 10_000
"""ms to wait for the 202 of a session that the 101 reply named (row 12)."""
UNKNOWN_CHAT_WAIT = 5_000
"""ms to wait for the 202 after "already chatting" (row 14)."""
ENDING = 30_000
"""ms after the end of a chat for which WebChat may still say that it exists (`_still_ending`)."""
_NOT_SAID = SessionId(0)
"""Session id of a push that names none: it is about the present session, or none to adopt."""
_PICTURE = re.compile(r"<img\b", re.IGNORECASE)
_ALONE: Mapping[int, str] = {
    RequestStatus.NO_AGENT_ONLINE: f"robot.alone.{ResultCode.NO_AGENT_ONLINE}",
    RequestStatus.OFF_HOUR: f"robot.alone.{ResultCode.NOT_IN_WORKTIME}",
    RequestStatus.REFUSED: "robot.alone.busy",
    RequestStatus.TIMEOUT: "robot.alone.busy",
    RequestStatus.DROPPED: "robot.alone.busy",
}
"""Sentences if the robot's search for a person ends in vain, by the status that says why."""
_SILENT_NOTICES = frozenset({NoticeType.TRACK_CHANGE, NoticeType.TYPING})
_OF_AGENTS = frozenset({NoticeType.INVITE, NoticeType.TRANSFER, NoticeType.USER_LEFT})


def pushed(turn: Turn, event: model.Pushed) -> None:
    push, at = event.push, event.at or turn.now
    match push:
        case frames.MessageReceived():  # the usual case
            _message_received(turn, push, at, numbered=event.numbered)
        case frames.InitConfig():
            turn.set(ratings=push.ratings, extensions=push.extensions)
        case frames.QueueStatus():
            _queue_status(turn, push, at)
        case frames.ChatStarted():
            if (config := push.config) is not None:
                turn.set(ratings=config.ratings or turn.state.ratings)
                turn.set(extensions=config.extensions or turn.state.extensions)
            chat_started(turn, push)
        case frames.RatingPushed():
            _rating_pushed(turn, push.session_id)
        case frames.AgentsUpdated():
            _agents_updated(turn, push)
        case frames.SessionClosed():
            _session_closed(turn, push.session_id)
        case frames.RobotMessage():
            _robot_spoke(turn, push, at)
        case _:
            assert_never(push)


# --- 201: status of the request -------------------------------------------------------------------


def _queue_status(turn: Turn, push: frames.QueueStatus, at: int) -> None:
    phase = turn.state.phase
    if isinstance(phase, model.Chatting) and phase.robot:
        # Before 2019 a 201 named no session: during the robot's search it is about that.
        late = push.request_id is not None and push.request_id == turn.state.last_request
        searching = (phase.seeking or phase.human) and not late
        if push.session_id == phase.session_id or (push.session_id is None and searching):
            _transfer_news(turn, phase, push)
            return
    revived = queue.revive(turn, push)
    phase = turn.state.phase
    if not isinstance(phase, model.Waiting) or _is_stale(turn, phase, push):
        return  # stale in a chat with people; a 201 never ends a session
    place = queue.place_of(turn, phase)  # row 8: even before the reply to 101
    place = replace(place, request_id=push.request_id or place.request_id, heard_at=turn.now)
    turn.enter(place)
    news = progress(push.status)
    if isinstance(phase, model.Queued) and push.request_id == phase.request_id is not None:
        history.still_waits(turn, at=at)  # until this news
    if news is Progress.WAITING:
        queue.place_named(turn, push.position, one_line(push.place))
        if revived and not push.position:
            queue.show_card(turn)
    elif news is Progress.ACCEPTED:  # row 20; the session follows by 202
        if not place.accepted:
            queue.unhide(turn)
            turn.enter(place, accepted=True, quiet_until=None)
            if not place.cancel:
                turn.card("queue.accepted")
    elif place.cancel or push.status == RequestStatus.CANCELED_BY_CLIENT:
        queue.cancelled(turn)
    elif push.status == RequestStatus.DROPPED and place.cut:
        _ask_anew(turn, place)
    else:
        queue.ended(turn, *queue.status_key(push.status))
        if push.status == RequestStatus.REFUSED:
            queue.linger(turn, place)


def _ask_anew(turn: Turn, place: model.Queued) -> None:
    """Repeat a request lost in an outage (row 21), and its pre-messages."""
    turn.put_back(*place.pre_sent)
    turn.lapse()
    turn.set(last_request=place.request_id)  # ignore its late news
    place = replace(place, request_id=None, pre_sent=(), put_back=())
    turn.enter(place, accepted=False, resync=True, cut=False)


def _transfer_news(turn: Turn, phase: model.Chatting, push: frames.QueueStatus) -> None:
    """Handle news of the robot's search for a person (row 27); if it fails, the robot goes on."""
    if phase.unwanted:
        return  # the customer sees only that the request is cancelled
    news, searched = progress(push.status), phase.seeking
    turn.enter(phase, seeking=news is not Progress.OVER)
    if news is Progress.WAITING:
        _show_search(turn, phase, push.position, one_line(push.place))
    elif news is Progress.OVER:
        if searched:
            turn.card("queue.over")
        key = _ALONE.get(push.status, "robot.refused")
        turn.say(key, {"code": push.status}, ping=searched)  # the customer may have waited long


def _show_search(turn: Turn, phase: model.Chatting, position: int | None, words: str) -> None:
    """Show the search for a person on a card of its own: the chat's may be out of view.

    `phase` is that before the news. A card that tells a position is not replaced by one without.
    """
    key, args, anew = "robot.transferring", model.Args(), not phase.seeking
    if words:
        key, args = "robot.place_said", {"text": words.rstrip(".。"), "queue": phase.queue_id}
    elif position is not None and position > 0:
        key, args = "robot.position", {"position": position, "queue": phase.queue_id}
    if args or anew:
        turn.card(key, args, anew=anew)


def _is_stale(turn: Turn, phase: model.Waiting, push: frames.QueueStatus) -> bool:
    """Return whether news is not about the current queue request."""
    if isinstance(phase, model.Requesting) and phase.session_id is not None:
        return True  # the request is a session already (row 12)
    if push.request_id is None:
        return False
    if push.request_id == turn.state.last_request:
        return True  # late news of an ended request (test 21)
    if not isinstance(phase, model.Queued):
        return False
    if phase.request_id is not None:
        return phase.request_id != push.request_id
    # 101 is being sent again, which also replaces a former request that ended (row 21, status 4).
    return phase.former_id == push.request_id and progress(push.status) is Progress.OVER


# --- 202, 204, 205: the chat, its agents, its end -------------------------------------------------


def chat_started(turn: Turn, push: frames.ChatStarted) -> None:
    """Handle a 202: a session begins or goes on."""
    state, phase = turn.state, turn.state.phase
    if isinstance(phase, model.Chatting) and phase.session_id == push.session_id:
        if push.agents:  # row 10: a refresh, no second greeting
            _replace_agents(turn, phase, push)
        return
    # A refused request may still be accepted (reference 2.3, status 2). But ignore a repeat of the
    # 202 for a session that is known to have ended.
    over = isinstance(phase, model.NoChat) and state.last_closed
    if push.continued and isinstance(phase, model.Queued):
        _own_earlier(turn, phase)
    if not (over and state.last_session == push.session_id):
        chat.start_chat(turn, push.session_id, push.agents, robot=push.robot)


def _own_earlier(turn: Turn, phase: model.Queued) -> None:
    """Count an earlier request's pre-messages as those of this one: its agent has them.

    One may be under way again: then the outcome of that call says nothing new.
    """
    held, asked = turn.state.held, turn.state.outstanding
    known = tuple(piece for piece in held if piece.order in phase.put_back)
    turn.set(held=tuple(piece for piece in held if piece not in known))
    going = asked.held if asked is not None and not asked.moot else None
    if asked is not None and going is not None and going.order in phase.put_back:
        turn.set(outstanding=replace(asked, held=replace(going, last=False), moot=True))
        known = (going, *known)
    turn.enter(phase, pre_sent=(*phase.pre_sent, *known))


def _agents_updated(turn: Turn, push: frames.AgentsUpdated) -> None:
    phase = turn.state.phase
    if not (isinstance(phase, model.Chatting) and _is_about(phase, push.session_id)):
        return
    if push.queue_id is not None:
        phase = replace(phase, queue_id=push.queue_id)
        turn.enter(phase)
    if push.agents:  # an empty list means no change (trap T17)
        _replace_agents(turn, phase, push)


def _replace_agents(
    turn: Turn, phase: model.Chatting, push: frames.ChatStarted | frames.AgentsUpdated
) -> None:
    """Replace the agents, identified by id, not by name (T17), and show the change."""
    old = {agent.id: agent for agent in phase.agents}
    new = {agent.id: agent for agent in push.agents}
    came = tuple(agent for agent in new.values() if agent.id not in old)
    left = tuple(agent for agent in old.values() if agent.id not in new)
    changed = tuple(agent for agent in new.values() if agent.id in old and old[agent.id] != agent)
    robot = _is_with_robot(phase, push, came)
    person = phase.robot and not robot  # a person takes over from the robot: notify the phone
    # Not if she only has another id, as after a new login.
    anew = person or chat.introduced(turn, came) != chat.introduced(turn, left)
    handed = bool(came and left) and anew
    rings, agents = person or handed, tuple(new.values())
    turn.enter(
        phase,
        agents=agents,
        robot=robot,
        robots=(phase.agents or (chat.NAMELESS,)) if person else phase.robots,
        human=phase.human and robot,
        seeking=phase.seeking and robot,
        unanswered=phase.unanswered or person,
        ping_at=None if rings and not phase.close else phase.ping_at,
    )
    if not phase.unwanted:
        named = bool(old) and all(agent.name for agent in phase.agents)
        shown = (phase.seeking and robot) or named
        if person or (not shown and any(agent.name for agent in came + changed)):
            # The card may show a position, an id, nobody or the robot.
            chat.connected(turn, came if person else agents)
        if came or changed:
            turn.ask(model.AgentsCame(came + changed, phase.queue_id))
    chat.dismiss(turn, left)  # at once, as clients fold neighbouring joins and leaves into one line
    if not phase.unwanted:
        _tell_of_agents(turn, came, left, handed=handed, rings=rings)


def _is_with_robot(
    phase: model.Chatting,
    push: frames.ChatStarted | frames.AgentsUpdated,
    came: tuple[frames.Agent, ...],
) -> bool:
    """True if the customer talks to the robot from this push on.

    A new agent is a person (row 26). But a 202 may be the first to name the robot, if the reply to
    101 did not, the robot has not spoken and no person is being looked for.
    """
    if isinstance(push, frames.ChatStarted):
        if push.robot:
            return True
        if not phase.agents:
            return phase.robot and not (phase.human or phase.seeking)
    back = {agent.id for agent in push.agents} <= {agent.id for agent in phase.robots}
    return back or (phase.robot and not came)


def _tell_of_agents(
    turn: Turn,
    came: tuple[frames.Agent, ...],
    left: tuple[frames.Agent, ...],
    *,
    handed: bool,
    rings: bool,
) -> None:
    """Notify the phone of who waits for it, after a transfer (`handed`), or a person for the robot.

    Otherwise a line tells only the call centre's notes: ghosts show joins, leaves and new names by
    themselves.
    """
    presented = chat.introduced(turn, came)
    if handed and all(agent.name for agent in left + came):
        turn.say("chat.transferred", {"old": chat.names(left), "new": presented}, ping=True)
    elif rings or (not left and presented != chat.names(came)):
        chat.present(turn, "chat.agent_joined", came, ping=rings)


def _session_closed(turn: Turn, session_id: SessionId) -> None:
    phase = turn.state.phase
    if isinstance(phase, model.Requesting) and phase.session_id == session_id:
        chat.start_chat(turn, session_id, phase.agents)
        phase = turn.state.phase
    if isinstance(phase, model.Chatting) and _is_about(phase, session_id):
        key = "chat.ended_by_you" if phase.close else "chat.ended"
        later = not all(chat.is_for(phase, piece) for piece in turn.state.held)
        chat.end_chat(turn, phase, key, ask=phase.unwanted or later)
    elif not isinstance(phase, model.Chatting) and session_id == turn.state.last_session:
        chat.ask_rating(turn, session_id)  # a -11 was faster (row 24)
    # else a foreign session (row 40, test 81)


def _is_about(phase: model.Chatting | model.Ended, session_id: SessionId) -> bool:
    return session_id in {phase.session_id, _NOT_SAID}


# --- 203, 210, 301: messages in the chat ----------------------------------------------------------


def _rating_pushed(turn: Turn, session_id: SessionId) -> None:
    """Ask for a rating at the agent's request (row 28)."""
    phase = turn.state.phase
    if isinstance(phase, model.Chatting | model.Ended) and _is_about(phase, session_id):
        chat.ask_rating(turn, phase.session_id)


def _message_received(turn: Turn, push: frames.MessageReceived, at: int, *, numbered: bool) -> None:
    content, session_id = push.content, push.session_id
    if isinstance(content, frames.AgentNotice):
        _system_notice(turn, push, content)
        return
    chatting = isinstance(turn.state.phase, model.Chatting)
    if not chatting and session_id not in {_NOT_SAID, turn.state.last_session}:
        # A message of a session whose start was missed begins the chat (row 40, trap T14).
        chat.start_chat(turn, session_id, (frames.Agent(push.agent_id),) if push.agent_id else ())
        turn.set(linked_at=turn.now)  # what came before in this session was not heard
        chatting = True
    agent = history.speaker(turn, push.agent_id)
    if not history.is_new(turn, agent, content, at, numbered=numbered):
        return
    if chatting or push.agent_id or not isinstance(content, frames.AgentText):
        _show(turn, agent, content, push)
    else:
        # The call centre's own words, such as "all agents are busy": nobody comes to say them.
        _system_notice(turn, push, frames.AgentNotice(NoticeType.NORMAL, content.html))


def _show(
    turn: Turn, agent: frames.Agent, content: frames.AgentContent, push: frames.MessageReceived
) -> None:
    phase = turn.state.phase
    present = phase.agents if isinstance(phase, model.Chatting) else ()
    known = any(other.id == agent.id for other in present)
    if isinstance(phase, model.Chatting) and phase.seeking and present and not known:
        # The person whom the robot looked for; her 204 was missed (row 26).
        _replace_agents(turn, phase, frames.AgentsUpdated(phase.session_id, (*present, agent)))
    history.relay(turn, model.Relay(agent, content, push.session_id, message_id=push.message_id))
    if known:
        return
    if isinstance(phase, model.Chatting) and len(present) < frames.MOST_AGENTS:
        turn.enter(turn.state.phase, agents=(*present, agent))
    else:  # after the end, or beyond MOST_AGENTS: the ghost joins only for this message
        turn.ask(model.AgentsLeft((agent.id,)))


def _robot_spoke(turn: Turn, push: frames.RobotMessage, at: int) -> None:
    phase, known = turn.state.phase, turn.state.last_session
    if isinstance(phase, model.Chatting):
        # No request led to this chat, nobody else is in it, and nobody has written: the robot's.
        unheard = phase.request_id is None and phase.unanswered and not phase.robots
        alone = len(phase.agents) < 2 and push.session_id == phase.session_id
        if unheard and alone and not phase.unwanted:
            _robots_chat(turn, phase)
            push = replace(push, transfer=False)  # a person was offered just now
    elif push.session_id not in {None, known}:
        chat.start_chat(turn, push.session_id, (), robot=True)  # as a 210 would (row 40)
        push = replace(push, transfer=False)
    chat.spoke(turn, push, push.session_id or known or SessionId(0))
    history.note_robot(turn, push.text, at)
    phase = turn.state.phase
    if push.sought and isinstance(phase, model.Chatting) and phase.robot and not phase.unwanted:
        turn.enter(phase, seeking=True)
        _show_search(turn, phase, None, "")


def _system_notice(turn: Turn, push: frames.MessageReceived, notice: frames.AgentNotice) -> None:
    agent = history.speaker(turn, push.agent_id)
    if notice.notice_type == NoticeType.PUSH_RATING:
        _rating_pushed(turn, push.session_id)
    elif notice.notice_type in _SILENT_NOTICES:
        return
    elif notice.notice_type == NoticeType.USER_LEFT and _is_gone(turn, push.agent_id):
        return  # the room shows that the ghost has left
    elif notice.notice_type == NoticeType.REVOKE_MESSAGE:
        turn.ask(model.TakeBack(agent, push.message_id))
    elif _PICTURE.search(notice.text):  # notices cannot hold images: send it as the agent's ghost
        _show(turn, agent, frames.AgentText(notice.text), push)
    elif text := plain_text(notice.text):
        # "Are you still there?" is for a customer who has put the phone away.
        phase, silence = turn.state.phase, turn.now - turn.state.watched_at
        rings = isinstance(phase, model.Chatting) and phase.ping_at is None and not phase.close
        rings = rings and silence >= UNWATCHED and notice.notice_type not in _OF_AGENTS
        turn.say("chat.notice", {"text": text}, ping=rings)


def _is_gone(turn: Turn, agent_id: str) -> bool:
    """True for an agent who has left the chat that goes on."""
    phase = turn.state.phase
    if not isinstance(phase, model.Chatting) or not agent_id:
        return False
    return all(agent.id != agent_id for agent in phase.agents)


# --- replies --------------------------------------------------------------------------------------


def replied(turn: Turn, call_id: CallId, reply: frames.Reply) -> None:
    """Settle the outstanding call; ignore a reply to any other."""
    asked = turn.state.outstanding
    if asked is None or asked.call_id != call_id or isinstance(asked.what, model.Upload):
        return
    passing = meaning(reply.result).passing or _still_ending(turn, reply)
    if not reply.ok and passing and try_again(turn, asked, reply.result):
        return
    turn.set(outstanding=None)
    _trouble_over(turn)
    command = asked.what
    match command:
        case frames.SendMessage() if asked.held is not None:  # the usual case
            _message_sent(turn, command, asked, asked.held, reply)
        case frames.RequestChat():
            if not asked.moot:
                _chat_requested(turn, call_id, reply)
        case frames.CancelRequest():
            _request_cancelled(turn, command, reply)
        case frames.CloseSession():
            _close_answered(turn, command, reply)
        case frames.RateSession():
            chat.rating_taken(turn, command, reply)
        case frames.TransferFromRobot():
            _handed_over(turn, command, reply)
        case frames.SendPreMessage() if asked.held is not None:
            _pre_message_sent(turn, command.request_id, asked, asked.held, reply)
        case _:
            pass  # a command of another version of the bridge: settled by any reply


def _still_ending(turn: Turn, reply: frames.Reply) -> bool:
    """Return whether WebChat may refuse a new request (-1, -2) over one, or a chat, that has just
    ended: it may answer a 102 or push the 205 before it forgets them.
    """
    state, phase = turn.state, turn.state.phase
    if not isinstance(phase, model.Requesting) or phase.cancel or phase.unsure:
        return False
    if reply.result == ResultCode.ALREADY_IN_ROUTING:
        return state.last_request is not None and reply.request_id in {None, state.last_request}
    ended = turn.now - ENDING < (state.last_ended_at or 0) and state.last_closed
    return reply.result == ResultCode.ALREADY_IN_CHATTING and reply.session_id is None and ended


def _trouble_over(turn: Turn) -> None:
    state = turn.state
    if state.told_trouble:
        turn.say("trouble.over")
    if state.retry_at is not None or state.failures or state.told_trouble:
        turn.no_trouble()
    if state.turn_at is not None:
        queue.turn_came(turn)
    if state.recall is not None:
        history.link_answers(turn, state.recall)


# --- 101: the request for a chat ------------------------------------------------------------------


def _chat_requested(turn: Turn, call_id: CallId, reply: frames.Reply) -> None:
    phase = turn.state.phase
    if isinstance(phase, model.Chatting):
        _overtaken(turn, phase, reply)
    if not isinstance(phase, model.Waiting):
        return  # a push was faster: 202 (test 15) or the end of the queue
    named = turn.policy.to_agent and not phase.any_agent
    queued = reply.ok and reply.session_id is None and not reply.continued
    waits = queued or reply.result == ResultCode.ALREADY_IN_ROUTING
    former_id = phase.former_id if isinstance(phase, model.Queued) else None
    meant = reply.request_id or (None if reply.ok else former_id)  # row 13
    if waits and meant == former_id is not None:  # a new id may mean a missed chat
        history.still_waits(turn, call_id=call_id)
    if reply.ok:
        _request_granted(turn, phase, reply)
    elif reply.result == ResultCode.ALREADY_IN_ROUTING:
        # Row 13: the request that WebChat already has is this one.
        place = queue.place_of(turn, phase)
        _stand(turn, place, reply.request_id or place.request_id or place.former_id, reply)
    elif reply.result == ResultCode.ALREADY_IN_CHATTING:
        _already_chatting(turn, phase, reply)
    elif phase.cancel:
        queue.cancelled(turn)
    elif reply.result == ResultCode.INVALID_TO_USER_ID and named:
        # The requested agent is unknown or away (-9, trap T38): ask for any agent, once.
        queue.ask_after(turn)
        turn.enter(turn.state.phase, any_agent=True)
    else:
        queue.ended(turn, *queue.result_key(reply.result), words=server_reason(reply))


def _overtaken(turn: Turn, phase: model.Chatting, reply: frames.Reply) -> None:
    """Learn from a late reply to 101 that the chat is with the robot alone (test 15)."""
    robots = {agent.id for agent in reply.agents or phase.agents}
    names_robot = reply.robot_type is not None and reply.session_id == phase.session_id
    alone = {agent.id for agent in phase.agents} <= robots
    if names_robot and alone and not (phase.robot or phase.unwanted):
        _robots_chat(turn, phase)


def _robots_chat(turn: Turn, phase: model.Chatting) -> None:
    turn.enter(phase, robot=True, unanswered=False)
    turn.ask(model.Offer("robot.person_offered"))


def _request_granted(turn: Turn, phase: model.Waiting, reply: frames.Reply) -> None:
    session_id = reply.session_id
    if session_id is None and reply.continued:
        _await_start(turn, phase, reply, None, START_WAIT)
    elif session_id is None:
        _now_queued(turn, phase, reply)
    elif isinstance(phase, model.Requesting) and session_id == phase.lost_session:
        queue.ended(turn, "trouble.other_chat")  # WebChat has just disowned it: avoid a loop
    elif reply.permanent or reply.robot_type is not None or phase.cancel:
        chat.start_chat(turn, session_id, reply.agents, robot=reply.robot_type is not None)
    else:  # row 12
        _await_start(turn, phase, reply, session_id, START_WAIT)


def _now_queued(turn: Turn, phase: model.Waiting, reply: frames.Reply) -> None:
    """Handle a 101 that is queued (rows 7, 30); under a new id, earlier pre-messages are lost."""
    place = queue.place_of(turn, phase)
    if reply.request_id not in {None, place.former_id}:
        place = replace(place, cut=False)  # a new request, made after the outage
    request_id = reply.request_id or place.request_id  # a 201 may have been faster (row 8)
    if place.pre_sent and (request_id is None or request_id != place.former_id):
        if place.cancel:
            turn.drop(place.pre_sent)
        else:
            turn.put_back(*place.pre_sent)
            turn.lapse()
        sent = tuple(piece.order for piece in place.pre_sent)
        place = replace(place, pre_sent=(), put_back=(*place.put_back, *sent))
    _stand(turn, place, request_id, reply)


def _stand(
    turn: Turn, place: model.Queued, request_id: RequestId | None, reply: frames.Reply
) -> None:
    if request_id == turn.state.last_request:
        turn.set(last_request=None)  # WebChat still has this request: accept its news again
    turn.enter(place, request_id=request_id, former_id=None, heard_at=turn.now)
    queue.place_named(turn, reply.queue_length, one_line(reply.place))


def _already_chatting(turn: Turn, phase: model.Waiting, reply: frames.Reply) -> None:
    """Adopt the running session (-2, row 14): named by the reply, the last one, or of a 202."""
    lost = phase.lost_session if isinstance(phase, model.Requesting) else None
    session_id = reply.session_id
    if session_id is None and not turn.state.last_closed:
        session_id = turn.state.last_session
    if session_id is not None and session_id != lost:
        chat.start_chat(turn, session_id, reply.agents, robot=reply.robot_type is not None)
    else:
        _await_start(turn, phase, reply, None, UNKNOWN_CHAT_WAIT)


def _await_start(
    turn: Turn, phase: model.Waiting, reply: frames.Reply, session_id: SessionId | None, wait: int
) -> None:
    if isinstance(phase, model.Queued):  # the request became a session: the agent has these
        turn.delivered(*phase.pre_sent)
    lost = phase.lost_session if isinstance(phase, model.Requesting) else None
    asked = model.Requesting(phase.queue_id, phase.since, session_id, reply.agents, turn.now + wait)
    turn.enter(asked, lost_session=lost, cancel=phase.cancel, quiet=queue.hidden(phase))


# --- 102, 103, 302: cancel, close, ask for a person -----------------------------------------------


def _request_cancelled(turn: Turn, command: frames.CancelRequest, reply: frames.Reply) -> None:
    phase = turn.state.phase
    if not isinstance(phase, model.Queued) or phase.request_id != command.request_id:
        return  # a 202 (row 22) or status 7 was faster
    if reply.ok:
        queue.cancelled(turn)
        return
    if reply.result == ResultCode.INVALID_CHAT_REQUEST_ID:
        # Forgotten, or just accepted: then the 202 follows, and closes an unwanted chat.
        turn.set(last_request=phase.request_id)  # its late news is not about the next request
        by = phase.cancel_by and min(phase.cancel_by, turn.now + UNKNOWN_CHAT_WAIT)
        phase = replace(phase, resync=False, cancel_by=by)  # a 101 would be a new request
        turn.enter(phase, request_id=None, accepted=True, heard_at=turn.now)
        return
    turn.enter(phase, cancel_by=None)
    queue.show_card(turn)
    turn.refused("cancel.refused", reply)


def _close_answered(turn: Turn, command: frames.CloseSession, reply: frames.Reply) -> None:
    phase = turn.state.phase
    if not isinstance(phase, model.Chatting) or phase.session_id != command.session_id:
        return  # 205 was faster: one end, one notice
    if reply.ok or reply.result == ResultCode.INVALID_CHAT_SESSION_ID:
        chat.end_chat(turn, phase, "chat.ended_by_you")
        return
    turn.enter(phase, close=False, unwanted=False, ping_at=None)
    turn.refused("close.refused", reply)
    if phase.unwanted:
        chat.greet(turn, phase)


def _handed_over(turn: Turn, command: frames.TransferFromRobot, reply: frames.Reply) -> None:
    """Settle the reply to 302: the robot looks for a person, or goes on alone (row 27)."""
    phase = turn.state.phase
    if not isinstance(phase, model.Chatting) or phase.session_id != command.session_id:
        return
    sought = reply.ok or reply.result == ResultCode.ALREADY_IN_ROUTING
    turn.enter(phase, human=False, seeking=sought and phase.robot)
    if phase.seeking and not sought:
        turn.card("queue.over")
    if reply.result == ResultCode.INVALID_CHAT_SESSION_ID:
        chat.session_lost(turn, command.session_id)
    elif not sought:
        nobody = meaning(reply.result).nobody
        turn.refused(f"robot.alone.{reply.result}" if nobody else "robot.refused", reply)
    elif phase.robot:  # else a person was faster
        _show_search(turn, phase, reply.queue_length, place := one_line(reply.place))
        if reply.ok and not (place or (reply.queue_length or 0) > 0):  # (reference 1.2)
            turn.quote(one_line(reply.message))


# --- 110, 111, uploads: content -------------------------------------------------------------------


def _message_sent(
    turn: Turn,
    command: frames.SendMessage,
    asked: model.Outstanding,
    held: model.Held,
    reply: frames.Reply,
) -> None:
    if reply.ok:
        turn.delivered(held)
        if reply.session_id is not None:  # the 202 or part of it was missed (trap T14)
            by_robot = reply.robot_type is not None
            chat_started(turn, frames.ChatStarted(reply.session_id, reply.agents, robot=by_robot))
        return
    media, film = held.content, isinstance(command.content, frames.Video)
    gone = reply.result == ResultCode.INVALID_CHAT_SESSION_ID
    sound = held.clip is not None and held.url and not gone
    if isinstance(media, model.CustomerMedia) and (
        sound or (film and meaning(reply.result).lacking)
    ):
        # WebChat takes no videos, or no addresses of voice messages: send it as a file, in the same
        # place. The video is uploaded already; of the voice message the original is uploaded.
        media, url = replace(media, kind="file" if film else "audio"), held.url if film else ""
        take_back(turn, asked, _fresh(replace(held, content=media, url=url, clip=None)))
        return
    if not gone:
        refuse(turn, asked, held, reply.result)
        if not asked.moot:
            turn.quote(server_reason(reply))
        return
    # Row 24: the refused message stays first, up to a limit: a server may disown every session.
    if held.repeats >= turn.policy.max_repeats:
        refuse(turn, asked, held, reply.result)
    else:
        take_back(turn, asked, replace(held, repeats=held.repeats + 1))
    chat.session_lost(turn, command.session_id)


def _pre_message_sent(
    turn: Turn, of: RequestId, asked: model.Outstanding, held: model.Held, reply: frames.Reply
) -> None:
    phase = turn.state.phase
    if reply.ok:
        match phase:
            case model.Chatting(request_id=known) if known == of:
                turn.delivered(held)  # trap T22: the agent who accepted has it
            case model.Queued() if phase.holds(of):
                history.still_waits(turn, call_id=asked.call_id)
                if asked.moot:
                    turn.drop((held,))
                else:
                    turn.enter(phase, pre_sent=(*phase.pre_sent, _fresh(held)))
            case _:
                take_back(turn, asked, _fresh(held))  # the request has ended: no agent will read it
        return
    if reply.result == ResultCode.EMPTY_MESSAGE and blank(held):
        refuse(turn, asked, held, reply.result)
        return
    gone = reply.result == ResultCode.INVALID_CHAT_REQUEST_ID
    # Just accepted, perhaps with an earlier attempt of unknown outcome; or forgotten.
    take_back(turn, asked, replace(held, repeats=0) if gone else _fresh(held))
    phase = turn.state.phase
    if isinstance(phase, model.Queued) and phase.request_id == of:
        if gone:  # wait for the 202, then send 101 again
            phase = replace(phase, request_id=None, accepted=True, heard_at=turn.now)
        else:  # a chat may accept it later
            phase = replace(phase, pre_refused=True)
        turn.enter(phase)


def _fresh(held: model.Held) -> model.Held:
    """Return the piece as never sent, since it certainly reached no agent."""
    return replace(held, asked=None, repeats=0)


def uploaded(turn: Turn, done: model.Uploaded) -> None:
    """Settle an upload: the file is on the WebChat server, and its message may be sent."""
    asked = turn.state.outstanding
    if asked is None or asked.call_id != done.call_id or not isinstance(asked.what, model.Upload):
        return
    turn.set(outstanding=None)
    _trouble_over(turn)
    media, held = asked.what.media, turn.state.held
    waiting = (index for index, one in enumerate(held) if one.content == media and not one.ready)
    index = next(waiting, None)
    if index is not None:
        known = replace(media, size=done.size) if done.size > 0 else media
        piece = replace(held[index], content=known, url=done.url, clip=done.clip, repeats=0)
        turn.set(held=(*held[:index], piece, *held[index + 1 :]))
