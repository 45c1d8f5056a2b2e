from __future__ import annotations

import math

import pytest

from bridge.ids import UserId
from bridge.matrix.adapter import level, may_send

ANN, BOB = "@ann:a", "@bob:a"
Json = dict[str, object]


def create(version: object = None, **content: object) -> Json:
    return {"sender": ANN, "content": {"room_version": version} | content}


def levels(**content: object) -> Json:
    return {"content": content}


@pytest.mark.parametrize(
    ("user", "create_event", "levels_event", "expected"),
    [
        (ANN, create("11"), levels(users={ANN: 100}), 100),
        (BOB, create("11"), levels(users={ANN: 100}), 0),
        (BOB, create("11"), levels(users={ANN: 100}, users_default=25), 25),
        (BOB, create("5"), levels(users={BOB: "50"}), 50),
        (BOB, create("5"), levels(users={BOB: "many"}, users_default=5), 5),
        (BOB, create("11"), levels(users=[BOB]), 0),
        (BOB, create("11"), levels(users={BOB: True}), 0),
        (BOB, create("11"), {"content": "x"}, 0),
        (ANN, create("11"), None, 100),
        (BOB, create("11"), None, 0),
        (BOB, create(None, creator=BOB), None, 100),
        (ANN, create("12"), levels(users={}), math.inf),
        (BOB, create("12", additional_creators=[BOB]), levels(), math.inf),
        (BOB, create("12", additional_creators=BOB), levels(), 0),
        (BOB, create("12"), levels(users={BOB: 50}), 50),
        (ANN, create("org.matrix.hydra.11"), levels(), math.inf),
        (ANN, create("org.matrix.msc9999"), levels(), 0),
        (ANN, create(11), levels(), 0),
        (ANN, None, None, 0),
    ],
)
def test_level(
    user: str, create_event: Json | None, levels_event: Json | None, expected: float
) -> None:
    assert level(UserId(user), create_event, levels_event) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, True),
        ({"events_default": 1}, False),
        ({"events_default": 1, "users": {BOB: 1}}, True),
        ({"events_default": 1, "events": {"m.room.message": 0}}, True),
        ({"events": {"m.room.message": 50}, "users_default": 49}, False),
        ({"events": {"m.room.encrypted": 50}}, True),
        ({"events_default": "50"}, True),  # of an old room version: the homeserver decides
    ],
)
def test_may_send(content: Json, expected: bool) -> None:
    assert may_send("m.room.message", UserId(BOB), None, levels(**content)) is expected
    creator = create("12", additional_creators=[BOB])
    assert may_send("m.room.message", UserId(BOB), creator, levels(**content))
