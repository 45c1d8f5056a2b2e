"""A room that is read anew at any moment equals the one in memory.

A random walk plays customers, agents, a call centre, a homeserver, and an operator who changes the
configuration. Between turns of the event loop each room is read as by a process that starts later,
with another configuration, and compared with the room in memory: record, inputs and open effects.

The number of steps comes from RECOVERY_STEPS; the seed is the number of the test.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import msgspec
import pytest

from bridge.config.model import Encryption, TellAgents
from bridge.conversation.model import (
    CallFailed,
    Conversation,
    LinkLost,
    LinkRestored,
    Pushed,
    Replied,
    Signal,
    TurnAwaited,
)
from bridge.conversation.turn import Policy
from bridge.ids import CallId, EventId, QueueId, RoomId
from bridge.rooms.effects import Effect
from bridge.rooms.engine import Engine
from bridge.rooms.ports import Account, CallFailure, Refused, Unavailable
from bridge.rooms.record import RoomRecord
from bridge.rooms.rules import Rules
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Came, Visit, plain_success
from bridge.storage.sqlstore import open_store
from bridge.webchat.codes import FailureReason, RobotUse
from bridge.webchat.frames import Command, Received, Reply
from bridge.webchat.http import HistoryEntry, RobotAnswer
from tests.fakes.clock import ManualClock, quiet
from tests.fakes.link import FakeLink
from tests.fakes.loading import live, loaded
from tests.fakes.reading import Json, ReadingWorld
from tests.unit.conversation.test_walk import Walk
from tests.unit.rooms.visits import ADA, BOT, RULES

STEPS = int(os.environ.get("RECOVERY_STEPS", "4000"))
WALKS = 20
ROOMS = [RoomId("!one:example.org"), RoomId("!two:example.org")]
WORDS = ["hello", "order 4711", "thanks", "human", "2", "好的", "x" * 200]
COMMANDS = (
    "help", "start", "start returns", "cancel", "close", "rate 5 fine", "ask where?", "human",
    "solved", "callback", "queue set 1", "lang ja", "status", "retry", "retry all", "history",
    "pause", "resume", "nonsense",
)  # fmt: skip


class WalkingLink(FakeLink):
    """A call centre that answers as a `Walk` does: mostly correctly.

    Attributes:
        walk: chooses the answers.
        conversations: current conversation of a room.
    """

    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self.walk = walk
        self.conversations: Callable[[RoomId], Conversation] = lambda _: Conversation()

    async def call(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        before_write: Callable[[], Awaitable[None]],
    ) -> Reply:
        self.walk.state = self.conversations(account.room_id)
        answer = self.walk._answer()
        if isinstance(answer, CallFailed) and answer.certain:
            self.before.append(CallFailure(answer.reason, certain=True, code=answer.code))
        elif isinstance(answer, CallFailed):
            self.after.append(CallFailure(answer.reason, certain=False, code=answer.code))
        elif isinstance(answer, Replied):
            self.answers.append(answer.reply)
        return await super().call(account, call_id, command, before_write)

    async def history(self, account: Account, count: int) -> tuple[HistoryEntry, ...] | None:
        recalled = self.walk._recalled()
        self.histories.append(
            CallFailure(FailureReason.UNREACHABLE, certain=True) if recalled.failed
            else recalled.entries
        )  # fmt: skip
        return await super().history(account, count)

    async def ask_robot(self, question: str) -> tuple[RobotAnswer, ...]:
        await self.gate.wait()
        found = (RobotAnswer(question, "It is in the box."),)
        return found if self.walk.random.random() < 0.7 else ()


class Strolling:
    """One random walk through the whole engine.

    Attributes:
        looks: maximum number of attempts to find a room at rest and both equal.
        compared: number of comparisons, and of those with open effects.
    """

    def __init__(self, seed: int, store: object = None) -> None:
        self.looks = 1 if store is None else 100
        self.walk = Walk(seed)
        self.dice = self.walk.random
        self.world = world = ReadingWorld(self.some_rules())
        self.link = WalkingLink(self.walk)
        world.link = world.around.link = self.link
        if store is not None:
            world.store = world.around.store = cast(Any, store)
        world.reading.files["mxc://example.org/a"] = b"abc"
        self.compared: Counter[str] = Counter()
        self.unlike: list[tuple[RoomRecord | None, RoomRecord, list[Effect]]] = []
        """Replies handled without a step for which a step would have had another result."""
        self._number = 0
        self._events: list[tuple[RoomId, EventId]] = []

    def some_rules(self) -> Rules:
        """A configuration as an operator might have it."""
        dice = self.dice
        policy = Policy(
            max_held=dice.choice([3, 20, 200]),
            max_text_bytes=dice.choice([60, 7000]),
            robot=dice.choice(list(RobotUse)),
            hold=dice.choice([60_000, 1_800_000]),
            backoff_first=dice.choice([1_000, 5_000]),
            max_repeats=dice.choice([0, 3]),
            max_tries=dice.choice([1, 3]),
            callback=dice.random() < 0.8,
            callback_first=dice.choice([60_000, 300_000]),
        )
        limits = {"messages_per_minute": dice.choice([2, 1000]), "rooms_per_user": 100}
        return msgspec.structs.replace(
            RULES,
            default_queue=dice.choice([QueueId(1), QueueId(2)]),
            language=dice.choice(["en", "ja", "zh-CN"]),
            start=dice.choice(["on_message", "on_message", "on_command"]),
            limits=RULES.limits.model_copy(update=limits),
            encryption=Encryption(allow=False, require=dice.random() < 0.1),
            robot=dice.random() < 0.8,
            tell=TellAgents(reactions=dice.random() < 0.5),
            policy=policy,
        )

    def success(self, record: RoomRecord, rules: Rules, came: Sequence[Came]) -> RoomRecord | None:
        """`visit.plain_success`, compared with the result of a step."""
        after = plain_success(record, rules, came)
        if after is not None:
            answer = came[0].happened
            assert isinstance(answer, Replied)
            visit = Visit(record, rules, self.world.clock.now())
            visit.step(answer)
            self.compared["success"] += 1
            if visit.effects or visit.record != after:
                self.unlike.append((after, visit.record, visit.effects))
        return after

    # --- what may happen ----------------------------------------------------------------------

    def event(self, kind: str, content: Json, room: RoomId, **more: object) -> None:
        self._number += 1
        event_id = EventId(f"$w{self._number}")
        raw: Json = {"type": kind, "event_id": event_id, "sender": ADA, "content": content, **more}
        self._events.append((room, event_id))
        self._do(lambda engine: engine.accept_events([(room, event_id, raw)]))

    def some_event(self, room: RoomId) -> str:
        """Id of one of the newest events of the customer or the bridge in a room."""
        newest = [event_id for where, event_id in self._events if where == room][-9:]
        ours = [one.event_id for one in self.world.matrix.posted if one.room_id == room][-9:]
        return str(self.dice.choice([*newest, *ours, EventId("$none")]))

    def says(self, room: RoomId) -> None:
        text, more = self.dice.choice(WORDS), dict[str, object]()
        if self.dice.random() < 0.3:
            text = f"!wc {self.dice.choice(COMMANDS)}"
        if self.dice.random() < 0.2:
            more = {"m.relates_to": {"m.in_reply_to": {"event_id": self.some_event(room)}}}
        self.event("m.room.message", {"msgtype": "m.text", "body": text, **more}, room)

    def sends_a_file(self, room: RoomId) -> None:
        kind, mxc = self.dice.choice(["m.file", "m.image"]), self.dice.choice("ab")
        url = f"mxc://example.org/{mxc}"
        self.event("m.room.message", {"msgtype": kind, "body": "a.png", "url": url}, room)

    def corrects(self, room: RoomId) -> None:
        new = {"msgtype": "m.text", "body": self.dice.choice(WORDS)}
        relation = {"rel_type": "m.replace", "event_id": self.some_event(room)}
        content: Json = {**new, "m.new_content": new, "m.relates_to": relation}
        self.event("m.room.message", content, room)

    def reacts(self, room: RoomId) -> None:
        key = self.dice.choice(["🔁", "👍", "👎", "🙋", "🔔", "❌", "1️⃣", "🎉"])
        relation = {
            "rel_type": "m.annotation",
            "event_id": self.some_event(room),
            "key": key,
        }
        self.event("m.reaction", {"m.relates_to": relation}, room)

    def takes_back(self, room: RoomId) -> None:
        self.event("m.room.redaction", {}, room, redacts=self.some_event(room))

    def invites(self, room: RoomId) -> None:
        content: Json = {"membership": "invite", "is_direct": True}
        self.event("m.room.member", content, room, state_key=BOT)

    def leaves(self, room: RoomId) -> None:
        self.event("m.room.member", {"membership": "leave"}, room, state_key=ADA)

    def comes_again(self, room: RoomId) -> None:
        """The homeserver repeats an unanswered event; its content differs by now."""
        if self._events:
            where, event_id = self.dice.choice(self._events[-5:])
            raw: Json = {"type": "m.room.message", "event_id": event_id, "sender": ADA}
            raw["content"] = {"msgtype": "m.text", "body": "again"}
            self._do(lambda engine: engine.accept_events([(where, event_id, raw)]))

    def is_pushed(self, room: RoomId) -> None:
        self.walk.state, self.walk.now = self.link.conversations(room), self.world.clock.now()
        pushed = self.dice.choice([self.walk._push, self.walk._push, self.walk._queue_news])()
        assert isinstance(pushed, Pushed)
        self._number += 1
        key = f"push {self._number - self.dice.choice([0, 0, 0, 1])}"
        received = Received(pushed.push, rs_id=self.dice.choice(["", key]))
        self._do(lambda engine: engine.pushed(room, key, received))

    def link_says(self, room: RoomId) -> None:
        signals: list[Signal] = [LinkRestored(), LinkLost(), TurnAwaited(30)]
        said = self.dice.choice(signals)

        async def signal(engine: Engine) -> None:
            engine.signal(room, said)

        self._do(signal)

    def something_holds(self, room: RoomId) -> None:
        """A peer does not answer for a while, or does again."""
        del room
        gates = [self.link.gate, self.world.matrix.gate]
        if all(gate.is_set() for gate in gates):
            self.dice.choice(gates).clear()
        else:
            for gate in gates:
                gate.set()

    def something_fails(self, room: RoomId) -> None:
        del room
        failures: list[Exception] = [Unavailable("away", 1), Refused("M_FORBIDDEN")]
        self.world.matrix.trouble.append(self.dice.choice(failures))

    def configured(self, room: RoomId) -> None:
        """The operator changes the configuration; an admin may lose the power level."""
        del room
        self.world.around.rules = self.some_rules()
        self.world.matrix.level = self.dice.choice([0, 100])

    # --- the walk -----------------------------------------------------------------------------

    async def go(self, steps: int) -> None:
        kinds: list[tuple[int, Callable[[RoomId], None]]] = [
            (14, self.says),
            (2, self.sends_a_file),
            (2, self.corrects),
            (4, self.reacts),
            (2, self.takes_back),
            (2, self.invites),
            (1, self.comes_again),
            (14, self.is_pushed),
            (2, self.link_says),
            (5, self.something_holds),
            (2, self.something_fails),
            (2, self.configured),
        ]
        with patch("bridge.rooms.room.plain_success", self.success):
            await self._walk(steps, kinds)
        assert not self.unlike

    async def _walk(
        self, steps: int, kinds: Sequence[tuple[int, Callable[[RoomId], None]]]
    ) -> None:
        weights = [weight for weight, _ in kinds]
        async with self.world.running() as engine, asyncio.TaskGroup() as tasks:
            under_way: list[asyncio.Task[object]] = []
            self._do = lambda work: under_way.append(tasks.create_task(work(engine)))
            self.link.conversations = lambda room: engine._rooms[room].record.conversation
            for room in ROOMS:
                self.invites(room)
            await quiet()
            for _ in range(steps):
                ((_, happens),) = self.dice.choices(kinds, weights)
                happens(self.dice.choice(ROOMS))
                if self.dice.random() < 0.004:
                    self.leaves(self.dice.choice(ROOMS))
                for _ in range(self.dice.choice([0, 1, 3, 20])):
                    await asyncio.sleep(0)
                if self.dice.random() < 0.1:
                    await self.world.clock.turn(self.dice.choice([0.5, 3, 20, 61, 400]))
                for room in ROOMS:
                    await self.compare(engine, room)
            for task in under_way:
                task.cancel()

    async def compare(self, engine: Engine, room: RoomId) -> None:
        """Read the room anew, in other surroundings, at a moment at which it rests.

        A real database takes a while to write and to answer: several attempts may be needed.
        """
        for left in reversed(range(self.looks)):
            before = await live(engine, room)
            if before is None and left < self.looks - 10:
                return  # Its outcomes wait for the clock, which stands still here.
            if before is not None:
                found = await loaded(self.later(), room)
                if before == await live(engine, room) and (found == before or not left):
                    assert found == before
                    self.compared["rooms"] += 1
                    self.compared["work"] += any(rows for _, rows in found.work)
                    return
            if left:
                await asyncio.sleep(0.005)

    def later(self) -> Surroundings:
        """Surroundings of a process that starts later: the same store, another configuration."""
        around = self.world.around
        clock = ManualClock()
        clock._now = self.world.clock.now() + 3_600_000
        nobody: Any = None
        return Surroundings(around.store, nobody, nobody, clock, self.some_rules(), nobody, nobody)

    _do: Callable[[Callable[[Engine], Coroutine[Any, Any, object]]], None]


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(WALKS))
async def test_a_room_read_at_any_moment_equals_the_live_one(seed: int) -> None:
    stroll = Strolling(seed)
    await stroll.go(STEPS // WALKS)
    assert stroll.compared["rooms"] > STEPS // WALKS
    assert stroll.compared["work"]


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(100, 102))
async def test_a_room_read_from_sqlite_equals_the_live_one(seed: int, tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'bridge.db'}", ManualClock()) as store:
        stroll = Strolling(seed, store)
        await stroll.go(60)
    assert stroll.compared["rooms"] > 30
