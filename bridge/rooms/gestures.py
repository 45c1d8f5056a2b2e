"""What people do without typing: reactions, votes, taking something back. Pure.

One that is about a card of ours is an order to us (`cards`), 🔁 sends a message again (`again`),
and the rest is told to an agent in words (`references`), as far as the operator wants it.
"""

from __future__ import annotations

from bridge.config.model import Permission
from bridge.rooms import again, cards, people, references
from bridge.rooms.inputs import PollAnswered, Reacted, Withdrew
from bridge.rooms.pace import too_fast
from bridge.rooms.record import Membership
from bridge.rooms.references import Earlier
from bridge.rooms.visit import Visit

Gesture = Withdrew | Reacted | PollAnswered


def gestured(visit: Visit, gesture: Gesture, received: int, earlier: Earlier | None) -> None:
    """Nobody typed anything: what is not told to the agent is told to nobody.

    Args:
        visit: record in, record and effects out.
        gesture: what was done.
        received: when it was stored, ms since the epoch.
        earlier: the message that it is about, as the ledger has it.
    """
    record, rules = visit.record, visit.rules
    if record.membership is not Membership.JOINED:
        return
    # Whoever may take something back (moderators may) has done so already.
    allowed = isinstance(gesture, Withdrew)
    if not allowed and rules.permission(gesture.sender) < Permission.CUSTOMER:
        return
    ordered = None if isinstance(gesture, Withdrew) else cards.meant_by(visit, gesture)
    if ordered is not None:
        happened = ordered
    elif isinstance(gesture, Withdrew):
        happened = references.withdrew(visit, gesture, earlier)
    elif _sends_again(visit, gesture, earlier) or _unwelcome(visit, received):
        happened = []
    elif isinstance(gesture, PollAnswered):
        happened = references.voted(visit, gesture, earlier)
    else:
        happened = references.reacted(visit, gesture, earlier)
    for one in happened:
        visit.step(people.signed(visit, gesture.sender, one))


def _sends_again(visit: Visit, gesture: Gesture, earlier: Earlier | None) -> bool:
    return isinstance(gesture, Reacted) and again.by_reaction(visit, gesture, earlier)


def _unwelcome(visit: Visit, received: int) -> bool:
    return visit.record.settings.paused or too_fast(visit, received)
