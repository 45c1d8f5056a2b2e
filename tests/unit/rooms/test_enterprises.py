"""Several call centres: which one serves a room, and that no data passes between them."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from bridge.config.model import Permission, Queue
from bridge.conversation.model import (
    Callback,
    CallWebChat,
    Card,
    Chatting,
    Conversation,
    CustomerText,
    Ended,
    Held,
    Idle,
    Phase,
    Queued,
    Reported,
)
from bridge.ids import EventId, QueueId, RequestId, RoomId, SessionId, UserId
from bridge.rooms.effects import Conceal, EnterRoom, LeaveRoom, SendTranscript
from bridge.rooms.engine import Engine
from bridge.rooms.people import Standing
from bridge.rooms.ports import (
    CallFailure,
    Corrected,
    Others,
    PollAnswered,
    Reacted,
    Recorded,
    RoomConfigured,
    Spoke,
)
from bridge.rooms.reader import Facts, receive
from bridge.rooms.record import (
    CardKind,
    Chat,
    ChatAgent,
    Ending,
    Membership,
    Order,
    OurCard,
    OwnLogin,
    RoomRecord,
    RoomSettings,
    dump_chat,
    dump_record,
    load_chat,
)
from bridge.rooms.references import Earlier
from bridge.rooms.rules import (
    GONE,
    BadOrder,
    Rules,
    bridge_state_of,
    chosen,
    moved,
    set_together,
    settings_of_event,
    settled,
    state_of,
    unconfigured_rules,
)
from bridge.rooms.store import ChatRow, StoredRoom
from bridge.rooms.surroundings import Waits
from bridge.rooms.transcripts import Telling, Transcript, send_transcript
from bridge.texts import Texts
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import ChatStarted, Received, SendPreMessage, SessionClosed
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import LANES, MEI, ROOM, SESSION, World, said
from tests.fakes.link import FakeLink
from tests.unit.rooms.visits import ADA, BOT, NEIGHBOUR, RULES, SALES_USER, House, answer

OTHER = RoomId("!other:example.org")
BEST_USER = UserId("@best_queue_1:example.org")
NOW = House().now
REPAIRS = Queue(id=1, name="Repairs")


class Two(World):
    """Two call centres with one bot, and queues of the same number: `acme` and `best`.

    Attributes:
        best_link: the second one's server; `link` is the first one's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.best_link = FakeLink()
        self.known: dict[str, Rules] = {}
        self.served: dict[str, Permission] = {}
        acme = self._rules("acme", self.around.rules)
        best = self._rules(
            "best",
            replace(
                self.around.rules,
                queues=(REPAIRS,),
                default_queue=QueueId(1),
                queue_of_user=lambda user: QueueId(1) if user == BEST_USER else None,
            ),
        )
        self.around.rules = acme
        self.best = replace(self.around, link=self.best_link, rules=best, waits=Waits("best"))
        nobody = replace(acme, enterprise=GONE, permission=lambda _: Permission.NONE)
        closed = FakeLink()
        closed.before.extend([CallFailure(FailureReason.UNREACHABLE, "not running")] * 1000)
        self.gone = replace(self.around, link=closed, rules=nobody)

    def _rules(self, name: str, rules: Rules) -> Rules:
        self.known[name] = replace(
            rules,
            enterprise=name,
            choices=("acme", "best"),
            permission=lambda user: self.served.get(name, RULES.permission(user)),
            enterprises_of=lambda user: ("best",) if user == BEST_USER else ("acme", "best"),
            rules_of=lambda one: self.known.get(one or "acme"),
            login_key=lambda room_id: f"{name} {room_id}",
        )
        return self.known[name]

    def acme_serves_nobody(self) -> None:
        """Reload with a first call centre that serves nobody."""
        self.served["acme"] = Permission.NONE
        self.around.rules = self._rules("acme", self.around.rules)

    def engine(self, others: Others | None = None) -> Engine:
        every = {"acme": self.around, "best": self.best, GONE: self.gone, "": self.around}
        return Engine(every, LANES, linger=0)

    async def take_part(self, engine: Engine, room_id: RoomId = ROOM, host: UserId = BOT) -> None:
        """Invite `host` into a room, and write there."""
        await engine.accept_events([self.invitation(room_id, host)])
        await quiet()
        await self.clock.turn(10)
        await engine.accept_events([self.event(text="anybody?", room_id=room_id)])
        await quiet()
        await engine.pushed(room_id, f"start {room_id}", Received(ChatStarted(SESSION, (MEI,))))
        await quiet()
        await engine.accept_events([self.event(text="hello", room_id=room_id)])
        await quiet()


async def with_former(world: Two, **changes: object) -> None:
    """Store the room, with these changes, as one of a call centre that has been removed."""
    record = replace(await world.stored(), enterprise="former", **changes)
    phase = type(record.conversation.phase).__name__
    await flow.step(world.writing, StoredRoom(ROOM, dump_record(record), True, phase, revision=1))


@pytest.mark.asyncio
async def test_the_invited_user_decides_which_call_centre_serves_a_room() -> None:
    world = Two()
    async with world.running() as engine:
        await world.take_part(engine)
        await world.take_part(engine, OTHER, BEST_USER)
        assert engine.chats() == {
            ("acme", "Chatting", QueueId(2)): 1,
            ("best", "Chatting", QueueId(1)): 1,
        }
    assert (world.link.texts(ROOM), world.link.texts(OTHER)) == (["hello"], [])
    assert (world.best_link.texts(ROOM), world.best_link.texts(OTHER)) == ([], ["hello"])
    acme, best = await world.stored(), await world.stored(OTHER)
    assert (acme.enterprise, acme.key) == ("acme", f"acme {ROOM}")
    assert (best.enterprise, best.key) == ("best", f"best {OTHER}")


@pytest.mark.asyncio
async def test_a_shared_bot_enters_for_the_first_centre_that_serves_the_inviter() -> None:
    world = Two()
    world.served["acme"] = Permission.NONE
    async with world.running() as engine:
        await world.take_part(engine)
    assert (await world.stored()).enterprise == "best"
    assert world.best_link.texts(ROOM) == ["hello"]


@pytest.mark.asyncio
async def test_a_room_keeps_its_call_centre_after_a_restart() -> None:
    world = Two()
    async with world.running() as engine:
        await world.take_part(engine, OTHER, BEST_USER)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="again", room_id=OTHER)])
        await quiet()
    assert world.best_link.texts(OTHER) == ["hello", "again"]
    assert world.link.calls == []


@pytest.mark.asyncio
async def test_a_room_stored_without_a_call_centre_belongs_to_the_first() -> None:
    """Stored while only one was configured."""
    world = Two()
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        await engine.pushed(ROOM, "p1", said("hi"))
        await quiet()
    assert world.link.texts(ROOM) == ["hello"]
    assert (await world.stored()).enterprise == "acme"


@pytest.mark.asyncio
async def test_messages_for_a_removed_call_centre_go_to_no_other() -> None:
    world = Two()
    phase = Chatting(SESSION, world.clock.now(), QueueId(1), (MEI,))
    await world.record(ROOM, phase)
    await with_former(world)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="hello")])
        await quiet()
    assert world.link.calls == world.best_link.calls == []
    assert "refused.gone" in world.matrix.texts(ROOM)
    assert (await world.stored()).enterprise == "former"


@pytest.mark.asyncio
async def test_another_call_centre_gets_the_room_only_after_the_chat() -> None:
    """The customer left the room, and the first call centre does not answer."""
    world = Two()
    async with world.running() as engine:
        await world.take_part(engine)
        world.link.gate.clear()
        await engine.accept_events([world.event("gone", who=ADA)])
        await quiet()
        await engine.accept_events([world.invitation(whom=BEST_USER)])
        await quiet()
        await world.clock.turn(10)
        assert "refused.other_enterprise" in world.matrix.texts(ROOM)
        assert engine._room(ROOM).around.rules.enterprise == "acme"
        world.link.gate.set()
        await quiet()
        await world.clock.turn(60)
        await engine.accept_events([world.invitation(whom=BEST_USER)])
        await quiet()
        await world.clock.turn(10)
        assert engine._room(ROOM).around.rules.enterprise == "best"


@pytest.mark.asyncio
async def test_an_admin_chooses_a_call_centre_that_shares_the_bot() -> None:
    world = Two()
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
        await world.clock.turn(10)
        await engine.order(ROOM, Order("operator", "cli", "config set enterprise best"))
        await quiet()
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        await engine.pushed(ROOM, "p", Received(ChatStarted(SESSION, (MEI,))))
        await engine.accept_events([world.event(text="hello again")])
        await quiet()
        assert engine._room(ROOM).around.rules.enterprise == "best"
        await engine.order(ROOM, Order("operator", "cli", "config set enterprise acme"))
        await quiet()
        await engine.accept_events([world.event(text="still here")])
        await quiet()
        assert engine._room(ROOM).around.rules.enterprise == "best", "a chat runs"
        world.matrix.gate.clear()
        await engine.pushed(ROOM, "end", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
        await world.clock.turn(600)
        await engine.accept_events([world.event(text="version")])
        await quiet()
        assert engine._room(ROOM).around.rules.enterprise == "best", "nobody knows of the end yet"
        world.matrix.gate.set()
        await quiet()
        await engine.accept_events([world.event(text="version")])
        await quiet()
        assert engine._room(ROOM).around.rules.enterprise == "acme"
    assert world.best_link.texts(ROOM) == ["hello again", "still here"]
    assert world.link.calls == []
    assert world.matrix.polls == [], "a rating would be too late"


@pytest.mark.asyncio
async def test_a_message_that_did_not_arrive_goes_to_the_chosen_call_centre_if_wished() -> None:
    world = Two()
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
        await world.clock.turn(10)
        await engine.order(ROOM, Order("operator", "cli", "pause"))
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        assert "undelivered.paused\nagain.hint" in world.matrix.texts(ROOM)
        for words in ("resume", "config set enterprise best"):
            await engine.order(ROOM, Order("operator", "cli", words))
            await quiet()
        await engine.accept_events([world.event(text="retry")])
        await quiet()
    sent = [one.command for one in world.best_link.calls]
    assert [one.text for one in sent if isinstance(one, SendPreMessage)] == ["hello"]
    assert world.link.calls == []


@pytest.mark.asyncio
async def test_chats_keep_the_name_of_their_queue_after_a_move() -> None:
    world = Two()
    async with world.running() as engine:
        await world.take_part(engine)
        await engine.pushed(ROOM, "end", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
        await engine.order(ROOM, Order("operator", "cli", "config set enterprise best"))
        await quiet()
        await engine.order(ROOM, Order("operator", "cli", "start"))
        await quiet()
    record = await world.stored()
    former, latest = (load_chat(row.chat) for row in reversed(await world.store.chats(ROOM, 2)))
    assert (former.enterprise, latest.enterprise) == ("acme", "best")
    for rules in (world.around.rules, world.best.rules):
        telling = Telling(replace(rules, texts=RULES.texts), record)
        assert [telling.line(one, None).split(" · ")[1] for one in (former, latest)] == [
            RULES.queue_name(former.queue_id),
            "Repairs",
        ]


def test_chats_of_a_removed_call_centre_have_no_name_of_another() -> None:
    former = Chat(3, QueueId(1), 1, enterprise="former")
    before = Chat(1, QueueId(1), 1)  # with the first one, when it was the only one
    for rules in (Two().around.rules, Two().best.rules):
        assert rules.of_chat(former).queue_name(former.queue_id) == "1"
        assert rules.of_chat(before).queue_name(before.queue_id) == "Sales"


@pytest.mark.asyncio
async def test_a_transcript_after_a_move_knows_the_agents_of_the_former_call_centre() -> None:
    world = Two()
    mei = UserId(f"@best_{MEI.id}:example.org")
    world.matrix.ghosts["best"] = "best"
    chat = Chat(1, QueueId(1), 1_000, 2_000, ended=9_000, enterprise="best", first=EventId("$a"))
    chat = replace(chat, agents=(ChatAgent(MEI.id, "Mei"),))
    record = RoomRecord(ROOM, membership=Membership.JOINED, host=BOT, customer=ADA)
    for event_id, sender in (("$a", ADA), ("$m", mei), ("$n", BEST_USER)):
        said = Recorded(EventId(event_id), sender, 3_000, CustomerText("words"), "words")
        world.matrix.room.append({"event_id": event_id, "kind": "recorded", "recorded": said})
    row = ChatRow(1, dump_chat(chat))
    await flow.step(
        world.store, StoredRoom(ROOM, dump_record(record), live=False, phase="Idle"), chats=[row]
    )
    await send_transcript(world.around, record, SendTranscript(EventId("$o"), 1, json=True))
    _, file = world.matrix.sent_files
    found = msgspec.json.decode(file.data, type=Transcript)
    assert [(one.role, one.name) for one in found.messages] == [
        ("customer", "ada"),
        ("agent", "Mei"),
        ("service", "Repairs"),
    ]
    assert (found.chat.enterprise, found.chat.queue.name) == ("best", "Repairs")


@pytest.mark.asyncio
async def test_undo_of_a_chosen_call_centre_restores_the_queue_too() -> None:
    world = Two()
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        for words in ("queue set 2", "config set enterprise best", "status"):
            await engine.order(ROOM, Order("operator", "api", words))
            await quiet()
        assert (await world.stored()).enterprise == "best"
        for words in ("undo", "status"):
            await engine.order(ROOM, Order("operator", "api", words))
            await quiet()
    record = await world.stored()
    assert record.settings == RoomSettings(QueueId(2), enterprise="acme")
    assert record.enterprise == "acme"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "way", ["config reset", "config reset enterprise", "api", "api with a queue", "state"]
)
async def test_resetting_the_choice_returns_a_room_to_its_call_centre(way: str) -> None:
    world = Two()
    world.matrix.level = 50
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.order(ROOM, Order("operator", "api", "config set enterprise best"))
        await quiet()
        await engine.order(ROOM, Order("operator", "api", "status"))
        await quiet()
        assert (await world.stored()).enterprise == "best"
        if way == "state":
            content: dict[str, object] = {"queue": 2}
            await engine.accept_events([world.event("configure", content=content)])
        elif way.startswith("api"):
            chosen = {"enterprise": ""} | ({"queue": "2"} if "queue" in way else {})
            await engine.order(ROOM, Order("operator", "api", settings=chosen))
        else:
            await engine.order(ROOM, Order("operator", "api", way))
        await quiet()
        await engine.order(ROOM, Order("operator", "api", "status"))
        await quiet()
    record, queue = await world.stored(), QueueId(2) if "state" in way or "queue" in way else None
    assert record.enterprise == "acme"
    assert record.settings == RoomSettings(queue, enterprise="acme")
    assert world.matrix.configured[ROOM] == state_of(record.settings)


def test_queues_shown_are_those_of_the_chosen_call_centre() -> None:
    house = House(Two().around.rules).served()
    house.visit.set(settings=RoomSettings(enterprise="best"))
    for words, key, named in (
        ("queue show", "command.queue", ("queue", "Repairs")),
        ("queue", "command.queue", ("queue", "Repairs")),
    ):
        house.say(f"!wc {words}")
        said, args = answer(house)
        assert (said, args[named[0]]) == (key, named[1])


def test_start_with_a_queue_of_the_chosen_call_centre_changes_no_setting() -> None:
    """The chosen call centre serves the room only once the chat is over."""
    house = House(Two().around.rules).served().chat()
    house.visit.set(settings=RoomSettings(enterprise="best"))
    house.say("!wc start Repairs")
    assert answer(house)[0] == "config.bad_queue"
    assert house.record.settings == RoomSettings(enterprise="best")


@pytest.mark.asyncio
async def test_effects_under_way_stay_with_their_call_centre() -> None:
    """The chat is over, and its agent's last words are not in the room yet."""
    world = Two()
    async with world.running() as engine:
        await world.take_part(engine)
        world.matrix.gate.clear()
        await engine.pushed(ROOM, "p", said("goodbye"))
        await engine.pushed(ROOM, "end", Received(SessionClosed(SESSION, MEI.id)))
        await engine.accept_events([world.event("gone", who=ADA)])
        await quiet()
        await world.clock.turn(600)
        room = engine._room(ROOM)
        assert settled(room.record.conversation, room.around.rules)
        world.acme_serves_nobody()
        await engine.accept_events([world.invitation(whom=BEST_USER)])
        await quiet()
        assert room.around.rules.enterprise == "acme"
        world.matrix.gate.set()
        await quiet()
        await world.clock.turn(60)
        assert "refused.other_enterprise" in world.matrix.texts(ROOM)
        await engine.accept_events([world.invitation(whom=BEST_USER)])
        await quiet()
        assert room.around.rules.enterprise == "best"
    assert "goodbye" in world.matrix.texts(ROOM)


async def of_removed(world: Two) -> None:
    """Store a room with a chat at a call centre that has been removed: nobody can end it."""
    await world.record(ROOM, Chatting(SESSION, world.clock.now(), QueueId(1), (MEI,)))
    chat = Chat(1, QueueId(1), 1, 2, session_id=SESSION, enterprise="former")
    state = replace((await world.stored()).conversation, number=1)
    await with_former(world, chats=(chat,), conversation=state)


@pytest.mark.asyncio
async def test_an_operator_chooses_another_for_a_room_of_a_removed_call_centre() -> None:
    world = Two()
    await of_removed(world)
    async with world.running() as engine:
        await engine.order(ROOM, Order("operator", "cli", "config set enterprise best"))
        await quiet()
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        assert engine._room(ROOM).around.rules.enterprise == "best"
    _, former = (load_chat(row.chat) for row in await world.store.chats(ROOM, 2))
    assert (former.enterprise, former.ending) == ("former", Ending.LOST)


@pytest.mark.parametrize("way", ["command", "state", "invitation"])
def test_messages_kept_for_a_removed_call_centre_are_given_back_to_their_senders(way: str) -> None:
    """They went to nobody, whatever was promised, and no other call centre gets them."""
    house = of_removed_centre()
    kept = Held(EventId("$kept"), CustomerText("are you there?"), NOW)
    promised = Callback(QueueId(1), wanted=NOW)
    state = replace(house.record.conversation, held=(kept,), callback=promised)
    house.visit.set(conversation=state)
    if way == "command":
        house.say("!wc config set enterprise best", standing=Standing.ADMIN)
    elif way == "state":
        wish = RoomConfigured(EventId("$s"), ADA, {"enterprise": "best"})
        house.receive(wish, standing=Standing.ADMIN)
    else:
        house.invite(whom=BEST_USER)
        assert house.record.enterprise == "best"
    assert house.reported == {EventId("$kept"): "refused.gone"}
    assert house.record.conversation.held == ()
    assert settled(house.record.conversation, replace(RULES, enterprise=GONE))


def test_the_queue_of_a_removed_call_centre_ends_with_its_messages_given_back() -> None:
    """No agent has read what was sent ahead of the chat, and nobody waits any more."""
    house = of_removed_centre()
    sent = Held(EventId("$sent"), CustomerText("I need help"), NOW)
    waits = Queued(QueueId(1), NOW, pre_sent=(sent,))
    house.visit.set(conversation=replace(house.record.conversation, number=3, phase=waits))
    house.say("!wc config set enterprise best", standing=Standing.ADMIN)
    assert house.reported == {EventId("$sent"): "refused.gone"}
    assert [one for one in house.effects if isinstance(one, Card)] == [Card(3, "queue.over")]


@pytest.mark.asyncio
async def test_the_queue_of_a_removed_call_centre_can_be_left() -> None:
    """Although nobody has its permission any more."""
    world = Two()
    now = world.clock.now()
    await world.record(ROOM, Queued(QueueId(1), now, RequestId(9001), heard_at=now))
    await with_former(world)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="!wc cancel")])
        await quiet()
        await world.clock.turn(60)
        assert world.matrix.texts(ROOM)[-1] == "queue.cancelled"
    assert isinstance((await world.stored()).conversation.phase, Idle)


def test_the_only_call_centre_that_is_left_can_be_chosen() -> None:
    house = of_removed_centre()
    left = replace(Two().around.rules, choices=())
    house.visit.rules = unconfigured_rules([left])
    house.say("!wc config set enterprise acme", standing=Standing.ADMIN)
    assert answer(house)[0] == "config.taken"
    assert chosen(house.record, house.visit.rules, NOW)[0].enterprise == "acme"
    house.visit.rules = unconfigured_rules([replace(left, enterprise="")])
    house.say("!wc config set enterprise acme", standing=Standing.ADMIN)
    assert answer(house)[0] == "config.bad_key", "the short form has no name"


@pytest.mark.asyncio
@pytest.mark.parametrize("host", [BOT, BEST_USER])
async def test_a_room_of_a_removed_call_centre_can_go_to_another(host: UserId) -> None:
    world = Two()
    await of_removed(world)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        await engine.accept_events([world.event("gone", who=ADA)])
        await quiet()
        await world.clock.turn(10)
        await world.take_part(engine, host=host)
    link = world.link if host == BOT else world.best_link
    assert link.texts(ROOM) == ["hello"]


def of_removed_centre() -> House:
    two = Two()
    house = House(two.around.rules).served()
    house.visit.set(enterprise="former")
    house.visit.rules = two.gone.rules
    house.effects.clear()
    return house


def test_a_host_that_is_left_of_a_removed_call_centre_gives_way_to_another() -> None:
    house = of_removed_centre()
    house.visit.set(host=UserId("@former_queue_1:example.org"))
    house.invite(NEIGHBOUR, whom=BEST_USER)
    assert house.notices == ["room.host_here"], "not for everybody"
    house.effects.clear()
    house.invite(whom=BEST_USER)
    assert house.record.enterprise == "best"
    left, entered = house.effects
    assert isinstance(left, LeaveRoom)
    assert left.users == ("@former_queue_1:example.org",)
    assert isinstance(entered, EnterRoom)
    assert entered.host == BEST_USER


def test_only_call_centres_that_serve_somebody_in_the_room_can_be_chosen() -> None:
    two = Two()
    two.served["best"] = Permission.NONE
    two._rules("best", two.best.rules)
    house = House(two.around.rules).served()
    for words in ("config set enterprise best", "config set enterprise acme"):
        house.say(f"!wc {words}", standing=Standing.ADMIN)
        key, args = answer(house)
        assert key == "config.bad_key"
        assert "'enterprise'" not in str(args["known"])
    house.say("!wc config show")
    assert "enterprise" not in str(answer(house))
    two.served["best"] = Permission.CUSTOMER
    two._rules("best", two.best.rules)
    house.say("!wc config set enterprise best", standing=Standing.ADMIN)
    assert answer(house)[0] == "config.taken"


@pytest.mark.parametrize("whom", [BOT, SALES_USER])
@pytest.mark.parametrize("words", ["login ada s3cret", "LOGIN ada s3cret x", "登录ada s3cret"])
def test_a_login_with_another_call_centres_prefix_is_deleted_and_neither_tried_nor_sent(
    whom: UserId, words: str
) -> None:
    rules = replace(Two().around.rules, other_prefixes=("!best",), rules_of=lambda _: None)
    house = House(rules).served(whom).chat()
    event_id = house.say(f"!best {words}")
    assert house.carried == []
    assert [one.event_id for one in house.effects if isinstance(one, Conceal)] == [event_id]
    assert house.notices == ["login.off"], "else the usage"
    house.say("!best status")
    assert house.carried != [], "of no password"


def test_settings_name_the_call_centre_and_the_one_that_follows() -> None:
    house = House(Two().around.rules).served()
    house.visit.rules = replace(house.visit.rules, texts=Texts())

    def shown() -> str:
        house.say("!wc config show")
        return str(answer(house)[1]["more"])

    assert shown() == "\nenterprise：acme"
    house.visit.set(settings=RoomSettings(enterprise="best"))
    assert shown() == "\nenterprise：best"
    house.chat()
    assert shown().startswith("\nenterprise：best（")
    assert "acme" in shown()


def test_the_room_state_shows_the_chosen_call_centre() -> None:
    two, chat = Two(), Conversation(Chatting(SESSION, NOW, QueueId(2), (MEI,)))
    record = RoomRecord(ROOM, host=BOT, customer=ADA, settings=RoomSettings(enterprise="best"))
    during = replace(record, conversation=chat)
    for rules, one in ((two.around.rules, record), (two.gone.rules, during)):
        _, content = bridge_state_of(rules, one)
        assert content["network"] == {"id": "best", "displayname": "best"}
        assert content["channel"] == {"id": "1", "displayname": "Repairs"}
    _, content = bridge_state_of(two.around.rules, during)
    assert content["network"] == {"id": "acme", "displayname": "acme"}


@pytest.mark.asyncio
async def test_a_customers_room_with_one_call_centre_is_unknown_to_another() -> None:
    world = Two()
    async with world.running() as engine:
        await world.take_part(engine)
        await engine.order(ROOM, Order("operator", "cli", "lang ja"))
        world.acme_serves_nobody()
        await world.take_part(engine, OTHER)
    best = await world.stored(OTHER)
    assert (best.enterprise, best.settings.language) == ("best", None)
    assert "room.elsewhere" not in world.matrix.texts(OTHER)


def test_settings_are_judged_by_the_chosen_call_centre() -> None:
    rules = Two().around.rules
    settings = settings_of_event({"queue": "Repairs", "enterprise": "best"}, rules)
    assert (settings.enterprise, settings.queue) == ("best", 1)
    with pytest.raises(BadOrder):
        settings_of_event({"queue": "Returns", "enterprise": "best"}, rules)
    with pytest.raises(BadOrder) as bad:
        set_together({"enterprise": "third"}, settings, rules)
    assert bad.value.values["known"] == ("acme", "best")
    back = set_together({"enterprise": "acme"}, settings, rules)
    assert (back.enterprise, back.queue) == ("acme", None)
    with pytest.raises(BadOrder) as bad:
        set_together({"enterprise": "best"}, settings, RULES)
    assert bad.value.key == "config.bad_key"


def test_a_move_takes_only_unsent_messages_along_from_the_former_call_centre() -> None:
    rules = Two().best.rules
    poll = OurCard(EventId("$p"), CardKind.RATING, SESSION)
    record = RoomRecord(
        ROOM,
        membership=Membership.LEFT,
        enterprise="acme",
        key="acme's",
        login=OwnLogin("ada", b"sealed"),
        settings=RoomSettings(queue=QueueId(2), source="PC", language="en"),
        former=((("queue", "1"),),),
        cards=(kept := OurCard(EventId("$q"), CardKind.QUEUE, dropped=(EventId("$1"),)), poll),
    )
    after = moved(record, rules, 1)
    assert after.cards[0] == kept, "🔁 still sends what was dropped"
    assert after.cards[1:] == (replace(poll, session_id=SessionId(0)),), "a vote is answered"
    assert after.former == (), "a number is another queue there"
    assert (after.enterprise, after.key, after.login) == ("best", f"best {ROOM}", None)
    assert after.settings == RoomSettings(language="en")
    assert moved(after, rules, 1) is after


@pytest.mark.parametrize(
    "phase", [Idle(), Ended(SESSION, NOW - 5), Chatting(SESSION, 1, QueueId(1))]
)
def test_a_call_centre_hears_nothing_said_to_the_former_one(phase: Phase) -> None:
    """A correction of, or a reaction to, a message in a chat with another call centre."""
    house = House().served()
    ended = NOW - 5 if isinstance(phase, Idle) else None
    before = replace(house.record.conversation, phase=phase, last_ended_at=ended)
    house.visit.record = moved(
        replace(house.record, conversation=before), Two().best.rules, NOW - 3
    )
    now = Chatting(SessionId(2), NOW, QueueId(1), (MEI,))
    house.visit.set(conversation=replace(house.record.conversation, phase=now))
    house.visit.effects.clear()
    said = CustomerText("my card is 4711")
    fix = Corrected(EventId("$fix"), ADA, EventId("$old"), CustomerText("it is 4712"), "it is 4712")
    card = Earlier(said.text, said, ADA, at=NOW - 10)
    receive(house.visit, fix, {}, Facts(NOW, earlier=card), command=None)
    liked = Reacted(EventId("$liked"), ADA, EventId("$refund"), "👍")
    refund = Earlier("We refund 100 at Acme", at=NOW - 10)
    receive(house.visit, liked, {}, Facts(NOW, earlier=refund), command=None)
    assert house.record.conversation.held == ()
    assert [one for one in house.effects if isinstance(one, CallWebChat)] == []
    reports = [(one.event_id, one.key) for one in house.effects if isinstance(one, Reported)]
    assert reports == [("$fix", "undelivered.late_correction")]


@pytest.mark.parametrize("chatted", [False, True])
@pytest.mark.parametrize("means", ["vote", "reaction", "reply", "number"])
def test_a_rating_of_the_former_call_centres_chat_is_answered(means: str, chatted: bool) -> None:
    """Its session's number may be that of a chat with the new one, which is not rated."""
    house = House().served()
    question = OurCard(poll := EventId("$p"), CardKind.RATING, SESSION, (5, 4, 3, 2, 1))
    ended = replace(house.record.conversation, phase=Ended(SESSION, NOW), last_session=SESSION)
    house.visit.set(cards=(question,), conversation=ended)
    house.visit.record = moved(house.record, Two().best.rules, house.now)
    house.visit.effects.clear()
    if chatted and means != "number":
        again = replace(house.record.conversation, phase=Ended(SESSION, NOW), last_session=SESSION)
        house.visit.set(conversation=again)
    match means:
        case "vote":
            house.receive(PollAnswered(EventId("$v"), ADA, poll, "5"))
        case "reaction":
            house.receive(Reacted(EventId("$r"), ADA, poll, "5️⃣"))
        case _:
            target = poll if means == "reply" else None
            five = CustomerText("5")
            house.receive(Spoke(EventId("$s"), ADA, five, plain="5", reply_to=target))
    assert house.notices == ["rating.too_late"]
    assert (house.record.conversation.rating, house.carried) == (None, [])


def test_a_chat_is_settled_once_nothing_of_it_is_left() -> None:
    conversation = RoomRecord(ROOM).conversation
    assert settled(conversation, RULES)
    queued = Queued(QueueId(1), since=0, request_id=RequestId(1))
    assert not settled(replace(conversation, phase=queued), RULES)
    assert not settled(replace(conversation, phase=Idle(linger_until=9)), RULES)
