"""The doctor's checks of the homeserver: reachable both ways; tokens, users and files accepted.

Plain HTTP without retries: the homeserver's error codes tell which line of which file is wrong.
"""

from __future__ import annotations

import errno
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote, urlencode, urljoin

import aiohttp
import msgspec

from bridge.app.settings import all_users_of, panel_url
from bridge.cli.console import local_address
from bridge.cli.findings import Failed, Findings, check_clock, tls_fault
from bridge.config.model import Config
from bridge.ids import AgentId, QueueId, UserId, localpart_of
from bridge.link.http_client import origin_of, redirected
from bridge.matrix.appservice import Endpoint
from bridge.matrix.client import OWNER, PINGED
from bridge.matrix.crypto.wire import NOTHING_BUT_KEYS, device_ids
from bridge.matrix.ghosts import FOREIGN_FIX, foreign_devices, made_fact
from bridge.matrix.users import LOAD_IT, OurUsers, not_loaded, not_registered
from bridge.ops.health import LIVE
from bridge.ops.metrics import CannotListen, listening
from bridge.rooms.ports import describe, tls_context
from bridge.rooms.store import StoreError
from bridge.storage.sqlstore import SqlStore

_CLIENT = "/_matrix/client/v3"
_PING_SINCE = (1, 7)  # version of the Matrix specification
_LEGACY = (0, 0)  # r0, before v1.1
_RELOAD = "list the newest registration.yaml in app_service_config_files; restart the homeserver"
_HOMESERVER = "homeserver"
_MOVED = "set homeserver.address to the address to which it redirects"
_GHOSTS = "agents' users"
_LIFT = (
    "nothing is wrong with the bridge: have the homeserver's administrator lift `hs_disabled`, or"
    " the limit of monthly active users, or unset `track_appservice_user_ips`"
)
_FILE = b"matrix-webchat doctor\n"


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, object]
    date: str

    @property
    def code(self) -> str:
        return str(self.body.get("errcode", ""))

    @property
    def exists(self) -> bool:
        return self.status == 200 or self.code == "M_USER_IN_USE"

    @property
    def text(self) -> str:
        error = str(self.body.get("error", ""))[:200]
        return " ".join(filter(None, (f"HTTP {self.status}", self.code, error)))


def newest_version(versions: Iterable[object]) -> tuple[int, int]:
    """Return the newest version of the specification in a list; r0 (before v1.1) if there is none.

    A homeserver may announce only later versions than the one that is needed.
    """
    found = (re.fullmatch(r"v([0-9]{1,4})\.([0-9]{1,4})", str(version)) for version in versions)
    return max(((int(match[1]), int(match[2])) for match in found if match), default=_LEGACY)


def _written(version: tuple[int, int]) -> str:
    return "v{}.{}".format(*version) if version > _LEGACY else "r0"


def _check_served(user: UserId, answer: Answer) -> None:
    """Raise Failed if the homeserver limits requests or users, or has an error of its own."""
    if answer.code == "M_RESOURCE_LIMIT_EXCEEDED":
        raise Failed(f"the homeserver does not serve {user} now: {answer.text}", _LIFT)
    if answer.status == 429 or answer.status >= 500:
        fix = "try again later, and see the homeserver's log"
        raise Failed(f"{user}: {answer.text}", fix)


async def check_homeserver(findings: Findings, config: Config, store: SqlStore | None) -> bool:
    """Run all checks; return False if it lacks users of the bridge: keys cannot be judged."""
    tls = tls_context(verify=config.homeserver.verify_ssl)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls), timeout=aiohttp.ClientTimeout(total=20)
    ) as session:
        return await _Checks(findings, config, session, store).all()


@dataclass
class _Checks:
    _findings: Findings
    _config: Config
    _session: aiohttp.ClientSession
    _store: SqlStore | None
    _all_ours: bool = True

    def __post_init__(self) -> None:
        self._address = self._config.homeserver.address.rstrip("/")
        self._every = all_users_of(self._config)
        self._users = next(iter(self._every.values()))

    async def all(self) -> bool:
        of = self._findings.of
        if not await of(_HOMESERVER, self._reachable()) or not await of("bot", self._bot()):
            return False
        await of("sync", self._sync())
        await of("homeserver to bridge", self._ping())
        await of("queue users", self._queue_users())
        for name, users in self._every.items():
            about = self._findings.about(name)
            await about.of(_GHOSTS, self._ghosts(about, users))
        await of("media on the homeserver", self._upload())
        if panel_url(self._config):
            await of("room page", self._openid())
        return self._all_ours

    async def _reachable(self) -> None:
        fix = "check homeserver.address (http or https?), and that the homeserver is running"
        try:
            answer = await self._ask("GET", "/_matrix/client/versions", token=False, fix=fix)
        except Failed as error:
            raise Failed(f"{self._address}: {error}", error.fix) from error
        versions = answer.body.get("versions")
        if answer.status != 200 or not isinstance(versions, list):
            raise Failed(
                f"{self._address}: {answer.text}; this is not a Matrix homeserver",
                "check homeserver.address: host and port of the client API",
            )
        newest = newest_version(versions)
        detail = f"{self._address} supports Matrix up to {_written(newest)}"
        if newest >= _PING_SINCE:
            self._findings.passed(_HOMESERVER, detail)
        else:
            detail += f", {_written(_PING_SINCE)} is needed"
            self._findings.failed(_HOMESERVER, detail, "upgrade the homeserver")
        check_clock(self._findings, answer.date, "the homeserver")

    async def _bot(self) -> str:
        """Check that the homeserver has loaded a registration with our as_token and our bot."""
        bot = self._users.main
        made = await self._make(bot)
        if made.code in {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"}:
            raise Failed(f"the homeserver rejects it ({made.code})", _RELOAD, "as_token")
        # /register checks only the localpart; whoami also checks the server name.
        whoami = await self._ask("GET", f"{_CLIENT}/account/whoami?user_id={quote(bot)}")
        _check_served(bot, whoami)
        self._findings.passed("as_token", "the homeserver accepts it")
        if not made.exists or whoami.status != 200:
            detail = (whoami if made.exists else made).text
            if made.exists and whoami.code == "M_FORBIDDEN":
                detail = f"homeserver.domain is not this server's name ({detail})"
            raise Failed(
                f"{bot}: {detail}",
                "check homeserver.domain (the homeserver's server_name) and"
                f" appservice.bot.username, run `matrix-webchat register` again, and {_RELOAD}",
            )
        if sessions := await self._sessions_of_others(bot):
            raise Failed(
                f"{bot} is registered by somebody else ({sessions})",
                f"{FOREIGN_FIX}: choose another appservice.bot.username, and run"
                " `matrix-webchat register` again",
            )
        return f"{bot} is registered for the bridge"

    async def _sync(self) -> str:
        """Check that the bot is told what is new, as after an outage; it changes nothing there.

        Synapse refuses this where it lets users write nothing, and that cannot be tried.
        """
        bot, path = self._users.main, f"{_CLIENT}/sync"
        query = urlencode({"user_id": bot, "filter": NOTHING_BUT_KEYS, "set_presence": "offline"})
        fix = f"see the homeserver's log, and what serves {path} (a worker, a proxy)"
        try:
            answer = await self._ask("GET", f"{path}?timeout=0&{query}", fix=fix)
        except Failed as error:
            raise Failed(f"{path}: {error}", error.fix) from error
        _check_served(bot, answer)
        if answer.status != 200:
            raise Failed(f"{path}, as {bot}: {answer.text}", fix)
        return "the homeserver tells the bot what is new"

    async def _openid(self) -> str:
        """Check that the homeserver verifies OpenID tokens, for sign-in to the room page."""
        path = "/_matrix/federation/v1/openid/userinfo"
        answer = await self._ask("GET", f"{path}?access_token=doctor", token=False)
        if answer.code != "M_UNKNOWN_TOKEN":
            raise Failed(
                f"{path} is not served at {self._address} ({answer.text})",
                "add the resource `openid` to that listener in homeserver.yaml, and restart the"
                " homeserver",
            )
        return "the homeserver can verify who opens it"

    async def _sessions_of_others(self, user: UserId) -> str:
        """Return who else uses a bridge user (devices, another appservice); empty if nobody."""
        with suppress(StoreError):
            if self._store is not None and await self._store.fact(made_fact(user)) is not None:
                return ""  # the bridge has registered it
        mark = f"{_CLIENT}/user/{quote(user)}/account_data/{OWNER}?user_id={quote(user)}"
        owner = str((await self._ask("GET", mark)).body.get("appservice", ""))
        if owner not in {"", self._config.appservice.id}:
            return f"the application service {owner} uses it"
        answer = await self._ask("GET", f"{_CLIENT}/devices?user_id={quote(user)}")
        found = foreign_devices(device_ids(answer.body))
        return f"devices not created by the bridge: {', '.join(found)}" if found else ""

    async def _make(self, user: UserId) -> Answer:
        name, kind = localpart_of(user), "m.login.application_service"
        content = {"type": kind, "username": name, "inhibit_login": True}
        answer = await self._ask("POST", f"{_CLIENT}/register?kind=user", content)
        _check_served(user, answer)
        return answer

    async def _ping(self) -> str:
        """Have the homeserver ping the running bridge, or else an endpoint of the doctor's."""
        appservice = self._config.appservice
        async with self._listening() as who:
            path = f"/_matrix/client/v1/appservice/{quote(appservice.id, safe='')}/ping"
            answer = await self._ask("POST", path, {})
        if answer.status == 200 or PINGED in answer.text:
            took = answer.body.get("duration_ms", "?")
            return f"the homeserver pinged {who} and got an answer in {took} ms"
        address = appservice.address
        found = (
            f"make the bridge reachable from the homeserver's machine at {address}"
            " (appservice.address, and the url in the loaded registration)"
        )
        match answer.code:
            case "M_BAD_STATUS":
                fix = (
                    "the homeserver has loaded another hs_token than that of config.yaml or of the"
                    f" running bridge, or another program answers at {address}: run"
                    " `matrix-webchat register`, give the homeserver the new file, and restart both"
                )
            case "M_CONNECTION_FAILED" if "JSON" in answer.text:
                fix = f"another program answers there: {found}"
            case "M_CONNECTION_FAILED" | "M_CONNECTION_TIMEOUT":
                fix = f"{found}; check the firewalls in between"
            case "M_URL_NOT_SET":
                fix = (
                    "the registration has no url: set appservice.address and run"
                    " `matrix-webchat register` again"
                )
            case _:
                fix = f"check appservice.id, run `matrix-webchat register` again, and {_RELOAD}"
        raise Failed(answer.text, fix)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[str]:
        """Listen on appservice.port unless the bridge does; yield who answers. May raise Failed."""
        appservice = self._config.appservice
        who = appservice.address  # a load balancer there may forward to a running bridge
        hostname, port = appservice.hostname, appservice.port
        async with AsyncExitStack() as stack:
            served = listening(self._endpoint().handle, "appservice", hostname, port)
            try:
                await stack.enter_async_context(served)
            except CannotListen as error:
                if getattr(error.__cause__, "errno", None) != errno.EADDRINUSE:
                    why = str(error).rpartition(": ")[2]
                    fix = "check appservice.hostname and port"
                    raise Failed(f"cannot listen on {hostname}:{port}: {why}", fix) from error
                if not await self._bridge_lives():
                    raise Failed(
                        f"another program listens on port {port}",
                        "stop it, or change appservice.port and address and run `matrix-webchat"
                        " register` again",
                    ) from error
                who = "the running bridge"
            yield who

    def _endpoint(self) -> Endpoint:
        """Return an endpoint that answers pings but no transactions: the homeserver keeps those."""

        async def accept(_: object) -> NoReturn:
            raise StoreError("the doctor is listening in place of the bridge")

        async def answer_user_query(_: str) -> bool:
            return False

        return Endpoint(
            hs_token=self._config.appservice.hs_token.get_secret_value(),
            users=self._users,
            accept=accept,
            answer_user_query=answer_user_query,
            max_body=self._config.appservice.max_body_size,
        )

    async def _bridge_lives(self) -> bool:
        appservice = self._config.appservice
        address = local_address(appservice.hostname, appservice.port)
        try:
            async with self._session.get(f"http://{address}{LIVE}") as response:
                return bool(await response.json() == {"live": True})
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False

    async def _queue_users(self) -> str | None:
        """Check that the loaded registration covers the queue users and no one else has them."""
        refused, foreign = [], []
        users = {part.bot: None for part in self._every.values() if part.bot != self._users.main}
        for enterprise, part in self._config.parts().items():
            ours = self._every[enterprise]
            users |= {ours.queue_user(QueueId(queue.id)): None for queue in part.queues}
        for user in users:
            answer = await self._make(user)
            if not answer.exists:
                refused.append(f"{user} {answer.code}")
            elif sessions := await self._sessions_of_others(user):
                foreign.append(f"{user} is registered by somebody else ({sessions})")
        if foreign:
            fix = f"the bridge does not use it: {FOREIGN_FIX}"
            self._findings.failed("queue users", "; ".join(foreign), fix)
        if refused:
            raise Failed(", ".join(refused), f"run `matrix-webchat register`, and {_RELOAD}")
        count = len(users)
        return None if foreign else f"all {count} are registered for the bridge"

    async def _ghosts(self, findings: Findings, users: OurUsers) -> str | None:
        """Check that the loaded registration covers the ghosts. None is created: the error for a
        user who does not exist tells whether it is in the bridge's namespaces.
        """
        ghost = users.ghost(AgentId("doctor"))
        answer = await self._ask("GET", f"{_CLIENT}/account/whoami?user_id={quote(ghost)}")
        if answer.status == 200 or not_registered(answer.text):
            return f"the loaded registration covers them (tested with {ghost})"
        if not_loaded(f"{answer.code} {answer.text}"):
            findings.failed(
                _GHOSTS,
                f"{ghost}: the homeserver has not loaded the namespace {users.ghosts.regex},"
                " so agents' messages cannot be sent",
                f"run `matrix-webchat register`, and {LOAD_IT}",
            )
            why = "without that namespace, the keys of agents' users would appear to be missing"
            self._findings.skipped("encryption", why)
            self._all_ours = False
        else:
            findings.skipped(_GHOSTS, f"cannot be checked on this homeserver ({answer.text})")
        return None

    async def _upload(self) -> str:
        bot = quote(self._users.main, safe="")
        query = f"user_id={bot}&filename=doctor.txt"
        answer = await self._ask("POST", f"/_matrix/media/v3/upload?{query}", data=_FILE)
        if answer.status != 200:
            raise Failed(
                answer.text, "see the homeserver's log (check media_store_path and disk space)"
            )
        limits = await self._ask("GET", f"/_matrix/client/v1/media/config?user_id={bot}")
        allowed = limits.body.get("m.upload.size")
        ours = max(part.bridge.limits.file for part in self._config.parts().values())
        if isinstance(allowed, int) and allowed < ours:
            raise Failed(
                f"the homeserver accepts {allowed} bytes, but bridge.limits.file allows {ours}",
                "raise max_upload_size on the homeserver or lower bridge.limits.file",
            )
        return f"a file was uploaded; up to {ours} bytes are allowed"

    async def _ask(
        self,
        method: str,
        path: str,
        content: dict[str, object] | None = None,
        *,
        data: bytes | None = None,
        token: bool = True,
        fix: str = "see the homeserver's log",
    ) -> Answer:
        """Send one request as the appservice; `Failed` if the answer is not a JSON object."""
        headers = {"Content-Type": "text/plain" if data is not None else "application/json"}
        if token:
            as_token = self._config.appservice.as_token.get_secret_value()
            headers["Authorization"] = f"Bearer {as_token}"
        body = msgspec.json.encode(content) if content is not None else data
        url = f"{self._address}{path}"
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                read = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            fault = tls_fault(error, "homeserver.address") or Failed(describe(error), fix)
            raise Failed(str(fault), fault.fix, _HOMESERVER) from error
        status, date = response.status, response.headers.get("Date", "")
        with suppress(ValueError, RecursionError):
            if isinstance(reply := msgspec.json.decode(read), dict):
                return Answer(status, reply, date)
        why = f"HTTP {status} without a JSON object: not a homeserver, or a proxy's error page"
        to = response.headers.get("Location", "")
        if to and redirected(url, to) is None:  # to another server, not to its login page
            with suppress(ValueError):
                to = urljoin(url, to)
            why, fix = f"HTTP {status} redirects to {origin_of(to)}", _MOVED
        raise Failed(why, fix, _HOMESERVER)
