"""Three notations of 105 faces."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.webchat.emoji import _FACES, catalogue, decode, encode, qqemoji

CODES = [code for code, _, _ in _FACES]


def test_the_table_is_whole() -> None:
    assert len(_FACES) == 105
    assert len(set(CODES)) == 105
    names = [name for _, names, _ in _FACES for name in names.split("/")]
    assert len(set(names)) == len(names)
    assert all(code.startswith("/:") for code in CODES)


def test_no_code_begins_another() -> None:
    assert not [(a, b) for a in CODES for b in CODES if a != b and b.startswith(a)]


def test_the_codes_that_html_would_swallow_are_those_of_the_reference() -> None:
    dangerous = {index for index, code in enumerate(CODES) if set(code) & set("<>&")}
    assert dangerous == {5, 28, 43, 45, 46, 48, 56, 91, 94, 103, 104}


def test_every_notation_of_every_face() -> None:
    wrong = []
    for index, (code, names, face) in enumerate(_FACES):
        assert qqemoji(index) == face
        forms = [code, html.escape(code), html.escape(code, quote=False)]
        forms += [f"[{name}]" for name in names.split("/")]
        forms += [f'<img class="qqemoji qqemoji{index}" src="spacer.gif">']
        wrong += [form for form in forms if decode(f"a {form} b{form}") != f"a {face} b{face}"]
    assert wrong == []


@pytest.mark.parametrize("index", [-1, 105, 999])
def test_no_such_face(index: int) -> None:
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
        ('<IMG CLASS="qqemoji qqemoji999">', '<IMG CLASS="qqemoji qqemoji999">'),
        ('<img class="qqemoji qqemoji999">', '<img class="qqemoji qqemoji999">'),
        ("", ""),
    ],
)
def test_traps(text: str, expected: str) -> None:
    assert decode(text) == expected


@given(st.text(st.characters()))
def test_text_without_marks_is_left_alone(text: str) -> None:
    assert decode(text) == text or "/:" in text or "[" in text or "<" in text


@given(st.lists(st.sampled_from([*CODES, "<img ", 'href="', ">", "[", "&lt;", "a", '"'])))
def test_decode_never_raises(parts: list[str]) -> None:
    decode("".join(parts))


def test_long_hostile_text_takes_linear_time() -> None:
    for piece in ("<img qqemoji1 ", "href='", 'src="x', "/:&amp;", "[", "<img "):
        assert decode(piece * 20_000)


def test_the_catalogue_is_what_is_decoded() -> None:
    faces = catalogue()
    assert len(faces) == 105
    for index, (code, names, face) in enumerate(faces):
        assert {face} == {qqemoji(index), decode(code), *map(decode, _bracketed(names))}


def _bracketed(names: str) -> list[str]:
    return [f"[{name}]" for name in names.split("/")]


def test_every_face_has_a_code_that_is_read_as_it() -> None:
    wrong = []
    for _, _, face in catalogue():
        for text in (face, f"a {face} b", f"{face}{face}", f"{face}north", f"é{face}"):
            written = encode(text)
            if face in written or decode(written).replace(" ", "") != text.replace(" ", ""):
                wrong.append(text)
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("👍🏽 and ❤", "/:strong and /:heart"),
        ("❤️x", "/:heart x"),
        ("👨‍❤️‍👨", "👨‍❤️‍👨"),
        ("🦊 has none", "🦊 has none"),
        ("no face", "no face"),
    ],
)
def test_what_is_written_for_a_desk_with_codes(text: str, written: str) -> None:
    assert encode(text) == written
