"""Target `markup`: conversion of HTML from agents to Matrix, and from customers to plain text.

The HTML sent to Matrix is checked with a different parser than the one that produced it.
"""

from __future__ import annotations

from collections.abc import Iterable
from html.parser import HTMLParser

import msgspec

from bridge.matrix.events import read_message
from bridge.matrix.render import MAX_BODY, MAX_PICTURES, Content, pieces, text_contents
from bridge.media.plaintext import html_to_text
from bridge.webchat.frames import AgentMedia, AgentText
from bridge.webchat.http import Endpoints
from tests.fuzz.target import Target

SERVER = Endpoints("https://crm.example.org/webchat")
MAX_EVENT = 65_536
"""Maximum bytes of an event (Matrix specification, "Size limits")."""
_ROOM_FOR_THE_REST = 2_000
_TAGS = frozenset(
    {"a", "b", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6"}
    | {"hr", "i", "li", "ol", "p", "pre", "s", "strong", "sub", "sup", "table", "tbody", "td", "th"}
    | {"thead", "tr", "u", "ul"}
)
_ATTRIBUTES = frozenset({("a", "href"), ("ol", "start")})
_SCHEMES = ("http:", "https:", "mailto:", "tel:")


def run(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    _from_agents(text)
    _from_agents(data.decode("utf-8", "surrogateescape"))
    _from_customers(text)


def _from_agents(fragment: str) -> None:
    found = pieces(fragment, SERVER.absolute)
    assert found, "something is always shown"
    media = [piece for piece in found if isinstance(piece, AgentMedia)]
    assert len(media) <= MAX_PICTURES
    assert all(bool(one.data) != bool(one.url) for one in media), "data or an address"
    for piece in found:
        if isinstance(piece, AgentText):
            contents = text_contents(piece.html)
            assert contents, "something is always shown"
            shown = sum(len(str(content["body"])) for content in contents)
            assert shown <= 20 * len(piece.html) + 2_000, "no growth"
            for content in contents:
                _harmless(content)


def _harmless(content: Content) -> None:
    body, formatted = content["body"], content.get("formatted_body")
    assert isinstance(body, str)
    assert body.strip(), "a body is never blank"
    assert "\0" not in body
    assert len(body.encode()) <= MAX_BODY
    assert content["m.mentions"] == {}, "nobody is called by accident"
    assert len(msgspec.json.encode(content)) <= MAX_EVENT - _ROOM_FOR_THE_REST, "an event fits"
    if formatted is not None:
        assert isinstance(formatted, str)
        assert "\0" not in formatted
        guard = _Guard(convert_charrefs=True)
        guard.feed(formatted)
        guard.close()


class _Guard(HTMLParser):
    """A parser that fails on everything that could run, load or deceive."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS, f"<{tag}>"
        for name, value in attrs:
            assert (tag, name) in _ATTRIBUTES, f"<{tag} {name}>"
            if name == "href":
                told = "".join((value or "").split()).lower()
                assert told.startswith(_SCHEMES), f"href={told[:20]}"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("an instruction")


def _from_customers(html: str) -> None:
    text = html_to_text(html)
    if text is not None:
        assert text == text.strip("\n"), "no empty lines around it"
        assert len(text) <= 100 * len(html) + 2_000, "no growth"
    message: dict[str, object] = {
        "msgtype": "m.text",
        "body": "said",
        "format": "org.matrix.custom.html",
        "formatted_body": html,
    }
    written = read_message(message)
    assert not isinstance(written, str), "the body is there in any case"
    assert written.plain.strip(), "what was said is never blank"
    assert "\0" not in written.plain


def seeds() -> Iterable[bytes]:
    for text in (
        "plain text & more < less",
        "line one\nline <b>two</b>\r\n",
        '<p>one <b>two<img src="/a.png">three</b></p><img src="data:image/png;base64,iVBORw0KGg=">',
        '<table><tr><th>a</th><td><img src="//x.y/a.png" alt="b"></td></tr></table>',
        '<ol start="3"><li>x<ul><li>y</li></ul></li></ol><blockquote>q<br>r</blockquote>',
        '<a href="https://x.y/?a=1&amp;b=2">link</a> <a href="javascript:alert(1)">bad</a>',
        '<script>alert(1)</script><style>*{}</style><svg onload="x"><math><mi xlink:href="x">',
        '<a href="mailto:a@b.c" onclick="x" style="x">m</a><iframe src="//x"></iframe><!-- c -->',
        '<img class="qqemoji qqemoji12"> /::) [微笑] /:&lt;W&gt; /::<',
        "<mx-reply><blockquote>old</blockquote></mx-reply><h1>t</h1><pre><code>x=1\n</code></pre>",
        '<span data-mx-spoiler="why">hidden</span><font color="red">r</font><del>d</del><hr>',
        "<noscript><p title='</noscript><img src=x onerror=x>'></noscript><template>t</template>",
        "שלום \u202eabc\u202c <sup>2</sup><sub>3</sub>&#0;&#x1F600;&nbsp;",
    ):
        yield text.encode()


TARGET = Target(
    "markup",
    run,
    seeds,
    words=(
        *("<b>", "</b>", "<p>", "<br>", "<ul>", "<ol start=", "<li>", "<table>", "<tr>", "<td>"),
        *("<a href=", "<img src=", 'class="qqemoji1"', "<pre>", "<code>", "<blockquote>", "<h1>"),
        *("<script>", "</script>", "<style>", "<svg>", "<math>", "<template>", "<noscript>"),
        *("<!--", "-->", "<![CDATA[", "<?", "</body>", "<body onload=x>", "<html>", "<plaintext>"),
        *(" onerror=", "javascript:", "data:", "http://", "mailto:", "//", "&lt;", "&#0;", "&amp;"),
        *("/::)", "/:<W>", "[微笑]", "\x01", "<mx-reply>", "<textarea>", "<select>", "<title>"),
    ),
    modules=("bridge.media.plaintext", "bridge.matrix.render"),
)
