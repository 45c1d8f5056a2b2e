from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conversation.model import CustomerMedia, CustomerText, Reported
from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.matrix import render
from bridge.matrix.events import interpret
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import (
    AgentInvited,
    Corrected,
    EncryptionOn,
    Invited,
    Meaning,
    MemberGone,
    MemberJoined,
    Nothing,
    Reacted,
    RoomConfigured,
    Spoke,
    Unreadable,
    Upgraded,
    Withdrew,
)

OURS = OurUsers("example.org", "webchatbot", "webchat_{agent}", (QueueId(1),))
ANN = UserId("@ann:example.org")
EVENT = EventId("$e")
VERIFY: dict[str, object] = {"msgtype": "m.key.verification.request", "body": "wants to verify"}
Json = dict[str, object]


def read(kind: str, content: object, **more: object) -> Meaning:
    return interpret(
        {"type": kind, "event_id": EVENT, "sender": ANN, "content": content} | more, OURS
    )


def message(**content: object) -> Meaning:
    return read("m.room.message", content)


def spoke(text: str) -> Spoke:
    return Spoke(EVENT, ANN, CustomerText(text), plain=text)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"msgtype": "m.text", "body": "hi"}, "hi"),
        ({"msgtype": "m.text", "body": "a\x00b"}, "ab"),
        ({"msgtype": "m.emote", "body": "waves"}, "* waves"),
        ({"msgtype": "nic.custom.confetti", "body": "It came!"}, "It came!"),
        ({"msgtype": "io.element.effects.space_invaders", "body": "It came!"}, "It came!"),
        (
            {
                "msgtype": "m.text",
                "body": "**b**",
                "format": "org.matrix.custom.html",
                "formatted_body": "<b>b</b>",
            },
            "b",
        ),
        (
            {
                "msgtype": "m.text",
                "body": "as typed",
                "format": "org.matrix.custom.html",
                "formatted_body": "<div>" * 100 + "x",
            },
            "as typed",
        ),
        (
            {"msgtype": "m.text", "body": "as typed", "formatted_body": "<b>no format</b>"},
            "as typed",
        ),
        ({"msgtype": "m.text", "body": "> a quotation\n\nof mine"}, "> a quotation\n\nof mine"),
    ],
)
def test_texts(content: Json, text: str) -> None:
    assert message(**content) == spoke(text)


def test_notices_are_marked_as_such() -> None:
    notice = msgspec.structs.replace(spoke("hi"), notice=True)
    assert message(msgtype="m.notice", body="hi") == notice
    new = {"m.new_content": {"msgtype": "m.notice", "body": "ho"}}
    edit = {"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}} | new
    corrected = message(msgtype="m.notice", body="* ho", **edit)
    assert isinstance(corrected, Corrected)
    assert corrected.notice


@pytest.mark.parametrize(
    ("msgtype", "kind"),
    [("m.image", "image"), ("m.file", "file"), ("m.video", "video"), ("m.audio", "audio")],
)
def test_files(msgtype: str, kind: str) -> None:
    info = {"mimetype": "Image/PNG; x=y", "size": 10}
    meaning = message(msgtype=msgtype, body="../a b.png", url="mxc://s.org:8448/Id_1-x", info=info)
    media = CustomerMedia(
        kind=kind, name="a b.png", mxc="mxc://s.org:8448/Id_1-x", mime="image/png", size=10
    )
    assert meaning == Spoke(EVENT, ANN, media)


def test_a_poll_is_corrected_as_a_poll() -> None:
    """Element puts the new poll into `m.new_content` alone."""
    text = "org.matrix.msc1767.text"
    new = {"question": {text: "Which?"}, "answers": [{"id": "a", text: "Red"}]}
    kind = "org.matrix.msc3381.poll.start"
    relation = {"rel_type": "m.replace", "event_id": "$x"}
    meaning = read(kind, {"m.new_content": {kind: new}, "m.relates_to": relation})
    content = CustomerText("Which?\n1. Red")
    assert meaning == Corrected(EVENT, ANN, EventId("$x"), content, "", (("a", "Red"),))


@pytest.mark.parametrize("words", ["hello", [{"mimetype": "text/plain", "body": "hello"}]])
@pytest.mark.parametrize("kind", ["m.message", "org.matrix.msc1767.message"])
def test_extensible_message_becomes_text(kind: str, words: object) -> None:
    assert read(kind, {"m.text": words}) == spoke("hello")


def test_replies_and_threads() -> None:
    replied: Json = {"m.in_reply_to": {"event_id": "$x"}}
    body = "> <@b:c> old\n> more\n\nnew\nlines"
    meaning = message(msgtype="m.text", body=body, **{"m.relates_to": replied})
    text = CustomerText("new\nlines")
    assert meaning == Spoke(EVENT, ANN, text, plain="new\nlines", reply_to=EventId("$x"))
    threaded = replied | {"rel_type": "m.thread", "event_id": "$root", "is_falling_back": True}
    meaning = message(msgtype="m.text", body="hi", **{"m.relates_to": threaded})
    assert meaning == Spoke(EVENT, ANN, CustomerText("hi"), plain="hi", thread=EventId("$root"))


def test_correction() -> None:
    meaning = message(
        msgtype="m.text",
        body="* fixed",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "fixed"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"},
        },
    )
    assert meaning == Corrected(EVENT, ANN, EventId("$x"), CustomerText("fixed"), "fixed")


def test_reactions_and_redactions() -> None:
    relation = {"rel_type": "m.annotation", "event_id": "$x", "key": "👍️"}
    meaning = read("m.reaction", {"m.relates_to": relation})
    assert meaning == Reacted(EVENT, ANN, EventId("$x"), "👍️")
    assert read("m.room.redaction", {}, redacts="$x") == Withdrew(EVENT, ANN, EventId("$x"))


def test_poll_is_text() -> None:
    answers = [{"id": "1", "org.matrix.msc1767.text": "Red"}]
    start = {"question": {"org.matrix.msc1767.text": "Which?"}, "answers": answers}
    meaning = read("org.matrix.msc3381.poll.start", {"org.matrix.msc3381.poll.start": start})
    assert meaning == Spoke(
        EVENT,
        ANN,
        CustomerText("Which?\n1. Red"),
        wrap="agent.poll",
        answers=(("1", "Red"),),
    )


@pytest.mark.parametrize("kind", ["m.beacon_info", "org.matrix.msc3672.beacon_info"])
def test_live_location_is_answered_once(kind: str) -> None:
    meaning = read(kind, {"live": True}, state_key=ANN)
    assert meaning == Unreadable(EVENT, ANN, "unreadable.live_location")
    assert read(kind, {"live": False}, state_key=ANN) == Nothing()
    assert read("org.matrix.msc3672.beacon", {}) == Nothing()


@pytest.mark.parametrize("kind", ["jitsi", "m.jitsi"])
def test_a_conference_is_answered_as_a_call(kind: str) -> None:
    """Element starts one instead of a call where there are more than two members."""
    widget = "im.vector.modular.widgets"
    meaning = read(widget, {"type": kind, "url": "https://j"}, state_key="jitsi_1")
    assert meaning == Unreadable(EVENT, ANN, "unreadable.call")
    assert read(widget, {}, state_key="jitsi_1") == Nothing(), "it has ended"
    assert read(widget, {"type": "m.custom"}, state_key="x") == Nothing()


@pytest.mark.parametrize(
    ("kind", "content", "kind_declined", "declined"),
    [
        (
            "m.call.invite",
            {"call_id": "c"},
            "m.call.reject",
            {"call_id": "c", "party_id": "webchat", "version": "1", "m.mentions": {}},
        ),
        (
            "org.matrix.msc4075.rtc.notification",
            {"notification_type": "ring"},
            "org.matrix.msc4310.rtc.decline",
            {"m.mentions": {}, "m.relates_to": {"rel_type": "m.reference", "event_id": EVENT}},
        ),
        ("m.rtc.notification", {"notification_type": "notification"}, "", {}),
    ],
)
def test_a_call_that_rings_can_be_declined(
    kind: str, content: dict[str, str], kind_declined: str, declined: dict[str, object]
) -> None:
    meaning = read(kind, content)
    assert isinstance(meaning, Unreadable)
    told = Reported(EVENT, meaning.key, meaning.args)
    assert (render.declined(told) or ("", {})) == (kind_declined, declined)


def test_a_call_of_another_member_is_none_of_ours() -> None:
    assert read("m.call.invite", {"call_id": "c", "invitee": "@bob:example.org"}) == Nothing()
    ours = read("m.call.invite", {"call_id": "c", "invitee": BOT})
    assert ours == Unreadable(EVENT, ANN, "unreadable.call", {"call": "c"})


def test_caption_becomes_the_plain_text() -> None:
    meaning = message(msgtype="m.image", body="look!", filename="a.png", url="mxc://s/i")
    media = CustomerMedia(kind="image", name="a.png", mxc="mxc://s/i", mime="image/png")
    assert meaning == Spoke(EVENT, ANN, media, plain="look!")


def test_sticker_is_an_image() -> None:
    meaning = read(
        "m.sticker", {"body": "cat", "url": "mxc://s/i", "info": {"mimetype": "image/webp"}}
    )
    media = CustomerMedia(kind="image", name="cat.webp", mxc="mxc://s/i", mime="image/webp")
    assert meaning == Spoke(EVENT, ANN, media)


def test_null_file_field_is_ignored() -> None:
    meaning = message(msgtype="m.image", body="a.png", url="mxc://s/i", file=None)
    media = CustomerMedia(kind="image", name="a.png", mxc="mxc://s/i", mime="image/png")
    assert meaning == Spoke(EVENT, ANN, media)


@pytest.mark.parametrize("size", [-1, 1.5, True, "9", 2**60, None])
def test_invalid_size_is_ignored(size: object) -> None:
    meaning = message(msgtype="m.file", body="a", url="mxc://s/i", info={"size": size})
    assert isinstance(meaning, Spoke)
    assert isinstance(meaning.content, CustomerMedia)
    assert meaning.content.size is None


@pytest.mark.parametrize(
    ("kind", "content", "key"),
    [
        ("m.room.encrypted", {"algorithm": "x"}, "unreadable.encrypted"),
        (
            "m.room.message",
            {"msgtype": "m.image", "file": {"url": "mxc://s/i"}},
            "unreadable.encrypted_file",
        ),
        ("m.sticker", {"file": {}}, "unreadable.encrypted_file"),
        ("m.room.message", {"msgtype": "org.example.new", "body": "x"}, "unreadable.kind"),
        ("org.matrix.msc3381.poll.start", {}, "unreadable.malformed"),
        ("m.poll.start", {}, "unreadable.malformed"),
        ("m.call.invite", {}, "unreadable.call"),
        ("org.matrix.msc4075.rtc.notification", {}, "unreadable.call"),
        ("org.matrix.msc4075.call.notify", {}, "unreadable.call"),
        ("m.image", {"m.text": [{"body": "a picture"}]}, "unreadable.kind"),
        ("m.message", {"m.markup": []}, "unreadable.kind"),
        ("m.room.message", {"body": "x"}, "unreadable.malformed"),
        ("m.room.message", ["x"], "unreadable.malformed"),
        ("m.room.message", {"msgtype": "m.image", "url": "https://evil"}, "unreadable.malformed"),
        ("m.room.message", {"msgtype": "m.image", "url": "mxc://../x"}, "unreadable.malformed"),
        ("m.room.message", {"msgtype": "m.image", "url": "mxc://s/../x"}, "unreadable.malformed"),
        ("m.room.message", {"msgtype": "m.text", "body": " \n"}, "undelivered.blank"),
        ("m.room.message", {"msgtype": "m.text", "body": "\u200b\u3164"}, "undelivered.blank"),
        ("m.room.message", {"msgtype": "m.emote", "body": "\u2800"}, "undelivered.blank"),
        ("m.room.message", {"msgtype": "m.text", "body": ["x"]}, "undelivered.blank"),
        ("m.room.message", {"msgtype": "m.emote"}, "undelivered.blank"),
    ],
)
def test_unreadable_content_is_reported(kind: str, content: object, key: str) -> None:
    assert read(kind, content) == Unreadable(EVENT, ANN, key)


def test_verification_request_names_the_bridge_user() -> None:
    asked = read("m.room.message", VERIFY | {"to": OURS.bot})
    assert asked == Unreadable(EVENT, ANN, "unreadable.verification", {"user": OURS.bot})
    endless = OURS.bot.replace("bot", f"_{'x' * 300}")  # too long for a user id
    assert read("m.room.message", VERIFY | {"to": endless}) == Nothing()


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "m.reaction", "content": {"m.relates_to": {}}},
        {"type": "m.room.redaction", "content": {}},
        {"type": "org.matrix.msc3381.poll.response", "content": {}},
        {"type": "m.room.topic", "state_key": "", "content": {"topic": "x"}},
        {"type": "m.room.encryption", "state_key": "x", "content": {}},
        {"type": "m.room.message", "content": {}, "unsigned": {"redacted_because": {}}},
        {
            "type": "m.room.message",
            "content": {"msgtype": "m.text", "body": "x"},
            "sender": OURS.bot,
        },
        {"type": "m.room.message", "content": {"msgtype": "m.text", "body": "x"}, "event_id": 5},
        {"type": "m.room.message", "content": VERIFY | {"to": "@bob:example.org"}},
        {"type": "m.room.message", "content": VERIFY},
        {"type": "m.room.message", "content": {"msgtype": "m.text", "body": "x"}, "sender": None},
    ],
)
def test_irrelevant_and_malformed_events_mean_nothing(raw: Json) -> None:
    assert interpret({"event_id": EVENT, "sender": ANN} | raw, OURS) == Nothing()


BOT, GHOST, QUEUE = (
    OURS.bot,
    UserId("@webchat_a1:example.org"),
    UserId("@webchat_queue_1:example.org"),
)


@pytest.mark.parametrize(
    ("sender", "who", "content", "meaning"),
    [
        (
            ANN,
            BOT,
            {"membership": "invite", "is_direct": True},
            Invited(ANN, BOT, direct=True),
        ),
        (ANN, QUEUE, {"membership": "invite"}, Invited(ANN, QUEUE, direct=False)),
        (
            ANN,
            BOT,
            {"membership": "invite", "is_direct": 1},
            Invited(ANN, BOT, direct=False),
        ),
        (ANN, GHOST, {"membership": "invite"}, AgentInvited(EVENT, ANN, GHOST)),
        (
            ANN,
            GHOST,
            {"membership": "invite", "is_direct": True},
            AgentInvited(EVENT, ANN, GHOST, direct=True),
        ),
        (BOT, GHOST, {"membership": "invite"}, Nothing()),
        (BOT, QUEUE, {"membership": "invite"}, Nothing()),
        (ANN, "@bob:example.org", {"membership": "invite"}, Nothing()),
        (ANN, ANN, {"membership": "join"}, MemberJoined(ANN, event_id=EVENT)),
        (BOT, BOT, {"membership": "join"}, Nothing()),
        (ANN, ANN, {"membership": "leave"}, MemberGone(ANN, EVENT)),
        (ANN, BOT, {"membership": "ban"}, MemberGone(BOT, EVENT)),
        (ANN, ANN, {"membership": "knock"}, Nothing()),
        (ANN, ANN, {}, Nothing()),
    ],
)
def test_memberships(sender: str, who: str, content: Json, meaning: Meaning) -> None:
    assert read("m.room.member", content, sender=sender, state_key=who) == meaning


def test_a_ghost_that_is_invited_back_was_in_a_direct_room() -> None:
    unsigned = {"prev_content": {"membership": "leave"}}
    meaning = read("m.room.member", {"membership": "invite"}, state_key=GHOST, unsigned=unsigned)
    assert meaning == AgentInvited(EVENT, ANN, GHOST, direct=True)


def test_name_change_is_not_a_join() -> None:
    unsigned = {"prev_content": {"membership": "join"}}
    meaning = read("m.room.member", {"membership": "join"}, state_key=ANN, unsigned=unsigned)
    assert meaning == Nothing()


@pytest.mark.parametrize(
    ("kind", "content", "meaning"),
    [
        ("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}, EncryptionOn()),
        ("m.room.encryption", {"algorithm": "m.bogus"}, EncryptionOn(unreadable=True)),
        ("m.room.encryption", None, EncryptionOn(unreadable=True)),
        ("m.room.tombstone", {"replacement_room": "!new"}, Upgraded(RoomId("!new"))),
        ("m.room.tombstone", None, Upgraded()),
        ("m.room.tombstone", {"replacement_room": "#new:x"}, Upgraded()),
        ("m.room.tombstone", {"replacement_room": ["!new"]}, Upgraded()),
        ("org.matrix_webchat.room", {"queue": 2}, RoomConfigured(EVENT, ANN, {"queue": 2})),
    ],
)
def test_state_of_the_room(kind: str, content: object, meaning: Meaning) -> None:
    assert read(kind, content, state_key="") == meaning


def nested(children: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=6)


KEYS = st.sampled_from(
    [
        *("msgtype", "body", "formatted_body", "format", "url", "file", "info", "size"),
        *("mimetype", "m.relates_to", "m.new_content", "m.in_reply_to", "rel_type"),
        *("membership", "is_direct", "filename", "geo_uri", "prev_content"),
        *("redacted_because", "replacement_room", "m.annotation", "key", "event_id"),
        *("m.poll", "org.matrix.msc3381.poll.start", "question", "answers", "m.text"),
        *("org.matrix.msc1767.text", "org.matrix.msc3245.voice", "m.location", "uri"),
        *("redacts", "is_falling_back", "description", "live"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from(
        ["m.text", "m.image", "m.file", "m.emote", "m.location", "m.replace", "m.thread"]
    )
    | st.sampled_from(["m.annotation", "$x", "geo:1,2", "m.audio"])
    | st.sampled_from(["org.matrix.custom.html", "mxc://s/i", "invite", "join", "leave"]),
    nested,
    max_leaves=12,
)
CONTENTS = st.dictionaries(KEYS, VALUES, max_size=8)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            [
                *("m.room.message", "m.room.member", "m.sticker", "m.room.encrypted"),
                *("m.poll.start", "org.matrix.msc3381.poll.start", "m.reaction"),
                *("m.room.redaction", "m.beacon_info", "m.call.invite", "m.room.tombstone"),
            ]
        )
        | VALUES,
        "sender": st.sampled_from([ANN, BOT]) | VALUES,
        "event_id": st.just(EVENT) | VALUES,
        "state_key": st.sampled_from(["", ANN, BOT]) | VALUES,
        "content": CONTENTS | VALUES,
        "unsigned": CONTENTS | VALUES,
    },
)


@given(EVENTS)
def test_hostile_events_never_raise(raw: Json) -> None:
    assert isinstance(interpret(raw, OURS), Meaning)


@given(CONTENTS)
def test_any_message_is_carried_or_reported(content: Json) -> None:
    meaning = message(**content)
    assert isinstance(meaning, Spoke | Corrected | Unreadable)
    if isinstance(meaning, Spoke | Corrected) and isinstance(meaning.content, CustomerText):
        assert meaning.content.text.strip()
