"""Encryption as the operator wishes it (`encryption.default`) or demands it (`encryption.require`).

The bridge makes no rooms, it is invited. So the wish can only mean: where the host may, it turns
encryption on as it comes in, once the person who invited it is known to be a customer. And the
demand means that nothing anybody typed is carried in clear, either way: a message that came in
clear is answered with what to do, and so is a command that would bring a chat about or show one.
What only configures, tells or ends something is done all the same. Pure.
"""

from __future__ import annotations

from bridge.conversation.policy import RobotUse
from bridge.conversation.turn import inviting
from bridge.rooms.commands import Malformed, Parsed, Verb
from bridge.rooms.inputs import Entered
from bridge.rooms.record import RoomRecord
from bridge.rooms.rules import Rules
from bridge.rooms.visit import Visit

_HARMLESS = frozenset(
    {
        *(Verb.HELP, Verb.STATUS, Verb.VERSION, Verb.CANCEL, Verb.CLOSE, Verb.LOGOUT),
        *(Verb.QUEUE, Verb.LANG, Verb.FROM, Verb.CONFIG, Verb.PAUSE, Verb.RESUME),
    }
)
"""Commands that carry nothing and show nothing of a chat."""


def greet(visit: Visit, entry: Entered) -> None:
    """Say what the room needs to know first."""
    if entry.encrypted and not visit.rules.encryption:
        visit.say("encrypted.unsupported")
    elif visit.rules.encryption_required and not entry.encrypted:
        visit.say("encrypting.needed")
    else:
        _welcome(visit)
        if entry.encrypted_by_us:
            visit.say("encrypting.turned_on")


def became_encrypted(visit: Visit) -> None:
    """Somebody has turned encryption on."""
    visit.set(encrypted=True)
    if not visit.rules.encryption:
        visit.say("encrypted.unsupported")
    elif visit.rules.encryption_required:
        _welcome(visit)  # until now it was told why it is not served


def refusal(visit: Visit, parsed: Parsed | Malformed | None, *, encrypted: bool) -> str | None:
    """Why a message goes nowhere, as a key of the texts; None: it may go on.

    Args:
        visit: the room.
        parsed: the message as a command; None if it is a customer's word.
        encrypted: it came encrypted.
    """
    if encrypted or not visit.rules.encryption_required:
        return None
    explained = isinstance(parsed, Malformed) and not parsed.bare
    if explained or (isinstance(parsed, Parsed) and parsed.verb in _HARMLESS):
        return None
    return "encrypting.refused_here" if visit.record.encrypted else "encrypting.refused"


def hides(rules: Rules, record: RoomRecord) -> bool:
    """True if what an agent says must not be shown in this room."""
    return rules.encryption_required and not record.encrypted


def _welcome(visit: Visit) -> None:
    queue = visit.rules.queue_name(visit.rules.queue_for(visit.record))
    policy = visit.rules.policy_for(visit.record)
    key = "robot.welcome" if policy.robot is RobotUse.FIRST else "room.welcome"
    visit.say(inviting(key, policy), {"queue": queue, "prefix": visit.rules.prefix})
