"""Sentences that say how the next chat begins are true in every room."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.inviting import inviting
from bridge.conversation.policy import Policy
from bridge.texts import CATALOGUE

KEYS = ["room.welcome", "robot.welcome", "chat.ended", "chat.ended_by_you", "undelivered.farewell"]
ON_COMMAND = msgspec.structs.replace(Policy(), start_on_message=False)
PAUSED = msgspec.structs.replace(Policy(), paused=True)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("policy", [Policy(), ON_COMMAND, PAUSED])
def test_each_is_a_sentence(key: str, policy: Policy) -> None:
    assert inviting(key, policy) in CATALOGUE


def test_the_sentence_depends_on_the_room() -> None:
    assert inviting("chat.ended", Policy()) == "chat.ended"
    assert inviting("chat.ended", ON_COMMAND) == "chat.ended_command"
    assert inviting("chat.ended", PAUSED) == "chat.ended_paused"


@pytest.mark.parametrize("policy", [Policy(), ON_COMMAND, PAUSED])
def test_any_other_is_true_everywhere(policy: Policy) -> None:
    assert inviting("chat.started", policy) == "chat.started"
