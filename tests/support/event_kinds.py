"""The type of the examples for docs/matrix-events.md, and builders of their events."""

from __future__ import annotations

import msgspec

from bridge.conversation.model import CustomerMedia, CustomerText, FileKey
from bridge.ids import QueueId, UserId
from bridge.matrix.crypto.wire import file_field
from bridge.matrix.users import OurUsers
from bridge.rooms.references import Earlier
from tests.unit.rooms.visits import ADA

Json = dict[str, object]
OURS = OurUsers("example.org", "webchatbot", "webchat_{agent}", (QueueId(1),))
BOB = UserId("@bob:example.org")
MXC = "mxc://example.org/file"
KEY = FileKey("A" * 43, "A" * 22, "A" * 43)
OWN, AGENTS, ORDER, POLL = "own", "agents", "order", "poll"
PICTURE, CAPTIONED, ANOTHERS, THUMB = "picture", "captioned", "another's", "thumb"
CAT = CustomerMedia("image", "cat.png", MXC, "image/png")
LONG = "Good morning, my order 7411 has not come and I wonder where it might be by now."
EARLIER = {
    OWN: Earlier(LONG, CustomerText(LONG)),
    AGENTS: Earlier("Which size do you need?"),
    ORDER: Earlier("!wc status", CustomerText("!wc status"), command=True),
    POLL: Earlier(
        "Which?\n1. Red\n2. Blue",
        CustomerText("Which?\n1. Red\n2. Blue"),
        answers=(("a", "Red"), ("b", "Blue")),
    ),
    PICTURE: Earlier("cat.png", CAT),
    CAPTIONED: Earlier("my act sleeps", CAT),
    ANOTHERS: Earlier("Hello", CustomerText("Hello"), BOB),
    THUMB: Earlier("👍", CustomerText("👍"), at=1_733_040_000_000, reaction=True),
}
REPLY: Json = {"m.in_reply_to": {"event_id": "$x"}}


class Example(msgspec.Struct, frozen=True):
    """One customer event and its circumstances."""

    name: str
    raw: Json
    about: str = ""
    """Key in EARLIER of the message that the event relates to."""
    never_sealed: bool = False
    forgotten: bool = False
    shared: bool = False
    """True in a room of several people (with `tell_agents.members` on)."""
    left: bool = False
    """True if the bot has left the room."""
    key: str = ""
    """Sentence key of the reason if an encrypted event cannot be decrypted, else empty."""
    ours: OurUsers = OURS

    def sealed(self) -> Json:
        """Return the event as decrypted in an encrypted room: files carry their keys."""
        content = self.raw.get("content")
        return (
            self.raw | {"content": _with_keys(content)} if isinstance(content, dict) else self.raw
        )


def _with_keys(content: Json) -> Json:
    sealed = {name: value for name, value in content.items() if name != "url"}
    if "url" in content:
        sealed["file"] = file_field(str(content["url"]), KEY)
    new = content.get("m.new_content")
    if isinstance(new, dict):
        sealed["m.new_content"] = _with_keys(new)
    return sealed


def event(kind: str, content: Json, **more: object) -> Json:
    return {"type": kind, "event_id": "$e", "sender": ADA, "content": content} | more


def message(**content: object) -> Json:
    return event("m.room.message", content)


def html(body: str, markup: str, **more: object) -> Json:
    formatted = {"format": "org.matrix.custom.html", "formatted_body": markup}
    return message(msgtype="m.text", body=body, **formatted, **more)


def file(msgtype: str, body: str, mime: str, **more: object) -> Json:
    return message(msgtype=msgtype, body=body, url=MXC, info={"mimetype": mime}, **more)
