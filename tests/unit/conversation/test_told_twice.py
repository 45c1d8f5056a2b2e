"""One message by push and by history, or pushed twice; and messages that only look equal."""

from __future__ import annotations

import pytest

from bridge.conversation.history import AWAITED, REPEATED_WITHIN
from tests.unit.conversation.centre import after_an_outage, chat


def test_a_late_push_of_a_message_from_the_history_is_not_shown_again() -> None:
    centre = after_an_outage("one")
    centre.tell()
    centre.now += 1_000
    centre.pushed("one")
    assert centre.words == ["hello", "one"]
    centre.tell()  # it might be a new message: the history knows
    assert centre.words == ["hello", "one"]
    assert centre.state.recall is None


def test_an_equal_new_message_is_shown_once_the_history_tells_it() -> None:
    centre = after_an_outage("ok")
    centre.tell()
    centre.now += 1_000
    centre.said("ok")
    assert centre.words == ["hello", "ok"]
    centre.tell()
    assert centre.words == ["hello", "ok", "ok"]


def test_long_after_an_outage_an_equal_push_is_a_new_message() -> None:
    centre = after_an_outage("ok")
    centre.tell()
    centre.now += AWAITED + 1
    centre.said("ok")
    assert centre.words == ["hello", "ok", "ok"]


def test_pushes_before_the_history_are_not_shown_twice() -> None:
    centre = after_an_outage("one", "two")
    centre.pushed("one")
    centre.pushed("two")
    centre.tell()
    assert centre.words == ["hello", "one", "two"]


def test_a_repeat_over_a_new_link_is_shown_once() -> None:
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


def test_different_pictures_are_no_repeats() -> None:
    """Trap T34: repeats are equal to the last byte, not just in their text."""
    centre = chat()
    centre.pushed_file("/up/1")
    centre.now += 1_000
    centre.link_back()
    centre.now += 1_000
    centre.pushed_file("/up/2")
    centre.pushed_file("/up/1")
    assert centre.files == ["/up/1", "/up/2"]


def test_a_picture_is_shown_even_if_the_history_told_of_one() -> None:
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
def test_equal_messages_that_are_no_repeats(wait: int, numbered: bool, cut: bool) -> None:
    """Trap T34: only within 3 s, only without receipts, only over a new link."""
    centre = chat()
    centre.said("hello")
    if cut:
        centre.now += 500
        centre.link_back()
    centre.now += wait - 500
    centre.pushed("hello", numbered=numbered)
    assert centre.words == ["hello", "hello"]
