"""Reading messages and timelines of rooms for a transcript."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiohttp import ClientTimeout
from hypothesis import given
from hypothesis import strategies as st

from bridge.conversation.model import CustomerLocation, CustomerMedia, CustomerText
from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.client import Homeserver
from bridge.matrix.crypto.wire import Json
from bridge.matrix.events import recorded
from bridge.matrix.render import POLL_START, poll_content
from bridge.rooms.ports import Poll, Recorded, Refused

ADA = UserId("@ada:example.org")


def event(
    content: Mapping[str, object], kind: str = "m.room.message", **more: object
) -> Recorded | None:
    raw: dict[str, object] = {
        "type": kind,
        "event_id": "$1",
        "sender": ADA,
        "origin_server_ts": 7,
        "content": dict(content),
    }
    return recorded(raw | more)


def text(body: str, **more: object) -> dict[str, object]:
    return {"msgtype": "m.text", "body": body, **more}


def test_a_text() -> None:
    assert event(text("hello")) == Recorded(EventId("$1"), ADA, 7, CustomerText("hello"), "hello")


def test_html_counts_before_the_plain_body() -> None:
    html = {"format": "org.matrix.custom.html", "formatted_body": "<b>bold</b><br>next"}
    found = event(text("ignored", **html))
    assert found is not None
    assert found.words == "bold\nnext"


def test_a_correction() -> None:
    relation = {"rel_type": "m.replace", "event_id": "$0"}
    new = text("right", **{"m.relates_to": relation, "m.new_content": text("right")})
    found = event(new)
    assert found is not None
    assert (found.words, found.replaces, found.reply_to) == ("right", "$0", None)


def test_a_reply() -> None:
    relation = {"m.in_reply_to": {"event_id": "$0"}}
    found = event(text("> <@a:b> quoted\n\nyes", **{"m.relates_to": relation}))
    assert found is not None
    assert (found.words, found.reply_to) == ("yes", "$0")


def test_files_places_polls_and_stickers() -> None:
    media = {"url": "mxc://a/b", "body": "a.png", "info": {"mimetype": "image/png", "size": 3}}
    for kind, content in (
        ("m.room.message", {"msgtype": "m.image", **media}),
        ("m.sticker", media),
    ):
        found = event(content, kind)
        assert found is not None
        assert isinstance(found.content, CustomerMedia)
        assert found.content.kind == "image"
    place = event({"msgtype": "m.location", "body": "Shop", "geo_uri": "geo:1,2"})
    assert place is not None
    assert place.content == CustomerLocation(1, 2, "Shop")
    poll = {"question": {"body": "Which?"}, "answers": [{"id": "1", "body": "This"}]}
    asked = event({"org.matrix.msc3381.poll.start": poll}, "org.matrix.msc3381.poll.start")
    assert asked is not None
    assert asked.content == CustomerText("Which?\n1. This")
    assert asked.words == ""


def test_the_bridges_polls_have_the_numbers_by_which_people_choose() -> None:
    words = "How was it?\n5 — Good\n1 — Bad"
    content = poll_content(Poll("How was it?", (("5", "Good"), ("1", "Bad")), words))
    found = event(content, POLL_START)
    assert found is not None
    assert found.words == words


def test_redacted_message_is_marked_as_withdrawn() -> None:
    assert event({}) == Recorded(EventId("$1"), ADA, 7, withdrawn=True)


def test_encrypted_messages_and_unreadable_corrections_have_no_content() -> None:
    relation = {"rel_type": "m.replace", "event_id": "$0"}
    for content, kind in (
        ({"algorithm": "m.megolm.v1.aes-sha2"}, "m.room.encrypted"),
        ({"m.relates_to": relation, **text("* x")}, "m.room.message"),
    ):
        found = event(content, kind)
        assert found is not None
        assert (found.content, found.withdrawn) == (None, False)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ({"msgtype": "org.example.dance", "body": "x"}, "m.room.message", "x"),
        ({"msgtype": "m.key.verification.request", "body": "verify?"}, "m.room.message", "verify?"),
        ({"msgtype": "m.image", "body": "lost.png"}, "m.room.message", "lost.png"),
        (text(" "), "m.room.message", ""),
        ({"m.text": [{"body": "picture"}]}, "m.image", "picture"),
    ],
    ids=["unknown", "verification", "no file", "blank", "extensible"],
)
def test_of_what_was_not_delivered_the_body_is_read(
    content: dict[str, object], kind: str, words: str
) -> None:
    assert event(content, kind) == Recorded(EventId("$1"), ADA, 7, CustomerText(words), words)


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "m.reaction"},
        {"type": "m.room.member", "state_key": ADA},
        {"state_key": ""},
        {"event_id": ""},
        {"sender": 3},
    ],
)
def test_reactions_state_and_malformed_events_are_skipped(raw: dict[str, object]) -> None:
    whole: dict[str, object] = {"type": "m.room.message", "event_id": "$1", "sender": ADA}
    assert recorded(whole | {"content": text("x")}) is not None
    assert recorded(whole | {"content": text("x")} | raw) is None


@pytest.mark.parametrize("moment", [None, "soon", True, 1.5])
def test_invalid_timestamp_becomes_zero(moment: object) -> None:
    found = event(text("x"), origin_server_ts=moment)
    assert found is not None
    assert found.at == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
KEYS = st.sampled_from(
    ["msgtype", "body", "m.relates_to", "m.new_content", "url", "file", "info", "geo_uri"]
)


@given(
    st.dictionaries(KEYS, JSON), st.sampled_from(["m.room.message", "m.sticker", "m.poll.start"])
)
def test_strangers_fields_raise_nothing(content: dict[str, object], kind: str) -> None:
    event({"msgtype": "m.text", **content}, kind)


# --- reading a room -----------------------------------------------------------------------------

ROOM, HOST = RoomId("!a/b:example.org"), UserId("@bot:example.org")


class Pages(Homeserver):
    """Homeserver with canned replies, which records its requests."""

    def __init__(self, *replies: Json | Exception) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []

    async def request(
        self,
        method: str,
        path: str,
        content: Json | None = None,
        *,
        user: UserId | None = None,
        device: bool = True,
        query: Mapping[str, str] | None = None,
        timeout: ClientTimeout | None = None,
        patient: bool = False,
        storable: bool = False,
    ) -> Json:
        assert user == HOST
        self.asked.append((method, path.removeprefix("_matrix/client/v3/rooms/"), query or {}))
        if content is not None:
            self.asked.append(("body", str(content), {}))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


async def read(pages: Pages, who: UserId = ADA) -> list[object]:
    found = pages.timeline(ROOM, HOST, EventId("$1"), who, since=1_000)
    return [raw.get("event_id") async for raw in found]


@pytest.mark.asyncio
async def test_a_room_is_read_to_its_end() -> None:
    pages = Pages(
        {"event": {"event_id": "$1"}, "end": "t1"},
        {"chunk": [{"event_id": "$2"}, "no event", {"event_id": "$3"}], "end": "t2"},
        {"chunk": [{"event_id": "$4"}], "end": "t3"},
        {"chunk": [], "end": "t3"},
    )
    assert await read(pages) == ["$1", "$2", "$3", "$4"]
    assert pages.asked[0] == ("GET", "%21a%2Fb%3Aexample.org/context/%241", {"limit": "0"})
    after = [query["from"] for _, path, query in pages.asked if path.endswith("/messages")]
    assert after == ["t1", "t2", "t3"]
    assert {query["dir"] for _, _, query in pages.asked[1:]} == {"f"}


@pytest.mark.asyncio
@pytest.mark.parametrize("last", [{"chunk": [{"event_id": "$2"}]}, {"chunk": "none", "end": "t"}])
async def test_timeline_ends_at_a_missing_token_or_invalid_chunk(last: Json) -> None:
    pages = Pages({"event": {"event_id": "$1"}, "end": "t1"}, last)
    assert (await read(pages))[0] == "$1"
    assert pages.replies == []
    assert await read(Pages({"event": {"event_id": "$1"}})) == ["$1"]


@pytest.mark.asyncio
async def test_timeline_of_a_purged_event_begins_with_what_is_left() -> None:
    """Synapse, `purge_history` and `retention`: the beginning of a room goes, the rest stays."""
    missing = Refused("M_NOT_FOUND")
    pages = Pages(missing, {"event_id": "$5"}, {"event": {"event_id": "$5"}})
    assert await read(pages) == ["$5"]
    path = "_matrix/client/v1/rooms/%21a%2Fb%3Aexample.org/timestamp_to_event"
    assert pages.asked[1] == ("GET", path, {"ts": "1000", "dir": "f"})
    with pytest.raises(Refused, match="M_NOT_FOUND"):
        await read(Pages(missing, missing))


@pytest.mark.asyncio
async def test_timeline_that_is_not_shown_is_refused() -> None:
    pages = Pages(Refused("M_FORBIDDEN"))
    with pytest.raises(Refused, match="M_FORBIDDEN"):
        await read(pages)
    assert len(pages.asked) == 1


@pytest.mark.asyncio
async def test_redaction_is_sent_without_a_reason() -> None:
    pages = Pages({})
    await pages.redact(ROOM, HOST, EventId("$1"), "conceal.$1")
    assert pages.asked[0] == (
        "PUT", "%21a%2Fb%3Aexample.org/redact/%241/conceal.%241", {}
    )  # fmt: skip
    assert pages.asked[1] == ("body", "{}", {}), "no sentence in one language, and for one cause"


def at_the_time(membership: str, shown: str, *, sealed: bool) -> list[Json]:
    """State of a room when an event was sent, as /context gives it."""
    state: list[Json] = []
    if membership:
        content = {"membership": membership}
        state.append({"type": "m.room.member", "state_key": ADA, "content": content})
    if shown:
        content = {"history_visibility": shown}
        state.append({"type": "m.room.history_visibility", "state_key": "", "content": content})
    return state + ([{"type": "m.room.encryption", "state_key": ""}] if sealed else [])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("membership", "shown", "sealed", "seen"),
    [
        ("join", "joined", True, True),
        ("invite", "invited", True, True),
        ("invite", "shared", True, True),
        ("invite", "joined", False, False),
        *(("leave", "shared", True, False), ("", "shared", True, False), ("", "", True, False)),
        *(("", "shared", False, True), ("", "world_readable", False, True), ("", "", False, True)),
        *(("", "joined", False, False), ("ban", "invited", False, False)),
    ],
)
async def test_a_timeline_is_for_those_who_could_read_its_beginning(
    membership: str, shown: str, sealed: bool, seen: bool
) -> None:
    state = at_the_time(membership, shown, sealed=sealed)
    found: Json = {"event": {"event_id": "$1"}, "state": state}
    if seen:
        assert await read(Pages(found)) == ["$1"]
    else:
        with pytest.raises(Refused, match=Refused.UNSEEN):
            await read(Pages(found))
    assert await read(Pages(found), UserId("")) == ["$1"], "nobody asks"
