"""Chats that began under a version of ours that did not mark what it had shown (`history`)."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.events import Resumed
from bridge.conversation.history import SETTLING
from bridge.conversation.model import Chatting
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
    centre.state = msgspec.structs.replace(centre.state, phase=earlier, heard=())
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
