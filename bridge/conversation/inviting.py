"""Sentences that say how the next chat begins: by writing, by a command, or not for now."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bridge.conversation.policy import Policy

_OTHERWISE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "room.welcome": ("room.welcome_command", "room.welcome_paused"),
        # The robot is asked by writing, wherever it answers first.
        "robot.welcome": ("robot.welcome", "room.welcome_paused"),
        "chat.ended": ("chat.ended_command", "chat.ended_paused"),
        "chat.ended_by_you": ("chat.ended_by_you_command", "chat.ended_by_you_paused"),
        "undelivered.farewell": ("undelivered.farewell_command", "undelivered.paused"),
        "undelivered.no_chat": ("undelivered.no_chat_command", "undelivered.paused"),
        "result.-10": ("result.-10_command", "queue.ended_paused"),
        "result.-11": ("result.-11_command", "queue.ended_paused"),
        "status.2": ("status.2_command", "queue.ended_paused"),
        "status.3": ("status.3_command", "queue.ended_paused"),
        "status.4": ("status.4_command", "queue.ended_paused"),
        "status.other": ("status.other_command", "status.other_paused"),
    }
)
"""Key -> the keys where only a command asks for a chat, and where the room is paused."""


def inviting(key: str, policy: Policy) -> str:
    """The key of what is true in this room.

    Args:
        key: of the sentence for rooms in which writing is enough; or of any other, which is true
            everywhere.
        policy: the room's.
    """
    on_command, paused = _OTHERWISE.get(key, (key, key))
    if policy.paused:
        return paused
    return key if policy.start_on_message else on_command
