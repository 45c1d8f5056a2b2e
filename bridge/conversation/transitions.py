"""The changes of phase that several inputs lead to: a queue ends, a chat starts, a chat ends.

Each function here leaves the turn in a whole state; none of them makes a call (see `calls`).
"""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import AgentsCame, AgentsLeft
from bridge.conversation.model import (
    Chatting,
    Conversation,
    Ended,
    Held,
    Idle,
    Queued,
    Requesting,
)
from bridge.conversation.turn import Turn, unique_events
from bridge.ids import QueueId, SessionId
from bridge.webchat.codes import RequestStatus
from bridge.webchat.frames import Agent


def request_chat(
    turn: Turn, queue_id: QueueId | None = None, *, lost_session: SessionId | None = None
) -> None:
    """Ask for a chat: a new conversation with a new queue card begins."""
    queue = turn.policy.queue_id if queue_id is None else queue_id
    turn.set(number=turn.state.number + 1, retry_at=None)
    turn.enter(Requesting(queue, turn.now, lost_session=lost_session))
    turn.card("queue.asking", {"queue": queue})


def resume_held(turn: Turn) -> None:
    """Outside any chat: content that still waits asks for one, as the room's rules allow."""
    if not turn.state.held or not isinstance(turn.state.phase, Idle | Ended):
        return
    if turn.policy.start_on_message:
        request_chat(turn)
    else:
        turn.say("start.needed")


def queue_ended(turn: Turn, key: str, code: int | None = None) -> None:
    """The request came to nothing: what was typed is kept for the customer's next word.

    Args:
        turn: a turn in Requesting or Queued.
        key: the sentence that says why.
        code: the number to show where no sentence knows it.
    """
    leave_queue(turn)
    turn.card("queue.ended")
    turn.say(key, {} if code is None else {"code": code})
    if turn.state.held:
        turn.say("queue.kept", {"count": len(unique_events(turn.state.held))})


def queue_cancelled(turn: Turn) -> None:
    """The customer is out of the queue, as they wished."""
    phase = turn.state.phase
    pre_sent = phase.pre_sent if isinstance(phase, Queued) else ()
    turn.report(pre_sent, "undelivered.cancelled")
    if isinstance(phase, Queued):
        turn.enter(msgspec.structs.replace(phase, pre_sent=()))
    leave_queue(turn)
    turn.card("queue.cancelled")
    resume_held(turn)


def leave_queue(turn: Turn) -> None:
    """Back to Idle; pre-messages that no agent will read are ours again."""
    phase = turn.state.phase
    turn.enter(Idle())
    if isinstance(phase, Queued):
        turn.put_back(*phase.pre_sent)
        if phase.request_id is not None:
            turn.set(last_request=phase.request_id)


def status_key(status: int) -> tuple[str, int | None]:
    """The sentence for a request status, and the number if no sentence knows it."""
    if status in set(RequestStatus):
        return f"status.{status}", None
    return "status.other", status


def start_chat(
    turn: Turn, session_id: SessionId, agents: tuple[Agent, ...], *, robot: bool = False
) -> None:
    """A session runs: greet, or, if the customer has cancelled meanwhile, close it at once."""
    phase = turn.state.phase
    cancelled = isinstance(phase, Requesting | Queued) and phase.cancel
    queue_id = phase.queue_id if isinstance(phase, Requesting | Queued) else turn.policy.queue_id
    if isinstance(phase, Queued):
        turn.delivered(*phase.pre_sent)
        if phase.request_id is not None:
            turn.set(last_request=phase.request_id)
    turn.set(last_session=session_id, last_closed=False)
    turn.enter(Chatting(session_id, turn.now, queue_id, agents, robot=robot, close=cancelled))
    if cancelled:
        turn.card("queue.cancelled")
        return
    turn.card("queue.joined", {"names": names(agents)})
    if agents:
        turn.ask(AgentsCame(agents, queue_id))
        turn.say("chat.started", {"names": names(agents)}, ping=True)
    else:
        turn.say("chat.started_unnamed", ping=True)


def end_chat(turn: Turn, key: str) -> None:
    """The session is over; `key` says by whom."""
    phase = turn.state.phase
    if not isinstance(phase, Chatting):
        return
    if phase.agents:
        turn.ask(AgentsLeft(tuple(agent.id for agent in phase.agents)))
    turn.set(last_session=phase.session_id, last_closed=True)
    turn.enter(Ended(phase.session_id, rating_asked=phase.rating_asked))
    turn.say(key)
    resume_held(turn)


def session_lost(turn: Turn, session_id: SessionId) -> None:
    """WebChat no longer knows the session (-11): ask for a new one, keep what was typed."""
    phase = turn.state.phase
    if not isinstance(phase, Chatting) or phase.session_id != session_id:
        resume_held(turn)
        return
    if phase.agents:
        turn.ask(AgentsLeft(tuple(agent.id for agent in phase.agents)))
    turn.set(last_session=session_id, last_closed=True)
    if phase.close or not turn.policy.start_on_message:
        turn.enter(Ended(session_id, rating_asked=phase.rating_asked))
        turn.say("chat.ended")
        resume_held(turn)
        return
    turn.say("chat.lost")
    request_chat(turn, phase.queue_id, lost_session=session_id)


def names(agents: tuple[Agent, ...]) -> str:
    """The agents as a person would list them."""
    return ", ".join(agent.name or agent.id for agent in agents)


def all_pieces(state: Conversation) -> tuple[Held, ...]:
    """Every piece of content that this conversation still answers for."""
    pieces: list[Held] = []
    if state.outstanding is not None and state.outstanding.held is not None:
        pieces.append(state.outstanding.held)
    if isinstance(state.phase, Queued):
        pieces.extend(state.phase.pre_sent)
    pieces.extend(state.held)
    return tuple(pieces)
