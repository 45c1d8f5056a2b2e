"""Two lists are compared: whatever only the history has is shown, be it words or none at all."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.effects import Say
from bridge.conversation.inputs import Recalled
from bridge.conversation.marks import MOST_HEARD, MOST_RECALLED
from tests.unit.conversation.centre import Centre, after_an_outage, entry


def told_unsure(centre: Centre) -> int:
    return sum(isinstance(one, Say) and one.key == "outage.unsure" for one in centre.effects)


@pytest.mark.parametrize(
    ("missed", "pushed"),
    [
        ("look <img src='/a.png'>", "look <img src='/b.png'>"),
        ("<img src='/a.png'>", "<img src='/b.png'>"),
        ("[urgent] call me", "[done]"),
    ],
)
def test_what_has_equal_marks_need_not_be_equal(missed: str, pushed: str) -> None:
    centre = after_an_outage(missed)
    centre.now += 1_000
    centre.said(pushed)
    centre.tell()
    assert centre.words == ["hello", pushed, missed]


@pytest.mark.parametrize("numbered", [True, False])
def test_words_that_look_like_a_placeholder_are_shown_beside_a_file(numbered: bool) -> None:
    """The history has both, and one of them was pushed; better one too much than one too little."""
    centre = after_an_outage("[urgent] call me")
    centre.now += 1_000
    centre.pushed_file("/a.pdf")
    centre.entries.append(entry(3, "[file]", centre.now))
    for expected in ([], ["[file]"], ["[file]", "[file]"]):
        if not numbered:
            centre.entries = [msgspec.structs.replace(one, id="") for one in centre.entries]
        centre.tell()
        assert centre.words == ["hello", "[urgent] call me", "[file]", *expected]
        centre.now += 30_000
        centre.entries.append(entry(len(centre.entries) + 1, "[file]", centre.now))
        centre.link_back()


def test_more_was_said_than_is_remembered() -> None:
    """While the history cannot be had the agent talks on: what was missed is older than all marks.

    It can be told from what was shown and forgotten no more, so the customer is told.
    """
    centre = after_an_outage("missed")
    for number in range(MOST_HEARD):
        centre.now += 1_000
        centre.said(f"word {number}")
    centre.tell()
    assert centre.words == ["hello", *(f"word {number}" for number in range(MOST_HEARD))]
    assert told_unsure(centre) == 1


def test_more_was_missed_than_a_history_tells() -> None:
    centre = after_an_outage(*(f"word {number}" for number in range(MOST_RECALLED + 1)))
    ask = centre.asked_for[-1]
    told = tuple(centre.entries[-MOST_RECALLED:])
    centre.happen(Recalled(ask.session_id, ask.since, told))
    assert centre.words == ["hello", *(line.html for line in told)]
    assert told_unsure(centre) == 1


def test_a_history_that_goes_back_far_enough_leaves_no_doubt() -> None:
    centre = after_an_outage(*(f"word {number}" for number in range(MOST_RECALLED - 1)))
    centre.tell()
    assert len(centre.entries) == MOST_RECALLED
    assert len(centre.words) == MOST_RECALLED
    assert told_unsure(centre) == 0
