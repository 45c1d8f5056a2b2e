"""What WebChat says unasked (reference 1.4), in every phase.

A push may be late, or about a request or a session that is over: first of all each is asked whether
it is about what we have, and let be if not. A session that we never saw start is taken over when
something reveals it.
"""

from __future__ import annotations

import re
from typing import assert_never

import msgspec

from bridge.conversation import outage, quoting, rating, revival, robot, waiting
from bridge.conversation.effects import AgentsCame, AgentsLeft, Relay
from bridge.conversation.inputs import Pushed
from bridge.conversation.model import Chatting, Ended, Idle, Queued, Requesting
from bridge.conversation.transitions import (
    end_chat,
    introduced,
    names,
    queue_cancelled,
    queue_ended,
    queued,
    start_chat,
    status_key,
)
from bridge.conversation.turn import Turn
from bridge.ids import AgentId, SessionId
from bridge.webchat.codes import NoticeType, Progress, RequestStatus, progress
from bridge.webchat.frames import (
    Agent,
    AgentContent,
    AgentNotice,
    AgentsUpdated,
    AgentText,
    ChatStarted,
    InitConfig,
    MessageReceived,
    QueueStatus,
    RatingPushed,
    RobotMessage,
    SessionClosed,
)

_NOT_SAID = SessionId(0)
"""Stands where a push does not say of which session it is: no session to adopt."""
_PICTURE = re.compile(r"<img\b", re.IGNORECASE)
"""A sentence of the system's has no place for it: an agent shows it."""
_SILENT_NOTICES = frozenset({NoticeType.TRACK_CHANGE, NoticeType.TYPING})


def pushed(turn: Turn, came: Pushed) -> None:
    """Dispatch one push."""
    push, at = came.push, came.at or turn.now
    match push:
        case InitConfig():
            turn.set(ratings=push.ratings, extensions=push.extensions)
        case QueueStatus():
            _queue_status(turn, push)
        case ChatStarted():
            chat_started(turn, push)
        case RatingPushed():
            _rating_pushed(turn, push.session_id)
        case AgentsUpdated():
            _agents_updated(turn, push)
        case SessionClosed():
            _session_closed(turn, push.session_id)
        case MessageReceived():
            _message_received(turn, push, at, numbered=came.numbered)
        case RobotMessage():
            robot.spoke(turn, push)
            outage.note_robot(turn, push.text, at)
        case _:
            assert_never(push)


# --- 201 ----------------------------------------------------------------------------------------


def _queue_status(turn: Turn, push: QueueStatus) -> None:
    phase = turn.state.phase
    if isinstance(phase, Chatting) and phase.robot and push.session_id == phase.session_id:
        _transfer_news(turn, phase, push)
        return
    revived = revival.revive(turn, push)
    phase = turn.state.phase
    if not isinstance(phase, Requesting | Queued) or _is_stale(turn, phase, push):
        return  # in a chat with people it is stale; it never ends the session
    place = queued(turn, phase)  # row 8: the reply to 101 will only complete its call
    place = msgspec.structs.replace(
        place, request_id=push.request_id or place.request_id, heard_at=turn.now
    )
    turn.enter(place)
    news = progress(push.status)
    if news is Progress.WAITING:
        waiting.moved(turn, push.position)
        if revived and not push.position:
            waiting.show(turn)
    elif news is Progress.ACCEPTED:
        _accepted(turn, place)
    elif place.cancel or push.status == RequestStatus.CANCELED_BY_CLIENT:
        queue_cancelled(turn)
    elif push.status == RequestStatus.DROPPED and place.cut:
        _ask_anew(turn, place)
    else:
        queue_ended(turn, *status_key(push.status))
        if push.status == RequestStatus.REFUSED:
            revival.linger(turn, place)


def _ask_anew(turn: Turn, place: Queued) -> None:
    """Row 21: the outage cost us the request, as it turns out; what went with it goes again."""
    turn.put_back(*place.pre_sent)
    turn.lapse()
    turn.set(last_request=place.request_id)  # its late news is no news of the next one
    turn.enter(
        msgspec.structs.replace(
            place,
            request_id=None,
            former_id=None,
            accepted=False,
            pre_sent=(),
            resync=True,
            cut=False,
        )
    )


def _transfer_news(turn: Turn, phase: Chatting, push: QueueStatus) -> None:
    """Row 27: how the robot's search for a person goes. If it fails the robot goes on."""
    news = progress(push.status)
    turn.enter(msgspec.structs.replace(phase, seeking=news is not Progress.OVER))
    if news is Progress.WAITING and push.position:
        robot.place(turn, phase, push.position)
    elif news is Progress.OVER:
        key, code = status_key(push.status)
        turn.say(key, {} if code is None else {"code": code})


def _accepted(turn: Turn, place: Queued) -> None:
    """Row 20: the session follows by 202."""
    if place.accepted:
        return
    waiting.unhide(turn)
    turn.enter(msgspec.structs.replace(place, accepted=True, quiet_until=None))
    if not place.cancel:
        turn.card("queue.accepted")


def _is_stale(turn: Turn, phase: Requesting | Queued, push: QueueStatus) -> bool:
    """True for news that is not about the request that we stand in the queue with."""
    if isinstance(phase, Requesting) and phase.session_id is not None:
        return True  # the request is a session already (row 12)
    if push.request_id is None:
        return False
    if push.request_id == turn.state.last_request:
        return True  # late news of a request that is over (test 21)
    if not isinstance(phase, Queued):
        return False
    if phase.request_id is not None:
        return phase.request_id != push.request_id
    # While we ask again, the end of the former request is what we are mending (row 21, status 4).
    return phase.former_id == push.request_id and progress(push.status) is Progress.OVER


# --- 202, 204, 205 ------------------------------------------------------------------------------


def chat_started(turn: Turn, push: ChatStarted) -> None:
    """A session runs, or is said to run on."""
    phase = turn.state.phase
    if push.session_id == _NOT_SAID:
        return
    match phase:
        case Chatting() if phase.session_id == push.session_id:
            if push.agents:  # row 10: a refresh, no second greeting
                robot_goes_on = push.robot or _same_robot(phase, push.agents, introduces=True)
                _replace_agents(turn, phase, push.agents, robot=robot_goes_on)
        case Idle() | Ended() if turn.state.last_closed:
            # A refused request may still be taken up (reference 2.3, status 2). A repeat of the
            # session that is known to be over is no such thing.
            if turn.state.last_session != push.session_id:
                start_chat(turn, push.session_id, push.agents, robot=push.robot)
        case _:
            start_chat(turn, push.session_id, push.agents, robot=push.robot)


def _agents_updated(turn: Turn, push: AgentsUpdated) -> None:
    phase = turn.state.phase
    if not isinstance(phase, Chatting) or phase.session_id != push.session_id:
        return
    if push.queue_id is not None:
        phase = msgspec.structs.replace(phase, queue_id=push.queue_id)
        turn.enter(phase)
    if push.agents:  # an empty list says nothing (trap T17)
        robot_goes_on = _same_robot(phase, push.agents, introduces=False)
        _replace_agents(turn, phase, push.agents, robot=robot_goes_on)


def _same_robot(phase: Chatting, agents: tuple[Agent, ...], *, introduces: bool) -> bool:
    """Whether a list of people is that of the robot we talk to: no guide has a word for it there.

    Whoever is new is a person (row 26).

    Args:
        phase: the chat until now.
        agents: the new list.
        introduces: it may name a robot of which the reply to 101 did not say who it is, as long as
            that has not spoken and no person is looked for.
    """
    known = {agent.id for agent in phase.agents}
    if not known and introduces:
        return phase.robot and not (phase.human or phase.seeking)
    return phase.robot and {agent.id for agent in agents} <= known


def _replace_agents(turn: Turn, phase: Chatting, agents: tuple[Agent, ...], *, robot: bool) -> None:
    """Take over a complete new list; a sentence for who came, who left, who has another name.

    Only ids say who is who: a new name or picture is no other agent (T17).
    """
    old = {agent.id: agent for agent in phase.agents}
    new = {agent.id: agent for agent in agents}
    came = tuple(agent for agent in new.values() if agent.id not in old)
    left = tuple(agent for agent in old.values() if agent.id not in new)
    changed = tuple(agent for agent in new.values() if agent.id in old and old[agent.id] != agent)
    person = phase.robot and not robot  # after the robot, somebody to talk to: worth a ping
    turn.enter(
        msgspec.structs.replace(
            phase,
            agents=tuple(new.values()),
            robot=robot,
            human=phase.human and robot,
            seeking=phase.seeking and robot,
        )
    )
    if not phase.unwanted:
        if came or changed:
            turn.ask(AgentsCame(came + changed, phase.queue_id))
        presented = introduced(turn, came)
        if came and left:
            turn.say("chat.transferred", {"old": names(left), "new": presented}, ping=person)
        elif came:
            turn.say("chat.agent_joined", {"names": presented}, ping=person)
        elif left:
            turn.say("chat.agent_left", {"names": names(left)})
        for agent in changed:
            former = old[agent.id].name
            if former and agent.name not in {"", former}:
                turn.say("agents.renamed", {"old": former, "new": agent.name})
    if left:
        turn.ask(AgentsLeft(tuple(agent.id for agent in left)))


def _session_closed(turn: Turn, session_id: SessionId) -> None:
    phase = turn.state.phase
    if isinstance(phase, Requesting) and phase.session_id == session_id:
        start_chat(turn, session_id, phase.agents)
        phase = turn.state.phase
    if isinstance(phase, Chatting) and phase.session_id == session_id:
        end_chat(turn, phase, "chat.ended_by_you" if phase.close else "chat.ended")
    # else a foreign session (row 40, test 81)


# --- 203, 210, 301 ------------------------------------------------------------------------------


def _rating_pushed(turn: Turn, session_id: SessionId) -> None:
    """The agent asks for a rating (row 28); one that names no session means the present one."""
    phase = turn.state.phase
    if isinstance(phase, Chatting | Ended) and session_id in {phase.session_id, _NOT_SAID}:
        rating.ask(turn, phase)


def _message_received(turn: Turn, push: MessageReceived, at: int, *, numbered: bool) -> None:
    content = push.content
    if isinstance(content, AgentNotice):
        _system_notice(turn, push, content)
        return
    _adopt_if_chatless(turn, push.session_id, push.agent_id)
    agent = _agent_named(turn, push.agent_id)
    if not outage.is_new(turn, agent, content, at, numbered=numbered):
        return
    _show(turn, agent, content, push.session_id)


def _show(turn: Turn, agent: Agent, content: AgentContent, session_id: SessionId) -> None:
    turn.ask(Relay(agent, content, session_id))
    phase = turn.state.phase
    if not isinstance(phase, Chatting):
        turn.ask(AgentsLeft((agent.id,)))  # a word after the end: the ghost does not stay
    elif agent.id not in {one.id for one in phase.agents}:
        turn.enter(msgspec.structs.replace(phase, agents=(*phase.agents, agent)))


def _adopt_if_chatless(turn: Turn, session_id: SessionId, agent_id: AgentId) -> None:
    """A message of a session that we never saw start reveals it (row 40, trap T14)."""
    if session_id == _NOT_SAID or isinstance(turn.state.phase, Chatting):
        return
    if turn.state.last_session != session_id:
        start_chat(turn, session_id, (Agent(agent_id),) if agent_id else ())


def _agent_named(turn: Turn, agent_id: AgentId) -> Agent:
    """Trap T15: an id that is not in the list speaks under the sole agent's name, or its own."""
    phase = turn.state.phase
    agents = phase.agents if isinstance(phase, Chatting) else ()
    for agent in agents:
        if agent.id == agent_id:
            return agent
    if not agent_id and len(agents) == 1:
        return agents[0]
    return Agent(agent_id or AgentId("agent"))


def _system_notice(turn: Turn, push: MessageReceived, notice: AgentNotice) -> None:
    if notice.notice_type == NoticeType.PUSH_RATING:
        _rating_pushed(turn, push.session_id)
    elif notice.notice_type in _SILENT_NOTICES:
        return
    elif notice.notice_type == NoticeType.REVOKE_MESSAGE:
        # Its content is a number of the server's that no push of a message names: no event of ours
        # can be found by it, and it is nothing for people to read.
        turn.say("chat.recalled")
    elif _PICTURE.search(notice.text):
        _show(turn, _agent_named(turn, push.agent_id), AgentText(notice.text), push.session_id)
    elif text := quoting.plain(notice.text):
        turn.say("chat.notice", {"text": text})
