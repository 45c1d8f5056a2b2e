"""The same message by push and by history, or pushed twice; and what only looks the same."""

from __future__ import annotations

import pytest

from bridge.conversation.history import AWAITED, REPEATED_WITHIN
from tests.unit.conversation.centre import after_an_outage, chat


def test_a_late_push_of_what_the_history_told() -> None:
    centre = after_an_outage("one")
    centre.tell()
    centre.now += 1_000
    centre.pushed("one")
    assert centre.words == ["hello", "one"]
    centre.tell()  # it might have been said anew: the history knows
    assert centre.words == ["hello", "one"]
    assert centre.state.recall is None


def test_the_same_words_said_anew_are_shown_after_all() -> None:
    centre = after_an_outage("ok")
    centre.tell()
    centre.now += 1_000
    centre.said("ok")
    assert centre.words == ["hello", "ok"]
    centre.tell()
    assert centre.words == ["hello", "ok", "ok"]


def test_after_a_while_nobody_pushes_what_was_missed() -> None:
    centre = after_an_outage("ok")
    centre.tell()
    centre.now += AWAITED + 1
    centre.said("ok")
    assert centre.words == ["hello", "ok", "ok"]


def test_a_push_may_be_in_front_of_the_history() -> None:
    centre = after_an_outage("one", "two")
    centre.pushed("one")
    centre.pushed("two")
    centre.tell()
    assert centre.words == ["hello", "one", "two"]


def test_a_repeat_after_a_new_link_is_one_message() -> None:
    """Trap T34."""
    centre = chat()
    centre.said("hello")
    centre.now += 1_000
    centre.link_back()
    centre.now += 1_000
    centre.pushed("hello")
    assert centre.words == ["hello"]
    centre.now += 100
    centre.pushed("hello")
    assert centre.words == ["hello", "hello"], "a third one is a message of its own"


def test_pictures_are_no_repeats_of_one_another() -> None:
    """Trap T34: equal to the last byte, and not just as wordless."""
    centre = chat()
    centre.pushed_file("/up/1")
    centre.now += 1_000
    centre.link_back()
    centre.now += 1_000
    centre.pushed_file("/up/2")
    centre.pushed_file("/up/1")
    assert centre.files == ["/up/1", "/up/2"]


def test_a_picture_is_shown_though_the_history_told_of_one() -> None:
    centre = after_an_outage("[图片]")
    centre.tell()
    centre.now += 1_000
    centre.pushed_file("/up/1")
    assert centre.words == ["hello", "[图片]"]
    assert centre.files == ["/up/1"]
    centre.link_back()
    centre.tell()
    assert centre.words == ["hello", "[图片]"], "they were one"
    centre.now += 1_000
    centre.said("[图片]", heard=False)
    centre.now += 1_000
    centre.link_back()
    centre.tell()
    assert centre.words == ["hello", "[图片]", "[图片]"], "this one was missed"


@pytest.mark.parametrize(
    ("wait", "numbered", "cut"),
    [(REPEATED_WITHIN + 1, False, True), (1_000, True, True), (1_000, False, False)],
    ids=["later", "with a receipt id", "on the same link"],
)
def test_what_is_no_repeat(wait: int, numbered: bool, cut: bool) -> None:
    """Trap T34: only within 3 s, only without receipts, only over a new link."""
    centre = chat()
    centre.said("hello")
    if cut:
        centre.now += 500
        centre.link_back()
    centre.now += wait - 500
    centre.pushed("hello", numbered=numbered)
    assert centre.words == ["hello", "hello"]
