"""The keys of end-to-end encryption: do the database and the homeserver have the same?

Each state that an installation can get into has its line and its fix. Whatever else fails, `crypto
reset` mends; but it makes a new identity for each of our users, and customers are told so. So it is
named only where nothing gentler helps.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge.app.settings import encryption_secret_of, users_of
from bridge.cli.doctor.findings import Findings
from bridge.config import Config
from bridge.matrix.client import Transport, new_session
from bridge.matrix.crypto.devices import Fit, Inspected, KeysOf, inspect
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.vault import Sealer, Unsealable, Vault
from bridge.ops.clock import SystemClock
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.store import StoreError
from bridge.storage.sqlstore import open_store, pending_migrations

WHAT = "encryption"
_NAMED = 5
"""Users that a line names."""
_NONE_YET = "the database has no keys yet: the bridge makes them at its start"
_NOT_YET = "looked at once the database has its new schema: start the bridge, or `migrate`"
_RESET = "stop the bridge and run `matrix-webchat crypto reset`"
_RESTART = "restart the bridge, it publishes them anew; if that does not help, {reset}"
_RESTORE = (
    "the database was lost or restored, or another bridge uses the same users: bring back the"
    " newest database; if there is none, {reset}"
)
_STATES = {
    Fit.NO_DEVICE: ("the device {device} has no keys on the homeserver", _RESTART),
    Fit.NO_IDENTITY: ("there are no cross-signing keys on the homeserver", _RESTART),
    Fit.UNSIGNED: (
        "the device {device} is not cross-signed on the homeserver: strict clients shut it out",
        _RESTART,
    ),
    Fit.FOREIGN_IDENTITY: (
        "the cross-signing keys on the homeserver are not those of this database",
        _RESTORE,
    ),
    Fit.FOREIGN_DEVICE: (
        "the device {device} has other keys on the homeserver than in this database",
        _RESTORE,
    ),
}


async def check_encryption(findings: Findings, config: Config) -> None:
    """Compare what lies here with what lies there; the homeserver must know us."""
    if not config.bridge.encryption.allow:
        findings.skipped(WHAT, "bridge.encryption.allow is false")
        return
    url = config.database.url.get_secret_value()
    try:
        steps = await pending_migrations(url, SystemClock())
        if steps:
            new = steps[0].number == 1
            findings.skipped(WHAT, _NONE_YET if new else _NOT_YET)
            return
        found = await _inspect(config, url)
    except Unsealable as error:
        findings.failed(WHAT, str(error).partition(". ")[0], _unsealable_fix(config))
    except (StoreError, ValueError):
        findings.skipped(WHAT, "the database cannot be read")
    except (Unavailable, Refused) as error:
        findings.failed(WHAT, f"the keys cannot be asked for: {error}", "see the homeserver's log")
    else:
        if found is None:
            findings.skipped(WHAT, _NONE_YET)
        else:
            judge(findings, found)


async def _inspect(config: Config, url: str) -> Inspected | None:
    users = users_of(config)
    async with (
        open_store(url, SystemClock()) as store,
        new_session(verify_tls=config.homeserver.verify_ssl) as session,
    ):
        transport = Transport(
            session,
            config.homeserver.address,
            config.appservice.as_token.get_secret_value(),
            users,
        )
        vault = Vault(store, Sealer(encryption_secret_of(config)))
        server = KeyServer(transport, transport)
        return await inspect(server, transport, vault, users.hosts())


def judge(findings: Findings, found: Inspected) -> None:
    """One line for each state that was found."""
    before = len(findings.all)
    if not found.newest:
        findings.failed(
            f"{WHAT}, database",
            "this is an older copy: the homeserver has seen a newer state of it",
            "restore the newest one, with the bridge stopped; or start the bridge with this one: it"
            " gives its users new devices, and customers are not warned",
        )
    for fit, (detail, fix) in _STATES.items():
        those = [keys.user for keys in found.users if keys.fit is fit]
        # An older copy's own line says what becomes of its devices.
        if those and (found.newest or fit is not Fit.NO_DEVICE):
            findings.failed(
                f"{WHAT}, keys",
                f"{_names(those)}: {detail.format(device=found.device_id)}",
                fix.format(reset=_RESET),
            )
    if not found.users and len(findings.all) == before:
        findings.passed(f"{WHAT}, keys", "none yet: the bridge makes them when it starts")
    elif len(findings.all) == before:
        users = "1 user" if len(found.users) == 1 else f"{len(found.users)} users"
        findings.passed(
            f"{WHAT}, keys", f"{users} with the device {found.device_id}, cross-signed, as here"
        )
    _one_time_keys(findings, [keys for keys in found.users if keys.one_time_keys is not None])


def _one_time_keys(findings: Findings, users: Sequence[KeysOf]) -> None:
    what = f"{WHAT}, one-time keys"
    none = [keys.user for keys in users if keys.one_time_keys == 0]
    if none:
        findings.failed(
            what,
            f"{_names(none)}: none left, who writes next gets the spare one",
            f"start the bridge, it makes new ones; if they stay away, {_RESET}",
        )
    elif users:
        least = min(keys.one_time_keys or 0 for keys in users)
        findings.passed(what, f"at least {least} left for each user")


def _unsealable_fix(config: Config) -> str:
    own = config.bridge.encryption.pickle_key.get_secret_value()
    key = "bridge.encryption.pickle_key" if own else "appservice.as_token (or the pickle_key)"
    return f"put back the {key} of before; if it is lost, {_RESET}"


def _names(users: Sequence[str]) -> str:
    more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
    return ", ".join(users[:_NAMED]) + more
