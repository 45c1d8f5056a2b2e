"""The changes of phase that several inputs lead to: a queue ends, a chat starts, a chat ends.

Each function here leaves the turn in a whole state; none of them makes a call (see `calls`).
"""

from __future__ import annotations

import msgspec

from bridge.conversation import callback, questions, quoting, rating, waiting
from bridge.conversation.effects import AgentsCame, AgentsLeft, Offer
from bridge.conversation.inviting import inviting
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
    turn: Turn,
    queue_id: QueueId | None = None,
    *,
    lost_session: SessionId | None = None,
    quiet: bool = False,
) -> None:
    """Ask for a chat: a new conversation with a new queue card begins.

    Args:
        turn: a turn in any phase.
        queue_id: which queue; None: the room's.
        lost_session: see `Requesting`.
        quiet: the customer has not just asked for it (see `waiting`).
    """
    queue = turn.policy.queue_id if queue_id is None else queue_id
    turn.set(retry_at=None, turn_at=None)
    if not quiet:
        turn.set(number=turn.state.number + 1)
    if not callback.wanted(turn.state):
        turn.set(callback=None)
    outstanding = turn.state.outstanding
    if outstanding is not None and isinstance(outstanding.what, RequestChat):
        # Its request lived and died by pushes; what it brings must not pass for this one's answer.
        turn.set(outstanding=msgspec.structs.replace(outstanding, moot=True))
    turn.enter(Requesting(queue, turn.now, lost_session=lost_session, quiet=quiet))
    questions.hand_over(turn)
    if not quiet:
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
    return Queued(
        phase.queue_id,
        phase.since,
        cancel=phase.cancel,
        cancel_by=turn.now + turn.policy.cancel_wait if phase.cancel else None,
        quiet_until=turn.now + turn.policy.quiet_wait if phase.quiet else None,
        any_agent=phase.any_agent,
    )


def queue_ended(turn: Turn, key: str, code: int | None = None, *, words: str = "") -> None:
    """The request came to nothing: what was typed is kept for the customer's next word.

    Args:
        turn: a turn in Requesting or Queued.
        key: the sentence that says why.
        code: the number to show where no sentence knows it.
        words: what the server said to it.
    """
    phase = turn.state.phase
    shown = not (isinstance(phase, Requesting | Queued) and waiting.hidden(phase))
    queue_id = phase.queue_id if isinstance(phase, Requesting | Queued) else turn.policy.queue_id
    vain = callback.fails_quietly(turn, key)
    leave_queue(turn)
    if vain:
        return
    if shown:
        turn.card("queue.ended")
    turn.say(inviting(key, turn.policy), {} if code is None else {"code": code})
    quoting.say(turn, words)
    if turn.state.held:
        _say_kept(turn)
    callback.request_ended(turn, queue_id, key)
    if key in callback.NOBODY_THERE:
        questions.ask_kept(turn)


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
    callback.put_off(turn)
    if isinstance(phase, Queued):
        turn.put_back(*phase.pre_sent)
        if phase.request_id is not None:
            turn.set(last_request=phase.request_id)
    turn.lapse()


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


def take_back(turn: Turn, asked: Outstanding, piece: Held, *, perhaps: bool = False) -> None:
    """Hold again what a call did not deliver, unless the customer gave it up meanwhile.

    Where the chat or the queue has ended meanwhile, it is handled as they handle what is left.

    Args:
        turn: a turn in any phase.
        asked: the call.
        piece: what it carried.
        perhaps: it may have been delivered, even if no earlier call has done so.
    """
    if not asked.moot:
        turn.put_back(piece)
    if not perhaps and piece.asked is None:
        turn.lapse(piece.event_id)
    if asked.moot:
        turn.report_whole((piece,), "undelivered.cancelled")
        return
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
    request_id = phase.request_id if isinstance(phase, Queued | Chatting) else None
    if isinstance(phase, Requesting | Queued):
        queue_id = phase.queue_id
        close = unwanted = phase.cancel
    elif isinstance(phase, Chatting):
        queue_id, close, unwanted = phase.queue_id, phase.close, phase.unwanted
        staying = {agent.id for agent in agents}
        _dismiss(turn, tuple(one for one in phase.agents if one.id not in staying))
    elif isinstance(phase, Idle) and phase.refused is not None:
        queue_id = phase.refused.queue_id
    if isinstance(phase, Queued):
        turn.delivered(*phase.pre_sent)
        if phase.request_id is not None:
            turn.set(last_request=phase.request_id)
    waiting.unhide(turn)
    if isinstance(phase, Chatting | Ended) or turn.state.number == 0:
        turn.set(number=turn.state.number + 1)  # nobody asked for this chat: no card of its own yet
    if isinstance(phase, Chatting) and phase.session_id != session_id:
        turn.lapse()
    if session_id != turn.state.last_session:
        rating.end_poll(turn)  # only the newest chat can be rated
        if isinstance(phase, Chatting):
            turn.set(last_ended_at=turn.now)
    turn.set(last_session=session_id, last_closed=False, callback=None)
    chat = Chatting(
        session_id,
        turn.now,
        queue_id,
        agents,
        robot,
        close,
        unwanted,
        request_id=request_id,
        marked=True,
    )
    turn.enter(chat)
    questions.hand_over(turn)
    if unwanted:
        turn.card("queue.cancelled")
    else:
        greet(turn, chat)


def greet(turn: Turn, phase: Chatting) -> None:
    """Bring the agents of the chat in, and let the customer know: a person is worth a ping."""
    if phase.agents:
        turn.card("queue.joined", {"names": names(phase.agents)})
        turn.ask(AgentsCame(phase.agents, phase.queue_id))
        turn.say("chat.started", {"names": introduced(turn, phase.agents)}, ping=not phase.robot)
    else:
        turn.card("queue.joined_unnamed")
        turn.say("chat.started_unnamed", ping=not phase.robot)
    if phase.robot:
        turn.ask(Offer("robot.person_offered"))


def end_chat(turn: Turn, phase: Chatting, key: str, *, closed: bool = True) -> None:
    """The session is over.

    Args:
        turn: a turn in that phase.
        phase: the chat.
        key: the sentence that says by whom it was ended.
        closed: False if WebChat may not know yet.
    """
    _dismiss(turn, phase.agents)
    turn.set(last_session=phase.session_id, last_closed=closed, last_ended_at=turn.now)
    ended = Ended(phase.session_id, phase.rating_asked, turn.now)
    turn.enter(ended)
    turn.lapse()
    if not phase.unwanted:  # else the customer was told about the queue, and greeted by nobody
        turn.say(inviting(key, turn.policy))
        if closed:
            rating.ask(turn, ended)
    resume_held(turn)


def ended_at(state: Conversation) -> int | None:
    """When the newest session ended, ms; None if it has not, or there was none.

    A queue that the customer stands in, or has left again, changes nothing of it.
    """
    phase = state.phase
    if isinstance(phase, Ended):
        return phase.since  # rows of earlier versions know no more
    return None if isinstance(phase, Chatting) else state.last_ended_at


def session_lost(turn: Turn, session_id: SessionId) -> None:
    """WebChat no longer knows the session (-11): ask for a new one, keep what was typed."""
    phase = turn.state.phase
    if not isinstance(phase, Chatting) or phase.session_id != session_id:
        return
    turn.lapse()
    if phase.close and not phase.unwanted:
        turn.report_held("undelivered.closed")
    if phase.close or not turn.policy.start_on_message or not turn.state.held:
        end_chat(turn, phase, "chat.ended")
        return
    _dismiss(turn, phase.agents)
    turn.set(last_session=session_id, last_closed=True, last_ended_at=turn.now)
    turn.say("chat.lost")
    request_chat(turn, phase.queue_id, lost_session=session_id)


def _dismiss(turn: Turn, agents: tuple[Agent, ...]) -> None:
    if agents:
        turn.ask(AgentsLeft(tuple(agent.id for agent in agents)))


def names(agents: tuple[Agent, ...]) -> tuple[str, ...]:
    """The agents as a person would list them."""
    return tuple(agent.name or agent.id for agent in agents)


def introduced(turn: Turn, agents: tuple[Agent, ...]) -> tuple[str, ...]:
    """The same, with the call centre's notes on them where the operator shows these (T39)."""
    if not turn.policy.show_comments:
        return names(agents)
    notes = (" ".join(agent.comments.split()) for agent in agents)
    return tuple(
        f"{agent.name or agent.id} ({note})" if note else agent.name or agent.id
        for agent, note in zip(agents, notes, strict=True)
    )


def all_pieces(state: Conversation) -> tuple[Held, ...]:
    """Every piece of content that this conversation still answers for."""
    pieces: list[Held] = []
    if state.outstanding is not None and state.outstanding.held is not None:
        pieces.append(state.outstanding.held)
    if isinstance(state.phase, Queued):
        pieces.extend(state.phase.pre_sent)
    pieces.extend(state.held)
    return tuple(pieces)
