"""Polls of ours (MSC3381, in its unstable form, which is the one that clients read). Pure."""

from __future__ import annotations

from bridge.matrix.render import MARKER, Content
from bridge.rooms.ports import Poll

POLL_START = "org.matrix.msc3381.poll.start"

_TEXT = "org.matrix.msc1767.text"


def poll_content(poll: Poll, txn: str) -> Content:
    """The content of a `POLL_START` event: one answer each, the count open to all.

    Clients without polls show its text, which says the same.
    """
    lines = [poll.question, *(f"{name}. {answer}" for name, answer in poll.answers)]
    question: Content = {_TEXT: poll.question, "body": poll.question, "msgtype": "m.text"}
    return {
        _TEXT: "\n".join(lines),
        POLL_START: {
            "kind": "org.matrix.msc3381.poll.disclosed",
            "max_selections": 1,
            "question": question,
            "answers": [{"id": name, _TEXT: answer} for name, answer in poll.answers],
        },
        "m.mentions": {},
        MARKER: {"txn": txn},
    }
