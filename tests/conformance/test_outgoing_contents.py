"""Every event content that the bridge sends is readable in the simplest client.

Not all clients support polls, edits, reactions, threads, captions and formatted text. So each
content must say everything in its plain body and follow the specification: it is read here by
matrix-nio, which has its own schemas, and checked field by field.
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

from bridge.conversation.model import Args, FileKey, Reported
from bridge.ids import EventId, UserId
from bridge.matrix import render
from bridge.matrix.client import Spooled
from bridge.matrix.crypto.wire import file_field
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
"""Maximum bytes of an event (specification, "Size limits"); encryption adds a third."""
ENVELOPE = 2_000
"""Generous allowance for the bytes of an event without its content."""


class Sent(msgspec.Struct, frozen=True):
    """A content, with the function that wrote it."""

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
    EditableNotice("We are closed right now.", mentions=(ADA,)),
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
    calls: tuple[Args, ...] = ({"call": "c1"}, {"rings": 1})
    for key, args in (("verification", Args()), *(("call", call) for call in calls)):
        declined = render.declined(Reported(ASKED, f"unreadable.{key}", args))
        assert declined is not None
        yield Sent("declined", declined[1], declined[0])
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
    """Return the names of a module's public functions that return contents."""
    return {
        name
        for name, one in inspect.getmembers(module, inspect.isfunction)
        if one.__module__ == module.__name__
        and not name.startswith("_")
        and "Content" in str(one.__annotations__["return"])
    }


def test_every_content_function_is_covered() -> None:
    assert {sent.maker for sent in ALL} == makers(render)


@every
def test_content_fits_into_an_event(sent: Sent) -> None:
    encoded = json.dumps(sent.content, ensure_ascii=False).encode()
    assert len(encoded) * 4 / 3 + ENVELOPE < LARGEST


@every
def test_matrix_nio_reads_the_content(sent: Sent) -> None:
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
        return  # nio does not support polls
    assert not isinstance(read, BadEvent | UnknownBadEvent), read


@every_message
def test_plain_body_contains_all_words(sent: Sent) -> None:
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
def test_relation_has_the_form_that_clients_expect(sent: Sent) -> None:
    relation = sent.content.get("m.relates_to")
    if relation is None:
        return
    assert isinstance(relation, dict)
    match relation.get("rel_type"):
        case None:
            assert relation == {"m.in_reply_to": {"event_id": ASKED}}
        case "m.thread":
            # Clients without threads show a reply.
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
def test_only_pings_mention_the_customer(sent: Sent) -> None:
    if sent.kind in {"m.reaction", render.WIDGET}:
        return  # they contain no text that could mention anyone
    mentions = sent.content["m.mentions"]
    rings = any(words in str(sent.content) for words in ("is here", "are closed"))
    assert mentions == ({"user_ids": [ADA]} if rings else {})


@pytest.mark.parametrize("sent", [one for one in MESSAGES if one.maker == "media_content"])
def test_file_content_is_complete(sent: Sent) -> None:
    content = sent.content
    assert ("url" in content) != ("file" in content)
    assert content["filename"] == content["body"]
    info = content["info"]
    assert isinstance(info, dict)
    assert "/" in info["mimetype"]
    assert info["size"] == 9
    if "org.matrix.msc3245.voice" in content:
        # Clients without voice messages play it as ordinary audio.
        assert (content["msgtype"], info["mimetype"]) == ("m.audio", "audio/ogg")
        assert info["duration"] == 3200
        about = content["org.matrix.msc1767.audio"]
        assert about == {"duration": 3200, "waveform": [0, 512, 1024]}
    if content["msgtype"] in {"m.image", "m.video"}:
        assert {"w", "h"} <= info.keys()


def test_caption_is_the_body_beside_the_filename() -> None:
    (content,) = (one.content for one in MESSAGES if one.maker == "captioned")
    assert (content["filename"], content["msgtype"]) == ("a.image", "m.image")
    assert str(content["body"]).startswith("chats a day")


@pytest.mark.parametrize("sent", [one for one in MESSAGES if one.maker == "location_content"])
def test_location_has_a_geo_uri_and_a_link(sent: Sent) -> None:
    content = sent.content
    if content["msgtype"] == "m.text":
        assert "180.345" in str(content["body"])  # invalid coordinates are shown as text
        return
    assert re.fullmatch(r"geo:-?\d+\.\d+,-?\d+\.\d+", str(content["geo_uri"]))
    assert re.search(r"https://\S+", str(content["body"]))


def test_poll_has_a_plain_text_fallback() -> None:
    content = render.poll_content(POLL)
    assert content["org.matrix.msc1767.text"] == content["body"] == POLL.text


# --- edits ----------------------------------------------------------------------------------------

TRYING = "R&D <b>\n“new”</b> https://shop.example/?a=1&b=2"
"""Value of each placeholder: a possible queue name."""


def versions(text: str) -> Iterator[Content]:
    """Yield all contents of a notice that a client may show: original, edit, and new content."""
    yield render.editable_content(EditableNotice(text))
    edit = render.editable_content(EditableNotice(text, edits=ASKED))
    new = edit["m.new_content"]
    assert isinstance(new, dict)
    yield from (edit, new)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_has_html_in_original_and_edit(language: str) -> None:
    """The HTML says the same as the body, also of texts overridden by an operator.

    Without HTML Element shows stale text after an edit, or "Can't load this message". All
    sentences are checked, so that any may be used on a card.
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


def test_only_one_function_writes_edits() -> None:
    """The tests above check its contents."""
    writers = {
        name
        for path in BRIDGE.rglob("*.py")
        for name, function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        and any(isinstance(one, ast.Constant) and one.value == "m.replace" for one in node.values)
    }
    assert writers == {"render.editable_content"}


# --- completeness of these tests ------------------------------------------------------------------

WRITERS = {render.__name__}
READERS = {"bridge.matrix.crypto.keys"}
"""Modules that use these keys for events that are written elsewhere."""
TELLTALE = {"msgtype", "formatted_body", "m.relates_to", "m.new_content"}
"""Keys that occur only in contents."""


def keys_written(tree: ast.AST) -> Iterator[str]:
    """Yield the constant keys of all dicts that a module creates or fills."""
    for node in ast.walk(tree):
        keys: Sequence[ast.expr | None] = ()
        if isinstance(node, ast.Dict):
            keys = node.keys
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            keys = [node.slice]
        for key in keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value


def test_only_known_modules_write_contents() -> None:
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
def test_every_field_of_the_inputs_is_covered(seen: Sequence[msgspec.Struct]) -> None:
    """Fails if a new field is not covered."""
    kind = type(seen[0])
    for field in msgspec.structs.fields(kind):
        assert any(getattr(one, field.name) != field.default for one in seen), field.name


def test_every_type_of_relayed_message_is_covered() -> None:
    assert set(get_args(Relayed)) == {AgentText, RelayedMedia, AgentLocation}
