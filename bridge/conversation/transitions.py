"""The changes of phase that several inputs lead to: a queue ends, a chat starts, a chat ends.

Each function here leaves the turn in a whole state; none of them makes a call (see `calls`).
"""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import AgentsCame, AgentsLeft, AskRating
from bridge.conversation.model import (
    Chatting,
    Conversation,
    Ended,
    Held,
    Idle,
    Outstanding,
    Queued,
    Requesting,
)
from bridge.conversation.turn import Turn, unique_events
from bridge.ids import QueueId, SessionId
from bridge.webchat.codes import RequestStatus, ResultCode
from bridge.webchat.frames import Agent, RequestChat

# --- the queue ----------------------------------------------------------------------------------


def request_chat(
    turn: Turn, queue_id: QueueId | None = None, *, lost_session: SessionId | None = None
) -> None:
    """Ask for a chat: a new conversation with a new queue card begins."""
    queue = turn.policy.queue_id if queue_id is None else queue_id
    turn.set(number=turn.state.number + 1, retry_at=None)
    outstanding = turn.state.outstanding
    if outstanding is not None and isinstance(outstanding.what, RequestChat):
        # Its request lived and died by pushes; what it brings must not pass for this one's answer.
        turn.set(outstanding=msgspec.structs.replace(outstanding, moot=True))
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


def queued(turn: Turn, phase: Requesting | Queued) -> Queued:
    """The place in the queue that the phase has become, or is already."""
    if isinstance(phase, Queued):
        return phase
    cancel_by = turn.now + turn.policy.cancel_wait if phase.cancel else None
    return Queued(phase.queue_id, phase.since, cancel=phase.cancel, cancel_by=cancel_by)


def show_position(turn: Turn, position: int | None) -> None:
    """Write the card, if there is a place to show and it changed (row 19, trap T4)."""
    phase = turn.state.phase
    if not isinstance(phase, Queued) or phase.cancel:
        return
    if position is None or position == phase.position:
        return
    turn.enter(msgspec.structs.replace(phase, position=position))
    if position > 0:
        turn.card("queue.position", {"position": position, "queue": phase.queue_id})


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
        _say_kept(turn)


def _say_kept(turn: Turn) -> None:
    turn.say("queue.kept", {"count": len(unique_events(turn.state.held))})


def queue_cancelled(turn: Turn) -> None:
    """The customer is out of the queue, as they wished. What they wrote since asks anew."""
    phase = turn.state.phase
    if isinstance(phase, Queued):
        turn.report_whole(phase.pre_sent, "undelivered.cancelled")
        turn.enter(msgspec.structs.replace(phase, pre_sent=()))
    leave_queue(turn)
    turn.card("queue.cancelled")
    resume_held(turn)


def leave_queue(turn: Turn) -> None:
    """Back to Idle; pre-messages that no agent will read are ours again."""
    phase = turn.state.phase
    turn.enter(Idle(turn.now))
    if isinstance(phase, Queued):
        turn.put_back(*phase.pre_sent)
        if phase.request_id is not None:
            turn.set(last_request=phase.request_id)


def status_key(status: int) -> tuple[str, int | None]:
    """The sentence for a request status, and the number if no sentence knows it."""
    if status in set(RequestStatus):
        return f"status.{status}", None
    return "status.other", status


def result_key(code: int) -> tuple[str, int | None]:
    """The sentence for a result code, and the number if no sentence knows it."""
    if code in set(ResultCode):
        return f"result.{code}", None
    return "result.other", code


# --- content ------------------------------------------------------------------------------------


def take_back(turn: Turn, asked: Outstanding, piece: Held) -> None:
    """Hold again what a call did not deliver, unless the customer gave it up meanwhile.

    Where the chat or the queue has ended meanwhile, it is handled as they handle what is left.
    """
    if asked.moot:
        turn.report_whole((piece,), "undelivered.cancelled")
        return
    turn.put_back(piece)
    if isinstance(turn.state.phase, Idle):
        _say_kept(turn)
    else:
        resume_held(turn)


# --- the chat -----------------------------------------------------------------------------------


def start_chat(
    turn: Turn, session_id: SessionId, agents: tuple[Agent, ...], *, robot: bool = False
) -> None:
    """A session runs: greet, or, if the customer has left the queue meanwhile, close it at once."""
    phase = turn.state.phase
    queue_id, close, unwanted = turn.policy.queue_id, False, False
    if isinstance(phase, Requesting | Queued):
        queue_id = phase.queue_id
        close = unwanted = phase.cancel
    elif isinstance(phase, Chatting):
        queue_id, close, unwanted = phase.queue_id, phase.close, phase.unwanted
        staying = {agent.id for agent in agents}
        _dismiss(turn, tuple(one for one in phase.agents if one.id not in staying))
    if isinstance(phase, Queued):
        turn.delivered(*phase.pre_sent)
        if phase.request_id is not None:
            turn.set(last_request=phase.request_id)
    if isinstance(phase, Chatting | Ended):
        turn.set(number=turn.state.number + 1)  # nobody asked for this chat: no card of its own yet
    turn.set(last_session=session_id, last_closed=False)
    chat = Chatting(session_id, turn.now, queue_id, agents, robot, close, unwanted)
    turn.enter(chat)
    if unwanted:
        turn.card("queue.cancelled")
    else:
        greet(turn, chat)


def greet(turn: Turn, phase: Chatting) -> None:
    """Bring the agents of the chat in, and let the customer know."""
    if phase.agents:
        turn.card("queue.joined", {"names": names(phase.agents)})
        turn.ask(AgentsCame(phase.agents, phase.queue_id))
        turn.say("chat.started", {"names": names(phase.agents)}, ping=True)
    else:
        turn.card("queue.joined_unnamed")
        turn.say("chat.started_unnamed", ping=True)


def end_chat(turn: Turn, phase: Chatting, key: str, *, closed: bool = True) -> None:
    """The session is over.

    Args:
        turn: a turn in that phase.
        phase: the chat.
        key: the sentence that says by whom it was ended.
        closed: False if WebChat may not know yet.
    """
    _dismiss(turn, phase.agents)
    turn.set(last_session=phase.session_id, last_closed=closed)
    ended = Ended(phase.session_id, phase.rating_asked, turn.now)
    turn.enter(ended)
    if not phase.unwanted:  # else the customer was told about the queue, and greeted by nobody
        turn.say(key)
        if closed:
            ask_rating(turn, ended)
    resume_held(turn)


def ask_rating(turn: Turn, phase: Chatting | Ended) -> None:
    """Ask once per session, unless the customer has rated it already (rows 28 and 29)."""
    state = turn.state
    given = {one.session_id for one in (state.rating, state.rated) if one is not None}
    if phase.rating_asked or phase.session_id in given:
        return
    turn.enter(msgspec.structs.replace(phase, rating_asked=True))
    turn.ask(AskRating(phase.session_id, state.ratings))


def session_lost(turn: Turn, session_id: SessionId) -> None:
    """WebChat no longer knows the session (-11): ask for a new one, keep what was typed."""
    phase = turn.state.phase
    if not isinstance(phase, Chatting) or phase.session_id != session_id:
        return
    if phase.close and not phase.unwanted:
        turn.report_held("undelivered.closed")
    if phase.close or not turn.policy.start_on_message or not turn.state.held:
        end_chat(turn, phase, "chat.ended")
        return
    _dismiss(turn, phase.agents)
    turn.set(last_session=session_id, last_closed=True)
    turn.say("chat.lost")
    request_chat(turn, phase.queue_id, lost_session=session_id)


def _dismiss(turn: Turn, agents: tuple[Agent, ...]) -> None:
    if agents:
        turn.ask(AgentsLeft(tuple(agent.id for agent in agents)))


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
