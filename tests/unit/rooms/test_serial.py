"""Inputs and effects survive storage; each effect has its lane."""

from __future__ import annotations

from typing import get_args

import pytest

from bridge.conversation.effects import (
    AgentsCame,
    AgentsLeft,
    AskRating,
    CallWebChat,
    Card,
    Delivered,
    FetchHistory,
    Relay,
    Reported,
    Say,
    UploadMedia,
)
from bridge.conversation.inputs import (
    CallFailed,
    FailureReason,
    Pushed,
    Replied,
    Said,
    Tick,
)
from bridge.conversation.model import CustomerMedia, CustomerText
from bridge.ids import AgentId, CallId, EventId, RequestId, SessionId, UserId
from bridge.rooms.effects import AskRobot, Effect, EnterRoom, LeaveRoom, ShowAnswer
from bridge.rooms.inputs import Entered, EntryFailed, MatrixEvent, Stored
from bridge.rooms.serial import (
    StoredEffect,
    dump_input,
    load_effect,
    load_input,
    outbox_row,
)
from bridge.rooms.store import Lane
from bridge.webchat.frames import Agent, AgentText, QueueStatus, Reply, SendPreMessage

EVENT = EventId("$1")
CALL = CallId(7)
MEDIA = CustomerMedia("image", "a.png", "mxc://h/1")
MEI = Agent(AgentId("K00017"), "Mei")

INPUTS: list[Stored] = [
    MatrixEvent({"type": "m.room.message", "content": {"body": "你好"}}),
    Entered((EVENT,), direct=False, encrypted=True, config={"queue": 1}),
    EntryFailed("M_FORBIDDEN"),
    Said(EVENT, CustomerText("hello")),
    Said(EVENT, MEDIA),
    Pushed(QueueStatus(RequestId(9001), 0, 2)),
    Replied(CALL, Reply(101, 1, agents=(MEI,))),
    CallFailed(CALL, FailureReason.NO_ANSWER, certain=False),
    Tick(),
]
WEBCHAT: list[Effect] = [
    CallWebChat(CALL, SendPreMessage(RequestId(9001), "hi"), EVENT, repeat=True),
    UploadMedia(CALL, MEDIA, EVENT),
]
MATRIX: list[Effect] = [
    Say("chat.started", {"names": "Mei"}, reply_to=EVENT, ping=True),
    Card(1, "queue.position", {"position": 2, "queue": 1}),
    AskRating(SessionId(5150), ((5, "good"),)),
    Relay(MEI, AgentText("hi"), SessionId(5150)),
    AgentsCame((MEI,)),
    AgentsLeft((MEI.id,)),
    Reported(EVENT, "undelivered.blank"),
    ShowAnswer(EVENT, "how?", "robot.nothing", {}),
    EnterRoom(UserId("@bot:h"), UserId("@ada:h")),
    LeaveRoom((UserId("@bot:h"),)),
]

ASIDE: list[Effect] = [AskRobot(EVENT, "how?"), FetchHistory(SessionId(5150), 7)]


@pytest.mark.parametrize("stored", INPUTS, ids=lambda one: type(one).__name__)
def test_inputs(stored: Stored) -> None:
    assert load_input(dump_input(stored)) == stored


@pytest.mark.parametrize(
    ("effect", "lane"),
    [(one, Lane.WEBCHAT) for one in WEBCHAT]
    + [(one, Lane.MATRIX) for one in MATRIX]
    + [(one, Lane.ASIDE) for one in ASIDE],
    ids=lambda one: type(one).__name__,
)
def test_effects(effect: Effect, lane: Lane) -> None:
    row = outbox_row(effect)
    assert row is not None
    assert row.lane is lane
    assert load_effect(row.effect) == effect


def test_no_kind_of_effect_was_forgotten() -> None:
    kinds = {type(one) for one in [*WEBCHAT, *MATRIX, *ASIDE]}
    assert kinds == set(get_args(StoredEffect))
    assert kinds | {Delivered} == set(get_args(Effect))
    assert outbox_row(Delivered(EVENT)) is None


def test_rows_name_what_they_are_about() -> None:
    call, upload = (outbox_row(one) for one in WEBCHAT)
    assert call is not None
    assert upload is not None
    assert (call.cause, call.call_id, call.repeat) == (EVENT, CALL, True)
    assert (upload.cause, upload.call_id, upload.repeat) == (EVENT, CALL, False)
    assert [row.cause for row in map(outbox_row, MATRIX) if row is not None and row.cause] == [
        EVENT,
        EVENT,
        EVENT,
    ]
