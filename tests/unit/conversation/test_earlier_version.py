"""Chats that began under an earlier version, which stored other marks of what was shown."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.history import shown_lately
from bridge.conversation.model import Conversation
from tests.support.scene import SESSION
from tests.unit.conversation.centre import Centre, entry

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
