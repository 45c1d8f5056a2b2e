"""Votes in polls (MSC3381)."""

from __future__ import annotations

import pytest

from bridge.ids import EventId, UserId
from bridge.matrix.events import vote
from bridge.rooms.ports import Nothing, PollAnswered

ANN, EVENT = UserId("@ann:example.org"), EventId("$e")
RELATION = {"rel_type": "m.reference", "event_id": "$poll"}
UNSTABLE = "org.matrix.msc3381.poll.response"


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ({"m.relates_to": RELATION, UNSTABLE: {"answers": ["5"]}}, "5"),
        ({"m.relates_to": RELATION, "m.selections": ["1"]}, "1"),
        ({"m.relates_to": RELATION, UNSTABLE: {"answers": []}}, None),
        ({"m.relates_to": RELATION, UNSTABLE: {"answers": [5]}}, None),
        # A bridge's id: the digest of the answer.
        ({"m.relates_to": RELATION, UNSTABLE: {"answers": ["a5" * 32]}}, "a5" * 32),
        ({"m.relates_to": RELATION, UNSTABLE: {"answers": ["5" * 256]}}, None),
        ({"m.relates_to": RELATION}, None),
        ({"m.relates_to": {"rel_type": "m.reference"}, "m.selections": ["1"]}, None),
        ({"m.relates_to": RELATION | {"rel_type": "m.thread"}, "m.selections": ["1"]}, None),
        ({"m.selections": ["1"]}, None),
    ],
)
def test_votes(content: dict[str, object], answer: str | None) -> None:
    meaning = vote(content, EVENT, ANN)
    expected = Nothing() if answer is None else PollAnswered(EVENT, ANN, EventId("$poll"), answer)
    assert meaning == expected


def test_a_vote_for_several_answers() -> None:
    content: dict[str, object] = {"m.relates_to": RELATION, "m.selections": ["1", 2, "3"]}
    meaning = vote(content, EVENT, ANN)
    assert meaning == PollAnswered(EVENT, ANN, EventId("$poll"), "1", ("3",))
