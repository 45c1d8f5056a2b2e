"""Tokens and logins: which WebChat account speaks for a room, and where its token comes from.

A token is the one that the link has, the stored one, or that of a new login. `Tokens` reuses them
for as long as the server takes them; `Logins` logs in without being thrown out; `Accounts` makes a
room's credentials from the operator's settings. The server knows one chat per customer, so the
login name must be unique per *room*, not per Matrix user (protocol reference 4): the templates are
built on a short hash of the room id, which the room's record keeps (`RoomRecord.key`).

All logins of a server pass its `Door`. A refused account is left alone until a person acts: by us
for an hour, and whatever its customer does, for a minute and then ever longer; a retry loop gets
the whole bridge onto the server's blacklist (reference 3.7). A refused sign holds for all accounts.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import structlog

from bridge.conversation.model import FailureReason
from bridge.ids import RoomId
from bridge.link.http_client import Door, Http, OpenFailure, Visitor, Wait, patiently
from bridge.link.learnt import Learnt
from bridge.link.settings import AccountRule, LinkMetrics, LinkSettings, Token, TokenStore
from bridge.rooms.ports import Account, Clock, Unavailable
from bridge.rooms.record import OwnLogin
from bridge.rooms.store import StoreError
from bridge.webchat.codes import LoginType, ResultCode
from bridge.webchat.http import (
    Endpoints,
    Login,
    LoginReply,
    PasswordLogin,
    RegisterLogin,
    VisitorLogin,
    dump_login,
    login_sign,
    parse_login_reply,
)
from bridge.webchat.write import LocalProtocolError

_Key = tuple[str, str]
_ALL: _Key = ("", "")
"""The key of what holds for every account of the server. No login name is empty."""


@dataclass(frozen=True)
class _Refusal:
    reason: FailureReason
    code: int
    pause: float
    until: float
    """Nobody may try before, in loop time."""
    rests_until: float
    """Nor we ourselves before this."""

    def failure(self, now: float) -> OpenFailure:
        """What it means for who asks now."""
        return OpenFailure(
            self.reason,
            f"login refused with {self.code}",
            code=self.code,
            pause=max(0.0, self.until - now),
            rest=max(0.0, self.rests_until - now),
        )


class Logins:
    """Gives tokens for accounts, one HTTP request each."""

    def __init__(
        self,
        settings: LinkSettings,
        http: Http,
        *,
        door: Door,
        learnt: Learnt,
        clock: Clock,
        metrics: LinkMetrics,
    ) -> None:
        self._settings = settings
        self._http = http
        self._door = door
        self._learnt = learnt
        self._clock = clock
        self._metrics = metrics
        self._accounts = Accounts(settings)
        self._refusals: dict[_Key, _Refusal] = {}
        self._alone = asyncio.Lock()

    def login_name(self, account: Account) -> str:
        """Return the name under which the room logs in.

        Raises:
            OpenFailure: there is no account for this room.
        """
        return self._accounts.credentials(account).login_name

    async def login(self, account: Account, wait: Wait = patiently) -> Token:
        """Log a room in; `wait` is how it stands in line for its turn.

        Raises:
            OpenFailure: LOGIN_REFUSED (-20, -6, no account), SIGN_REFUSED (-30) or UNREACHABLE;
                `pause` says how long to leave it, `rest` how long unless somebody asks.
            Exception: what `wait` raises.
        """
        credentials = self._accounts.credentials(account)
        self._recall(credentials)
        # Where all were refused together, one tries for all.
        async with self._alone if _ALL in self._refusals else nullcontext():
            async with self._door.knock(Visitor(account.customer, account.running, wait)):
                # What was learnt while we waited for our turn counts.
                self._recall(credentials)
                reply, cookies = await self._request(credentials)
            self._judge(credentials, reply)
        now = self._clock.now()
        return Token(credentials.login_name, reply.token, now, reply.client_id, cookies)

    def _recall(self, credentials: Credentials) -> None:
        now = asyncio.get_running_loop().time()
        for key in (_ALL, _key(credentials)):
            refusal = self._refusals.get(key)
            if refusal is not None and now < refusal.until:
                raise refusal.failure(now)

    async def _request(self, credentials: Credentials) -> tuple[LoginReply, str]:
        """Return the answer, and the cookies that came with it."""
        try:
            body = dump_login(credentials.login, self._learnt.keys)
        except LocalProtocolError as error:
            raise OpenFailure(FailureReason.LOGIN_REFUSED, str(error)) from error
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        if self._settings.sign_key:
            # The sign covers exactly these bytes (protocol reference 3.2).
            headers["sign"] = login_sign(body, self._settings.sign_key)
        url = Endpoints(self._settings.base_url).login
        try:
            answer = await self._http.post(url, body, headers, total=self._settings.timing.reply)
        except Unavailable as error:
            self._metrics.logged_in(None)
            self._door.unanswered()
            raise OpenFailure(FailureReason.UNREACHABLE, f"login: {error}") from error
        # The vendor's clients parse the body whatever the HTTP status is.
        reply = parse_login_reply(answer.body)
        self._metrics.logged_in(None if reply is None else reply.result)
        if reply is None:
            raise self._door.foreign(answer, "login")
        self._door.answered()
        return reply, answer.cookies

    def _judge(self, credentials: Credentials, reply: LoginReply) -> None:
        code = reply.result
        if code == ResultCode.SUCCESS:
            self._refusals.pop(_key(credentials), None)
            self._refusals.pop(_ALL, None)
            return
        if code in (ResultCode.INVALID_LOGIN, ResultCode.INVALID_CLIENT_ID):
            raise self._refuse(credentials, FailureReason.LOGIN_REFUSED, code)
        if code == ResultCode.INVALID_SIGN:
            raise self._refuse(credentials, FailureReason.SIGN_REFUSED, code)
        raise OpenFailure(
            FailureReason.UNREACHABLE, f"login answered {code} without a token", code=code
        )

    def _refuse(self, credentials: Credentials, reason: FailureReason, code: int) -> OpenFailure:
        timing = self._settings.timing
        key = _ALL if reason is FailureReason.SIGN_REFUSED else _key(credentials)
        now = asyncio.get_running_loop().time()
        earlier = self._refusals.get(key)
        if earlier is not None and now < earlier.until:
            return earlier.failure(now)  # both were on their way at the same time
        pause = timing.refusal_first
        if earlier is not None:
            pause = min(timing.refusal_last, 2 * earlier.pause)
        rest = max(pause, timing.refusal)
        refusal = _Refusal(reason, code, pause, now + pause, now + rest)
        # Old refusals are dropped here, so that the table never outgrows the accounts in trouble.
        self._refusals = {
            name: old
            for name, old in self._refusals.items()
            if now < old.rests_until + timing.refusal_last
        }
        self._refusals[key] = refusal
        log = _log()
        told = {"code": code, "retry_in": rest, "if_asked_in": pause}
        if credentials.attempt and reason is FailureReason.LOGIN_REFUSED:
            # A customer has mistyped: nothing for an operator, and no name that was meant for us.
            log.info("webchat login of a customer's own refused", **told)
        else:
            log.error("webchat login refused", login_name=credentials.login_name, **told)
        return refusal.failure(now)


class Tokens:
    """Reuses tokens for as long as the server takes them (protocol reference 3.6)."""

    def __init__(self, logins: Logins, store: TokenStore, clock: Clock, max_age: float) -> None:
        """Take `max_age` in seconds: an older token is replaced before the server refuses it."""
        self._logins = logins
        self._store = store
        self._clock = clock
        self._max_age = max_age * 1000
        self._refused: dict[RoomId, str] = {}
        """Tokens that the server has refused and that the store may still hold."""

    async def obtain(self, account: Account, have: Token | None, wait: Wait = patiently) -> Token:
        """Return a token to connect with.

        Args:
            account: who logs in.
            have: the link's last token.
            wait: how a login, should one be needed, stands in line for its turn.

        Raises:
            OpenFailure: the login failed, or the store cannot be asked for the old token.
        """
        name = self._logins.login_name(account)
        # A token of another name is from before the room's account changed.
        token = have if have is not None and have.login_name == name else None
        token = token or await self._stored(account.room_id)
        if (
            token is not None
            and token.login_name == name
            and self._clock.now() - token.issued < self._max_age
        ):
            return token
        return await self.renew(account, wait)

    async def renew(self, account: Account, wait: Wait = patiently) -> Token:
        """Log in, whatever token there is, and keep the new one.

        Raises:
            OpenFailure: the login failed.
        """
        token = await self._logins.login(account, wait)
        try:
            await self._store.save(account.room_id, token)
        except StoreError as error:
            # It works until the next restart, which costs one login: no reason not to serve.
            _log().warning("token not stored", room_id=account.room_id, error=str(error))
        else:
            self._refused.pop(account.room_id, None)
        return token

    async def refuse(self, room_id: RoomId, token: Token) -> None:
        """The server does not take this token any more: it is not used again, whatever is stored.

        A store that is slow to forget must not have it tried a second time: for the `Door` that
        would be a sign of a blacklist.
        """
        self._refused[room_id] = token.value
        try:
            await self._store.forget(room_id)
        except StoreError as error:
            # The stored token will be refused once more after a restart, and replaced then.
            _log().warning("token not forgotten", room_id=room_id, error=str(error))
        else:
            self._refused.pop(room_id, None)

    async def _stored(self, room_id: RoomId) -> Token | None:
        try:
            token = await self._store.load(room_id)
        except StoreError as error:
            # Not a reason to log in anew: without a store nothing can be carried anyway.
            raise OpenFailure(
                FailureReason.UNREACHABLE, "the token store does not answer"
            ) from error
        return None if token is None or token.value == self._refused.get(room_id) else token


def _key(credentials: Credentials) -> _Key:
    """A refusal holds for a name; for one that was typed, only with the password typed with it."""
    return credentials.login_name, credentials.attempt


def _log() -> structlog.stdlib.BoundLogger:
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    return log


# --- accounts -----------------------------------------------------------------------------------


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
