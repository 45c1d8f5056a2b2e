"""Polls of ours (MSC3381)."""

from __future__ import annotations

from bridge.matrix.polls import POLL_START, poll_content
from bridge.matrix.render import MARKER
from bridge.rooms.ports import Poll


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
