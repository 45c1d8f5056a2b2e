from __future__ import annotations

import difflib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.rooms.references import MAX_PIECES, changes

LONG = "Good morning, my order {} has not come and I wonder where it might be by now."


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("same", "same", ()),
        ("same  words\n", "same words", ()),
        (LONG.format("7411"), LONG.format("4711"), (("order 7411 has", "order 4711 has"),)),
        (
            LONG.format("number 4711"),
            LONG.format("4711"),
            (("order number 4711", "order 4711"),),
        ),
        (
            "你好，我的订单号是七四一一，已经三天了还没有到，请帮我查一下现在到了哪里。",
            "你好，我的订单号是四七一一，已经三天了还没有到，请帮我查一下现在到了哪里。",
            (("是七四一", "是四七一"),),
        ),
        (
            "a first line that stays\n" + "and stays " * 12 + "the end 5",
            "a first line that stays\n" + "and stays " * 12 + "the end 6",
            (("end 5", "end 6"),),
        ),
        (
            "Which one?\n1. Red\n2. Blue",
            "Which one?\n1. Red\n2. Green",
            (("2. Blue", "2. Green"),),
        ),
        ("7411", "4711", None),
        ("order 7411", "order 4711", None),
        ("no", "quite another sentence", None),
        ("a long sentence to begin with", "x", None),
    ],
)
def test_only_what_changed(old: str, new: str, found: tuple[tuple[str, str], ...] | None) -> None:
    assert changes(old, new) == found


def test_two_places_far_apart_are_told_apart() -> None:
    old = "Please send 2 red chairs and one table of oak to my old address by the end of this week"
    new = old.replace("2 red", "3 red").replace("this week", "next week")
    assert changes(old, new) == (
        ("send 2 red", "send 3 red"),
        ("of this week", "of next week"),
    )


def test_of_long_texts_only_little_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is cubic."""
    compared: list[int] = []

    class Counting(difflib.SequenceMatcher[str]):
        def set_seqs(self, a: Sequence[str], b: Sequence[str]) -> None:
            compared.extend((len(a), len(b)))
            super().set_seqs(a, b)

    monkeypatch.setattr(difflib, "SequenceMatcher", Counting)
    lines = [f"line {number} has a good many words in it, as lines have" for number in range(4_000)]
    old = "\n".join(lines)
    lines[200] = "line 200 has few"

    assert changes(old, "\n".join(lines)) == (
        ("has a good many words in it, as lines have\nline", "has few\nline"),
    )
    assert changes("x " * 5_000, "y " * 5_000) is None
    assert changes("x " * 80, "y " * 80) is None
    assert 0 < max(compared) <= MAX_PIECES


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_texts(old: str, new: str) -> None:
    found = changes(old, new)
    if old.split() == new.split():
        assert found == ()
    elif found is not None:
        assert found
        for before, after in found:
            assert before or after
            assert before in old
            assert after in new


@given(st.lists(st.sampled_from(["one", "two", "三", "，", "4.5"]), min_size=30), st.data())
def test_one_word_exchanged_is_found(words: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(words) - 1))
    old = " ".join(words)
    new = " ".join([*words[:at], "CHANGED", *words[at + 1 :]])
    found = changes(old, new)
    assert found is not None
    assert any("CHANGED" in after for _, after in found)
