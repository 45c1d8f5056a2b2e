from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.matrix.fragments import MAX_PICTURES, Piece, pieces
from bridge.matrix.render import clean
from bridge.rooms.ports import RelayedText
from bridge.webchat.frames import AgentMedia

DATA = base64.b64encode(b"picture bytes").decode()


def text(html: str) -> RelayedText:
    return RelayedText(html)


def image(url: str = "", name: str = "", data: str = "") -> AgentMedia:
    return AgentMedia("image", data=data, url=url, name=name)


@pytest.mark.parametrize(
    ("fragment", "found"),
    [
        (
            'see <img src="https://x.y/a.png" alt="a"> here',
            (text("see "), image("https://x.y/a.png", "a"), text(" here")),
        ),
        ('<img src="/up/a.png">', (image("/up/a.png"),)),
        ('<img src="up/a.png">', (image("up/a.png"),)),
        ('<img src="//cdn.x/a.png">', (image("https://cdn.x/a.png"),)),
        (f'<img src="data:image/png;base64,{DATA}">', (image(data=DATA),)),
        (
            '<p>one <b>two<img src="/a.png">three</b></p>',
            (text("<p>one <b>two</b></p>"), image("/a.png"), text("<p><b>three</b></p>")),
        ),
        (
            '<img src="/a.png"> <img src="/b.png">end',
            (image("/a.png"), image("/b.png"), text("end")),
        ),
        (
            '<table><tr><td>1</td><td><img src="/a.png"></td></tr></table>after',
            (
                text("<table><tbody><tr><td>1</td><td>🖼</td></tr></tbody></table>"),
                image("/a.png"),
                text("after"),
            ),
        ),
        (
            '<ol start="3"><li>x<img src="/a.png"><ul><li><img src="/b.png"></li></ul></li></ol>',
            (
                text('<ol start="3"><li>x🖼<ul><li>🖼</li></ul></li></ol>'),
                image("/a.png"),
                image("/b.png"),
            ),
        ),
        (
            '<a href="https://x.y/big"><img src="/a.png"></a>',
            (
                image("/a.png"),
                text('<a href="https://x.y/big">https://x.y/big</a>'),
            ),
        ),
        (
            '/:<W> &lt;b&gt; <img class="qqemoji qqemoji13" src="/s.gif"><img src="/a.png">',
            (
                text("🍉 &lt;b&gt; 😁"),
                image("/a.png"),
            ),
        ),
        (
            'x<script>"<img src=y>"</script><img src="/a.png">',
            (text("x"), image("/a.png")),
        ),
    ],
)
def test_pictures_become_messages_of_their_own(fragment: str, found: tuple[Piece, ...]) -> None:
    assert pieces(fragment) == found


@pytest.mark.parametrize(
    "fragment",
    [
        "plain text\nof two lines",
        "1 < 2 <b>bold</b>",
        '<img class="qqemoji qqemoji13" src="/spacer.gif">',
        '<img src="cid:part1">',
        '<img src="javascript:x()">',
        '<img src="file:///etc/passwd">',
        '<img src="">',
        "<img>",
        "",
        "<b>" * 5_000 + '<img src="/a.png">',
        "<i>" * 300 + '<img src="/a.png">',
    ],
)
def test_a_fragment_without_pictures_is_left_alone(fragment: str) -> None:
    assert pieces(fragment) == (text(fragment),)


def test_a_picture_inside_the_text_may_be_large() -> None:
    data = base64.b64encode(bytes(3_000_000)).decode()
    found = pieces(f'look: <img src="data:image/png;base64,{data}">')
    assert found == (text("look: "), image(data=data))


def test_more_pictures_than_anybody_sends_stay_links() -> None:
    found = pieces('<img src="https://x.y/a.png">' * (MAX_PICTURES + 2))
    assert found[:-1] == (image("https://x.y/a.png"),) * MAX_PICTURES
    assert isinstance(found[-1], RelayedText)
    assert clean(found[-1].html)[0] == "https://x.y/a.pnghttps://x.y/a.png"


@given(
    st.lists(
        st.sampled_from(
            [
                *("<p>", "</p>", "<b>", "</b>", "<table>", "<tr>", "<td>", "</table>", "<ul>"),
                *("<li>", "</ul>", "<a href='https://x.y'>", "</a>", "word", " ", "\n", "<br>"),
                *('<img src="/a.png">', '<img src="https://x.y/b.png" alt="b">', "&lt;", "<"),
                *("<pre>", "</pre>", "<script>", "</script>", "/::)"),
            ]
        ),
        max_size=40,
    ).map("".join)
)
def test_no_word_is_lost_and_no_piece_is_blank(fragment: str) -> None:
    found = pieces(fragment)
    assert found
    for piece in found:
        if isinstance(piece, RelayedText):
            body, formatted = clean(piece.html)
            assert body.strip()
            assert "<script" not in formatted
            assert "<img" not in formatted
        else:
            assert piece.url
    if "<script>" not in fragment:
        said = "".join(clean(p.html)[0] for p in found if isinstance(p, RelayedText))
        assert said.count("word") == fragment.count("word")


@given(st.text(st.characters(codec=None), max_size=200))
def test_anything_is_at_least_one_piece(fragment: str) -> None:
    assert pieces(fragment)
    assert pieces(f"{fragment}<img src='/a.png'>{fragment}")
