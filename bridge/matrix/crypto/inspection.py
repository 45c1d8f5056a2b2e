"""How the keys of our users stand, here and on the homeserver. It only looks, and changes nothing.

It may look while the bridge is at work: the homeserver's mark is read before the row that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bridge.ids import UserId
from bridge.matrix.crypto.continuity import MARKS, Marks, is_newest, read_mark
from bridge.matrix.crypto.encoding import Json, mapping
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.own import ONE_TIME, OwnDevice, own_name
from bridge.matrix.crypto.publishing import Fit, compare
from bridge.matrix.crypto.upkeep import EPOCH, Epoch
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.ports import Refused

_AT_ONCE = 200
"""Users per request."""


class Acting(Protocol):
    """Has requests act as devices of ours. `client.Transport` is one."""

    def use_device(self, device: str) -> None: ...

    def use_token(self, user: UserId, token: str) -> None: ...


class KeysOf(msgspec.Struct, frozen=True):
    """One of our users."""

    user: UserId
    fit: Fit
    one_time_keys: int | None
    """That the homeserver can still hand out; None: it does not say, or the user reads nothing."""


class Inspected(msgspec.Struct, frozen=True):
    """What was found."""

    device_id: str
    """Of all devices of this database."""
    newest: bool
    """False: the homeserver has seen a newer state of this database."""
    users: tuple[KeysOf, ...]
    """Those who have keys in this database."""


async def inspect(
    server: KeyServer, acting: Acting, vault: Vault, hosts: Sequence[UserId]
) -> Inspected | None:
    """Look at all of our users.

    Args:
        server: the keys there.
        acting: told as which devices the server's requests are made.
        vault: the keys here.
        hosts: those who read; the first of them must exist on the homeserver.

    Returns:
        None if this database has no keys yet.

    Raises:
        Unsealable: the keys are sealed with another secret.
        Unavailable, Refused, StoreError: as its calls.
    """
    epoch = await vault.load(EPOCH, Epoch)
    if epoch is None:
        return None
    acting.use_device(epoch.device_id)
    there = await read_mark(server, hosts[0])
    newest = is_newest(await vault.load(MARKS, Marks), there)
    prefix = own_name(UserId(""))
    users = [UserId(name.removeprefix(prefix)) for name in await vault.names(prefix)]
    found = []
    for start in range(0, len(users), _AT_ONCE):
        part = users[start : start + _AT_ONCE]
        reply = await server.query(hosts[0], part)
        for user in part:
            own = await OwnDevice.load(vault, user)
            if own is None:
                continue  # forgotten this moment
            left = None
            if user in hosts and own.device_id == epoch.device_id:
                if own.state.token:
                    acting.use_token(user, own.state.token)
                left = await _one_time_keys(server, user)
            found.append(KeysOf(user, _fit(own, reply), left))
    return Inspected(epoch.device_id, newest, tuple(found))


def _fit(own: OwnDevice, reply: Json) -> Fit:
    device = mapping(mapping(mapping(reply, "device_keys"), own.user), own.device_id)
    return compare(own, device, mapping(mapping(reply, "master_keys"), own.user))


async def _one_time_keys(server: KeyServer, user: UserId) -> int | None:
    try:
        count = (await server.upload_keys(user, {})).get(ONE_TIME, 0)
    except Refused:
        return None
    return count if isinstance(count, int) else None
