"""Rating a chat: asked once, given by whichever means is used first, changed for five minutes.

Any session may be rated until the next one starts, also after its end (traps T19 and T20), and
every id that the server has is legal, 0 included (T21). The poll is closed as soon as a vote in it
would say nothing any more: when the rating came by other means, or can no longer be changed.
"""

from __future__ import annotations

import msgspec

from bridge.conversation import quoting
from bridge.conversation.effects import AskRating, EndPoll
from bridge.conversation.inputs import Rate
from bridge.conversation.model import Chatting, Conversation, Ended, Rated, Rating
from bridge.conversation.policy import Policy
from bridge.conversation.turn import Turn
from bridge.ids import SessionId
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import RateSession, Reply


def ask(turn: Turn, phase: Chatting | Ended) -> None:
    """Ask once per session, unless the customer has rated it already (rows 28 and 29)."""
    state = turn.state
    known = {state.poll, *(one.session_id for one in (state.rating, state.rated) if one)}
    if phase.rating_asked or phase.session_id in known:
        return
    turn.enter(msgspec.structs.replace(phase, rating_asked=True))
    turn.set(poll=phase.session_id)
    turn.ask(AskRating(phase.session_id, state.ratings))


def wish(turn: Turn, rate: Rate) -> None:
    """The customer rates the running session, or the last one."""
    session_id = turn.state.last_session
    if session_id is None:
        turn.say("rating.nothing")
        return
    if rate.session_id is not None and rate.session_id != session_id:
        turn.say("rating.too_late")
        return
    rated = _rated(turn.state, session_id)
    if rated is not None and turn.now - rated.at > turn.policy.rating_change:
        turn.say("rating.settled")
        return
    turn.set(rating=Rating(session_id, rate.value, rate.comment, rate.vote))


def taken(turn: Turn, command: RateSession, reply: Reply) -> None:
    """WebChat has answered 104. Thanks are said once; a change is confirmed as one."""
    rating = turn.state.rating
    if rating is None or (rating.value, rating.comment) != (command.rating, command.comments):
        return  # the customer has thought better of it: the newer rating goes next
    turn.set(rating=None)
    if reply.ok:
        first = _rated(turn.state, rating.session_id) is None
        if first:
            turn.set(rated=Rated(rating.session_id, turn.now))
        turn.say("rating.thanks" if first else "rating.changed", {"rating": rating.value})
        if not rating.vote:
            end_poll(turn, rating.session_id)
    elif reply.result == ResultCode.INVALID_CHAT_SESSION_ID:
        turn.say("rating.too_late")
        end_poll(turn, rating.session_id)
    else:
        turn.say("rating.refused", {"code": reply.result})
        quoting.say(turn, quoting.reason(reply))


def end_poll(turn: Turn, session_id: SessionId | None = None) -> None:
    """Close the poll that stands open, if there is one (and if it is about that session)."""
    poll = turn.state.poll
    if poll is not None and session_id in {None, poll}:
        turn.set(poll=None)
        turn.ask(EndPoll(poll))


def due(state: Conversation, policy: Policy) -> int | None:
    """When the poll that stands open can change nothing any more, ms."""
    rated = None if state.poll is None else _rated(state, state.poll)
    return None if rated is None else rated.at + policy.rating_change


def _rated(state: Conversation, session_id: SessionId) -> Rated | None:
    rated = state.rated
    return rated if rated is not None and rated.session_id == session_id else None
