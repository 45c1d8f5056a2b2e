"""Long texts in pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.webchat.splitting import frame_bytes, split_text

FAMILY = "👨‍👩‍👧‍👦"
FLAG = "🇨🇳"
PIECES = st.sampled_from(
    [*"ab \n\t\r\0。，'\"\\", "你", "é", "e\u0301", FAMILY, FLAG, "👍🏽", "❤️", "\u200d", "\u3000"]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=60).map("".join)


def dumped(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


@given(st.text())
def test_frame_bytes_is_what_json_takes(text: str) -> None:
    assert frame_bytes(text) == dumped(text)


def test_half_a_pair_counts_as_its_replacement() -> None:
    assert frame_bytes("\ud83d") == 3


@given(TEXTS, st.integers(-3, 80))
def test_nothing_is_lost_and_no_piece_is_blank(text: str, max_bytes: int) -> None:
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
def test_what_looks_like_one_character_stays_whole(drawn: list[str]) -> None:
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
    ],
)
def test_examples(text: str, max_bytes: int, parts: tuple[str, ...]) -> None:
    assert split_text(text, max_bytes) == parts


def test_a_character_too_long_for_any_piece_is_cut_all_the_same() -> None:
    parts = split_text("a" + "\u0301" * 50 + "b", 20)
    assert "".join(parts) == "a" + "\u0301" * 50 + "b"
    assert all(frame_bytes(part) <= 20 for part in parts)


def test_line_ends_of_two_characters_stay_whole() -> None:
    for part in split_text("word\r\n" * 30, 15):
        assert not part.startswith("\n")


def test_twenty_thousand_chinese_characters() -> None:
    parts = split_text("你好，世界。" * 3334, 7000)
    assert all(frame_bytes(part) <= 7000 for part in parts)
    assert all(part.endswith("。") for part in parts)
    assert len(parts) == 9
