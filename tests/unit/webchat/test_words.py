"""Emoji, splitting of long texts, escapes, guards against odd servers, and names."""

from __future__ import annotations

import html
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.webchat import words
from bridge.webchat.words import (
    FACES,
    LONGEST_NAME,
    decode_emoji,
    encode_emoji,
    escaped,
    frame_bytes,
    guarded,
    is_unseen,
    looks_like,
    name_line,
    qqemoji,
    split_text,
)

CODES = [code for code, _, _ in FACES]


def test_the_table_has_105_faces_with_unique_codes_and_names() -> None:
    assert len(FACES) == 105
    assert len(set(CODES)) == 105
    names = [name for _, names, _ in FACES for name in names.split("/")]
    assert len(set(names)) == len(names)
    assert all(code.startswith("/:") for code in CODES)


def test_no_code_begins_another() -> None:
    assert not [(a, b) for a in CODES for b in CODES if a != b and b.startswith(a)]


def test_the_codes_that_html_would_swallow_are_those_of_the_reference() -> None:
    dangerous = {index for index, code in enumerate(CODES) if set(code) & set("<>&")}
    assert dangerous == {5, 28, 43, 45, 46, 48, 56, 91, 94, 103, 104}


@pytest.mark.parametrize("index", range(105))
def test_every_notation_of_a_face_is_decoded(index: int) -> None:
    code, names, face = FACES[index]
    assert qqemoji(index) == face
    forms = [code, html.escape(code), html.escape(code, quote=False)]
    forms += [f"[{name}]" for name in names.split("/")]
    forms += [f'<img class="qqemoji qqemoji{index}" src="spacer.gif">']
    for form in forms:
        assert decode_emoji(f"a {form} b{form}") == f"a {face} b{face}"


@pytest.mark.parametrize("index", [-1, 105, 999])
def test_an_unknown_face_number_has_no_emoji(index: int) -> None:
    assert qqemoji(index) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/::D/::d", "😁🙄"),  # case counts
        ("/:–-b/:--b/:&ndash;-b", "😰😰😰"),  # en dash or hyphen
        ("/::&#60;/::&#x3C;/::&#39;(", "😢😢😭"),  # numeric entities
        ("/:no", "🙅"),
        ("/:no!", "🙅!"),
        ("/:no再见", "🙅再见"),
        ("/:north", "/:north"),
        ("/:heartbeat", "/:heartbeat"),
        ("ok/:ok", "ok👌"),
        ("[微笑", "[微笑"),
        ("[unknown]", "[unknown]"),
        ("https://h/x", "https://h/x"),
        ('<a href="https://h/:no">/:no</a>', '<a href="https://h/:no">🙅</a>'),
        ("<a href='/:ok'>x</a>", "<a href='/:ok'>x</a>"),
        ('<img src="/up/:no.png">', '<img src="/up/:no.png">'),
        ("<img src=/up/:no.png alt=[微笑]>", "<img src=/up/:no.png alt=🙂>"),
        ('<IMG CLASS="qqemoji qqemoji999">', '<IMG CLASS="qqemoji qqemoji999">'),
        ('<img class="qqemoji qqemoji999">', '<img class="qqemoji qqemoji999">'),
        ("", ""),
    ],
)
def test_emoji_codes_that_are_easily_misread(text: str, expected: str) -> None:
    assert decode_emoji(text) == expected


@given(st.text(st.characters()))
def test_text_without_marks_is_left_alone(text: str) -> None:
    assert decode_emoji(text) == text or "/:" in text or "[" in text or "<" in text


@given(st.lists(st.sampled_from([*CODES, "<img ", 'href="', ">", "[", "&lt;", "a", '"'])))
def test_decode_never_raises(parts: list[str]) -> None:
    decode_emoji("".join(parts))


def test_long_hostile_text_takes_linear_time() -> None:
    for piece in ("<img qqemoji1 ", "href='", 'src="x', "/:&amp;", "[", "<img "):
        assert decode_emoji(piece * 20_000)


def test_an_embedded_picture_is_no_emoji() -> None:
    """Each of its millions of characters would be looked at again."""
    picture = '<img src="data:image/png;base64,' + "A" * 100_000 + '">'
    assert [found.lastgroup for found in words._TOKEN.finditer(picture)] == ["attribute"]


def test_codes_and_names_of_the_table_decode_to_its_faces() -> None:
    faces = FACES
    assert len(faces) == 105
    for index, (code, names, face) in enumerate(faces):
        assert {face} == {qqemoji(index), decode_emoji(code), *map(decode_emoji, _bracketed(names))}


def _bracketed(names: str) -> list[str]:
    return [f"[{name}]" for name in names.split("/")]


@pytest.mark.parametrize("index", range(105))
def test_an_encoded_face_is_decoded_to_itself(index: int) -> None:
    face = FACES[index][2]
    for text in (face, f"a {face} b", f"{face}{face}", f"{face}north", f"é{face}"):
        written = encode_emoji(text)
        assert face not in written
        assert decode_emoji(written).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("👍🏽 and ❤", "/:strong and /:heart"),
        ("❤️x", "/:heart x"),
        ("🙂x", "/::)x"),
        ("👨‍❤️‍👨", "👨‍❤️‍👨"),
        *((joined, joined) for joined in ("🏳️‍🌈", "❤️‍🔥", "🤸🏽‍♀️", "🙅🏻‍♂️")),
        ("🦊 has none", "🦊 has none"),
        ("no face", "no face"),
    ],
)
def test_only_faces_with_a_code_are_encoded(text: str, written: str) -> None:
    assert encode_emoji(text) == written


FAMILY = "👨‍👩‍👧‍👦"
FLAG = "🇨🇳"
PIECES = st.sampled_from(
    [*"ab \n\t\r\0。，'\"\\", "你", "é", "e\u0301", FAMILY, FLAG, "👍🏽", "❤️", "\u200d", "\u3000"]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=60).map("".join)


def dumped(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


@given(st.text(st.characters(exclude_categories=())), st.integers(0, 200), st.booleans())
def test_a_text_that_fits_is_one_piece(text: str, room: int, html: bool) -> None:
    size = (
        len(
            json.dumps(escaped(text) if html else text, ensure_ascii=False).encode(
                "utf-8", "surrogatepass"
            )
        )
        - 2
    )
    assert (split_text(text, room, html=html) == (text,)) or size > room or not text.strip()
    assert split_text(text, 6 * len(text) + 1) == ((text,) if text.strip() else ())


@given(st.text())
def test_frame_bytes_is_what_json_takes(text: str) -> None:
    assert frame_bytes(text) == dumped(text)


def test_a_lone_surrogate_counts_as_its_replacement() -> None:
    assert frame_bytes("\ud83d") == 3


@given(TEXTS, st.integers(-3, 80))
def test_splitting_loses_nothing_and_leaves_no_piece_blank(text: str, max_bytes: int) -> None:
    parts = split_text(text, max_bytes)
    assert all(part.strip() for part in parts)
    assert "".join(parts) == (text if text.strip() else "")


def longest_blank(text: str) -> int:
    longest = run = 0
    for char in text:
        run = run + frame_bytes(char) if char.isspace() else 0
        longest = max(longest, run)
    return longest


@given(TEXTS, st.integers(12, 80))
def test_pieces_fit_unless_blanks_forbid(text: str, max_bytes: int) -> None:
    if longest_blank(text) <= (max_bytes - 6) // 2:
        assert all(frame_bytes(part) <= max_bytes for part in split_text(text, max_bytes))


@given(st.lists(st.sampled_from([FAMILY, FLAG, "👍🏽", "❤️", "e\u0301", "a"]), max_size=40))
def test_a_grapheme_is_not_split(drawn: list[str]) -> None:
    text = "".join(drawn)
    borders, at = {0}, 0
    for piece in drawn:
        at += len(piece)
        borders.add(at)
    position = 0
    for part in split_text(text, 40):
        position += len(part)
        assert position in borders


@pytest.mark.parametrize(
    ("text", "max_bytes", "parts"),
    [
        ("", 10, ()),
        (" \n ", 10, ()),
        ("short", 10, ("short",)),
        ("one line\nand two", 12, ("one line\n", "and two")),
        ("one two three four", 10, ("one two ", "three four")),
        ("第一句。第二句，三。", 24, ("第一句。", "第二句，三。")),
        ("abcdefghij", 4, ("abcd", "efgh", "ij")),
        ("a" + " " * 15 + "b", 10, ("a" + " " * 9, " " * 6 + "b")),
        ("a" + " " * 30, 10, ("a" + " " * 30,)),
        (" " * 30 + "a", 10, (" " * 30 + "a",)),
        (" " * 30 + "ab", 10, (" " * 30 + "a", "b")),
        ("ab", 0, ("a", "b")),
        # A border in the first half is not used, as the piece would be too short.
        ("abc\ndefghijkl", 10, ("abc\ndefgh", "ijkl")),
        ("abcdefgh\r\nij", 10, ("abcdefgh", "\r\nij")),
        (FLAG * 3, 20, (FLAG * 2, FLAG)),
    ],
)
def test_examples_of_splitting(text: str, max_bytes: int, parts: tuple[str, ...]) -> None:
    assert split_text(text, max_bytes) == parts


@pytest.mark.parametrize("mark", "\n。！？；… \t\u3000，、")
def test_a_text_is_split_after_the_best_mark(mark: str) -> None:
    """A better mark is preferred to a worse one that is nearer to the end."""
    assert split_text(f"你好世界再见{mark}十二三四", 30) == (f"你好世界再见{mark}", "十二三四")
    worse = "、" if mark in "\n。！？；…" else "见"
    assert split_text(f"你好世界再{mark}见{worse}十二三四", 32)[0] == f"你好世界再{mark}"


def test_a_grapheme_longer_than_a_piece_is_cut() -> None:
    parts = split_text("a" + "\u0301" * 50 + "b", 20)
    assert "".join(parts) == "a" + "\u0301" * 50 + "b"
    assert all(frame_bytes(part) <= 20 for part in parts)


def test_crlf_is_not_split() -> None:
    for part in split_text("word\r\n" * 30, 15):
        assert not part.startswith("\n")


def test_a_long_chinese_text_is_split_after_full_stops() -> None:
    parts = split_text("你好，世界。" * 3334, 7000)
    assert all(frame_bytes(part) <= 7000 for part in parts)
    assert all(part.endswith("。") for part in parts)
    assert len(parts) == 9


@given(st.text())
def test_escaped_text_is_read_as_it_was_typed(text: str) -> None:
    shown = escaped(text)
    assert html.unescape(shown) == html.unescape(html.escape(text, quote=False))
    assert "<" not in shown
    assert ">" not in shown


def test_escapes_count_with_their_full_length() -> None:
    assert split_text("&&", 10, html=True) == ("&&",)
    assert split_text("&&", 9, html=True) == ("&", "&")
    assert split_text("<>", 8, html=True) == ("<>",)


def test_escaping_leaves_quotes_alone() -> None:
    assert escaped("""it's "5 > 4" & <b>""") == """it's "5 &gt; 4" &amp; &lt;b&gt;"""


@pytest.mark.parametrize("text", ["null", " null ", "[1]", "{a}", "[微笑]", "{}\n", "[", "{"])
def test_text_that_looks_like_json_is_guarded(text: str) -> None:
    looks_so = len(text.strip()) > 1
    assert guarded(text) == (f"\u200b{text}" if looks_so else text)


@pytest.mark.parametrize("text", ["", "nullify", "a [1]", "{1", "[x}", '"q"', "12"])
def test_text_that_does_not_look_like_json_is_left_alone(text: str) -> None:
    assert guarded(text) == text


@given(st.text(alphabet="<>&ab文😀", max_size=300), st.integers(min_value=5, max_value=90))
def test_pieces_have_room_for_their_escapes(text: str, room: int) -> None:
    """No entity is divided either, as a text is split before it is escaped."""
    pieces = split_text(text, room, html=True)
    assert "".join(pieces) == text
    assert all(frame_bytes(escaped(piece)) <= room for piece in pieces)
    assert "".join(map(escaped, pieces)) == escaped(text)


def test_text_without_visible_characters_is_unseen() -> None:
    assert is_unseen("")
    assert is_unseen(" \t\n\u200b\u3000")
    assert is_unseen("\u2800\u3164\u115f\u1160\uffa0\u034f\ufe0f\ufe0e")
    assert not is_unseen("\u200b.")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("  Mei  Lin ", "Mei Lin"),
        ("Mei\n\r\x1b[31mLin", "Mei [31mLin"),
        ("\u202eniL ieM\u2066", "niL ieM"),
        ("M\u200be\u2060i\ufeff", "Mei"),
        ("\u200b\u200d \u2028\x00", ""),
        ("\u3164", ""),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("Mei 👩\u200d💻", "Mei 👩\u200d💻"),
        ("x" * 100_000, f"{'x' * (LONGEST_NAME - 1)}…"),
        (f"{'x' * 58}👩\u200d👩\u200d👧", f"{'x' * 58}…"),
        (f"{'x' * 57}🇩🇪🇫🇷", f"{'x' * 57}🇩🇪…"),
        (f"{'王' * 40} {'李' * 40}", f"{'王' * 40}…"),
        ("Ann 🏴\U000e0067\U000e0062\U000e007f", "Ann 🏴\U000e0067\U000e0062\U000e007f"),
        ("Ann\U000e0067", "Ann"),
    ],
)
def test_a_name_is_one_line_without_harmful_characters(name: str, shown: str) -> None:
    assert name_line(name) == shown


@pytest.mark.parametrize(
    ("name", "alike"),
    [
        *[(name, True) for name in ("ada", "Ad\u200da", "\uff21da.", "\ufe6bada:b", "\U0001f431")],
        *[(name, False) for name in ("Eve", "", "\U0001f436")],
    ],
)
def test_a_name_that_may_be_taken_for_anothers(name: str, alike: bool) -> None:
    assert looks_like(name, ["Bob", "Ada", "\U0001f431"]) is alike


@pytest.mark.parametrize(("letter", "parts"), [("\U0001f1e6", 17), ("\u0301", 9)])
def test_graphemes_are_looked_back_over_a_limited_length(letter: str, parts: int) -> None:
    """Counting flags back to the start of the text took 190 s for 16 MiB."""
    reads = 0

    class Text(str):
        __slots__ = ()

        def __getitem__(self, at: Any) -> str:
            nonlocal reads
            reads += isinstance(at, int)
            return super().__getitem__(at)

    assert len(split_text(Text(letter * 100_000), 24_000)) == parts
    assert reads < 10_000
