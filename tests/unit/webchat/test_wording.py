from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.webchat.splitting import frame_bytes, split_text
from bridge.webchat.wording import escaped, guarded


@given(st.text())
def test_escaped_text_is_read_as_it_was_typed(text: str) -> None:
    shown = escaped(text)
    assert html.unescape(shown) == html.unescape(html.escape(text, quote=False))
    assert "<" not in shown
    assert ">" not in shown


def test_what_escaping_leaves_alone() -> None:
    assert escaped("""it's "5 > 4" & <b>""") == """it's "5 &gt; 4" &amp; &lt;b&gt;"""


@pytest.mark.parametrize("text", ["null", " null ", "[1]", "{a}", "[微笑]", "{}\n", "[", "{"])
def test_what_looks_like_json_is_guarded(text: str) -> None:
    looks_so = len(text.strip()) > 1
    assert guarded(text) == (f"\u200b{text}" if looks_so else text)


@pytest.mark.parametrize("text", ["", "nullify", "a [1]", "{1", "[x}", '"q"', "12"])
def test_what_does_not_is_left_alone(text: str) -> None:
    assert guarded(text) == text


@given(st.text(alphabet="<>&ab文😀", max_size=300), st.integers(min_value=5, max_value=90))
def test_pieces_have_room_for_their_escapes(text: str, room: int) -> None:
    """And no entity is divided, for the pieces are cut before they are escaped."""
    pieces = split_text(text, room, html=True)
    assert "".join(pieces) == text
    assert all(frame_bytes(escaped(piece)) <= room for piece in pieces)
    assert "".join(map(escaped, pieces)) == escaped(text)
