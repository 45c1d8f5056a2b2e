"""Sentences that say how the next chat begins are true in every room."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.turn import Policy, inviting
from bridge.texts import CATALOGUE
from tests.support.scene import REQUEST, Scene

ENDS = [
    *("status.2", "status.3", "status.4", "status.other", "result.-10", "result.-11"),
    "undelivered.no_chat",
]
KEYS = [
    *("room.welcome", "room.welcome_shared", "robot.welcome", "help.idle"),
    *("chat.ended", "chat.ended_by_you"),
    *ENDS,
]
ON_COMMAND = msgspec.structs.replace(Policy(), start_on_message=False)
PAUSED = msgspec.structs.replace(Policy(), paused=True)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("policy", [Policy(), ON_COMMAND, PAUSED])
def test_each_variant_is_in_the_catalogue(key: str, policy: Policy) -> None:
    assert inviting(key, policy) in CATALOGUE


def test_the_sentence_depends_on_the_room() -> None:
    assert inviting("chat.ended", Policy()) == "chat.ended"
    assert inviting("chat.ended", ON_COMMAND) == "chat.ended_command"
    assert inviting("chat.ended", PAUSED) == "chat.ended_paused"
    assert [key for key in KEYS if inviting(key, PAUSED) == key] == []
    assert [key for key in KEYS if inviting(key, ON_COMMAND) == key] == ["robot.welcome"]


@pytest.mark.parametrize("key", ENDS)
def test_the_start_command_is_named_where_messages_start_no_chat(key: str) -> None:
    """Another message would only wait in vain."""
    assert "{prefix} start" in CATALOGUE[inviting(key, ON_COMMAND)]["en"]


@pytest.mark.parametrize(
    ("policy", "ended"), [(ON_COMMAND, "status.3_command"), (PAUSED, "queue.ended_paused")]
)
def test_the_end_of_a_queue_says_how_to_come_back(policy: Policy, ended: str) -> None:
    scene = Scene(policy)
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.push(201, requestId=REQUEST, requestStatus=3)
    assert scene.card == [ended]


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ({"queueLength": 3}, "queue.position"),
        ({"queueLength": 3, "positionInQueueMessage": "a while"}, "queue.place_said"),
        ({}, "queue.waiting"),
    ],
)
def test_the_card_of_a_paused_room_does_not_invite_to_write(
    place: dict[str, object], key: str
) -> None:
    for policy in (Policy(), ON_COMMAND, PAUSED):
        scene = Scene(policy)
        scene.start()
        scene.reply(requestId=REQUEST, **place)
        scene.later(60)
        assert scene.card == [f"{key}_paused" if policy.paused else key]
        assert ("You may write" in CATALOGUE[scene.card[0]]["en"]) is not policy.paused


@pytest.mark.parametrize("policy", [Policy(), ON_COMMAND, PAUSED])
def test_other_sentences_have_no_variant(policy: Policy) -> None:
    assert inviting("chat.started", policy) == "chat.started"


def test_a_paused_room_requests_no_chat_in_place_of_a_lost_one() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.policy = PAUSED
    scene.reply(-11)
    assert len(scene.sent(101)) == 1
    assert scene.notices[1:] == ["chat.ended_paused", "queue.kept"]
