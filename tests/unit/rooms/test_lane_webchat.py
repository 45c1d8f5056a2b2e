"""Calls and uploads: each outcome, and what is known about each failure."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from bridge.conversation.model import (
    CallFailed,
    Idle,
    LinkRestored,
    Outstanding,
    Queued,
    Replied,
    Uploaded,
)
from bridge.ids import CallId, QueueId, RequestId
from bridge.rooms.ports import CallFailure, NoSpace, Refused, TooBig, Unavailable
from bridge.rooms.record import load_input
from bridge.rooms.store import Lane, NewEffect, Outcome
from bridge.rooms.to_webchat import AWAY
from bridge.rooms.visit import stored_as
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import (
    File,
    RateSession,
    Reply,
    RequestChat,
    SendMessage,
    SendPreMessage,
    Voice,
)
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, SESSION, World
from tests.fakes.memory import dead_letters
from tests.fakes.reading import Json, ReadingWorld
from tests.fakes.store import Fault, FlakyStore
from tests.fakes.threads import NotedThreads
from tests.support.sounds import tone
from tests.unit.rooms.visits import RULES


async def one(world: World, kind: str = "say") -> object:
    """Let the customer send one message; return the first input that the lane brought back.

    It is stored instead of handled at once, so that it can be read here.
    """
    assert isinstance(world.store, FlakyStore)
    await world.chatting()
    async with world.running() as engine:
        reader = engine._room(ROOM)._reader
        now = reader.handle_now
        reader.handle_now = lambda visit, came: (  # type: ignore[method-assign]
            came.key is not None and now(visit, came)
        )
        await engine.accept_events([world.event(kind, text="one")])
        await quiet()
    rows = world.store.rows("journal")
    brought = [row["body"] for row in rows if row["key"] is None and row["body"] is not None]
    return load_input(brought[0])


def outcome(world: World) -> str:
    lane, found = world.counts.settled_rows[0]
    assert lane == "webchat"
    return found


@pytest.mark.asyncio
async def test_a_successful_reply_becomes_an_input() -> None:
    world = World(FlakyStore())
    happened = await one(world)
    assert isinstance(happened, Replied)
    assert happened.reply.ok
    assert outcome(world) == Outcome.DELIVERED
    assert world.link.texts(ROOM) == ["one"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "level", "name"),
    [
        (-6, "warning", "INVAILD_CLIENT_ID"),
        (-7, "warning", "INVAILD_QUEUE_ID"),
        (-8, "warning", "REQUEST_ERROR"),
        (-16, "info", "INVAILD_FILE_EXTENSION"),
        (-19, "warning", "INVAILD_REQUEST_TYPE"),
    ],
)
async def test_a_refusal_is_logged_by_the_vendors_name(code: int, level: str, name: str) -> None:
    """Table row 16, trap T30: the room is told `result.-7`; an operator can look the name up."""
    world = World(FlakyStore())
    world.link.answers.append(Reply(110, code))
    with capture_logs() as logs:
        await one(world)
    (line,) = (log for log in logs if log["event"] == "WebChat refused a command")
    assert (line["log_level"], line["result"], line["name"]) == (level, code, name)
    # These lead from the log line to the room and, by `trace`, to the message.
    assert (line["room"], line["chat"], line["event_id"]) == (ROOM, 1, "$e1")


@pytest.mark.asyncio
async def test_a_refusing_reply_becomes_an_input() -> None:
    world = World(FlakyStore())
    world.link.answers.append(Reply(110, -16))
    happened = await one(world)
    assert isinstance(happened, Replied)
    assert happened.reply.result == -16
    assert outcome(world) == Outcome.REFUSED


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("failure", "wanted"),
    [
        (CallFailure(FailureReason.UNREACHABLE, certain=True), Outcome.FAILED),
        (CallFailure(FailureReason.LOGIN_REFUSED, certain=True, code=-20), Outcome.REFUSED),
        (CallFailure(FailureReason.NO_ANSWER, certain=False), Outcome.UNCERTAIN),
        (CallFailure(FailureReason.SILENT, certain=False), Outcome.UNCERTAIN),
    ],
    ids=["failed", "refused", "uncertain", "mute"],
)
async def test_a_failed_call_is_told_with_its_reason(failure: CallFailure, wanted: Outcome) -> None:
    world = World(FlakyStore())
    (world.link.before if failure.certain else world.link.after).append(failure)
    happened = await one(world)
    assert isinstance(happened, CallFailed)
    assert (happened.reason, happened.certain, happened.code) == (
        failure.reason,
        failure.certain,
        failure.code,
    )
    assert outcome(world) == wanted


@pytest.mark.asyncio
async def test_an_exception_before_or_after_the_write_fails_the_call() -> None:
    """The failure is certain only if no byte can have been written."""
    for failures, reason in (("before", "unreachable"), ("after", "no_answer")):
        world = World(FlakyStore())
        getattr(world.link, failures).append(ZeroDivisionError("a bug"))
        happened = await one(world)
        assert isinstance(happened, CallFailed)
        assert (happened.reason, happened.certain) == (reason, failures == "before")


@pytest.mark.asyncio
async def test_a_request_that_was_given_up_in_the_same_step_is_not_sent() -> None:
    """A customer who writes and leaves at once causes no login (security M2)."""
    world = World(FlakyStore())
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(), world.event("gone")])
        await quiet()
    assert world.link.calls == []
    assert world.counts.settled_rows[0] == ("webchat", Outcome.FAILED)
    assert isinstance((await world.stored()).conversation.phase, Idle)
    assert await world.nothing_left()


@pytest.mark.asyncio
@pytest.mark.parametrize("known", [True, False])
async def test_an_unreadable_effect_fails_its_call(known: bool) -> None:
    """If no call is outstanding, as without the key of the sealed record, it is a dead letter."""
    world = World(FlakyStore())
    await world.chatting()
    found = (await world.store.load(ROOM)).room
    assert found is not None
    if known:
        record = await world.stored()
        asked = Outstanding(CallId(7), RateSession(SESSION, 3))
        state = replace(record.conversation, outstanding=asked)
        found = stored_as(replace(record, conversation=state), found.revision)
    effect = NewEffect(Lane.WEBCHAT, b"null", call_id=7)
    await flow.step(world.store, found, effects=[effect])
    async with world.running():
        await quiet()
    outcome = Outcome.FAILED if known else Outcome.DEAD
    assert world.counts.settled_rows[0] == ("webchat", outcome)
    assert len(await dead_letters(world.store)) == (not known)
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_call_is_not_written_unless_its_attempt_is_marked() -> None:
    store = FlakyStore()
    world = World(store)
    store.fail("mark_attempted", Fault.BEFORE)
    happened = await one(world)
    assert isinstance(happened, CallFailed)
    assert (happened.reason, happened.certain) == (FailureReason.UNREACHABLE, True)
    assert world.link.calls == []


@pytest.mark.asyncio
async def test_a_voice_message_is_converted_in_the_conversion_threads() -> None:
    world, threads = ReadingWorld(), NotedThreads()
    world.around.conversions = threads
    await world.chatting()
    world.reading.files["mxc://h/v"] = tone(1)
    voice: Json = {"msgtype": "m.audio", "body": "v.ogg", "url": "mxc://h/v"}
    async with world.running() as engine:
        event = world.message("$v", **voice, **{"org.matrix.msc3245.voice": {}})
        await engine.accept_events([event])
        async with asyncio.timeout(20):
            while not world.link.calls:
                world.counts.news.clear()
                await world.counts.news.wait()
    assert threads.asked == ["apart"]
    (call,) = world.link.calls
    assert isinstance(call.command, SendMessage)
    assert isinstance(call.command.content, Voice)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("takes", "refused", "sent"),
    [
        (True, None, Voice(12, "", "https://crm.example.org/1")),
        (True, -16, "https://crm.example.org/1"),
        (False, None, "https://crm.example.org/1"),
    ],
)
async def test_a_long_clip_is_uploaded(*, takes: bool, refused: int | None, sent: object) -> None:
    """As AMR, for a message with its address; unconverted if the server does not support that."""
    rules = msgspec.structs.replace(RULES, longest_clip=lambda: 7400, long_voices=lambda: takes)
    world = ReadingWorld(rules=rules)
    await world.chatting()
    world.reading.files["mxc://h/v"] = tone(12)
    if refused is not None:
        failure = CallFailure(FailureReason.REFUSED, certain=True, code=refused)
        world.link.before.append(failure)
    voice: Json = {"msgtype": "m.audio", "body": "v.ogg", "url": "mxc://h/v"}
    async with world.running() as engine:
        event = world.message("$v", **voice, **{"org.matrix.msc3245.voice": {}})
        await engine.accept_events([event])
        async with asyncio.timeout(20):
            while not world.link.calls:
                world.counts.news.clear()
                await world.counts.news.wait()
    command = world.link.calls[0].command
    assert isinstance(command, SendMessage)
    content = command.content
    assert (content.url if isinstance(content, File) else content) == sent
    assert world.link.uploads == 1


@pytest.mark.asyncio
async def test_a_file_is_uploaded_and_its_size_known() -> None:
    world = World(FlakyStore())
    happened = await one(world, "file")
    assert isinstance(happened, Uploaded)
    assert (happened.url, happened.size) == ("https://crm.example.org/1", 3)
    assert outcome(world) == Outcome.DELIVERED


@pytest.mark.asyncio
async def test_a_token_that_expires_during_an_upload_is_not_reported() -> None:
    """A login is under way: the file is uploaded with the next token, and nothing is reported."""
    world = World(FlakyStore())
    ended = CallFailure(FailureReason.UNREACHABLE, certain=True, code=-15)
    world.link.before.append(ended)
    happened = await one(world, "file")
    assert isinstance(happened, Uploaded)
    assert outcome(world) == Outcome.DELIVERED


@pytest.mark.asyncio
async def test_a_token_that_is_refused_twice_fails_the_upload() -> None:
    world = World(FlakyStore())
    ended = CallFailure(FailureReason.UNREACHABLE, certain=True, code=-15)
    world.link.before.extend([ended, ended])
    happened = await one(world, "file")
    assert isinstance(happened, CallFailed)
    assert (happened.reason, happened.code) == (FailureReason.UNREACHABLE, -15)


@pytest.mark.asyncio
async def test_a_file_above_the_bridges_limit_fails_with_the_limit() -> None:
    """The call centre's own limit (413, -14) is unknown."""
    world = World(FlakyStore())
    world.matrix.trouble.append(TooBig("60 MB"))
    happened = await one(world, "file")
    assert isinstance(happened, CallFailed)
    assert (happened.reason, happened.limit) == (FailureReason.TOO_BIG, RULES.limits.file)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ([Refused("M_NOT_FOUND")], FailureReason.MEDIA_GONE),
        ([Refused("M_BAD_FILE")], FailureReason.MEDIA_CHANGED),
        ([Unavailable("away")], FailureReason.MEDIA_AWAY),
        ([Unavailable("away"), Refused("M_FORBIDDEN")], FailureReason.MEDIA_AWAY),
        ([NoSpace("the bridge's disk is full")], FailureReason.INTERNAL),
    ],
    ids=["gone", "changed", "away", "away_outside", "no_space"],
)
async def test_a_file_that_the_homeserver_does_not_deliver_fails(
    trouble: list[Exception], reason: FailureReason
) -> None:
    world = World(FlakyStore())
    world.matrix.trouble.extend(trouble)
    happened = await one(world, "file")
    assert isinstance(happened, CallFailed)
    assert (happened.reason, happened.certain) == (reason, True)


@pytest.mark.asyncio
async def test_a_file_waits_for_a_homeserver_that_is_away() -> None:
    """Nobody could be told that it failed, and the customer could not send it again."""
    world = World()
    await world.chatting()
    away = [Unavailable("away")] * 2 * 90  # the file and the homeserver itself
    world.matrix.trouble.extend(away)
    async with world.running() as engine:
        await engine.accept_events([world.event("file"), world.event(text="look")])
        await world.clock.turn(89 * (AWAY + 1))
        assert (world.link.uploads, world.link.texts(ROOM)) == (0, [])
        await world.clock.turn(AWAY + 1)
    assert world.link.uploads == 1
    assert world.link.texts(ROOM) == ["look"]
    assert world.matrix.texts(ROOM) == []
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_file_that_the_call_centre_refuses_fails_with_its_code() -> None:
    world = World(FlakyStore())
    refusal = CallFailure(FailureReason.REFUSED, certain=True, code=-17)
    world.link.before.append(refusal)
    happened = await one(world, "file")
    assert isinstance(happened, CallFailed)
    assert happened.code == -17
    assert outcome(world) == Outcome.REFUSED


@pytest.mark.asyncio
async def test_an_exception_while_handling_a_reply_is_an_uncertain_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The socket's reader reports it and has to go on: the call is sent again, and marked."""
    world = World(FlakyStore())
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await quiet()
        with monkeypatch.context() as patched:
            patched.setattr("bridge.rooms.to_webchat.Replied", None)
            await engine.accept_events([world.event(text="two")])
            await quiet(10)
        await world.clock.turn(60)
    assert ("webchat", Outcome.UNCERTAIN) in world.counts.settled_rows
    assert world.link.texts(ROOM)[:2] == ["one", "two"]
    assert len({call.call_id for call in world.link.calls}) == 2
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_request_given_up_while_it_waits_for_the_link_is_not_sent() -> None:
    world, linked = World(), asyncio.Event()

    async def opening() -> None:
        await linked.wait()

    phase = Queued(QueueId(1), world.clock.now(), RequestId(9001), heard_at=world.clock.now())
    await world.record(ROOM, phase)
    world.link.free, world.link.disturb = lambda: False, opening
    async with world.running() as engine:
        engine.signal(ROOM, LinkRestored())
        await engine.accept_events([world.event(text="cancel")])
        await world.clock.turn(20)
        await engine.accept_events([world.event(text="are you there?")])
        await quiet()
        linked.set()
        await quiet()
    assert [type(call.command) for call in world.link.calls] == [RequestChat, SendPreMessage]
