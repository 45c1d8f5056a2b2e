"""Rows of earlier versions: omitted defaults, spelt values, and marks in the old form."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import pytest

from bridge.conversation import model
from bridge.conversation.history import shown_lately
from bridge.conversation.model import Conversation
from bridge.webchat import codes, frames
from bridge.webchat.codes import FailureReason, Silence
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
def test_marks_of_an_earlier_version_are_recognised(at_once: bool) -> None:
    """Nothing is shown twice, not even an awaited push; a missed message is shown."""
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


def test_marks_of_an_earlier_version_are_stored_in_the_new_form() -> None:
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


STORED: list[type[msgspec.Struct]] = [
    kind
    for module in (model, frames)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    if kind.__module__ == module.__name__
]
LEFT_OUT = {
    "CustomerMedia.mime": "application/octet-stream",
    "Held.last": True,
    "Conversation.phase": model.Idle(),
    "Conversation.next_call": 1,
    "Conversation.marks": model.Marks(),
    "CallFailed.certain": True,
    "Consulted.silence": Silence.NOTHING,
    "Recalled.kept": True,
    "Location.map": "baidu",
    "RequestChat.source": "APP",
}
REASONS = """unreachable no_turn no_answer silent login_refused sign_refused too_big media_gone
media_away media_changed internal refused upload_failed overtaken"""


def test_defaults_omitted_from_rows_do_not_change() -> None:
    """Rows omit defaults: changing one would change what is stored."""
    found = {
        f"{kind.__name__}.{field.name}": field.default
        for kind in STORED
        for field in msgspec.structs.fields(kind)
        if field.default not in {msgspec.NODEFAULT, False, None, "", b"", ()}
    }
    assert found == LEFT_OUT


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.__name__)
def test_a_stored_value_is_frozen_and_tagged(kind: type[msgspec.Struct]) -> None:
    told, bare = kind.__struct_config__, kind in {model.Heard, model.MarkDetail, model.Marks}
    assert (told.frozen, told.array_like, told.omit_defaults) == (True, bare, not bare)
    assert (told.tag_field, told.tag) == ((None, None) if bare else ("is", kind.__name__))


@pytest.mark.parametrize(
    ("names", "spelt"),
    [
        (FailureReason, REASONS),
        (Silence, "nothing unreachable"),
        (codes.RobotUse, "off command first when_no_agent"),
        (codes.LoginType, "password register visitor"),
        (codes.UploadMode, "raw multipart auto"),
    ],
)
def test_stored_enum_values_keep_their_spelling(names: type[StrEnum], spelt: str) -> None:
    assert list(names) == spelt.split()
