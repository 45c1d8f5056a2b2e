"""A test room in a chat, and the messages its agent receives."""

from __future__ import annotations

import msgspec

from bridge.conversation.model import CallWebChat, Phase
from bridge.conversation.model import CustomerMedia as Media
from bridge.conversation.model import CustomerText as Text
from bridge.ids import EventId
from bridge.rooms.people import Standing
from bridge.rooms.ports import Corrected, RoomEvent
from bridge.rooms.reader import Facts, read_command, receive
from bridge.rooms.record import RoomSettings
from bridge.rooms.references import Earlier
from bridge.rooms.rules import Rules
from bridge.webchat.frames import Content, SendMessage
from bridge.webchat.frames import Text as WireText
from tests.unit.rooms.visits import ADA, RULES, House

X, EVENT = EventId("$x"), EventId("$new")
IMAGE = Media("image", "cat.png", "mxc://h/cat", "image/png")
LONG = "Good morning, my order 7411 has not come and I wonder where it might be by now."


def said(text: str) -> Earlier:
    """A customer's earlier text, as the reader recalls it."""
    return Earlier(text, Text(text), command=text.startswith("!wc"))


class Desk(House):
    """A room in a chat, in English, and the messages its agent receives."""

    def __init__(self, rules: Rules = RULES) -> None:
        super().__init__(rules)
        self.served().chat()
        self.visit.set(settings=RoomSettings(language="en"))

    def happen(self, meaning: RoomEvent, earlier: Earlier | None = None) -> None:
        command = read_command(self.visit, meaning)
        facts = Facts(self.now, Standing.ORDINARY, earlier)
        receive(self.visit, meaning, {}, facts, command=command)

    def phase(self, phase: Phase) -> Desk:
        conversation = msgspec.structs.replace(self.record.conversation, phase=phase)
        self.visit.set(conversation=conversation)
        return self

    @property
    def sent(self) -> list[Content]:
        """Contents sent to the agent, then the texts held until the running call is answered."""
        gone = [
            one.command.content
            for one in self.effects
            if isinstance(one, CallWebChat) and isinstance(one.command, SendMessage)
        ]
        kept = [one.content for one in self.record.conversation.held]
        return [*gone, *(WireText(one.text) for one in kept if isinstance(one, Text))]

    @property
    def read(self) -> list[str]:
        return [one.text for one in self.sent if isinstance(one, WireText)]


def fix(text: str, event: EventId = EVENT) -> Corrected:
    """A correction of the message X."""
    return Corrected(event, ADA, X, Text(text), text)
