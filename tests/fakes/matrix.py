"""A fake homeserver: it keeps sent events, one per transaction id, and fails on demand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec

from bridge.conversation.model import Args, CustomerMedia, CustomerText, Reported
from bridge.ids import AgentId, EventId, RoomId, UserId
from bridge.matrix.render import declined
from bridge.rooms.ports import (
    AgentInvited,
    Blob,
    Corrected,
    EditableNotice,
    Entry,
    Invited,
    Meaning,
    MemberGone,
    MemberJoined,
    Nothing,
    Notice,
    NoticeText,
    Part,
    Poll,
    PollAnswered,
    Recorded,
    Refused,
    Relayed,
    RoomConfigured,
    Spoke,
    Status,
    Undecryptable,
    Unreadable,
    Upgraded,
    Withdrew,
)
from bridge.rooms.record import Entered, Person, Thread
from bridge.webchat.frames import Agent, AgentMedia, AgentText


class Posted(msgspec.Struct, frozen=True):
    """An event that the bridge sent."""

    event_id: EventId
    room_id: RoomId
    sender: UserId
    text: str
    reply_to: EventId | None = None
    edits: EventId | None = None
    editable: bool = False
    mentions: tuple[UserId, ...] = ()
    ping: bool = False
    """True for a notice that is sent as a message."""


class SentFile(msgspec.Struct, frozen=True):
    """A file that the bridge sent."""

    name: str
    mime: str
    data: bytes
    caption: str = ""


async def at_once() -> None:
    """Do nothing: the default of `disturb`."""


class FakeMatrix:
    """Implements `ports.MatrixPort`. Raw events are `{"event_id", "kind", "sender", …}`.

    Attributes:
        posted: events sent by the bridge, in order.
        people: members found in a room on entering it.
        requests: transaction id or description of each request, with repeats.
        trouble: exceptions raised by the next requests, in order.
        gate: requests wait until it is set.
        answering: sends are visible at once, but answered only once it is set.
        disturb: awaited before and after each request.
        poison: ids of events that `interpret` fails on.
        ours: predicate of `limit_to`: rooms and users served by this process.
        forgotten: arguments of `forget`: rooms and person whose keys are dropped from memory.
        earlier: raw events found in a room on entering it.
        config: configuration found in a room on entering it, and its author.
        members: rooms and the bridge users in them.
        pictures: source of each agent's picture.
        named: room and users of each `name_service_members`; True if none of them had joined.
        reasons: reason shown when a bridge user left a room.
        foreign: hosts that turned out to be accounts of someone else.
        level: power level of everybody who is not in `levels`.
        sign_trouble: exceptions raised by the next receipts, in order.
        signs: typing notices (seconds) and read receipts (event id) of bridge users.
        room: events of the room, oldest first; key `recorded` of an event: its `Recorded`.
        sent_files: files sent by `send_file`.
        polls: polls sent, each once.
        configured: configuration state event by room; writing one needs a `level` of 50.
        redacted: redacted events; others' events need a `level` of 50.
        event_ids: format of the event ids.
        replaced: upgraded rooms, in which the bridge may not send.
        muted: rooms in which the bridge may not send, by their power levels.
        hosts: bot or queue user in a room, where it matters.
        hiding: whether the events pushed are soft-failed.
        unreadable: rooms, and the bridge users that cannot read them.
    """

    def __init__(self, disturb: Callable[[], Awaitable[None]] = at_once) -> None:
        self.posted: list[Posted] = []
        self.requests: list[str] = []
        self.trouble: deque[Exception] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.answering = asyncio.Event()
        self.answering.set()
        self.disturb = disturb
        self.poison: set[str] = set()
        self.earlier: list[dict[str, object]] = []
        self.people: tuple[Person, ...] = ()
        self.ours: Callable[[str], bool] = lambda one: True
        self.told: list[str] = []
        self.forgotten: list[tuple[tuple[RoomId, ...], UserId | None]] = []
        self.members: set[tuple[RoomId, UserId]] = set()
        self.pictures: dict[AgentId, str] = {}
        self.ghosts: dict[str, str] = {}
        """Prefix of the agents' users by call centre, if another than `webchat`."""
        self.named: list[tuple[RoomId, tuple[UserId, ...], bool]] = []
        self.reasons: dict[tuple[RoomId, UserId], str] = {}
        self.config: tuple[dict[str, object], UserId] | None = None
        self.foreign: set[UserId] = set()
        self.level = 0.0
        self.levels: dict[UserId, float] = {}
        self.sign_trouble: deque[Exception] = deque()
        self.signs: list[tuple[RoomId, UserId, float | EventId]] = []
        self.event_ids = "$ours{}"
        self.room: list[dict[str, object]] = []
        self.newcomers: set[UserId] = set()
        self.sent_files: list[SentFile] = []
        self.configured: dict[RoomId, dict[str, object]] = {}
        self.bridged: dict[RoomId, dict[str, object]] = {}
        self.bridges_written: list[RoomId] = []
        self.redacted: list[EventId] = []
        self.statuses: list[tuple[RoomId, Status, str]] = []
        self.polls: list[Poll] = []
        self.replaced: set[RoomId] = set()
        self.muted: set[RoomId] = set()
        self.hosts: dict[RoomId, UserId] = {}
        self.hiding = False
        self.unreadable: set[tuple[RoomId, UserId]] = set()
        self._by_transaction: dict[tuple[RoomId, str], Posted] = {}
        self._found: dict[str, Posted] = {}

    def texts(self, room_id: RoomId) -> list[str]:
        """Return all texts sent by the bridge to a room, in order."""
        return [one.text for one in self.posted if one.room_id == room_id]

    # --- reading ----------------------------------------------------------------------------

    def is_ours(self, user_id: str) -> bool:
        return user_id.startswith("@webchat")

    async def open(
        self, raw: dict[str, object], patience: float | None = None, *, ask: bool = True
    ) -> dict[str, object] | Undecryptable:
        del patience, ask
        await self.disturb()
        return raw

    def invalidate(self, raw: dict[str, object]) -> None:
        self.told.append(str(raw["event_id"]))

    async def limit_to(self, ours: Callable[[str], bool]) -> None:
        self.ours = ours

    def forget(self, rooms: Collection[RoomId], person: UserId | None = None) -> None:
        self.forgotten.append((tuple(rooms), person))

    def interpret(self, raw: dict[str, object]) -> Meaning:
        event_id = EventId(str(raw["event_id"]))
        sender = UserId(str(raw.get("sender", "")))
        if event_id in self.poison:
            raise KeyError(event_id)
        match raw["kind"]:
            case "invite":
                return Invited(sender, UserId(str(raw["whom"])), direct=True)
            case "agent":
                direct = raw.get("direct") is True
                return AgentInvited(event_id, sender, UserId(str(raw["whom"])), direct)
            case "gone":
                return MemberGone(UserId(str(raw.get("whom", sender))))
            case "came":
                return MemberJoined(sender)
            case "say":
                text = str(raw["text"])
                thread = None if "thread" not in raw else EventId(str(raw["thread"]))
                return Spoke(event_id, sender, CustomerText(text), plain=text, thread=thread)
            case "edit":
                text, target = str(raw["text"]), EventId(str(raw["target"]))
                return Corrected(event_id, sender, target, CustomerText(text), text)
            case "file":
                media = CustomerMedia("file", "a.txt", "mxc://example.org/a")
                return Spoke(event_id, sender, media)
            case "unreadable":
                args: Args = {"rings": 1} if "rings" in raw else {}
                return Unreadable(event_id, sender, str(raw.get("key", "unreadable.kind")), args)
            case "configure":
                content = raw["content"]
                assert isinstance(content, dict)
                return RoomConfigured(event_id, sender, content)
            case "vote":
                target, answer = EventId(str(raw["target"])), str(raw["answer"])
                return PollAnswered(event_id, sender, target, answer)
            case "withdraw":
                return Withdrew(event_id, sender, EventId(str(raw["target"])))
            case "upgraded":
                return Upgraded(RoomId(str(raw["into"])))
            case _:
                return Nothing()

    # --- rooms ------------------------------------------------------------------------------

    async def find_markers(self, room_id: RoomId, reader: UserId, since: int) -> None:
        await self._request(f"look back {room_id} {reader} {since}")
        if (room_id, reader) in self.unreadable:
            raise Refused("M_FORBIDDEN")
        for (room, txn_id), posted in self._by_transaction.items():
            if room == room_id:
                self._found[txn_id] = posted

    def serves(self, user: UserId) -> bool:
        return user not in self.foreign

    async def enter(
        self, room_id: RoomId, host: UserId, inviter: UserId, *, encrypt: bool = False
    ) -> Entry:
        del encrypt
        await self._request(f"enter {room_id}")
        self.members.add((room_id, host))
        config, configured_by = self.config or (None, UserId(""))
        name = str(inviter)
        found = Entered(
            displayname=name, config=config, people=self.people, configured_by=configured_by
        )
        return Entry(tuple(self.earlier), found)

    async def leave(self, room_id: RoomId, who: UserId, reason: str = "") -> None:
        await self._request(f"leave {room_id} {who}")
        self.members.discard((room_id, who))
        self.reasons[room_id, who] = reason

    async def event(
        self, room_id: RoomId, reader: UserId, event_id: EventId
    ) -> dict[str, object] | None:
        await self._request(f"read {event_id} in {room_id}")
        here = [raw for raw in self.room if raw.get("room_id", room_id) == room_id]
        here += [{"event_id": one.event_id, "sender": one.sender} for one in self.posted]
        return next((raw for raw in here if raw.get("event_id") == event_id), None)

    async def is_hidden(self, room_id: RoomId, reader: UserId, event_id: EventId) -> bool:
        await self._request(f"is {event_id} hidden in {room_id}")
        return self.hiding

    async def power_levels(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> dict[UserId, float]:
        await self._request(f"level {room_id} {host} {users[0]}")
        return {user: self.levels.get(user, self.level) for user in users}

    # --- sending ----------------------------------------------------------------------------

    async def show_panel(
        self,
        room_id: RoomId,
        host: UserId,
        url: str,
        name: str,
        former: tuple[RoomId, UserId] | None = None,
    ) -> None:
        await self._request(f"panel {room_id} {host} {url} {name} {former}")

    async def configuration(self, room_id: RoomId, reader: UserId) -> dict[str, object] | None:
        await self._request("configuration")
        return self.configured.get(room_id)

    async def configure(self, room_id: RoomId, sender: UserId, content: dict[str, object]) -> None:
        await self._request("configure")
        if self.level < 50:
            raise Refused("M_FORBIDDEN")
        self.configured[room_id] = content

    async def show_bridge(
        self, room_id: RoomId, host: UserId, key: str, content: dict[str, object]
    ) -> None:
        del host, key
        if self.level < 50:
            raise Refused("M_FORBIDDEN")
        if self.bridged.get(room_id) != content:
            self.bridged[room_id] = content
            self.bridges_written.append(room_id)

    async def is_replaced(self, room_id: RoomId, reader: UserId) -> bool:
        await self._request(f"is {room_id} replaced for {reader}")
        return room_id in self.replaced

    async def host_in(self, room_id: RoomId) -> UserId | None:
        await self._request(f"who of us is in {room_id}")
        return self.hosts.get(room_id)

    async def is_muted(self, room_id: RoomId, host: UserId, *, encrypted: bool) -> bool:
        del encrypted
        await self._request(f"is {host} muted in {room_id}")
        return room_id in self.muted

    async def say(self, room_id: RoomId, sender: UserId, notice: Notice, txn_id: str) -> EventId:
        if isinstance(notice, EditableNotice):
            new = Posted(
                EventId(""), room_id, sender, notice.text, edits=notice.edits, editable=True
            )
            new = msgspec.structs.replace(new, mentions=notice.mentions)
            first = [one for one in self.posted if one.event_id == notice.edits]
            assert all(one.editable for one in first), "sent as something that cannot be edited"
        elif isinstance(notice, Poll):
            new = Posted(EventId(""), room_id, sender, notice.question)
        else:
            new = Posted(EventId(""), room_id, sender, notice.text, notice.reply_to)
            new = msgspec.structs.replace(new, mentions=notice.mentions, ping=notice.ping)
        event_id = await self._post(new, txn_id)
        if isinstance(notice, Poll) and notice not in self.polls:
            self.polls.append(notice)
        return event_id

    async def react(
        self, room_id: RoomId, sender: UserId, target: EventId, sign: str, txn_id: str
    ) -> EventId:
        return await self._post(Posted(EventId(""), room_id, sender, sign, target), txn_id)

    async def tell_status(
        self, room_id: RoomId, sender: UserId, status: Status, txn_id: str
    ) -> EventId:
        await self._request(f"status {room_id} {sender}")
        self.statuses.append((room_id, status, txn_id))
        return EventId(f"$status{len(self.statuses)}")

    async def decline(self, room_id: RoomId, sender: UserId, told: Reported, txn_id: str) -> None:
        if declined(told) is not None:
            cancelled = Posted(EventId(""), room_id, sender, "cancel", told.event_id)
            await self._post(cancelled, txn_id)

    async def name_service_members(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> None:
        del host
        present = {user for room, user in self.members if room == room_id}
        self.named.append((room_id, tuple(users), present.isdisjoint(users)))

    async def welcome_agent(
        self, room_id: RoomId, host: UserId, agent: Agent, icon: Blob | None, icon_source: str
    ) -> UserId:
        del host
        await self._request(f"welcome {room_id} {agent.id}")
        if icon is not None:
            self.pictures[agent.id] = icon_source
        ghost = self.ghost_of(agent)
        self.members.add((room_id, ghost))
        return ghost

    async def step_in(
        self, room_id: RoomId, ghost: UserId, notice: NoticeText, txn_id: str
    ) -> None:
        self.members.add((room_id, ghost))
        await self.say(room_id, ghost, notice, txn_id)

    async def icon_known(self, agent: Agent, icon_source: str) -> bool:
        return not icon_source or not agent.icon

    def ghost_of(self, agent: Agent, enterprise: str = "") -> UserId:
        return UserId(f"@{self.ghosts.get(enterprise, 'webchat')}_{agent.id}:example.org")

    def pieces(
        self, fragment: str, absolute: Callable[[str], str]
    ) -> tuple[AgentText | AgentMedia, ...]:
        del absolute
        return (AgentText(fragment),)

    async def relay(
        self,
        room_id: RoomId,
        host: UserId,
        agent: Agent,
        what: Relayed,
        txn_id: str,
        *,
        thread: Thread | None = None,
        mentions: tuple[UserId, ...] = (),
    ) -> tuple[Part, ...]:
        del host, thread
        text = what.html if isinstance(what, AgentText) else type(what).__name__
        new = Posted(EventId(""), room_id, self.ghost_of(agent), text, mentions=mentions)
        return (Part(await self._post(new, txn_id), text),)

    @asynccontextmanager
    async def _file(self) -> AsyncIterator[Blob]:
        await self._request("download")
        yield Blob.of(b"abc", "text/plain", "a.txt")

    async def show_typing(self, room_id: RoomId, who: UserId, seconds: float) -> None:
        self.signs.append((room_id, who, seconds))

    async def mark_read(self, room_id: RoomId, who: UserId, event_id: EventId) -> None:
        if self.sign_trouble:
            raise self.sign_trouble.popleft()
        self.signs.append((room_id, who, event_id))

    async def send_file(
        self, room_id: RoomId, sender: UserId, file: Blob, txn_id: str, caption: str = ""
    ) -> EventId:
        data = b"".join([chunk async for chunk in file.chunks])
        if (room_id, txn_id) not in self._by_transaction:
            self.sent_files.append(SentFile(file.name, file.mime, data, caption))
        return await self._post(Posted(EventId(""), room_id, sender, file.name), txn_id)

    async def redact(self, room_id: RoomId, who: UserId, event_id: EventId, txn_id: str) -> None:
        del room_id, txn_id
        await self._request(f"redact {event_id}")
        own = any(one.event_id == event_id and one.sender == who for one in self.posted)
        if self.level < 50 and not own:
            raise Refused("M_FORBIDDEN")
        self.redacted.append(event_id)

    async def timeline(
        self, room_id: RoomId, reader: UserId, first: EventId, who: UserId, since: int
    ) -> AsyncGenerator[dict[str, object], None]:
        del room_id, reader
        await self._request(f"timeline {first}")
        ids = [raw.get("event_id") for raw in self.room]
        if first not in ids:
            recorded = filter(None, map(self.recorded, self.room))
            left = [found.event_id for found in recorded if found.at >= since]
            if not left:
                raise Refused("M_NOT_FOUND")
            first = left[0]
        if who in self.newcomers:
            raise Refused(Refused.UNSEEN)
        for raw in self.room[ids.index(first) :]:
            yield raw

    def recorded(self, raw: dict[str, object]) -> Recorded | None:
        found = raw.get("recorded")
        return found if isinstance(found, Recorded) else None

    def download(self, media: CustomerMedia, limit: int) -> AbstractAsyncContextManager[Blob]:
        del media, limit
        return self._file()

    async def _post(self, new: Posted, txn_id: str) -> EventId:
        await self.disturb()
        await self._request(txn_id)
        if new.sender in self.foreign:
            raise Refused("FOREIGN_USER")
        if new.room_id in self.replaced | self.muted:
            raise Refused("M_FORBIDDEN")
        found = self._by_transaction.get((new.room_id, txn_id)) or self._found.get(txn_id)
        if found is None:
            found = msgspec.structs.replace(
                new, event_id=EventId(self.event_ids.format(len(self.posted)))
            )
            self._by_transaction[new.room_id, txn_id] = found
            self.posted.append(found)
        await self.answering.wait()
        await self.disturb()
        return found.event_id

    async def _request(self, what: str) -> None:
        await self.gate.wait()
        self.requests.append(what)
        if self.trouble:
            raise self.trouble.popleft()
