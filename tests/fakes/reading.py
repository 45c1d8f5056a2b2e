"""A fake homeserver with real Matrix events and with files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec

from bridge.conversation.model import CustomerMedia
from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.matrix import events, render
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Blob, Meaning, Notice, Part, Refused, Relayed, RelayedMedia, TooBig
from bridge.rooms.record import Thread
from bridge.rooms.rules import Rules
from bridge.rooms.surroundings import Surroundings
from bridge.webchat.frames import Agent, AgentLocation, AgentMedia, AgentText
from tests.fakes.house import ROOM, Counts, World
from tests.fakes.matrix import FakeMatrix
from tests.unit.rooms.visits import ADA, BOT, RULES

OURS = OurUsers("example.org", "webchatbot", "webchat_{agent}", (QueueId(1),))
Json = dict[str, object]


class Shown(msgspec.Struct, frozen=True):
    """A relayed agent message."""

    event_id: EventId
    what: str
    """The HTML fragment, the file's content, or the place."""
    kind: str = "text"
    thread: Thread | None = None


class ReadingMatrix(FakeMatrix):
    """A FakeMatrix that interprets raw events with the bridge's own code.

    Attributes:
        files: content by mxc address.
        shown: relayed agent messages, in order, without repeats.
        notices: notices of the bridge.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.shown: list[Shown] = []
        self.notices: list[Notice] = []

    def interpret(self, raw: Json) -> Meaning:
        return events.interpret(raw, OURS)

    def pieces(
        self, fragment: str, absolute: Callable[[str], str]
    ) -> tuple[AgentText | AgentMedia, ...]:
        return render.pieces(fragment, absolute)

    async def relay(
        self,
        room_id: RoomId,
        host: object,
        agent: Agent,
        what: Relayed,
        txn_id: str,
        *,
        thread: Thread | None = None,
        mentions: tuple[UserId, ...] = (),
    ) -> tuple[Part, ...]:
        kind, text = "text", ""
        match what:
            case AgentText():
                text = what.html
            case RelayedMedia():
                text = b"".join([chunk async for chunk in what.blob.chunks]).decode()
                kind = what.kind
            case AgentLocation():
                kind, text = "location", f"{what.latitude},{what.longitude} {what.map}"
        (part,) = await super().relay(
            room_id, BOT, agent, AgentText(text), txn_id, mentions=mentions
        )
        shown = Shown(part.event_id, text, kind, thread)
        if shown not in self.shown:
            self.shown.append(shown)
        return (part,)

    async def say(self, room_id: RoomId, sender: object, notice: Notice, txn_id: str) -> EventId:
        self.notices.append(notice)
        return await super().say(room_id, BOT, notice, txn_id)

    @asynccontextmanager
    async def _open(self, media: CustomerMedia, limit: int) -> AsyncIterator[Blob]:
        data = self.files.get(media.mxc)
        if data is None:
            raise Refused("M_NOT_FOUND")
        if len(data) > limit:
            raise TooBig("too big")

        yield Blob.of(data, media.mime, media.name)

    def download(self, media: CustomerMedia, limit: int) -> AbstractAsyncContextManager[Blob]:
        return self._open(media, limit)


class TellingCounts(Counts):
    """Counts that signal each settled row.

    Attributes:
        news: set whenever a row is settled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    def settled(self, labels: tuple[str, ...]) -> None:
        super().settled(labels)
        self.news.set()


class ReadingWorld(World):
    """A `World` with real Matrix events."""

    def __init__(self, rules: Rules = RULES) -> None:
        super().__init__(rules=rules)
        self.counts: TellingCounts = TellingCounts()
        self.reading = ReadingMatrix()
        self.matrix = self.reading
        self.around = Surroundings(
            self.store,
            self.matrix,
            self.link,
            self.clock,
            self.around.rules,
            self.counts,
            self.around.conversions,
            instance=self.around.instance,
        )

    def message(self, event_id: str, **content: object) -> tuple[RoomId, EventId, Json]:
        """Return a customer's m.room.message for `Engine.accept_events`."""
        return self.real("m.room.message", event_id, content)

    def real(
        self, kind: str, event_id: str, content: Json, **more: object
    ) -> tuple[RoomId, EventId, Json]:
        """Return a customer's event for `Engine.accept_events`."""
        raw: Json = {"type": kind, "event_id": event_id, "sender": ADA, "content": content}
        return ROOM, EventId(event_id), raw | more
