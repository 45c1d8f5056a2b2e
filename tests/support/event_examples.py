"""Examples of every event a customer's client can send, for docs/matrix-events.md."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.event_kinds import (
    BOB,
    MXC,
    POLL,
    REPLY,
    Example,
    Json,
    event,
    file,
    html,
    message,
)
from tests.support.event_relations import gestures, relations
from tests.unit.rooms.visits import ADA

VERIFY: Json = {"msgtype": "m.key.verification.request", "body": "wants to verify you"}


def examples() -> Iterator[Example]:
    """Yield all examples, in the order of the table."""
    yield from _texts()
    yield from _things()
    yield from relations()
    yield from gestures()
    yield from _the_rest()


def _texts() -> Iterator[Example]:
    yield Example("`m.text`", message(msgtype="m.text", body="Hello"))
    yield Example("`m.notice`", message(msgtype="m.notice", body="Hello"))
    yield Example("`m.emote`", message(msgtype="m.emote", body="waves"))
    effect = message(msgtype="nic.custom.confetti", body="It came!")
    yield Example("text with an effect (`/confetti`, `/hearts`, …)", effect)
    yield Example(
        "`m.text` with formatting, lists, a link",
        html(
            "…",
            "<b>Two</b> things:<ol><li>one</li><li><a href='https://shop.example/x'>two</a></li>"
            "</ol>",
        ),
    )
    yield Example(
        "`m.text` with a table",
        html(
            "…", "<table><tr><th>size</th><th>price</th></tr><tr><td>M</td><td>9</td></tr></table>"
        ),
    )
    yield Example(
        "`m.text` that the client took for emphasis", html("30*40*50 cm", "30<em>40</em>50 cm")
    )
    yield Example("`m.text` with code", html("…", "run <code>ls -l</code>"))
    for name, reason in (("", '="the end"'), (" of no reason", "")):
        spoiler = f"<span data-mx-spoiler{reason}>he dies</span>"
        yield Example(f"`m.text` with a spoiler{name}", html("…", spoiler))
    yield Example(
        "`m.text` with maths", html("…", '<span data-mx-maths="a^2">a<sup>2</sup></span>')
    )
    yield Example(
        "`m.text` with a mention",
        html("…", '<a href="https://matrix.to/#/@webchat_mei:example.org">Mei</a>, hello'),
    )
    yield Example("`m.text`, right to left", message(msgtype="m.text", body="שלום, מה שלומך?"))
    yield Example("`m.text`, very long", message(msgtype="m.text", body="word " * 3_000))
    yield Example(
        "`m.text` with a mention, as Markdown",
        message(msgtype="m.text", body="[Mei](https://matrix.to/#/@webchat_mei:example.org), hi"),
    )
    yield Example(
        "`m.text` among several people",
        message(msgtype="m.text", body="Hello"),
        shared=True,
    )
    yield Example(
        "`m.image` among several people", file("m.image", "cat.png", "image/png"), shared=True
    )
    yield Example(
        "`m.notice` among several people (a program's)",
        message(msgtype="m.notice", body="build passed"),
        shared=True,
    )
    yield Example(
        "`m.message` (extensible, MSC1767)",
        event("m.message", {"m.text": [{"mimetype": "text/plain", "body": "Hello"}]}),
    )
    yield Example("`m.image` (extensible)", event("m.image", {"m.text": [{"body": "cat"}]}))
    yield Example("`m.text` that is blank", message(msgtype="m.text", body=" \n "))
    yield Example("`m.text`, a command", message(msgtype="m.text", body="!wc queue show"))


def _things() -> Iterator[Example]:
    yield Example("`m.image`", file("m.image", "cat.png", "image/png"))
    yield Example(
        "`m.image` with a caption", file("m.image", "my cat", "image/png", filename="cat.png")
    )
    pictures = [{"itemtype": "m.image", "body": f"{n}.png", "url": MXC} for n in "ab"]
    gallery = message(msgtype="dm.filament.gallery", body="holidays", itemtypes=pictures)
    yield Example("several pictures in one message (MSC4274) with a caption", gallery)
    yield Example("`m.file`", file("m.file", "terms.pdf", "application/pdf"))
    yield Example("`m.video`", file("m.video", "clip.mp4", "video/mp4"))
    yield Example("`m.audio`", file("m.audio", "song.mp3", "audio/mpeg"))
    yield Example(
        "`m.audio`, a voice message (MSC3245)",
        file("m.audio", "Voice message.ogg", "audio/ogg", **{"org.matrix.msc3245.voice": {}}),
    )
    yield Example(
        "`m.location`",
        message(msgtype="m.location", body="Tiananmen", geo_uri="geo:39.908722,116.397496"),
    )
    yield Example(
        "`m.location` abroad",
        message(msgtype="m.location", body="Eiffel Tower", geo_uri="geo:48.8584,2.2945"),
    )
    named = "Location: Café\nMain Street 1\nhttps://maps.example/?q=48.8584,2.2945"
    yield Example(
        "`m.location` with a name and an address (bridges)",
        message(msgtype="m.location", body=named, geo_uri="geo:48.8584,2.2945"),
    )
    yield Example(
        "`m.location` that cannot be read",
        message(msgtype="m.location", body="somewhere", geo_uri="geo:moon"),
    )
    yield Example(
        "`m.sticker`",
        event("m.sticker", {"body": "cat", "url": MXC, "info": {"mimetype": "image/webp"}}),
    )
    for name, info in (("that tells no type", {}), ("that is a video", {"mimetype": "video/webm"})):
        sticker = event("m.sticker", {"body": "👋", "url": MXC, "info": info})
        yield Example(f"`m.sticker` {name}", sticker)
    yield from _polls()


def _polls() -> Iterator[Example]:
    text = "org.matrix.msc1767.text"
    poll = {"question": {text: "Which?"}, "answers": [{"id": "1", text: "Red"}, {text: "Blue"}]}
    yield Example(
        "poll started (MSC3381)",
        event("org.matrix.msc3381.poll.start", {"org.matrix.msc3381.poll.start": poll}),
    )
    voted = {
        "m.relates_to": {"rel_type": "m.reference", "event_id": "$x"},
        "org.matrix.msc3381.poll.response": {"answers": ["b"]},
    }
    vote = event("org.matrix.msc3381.poll.response", voted)
    yield Example("vote in that poll", vote, about=POLL)
    yield Example("vote in a poll that is forgotten", vote)
    yield Example("poll ended", event("org.matrix.msc3381.poll.end", {}))
    question = {"m.text": [{"body": "Which?"}]}
    answers = [{"m.id": "1", "m.text": [{"body": "Red"}]}, {"m.id": "2", "m.text": "Blue"}]
    stable: Json = {"m.poll": {"question": question, "answers": answers}}
    yield Example("`m.poll.start` (the stable name)", event("m.poll.start", stable))
    both: Json = {
        "m.relates_to": {"rel_type": "m.reference", "event_id": "$x"},
        "m.selections": ["a", "b"],
    }
    yield Example(
        "`m.poll.response` (the stable name), of two choices",
        event("m.poll.response", both),
        about=POLL,
    )
    yield Example("`m.poll.end` (the stable name)", event("m.poll.end", {}))
    more = {"question": {text: "Which?"}, "answers": [{text: "Red"}, {text: "Black"}]}
    changed: Json = {
        "m.new_content": {"org.matrix.msc3381.poll.start": more},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"},
    }
    yield Example(
        "poll corrected",
        event("org.matrix.msc3381.poll.start", changed),
        about=POLL,
    )
    yield Example(
        "reply to a poll",
        message(msgtype="m.text", body="Red, please", **{"m.relates_to": REPLY}),
        about=POLL,
    )


def _the_rest() -> Iterator[Example]:
    yield Example(
        "live location started",
        event("m.beacon_info", {"live": True}, state_key=ADA),
        never_sealed=True,
    )
    yield Example(
        "live location ended",
        event("m.beacon_info", {"live": False}, state_key=ADA),
        never_sealed=True,
    )
    yield Example("live location goes on (`m.beacon`)", event("m.beacon", {}))
    yield Example(
        "call (`m.call.invite`), declined in a direct chat",
        event("m.call.invite", {"call_id": "c"}),
    )
    yield Example("call goes on (`m.call.candidates`, …)", event("m.call.candidates", {}))
    yield Example(
        "group call (MSC4075), declined if it rings in a direct chat; and by its former name",
        event("org.matrix.msc4075.rtc.notification", {}),
    )
    yield Example(
        "conference (Jitsi), which Element offers once an agent is in the room",
        event("im.vector.modular.widgets", {"type": "jitsi"}, state_key="jitsi_1"),
        never_sealed=True,
    )
    yield Example("verification asked of us", message(**VERIFY, to="@webchatbot:example.org"))
    yield Example("verification asked of another person", message(**VERIFY, to=BOB), shared=True)
    yield Example("verification goes on", event("m.key.verification.cancel", {}))
    yield Example("`m.room.message` of an unknown kind", message(msgtype="org.example.new"))
    yield Example("`m.room.message` without a kind", message(body="Hello"))
    yield Example(
        "`m.room.message` in a room that was upgraded, and that we have left",
        message(msgtype="m.text", body="Hello"),
        left=True,
    )
    notice: Json = {"msgtype": "m.server_notice", "body": "Please accept the new terms."}
    yield Example("`m.server_notice`, of a homeserver to one person", message(**notice))
    yield Example(
        "file with a malformed address",
        message(msgtype="m.file", body="a", url="https://elsewhere.example/a"),
    )
    yield Example("unknown event type", event("org.example.thing", {}))
    yield from _sealed()
    yield from _of_the_room()


def _sealed() -> Iterator[Example]:
    """Yield encrypted events that cannot be decrypted."""
    sealed = event("m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2"})
    for name, key in (
        ("encryption is off here", "unreadable.encrypted"),
        ("its key has not come yet", "unreadable.no_key"),
        ("it cannot be decrypted", "unreadable.undecryptable"),
        ("it is an earlier one's ciphertext again", "unreadable.repeated"),
        ("its key is kept from us as unverified", "unreadable.withheld.unverified"),
    ):
        yield Example(f"`m.room.encrypted`: {name}", sealed, key=key)


def _of_the_room() -> Iterator[Example]:
    """Yield state events, which are never encrypted."""

    def member(membership: str, before: str = "") -> Json:
        unsigned = {"prev_content": {"membership": before}} if before else {}
        content: Json = {"membership": membership, "displayname": "Bob"}
        raw = event("m.room.member", content, state_key=BOB, unsigned=unsigned)
        return raw | {"sender": BOB}

    for name, raw in (
        ("a customer comes in (config `bridge.tell_agents.members`)", member("join", "invite")),
        ("a customer goes by another name", member("join", "join")),
        ("a customer leaves, or is shown out (likewise)", member("leave", "join")),
        ("somebody is invited", member("invite")),
    ):
        yield Example(f"`m.room.member`: {name}", raw, shared=True, never_sealed=True)
    for name, raw in (
        (
            "`m.room.encryption` (from then on all is encrypted)",
            event("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}, state_key=""),
        ),
        (
            "`m.room.tombstone` (all goes on in the new room)",
            event("m.room.tombstone", {"replacement_room": "!new"}, state_key=""),
        ),
        (
            "`org.matrix_webchat.room`, our settings",
            event("org.matrix_webchat.room", {"queue": 1, "language": "en"}, state_key=""),
        ),
        ("name, topic, pinned messages, widgets, …", event("m.room.topic", {}, state_key="")),
    ):
        yield Example(name, raw, never_sealed=True)
