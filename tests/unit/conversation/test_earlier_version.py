"""Chats that began under earlier versions, which made no marks of what was shown, or other ones."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.history import SETTLING, shown_lately
from bridge.conversation.model import Chatting, Conversation, Marks, Resumed
from tests.support.scene import SESSION
from tests.unit.conversation.centre import Centre, entry


def of_an_earlier_version(*words: str) -> Centre:
    """A chat in which nothing was marked."""
    centre = Centre()
    centre.begin()
    centre.now += 60_000
    for text in words:
        centre.said(text)
    phase = centre.state.phase
    assert isinstance(phase, Chatting)
    earlier = msgspec.structs.replace(phase, marked=False)
    centre.state = msgspec.structs.replace(centre.state, phase=earlier, marks=Marks())
    return centre


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("pause", [0, 600_000])
def test_a_chat_that_began_under_an_earlier_version(restart: bool, pause: int) -> None:
    """Its words are not shown a second time; those that follow are compared as always."""
    centre = of_an_earlier_version("hello", "one")
    centre.now += pause
    if restart:
        centre.happen(Resumed())
    centre.link_back()
    centre.later(SETTLING / 1000)
    centre.pushed("pushed again, for want of a receipt", numbered=True)
    centre.entries.append(entry(3, "pushed again, for want of a receipt", centre.now))
    centre.entries.append(entry(4, "without a time", 0))
    centre.tell()
    assert centre.words == ["hello", "one", "pushed again, for want of a receipt"]
    centre.now += pause + 1
    centre.said("missed", heard=False)
    centre.link_back()
    centre.tell()
    assert centre.words[3:] == ["missed"]


def test_a_chat_of_an_earlier_version_that_has_ended_meanwhile() -> None:
    centre = of_an_earlier_version("hello")
    centre.link_back()
    centre.push(205, sessionId=SESSION)
    centre.tell()
    assert centre.words == ["hello"]


HEARD = b"""
{"is":"Conversation","phase":{"is":"Chatting","session_id":5150,"since":1733011200000,"queue_id":7,
"agents":[{"is":"Agent","id":"K00017","name":"Mei","comments":"tier 1"}],"request_id":9001,
"marked":true},"number":1,"next_call":2,"last_session":5150,"last_request":9001,"heard":[
[1733011260000,"fe964f09860b","",0,"c0d3357379d7",5150],
[1733011280000,"d0b57b6316b0","2",1733011420000,"",null],
[1733011305000,"f89480fab245","",0,"ed844e2c0e28",5150],
[1733011310000,"d2aaec2eae98","",0,"cd30fa98b676",null]],"linked_at":1733011300000}
"""
"""Mei said "hello", "missed & seen" while the link was away, "one more" and a file `/a.pdf`."""


def of_a_version_with_marks_in_full() -> Centre:
    centre = Centre()
    centre.now = 1_733_011_310_000
    centre.state = msgspec.json.decode(HEARD, type=Conversation)
    centre.entries = [
        entry(1, "hello", 1_733_011_260_000),
        entry(2, "missed & seen", 1_733_011_280_000),
        entry(3, "one more", 1_733_011_305_000),
        entry(4, "[file]", 1_733_011_310_000),
    ]
    return centre


@pytest.mark.parametrize("at_once", [True, False])
def test_marks_of_an_earlier_version_are_known(at_once: bool) -> None:
    """Nothing is shown again, nor a push that was awaited; what is missed is."""
    centre = of_a_version_with_marks_in_full()
    if not at_once:
        centre.now += 1_000
        centre.said("first word under the new version")
        assert centre.state.heard == ()
        assert len(shown_lately(centre.state)) == 5
    centre.now += 20_000
    centre.said("missed", heard=False)
    centre.link_back()
    centre.tell()
    assert centre.words[0 if at_once else 1 :] == ["missed"]
    centre.pushed("missed & seen")
    assert centre.words[-1] == "missed"
    assert centre.notices == []


def test_marks_of_an_earlier_version_are_stored_anew_with_all_that_they_say() -> None:
    centre = of_a_version_with_marks_in_full()
    before = shown_lately(centre.state)
    assert [(one.at, one.id, one.awaited, bool(one.exact), one.session) for one in before] == [
        (1_733_011_260_000, "", 0, True, SESSION),
        (1_733_011_280_000, "2", 1_733_011_420_000, False, None),
        (1_733_011_305_000, "", 0, True, SESSION),
        (1_733_011_310_000, "", 0, True, None),
    ]
    centre.pushed("and so on")
    stored = msgspec.json.decode(msgspec.json.encode(centre.state), type=Conversation)
    assert stored.heard == ()
    assert shown_lately(stored)[:-1] == before
