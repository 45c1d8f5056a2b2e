"""Examples of all that a customer's client can send, for the table of events."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bridge.conversation.model import CustomerText, FileKey
from bridge.ids import QueueId
from bridge.matrix.crypto.attachments import file_field
from bridge.matrix.users import OurUsers
from bridge.rooms.references import Earlier
from tests.unit.rooms.visits import ADA

Json = dict[str, object]
OURS = OurUsers("example.org", "webchatbot", "webchat_{agent}", (QueueId(1),))
MXC = "mxc://example.org/file"
KEY = FileKey("A" * 43, "A" * 22, "A" * 43)
OWN, AGENTS, ORDER = "own", "agents", "order"
LONG = "Good morning, my order 7411 has not come and I wonder where it might be by now."
EARLIER = {
    OWN: Earlier(LONG, CustomerText(LONG)),
    AGENTS: Earlier("Which size do you need?"),
    ORDER: Earlier("!wc status", CustomerText("!wc status")),
}
REPLY: Json = {"m.in_reply_to": {"event_id": "$x"}}


class Example(msgspec.Struct, frozen=True):
    """One event."""

    name: str
    raw: Json
    about: str = ""
    """Which earlier message it is about: a key of EARLIER."""
    never_sealed: bool = False
    forgotten: bool = False
    ours: OurUsers = OURS

    def sealed(self) -> Json:
        """The same event as it is once an encrypted one was opened: files bring their keys."""
        content = self.raw.get("content")
        if not isinstance(content, dict) or "url" not in content:
            return self.raw
        rest = {name: value for name, value in content.items() if name != "url"}
        return self.raw | {"content": rest | {"file": file_field(MXC, KEY)}}


def _event(kind: str, content: Json, **more: object) -> Json:
    return {"type": kind, "event_id": "$e", "sender": ADA, "content": content} | more


def _message(**content: object) -> Json:
    return _event("m.room.message", content)


def _html(body: str, html: str, **more: object) -> Json:
    formatted = {"format": "org.matrix.custom.html", "formatted_body": html}
    return _message(msgtype="m.text", body=body, **formatted, **more)


def _file(msgtype: str, body: str, mime: str, **more: object) -> Json:
    return _message(msgtype=msgtype, body=body, url=MXC, info={"mimetype": mime}, **more)


def examples() -> Iterator[Example]:
    """All rows, in the order of the table."""
    yield from _texts()
    yield from _things()
    yield from _relations()
    yield from _the_rest()


def _texts() -> Iterator[Example]:
    yield Example("`m.text`", _message(msgtype="m.text", body="Hello"))
    yield Example("`m.notice`", _message(msgtype="m.notice", body="Hello"))
    yield Example("`m.emote`", _message(msgtype="m.emote", body="waves"))
    yield Example(
        "`m.text` with formatting, lists, a link",
        _html(
            "…",
            "<b>Two</b> things:<ol><li>one</li><li><a href='https://shop.example/x'>two</a></li>"
            "</ol>",
        ),
    )
    yield Example(
        "`m.text` with a table",
        _html(
            "…", "<table><tr><th>size</th><th>price</th></tr><tr><td>M</td><td>9</td></tr></table>"
        ),
    )
    yield Example("`m.text` with code", _html("…", "run <code>ls -l</code>"))
    yield Example(
        "`m.text` with a spoiler", _html("…", '<span data-mx-spoiler="the end">he dies</span>')
    )
    yield Example(
        "`m.text` with maths", _html("…", '<span data-mx-maths="a^2">a<sup>2</sup></span>')
    )
    yield Example(
        "`m.text` with a mention",
        _html("…", '<a href="https://matrix.to/#/@webchat_mei:example.org">Mei</a>, hello'),
    )
    yield Example("`m.text`, right to left", _message(msgtype="m.text", body="שלום, מה שלומך?"))
    yield Example("`m.text` that is blank", _message(msgtype="m.text", body=" \n "))
    yield Example("`m.text`, a command", _message(msgtype="m.text", body="!wc queue show"))


def _things() -> Iterator[Example]:
    yield Example("`m.image`", _file("m.image", "cat.png", "image/png"))
    yield Example(
        "`m.image` with a caption", _file("m.image", "my cat", "image/png", filename="cat.png")
    )
    yield Example("`m.file`", _file("m.file", "terms.pdf", "application/pdf"))
    yield Example("`m.video`", _file("m.video", "clip.mp4", "video/mp4"))
    yield Example("`m.audio`", _file("m.audio", "song.mp3", "audio/mpeg"))
    yield Example(
        "`m.audio`, a voice message (MSC3245)",
        _file("m.audio", "Voice message.ogg", "audio/ogg", **{"org.matrix.msc3245.voice": {}}),
    )
    yield Example(
        "`m.location`",
        _message(msgtype="m.location", body="Tiananmen", geo_uri="geo:39.908722,116.397496"),
    )
    yield Example(
        "`m.location` abroad",
        _message(msgtype="m.location", body="Eiffel Tower", geo_uri="geo:48.8584,2.2945"),
    )
    yield Example(
        "`m.location` that cannot be read",
        _message(msgtype="m.location", body="somewhere", geo_uri="geo:moon"),
    )
    yield Example(
        "`m.sticker`",
        _event("m.sticker", {"body": "cat", "url": MXC, "info": {"mimetype": "image/webp"}}),
    )
    text = "org.matrix.msc1767.text"
    poll = {"question": {text: "Which?"}, "answers": [{"id": "1", text: "Red"}, {text: "Blue"}]}
    yield Example(
        "poll started (MSC3381)",
        _event("org.matrix.msc3381.poll.start", {"org.matrix.msc3381.poll.start": poll}),
    )
    yield Example("poll answered", _event("org.matrix.msc3381.poll.response", {}))
    yield Example("poll ended", _event("org.matrix.msc3381.poll.end", {}))


def _relations() -> Iterator[Example]:
    yield Example(
        "reply to an agent",
        _message(msgtype="m.text", body="M", **{"m.relates_to": REPLY}),
        about=AGENTS,
    )
    yield Example(
        "reply with a file",
        _file("m.image", "cat.png", "image/png", **{"m.relates_to": REPLY}),
        about=AGENTS,
    )
    yield Example(
        "reply to a message that is forgotten",
        _message(msgtype="m.text", body="M", **{"m.relates_to": REPLY}),
        forgotten=True,
    )
    thread = {"rel_type": "m.thread", "event_id": "$root", "is_falling_back": True, **REPLY}
    yield Example(
        "message in a thread (the agent's answers go there)",
        _message(msgtype="m.text", body="Hello", **{"m.relates_to": thread}),
    )
    replaced = {"rel_type": "m.replace", "event_id": "$x"}

    def edit(text: str) -> Json:
        new = {"msgtype": "m.text", "body": text}
        return _message(
            msgtype="m.text", body=f"* {text}", **{"m.new_content": new, "m.relates_to": replaced}
        )

    yield Example("correction (`m.replace`)", edit(LONG.replace("7411", "4711")), about=OWN)
    yield Example("correction of most of a message", edit("Forget it"), about=OWN)
    yield Example("correction that changes no word", edit(f"{LONG} "), about=OWN)
    yield Example("correction of a mistyped command", edit("!wc queue show"), about=ORDER)
    yield Example("correction of what is forgotten", edit("4711"), forgotten=True)
    yield from _gestures()


def _gestures() -> Iterator[Example]:
    reacted = {"rel_type": "m.annotation", "event_id": "$x", "key": "👍"}
    yield Example(
        "`m.reaction` (config `bridge.tell_agents.reactions`)",
        _event("m.reaction", {"m.relates_to": reacted}),
        about=AGENTS,
        never_sealed=True,
    )
    yield Example(
        "`m.reaction` to something of ours",
        _event("m.reaction", {"m.relates_to": reacted}),
        never_sealed=True,
    )
    yield Example(
        "`m.room.redaction` (config `bridge.tell_agents.withdrawals`; our copy is erased)",
        _event("m.room.redaction", {"redacts": "$x"}),
        about=OWN,
        never_sealed=True,
    )
    yield Example(
        "`m.room.redaction` of an agent's message",
        _event("m.room.redaction", {"redacts": "$x"}),
        about=AGENTS,
        never_sealed=True,
    )


def _the_rest() -> Iterator[Example]:
    yield Example("live location started", _event("m.beacon_info", {"live": True}, state_key=ADA))
    yield Example("live location goes on", _event("m.beacon", {}))
    yield Example("call (`m.call.invite`)", _event("m.call.invite", {"call_id": "c"}))
    yield Example("group call", _event("org.matrix.msc4075.rtc.notification", {}))
    yield Example("`m.room.message` of an unknown kind", _message(msgtype="org.example.new"))
    yield Example("`m.room.message` without a kind", _message(body="Hello"))
    yield Example(
        "file with a malformed address",
        _message(msgtype="m.file", body="a", url="https://elsewhere.example/a"),
        never_sealed=True,
    )
    yield Example("unknown event type", _event("org.example.thing", {}))
