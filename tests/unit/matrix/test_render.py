from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from bridge.ids import EventId, UserId
from bridge.matrix.client import Spooled
from bridge.matrix.render import (
    MAX_BODY,
    MAX_TEXT,
    clean,
    editable_content,
    in_thread,
    location_content,
    media_content,
    notice_content,
    text_contents,
)
from bridge.media.places import Place, datum_of, to_datum
from bridge.rooms.ports import EditableNotice, NoticeText
from bridge.rooms.record import Thread
from bridge.webchat.frames import AgentLocation

HARMLESS = frozenset(
    {"a", "b", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6"}
    | {"hr", "i", "li", "ol", "p", "pre", "s", "strong", "sub", "sup", "table", "tbody", "td"}
    | {"th", "thead", "tr", "u", "ul"}
)
_SCHEMES = ("http:", "https:", "mailto:", "tel:")
OWN: dict[str, object] = {"m.mentions": {}}


def test_notice_does_not_ping() -> None:
    assert notice_content(NoticeText("hi")) == {"msgtype": "m.notice", "body": "hi"} | OWN


def test_notice_with_a_ping_is_a_text_message() -> None:
    assert notice_content(NoticeText("hi", ping=True))["msgtype"] == "m.text"


def test_reply() -> None:
    content = notice_content(NoticeText("hi", reply_to=EventId("$x")))
    assert content["m.relates_to"] == {"m.in_reply_to": {"event_id": "$x"}}


def test_line_above_an_event_link_becomes_its_label() -> None:
    """Element shows an event's link without a label as a pill "Message from Ada"."""
    link = "https://matrix.to/#/!r:x/$e"
    room = "https://matrix.to/#/!r:x?via=x"
    text = f"Chats:\n2. Mei & Jun\n{link}?via=x&via=y\n1. Ada\n{link}\n\nThere:\n{room}"
    content = notice_content(NoticeText(text, reply_to=EventId("$x")))
    assert content["body"] == text
    assert content["formatted_body"] == (
        f'Chats:<br><a href="{link}?via=x&amp;via=y">2. Mei &amp; Jun</a><br>'
        f'<a href="{link}">1. Ada</a><br><br>There:<br>{room}'
    )
    assert (content["msgtype"], content["m.mentions"]) == ("m.notice", {})
    assert "format" not in notice_content(NoticeText(f"There:\n{room}"))
    # A notice may quote strangers: their links must not add an attribute.
    assert "format" not in notice_content(NoticeText(f'There:\n{link}"title="x'))


@pytest.mark.parametrize("sign", ["\u202e", "&#x202e;", "&#8237;"])
@pytest.mark.parametrize("fragment", ["pay {}001", "<b>pay {}001</b>", "<p>" * 5_000 + "pay {}001"])
def test_an_agent_cannot_reverse_the_reading_direction(fragment: str, sign: str) -> None:
    (content,) = text_contents(fragment.format(sign))
    assert str(content["body"]).endswith("pay 001")
    assert not {"\u202d", "\u202e"} & set(f"{content}")


def test_edit_in_place() -> None:
    """Every version has HTML: an edit of a plain body with a line break breaks Element's view."""
    said = {
        "msgtype": "m.notice",
        "body": "⏳ R&D <new>\nnumber 2",
        "format": "org.matrix.custom.html",
        "formatted_body": "⏳ R&amp;D &lt;new&gt;<br>number 2",
        "m.mentions": {},
    }
    text = "⏳ R&D <new>\nnumber 2"
    assert editable_content(EditableNotice(text)) == OWN | said
    assert editable_content(EditableNotice(text, edits=EventId("$x"))) == OWN | said | {
        "body": f"* {said['body']}",
        "formatted_body": f"* {said['formatted_body']}",
        "m.new_content": said,
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"},
    }


def test_an_editable_notice_with_mentions_notifies() -> None:
    content = editable_content(EditableNotice("We are closed.", mentions=(UserId("@ada:x"),)))
    assert content["msgtype"] == "m.text"
    assert content["m.mentions"] == {"user_ids": ["@ada:x"]}


@pytest.mark.parametrize("text", ["", "  \n", "\x00"])
def test_body_is_never_empty(text: str) -> None:
    assert notice_content(NoticeText(text))["body"] == "…"
    assert editable_content(EditableNotice(text))["formatted_body"] == "…"
    assert text_contents(text)[0]["body"] == "…"


@pytest.mark.parametrize(
    ("fragment", "body", "formatted"),
    [
        ("hello", "hello", ""),
        ("two\nlines", "two\nlines", ""),
        ("1 < 2 and a<b then", "1 < 2 and a<b then", ""),
        ("a &lt; b &amp; c", "a < b & c", ""),
        ("type <your name>\nthen <OK>", "type <your name>\nthen <OK>", ""),
        ("https://x.y/?a=1&region=EU&times=2", "https://x.y/?a=1&region=EU&times=2", ""),
        (
            "<b>pay</b> https://x.y/?a=1&currency=EUR",
            "pay https://x.y/?a=1&currency=EUR",
            "<b>pay</b> https://x.y/?a=1&amp;currency=EUR",
        ),
        ("one<br>two", "one\ntwo", ""),
        ("<div>one</div><div>two</div>", "one\ntwo", ""),
        ("<b>bold</b>", "bold", "<b>bold</b>"),
        ("typed\n<b>lines</b>", "typed\nlines", "typed<br><b>lines</b>"),
        ('<font color="red">red</font>', "red", ""),
        (
            '<a href="https://x.y" target="_blank" onclick="z()">site</a>',
            "site (https://x.y)",
            '<a href="https://x.y">site</a>',
        ),
        ('<a href="javascript:x()">click</a>', "click", "<a>click</a>"),
        (
            '<a href="tel:+4930123">call</a>',
            "call (tel:+4930123)",
            '<a href="tel:+4930123">call</a>',
        ),
        ('<a href="/local">here</a>', "here", "<a>here</a>"),
        ("safe<script>alert(1)</script>", "safe", ""),
        ('<b onmouseover="x()">b</b><iframe src="//evil"></iframe>', "b", "<b>b</b>"),
        ('hi<img class="qqemoji qqemoji13" src="/spacer.gif">', "hi😁", ""),
        ('<img class="qqemoji qqemoji9999" alt="[x]">', "[x]", ""),
        (f'<img src="/{"s" * 400}.gif" class="qqemoji qqemoji13">', "😁", ""),
        ('<img class="qqemoji qqemojiX" src="s.gif">', "🖼", ""),
        ('<img src="https://x.y/a.png" alt="shoe">', "shoe https://x.y/a.png", ""),
        ('<img src="/a.png">', "🖼", ""),
        ("/::) [微笑]", "🙂 🙂", ""),
        ("<ul><li>a</li></ul>", "- a", "<ul><li>a</li></ul>"),
        ("<script>only()</script>", "…", ""),
        ("<!--StartFragment-->one\ntwo<!--EndFragment-->", "one\ntwo", ""),
        ("a <!-- b", "a <!-- b", ""),
        (
            '<section class="x">one</section><section><b>two</b></section>',
            "one\ntwo",
            "<div>one</div><div><b>two</b></div>",
        ),
        ("<dl><dt>Price</dt><dd>5</dd></dl>", "Price\n5", ""),
        ("<button>Yes</button><button>No</button>", "Yes\nNo", ""),
        ('<STRIKE class="x">9.99</strike> 5.99', "~~9.99~~ 5.99", "<s>9.99</s> 5.99"),
        ("<?xml?><msg><title>A</title><text>B</text><url>C</url></msg>", "A\nB\nC", ""),
        ("<msg><des><![CDATA[A & B]]></des><url><![CDATA[C]]></url></msg>", "A & B\nC", ""),
        ("<optionx>a</optionx><b>c</b>", "ac", "a<b>c</b>"),
        ("<view><b>a</b></view> <line x='1'>c</line>", "a c", "<b>a</b> c"),
        ("<xmp>a <i>c</xmp>", "a <i>c", ""),
        ("<p>so <math><msup><mi>x</mi><mn>2</mn></msup></math> is</p>", "so x2 is", ""),
        ("<svg><g><text x='1'>A</text></g><text>&lt;B></text></svg>", "A\n<B>", ""),
    ],
)
def test_agents_fragment(fragment: str, body: str, formatted: str) -> None:
    assert clean(fragment) == (body, formatted)


def test_formatted_body_only_where_it_says_more() -> None:
    assert text_contents("<b>x</b>") == [
        OWN
        | {
            "msgtype": "m.text",
            "body": "x",
            "format": "org.matrix.custom.html",
            "formatted_body": "<b>x</b>",
        }
    ]
    assert text_contents("x<br>y") == [OWN | {"msgtype": "m.text", "body": "x\ny"}]


@pytest.mark.parametrize("text", ["word " * 20_000, "x" * 100_000, "字\n" * 30_000, "😀" * 30_000])
def test_long_text_loses_nothing(text: str) -> None:
    contents = text_contents(text)
    bodies = [str(content["body"]) for content in contents]
    assert len(bodies) > 1
    assert all(0 < len(body.encode()) <= MAX_BODY for body in bodies)
    assert "".join("".join(bodies).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "char", ["\x01", '"', "\\", "<b>x</b>", f"<b>{'x' * 20}</b>", "<i>\x01</i>", "😀"]
)
@pytest.mark.parametrize("count", [1_000, 3_900, 30_000])
def test_every_event_is_small_enough_also_encrypted(char: str, count: int) -> None:
    for content in text_contents(char * count):
        assert len(msgspec.json.encode(content)) * 4 / 3 < 65_536 - 4_000


def test_absurd_fragment_is_shown_as_it_was_written() -> None:
    fragment = "<b>" * 3_000 + "x &amp; y"
    assert clean(fragment) == (fragment.replace("&amp;", "&"), "")


@given(st.text(st.characters(codec=None), max_size=300))
def test_any_text_becomes_a_sendable_message(text: str) -> None:
    for content in text_contents(text):
        assert str(content["body"]).strip()
        assert str(content).encode()


@given(
    st.lists(
        st.sampled_from(
            [
                *("<b>", "</b>", "<a href='javascript:x'>", "<img src=x onerror=y>", "<script>"),
                *("</script>", "<svg>", "<style>", "<math>", "<p>", "<div>", "<![CDATA[", "-->"),
                *("<!--", "&lt;script&gt;", "text", "<table>", "<td>", "<iframe src=//x>"),
                *("<form>", "<input>", "<title>", "<template>", "<noscript>"),
                *("<p title='x'>", "<b lang=x class=y id=z style='w'>", "<i data-mx-color=red>"),
            ]
        ),
        max_size=30,
    )
)
def test_formatted_body_is_harmless(parts: list[str]) -> None:
    assert harms(clean("".join(parts))[1]) == []


@pytest.mark.parametrize("element", ["title", "noscript", "textarea", "xmp", "iframe", "svg", "p"])
def test_content_of_raw_text_elements_stays_text(element: str) -> None:
    """A `<title>` holds text, even if it looks like a link: it must not become an element."""
    inner = "<a href='javascript:x'>y</a><img src=x onerror=y><script>z</script>"
    assert harms(clean(f"<b>b</b><{element}>{inner}</{element}>")[1]) == []
    assert harms(clean(f"<b>b</b><{element}>{inner}")[1]) == []


@pytest.mark.parametrize(
    ("html", "harm"),
    [
        ("<b>x</b><script>y</script>", "script"),
        ("<a href='javascript:x'>y</a>", "a href=javascript:x"),
        ("<a href=' JavaScript:x'>y</a>", "a href= JavaScript:x"),
        ("<b onclick=x>y</b>", "b onclick=x"),
    ],
)
def test_harms_finds_harmful_html(html: str, harm: str) -> None:
    assert harms(html) == [harm]


def harms(formatted: str) -> list[str]:
    """Return elements and attributes that a client would run, load or follow."""
    body = LexborHTMLParser(formatted).body
    assert body is not None
    return [
        *(node.tag or "" for node in body.css("*") if node.tag not in {"body", *HARMLESS}),
        *(
            f"{node.tag} {name}={value}"
            for node in body.css("*")
            for name, value in node.attributes.items()
            if name != "start" and not (name == "href" and (value or "").startswith(_SCHEMES))
        ),
    ]


@pytest.mark.parametrize(
    ("kind", "mime", "size", "msgtype"),
    [
        ("image", "image/png", (3, 2), "m.image"),
        ("file", "image/png", (3, 2), "m.image"),
        ("image", "image/svg+xml", None, "m.file"),
        ("image", "text/html", None, "m.file"),
        ("voice", "audio/amr", None, "m.file"),
        ("voice", "application/octet-stream", None, "m.file"),
        ("file", "audio/mpeg", None, "m.audio"),
        ("video", "video/mp4", None, "m.video"),
        ("video", "video/mp4", (3, 2), "m.video"),
        ("video", "application/octet-stream", None, "m.file"),
    ],
)
def test_message_type_of_a_file_follows_its_mime_type(
    kind: str, mime: str, size: tuple[int, int] | None, msgtype: str
) -> None:
    file = Spooled(io.BytesIO(), 9, "a", mime, size, seconds=2.5)
    content = media_content(kind, file, {"url": "mxc://s/i"})
    info: dict[str, object] = {"mimetype": mime, "size": 9}
    if size:
        info |= {"w": 3, "h": 2}
    if msgtype in {"m.audio", "m.video"}:
        info |= {"duration": 2500}
    assert content == OWN | {
        "msgtype": msgtype,
        "body": "a",
        "filename": "a",
        "url": "mxc://s/i",
        "info": info,
    }


def test_voice() -> None:
    file = Spooled(io.BytesIO(), 9, "voice.ogg", "audio/ogg", seconds=2.5, waveform=(0, 1024))
    content = media_content("voice", file, {"url": "mxc://s/i"})
    assert content == OWN | {
        "msgtype": "m.audio",
        "body": "voice.ogg",
        "filename": "voice.ogg",
        "url": "mxc://s/i",
        "info": {"mimetype": "audio/ogg", "size": 9, "duration": 2500},
        "org.matrix.msc3245.voice": {},
        "org.matrix.msc1767.audio": {"duration": 2500, "waveform": [0, 1024]},
    }


@pytest.mark.parametrize("map_name", ["baidu", "gaode", "gps"])
def test_location(map_name: str) -> None:
    shown = to_datum(Place(39.908722, 116.397496), datum_of(map_name))
    where = AgentLocation(shown.latitude, shown.longitude, " 天安门 ", map_name)
    body = "📍 天安门\nhttps://uri.amap.com/marker?position=116.40374,39.91013"
    assert location_content(where) == OWN | {
        "msgtype": "m.location",
        "body": body,
        "geo_uri": "geo:39.908722,116.397496",
        "org.matrix.msc3488.location": {
            "uri": "geo:39.908722,116.397496",
            "description": "天安门",
        },
        "org.matrix.msc3488.asset": {"type": "m.pin"},
        "org.matrix.msc1767.text": body,
    }


def test_a_place_without_a_name() -> None:
    content = location_content(AgentLocation(1, 2, map="gps"))
    assert content["org.matrix.msc3488.location"] == {"uri": "geo:1.000000,2.000000"}
    assert str(content["body"]).startswith("📍\nhttps://www.openstreetmap.org/")


def test_a_place_that_is_not_on_earth_is_text() -> None:
    content = location_content(AgentLocation(1, 180.345, "x", "baidu"))
    assert content == OWN | {"msgtype": "m.text", "body": "📍 x (1.000000, 180.345000)"}


def test_threads() -> None:
    thread = Thread(EventId("$root"), EventId("$last"))
    relation = {"rel_type": "m.thread", "event_id": "$root", "is_falling_back": True}
    answer = {"m.in_reply_to": {"event_id": "$last"}}
    (content,) = text_contents("x")
    assert in_thread(content, thread)["m.relates_to"] == relation | answer
    notice = NoticeText("hi", reply_to=EventId("$last"), thread=EventId("$root"))
    expected = relation | answer | {"is_falling_back": False}
    assert notice_content(notice)["m.relates_to"] == expected


def test_a_text_of_megabytes_is_cut() -> None:
    """A frame of 16 MiB made 700 events, and blocked the event loop for 4 s."""
    contents = text_contents("[" * 1_000_000)
    assert len(contents) == 21
    assert sum(len(str(one["body"])) for one in contents) == MAX_TEXT + 1
    assert str(contents[-1]["body"]).endswith("[…")


def test_a_notice_of_almost_links_takes_no_time() -> None:
    """A backtracking pattern took 0.9 s for 24 KB, and would need minutes for this."""
    text = "x\nhttps://matrix.to/#/" + "/$a" * 100_000 + '"'
    assert notice_content(NoticeText(text)) == {"msgtype": "m.notice", "body": text} | OWN
