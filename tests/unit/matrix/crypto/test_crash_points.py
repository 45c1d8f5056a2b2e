"""The process is killed at every step that leaves a trace, before and after it.

A life is one customer and one of our hosts who talk: keys come, messages are opened, answers are
encrypted. Each write to the database and each call of the homeserver is a place to die at. Whoever
comes after goes on with what is durable, and at the end nothing is missing and no key served twice.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from vodozemac import GroupSession, MegolmMessage

from bridge.matrix.crypto.arrivals import Arrivals
from bridge.matrix.crypto.devices import Upkeep
from bridge.matrix.crypto.keys import Owners, RoomKeys, sealed_of
from bridge.matrix.crypto.peers import Peers
from bridge.matrix.crypto.sharing import Places, Scheme, Sharing
from bridge.matrix.crypto.wire import Json, from_base64
from bridge.rooms.store import SecretRow
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms
from tests.unit.matrix.crypto.world import (
    ALICE,
    BOT,
    ROOM,
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
"""Steps that no life comes near."""


class Killed(BaseException):
    """The process is no more."""


class Fate:
    """Counts the steps of a life; at the numbers it was given, the process dies."""

    def __init__(self, deaths: Sequence[int]) -> None:
        self.deaths = set(deaths)
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps in self.deaths:
            raise Killed


class MortalStore(MemoryStore):
    """What was written before the process died stays written."""

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
    """A call may have its effect, or none, when the process dies of it."""

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
    """A world in which the bridge dies as often as its fate says."""

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
        peers = Peers(server)
        self.keys = RoomKeys(vault, Owners(peers, BOT))
        self.sharing = Sharing(vault, server, peers, Places(self.rooms, self.rooms, vault))
        parts = self.upkeep, peers, self.keys, self.sharing
        self.arrivals = Arrivals(vault, server, *parts, "here")
        await self.upkeep.begin()
        await self.upkeep.current(BOT)

    async def live(self) -> None:
        """Until all is said; who dies comes again."""
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
        async with self.upkeep.holding(BOT) as own:
            event: tuple[str, Json] = ("m.room.message", {"body": f"answer {number}"})
            self.answers.append(await self.sharing.encrypt(own, readers, event))

    def write(self) -> None:
        """The phone makes a new session each time, and half of the time a new channel."""
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
        """Nothing is missing, nothing served twice, and what is published can be used.

        Args:
            one_time_keys: how many of the published ones are tried.
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
    """What no two letters may share: the ratchet key and the number that they were encrypted by."""
    assert isinstance(content, dict)
    part = content["ciphertext"][phone.keys["curve25519"]]
    body = from_base64(part["body"])
    fields = _fields(_fields(body)[4] if part["type"] == 0 else body)
    return fields[1], fields[2]


def _fields(body: bytes) -> dict[int, bytes]:
    """The fields of an olm message (specification of Olm, "Message format"), without its MAC."""
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


async def test_a_life_without_death() -> None:
    life = Life([])
    await life.live()
    await life.examine(one_time_keys=50)
    assert 40 < life.fate.steps < LONGEST


@pytest.mark.parametrize("part", range(4))
async def test_death_at_each_step(part: int) -> None:
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
async def test_death_again_and_again(gap: int) -> None:
    """It gets through all the same, as long as each life is longer than a start."""
    for offset in range(0, 30, 3):
        deaths = [offset + number * (20 + gap) for number in range(1, 8)]
        life = Life(deaths)
        await life.live()
        await life.examine()
