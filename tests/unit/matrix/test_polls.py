"""Polls of ours, and the votes in them (MSC3381)."""

from __future__ import annotations

import pytest

from bridge.ids import EventId, UserId
from bridge.matrix.polls import POLL_START, poll_content
from bridge.matrix.reactions import vote
from bridge.matrix.render import MARKER
from bridge.rooms.inputs import Nothing, PollAnswered
from bridge.rooms.ports import Poll

ANN, EVENT = UserId("@ann:example.org"), EventId("$e")
RELATION = {"rel_type": "m.reference", "event_id": "$poll"}
UNSTABLE = "org.matrix.msc3381.poll.response"


def test_a_poll_is_readable_with_and_without_polls() -> None:
    content = poll_content(Poll("How was it?", (("5", "Good"), ("1", "Bad"))), "t1")
    assert content["org.matrix.msc1767.text"] == "How was it?\n5. Good\n1. Bad"
    assert content[MARKER] == {"txn": "t1"}
    start = content[POLL_START]
    assert isinstance(start, dict)
    assert start["max_selections"] == 1
    assert start["answers"] == [
        {"id": "5", "org.matrix.msc1767.text": "Good"},
        {"id": "1", "org.matrix.msc1767.text": "Bad"},
    ]


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ({"m.relates_to": RELATION, UNSTABLE: {"answers": ["5"]}}, "5"),
        ({"m.relates_to": RELATION, "m.selections": ["1", "2"]}, "1"),
        ({"m.relates_to": RELATION, UNSTABLE: {"answers": []}}, None),
        ({"m.relates_to": RELATION, UNSTABLE: {"answers": [5]}}, None),
        ({"m.relates_to": RELATION, UNSTABLE: {"answers": ["5" * 41]}}, None),
        ({"m.relates_to": RELATION}, None),
        ({"m.relates_to": {"rel_type": "m.reference"}, "m.selections": ["1"]}, None),
        ({"m.relates_to": RELATION | {"rel_type": "m.thread"}, "m.selections": ["1"]}, None),
        ({"m.selections": ["1"]}, None),
    ],
)
def test_votes(content: dict[str, object], answer: str | None) -> None:
    meaning = vote({"content": content}, EVENT, ANN)
    expected = Nothing() if answer is None else PollAnswered(EVENT, ANN, EventId("$poll"), answer)
    assert meaning == expected
