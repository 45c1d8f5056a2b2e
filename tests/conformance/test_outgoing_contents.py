"""Every content that we send is readable and usable in the plainest client.

Clients differ in what they know of polls, edits, reactions, threads, captions and formatted text.
So each content must say everything in its plain body, and be what the specification says it is: it
is read here by matrix-nio, whose schemas are not ours, and looked at field by field.
"""

from __future__ import annotations

import ast
import html
import inspect
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest
from nio import BadEvent, RoomEncryptedMedia, RoomMessage, RoomMessageMedia, UnknownBadEvent
from nio.events import ReactionEvent

from bridge.conversation.model import FileKey
from bridge.ids import EventId, UserId
from bridge.matrix import render
from bridge.matrix.client import Spooled
from bridge.matrix.crypto.attachments import file_field
from bridge.matrix.render import Content
from bridge.media.plaintext import html_to_text
from bridge.rooms.ports import EditableNotice, NoticeText, Poll, Relayed, RelayedMedia, Status
from bridge.rooms.record import Thread
from bridge.texts import CATALOGUE, LANGUAGES, Texts, placeholders
from bridge.webchat.frames import AgentLocation, AgentText

ADA = UserId("@ada:example.org")
ASKED, ROOT = EventId("$asked"), EventId("$root")
THREAD = Thread(ROOT, ASKED)
POLL = Poll("Happy?", (("5", "very"), ("1", "not at all")), "Happy?\n5 — very")
KEY = FileKey("A" * 43, "A" * 22, "A" * 43)
MXC = "mxc://example.org/file"
BRIDGE = Path(__file__).parents[2] / "bridge"
LARGEST = 65_536
"""Bytes of an event (specification, "Size limits"); encryption makes four of three."""
ENVELOPE = 2_000
"""Bytes of everything but the content, generously."""


class Sent(msgspec.Struct, frozen=True):
    """One content as it goes out, with the function that wrote it."""

    maker: str
    content: Content
    kind: str = "m.room.message"


def file(kind: str, mime: str, **more: Any) -> tuple[str, Spooled]:
    return kind, Spooled(io.BytesIO(), 9, f"a.{kind}", mime, **more)


def notices() -> Iterator[NoticeText]:
    yield NoticeText("a sentence")
    yield NoticeText("an answer", reply_to=ASKED)
    yield NoticeText("an answer in a thread", reply_to=ASKED, thread=ROOT)
    yield NoticeText("Mei is here", ping=True, mentions=(ADA,))
    yield NoticeText(" \x00 ")


EDITABLES = (
    EditableNotice("⏳ R&D <new>: you are number 3\nwaiting for 2 minutes"),
    EditableNotice("⏳ R&D <new>: you are number 2\nwaiting for 3 minutes", edits=ASKED),
    EditableNotice(" \x00 "),
)
TEXTS = (
    "hello",
    "two<br>lines",
    '<b>bold</b>, <i>slanted</i>, <a href="https://shop.example/x">a link</a>, <code>ls</code>',
    "<ul><li>one</li><li>two<ol><li>three</li></ol></li></ul>",
    "<table><tr><th>size</th><th>price</th></tr><tr><td>M</td><td>9</td></tr></table>",
    "<blockquote>quoted</blockquote><pre>a\n  b</pre><h1>title</h1><hr>",
    "<p dir='rtl'>שלום <b>עולם</b></p>",
    "<script>x()</script><img src='https://evil.example/p.png'><iframe src='//x'></iframe>",
    "&lt;b&gt; is no tag, 1 < 2",
    "",
    "word " * 30_000,
    "<b>" + "字" * 9_000 + "</b>",
)
MEDIA = (
    file("image", "image/png", dimensions=(60, 40)),
    file("image", "image/heic"),
    file("file", "application/pdf"),
    file("video", "video/mp4", dimensions=(60, 40), seconds=3.2),
    file("voice", "audio/ogg", seconds=3.2, waveform=(0, 512, 1024)),
    file("voice", "audio/x-silk"),
    file("file", "audio/mpeg", seconds=60),
)
PLACES = (
    AgentLocation(39.916465, 116.410113, "Tiananmen", "baidu"),
    AgentLocation(48.8584, 2.2945, "", "gaode"),
    AgentLocation(39.9, 180.345, "?", "baidu"),
)


def from_agents() -> Iterator[Sent]:
    for text in TEXTS:
        for content in render.text_contents(text):
            yield Sent("text_contents", content)
    for kind, media in MEDIA:
        wheres: tuple[Content, ...] = {"url": MXC}, {"file": file_field(MXC, KEY)}
        for where in wheres:
            yield Sent("media_content", render.media_content(kind, media, where))
    for place in PLACES:
        yield Sent("location_content", render.location_content(place))


def everything() -> Iterator[Sent]:
    for notice in notices():
        yield Sent("notice_content", render.notice_content(notice))
    for editable in EDITABLES:
        yield Sent("editable_content", render.editable_content(editable))
    yield Sent("poll_content", render.poll_content(POLL), render.POLL_START)
    yield Sent("reaction_content", render.reaction_content(ASKED, "🔔"), "m.reaction")
    picture = render.media_content(*MEDIA[0], {"url": MXC})
    yield Sent("captioned", render.captioned(picture, "chats a day\ndark: with an agent"))
    cancelled = render.cancel_content(ASKED)
    yield Sent("cancel_content", cancelled, "m.key.verification.cancel")
    for why, again in (("", False), ("undelivered.refused", True), ("result.-16", False)):
        status = Status(ASKED, "org.matrix_webchat://webchat/@bot:h", why, again)
        yield Sent("status_content", render.status_content(status), render.STATUS)
    panel = render.panel_content(ADA, "https://support.example/room", "客服")
    yield Sent("panel_content", panel, render.WIDGET)
    for sent in from_agents():
        yield sent
        yield Sent("in_thread", render.in_thread(sent.content, THREAD))
        yield Sent("spoken_for", render.spoken_for("Mei <3", sent.content))


ALL = list(everything())
MESSAGES = [sent for sent in ALL if sent.kind == "m.room.message"]
every = pytest.mark.parametrize("sent", ALL, ids=lambda sent: sent.maker)
every_message = pytest.mark.parametrize("sent", MESSAGES, ids=lambda sent: sent.maker)


def makers(module: ModuleType) -> set[str]:
    """The functions of a module that write contents for others."""
    return {
        name
        for name, one in inspect.getmembers(module, inspect.isfunction)
        if one.__module__ == module.__name__
        and not name.startswith("_")
        and "Content" in str(one.__annotations__["return"])
    }


def test_nothing_that_writes_contents_was_forgotten() -> None:
    assert {sent.maker for sent in ALL} == makers(render)


@every
def test_it_is_an_event_of_the_specifications_size(sent: Sent) -> None:
    encoded = json.dumps(sent.content, ensure_ascii=False).encode()
    assert len(encoded) * 4 / 3 + ENVELOPE < LARGEST


@every
def test_an_independent_client_reads_it(sent: Sent) -> None:
    raw = {
        "type": sent.kind,
        "event_id": "$e",
        "sender": "@webchat_mei:example.org",
        "origin_server_ts": 1,
        "content": sent.content,
    }
    if sent.kind == "m.room.message":
        if "file" in sent.content:
            read = RoomMessage.parse_decrypted_event(raw)
            assert isinstance(read, RoomEncryptedMedia)
        else:
            read = RoomMessage.parse_event(raw)
            assert isinstance(read, RoomMessageMedia) == ("url" in sent.content)
    elif sent.kind == "m.reaction":
        read = ReactionEvent.from_dict(raw)
    else:
        return  # nio knows no polls: like the clients for whom the text is
    assert not isinstance(read, BadEvent | UnknownBadEvent), read


@every_message
def test_the_plain_body_says_it(sent: Sent) -> None:
    content = sent.content
    assert content["msgtype"] in {
        "m.text", "m.notice", "m.image", "m.file", "m.audio", "m.video", "m.location",
    }  # fmt: skip
    body = content["body"]
    assert isinstance(body, str)
    assert body.strip()
    formatted = content.get("formatted_body")
    assert (formatted is None) == ("format" not in content)
    if formatted is not None:
        assert content["format"] == "org.matrix.custom.html"
        assert isinstance(formatted, str)
        text = html_to_text(formatted)
        assert text is not None
        assert words(text) <= words(body), "the body leaves something out"
        assert not re.search(r"<(img|script|iframe|style|object)", formatted)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@every_message
def test_what_it_is_about_is_said_as_clients_expect(sent: Sent) -> None:
    relation = sent.content.get("m.relates_to")
    if relation is None:
        return
    assert isinstance(relation, dict)
    match relation.get("rel_type"):
        case None:
            assert relation == {"m.in_reply_to": {"event_id": ASKED}}
        case "m.thread":
            # Without threads it is a reply; with them, a reply only where one is meant.
            assert relation["m.in_reply_to"] == {"event_id": ASKED}
            assert isinstance(relation["is_falling_back"], bool)
        case "m.replace":
            new = sent.content["m.new_content"]
            assert isinstance(new, dict)
            assert sent.content["body"] == f"* {new['body']}"
            assert sent.content["formatted_body"] == f"* {new['formatted_body']}"
            assert new["msgtype"] == sent.content["msgtype"]
            assert "m.relates_to" not in new
        case other:
            pytest.fail(f"a relation that nobody expects: {other}")


@every
def test_nothing_pings_but_what_is_to_ping(sent: Sent) -> None:
    if sent.kind in {"m.reaction", render.WIDGET}:
        return  # neither has words that could
    mentions = sent.content["m.mentions"]
    assert mentions == ({"user_ids": [ADA]} if "is here" in str(sent.content) else {})


@pytest.mark.parametrize("sent", [one for one in MESSAGES if one.maker == "media_content"])
def test_a_file_is_whole(sent: Sent) -> None:
    content = sent.content
    assert ("url" in content) != ("file" in content)
    assert content["filename"] == content["body"]
    info = content["info"]
    assert isinstance(info, dict)
    assert "/" in info["mimetype"]
    assert info["size"] == 9
    if "org.matrix.msc3245.voice" in content:
        # Clients without voice messages play it as a sound like any other.
        assert (content["msgtype"], info["mimetype"]) == ("m.audio", "audio/ogg")
        assert info["duration"] == 3200
        about = content["org.matrix.msc1767.audio"]
        assert about == {"duration": 3200, "waveform": [0, 512, 1024]}
    if content["msgtype"] in {"m.image", "m.video"}:
        assert {"w", "h"} <= info.keys()


def test_a_caption_stands_in_place_of_the_name_which_is_said_beside_it() -> None:
    (content,) = (one.content for one in MESSAGES if one.maker == "captioned")
    assert (content["filename"], content["msgtype"]) == ("a.image", "m.image")
    assert str(content["body"]).startswith("chats a day")


@pytest.mark.parametrize("sent", [one for one in MESSAGES if one.maker == "location_content"])
def test_a_place_can_be_opened_without_a_map(sent: Sent) -> None:
    content = sent.content
    if content["msgtype"] == "m.text":
        assert "180.345" in str(content["body"])  # not on earth: the numbers are all there is
        return
    assert re.fullmatch(r"geo:-?\d+\.\d+,-?\d+\.\d+", str(content["geo_uri"]))
    assert re.search(r"https://\S+", str(content["body"]))


def test_a_poll_can_be_read_where_there_are_none() -> None:
    content = render.poll_content(POLL)
    assert content["org.matrix.msc1767.text"] == content["body"] == POLL.text


# --- what is edited in place ----------------------------------------------------------------------

TRYING = "R&D <b>\n“new”</b> https://shop.example/?a=1&b=2"
"""What stands for each placeholder: a queue may be called so."""


def versions(text: str) -> Iterator[Content]:
    """Whatever a client may show of it: the first version, an edit, and what replaces it."""
    yield render.editable_content(EditableNotice(text))
    edit = render.editable_content(EditableNotice(text, edits=ASKED))
    new = edit["m.new_content"]
    assert isinstance(new, dict)
    yield from (edit, new)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_could_be_edited_in_place(language: str) -> None:
    """Each has HTML in every version, which says what its body says, also in an operator's words.

    Without it Element shows stale words after an edit, or "Can't load this message". Nobody has to
    remember which sentences stand on a card: all of them are tried.
    """
    for key, sentence in CATALOGUE.items():
        names = placeholders(sentence[language])
        of_operator = Texts(
            {key: {language: "<⏳> & more\n" + " ".join(f"{{{n}}}" for n in names)}}
        )
        for texts in (Texts(), of_operator):
            for content in versions(texts.render(language, key, dict.fromkeys(names, TRYING))):
                formatted = str(content["formatted_body"])
                assert content["format"] == "org.matrix.custom.html"
                assert html.unescape(formatted.replace("<br>", "\n")) == content["body"], key
                assert "\n" not in formatted
                assert "<" not in formatted.replace("<br>", "")


def functions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.stem}.{node.name}", node


def test_one_function_alone_writes_edits() -> None:
    """The one whose contents are looked at above."""
    writers = {
        name
        for path in BRIDGE.rglob("*.py")
        for name, function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        and any(isinstance(one, ast.Constant) and one.value == "m.replace" for one in node.values)
    }
    assert writers == {"render.editable_content"}


# --- nothing goes out that is not looked at here --------------------------------------------------

WRITERS = {render.__name__}
READERS = {"bridge.matrix.events", "bridge.matrix.crypto.keys"}
"""They put what others wrote into a shape that can be read."""
TELLTALE = {"msgtype", "formatted_body", "m.relates_to", "m.new_content"}
"""Keys that only a content has."""


def keys_written(tree: ast.AST) -> Iterator[str]:
    """The constant keys of all dictionaries that a module makes or fills."""
    for node in ast.walk(tree):
        keys: Sequence[ast.expr | None] = ()
        if isinstance(node, ast.Dict):
            keys = node.keys
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            keys = [node.slice]
        for key in keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value


def test_contents_are_written_by_these_modules_only() -> None:
    found = set()
    for path in BRIDGE.rglob("*.py"):
        if path.relative_to(BRIDGE).parts[0] in {"demo", "simulator"}:
            continue
        if TELLTALE.intersection(keys_written(ast.parse(path.read_text(encoding="utf-8")))):
            found.add(".".join(path.relative_to(BRIDGE.parent).with_suffix("").parts))
    assert found == WRITERS | READERS


@pytest.mark.parametrize(
    "seen", [[*notices()], [*EDITABLES], [media for _, media in MEDIA], [*PLACES]]
)
def test_every_property_of_what_is_sent_occurs_here(seen: Sequence[msgspec.Struct]) -> None:
    """Also one that is added some day."""
    kind = type(seen[0])
    for field in msgspec.structs.fields(kind):
        assert any(getattr(one, field.name) != field.default for one in seen), field.name


def test_there_is_nothing_else_of_an_agents_to_relay() -> None:
    assert set(get_args(Relayed)) == {AgentText, RelayedMedia, AgentLocation}
