"""Which WebChat account speaks for a room.

The server knows one chat per customer, so the login name must be unique per *room*, not per Matrix
user (protocol reference 4): the templates are built on a short hash of the room id, which the
room's record keeps (`RoomRecord.key`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from bridge.conversation.inputs import FailureReason
from bridge.ids import RoomId
from bridge.link.failures import OpenFailure
from bridge.link.settings import AccountRule, LinkSettings
from bridge.rooms.ports import Account
from bridge.rooms.record import OwnLogin
from bridge.rooms.store import StoreError
from bridge.webchat.codes import LoginType
from bridge.webchat.http import PasswordLogin, RegisterLogin, VisitorLogin

Login = PasswordLogin | RegisterLogin | VisitorLogin


@dataclass(frozen=True)
class Credentials:
    """How a room logs in, and under which name we remember it."""

    login_name: str
    login: Login = field(repr=False)
    attempt: str = ""
    """Tells this login from another under the same name: a password that was typed anew."""


def room_key(room_id: str, secret: bytes = b"") -> str:
    """Return 16 hex digits that stand for the room.

    Who registers under a name (wire type 3) needs no password, so a name that anybody could work
    out would be anybody's.

    Args:
        room_id: the room's.
        secret: keys the hash (BLAKE2b as a MAC, RFC 7693), up to 64 bytes. Empty for rooms from
            before names were secret: they keep theirs.
    """
    return hashlib.blake2b(room_id.encode(), key=secret, digest_size=8).hexdigest()


def visitor_id(login_name: str) -> str:
    """Return the GUID under which an anonymous visitor of this name logs in (type 4)."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, login_name))


def matching_rule(
    accounts: Mapping[str, AccountRule], room_id: str, user_id: str
) -> AccountRule | None:
    """Return the most specific rule for a room, or None.

    Order: the room id itself, the user id itself, then the glob with the most literal characters.
    """
    for exact in (room_id, user_id):
        if exact in accounts:
            return accounts[exact]
    globs = [
        pattern
        for pattern in accounts
        if fnmatchcase(room_id, pattern) or fnmatchcase(user_id, pattern)
    ]
    if not globs:
        return None
    # Ties are broken by the text of the pattern, so that the choice never depends on the order in
    # which a file was written.
    return accounts[max(globs, key=lambda glob: (_literals(glob), glob))]


def shared(accounts: Mapping[str, AccountRule], rooms_per_user: int) -> list[str]:
    """Return the keys of `accounts` whose login several rooms could have at the same time.

    The server knows one chat per login: of two such rooms one would get the other's.

    Args:
        accounts: the operator's.
        rooms_per_user: how many rooms one Matrix user may have.
    """
    return [
        pattern
        for pattern, rule in accounts.items()
        if "{room_key}" not in rule.name
        and "{room_id}" not in rule.name
        and not _is_one_room(pattern, rooms_per_user)
    ]


def _is_one_room(pattern: str, rooms_per_user: int) -> bool:
    if _literals(pattern) < len(pattern):
        return False
    return pattern.startswith("!") or rooms_per_user == 1


def _literals(pattern: str) -> int:
    return sum(char not in "*?[]" for char in pattern)


class Accounts:
    """Makes a room's credentials from the operator's settings."""

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings

    def credentials(self, account: Account) -> Credentials:
        """Return how the room logs in.

        Raises:
            OpenFailure: LOGIN_REFUSED, when accounts are listed and none is for this room, or when
                the customer's own password cannot be opened any more.
        """
        settings = self._settings
        epid = settings.enterprise_id
        if account.login is not None and settings.unseal is not None:
            return self._own(account.room_id, account.login, settings.unseal)
        match settings.login_type:
            case LoginType.PASSWORD:
                rule = self._rule(account)
                name = self._fill(rule.name, account)
                return Credentials(name, PasswordLogin(name, rule.password, epid))
            case LoginType.REGISTER:
                name = self._fill(settings.name, account)
                shown = self._fill(settings.display_name, account)
                return Credentials(name, RegisterLogin(name, shown, "", epid, ""))
            case LoginType.VISITOR:
                name = self._fill(settings.name, account)
                return Credentials(name, VisitorLogin(visitor_id(name), epid))

    def _own(
        self, room_id: RoomId, login: OwnLogin, unseal: Callable[[RoomId, bytes], str]
    ) -> Credentials:
        try:
            password = unseal(room_id, login.password)
        except StoreError as error:
            raise OpenFailure(
                FailureReason.LOGIN_REFUSED, "the customer has to log in again"
            ) from error
        own = PasswordLogin(login.name, password, self._settings.enterprise_id)
        # A password is sealed differently each time, so these bytes tell the attempts apart.
        return Credentials(login.name, own, hashlib.sha256(login.password).hexdigest())

    def _rule(self, account: Account) -> AccountRule:
        settings = self._settings
        if not settings.accounts:
            return AccountRule(settings.name, settings.password)
        rule = matching_rule(settings.accounts, account.room_id, account.customer)
        if rule is None:
            raise OpenFailure(FailureReason.LOGIN_REFUSED, "no account for this room")
        return rule

    def _fill(self, template: str, account: Account) -> str:
        return template.format(
            room_key=account.key or room_key(account.room_id),
            room_id=account.room_id,
            displayname=account.displayname,
        )
