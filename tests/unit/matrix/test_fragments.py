from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.matrix import render
from bridge.matrix.render import EMBEDDED, MAX_PICTURES, Piece, clean
from bridge.media.plaintext import MAX_TAGS
from bridge.webchat.frames import AgentMedia, AgentText


def absolute(address: str) -> str:
    return f"https://crm.example.org/webchat/{address.lstrip('/')}"


def pieces(fragment: str) -> tuple[Piece, ...]:
    return render.pieces(fragment, absolute)


DATA = base64.b64encode(b"picture bytes").decode()


def text(html: str) -> AgentText:
    return AgentText(html)


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


def test_pictures_beyond_the_limit_stay_links() -> None:
    found = pieces('<img src="https://x.y/a.png">' * (MAX_PICTURES + 2))
    assert found[:-1] == (image("https://x.y/a.png"),) * MAX_PICTURES
    assert isinstance(found[-1], AgentText)
    assert clean(found[-1].html)[0] == "https://x.y/a.pnghttps://x.y/a.png"


@given(
    st.lists(
        st.sampled_from(
            [
                *("<p>", "</p>", "<b>", "</b>", "<table>", "<tr>", "<td>", "</table>", "<ul>"),
                *("<li>", "</ul>", "<a href='https://x.y'>", "</a>", "word", " ", "\n", "<br>"),
                *('<img src="/a.png">', '<img src="https://x.y/b.png" alt="b">', "&lt;", "< "),
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
        if isinstance(piece, AgentText):
            body, formatted = clean(piece.html)
            assert body.strip()
            assert "<script" not in formatted
            assert "<img" not in formatted
        else:
            assert piece.url
    if "<script>" not in fragment:
        said = "".join(clean(p.html)[0] for p in found if isinstance(p, AgentText))
        assert said.count("word") == fragment.count("word")


@given(st.text(st.characters(codec=None), max_size=200))
def test_any_fragment_gives_at_least_one_piece(fragment: str) -> None:
    assert pieces(fragment)
    assert pieces(f"{fragment}<img src='/a.png'>{fragment}")


@pytest.mark.parametrize("inside", ["", " ", "<b></b>", "<svg><path d='M0'/></svg>"])
def test_a_link_without_words_shows_its_address(inside: str) -> None:
    """Clients show nothing of an empty element: the message would be blank."""
    (found,) = pieces(f'<a href="/faq.html">{inside}</a>')
    assert isinstance(found, AgentText)
    body, formatted = clean(found.html)
    leads = "https://crm.example.org/webchat/faq.html"
    assert body == leads
    assert f"{leads}</a>" in formatted
    for kept in ("<img class='qqemoji13' src='/s.gif'>", "words", "<b>words</b>"):
        assert pieces(f'<a href="https://x.y">{kept}</a>') == (
            text(f'<a href="https://x.y">{kept}</a>'),
        )
    unsafe = "<a href='javascript:x()'></a>"
    assert pieces(unsafe) == (text(unsafe),)


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("/faq.html", "https://crm.example.org/webchat/faq.html"),
        ("faq.html?a=1&amp;b=2", "https://crm.example.org/webchat/faq.html?a=1&amp;b=2"),
        ("www.example.org/shop", "https://www.example.org/shop"),
    ],
)
def test_relative_links_become_absolute(link: str, leads: str) -> None:
    found = pieces(f'see <a href="{link}">this</a> or <b>call</b>')
    assert found == (text(f'see <a href="{leads}">this</a> or <b>call</b>'),)
    assert clean(f'<a href="{leads}">this</a>')[1] == f'<a href="{leads}">this</a>'


@pytest.mark.parametrize(
    "link", ["https://x.y/z", "mailto:a@b.c", "javascript:x()", "#part", "", " "]
)
def test_other_links_are_left_alone(link: str) -> None:
    fragment = f'<a href="{link}">this</a> &amp; that'
    assert pieces(fragment) == (text(fragment),)


def test_a_link_around_a_picture_is_made_absolute_too() -> None:
    found = pieces('<a href="/big.html"><img src="/a.png"></a>')
    assert found == (
        image("/a.png"),
        text(
            '<a href="https://crm.example.org/webchat/big.html">'
            "https://crm.example.org/webchat/big.html</a>"
        ),
    )


@pytest.mark.parametrize(
    ("fragment", "shown"),
    [
        ('<video src="/a.mp4">no player</video>', "/a.mp4 (https://desk/a.mp4)"),
        ("<audio src=/a.amr /> and <b>this</b>", "/a.amr (https://desk/a.amr) and this"),
        ('<audio><source src="http://h/a.mp3"></audio>', "http://h/a.mp3"),
        ('<iframe src="http://h/form"></iframe>', "http://h/form"),
        ('<embed src="http://h/x">', "http://h/x"),
        ("<embed src=http://h/x>words", "http://h/x words"),
        ('<object data="http://h/x"><embed src="/y"></object>', "http://h/x"),
        (f'<video src="data:video/mp4;base64,{"A" * 3000}">', EMBEDDED),
        ("<video></video>", ""),
    ],
)
def test_embedded_media_becomes_a_link(fragment: str, shown: str) -> None:
    """Matrix clients do not show media within a text, as an agent's desk does."""
    (piece,) = render.pieces(f"see {fragment}", lambda address: f"https://desk{address}")
    assert isinstance(piece, AgentText)
    assert clean(piece.html)[0] == f"see {shown}".strip()


def test_nested_media_players_are_read_once() -> None:
    """Searching each player for the sources of all others took half a second for 40 KB."""
    (piece,) = pieces("<video><source src=/a.mp4>" * 1_900)
    assert isinstance(piece, AgentText)
    assert piece.html.count(">/a.mp4</a>") == 1_900
    (piece,) = pieces(f"{'<video><source src=/a.mp4>' * 1_900}</video>")
    assert isinstance(piece, AgentText)
    assert piece.html.count("a.mp4") == 2  # in the outermost player's link


def test_an_address_of_megabytes_is_not_repeated_after_each_picture() -> None:
    fragment = f"<a href='http://x/{'y' * 10_000}'>{'z<img src=/a.png>' * 20}</a>"
    texts = [one.html for one in pieces(fragment) if isinstance(one, AgentText)]
    assert len(texts) == 20
    assert sum(map(len, texts)) < 15_000


def test_elements_reopened_by_the_parser_do_not_reach_the_sanitiser() -> None:
    """The sanitiser needs quadratic time for them: 28 s for 13 KB."""
    fragment = f"<p>{'<b id=1><i><u><s>' * 900}</p>{'<p>x' * 300}"
    assert clean(fragment) == (fragment, "")


def test_a_fragment_with_too_many_tags_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for emoji in 16 MiB of it took 2 s."""
    monkeypatch.delattr(render, "decode_emoji")
    fragment = f"<img src='a.png'>{'x<br>' * MAX_TAGS}"
    assert pieces(fragment) == (AgentText(fragment),)
