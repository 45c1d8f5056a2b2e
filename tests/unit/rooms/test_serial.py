"""Inputs and effects survive storage; each effect has its lane."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from bridge.conversation.model import (
    AgentsCame,
    AgentsLeft,
    Answered,
    AskRating,
    AskRobot,
    CallbackCard,
    CallFailed,
    CallWebChat,
    Card,
    CustomerMedia,
    CustomerText,
    Delivered,
    FetchHistory,
    Offer,
    Pushed,
    Relay,
    Replied,
    Reported,
    Said,
    Say,
    TakeBack,
    Tick,
    UploadMedia,
)
from bridge.ids import AgentId, CallId, EventId, RequestId, SessionId, UserId
from bridge.rooms.effects import (
    AskQueue,
    Conceal,
    Decline,
    Effect,
    EndPoll,
    EnterRoom,
    LeaveRoom,
    PutSigns,
    RedactAll,
    SendTranscript,
    ShowAnswer,
    ShowBridge,
    ShowPanel,
    ShowSettings,
    StoredEffect,
    TellChanges,
    TellFigures,
    TellHistory,
    TellStatus,
    TryLogin,
)
from bridge.rooms.record import (
    Entered,
    EntryFailed,
    ErasePerson,
    EraseRoom,
    LoginTried,
    LookedUp,
    MatrixEvent,
    NotShown,
    Order,
    OwnLogin,
    RoomInput,
    dump_input,
    load_input,
    load_record,
)
from bridge.rooms.store import Lane
from bridge.rooms.visit import load_effect, new_effect
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import Agent, AgentText, QueueStatus, Reply, SendPreMessage

EVENT = EventId("$1")
CALL = CallId(7)
MEDIA = CustomerMedia("image", "a.png", "mxc://h/1")
MEI = Agent(AgentId("K00017"), "Mei")

INPUTS: list[RoomInput] = [
    MatrixEvent({"type": "m.room.message", "content": {"body": "你好"}}),
    Entered((EVENT,), direct=False, encrypted=True, config={"queue": 1}),
    EntryFailed("M_FORBIDDEN"),
    EraseRoom(stay=True),
    ErasePerson("erase 1f2e", redact=True),
    LookedUp(EVENT, "history.list", {"list": "1. …"}),
    NotShown(),
    LoginTried(EVENT, OwnLogin("ada", b"\x00sealed"), "login.refused", -20),
    Order("operator", "api", "queue set 2"),
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
    Say("chat.started", {"names": ("Mei", "Jun")}, reply_to=EVENT, ping=True),
    Card(1, "queue.position", {"position": 2, "queue": 1}),
    CallbackCard(1, "callback.offer", {"queue": 1}),
    AskRating(SessionId(5150), ((5, "good"),)),
    EndPoll(SessionId(5150)),
    Offer("robot.person_offered"),
    Relay(MEI, AgentText("hi"), SessionId(5150), ("returns",)),
    TakeBack(MEI, "152820"),
    TakeBack(MEI, "152820", "1f2e3d4c5b", 1_733_011_200_000),
    AgentsCame((MEI,)),
    AgentsLeft((MEI.id,)),
    Reported(EVENT, "undelivered.blank"),
    ShowAnswer(EVENT, "how?", "robot.nothing", {}),
    PutSigns(EVENT, ("👍",)),
    ShowSettings(),
    AskQueue(EventId("")),
    EnterRoom(UserId("@bot:h"), UserId("@ada:h")),
    LeaveRoom((UserId("@bot:h"),)),
    RedactAll((EVENT,)),
]

ASIDE: list[Effect] = [
    AskRobot(EVENT, "how?", first=True),
    FetchHistory(SessionId(5150), 7),
    TellHistory(EVENT, 20),
    TellChanges(EVENT, 20),
    TellFigures(EVENT, 7),
    SendTranscript(EVENT, 3),
    ShowBridge(),
    ShowPanel(EVENT),
    TryLogin(EVENT, OwnLogin("ada", b"\x00sealed")),
    Conceal(EVENT),
    Decline(EVENT, UserId("@webchat_a:h"), "write to the bot"),
    TellStatus(EVENT, "undelivered.too_big"),
]


@pytest.mark.parametrize("stored", INPUTS, ids=lambda one: type(one).__name__)
def test_inputs_survive_storage(stored: RoomInput) -> None:
    assert load_input(dump_input(stored)) == stored


@pytest.mark.parametrize(
    ("effect", "lane"),
    [(one, Lane.WEBCHAT) for one in WEBCHAT]
    + [(one, Lane.MATRIX) for one in MATRIX]
    + [(one, Lane.ASIDE) for one in ASIDE],
    ids=lambda one: type(one).__name__,
)
def test_effects_survive_storage_and_have_their_lane(effect: Effect, lane: Lane) -> None:
    row = new_effect(effect)
    assert row is not None
    assert row.lane is lane
    assert load_effect(row.effect) == effect


def test_every_kind_of_effect_is_tested() -> None:
    kinds = {type(one) for one in [*WEBCHAT, *MATRIX, *ASIDE]}
    assert kinds == set(get_args(StoredEffect))
    assert kinds | {Answered, Delivered} == set(get_args(Effect))
    assert new_effect(Answered(EVENT)) is None
    assert new_effect(Delivered(EVENT)) is None


READ: dict[str, Callable[[bytes], object]] = {
    "input": load_input,
    "effect": load_effect,
    "record": load_record,
}
ROWS = [
    json.loads(line)
    for line in Path(__file__).with_name("stored_rows.jsonl").read_text("utf-8").splitlines()
]
"""As released versions stored them: lines are added, and never changed."""


DROPPED = {"marked", "ours", "rating_asked", "vote", "poll", "place"}
"""Fields of earlier versions that nothing reads any more."""


def holds(whole: object, part: object) -> bool:
    """Whether `whole` contains `part`, except for fields in `DROPPED`."""
    if isinstance(whole, dict) and isinstance(part, dict):
        kept = {key: one for key, one in part.items() if key not in DROPPED}
        return all(key in whole and holds(whole[key], one) for key, one in kept.items())
    if isinstance(whole, list | tuple) and isinstance(part, list | tuple):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return whole == part


@pytest.mark.parametrize("line", ROWS, ids=lambda line: next(iter(line.values()))["is"])
def test_rows_of_released_versions_are_read_completely(line: dict[str, object]) -> None:
    """Renaming a class or a field would lose stored data."""
    ((kind, row),) = line.items()
    read = READ[kind](msgspec.json.encode(row))
    assert holds(msgspec.to_builtins(read), row)


def test_every_effect_has_a_stored_row() -> None:
    stored = {line["effect"]["is"] for line in ROWS if "effect" in line}
    assert stored >= {kind.__struct_config__.tag for kind in get_args(StoredEffect)}


def test_effect_rows_name_their_cause_and_call() -> None:
    call, upload = (new_effect(one) for one in WEBCHAT)
    assert call is not None
    assert upload is not None
    assert (call.cause, call.call_id, call.repeat) == (EVENT, CALL, True)
    assert (upload.cause, upload.call_id, upload.repeat) == (EVENT, CALL, False)
    assert [row.cause for row in map(new_effect, MATRIX) if row is not None and row.cause] == [
        EVENT,
        EVENT,
        EVENT,
    ]
