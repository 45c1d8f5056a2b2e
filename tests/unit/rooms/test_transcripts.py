"""A chat read back from the room: complete, nothing else, and gaps are stated."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from zoneinfo import ZoneInfo

import msgspec
import pytest

from bridge.conversation.model import (
    Chatting,
    Conversation,
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    FileKey,
    Idle,
)
from bridge.ids import AgentId, EventId, QueueId, RoomId, SessionId, UserId
from bridge.rooms import transcripts
from bridge.rooms.aside import TRANSCRIPTS
from bridge.rooms.effects import SendTranscript
from bridge.rooms.ports import Recorded, Refused, Unavailable, Undecryptable
from bridge.rooms.record import (
    Chat,
    ChatAgent,
    Ending,
    LookedUp,
    MatrixEvent,
    Membership,
    PartPosted,
    Person,
    RoomRecord,
    dump_chat,
    dump_input,
    dump_record,
)
from bridge.rooms.store import ChatRow, Lane, NewEffect, NewInput, Outcome, Settlement, StoredRoom
from bridge.rooms.transcripts import Line, Telling, Transcript, build_page, send_transcript
from bridge.rooms.visit import Came, Done, new_effect
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World
from tests.unit.rooms.visits import ADA, BOT, SALES_USER

pytestmark = pytest.mark.asyncio

MEI = UserId("@webchat_K00017:example.org")
ORDER = EventId("$order")
FIRST = Chat(
    1,
    QueueId(1),
    asked=1_000,
    started=2_000,
    ended=9_000,
    ending=Ending.AGENT,
    session_id=SessionId(5150),
    agents=(ChatAgent(AgentId("K00017"), "Mei"),),
    rating=5,
    first=EventId("$a"),
)


class Scene:
    """A room with chats and the messages in it."""

    def __init__(self, *chats: Chat, direct: bool = True) -> None:
        self.world = World()
        self.record = RoomRecord(
            ROOM,
            membership=Membership.JOINED,
            host=BOT,
            customer=ADA,
            displayname="Ada",
            direct=direct,
            conversation=Conversation(phase=Idle()),
            people=(Person(UserId("@bo:example.org"), "Bo"),),
        )
        self.chats = chats
        self.at = 1_000

    def stands(
        self,
        name: str,
        sender: UserId,
        content: CustomerContent | str | None,
        **more: object,
    ) -> None:
        """Post a message in the room, half a second after the one before."""
        self.at += 500
        words = content if isinstance(content, str) else ""
        found = Recorded(
            EventId(f"${name}"),
            sender,
            self.at,
            CustomerText(content) if isinstance(content, str) else content,
            words,
        )
        self.found(msgspec.structs.replace(found, **more))

    def found(self, recorded: Recorded) -> None:
        raw = {"event_id": recorded.event_id, "kind": "recorded", "recorded": recorded}
        self.world.matrix.room.append(raw)

    async def stored(self) -> None:
        room = StoredRoom(ROOM, dump_record(self.record), live=False, phase="Idle", customer=ADA)
        rows = [ChatRow(chat.number, dump_chat(chat)) for chat in self.chats]
        await flow.step(self.world.store, room, chats=rows)

    async def asks(self, number: int | None = None, by: UserId = ADA) -> LookedUp | Done:
        await self.stored()
        order = SendTranscript(ORDER, number, json=True, by=by)
        return await send_transcript(self.world.around, self.record, order)

    async def written(self, number: int | None = None) -> Transcript:
        second = Came(PartPosted(), "$ours1")
        assert await self.asks(number) == Done(EventId("$ours0"), came=(second,))
        page, found = self.world.matrix.sent_files
        assert (page.mime, found.mime) == ("text/html", "application/json")
        return msgspec.json.decode(found.data, type=Transcript)


def people(found: Transcript) -> list[tuple[str, str]]:
    return [(line.name, line.text) for line in found.messages if line.role != "service"]


@pytest.mark.parametrize(("moved_at", "complete"), [(500, True), (2_500, False), (9_001, True)])
async def test_a_transcript_of_an_upgraded_room_covers_the_part_where_it_began(
    moved_at: int, complete: bool
) -> None:
    scene = Scene(FIRST)
    new = RoomId("!new:example.org")
    scene.record = msgspec.structs.replace(
        scene.record, place=new, came_from=ROOM, moved_at=moved_at
    )
    scene.stands("a", ADA, "hello")
    found = await scene.written()
    assert found.complete is complete
    assert found.room_id == (new if moved_at < FIRST.asked else ROOM)
    assert scene.world.matrix.posted[0].room_id == new, "where it was asked for"


async def test_a_transcript_of_a_partly_purged_chat_holds_what_is_left() -> None:
    """Neither the chat's first event is there any more, nor that of the chat after it."""
    later = msgspec.structs.replace(FIRST, number=2, first=EventId("$z"), asked=20_000, ended=None)
    scene = Scene(FIRST, later)
    scene.stands("b", ADA, "is it?")
    scene.stands("m", MEI, "it is")
    scene.at = 20_000
    scene.stands("y", ADA, "of the second")
    scene.stands("x", MEI, "nor is this")
    found = await scene.written(1)
    assert people(found) == [("Ada", "is it?"), ("Mei", "it is")]
    assert (found.complete, found.lost, found.cut) == (False, True, False)
    page, _ = scene.world.matrix.sent_files
    assert "transcript.beginning" in page.data.decode()


async def test_a_transcript_of_a_purged_chat_is_not_that_of_the_next() -> None:
    later = msgspec.structs.replace(FIRST, number=2, first=EventId("$z"), asked=20_000, ended=None)
    scene = Scene(FIRST, later)
    scene.at = 20_000
    scene.stands("z", ADA, "second")
    scene.stands("y", MEI, "of the second")
    found = await scene.written(1)
    assert (found.messages, found.complete, found.lost) == ((), False, True)


async def test_a_chat_is_not_shown_to_somebody_who_came_later() -> None:
    """In an encrypted room they could not read it otherwise."""
    scene, bo = Scene(FIRST), UserId("@bo:example.org")
    scene.stands("a", ADA, "hello")
    scene.world.matrix.newcomers.add(bo)
    assert await scene.asks(1, by=bo) == LookedUp(ORDER, "transcript.unseen", {"number": 1})
    assert scene.world.matrix.sent_files == []


async def test_a_transcript_tells_who_wrote_what() -> None:
    scene = Scene(FIRST)
    scene.stands("before", ADA, "of no chat")
    scene.stands("a", ADA, "hello")
    scene.stands("n", BOT, "Mei is here to help you.")
    scene.stands("m", MEI, "good morning", reply_to=EventId("$a"))
    scene.stands("b", UserId("@bo:example.org"), "me too")
    scene.stands("e", UserId("@eve:elsewhere.org"), "not carried")
    found = await scene.written()
    assert people(found) == [("Ada", "hello"), ("Mei", "good morning"), ("Bo", "me too")]
    assert [line.role for line in found.messages] == ["customer", "service", "agent", "customer"]
    assert found.complete
    assert not found.cut
    assert found.messages[2].reply_to == "$a"
    assert found.messages[0].link.startswith("https://matrix.to/#/!room:example.org/$a?via=")
    assert found.messages[0].at == "1970-01-01T00:00:02.000Z"
    assert (found.chat.ending, found.chat.queue.name) == ("agent", "Sales")
    assert found.chat.rating is not None
    assert found.chat.rating.value == 5
    names = [file.name for file in scene.world.matrix.sent_files]
    assert names == ["chat-1.html", "chat-1.json"]
    assert found.timezone == ""


async def test_times_are_in_the_operators_time_zone() -> None:
    asked = msgspec.structs.replace(FIRST, asked=20 * 3_600_000)
    scene = Scene(asked)
    rules = msgspec.structs.replace(scene.world.rules, timezone=ZoneInfo("Asia/Shanghai"))
    scene.world.around.rules = rules
    scene.stands("a", ADA, "hello")
    found = await scene.written()
    assert found.timezone == "Asia/Shanghai"
    page, _ = scene.world.matrix.sent_files
    assert "1970-01-02 04:00 UTC+08:00" in page.data.decode()


async def test_a_transcript_reaches_from_one_chat_to_the_next() -> None:
    later = msgspec.structs.replace(FIRST, number=2, first=EventId("$z"), ended=None, ending=None)
    scene = Scene(FIRST, later)
    scene.stands("a", ADA, "first")
    scene.at = 20_000
    scene.stands("m", MEI, "late last words")
    scene.stands("z", ADA, "second")
    scene.stands("y", MEI, "of the second")
    assert people(await scene.written(1)) == [("Ada", "first"), ("Mei", "late last words")]
    again = Scene(FIRST, later)
    again.world.matrix.room = scene.world.matrix.room
    assert people(await again.written()) == [("Ada", "second"), ("Mei", "of the second")]


async def test_customers_messages_after_the_end_are_left_out() -> None:
    scene = Scene(FIRST)
    scene.stands("a", ADA, "in it")
    scene.at = 9_000
    scene.stands("b", ADA, "kept for the next chat")
    assert people(await scene.written()) == [("Ada", "in it")]


async def test_a_failed_request_and_the_next_chat_may_begin_with_the_same_event() -> None:
    """No agent came; the messages waited, and were delivered in the next chat."""
    nobody = Chat(1, QueueId(1), 1_000, ended=2_000, ending=Ending.NOBODY, first=EventId("$a"))
    scene = Scene(nobody, msgspec.structs.replace(FIRST, number=2))
    scene.stands("a", ADA, "hello?")
    scene.stands("b", ADA, "anybody?")
    scene.stands("c", ADA, "at last")
    assert people(await scene.written(1)) == [("Ada", "hello?"), ("Ada", "anybody?")]


async def test_the_newest_transcript_is_of_a_chat_with_an_agent_if_there_was_one() -> None:
    left = Chat(2, QueueId(1), 20_000, ended=21_000, ending=Ending.NOBODY, first=EventId("$z"))
    scene = Scene(FIRST, left)
    scene.stands("a", ADA, "hello")
    scene.at = 20_000
    scene.stands("z", ADA, "hello?")
    assert (await scene.written()).chat.number == 1


@pytest.mark.parametrize("first", [EventId("$a"), None])
async def test_a_failed_requests_transcript_contains_no_later_chat(first: EventId | None) -> None:
    """The next began with the same event, or without one: by a callback or an order."""
    nobody = Chat(1, QueueId(1), 1_000, ended=2_000, ending=Ending.NOBODY, first=EventId("$a"))
    second = msgspec.structs.replace(FIRST, number=2, asked=3_000, first=first)
    third = msgspec.structs.replace(FIRST, number=3, asked=20_000, first=EventId("$z"))
    scene = Scene(nobody, second, third)
    scene.stands("a", ADA, "hello?")
    scene.stands("n", BOT, "nobody is there")
    scene.at = 3_000
    scene.stands("card", BOT, "You are number 1")
    scene.stands("m", MEI, "of the second")
    scene.at = 20_000
    scene.stands("z", ADA, "third")
    scene.stands("y", MEI, "of the third")
    texts = [line.text for line in (await scene.written(1)).messages]
    assert texts == ["hello?", "nobody is there"]


async def test_late_messages_before_a_chat_without_first_event_are_included() -> None:
    """A customer's server may have a wrong clock, so its messages do not mark the end."""
    called = msgspec.structs.replace(FIRST, number=2, asked=20_000, first=None)
    scene = Scene(FIRST, called)
    scene.stands("a", ADA, "hello")
    scene.at = 10_000
    scene.stands("m", MEI, "late last words")
    scene.at = 25_000
    scene.stands("b", UserId("@bo:example.org"), "from the future")
    scene.at = 11_000
    scene.stands("n", MEI, "and later ones")
    words = [("Ada", "hello"), ("Mei", "late last words"), ("Mei", "and later ones")]
    assert people(await scene.written(1)) == words


async def test_customers_messages_between_two_chats_are_left_out() -> None:
    later = msgspec.structs.replace(FIRST, number=2, asked=30_000, first=EventId("$z"))
    scene = Scene(FIRST, later)
    scene.stands("a", ADA, "in it")
    scene.at = 20_000
    scene.stands("b", ADA, "thanks")
    scene.at = 30_000
    scene.stands("z", ADA, "second")
    assert people(await scene.written(1)) == [("Ada", "in it")]


async def test_commands_and_their_answers_are_left_out() -> None:
    scene = Scene(msgspec.structs.replace(FIRST, started=3_000))
    scene.stands("a", ADA, "hello")
    scene.stands("s", ADA, "status")  # a bare command, before an agent came
    scene.stands("t", BOT, "You are number 2", reply_to=EventId("$s"))
    scene.at = 2_000
    scene.stands("v", ADA, "start over, please")  # no command, despite its first word
    scene.at = 3_000
    scene.stands("b", ADA, "status")  # to the agent
    scene.stands("c", ADA, "!wc transcript")
    scene.stands("f", BOT, CustomerMedia("file", "chat-1.html", "mxc://x/y"))
    scene.stands("u", BOT, "not delivered", reply_to=EventId("$b"))
    found = await scene.written()
    texts = ["hello", "start over, please", "status", "not delivered"]
    assert [line.text for line in found.messages] == texts
    shared = Scene(msgspec.structs.replace(FIRST, started=3_000), direct=False)
    shared.stands("a", ADA, "status")
    assert people(await shared.written()) == [("Ada", "status")]


async def test_corrections_and_redactions_are_applied() -> None:
    scene = Scene(FIRST)
    scene.stands("a", ADA, "order 4710")
    scene.stands("n", BOT, "number 2")
    scene.stands("x", ADA, "order 4711", replaces=EventId("$a"))
    scene.stands("o", BOT, "number 1", replaces=EventId("$n"))
    scene.stands("y", MEI, "forged", replaces=EventId("$a"))
    scene.stands("z", ADA, "of nothing", replaces=EventId("$elsewhere"))
    scene.stands("v", ADA, None, replaces=EventId("$a"))
    scene.stands("w", ADA, None, withdrawn=True)
    first, notice, last = (await scene.written()).messages
    assert (first.text, first.edited) == ("order 4711", True)
    assert (notice.text, notice.edited) == ("number 1", True)
    assert (last.kind, last.text) == ("withdrawn", "")


async def test_a_corrected_poll_is_shown_with_its_new_choices() -> None:
    scene = Scene(FIRST)
    scene.stands("a", ADA, CustomerText("Which?\n1. Red"))
    scene.stands("x", ADA, CustomerText("Which?\n1. Blue"), replaces=EventId("$a"))
    assert [line.text for line in (await scene.written()).messages] == ["Which?\n1. Blue"]


async def test_a_correction_does_not_restore_a_redacted_message() -> None:
    """A homeserver that redacts a message leaves its corrections."""
    scene = Scene(FIRST)
    scene.stands("a", ADA, None, withdrawn=True)
    scene.stands("x", ADA, "my secret", replaces=EventId("$a"))
    (line,) = (await scene.written()).messages
    assert (line.kind, line.text, line.edited) == ("withdrawn", "", False)


async def test_files_and_locations_are_described() -> None:
    scene = Scene(FIRST)
    key = FileKey("k", "i", "s")
    scene.stands("a", ADA, CustomerMedia("image", "a.png", "mxc://x/a", "image/png", 7))
    more = (CustomerMedia("image", "e.png", "mxc://x/e"),)
    film = CustomerMedia("video", "b", "mxc://x/b", file_key=key, more=more)
    scene.stands("b", ADA, film, words="look")
    scene.stands("c", ADA, CustomerMedia("sticker", "c", "mxc://x/c"))
    scene.stands("d", MEI, CustomerLocation(31.2, 121.5, "Shop"))
    image, video, other, place = (await scene.written()).messages
    assert image.file is not None
    assert (image.kind, image.file.uri, image.file.size) == ("image", "mxc://x/a", 7)
    assert not image.file.encrypted
    assert video.file is not None
    assert (video.kind, video.text, video.file.encrypted) == ("video", "look\ne.png", True)
    assert other.kind == "file"
    assert place.place is not None
    assert (place.text, place.place.latitude) == ("Shop", 31.2)


class Locked(World):
    """Cannot decrypt some events."""

    def __init__(self, *locked: str) -> None:
        super().__init__()
        inner = self.matrix.open

        async def opened(
            raw: dict[str, object], patience: float | None = None, *, ask: bool = True
        ) -> dict[str, object] | Undecryptable:
            if raw["event_id"] in locked and "recorded" in raw:
                return Undecryptable("unreadable.no_key", later=True)
            return await inner(raw, patience, ask=ask)

        self.matrix.open = opened  # type: ignore[method-assign] # a fake, of this test alone


async def test_an_undecryptable_event_is_taken_from_the_ledger_or_marked() -> None:
    scene = Scene(FIRST)
    scene.world = Locked("$a", "$b")
    scene.stands("a", ADA, None)
    scene.stands("b", MEI, None)
    raw: dict[str, object] = {"event_id": "$a", "kind": "say", "sender": ADA, "text": "hello"}
    new = NewInput(ROOM, dump_input(MatrixEvent(raw)), "$a")
    await flow.accept(scene.world.store, [new], 1)
    found = await scene.written()
    assert [line.text for line in found.messages] == ["hello", ""]
    assert [line.kind for line in found.messages] == ["text", "unreadable"]
    assert not found.complete


@pytest.mark.parametrize("moved_at", [500, 9_001])
async def test_in_an_upgraded_room_the_card_is_searched_where_the_chat_began(moved_at: int) -> None:
    scene, new = Scene(msgspec.structs.replace(FIRST, first=None)), RoomId("!new:example.org")
    place = {"place": new, "came_from": ROOM, "moved_at": moved_at}
    scene.record = msgspec.structs.replace(scene.record, **place)
    scene.stands("card", BOT, "You are number 1")
    scene.stands("a", MEI, "hello")
    effects = [NewEffect(Lane.MATRIX, b""), NewEffect(Lane.MATRIX, b"")]
    rows = await flow.step(
        scene.world.store, StoredRoom(ROOM, b"", live=False, phase="Idle"), effects=effects
    )
    there, elsewhere = ("card:1", f"{new} card:1")[:: 1 if moved_at > FIRST.asked else -1]
    for row, name, event_id in zip(rows, (there, elsewhere), ("$card", "$other"), strict=True):
        card = Settlement(row.seq, Outcome.DELIVERED, 1, event_id=EventId(event_id), anchor=name)
        await flow.settle(scene.world.store, ROOM, card)
    chats = [ChatRow(1, dump_chat(scene.chats[0]))]
    room = StoredRoom(ROOM, b"", live=False, phase="Idle", revision=1)
    await flow.step(scene.world.store, room, chats=chats)
    await send_transcript(scene.world.around, scene.record, SendTranscript(ORDER, json=True))
    whole = msgspec.json.decode(scene.world.matrix.sent_files[1].data, type=Transcript)
    assert people(whole) == [("Mei", "hello")]


async def test_the_queue_card_replaces_a_missing_first_event() -> None:
    """If the card is gone too, the file says so."""
    for chat in (FIRST, msgspec.structs.replace(FIRST, first=None)):
        found = await Scene(chat).written()
        assert (found.messages, found.complete) == ((), False)
    scene = Scene(msgspec.structs.replace(FIRST, first=None))
    scene.stands("card", BOT, "You are number 1")
    scene.stands("a", MEI, "hello")
    room = StoredRoom(ROOM, b"", live=False, phase="Idle")
    effects = [NewEffect(Lane.MATRIX, b"")]
    (row,) = await flow.step(scene.world.store, room, effects=effects)
    card = Settlement(row.seq, Outcome.DELIVERED, 1, event_id=EventId("$card"), anchor="card:1")
    await flow.settle(scene.world.store, ROOM, card)
    chats = [ChatRow(1, dump_chat(scene.chats[0]))]
    room = msgspec.structs.replace(room, revision=1)
    await flow.step(scene.world.store, room, chats=chats)
    await send_transcript(scene.world.around, scene.record, SendTranscript(ORDER, json=True))
    whole = msgspec.json.decode(scene.world.matrix.sent_files[1].data, type=Transcript)
    assert people(whole) == [("Mei", "hello")]


@pytest.mark.parametrize(("limit", "most"), [("MOST_EVENTS", 3), ("MOST_SIZE", 800)])
async def test_an_endless_chat_is_cut(
    limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, limit, most)
    scene = Scene(FIRST)
    for name in "abcdef":
        scene.stands(name, ADA, "xx")
    found = await scene.written()
    assert found.cut
    assert not found.complete
    assert 2 <= len(found.messages) <= 3


async def test_a_chat_of_much_html_without_words_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counted the words alone: 5,000 such events kept the bridge busy for two minutes."""
    monkeypatch.setattr(transcripts, "MOST_SIZE", 20_000)
    scene = Scene(FIRST)
    for name in "abcdef":
        scene.stands(name, ADA, "")
        scene.world.matrix.room[-1]["content"] = {"formatted_body": "<b><p>" * 1_000}
    assert len((await scene.written()).messages) == 3


async def test_the_transcript_of_a_running_chat() -> None:
    running = msgspec.structs.replace(FIRST, ended=None, ending=None, rating=None)
    scene = Scene(running)
    scene.record = msgspec.structs.replace(
        scene.record, conversation=Conversation(phase=Chatting(SessionId(5150), 1, QueueId(1)))
    )
    scene.stands("a", ADA, "hello")
    found = await scene.written()
    assert (found.chat.ended, found.chat.rating) == (None, None)
    assert len(found.messages) == 1


async def test_transcripts_of_unknown_chats_are_refused() -> None:
    assert await Scene().asks() == LookedUp(ORDER, "transcript.none")
    assert await Scene(FIRST).asks(7) == LookedUp(ORDER, "transcript.unknown", {"number": 7})
    assert await Scene(FIRST).asks(0) == LookedUp(ORDER, "transcript.unknown", {"number": 0})
    assert await Scene().asks(1) == LookedUp(ORDER, "transcript.unknown", {"number": 1})


async def test_a_repeated_effect_posts_nothing_twice() -> None:
    scene = Scene(FIRST)
    scene.stands("a", ADA, "hello")
    await scene.written()
    order = SendTranscript(ORDER, json=True)
    await send_transcript(scene.world.around, scene.record, order)
    assert len(scene.world.matrix.sent_files) == 2


async def test_without_json_only_the_page_is_posted() -> None:
    scene = Scene(FIRST)
    scene.stands("a", ADA, "hello")
    await scene.stored()
    await send_transcript(scene.world.around, scene.record, SendTranscript(ORDER))
    assert [file.name for file in scene.world.matrix.sent_files] == ["chat-1.html"]


@pytest.mark.parametrize(
    ("size", "shown"),
    [(None, ""), (1023, "1023 B"), (2048, "2 KiB"), (20_971_520, "20.0 MiB")],
)
async def test_the_size_of_a_file_is_shown_in_a_fitting_unit(size: int | None, shown: str) -> None:
    assert transcripts._size(size) == shown


async def test_the_page_is_built_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of 5,000 messages takes 0.3 s, for which all rooms would wait."""
    built: list[int] = []

    def build(transcript: Transcript, words: Telling) -> bytes:
        built.append(threading.get_ident())
        return build_page(transcript, words)

    monkeypatch.setattr(transcripts, "build_page", build)
    scene = Scene(FIRST)
    scene.stands("a", ADA, "hello")
    await scene.stored()
    await send_transcript(scene.world.around, scene.record, SendTranscript(ORDER))
    assert built
    assert threading.get_ident() not in built


async def test_other_rooms_get_a_turn_after_each_message() -> None:
    """A page of the homeserver has 100, each of which may take 20 ms to read."""
    scene, turns = Scene(FIRST), 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    for number in range(100):
        scene.stands(f"a{number}", ADA, "hello")
    scene.chats = (msgspec.structs.replace(FIRST, first=EventId("$a0")),)
    await scene.stored()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(others())
        await send_transcript(scene.world.around, scene.record, SendTranscript(ORDER))
        await asyncio.sleep(0)  # the last turn may be under way
        waiting.cancel()
    assert turns >= 100


async def test_errors_of_the_homeserver_are_passed_on() -> None:
    scene = Scene(FIRST)
    scene.world.matrix.trouble.append(Unavailable("away"))
    with pytest.raises(Unavailable):
        await scene.asks()
    scene = Scene(FIRST)
    scene.world.matrix.trouble += [Refused("M_NOT_FOUND"), Refused("M_TOO_LARGE")]
    with pytest.raises(Refused, match="M_TOO_LARGE"):
        await scene.asks()


async def test_names_and_roles_of_members_who_left() -> None:
    scene = Scene(FIRST)
    scene.stands("a", UserId("@carl:example.org"), "hello")
    scene.stands("b", UserId("@webchat_K00099:example.org"), "I stood in")
    scene.stands("c", SALES_USER, "a notice")
    scene.stands("d", BOT, "another")
    lines: tuple[Line, ...] = (await scene.written()).messages
    assert [line.name for line in lines[:2]] == ["carl", "@webchat_K00099:example.org"]
    assert [line.role for line in lines] == ["customer", "agent", "service", "service"]
    assert [line.name for line in lines[2:]] == ["Sales", "WebChat"]


async def test_few_transcripts_are_read_at_a_time() -> None:
    """A long one takes 50 MiB of memory until it is sent."""
    world, reading, go_on = World(), 0, asyncio.Event()

    async def timeline(*_: object) -> AsyncGenerator[dict[str, object], None]:
        nonlocal reading
        reading += 1
        await go_on.wait()
        for raw in world.matrix.room:
            yield raw

    world.matrix.timeline = timeline  # type: ignore[assignment, method-assign]
    order = new_effect(SendTranscript(ORDER, by=ADA))
    assert order is not None
    for number in range(2 * TRANSCRIPTS):
        record = msgspec.structs.replace(Scene().record, room_id=RoomId(f"!{number}:example.org"))
        room = StoredRoom(record.room_id, dump_record(record), live=False, phase="Idle")
        await flow.step(world.store, room, effects=[order], chats=[ChatRow(1, dump_chat(FIRST))])
    async with world.running():
        await quiet()
        assert reading == TRANSCRIPTS
        go_on.set()
        while len(world.matrix.sent_files) < 2 * TRANSCRIPTS:
            await quiet()  # each page is made in a thread
        assert reading == 2 * TRANSCRIPTS
