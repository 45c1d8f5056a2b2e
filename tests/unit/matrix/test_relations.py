from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conversation.model import CustomerMedia, CustomerText
from bridge.ids import EventId, UserId
from bridge.matrix.events import message, reaction, redaction, related, replied_to
from bridge.rooms.ports import Corrected, Meaning, Nothing, Reacted, Spoke, Unreadable, Withdrew

EVENT, ANN, X = EventId("$e"), UserId("@ann:example.org"), EventId("$x")
Json = dict[str, object]


def about(**relation: object) -> Json:
    return {"m.relates_to": relation}


def said(content: Json) -> Meaning:
    return message("m.room.message", content, EVENT, ANN)


def replace(**content: object) -> Json:
    return {"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}} | content


@pytest.mark.parametrize(
    ("content", "replied", "thread"),
    [
        ({}, None, None),
        (about(**{"m.in_reply_to": {"event_id": "$x"}}), "$x", None),
        (about(rel_type="m.thread", event_id="$r"), None, "$r"),
        (
            about(
                rel_type="m.thread",
                event_id="$r",
                is_falling_back=True,
                **{"m.in_reply_to": {"event_id": "$x"}},
            ),
            None,
            "$r",
        ),
        (
            about(rel_type="m.thread", event_id="$r", **{"m.in_reply_to": {"event_id": "$x"}}),
            "$x",
            "$r",
        ),
        (about(rel_type="m.thread", event_id=7, **{"m.in_reply_to": "x"}), None, None),
        (about(**{"m.in_reply_to": {"event_id": "x"}}), None, None),
        ({"m.relates_to": "x"}, None, None),
    ],
)
def test_replies_and_threads(content: Json, replied: str | None, thread: str | None) -> None:
    assert (replied_to(content), related(content, "m.thread")) == (replied, thread)


def test_messages_without_a_replacement_are_no_correction() -> None:
    text: Json = {"msgtype": "m.text", "body": "x"}
    assert said(text) == Spoke(EVENT, ANN, CustomerText("x"), "x")
    assert isinstance(said(text | about(rel_type="m.thread", event_id="$x")), Spoke)
    assert isinstance(message("m.message", replace(body="x"), EVENT, ANN), Spoke)


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        (
            {"body": "* new", "m.new_content": {"msgtype": "m.text", "body": "new"}},
            Corrected(EVENT, ANN, X, CustomerText("new"), "new"),
        ),
        (
            {"msgtype": "m.text", "body": "* new"},  # no client shows it as a correction
            Unreadable(EVENT, ANN, "unreadable.malformed"),
        ),
        (
            {
                "m.new_content": {
                    "msgtype": "m.image",
                    "body": "better words",
                    "filename": "a.png",
                    "url": "mxc://s/i",
                }
            },
            Corrected(
                EVENT,
                ANN,
                X,
                CustomerMedia("image", "a.png", "mxc://s/i", "image/png"),
                "better words",
            ),
        ),
        ({"m.new_content": {"msgtype": "m.text", "body": " "}}, "undelivered.blank"),
        ({"m.new_content": {"msgtype": "x"}}, "unreadable.kind"),
        ({}, "unreadable.malformed"),
    ],
)
def test_corrections(content: Json, meaning: Meaning | str) -> None:
    expected = Unreadable(EVENT, ANN, meaning) if isinstance(meaning, str) else meaning
    assert said(replace(**content)) == expected


def test_correction_without_an_event_id_is_reported() -> None:
    content = about(rel_type="m.replace") | {"m.new_content": {"msgtype": "m.text", "body": "x"}}
    assert said(content) == Unreadable(EVENT, ANN, "unreadable.malformed")


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (about(rel_type="m.annotation", event_id="$x", key="👍\ufe0f"), "👍\ufe0f"),
        (about(rel_type="m.annotation", event_id="$x", key="👩‍👩‍👧"), "👩‍👩‍👧"),
        (
            about(rel_type="m.annotation", event_id="$x", key="a\x00\nb" + "c" * 300),
            "ab" + "c" * 198,
        ),
        (
            about(rel_type="m.annotation", event_id="$x", key="mxc://s/i") | {"shortcode": ":cat:"},
            ":cat:",
        ),
        (about(rel_type="m.annotation", event_id="$x", key="mxc://s/i"), "🖼"),
        (about(rel_type="m.annotation", event_id="$x", key=" "), None),
        (about(rel_type="m.annotation", event_id="$x", key=7), None),
        (about(rel_type="m.annotation", key="x"), None),
        (about(rel_type="m.reference", event_id="$x", key="x"), None),
        ({}, None),
    ],
)
def test_reactions(content: Json, key: str | None) -> None:
    expected = Nothing() if key is None else Reacted(EVENT, ANN, X, key)
    assert reaction(content, EVENT, ANN) == expected


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ({"redacts": "$x", "content": {}}, True),
        ({"content": {"redacts": "$x"}}, True),
        ({"content": {"redacts": 7}, "redacts": "x"}, False),
        ({}, False),
    ],
)
def test_redactions(raw: Json, found: bool) -> None:
    assert redaction(raw, EVENT, ANN) == (Withdrew(EVENT, ANN, X) if found else Nothing())


@given(
    st.recursive(
        st.none() | st.text(max_size=5) | st.sampled_from(["$x", "m.replace", "m.annotation"]),
        lambda inner: st.dictionaries(
            st.sampled_from(
                [
                    *("m.relates_to", "rel_type", "event_id", "m.in_reply_to", "key", "redacts"),
                    *("m.new_content", "content", "body", "msgtype", "is_falling_back"),
                ]
            ),
            inner,
            max_size=6,
        ),
        max_leaves=15,
    )
)
def test_hostile_relations_never_raise(found: object) -> None:
    fields = found if isinstance(found, dict) else {"m.relates_to": found}
    replied_to(fields)
    related(fields, "m.thread")
    said(fields)
    reaction(fields, EVENT, ANN)
    redaction(fields, EVENT, ANN)
