"""A bridge that serves: every part built, started in order, stopped in reverse.

One stack holds what has to be closed, the store at its bottom; one task group holds what runs. When
the stack unwinds, the port is closed first, so that nothing new comes in; then the work beside
serving is cancelled and the engine gets `PATIENCE` to end what is under way; then the links go, and
the store last.
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

import structlog
from aiohttp import ClientSession
from msgspec.structs import replace

from bridge.admin.dispatch import Dispatcher
from bridge.admin.pages import Pages
from bridge.admin.ports import Bridge
from bridge.admin.provisioning import PREFIX, Provisioning
from bridge.admin.room_page import RoomAdmins
from bridge.admin.signin import SignIn
from bridge.admin.views import report_of
from bridge.app import settings
from bridge.app.replica import Replica
from bridge.config import Config
from bridge.config.model import Retention
from bridge.ids import QueueId
from bridge.link.http_client import VISITS
from bridge.link.link import Shared
from bridge.link.links import Links
from bridge.link.settings import LinkSettings
from bridge.matrix.adapter import MatrixAdapter
from bridge.matrix.appservice import Endpoint, Page
from bridge.matrix.catchup import CatchUp
from bridge.matrix.client import FOREIGN, TAKEN, Homeserver, new_session
from bridge.matrix.crypto.crypto import Crypto
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.vault import WORDS, Sealer, Vault, derive
from bridge.matrix.ghosts import FOREIGN_FIX
from bridge.matrix.registration import LOAD_IT, not_loaded
from bridge.ops.bridge_state import StateReports
from bridge.ops.health import REFUSED, Health
from bridge.ops.logging import configure_logging
from bridge.ops.metrics import Metrics, listening, metrics_server, watch_loop_lag
from bridge.rooms.aside import AsideLane
from bridge.rooms.engine import Engine
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.room import Enterprise, LaneRunner
from bridge.rooms.rules import GONE, Rules, of_gone
from bridge.rooms.store import Cutoffs, Depth, Lane, StoreError
from bridge.rooms.surroundings import Surroundings, SystemClock, Waits
from bridge.rooms.to_matrix import MatrixLane
from bridge.rooms.to_webchat import WebChatLane
from bridge.storage.sqlstore import SqlStore, open_store
from bridge.webchat.codes import LoginType
from bridge.webchat.http import Endpoints

LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.app")
PATIENCE = 5.0
"""Seconds that work under way gets when the bridge stops: with the links' closing handshakes after
it, and the homeserver's requests before it, all is over within ten."""
CONVERSIONS = 2
"""Sounds and videos that are converted at a time; others wait, and with them their own rooms. Each
takes some seconds at most, and up to 50 MB."""
AT_ONCE = 8
"""Pushes of a call centre on their way into the store, and events on their way to the homeserver,
where there are several: others' messages wait behind no more. A burst costs more, for fewer of it
share a commit."""
DIALLED = 24
"""Sockets of a call centre that may be opening where there are several: `process.LOOKUPS` are
enough for more than one of them whose name servers are silent."""
LONGEST_REACH = 24 * 3_600_000
"""ms, of the catch-up; an older message is answered by a person who asks again."""
INSTANCE = "instance"
"""The fact that tells this database from every other."""
DATED = "instance.dated"
"""The fact that tells since when rows go out under ids with their moment (`MatrixLane`)."""


class HomeserverRefused(Exception):
    """Our tokens or users are refused by the homeserver, or the bot is somebody else's account."""


class Serving:
    """The parts of one bridge, for the length of an `async with`."""

    def __init__(self, config: Config) -> None:
        self._metrics = Metrics()
        self._config = config
        self._clock = SystemClock()
        self._outage, self._held = asyncio.Event(), asyncio.Event()
        self.stop = asyncio.Event()
        """The bridge is to end: set from outside, at the start too, or by a refusal."""
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._refusal: HomeserverRefused | None = None
        self._background: list[asyncio.Task[None]] = []
        self._users = settings.all_users_of(config)
        self._replica: Replica | None = None
        self._links: dict[str, Links] = {}
        """By enterprise, as all that follows."""
        self._around: dict[str, Surroundings] = {}
        self._gone: Surroundings
        """Of enterprises that are configured no more."""
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
        """Do something beside serving, until the bridge stops."""
        self._background.append(self._tasks.create_task(work))

    def go_by(self, config: Config) -> None:
        """Take over what of another configuration can change while we serve (`take_over`)."""
        configure_logging(
            config.logging.level, config.logging.format, secrets=settings.secrets_of(config)
        )
        self._config = config
        every = self._rules(config)
        for name, rules in every.items():
            self._around[name].rules = rules
        self._gone.rules = of_gone(next(iter(every.values())))
        self._contact.go_by(config)

    def _rules(self, config: Config) -> dict[str, Rules]:
        learnt = {name: links.learnt for name, links in self._links.items()}
        return settings.all_rules_of(config, self._users, learnt, self._first)

    # --- starting ---------------------------------------------------------------------------

    async def _start(self) -> None:
        config, enter = self._config, self._stack.enter_async_context
        began = self._clock.now()
        url = config.database.url.get_secret_value()
        seal = Sealer(settings.encryption_secret_of(config), WORDS)
        store = await enter(open_store(url, self._clock, sole=True, shared=True, seal=seal))
        homeserver, crypto = await self._matrix(store)
        self._replica = self._one_of_several(store, crypto)
        matrix = await self._enterprises(store, homeserver, crypto)
        engine = await self._engine(store)
        for links in self._links.values():
            await enter(links.running(engine))
        self._stack.push_async_callback(self._close_links)
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
            prune(store, self._clock, lambda: self._config.retention, self._is_first),
            *(one.waits.keep(one, self._is_first) for one in self._around.values()),
            measure(store, self._clock, self._metrics, engine, self._named),
            self._catch_up(store, first, engine),
        ):
            self.keep(work)
        if crypto is not None:
            self.keep(crypto.run(engine.key_came))
        self._tell_outside(store, health)
        if self._replica is not None:
            shown = config.console.enabled or config.provisioning.enabled
            report = partial(report_of, inside) if shown else str
            self.keep(self._replica.run(engine, self._shared_by, report))
        LOG.info("serving", port=port, after_ms=self._clock.now() - began)

    def _tell_outside(self, store: SqlStore, health: Health) -> None:
        """Begin to tell programs of the operator's how the bridge and its messages fare."""
        config, clock = self._config, self._clock
        if to := config.homeserver.status_endpoint:
            token = config.appservice.as_token.get_secret_value()

            def refused(part: str) -> str:
                return self._links[part.partition(" ")[2]].refused

            self.keep(StateReports(to, token, health, clock, self._is_first, refused=refused).run())
        if config.tracing.enabled:
            from bridge.ops.tracing import Tracing  # of an extra

            to, name = config.tracing.endpoint, config.appservice.id
            self.keep(Tracing(to, name, store, clock, self._is_first).run())

    async def _enterprises(
        self, store: SqlStore, homeserver: Homeserver, crypto: Crypto | None
    ) -> dict[str, MatrixAdapter]:
        """Build what is each enterprise's own: links, adapter, threads, rules, waiting times."""
        config, matrix = self._config, {}
        parts = config.parts()
        self._first = await store.fact(settings.FIRST) or ""
        if not self._first and config.enterprises:
            self._first = await store.first_fact(settings.FIRST, await self._served_before(store))
        marks = {name: "" if name == self._first else name for name in parts}
        servers = Counter(Endpoints(part.server.base_url).login for part in parts.values())
        for name, part in parts.items():
            beside = servers[Endpoints(part.server.base_url).login]
            link = settings.link_settings_of(part, name, marks[name], beside)
            if len(parts) > 1:
                link = dataclasses.replace(link, at_once=AT_ONCE, reconnect_limit=DIALLED)
            self._links[name] = self._make_links(store, link)
        rules = self._rules(config)
        for name, part in parts.items():
            own = homeserver
            if len(parts) > 1:
                own = homeserver.beside(await self._session(), AT_ONCE)
            threads = ThreadPoolExecutor(
                max(1, CONVERSIONS // len(parts)), thread_name_prefix=f"media {name}".strip()
            )
            # What still runs there at the end is not awaited.
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
        """The enterprise at whose server we logged in while there was but one; else the first."""
        parts = self._config.parts()
        for name, part in parts.items():
            if await store.fact(settings.link_settings_of(part).fact(VISITS)) is not None:
                return name
        return next(iter(parts))

    async def _close_links(self) -> None:
        """Close the links of all at once: servers that hang each take their time over it."""
        await asyncio.gather(*(links.aclose() for links in self._links.values()))

    def _named(self, enterprise: str) -> str:
        """How the configuration names the enterprise of a room."""
        home = enterprise in {"", self._first}
        return settings.home_of(self._config, self._first) if home else enterprise

    def _make_links(self, store: SqlStore, link: LinkSettings) -> Links:
        measures = self._metrics.of(link.enterprise)
        return Links(Shared(link, tokens=store, facts=store, metrics=measures, clock=self._clock))

    async def _engine(self, store: SqlStore) -> Engine:
        instance = await store.first_fact(INSTANCE, secrets.token_hex(4))
        dated = int(await store.first_fact(DATED, str(self._clock.now())))

        def served(around: Surroundings) -> Enterprise:
            runners: dict[Lane, LaneRunner] = {
                Lane.WEBCHAT: WebChatLane(around),
                Lane.MATRIX: MatrixLane(around, instance, dated),
                Lane.ASIDE: AsideLane(around),
            }
            return Enterprise(around, runners)

        main = next(iter(self._around.values()))
        for one in self._around.values():
            one.upgrades, one.inviting = main.upgrades, main.inviting
        every = {name: served(around) for name, around in self._around.items()}
        self._gone = await self._nobody(store, main)
        every[GONE] = served(self._gone)
        every[""] = every.get(self._named(""), every[GONE])
        every.setdefault(self._first, every[""])
        return Engine(*served(main), others=self._replica, enterprises=every)

    async def _nobody(self, store: SqlStore, main: Surroundings) -> Surroundings:
        """Stands for enterprises that are configured no more: nobody is served, nothing is sent.

        Also where there is but one: a process that was configured anew may have named rooms.
        """
        name, part = next(iter(self._config.parts().items()))
        links = self._make_links(store, settings.link_settings_of(part, name, GONE))
        await links.aclose()
        return replace(main, link=links, rules=of_gone(main.rules), waits=Waits(GONE))

    def _endpoint(
        self, engine: Engine, matrix: MatrixAdapter, health: Health, folders: Mapping[str, Page]
    ) -> Endpoint:
        appservice = self._config.appservice
        return Endpoint(
            hs_token=appservice.hs_token.get_secret_value(),
            is_ours=matrix.is_ours,
            accept=engine.accept_events,
            vouch=matrix.ghosts.vouch,
            typing=engine.typing,
            held=self._kept_back,
            home=self._config.homeserver.domain,
            timing=lru_cache(self._metrics.matrix_event.labels),
            max_body=appservice.max_body_size,
            pages=health.pages(),
            folders=folders,
        )

    def _kept_back(self) -> None:
        """Have rooms looked into, those of other processes too: any of us gets all events."""
        if not self._held.is_set():
            self._held.set()
            if self._replica is not None:
                self._replica.tell_held()

    def _inside(self, store: SqlStore, engine: Engine, health: Health) -> Bridge:
        """The bridge as administration sees it."""
        parts = self._config.parts()
        return Bridge(
            self._around,
            orders=engine,
            health=health,
            links=lambda: [one for links in self._links.values() for one in links.states()],
            recent=lambda: self._metrics.recent,
            busy=partial(self._busy, store, engine),
            advice=lambda why: LOAD_IT if not_loaded(why) else "",
            replica="" if self._replica is None else self._replica.name,
            named=self._named,
            open_names=lambda name: (
                name in parts and parts[name].server.login.type is LoginType.PASSWORD
            ),
        )

    def _api(self, operations: Dispatcher) -> Mapping[str, Page]:
        """The provisioning API, where it is switched on."""
        section, counter = self._config.provisioning, self._metrics.api_calls
        if not section.enabled:
            return {}
        provisioning = Provisioning(
            section.secret.get_secret_value(),
            (section.rate.count, section.rate.per_seconds),
            operations,
            lambda operation, status: counter.labels(operation, status).inc(),
        )
        return {f"{PREFIX}/": provisioning.handle}

    async def _console(self, inside: Bridge, operations: Dispatcher, matrix: MatrixAdapter) -> None:
        """The console and the room page, on their port."""
        section, domain = self._config.console, self._config.homeserver.domain
        key = derive(settings.encryption_secret_of(self._config), b"room page")
        admins = RoomAdmins(matrix, inside, domain, key)
        console_key = settings.console_key_of(self._config)
        sign_in = SignIn(inside.around.store, self._clock, console_key)
        pages = Pages(operations, sign_in, admins, section.public_url).application()
        served = listening(pages, "console", section.hostname, section.port)
        port = await self._stack.enter_async_context(served)
        LOG.info("console", port=port)

    async def _busy(
        self, store: SqlStore, engine: Engine
    ) -> Mapping[tuple[str, str, QueueId], int]:
        """How many chats there are: from memory, if all rooms are ours."""
        if self._replica is not None and not self._replica.alone:
            busy: Counter[tuple[str, str, QueueId]] = Counter()
            for (name, phase, queue), count in (await store.busy()).items():
                busy[self._named(name), phase, queue] += count
            return busy
        return engine.chats()

    def _one_of_several(self, store: SqlStore, crypto: Crypto | None) -> Replica | None:
        """This process as one of those that share the database; None: it is alone by its nature."""
        if store.shards is None:
            return None
        name = self._config.bridge.replica or f"{gethostname()}:{getpid()}"
        told = () if crypto is None else (crypto.told,)
        return Replica(store.shards, name, self._held.set, *told)

    def _shared_by(self, replicas: int, shards: int) -> None:
        """So many processes share the rooms, and so many of the shards are served here."""
        for links in self._links.values():
            links.door.share(replicas)
        self._metrics.shards.set(shards)

    def _is_first(self) -> bool:
        """True if what is done once for all rooms is done here."""
        return self._replica is None or self._replica.first

    async def _matrix(self, store: SqlStore) -> tuple[Homeserver, Crypto | None]:
        """The homeserver, and encryption there, acting as the devices of this database."""
        config, crypto = self._config, None
        users, address = next(iter(self._users.values())), config.homeserver.address
        token = config.appservice.as_token.get_secret_value()
        homeserver = Homeserver(await self._session(), address, token, users, self._outage)
        if config.bridge.encryption.allow:
            # What stays open long has connections of its own.
            keys = KeyServer(homeserver, homeserver.beside(await self._session(limit=0)))
            vault = Vault(store, Sealer(settings.encryption_secret_of(config)))
            crypto = Crypto(keys, homeserver, users, vault, self._clock, others=store.shards)
            await crypto.upkeep.begin()
        return homeserver, crypto

    async def _session(self, limit: int = 100) -> ClientSession:
        """Connections to the homeserver, so many at a time."""
        session = new_session(verify_tls=self._config.homeserver.verify_ssl, limit=limit)
        return await self._stack.enter_async_context(session)

    async def _run_engine(self, engine: Engine) -> None:
        """Start the engine's task; when the stack unwinds it stops before what it works with."""
        # A StoreError here is no task's, which would make a group of it.
        undone = await engine.undone()
        await self._stack.enter_async_context(self._tasks)
        ready = asyncio.Event()
        self._tasks.create_task(engine.run(undone, ready))  # one that fails cancels us
        self._stack.push_async_callback(self._stop_engine, engine)
        await ready.wait()

    async def _stop_engine(self, engine: Engine) -> None:
        for task in self._background:
            task.cancel()
        if self._replica is not None:
            await self._replica.leave(PATIENCE)
        await engine.stop(PATIENCE)

    async def _introduce(self, contact: Contact) -> None:
        """Make our users ours before events come in, which may be another bridge's to answer.

        A homeserver that is away sends none; it is asked again later.
        """

        async def hurry() -> None:
            await self.stop.wait()
            if not limit.expired():
                limit.reschedule(0)

        hurrying = self._tasks.create_task(hurry())
        try:
            async with asyncio.timeout(PATIENCE) as limit:
                await contact.introduce()
        except Refused as error:
            raise HomeserverRefused(why_refused(self._config, error)) from error
        except (Unavailable, StoreError, TimeoutError) as error:
            LOG.debug("the homeserver is not there yet", why=str(error))
        finally:
            hurrying.cancel()

    def _health(self, store: SqlStore, contact: Contact) -> Health:
        config = self._config

        async def homeserver() -> None:
            try:
                await contact.probe()
            except Refused as error:
                if not contact.made and self._refusal is None:
                    self._refusal = HomeserverRefused(why_refused(config, error))
                    self.stop.set()
                raise Unavailable(f"{REFUSED} ({error})") from error

        parts = {
            "database": (place_of(config.database.url.get_secret_value()), store.ping),
            "homeserver": (config.homeserver.address, homeserver),
        }
        servers = {
            f"webchat {name}".strip(): (part.server.base_url, self._links[name].probe)
            for name, part in config.parts().items()
        }

        def changed(part: str, up: bool) -> None:  # noqa: FBT001 - a callback
            peer, _, enterprise = part.partition(" ")
            self._metrics.connected.labels(peer, enterprise).set(up)

        return Health(
            parts | servers,
            self._clock,
            on_change=changed,
            also=lambda: {} if self._replica is None else {"shards": len(self._replica.served)},
            any_of=servers if len(servers) > 1 else (),
        )

    # --- in the background ------------------------------------------------------------------

    async def _catch_up(self, store: SqlStore, matrix: MatrixAdapter, engine: Engine) -> None:
        """Catch up, well away from events whose lines in the ledger may be gone."""
        await CatchUp(
            self._outage,
            self._held,
            matrix.homeserver,
            is_ours=matrix.is_ours,
            known=store.known,
            accept=engine.accept_events,
            rooms=engine.lively,
            hosts=matrix.users.hosts,
            facts=store,
            clock=self._clock,
            reach=lambda: min(LONGEST_REACH, self._config.retention.rows // 2),
        ).run()


SILENCE = 180.0
"""Seconds without a call of the homeserver's after which it is asked whether it reaches us."""


@dataclasses.dataclass(eq=False)
class Contact:
    """Both ways between the homeserver and us: made at the start, and tried again and again."""

    _config: Config
    _matrix: Mapping[str, MatrixAdapter]
    """Of each enterprise; the homeserver is the same to all."""
    _heard: Callable[[], float]
    _doubted: bool = True
    _introduced: bool = False
    made: bool = False
    """Our users exist, and the homeserver has called us."""

    @property
    def _first(self) -> MatrixAdapter:
        return next(iter(self._matrix.values()))

    def go_by(self, config: Config) -> None:
        """At the next probe our users get the names and pictures of another configuration."""
        self._config, self._introduced = config, False

    async def introduce(self) -> None:
        """Make our users exist; once they do, see whether the homeserver answers."""
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
        """Raise Unavailable: one of the two ways is closed; Refused as it comes.

        Whether it reaches us is asked (MSC2659, a ping) at the start, after an outage, and when it
        has not called for `SILENCE`.
        """
        doubted, self._doubted = self._doubted, True
        await self.introduce()
        if doubted or self._heard() < perf_counter() - SILENCE:
            ours = self._config.appservice
            try:
                await self._first.homeserver.ping(ours.id)
            except Unavailable as error:
                why = f"it does not reach the bridge at {ours.address}: {error}"
                raise Unavailable(why) from error
        self._doubted, self.made = False, True


def place_of(url: str) -> str:
    """The address of a database, without user, password and options."""
    scheme, slashes, rest = url.partition("//")
    return scheme + slashes + rest.rpartition("@")[2].partition("?")[0]


def why_refused(config: Config, error: Refused) -> str:
    """Why the bridge ends, and what an operator can do about it."""
    if error.code == FOREIGN:
        return (
            f"somebody else has registered {settings.users_of(config).main} on the homeserver, so"
            f" it cannot be the bot: {FOREIGN_FIX} (another appservice.bot.username, `register`"
            " again)"
        )
    if error.code == TAKEN:
        return (
            f"another bridge is at work on this homeserver with the same users ({error}): give this"
            " one its own appservice.id, bot.username, bridge.username_template and"
            " bridge.queue_username_template, `register` again (docs/homeservers.md, Several"
            " bridges)"
        )
    return (
        f"the homeserver at {config.homeserver.address} refused us ({error}): check "
        "that it has loaded this bridge's registration.yaml and was restarted since, "
        "and that homeserver.domain is its server name"
    )


# --- work beside serving -------------------------------------------------------------------------

PRUNE_EVERY, PRUNE_AGAIN = 600.0, 60.0
"""Seconds between two prunings, and between two looks whether they are ours."""
MEASURE_EVERY = 15.0


async def prune(
    store: SqlStore,
    clock: Clock,
    retention: Callable[[], Retention],
    mine: Callable[[], bool] = lambda: True,
) -> None:
    """Erase what the ledger need not keep, for ever; `retention`: as it is at the moment.

    Only while that is ours to do: it is done once, however many processes there are.
    """
    while True:
        now, kept = clock.now(), retention()
        if not mine():
            await clock.sleep(PRUNE_AGAIN)
            continue
        ages = ((name, getattr(kept, name)) for name in Cutoffs.__struct_fields__)
        others = Cutoffs(**{name: now - age if age else None for name, age in ages})
        try:
            rows = await store.prune(now - kept.bodies, now - kept.rows, others)
            LOG.debug("ledger pruned", rows=rows)
        except StoreError as error:
            LOG.warning("the ledger could not be pruned", why=str(error))
        await clock.sleep(PRUNE_EVERY)


async def measure(
    store: SqlStore,
    clock: Clock,
    metrics: Metrics,
    engine: Engine,
    named: Callable[[str], str] = str,
) -> None:
    """Show in the metrics what chats there are and what waits in the database, for ever."""
    while True:
        metrics.chats(engine.chats())
        try:
            backlog: dict[tuple[str, str], Depth] = {}
            for (name, what), depth in (await store.backlog()).items():
                labels = named(name), what
                backlog[labels] = backlog.get(labels, Depth()) + depth
            metrics.backlog(backlog, clock.now())
        except StoreError as error:
            LOG.warning("the backlog could not be measured", why=str(error))
        await clock.sleep(MEASURE_EVERY)
