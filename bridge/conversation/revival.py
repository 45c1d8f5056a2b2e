"""A refused request that an agent may still take up (reference 2.3, status 2).

The customer has been told, and what they typed is theirs again. But for a while the link stays, and
the place in the queue is remembered: news of it that is no end puts them back there. What had gone
to WebChat with the request is there still, and is not sent again. A 202 instead of a 201 does not
say of which request it is: then it is sent again, for twice is better than never.
"""

from __future__ import annotations

import msgspec

from bridge.conversation import questions
from bridge.conversation.model import Idle, Queued
from bridge.conversation.turn import Turn
from bridge.webchat.codes import Progress, progress
from bridge.webchat.frames import QueueStatus


def linger(turn: Turn, place: Queued) -> None:
    """The queue has just ended because an agent refused: be ready for a change of mind."""
    turn.enter(
        Idle(
            turn.now,
            linger_until=turn.now + turn.policy.linger,
            refused=msgspec.structs.replace(place, pre_sent=()),
            pre_sent=tuple(piece.order for piece in place.pre_sent),
        )
    )


def revive(turn: Turn, news: QueueStatus) -> bool:
    """Return to the place in the queue that this is news of; False if it was not refused lately."""
    phase = turn.state.phase
    if not isinstance(phase, Idle) or phase.refused is None or news.request_id is None:
        return False
    place = phase.refused
    if news.request_id != place.request_id or progress(news.status) is Progress.OVER:
        return False
    held = turn.state.held
    turn.set(
        held=tuple(piece for piece in held if piece.order not in phase.pre_sent),
        last_request=None,
    )
    hidden = place.quiet_until is not None
    turn.enter(
        msgspec.structs.replace(
            place,
            position=None,
            accepted=False,
            resync=False,
            pre_sent=tuple(piece for piece in held if piece.order in phase.pre_sent),
            quiet_until=turn.now + turn.policy.quiet_wait if hidden else None,
        )
    )
    questions.hand_over(turn)
    return True
