from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.plaintext import MAX_ATTRIBUTES, MAX_DECODED, as_markup, html_to_text, parse


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>one <b>two</b></p>\n<p>three<br>four</p>\n", "one two\n\nthree\nfour"),
        ("a<br><br>b", "a\n\nb"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>d", "- a\n  - b\n- c\nd"),
        ("<ul><ul><li>odd</li></ul></ul>", "  - odd"),
        ('<ol start="9"><li>x</li><li>y<br>z</li></ol>', "9. x\n10. y\n    z"),
        ('<ol start="ten"><li>x</li></ol>', "1. x"),
        ("<ol><li><p>a</p><p>b</p></li></ol>", "1. a\n\n   b"),
        ("<ul><li></li></ul>", "-"),
        ("<blockquote><p>q</p><p>r</p></blockquote>answer", "> q\n>\n> r\n\nanswer"),
        ("<pre><code>if x:\n    y\n</code></pre>after", "if x:\n    y\nafter"),
        ("use <code>a  b</code>", "use `a b`"),
        ("<del>old</del> new", "~~old~~ new"),
        ("a<hr>b", "a\n---\nb"),
        ("<h1>Title</h1>text", "Title\n\ntext"),
        (
            "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>",
            "A | B\n1 | 2",
        ),
        ('see <a href="https://x.y/z">this</a>', "see this (https://x.y/z)"),
        ('<a href="https://x.y">https://x.y</a>', "https://x.y"),
        ('<a href="mailto:a@b.c">a@b.c</a>', "a@b.c"),
        ('<a href="tel:+491234">+491234</a>', "+491234"),
        ('<a href="http://www.b.c">www.b.c</a>', "www.b.c"),
        ('<a href="https://b.c/">https://b.c</a>', "https://b.c"),
        ('<a href="https://b.c/%E4%BB%B7">https://b.c/价</a>', "https://b.c/价"),
        ('<a href="https://b.c/x">b.c</a>', "b.c (https://b.c/x)"),
        ("<p>one</p><p>&nbsp;</p><p>two</p>", "one\n\ntwo"),
        ('<a href="https://x.y"></a>', "https://x.y"),
        ('<a href="javascript:x()">click</a>', "click"),
        ('<a href="https://matrix.to/#/@ann:b.c">Ann</a>: hi', "Ann: hi"),
        ('<img src="mxc://a/b" alt=":smile:">', ":smile:"),
        ("<mx-reply><blockquote>old</blockquote></mx-reply>new", "new"),
        ("a<script>evil()</script><style>x{}</style><!-- c -->b", "ab"),
        ("1 &lt; 2 &amp;&nbsp;3", "1 < 2 &\xa03"),
        ("  spaced \n out  ", "spaced out"),
        ("", ""),
        ("<p></p>", ""),
    ],
)
def test_conversion(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "html",
    ["<div>" * 100 + "x", "<ul>" * 1_000 + "x", "<b>" * 5_000 + "x", "x" * 200_001],
)
def test_absurd_html_is_left_to_the_caller(html: str) -> None:
    assert html_to_text(html) is None


@pytest.mark.parametrize(
    ("html", "text"),
    [("<p>is a <b", "is a <b"), ("<b>x</b> <", "x <"), ("<p>a <b>c</b></p>", "a c")],
)
def test_unclosed_tag_is_text(html: str, text: str) -> None:
    assert html_to_text(html) == text


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    *("<ul>", "<li>", "</ul>", "<ol start=-1>", "<table>", "<tr>", "<td>"),
                    *("<a href=x>", "</a>", "<pre>", "<blockquote>", "<br>", "&#0;"),
                    *("<![CDATA[", "<svg>", "<", ">"),
                ]
            ),
            st.text(st.characters(codec=None), max_size=10),
        ),
        max_size=40,
    )
)
def test_hostile_html_never_raises(parts: list[str]) -> None:
    html_to_text("".join(parts))


@pytest.mark.parametrize(
    ("fragment", "shown"),
    [
        ("one\ntwo\r\nthree", "one<br>two<br>three"),
        ("1 < 2 & 3", "1 &lt; 2 &amp; 3"),
        ("1 &lt; 2", "1 &lt; 2"),
        ("<b>one</b>\ntwo", "<b>one</b>\ntwo"),
        ("one<BR>two", "one<BR>two"),
        ("", ""),
    ],
)
def test_text_becomes_markup(fragment: str, shown: str) -> None:
    assert as_markup(fragment) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("Mei <mei@example.org>", "<b>or</b> <mei@example.org> <br>", "<mailto:mei@example.org>"),
        *("<https://example.org/?a=b>", "<HTTPS://example.org/> or <http://a.b/c=d/e/>"),
    ],
)
def test_an_address_in_angle_brackets_is_no_element(text: str) -> None:
    words = text.replace("<b>", "").replace("</b>", "").replace("<br>", "").strip()
    assert html_to_text(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "Fill in <your name> and <order number>.",
        "Press <Enter>, <Ctrl+C> or <yes/no>",
        "if (a<b && c>d)",
        "List<String> <<names>>",
        "for(i=0;i<n;i++){a[i]=b[i]>>2;} =IF(A1<B1,'x=y',C1>2)",
        "a <table of contents> of <Section 3> to <a name>, <a title> or <a required>",
        "Press <Del>, mail to <address>, put it into the <header> or a <script>.",
        "SELECT x WHERE a<b AND c='x' AND d>e",
        'if (a<b && c=="x") return d>e; else if x<y and name="Bob" then z>1',
        "template<class T = int> void f();",
        'use <?php echo "hi"; ?> or <?= $x > 1 ?>, </3 is not <3, return <>one</>;',
    ],
)
@pytest.mark.parametrize("around", ["", "<b>x</b> ", "<p>"])
def test_words_in_angle_brackets_are_no_element(text: str, around: str) -> None:
    shown = f"{around} {text}".replace("<b>", "").replace("</b>", "").replace("<p>", "").split()
    assert html_to_text(f"{around} {text}") == " ".join(shown)


@pytest.mark.parametrize(
    "html",
    [
        *("<o:p></o:p>x", "<o:p/>x", "<unknown a=b>x", "<Odd>x</odd>"),
        *("<b hidden>x", "<span data-mx-spam>x</span>", "<input disabled CHECKED>x"),
        *("<p dir>x</p>", "<style scoped>p {}</style>x", "<a name=y required>x</a>"),
        *("<a href = '' title='a b c' data-v-1>x</a>", "<b class=y _ngcontent-a-c1>x</b>"),
        *("<?xml:namespace prefix = o ns = 'urn:x' />x", "<b id='y'' z2>x</b>"),
        *("<img src=a alt>x", "<img ismap src='a' crossorigin title>x", "<p id=y class>x"),
        *("<p itemscope itemtype='y'>x", "<li contenteditable draggable=true>x"),
        *("<img alt>x", "<tr><td class>x", "<span style title>x"),
        "<table><colgroup><col><tr><td>x",  # end tags that HTML lets be left out
    ],
)
def test_an_element_is_no_typed_word(html: str) -> None:
    assert html_to_text(html) == "x"


@pytest.mark.parametrize("around", ["", "<b>x</b> "])
def test_parameters_of_a_typed_address_are_no_characters(around: str) -> None:
    url = "https://b.c/?id=5&currency=EUR&notify_url=x&region[0]=2&copy-to=3&amp;lt=4&times=5"
    shown = url.replace("&amp;", "&")
    assert html_to_text(f"{around}{url}") == around.replace("<b>x</b>", "x") + shown
    assert as_markup(url) == shown.replace("&", "&amp;")
    assert html_to_text("&lt;&copy; &nbsp;") == "<© \xa0"


def test_endless_address_takes_no_time() -> None:
    """A backtracking pattern would need minutes."""
    text = "<" + "@a" * 90_000
    assert html_to_text(text) == text


@pytest.mark.parametrize("decoy", ["", "<script><b a='</script>", "<!--<b a='-->", "<p title='>'"])
def test_unclosed_elements_are_not_multiplied(decoy: str) -> None:
    """The parser made 1,000 elements of each paragraph: 360 MB of a text of 13 KB."""
    opened = "".join(f"<b id={number}><I/id='{number}'>" for number in range(500))
    body = parse(f"{decoy}<p>{opened}</p>{'<p>x' * 1_000}")
    assert body is not None
    assert len(body.css("*")) < 10_000


def test_elements_beyond_a_limit_are_absurd() -> None:
    """Of 16 KB the parser made 148,000 elements: 0.1 s for an event."""
    names = ["b", "big", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"]
    opened = "".join(f"<{name}>" * 3 for name in names)
    assert html_to_text(f"<p>{opened}x{'<p>x' * 200}") is not None
    assert html_to_text(f"<p>{opened}x{'<p>x' * 3_900}") is None


def test_an_unclosed_link_is_not_multiplied() -> None:
    """The parser opened it again in each paragraph: ten events of 45 KB stopped all rooms."""
    found = html_to_text(f'<p><a href="http://{"a" * 30_000}">x{"<p>y" * 3_900}')
    assert found is not None
    assert len(found) < 20_000
    short = html_to_text(f'<p><a href="http://a.b">x{"<p>y" * 9}')
    assert short is not None
    assert short.count("y (http://a.b)") == 9


def test_attributes_of_formatting_are_all_that_is_removed() -> None:
    html = '<code class="a>b" id=c>x</code><B\n>y</B><img alt="p"><br/><bdi dir="ltr">z</bdi>'
    body = parse(html)
    assert body is not None
    shown = '<code>x</code><b>y</b><img alt="p"><br><bdi dir="ltr">z</bdi>'
    assert body.html == f"<body>{shown}</body>"


@pytest.mark.parametrize("decoy", ["", "<script><p a='</script>", "<p title='<p>'>"])
@pytest.mark.parametrize("tag", ["b", "p", "/p"])
def test_a_tag_with_too_many_attributes_is_absurd(decoy: str, tag: str) -> None:
    """The parser compares each with all others: 0.3 s for one event, hours for 16 MiB."""
    most = "".join(f" a{number}='>'" for number in range(MAX_ATTRIBUTES))
    assert html_to_text(f"{decoy}<{tag}{most}>x") is not None
    assert html_to_text(f"{decoy}<{tag}{most} b>x") is None


def test_tags_within_tags_are_read_a_few_times_at_most() -> None:
    assert html_to_text("<p a='" + "<p b=c " * 1_000 + "'>x") is None


@pytest.mark.parametrize("outer", ["<blockquote>", "<ol start=999999><li>"])
def test_lines_do_not_grow_by_each_level(outer: str) -> None:
    """The 62 KB of an event became 3.5 MB."""
    lines = "\nx" * 31_000
    assert html_to_text(f"{outer * 14}<pre>{lines}") is None
    assert html_to_text(f"{outer}<pre>{lines}") is not None


def test_what_nobody_reads_is_not_decoded() -> None:
    """12 MB of `&a=` that came late took four seconds; half a million characters are shown."""
    fragment = "&amp;" * (MAX_DECODED // 5)
    assert as_markup(f"{fragment}&a=&lt;") == f"{fragment}&amp;a=&amp;lt;"
    assert as_markup("?n=1&a=&lt;") == "?n=1&amp;a=&lt;"
