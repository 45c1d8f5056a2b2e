"""The command `transcript`: a whole chat, read back from the room and put into it as two files.

The room itself is the source, not our ledger: the homeserver keeps messages for as long as its
owner wants, what somebody took back is gone there, corrections stand beside what they correct, and
files have their addresses; the ledger erases bodies after `retention`. Encrypted messages are
opened by our own keys, which outlive their last use by 90 days; what they no longer open is looked
up in the ledger, and what is not there either is shown as a message that cannot be read any more.

Where a chat stands in the room: from its first event (`Chat.first`) to the first event of the chat
after it. What a customer sent after the end and before the next beginning belongs to no chat;
an agent's last words may arrive a moment after the end, and do belong to it.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from bridge.config.model import Permission
from bridge.conversation.effects import Args
from bridge.conversation.model import (
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
)
from bridge.ids import EventId, UserId
from bridge.rooms import transcript, transcript_page
from bridge.rooms.chats import Chat, load_chat
from bridge.rooms.commands import Parsed, parse
from bridge.rooms.effects import SendTranscript
from bridge.rooms.history import Telling, began_with
from bridge.rooms.inputs import LookedUp
from bridge.rooms.orders import makes_sense
from bridge.rooms.permalinks import permalink, via
from bridge.rooms.ports import Refused, Undecryptable
from bridge.rooms.recalling import recall
from bridge.rooms.record import RoomRecord
from bridge.rooms.recorded import OurFile, Recorded
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.transcript import File, Kind, Line, Place, Role, Transcript
from bridge.rooms.visit import Visit
from bridge.webchat.frames import Agent

MOST_EVENTS = 5_000
"""Events of the room that are looked at."""
MOST_WORDS = 4_000_000
"""Characters of all messages together."""


class Transcripts:
    """Writes chats down."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def send(self, record: RoomRecord, order: SendTranscript) -> LookedUp | EventId:
        """Put the files into the room; the first one's event, or what to say instead of them.

        Raises:
            StoreError: the database did not answer.
            Unavailable, Refused: the homeserver did not, or would not take the files.
        """
        upto = None if order.number is None else order.number + 1
        rows = await self._around.store.chats(record.room_id, 2, upto)
        chats = [load_chat(row.chat) for row in rows]
        wanted = chats[:1] if order.number is None else chats
        chat = next((one for one in wanted if order.number in {None, one.number}), None)
        if chat is None and order.number is None:
            return LookedUp(order.event_id, "transcript.none")
        if chat is None:
            args: Args = {"number": order.number or 0}
            return LookedUp(order.event_id, "transcript.unknown", args)
        after = next((one for one in chats if one.number == chat.number + 1), None)
        whole = await self._write(record, chat, after)
        page = transcript_page.build(whole, Telling(self._around.rules, record))
        name = f"chat-{chat.number}-{whole.local(whole.chat.asked):%Y-%m-%d}"
        first = await self._put(record, order, OurFile(f"{name}.html", "text/html", page))
        data = OurFile(f"{name}.json", "application/json", transcript.dump(whole))
        await self._put(record, order, data)
        return first

    async def _put(self, record: RoomRecord, order: SendTranscript, file: OurFile) -> EventId:
        """Send one file; the transaction id is the order's, so no repetition posts it twice."""
        txn_id = f"transcript.{order.event_id}.{file.name.rpartition('.')[2]}"
        return await self._around.matrix.send_file(record.room_id, record.host, file, txn_id)

    async def _write(self, record: RoomRecord, chat: Chat, after: Chat | None) -> Transcript:
        reading = _Reading(self._around, record, chat, after)
        first = await began_with(self._around, record, chat)
        found = first is not None and await reading.read_from(first)
        lines = reading.lines()
        zone = self._around.rules.timezone
        complete = found and not reading.cut and all(one.kind != "unreadable" for one in lines)
        return Transcript(
            room_id=record.room_id,
            language=self._around.rules.language_for(record.settings),
            made=transcript.moment(self._around.clock.now()),
            complete=complete,
            cut=reading.cut,
            chat=self._about(record, chat),
            messages=lines,
            timezone=zone.key if isinstance(zone, ZoneInfo) else "",
        )

    def _about(self, record: RoomRecord, chat: Chat) -> transcript.About:
        rules, telling = self._around.rules, Telling(self._around.rules, record)
        rating = None
        if chat.rating is not None:
            rating = transcript.Rating(chat.rating, telling.label(chat.rating))
        return transcript.About(
            number=chat.number,
            queue=transcript.Queue(chat.queue_id, rules.queue_name(chat.queue_id)),
            asked=transcript.moment(chat.asked),
            started=None if chat.started is None else transcript.moment(chat.started),
            ended=None if chat.ended is None else transcript.moment(chat.ended),
            ending=chat.ending,
            robot=chat.robot,
            agents=tuple(transcript.Agent(one.id, one.name) for one in chat.agents),
            rating=rating,
        )


class _Reading:
    """One chat's messages, as they are found in the room."""

    def __init__(
        self, around: Surroundings, record: RoomRecord, chat: Chat, after: Chat | None
    ) -> None:
        self.cut = False
        """There was too much of it."""
        self._around = around
        self._record = record
        self._chat = chat
        self._until = None if after is None or after.first == chat.first else after.first
        self._servers = via(record)
        self._agents = {
            around.matrix.ghost_of(Agent(one.id)): one.name or one.id for one in chat.agents
        }
        self._people = {person.user: person.name for person in record.people if person.name}
        self._lines: dict[str, Line] = {}
        self._unasked: set[str] = set()
        """Orders to us: neither they nor our answers are part of the chat."""
        self._words = 0

    def lines(self) -> tuple[Line, ...]:
        """What was found, in the order of the room."""
        return tuple(self._lines.values())

    async def read_from(self, first: EventId) -> bool:
        """Read the room on from this event; False if it is not there (any more)."""
        matrix, record = self._around.matrix, self._record
        seen = 0
        try:
            async with aclosing(matrix.timeline(record.room_id, record.host, first)) as events:
                async for raw in events:
                    seen += 1
                    if raw.get("event_id") == self._until:
                        break
                    if seen > MOST_EVENTS or self._words > MOST_WORDS:
                        self.cut = True
                        break
                    await self._take(raw)
        except Refused:
            return False
        return True

    async def _take(self, raw: dict[str, object]) -> None:
        opened = await self._around.matrix.open(raw)
        readable = not isinstance(opened, Undecryptable)
        found = self._around.matrix.recorded(raw if isinstance(opened, Undecryptable) else opened)
        if found is None:
            return
        if not readable:
            found = await self._recalled(found)
        role = self._role(found.sender)
        if found.replaces is not None:
            self._correct(found)
        elif role is not None and self._belongs(found, role):
            self._add(found, role)

    async def _recalled(self, found: Recorded) -> Recorded:
        """What our ledger still knows of a message that cannot be opened any more."""
        earlier = await recall(self._around, self._record.room_id, found.event_id)
        if earlier is None:
            return found
        content = earlier.content or CustomerText(earlier.text)
        return msgspec.structs.replace(found, content=content, words=earlier.text)

    def _role(self, sender: UserId) -> Role | None:
        """None: their words were not carried."""
        rules = self._around.rules
        if sender in self._agents:
            return "agent"
        if sender in {self._record.host, rules.bot} or rules.queue_of_user(sender) is not None:
            return "service"
        if self._around.matrix.is_ours(sender):
            return "agent"
        return "customer" if rules.permission(sender) >= Permission.CUSTOMER else None

    def _belongs(self, found: Recorded, role: Role) -> bool:
        ended = self._chat.ended
        if role == "customer":
            if self._is_order(found):
                self._unasked.add(found.event_id)
                return False
            return ended is None or found.at <= ended or self._until is not None
        if role == "service":
            # Our own files are transcripts, and an answer to an order is no part of the chat.
            return found.reply_to not in self._unasked and _is_text(found)
        return True

    def _is_order(self, found: Recorded) -> bool:
        """It was said to us, and no agent has seen it.

        Bare words were orders only while nobody had come, and only those that make sense as one,
        as far as that can be told afterwards.
        """
        record, chat, rules = self._record, self._chat, self._around.rules
        if not _is_text(found):
            return False
        waiting = chat.started is None or found.at < chat.started
        bare = record.direct and record.host == rules.bot and waiting
        parsed = parse(found.words, rules.prefix, prefix_needed=not bare)
        if isinstance(parsed, Parsed) and parsed.bare:
            return makes_sense(Visit(record, rules, found.at), parsed)
        return parsed is not None

    def _correct(self, newer: Recorded) -> None:
        """A correction changes what it corrects, if that is here and of the same person.

        A message that was taken back stays so, though homeservers keep its corrections.
        """
        line = self._lines.get(str(newer.replaces))
        if line is None or line.sender != newer.sender or newer.content is None:
            return
        if line.kind == "withdrawn":
            return
        text = newer.words
        self._words += len(text)
        self._lines[line.event_id] = msgspec.structs.replace(line, text=text, edited=True)

    def _add(self, found: Recorded, role: Role) -> None:
        self._words += len(found.words)
        kind, text, file, place = _parts(found)
        self._lines[found.event_id] = Line(
            event_id=found.event_id,
            link=permalink(self._record.room_id, found.event_id, self._servers),
            at=transcript.moment(found.at),
            role=role,
            sender=found.sender,
            name=self._name(found.sender, role),
            kind=kind,
            text=text,
            edited=False,
            reply_to=found.reply_to,
            file=file,
            place=place,
        )

    def _name(self, sender: UserId, role: Role) -> str:
        if role == "agent":
            return self._agents.get(sender, sender)
        name = self._people.get(sender, "")
        if not name and sender == self._record.customer:
            name = self._record.displayname
        return name or sender[1:].partition(":")[0]


def _is_text(found: Recorded) -> bool:
    return isinstance(found.content, CustomerText)


def _parts(found: Recorded) -> tuple[Kind, str, File | None, Place | None]:
    """Kind, words, file and place of a message."""
    content: CustomerContent | None = found.content
    match content:
        case CustomerText():
            return "text", found.words or content.text, None, None
        case CustomerMedia():
            file = File(
                content.name, content.mime, content.size, content.mxc, content.file_key is not None
            )
            return _media_kind(content.kind), found.words, file, None
        case CustomerLocation():
            return "location", content.poi, None, Place(content.latitude, content.longitude)
        case None:
            return ("withdrawn" if found.withdrawn else "unreadable"), "", None, None


def _media_kind(kind: str) -> Literal["image", "file", "voice", "video", "audio"]:
    match kind:
        case "image" | "voice" | "video" | "audio":
            return kind
        case _:
            return "file"
