"""Random walk: members and devices come and go, answers are late or lost; who can decrypt?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

import pytest

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Unavailable
from tests.unit.matrix.crypto.rig import Bridge
from tests.unit.matrix.crypto.test_places import event
from tests.unit.matrix.crypto.world import ALICE, AWAY, BOT, QUEUE, ROOM, Phone

pytestmark = pytest.mark.asyncio

OURS = BOT, QUEUE, UserId("@ghost1:here")
CAROL, FAR = "@carol:here", "@far:there"
DEVICES = (ALICE, "TABLET"), (CAROL, "C1"), (CAROL, "C2"), (FAR, "F")


class Walk:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - it is to be the same again
        self.bridge = Bridge()
        self.world, self.members = self.bridge.world, self.bridge.rooms.membership
        self.phones = [self.bridge.phone, *(Phone(self.world, *one) for one in DEVICES)]
        for phone in self.phones:
            phone.publish(40)
            self.members[phone.user] = "join"
        self.turn = 0
        self.absent: dict[Phone, int] = {}
        """Turn since which a device's user is not in the room."""
        self.removed: dict[Phone, int] = {}
        """Turn since which a device is not listed."""
        self.said: list[tuple[Json, list[Phone], list[Phone]]] = []
        """Encrypted contents, each with the devices of users who may not decrypt it; and those that
        were not listed, while another of the user could decrypt it at once."""

    def trouble(self) -> None:
        """Make the homeserver slow, and lose some requests and answers."""
        server, rooms = self.bridge.server, self.bridge.rooms
        query, claim, send = server.query, server.claim, server.send_to_devices
        members = rooms.members

        async def late(*, lost: float = 0.08) -> None:
            for _ in range(self.random.randrange(4)):
                await asyncio.sleep(0)
            if self.random.random() < lost:
                raise AWAY

        async def query_late(asker: UserId, users: Sequence[str], *, device: bool = False) -> Json:
            await late()
            found = await query(asker, users, device=device)
            await late()
            return found

        async def claim_late(user: UserId, wanted: dict[str, dict[str, str]]) -> Json:
            await late()
            return await claim(user, wanted)

        async def send_late(user: UserId, kind: str, messages: Json) -> None:
            await late()
            await send(user, kind, messages)
            await late()

        async def members_late(user: UserId, room_id: RoomId) -> Sequence[Json]:
            found = await members(user, room_id)
            await late(lost=0)
            return found

        server.query, server.claim = query_late, claim_late  # type: ignore[method-assign]
        server.send_to_devices = send_late  # type: ignore[method-assign]
        rooms.members = members_late  # type: ignore[method-assign]

    async def change(self) -> None:
        for _ in range(self.random.randrange(8)):
            await asyncio.sleep(0)
        self.turn += 1
        if self.random.random() < 0.5:
            user = self.random.choice((ALICE, CAROL, FAR))
            self.members[user] = self.random.choice(["join", "leave", "invite", "ban"])
            self.bridge.crypto.invalidate(event("m.room.member", state_key=user))
        else:
            phone = self.random.choice(self.phones[:-1])  # the far homeserver reports no changes
            there = self.world.devices[phone.user]
            if there.pop(phone.device_id, None) is None:
                there[phone.device_id] = phone.device_keys()
            self.bridge.crypto._peers.cache.forget(phone.user)
        for phone in self.phones:
            listed = phone.device_id in self.world.devices[phone.user]
            here = self.members[phone.user] in {"join", "invite"}
            for may, since in (here, self.absent), (listed, self.removed):
                if may:
                    since.pop(phone, None)
                else:
                    since.setdefault(phone, self.turn)

    async def say(self, user: UserId) -> None:
        before = [(since, dict(since)) for since in (self.absent, self.removed)]
        try:
            _, content = await self.bridge.crypto.seal(user, ROOM, "m.room.message", {"body": "x"})
        except Unavailable:
            return
        never, removed = (
            [phone for phone, turn in former.items() if since.get(phone) == turn]
            for since, former in before
        )
        for phone in self.phones:
            phone.fetch()
        served = {phone.user for phone in self.phones if self.can_read(phone, content)}
        self.said.append((content, never, [one for one in removed if one.user in served]))

    async def give(self) -> None:
        with suppress(Unavailable):
            await self.bridge.crypto._give_owed({phone.user for phone in self.phones})

    async def step(self) -> None:
        happened = [self.say(self.random.choice(OURS)) for _ in range(self.random.randrange(1, 6))]
        happened += [self.change() for _ in range(self.random.choice([0, 0, 1, 1, 3]))]
        happened.append(self.give())
        if self.random.random() < 0.1:
            self.bridge.crypto._sharing._outbound.clear()  # as a restart does
        self.random.shuffle(happened)
        await asyncio.gather(*happened)
        self.world.away = {"there"} if self.random.random() < 0.15 else set()
        self.bridge.time.ms += 30_000  # after which a homeserver is asked again

    def can_read(self, phone: Phone, content: Json) -> bool:
        if content["session_id"] not in phone.room_keys:
            return False
        try:
            phone.read(content)
        except ValueError:  # its key begins with a later message
            return False
        return True


@pytest.mark.parametrize("seed", range(44, 60))
async def test_nobody_decrypts_what_was_sent_in_their_absence(seed: int) -> None:
    walk = Walk(seed)
    for user in OURS:
        await walk.bridge.crypto.ensure(user)
    walk.trouble()
    for _ in range(25):
        await walk.step()
    for phone in walk.phones:
        phone.fetch()
    read = [
        phone.device_id
        for content, never, removed in walk.said
        for phone in (*never, *removed)
        if walk.can_read(phone, content)
    ]
    assert read == []
    assert len({str(content["ciphertext"]) for content, _, _ in walk.said}) == len(walk.said)
