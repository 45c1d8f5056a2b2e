"""`step` is a pure function, and `wants_link` says when a link is needed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.conversation.machine import step, wants_link
from bridge.conversation.model import Conversation, CustomerText, LinkLost, LinkRestored, Said
from bridge.conversation.turn import Policy
from bridge.ids import EventId
from bridge.webchat.codes import FailureReason
from tests.support.scene import SESSION, Scene


def test_the_same_inputs_give_the_same_conversation() -> None:
    said = Said(EventId("$1"), CustomerText("hello"))
    assert step(Conversation(), said, 5, Policy()) == step(Conversation(), said, 5, Policy())


@pytest.mark.parametrize("ended", [False, True])
def test_a_link_is_wanted_while_a_chat_lives(ended: bool) -> None:
    scene = Scene()
    assert not wants_link(scene.state)
    scene.begin()
    if ended:
        scene.push(205, sessionId=SESSION, agentId="K00017")
    assert wants_link(scene.state) is not ended


def test_a_link_is_wanted_for_a_late_rating() -> None:
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.rate(5)
    assert wants_link(scene.state)
    scene.cut()
    scene.cut()
    assert scene.state.outstanding is None
    assert wants_link(scene.state)
    scene.later(10)
    scene.reply()
    assert not wants_link(scene.state)


def test_a_restored_link_ends_the_retry_delay() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.cut()
    scene.cut()
    before = len(scene.calls)
    scene.happen(LinkRestored())
    assert len(scene.calls) == before + 1


def test_row_34_a_waiting_customer_is_told_once_of_a_lost_link() -> None:
    scene = Scene()
    scene.begin()
    scene.happen(LinkLost())
    scene.happen(LinkLost())
    assert scene.notices[-2:] == ["chat.started", "trouble.unreachable"]
    scene.restored()
    scene.restored()
    assert scene.notices[-2:] == ["trouble.unreachable", "trouble.over"]


def test_row_34_one_trouble_is_told_once() -> None:
    scene = Scene()
    scene.begin()
    scene.text("hello?")
    scene.fail(FailureReason.UNREACHABLE)
    scene.happen(LinkLost())
    assert scene.notices[-1] == "trouble.unreachable"
    idle = Scene()
    idle.happen(LinkLost())
    assert idle.notices == []


def leave_queue(scene: Scene) -> None:
    scene.queue_up()
    scene.happen(LinkLost())
    scene.cancel()


def close_chat(scene: Scene) -> None:
    scene.begin()
    scene.happen(LinkLost())
    scene.close()


@pytest.mark.parametrize("leave", [leave_queue, close_chat])
def test_row_34_an_outage_told_in_one_chat_does_not_affect_the_next(
    leave: Callable[[Scene], None],
) -> None:
    """The customer leaves meanwhile; nothing was told of the next chat's link yet."""
    scene = Scene()
    leave(scene)
    while wants_link(scene.state):
        scene.fail(FailureReason.UNREACHABLE)
        scene.later(60)
    scene.begin(session=SESSION + 1)
    scene.forget()
    scene.restored()
    assert scene.notices == []
    scene.happen(LinkLost())
    scene.restored()
    assert scene.notices == ["trouble.unreachable", "trouble.over"]
