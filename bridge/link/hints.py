"""What agents see of a customer while it happens: nothing that must arrive (112, 113; later).

Matrix clients tell that somebody types, and never what: there are no drafts. So 112 is here for
whoever else uses the links, and the bridge itself never sends it.
"""

from __future__ import annotations

from bridge.ids import RoomId, SessionId
from bridge.link.learnt import Feature
from bridge.link.roster import Roster
from bridge.webchat.frames import Preview, Typing


class Hints:
    """What may as well be lost: `LinkPort.typing`, and the preview that no port asks for.

    Args:
        roster: the links there are.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def typing(self, room_id: RoomId, session_id: SessionId) -> None:
        """Show the agent that the customer is typing; see `LinkPort.typing`."""
        self._roster.hint(room_id, Feature.TYPING, Typing(session_id))

    def preview(self, room_id: RoomId, session_id: SessionId, text: str) -> None:
        """Show the agent what the customer is typing (112); otherwise as `typing`."""
        self._roster.hint(room_id, Feature.PREVIEW, Preview(session_id, text))
