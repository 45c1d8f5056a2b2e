"""Several processes share devices, olm sessions and mailboxes; no key is used twice.

A random walk: at every write and every call a process may be overtaken by others, suspended for
long, or killed. No process owns anything here: the database rows alone must ensure correctness.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from vodozemac import GroupSession, MegolmMessage

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.crypto import Crypto
from bridge.matrix.crypto.vault import Notice, Sealer, Vault
from bridge.matrix.crypto.wire import MEGOLM, Json, from_base64, mapping, text
from bridge.rooms.ports import Undecryptable
from bridge.rooms.store import SecretRow, Stale, StorePort
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms
from tests.unit.matrix.crypto.world import ALICE, BOT, QUEUE, ROOM, USERS, FakeServer, Phone, World

pytestmark = pytest.mark.asyncio

GHOST, CAROL = UserId("@ghost1:here"), "@carol:here"
OURS = BOT, QUEUE, GHOST
STEPS = 20


class Time:
    """A clock that sleeping advances."""

    def __init__(self) -> None:
        self.ms = 10_000_000

    def now(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        self.ms += int(seconds * 1000)


class House:
    """A database, a homeserver, and the processes between them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - it is to be the same again
        self.store, self.world, self.time = MemoryStore(), World(), Time()
        self.rooms = Rooms()
        self.rooms.membership = {BOT: "join", ALICE: "join"}
        self.rooms.states["m.room.encryption"] = {"algorithm": MEGOLM}
        self.phones = [Phone(self.world), Phone(self.world, ALICE, "TABLET")]
        for phone in self.phones:
            phone.publish(49)
        self.processes: list[Process] = []
        self.tasks: asyncio.TaskGroup
        self.turned: set[tuple[bytes, int]] = set()
        """Ratchet keys and numbers of all olm messages."""
        self.published: dict[tuple[str, str, str], object] = {}
        self.identities: dict[str, object] = {}
        self.said: list[Json] = []
        self.notices: list[str] = []
        self.again = 0
        """Number of times that a key had to be sent again."""

    def process(self) -> Process:
        made = Process(self)
        self.processes.append(made)
        return made

    async def start(self) -> Process:
        process = self.process()
        process.task = self.tasks.create_task(process.live())
        return process

    # --- what is seen from outside ------------------------------------------------------------

    def sent(self, messages: Json) -> None:
        """Check that no step of a ratchet is used twice."""
        for device in messages.values():
            assert isinstance(device, dict)
            for content in device.values():
                for part in mapping(content, "ciphertext").values():
                    assert isinstance(part, dict)
                    step = step_of(part["type"], from_base64(part["body"]))
                    assert step not in self.turned
                    self.turned.add(step)

    def uploaded(self, user: str, content: Json) -> None:
        """Check that a key id is never used for another key."""
        for kind in ("one_time_keys", "fallback_keys"):
            for key_id, key in mapping(content, kind).items():
                assert self.published.setdefault((user, kind, key_id), key) == key

    # --- what happens ---------------------------------------------------------------------------

    async def step(self) -> None:
        which = self.random.choice
        for _ in range(self.random.randrange(1, 4)):
            process, user = which(self.processes), which(OURS)
            process.do(self.say(process, user))
        if self.random.random() < 0.6:
            self.listen(which(self.processes), which(self.phones), which((BOT, QUEUE)))
        process, chance = which(self.processes), self.random.random()
        if chance < 0.3:
            process.awake.clear()
        elif chance < 0.4:
            self.processes.remove(process)
            process.kill()
            await self.start()
        for _ in range(self.random.randrange(60)):
            await asyncio.sleep(0)
        which(self.processes).awake.set()

    async def say(self, process: Process, user: UserId) -> None:
        while True:
            with suppress(Stale):
                event: Json = {"body": "x"}
                _, content = await process.crypto.seal(user, ROOM, "m.room.message", event)
                self.said.append(content)
                return

    def listen(self, process: Process, phone: Phone, host: UserId) -> None:
        """Write from a phone with a new key; a process must decrypt it."""
        phone.group = GroupSession()
        phone.first_key = phone.group.session_key
        raw = phone.say("hello", f"${len(self.published)}.{self.random.random()}")
        key = phone.room_key() | {"session_key": phone.first_key.to_base64()}

        async def read() -> None:
            await process.crypto.ensure(host)
            (device_id,) = self.world.devices[host]
            keys = self.world.one_time[host, device_id]
            for _ in range(20):
                while not keys:  # noqa: ASYNC110 - no time passes here
                    await asyncio.sleep(0)
                phone.begin(host)
                content = phone.write(host, "m.room_key", key)
                self.world.post(phone.user, host, device_id, "m.room.encrypted", content)
                opened = await process.crypto.open(raw, 0.2)
                if not isinstance(opened, Undecryptable):
                    return
                self.again += 1
            raise AssertionError(raw)

        process.do(read())

    def fetch(self, phone: Phone) -> None:
        """Decrypt all olm messages of a phone; raises if one cannot be decrypted."""
        mailbox = self.world.mailboxes.get((phone.user, phone.device_id), [])
        mailbox[:] = [one for one in mailbox if one[1]["type"] == "m.room.encrypted"]
        phone.fetch()

    async def check(self) -> None:
        for process in self.processes:
            process.awake.set()
        await asyncio.gather(*(one for process in self.processes for one in process.doing))
        for user in OURS:
            assert len(self.world.devices.get(user, [1])) == 1
        steps = set()
        for phone in self.phones:
            self.fetch(phone)
            for content in self.said:
                assert mapping(phone.read(content), "content") == {"body": "x"}
        for content in self.said:
            message = MegolmMessage.from_base64(text(content, "ciphertext"))
            steps.add((content["session_id"], message.message_index()))
        assert len(steps) == len(self.said)


def step_of(number: int, body: bytes) -> tuple[bytes, int]:
    """Return the ratchet key and number of an olm message (Olm specification, "Message format")."""
    if number == 0:
        body = _fields(body)[4]  # type: ignore[assignment]  # the message inside a prekey message
    fields = _fields(body)
    return fields[1], fields[2]  # type: ignore[return-value]


def _fields(body: bytes) -> dict[int, bytes | int]:
    at, found = 1, {}

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(body) - 8:  # the last 8 bytes are the MAC
        tag = number()
        value: bytes | int = number()
        if tag & 7:
            value, at = body[at : at + int(value)], at + int(value)
        found[tag >> 3] = value
    return found


class Process:
    """A process whose writes and calls may take long."""

    def __init__(self, house: House, kind: type[Server] | None = None) -> None:
        self.house = house
        self.awake = asyncio.Event()
        self.awake.set()
        self.dead = False
        self.doing: list[asyncio.Task[None]] = []
        self.heard: list[RoomId | None] = []
        vault = Vault(Slow(house.store, self.point), Sealer("secret"))  # type: ignore[arg-type]
        self.server = (kind or Server)(house.world, self)
        self.crypto = Crypto(self.server, house.rooms, USERS, vault, house.time, others=self)
        self.task: asyncio.Task[None]

    async def point(self) -> None:
        """Let other processes overtake this one, and wait while it is suspended."""
        for _ in range(self.house.random.randrange(4)):
            await asyncio.sleep(0)
        await self.awake.wait()
        if self.dead:
            raise asyncio.CancelledError

    async def live(self) -> None:
        await self.crypto.upkeep.begin()
        for host in USERS.hosts:
            await self.crypto.ensure(host)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.crypto.run(lambda room_id: None))
            await asyncio.sleep(0)
            await self.crypto.limit_to(lambda one: True)  # all read all mailboxes

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        self.doing.append(self.house.tasks.create_task(work))

    async def up(self) -> None:
        await self.crypto.upkeep.begin()
        for user in OURS:
            await self.crypto.ensure(user)

    def kill(self) -> None:
        self.dead = True
        self.awake.set()
        for task in (*self.doing, self.task):
            task.cancel()

    async def notify(self, notice: str) -> None:
        await self.point()
        self.house.notices.append(notice)
        for other in self.house.processes:
            other.crypto.on_notice(notice.partition(" ")[2])

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        await self.point()
        yield


class Slow:
    """The part of a store that a vault uses; awaits `point` before and after each call."""

    def __init__(self, store: StorePort, point: Callable[[], Awaitable[None]]) -> None:
        self._store, self._point = store, point
        self.secret_names = store.secret_names

    async def secret(self, name: str) -> bytes | None:
        await self._point()
        found = await self._store.secret(name)
        await self._point()
        return found

    async def save_secrets(self, rows: Sequence[SecretRow]) -> None:
        await self._point()
        await self._store.save_secrets(rows)
        await self._point()


class Server(FakeServer):
    def __init__(self, world: World, process: Process) -> None:
        super().__init__(world)
        self.process = process
        self.syncs = 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self.slow(found) if name in _CALLS else found

    def slow(
        self, call: Callable[..., Coroutine[Any, Any, object]]
    ) -> Callable[..., Coroutine[Any, Any, object]]:
        async def called(*given: object, **named: object) -> object:
            await self.process.point()
            answer = await call(*given, **named)
            await self.process.point()
            return answer

        return called

    async def sync(self, user: UserId, since: str, *, wait: bool, device: str = "") -> Json:
        while wait and self.world.counter <= int(since or 0):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        await self.process.point()
        reply = await super().sync(user, since, wait=wait, device=device)
        self.syncs += 1
        await self.process.point()
        return reply

    async def upload_keys(self, user: UserId, content: Json) -> Json:
        self.process.house.uploaded(user, content)
        return await super().upload_keys(user, content)

    async def upload_identity(self, user: UserId, content: Json) -> None:
        assert self.process.house.identities.setdefault(user, content) == content
        await super().upload_identity(user, content)

    async def send_to_devices(self, user: UserId, kind: str, messages: Json) -> None:
        if kind == "m.room.encrypted":
            self.process.house.sent(messages)
        await super().send_to_devices(user, kind, messages)


_CALLS = frozenset(
    {"make_device", "query", "claim", "upload_keys", "upload_identity", "upload_signatures"}
    | {"send_to_devices", "set_mark", "mark"}
)


@pytest.mark.parametrize("seed", range(8))
async def test_concurrent_processes_use_no_key_twice(seed: int) -> None:
    house = House(seed)
    async with asyncio.timeout(20), asyncio.TaskGroup() as house.tasks:
        for _ in range(3):
            await house.start()
        for _ in range(STEPS):
            await house.step()
        await house.check()
        for process in house.processes:
            process.kill()


async def test_concurrent_first_starts_create_one_device_and_identity() -> None:
    for seed in range(6):
        house = House(seed)
        await asyncio.gather(*(house.process().up() for _ in range(3)))
        for user in OURS:
            (device,) = house.world.devices[user]
            ones = [await one.crypto.upkeep.current(user) for one in house.processes]
            assert {(own.device_id, own.curve25519) for own in ones} == {
                (device, ones[0].curve25519)
            }


async def test_message_to_a_one_time_key_of_another_process_is_not_lost() -> None:
    """The account in memory is older than the key, and the message arrives only once."""
    house = House(0)
    one, other = house.process(), house.process()
    await one.up()
    await other.up()
    (device,) = house.world.devices[BOT]
    house.world.one_time[BOT, device].clear()
    async with reading(other):
        while not house.world.one_time[BOT, device]:  # noqa: ASYNC110 - no time passes here
            await asyncio.sleep(0)
    house.phones[0].send_key(BOT)
    raw = house.phones[0].say("hello")
    async with reading(one):
        assert not isinstance(await one.crypto.open(raw, 2.0), Undecryptable)
    assert "m.dummy" not in str(house.phones[0].fetch())


@asynccontextmanager
async def reading(process: Process) -> AsyncIterator[None]:
    """Let this process alone read the hosts' mailboxes."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(process.crypto.run(process.heard.append))
        await process.crypto.limit_to(lambda one: True)
        yield
        await process.crypto.limit_to(lambda one: False)
        task.cancel()


async def test_received_keys_and_device_changes_reach_other_processes() -> None:
    house = House(0)
    one, other = house.process(), house.process()
    await one.up()
    await other.up()
    phone = house.phones[0]
    raw = phone.say("hello")
    await other.crypto._peers.known(BOT, [CAROL])
    assert other.crypto._peers.cache.get(CAROL) is not None
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(other.crypto.open(raw, 60.0))
        writing = tasks.create_task(other.crypto.run(other.heard.append))
        async with reading(one):
            key = phone.room_key() | {"session_key": phone.first_key.to_base64()}
            (device,) = house.world.devices[BOT]
            letter = phone.write(BOT, "m.room_key", key)
            house.world.changed.append(CAROL)
            house.world.post(ALICE, BOT, device, "m.room.encrypted", letter)
            assert not isinstance(await waiting, Undecryptable)
        writing.cancel()
    assert ROOM in other.heard
    assert other.crypto._peers.cache.get(CAROL) is None


async def test_restored_homeserver_makes_all_processes_share_their_keys_again() -> None:
    """Also those that read no mailbox: the keys may have got lost on their way."""
    house = House(0)
    reader, other = house.process(), house.process()
    await reader.up()
    await other.up()
    await house.say(other, GHOST)
    backup = copy.deepcopy(house.world.one_time)
    for restored in (False, True):
        if restored:
            house.world.one_time = backup
        read = reader.server.syncs
        async with reading(reader):
            while reader.server.syncs < read + len(USERS.hosts):  # noqa: ASYNC110 - no time passes here
                await asyncio.sleep(0)
        await house.say(other, GHOST)
        first, last = (text(content, "session_id") for content in (house.said[0], house.said[-1]))
        assert (first != last) is restored


async def test_new_reader_of_a_mailbox_makes_all_processes_look_again() -> None:
    """The former reader may not have sent its notices. Later, no news means no notice."""
    house = House(0)
    one, other = house.process(), house.process()
    await one.up()
    await other.up()
    await other.crypto._peers.known(BOT, [CAROL])
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(other.crypto.run(other.heard.append))
        async with reading(one):
            for _ in range(2):
                read, house.world.counter = one.server.syncs, house.world.counter + 1
                while one.server.syncs < read + 2:  # noqa: ASYNC110 - no time passes here
                    await asyncio.sleep(0)
        writing.cancel()
    assert None in other.heard
    assert other.crypto._peers.cache.get(CAROL) is None
    assert len(house.notices) == len(USERS.hosts)


async def test_wait_for_a_key_goes_on_after_a_notice_of_missed_keys() -> None:
    house = House(0)
    one = house.process()
    await one.up()
    phone = house.phones[0]
    async with reading(one), asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(one.crypto.open(phone.say("hello"), 60.0))
        for _ in range(3):
            await asyncio.sleep(0.01)
            one.crypto.on_notice(None)
        key = phone.room_key() | {"session_key": phone.first_key.to_base64()}
        (device,) = house.world.devices[BOT]
        letter = phone.write(BOT, "m.room_key", key)
        house.world.post(ALICE, BOT, device, "m.room.encrypted", letter)
        assert not isinstance(await opening, Undecryptable)


async def test_long_notice_is_split_and_an_invalid_one_is_harmless() -> None:
    house = House(0)
    one, other = house.process(), house.process()
    users = [f"@{number}:{'x' * 200}" for number in range(100)]
    await other.up()
    await other.crypto._peers.known(BOT, users)
    assert all(other.crypto._peers.cache.get(user) for user in users)
    await one.crypto._tell(Notice((), tuple(users)))
    assert not any(other.crypto._peers.cache.get(user) for user in users)
    assert len(house.notices) > 2
    assert all(len(notice) < 7_900 for notice in house.notices)
    other.crypto.on_notice("nonsense")


async def test_regained_room_gets_a_new_session() -> None:
    """A member who left while another process had the room reads nothing that is sent then."""
    house = House(0)
    one = house.process()
    await one.up()
    _, first = await one.crypto.seal(BOT, ROOM, "m.room.message", {})
    _, second = await one.crypto.seal(BOT, ROOM, "m.room.message", {})
    assert first["session_id"] == second["session_id"]
    await one.crypto.limit_to(lambda one: one == ROOM)
    _, second = await one.crypto.seal(BOT, ROOM, "m.room.message", {})
    assert first["session_id"] == second["session_id"]
    house.fetch(house.phones[0])
    await one.crypto.limit_to(lambda one: False)
    house.rooms.membership[ALICE] = "leave"
    await one.crypto.limit_to(lambda one: True)
    _, third = await one.crypto.seal(BOT, ROOM, "m.room.message", {})
    assert third["session_id"] != first["session_id"]
    assert house.phones[0].fetch() == []


async def test_room_that_another_process_erased_is_not_written_in_with_erased_keys() -> None:
    house = House(0)
    one = house.process()
    await one.up()
    await one.crypto.seal(BOT, ROOM, "m.room.message", {})
    await one.crypto.limit_to(lambda one: False)
    erased = await house.store.secret_names(f"in/{ROOM}/")
    await house.store.save_secrets([SecretRow(name, None) for name in erased])
    await one.crypto.limit_to(lambda one: True)
    _, content = await one.crypto.seal(BOT, ROOM, "m.room.message", {})
    raw = {"type": "m.room.encrypted", "event_id": "$1", "room_id": ROOM, "sender": BOT}
    assert not isinstance(await one.crypto.open(raw | {"content": content}), Undecryptable)


async def test_mailbox_whose_reading_was_interrupted_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house, within = House(0), asyncio.Event()
    one = house.process()
    await one.up()

    async def stuck(*_: object) -> None:
        within.set()
        await asyncio.Event().wait()

    async with reading(one):
        with monkeypatch.context() as patched:
            patched.setattr(one.crypto._arrivals, "absorb", stuck)
            house.phones[0].send_key(BOT)
            await within.wait()
            await one.crypto.limit_to(lambda one: False)
        await one.crypto.limit_to(lambda one: True)
        raw = house.phones[0].say("hello")
        assert not isinstance(await one.crypto.open(raw, 5.0), Undecryptable)


async def test_replay_notes_are_saved_before_a_room_is_handed_over() -> None:
    house = House(0)
    one, other = house.process(), house.process()
    await one.up()
    await other.up()
    async with reading(one):
        phone = house.phones[0]
        phone.send_key(BOT)
        said = [phone.say("hello", f"${number}") for number in range(3)]
        for raw in said:
            assert not isinstance(await one.crypto.open(raw, 5.0), Undecryptable)
    assert await other.crypto.open(said[-1] | {"event_id": "$copy"}) == Undecryptable(
        "unreadable.repeated", later=False
    )


async def test_replay_notes_of_two_processes_are_merged() -> None:
    """For a moment two processes may have a room in memory; each notes what it decrypted."""
    house = House(0)
    one, other = house.process(), house.process()
    await one.up()
    await other.up()
    phone = house.phones[0]
    async with reading(one):
        phone.send_key(BOT)
        said = [phone.say("hello", f"${number}") for number in range(4)]
        for process, raw in zip((one, other, one, other), said, strict=True):
            assert not isinstance(await process.crypto.open(raw, 5.0), Undecryptable)
    for process in (one, other):
        await process.crypto.limit_to(lambda one: False)
    for raw in said:
        assert isinstance(
            await house.process().crypto.open(raw | {"event_id": "$copy"}), Undecryptable
        )


async def test_concurrent_processes_log_in_once_for_a_token() -> None:
    """A second login would invalidate the token of the first."""
    house, lock = House(0), asyncio.Lock()
    logins = 0

    class Older(Server):
        async def make_device(self, user: UserId, device_id: str) -> str:
            nonlocal logins
            await super().make_device(user, device_id)
            logins += 1
            return f"token {logins}"

    class Waiting(Process):
        @asynccontextmanager
        async def alone(self, name: str) -> AsyncIterator[None]:
            async with lock:
                yield

    made = [Waiting(house, Older) for _ in range(3)]
    await asyncio.gather(*(one.crypto.upkeep.current(BOT) for one in made))
    assert logins == 1
    assert {one.server.tokens[BOT] for one in made} == {"token 1"}
