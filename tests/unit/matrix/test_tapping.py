"""Polls (MSC3381) and reactions that the bridge sends."""

from __future__ import annotations

from bridge.ids import EventId
from bridge.matrix.render import POLL_START, poll_content, reaction_content
from bridge.rooms.ports import Poll


def test_a_poll_is_readable_with_and_without_polls() -> None:
    words = "How was it?\n5 — Good\n1 — Bad\nReact with a number."
    content = poll_content(Poll("How was it?", (("5", "Good"), ("1", "Bad")), words))
    assert content["org.matrix.msc1767.text"] == content["body"] == words
    assert content["msgtype"] == "m.notice", "so that no push rule rings for it"
    start = content[POLL_START]
    assert isinstance(start, dict)
    assert start["max_selections"] == 1
    assert start["answers"] == [
        {"id": "5", "org.matrix.msc1767.text": "Good"},
        {"id": "1", "org.matrix.msc1767.text": "Bad"},
    ]


def test_reaction_content() -> None:
    relation = {"rel_type": "m.annotation", "event_id": "$card", "key": "👍"}
    assert reaction_content(EventId("$card"), "👍") == {"m.relates_to": relation}
