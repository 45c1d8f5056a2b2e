"""Examples of every kind of agent message as it appears in Matrix, for docs/matrix-events.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from bridge.conversation.model import FileKey
from bridge.ids import EventId
from bridge.matrix.adapter import playable
from bridge.matrix.client import Spooled, spool
from bridge.matrix.crypto.wire import file_field
from bridge.matrix.render import (
    Content,
    in_thread,
    location_content,
    media_content,
    pieces,
    text_contents,
)
from bridge.rooms.record import Thread
from bridge.webchat.frames import AgentLocation, AgentMedia, AgentText
from bridge.webchat.http import Endpoints
from tests.support.matrix_rig import blob, picture
from tests.support.sounds import film, tone

SERVER = Endpoints("https://crm.example.org/webchat")
MXC = "mxc://example.org/file"
KEY = FileKey("A" * 43, "A" * 22, "A" * 43)
Row = tuple[str, str, str, str]

TEXTS = (
    ("text", "Hello /::) 1 &lt; 2"),
    ("text of several lines", "one<br>two<p>three</p>"),
    ("text with formatting and a link", '<b>See</b> <a href="https://shop.example/x">this</a>'),
    ("text with a relative link", 'see <a href="/faq.html">our questions</a>'),
    ("text with a list", "<ul><li>one</li><li>two</li></ul>"),
    (
        "text with a table",
        "<table><tr><th>size</th><th>price</th></tr><tr><td>M</td><td>9</td></tr></table>",
    ),
    ("text with scripts and a page in it", "Hello<script>x()</script><iframe src='//x'></iframe>"),
    ("text with an emoji of the desk", '<img class="qqemoji qqemoji13" src="/spacer.gif">'),
    ("text with a picture in it", 'look: <img src="/up/shoe.png" alt="shoe"> nice?'),
)


async def answers() -> AsyncIterator[Row]:
    """Yield all rows, in the order of the table."""
    for name, html in TEXTS:
        yield _text(name, html)
    yield _row(
        "text, the customer having written in a thread within three minutes", _threaded("Hello")
    )
    for name, kind, data, file in (
        ("picture (type 2)", "image", picture(60, 40), "shoe.png"),
        ("file (type 3)", "file", b"%PDF-1.4 text", "terms.pdf"),
        ("voice (type 5), AMR", "voice", tone(3, "amr"), ""),
        ("voice in HQ (type 11)", "voice", tone(3, "mp4"), "voice.m4a"),
        ("voice that cannot be played (WeChat's SILK)", "voice", b"#!SILK_V3" + bytes(9), "v.silk"),
        ("video (type 6)", "video", film(64, 48, pictures=20), "clip.mp4"),
    ):
        read = await _file(kind, data, file)
        clear = media_content(kind, read, {"url": MXC})
        sealed = media_content(kind, read, {"file": file_field(MXC, KEY)})
        yield _row(name, clear, sealed)
    for name, where in (
        (
            "place (type 4) on Baidu's map",
            AgentLocation(39.916465, 116.410113, "Tiananmen", "baidu"),
        ),
        ("place on AMap", AgentLocation(39.910125, 116.40374, "Tiananmen", "gaode")),
        ("place that is not on earth", AgentLocation(39.9, 180.345, "?", "baidu")),
    ):
        yield _row(name, location_content(where))


def _text(name: str, html: str) -> Row:
    shown: list[str] = []
    bodies: list[str] = []
    for piece in pieces(html, SERVER.absolute):
        if isinstance(piece, AgentMedia):
            shown.append("`m.image`, or a link if it may not be fetched")
            bodies.append(piece.name)
            continue
        assert isinstance(piece, AgentText)
        for content in text_contents(piece.html):
            shown.append(_shown(content))
            bodies.append(str(content["body"]))
    return name, " then ".join(shown), "the same", " then ".join(bodies)


def _row(name: str, clear: Content, sealed: Content | None = None) -> Row:
    same = "the same"
    if sealed is not None:
        rest = {key for key in sealed if clear.get(key) != sealed[key]}
        assert rest == {"file"}
        same = "the same, with its key"
    return name, _shown(clear), same, str(clear["body"])


def _threaded(text: str) -> Content:
    (content,) = text_contents(text)
    return in_thread(content, Thread(EventId("$root"), EventId("$latest")))


def _shown(content: Content) -> str:
    told = [f"`{content['msgtype']}`"]
    if "formatted_body" in content:
        told.append("with HTML")
    if "m.relates_to" in content:
        told.append("in that thread")
    info = content.get("info")
    if isinstance(info, dict):
        facts = [str(info["mimetype"])]
        if "w" in info:
            facts.append(f"{info['w']}×{info['h']}")
        if "duration" in info:
            facts.append(f"{info['duration'] / 1000:.1f} s")
        told.append(f"({', '.join(facts)})")
    if "org.matrix.msc3245.voice" in content:
        told.append("a voice message with its waveform")
    if "geo_uri" in content:
        told.append(f"`{content['geo_uri']}`")
    return " ".join(told)


async def _file(kind: str, data: bytes, name: str) -> Spooled:
    async with spool(blob(data, "", name), kind) as original:
        return await playable(original, kind, ThreadPoolExecutor(1))
