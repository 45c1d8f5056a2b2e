"""To-device messages by /sync: room keys, refusals, changed device lists; repair of olm sessions.

`Arrivals` stores all that a /sync brought in one write with the token that asks for the next one,
which makes the homeserver forget this one: no key is lost, whenever the process dies.

`Mending` begins new olm sessions in place of broken ones, as background tasks: the other side's
homeserver may be slow on purpose, so each has a few tasks at a time. What exceeds the waiting list
is dropped; the next message that cannot be decrypted brings it up again.

`Allowance` is the rate limit on what strangers, on any homeserver, may make us store: new keys and
new devices are counted by sender and hour, and by homeserver and day, for honest users come all at
once after a weekend without the bridge, or when our devices are new.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from weakref import WeakValueDictionary

import msgspec
from cachetools import LRUCache

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.devices import OwnDevice, Upkeep
from bridge.matrix.crypto.keys import KEY_KINDS, RoomKeys
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.olm import Channel, UndecryptableOlm, letter_of, read_payload
from bridge.matrix.crypto.peers import Peers
from bridge.matrix.crypto.sharing import Sharing
from bridge.matrix.crypto.vault import LOG, Vault
from bridge.matrix.crypto.wire import Json, id_text, key_text, mapping, objects, strings, text
from bridge.rooms.ports import Clock, Despite, Refused, Unavailable
from bridge.rooms.store import SecretRow, StoreError

_RENEWED_MS, _RETRIED_MS = 3_600_000, 60_000
"""How often at most a broken session with one device is replaced, and tried to be."""
_KEYS, _KEYS_OF_SERVER = 300, 60_000
"""New keys and refusals that are kept: of a user an hour, of all users of another homeserver a day.
An honest client makes a session for a hundred messages."""
_CHANNELS, _CHANNELS_OF_SERVER = 100, 60_000
"""The same of devices that write to us for the first time. When all devices of ours are new, these
are the devices of all customers, once for each of our users that they have a room with."""
_STALE = frozenset({"M_UNKNOWN", "M_INVALID_PARAM"})
"""How a homeserver refuses a token that it does not know (any more)."""
_WITHHELD = frozenset({"m.room_key.withheld", "org.matrix.room_key.withheld"})


class Position(msgspec.Struct, frozen=True):
    """Row, by `since/` and a user: the /sync token up to which its device has read."""

    token: str


class Mail(msgspec.Struct, frozen=True):
    """Answer of a /sync, and the row of the position that it was asked from."""

    reply: Json
    was: bytes | None


class News(msgspec.Struct):
    """Rows and news of one /sync."""

    letters: bool = False
    """There were some, readable or not."""
    users: list[str] = []
    """Those whose devices have changed."""
    rows: dict[str, SecretRow] = {}
    keys: dict[str, RoomId] = {}
    """Names of the keys that came or were refused -> their room."""
    broken: set[tuple[str, str]] = set()
    """Sender and identity key of devices whose letters cannot be read."""
    channels: dict[tuple[str, str], Channel] = {}
    """The same of devices whose letters were read -> the channel as it is since."""

    def add(self, *rows: SecretRow) -> None:
        self.rows.update({row.name: row for row in rows})


@dataclass(eq=False, repr=False)
class Arrivals:
    """The /sync reader of our devices; `home` is our own homeserver."""

    _vault: Vault
    _server: KeyServer
    _upkeep: Upkeep
    _peers: Peers
    _room_keys: RoomKeys
    _sharing: Sharing
    home: InitVar[str]

    def __post_init__(self, home: str) -> None:
        self._absorbing = asyncio.Lock()
        """Held from the look at a stored key until a better copy of it is written."""
        self._renewed: LRUCache[tuple[str, str, str], int] = LRUCache(10_000)
        self._new_keys = Allowance(_KEYS, _KEYS_OF_SERVER, home)
        self._new_channels = Allowance(_CHANNELS, _CHANNELS_OF_SERVER, home)

    async def last_look(self, own: OwnDevice, now: int) -> News:
        """Read what lies in the mailbox of a device that is about to go."""
        # A homeserver that gave the device a token knows it by that alone.
        device = "" if own.state.token else own.device_id
        return await self.absorb(own, await self.fetch(own.user, wait=False, device=device), now)

    async def fetch(self, user: UserId, *, wait: bool, device: str = "") -> Mail:
        """Call /sync; a token that the homeserver does not know is dropped."""
        found, was = await self._vault.read(f"since/{user}", Position)
        since = "" if found is None else found.token
        with Despite(*(_STALE if since else ())):
            return Mail(await self._server.sync(user, since, wait=wait, device=device), was)
        LOG.warning("the homeserver forgot where we were, reading anew", user=user)
        # What changed in between is not told any more.
        self._peers.cache.forget_all()
        return Mail(await self._server.sync(user, "", wait=False, device=device), was)

    async def absorb(self, own: OwnDevice, mail: Mail, now: int) -> News:
        """Store the events of a /sync, with the token for the next one. The lock is held.

        Stale: another process has read this mailbox meanwhile, or the device is not as stored.
        """
        lists = mapping(mail.reply, "device_lists")
        users = [*strings(lists, "changed"), *strings(lists, "left")]
        for user in users:
            self._peers.cache.forget(user)
        async with self._absorbing:
            news = await self._read(own, mail, now)
            with self._room_keys.changing(news.rows):
                await self._vault.save(list(news.rows.values()))
        news.users = users
        return news

    async def _read(self, own: OwnDevice, mail: Mail, now: int) -> News:
        news = News()
        for event in objects(mapping(mail.reply, "to_device"), "events"):
            try:
                await self._take(own, event, news, now)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - logged whole; one event must not stop all others
                LOG.exception("an event for a device could not be handled", user=own.user)
        for channel in news.channels.values():
            news.add(*channel.rows(self._vault, now))
        if news.letters:
            # Also if none could be read: perhaps with keys of which only another process knows.
            news.add(own.row(self._vault))
        if token := text(mail.reply, "next_batch"):
            news.add(self._vault.row(f"since/{own.user}", Position(token), was=mail.was))
        return news

    async def renew(self, user: UserId, sender: str, curve25519: str, now: int) -> None:
        """Begin a new olm session with a device whose messages one of ours cannot decrypt."""
        broken = user, sender, curve25519
        last = self._renewed.get(broken)
        if last is not None and 0 <= now - last < _RENEWED_MS:
            return
        # At first as if it failed: the other side's homeserver may be away for a moment.
        self._renewed[broken] = now - _RENEWED_MS + _RETRIED_MS
        devices = await self._peers.devices(user, [sender])
        for device in devices.get(sender, ()):
            if device.curve25519 == curve25519:
                claimed = await self._sharing.claim(user, [device], now, anew=True)
                async with self._upkeep.holding(user) as own:
                    if await self._sharing.renew(own, device, claimed.get(device, ""), now):
                        self._renewed[broken] = now

    async def _take(self, own: OwnDevice, event: Json, news: News, now: int) -> None:
        kind = text(event, "type")
        if kind in _WITHHELD:
            self._refused(event, news, now)
        letter = letter_of(own, event) if kind == "m.room.encrypted" else None
        if letter is None:
            return
        news.letters = True
        sender, device = letter.sender, (letter.sender, letter.sender_key)
        channel = news.channels.get(device) or await Channel.load(self._vault, own, *device)
        if not channel.open and not self._new_channels.spend(sender, now):
            LOG.warning("too many new devices of a user, a letter is dropped", user=sender)
            return
        try:
            plain = channel.decrypt(letter.number, letter.body)
        except UndecryptableOlm as error:
            LOG.info("a letter cannot be read", user=sender, why=str(error))
            news.broken.add(device)
            return
        news.channels[device] = channel
        payload = read_payload(own, letter, plain)
        if payload is None:
            LOG.warning("a letter that is not for us", user=sender)
        elif payload.kind in KEY_KINDS:
            taken = await self._room_keys.take(payload, now, news.rows)
            if taken is not None:
                self._keep(news, sender, payload.content, taken, now)

    def _refused(self, event: Json, news: News, now: int) -> None:
        content, sender = mapping(event, "content"), id_text(event, "sender")
        sender_key = key_text(content, "sender_key")
        if text(content, "code") == "m.no_olm" and sender and sender_key:
            news.broken.add((sender, sender_key))
        if refusal := self._room_keys.refusal(event, now):
            self._keep(news, sender, content, refusal, now)

    def _keep(
        self, news: News, sender: str, content: Json, found: tuple[str, list[SecretRow]], now: int
    ) -> None:
        """Keep a key or a refusal, unless too many came from its sender."""
        name, rows = found
        if rows and not self._new_keys.spend(sender, now):
            LOG.warning("too many new keys or refusals, one is dropped", user=sender)
            return
        news.add(*rows)
        news.keys[name] = RoomId(text(content, "room_id"))


# --- repair of olm sessions -----------------------------------------------------------------------

AT_ONCE, OF_SERVER = 20, 4
"""Of all homeservers, and of one."""
TOGETHER, TOGETHER_OF_SERVER = 1_000, 400
"""The same with those that wait."""


class Mending:
    """Background repair of olm sessions, in the task group that the caller sets."""

    def __init__(self, arrivals: Arrivals, clock: Clock) -> None:
        self.group: asyncio.TaskGroup | None = None
        self._arrivals = arrivals
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._places_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._servers: Counter[str] = Counter()
        """Repairs that run or wait, by the homeserver that is asked."""

    def begin(self, user: UserId, broken: Iterable[tuple[str, str]]) -> set[asyncio.Task[None]]:
        """Start repairs of channels to devices (`News.broken`), as many as there is room for."""
        begun = set()
        for sender, curve25519 in broken:
            server = sender.partition(":")[2]
            full = self._servers.total() >= TOGETHER or self._servers[server] >= TOGETHER_OF_SERVER
            if self.group is None or full:
                LOG.info("a broken session is left as it is for now", user=sender)
                continue
            work = self._mend(user, sender, curve25519, server)
            try:
                begun.add(self.group.create_task(work))
            except RuntimeError:
                work.close()  # we are about to end
                break
            self._servers[server] += 1
        return begun

    async def _mend(self, user: UserId, sender: str, curve25519: str, server: str) -> None:
        places = self._places_of.setdefault(server, asyncio.Semaphore(OF_SERVER))
        try:
            async with places, self._places:
                await self._arrivals.renew(user, sender, curve25519, self._clock.now())
        except (Unavailable, Refused, StoreError) as error:
            LOG.info("a broken session cannot be replaced yet", user=sender, why=str(error))
        except Exception:  # noqa: BLE001 - logged whole; one device must not end all others' mending
            LOG.exception("a broken session could not be replaced", user=sender)
        finally:
            self._servers -= Counter([server])


# --- rate limits on strangers ---------------------------------------------------------------------

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Allowance:
    """Rate limits of a sender: per user and hour, and per homeserver and day but for our `home`."""

    def __init__(self, each: int, together: int, home: str) -> None:
        self._users = Budget(each, HOUR_MS)
        self._servers = Budget(together, DAY_MS)
        self._home = home

    def spend(self, user: str, now: int) -> bool:
        server = user.partition(":")[2]
        return self._users.spend(user, now) and (
            server == self._home or self._servers.spend(server, now)
        )


class Budget:
    """Rate limit: so many things in a period, for each name."""

    def __init__(self, each: int, period: int) -> None:
        self._each = each
        self._period = period
        self._spent: LRUCache[str, tuple[int, int]] = LRUCache(20_000)
        """Name -> when its period began, and how many were taken since."""

    def spend(self, name: str, now: int) -> bool:
        """Take one; False if all of this period are spent."""
        began, count = self._spent.get(name) or (now, 0)
        if not 0 <= now - began < self._period:
            began, count = now, 0
        if count >= self._each:
            return False
        self._spent[name] = (began, count + 1)
        return True
