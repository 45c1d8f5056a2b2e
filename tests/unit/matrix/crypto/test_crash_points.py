"""The process is killed before and after each write to the database and call of the homeserver.

In a `Life`, a customer and a host talk: keys are received, messages decrypted, answers encrypted.
After each kill, a new process continues from the stored state. In the end nothing may be missing,
and no key may have been used twice.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from vodozemac import GroupSession, MegolmMessage

from bridge.matrix.crypto.crypto import Arrivals
from bridge.matrix.crypto.devices import Upkeep
from bridge.matrix.crypto.keys import Owners, RoomKeys, Sharing, sealed_of
from bridge.matrix.crypto.peers import Peers, Places, Scheme
from bridge.matrix.crypto.wire import Json, from_base64
from bridge.rooms.store import SecretRow
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms
from tests.unit.matrix.crypto.world import (
    ALICE,
    BOT,
    ROOM,
    USERS,
    Clock,
    FakeServer,
    Phone,
    World,
    deaf,
    new_vault,
)

pytestmark = pytest.mark.asyncio

TURNS = 3
"""Messages each way."""
LONGEST = 400
"""Upper bound of the steps of a life."""


class Killed(BaseException):
    """The process was killed."""


class Fate:
    """Counts the steps of a life; kills the process at the steps in `deaths`."""

    def __init__(self, deaths: Sequence[int]) -> None:
        self.deaths = set(deaths)
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps in self.deaths:
            raise Killed


class MortalStore(MemoryStore):
    """A store in which the process may be killed before and after each write."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self.fate = fate

    async def save_secrets(self, rows: Sequence[SecretRow]) -> None:
        self.fate.step()
        await super().save_secrets(rows)
        self.fate.step()


_CALLS = frozenset(
    {"make_device", "query", "claim", "upload_keys", "upload_identity", "upload_signatures"}
    | {"send_to_devices", "set_mark", "mark", "sync"}
)


class MortalServer(FakeServer):
    """A homeserver whose calls may kill the process, before or after their effect."""

    def __init__(self, world: World, fate: Fate) -> None:
        super().__init__(world)
        self.fate = fate

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self.mortal(found) if name in _CALLS else found

    def mortal(
        self, call: Callable[..., Coroutine[Any, Any, object]]
    ) -> Callable[..., Coroutine[Any, Any, object]]:
        async def called(*given: object, **named: object) -> object:
            self.fate.step()
            answer = await call(*given, **named)
            self.fate.step()
            return answer

        return called


class Life:
    """A conversation during which the bridge is killed at given steps."""

    def __init__(self, deaths: Sequence[int]) -> None:
        self.fate = Fate(deaths)
        self.world, self.rooms = World(), Rooms()
        self.store = MortalStore(self.fate)
        self.phone = Phone(self.world)
        self.said: list[Json] = []
        self.answers: list[Json] = []

    async def start(self) -> None:
        vault, server = new_vault(self.store), MortalServer(self.world, self.fate)
        self.upkeep = Upkeep(vault, server, BOT, Clock(), deaf)
        peers = Peers(server, Clock())
        self.keys = RoomKeys(vault, Owners(peers, BOT))
        places = Places(self.rooms, USERS, vault)
        self.sharing = Sharing(vault, server, peers, places, self.upkeep)
        parts = self.upkeep, peers, self.keys, self.sharing
        self.arrivals = Arrivals(vault, server, *parts, "here")
        await self.upkeep.begin()
        await self.upkeep.current(BOT)

    async def live(self) -> None:
        """Talk until all is said; start again after each kill."""
        while len(self.answers) < TURNS:
            try:
                await self.start()
                while len(self.answers) < TURNS:
                    await self.turn()
            except Killed:
                continue

    async def turn(self) -> None:
        if len(self.said) == len(self.answers):
            self.write()
        await self.read()
        number = len(self.said) - 1
        assert await self.opened(self.said[-1]) == f"word {number}"
        own = await self.upkeep.current(BOT)
        readers = await self.sharing.prepare(own, ROOM, Scheme(encrypted=True), 1_000)
        event: tuple[str, Json] = ("m.room.message", {"body": f"answer {number}"})
        sealed = await self.sharing.encrypt(BOT, readers, event, last=True)
        assert sealed is not None
        self.answers.append(sealed)

    def write(self) -> None:
        """Write from the phone in a new megolm session, every other time by a new olm session."""
        number = len(self.said)
        self.phone.group = GroupSession()
        if number % 2 == 0:
            self.phone.begin(BOT)
        self.phone.send_key(BOT)
        self.said.append(self.phone.say(f"word {number}", f"${number}"))

    async def read(self) -> None:
        mail = await self.arrivals.fetch(BOT, wait=False)
        async with self.upkeep.holding(BOT) as own:
            news = await self.arrivals.absorb(own, mail, 1_000)
            await self.upkeep.replenish(own, mail.reply)
        assert not news.broken

    async def opened(self, raw: Json) -> object:
        sealed = sealed_of(raw)
        assert sealed is not None
        found = await self.keys.open(raw, sealed, 1_000)
        assert isinstance(found, dict), found
        content = found["content"]
        assert isinstance(content, dict)
        return content["body"]

    async def examine(self, one_time_keys: int = 5) -> None:
        """Check that nothing is missing or used twice, and that published keys can be used.

        Args:
            one_time_keys: maximum number of published one-time keys that are tried.
        """
        self.fate.deaths.clear()
        letters = [event["content"] for _, event in self.world.mailboxes[ALICE, "PHONE"]]
        steps = [_ratchet_step(self.phone, letter) for letter in letters]
        assert len(set(steps)) == len(steps)
        assert len(self.phone.fetch()) == len(letters)  # each of them can be read
        for number, content in enumerate(self.answers):
            assert self.phone.read(content)["content"] == {"body": f"answer {number}"}
        places = [_message(content) for content in self.answers]
        assert len(set(places)) == len(places)
        for number, raw in enumerate(self.said):
            assert await self.opened(raw) == f"word {number}"
        (device_id,) = self.world.devices[BOT]
        for _ in range(min(one_time_keys, len(self.world.one_time[BOT, device_id]))):
            self.phone.begin(BOT)
            self.phone.group = GroupSession()
            self.phone.send_key(BOT)
            raw = self.phone.say("with this key", f"$key{self.phone.group.session_id}")
            mail = await self.arrivals.fetch(BOT, wait=False)
            async with self.upkeep.holding(BOT) as own:
                await self.arrivals.absorb(own, mail, 1_000)
            assert await self.opened(raw) == "with this key"


def _ratchet_step(phone: Phone, content: object) -> tuple[bytes, bytes]:
    """Return the ratchet key and message number of an olm message; no two may be the same."""
    assert isinstance(content, dict)
    part = content["ciphertext"][phone.keys["curve25519"]]
    body = from_base64(part["body"])
    fields = _fields(_fields(body)[4] if part["type"] == 0 else body)
    return fields[1], fields[2]


def _fields(body: bytes) -> dict[int, bytes]:
    """Return the fields of an olm message without its MAC (Olm specification, "Message format")."""
    found, at = {}, 1
    while at < len(body) - 8:
        number, kind = body[at] >> 3, body[at] & 7
        length, at = _varint(body, at + 1)
        if kind == 0:
            found[number] = length.to_bytes(8, "big")
        else:
            found[number], at = body[at : at + length], at + length
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (body[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not body[at - 1] & 128:
            return value, at


def _message(content: Json) -> tuple[object, int]:
    message = MegolmMessage.from_base64(str(content["ciphertext"]))
    return content["session_id"], message.message_index()


async def test_conversation_without_a_kill() -> None:
    life = Life([])
    await life.live()
    await life.examine(one_time_keys=50)
    assert 40 < life.fate.steps < LONGEST


@pytest.mark.parametrize("part", range(4))
async def test_kill_at_each_step(part: int) -> None:
    first = part + 1
    while True:
        life = Life([first])
        await life.live()
        died = life.fate.steps >= first
        await life.examine()
        if not died:
            return
        first += 4


@pytest.mark.parametrize("gap", [1, 2, 3, 7, 12])
async def test_repeated_kills(gap: int) -> None:
    """The conversation is finished as long as each process lives longer than its start."""
    for offset in range(0, 30, 3):
        deaths = [offset + number * (20 + gap) for number in range(1, 8)]
        life = Life(deaths)
        await life.live()
        await life.examine()
