"""The running bridge: builds all parts, starts them in order, stops them in reverse.

One exit stack holds everything that must be closed, with the store at the bottom; one task group
holds the tasks. When the stack unwinds, the port closes first, so that nothing new comes in; then
background tasks are cancelled and the engine gets `PATIENCE` to finish running work; then the links
close, and the store last.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import lru_cache, partial
from os import getpid
from socket import gethostname
from time import perf_counter
from typing import Any

import msgspec
import structlog
from aiohttp import ClientSession
from msgspec.structs import replace

from bridge import __version__
from bridge.admin.operations import Dispatcher
from bridge.admin.pages import Pages
from bridge.admin.provisioning import PREFIX, Provisioning
from bridge.admin.signin import RoomAdmins, SignIn
from bridge.admin.views import Bridge, Busy, report_of
from bridge.app import settings
from bridge.app.replica import Replica
from bridge.config.model import Config, Retention
from bridge.ids import QueueId, RoomId
from bridge.link.http_client import VISITS
from bridge.link.link import Shared
from bridge.link.links import Links
from bridge.link.settings import LinkSettings
from bridge.matrix.adapter import MatrixAdapter
from bridge.matrix.appservice import Endpoint, Page
from bridge.matrix.catchup import PRUNED, CatchUp
from bridge.matrix.client import FOREIGN, TAKEN, Homeserver, new_session
from bridge.matrix.crypto.crypto import Crypto
from bridge.matrix.crypto.devices import ANOTHER
from bridge.matrix.crypto.vault import WORDS, Sealer, Vault, derive
from bridge.matrix.crypto.wire import KeyServer
from bridge.matrix.ghosts import FOREIGN_FIX
from bridge.matrix.users import LOAD_IT, not_loaded
from bridge.ops.health import REFUSED, Health, report_states
from bridge.ops.logging import configure_logging
from bridge.ops.metrics import Metrics, listening, metrics_server, watch_loop_lag
from bridge.rooms.aside import AsideLane
from bridge.rooms.engine import Engine
from bridge.rooms.ports import Clock, Refused, Unauthorized, Unavailable
from bridge.rooms.room import LaneRunner
from bridge.rooms.rules import GONE, Rules, unconfigured_rules
from bridge.rooms.store import Cutoffs, Depth, Lane, StoreError
from bridge.rooms.surroundings import Surroundings, SystemClock, Waits
from bridge.rooms.to_matrix import MatrixLane
from bridge.rooms.to_webchat import WebChatLane
from bridge.storage.query import Unreachable
from bridge.storage.sqlstore import SqlStore, described, open_store
from bridge.webchat.codes import LoginType
from bridge.webchat.http import Endpoints

LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.app")
PATIENCE = 5.0
"""Seconds that running work gets when the bridge stops. With the homeserver's requests before it
and the links' closing handshakes after it, a stop takes at most ten."""
CONVERSIONS = 2
"""Maximum concurrent sound and video conversions (at least one per call centre); further ones wait,
and so do their rooms. For the limits of each see `formats.apart`."""
AT_ONCE = 8
"""With several call centres, each one's maximum of pushes being stored and of requests to the
homeserver, so that no other waits behind more. Bursts cost more, as fewer share a commit."""
LONGEST_REACH = 24 * 3_600_000
"""Maximum age in ms of missed messages to catch up on; customers repeat what is older."""
INSTANCE = "instance"
"""Stored fact: the unique id of this database."""
DATED = "instance.dated"
"""Stored fact: since when (ms) transaction ids contain their row's time (`Surroundings`)."""

LANES: Mapping[Lane, LaneRunner] = {
    Lane.WEBCHAT: WebChatLane(),
    Lane.MATRIX: MatrixLane(),
    Lane.ASIDE: AsideLane(),
}


class HomeserverRefused(Exception):
    """The homeserver refuses the bridge's tokens or users, or the bot's account is not its own."""


class Serving:
    """All parts of one bridge; a context manager that starts and stops them."""

    def __init__(self, config: Config) -> None:
        self._metrics = Metrics()
        self.config = config
        """The configuration in force."""
        self._clock = SystemClock()
        self._outage, self._held = asyncio.Event(), asyncio.Event()
        self._behind: dict[RoomId, int] = {}
        self.stop = asyncio.Event()
        """Request to stop: set from outside (also during the start) or by a refusal."""
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._refusal: HomeserverRefused | None = None
        self._background: list[asyncio.Task[None]] = []
        self._users = settings.all_users_of(config)
        self._replica: Replica | None = None
        self._links: dict[str, Links] = {}
        """By enterprise, like `_around`."""
        self._around: dict[str, Surroundings] = {}
        self._gone: Surroundings
        """For enterprises that are no longer configured."""
        self._first = ""
        """See `settings.FIRST`."""
        self._contact: Contact

    async def __aenter__(self) -> Serving:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def until_stopped(self) -> None:
        """Serve until `stop` is set, or raise HomeserverRefused."""
        await self.stop.wait()
        if self._refusal is not None:
            raise self._refusal

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        self._background.append(self._tasks.create_task(work))

    def apply_config(self, config: Config) -> None:
        """Apply a reloaded configuration whose changes need no restart (`loading.take_over`)."""
        configure_logging(
            config.logging.level, config.logging.format, secrets=settings.secrets_of(config)
        )
        every = self._rules(config)
        for name, rules in every.items():
            self._around[name].rules = rules
            self._links[name].trust()
        self._gone.rules = unconfigured_rules(every.values())
        self._contact.apply_config(config)
        self.config = config

    def _rules(self, config: Config) -> dict[str, Rules]:
        learnt = {name: links.learnt for name, links in self._links.items()}
        return settings.all_rules_of(config, self._users, learnt, self._first)

    # --- starting ---------------------------------------------------------------------------

    async def _start(self) -> None:
        config, enter = self.config, self._stack.enter_async_context
        began = self._clock.now()
        url = config.database.url.get_secret_value()
        seal = Sealer(settings.encryption_secret_of(config), WORDS)
        store = await enter(open_store(url, self._clock, sole=True, shared=True, seal=seal))
        homeserver, crypto = await self._matrix(store)
        self._replica = self._one_of_several(store, crypto)
        matrix = await self._enterprises(store, homeserver, crypto)
        engine = await self._engine(store)
        self._metrics.count = lambda: by_name(engine.chats(), self._named)
        for links in self._links.values():
            await enter(links.running(engine))
        # Concurrently, as a hanging server delays its own.
        every = self._links.values()
        self._stack.push_async_callback(lambda: asyncio.gather(*(each.aclose() for each in every)))
        self._contact = Contact(config, matrix, lambda: endpoint.heard)
        health = self._health(store, self._contact)
        await self._run_engine(engine)
        first = next(iter(matrix.values()))
        inside = self._inside(store, engine, health)
        operations = Dispatcher(inside)
        endpoint = self._endpoint(engine, first, health, self._api(operations))
        await self._introduce(self._contact)
        ours = config.appservice
        port = await enter(listening(endpoint.handle, "appservice", ours.hostname, ours.port))
        self._stack.callback(health.stop)
        if config.metrics.enabled:
            await enter(metrics_server(self._metrics, config.metrics.hostname, config.metrics.port))
        if config.console.enabled:
            await self._console(inside, operations, first)
        for work in (
            health.watch(),
            watch_loop_lag(self._metrics),
            prune(store, self._clock, lambda: self.config.retention, self._is_first),
            *(around.waits.keep(around, self._is_first) for around in self._around.values()),
            measure(store, self._clock, self._metrics, self._named),
            self._catch_up(store, first, engine),
        ):
            self.keep(work)
        if crypto is not None:
            self.keep(crypto.run(engine.key_arrived))
        self._start_exports(store, health)
        if self._replica is not None:
            shown = config.console.enabled or config.provisioning.enabled
            report = partial(report_of, inside) if shown else str
            self._metrics.shards.set_function(lambda: len(engine.shards))
            self.keep(self._replica.run(engine, self._shared_by, report, health.cut_off))
        after = self._clock.now() - began
        LOG.info("serving", port=port, after_ms=after, version=__version__)

    def _start_exports(self, store: SqlStore, health: Health) -> None:
        """Start the configured exports to the operator's systems: state reports and traces."""
        config, clock = self.config, self._clock
        if to := config.homeserver.status_endpoint:
            token = config.appservice.as_token.get_secret_value()

            def refused(part: str) -> str:
                return self._links[part.partition(" ")[2]].logins.refused

            self.keep(report_states(to, token, health, clock, self._is_first, refused=refused))
        if config.tracing.enabled:
            from bridge.ops.tracing import Tracing  # needs an optional extra

            to, name = config.tracing.endpoint, config.appservice.id
            self.keep(Tracing(to, name, store, clock, self._is_first).run())

    async def _enterprises(
        self, store: SqlStore, homeserver: Homeserver, crypto: Crypto | None
    ) -> dict[str, MatrixAdapter]:
        """Build the parts of each enterprise: links, adapter, threads, rules, waiting times."""
        config, matrix = self.config, {}
        parts = config.parts()
        self._first = await store.fact(settings.FIRST) or ""
        if not self._first and config.enterprises:
            self._first = await store.first_fact(settings.FIRST, await self._served_before(store))
        marks = {name: "" if name == self._first else name for name in parts}
        servers = Counter(Endpoints(part.webchat.base_url).login for part in parts.values())
        for name, part in parts.items():
            beside = servers[Endpoints(part.webchat.base_url).login]
            link = settings.link_settings_of(part, name, marks[name], beside)
            if len(parts) > 1:
                link = dataclasses.replace(link, at_once=AT_ONCE)
            self._links[name] = self._make_links(store, link)
        rules = self._rules(config)
        for name, part in parts.items():
            own = homeserver
            if len(parts) > 1:
                own = homeserver.beside(await self._session(), AT_ONCE)
            threads = ThreadPoolExecutor(
                max(1, CONVERSIONS // len(parts)), thread_name_prefix=f"media {name}".strip()
            )
            # Conversions still running at the end are not awaited.
            self._stack.callback(threads.shutdown, wait=False, cancel_futures=True)
            matrix[name] = MatrixAdapter(
                own,
                users=self._users[name],
                profiles=store,
                conversions=threads,
                displayname_template=part.bridge.displayname_template,
                crypto=crypto,
            )
            waits = Waits(marks[name])
            await waits.load(store, [queue.id for queue in part.queues])
            self._around[name] = Surroundings(
                store,
                matrix[name],
                self._links[name],
                self._clock,
                rules[name],
                self._metrics.of(name),
                threads,
                waits,
            )
        return matrix

    async def _served_before(self, store: SqlStore) -> str:
        """Return the formerly only enterprise (its server has recorded logins), else the first."""
        parts = self.config.parts()
        for name, part in parts.items():
            if await store.fact(settings.link_settings_of(part).fact(VISITS)) is not None:
                return name
        return next(iter(parts))

    def _named(self, enterprise: str) -> str:
        return settings.named(self.config, self._first, enterprise)

    def _make_links(self, store: SqlStore, link: LinkSettings) -> Links:
        measures = self._metrics.of(link.enterprise)
        return Links(Shared(link, tokens=store, facts=store, metrics=measures, clock=self._clock))

    async def _engine(self, store: SqlStore) -> Engine:
        instance = await store.first_fact(INSTANCE, secrets.token_hex(4))
        now = str(self._clock.now())
        dated = msgspec.json.decode(await store.first_fact(DATED, now), type=int)
        main = next(iter(self._around.values()))
        for around in self._around.values():
            around.upgrades, around.inviting = main.upgrades, main.inviting
            around.instance, around.dated = instance, dated
        self._gone = await self._unconfigured(store, main)
        every = {**self._around, GONE: self._gone}
        every[""] = every.get(self._named(""), self._gone)
        every.setdefault(self._first, every[""])
        return Engine(every, LANES, others=self._replica)

    async def _unconfigured(self, store: SqlStore, main: Surroundings) -> Surroundings:
        """Return surroundings for enterprises no longer configured: they serve and send nothing.

        A single enterprise needs them too: rooms may carry names from an earlier configuration.
        """
        waiting: Counter[str] = Counter()
        for (owner, *_), rooms in by_name(await store.busy(), self._named).items():
            waiting[owner] += rooms if owner not in self._around else 0
        for owner, rooms in (+waiting).items():
            event = "chats are held up: their call centre is not in the configuration"
            LOG.warning(event, enterprise=owner, rooms=rooms)
        name, part = next(iter(self.config.parts().items()))
        links = self._make_links(store, settings.link_settings_of(part, name, GONE))
        await links.aclose()
        rules = unconfigured_rules(around.rules for around in self._around.values())
        return replace(main, link=links, rules=rules, waits=Waits(GONE))

    def _endpoint(
        self, engine: Engine, matrix: MatrixAdapter, health: Health, folders: Mapping[str, Page]
    ) -> Endpoint:
        appservice = self.config.appservice
        return Endpoint(
            hs_token=appservice.hs_token.get_secret_value(),
            users=matrix.users,
            accept=engine.accept_events,
            answer_user_query=matrix.ghosts.answer_user_query,
            typing=engine.typing,
            on_held=self._catch_up_all,
            behind=self._behind,
            home=self.config.homeserver.domain,
            timing=lru_cache(self._metrics.matrix_event.labels),
            max_body=appservice.max_body_size,
            pages=health.pages(),
            folders=folders,
        )

    def _catch_up_all(self) -> None:
        """Make all processes catch up: held-back events may concern rooms of any of them."""
        if not self._held.is_set():
            self._held.set()
            if self._replica is not None:
                self._replica.tell_held()

    def _inside(self, store: SqlStore, engine: Engine, health: Health) -> Bridge:
        parts = self.config.parts()
        return Bridge(
            self._around,
            orders=engine,
            missing=health.missing,
            away=health.away,
            links=lambda: [state for links in self._links.values() for state in links.states()],
            recent=lambda: self._metrics.recent,
            busy=partial(self._busy, store, engine),
            advice=lambda why: LOAD_IT if not_loaded(why) else "",
            replica="" if self._replica is None else self._replica.name,
            named=self._named,
            open_names=lambda name: (
                name in parts and parts[name].webchat.login.type is LoginType.PASSWORD
            ),
        )

    def _api(self, operations: Dispatcher) -> Mapping[str, Page]:
        """Return the provisioning API's handler by path prefix; empty if disabled."""
        section, counter = self.config.provisioning, self._metrics.api_calls
        if not section.enabled:
            return {}
        provisioning = Provisioning(
            section, operations, lambda operation, status: counter.labels(operation, status).inc()
        )
        return {f"{PREFIX}/": provisioning.handle}

    async def _console(self, inside: Bridge, operations: Dispatcher, matrix: MatrixAdapter) -> None:
        section, domain = self.config.console, self.config.homeserver.domain
        key = derive(settings.encryption_secret_of(self.config), b"room page")
        admins = RoomAdmins(matrix, inside, domain, key)
        console_key = settings.console_key_of(self.config)
        sign_in = SignIn(inside.around.store, self._clock, console_key)
        pages = Pages(operations, sign_in, admins, section.public_url).application()
        served = listening(pages, "console", section.hostname, section.port)
        port = await self._stack.enter_async_context(served)
        LOG.info("console", port=port)

    async def _busy(self, store: SqlStore, engine: Engine) -> Busy:
        """Count chats by enterprise, phase, queue: in memory if alone, else in the database."""
        several = self._replica is not None and not self._replica.alone
        return by_name(await store.busy() if several else engine.chats(), self._named)

    def _one_of_several(self, store: SqlStore, crypto: Crypto | None) -> Replica | None:
        """Return this process's `Replica`; None if the database cannot be shared."""
        if store.shards is None:
            return None
        name = self.config.bridge.replica or f"{gethostname()}:{getpid()}"
        listeners = () if crypto is None else (crypto.on_notice,)
        return Replica(store.shards, name, self._held.set, self._outage.set, *listeners)

    def _shared_by(self, replicas: int) -> None:
        """Set the share of the login rate limit."""
        for links in self._links.values():
            links.door.share(replicas)

    def _is_first(self) -> bool:
        """True if this process does the work needed once for all processes."""
        return self._replica is None or self._replica.first

    async def _matrix(self, store: SqlStore) -> tuple[Homeserver, Crypto | None]:
        config, crypto = self.config, None
        users, address = next(iter(self._users.values())), config.homeserver.address
        token = config.appservice.as_token.get_secret_value()
        # Requests that wait, as long polls or for other servers, have connections of their own.
        session, patient = await self._session(), await self._session(limit=0)
        homeserver = Homeserver(session, address, token, users, self._outage, patient=patient)
        if config.bridge.encryption.allow:
            vault = Vault(store, Sealer(settings.encryption_secret_of(config)))
            keys = KeyServer(homeserver)
            crypto = Crypto(keys, homeserver, users, vault, self._clock, others=store.shards)
            await crypto.upkeep.begin()
        return homeserver, crypto

    async def _session(self, limit: int = 100) -> ClientSession:
        """Open a pool of at most `limit` connections to the homeserver (0: no limit)."""
        session = new_session(verify_tls=self.config.homeserver.verify_ssl, limit=limit)
        return await self._stack.enter_async_context(session)

    async def _run_engine(self, engine: Engine) -> None:
        """Start the engine's task; on unwinding it stops before the parts that it uses."""
        # Read here, as a StoreError of a task would be wrapped in an ExceptionGroup.
        undone = await engine.undone()
        await self._stack.enter_async_context(self._tasks)
        ready = asyncio.Event()
        self._tasks.create_task(engine.run(undone, ready))  # its failure cancels this task
        self._stack.push_async_callback(self._stop_engine, engine)
        await ready.wait()

    async def _stop_engine(self, engine: Engine) -> None:
        for task in self._background:
            task.cancel()
        if self._replica is not None:
            await self._replica.leave(PATIENCE)
        await engine.stop(PATIENCE)

    async def _introduce(self, contact: Contact) -> None:
        """Register the bridge users before events come in, which may be meant for another bridge.

        If the homeserver is unreachable, it sends no events; the health probe tries again later.
        """

        async def hurry() -> None:
            await self.stop.wait()
            if not limit.expired():
                limit.reschedule(0)

        hurrying = self._tasks.create_task(hurry())
        try:
            async with asyncio.timeout(PATIENCE) as limit:
                await contact.introduce()
        except (Refused, Unauthorized) as error:
            raise HomeserverRefused(why_refused(self.config, error)) from error
        except (Unavailable, StoreError, TimeoutError) as error:
            LOG.debug("the bridge users could not be registered yet", why=str(error))
        finally:
            hurrying.cancel()

    def _health(self, store: SqlStore, contact: Contact) -> Health:
        config = self.config

        async def homeserver() -> None:
            try:
                await contact.probe()
            except Unreachable as error:  # by now the homeserver has answered a request
                LOG.debug("the bridge users could not be stored yet", why=str(error))
            except (Refused, Unauthorized) as error:
                if not contact.made and self._refusal is None:
                    self._refusal = HomeserverRefused(why_refused(config, error))
                    self.stop.set()
                raise Unavailable(f"{REFUSED} ({error})") from error

        parts = {
            "database": (place_of(config.database.url.get_secret_value()), store.ping),
            "homeserver": (config.homeserver.address, homeserver),
        }
        servers = {
            f"webchat {name}".strip(): (part.webchat.base_url, self._links[name].probe)
            for name, part in config.parts().items()
        }

        def changed(part: str, up: bool) -> None:  # noqa: FBT001 - a callback
            peer, _, enterprise = part.partition(" ")
            self._metrics.connected.labels(peer, enterprise).set(up)
            if part == "homeserver" and not up:  # after a time-out, too: its host may be gone
                self._outage.set()
            if part == "database" and up:  # the homeserver waits longer after each 503
                contact.doubted = True

        return Health(
            parts | servers,
            self._clock,
            on_change=changed,
            also=lambda: {} if self._replica is None else {"shards": len(self._replica.served)},
            any_of=servers if len(servers) > 1 else (),
        )

    # --- in the background ------------------------------------------------------------------

    async def _catch_up(self, store: SqlStore, matrix: MatrixAdapter, engine: Engine) -> None:
        """Catch up on missed events, but on none so old that its ledger row may be pruned."""
        await CatchUp(
            self._outage,
            self._held,
            self._behind,
            matrix.homeserver.unnoticed(),
            matrix.users,
            engine,
            store,
            clock=self._clock,
            reach=lambda: min(LONGEST_REACH, self.config.retention.rows // 2),
        ).run()


SILENCE = 180.0
"""Seconds without a request from the homeserver after which it is asked to ping the bridge."""


@dataclasses.dataclass(eq=False)
class Contact:
    """Connectivity with the homeserver in both directions, probed from the start on."""

    _config: Config
    _matrix: Mapping[str, MatrixAdapter]
    """By enterprise; all use the same homeserver."""
    _heard: Callable[[], float]
    doubted: bool = True
    """Whether the next probe has the homeserver ping the bridge."""
    _introduced: bool = False
    made: bool = False
    """Whether a probe has succeeded: the bridge users exist, and the homeserver has called."""

    @property
    def _first(self) -> MatrixAdapter:
        return next(iter(self._matrix.values()))

    def apply_config(self, config: Config) -> None:
        """Use a reloaded configuration: the next probe updates users' names and avatars."""
        self._config, self._introduced = config, False

    async def introduce(self) -> None:
        """Register the bridge users; if that is done already, check that the homeserver answers."""
        first = self._first
        if self._introduced:
            await first.homeserver.check()
            return
        ours, parts = self._config.appservice, self._config.parts()
        for name, part in parts.items():
            await self._matrix[name].ghosts.prepare(part.queues, part.appservice.bot, ours.id)
        if all(part.appservice.bot != ours.bot for part in parts.values()):
            await first.ghosts.prepare((), ours.bot, ours.id, first.users.main)
        self._introduced = True

    async def probe(self) -> None:
        """Check both directions. Raises Unavailable if one fails, and Refused.

        The homeserver is asked to ping the bridge (MSC2659) at the start, after an outage (also of
        the database: Synapse then sends at once what it holds back), and if it has sent no request
        for `SILENCE` seconds.
        """
        doubted, self.doubted = self.doubted, False  # it may be set again meanwhile
        try:
            await self.introduce()
            if doubted or self._heard() < perf_counter() - SILENCE:
                await self._ping()
        except BaseException:  # also a time-out
            self.doubted = True
            raise
        self.made = True

    async def _ping(self) -> None:
        ours = self._config.appservice
        try:
            await self._first.homeserver.ping(ours.id)
        except Unavailable as error:
            why = f"the homeserver cannot reach the bridge at {ours.address}: {error}"
            raise Unavailable(why) from error


def place_of(url: str) -> str:
    """Return a database's URL without user, password and options."""
    scheme, slashes, rest = url.partition("//")
    return scheme + slashes + rest.rpartition("@")[2].partition("?")[0]


def why_refused(config: Config, error: Refused | Unauthorized) -> str:
    """Return why the homeserver refuses the bridge, and what an operator can do about it."""
    code = error.code if isinstance(error, Refused) else ""
    if code == FOREIGN:
        return (
            f"somebody else has registered {settings.users_of(config).main} on the homeserver, so"
            f" it cannot be the bot: {FOREIGN_FIX}: set another appservice.bot.username and run"
            " `register` again"
        )
    if code == TAKEN:
        return (
            f"another bridge on this homeserver has the same users ({error}): give this one its own"
            " appservice.id, bot.username, bridge.username_template and"
            " bridge.queue_username_template, then run `register` again (docs/homeservers.md,"
            " Several bridges)"
        )
    if code == ANOTHER:
        url = config.database.url.get_secret_value()
        return (
            f"the database {described(url)} is new, but this bridge has already been used with"
            " another one, which knows its rooms: set database.url to that one, or restore its"
            " backup; if it is lost, run `matrix-webchat crypto reset` to begin with the new one"
        )
    return (
        f"the homeserver at {config.homeserver.address} refused the bridge ({error}): "
        "check that it has loaded this bridge's registration.yaml and was restarted since, "
        "and that homeserver.domain is its server name"
    )


# --- work beside serving -------------------------------------------------------------------------

PRUNE_EVERY, PRUNE_AGAIN = 600.0, 60.0
"""Seconds between prunings, and between checks whether this process is the one to prune."""
MEASURE_EVERY = 15.0


async def prune(
    store: SqlStore, clock: Clock, retention: Callable[[], Retention], mine: Callable[[], bool]
) -> None:
    """Erase expired rows periodically, in the process for which `mine` is True."""
    while True:
        now, kept = clock.now(), retention()
        if not mine():
            await clock.sleep(PRUNE_AGAIN)
            continue
        ages = ((name, getattr(kept, name)) for name in Cutoffs.__struct_fields__)
        others = Cutoffs(**{name: now - age if age else None for name, age in ages})
        try:
            pruned = max(now - kept.rows, min(now, int(await store.fact(PRUNED) or 0)))
            await store.save_fact(PRUNED, str(pruned))
            rows = await store.prune(now - kept.bodies, now - kept.rows, others)
            LOG.debug("ledger pruned", rows=rows)
        except StoreError as error:
            LOG.warning("the ledger could not be pruned", why=str(error))
        await clock.sleep(PRUNE_EVERY)


def by_name(busy: Busy, named: Callable[[str], str]) -> Busy:
    """Return the number of rooms by the configured names of their call centres."""
    found: Counter[tuple[str, str, QueueId]] = Counter()
    for (name, phase, queue), count in busy.items():
        found[named(name), phase, queue] += count
    return found


async def measure(
    store: SqlStore, clock: Clock, metrics: Metrics, named: Callable[[str], str]
) -> None:
    """Update the metrics of the database's backlog periodically."""
    while True:
        try:
            backlog: dict[tuple[str, str], Depth] = {}
            for (name, what), depth in (await store.backlog()).items():
                labels = named(name), what
                backlog[labels] = backlog.get(labels, Depth()) + depth
            metrics.backlog(backlog, clock.now())
        except StoreError as error:
            LOG.debug("the backlog could not be measured", why=str(error))
        await clock.sleep(MEASURE_EVERY)
