"""End-to-end encryption: class `Crypto`, the package's interface; and arriving to-device messages.

- Each bridge user has one device with keys and a cross-signing identity, so that clients show no
  warning on a ghost's messages (`devices`). It encrypts the user's messages (`seal`, `keys`).
- The users that customers invite (the bot and the queue users, "hosts") receive the room keys of
  customers by a /sync loop that runs as long as the process (`Arrivals`). A ghost reads its
  to-device mailbox only before it writes, at most every `_MAILBOX_MS`.
- The result of a /sync is stored with the token for the next one in a single write. The homeserver
  deletes the messages only when that token is used, so a crash at any time loses no key.
- Broken olm sessions are replaced in background tasks (`Mending`). A homeserver may be slow on
  purpose, so each gets only a few tasks at a time. Repairs beyond the waiting list are dropped; the
  next message that cannot be decrypted starts them again.
- Encrypted events come in transactions and are decrypted by their room (`open`), which waits for a
  missing key and requests it. The room's later messages wait meanwhile. So that no one can stall a
  room, a sender whose key did not come is not waited for again in that room for a minute.
- A key request (specification, "Key requests") makes up for a to-device message that was lost or
  could not be decrypted: Element's engine sends a key again to a device that had it before, and to
  no other. Every host asks, as the room does not tell which of them had it.
- Requests that involve other homeservers are made without holding a device's lock, and a key is
  shared with a few devices at a time: both may be slow, and one device serves many rooms.
- Several processes may share the database (`storage.shards`). Each can write as any bridge user;
  conflicts are settled by compare-and-swap on the rows (`vault`). A host's mailbox is read by the
  process that serves the shard of the host's id. It sends the others a `Notice` of keys and changed
  devices; after a possible loss of notices, they drop their caches and look again.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from dataclasses import InitVar, dataclass
from functools import partial
from weakref import WeakValueDictionary

import msgspec

from bridge.ids import RoomId, UserId, server_of
from bridge.matrix.crypto import keys, peers, wire
from bridge.matrix.crypto.devices import ANOTHER, GONE, OwnDevice, Upkeep
from bridge.matrix.crypto.vault import LOG, LONGEST_NOTICE, MISSED, Notice, Others, Vault, again
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Clock, Despite, Refused, Unavailable, Undecryptable, describe
from bridge.rooms.store import SecretRow, Stale, StoreError

OnKey = Callable[[RoomId | None], None]
"""Callback with the room of a key that came; None if keys of any room may have come."""

_MAILBOX_MS = 120_000
"""Minimum ms between two reads of a ghost's mailbox."""
_IN_CLEAR = frozenset({"m.reaction", "m.room.redaction"})
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 4.0
"""Seconds between two tries to read a mailbox; messages wait ten seconds for their keys."""
_MOST_ASKED = 30.0
"""Maximum seconds of a pause that the homeserver asks for."""
_MOST_PAGES = 100
"""Maximum reads of a mailbox whose device is to be deleted: a hundred messages each."""
_MENDING = 3.0
"""Maximum seconds that a ghost waits for its mailbox before it writes, and for the repair of broken
olm sessions."""
_ROUNDS = 3
"""Maximum attempts to determine the readers of a message if they change meanwhile."""
CATCHING_UP = 10.0
"""Minimum seconds to wait for a missing key while a host has not read its mailbox yet."""
_CATCHING_UP_MS = 120_000
"""Maximum ms during which `CATCHING_UP` applies: some hosts can never read their mailbox."""
_IN_VAIN_MS = 60_000
AFTER = 2.0
"""Seconds to wait for a key before requesting it."""
_AGAIN_MS = 60_000
"""Minimum ms between requests for a key: until the olm session is renewed, answers are lost too."""
_REQUESTS = 5
"""Maximum requests for a key in an hour."""
_GIVING = 4.0
"""Seconds from a change of device lists to the giving of owed keys, for all changes meanwhile: a
login changes a list twice, and each host hears of it."""
_LOST = 0.2
"""Seconds until a mailbox is read again after another process read it (Stale)."""
_LOOK_MS = 30_000
"""Minimum ms between two looks at a host's one-time keys in an outage: /sync may fail alone."""


class Crypto:
    """End-to-end encryption for all bridge users; call `upkeep.begin` before anything else.

    Every method raises StoreError, also if the database was sealed with another secret; and
    `Unavailable` or `Refused` where it calls the homeserver. `open` and `run` raise neither.
    """

    def __init__(
        self,
        server: wire.KeyServer,
        rooms: peers.RoomState,
        users: peers.Users,
        vault: Vault,
        clock: Clock,
        *,
        others: Others | None = None,
    ) -> None:
        self._others = others
        self._ours: Callable[[str], bool] = lambda user: others is None
        """True for ids of rooms and hosts (mailboxes) that this process serves."""
        self._limiting = False
        """Whether the caches of rooms no longer served are yet to be cleared."""
        self._reading: dict[UserId, asyncio.Task[None]] = {}
        self._on_key: OnKey = lambda room_id: None
        self._main, self._hosts, self._is_host = users.main, users.hosts, users.is_open_to_all
        self._clock = clock
        self._server, self._vault = server, vault
        self._places = peers.Places(rooms, users, vault)
        alone = () if others is None else (others.alone,)
        self.upkeep = Upkeep(vault, server, users.main, clock, self._last_look, *alone)
        self.mend = self.upkeep.mend
        self._peers = known = peers.Peers(server, clock)
        self._keys = keys.RoomKeys(vault, keys.Owners(known, users.main))
        self._sharing = keys.Sharing(vault, server, known, self._places, self.upkeep)
        self.forget, self.end_sessions = self._keys.drop, self._sharing.drop
        sharing, home = self._sharing, server_of(users.main)
        self._arrivals = Arrivals(vault, server, self.upkeep, known, self._keys, sharing, home)
        self._mending = Mending(self._arrivals, clock)
        self._unread = dict.fromkeys(users.hosts, "")
        """Host whose mailbox has not been read since the last outage, or since this process began
        to serve it -> why; "" before the first try."""
        self._looked: dict[UserId, int] = {}
        """Host -> when its one-time keys were last looked at (ms), until its mailbox is read."""
        self._began = clock.now()
        """When this process last took over a host's mailbox."""
        self._waited_for: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        """Key name -> event set when the key is received or refused, while it is waited for."""
        self._in_vain = peers.RateLimit(1, _IN_VAIN_MS)
        """Waits for the keys of a sender in a room that timed out."""
        self._requested = peers.RateLimit(1, _AGAIN_MS)
        self._requests = peers.RateLimit(_REQUESTS, peers.HOUR_MS)
        self._giving = asyncio.Semaphore(AT_ONCE)
        self._to_give = {""}
        """Users who may have a device for the keys that they are owed; "" stands for all users."""
        self._give_now = asyncio.Event()
        """Set when `_to_give` may have grown, and regularly."""
        self._mailboxes = peers.RateLimit(1, _MAILBOX_MS)
        """Reads of a ghost's mailbox."""

    async def ensure(self, user: UserId) -> None:
        """Create and publish the user's device.

        Raises Refused with `M_FORBIDDEN` if there is no such user, and with `ANOTHER`.
        """
        try:
            await self.upkeep.current(user)
        except Refused as refusal:
            if refusal.code in {"M_FORBIDDEN", ANOTHER}:
                raise
            # Unencrypted rooms need no keys, so the agent may still join.
            LOG.error("no keys for this user", user=user, code=refusal.code)

    # --- reading ----------------------------------------------------------------------------

    async def open(
        self, raw: Json, patience: float | None = None, *, ask: bool = True
    ) -> Json | Undecryptable:
        """Decrypt an event; see `MatrixPort.open`."""
        if not keys.is_encrypted(raw):
            self.invalidate(raw)
            return raw
        sealed = keys.sealed_of(raw)
        if sealed is None:
            return Undecryptable(keys.BROKEN, later=False)
        if patience is None:
            found = await self._keys.open(raw, sealed, self._clock.now(), ask=ask)
            if ask and _lacks_key(found):
                await self._request(raw, sealed)  # the answer to the last one may be lost
            return found
        # Registered before the look-up, or a key that comes in between would be missed.
        arrival = self._waited_for.setdefault(sealed.key_name, asyncio.Event())
        found = await self._keys.open(raw, sealed, self._clock.now(), ask=ask)
        return await self._wait(raw, sealed, arrival, patience) if _may_come(found) else found

    async def _wait(
        self, raw: Json, sealed: keys.Sealed, arrival: asyncio.Event, patience: float
    ) -> Json | Undecryptable:
        """Wait up to `patience` seconds for a key and proof of its device; request the key."""
        writer, now = (sealed.room_id, sealed.sender), self._clock.now()
        behind = not self._unread.keys().isdisjoint(self._readable())
        if behind and 0 <= now - self._began < _CATCHING_UP_MS:
            patience = max(patience, CATCHING_UP)
        elif not self._in_vain.left(writer, now):
            patience = 0.0
        found = await self._once_it_came(raw, sealed, arrival, min(patience, AFTER))
        if not _may_come(found):
            return found
        if _lacks_key(found):
            await self._request(raw, sealed)
        found = await self._once_it_came(raw, sealed, arrival, patience - AFTER)
        if patience and _may_come(found):
            self._in_vain.spend(writer, self._clock.now())
        return found

    async def _once_it_came(
        self, raw: Json, sealed: keys.Sealed, arrival: asyncio.Event, seconds: float
    ) -> Json | Undecryptable:
        """Decrypt once the key's arrival is signalled; wait on after a false signal (`MISSED`)."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            signalled = False
            with suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    signalled = await arrival.wait()
            arrival = self._waited_for.setdefault(sealed.key_name, asyncio.Event())
            found = await self._keys.open(raw, sealed, self._clock.now())
            if not (signalled and _lacks_key(found)):
                return found

    def _wake(self, names: Iterable[str]) -> None:
        """Wake the waiters for keys that were received or refused."""
        for name in names:
            if (arrival := self._waited_for.pop(name, None)) is not None:
                arrival.set()

    async def _request(self, raw: Json, sealed: keys.Sealed) -> None:
        """Request the key of an event, at most once in `_AGAIN_MS`; failures are only logged."""
        name, now = sealed.key_name, self._clock.now()
        if not (self._requested.spend(name, now) and self._requests.spend(name, now)):
            return
        LOG.info("requesting a room key", user=sealed.sender, room=sealed.room_id)
        content, device_id = wire.mapping(raw, "content"), self.upkeep.device_id
        body = {
            "algorithm": wire.MEGOLM,
            "room_id": sealed.room_id,
            "session_id": sealed.session_id,
        }
        if sender_key := wire.text(content, "sender_key"):
            body["sender_key"] = sender_key
        request: Json = {
            "action": "request",
            "requesting_device_id": device_id,
            "request_id": f"{device_id}.{sealed.session_id}",
            "body": body,
        }
        asked: Json = {sealed.sender: {wire.text(content, "device_id") or "*": request}}
        for host in self._hosts:
            if not self.upkeep.ready[host].is_set():
                continue
            try:
                await self._server.send_to_devices(host, "m.room_key_request", asked)
            except (Unavailable, Refused) as error:
                LOG.debug("a room key cannot be requested", user=host, why=str(error))

    def invalidate(self, raw: Json) -> None:
        """Invalidate caches that a state event affects, so that new messages exclude leavers."""
        self._places.changed(raw)
        if raw.get("type") == "m.room.member" and (user := wire.text(raw, "state_key")):
            # /sync does not report device changes of users who share no room with the bridge.
            self._peers.cache.forget(user)

    async def run(self, on_key: OnKey) -> None:
        """Read the hosts' mailboxes; `on_key` is called once a key or a refusal is durable."""
        self._on_key = on_key
        try:
            async with asyncio.TaskGroup() as tasks:
                self._mending.group = tasks
                self._read_ours()
                tasks.create_task(self._keep_up())
                tasks.create_task(self._keep_giving())
        finally:
            self._mending.group = None
            self._reading.clear()
            with suppress(StoreError):
                await again(self._keys.save)
            await self.upkeep.end()

    async def limit_to(self, ours: Callable[[str], bool]) -> None:
        """Limit this process to the rooms and hosts (mailboxes) whose ids satisfy `ours`."""
        self._ours, self._limiting = ours, True
        await asyncio.sleep(0)  # concurrent calls share one pass over the caches
        if self._limiting:
            self._limiting = False
            self._places.leave(ours)
            self._keys.leave(ours)
            self._sharing.drop(lambda room_id: not ours(room_id))
        left = [self._reading.pop(host) for host in [*self._reading] if not ours(host)]
        for task in left:
            task.cancel()
        self._read_ours()
        if left:
            await asyncio.wait(left)
        with suppress(StoreError):
            await again(self._keys.save)

    def _read_ours(self) -> None:
        """Start a reader for each host's mailbox that this process has taken over."""
        for host in self._readable():
            if self._mending.group is not None and host not in self._reading:
                self._unread[host] = ""
                self._began = self._clock.now()
                self._reading[host] = self._mending.group.create_task(self._follow(host))

    def _readable(self) -> list[UserId]:
        """Return the hosts whose mailboxes this process reads."""
        return [host for host in self._hosts if self._ours(host)]

    async def _keep_up(self) -> None:
        """Save replay notes and the mark periodically, whether or not a mailbox can be read."""
        before, told = set[UserId](), set[UserId]()
        while True:
            await self._clock.sleep(wire.SYNC_SECONDS)
            unread = {host for host in self._readable() if self._unread.get(host)}
            if lasting := (unread & before) - told:
                why = sorted({self._unread[host] for host in lasting})
                LOG.warning("mailboxes cannot be read", users=sorted(lasting), why=why)
            before, told = unread, unread & before
            self._give_now.set()  # what could not be given
            try:
                await again(self._keys.save)
                await self.upkeep.follow()
            except (Unavailable, Refused, StoreError) as error:
                LOG.info("replay notes and backup mark not saved yet", why=str(error))
            except Exception:  # noqa: BLE001 - logged; the mailboxes must go on being read
                LOG.exception("unexpected error, replay notes and backup mark not saved yet")

    async def _follow(self, host: UserId) -> None:
        pause, notified = _FIRST_PAUSE, False
        await self.upkeep.ready[host].wait()
        while True:
            try:
                if not notified:
                    # The former reader may have died before it notified the others.
                    await self._tell(MISSED)
                    notified = True
                await self._read_mailbox(host)
                pause = _FIRST_PAUSE
                continue
            except Stale:
                # The process that read it may not have notified anyone yet.
                notified = False
                await self._clock.sleep(_LOST)
                continue
            except (Unavailable, Refused, StoreError) as error:
                later = error.retry_after if isinstance(error, Unavailable) else None
                why, wait = str(error), later or pause
                notified = notified and not isinstance(error, StoreError)
            except Exception as error:  # noqa: BLE001 - logged; the mailbox must go on being read
                LOG.exception("unexpected error, reading the mailbox again", user=host)
                why, wait = describe(error), pause
            self._unread[host] = why
            if pause == _FIRST_PAUSE:  # once an outage
                LOG.info("a mailbox cannot be read yet", user=host, why=why)
            await self._clock.sleep(min(wait, _MOST_ASKED))
            pause = min(pause * 2, _LAST_PAUSE)

    async def _read_mailbox(self, host: UserId) -> None:
        try:
            looked, now = self._looked.get(host), self._clock.now()
            early = looked is not None and 0 <= now - looked < _LOOK_MS
            if host in self._unread and not early:
                async with self.upkeep.holding(host) as own:
                    if await self.upkeep.is_restored(own):
                        await self._pass_on(News(users=[""]))
                        await self.upkeep.replace_keys(own)
                self._looked[host] = now
            mail = await self._arrivals.fetch(host, wait=host not in self._unread)
        except Refused as refusal:
            if refusal.code == GONE:
                await self.mend(host)
            raise
        async with self.upkeep.holding(host) as own:
            news = await self._arrivals.absorb(own, mail, self._clock.now())
            self._unread.pop(host, None)
            self._looked.pop(host, None)
            await self._pass_on(news)
            await self.upkeep.replenish(own, mail.reply)
        self._mending.begin(host, news.broken)

    # --- other processes ----------------------------------------------------------------------

    async def _pass_on(self, news: News) -> None:
        """Notify all processes of keys and device changes that have been stored."""
        users = [user for user in news.users if user.isprintable()]  # others are invalid ids
        notice = Notice(tuple(news.keys.items()), tuple(users))
        self._hear(notice)
        if notice != MISSED:
            await self._tell(notice)

    async def _tell(self, notice: Notice) -> None:
        """Notify all processes (this one gets it too), in parts if the notice is too long."""
        if self._others is None:
            return
        text, count = msgspec.json.encode(notice), len(notice.keys) + len(notice.users)
        if count < 2 or len(text) <= LONGEST_NOTICE:
            await self._others.notify(f"keys {text.decode()}")
            return
        keys, users = (len(notice.keys) + 1) // 2, (len(notice.users) + 1) // 2
        await self._tell(Notice(notice.keys[:keys], notice.users[:users]))
        await self._tell(Notice(notice.keys[keys:], notice.users[users:]))

    def on_notice(self, notice: str | None) -> None:
        """Handle a notice from a process; None if some may have got lost."""
        with suppress(msgspec.MsgspecError):
            found = MISSED if notice is None else msgspec.json.decode(notice, type=Notice)
            for user in found.users:
                self._peers.cache.forget(user)
            if found == MISSED:
                self._peers.cache.forget_all()
                self._wake([*self._waited_for])
                self._on_key(None)
                self._to_give.add("")
            self._hear(found)

    def _hear(self, notice: Notice) -> None:
        if "" in notice.users:  # it may have lost keys on their way to devices, and devices
            self._sharing.drop()
            self._peers.cache.forget_all()
        self._wake(name for name, _ in notice.keys)
        for room_id in {room_id for _, room_id in notice.keys}:
            self._on_key(room_id)
        self._to_give.update(notice.users)
        self._give_now.set()

    async def _keep_giving(self) -> None:
        """Give owed keys after a start, and after device lists have changed."""
        self._give_now.set()
        while True:
            await self._give_now.wait()
            await self._clock.sleep(_GIVING)
            self._give_now.clear()
            changed, self._to_give = self._to_give, set()
            try:
                await self._give_owed(changed)
            except Exception as error:  # noqa: BLE001 - logged; the mailboxes must go on being read
                self._to_give |= changed
                LOG.info("room keys cannot be shared yet", why=describe(error))

    async def _give_owed(self, users: Collection[str]) -> None:
        """Give users, who may have a device again, the keys that they are owed."""
        owing = await self._sharing.owing(users) if users else {}
        known = await self._peers.known(self._main, owing)
        self._to_give |= owing.keys() - known.keys()
        able = [user for user, listed in known.items() if listed.devices]
        await asyncio.gather(*[self._give(user, name) for user in able for name in owing[user]])

    async def _give(self, user: str, name: str) -> None:
        try:
            async with self._giving:
                owed = await self._vault.load(name, keys.Owed)
                if owed is not None and self._ours(owed.room_id):
                    sender, room_id = owed.sender, owed.room_id
                    scheme = await self._places.scheme(sender, room_id)
                    await again(partial(self._share_and_encrypt, sender, room_id, scheme, owed))
        except (Unavailable, StoreError) as error:
            self._to_give.add(user)
            LOG.info("a room key cannot be shared yet", user=user, why=str(error))
        except Exception as error:  # noqa: BLE001 - logged; the mailboxes must go on being read
            LOG.info("a room key cannot be shared", user=user, why=describe(error))

    # --- writing ----------------------------------------------------------------------------

    async def is_encrypted(self, sender: UserId, room_id: RoomId) -> bool:
        return (await self._places.scheme(sender, room_id)).encrypted

    async def seal(
        self, sender: UserId, room_id: RoomId, kind: str, content: Json
    ) -> tuple[str, Json]:
        """Encrypt an event if the room is encrypted. If this raises, the event must not be sent."""
        if kind in _IN_CLEAR:
            return kind, content
        scheme = await self._places.scheme(sender, room_id)
        if not scheme.encrypted:
            return kind, content
        own, now, event = await self.upkeep.current(sender), self._clock.now(), (kind, content)
        sealed = None
        if sender in self._hosts or not self._mailboxes.left(sender, now):
            sealed = self._sharing.encrypt_at_once(own, room_id, scheme, now, event)
        if sealed is None:
            sealed = await again(lambda: self._share_and_encrypt(sender, room_id, scheme, event))
        return "m.room.encrypted", sealed

    async def _share_and_encrypt(
        self,
        sender: UserId,
        room_id: RoomId,
        scheme: peers.Scheme,
        event: tuple[str, Json] | keys.Owed,
    ) -> Json:
        """Share the session key with all readers, then encrypt the event (`Sharing.encrypt`)."""
        only = event.user if isinstance(event, keys.Owed) else ""
        await self._empty_mailbox(sender)
        for turn in range(_ROUNDS):
            own, now = await self.upkeep.current(sender), self._clock.now()
            readers = await self._sharing.prepare(own, room_id, scheme, now, only=only)
            # What is owed was said before any change since `prepare`.
            last = bool(only) or turn + 1 == _ROUNDS
            sealed = await self._sharing.encrypt(sender, readers, event, last=last)
            if sealed is not None:
                return sealed
        raise AssertionError  # the last round returned

    async def _empty_mailbox(self, user: UserId) -> None:
        """Read a ghost's mailbox, at most every `_MAILBOX_MS`, and repair broken olm sessions."""
        now = self._clock.now()
        if self._is_host(user) and self._ours(user) and user not in self._hosts:
            self._hosts += (user,)  # of a queue that is no longer configured, but has rooms
            self._read_ours()
        if user in self._hosts:
            return
        async with self.upkeep.holding(user) as own:
            if not self._mailboxes.spend(user, now):
                return
            try:
                async with asyncio.timeout(_MENDING):
                    mail = await self._arrivals.fetch(user, wait=False)
            except (Unavailable, Refused, TimeoutError) as error:
                if isinstance(error, Refused) and error.code == GONE:
                    raise
                # Written without repairs; the mailbox is read again in `_MAILBOX_MS`.
                LOG.info("a mailbox cannot be read now", user=user, why=str(error))
                return
            news = await self._arrivals.absorb(own, mail, now)
            await self.upkeep.replenish(own, mail.reply)
        begun = self._mending.begin(user, news.broken)
        if begun:
            await asyncio.wait(begun, timeout=_MENDING)

    async def _last_look(self, own: OwnDevice) -> None:
        """Read and store the pending to-device messages of a device that is about to be deleted."""
        # A device with an access token (no MSC4190) is identified by the token alone.
        device = "" if own.state.token else own.device_id
        for _ in range(_MOST_PAGES):
            mail = await self._arrivals.fetch(own.user, wait=False, device=device)
            await self._pass_on(await self._arrivals.absorb(own, mail, self._clock.now()))
            if not wire.objects(mail.reply, "to_device", "events"):
                break


def _may_come(found: Json | Undecryptable) -> bool:
    return isinstance(found, Undecryptable) and found.key in {keys.NO_KEY, keys.UNKNOWN_DEVICE}


def _lacks_key(found: Json | Undecryptable) -> bool:
    return isinstance(found, Undecryptable) and found.key == keys.NO_KEY


# --- arriving to-device messages ------------------------------------------------------------------

_RENEWED_MS, _RETRIED_MS = 3_600_000, 60_000
"""Minimum ms between replacements of a broken session with one device, and between attempts: the
other homeserver may be briefly unavailable."""
_KEYS, _KEYS_OF_SERVER = 300, 60_000
"""Maximum new keys and refusals stored per user and hour, and per other homeserver and day.
An honest client starts a new megolm session every hundred messages."""
_CHANNELS, _CHANNELS_OF_SERVER = 100, 60_000
"""The same limits for devices that first write to a bridge device. After the bridge's devices were
replaced, that is every customer device, once for each bridge user that it shares a room with."""
_STALE = frozenset({"M_UNKNOWN", "M_INVALID_PARAM"})
"""Error codes with which a homeserver refuses an unknown or expired /sync token."""
_NEXT = re.compile(rb'\s*\{\s*"next_batch"\s*:\s*"([\w.~-]+)"')
_WITHHELD = frozenset({"m.room_key.withheld", "org.matrix.room_key.withheld"})


class Position(msgspec.Struct, frozen=True):
    """Row `since/{user}`: the /sync token up to which the user's device has read."""

    token: str


class Mail(msgspec.Struct, frozen=True):
    """Response of a /sync, and the stored `Position` row that it was requested from."""

    reply: Json
    was: bytes | None


class News(msgspec.Struct):
    """Rows to store from one /sync, and what it changed."""

    letters: bool = False
    """Whether there were olm messages, readable or not."""
    users: list[str] = []
    """Users whose device lists have changed."""
    rows: dict[str, SecretRow] = {}
    keys: dict[str, RoomId] = {}
    """Names of keys that were received or refused -> their room."""
    broken: set[tuple[str, str]] = set()
    """Sender and identity key of devices whose olm messages cannot be decrypted."""
    channels: dict[tuple[str, str], peers.Channel] = {}
    """Sender and identity key of devices whose messages were decrypted -> the updated channel."""

    def add(self, *rows: SecretRow) -> None:
        self.rows.update({row.name: row for row in rows})


@dataclass(eq=False, repr=False)
class Arrivals:
    """The /sync reader of the bridge's devices; `home` is the bridge's homeserver."""

    _vault: Vault
    _server: wire.KeyServer
    _upkeep: Upkeep
    _peers: peers.Peers
    _room_keys: keys.RoomKeys
    _sharing: keys.Sharing
    home: InitVar[str]

    def __post_init__(self, home: str) -> None:
        self._absorbing = asyncio.Lock()
        """Held from reading a stored key until a better copy of it is written."""
        self._renewals = peers.RateLimit(1, _RENEWED_MS)
        self._attempts = peers.RateLimit(1, _RETRIED_MS)
        self._logged = peers.RateLimit(1, _RENEWED_MS)
        """Log lines of a kind about a user's messages: strangers must not fill the log."""
        self._new_keys = peers.Allowance(_KEYS, _KEYS_OF_SERVER, home)
        self._new_channels = peers.Allowance(_CHANNELS, _CHANNELS_OF_SERVER, home)

    async def fetch(self, user: UserId, *, wait: bool, device: str = "") -> Mail:
        """Call /sync from the stored token, or from the start if the homeserver rejects it.

        An answer too long to be read is dropped, if it begins with the next token as Synapse's do:
        other homeservers may send megabytes, and no key would be read any more.
        """
        found, was = await self._vault.read(f"since/{user}", Position)
        since = "" if found is None else found.token
        try:
            with Despite(*(_STALE if since else ())):
                return Mail(await self._server.sync(user, since, wait=wait, device=device), was)
        except Unavailable as error:
            if (begins := _NEXT.match(error.begun)) is None:
                raise
            LOG.error("to-device messages are too long to be read, dropping them", user=user)
            self._peers.cache.forget_all()  # as below
            return Mail({"next_batch": begins[1].decode()}, was)
        LOG.warning("the homeserver does not know the sync token, starting a new sync", user=user)
        # Device list changes since the lost token are never reported.
        self._peers.cache.forget_all()
        return Mail(await self._server.sync(user, "", wait=False, device=device), was)

    async def absorb(self, own: OwnDevice, mail: Mail, now: int) -> News:
        """Store the events of a /sync with the next token. The caller holds the device's lock.

        Raises Stale if another process has read this mailbox or changed the device meanwhile.
        """
        lists = wire.mapping(mail.reply, "device_lists")
        users = [*wire.strings(lists, "changed"), *wire.strings(lists, "left")]
        for user in users:
            self._peers.cache.forget(user)
        async with self._absorbing:
            news = await self._read(own, mail, now)
            try:
                await self._vault.save(list(news.rows.values()))
            finally:
                for name in news.rows:
                    self._room_keys.forget(name)
        if renewed := {user for user, channel in news.channels.items() if channel.renewed}:
            self._sharing.share_again(own, renewed)
        news.users = users
        return news

    async def _read(self, own: OwnDevice, mail: Mail, now: int) -> News:
        news = News()
        for event in wire.objects(mail.reply, "to_device", "events"):
            try:
                await self._take(own, event, news, now)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - logged; one event must not block all others
                if self._logged.spend((wire.id_text(event, "sender"), "error"), now):
                    LOG.exception("a to-device message could not be handled", user=own.user)
        for channel in news.channels.values():
            news.add(channel.row(self._vault, now))
        if news.letters:
            # Even if none was readable: Stale tells if another process has newer one-time keys.
            news.add(own.row(self._vault))
        if token := wire.text(mail.reply, "next_batch"):
            news.add(self._vault.row(f"since/{own.user}", Position(token), was=mail.was))
        return news

    async def renew(self, user: UserId, sender: str, curve25519: str, now: int) -> None:
        """Replace the olm session with a device whose messages `user`'s device cannot decrypt."""
        own, broken = await self._upkeep.current(user), (user, sender, curve25519)
        erased = not (await peers.Channel.load(self._vault, own, sender, curve25519)).open
        if not ((erased or self._renewals.left(broken, now)) and self._attempts.spend(broken, now)):
            return
        known = (await self._peers.known(user, [sender])).get(sender)
        for device in () if known is None else known.devices:
            if device.curve25519 == curve25519:
                claimed = await self._sharing.claim(user, [device], now, anew=True)
                async with self._upkeep.holding(user) as own:
                    if await self._sharing.renew(own, device, claimed.get(device, ""), now):
                        self._renewals.spend(broken, now)

    async def _take(self, own: OwnDevice, event: Json, news: News, now: int) -> None:
        kind = wire.text(event, "type")
        if kind in _WITHHELD:
            self._refused(event, news, now)
        letter = peers.letter_of(own, event) if kind == "m.room.encrypted" else None
        if letter is None:
            return
        news.letters = True
        sender, device = letter.sender, (letter.sender, letter.sender_key)
        channel = news.channels.get(device) or await peers.Channel.load(self._vault, own, *device)
        if not channel.open and not self._new_channels.spend(sender, now):
            self._warn(
                "too many new devices of a user, to-device messages are dropped", sender, now
            )
            return
        try:
            plain = channel.decrypt(letter.number, letter.body)
        except ValueError as error:
            if self._logged.spend((sender, ""), now):
                LOG.info("a to-device message cannot be decrypted", user=sender, why=str(error))
            news.broken.add(device)
            return
        news.channels[device] = channel
        payload = peers.read_payload(own, letter, plain)
        if payload is None:
            self._warn("a to-device message is not addressed to the bridge", sender, now)
        elif payload.kind in keys.KEY_KINDS:
            taken = await self._room_keys.take(payload, now, news.rows)
            if taken is not None:
                self._keep(news, sender, payload.content, taken, now)

    def _refused(self, event: Json, news: News, now: int) -> None:
        content, sender = wire.mapping(event, "content"), wire.id_text(event, "sender")
        if wire.text(content, "code") == "m.no_olm" and sender:
            news.broken.add((sender, wire.key_text(content, "sender_key")))
        if refusal := self._room_keys.refusal(event, now):
            self._keep(news, sender, content, refusal, now)

    def _keep(
        self, news: News, sender: str, content: Json, found: tuple[str, list[SecretRow]], now: int
    ) -> None:
        """Store a key or a refusal, unless its sender exceeds the rate limit."""
        name, rows = found
        if rows and not self._new_keys.spend(sender, now):
            self._warn("too many room keys or refusals from a user, some are dropped", sender, now)
            return
        news.add(*rows)
        news.keys[name] = RoomId(wire.text(content, "room_id"))

    def _warn(self, what: str, sender: str, now: int) -> None:
        """Warn of something in a user's to-device messages, once an hour."""
        if self._logged.spend((sender, what), now):
            LOG.warning(what, user=sender)


# --- repair of olm sessions -----------------------------------------------------------------------

AT_ONCE, OF_SERVER = 20, 4
"""Maximum running repairs across all homeservers, and per homeserver."""
TOGETHER, TOGETHER_OF_SERVER = 1_000, 400
"""Maximum running and waiting repairs, likewise."""


class Mending:
    """Background repair of olm sessions, in the task group that the caller sets as `group`."""

    def __init__(self, arrivals: Arrivals, clock: Clock) -> None:
        self.group: asyncio.TaskGroup | None = None
        self._arrivals = arrivals
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._places_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._servers: Counter[str] = Counter()
        """Running and waiting repairs per homeserver of the other device."""

    def begin(self, user: UserId, broken: Iterable[tuple[str, str]]) -> set[asyncio.Task[None]]:
        """Start repairs of olm sessions with devices (`News.broken`), up to the limits above."""
        begun = set()
        for sender, curve25519 in broken:
            server = server_of(sender)
            full = self._servers.total() >= TOGETHER or self._servers[server] >= TOGETHER_OF_SERVER
            if self.group is None or full:
                LOG.info("too many broken olm sessions, one is not replaced yet", user=sender)
                continue
            task = self.start(self._mend(user, sender, curve25519, server))
            if task is None:
                break
            begun.add(task)
            self._servers[server] += 1
        return begun

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None] | None:
        """Start a task, unless this process is starting or stopping."""
        with suppress(RuntimeError):  # the task group is shutting down
            if self.group is not None:
                return self.group.create_task(work)
        work.close()
        return None

    async def _mend(self, user: UserId, sender: str, curve25519: str, server: str) -> None:
        places = self._places_of.setdefault(server, asyncio.Semaphore(OF_SERVER))
        try:
            async with places, self._places:
                await self._arrivals.renew(user, sender, curve25519, self._clock.now())
        except (Unavailable, Refused, StoreError) as error:
            LOG.info("a broken olm session cannot be replaced yet", user=sender, why=str(error))
        except Exception:  # noqa: BLE001 - logged; one device must not end the repair of others
            LOG.exception("a broken olm session could not be replaced", user=sender)
        finally:
            self._servers -= Counter([server])
